//! A scenario with everything but `{{run.…}}` resolved.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use super::needs::Needs;
use super::net::Net;
pub use super::required_parameters::RequiredParameters;
pub use super::vms::VmSource;
use crate::cause::CauseKind;
use crate::diagnostic::Location;
use crate::qemu::credential::Credential;
use crate::qemu::disk::Disk;
use crate::qemu::spec::{Accel, VmSpec};
use crate::step::{Action, Condition, Exec, Step, Wait};
use crate::units::{AnyNumber, OneOrMany, Share, Span, from_text, has_schema};
use crate::yaml::Node;

/// The default timeout of a case.
pub const DEFAULT_CASE_TIMEOUT: Span = Span::from_secs(120);

/// A case, ready to run.
#[derive(Debug, Clone)]
pub struct Case {
    /// Its name, unique in a run.
    pub name: String,
    /// The scenario file it comes from, as the user named it, and the place of its name.
    pub at: Location,
    /// What it shows.
    pub description: Option<String>,
    /// Tags to select cases by.
    pub tags: Vec<String>,
    /// The names for templates except `run` and `case.dir`: the params and matrix axes, `case` and `env`; `port` and `link`
    /// with null for values that are only known in a run. Deferred templates use it when their step runs.
    pub context: Map<String, Value>,
    /// The values of the params and the matrix cell, for the reports.
    pub params: Map<String, Value>,
    /// Which of them are the axes of its matrix.
    pub axes: Vec<String>,
    /// The requirements without which it is skipped.
    pub requires: Arc<Requires>,
    /// What it takes of the machine, as far as the file says.
    pub needs: Needs,
    /// Whether it runs alone.
    pub exclusive: bool,
    /// Its known issues.
    pub known_issues: Vec<KnownIssue>,
    /// The failure that must occur, if it is a negative control.
    pub must_fail: Option<MustFail>,
    /// How long the whole case may take.
    pub timeout: Duration,
    /// Its VMs, in file order. Values that are only known in a run, such as `{{case.dir}}`, are still templates; see
    /// [`resolve_vm`](super::resolve_vm).
    pub vms: Arc<IndexMap<String, VmSpec>>,
    /// What its VMs are in the file.
    pub vm_sources: Arc<IndexMap<String, VmSource>>,
    /// Its roles, each with its initial VM.
    pub roles: IndexMap<String, String>,
    /// The files in its directory to keep with its artifacts: patterns, relative to the directory.
    pub artifacts: Vec<String>,
    /// The disks that do not belong to a single VM, created before anything is started.
    pub disks: BTreeMap<String, Disk>,
    /// Its TLS credentials, created before anything is started.
    pub credentials: BTreeMap<String, Credential>,
    /// Its ports, links and networks.
    pub net: Net,
    /// Its steps.
    pub steps: Vec<Block>,
    /// The steps that always run at the end.
    pub finally: Vec<Block>,
}

impl Case {
    /// All its steps; those of loops once.
    #[must_use]
    pub fn all_steps(&self) -> Vec<&CaseStep> {
        all_steps([self.steps.as_slice(), &self.finally])
    }

    /// The host processes that its steps start.
    #[must_use]
    pub fn host_commands(&self) -> Vec<&Exec> {
        let mut commands = Vec::new();
        for step in self.all_steps() {
            match &step.step.action {
                Action::Exec(exec) => commands.push(exec),
                Action::Wait(Wait { condition: Condition::HostCommand(wanted), .. }) => {
                    commands.push(&wanted.exec);
                }
                _ => {}
            }
        }
        commands
    }

    /// The background processes whose end a step waits for.
    #[must_use]
    pub fn awaited_processes(&self) -> BTreeSet<String> {
        let process = |step: &CaseStep| match &step.step.action {
            Action::Wait(Wait { condition: Condition::Process(wanted), .. }) => Some(wanted.process.clone()),
            _ => None,
        };
        self.all_steps().into_iter().filter_map(process).collect()
    }
}

/// A piece of a case's steps.
#[derive(Debug, Clone)]
pub enum Block {
    /// One step.
    Step(Box<CaseStep>),
    /// `repeat: {until: …}`: the steps are repeated until the condition is met after a round.
    RepeatUntil {
        /// Its place.
        at: Location,
        /// The condition, checked after each round: a step whose action is [`Wait`].
        until: Box<CaseStep>,
        /// The timeout of the loop.
        timeout: Span,
        /// Conditions that are decided in the run; all must be true.
        when: Vec<When>,
        /// The template name of the round's number, counted from 1.
        index: Option<String>,
        /// The repeated steps.
        steps: Vec<Block>,
    },
    /// `parallel`: the branches run at the same time; it ends with the last one.
    Parallel {
        /// Its place.
        at: Location,
        /// Conditions that are decided in the run; all must be true.
        when: Vec<When>,
        /// See [`CaseStep::groups`].
        groups: Vec<String>,
        /// See [`CaseStep::locals`].
        locals: Map<String, Value>,
        /// The name and the steps of each branch.
        branches: Vec<(String, Vec<Block>)>,
    },
}

