//! Probes the capabilities of a QEMU binary over QMP.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use semver::Version;
use serde::Serialize;
use serde_json::{Map, Value};
use thiserror::Error;
use tokio::net::UnixStream;
use tokio::time::Instant;

use super::accel::Accel;
use super::kvm;
use super::process::wait_at_most;
use super::qmp::{Qmp, QmpError};
use super::schema::Schema;
use super::short_run::ShortRun;

/// The timeout of a probe.
const PATIENCE: Duration = Duration::from_secs(60);

/// The trace event of a QMP command, which every version has.
const SAMPLE_EVENT: &str = "monitor_qmp_cmd_in_band";

/// A QEMU binary and its capabilities.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Binary {
    /// Its path.
    pub path: PathBuf,
    /// Its version (QMP `query-version`).
    pub version: Version,
    /// The packager's version string.
    pub package: String,
    /// The architecture it emulates (QMP `query-target`).
    pub arch: String,
    /// The accelerators built into it.
    pub accelerators: BTreeSet<String>,
    /// Whether KVM is built into it and `/dev/kvm` works; for `lockstep probe`: whether it runs a guest.
    pub kvm_works: bool,
    /// Its machine types, aliases included (QMP `query-machines`).
    pub machines: BTreeSet<String>,
    /// The machine types behind its aliases, such as `pc-q35-11.1` for `q35`.
    pub aliases: BTreeMap<String, String>,
    /// Its default machine type.
    pub default_machine: Option<String>,
    /// The migration capabilities it knows (QMP `query-migrate-capabilities`).
    pub capabilities: BTreeSet<String>,
    /// The migration parameters it knows (QMP `query-migrate-parameters`).
    pub parameters: BTreeSet<String>,
    /// Its QMP commands (QMP `query-commands`).
    pub commands: BTreeSet<String>,
    /// Its device models (QMP `qom-list-types`, `implements: device`).
    pub devices: BTreeSet<String>,
    /// Its user-creatable objects (QMP `qom-list-types`, `implements: user-creatable`).
    pub objects: BTreeSet<String>,
    /// Its block drivers (the variants of `blockdev-add` in `query-qmp-schema`).
    pub block_drivers: BTreeSet<String>,
    /// Whether its monitor can run commands out of band.
    pub oob: bool,
    /// The trace events that it can write to its log; none if it is built without the trace backend `log`.
    pub trace_events: BTreeSet<String>,
    /// Its QMP schema (QMP `query-qmp-schema`); too long to print.
    #[serde(skip)]
    pub schema: Arc<Schema>,
}

impl Binary {
    /// Whether it supports COLO: QEMU enables it together with block replication.
    #[must_use]
    pub fn has_colo(&self) -> bool {
        self.capabilities.contains("x-colo") && self.commands.contains("x-colo-lost-heartbeat")
    }

    /// Whether network output can be compared (`colo-compare`).
    #[must_use]
    pub fn has_colo_compare(&self) -> bool {
        self.objects.contains("colo-compare")
    }

    /// Why an accelerator cannot be used with this binary on a host, as far as that is known without a guest.
    #[must_use]
    pub fn accelerator_trouble(&self, accel: Accel, host: &kvm::Host) -> Option<String> {
        if !self.accelerators.contains(accel.name()) {
            return Some(format!("QEMU {} is built without {}", self.version, accel.name().to_uppercase()));
        }
        (accel == Accel::Kvm).then(|| host.trouble_with(&self.arch)).flatten()
    }
}

/// Why a probe failed.
#[derive(Debug, Error)]
pub enum ProbeError {
    /// There is no such program.
    #[error("no QEMU at `{}`: {why}", path.display())]
    Missing {
        /// The path or name.
        path: PathBuf,
        /// Why.
        why: std::io::Error,
    },
    /// The program is not QEMU, or died.
    #[error("`{}` does not respond like QEMU: {why}", path.display())]
    NotQemu {
        /// The path.
        path: PathBuf,
        /// What it did instead, with its standard error.
        why: String,
    },
}

