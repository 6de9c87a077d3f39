//! The actions of a scenario, one file each: the step's data, its checks and its execution.
//!
//! A new action is a new file with a type that implements `StepAction`, and one line in the list below. That file has the
//! rules of its keys, the VMs that it names, its example and its snippet, for `check`, the JSON Schema, the reference, the
//! lints and the binding of roles.

mod action;
mod bytes;
mod capabilities;
mod check;
mod client;
mod connect;
mod exec;
mod failover;
mod fd;
pub(crate) mod forms;
mod guest;
mod hmp;
mod lifecycle;
mod link;
mod memory;
mod migrate;
mod misfit;
mod parameters;
mod protect;
mod qmp;
mod read;
mod rebind;
mod record;
mod rule;
mod running;
mod serial;
mod set;
mod signal;
mod sleep;
mod wait;
mod wakes;
mod witness;
mod yank;

use std::collections::BTreeSet;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::qemu::contains::{self, Fault};
use crate::qemu::spec::{self, VmSpec};
use crate::session::Failure;
use crate::session::link::LinkSpec;
use crate::units::Span;

use action::StepAction;

use action::Named;
pub use action::{Needs, VmName};
pub use bytes::Bytes;
pub use check::{Holds, Kind as CheckKind};
pub use failover::Fence;
pub use forms::Form;
pub(crate) use misfit::{Misfit, Wrong};
pub use qmp::Expect;
pub(crate) use read::{Read, fit};
pub use rebind::actual;
pub(crate) use rule::{Rule, Words};
pub use running::{Mark, Running};
pub use signal::SignalName;
pub(crate) use wait::Watched;
pub use wait::{Condition, Exit, JobStatus};
pub use wakes::LONGEST;
pub use yank::Instances;

/// The default timeout of a step.
pub const DEFAULT_TIMEOUT: Span = Span::from_secs(30);

/// The keys that a step may have besides its action.
pub const MODIFIERS: &[&str] = &["name", "when", "timeout", "capture", "expect_error"];

/// The keys that the expansion of a scenario resolves, so they never run: a hook point, the steps of a template, a loop, a
/// group of steps, steps that run at the same time.
pub const FLOW: &[&str] = &["hook", "use", "repeat", "block", "parallel"];

/// An action's description.
pub(crate) struct AboutAction {
    /// Its key.
    pub key: &'static str,
    /// The name of its type and of its definition in the JSON Schema.
    pub name: &'static str,
    /// As `StepAction::EXAMPLE`.
    pub example: &'static str,
    /// As `StepAction::SNIPPET`.
    pub snippet: Option<&'static str>,
    /// As `StepAction::RULES`.
    pub rules: &'static [Rule],
}

