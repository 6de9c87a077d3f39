//! Shared by the tests: a home directory for one run of the built command, the available QEMUs, and the results of a
//! run.

#![allow(dead_code, reason = "each test file uses its own part of it")]

pub(crate) mod harness;

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use lockstep_vm::event::{CaseEnd, Event, StepOutcome, Verdict, What};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};
use semver::Version;
use tempfile::TempDir;

/// The time limit for everything; generous for slow machines, and never reached if all is well.
pub(crate) const PATIENCE: Duration = Duration::from_secs(600);

/// An environment variable that marks every process that a run starts, directly or indirectly.
const MARK: &str = "LOCKSTEP_TEST_MARK";

/// A VM that starts quickly.
pub(crate) const VM: &str = "{memory: 32M, guest: {ticker: {dirty: 1M}}}";

/// A QEMU to test with.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Qemu {
    pub path: PathBuf,
    pub version: Version,
}

/// Which of the available QEMUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slot {
    /// The newest of those below `.qemu`, else the system's; only `LOCKSTEP_TEST_QEMU` if it is set.
    Newest,
    /// The others below `.qemu`.
    Old,
    /// The one in `PATH`.
    System,
}

impl Slot {
    /// All of them; the system's QEMU is listed separately only if it is not also the newest one.
    pub(crate) fn all() -> Vec<Self> {
        let alone = slot(Self::Newest) == slot(Self::System) && !slot(Self::System).is_empty();
        if alone { vec![Self::Newest, Self::Old] } else { vec![Self::Newest, Self::Old, Self::System] }
    }

    pub(crate) fn missing(self) -> &'static str {
        match self {
            _ if std::env::var_os(ONLY_QEMU).is_some() => {
                "LOCKSTEP_TEST_QEMU names the only QEMU to test with"
            }
            Self::Newest => NO_QEMU,
            Self::Old => "there is no second QEMU below .qemu; `make old-qemu` fetches one",
            Self::System => "there is no qemu-system-x86_64 on the PATH",
        }
    }
}

pub(crate) const NO_QEMU: &str = "there is no qemu-system-x86_64 on the PATH or below .qemu";
const ONLY_QEMU: &str = "LOCKSTEP_TEST_QEMU";

/// The QEMUs of a slot.
pub(crate) fn slot(slot: Slot) -> &'static [Qemu] {
    static SLOTS: OnceLock<[Vec<Qemu>; 3]> = OnceLock::new();
    let slots = SLOTS.get_or_init(|| {
        if let Some(path) = std::env::var_os(ONLY_QEMU) {
            return [answering(path.into()).into_iter().collect(), Vec::new(), Vec::new()];
        }
        let pattern = concat!(env!("CARGO_MANIFEST_DIR"), "/.qemu/*/bin/qemu-system-x86_64");
        let unpacked = glob::glob(pattern).unwrap().map(Result::unwrap);
        let mut newest: Vec<Qemu> = unpacked.filter_map(answering).collect();
        newest.sort_by(|one, other| other.version.cmp(&one.version));
        let old = newest.split_off(newest.len().min(1));
        let system: Vec<Qemu> = on_path("qemu-system-x86_64").and_then(answering).into_iter().collect();
        if newest.is_empty() {
            newest.clone_from(&system);
        }
        [newest, old, system]
    });
    &slots[slot as usize]
}

/// All available QEMUs, the newest first.
pub(crate) fn qemus() -> &'static [Qemu] {
    static QEMUS: OnceLock<Vec<Qemu>> = OnceLock::new();
    QEMUS.get_or_init(|| {
        let mut qemus: Vec<Qemu> = Slot::all().into_iter().flat_map(slot).cloned().collect();
        qemus.sort_by(|one, other| other.version.cmp(&one.version));
        qemus
    })
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|path| path.exists())
}

fn answering(path: PathBuf) -> Option<Qemu> {
    let said = Command::new(&path).arg("--version").output().ok()?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let version = said.split("version ").nth(1)?.split_whitespace().next()?;
    Some(Qemu { version: version.parse().ok()?, path })
}

/// The newest QEMU, which must be at least this old: the table says so.
#[track_caller]
pub(crate) fn qemu(least: u64) -> &'static Qemu {
    let qemu = qemus().first().filter(|qemu| qemu.version.major >= least);
    qemu.unwrap_or_else(|| panic!("the table does not say that this test needs `Qemu({least})`"))
}

/// The QEMU of another architecture that is beside this one, if there is one.
pub(crate) fn sibling(qemu: &Qemu, arch: &str) -> PathBuf {
    qemu.path.with_file_name(format!("qemu-system-{arch}"))
}

/// The `qemu-img` for a QEMU, if there is one.
pub(crate) fn qemu_img_of(qemu: &Qemu) -> Option<PathBuf> {
    let beside = Some(qemu.path.with_file_name("qemu-img")).filter(|path| path.exists());
    beside.or_else(|| on_path("qemu-img"))
}

