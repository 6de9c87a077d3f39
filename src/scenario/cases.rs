//! Expands a scenario file, merged with what it extends, into cases.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, LazyLock};

use indexmap::IndexMap;
use serde_json::{Map, Value, json};

use super::QemuVersions;
use super::flow::KEYS_OF_USED;
use super::lint::{self, Seen};
use super::load::Loader;
use super::matrix::{self, Cell};
use super::model::{Case, DEFAULT_CASE_TIMEOUT, Requires};
use super::net::{self, Net, unique};
use super::params::{self, Given, Param, Setting, word};
use super::steps::{Place, Steps};
use super::typed::{self, Reader};
use super::vms::{self, Vms};
use super::{artifacts, credentials, disks, issues};
use crate::diagnostic::{Code, Diagnostics, Location, suggest};
use crate::qemu::credential::Credential;
use crate::qemu::disk::Disk;
use crate::template::{Scope, Versions};
use crate::units::OneOrMany;
use crate::yaml::Node;

/// The required params that are not set, if the file is a template and not a scenario; empty for a file for `use`.
pub(super) fn template(
    own: &Node,
    path: &Path,
    defines: &[Setting],
    diagnostics: &mut Diagnostics,
) -> Option<Vec<String>> {
    let declared = params::declared(own, diagnostics);
    let set = |param: &Param| {
        let by = |section: &str| own.get(section).is_some_and(|node| node.get(&param.name).is_some());
        by("with") || by("matrix") || defines.iter().any(|define| define.name == param.name)
    };
    let missing = declared.iter().filter(|param| param.default.is_none() && !set(param));
    let missing: Vec<String> = missing.map(|param| param.name.clone()).collect();
    let only_steps = own.entries().iter().all(|(key, _)| KEYS_OF_USED.contains(&key.name.as_str()));
    let has_steps = own.get("steps").is_some();
    let may_be_one = own.get("params").is_some() || path.iter().any(|part| part == "templates");
    let used = may_be_one && has_steps && only_steps;
    // Its steps are in the file that extends it. Elsewhere a file without `steps` is more likely a mistake.
    let base = may_be_one && !has_steps && own.get("extends").is_none();
    (!missing.is_empty() || used || base).then_some(missing)
}

/// A file with its params and its cells.
pub(super) struct File<'f> {
    root: &'f Node,
    path: &'f Path,
    params: Vec<Param>,
    cells: Vec<Cell>,
    defines: &'f [Setting],
    oracle: &'f dyn QemuVersions,
}

/// The versions of a case's VMs.
struct CaseVersions<'c> {
    oracle: &'c dyn QemuVersions,
    /// The `qemu` and the architecture of each VM. `None` until the VMs are known; until then the default QEMU is used.
    vms: Option<IndexMap<String, (String, String)>>,
}

impl Versions for CaseVersions<'_> {
    fn version(&self, vm: Option<&str>) -> Option<semver::Version> {
        let known = self.vms.as_ref().and_then(|vms| match vm {
            Some(name) => vms.get(name),
            None => vms.values().next(),
        });
        let (qemu, arch) = known.map_or(("default", "x86_64"), |(qemu, arch)| (qemu.as_str(), arch.as_str()));
        self.oracle.version_of(qemu, arch)
    }

    fn check(&self, vm: &str) -> Result<(), String> {
        match &self.vms {
            Some(vms) if !vms.contains_key(vm) => {
                Err(format!("there is no VM `{vm}` in this case; {}", suggest(vm, vms.keys())))
            }
            _ => Ok(()),
        }
    }
}

impl<'f> File<'f> {
    pub(super) fn new(
        root: &'f Node,
        path: &'f Path,
        defines: &'f [Setting],
        oracle: &'f dyn QemuVersions,
        loader: &mut Loader,
    ) -> Self {
        let params = params::declared(root, &mut loader.diagnostics);
        params::check_with(root, &params, &mut loader.diagnostics);
        let versions = CaseVersions { oracle, vms: None };
        let scope = Scope::new(environment(loader), &versions);
        let cells = matrix::cells(root, &params, defines, loader.seed, &mut loader.reader(&scope));
        let examples = [("vms", "write `vms: {NAME: {}}`"), ("steps", "write `steps:`, and a list of steps")];
        for (section, help) in examples {
            if root.get(section).is_none() {
                let message = format!("the scenario has no `{section}`");
                loader.diagnostics.error(Code::MissingKey, &root.at, message, help);
            }
        }
        Self { root, path, params, cells: cells.unwrap_or_default(), defines, oracle }
    }

    /// The names that `-D` may set.
    pub(super) fn names(&self) -> Vec<String> {
        let axes = matrix::written(self.root).map(|(key, _)| &key.name);
        axes.chain(self.params.iter().map(|param| &param.name)).cloned().collect()
    }