macro_rules! actions {
    ($($(#[$doc:meta])* $module:ident :: $variant:ident = $key:literal,)*) => {
        $(pub use $module::$variant;)*

        /// What a step does.
        #[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
        pub enum Action {
            $($(#[$doc])* #[serde(rename = $key)] $variant($variant),)*
        }

        /// The key of each action.
        pub const ACTIONS: &[&str] = &[$($key),*];

        /// The description of each action.
        pub(crate) const ABOUT: &[AboutAction] = &[$(AboutAction {
            key: $key,
            name: stringify!($variant),
            example: $variant::EXAMPLE,
            snippet: $variant::SNIPPET,
            rules: $variant::RULES,
        }),*];

        impl Action {
            /// The action's key in a scenario.
            #[must_use]
            pub const fn key(&self) -> &'static str {
                match self { $(Self::$variant(_) => $key,)* }
            }

            /// Reads the value of the action with this key.
            pub(crate) fn read(key: &str, value: &Value) -> Result<Self, Misfit> {
                let read = match key {
                    $($key => <$variant>::read(value).map(Self::$variant),)*
                    _ => Err(Misfit::new(Vec::new(), Wrong::Other(format!("there is no action `{key}`")))),
                };
                read.map_err(|misfit| misfit.under(key))
            }

            /// A one-line description.
            #[must_use]
            pub fn title(&self) -> String {
                match self { $(Self::$variant(data) => data.title(),)* }
            }

            /// Every VM that it names.
            fn vms(&mut self) -> Vec<Named<'_>> {
                match self { $(Self::$variant(data) => data.vms(),)* }
            }

            /// The same apart from the action.
            pub(crate) fn vm_names(&self) -> Vec<VmName> {
                self.clone().vms().into_iter().map(VmName::from).collect()
            }

            /// Checks it before anything is started; the VMs' names are checked with the step.
            fn check(&self, scene: &Scene<'_>, complaints: &mut Complaints) {
                match self { $(Self::$variant(data) => {
                    complaints.rules($variant::RULES, data);
                    data.check(scene, complaints);
                })* }
            }

            /// Runs it and returns the step's result.
            ///
            /// # Errors
            /// If the step's expectation is not met, or the step cannot be run.
            pub async fn run(&self, run: &mut Running<'_>) -> Result<serde_json::Value, Failure> {
                match self { $(Self::$variant(data) => data.run(run).await,)* }
            }
        }
    };
}

actions! {
    /// Starts VMs that have `start: false`.
    lifecycle::Start = "start",
    /// Connects to the monitors of VMs after their start.
    connect::Connect = "connect",
    /// Quits VMs and waits for a clean exit.
    lifecycle::Quit = "quit",
    /// Sends a signal to a VM's process.
    signal::Signal = "signal",
    /// Runs a QMP command.
    qmp::Qmp = "qmp",
    /// Runs a command of the human monitor.
    hmp::Hmp = "hmp",
    /// Sets migration capabilities.
    capabilities::Capabilities = "capabilities",
    /// Sets migration parameters.
    parameters::Parameters = "parameters",
    /// Starts a migration.
    migrate::Migrate = "migrate",
    /// Waits for a condition.
    wait::Wait = "wait",
    /// Asserts something at once.
    check::Check = "check",
    /// Starts COLO for two VMs, and asserts that either can take over.
    protect::Protect = "protect",
    /// Makes one side of a COLO pair take over.
    failover::Failover = "failover",
    /// Cuts connections of a VM, out of band.
    yank::Yank = "yank",
    /// Assigns roles to other VMs.
    rebind::Rebind = "rebind",
    /// Changes a link's state, delay or rate.
    link::Link = "link",
    /// Starts or stops a client of a service in a guest.
    client::Client = "client",
    /// Reads or writes guest RAM.
    memory::Memory = "memory",
    /// Sends the built-in guest a unique number.
    witness::Witness = "witness",
    /// Passes a descriptor to a VM, or uses the test's end of a socket pair.
    fd::Fd = "fd",
    /// Runs a host process.
    exec::Exec = "exec",
    /// Runs a command in a guest.
    guest::Guest = "guest",
    /// Runs a command of the guest agent.
    guest::Agent = "agent",
    /// Types on a VM's serial port.
    serial::Serial = "serial",
    /// Sets captures.
    set::Set = "set",
    /// Records numbers as metrics.
    record::Record = "record",
    /// Waits for a fixed time.
    sleep::Sleep = "sleep",
}

/// A step: an action with its modifiers. (`when` is evaluated by the expansion, or when the step runs.)
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Step {
    /// Its name.
    pub name: Option<String>,
    /// Its timeout. Default: [`DEFAULT_TIMEOUT`].
    pub timeout: Span,
    /// The name of its result in `run.captures`.
    pub capture: Option<String>,
    /// The step must fail with a message that matches this regular expression.
    pub expect_error: Option<String>,
    /// Its action.
    pub action: Action,
    /// Every VM that the action names.
    #[serde(skip)]
    pub vms: Vec<VmName>,
}

impl Step {
    /// Checks it before anything is started.
    pub(crate) fn check(&self, scene: &Scene<'_>, complaints: &mut Complaints) {
        for VmName { vm, path, .. } in &self.vms {
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            complaints.vm(scene, &path, vm);
        }
        self.action.check(scene, complaints);
    }

    /// Its name, or else a one-line description of its action.
    #[must_use]
    pub fn title(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.action.title())
    }
}

/// The names that an action may refer to.
#[derive(Debug)]
pub struct Scene<'a> {
    /// The case's VMs.
    pub vms: &'a IndexMap<String, VmSpec>,
    /// The roles, and the VM that each has at first.
    pub roles: &'a IndexMap<String, String>,
    /// The names of background processes (`exec: {background: NAME}`) of the whole case.
    pub processes: &'a BTreeSet<String>,
    /// The names of the clients that the case's steps start.
    pub clients: &'a BTreeSet<String>,
    /// The case's links.
    pub links: &'a IndexMap<String, LinkSpec>,
    /// The names of the metrics that the case's steps record.
    pub metrics: &'a BTreeSet<String>,
}

