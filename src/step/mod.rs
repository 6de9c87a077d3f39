//! The actions of a scenario, one file each: the data of the step, what can be checked of it beforehand, how it runs.
//!
//! A new action is a new file, in which its type is a `StepAction`, and one line in the list below. The rules of its keys,
//! the VMs that it names, its example and its snippet stand in that file; `check`, the JSON Schema, the reference, the lints
//! and the binding of roles read them.

mod action;
mod bytes;
mod capabilities;
mod check;
mod client;
mod connect;
mod exec;
mod failover;
mod fd;
mod hmp;
mod lifecycle;
mod link;
mod memory;
mod migrate;
mod parameters;
mod protect;
mod qmp;
mod rebind;
mod rule;
mod running;
mod set;
mod signal;
mod sleep;
mod wait;
mod witness;
mod yank;

use std::collections::BTreeSet;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::qemu::contains::{self, Fault};
use crate::qemu::spec::VmSpec;
use crate::session::Failure;
use crate::session::link::LinkSpec;
use crate::units::Span;

use action::StepAction;

pub use action::{Named, Needs};
pub use bytes::Bytes;
pub use capabilities::Capabilities;
pub use check::{CHECK_BELONGS, CHECK_KINDS, CLIENT_KEYS, Check, FILE_KEYS, Holds, Kind as CheckKind};
pub use client::Client;
pub use connect::Connect;
pub use exec::Exec;
pub use failover::{Failover, Fence};
pub use fd::Fd;
pub use hmp::Hmp;
pub use lifecycle::{Quit, Start};
pub use link::Link;
pub use memory::Memory;
pub use migrate::Migrate;
pub use parameters::Parameters;
pub use protect::Protect;
pub use qmp::{Expect, Qmp};
pub use rebind::{Rebind, actual};
pub(crate) use rule::{Rule, Words};
pub use running::{Mark, POLL, Running};
pub use set::Set;
pub use signal::{Signal, SignalName};
pub use sleep::Sleep;
pub(crate) use wait::Watched;
pub use wait::{Condition, Exit, JobStatus, WAIT_BELONGS, WAIT_CONDITIONS, Wait};
pub use witness::Witness;
pub use yank::{Instances, Yank};

/// How long a step may take where it does not say so.
pub const DEFAULT_TIMEOUT: Span = Span::from_secs(30);

/// The keys that may stand beside a step's action.
pub const MODIFIERS: &[&str] = &["name", "when", "timeout", "capture", "expect_error"];

/// The keys of the actions that the expansion of a scenario resolves, so that they never run as such: a hook point,
/// the steps of a template, a loop, steps that belong together.
pub const FLOW: &[&str] = &["hook", "use", "repeat", "block"];

/// What an action says of itself.
pub(crate) struct AboutAction {
    /// Its key.
    pub key: &'static str,
    /// The name of its type, and of its definition in the JSON Schema.
    pub name: &'static str,
    /// As `StepAction::EXAMPLE`.
    pub example: &'static str,
    /// As `StepAction::SNIPPET`.
    pub snippet: Option<&'static str>,
    /// As `StepAction::RULES`.
    pub rules: &'static [Rule],
}