/// The directory of the Linux guest.
pub(crate) fn guests() -> PathBuf {
    let given = std::env::var_os("LOCKSTEP_GUESTS").map(PathBuf::from);
    let folder = given.unwrap_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/.guests").into());
    std::path::absolute(folder).unwrap()
}

/// A directory for one test, with subdirectories for temporary files and for reports; the processes run in it are
/// marked.
#[derive(Debug)]
pub(crate) struct Home {
    folder: TempDir,
    mark: String,
    patience: Duration,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self::patient(PATIENCE)
    }

    /// One for runs that may take this long.
    pub(crate) fn patient(patience: Duration) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let folder = tempfile::Builder::new().prefix("lst").tempdir_in("/tmp").unwrap();
        std::fs::create_dir(folder.path().join("tmp")).unwrap();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Self { folder, mark: format!("{}-{number}", std::process::id()), patience }
    }

    /// A path in the home.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Another command, run in the home and marked.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        for (name, _) in
            std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("LOCKSTEP_"))
        {
            command.env_remove(name);
        }
        command
            .current_dir(self.folder.path())
            .env("TMPDIR", self.path("tmp"))
            .env("HERE", self.folder.path())
            .env("NO_COLOR", "1")
            .env("COLUMNS", "100")
            .env(MARK, &self.mark)
            // Of a CI server that runs these tests.
            .env_remove("WORKSPACE")
            .stdin(Stdio::null());
        command
    }

    /// The command under test.
    pub(crate) fn lockstep(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(env!("CARGO_BIN_EXE_lockstep"));
        command.args(arguments);
        command
    }

    /// Runs the command under test to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        self.finish(self.lockstep(arguments))
    }

    /// Runs scenarios on a QEMU, under emulation.
    pub(crate) fn run_on(&self, qemu: &Qemu, arguments: &[&str]) -> Ran {
        let path = qemu.path.display().to_string();
        self.run(&[&["run", "--accel", "tcg", "--qemu", &path], arguments].concat())
    }

    /// Starts a command; [`Self::ended`] waits for its end.
    pub(crate) fn spawn(&self, mut command: Command) -> Child {
        let file = |name: &str| std::fs::File::create(self.path(&format!("tmp.{name}"))).unwrap();
        command.stdout(file("stdout")).stderr(file("stderr"));
        command.spawn().unwrap()
    }

    /// Runs a command to its end.
    pub(crate) fn finish(&self, command: Command) -> Ran {
        let child = self.spawn(command);
        self.ended(child)
    }

    /// Waits for the end of a command that was spawned here.
    pub(crate) fn ended(&self, mut child: Child) -> Ran {
        let pidfd = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).unwrap();
        let deadline = Timespec { tv_sec: self.patience.as_secs().cast_signed(), tv_nsec: 0 };
        let ready = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&deadline)).unwrap();
        if ready == 0 {
            let _ = child.kill();
            let _ = child.wait();
            panic!("it hangs; it said\n{}\n{}", self.read("tmp.stdout"), self.read("tmp.stderr"));
        }
        let status = child.wait().unwrap();
        let ran = Ran {
            code: status.code(),
            signal: status.signal(),
            stdout: self.said("stdout"),
            stderr: self.said("stderr"),
        };
        for name in ["tmp.stdout", "tmp.stderr"] {
            std::fs::remove_file(self.path(name)).unwrap();
        }
        ran
    }

    fn said(&self, name: &str) -> String {
        let text = self.read(&format!("tmp.{name}"));
        text.replace(&self.folder.path().display().to_string(), "HERE")
    }

    /// The results of the last run, from its reports.
    pub(crate) fn results(&self) -> Results {
        let text = self.read("reports/events.jsonl");
        let events = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")));
        Results { events: events.collect() }
    }

    /// The live processes with this home's mark, each with its command line.
    pub(crate) fn alive(&self) -> Vec<(i32, String)> {
        let mark = format!("{MARK}={}", self.mark);
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            // A process that has ended meanwhile, or is a zombie, has no environment.
            let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
            if environment.split(|&byte| byte == 0).any(|variable| variable == mark.as_bytes()) {
                let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
                found.push((pid, String::from_utf8_lossy(&line).replace('\0', " ")));
            }
        }
        found
    }

    /// Waits until nothing of the run is left: no process, no directory, and no unexpected file.
    pub(crate) fn assert_nothing_is_left(&self) {
        wait_until(
            "every process of the run to end",
            || self.alive().is_empty().then_some(()),
            || format!("{:?}", self.alive()),
        );
        let left = || names(&self.path("tmp"));
        wait_until(
            "the temporary folder to be empty",
            || left().is_empty().then_some(()),
            || format!("{:?}", left()),
        );
    }

    /// The names of the files in the home.
    pub(crate) fn files(&self) -> BTreeSet<String> {
        names(self.folder.path())
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // A failed test leaves nothing behind either.
        for (pid, _) in self.alive() {
            if let Some(pid) = Pid::from_raw(pid) {
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
        }
    }
}

