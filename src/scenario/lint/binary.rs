//! Checks a case against the QEMUs that it would run on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::{Value, json};

use super::places::Part;
use crate::diagnostic::{Code, Diagnostic, Diagnostics, Location, Severity, suggest};
use crate::qemu::binary::Binary;
use crate::qemu::network::{Sockets, attached};
use crate::qemu::schema::Complaint;
use crate::qemu::spec::VmSpec;
use crate::qemu::trace;
use crate::scenario::model::Case;
use crate::step::{Action, Capabilities, CheckKind, Condition, Instances, Migrate, Qmp, VmName};
use crate::template;
use crate::units::OneOrMany;

/// Reports what a case needs and its QEMUs do not have: commands and their arguments, events, capabilities, parameters,
/// machine types, devices. Skips VMs without a binary, and steps that must fail. The caller skips cases whose `requires` is
/// not met.
pub fn against_binaries(
    case: &Case,
    binaries: &BTreeMap<String, Arc<Binary>>,
    diagnostics: &mut Diagnostics,
) {
    let found = found(case, binaries, |binary| format!("QEMU {}", binary.version));
    let severity = severity(case);
    diagnostics.extend(found.into_iter().map(|(diagnostic, _)| Diagnostic { severity, ..diagnostic }));
}

/// Reports that a VM's QEMU emulates another architecture than the VM has.
pub fn other_architecture(case: &Case, vm: &str, binary: &Binary, diagnostics: &mut Diagnostics) {
    let (Some(spec), Some(source)) = (case.vms.get(vm), case.vm_sources.get(vm)) else { return };
    let Some(why) = spec.other_target(binary) else { return };
    let at = Part::of_vm(source).place(&["arch"]);
    let help = "give a folder with `qemu-system-<arch>`, or a pattern with `{arch}`, as `--qemu`";
    diagnostics.push(Diagnostic::error(Code::Missing, &at, format!("VM `{vm}` has {why}")).help(help));
}

/// In a case that must fail, what a QEMU does not have may be intended.
fn severity(case: &Case) -> Severity {
    if case.must_fail.is_some() { Severity::Warning } else { Severity::Error }
}

/// What a case needs and its QEMUs do not have, each with whether it only applies under a condition, or with values that
/// depend on the version.
fn found(
    case: &Case,
    binaries: &BTreeMap<String, Arc<Binary>>,
    label: impl Fn(&Binary) -> String,
) -> Vec<(Diagnostic, bool)> {
    let mut all = Vec::new();
    let mut check = |binary, part, is_conditional, check: &dyn Fn(&mut Against<'_>)| {
        let mut against = Against { binary, part, label: label(binary), found: Vec::new() };
        check(&mut against);
        all.extend(against.found.into_iter().map(|diagnostic| (diagnostic, is_conditional)));
    };
    for (name, binary) in binaries {
        if let (Some(spec), Some(source)) = (case.vms.get(name), case.vm_sources.get(name)) {
            let is_conditional = source.template.as_ref().is_some_and(names_version);
            check(binary, Part::of_vm(source), is_conditional, &|against| against.vm(spec));
        }
    }
    for step in case.all_steps().into_iter().filter(|step| step.step.expect_error.is_none()) {
        for VmName { vm, .. } in &step.step.vms {
            if let Some(binary) = binaries.get(vm) {
                let is_conditional = !step.when.is_empty() || step.deferred && names_version(&step.raw);
                let action = &step.step.action;
                check(binary, Part::of(step), is_conditional, &|against| against.action(action, vm));
            }
        }
    }
    all
}

/// Whether a template in it may depend on the version of the QEMU.
fn names_version(raw: &Value) -> bool {
    raw.to_string().contains("version")
}

/// The place of a release in a message, until it is known which releases it is about.
const RELEASES: &str = "\u{fffc}";

/// What some releases do not have.
struct Lack {
    diagnostic: Diagnostic,
    conditional: bool,
    /// The numbers of these releases.
    releases: Vec<usize>,
}

