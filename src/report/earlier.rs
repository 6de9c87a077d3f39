//! What an earlier run left in the directory of the reports.

use std::path::{Component, Path};

use super::jsonl::{check_idle, read};
use crate::event::What;
use crate::session::artifacts;

/// Removes the artifacts that the `events.jsonl` of an earlier run names, so that the directory has those of one run. What
/// is not named, is outside, or is reached through a symbolic link is kept.
///
/// # Errors
/// When a file cannot be removed, or the run has not ended.
pub fn remove_artifacts(reports: &Path) -> std::io::Result<()> {
    check_idle(&reports.join("events.jsonl"))?;
    remove_artifacts_of(reports, |_| true)
}

/// The same for some of the cases.
///
/// # Errors
/// As [`remove_artifacts`].
pub(super) fn remove_artifacts_of(
    reports: &Path,
    is_meant: impl Fn(Option<usize>) -> bool,
) -> std::io::Result<()> {
    let path = reports.join("events.jsonl");
    // It may be a device or a pipe, which has no end.
    let Some(Ok(events)) = path.is_file().then(|| read(path)) else {
        return Ok(());
    };
    for event in events.map_while(Result::ok).filter(|event| is_meant(event.case)) {
        let (What::AttemptEnded { end, .. } | What::CaseEnded(end)) = event.what else {
            continue;
        };
        let Some(folder) = end.artifacts.as_deref().and_then(|named| named.strip_prefix(reports).ok()) else {
            continue;
        };
        if is_inside(reports, folder) {
            artifacts::remove(&reports.join(folder))?;
            // Those that are not empty stay.
            for folder in folder.ancestors().filter(|folder| !folder.as_os_str().is_empty()) {
                let _ = std::fs::remove_dir(reports.join(folder));
            }
        }
    }
    Ok(())
}

/// Whether a relative path names a directory below another one, without symbolic links.
fn is_inside(reports: &Path, folder: &Path) -> bool {
    let is_plain = |part: Component<'_>| matches!(part, Component::Normal(_));
    let is_directory = |part: &Path| {
        let part = reports.join(part);
        std::fs::symlink_metadata(part).is_ok_and(|meta| meta.is_dir())
    };
    !folder.as_os_str().is_empty()
        && folder.components().all(is_plain)
        && folder.ancestors().filter(|part| !part.as_os_str().is_empty()).all(is_directory)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::event::{CaseEnd, Subscriber, Verdict};
    use crate::report::{JsonLines, sample};

    #[test]
    fn only_artifacts_that_an_earlier_run_names_are_removed() {
        let home = tempfile::tempdir().unwrap();
        let reports = home.path().join("reports");
        let put = |path: PathBuf| {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        };
        for file in ["a/evidence.txt", "a/files/x/log", "a/b/vm.stderr.log", "other/notes", "a/mine/notes"] {
            put(reports.join(file));
        }
        put(home.path().join("outside/evidence.txt"));
        std::os::unix::fs::symlink(home.path().join("outside"), reports.join("link")).unwrap();
        let mut events = JsonLines::create(reports.join("events.jsonl")).unwrap();
        events.take(&sample::run_started(1)).unwrap();
        for folder in ["reports/a", "reports/a/b", "reports/../outside", "reports/link", "outside", "reports"]
        {
            let end = CaseEnd {
                artifacts: Some(home.path().join(folder)),
                ..CaseEnd::new(Verdict::Fail, None, 1.0)
            };
            events.take(&sample::at(1.0, Some(0), What::CaseEnded(Box::new(end)))).unwrap();
        }
        events.finish().unwrap();
        drop(events);
        remove_artifacts(&reports).unwrap();
        let left = |path: &str| home.path().join(path).exists();
        for gone in ["reports/a/evidence.txt", "reports/a/files", "reports/a/b"] {
            assert!(!left(gone), "{gone}");
        }
        for kept in
            ["reports/other/notes", "reports/a/mine/notes", "outside/evidence.txt", "reports/events.jsonl"]
        {
            assert!(left(kept), "{kept}");
        }
    }
}
