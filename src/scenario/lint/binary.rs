//! Checks a case against the QEMUs that it would run on.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::{Value, json};

use super::places;
use crate::diagnostic::{Code, Diagnostic, Diagnostics, Location, Severity, suggest};
use crate::qemu::binary::Binary;
use crate::qemu::network::attached;
use crate::qemu::schema::Complaint;
use crate::scenario::model::{Case, CaseStep, each_step};
use crate::step::{Action, Capabilities, CheckKind, Condition, Instances, Migrate, Qmp, VmName};
use crate::template;
use crate::units::OneOrMany;
use crate::yaml::Node;

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
    for (name, binary) in binaries {
        let mut found = Vec::new();
        Against { binary, label: label(binary), found: &mut found }.vm(case, name);
        let conditional = case.deferred_vms.get(name).is_some_and(names_version);
        all.extend(found.into_iter().map(|diagnostic| (diagnostic, conditional)));
    }
    for blocks in [&case.steps, &case.finally] {
        each_step(blocks, &mut |step| {
            if step.step.expect_error.is_some() {
                return;
            }
            for VmName { vm, .. } in &step.step.vms {
                if let Some(binary) = binaries.get(vm) {
                    let mut found = Vec::new();
                    Against { binary, label: label(binary), found: &mut found }.step(step, vm);
                    let conditional = !step.when.is_empty() || step.deferred && names_version(&step.raw);
                    all.extend(found.into_iter().map(|diagnostic| (diagnostic, conditional)));
                }
            }
        });
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
    let names: Vec<String> = releases
        .iter()
        .map(|release| format!("{}.{}", release.version.major, release.version.minor))
        .collect();
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
                    format!(
                        "add `requires: {{qemu: \">={}\"}}`, or check it with `--qemu PATH`",
                        names[last + 1]
                    )
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

/// Checks parts of a case against one QEMU.
struct Against<'b> {
    binary: &'b Binary,
    /// Its name in messages.
    label: String,
    found: &'b mut Vec<Diagnostic>,
}

/// A part of a file.
struct Part<'p> {
    key: &'p Location,
    node: &'p Node,
}