/// Finds a program like a shell: a path with a `/` is used as is, else `PATH` is searched.
///
/// # Errors
/// When there is no such executable.
pub fn find(name: &str) -> Result<PathBuf, ProbeError> {
    let missing = |path: PathBuf, kind: std::io::ErrorKind, why: &str| ProbeError::Missing {
        path,
        why: std::io::Error::new(kind, why.to_owned()),
    };
    let usable =
        |path: &Path| path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok();
    if name.contains('/') {
        let path = PathBuf::from(name);
        if usable(&path) {
            return std::path::absolute(&path).map_err(|why| ProbeError::Missing { path, why });
        }
        let why = match std::fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => "it is a directory".to_owned(),
            Ok(_) => "it is not executable".to_owned(),
            Err(error) => return Err(ProbeError::Missing { path, why: error }),
        };
        return Err(missing(path, std::io::ErrorKind::PermissionDenied, &why));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|directory| directory.join(name))
        .find(|path| usable(path))
        .ok_or_else(|| missing(PathBuf::from(name), std::io::ErrorKind::NotFound, "it is not on the PATH"))
}

/// Starts a binary without a machine and queries its capabilities.
///
/// # Errors
/// When it cannot be started, is not QEMU, or does not reply in time.
pub async fn probe(path: &Path) -> Result<Binary, ProbeError> {
    let broken = |why: String| ProbeError::NotQemu { path: path.to_owned(), why };
    let missing = |why| ProbeError::Missing { path: path.to_owned(), why };
    let deadline = Instant::now() + PATIENCE;
    let arguments = ["-machine", "none", "-qmp", "chardev:ours"];
    let (mut run, socket) = ShortRun::start(path, &arguments, Vec::new()).map_err(missing)?;
    let answer = tokio::select! {
        answer = ask(path, socket, deadline) => answer,
        ended = run.process.wait() => Err(format!("it ended with {ended}")),
    };
    match answer {
        Ok(mut binary) => {
            if !run.output(4096).contains(SAMPLE_EVENT) {
                binary.trace_events.clear();
            }
            Ok(binary)
        }
        Err(mut why) => {
            // If the process has exited, that is the cause of the closed monitor.
            if let Some(ended) = wait_at_most(&run.process, Duration::from_secs(2)).await {
                why = format!("it ended with {ended}");
            }
            let said = run.output(4096);
            if !said.trim().is_empty() {
                why = format!("{why}, saying: {}", said.trim());
            }
            Err(broken(why))
        }
    }
}

async fn ask(path: &Path, stream: UnixStream, deadline: Instant) -> Result<Binary, String> {
    let words = |error: QmpError| error.to_string();
    let qmp = Qmp::connect(stream, None, deadline, |_| ()).await.map_err(words)?;
    let query = async |command: &str, arguments: Map<String, Value>| {
        qmp.execute(command, arguments, false, deadline).await.map_err(words)
    };
    let plain = async |command: &str| query(command, Map::new()).await;
    let types = async |kind: &str| {
        let arguments = [("implements", Value::from(kind)), ("abstract", Value::from(false))];
        query("qom-list-types", arguments.map(|(key, value)| (key.to_owned(), value)).into_iter().collect())
            .await
    };
    let version = &qmp.version["qemu"];
    let part = |name: &str| version[name].as_u64().unwrap_or(0);
    let machines = plain("query-machines").await?;
    let default_machine = list(&machines)
        .find(|machine| machine["is-default"] == true)
        .and_then(|machine| machine["name"].as_str());
    let accelerators: BTreeSet<String> = names(&types("accel").await?, "name")
        .into_iter()
        .filter_map(|name| name.strip_suffix("-accel").map(str::to_owned))
        .collect();
    let schema = Schema::read(&plain("query-qmp-schema").await?);
    let commands = names(&plain("query-commands").await?, "name");
    let trace_events = trace_events(&qmp, &commands, deadline).await.map_err(words)?;
    let arch = plain("query-target").await?["arch"].as_str().unwrap_or_default().to_owned();
    Ok(Binary {
        path: path.to_owned(),
        version: Version::new(part("major"), part("minor"), part("micro")),
        package: qmp.version["package"].as_str().unwrap_or_default().to_owned(),
        kvm_works: accelerators.contains("kvm") && kvm::Host::this().trouble_with(&arch).is_none(),
        arch,
        accelerators,
        default_machine: default_machine.map(str::to_owned),
        aliases: list(&machines)
            .filter_map(|machine| {
                Some((machine["alias"].as_str()?.to_owned(), machine["name"].as_str()?.to_owned()))
            })
            .collect(),
        machines: names(&machines, "name").into_iter().chain(names(&machines, "alias")).collect(),
        capabilities: names(&plain("query-migrate-capabilities").await?, "capability"),
        parameters: match plain("query-migrate-parameters").await? {
            Value::Object(map) => map.into_iter().map(|(name, _)| name).collect(),
            _ => BTreeSet::new(),
        },
        commands,
        devices: names(&types("device").await?, "name"),
        objects: names(&types("user-creatable").await?, "name"),
        block_drivers: schema.variants("blockdev-add").into_iter().map(str::to_owned).collect(),
        oob: qmp.oob,
        trace_events,
        schema: Arc::new(schema),
    })
}