    /// Adds the cases of all cells.
    pub(super) fn add_cases(&self, cases: &mut Vec<Case>, loader: &mut Loader) {
        loader.unused.params(self.root, &self.params);
        cases.reserve_exact(self.cells.len());
        let cells = self.cells.iter().map_while(|cell| (!loader.is_full()).then(|| self.case(cell, loader)));
        cases.extend(cells.flatten());
    }

    fn case(&self, cell: &Cell, loader: &mut Loader) -> Option<Case> {
        let before = loader.diagnostics.errors_added();
        let root = self.root;
        let early = CaseVersions { oracle: self.oracle, vms: None };
        let scope = Scope::new(environment(loader), &early);
        let (values, scope) = self.values(cell, &scope, loader)?;
        let (name, at) = self.name(cell, &mut loader.reader(&scope))?;
        let scope =
            scope.with([("case".to_owned(), Value::Object(compact([("name".to_owned(), json!(name))])))]);
        let ((disks, credentials, net), scope) = resources(root, scope, loader);
        let vms = self.vms(&scope, loader);
        net.check_netdevs(&vms, &mut loader.diagnostics);
        // The templates in everything else may use the versions of the VMs.
        let qemus =
            vms.specs.iter().map(|(name, vm)| (name.clone(), (vm.qemu.clone(), vm.arch().to_owned())));
        let versions = CaseVersions { oracle: self.oracle, vms: Some(qemus.collect()) };
        let scope = scope.with_versions(&versions);
        let requires = self.requires(&scope, loader);
        let mut reader = loader.reader(&scope);
        let issues = issues::read(root, &mut reader);
        let mut case = Case {
            name,
            at,
            context: scope.names().clone(),
            params: compact(values),
            axes: cell.iter().map(|setting| setting.name.clone()).collect(),
            roles: vms::roles(root, &vms, &mut reader),
            description: reader.read_key(root, "description"),
            tags: reader.read_key(root, "tags").map_or_else(Vec::new, |OneOrMany(tags)| unique(tags)),
            requires,
            needs: reader.read_key(root, "needs").unwrap_or_default(),
            exclusive: reader.read_key(root, "exclusive").unwrap_or_default(),
            timeout: reader.read_key(root, "timeout").unwrap_or(DEFAULT_CASE_TIMEOUT).0,
            known_issues: Vec::new(),
            must_fail: issues::must_fail(root, &mut reader),
            artifacts: unique(artifacts::read(root, &mut reader)),
            vms: vms.specs,
            vm_sources: vms.sources,
            disks,
            credentials,
            net,
            steps: Vec::new(),
            finally: Vec::new(),
        };
        let (names, seen) = expand(root, &mut case, vms.sound, &scope, loader);
        // If a step is invalid, its name may be missing.
        if loader.diagnostics.errors_added() == before {
            issues::check_steps(&issues, &names, &mut loader.diagnostics);
            issues::check_commands(&issues, &case, &mut loader.diagnostics);
        }
        // A used file may use more of it.
        case.context.extend(environment(loader));
        let sound = loader.diagnostics.errors_added() == before;
        loader.unused.case(root, &case, seen, sound);
        if !sound {
            return None;
        }
        case.known_issues = issues::applying(issues, &case);
        lint::check(&case, &mut loader.diagnostics);
        Some(case)
    }

    /// The VMs of a cell.
    fn vms(&self, scope: &Scope<'_>, loader: &mut Loader) -> Vms {
        let before = loader.diagnostics.errors_added();
        let node = self.root.get("vms");
        let mut part = node.and_then(|node| loader.shared.key(node, &[], scope));
        if let Some((_, key)) = &mut part {
            // A VM may name the disks of the file, which another file with the same VMs may not have.
            key.push_str(&scope.names().get("disk").unwrap_or(&Value::Null).to_string());
        }
        if let Some(known) = loader.shared.get::<Vms>(part.as_ref()) {
            return Vms::clone(&known);
        }
        let vms = vms::read(self.root, &mut loader.reader(scope));
        if loader.diagnostics.errors_added() == before {
            loader.shared.put(part, &Arc::new(vms.clone()));
        }
        vms
    }

    /// The requirements of a cell.
    fn requires(&self, scope: &Scope<'_>, loader: &mut Loader) -> Arc<Requires> {
        static NONE: LazyLock<Arc<Requires>> = LazyLock::new(Arc::default);
        let Some(node) = self.root.get("requires") else {
            return Arc::clone(&NONE);
        };
        let part = loader.shared.key(node, &[], scope);
        if let Some(known) = loader.shared.get(part.as_ref()) {
            return known;
        }
        let Some(requires) = loader.reader(scope).read_key(self.root, "requires") else {
            return Arc::clone(&NONE);
        };
        let requires = Arc::new(requires);
        loader.shared.put(part, &requires);
        requires
    }

