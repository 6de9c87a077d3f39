//! What a scenario is once everything but `{{run.…}}` is resolved.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::net::Net;
use super::source::Node;
pub use super::vms::VmSource;
pub use super::wanted::WantedParameters;
use crate::diagnostic::Location;
use crate::qemu::credential::Credential;
use crate::qemu::disk::Disk;
use crate::qemu::spec::{Accel, VmSpec};
use crate::step::{Action, Step};
use crate::units::{AnyNumber, OneOrMany, Share, Span};

/// How long a case may take where the scenario does not say so.
pub const DEFAULT_CASE_TIMEOUT: Span = Span::from_secs(120);

/// One case, ready to be run.
#[derive(Debug, Clone)]
pub struct Case {
    /// Its name, unique in a run.
    pub name: String,
    /// The scenario file it comes from, as the user named it, and the place of its name.
    pub at: Location,
    /// What it shows.
    pub description: Option<String>,
    /// Words to select by.
    pub tags: Vec<String>,
    /// Everything templates may name but `run` and `case.dir`: the params and matrix axes at the top level, and `case`
    /// and `env`; under `port` and `link` null for what is only known in a run. Deferred templates are rendered with it when their step runs.
    pub context: Map<String, Value>,
    /// The values of the params and the matrix cell, for the reports.
    pub params: Map<String, Value>,
    /// Which of them are the axes of its matrix.
    pub axes: Vec<String>,
    /// What must hold for it to be run.
    pub requires: Requires,
    /// Failures that are known.
    pub known_issues: Vec<KnownIssue>,
    /// The failure it must show, where it is a negative control.
    pub must_fail: Option<MustFail>,
    /// How long the whole case may take.
    pub timeout: Duration,
    /// Its VMs, in the order they were written. Where something of one is only known at run time, such as
    /// `{{case.dir}}`, its template stands there; see [`resolve_vm`](super::resolve_vm).
    pub vms: IndexMap<String, VmSpec>,
    /// The VMs of which something is only known at run time, rendered but for that.
    pub late_vms: IndexMap<String, Value>,
    /// Where its VMs stand.
    pub vm_sources: IndexMap<String, VmSource>,
    /// The names that stand for VMs, and the VM each stands for at first.
    pub roles: IndexMap<String, String>,
    /// The files in its folder that are kept beside its artifacts: patterns, relative to the folder.
    pub artifacts: Vec<String>,
    /// The disks that belong to no VM, made before anything is started.
    pub disks: BTreeMap<String, Disk>,
    /// Its TLS credentials, made before anything is started.
    pub credentials: BTreeMap<String, Credential>,
    /// Its ports, links and networks.
    pub net: Net,
    /// What it does.
    pub steps: Vec<Block>,
    /// What it does at the end whatever happened.
    pub finally: Vec<Block>,
}

impl Case {
    /// The background processes for whose end some step waits.
    #[must_use]
    pub fn awaited_processes(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        for blocks in [&self.steps, &self.finally] {
            each_step(blocks, &mut |step| {
                if let Action::Wait(wait) = &step.step.action {
                    names.extend(wait.process.clone());
                }
            });
        }
        names
    }
}

/// A piece of a case's steps.
#[derive(Debug, Clone)]
pub enum Block {
    /// One step.
    Step(Box<CaseStep>),
    /// `repeat: {until: …}`: its steps are run again and again until the condition is met after one of the rounds.
    RepeatUntil {
        /// Where it stands.
        at: Location,
        /// When the loop ends, asked after each round: a step whose action is [`Wait`](crate::step::Wait).
        until: Box<CaseStep>,
        /// How long the loop may take.
        timeout: Span,
        /// Whether it is run at all, where that can only be decided at run time: all must say yes.
        when: Vec<When>,
        /// The name that its steps and its condition have for the number of the round, from 1 on.
        index: Option<String>,
        /// What is repeated.
        steps: Vec<Block>,
    },
}

/// Goes through all steps, loops once.
pub fn each_step<'c>(blocks: &'c [Block], visit: &mut dyn FnMut(&'c CaseStep)) {
    for block in blocks {
        match block {
            Block::Step(step) => visit(step),
            Block::RepeatUntil { until, steps, .. } => {
                each_step(steps, visit);
                visit(until);
            }
        }
    }
}