/// The trace events. What comes next on the monitor is then written to standard error, if the log is a backend.
async fn trace_events(
    qmp: &Qmp,
    commands: &BTreeSet<String>,
    deadline: Instant,
) -> Result<BTreeSet<String>, QmpError> {
    if !commands.contains("trace-event-get-state") {
        return Ok(BTreeSet::new());
    }
    let named = |name: &str| Map::from_iter([("name".to_owned(), Value::from(name))]);
    let all = qmp.execute("trace-event-get-state", named("*"), false, deadline).await?;
    let mut sample = named(SAMPLE_EVENT);
    sample.insert("enable".to_owned(), true.into());
    // A binary that does not have it has no backend.
    let _ = qmp.execute("trace-event-set-state", sample, false, deadline).await;
    Ok(names(&all, "name"))
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn names(value: &Value, key: &str) -> BTreeSet<String> {
    list(value).filter_map(|entry| entry[key].as_str()).map(str::to_owned).collect()
}

#[cfg(test)]
impl Binary {
    /// A fake binary with minimal capabilities, for tests.
    pub(crate) fn made_up(version: &str) -> Self {
        Self {
            path: PathBuf::from("/qemu"),
            version: version.parse().unwrap(),
            package: String::new(),
            arch: "x86_64".to_owned(),
            accelerators: ["tcg".to_owned()].into(),
            kvm_works: false,
            machines: ["q35", "pc"].map(str::to_owned).into(),
            default_machine: None,
            aliases: BTreeMap::new(),
            capabilities: BTreeSet::new(),
            parameters: BTreeSet::new(),
            commands: ["yank".to_owned()].into(),
            devices: BTreeSet::new(),
            objects: BTreeSet::new(),
            block_drivers: BTreeSet::new(),
            oob: true,
            trace_events: BTreeSet::new(),
            schema: Default::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_program_that_is_not_qemu_is_an_error_with_its_output() {
        let error = probe(Path::new("/bin/true")).await.unwrap_err().to_string();
        assert!(
            error.contains("`/bin/true` does not respond like QEMU: it ended with exit status 0"),
            "{error}"
        );
        let error = probe(Path::new("/bin/cat")).await.unwrap_err().to_string();
        assert!(error.contains("exit status 1, saying: ") && error.contains("cat"), "{error}");
    }

    #[test]
    fn a_path_that_is_not_a_program_is_an_error_with_the_reason() {
        assert!(find("/no/such/qemu").unwrap_err().to_string().contains("No such file"));
        assert!(find("/etc/passwd").unwrap_err().to_string().contains("not executable"));
        assert!(find("/tmp").unwrap_err().to_string().contains("directory"));
        assert!(find("no-such-qemu").unwrap_err().to_string().contains("PATH"));
        assert_eq!(find("sh").unwrap().file_name().unwrap(), "sh");
    }
}
