//! Expands a scenario file, merged with what it extends, into cases.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use indexmap::IndexMap;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::QemuVersions;
use super::flow::KEYS_OF_USED;
use super::issues::Issue;
use super::lint::{self, Section, Seen};
use super::load::Loader;
use super::matrix::{self, Cell};
use super::model::{Block, Case, DEFAULT_CASE_TIMEOUT, MustFail, Requires};
use super::net::Net;
use super::params::{self, Given, Param, Setting, word};
use super::steps::{Place, Steps};
use super::vms::Vms;
use super::{issues, net, typed, vms};
use crate::diagnostic::{Code, Diagnostic, Diagnostics, Location, suggest};
use crate::qemu::credential::Credential;
use crate::qemu::disk::Disk;
use crate::qemu::spec::VmSpec;
use crate::template::{Origins, Scope, Versions};
use crate::units::{OneOrMany, Span};
use crate::yaml::Node;

/// The required params that are not set, if the file is a template and not a scenario; empty for a file for `use`.
pub(super) fn template(
    own: &Node,
    path: &Path,
    defines: &[Setting],
    diagnostics: &mut Diagnostics,
) -> Option<Vec<String>> {
    let declared = params::declared(own.get("params"), diagnostics);
    let set = |param: &Param| {
        let by = |section: &str| own.get(section).is_some_and(|node| node.get(&param.name).is_some());
        by("with") || by("matrix") || defines.iter().any(|define| define.name == param.name)
    };
    let missing = declared.iter().filter(|param| param.default.is_none() && !set(param));
    let missing: Vec<String> = missing.map(|param| param.name.clone()).collect();
    let only_steps = own.entries().iter().all(|(key, _)| KEYS_OF_USED.contains(&key.name.as_str()));
    let in_templates = path.iter().any(|part| part == "templates");
    let used = only_steps && own.get("steps").is_some() && (own.get("params").is_some() || in_templates);
    // Its steps are in the file that extends it. Elsewhere a file without `steps` is more likely a mistake.
    let base = (own.get("params").is_some() || in_templates)
        && own.get("steps").is_none()
        && own.get("extends").is_none();
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
    /// `None` until the VMs are known; until then the default QEMU is used.
    vms: Option<&'c IndexMap<String, VmSpec>>,
}

