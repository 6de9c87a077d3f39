//! A child process that never outlives the runner.
//!
//! Each child gets its own process group, so that Ctrl-C at the terminal reaches only the runner, and the kernel
//! kills it when the runner dies (`PR_SET_PDEATHSIG`). That signal is tied to the *thread* that spawned it, so all
//! children are spawned by one thread that lives as long as the process.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, mpsc};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

/// What to start.
#[derive(Debug)]
pub struct Launch {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// Environment variables beside the runner's own.
    pub env: BTreeMap<String, String>,
    /// The working directory.
    pub directory: PathBuf,
    /// Descriptors the child inherits under the same numbers.
    pub inherit: Vec<Arc<OwnedFd>>,
    /// Standard input; absent: empty.
    pub stdin: Option<File>,
    /// Standard output.
    pub stdout: File,
    /// Standard error.
    pub stderr: File,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// With this exit status.
    Status(i32),
    /// By this signal.
    Signal(i32),
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Status(status) => write!(f, "exit status {status}"),
            Self::Signal(signal) => match signal_name(*signal) {
                Some(name) => write!(f, "signal {name}"),
                None => write!(f, "signal {signal}"),
            },
        }
    }
}

/// The names of the signals from 1 on; the real-time signals have none.
const SIGNALS: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

fn signal_name(number: i32) -> Option<&'static str> {
    SIGNALS.get(usize::try_from(number).ok()?.checked_sub(1)?).copied()
}

/// How a zombie process ended, from its `/proc/PID/stat`. The fields after the name in parentheses start with the
/// state; the exit code is the 50th.
fn zombie(stat: &str) -> Option<Ended> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let code: i32 = fields.get(49).filter(|_| fields[0] == "Z")?.parse().ok()?;
    Some(if code & 0x7f == 0 { Ended::Status(code >> 8) } else { Ended::Signal(code & 0x7f) })
}

/// A running or ended child. Its process group is killed when it ends. Dropping it kills the whole group without
/// waiting; [`Self::watch`] still reports the end.
#[derive(Debug)]
pub struct Process {
    pid: Pid,
    pidfd: Arc<OwnedFd>,
    reaped: Arc<Mutex<Option<Ended>>>,
    ended: watch::Receiver<Option<Ended>>,
}

type Job = Box<dyn FnOnce() + Send>;

/// Runs a job on the one thread that spawns children.
fn on_spawner<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> T {
    static SPAWNER: OnceLock<Mutex<mpsc::Sender<Job>>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, jobs) = mpsc::channel::<Job>();
        std::thread::Builder::new()
            .name("spawner".to_owned())
            .spawn(move || jobs.into_iter().for_each(|job| job()))
            .expect("a thread can be started");
        Mutex::new(sender)
    });
    let (answer, result) = mpsc::sync_channel(1);
    let job: Job = Box::new(move || drop(answer.send(job())));
    spawner.lock().unwrap_or_else(PoisonError::into_inner).send(job).expect("the spawner never exits");
    result.recv().expect("the spawner answers")
}

impl Process {
    /// Starts a process. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn spawn(launch: Launch) -> io::Result<Self> {
        let (pid, pidfd) = on_spawner(move || spawn_here(launch))?;
        let pidfd = Arc::new(pidfd);
        let reaped = Arc::new(Mutex::new(None));
        let (sender, ended) = watch::channel(None);
        // SAFETY: the descriptor stays open and unchanged as long as the `Arc` that is moved in.
        let waiter = unsafe { AsyncFd::register_with_interest(Arc::clone(&pidfd), Interest::READABLE) }
            .map_err(io::Error::from)?;
        let reaper = Arc::clone(&reaped);
        tokio::spawn(async move {
            // A pidfd becomes readable when its process has ended.
            if waiter.readable().await.is_ok() {
                sender.send_replace(reap(pid, waiter.get_ref(), &reaper));
            }
        });
        Ok(Self { pid, pidfd, reaped, ended })
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// How it ended, if it has.
    #[must_use]
    pub fn ended(&self) -> Option<Ended> {
        reap(self.pid, &self.pidfd, &self.reaped)
    }