/// The names in a directory.
pub(crate) fn names(folder: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

/// Polls a condition, where there is no event to wait for.
pub(crate) fn wait_until<T>(
    awaited: &str,
    mut look: impl FnMut() -> Option<T>,
    seen: impl Fn() -> String,
) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {awaited}; saw {}", seen());
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Sends a signal to a child.
pub(crate) fn signal(child: &Child, signal: Signal) {
    rustix::process::kill_process(Pid::from_child(child), signal).unwrap();
}

/// The exit code and output of the command; the home's path in it is replaced by `HERE`.
#[derive(Debug)]
pub(crate) struct Ran {
    pub code: Option<i32>,
    pub signal: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// Fails the test, with the whole output, if the exit code differs.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }
}

/// The events of a run.
#[derive(Debug)]
pub(crate) struct Results {
    pub events: Vec<Event>,
}

impl Results {
    /// The names of the cases in the order of their numbers.
    pub(crate) fn cases(&self) -> Vec<String> {
        let started = self.events.iter().filter_map(|event| match &event.what {
            What::CaseStarted { name, .. } => Some((event.case, name.clone())),
            _ => None,
        });
        let mut cases: Vec<_> = started.collect();
        cases.sort();
        cases.into_iter().map(|(_, name)| name).collect()
    }

    /// The events of one case.
    #[track_caller]
    pub(crate) fn case(&self, wanted: &str) -> Case<'_> {
        let is_it = |what: &What| matches!(what, What::CaseStarted { name, .. } if name == wanted);
        let number = self.events.iter().find(|event| is_it(&event.what));
        let Some(number) = number.and_then(|event| event.case) else {
            panic!("no case `{wanted}` among {:?}", self.cases())
        };
        let events = self.events.iter().filter(|event| event.case == Some(number)).map(|event| &event.what);
        Case { name: wanted.to_owned(), events: events.collect() }
    }

    /// Every case has a verdict.
    pub(crate) fn verdicts(&self) -> Vec<(String, Verdict, Option<String>)> {
        let verdict = |name: String| {
            let case = self.case(&name);
            let (verdict, reason) = (case.verdict(), case.reason());
            (name, verdict, reason)
        };
        self.cases().into_iter().map(verdict).collect()
    }

    pub(crate) fn notes(&self) -> Vec<&str> {
        let note = |event: &'_ Event| matches!(event.what, What::Note { .. });
        let notes = self.events.iter().filter(|event| note(event));
        notes.map(|event| if let What::Note { text } = &event.what { text.as_str() } else { "" }).collect()
    }
}

/// The events of a case.
#[derive(Debug)]
pub(crate) struct Case<'t> {
    pub name: String,
    pub events: Vec<&'t What>,
}

/// A step that ended.
#[derive(Debug)]
pub(crate) struct Step {
    pub title: String,
    pub finally: bool,
    pub outcome: StepOutcome,
    pub message: Option<String>,
}

impl Case<'_> {
    fn end(&self) -> &CaseEnd {
        let ended = self.events.iter().find_map(|what| match what {
            What::CaseEnded(end) => Some(&**end),
            _ => None,
        });
        ended.unwrap_or_else(|| panic!("{} has not ended", self.name))
    }

    pub(crate) fn verdict(&self) -> Verdict {
        self.end().verdict
    }

    pub(crate) fn reason(&self) -> Option<String> {
        self.end().reason.clone()
    }

    pub(crate) fn seconds(&self) -> f64 {
        self.end().seconds
    }

    pub(crate) fn evidence(&self) -> Option<String> {
        self.end().evidence.clone()
    }

    pub(crate) fn artifacts(&self) -> Option<PathBuf> {
        self.end().artifacts.clone()
    }

    pub(crate) fn file(&self) -> String {
        let file = self.events.iter().find_map(|what| match what {
            What::CaseStarted { file, .. } => Some(file.clone()),
            _ => None,
        });
        file.expect("a case with events has started")
    }

    pub(crate) fn place(&self) -> Option<String> {
        self.end().place.clone()
    }

    /// The steps that ended, in order.
    pub(crate) fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        for what in &self.events {
            if let What::StepEnded { step: number, outcome, message, .. } = what {
                let began = self.events.iter().find_map(|what| match what {
                    What::StepBegan { step, title, finally, .. } if step == number => {
                        Some((title.clone(), *finally))
                    }
                    _ => None,
                });
                let (title, finally) = began.expect("a step that ended has begun");
                steps.push(Step { title, finally, outcome: *outcome, message: message.clone() });
            }
        }
        steps
    }
}
