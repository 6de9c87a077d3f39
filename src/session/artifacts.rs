//! The artifacts of a case.

use std::io;
use std::path::{Path, PathBuf};

use super::state::Session;

/// The file in the case's directory with the output of finished `exec` steps.
pub const EXECS: &str = ".lockstep-exec.log";

/// The subdirectory for files that the scenario names. No case directory has this name.
pub const FILES: &str = "files";

/// Copies the session's files (QMP transcripts, serial output, standard error, guest images) to a directory of the
/// reports and adds the command lines, the resolved scenario and the output of host processes; `files` are the
/// scenario's own `artifacts`. Replaces what an earlier run left there; other subdirectories belong to cases whose
/// names start with this one's. Returns the patterns of `files` without a match.
///
/// # Errors
/// When something cannot be written.
pub fn keep(session: &Session, scenario: &str, files: &[String], folder: &Path) -> io::Result<Vec<String>> {
    std::fs::create_dir_all(folder)?;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if !entry.file_type()?.is_dir() {
            std::fs::remove_file(entry.path())?;
        }
    }
    match std::fs::remove_dir_all(folder.join(FILES)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    std::fs::write(folder.join("scenario.yaml"), scenario)?;
    for (name, machine) in &session.machines {
        machine.catch_up();
        std::fs::write(folder.join(format!("{name}.command.sh")), machine.command_lines())?;
        for kind in ["qmp.jsonl", "serial.log", "stderr.log", "ticker.img"] {
            let file = format!("{name}.{kind}");
            match std::fs::copy(session.directory().join(&file), folder.join(&file)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
    let mut execs = match std::fs::read(session.directory().join(EXECS)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        read => read.unwrap_or_default(),
    };
    for (name, process) in &session.background {
        execs.extend(process.record(&format!("exec {name} in the background")).into_bytes());
    }
    if !execs.is_empty() {
        std::fs::write(folder.join("exec.log"), execs)?;
    }
    keep_files(session.directory(), files, &folder.join(FILES))
}

/// Copies the files that match these patterns; returns the patterns without a match.
fn keep_files(directory: &Path, patterns: &[String], folder: &Path) -> io::Result<Vec<String>> {
    let directory = directory.canonicalize()?;
    let mut missing = Vec::new();
    for pattern in patterns {
        let found = matching(&directory, pattern);
        if found.is_empty() {
            missing.push(pattern.clone());
        }
        for file in found {
            let copy = folder.join(&file);
            std::fs::create_dir_all(copy.parent().unwrap_or(folder))?;
            std::fs::copy(directory.join(&file), copy)?;
        }
    }
    Ok(missing)
}

/// The files matching a pattern, relative to the directory; not those that a symbolic link takes out of it.
fn matching(directory: &Path, pattern: &str) -> Vec<PathBuf> {
    let options = glob::MatchOptions { require_literal_leading_dot: true, ..glob::MatchOptions::new() };
    let whole = format!("{}/{pattern}", glob::Pattern::escape(&directory.to_string_lossy()));
    let found = glob::glob_with(&whole, options).into_iter().flatten().flatten();
    found
        .filter(|path| path.is_file() && path.canonicalize().is_ok_and(|real| real.starts_with(directory)))
        .filter_map(|path| path.strip_prefix(directory).map(Path::to_path_buf).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_kept_at_their_places_and_a_link_out_of_the_folder_is_not_followed() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (from, to) = (from.path(), to.path());
        std::fs::create_dir(from.join("logs")).unwrap();
        for file in ["a.log", "logs/b.log", ".hidden.log"] {
            std::fs::write(from.join(file), file).unwrap();
        }
        std::os::unix::fs::symlink("/etc/passwd", from.join("out.log")).unwrap();
        std::os::unix::fs::symlink("a.log", from.join("in")).unwrap();
        let patterns = ["*.log", "logs/*", "in", "none", "out.log", "logs"].map(str::to_owned);
        assert_eq!(keep_files(from, &patterns, to).unwrap(), ["none", "out.log", "logs"]);
        let mut kept = matching(to, "**/*");
        kept.sort();
        assert_eq!(kept, ["a.log", "in", "logs/b.log"].map(PathBuf::from));
        assert_eq!(std::fs::read_to_string(to.join("logs/b.log")).unwrap(), "logs/b.log");
    }
}