    /// The values of the params and axes in a cell.
    fn values<'v>(
        &self,
        cell: &Cell,
        scope: &Scope<'v>,
        loader: &mut Loader,
    ) -> Option<(Map<String, Value>, Scope<'v>)> {
        let user = &self.user();
        let given = Given { with: self.root.get("with"), cell, defines: self.defines, user };
        let values = params::resolve(&self.params, &given, &mut loader.reader(scope))?;
        let weight = values.0.values().map(typed::weight).sum();
        loader.hold(weight, user).then_some(values)
    }

    /// The place where the file sets its template's params: its `with`, else its `extends`.
    fn user(&self) -> Location {
        let root = self.root;
        let mut keys = ["with", "extends", "matrix"].iter().filter_map(|name| root.entry(name));
        let own = keys.find(|(key, _)| key.at.file == root.at.file);
        own.map_or_else(|| Location::top_of(&root.at.file), |(key, _)| key.at.clone())
    }

    /// The case's name and its place.
    fn name(&self, cell: &Cell, reader: &mut Reader<'_, '_>) -> Option<(String, Location)> {
        let (name, at) = match self.root.entry("name") {
            Some((key, node)) => (reader.read::<String>(&key.at, node)?, node.at.clone()),
            None => (self.default_name(cell), Location::top_of(&self.root.at.file)),
        };
        let wrong = |part: &str| part.is_empty() || part == "." || part == ".." || part.len() > 200;
        if name.split('/').any(wrong) || name.contains(char::is_control) {
            let message = format!("{name:?} is not a valid case name");
            let help = "a name is a path: words separated by single `/`, at most 200 bytes each";
            reader.error(Code::CaseName, &at, message, help);
            return None;
        }
        Some((name, at))
    }

    fn default_name(&self, cell: &Cell) -> String {
        let stem = self.path.file_stem().map_or("case".into(), |stem| stem.to_string_lossy());
        let mut parts = vec![stem.into_owned()];
        for setting in cell {
            let value = match &setting.value {
                // A map is represented by its `name`, else by its first scalar.
                Value::Object(map) => {
                    map.get("name").or_else(|| map.values().find(|v| !v.is_object() && !v.is_array()))
                }
                single => Some(single),
            };
            parts.push(format!("{}={}", setting.name, value.map(word).unwrap_or_default()));
        }
        let clean = |part: &String| part.replace(|c: char| c == '/' || c.is_control(), "_");
        parts.iter().map(clean).collect::<Vec<_>>().join("/")
    }
}

/// What the VMs of a case may name: its disks, its credentials, and its ports, links and networks.
type Resources = (BTreeMap<String, Disk>, BTreeMap<String, Credential>, Net);

/// Reads the resources, and adds their names to the scope.
fn resources<'v>(root: &Node, scope: Scope<'v>, loader: &mut Loader) -> (Resources, Scope<'v>) {
    let disks = disks::read(root, &mut loader.reader(&scope));
    let credentials = credentials::read(root, &mut loader.reader(&scope));
    let unknown = |names: Vec<String>| names.into_iter().map(|name| (name, Value::Null)).collect();
    let scope = scope.with([
        ("disk".to_owned(), Value::Object(unknown(disks::names(root)))),
        ("credential".to_owned(), Value::Object(unknown(credentials.keys().cloned().collect()))),
    ]);
    let net = net::read(root, &mut loader.reader(&scope));
    let scope = scope.with(net.names());
    ((disks, credentials, net), scope)
}

/// Expands the steps of a case and checks them; returns the names of all steps, and what they use. If the VMs are not
/// `sound`, one of them is invalid.
fn expand(
    root: &Node,
    case: &mut Case,
    sound: bool,
    scope: &Scope<'_>,
    loader: &mut Loader,
) -> (BTreeSet<String>, Seen) {
    let place = Place {
        scope,
        locals: Map::new(),
        via: Vec::new(),
        when: Vec::new(),
        groups: Vec::new(),
        runs: true,
        hooks: Vec::new(),
        uses: Vec::new(),
    };
    let mut expansion = Steps::new(loader, scope, root);
    let mut list = |name| root.get(name).map(|list| expansion.list(list, &place)).unwrap_or_default();
    (case.steps, case.finally) = (list("steps"), list("finally"));
    // If a VM is invalid, every step that names it would report it again.
    if sound {
        expansion.check(case);
    }
    let Steps { placed, names, seen, .. } = expansion;
    // Each hook of the scenario must be the hook of some step.
    for (key, _) in root.section("hooks").iter().filter(|(key, _)| !placed.contains(&key.name)) {
        let help = suggest(&key.name, &placed);
        loader.diagnostics.error(Code::Hook, &key.at, format!("unknown hook `{}`", key.name), help);
    }
    (names, seen)
}

/// A map without room for more entries: there may be one in each of 100,000 cases.
fn compact<I>(entries: I) -> Map<String, Value>
where
    I: IntoIterator<Item = (String, Value), IntoIter: ExactSizeIterator>,
{
    let entries = entries.into_iter();
    let mut map = Map::with_capacity(entries.len());
    map.extend(entries);
    map
}

fn environment(loader: &Loader) -> Map<String, Value> {
    Map::from_iter([("env".to_owned(), Value::Object(loader.env.clone()))])
}
