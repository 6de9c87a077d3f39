//! Host processes of a scenario.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Arc;

use regex::Regex;
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use serde_json::{Value, json};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::AbortHandle;

use super::board::{Board, Trouble};
use super::directory::Notes;
use super::failure::Failure;
use crate::qemu::process::{Ended, Launch, Process};

/// How much output becomes part of a process's result.
const KEPT: usize = 1 << 20;

/// A host process; its output goes to unnamed files.
#[derive(Debug)]
pub struct Background {
    process: Process,
    stdout: File,
    stderr: File,
    /// The task that watches the output, if a step waits for it.
    watcher: Option<AbortHandle>,
}

impl Background {
    /// Starts a process in the case's directory. `trouble` decides whether its end is trouble.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(
        argv: Vec<String>,
        env: BTreeMap<String, String>,
        stdin: Option<File>,
        directory: &Path,
        (board, notes): (&Arc<Board>, &Arc<Notes>),
        trouble: impl Fn(Ended) -> Option<Trouble> + Send + 'static,
    ) -> Result<Self, Failure> {
        let program = argv.first().cloned().unwrap_or_default();
        let broken = |error: std::io::Error| Failure::error(format!("cannot start `{program}`: {error}"));
        let file = || tempfile::tempfile_in(directory).map_err(broken);
        let (stdout, stderr) = (file()?, file()?);
        let process = Process::spawn(Launch {
            argv,
            env,
            directory: directory.to_owned(),
            inherit: vec![],
            stdin,
            stdout: stdout.try_clone().map_err(broken)?,
            stderr: stderr.try_clone().map_err(broken)?,
        })
        .map_err(broken)?;
        let pid = process.pid();
        notes.remember(pid);
        board.process_began();
        let (mut ended, board, notes) = (process.watch(), Arc::clone(board), Arc::clone(notes));
        tokio::spawn(async move {
            let how = ended.wait_for(Option::is_some).await.ok().and_then(|how| *how);
            notes.forget(pid);
            if let Some(trouble) = how.and_then(trouble) {
                board.report(trouble);
            }
            board.process_ended();
        });
        Ok(Self { process, stdout, stderr, watcher: None })
    }

    /// Its whole standard output and standard error, once it has ended.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn outputs(&self) -> std::io::Result<[Vec<u8>; 2]> {
        let all = |file: &File| {
            let mut bytes = Vec::new();
            from_start(file)?.read_to_end(&mut bytes)?;
            Ok::<_, std::io::Error>(bytes)
        };
        Ok([all(&self.stdout)?, all(&self.stderr)?])
    }

    /// The file with its standard output, at its start, once it has ended.
    ///
    /// # Errors
    /// When this process has too many open files.
    pub fn stdout(&self) -> std::io::Result<File> {
        from_start(&self.stdout)
    }

    /// Notifies the board of each write to its standard output and error from now on.
    ///
    /// # Errors
    /// When the kernel does not allow watching them.
    pub fn watch_output(&mut self, board: &Arc<Board>) -> std::io::Result<()> {
        let watch = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        for file in [&self.stdout, &self.stderr] {
            // The files have no other name.
            let path = format!("/proc/self/fd/{}", file.as_raw_fd());
            inotify::add_watch(&watch, path, WatchFlags::MODIFY)?;
        }
        // SAFETY: the descriptor is moved, and stays open and unchanged while it is registered.
        let watch = unsafe { AsyncFd::register_with_interest(watch, Interest::READABLE) }
            .map_err(std::io::Error::from)?;
        let board = Arc::clone(board);
        let watcher = tokio::spawn(async move {
            let mut seen = [0; 1024];
            while let Ok(mut ready) = watch.readable().await {
                // The event's content does not matter: waiters read the output themselves.
                match ready.try_io(|watch| Ok(rustix::io::read(watch.get_ref(), &mut seen)?)) {
                    Ok(Ok(_)) => board.changed(),
                    Ok(Err(_)) => return,
                    Err(_) => {}
                }
            }
        });
        self.watcher = Some(watcher.abort_handle());
        Ok(())
    }

    /// The first line of its standard output or error that matches.
    #[must_use]
    pub fn find_line(&self, expression: &Regex) -> Option<String> {
        [&self.stdout, &self.stderr].into_iter().find_map(|file| {
            let text = text(file);
            // An incomplete line may still change.
            let mut lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
            lines.find(|line| expression.is_match(line.trim_end())).map(|line| line.trim_end().to_owned())
        })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// How it ended, if it has.
    #[must_use]
    pub fn ended(&self) -> Option<Ended> {
        self.process.ended()
    }

    /// Waits for its end.
    pub async fn wait(&self) -> Ended {
        self.process.wait().await
    }

    /// Kills it and blocks until it has exited.
    pub fn kill_and_wait(&self) {
        self.process.kill_and_wait();
    }

    /// Its result: `stdout`, `stderr` and `exit`; `exit` is null if a signal ended it.
    #[must_use]
    pub fn result(&self) -> Value {
        let exit = match self.ended() {
            Some(Ended::Status(status)) => Some(status),
            _ => None,
        };
        json!({"stdout": text(&self.stdout), "stderr": text(&self.stderr), "exit": exit})
    }

    /// Its state, and the last lines of its standard output and standard error.
    #[must_use]
    pub fn state_and_output(&self) -> String {
        let state = self.ended().map_or_else(|| "still running".to_owned(), |ended| ended.to_string());
        let said = self.said();
        if said.is_empty() { state } else { format!("{state}, {said}") }
    }

    /// The last lines of its standard output and standard error: "saying: …"; empty if there are none.
    #[must_use]
    pub fn said(&self) -> String {
        said(&text(&self.stdout), &text(&self.stderr))
    }

    /// Its whole output under a title, for the artifacts.
    #[must_use]
    pub fn record(&self, title: &str) -> String {
        let state = self.ended().map_or_else(|| "still running".to_owned(), |ended| ended.to_string());
        let (stdout, stderr) = (text(&self.stdout), text(&self.stderr));
        format!("== {title}: {state}\n-- standard output\n{stdout}\n-- standard error\n{stderr}\n")
    }

    /// The last lines of its standard error, else of its standard output.
    #[must_use]
    pub fn output_tail(&self) -> String {
        let said = [&self.stderr, &self.stdout].map(text);
        let said = said.into_iter().find(|said| !said.trim().is_empty()).unwrap_or_default();
        let all: Vec<&str> = said.trim_end().lines().collect();
        all[all.len().saturating_sub(5)..].join("\n")
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(watcher) = &self.watcher {
            watcher.abort();
        }
    }
}

