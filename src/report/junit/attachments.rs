//! The evidence of a case as attachments: lines in its output that the plugin "JUnit Attachments" of Jenkins reads, and
//! the first of which GitLab reads.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::repository::{Repository, normal};
use crate::session::artifacts::FILES;

/// The maximum number of files per case.
const ATTACHED: usize = 100;

/// A line for each file in these directories of artifacts.
pub(super) fn lines<'f>(folders: impl IntoIterator<Item = &'f Path>, repository: &Repository) -> String {
    let mut out = String::new();
    let files = folders.into_iter().flat_map(files).filter_map(|file| shown(&file, repository));
    for file in files.take(ATTACHED) {
        let _ = writeln!(out, "[[ATTACHMENT|{file}]]");
    }
    out
}

/// A text without such lines: a guest or a command may print one, and it must not attach a file of the server.
pub(super) fn disarmed(text: &str) -> String {
    text.replace("[[ATTACHMENT|", "[ [ATTACHMENT|")
}

/// The files of a directory of artifacts, `evidence.txt` first. Directories in it belong to other cases, except for the
/// one with the files that the scenario names.
fn files(folder: &Path) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).into_iter().flatten().flatten() {
            let is_named = next != folder || entry.file_name() == FILES;
            match entry.file_type() {
                Ok(kind) if kind.is_file() => found.push(entry.path()),
                Ok(kind) if kind.is_dir() && is_named => folders.push(entry.path()),
                _ => {}
            }
        }
    }
    found.sort_by_key(|file| (!file.ends_with("evidence.txt"), file.clone()));
    found
}

/// The path relative to Jenkins' workspace or to the repository, if it is below one of them, else absolute; `None` if it
/// cannot be written in such a line.
fn shown(file: &Path, repository: &Repository) -> Option<String> {
    let workspace = Repository::named_by("WORKSPACE");
    let inside = workspace.and_then(|workspace| workspace.inside(file)).or_else(|| repository.inside(file));
    let path = inside.unwrap_or_else(|| normal(file)).into_os_string().into_string().ok()?;
    let is_unfit = path.contains('|') || path.contains("]]") || path.contains(char::is_control);
    (!is_unfit).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_a_case_are_listed_with_the_evidence_first() {
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path().canonicalize().unwrap();
        let case = top.join("reports/colo/a");
        std::fs::create_dir_all(case.join("files/logs")).unwrap();
        std::fs::create_dir_all(case.join("below")).unwrap();
        let files = ["a.serial.log", "evidence.txt", "files/logs/x", "below/other.log", "a|b", "a]]", "a\nb"];
        for file in files {
            std::fs::write(case.join(file), "").unwrap();
        }
        let wanted = |lead: &str| {
            ["evidence.txt", "a.serial.log", "files/logs/x"]
                .map(|file| format!("[[ATTACHMENT|{lead}reports/colo/a/{file}]]\n"))
                .concat()
        };
        let none = Path::new("/there/is/none");
        assert_eq!(lines([case.as_path(), none], &Repository::at(&top)), wanted(""));
        assert_eq!(lines([case.as_path()], &Repository::at(none)), wanted(&format!("{}/", top.display())));
    }
}
