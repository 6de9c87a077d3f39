//! The run's private directory, removed afterwards even if the runner is killed.
//!
//! A small shell process, the janitor, reads from a pipe that closes when the runner exits for any reason. It then
//! kills the registered process groups and removes the directory.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{FlockOperation, flock};

/// The prefix of the directories, to find those of a runner that was killed together with its janitor.
const PREFIX: &str = "lockstep-";
/// The longest temporary directory path that leaves room for socket names: the address of a Unix socket has 108 bytes
/// (`unix(7)`).
const LONGEST: usize = 60;

/// Reads process group numbers to register (`N`) and to unregister (`-N`); at the end of its input kills the
/// registered ones and removes the directory.
const JANITOR: &str = r#"
g=' '
while read -r n; do
    case $n in
    -*) n=${n#-}; g="${g%% $n *} ${g#* $n }" ;;
    *) g="$g$n " ;;
    esac
done
for n in $g; do kill -s KILL -- "-$n"; done
rm -rf -- "$1"
"#;

/// The run's private directory.
#[derive(Debug)]
pub struct Workspace {
    root: PathBuf,
    _lock: File,
    janitor: Option<Child>,
    notes: Arc<Notes>,
}

/// The directory of one attempt at a case; removed when it is dropped.
#[derive(Debug)]
pub struct CaseDirectory(PathBuf);

impl CaseDirectory {
    /// Creates the directory.
    ///
    /// # Errors
    /// When it cannot be created, or exists.
    pub fn create(path: PathBuf) -> io::Result<Self> {
        std::fs::create_dir(&path)?;
        Ok(Self(path))
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Removes it without blocking the caller's thread: it may have large files.
    pub async fn remove(&self) {
        let path = self.0.clone();
        let _ = tokio::task::spawn_blocking(move || std::fs::remove_dir_all(path)).await;
    }
}

impl Drop for CaseDirectory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The janitor's input.
#[derive(Debug)]
pub struct Notes(Mutex<Option<ChildStdin>>);

impl Notes {
    /// Registers a group to be killed if the runner dies.
    pub fn remember(&self, group: u32) {
        self.write(&format!("{group}\n"));
    }

    /// Unregisters a group that has ended.
    pub fn forget(&self, group: u32) {
        self.write(&format!("-{group}\n"));
    }

    fn write(&self, line: &str) {
        if let Some(pipe) = self.0.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            // A missing janitor was killed deliberately; the run can go on.
            let _ = pipe.write_all(line.as_bytes());
        }
    }
}

impl Workspace {
    /// Creates the directory, readable by this user only, in the system's temporary directory, and removes leftovers
    /// of killed runs.
    ///
    /// # Errors
    /// When the directory cannot be created, or the janitor cannot be started.
    pub fn new() -> io::Result<Self> {
        let temporary = std::env::temp_dir();
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        let base = if temporary.as_os_str().len() > LONGEST { PathBuf::from("/tmp") } else { temporary };
        sweep(&base);
        let root = tempfile::Builder::new().prefix(PREFIX).permissions(private).tempdir_in(&base)?.keep();
        let lock = File::create(root.join("lock"))?;
        flock(&lock, FlockOperation::LockExclusive)?;
        let mut janitor = Command::new("/bin/sh")
            .args(["-c", JANITOR, "lockstep-janitor"])
            .arg(&root)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Not reached by Ctrl-C at the terminal.
            .process_group(0)
            .spawn()
            .inspect_err(|_| drop(std::fs::remove_dir_all(&root)))?;
        let notes = Arc::new(Notes(Mutex::new(janitor.stdin.take())));
        Ok(Self { root, _lock: lock, janitor: Some(janitor), notes })
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// The janitor's input.
    #[must_use]
    pub fn notes(&self) -> Arc<Notes> {
        Arc::clone(&self.notes)
    }

    /// Creates a directory for one case.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn case_directory(&self, number: usize) -> io::Result<CaseDirectory> {
        CaseDirectory::create(self.root.join(number.to_string()))
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.root);
        self.notes.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut janitor) = self.janitor.take() {
            let _ = janitor.wait();
        }
    }
}

/// Removes the directories of dead runs. A live run holds a lock on its directory.
fn sweep(base: &Path) {
    let me = rustix::process::geteuid().as_raw();
    for entry in std::fs::read_dir(base).into_iter().flatten().flatten() {
        use std::os::unix::fs::MetadataExt;
        let mine = entry.metadata().is_ok_and(|metadata| metadata.is_dir() && metadata.uid() == me);
        if !mine || !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let lock = File::open(entry.path().join("lock"));
        if lock.is_ok_and(|lock| flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok()) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_folder_is_private_and_gone_afterwards() {
        let workspace = Workspace::new().unwrap();
        let case = workspace.case_directory(3).unwrap();
        std::fs::write(case.path().join("file"), "x").unwrap();
        let path = case.path().to_owned();
        drop(case);
        assert!(!path.exists());
        let root = workspace.path().to_owned();
        assert_eq!(root.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        assert!(root.as_os_str().len() <= LONGEST + PREFIX.len() + 8);
        drop(workspace);
        assert!(!root.exists());
    }

    #[test]
    fn a_folder_in_use_survives_the_sweep_of_another_run_and_a_dead_one_does_not() {
        let base = tempfile::tempdir().unwrap();
        for name in ["lockstep-alive", "lockstep-dead", "other"] {
            std::fs::create_dir(base.path().join(name)).unwrap();
            File::create(base.path().join(name).join("lock")).unwrap();
        }
        let held = File::open(base.path().join("lockstep-alive/lock")).unwrap();
        flock(&held, FlockOperation::LockExclusive).unwrap();
        sweep(base.path());
        let left = |name: &str| base.path().join(name).exists();
        assert_eq!((left("lockstep-alive"), left("lockstep-dead"), left("other")), (true, false, true));
    }

    #[test]
    fn the_janitor_kills_what_it_remembers_and_removes_the_folder_when_its_input_ends() {
        let folder = tempfile::tempdir().unwrap().keep();
        let mut kept = Command::new("sleep").arg("1000").process_group(0).spawn().unwrap();
        let mut forgotten = Command::new("sleep").arg("1000").process_group(0).spawn().unwrap();
        let mut janitor = Command::new("/bin/sh")
            .args(["-c", JANITOR, "janitor"])
            .arg(&folder)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut pipe = janitor.stdin.take().unwrap();
        write!(pipe, "{0}\n{1}\n-{1}\n", kept.id(), forgotten.id()).unwrap();
        drop(pipe);
        assert!(janitor.wait().unwrap().success());
        assert!(!folder.exists());
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while kept.try_wait().unwrap().is_none() {
            assert!(std::time::Instant::now() < deadline, "a remembered group was not killed");
            std::thread::yield_now();
        }
        assert!(forgotten.try_wait().unwrap().is_none(), "a forgotten group was killed");
        forgotten.kill().unwrap();
        forgotten.wait().unwrap();
    }
}