    /// Whether it is exiting, which takes a moment: it disappears from the kernel's tables only after its sockets are
    /// closed and its memory is dumped. See the kernel's documentation of `/proc/PID/stat` and `status`.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        // PF_EXITING, PF_DUMPCORE and PF_SIGNALED of `linux/sched.h`.
        const FLAGS: u64 = 0x4 | 0x200 | 0x400;
        let read = |file: &str| std::fs::read_to_string(format!("/proc/{}/{file}", self.pid()));
        // `None` if it is exiting.
        let state = || {
            let stat = read("stat").ok()?;
            // The name in parentheses may contain anything.
            let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
            let state = fields.next().unwrap_or_default().to_owned();
            let flags: u64 = fields.nth(5).and_then(|flags| flags.parse().ok()).unwrap_or(0);
            (!matches!(&*state, "Z" | "X") && flags & FLAGS == 0).then_some(state)
        };
        let Some(before) = state() else { return true };
        let deadly = [Signal::KILL, Signal::ABORT, Signal::SEGV].map(|signal| 1 << (signal.as_raw() - 1));
        let deadly: u64 = deadly.iter().sum();
        let pending = |line: &str| {
            let mask = line.strip_prefix("SigPnd:").or_else(|| line.strip_prefix("ShdPnd:"));
            mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
        };
        let is_pending =
            || read("status").is_ok_and(|status| status.lines().any(|line| pending(line) & deadly != 0));
        // A signal that was handled in between is no longer pending, but visible in the state.
        (before != "T" && is_pending()) || state().is_none()
    }

    /// Reports when it has ended, without holding the process.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Option<Ended>> {
        self.ended.clone()
    }

    /// Waits until it has ended.
    pub async fn wait(&self) -> Ended {
        let mut ended = self.ended.clone();
        loop {
            if let Some(how) = self.ended() {
                return how;
            }
            if ended.changed().await.is_err() {
                return self.ended().unwrap_or(Ended::Signal(Signal::KILL.as_raw()));
            }
        }
    }

    /// How a child of the process ended whose exit status has not been collected yet.
    #[must_use]
    pub fn ended_child(&self) -> Option<Ended> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid())).ok()?;
        tasks.flatten().find_map(|task| {
            let children = std::fs::read_to_string(task.path().join("children")).ok()?;
            children
                .split_whitespace()
                .find_map(|child| zombie(&std::fs::read_to_string(format!("/proc/{child}/stat")).ok()?))
        })
    }

    /// The descriptor of the process, for signals.
    #[must_use]
    pub const fn pidfd(&self) -> &Arc<OwnedFd> {
        &self.pidfd
    }

    /// Sends it a signal; ignored if the process has ended.
    pub fn signal(&self, signal: Signal) {
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, signal);
    }

    /// Kills it and everything in its process group.
    pub fn kill(&self) {
        // The group of an ended process was killed with it.
        if self.ended().is_none() {
            let _ = rustix::process::kill_process_group(self.pid, Signal::KILL);
        }
    }

    /// Kills it like [`Self::kill`] and blocks until it has exited, for clean-up outside of async code.
    pub fn kill_and_wait(&self) {
        self.kill();
        // SIGKILL cannot be refused; the bound is for a process that hangs inside the kernel.
        let fds = &mut [PollFd::new(&*self.pidfd, PollFlags::IN)];
        let _ = poll(fds, Some(&Timespec { tv_sec: 10, tv_nsec: 0 }));
        let _ = self.ended();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn_here(launch: Launch) -> io::Result<(Pid, OwnedFd)> {
    let Launch { argv, env, directory, inherit, stdin, stdout, stderr } = launch;
    let (program, arguments) =
        argv.split_first().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no program"))?;
    let mut command = Command::new(program);
    command.args(arguments).envs(env).current_dir(directory).process_group(0);
    command.stdin(stdin.map_or_else(Stdio::null, Stdio::from)).stdout(stdout).stderr(stderr);
    let runner = rustix::process::getpid();
    let numbers: Vec<i32> = inherit.iter().map(rustix::fd::AsRawFd::as_raw_fd).collect();
    let prepare = move || {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        if rustix::process::getppid() != Some(runner) {
            // The runner died before the line above: the signal would never be sent.
            return Err(io::ErrorKind::Interrupted.into());
        }
        for number in &numbers {
            // SAFETY: the descriptors are open: `inherit` is dropped only after the spawn.
            let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(*number) };
            rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty())?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes system calls only: it allocates nothing and takes no lock.
    unsafe { command.pre_exec(prepare) };
    let child = command.spawn()?;
    drop(inherit);
    let pid = Pid::from_child(&child);
    match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
        Ok(pidfd) => Ok((pid, pidfd)),
        Err(error) => {
            let _ = rustix::process::kill_process(pid, Signal::KILL);
            let _ = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty());
            Err(error.into())
        }
    }
}

