//! The QEMU binaries of a run, each probed once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use semver::Version;

use crate::qemu::arch;
use crate::qemu::binary::{Binary, ProbeError, find, probe};
use crate::qemu::kvm::Host;
use crate::qemu::kvm_trial::Setup;
use crate::qemu::spec::Accel;
use crate::scenario::QemuVersions;
use crate::scenario::model::Case;

/// The result of a probe.
type Answer = Result<Arc<Binary>, Arc<ProbeError>>;

/// QEMUs by the name of the VM.
type ByVm = BTreeMap<String, Arc<Binary>>;

/// The names that a VM's `qemu` may use, and the probe results.
#[derive(Debug)]
pub struct Binaries {
    host: Host,
    named: BTreeMap<String, String>,
    known: Mutex<BTreeMap<PathBuf, Answer>>,
    trials: Mutex<BTreeMap<Setup, Result<(), String>>>,
    /// The reasons not to use KVM that were reported.
    reported: Mutex<BTreeSet<String>>,
}

impl Binaries {
    /// The binaries given on the command line, by name. A path without a name is `default`.
    #[must_use]
    pub fn new(named: impl IntoIterator<Item = (String, String)>) -> Self {
        Self::on(Host::this().clone(), named)
    }

    /// The same, on a host.
    pub(super) fn on(host: Host, named: impl IntoIterator<Item = (String, String)>) -> Self {
        Self {
            host,
            named: named.into_iter().collect(),
            known: Mutex::default(),
            trials: Mutex::default(),
            reported: Mutex::default(),
        }
    }

    /// The host that they run on.
    pub(super) const fn host(&self) -> &Host {
        &self.host
    }

    /// The names given on the command line.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.named.keys().map(String::as_str)
    }

    /// The path for a VM's `qemu` and `arch`: a name of the command line, `default` for `qemu-system-<arch>` in
    /// `PATH`, or a path. What the command line names may be a folder with `qemu-system-<arch>`, or contain `{arch}`.
    ///
    /// # Errors
    /// When there is no such program.
    pub fn path(&self, qemu: &str, arch: &str) -> Result<PathBuf, ProbeError> {
        match self.named.get(qemu) {
            Some(path) => find(&of_arch(path, arch)),
            None if qemu == "default" => find(&format!("qemu-system-{arch}")),
            None => find(qemu),
        }
    }

    /// Whether there is a program for a name of the command line, for one of the architectures at least.
    ///
    /// # Errors
    /// When there is none.
    pub fn check(&self, qemu: &str) -> Result<(), ProbeError> {
        let mut found = arch::NAMES.into_iter().map(|arch| self.path(qemu, arch).map(drop));
        let first = found.next().unwrap_or(Ok(()));
        if found.any(|path| path.is_ok()) { Ok(()) } else { first }
    }

    /// The probed QEMU for a VM's `qemu` and `arch`. Probes it the first time.
    ///
    /// # Errors
    /// When there is no such program, or it is not QEMU.
    pub fn get(&self, qemu: &str, arch: &str) -> Result<Arc<Binary>, Arc<ProbeError>> {
        let path = self.path(qemu, arch)?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.entry(path.clone()).or_insert_with(|| ask(&path)).clone()
    }

    /// Why KVM does not work with this binary, with these properties, machine type and CPU. Tries it the first time.
    ///
    /// The guest of the trial is for x86. On other architectures only `/dev/kvm` counts, as it does for a machine without
    /// a CPU.
    #[must_use]
    pub fn kvm_trouble(
        &self,
        binary: &Binary,
        accel: String,
        machine: Option<&str>,
        cpu: &str,
    ) -> Option<String> {
        let trouble = binary.accelerator_trouble(Accel::Kvm, &self.host);
        let runs_it = matches!(binary.arch.as_str(), "x86_64" | "i386") && machine != Some("none");
        if trouble.is_some() || !runs_it {
            return trouble;
        }
        let (machine, cpu) = (machine.map(str::to_owned), cpu.to_owned());
        let setup = Setup { binary: binary.path.clone(), accel, machine, cpu };
        let mut trials = self.trials.lock().unwrap_or_else(PoisonError::into_inner);
        let attempt =
            |setup: &Setup| on_own_runtime(setup.attempt()).unwrap_or_else(|why| Err(why.to_string()));
        trials.entry(setup.clone()).or_insert_with(|| attempt(&setup)).clone().err()
    }

    /// Whether this reason not to use KVM has not been reported yet.
    pub(super) fn is_news(&self, without_kvm: &str) -> bool {
        self.reported.lock().unwrap_or_else(PoisonError::into_inner).insert(without_kvm.to_owned())
    }

    /// Whether a VM's `qemu` is a folder or a pattern that has no program for this architecture.
    #[must_use]
    pub fn lacks(&self, qemu: &str, arch: &str) -> bool {
        let path = self.named.get(qemu).filter(|path| of_arch(path, arch) != **path);
        path.is_some() && self.path(qemu, arch).is_err()
    }

    /// The QEMUs of a case's VMs, by the VM's name, and those that emulate another architecture than the VM has. Omits
    /// those that cannot be probed, or are only known when the case runs.
    #[must_use]
    pub fn of(&self, case: &Case) -> (ByVm, ByVm) {
        let known = case.vms.iter().filter(|(_, vm)| !crate::template::is_template(&vm.qemu));
        let asked = known.filter_map(|(name, vm)| Some((name.clone(), self.get(&vm.qemu, vm.arch()).ok()?)));
        asked.partition(|(name, binary)| case.vms[name].runs_on(binary))
    }
}