/// For a case without a binary: reports what none of these releases of QEMU has, and warns of what some of them do not
/// have, unless it is under a condition. The caller leaves out the releases that do not meet the case's `requires`.
pub fn against_releases(case: &Case, releases: &[Arc<Binary>], diagnostics: &mut Diagnostics) {
    let mut all: IndexMap<(usize, usize, String), Lack> = IndexMap::new();
    for (number, release) in releases.iter().enumerate() {
        let vms = case.vms.iter().filter(|(_, vm)| vm.runs_on(release));
        let binaries = vms.map(|(name, _)| (name.clone(), Arc::clone(release))).collect();
        for (diagnostic, conditional) in found(case, &binaries, |_| RELEASES.to_owned()) {
            let at = &diagnostic.location;
            let key = (Arc::as_ptr(&at.file) as usize, at.start, diagnostic.message.clone());
            let lack = all.entry(key).or_insert(Lack { diagnostic, conditional, releases: Vec::new() });
            lack.conditional &= conditional;
            lack.releases.push(number);
            lack.releases.dedup();
        }
    }
    let name = |release: &Arc<Binary>| format!("{}.{}", release.version.major, release.version.minor);
    let names: Vec<String> = releases.iter().map(name).collect();
    for Lack { mut diagnostic, conditional, releases: lacking } in all.into_values() {
        let in_all = lacking.len() == releases.len();
        if !in_all && conditional {
            continue;
        }
        diagnostic.message = diagnostic.message.replace(RELEASES, &range(&lacking, &names));
        diagnostic.severity = if in_all { severity(case) } else { Severity::Warning };
        if !in_all {
            diagnostic.help = Some(match (lacking.first(), lacking.last()) {
                (Some(0), Some(last)) if last + 1 == lacking.len() => {
                    let next = &names[last + 1];
                    format!("add `requires: {{qemu: \">={next}\"}}`, or check it with `--qemu PATH`")
                }
                _ => "check it with `--qemu PATH`".to_owned(),
            });
        }
        diagnostics.push(diagnostic);
    }
}

/// `QEMU 7.2 to 11.1`.
fn range(numbers: &[usize], names: &[String]) -> String {
    match numbers {
        [one] => format!("QEMU {}", names[*one]),
        [first, .., last] if last - first + 1 == numbers.len() => {
            format!("QEMU {} to {}", names[*first], names[*last])
        }
        several => {
            let names: Vec<&str> = several.iter().map(|number| names[*number].as_str()).collect();
            format!("QEMU {}", names.join(" and "))
        }
    }
}

/// Checks a part of a case, a VM or a step, against one QEMU.
struct Against<'b> {
    binary: &'b Binary,
    part: Part<'b>,
    /// Its name in messages.
    label: String,
    found: Vec<Diagnostic>,
}