/// A problem with an action, at a path inside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// The keys and list indexes that lead to it from the action's value; empty for the action as a whole.
    pub path: Vec<String>,
    /// The message.
    pub message: String,
    /// The help.
    pub help: Option<String>,
    /// What it depends on.
    pub about: About,
}

/// What a complaint depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// Which keys the action has.
    Keys,
    /// The action alone.
    Form,
    /// A regular expression in it.
    Regex,
    /// The names in the case.
    Name,
    /// The properties of one of the case's VMs.
    Vm,
}

/// The complaints of a check.
#[derive(Debug, Default)]
pub struct Complaints(pub Vec<Complaint>);

impl Complaints {
    /// Adds a complaint about the value at a path.
    pub fn add(&mut self, path: &[&str], message: impl Into<String>, help: impl Into<String>) {
        self.add_about(About::Form, path, message, help);
    }

    /// The same, for a complaint that depends on the names or the VMs of the case.
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

    /// Adds the complaints about the value of a key.
    pub(crate) fn under(&mut self, key: &str, inner: Self) {
        self.0.extend(inner.0.into_iter().map(|mut complaint| {
            complaint.path.insert(0, key.to_owned());
            complaint
        }));
    }

    /// Complains if the case has no VM or role of that name.
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

    /// Complains about each VM that does not run the built-in guest, which the key needs.
    pub fn built_in_guest<'v>(
        &mut self,
        scene: &Scene<'_>,
        path: &[&str],
        key: &str,
        vms: impl IntoIterator<Item = &'v String>,
        help: &str,
    ) {
        let has_ticker = |spec: &VmSpec| matches!(spec.guest, spec::Guest::Ticker(_));
        for vm in vms.into_iter().filter(|vm| scene.vms.get(*vm).is_some_and(|spec| !has_ticker(spec))) {
            let message = format!("VM `{vm}` does not run the built-in guest, which `{key}` needs");
            self.add_about(About::Vm, path, message, help);
        }
    }

    /// Complains if the case has no link of that name.
    pub fn link(&mut self, scene: &Scene<'_>, path: &[&str], link: &str) {
        if !scene.links.contains_key(link) {
            let help = match scene.links.is_empty() {
                true => format!("declare it with `links: {{{link}: …}}`"),
                false => known(link, scene.links.keys()),
            };
            self.add_about(About::Name, path, format!("there is no link `{link}` in this case"), help);
        }
    }

    /// Complains if no step of the case starts a client of that name.
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

    /// Complains about each condition in an expected value that is never true.
    pub fn conditions(&mut self, key: &str, expected: Option<&Value>) {
        for (keys, fault) in expected.iter().flat_map(|expected| contains::faults(expected)) {
            let path: Vec<&str> = std::iter::once(key).chain(keys.iter().map(String::as_str)).collect();
            match fault {
                Fault::Expression(expression) => self.regex(&path, &expression),
                Fault::Value(message) => self.add(&path, message, ""),
            }
        }
    }

    /// Complains about a value that is neither a number nor a template.
    pub(crate) fn number(&mut self, path: &[&str], value: &Value) {
        let is_template = value.as_str().is_some_and(crate::template::is_template);
        if number(value).is_none() && !is_template {
            let help = "write a number, or a template of a number such as `{{run.captures.NAME}}`";
            self.add(path, format!("`{}` is not a number", brief(value)), help);
        }
    }

    /// Complains about an invalid regular expression.
    pub fn regex(&mut self, path: &[&str], expression: &str) {
        if let Some(message) = crate::diagnostic::invalid_regex(expression) {
            self.add_about(About::Regex, path, message, "");
        }
    }
}

/// The help for an unknown name: "did you mean …", or the list of known names.
pub(crate) fn known<'n>(wrong: &str, names: impl IntoIterator<Item = &'n String>) -> String {
    crate::diagnostic::suggest(wrong, names.into_iter().map(String::as_str))
}

/// A number, or text that is a number, as a template with more than one expression or a program's output results in.
pub(crate) fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.trim().parse().ok())
}

/// `a, b or c`.
pub(crate) fn alternatives(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [some @ .., last] => format!("{} or {last}", some.join(", ")),
    }
}

/// Names, separated by commas.
pub(crate) fn listed<'n>(names: impl IntoIterator<Item = &'n String>) -> String {
    names.into_iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

/// A value as one line of text, shortened.
pub(crate) fn brief(value: &serde_json::Value) -> String {
    let text = match value {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    if text.chars().count() <= 60 { text } else { text.chars().take(57).chain("…".chars()).collect() }
}
