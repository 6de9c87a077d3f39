//! Fills in template values that are only known in a run, when a step runs.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::model::{Case, CaseStep, When};
use super::steps::Started;
use crate::qemu::credential::folder;
use crate::qemu::disk::Disk;
use crate::qemu::spec::VmSpec;
use crate::session::link::LinkSpec;
use crate::step::{Complaints, Read, Step};
use crate::template::{self, Rendered, Scope, Versions};

/// The values that are only known in a run.
pub struct RunValues<'l> {
    /// `run` in templates: `captures`, `vm` and so on.
    pub run: &'l Value,
    /// Other names that are known once the case has started, such as `port` and `link`.
    pub names: &'l Map<String, Value>,
    /// The round numbers of the enclosing loops with `until`, by their `index`.
    pub rounds: &'l Map<String, Value>,
    /// The case's private directory: `case.dir`.
    pub dir: &'l Path,
    /// The versions of the case's QEMUs.
    pub versions: &'l dyn Versions,
}

impl<'l> RunValues<'l> {
    fn scope(&self, case: &Case, locals: &Map<String, Value>) -> Scope<'l> {
        let mut names = case.context.clone();
        names.extend(self.rounds.clone());
        names.extend(locals.clone());
        // Only a VM's own options can use its descriptors.
        let known = self.names.iter().filter(|(name, _)| *name != "fd");
        names.extend(known.map(|(name, value)| (name.clone(), value.clone())));
        names.insert("run".to_owned(), self.run.clone());
        names.insert("disk".to_owned(), paths(self.dir, None, &case.disks));
        let credentials = case.credentials.keys();
        let credentials = credentials.map(|name| (name.clone(), json!(folder(self.dir, name))));
        names.insert("credential".to_owned(), Value::Object(credentials.collect()));
        names.insert("case".to_owned(), json!({"name": case.name, "dir": self.dir.display().to_string()}));
        Scope::new(names, self.versions)
    }
}

/// Why a template or what it is part of has no value in the run, in one line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unresolved(String);

/// The step with all templates filled in.
///
/// # Errors
/// One line: an unknown name in a template, or why the step cannot work with its values.
pub fn resolve_step(case: &Case, step: &CaseStep, values: &RunValues<'_>) -> Result<Step, Unresolved> {
    if !step.deferred {
        return Ok(Step::clone(&step.step));
    }
    let scope = values.scope(case, &step.locals);
    let resolved = read::<Step>(&step.raw, &scope)?;
    // Names of background processes were checked before the run; VMs may be new here.
    let mut complaints = Complaints::default();
    let started = Started::of(case);
    resolved.check(&started.scene(case), &mut complaints);
    match complaints.0.into_iter().next() {
        Some(complaint) => Err(Unresolved(match complaint.help {
            Some(help) => format!("{}; {help}", complaint.message),
            None => complaint.message,
        })),
        None => Ok(resolved),
    }
}

/// Whether all conditions are true now; true if there are none.
///
/// # Errors
/// One line: an unknown name in a template.
pub fn resolve_when(case: &Case, when: &[When], values: &RunValues<'_>) -> Result<bool, Unresolved> {
    for condition in when {
        if !template::is_true(&resolve_text(case, &condition.template, &condition.locals, values)?) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The current value of a template. A single expression keeps its type.
///
/// # Errors
/// One line: an unknown name in the template.
pub fn resolve_text(
    case: &Case,
    template: &str,
    locals: &Map<String, Value>,
    values: &RunValues<'_>,
) -> Result<Value, Unresolved> {
    text(template, &values.scope(case, locals))
}

/// A VM's options with all templates filled in. `None`: the case has no such VM.
///
/// # Errors
/// One line: an unknown name in a template, or an invalid option.
pub fn resolve_vm(case: &Case, name: &str, values: &RunValues<'_>) -> Result<Option<VmSpec>, Unresolved> {
    let Some(raw) = case.vm_sources.get(name).and_then(|source| source.template.as_ref()) else {
        return Ok(case.vms.get(name).cloned());
    };
    let disks = case.vms.get(name).map(|vm| paths(values.dir, Some(name), &vm.disks));
    let own =
        json!({"name": name, "disk": disks, "fd": values.names.get("fd").and_then(|fds| fds.get(name))});
    read(raw, &values.scope(case, &Map::new()).with([("self".to_owned(), own)])).map(Some)
}

/// The paths of disks by name.
fn paths(dir: &Path, owner: Option<&str>, disks: &BTreeMap<String, Disk>) -> Value {
    let path = |(name, disk): (&String, &Disk)| {
        (name.clone(), json!(dir.join(disk.file_name(owner, name)).display().to_string()))
    };
    Value::Object(disks.iter().map(path).collect())
}

/// A link with all templates filled in. `None`: the case has no such link.
///
/// # Errors
/// As [`resolve_vm`].
pub fn resolve_link(case: &Case, name: &str, values: &RunValues<'_>) -> Result<Option<LinkSpec>, Unresolved> {
    let Some(raw) = case.net.deferred_links.get(name) else {
        return Ok(case.net.links.get(name).cloned());
    };
    read(raw, &values.scope(case, &Map::new())).map(Some)
}

fn read<T: Read>(raw: &Value, scope: &Scope<'_>) -> Result<T, Unresolved> {
    T::read(&filled(raw, scope)?).map_err(|misfit| Unresolved(misfit.to_string()))
}

fn filled(value: &Value, scope: &Scope<'_>) -> Result<Value, Unresolved> {
    Ok(match value {
        Value::String(template) => text(template, scope)?,
        Value::Array(list) => list.iter().map(|item| filled(item, scope)).collect::<Result<_, _>>()?,
        Value::Object(map) => {
            let entries = map.iter().map(|(key, value)| Ok((key.clone(), filled(value, scope)?)));
            Value::Object(entries.collect::<Result<_, Unresolved>>()?)
        }
        single => single.clone(),
    })
}

fn text(template: &str, scope: &Scope<'_>) -> Result<Value, Unresolved> {
    let why = match template::render(template, scope) {
        Ok(Rendered::Value(value)) => return Ok(value),
        Ok(Rendered::Deferred | Rendered::Round(_)) => format!("`{template}` is not known yet"),
        Ok(Rendered::Unprobed(_)) => {
            format!("`{template}` needs the version of a QEMU that could not be probed")
        }
        Err(error) if error.help.is_empty() => format!("{} (in `{template}`)", error.message),
        Err(error) => format!("{}; {} (in `{template}`)", error.message, error.help),
    };
    Err(Unresolved(why))
}