impl Against<'_> {
    fn complain(&mut self, code: Code, at: &Location, message: String, help: String) {
        self.found.push(Diagnostic::error(code, at, message).help(help));
    }

    /// Reports a name that the QEMU does not have. Returns whether it `is_there`; a template may be any name.
    fn has<N: AsRef<str>>(
        &mut self,
        path: &[&str],
        what: &str,
        name: &str,
        is_there: bool,
        known: impl IntoIterator<Item = N>,
    ) -> bool {
        let has = is_there || template::is_template(name);
        if !has {
            let message = format!("{} has no {what} `{name}`", self.label);
            self.complain(Code::Missing, &self.part.place(path), message, suggest(name, known));
        }
        has
    }

    fn vm(&mut self, spec: &VmSpec) {
        let binary = self.binary;
        let spec = &attached(spec, &Sockets::new());
        if let Some(machine) = spec.machine_type() {
            let known = &binary.machines;
            self.has(&["machine"], "machine type", machine, known.contains(machine), known);
        }
        // A binary that cannot write them skips the case; those of a release are not known.
        let events = &binary.trace_events;
        for (number, trace::Events(pattern)) in spec.trace.iter().enumerate().filter(|_| !events.is_empty()) {
            let is_there = trace::matches_any(pattern, events);
            let known = if is_there { BTreeSet::new() } else { trace::known(events) };
            self.has(&["trace", &number.to_string()], "trace event", pattern, is_there, known);
        }
        let lists = [
            ("blockdevs", "blockdev-add", &spec.blockdevs),
            ("chardevs", "chardev-add", &spec.chardevs),
            ("netdevs", "netdev_add", &spec.netdevs),
            ("objects", "object-add", &spec.objects),
            ("devices", "device_add", &spec.devices),
            // A command for QEMUs started with `--preconfig`, with the same arguments.
            ("numa", "set-numa-node", &spec.numa),
        ];
        for (key, command, list) in lists {
            for (number, options) in list.iter().enumerate() {
                let number = number.to_string();
                // `-device` on the command line needs the same arguments as `device_add` in QMP.
                self.at(&[key, &number], binary.schema.check(command, &Value::Object(options.clone())));
                if let ("devices", Some(driver)) = (key, options.get("driver").and_then(Value::as_str)) {
                    let known = &binary.devices;
                    // QEMU does not list aliases such as `virtio-net`, which are prefixes of other names.
                    let is_alias = known.iter().any(|known| known.starts_with(&format!("{driver}-")));
                    let is_there = is_alias || known.contains(driver);
                    self.has(&[key, &number, "driver"], "device", driver, is_there, known);
                }
            }
        }
    }

    /// Checks an action; `vm` is one of its VMs.
    fn action(&mut self, action: &Action, vm: &str) {
        match action {
            Action::Qmp(qmp) => self.qmp(qmp),
            Action::Capabilities(capabilities) => self.capabilities(capabilities),
            Action::Parameters(parameters) => self.parameters(&Value::Object(parameters.set.clone())),
            Action::Migrate(migrate) => self.migrate(migrate, vm),
            Action::Failover(failover) => {
                self.yanked("survivor", "yank", &failover.yank);
                self.has_command("survivor", "x-colo-lost-heartbeat");
            }
            Action::Yank(yank) => self.yanked("vm", "instances", &yank.instances),
            Action::Wait(wait) => self.condition(&wait.condition),
            Action::Check(check) => self.check(&check.kind),
            _ => {}
        }
    }

    fn qmp(&mut self, qmp: &Qmp) {
        self.command("execute", &qmp.execute, &Value::Object(qmp.arguments.clone()));
        if qmp.oob && self.binary.schema.allows_oob(&qmp.execute) == Some(false) {
            let message = format!("{} does not run `{}` out of band", self.label, qmp.execute);
            let help = "remove `oob`".to_owned();
            self.complain(Code::Arguments, &self.part.place(&["oob"]), message, help);
        }
    }

    fn capabilities(&mut self, capabilities: &Capabilities) {
        let known = &self.binary.capabilities;
        for (key, names) in [("on", &capabilities.on), ("off", &capabilities.off)] {
            for (number, name) in names.iter().enumerate() {
                let is_there = known.contains(name);
                self.has(&[key, &number.to_string()], "migration capability", name, is_there, known);
            }
        }
    }

    /// Checks what a migration needs of `vm`, which is its source or its destination.
    fn migrate(&mut self, migrate: &Migrate, vm: &str) {
        if let Some(channels) = &migrate.channels {
            self.at(&[], self.binary.schema.check("migrate", &json!({"channels": channels})));
        }
        if let (Some(_), true) = (migrate.exit_on_error, migrate.to.as_deref() == Some(vm))
            && !self.binary.schema.has_argument("migrate-incoming", "exit-on-error")
        {
            let at = self.part.key(&["exit_on_error"]);
            let message = format!("{} has no `exit-on-error` of `migrate-incoming`", self.label);
            let help = "remove `exit_on_error`: it needs QEMU 9.1 or later".to_owned();
            self.complain(Code::Arguments, &at, message, help);
        }
    }

    fn check(&mut self, kind: &CheckKind) {
        match kind {
            CheckKind::Query(check) => {
                self.command("query", &check.query, &Value::Object(check.arguments.clone()));
                for (key, pattern) in [("is", &check.is), ("is_not", &check.is_not)] {
                    if let Some(pattern) = pattern {
                        self.at(&[key], self.binary.schema.check_reply(&check.query, pattern));
                    }
                }
            }
            CheckKind::NoEvent(check) => self.event("no_event", &check.no_event),
            _ => {}
        }
    }

    fn condition(&mut self, condition: &Condition) {
        match condition {
            Condition::Event(wanted) => {
                self.event("event", &wanted.event);
                if let Some(data) = &wanted.data {
                    self.at(&["data"], self.binary.schema.check_event(&wanted.event, data));
                }
            }
            Condition::Migration(wanted) => {
                self.states("migration", "query-migrate", &wanted.migration);
                wanted.never.iter().for_each(|never| self.states("never", "query-migrate", never));
            }
            Condition::Status(wanted) => self.states("status", "query-status", &wanted.status),
            Condition::Query(wanted) => {
                self.command("query", &wanted.query, &Value::Object(wanted.arguments.clone()));
                self.at(&["until"], self.binary.schema.check_reply(&wanted.query, &wanted.until));
            }
            _ => {}
        }
    }

    /// Checks a command with its arguments, which are under `arguments`.
    fn command(&mut self, key: &str, command: &str, arguments: &Value) {
        if self.has_command(key, command) && !template::is_template(command) {
            self.at(&["arguments"], self.binary.schema.check(command, arguments));
        }
    }

    fn has_command(&mut self, key: &str, command: &str) -> bool {
        let schema = &self.binary.schema;
        let is_there = schema.allows_oob(command).is_some();
        self.has(&[key], "QMP command", command, is_there, schema.commands())
    }

    fn event(&mut self, key: &str, name: &str) {
        let schema = &self.binary.schema;
        let is_there = schema.events().any(|event| event == name);
        self.has(&[key], "event", name, is_there, schema.events());
    }

    /// Checks the states of a query's `status`.
    fn states(&mut self, key: &str, query: &str, states: &OneOrMany<String>) {
        for state in states {
            for complaint in self.binary.schema.check_reply(query, &json!({"status": state})) {
                let at = self.part.item(&[key], state);
                let what = if key == "status" { "run state" } else { "migration status" };
                let message = format!("{} has no {what} `{state}`", self.label);
                self.complain(Code::Missing, &at, message, complaint.help);
            }
        }
    }

    /// Checks the instances of a step's yank.
    fn yanked(&mut self, vm: &str, key: &str, instances: &Instances) {
        let named = instances.named();
        if *instances != Instances::Nothing && self.has_command(vm, "yank") && !named.is_empty() {
            let complaints = self.binary.schema.check("yank", &json!({"instances": named}));
            let inside = complaints.into_iter().map(|mut complaint| {
                complaint.path.splice(..complaint.path.len().min(1), [key.to_owned()]);
                complaint
            });
            self.at(&[], inside.collect());
        }
    }

    fn parameters(&mut self, set: &Value) {
        let schema = &self.binary.schema;
        let known = schema.arguments("migrate-set-parameters");
        for complaint in schema.check("migrate-set-parameters", set) {
            match complaint.path.as_slice() {
                [name] if !known.contains(&name.as_str()) => {
                    let message = format!("{} has no migration parameter `{name}`", self.label);
                    self.complain(
                        Code::Missing,
                        &self.part.key(&["set", name]),
                        message,
                        suggest(name, &known),
                    );
                }
                _ => self.at(&["set"], vec![complaint]),
            }
        }
    }

    /// Reports complaints about a value in the part.
    fn at(&mut self, above: &[&str], complaints: Vec<Complaint>) {
        for complaint in complaints {
            let path = above.iter().copied().chain(complaint.path.iter().map(String::as_str));
            let path: Vec<&str> = path.collect();
            // Put a message about a key at that key.
            let of_key = path.last().is_some_and(|key| complaint.message.ends_with(&format!(" `{key}`")));
            let at = if of_key { self.part.key(&path) } else { self.part.place(&path) };
            let message = format!("{} ({})", complaint.message, self.label);
            self.complain(Code::Arguments, &at, message, complaint.help);
        }
    }
}