macro_rules! actions {
    ($($(#[$doc:meta])* $variant:ident($data:ty) = $key:literal,)*) => {
        /// What a step does.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
        pub enum Action {
            $($(#[$doc])* #[serde(rename = $key)] $variant($data),)*
        }

        /// The key of each action.
        pub const ACTIONS: &[&str] = &[$($key),*];

        /// What each action says of itself.
        pub(crate) const ABOUT: &[AboutAction] = &[$(AboutAction {
            key: $key,
            name: stringify!($data),
            example: <$data>::EXAMPLE,
            snippet: <$data>::SNIPPET,
            rules: <$data>::RULES,
        }),*];

        impl Action {
            /// The action's key in a scenario.
            #[must_use]
            pub const fn key(&self) -> &'static str {
                match self { $(Self::$variant(_) => $key,)* }
            }

            /// One line on what it does, for a person.
            #[must_use]
            pub fn title(&self) -> String {
                match self { $(Self::$variant(data) => data.title(),)* }
            }

            /// Every VM that it names.
            pub fn vms(&mut self) -> Vec<Named<'_>> {
                match self { $(Self::$variant(data) => data.vms(),)* }
            }

            /// What can be known to be wrong with it before anything is started.
            pub fn check(&self, scene: &Scene<'_>, complaints: &mut Complaints) {
                for Named { vm, path, .. } in self.clone().vms() {
                    complaints.vm(scene, &path, vm);
                }
                match self { $(Self::$variant(data) => {
                    complaints.rules(<$data>::RULES, data);
                    data.check(scene, complaints);
                })* }
            }

            /// Does it, and gives the step's result.
            ///
            /// # Errors
            /// When the system under test does not do what the step says, or the step cannot be carried out.
            pub async fn run(&self, run: &mut Running<'_>) -> Result<serde_json::Value, Failure> {
                match self { $(Self::$variant(data) => data.run(run).await,)* }
            }
        }
    };
}

actions! {
    /// Starts VMs that have `start: false`.
    Start(Start) = "start",
    /// Connects to the monitor of VMs later than at their start.
    Connect(Connect) = "connect",
    /// Quits VMs and waits for their clean exit.
    Quit(Quit) = "quit",
    /// Sends a signal to a VM's process.
    Signal(Signal) = "signal",
    /// Runs a QMP command.
    Qmp(Qmp) = "qmp",
    /// Runs a command of the human monitor.
    Hmp(Hmp) = "hmp",
    /// Sets migration capabilities.
    Capabilities(Capabilities) = "capabilities",
    /// Sets migration parameters.
    Parameters(Parameters) = "parameters",
    /// Starts a migration.
    Migrate(Migrate) = "migrate",
    /// Waits for a condition.
    Wait(Wait) = "wait",
    /// Asserts something about now.
    Check(Check) = "check",
    /// Brings two VMs into COLO, and asserts that nothing is missing for either to take over.
    Protect(Protect) = "protect",
    /// Makes one side of a COLO pair take over.
    Failover(Failover) = "failover",
    /// Cuts connections of a VM, out of band.
    Yank(Yank) = "yank",
    /// Has roles stand for other VMs.
    Rebind(Rebind) = "rebind",
    /// Changes the weather of a link.
    Link(Link) = "link",
    /// Starts or stops a client of a service in a guest.
    Client(Client) = "client",
    /// Reads or writes guest RAM.
    Memory(Memory) = "memory",
    /// Gives the built-in guest a number that no other guest knows.
    Witness(Witness) = "witness",
    /// Passes a descriptor to a VM, or uses the test's end of a socket pair.
    Fd(Fd) = "fd",
    /// Runs a host process.
    Exec(Exec) = "exec",
    /// Sets captures.
    Set(Set) = "set",
    /// Waits for time to pass.
    Sleep(Sleep) = "sleep",
}

/// One step as it runs: an action with its modifiers. (`when` is decided by the expansion, or when the step runs.)
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Step {
    /// What a person calls it.
    pub name: Option<String>,
    /// How long it may take. Default: [`DEFAULT_TIMEOUT`].
    pub timeout: Span,
    /// The name its result gets in `run.captures`.
    pub capture: Option<String>,
    /// The step must fail, with a message that matches this regular expression.
    pub expect_error: Option<String>,
    /// What it does.
    pub action: Action,
}

impl Step {
    /// One line on what it does: its name, else its action in brief.
    #[must_use]
    pub fn title(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.action.title())
    }
}

/// What an action has to do with: the names a step may refer to.
#[derive(Debug)]
pub struct Scene<'a> {
    /// The case's VMs.
    pub vms: &'a IndexMap<String, VmSpec>,
    /// The names that stand for VMs, and the VM each stands for at first.
    pub roles: &'a IndexMap<String, String>,
    /// The names of background processes (`exec: {background: NAME}`) of the whole case.
    pub processes: &'a BTreeSet<String>,
    /// The names of the clients that some step of the case starts.
    pub clients: &'a BTreeSet<String>,
    /// The case's links.
    pub links: &'a IndexMap<String, LinkSpec>,
}