/// A condition that can only be decided when its step runs.
#[derive(Debug, Clone, PartialEq)]
pub struct When {
    /// The template, as it stands in the file.
    pub template: String,
    /// Names it may use beside those of the case; see [`CaseStep::locals`].
    pub locals: Map<String, Value>,
}

/// One step of a case, with its place and whatever of it is only known when it runs.
#[derive(Debug, Clone)]
pub struct CaseStep {
    /// Where it stands.
    pub at: Location,
    /// The places of the `use`, `hook` and `repeat` through which it came here, innermost first.
    pub via: Vec<Location>,
    /// The step. Where `deferred`, it was checked with its `{{run.…}}` templates still in it as text.
    pub step: Step,
    /// Whether it is run at all, where that can only be decided when it runs: all must say yes.
    pub when: Vec<When>,
    /// The names of the `use`, `block`, `repeat` and `hook` steps that it stands in, outermost first.
    pub groups: Vec<String>,
    /// The names that its templates may use beside those of the case: loop variables, and the params of a used file.
    pub locals: Map<String, Value>,
    /// The whole step as a map without `when`, rendered but for what is only known when it runs.
    pub raw: Value,
    /// Whether `raw` still has templates: it is then rendered and read again when the step runs.
    pub deferred: bool,
    /// The step as it stands in its file, for the places of what is in it.
    pub source: Node,
}

impl CaseStep {
    /// The names it goes by: its own, and those of the steps that it stands in.
    pub fn names(&self) -> impl Iterator<Item = &String> {
        self.step.name.iter().chain(&self.groups)
    }
}

/// What must hold for a case to be run; otherwise it is skipped, and the reason says what was found.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Requires {
    /// A range of QEMU versions that every VM's binary must be in, such as `>=11.0`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qemu: Option<VersionRange>,
    /// Names of QEMUs that must be given on the command line (`--qemu NAME=PATH`), for VMs with `qemu: NAME`.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "list")]
    #[schemars(with = "AnyNumber<String>")]
    pub qemus: Vec<String>,
    /// Migration capabilities (QAPI `MigrationCapability`) that every VM's binary must know.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "list")]
    #[schemars(with = "AnyNumber<String>")]
    pub capabilities: Vec<String>,
    /// Migration parameters (QAPI `MigrationParameters`) that every VM's binary must know: a name, a list of names, or a
    /// map from names to values. Where a parameter is one of several words, such as `multifd-compression: zstd`, the
    /// binary must know the word; of a list of words, each.
    #[serde(skip_serializing_if = "WantedParameters::is_empty")]
    pub parameters: WantedParameters,
    /// QMP commands that every VM's binary must have.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "list")]
    #[schemars(with = "AnyNumber<String>")]
    pub commands: Vec<String>,
    /// Machine types that every VM's binary must have.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "list")]
    #[schemars(with = "AnyNumber<String>")]
    pub machines: Vec<String>,
    /// Devices that every VM's binary must have.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "list")]
    #[schemars(with = "AnyNumber<String>")]
    pub devices: Vec<String>,
    /// Object types that every VM's binary must have.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "list")]
    #[schemars(with = "AnyNumber<String>")]
    pub objects: Vec<String>,
    /// Block drivers that every VM's binary must have.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "list")]
    #[schemars(with = "AnyNumber<String>")]
    pub block_drivers: Vec<String>,
    /// The accelerator that every VM must be run with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accel: Option<Accel>,
    /// What the host must offer; each is tried out.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "list")]
    #[schemars(with = "AnyNumber<HostFeature>")]
    pub host: Vec<HostFeature>,
}