/// All steps of lists of blocks; those of loops once, those of branches one branch after the other.
pub(super) fn all_steps<'c>(lists: impl IntoIterator<Item = &'c [Block]>) -> Vec<&'c CaseStep> {
    let mut steps = Vec::new();
    for block in lists.into_iter().flatten() {
        match block {
            Block::Step(step) => steps.push(&**step),
            Block::RepeatUntil { until, steps: inner, .. } => {
                steps.extend(all_steps([inner.as_slice()]));
                steps.push(until);
            }
            Block::Parallel { branches, .. } => {
                for (_, inner) in branches {
                    steps.extend(all_steps([inner.as_slice()]));
                }
            }
        }
    }
    steps
}

/// A condition that can only be decided when its step runs.
#[derive(Debug, Clone, PartialEq)]
pub struct When {
    /// The template of the file.
    pub template: String,
    /// Names in addition to those of the case; see [`CaseStep::locals`].
    pub locals: Map<String, Value>,
}

/// A step of a case, and what is around it.
#[derive(Debug, Clone)]
pub struct CaseStep {
    /// Its place.
    pub at: Location,
    /// The places of the enclosing `use`, `hook` and `repeat` steps, innermost first.
    pub via: Vec<Location>,
    /// Conditions that are decided when it runs; all must be true.
    pub when: Vec<When>,
    /// The names of the enclosing `use`, `block`, `repeat` and `hook` steps, outermost first.
    pub groups: Vec<String>,
    /// Names for its templates in addition to those of the case: loop variables, and the params of a used file.
    pub locals: Map<String, Value>,
    /// The step itself; without templates it is the same in all cells.
    pub parsed: Arc<Parsed>,
}

/// A step, with its deferred templates.
#[derive(Debug, Clone)]
pub struct Parsed {
    /// The step. If `deferred`, its `{{run.…}}` templates are still in it as text.
    pub step: Step,
    /// The step as a map without `when`, rendered except for deferred templates.
    pub raw: Value,
    /// Whether `raw` has deferred templates; it is then rendered and parsed again when the step runs.
    pub deferred: bool,
    /// See [`weight`](super::typed::weight).
    pub(super) weight: usize,
    /// The step in its file, for the places of its parts. While this exists, no other part has its address.
    pub source: Node,
}

impl Parsed {
    /// The value of its action in the file.
    pub(super) fn value(&self) -> &Node {
        self.source.get(self.step.action.key()).unwrap_or(&self.source)
    }
}

impl std::ops::Deref for CaseStep {
    type Target = Parsed;

    fn deref(&self) -> &Parsed {
        &self.parsed
    }
}

impl CaseStep {
    /// Its own name and those of the enclosing steps.
    pub fn names(&self) -> impl Iterator<Item = &String> {
        self.step.name.iter().chain(&self.groups)
    }
}

/// Requirements without which a case is skipped; the reason names what was found.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Requires {
    /// A range of QEMU versions for every VM's binary, such as `>=11.0`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qemu: Option<VersionRange>,
    /// Names of QEMUs that must be given on the command line (`--qemu NAME=PATH`), for VMs with `qemu: NAME`.
    #[serde(skip_serializing_if = "AnyNumber::is_empty")]
    pub qemus: AnyNumber<String>,
    /// Migration capabilities (QAPI `MigrationCapability`) that every VM's binary must have.
    #[serde(skip_serializing_if = "AnyNumber::is_empty")]
    pub capabilities: AnyNumber<String>,
    /// Migration parameters (QAPI `MigrationParameters`) that every VM's binary must have: a name, a list of names, or a map
    /// from names to values. If a parameter is an enum, such as `multifd-compression: zstd`, the binary must have the value;
    /// with a list of values, each of them.
    #[serde(skip_serializing_if = "RequiredParameters::is_empty")]
    pub parameters: RequiredParameters,
    /// QMP commands that every VM's binary must have.
    #[serde(skip_serializing_if = "AnyNumber::is_empty")]
    pub commands: AnyNumber<String>,
    /// Machine types that every VM's binary must have.
    #[serde(skip_serializing_if = "AnyNumber::is_empty")]
    pub machines: AnyNumber<String>,
    /// Devices that every VM's binary must have.
    #[serde(skip_serializing_if = "AnyNumber::is_empty")]
    pub devices: AnyNumber<String>,
    /// Object types that every VM's binary must have.
    #[serde(skip_serializing_if = "AnyNumber::is_empty")]
    pub objects: AnyNumber<String>,
    /// Block drivers that every VM's binary must have.
    #[serde(skip_serializing_if = "AnyNumber::is_empty")]
    pub block_drivers: AnyNumber<String>,
    /// The accelerator that every VM must use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accel: Option<Accel>,
    /// Features that the host must have; each is tested.
    #[serde(skip_serializing_if = "AnyNumber::is_empty")]
    pub host: AnyNumber<HostFeature>,
}