impl Versions for CaseVersions<'_> {
    fn version(&self, vm: Option<&str>) -> Option<semver::Version> {
        let spec = self.vms.and_then(|vms| match vm {
            Some(name) => vms.get(name),
            None => vms.values().next(),
        });
        match spec {
            Some(spec) => self.oracle.version_of(&spec.qemu, spec.arch()),
            None => self.oracle.version_of("default", "x86_64"),
        }
    }

    fn check(&self, vm: &str) -> Result<(), String> {
        match self.vms {
            Some(vms) if !vms.contains_key(vm) => {
                let help = suggest(vm, vms.keys().map(String::as_str));
                Err(format!("there is no VM `{vm}` in this case; {help}"))
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
        let params = params::declared(root.get("params"), &mut loader.diagnostics);
        params::check_with(root.get("with"), &params, &mut loader.diagnostics);
        let versions = CaseVersions { oracle, vms: None };
        let scope = Scope::new(environment(loader), &versions);
        let cells =
            matrix::cells(root.get("matrix"), &params, defines, &scope, loader.seed, &mut loader.diagnostics);
        let examples = [("vms", "write `vms: {NAME: {}}`"), ("steps", "write `steps:`, and a list of steps")];
        for (section, help) in examples {
            if root.get(section).is_none() {
                let top = Location::of(&root.at.file, root.at.start, root.at.end);
                let message = format!("the scenario has no `{section}`");
                loader.complain(Diagnostic::error(Code::MissingKey, &top, message).help(help));
            }
        }
        Self { root, path, params, cells: cells.unwrap_or_default(), defines, oracle }
    }

    /// The names that `-D` may set.
    pub(super) fn names(&self) -> Vec<String> {
        let axes = self.root.get("matrix").map(Node::entries).unwrap_or_default();
        let axes = axes.iter().map(|(key, _)| key.name.clone());
        let axes = axes.filter(|name| !["include", "exclude"].contains(&name.as_str()));
        let params = self.params.iter().map(|param| param.name.clone());
        axes.chain(params).collect()
    }

    /// The cases of all cells.
    pub(super) fn cases(&self, loader: &mut Loader) -> Vec<Case> {
        loader.unused.params(self.root, &self.params);
        let mut cases = Vec::new();
        for cell in &self.cells {
            if loader.is_full() {
                break;
            }
            cases.extend(self.case(cell, loader));
        }
        cases
    }

    fn case(&self, cell: &Cell, loader: &mut Loader) -> Option<Case> {
        let before = loader.diagnostics.errors_added();
        let root = self.root;
        let early = CaseVersions { oracle: self.oracle, vms: None };
        let scope = Scope::new(environment(loader), &early);
        let (values, origins) = self.values(cell, &scope, loader)?;
        let scope = scope.with(values.clone()).with_origins(&origins);
        let (name, at) = self.name(cell, &scope, &mut loader.diagnostics)?;
        let scope = scope.with([("case".to_owned(), json!({"name": name}))]);
        let (Resources { disks, credentials, net }, scope) =
            Resources::read(root, scope, &mut loader.diagnostics);
        let vms = vms::read(root.get("vms"), &scope, &mut loader.diagnostics);
        net.check_netdevs(&vms, &mut loader.diagnostics);
        let versions = CaseVersions { oracle: self.oracle, vms: Some(&vms.specs) };
        let scope = Scope::new(scope.names().clone(), &versions).with_origins(&origins);
        let sections = Sections::read(root, &vms, &scope, &mut loader.diagnostics);
        let Expanded { steps, finally, names, seen } =
            expand(root, &vms, &sections.roles, &net, &scope, loader);
        // If a step is invalid, its name may be missing.
        if loader.diagnostics.errors_added() == before {
            issues::check_steps(&sections.issues, &names, &mut loader.diagnostics);
            issues::check_commands(&sections.issues, [&steps, &finally], &mut loader.diagnostics);
        }
        let sound = loader.diagnostics.errors_added() == before;
        note_unused(root, &vms, seen, sound, loader);
        if !sound {
            return None;
        }
        let mut context = scope.names().clone();
        context.extend(environment(loader));
        let case = Case {
            name,
            at,
            description: sections.description,
            tags: sections.tags,
            context,
            params: values,
            axes: cell.iter().map(|setting| setting.name.clone()).collect(),
            requires: sections.requires,
            known_issues: issues::applying(sections.issues, &steps, &finally),
            must_fail: sections.must_fail,
            timeout: sections.timeout.0,
            vms: vms.specs,
            deferred_vms: vms.deferred,
            vm_sources: vms.sources,
            roles: sections.roles,
            artifacts: sections.artifacts,
            disks,
            credentials,
            net,
            steps,
            finally,
        };
        lint::check(&case, &mut loader.diagnostics);
        Some(case)
    }

    /// The values of the params and axes in a cell.
    fn values(
        &self,
        cell: &Cell,
        scope: &Scope<'_>,
        loader: &mut Loader,
    ) -> Option<(Map<String, Value>, Origins)> {
        let user = source_of_params(self.root).unwrap_or_else(|| Location::top_of(&self.root.at.file));
        let given = Given { with: self.root.get("with"), cell, defines: self.defines, user: &user };
        let values = params::resolve(&self.params, &given, scope, &mut loader.diagnostics)?;
        let weight = values.0.values().map(typed::weight).sum();
        loader.hold(weight, &user).then_some(values)
    }

    /// The case's name and its place.
    fn name(
        &self,
        cell: &Cell,
        scope: &Scope<'_>,
        diagnostics: &mut Diagnostics,
    ) -> Option<(String, Location)> {
        let (name, at) = match self.root.entry("name") {
            Some((key, node)) => (typed::read::<String>(&key.at, node, scope, diagnostics)?, node.at.clone()),
            None => (self.default_name(cell), Location::top_of(&self.root.at.file)),
        };
        let wrong = |part: &str| part.is_empty() || part == "." || part == ".." || part.len() > 200;
        if name.split('/').any(wrong) || name.contains(char::is_control) {
            let message = format!("{name:?} is not a valid case name");
            let help = "a name is a path: words separated by single `/`, at most 200 bytes each";
            diagnostics.push(Diagnostic::error(Code::CaseName, &at, message).help(help));
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

/// The parts of a case that its VMs may name.
struct Resources {
    disks: BTreeMap<String, Disk>,
    credentials: BTreeMap<String, Credential>,
    net: Net,
}

impl Resources {
    /// Reads them, and adds their names to the scope.
    fn read<'v>(root: &Node, scope: Scope<'v>, diagnostics: &mut Diagnostics) -> (Self, Scope<'v>) {
        let disks = super::disks::read(root.entry("disks"), &scope, diagnostics);
        let known = super::disks::names(root.get("disks")).into_iter();
        let known: Map<String, Value> = known.map(|name| (name, Value::Null)).collect();
        let credentials = super::credentials::read(root.entry("credentials"), &scope, diagnostics);
        let made = credentials.keys().map(|name| (name.clone(), Value::Null)).collect();
        let scope = scope.with([
            ("disk".to_owned(), Value::Object(known)),
            ("credential".to_owned(), Value::Object(made)),
        ]);
        let net = net::read(root, &scope, diagnostics);
        let scope = scope.with(net.names());
        (Self { disks, credentials, net }, scope)
    }
}

/// The sections whose templates may use the versions of the VMs.
struct Sections<'n> {
    roles: IndexMap<String, String>,
    description: Option<String>,
    tags: Vec<String>,
    requires: Requires,
    timeout: Span,
    issues: Vec<Issue<'n>>,
    must_fail: Option<MustFail>,
    artifacts: Vec<String>,
}

impl<'n> Sections<'n> {
    fn read(root: &'n Node, vms: &Vms, scope: &Scope<'_>, diagnostics: &mut Diagnostics) -> Self {
        let tags: Option<OneOrMany<String>> = scalar(root, "tags", scope, diagnostics);
        Self {
            roles: super::roles::read(root.entry("roles"), &vms.specs, vms.sound, scope, diagnostics),
            description: scalar(root, "description", scope, diagnostics),
            tags: unique(tags.map(|tags| tags.0).unwrap_or_default()),
            requires: scalar(root, "requires", scope, diagnostics).unwrap_or_default(),
            timeout: scalar(root, "timeout", scope, diagnostics).unwrap_or(DEFAULT_CASE_TIMEOUT),
            issues: issues::read(root.entry("known_issue"), scope, diagnostics),
            must_fail: issues::must_fail(root.entry("must_fail"), scope, diagnostics),
            artifacts: unique(super::artifacts::read(root.entry("artifacts"), scope, diagnostics)),
        }
    }
}

/// Reads a section into its type.
fn scalar<T: DeserializeOwned>(
    root: &Node,
    name: &str,
    scope: &Scope<'_>,
    diagnostics: &mut Diagnostics,
) -> Option<T> {
    let (key, node) = root.entry(name)?;
    typed::read(&key.at, node, scope, diagnostics)
}

/// The steps of a case.
struct Expanded {
    steps: Vec<Block>,
    finally: Vec<Block>,
    /// See [`Steps::names`].
    names: BTreeSet<String>,
    seen: Seen,
}

/// Expands the steps of a case and checks them.
fn expand(
    root: &Node,
    vms: &Vms,
    roles: &IndexMap<String, String>,
    net: &Net,
    scope: &Scope<'_>,
    loader: &mut Loader,
) -> Expanded {
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
    let mut expansion = Steps::new(loader, scope, root.get("hooks"));
    let mut list = |name| root.get(name).map(|list| expansion.list(list, &place)).unwrap_or_default();
    let (steps, finally) = (list("steps"), list("finally"));
    let vm_nodes = root.get("vms").map(Node::entries).unwrap_or_default();
    let copied = vm_nodes.iter().filter(|(_, vm)| vm.get("copies").is_some());
    expansion.copied = copied.map(|(key, _)| key.name.clone()).collect();
    // If a VM is invalid, every step that names it would report it again.
    if vms.sound {
        expansion.check(&vms.specs, roles, &net.links);
    }
    let Steps { placed, names, mut seen, .. } = expansion;
    check_hooks(root.get("hooks"), &placed.into_iter().collect::<Vec<_>>(), &mut loader.diagnostics);
    roles.values().for_each(|vm| seen.vm(vm));
    Expanded { steps, finally, names, seen }
}

/// Records which VMs and other declarations of the file a case uses.
fn note_unused(root: &Node, vms: &Vms, mut seen: Seen, sound: bool, loader: &mut Loader) {
    vms.sources.values().for_each(|vm| seen.templates(&vm.options));
    let declared = declared(root, vms);
    if !declared.is_empty() {
        seen.all_below(root);
    }
    let netdevs = vms.specs.values().flat_map(|spec| &spec.netdevs);
    let networks = netdevs.filter_map(|netdev| netdev.get("network").and_then(Value::as_str));
    networks.for_each(|network| seen.thing(Section::Networks, network));
    let of_vms = vms.sources.iter().map(|(name, vm)| (name.as_str(), &vm.at));
    loader.unused.case(root, of_vms, declared.into_iter(), &seen, sound);
}

/// What the file itself declares besides VMs. Declarations of its template may stay unused.
fn declared<'d>(root: &'d Node, vms: &'d Vms) -> Vec<(Section, &'d str, &'d Location)> {
    let sections = [
        (Section::Links, "links"),
        (Section::Networks, "networks"),
        (Section::Disks, "disks"),
        (Section::Credentials, "credentials"),
        (Section::Roles, "roles"),
    ];
    let mut declared = Vec::new();
    for (section, key) in sections {
        let entries = root.get(key).map(Node::entries).unwrap_or_default();
        declared.extend(entries.iter().map(|(key, _)| (section, key.name.as_str(), &key.at)));
    }
    let ports = root.get("ports").into_iter().flat_map(|ports| ports.items().iter().chain([ports]));
    declared.extend(ports.filter_map(|port| Some((Section::Ports, port.text()?, &port.at))));
    for vm in vms.sources.values() {
        let disks = vm.options.get("disks").map(Node::entries).unwrap_or_default();
        declared.extend(disks.iter().map(|(key, _)| (Section::DisksOfVms, key.name.as_str(), &key.at)));
    }
    declared.retain(|(_, _, at)| at.file == root.at.file);
    declared
}

/// The place where a file sets its template's params: its `with`, else its `extends`.
fn source_of_params(root: &Node) -> Option<Location> {
    let own =
        |name: &str| root.entry(name).map(|(key, _)| key.at.clone()).filter(|at| at.file == root.at.file);
    own("with").or_else(|| own("extends")).or_else(|| own("matrix"))
}

fn environment(loader: &Loader) -> Map<String, Value> {
    let mut names = Map::new();
    names.insert("env".to_owned(), Value::Object(loader.env.clone()));
    names
}

fn unique(words: Vec<String>) -> Vec<String> {
    let mut kept: Vec<String> = Vec::new();
    for word in words {
        if !kept.contains(&word) {
            kept.push(word);
        }
    }
    kept
}

/// Each hook of the scenario must be the hook of some step.
fn check_hooks(hooks: Option<&Node>, placed: &[String], diagnostics: &mut Diagnostics) {
    for (key, _) in hooks.map(Node::entries).unwrap_or_default() {
        if !placed.contains(&key.name) {
            let message = format!("unknown hook `{}`", key.name);
            let help = suggest(&key.name, placed.iter().map(String::as_str));
            diagnostics.push(Diagnostic::error(Code::Hook, &key.at, message).help(help));
        }
    }
}