/// The program for an architecture: `{arch}` is its name, and a folder has `qemu-system-<arch>`.
fn of_arch(path: &str, arch: &str) -> String {
    let program = format!("qemu-system-{arch}");
    let folder = Path::new(path);
    if path.contains('/')
        && arch::NAMES.iter().any(|arch| folder.join(format!("qemu-system-{arch}")).exists())
    {
        return folder.join(program).display().to_string();
    }
    path.replace("{arch}", arch)
}

impl Default for Binaries {
    fn default() -> Self {
        Self::new([])
    }
}

fn ask(path: &Path) -> Answer {
    let asked = on_own_runtime(probe(path));
    let asked = asked.unwrap_or_else(|why| Err(ProbeError::Missing { path: path.to_owned(), why }));
    asked.map(Arc::new).map_err(Arc::new)
}

/// Uses a thread and a runtime of its own, so it can be called from anywhere.
fn on_own_runtime<T: Send>(future: impl Future<Output = T> + Send) -> std::io::Result<T> {
    let ran = std::thread::scope(|scope| {
        let running = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            Ok(runtime.block_on(future))
        });
        running.join()
    });
    ran.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

impl QemuVersions for Binaries {
    fn version_of(&self, qemu: &str, arch: &str) -> Option<Version> {
        self.get(qemu, arch).ok().map(|binary| binary.version.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_the_command_line_goes_before_the_path() {
        let binaries = Binaries::new([("default".to_owned(), "/bin/true".to_owned())]);
        assert_eq!(binaries.path("default", "x86_64").unwrap(), Path::new("/bin/true"));
        assert_eq!(binaries.path("/bin/cat", "x86_64").unwrap(), Path::new("/bin/cat"));
        assert!(binaries.path("old", "x86_64").is_err());
    }

    #[test]
    fn a_folder_or_a_pattern_names_a_program_for_each_architecture() {
        let folder = tempfile::tempdir().unwrap();
        for arch in ["x86_64", "s390x"] {
            let path = folder.path().join(format!("qemu-system-{arch}"));
            std::fs::copy("/bin/true", path).unwrap();
        }
        let folder = folder.path().display().to_string();
        for given in [folder.clone(), format!("{folder}/qemu-system-{{arch}}")] {
            let binaries = Binaries::new([("default".to_owned(), given)]);
            let path = binaries.path("default", "s390x").unwrap();
            assert_eq!(path.display().to_string(), format!("{folder}/qemu-system-s390x"));
            let missing = binaries.path("default", "ppc64").unwrap_err().to_string();
            assert!(missing.starts_with(&format!("no QEMU at `{folder}/qemu-system-ppc64`")), "{missing}");
            assert!(binaries.check("default").is_ok());
            assert!(binaries.lacks("default", "ppc64") && !binaries.lacks("default", "s390x"));
        }
        let binaries = Binaries::new([("default".to_owned(), "/no/qemu-system-{arch}".to_owned())]);
        let missing = binaries.check("default").unwrap_err().to_string();
        assert!(missing.starts_with("no QEMU at `/no/qemu-system-x86_64`"), "{missing}");
        let program = Binaries::new([("default".to_owned(), "/no/qemu".to_owned())]);
        assert!(!program.lacks("default", "ppc64") && !Binaries::default().lacks("default", "ppc64"));
    }

    #[test]
    fn kvm_is_tried_once_per_machine_type_and_cpu() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("qemu");
        std::fs::write(&path, "#!/bin/sh\necho >>\"$0.runs\"\necho no MSR >&2\nexit 1\n").unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let runs = || std::fs::read_to_string(folder.path().join("qemu.runs")).unwrap_or_default().len();
        let accelerators = ["kvm", "tcg"].map(str::to_owned).into();
        let binary = Binary { path, accelerators, ..Binary::made_up("11.0.0") };
        let binaries = Binaries::default();
        let trouble = |machine, cpu| binaries.kvm_trouble(&binary, "kvm".to_owned(), machine, cpu).unwrap();
        if let Some(why) = crate::qemu::kvm::trouble() {
            assert_eq!((trouble(None, "max"), runs()), (why.to_owned(), 0));
            return;
        }
        let why = "KVM does not work with `-machine pc -accel kvm -cpu max`: exit status 1, saying: no MSR";
        assert_eq!((trouble(Some("pc"), "max"), runs()), (why.to_owned(), 1));
        assert_eq!((trouble(Some("pc"), "max"), runs()), (why.to_owned(), 1));
        assert!(trouble(Some("pc"), "host").contains("-cpu host") && runs() == 2);
        assert!(trouble(None, "host").contains("`-accel kvm -cpu host`") && runs() == 3);
        let tcg_only = Binary::made_up("11.0.0");
        let why = binaries.kvm_trouble(&tcg_only, "kvm".to_owned(), None, "max");
        assert_eq!(why.as_deref(), Some("QEMU 11.0.0 is built without KVM"));
    }

    #[test]
    fn a_binary_that_cannot_be_asked_has_no_version() {
        let binaries = Binaries::new([("default".to_owned(), "/bin/true".to_owned())]);
        assert_eq!(binaries.version_of("default", "x86_64"), None);
        assert!(
            binaries.get("default", "x86_64").unwrap_err().to_string().contains("does not respond like QEMU")
        );
    }
}