fn reap(pid: Pid, pidfd: &OwnedFd, reaped: &Mutex<Option<Ended>>) -> Option<Ended> {
    use std::os::fd::AsFd;
    let mut reaped = reaped.lock().unwrap_or_else(PoisonError::into_inner);
    if reaped.is_none() {
        let has_ended = |more| {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | more;
            rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), options).ok().flatten()
        };
        has_ended(WaitIdOptions::NOWAIT)?;
        // Do it now: the group's number may be reused once its leader has been waited for.
        let _ = rustix::process::kill_process_group(pid, Signal::KILL);
        let status = has_ended(WaitIdOptions::empty())?;
        *reaped = match (status.exit_status(), status.terminating_signal()) {
            (Some(status), _) => Some(Ended::Status(status)),
            (None, Some(signal)) => Some(Ended::Signal(signal)),
            (None, None) => None,
        };
    }
    *reaped
}

/// Waits until the process has ended, but no longer than `patience`.
pub async fn wait_at_most(process: &Process, patience: Duration) -> Option<Ended> {
    tokio::time::timeout(patience, process.wait()).await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launch(argv: &[&str]) -> Launch {
        Launch {
            argv: argv.iter().map(|&word| word.to_owned()).collect(),
            env: BTreeMap::new(),
            directory: PathBuf::from("/"),
            inherit: vec![],
            stdin: None,
            stdout: tempfile::tempfile().unwrap(),
            stderr: tempfile::tempfile().unwrap(),
        }
    }

    #[tokio::test]
    async fn a_process_reports_how_it_ended() {
        let process = Process::spawn(launch(&["/bin/sh", "-c", "exit 3"])).unwrap();
        assert_eq!(process.wait().await, Ended::Status(3));
        let process = Process::spawn(launch(&["/bin/sh", "-c", "kill -9 $$"])).unwrap();
        assert_eq!(process.wait().await.to_string(), "signal KILL");
    }

    #[test]
    fn a_signal_has_its_name() {
        let known =
            [(1, "HUP"), (9, "KILL"), (11, "SEGV"), (15, "TERM"), (24, "XCPU"), (31, "SYS"), (34, "34")];
        for (number, name) in known {
            assert_eq!(Ended::Signal(number).to_string(), format!("signal {name}"));
        }
        let ours = [
            (Signal::ABORT, "ABRT"),
            (Signal::BUS, "BUS"),
            (Signal::STKFLT, "STKFLT"),
            (Signal::XFSZ, "XFSZ"),
            (Signal::POWER, "PWR"),
            (Signal::SYS, "SYS"),
        ];
        for (signal, name) in ours {
            assert_eq!(signal_name(signal.as_raw()), Some(name));
        }
    }

    #[tokio::test]
    async fn a_process_that_was_killed_is_ending_until_it_has_ended() {
        let process = Process::spawn(launch(&["/bin/sleep", "1000"])).unwrap();
        assert!(!process.is_ending());
        process.signal(Signal::ABORT);
        let ended = process.wait();
        tokio::pin!(ended);
        assert!(
            process.is_ending(),
            "nothing was awaited yet, so nothing has taken it off the kernel's tables"
        );
        assert_eq!(ended.await, Ended::Signal(Signal::ABORT.as_raw()));
    }

    #[tokio::test]
    async fn dropping_a_process_kills_its_whole_group() {
        let process = Process::spawn(launch(&["/bin/sh", "-c", "sleep 1000 & wait"])).unwrap();
        let group = process.pid;
        drop(process);
        // The group is gone when a signal to it has no receiver; the grandchild is reaped by init in its own time.
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        while rustix::process::test_kill_process_group(group).is_ok() {
            assert!(std::time::Instant::now() < deadline, "the group outlived its process");
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_program_that_cannot_be_started_is_an_error() {
        let error = Process::spawn(launch(&["/no/such/program"])).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