/// A file in this directory with the standard input for a process.
///
/// # Errors
/// When it cannot be written.
pub fn input(text: &str, directory: &Path) -> Result<File, Failure> {
    let file = tempfile::tempfile_in(directory).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        from_start(&file)
    });
    file.map_err(|error| Failure::error(format!("cannot write the standard input: {error}")))
}

/// A descriptor of the same open file, which is then at its start.
///
/// # Errors
/// When this process has too many open files.
pub fn from_start(file: &File) -> std::io::Result<File> {
    let mut file = file.try_clone()?;
    file.seek(SeekFrom::Start(0))?;
    Ok(file)
}

fn text(file: &File) -> String {
    use std::os::unix::fs::FileExt;
    // With an explicit offset: the process writes through the same open file.
    let mut bytes = Vec::new();
    let mut chunk = vec![0; 64 << 10];
    while bytes.len() < KEPT {
        match file.read_at(&mut chunk, bytes.len() as u64) {
            Ok(0) => break,
            Ok(count) => bytes.extend_from_slice(&chunk[..count]),
            Err(error) => return format!("(cannot read its output: {error})"),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The last lines of a standard output and a standard error: "saying: …"; empty if there are none.
#[must_use]
pub fn said(stdout: &str, stderr: &str) -> String {
    let said = [("standard output", stdout), ("standard error", stderr)];
    let said: Vec<_> = said.iter().filter(|(_, said)| !said.trim().is_empty()).collect();
    let lines = said.iter().enumerate().map(|(number, (stream, text))| {
        let lines: Vec<&str> = text.trim_end().lines().collect();
        let last = lines[lines.len().saturating_sub(5)..].join("\n    ");
        let before = if number == 0 { "saying" } else { "\n  and" };
        let stream = if said.len() > 1 { format!(" on its {stream}") } else { String::new() };
        format!("{before}{stream}:\n    {last}")
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::directory::Workspace;

    #[tokio::test]
    async fn a_process_has_a_result_and_what_it_leaves_running_ends_with_it() {
        let workspace = Workspace::new().unwrap();
        let argv =
            ["/bin/sh", "-c", "cat; echo oops >&2; sleep 1000 & echo $!; exit 4"].map(str::to_owned).to_vec();
        let (board, notes) = (Arc::new(Board::default()), workspace.notes());
        let env = BTreeMap::new();
        let stdin = Some(input("in\n", workspace.path()).unwrap());
        let process =
            Background::start(argv, env, stdin, workspace.path(), (&board, &notes), |_| None).unwrap();
        assert_eq!(process.wait().await, Ended::Status(4));
        let result = process.result();
        assert_eq!((&result["stderr"], &result["exit"]), (&json!("oops\n"), &json!(4)));
        let state = process.state_and_output();
        assert!(state.contains(", saying on its standard output:\n    in\n"), "{state}");
        assert!(state.ends_with("and on its standard error:\n    oops"), "{state}");
        let (said, left) = result["stdout"].as_str().unwrap().split_once('\n').unwrap();
        assert_eq!(said, "in");
        let gone = || match std::fs::read_to_string(format!("/proc/{}/stat", left.trim())) {
            Ok(stat) => stat.contains(") Z "),
            Err(_) => true,
        };
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while !gone() {
            assert!(std::time::Instant::now() < deadline, "process {left} outlived its group");
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_process_of_a_timed_out_step_is_killed_and_its_exit_can_be_awaited() {
        let workspace = Workspace::new().unwrap();
        let (board, notes) = (Arc::new(Board::default()), workspace.notes());
        let start = || {
            let argv = ["/bin/sh", "-c", "sleep 1000 & wait"].map(str::to_owned).to_vec();
            Background::start(argv, BTreeMap::new(), None, workspace.path(), (&board, &notes), |_| None)
                .unwrap()
        };
        let (one, other) = (start(), start());
        let pid = one.pid();
        drop(one);
        assert!(
            !board.all_processes_ended(std::time::Duration::from_millis(50)).await,
            "the other one lives"
        );
        drop(other);
        assert!(board.all_processes_ended(std::time::Duration::from_secs(60)).await);
        assert!(!Path::new(&format!("/proc/{pid}")).exists(), "it has not been waited for");
    }
}
