//! The main function of test binaries whose tests need something that a machine may lack: a QEMU, a guest, a browser.
//!
//! The file of such tests ends with a table of them, each with its needs. A test that lacks one is reported as
//! ignored, with the reason; if `LOCKSTEP_TEST_REQUIRE` lists that need, it fails instead. `LOCKSTEP_TEST_NOT_RUN`
//! names a file to which each test that was not run is appended (`make test` prints it at its end).

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use libtest_mimic::{Arguments, Completion, Trial};

use super::{NO_QEMU, Qemu, Slot, guests, qemu_img_of, qemus, slot};

/// What a machine may lack.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Need {
    /// A QEMU of this major version or a newer one.
    Qemu(u64),
    /// A QEMU for this slot.
    Slot(Slot),
    /// `qemu-img` for the newest QEMU.
    QemuImg,
    /// The Linux guest.
    Guest,
    /// Debian's package `ovmf`.
    Ovmf,
    /// KVM.
    Kvm,
    /// Chromium.
    Browser,
    /// A program that `scripts/fetch-readers` installs, by its path.
    Reader(&'static str),
    /// `xmllint`.
    Xmllint,
    /// The compiler and the linker that build the built-in guest for x86.
    Compiler,
    /// The same for another architecture: the prefix of their names.
    CrossCompiler(&'static str),
    /// The QEMU of another architecture, beside the newest one.
    Target(&'static str),
    /// Another user, to run commands as (`setpriv`).
    OtherUser,
    /// `script`, which makes a terminal.
    Script,
    /// Two QEMUs or more.
    TwoQemus,
    /// Permission to mount file systems, at least in a namespace.
    Mounts,
    /// `cargo deb`, and `dpkg`.
    CargoDeb,
    /// The Debian guest, and `ssh`.
    Debian,
    /// `redis-server` and `redis-cli`.
    Redis,
    /// The programs of a PostgreSQL server, and `psql`.
    Postgres,
    /// The programs of Slurm and Munge, and permission to run each node in a process namespace of its own.
    Slurm,
}

use Need::{
    Browser, CargoDeb, Compiler, CrossCompiler, Debian, Guest, Kvm, Mounts, OtherUser, Ovmf, Postgres,
    QemuImg, Reader, Redis, Script, Slurm, Target, TwoQemus, Xmllint,
};

/// The names of needs in `LOCKSTEP_TEST_REQUIRE`; `all` stands for all of them.
const NAMES: [&str; 21] = [
    "qemu",
    "old-qemu",
    "system-qemu",
    "qemu-img",
    "guest",
    "ovmf",
    "kvm",
    "browser",
    "readers",
    "xmllint",
    "compiler",
    "cross-compilers",
    "qemu-all",
    "other-user",
    "script",
    "mounts",
    "cargo-deb",
    "debian",
    "redis",
    "postgres",
    "slurm",
];

impl Need {
    /// Its name in `LOCKSTEP_TEST_REQUIRE`.
    fn name(self) -> &'static str {
        match self {
            Self::Qemu(_) | Self::Slot(Slot::Newest) => "qemu",
            Self::Slot(Slot::Old) | TwoQemus => "old-qemu",
            Self::Slot(Slot::System) => "system-qemu",
            QemuImg => "qemu-img",
            Guest => "guest",
            Ovmf => "ovmf",
            Kvm => "kvm",
            Browser => "browser",
            Reader(_) => "readers",
            Xmllint => "xmllint",
            Compiler => "compiler",
            CrossCompiler(_) => "cross-compilers",
            Target(_) => "qemu-all",
            OtherUser => "other-user",
            Script => "script",
            Mounts => "mounts",
            CargoDeb => "cargo-deb",
            Debian => "debian",
            Redis => "redis",
            Postgres => "postgres",
            Slurm => "slurm",
        }
    }

    /// Finds it, or returns what is missing.
    fn find(self) -> Result<(), String> {
        match self {
            Self::Qemu(least) => match qemus().first() {
                Some(qemu) if qemu.version.major >= least => Ok(()),
                Some(qemu) => Err(format!("needs QEMU {least}, the newest one here is {}", qemu.version)),
                None => Err(NO_QEMU.to_owned()),
            },
            Self::Slot(wanted) if slot(wanted).is_empty() => Err(wanted.missing().to_owned()),
            Self::Slot(_) => Ok(()),
            QemuImg => match qemus().first() {
                Some(qemu) if qemu_img_of(qemu).is_some() => Ok(()),
                Some(_) => Err("there is no qemu-img, neither beside the QEMU nor on the PATH".to_owned()),
                None => Err(NO_QEMU.to_owned()),
            },
            Ovmf => there(Path::new("/usr/share/OVMF/OVMF_CODE_4M.fd"), "Debian's package `ovmf` has it"),
            Guest => there(&guests().join("initrd-agent.gz"), "scripts/fetch-guest makes the Linux guest"),
            Kvm => lockstep_vm::qemu::kvm::trouble().map_or(Ok(()), |why| Err(format!("needs KVM: {why}"))),
            Browser => chromium().map(drop).ok_or_else(|| "there is no Chromium on the PATH".to_owned()),
            Reader(path) => there(&root().join(path), "scripts/fetch-readers makes it"),
            Xmllint => runs("xmllint", &["--version"], "libxml2-utils"),
            Compiler => [("gcc-12", "gcc-12"), ("ld", "binutils"), ("objcopy", "binutils")]
                .into_iter()
                .try_for_each(|(program, package)| runs(program, &["--version"], package)),
            CrossCompiler(prefix) => ["gcc-12", "ld", "objcopy"].into_iter().try_for_each(|program| {
                runs(&format!("{prefix}-{program}"), &["--version"], &format!("gcc-12-{prefix}"))
            }),
            Target(arch) => match qemus().first() {
                Some(qemu) => there(
                    &super::sibling(qemu, arch),
                    "`make qemu-all` fetches the QEMUs of other architectures",
                ),
                None => Err(NO_QEMU.to_owned()),
            },
            OtherUser => runs("setpriv", &OTHER_USER, "util-linux")
                .map_err(|_| "the command cannot be run by another user here".to_owned()),
            Script => runs("script", &["--version"], "bsdutils"),
            TwoQemus if qemus().len() < 2 => Err("there is one QEMU at most".to_owned()),
            TwoQemus => Ok(()),
            Mounts => mounts(),
            CargoDeb => runs("cargo", &["deb", "--version"], "`cargo install --locked cargo-deb`")
                .and_then(|()| runs("dpkg", &["--version"], "dpkg")),
            Debian => there(&guests().join("debian/disk.img"), "`make debian` makes it")
                .and_then(|()| runs("ssh", &["-V"], "openssh-client")),
            Redis => [("redis-server", "redis-server"), ("redis-cli", "redis-tools")]
                .into_iter()
                .try_for_each(|(program, package)| runs(program, &["--version"], package)),
            Postgres => runs("sh", &["-c", "ls /usr/lib/postgresql/*/bin/initdb"], "postgresql")
                .and_then(|()| runs("psql", &["--version"], "postgresql-client"))
                .map_err(|_| "there is no PostgreSQL here (Debian: postgresql)".to_owned()),
            Slurm => runs("sh", &["-c", "hash slurmctld slurmd sbatch munged"], "")
                .map_err(|_| {
                    "there is no Slurm here (Debian: slurmctld slurmd slurm-client munge)".to_owned()
                })
                .and_then(|()| {
                    runs("setpriv", &[&CONTAINED[..], &["true"]].concat(), "util-linux")
                        .map_err(|_| "a process namespace cannot be made here".to_owned())
                }),
        }
    }
}

/// The arguments of `setpriv` for a command in a process namespace, all of which ends with the thread that started it.
pub(crate) const CONTAINED: [&str; 7] =
    ["--pdeathsig", "KILL", "unshare", "--pid", "--fork", "--kill-child", "--mount-proc"];

const OTHER_USER: [&str; 7] =
    ["--reuid", "65534", "--regid", "65534", "--clear-groups", env!("CARGO_BIN_EXE_lockstep"), "--version"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn there(path: &Path, else_what: &str) -> Result<(), String> {
    if path.exists() { Ok(()) } else { Err(format!("{} is missing; {else_what}", path.display())) }
}

fn runs(program: &str, arguments: &[&str], package: &str) -> Result<(), String> {
    let status = Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        _ => Err(format!("there is no `{program}` here (Debian: {package})")),
    }
}

fn mounts() -> Result<(), String> {
    let trial = ["--user", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"];
    runs("unshare", &trial, "util-linux")
        .map_err(|_| "no file system can be mounted here, not even in a namespace".to_owned())
}

/// The browser, if there is one.
pub(crate) fn chromium() -> Option<PathBuf> {
    let given = std::env::var_os("LOCKSTEP_TEST_CHROMIUM").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = || {
        let names = ["chromium", "chromium-browser", "google-chrome"];
        std::env::split_paths(&path)
            .flat_map(|folder| names.map(|name| folder.join(name)))
            .find(|path| path.exists())
    };
    given.or_else(found)
}

/// How a test is run.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Run {
    Once(fn()),
    /// On each QEMU; a test for each of the slots.
    Each(fn(&'static Qemu)),
}

/// A line of the table.
#[derive(Debug)]
pub(crate) struct Test {
    pub name: &'static str,
    pub needs: &'static [Need],
    pub run: Run,
}

/// A line of the table: a test, and what it needs.
#[allow(unused_macros, reason = "not every file has a table")]
macro_rules! once {
    ($module:ident :: $name:ident $(, $need:expr)*) => {{
        use $module::$name;
        once!($name $(, $need)*)
    }};
    ($name:ident $(, $need:expr)*) => {{
        #[allow(unused_imports, reason = "not every test has needs")]
        use $crate::common::harness::Need::*;
        $crate::common::harness::Test {
            name: stringify!($name),
            needs: &[$($need),*],
            run: $crate::common::harness::Run::Once($name),
        }
    }};
}

/// A line of the table: a test that is run on each QEMU, and its other needs.
#[allow(unused_macros, reason = "not every file has tests for each QEMU")]
macro_rules! each {
    ($name:ident $(, $need:expr)*) => {{
        #[allow(unused_imports, reason = "not every test has needs")]
        use $crate::common::harness::Need::*;
        $crate::common::harness::Test {
            name: stringify!($name),
            needs: &[$($need),*],
            run: $crate::common::harness::Run::Each($name),
        }
    }};
}

#[allow(unused_imports, reason = "not every file has a table")]
pub(crate) use {each, once};

/// Runs the tests of a table; `file` is `file!()`.
pub(crate) fn main(file: &str, tests: &[Test]) -> ExitCode {
    let text = std::fs::read_to_string(root().join(file)).unwrap_or_default();
    if let Some(line) = text.lines().position(|line| line.trim() == "#[test]") {
        let what = "the tests of this file are those of its table, and one with `#[test]` is never run";
        eprintln!("error: {file}:{}: {what}", line + 1);
        return ExitCode::from(2);
    }
    if let Some(unknown) = required().iter().find(|name| !NAMES.contains(&name.as_str()) && *name != "all") {
        eprintln!(
            "error: LOCKSTEP_TEST_REQUIRE: no test needs `{unknown}`; there are all, {}",
            NAMES.join(", ")
        );
        return ExitCode::from(2);
    }
    let arguments = Arguments::from_args();
    // A list shows which ones are ignored; an ignored test that is run explicitly fails.
    let explicit = arguments.list || arguments.ignored || arguments.include_ignored;
    let trials = tests.iter().flat_map(|test| test.trials(explicit)).collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

impl Test {
    fn trials(&self, explicit: bool) -> Vec<Trial> {
        let trial = |name: String, mut needs: Vec<Need>, slot: Option<Slot>| {
            needs.extend(self.needs);
            let run = self.run;
            let body = move || match (run, slot) {
                (Run::Each(run), Some(place)) => super::slot(place).iter().for_each(run),
                (Run::Once(run), _) => run(),
                (Run::Each(_), None) => unreachable!("it has a slot"),
            };
            let ignored = explicit && lacking(&needs).is_some_and(|(need, _)| !is_required(need));
            let trial = Trial::ignorable_test(name.clone(), move || match lacking(&needs) {
                Some((need, reason)) if explicit || is_required(need) => {
                    Err(format!("{reason} (LOCKSTEP_TEST_REQUIRE: {})", need.name()).into())
                }
                Some((_, reason)) => {
                    not_run(&name, &reason);
                    Ok(Completion::ignored_with(reason))
                }
                None => {
                    body();
                    Ok(Completion::Completed)
                }
            });
            trial.with_ignored_flag(ignored)
        };
        match self.run {
            Run::Once(_) => vec![trial(self.name.to_owned(), Vec::new(), None)],
            Run::Each(_) => Slot::all()
                .into_iter()
                .map(|slot| {
                    let need = Need::Slot(slot);
                    let name = format!("{}::{}", self.name, need.name().replace('-', "_"));
                    trial(name, vec![need], Some(slot))
                })
                .collect(),
        }
    }
}

/// The first missing need, and what is missing.
fn lacking(needs: &[Need]) -> Option<(Need, String)> {
    needs.iter().find_map(|need| need.find().err().map(|reason| (*need, reason)))
}

fn required() -> Vec<String> {
    let names = std::env::var("LOCKSTEP_TEST_REQUIRE").unwrap_or_default();
    names.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect()
}

fn is_required(need: Need) -> bool {
    required().iter().any(|name| name == need.name() || name == "all")
}

/// Adds a test to the list of those not run that `make test` prints.
pub(crate) fn not_run(name: &str, reason: &str) {
    let Some(path) = std::env::var_os("LOCKSTEP_TEST_NOT_RUN") else { return };
    let binary = std::env::current_exe().unwrap();
    // Without cargo's hash.
    let binary = binary.file_stem().unwrap().to_string_lossy().into_owned();
    let binary = binary.rsplit_once('-').map_or(binary.as_str(), |(name, _)| name);
    let line = format!("{binary} {name}: {reason}\n");
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
    file.and_then(|mut file| file.write_all(line.as_bytes())).unwrap();
}

/// A part of a test that cannot run here because something is missing; fails the test if that is required.
#[track_caller]
pub(crate) fn left_out(need: Need, name: &str, reason: &str) {
    assert!(!is_required(need), "{name}: {reason} (LOCKSTEP_TEST_REQUIRE: {})", need.name());
    not_run(name, reason);
}