impl Against<'_> {
    fn complain(&mut self, code: Code, at: &Location, message: String, help: String) {
        self.found.push(Diagnostic::error(code, at, message).help(help));
    }

    /// Reports a name that the QEMU does not have.
    fn missing<'n>(
        &mut self,
        at: &Location,
        what: &str,
        name: &str,
        known: impl IntoIterator<Item = &'n str>,
    ) {
        let message = format!("{} has no {what} `{name}`", self.label);
        let help = suggest(name, known);
        self.complain(Code::Missing, at, message, help);
    }

    fn vm(mut self, case: &Case, name: &str) {
        let (Some(spec), Some(source)) = (case.vms.get(name), case.vm_sources.get(name)) else {
            return;
        };
        let binary = self.binary;
        let spec = &attached(spec, name, Path::new("."));
        let part = Part { key: &source.at, node: &source.options };
        if let Some(machine) = spec.machine_type().filter(|machine| !template::is_template(machine))
            && !binary.machines.contains(machine)
        {
            let at = places::inside(part.key, part.node, &["machine".to_owned()], None);
            self.missing(&at, "machine type", machine, binary.machines.iter().map(String::as_str));
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
                let path = [key.to_owned(), number.to_string()];
                // `-device` on the command line needs the same arguments as `device_add` in QMP.
                let complaints = binary.schema.check(command, &Value::Object(options.clone()));
                self.at(&part, &path, complaints);
                if let ("devices", Some(driver)) = (key, options.get("driver").and_then(Value::as_str)) {
                    self.device(&part, &path, driver);
                }
            }
        }
    }

    /// Checks a device model. QEMU does not list aliases such as `virtio-net`, which are prefixes of other names.
    fn device(&mut self, part: &Part<'_>, path: &[String], driver: &str) {
        let devices = &self.binary.devices;
        let alias = devices.iter().any(|known| known.starts_with(&format!("{driver}-")));
        if alias || devices.contains(driver) || template::is_template(driver) {
            return;
        }
        let path = [path, &["driver".to_owned()]].concat();
        let at = places::inside(part.key, part.node, &path, None);
        let known = self.binary.devices.iter().map(String::as_str);
        self.missing(&at, "device", driver, known);
    }

    fn step(mut self, step: &CaseStep, vm: &str) {
        match &step.step.action {
            Action::Qmp(qmp) => self.qmp(step, qmp),
            Action::Capabilities(capabilities) => self.capabilities(step, capabilities),
            Action::Parameters(parameters) => self.parameters(step, &Value::Object(parameters.set.clone())),
            Action::Migrate(migrate) => self.migrate(step, migrate, vm),
            Action::Failover(failover) => {
                self.yanked(step, "survivor", "yank", &failover.yank);
                self.has(step, "survivor", "x-colo-lost-heartbeat");
            }
            Action::Yank(yank) => self.yanked(step, "vm", "instances", &yank.instances),
            Action::Wait(wait) => self.condition(step, &wait.condition),
            Action::Check(check) => self.check(step, &check.kind),
            _ => {}
        }
    }

    fn qmp(&mut self, step: &CaseStep, qmp: &Qmp) {
        self.command(step, "execute", &qmp.execute, &Value::Object(qmp.arguments.clone()));
        if qmp.oob && self.binary.schema.allows_oob(&qmp.execute) == Some(false) {
            let message = format!("{} does not run `{}` out of band", self.label, qmp.execute);
            let help = "remove `oob`".to_owned();
            self.complain(Code::Arguments, &places::of(step, &["oob"], None), message, help);
        }
    }

    fn capabilities(&mut self, step: &CaseStep, capabilities: &Capabilities) {
        let known = &self.binary.capabilities;
        for (key, names) in [("on", &capabilities.on), ("off", &capabilities.off)] {
            for (number, name) in names.iter().enumerate() {
                if !(known.contains(name) || template::is_template(name)) {
                    let at = places::of(step, &[key, &number.to_string()], None);
                    self.missing(&at, "migration capability", name, known.iter().map(String::as_str));
                }
            }
        }
    }

    /// Checks what a migration needs of `vm`, which is its source or its destination.
    fn migrate(&mut self, step: &CaseStep, migrate: &Migrate, vm: &str) {
        if let Some(channels) = &migrate.channels {
            let complaints = self.binary.schema.check("migrate", &json!({"channels": channels}));
            self.in_step(step, &[], complaints);
        }
        if let (Some(_), true) = (migrate.exit_on_error, migrate.to.as_deref() == Some(vm))
            && !self.binary.schema.has_argument("migrate-incoming", "exit-on-error")
        {
            let at = places::of_key(&step.at, places::action(step), &["exit_on_error".to_owned()]);
            let message = format!("{} has no `exit-on-error` of `migrate-incoming`", self.label);
            let help = "remove `exit_on_error`: it needs QEMU 9.1 or later".to_owned();
            self.complain(Code::Arguments, &at, message, help);
        }
    }

    fn check(&mut self, step: &CaseStep, kind: &CheckKind) {
        match kind {
            CheckKind::Query(check) => {
                self.command(step, "query", &check.query, &Value::Object(check.arguments.clone()));
                for (key, pattern) in [("is", &check.is), ("is_not", &check.is_not)] {
                    if let Some(pattern) = pattern {
                        let complaints = self.binary.schema.check_reply(&check.query, pattern);
                        self.in_step(step, &[key], complaints);
                    }
                }
            }
            CheckKind::NoEvent(check) => self.event(step, "no_event", &check.no_event),
            _ => {}
        }
    }

    fn condition(&mut self, step: &CaseStep, condition: &Condition) {
        match condition {
            Condition::Event(wanted) => {
                self.event(step, "event", &wanted.event);
                if let Some(data) = &wanted.data {
                    let complaints = self.binary.schema.check_event(&wanted.event, data);
                    self.in_step(step, &["data"], complaints);
                }
            }
            Condition::Migration(wanted) => {
                self.states(step, "migration", "query-migrate", &wanted.migration);
                wanted.never.iter().for_each(|never| self.states(step, "never", "query-migrate", never));
            }
            Condition::Status(wanted) => self.states(step, "status", "query-status", &wanted.status),
            Condition::Query(wanted) => {
                self.command(step, "query", &wanted.query, &Value::Object(wanted.arguments.clone()));
                let complaints = self.binary.schema.check_reply(&wanted.query, &wanted.until);
                self.in_step(step, &["until"], complaints);
            }
            _ => {}
        }
    }

    /// Checks a command with its arguments, which are under `arguments`.
    fn command(&mut self, step: &CaseStep, key: &str, command: &str, arguments: &Value) {
        if self.has(step, key, command) && !template::is_template(command) {
            let complaints = self.binary.schema.check(command, arguments);
            self.in_step(step, &["arguments"], complaints);
        }
    }

    fn has(&mut self, step: &CaseStep, key: &str, command: &str) -> bool {
        let schema = &self.binary.schema;
        let known = template::is_template(command) || schema.allows_oob(command).is_some();
        if !known {
            self.missing(&places::of(step, &[key], None), "QMP command", command, schema.commands());
        }
        known
    }

    fn event(&mut self, step: &CaseStep, key: &str, name: &str) {
        let schema = &self.binary.schema;
        if !template::is_template(name) && !schema.events().any(|event| event == name) {
            self.missing(&places::of(step, &[key], None), "event", name, schema.events());
        }
    }

    /// Checks the states of a query's `status`.
    fn states(&mut self, step: &CaseStep, key: &str, query: &str, states: &OneOrMany<String>) {
        for state in states {
            for complaint in self.binary.schema.check_reply(query, &json!({"status": state})) {
                let at = places::of(step, &[key], Some(state));
                let what = if key == "status" { "run state" } else { "migration status" };
                let message = format!("{} has no {what} `{state}`", self.label);
                self.complain(Code::Missing, &at, message, complaint.help);
            }
        }
    }

    /// Checks the instances of a step's yank.
    fn yanked(&mut self, step: &CaseStep, vm: &str, key: &str, instances: &Instances) {
        let named = instances.named();
        if *instances != Instances::Nothing && self.has(step, vm, "yank") && !named.is_empty() {
            let complaints = self.binary.schema.check("yank", &json!({"instances": named}));
            let inside = complaints.into_iter().map(|mut complaint| {
                complaint.path.splice(..complaint.path.len().min(1), [key.to_owned()]);
                complaint
            });
            self.in_step(step, &[], inside.collect());
        }
    }

    fn parameters(&mut self, step: &CaseStep, set: &Value) {
        let schema = &self.binary.schema;
        let known = schema.arguments("migrate-set-parameters");
        let (unknown, misfits): (Vec<Complaint>, Vec<Complaint>) = schema
            .check("migrate-set-parameters", set)
            .into_iter()
            .partition(|complaint| complaint.path.len() == 1 && !known.contains(&complaint.path[0].as_str()));
        for complaint in unknown {
            let path = ["set".to_owned(), complaint.path[0].clone()];
            let at = places::of_key(&step.at, places::action(step), &path);
            self.missing(&at, "migration parameter", &complaint.path[0], known.iter().copied());
        }
        self.in_step(step, &["set"], misfits);
    }

    /// Reports complaints about a part of a step.
    fn in_step(&mut self, step: &CaseStep, above: &[&str], complaints: Vec<Complaint>) {
        let above: Vec<String> = above.iter().map(|&key| key.to_owned()).collect();
        self.at(&Part { key: &step.at, node: places::action(step) }, &above, complaints);
    }

    fn at(&mut self, part: &Part<'_>, above: &[String], complaints: Vec<Complaint>) {
        for complaint in complaints {
            let path = [above, &complaint.path].concat();
            // Put a message about a key at that key.
            let of_key = path.last().is_some_and(|key| complaint.message.ends_with(&format!(" `{key}`")));
            let at = if of_key {
                places::of_key(part.key, part.node, &path)
            } else {
                places::inside(part.key, part.node, &path, None)
            };
            let message = format!("{} ({})", complaint.message, self.label);
            self.complain(Code::Arguments, &at, message, complaint.help);
        }
    }
}