/// A feature of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HostFeature {
    /// `/dev/kvm` can create a virtual machine.
    Kvm,
    /// KVM uses the CPU's hardware virtualization (`vmx` or `svm` in `/proc/cpuinfo`; on architectures other than x86, any
    /// KVM). A KVM without it emulates instructions, is much slower, and adds each write to the dirty ring.
    KvmVirtualization,
    /// KVM has a dirty ring of 4096 bytes or more (`KVM_CAP_DIRTY_LOG_RING`).
    KvmDirtyRing,
    /// This user can open `userfaultfd` and register memory, as postcopy does.
    Userfaultfd,
    /// `userfaultfd` also reports the thread of a fault (`UFFD_FEATURE_THREAD_ID`), as `postcopy-blocktime` needs.
    UserfaultfdThreadId,
    /// Network interfaces can be created (`CAP_NET_ADMIN`).
    NetAdmin,
    /// The runner is root.
    Root,
    /// Files in the case's private directory can be written with `O_DIRECT`.
    DirectIo,
    /// Files can be created in `/dev/shm`.
    Shm,
    /// `/dev/full` exists, and writes to it fail with "no space left".
    DevFull,
    /// `python3` is on the `PATH` and runs.
    Python3,
    /// An RDMA device has an active port (`/sys/class/infiniband`), and this user may lock 128 MiB of memory.
    Rdma,
}

/// A range of versions, such as `>=11.0` or `>=7.2, <10`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VersionRange(pub semver::VersionReq);

impl VersionRange {
    /// Whether a version is in the range. Only its numbers count: QEMU's `11.0.92` is a release candidate of 11.1.
    #[must_use]
    pub fn contains(&self, version: &semver::Version) -> bool {
        self.0.matches(&semver::Version::new(version.major, version.minor, version.patch))
    }
}

impl std::str::FromStr for VersionRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse().map(Self).map_err(|_| {
            format!("`{text}` is not a valid version range; write `>=11.0`, `<10` or `>=7.2, <10`")
        })
    }
}

impl std::fmt::Display for VersionRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for VersionRange {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, "a version range in quotes, such as `\">=11.0\"`")
    }
}

has_schema!(VersionRange, {"type": "string", "examples": [">=11.0", ">=7.2, <10"]});

/// A known failure: a case that fails this way counts as `xfail`, with the reason. If the case passes, or fails in
/// another way, it fails. With `at_most` the issue is intermittent, and the case may also pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KnownIssue {
    /// Whether it applies to this case. Default: yes. (`""`, `false`, `0` and null mean no.)
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<crate::qemu::spec::Scalar>,
    /// Why, with a reference.
    pub reason: String,
    /// A regular expression that must match the failure's message. It is an error if it matches any failure, or the text of a
    /// command (`exec`) that the issue covers.
    #[serde(rename = "match")]
    pub pattern: String,
    /// The kind of the failure's cause: a word or a list of words; any other kind does not match. A consequence of the
    /// cause does not count. Default: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<OneOrMany<CauseKind>>,
    /// The steps in which it may occur, by `name`: a name or a list of names. The name of a `use`, `block`, `repeat` or `hook`
    /// step includes all steps that it expands to. A name that no step of the case has is an error. Default: any step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<OneOrMany<String>>,
    /// For an intermittent issue: the highest share of a case's runs in which it may occur, from `1%` to `25%`. The case may
    /// then also pass. If the issue occurs, the case runs again at once, and fails if the issue occurs again. A run fails if
    /// the issue occurs more often than `at_most`, beyond chance. Default: it occurs every time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_most: Option<Share>,
    /// For an issue that occurs often, but not every time: the case is repeated until it occurs, up to this number of
    /// attempts, from 2 to 50. The case fails if the issue never occurs. Default: 1. Not with `at_most`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<usize>,
}

impl KnownIssue {
    /// Whether it covers a failure with this message, in a step with these names.
    #[must_use]
    pub fn covers(&self, message: &str, names: &[String]) -> bool {
        self.step.as_ref().is_none_or(|steps| steps.iter().any(|step| names.contains(step)))
            && regex::Regex::new(&self.pattern).is_ok_and(|expression| expression.is_match(message))
    }

    /// The number of attempts within which it must occur; `None` if it is intermittent and may never occur.
    #[must_use]
    pub fn shows_within(&self) -> Option<usize> {
        self.at_most.is_none().then(|| self.attempts.unwrap_or(1))
    }
}

/// A negative control: the case passes only if it fails with a matching message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MustFail {
    /// Whether this case is a negative control. Default: yes. (`""`, `false`, `0` and null mean no.)
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<crate::qemu::spec::Scalar>,
    /// A regular expression that must match the failure's message.
    #[serde(rename = "match")]
    pub pattern: String,
    /// The kind of the failure's cause: a word or a list of words; any other kind does not match. A consequence of the
    /// cause does not count. Default: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<OneOrMany<CauseKind>>,
}