/// Something wrong with an action, at a path inside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// The keys and list positions that lead to it, from the action's value on; empty for the action as a whole.
    pub path: Vec<String>,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub help: Option<String>,
    /// What it depends on.
    pub about: About,
}

/// What a complaint depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// The action alone.
    Form,
    /// The names that there are in the case.
    Name,
    /// What one of the case's VMs is like.
    Vm,
}

/// The complaints of a check, gathered.
#[derive(Debug, Default)]
pub struct Complaints(pub Vec<Complaint>);

impl Complaints {
    /// Adds a complaint about the value that the keys lead to.
    pub fn add(&mut self, path: &[&str], message: impl Into<String>, help: impl Into<String>) {
        self.add_about(About::Form, path, message, help);
    }

    /// The same, where it depends on the names or the VMs of the case.
    pub fn add_about(
        &mut self,
        about: About,
        path: &[&str],
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let path = path.iter().map(|&key| key.to_owned()).collect();
        let help = Some(help.into()).filter(|help: &String| !help.is_empty());
        self.0.push(Complaint { path, message: message.into(), help, about });
    }

    /// Complains where a VM of that name is not part of the case.
    pub fn vm(&mut self, scene: &Scene<'_>, path: &[&str], vm: &str) {
        if !scene.vms.contains_key(vm) && !scene.roles.contains_key(vm) {
            let names = scene.vms.keys().chain(scene.roles.keys());
            self.add_about(
                About::Name,
                path,
                format!("there is no VM `{vm}` in this case"),
                known(vm, names),
            );
        }
    }

    /// Complains where a link of that name is not part of the case.
    pub fn link(&mut self, scene: &Scene<'_>, path: &[&str], link: &str) {
        if !scene.links.contains_key(link) {
            let help = match scene.links.is_empty() {
                true => format!("declare it with `links: {{{link}: …}}`"),
                false => known(link, scene.links.keys()),
            };
            self.add_about(About::Name, path, format!("there is no link `{link}` in this case"), help);
        }
    }

    /// Complains where no step of the case starts a client of that name.
    pub fn client(&mut self, scene: &Scene<'_>, path: &[&str], client: &str) {
        if !scene.clients.contains(client) {
            let help = match scene.clients.is_empty() {
                true => format!("start it with `client: {{name: {client}, connect: HOST:PORT}}`"),
                false => known(client, scene.clients),
            };
            let message = format!("no step of this case starts a client `{client}`");
            self.add_about(About::Name, path, message, help);
        }
    }

    /// Complains of each condition in an expected value that can never be met.
    pub fn conditions(&mut self, key: &str, expected: Option<&Value>) {
        for (keys, fault) in expected.iter().flat_map(|expected| contains::faults(expected)) {
            let path: Vec<&str> = std::iter::once(key).chain(keys.iter().map(String::as_str)).collect();
            match fault {
                Fault::Expression(expression) => self.regex(&path, &expression),
                Fault::Value(message) => self.add(&path, message, ""),
            }
        }
    }

    /// Complains where a regular expression cannot be read.
    pub fn regex(&mut self, path: &[&str], expression: &str) {
        if let Err(error) = regex::Regex::new(expression) {
            self.add(path, format!("`{expression}` is not a valid regular expression: {error}"), "");
        }
    }
}

/// "did you mean", or the list of what there is.
pub(crate) fn known<'n>(wrong: &str, names: impl IntoIterator<Item = &'n String>) -> String {
    crate::diagnostic::suggest(wrong, names.into_iter().map(String::as_str))
}

/// `a, b or c`.
pub(crate) fn alternatives(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [some @ .., last] => format!("{} or {last}", some.join(", ")),
    }
}

/// A list of names for one line of text.
pub(crate) fn listed<'n>(names: impl IntoIterator<Item = &'n String>) -> String {
    names.into_iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

/// A value in brief, for one line of text.
pub(crate) fn brief(value: &serde_json::Value) -> String {
    let text = match value {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    if text.chars().count() <= 60 { text } else { text.chars().take(57).chain("…".chars()).collect() }
}