/// A feature of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HostFeature {
    /// `/dev/kvm` makes a virtual machine.
    Kvm,
    /// KVM runs the guest with the CPU's own virtualization (`vmx` or `svm` in `/proc/cpuinfo`; on other architectures
    /// than x86, any KVM). A KVM without it emulates instructions, is far slower, and adds each write to the dirty ring.
    KvmVirtualization,
    /// KVM has a dirty ring of 4096 bytes or more (`KVM_CAP_DIRTY_LOG_RING`).
    KvmDirtyRing,
    /// `userfaultfd` can be opened by this user and registers memory, as postcopy needs it.
    Userfaultfd,
    /// `userfaultfd` tells the thread of a fault as well (`UFFD_FEATURE_THREAD_ID`), as `postcopy-blocktime` needs it.
    UserfaultfdThreadId,
    /// Network interfaces can be made (`CAP_NET_ADMIN`).
    NetAdmin,
    /// The runner is root.
    Root,
    /// Files in the case's private directory can be written past the page cache (`O_DIRECT`).
    DirectIo,
    /// Files can be made in `/dev/shm`.
    Shm,
    /// `/dev/full` is there, and full.
    DevFull,
    /// `python3` is on the `PATH` and runs.
    Python3,
    /// An RDMA device has a port that is active (`/sys/class/infiniband`), and this user may lock 128 MiB of memory.
    Rdma,
}

/// A range of versions, such as `>=11.0` or `>=7.2, <10`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionRange(pub semver::VersionReq);

impl VersionRange {
    /// Whether a version is in the range. Only numbers count: QEMU's `11.0.92` is a release candidate of 11.1.
    #[must_use]
    pub fn contains(&self, version: &semver::Version) -> bool {
        self.0.matches(&semver::Version::new(version.major, version.minor, version.patch))
    }
}

impl std::str::FromStr for VersionRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse()
            .map(Self)
            .map_err(|_| format!("`{text}` is no version range; write `>=11.0`, `<10` or `>=7.2, <10`"))
    }
}

impl std::fmt::Display for VersionRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for VersionRange {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for VersionRange {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct RangeVisitor;
        impl serde::de::Visitor<'_> for RangeVisitor {
            type Value = VersionRange;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a version range in quotes, such as `\">=11.0\"`")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<VersionRange, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(RangeVisitor)
    }
}

impl JsonSchema for VersionRange {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "VersionRange".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "examples": [">=11.0", ">=7.2, <10"]})
    }
}

/// A failure that is known: a case that fails as it says is reported as skipped (`xfail`) with the reason; a pass, or
/// another failure, is a failure. With `at_most` it is a race, and a pass is a pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KnownIssue {
    /// Whether it applies to this case. Default: yes. (`""`, `false`, `0` and null mean no.)
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<crate::qemu::spec::Scalar>,
    /// Why, with a reference.
    pub reason: String,
    /// A regular expression that the failure's message must match. One that matches any failure, or the text of a command
    /// (`exec`) that the issue covers, is an error.
    #[serde(rename = "match")]
    pub pattern: String,
    /// The steps that it may strike in, by their `name`: a name or a list of names. The name of a `use`, `block`, `repeat`
    /// or `hook` step stands for all steps that it leads to. A name that no step of the case has is an error. Default: any
    /// step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<OneOrMany<String>>,
    /// For a race that QEMU may also win: in which share of the runs of a case it strikes at most, from `1%` to `25%`. The
    /// case may then pass as well. A case that it strikes is run again at once, and fails if that happens again; a run
    /// fails where it strikes more often than `at_most`, beyond chance. Default: it strikes each time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_most: Option<Share>,
    /// For an issue that strikes often, and not each time: the case is run again until it does, so many times in all, from
    /// 2 to 50. It fails if the issue never strikes. Default: once. Not with `at_most`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<usize>,
}

impl KnownIssue {
    /// Whether it applies to a failure with this message, in a step that goes by these names.
    #[must_use]
    pub fn covers(&self, message: &str, names: &[String]) -> bool {
        self.step.as_ref().is_none_or(|steps| steps.iter().any(|step| names.contains(step)))
            && regex::Regex::new(&self.pattern).is_ok_and(|expression| expression.is_match(message))
    }

    /// How many attempts at the case it may take until it strikes; `None` where it is a race that may never strike.
    #[must_use]
    pub fn shows_within(&self) -> Option<usize> {
        self.at_most.is_none().then(|| self.attempts.unwrap_or(1))
    }
}

/// A negative control: the case passes only if it fails with a message that matches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MustFail {
    /// Whether this case is a negative control. Default: yes. (`""`, `false`, `0` and null mean no.)
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<crate::qemu::spec::Scalar>,
    /// A regular expression that the failure's message must match.
    #[serde(rename = "match")]
    pub pattern: String,
}

fn list<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    AnyNumber::deserialize(deserializer).map(|list| list.0)
}
