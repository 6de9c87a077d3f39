//! The artifacts of a case.

use std::io;
use std::path::{Path, PathBuf};

use super::state::Session;

/// The file in the case's directory with the output of finished `exec` steps.
pub const EXECS: &str = ".lockstep-exec.log";

/// The subdirectory for files that the scenario names. No case directory has this name.
pub const FILES: &str = "files";

/// What is kept of a case: the session's files (QMP transcripts, serial output, standard error, guest images), the
/// command lines, the resolved scenario, the output of host processes, the evidence, and the scenario's own `artifacts`.
#[derive(Debug)]
pub struct Artifacts {
    directory: PathBuf,
    scenario: String,
    /// The VMs, and how each was started.
    machines: Vec<(String, String)>,
    /// The output of background processes.
    background: String,
    evidence: Option<String>,
    files: Vec<String>,
}

impl Artifacts {
    /// Collects them. `scenario` is the resolved one, `files` are its `artifacts`.
    #[must_use]
    pub fn of(session: &Session, scenario: String, files: &[String], evidence: Option<String>) -> Self {
        session.catch_up();
        let (machines, background) = (session.machines(), session.background());
        Self {
            directory: session.directory().to_owned(),
            scenario,
            machines: machines
                .iter()
                .map(|(name, machine)| (name.clone(), machine.command_lines()))
                .collect(),
            background: background
                .iter()
                .map(|(name, process)| process.record(&format!("exec {name} in the background")))
                .collect(),
            evidence,
            files: files.to_vec(),
        }
    }

    /// Writes them to a directory of the reports. Replaces what an earlier run left there; other subdirectories belong
    /// to cases whose names start with this one's. Returns the patterns of the scenario's `artifacts` without a match.
    ///
    /// # Errors
    /// When something cannot be written.
    pub async fn keep(self, folder: PathBuf) -> io::Result<Vec<String>> {
        // The files may be large.
        tokio::task::spawn_blocking(move || self.write(&folder)).await.map_err(io::Error::other)?
    }

    fn write(self, folder: &Path) -> io::Result<Vec<String>> {
        clear(folder)?;
        std::fs::write(folder.join("scenario.yaml"), self.scenario)?;
        for (name, command_lines) in &self.machines {
            std::fs::write(folder.join(format!("{name}.command.sh")), command_lines)?;
            for kind in ["qmp.jsonl", "serial.log", "stderr.log", "ticker.img"] {
                let file = format!("{name}.{kind}");
                unless_missing(std::fs::copy(self.directory.join(&file), folder.join(&file)))?;
            }
        }
        let mut execs = unless_missing(std::fs::read(self.directory.join(EXECS)))?.unwrap_or_default();
        execs.extend(self.background.into_bytes());
        if !execs.is_empty() {
            std::fs::write(folder.join("exec.log"), execs)?;
        }
        let missing = keep_files(&self.directory, &self.files, &folder.join(FILES))?;
        // The reports truncate it if it is long.
        self.evidence.map_or(Ok(()), |evidence| std::fs::write(folder.join("evidence.txt"), evidence))?;
        Ok(missing)
    }
}

/// Creates the directory, and removes what an earlier run of the case left in it.
fn clear(folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    remove(folder)
}

/// Removes the artifacts in a directory, but not what is in other subdirectories.
///
/// # Errors
/// When one cannot be removed.
pub fn remove(folder: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if !entry.file_type()?.is_dir() {
            std::fs::remove_file(entry.path())?;
        }
    }
    unless_missing(std::fs::remove_dir_all(folder.join(FILES))).map(|_| ())
}

/// A result; `None` if the file does not exist.
fn unless_missing<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
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
