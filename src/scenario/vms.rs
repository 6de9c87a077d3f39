//! The VMs of a case: `like` resolved, rendered, read.

use indexmap::IndexMap;
use serde_json::{Map, Value, json};

use super::lists::LISTS;
use super::merge::deep;
use super::source::indentation;
use super::typed;
use crate::diagnostic::{Code, Diagnostic, Diagnostics, Location, suggest};
use crate::qemu::disk::Disk;
use crate::qemu::image::OVERLAY;
use crate::qemu::spec::{Guest, VmSpec};
use crate::template::{self, Scope};
use crate::yaml::{Key, Kind, Node};

/// The place of a VM.
#[derive(Debug, Clone)]
pub struct VmSource {
    /// The place of its name.
    pub at: Location,
    /// Its options, including those of the VM it is `like`; each keeps its place.
    pub options: Node,
}

/// The VMs of a case, and the templates of those with deferred values.
#[derive(Debug, Default)]
pub(super) struct Vms {
    pub specs: IndexMap<String, VmSpec>,
    pub deferred: IndexMap<String, Value>,
    pub sources: IndexMap<String, VmSource>,
    /// Whether none of them is invalid.
    pub sound: bool,
}

/// The maximum number of copies of a VM.
const MAX_COPIES: usize = 100;

/// Reads a `vms` section; reports and skips invalid VMs.
pub(super) fn read(section: Option<&Node>, scope: &Scope<'_>, diagnostics: &mut Diagnostics) -> Vms {
    let before = diagnostics.errors_added();
    let mut vms = Vms { sound: true, ..Vms::default() };
    let Some(section) = section else {
        return vms;
    };
    for (key, own) in section.entries() {
        if !check_name(key, diagnostics) {
            continue;
        }
        let Some(node) = options(&key.name, section, &mut Vec::new(), scope, diagnostics) else {
            continue;
        };
        match own.entry("copies") {
            None => vms.one(key, &key.name, &node, scope, diagnostics),
            Some((copies_key, copies)) => {
                let Some(count) = typed::read::<usize>(&copies_key.at, copies, scope, diagnostics) else {
                    continue;
                };
                if count > MAX_COPIES {
                    let message = format!("`copies` is {count}; the limit is {MAX_COPIES}");
                    let help = "use fewer copies; each is a separate QEMU";
                    diagnostics.push(Diagnostic::error(Code::TooMuch, &copies.at, message).help(help));
                    continue;
                }
                for number in 1..=count {
                    vms.one(key, &format!("{}{number}", key.name), &node, scope, diagnostics);
                }
            }
        }
    }
    vms.check_shared(diagnostics);
    vms.sound = diagnostics.errors_added() == before;
    vms
}

impl Vms {
    /// The VMs that share a disk must have the same one.
    fn check_shared(&self, diagnostics: &mut Diagnostics) {
        let mut first: IndexMap<&str, (&Disk, Location)> = IndexMap::new();
        for (vm, spec) in &self.specs {
            for (name, disk) in spec.disks.iter().filter(|(_, disk)| disk.share) {
                let source = &self.sources[vm];
                let key = source.options.get("disks").and_then(|disks| disks.entry(name));
                let at = key.map_or(&source.at, |(key, _)| &key.at);
                let (other, other_at) = first.entry(name).or_insert_with(|| (disk, at.clone()));
                if *other != disk {
                    let message = format!("the shared disk `{name}` is not the same in all VMs");
                    let wrong = Diagnostic::error(Code::WrongValue, at, message);
                    let help = "write it once, and inherit it with `like`; or give it another name";
                    diagnostics.push(wrong.related(other_at, "the first").help(help));
                }
            }
        }
    }

    fn one(&mut self, key: &Key, name: &str, node: &Node, scope: &Scope<'_>, diagnostics: &mut Diagnostics) {
        let mut known = super::disks::names(node.get("disks"));
        let disks: Map<String, Value> = known.iter().map(|disk| (disk.clone(), Value::Null)).collect();
        known.extend(
            scope
                .names()
                .get("disk")
                .and_then(Value::as_object)
                .into_iter()
                .flatten()
                .map(|(disk, _)| disk.clone()),
        );
        let fds = node.get("fds").map(Node::entries).unwrap_or_default();
        let fds: Map<String, Value> = fds.iter().map(|(key, _)| (key.name.clone(), Value::Null)).collect();
        let scope = scope.with([("self".to_owned(), json!({"name": name, "disk": disks, "fd": fds}))]);
        let node = super::lists::joined(node, &scope, diagnostics);
        let Some(node) = &without_disabled(&node, &scope, diagnostics) else {
            return;
        };
        let Some(mut piece) = typed::render(node, &scope, diagnostics) else {
            return;
        };
        super::paths::locate(&mut piece, node, &scope, diagnostics);
        let spec = typed::fit_all::<VmSpec>(&piece.value, &key.at, node, &scope, diagnostics);
        let Some(mut spec) = spec else {
            return;
        };
        if let (Some((firmware, _)), Guest::Ticker(_)) = (node.entry("firmware"), &spec.guest) {
            let message = "the built-in guest does not run on UEFI firmware";
            let wrong = Diagnostic::error(Code::WrongValue, &firmware.at, message);
            diagnostics.push(wrong.help("add another guest, such as `guest: linux` or `guest: none`"));
        }
        super::args::check_twice(node, &spec.args, diagnostics);
        super::disks::check(node.get("disks"), &mut spec.disks, &known, &scope, diagnostics);
        super::image::locate(node, &mut spec, &known, diagnostics);
        if let Some(first) = self.sources.get(name) {
            let message = format!("two VMs have the name `{name}`");
            let diagnostic = Diagnostic::error(Code::DuplicateKey, &key.at, message);
            let help = "a copy's name is the VM's name followed by a number: rename one of the two";
            diagnostics.push(diagnostic.related(&first.at, "the other VM").help(help));
            return;
        }
        let deferred = piece.raw.map(|mut raw| {
            // The disks with the checked, absolute paths of files.
            for (disk, Disk { backing, copy, .. }) in spec.disks.iter().filter(|(disk, _)| *disk != OVERLAY) {
                for (key, path) in [("backing", backing), ("copy", copy)] {
                    if let (Some(path), Value::Object(raw)) = (path, &mut raw["disks"][disk]) {
                        raw.insert(key.to_owned(), json!(path));
                    }
                }
            }
            super::image::rewrite(&spec, &mut raw);
            raw
        });
        self.specs.insert(name.to_owned(), spec);
        self.sources.insert(name.to_owned(), VmSource { at: key.at.clone(), options: node.clone() });
        self.deferred.extend(deferred.map(|raw| (name.to_owned(), raw)));
    }
}

/// A VM's name is also the name of its directory in the artifacts.
fn check_name(key: &Key, diagnostics: &mut Diagnostics) -> bool {
    let usable = key.name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && key.name.len() <= 64
        && key.name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
    if !usable {
        let message = format!("`{}` is not a valid VM name", key.name);
        let help = "use letters, digits, `_`, `-` and `.`, at most 64 characters";
        diagnostics.push(Diagnostic::error(Code::WrongValue, &key.at, message).help(help));
    }
    usable
}

/// A VM's options without those whose `when` is false. An item of `args` with a `when` is a map with its own `args`.
fn without_disabled(node: &Node, scope: &Scope<'_>, diagnostics: &mut Diagnostics) -> Option<Node> {
    let mut sound = true;
    let mut entries = Vec::new();
    for (key, value) in node.entries() {
        let split = (key.name == "args").then(|| super::args::list(value, diagnostics));
        let value = match &split {
            None => value,
            Some(Some(list)) => list,
            Some(None) => {
                sound = false;
                continue;
            }
        };
        let Kind::Seq(items) = &value.kind else {
            entries.push((key.clone(), value.clone()));
            continue;
        };
        let mut kept = Vec::new();
        for item in items.iter() {
            let when = item.get("when").filter(|_| LISTS.contains(&key.name.as_str()));
            let Some(when) = when else {
                kept.push(item.clone());
                continue;
            };
            if !super::when::check(when, diagnostics) {
                sound = false;
                continue;
            }
            let Some(answer) = typed::render_now(when, scope, diagnostics) else {
                sound = false;
                continue;
            };
            if !template::is_true(&answer) {
                // Check the names in it anyway: it may be enabled in another cell.
                sound &= typed::render(item, scope, diagnostics).is_some();
                continue;
            }
            let inner = item.get("args").filter(|_| key.name == "args");
            match inner.map(|args| super::args::list(args, diagnostics).unwrap_or_else(|| args.clone())) {
                Some(args) if matches!(args.kind, Kind::Seq(_)) => kept.extend(args.items().iter().cloned()),
                Some(one) => kept.push(one),
                None => {
                    let rest = item.entries().iter().filter(|(key, _)| key.name != "when").cloned().collect();
                    kept.push(Node::map(rest, item.at.clone()));
                }
            }
        }
        let kind = Kind::Seq(std::sync::Arc::new(kept));
        entries.push((key.clone(), Node { kind, at: value.at.clone() }));
    }
    sound.then(|| Node::map(entries, node.at.clone()))
}

/// A VM's options merged over those of the VM it is like.
fn options(
    name: &str,
    section: &Node,
    chain: &mut Vec<String>,
    scope: &Scope<'_>,
    diagnostics: &mut Diagnostics,
) -> Option<Node> {
    let (key, node) = section.entry(name)?;
    if node.is_null() {
        return Some(Node::map(Vec::new(), key.at.clone()));
    }
    if !matches!(node.kind, Kind::Map(_)) {
        let message = format!("a VM is a map of options, not {}", node.what());
        let help = indentation(section, key).unwrap_or_else(|| "write `{}` for the defaults".to_owned());
        diagnostics.push(Diagnostic::error(Code::WrongValue, &node.at, message).help(help));
        return None;
    }
    // `copies` is not inherited by VMs that are `like` this one.
    let own: Vec<_> = node.entries().iter().filter(|(key, _)| key.name != "copies").cloned().collect();
    let node = &Node::map(own, node.at.clone());
    let Some((like_key, like)) = node.entry("like") else {
        return Some(node.clone());
    };
    chain.push(name.to_owned());
    let other: String = typed::read(&like_key.at, like, scope, diagnostics)?;
    let wrong = if chain.contains(&other) {
        let message = if other == name {
            format!("VM `{name}` is `like` itself")
        } else {
            format!("`like` is circular: {} -> {other}", chain.join(" -> "))
        };
        Some((message, String::new()))
    } else if section.get(&other).is_none() {
        let others =
            section.entries().iter().map(|(key, _)| key.name.as_str()).filter(|known| *known != name);
        Some((format!("there is no VM `{other}`"), suggest(&other, others)))
    } else {
        None
    };
    if let Some((message, help)) = wrong {
        diagnostics.push(Diagnostic::error(Code::Like, &like.at, message).help(help));
        return None;
    }
    let below = options(&other, section, chain, scope, diagnostics)?;
    let own = node.entries().iter().filter(|(key, _)| key.name != "like").cloned().collect();
    Some(deep(&Node::map(own, node.at.clone()), &below))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Map, json};

    use super::*;
    use crate::diagnostic::SourceFile;
    use crate::template::NoVersions;
    use crate::yaml;

    fn vms(text: &str) -> (Vms, Vec<String>) {
        let file = Arc::new(SourceFile { path: "a.yaml".into(), text: text.to_owned() });
        let node = yaml::parse(&file).unwrap();
        let mut diagnostics = Diagnostics::default();
        let mut names = Map::new();
        names.insert("size".to_owned(), json!("1G"));
        let vms = read(Some(&node), &Scope::new(names, &NoVersions), &mut diagnostics);
        (
            vms,
            diagnostics
                .sorted()
                .iter()
                .map(|d| format!("{d} {}", d.help.clone().unwrap_or_default()))
                .collect(),
        )
    }

    #[test]
    fn like_copies_the_options_of_another_vm() {
        let text = "{b: {like: a, cpu: host, guest: {ticker: {dirty: 8M}}}, a: {memory: '{{size}}', guest: {ticker: {boot: disk}}}, c: }";
        let (vms, errors) = vms(text);
        assert_eq!(errors, [] as [&str; 0]);
        assert_eq!(vms.specs.keys().collect::<Vec<_>>(), ["b", "a", "c"]);
        assert_eq!(vms.specs["b"].memory, vms.specs["a"].memory);
        assert_eq!(vms.specs["b"].cpu, "host");
        let text = serde_json::to_string(&vms.specs["b"]).unwrap();
        assert!(text.contains(r#""dirty":"8M""#) && text.contains(r#""boot":"disk""#), "{text}");
    }

    #[test]
    fn a_value_that_is_only_known_in_a_run_stays_a_template() {
        let (vms, errors) = vms("{a: {memory: '{{size}}', args: [-D, '{{case.dir}}/log']}}");
        assert_eq!(errors, [] as [&str; 0]);
        assert_eq!(vms.specs["a"].args[1], "{{case.dir}}/log");
        assert_eq!(vms.deferred["a"], json!({"memory": "1G", "args": ["-D", "{{case.dir}}/log"]}));
    }

    #[test]
    fn a_vm_adds_to_the_lists_of_the_one_it_is_like() {
        let (vms, errors) = vms("a: {args: -S, objects: [{id: x}]}\n\
             b: {like: a, +args: [-no-reboot, {when: false, args: [-d]}], +objects: [{id: '{{size}}'}]}\n\
             c: {like: b, +args: '-D log', objects: [{id: y}]}\nd: {like: c, +objects: [{id: z}]}");
        assert_eq!(errors, [] as [&str; 0]);
        let args = |vm: &str| vms.specs[vm].args.join(" ");
        assert_eq!(["a", "b", "c"].map(args), ["-S", "-S -no-reboot", "-S -no-reboot -D log"]);
        let ids = |vm: &str| {
            let ids = vms.specs[vm].objects.iter().map(|object| object["id"].as_str().unwrap());
            ids.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(["a", "b", "c", "d"].map(ids), ["x", "x 1G", "y", "y z"]);
    }

    #[test]
    fn invalid_vms_are_errors() {
        let error = |text| vms(text).1.join("; ");
        assert!(error("{a: {like: a}}").contains("like` itself"));
        assert!(error("{a: {like: b}, b: {like: a}}").contains("a -> b -> a"));
        assert!(error("{prim: {}, a: {like: prin}}").contains("did you mean `prim`?"));
        assert!(error("{a: {memry: 1G}}").contains("did you mean `memory`?"));
        assert!(error("{a: {cpu: 3}}").contains("a.yaml:1:11: `cpu` takes a text, not `3` write \"3\""));
        assert!(error("{a: 3}").contains("a map of options"));
        assert!(error("{a: {start: '{{run.x}}'}}").contains("only known when the step runs"));
        assert!(error("{../a: {}}").contains("not a valid VM name"));
    }

    #[test]
    fn copies_have_their_own_names_and_disks() {
        let (vms, messages) = vms(
            "a: {disks: {top: {size: 1M}}}\nb: {like: a, copies: 2, args: ['{{self.name}}', '{{self.disk.top}}']}",
        );
        assert!(messages.is_empty(), "{messages:?}");
        assert_eq!(vms.specs.keys().collect::<Vec<_>>(), ["a", "b1", "b2"]);
        assert_eq!(vms.specs["b2"].args[0], "b2");
        assert_eq!(vms.deferred["b2"]["args"], json!(["b2", "{{self.disk.top}}"]));
    }

    #[test]
    fn an_unknown_disk_of_the_vm_is_an_error() {
        let (_, messages) = vms("a: {disks: {top: {size: 1M}}, args: ['{{self.disk.tap}}']}");
        assert!(messages[0].contains("self.disk.tap") && messages[0].contains("`top`"), "{messages:?}");
    }

    #[test]
    fn an_option_with_a_when_is_only_used_if_it_is_true() {
        let (vms, messages) = vms(
            "a:\n  objects: [{when: \"{{eq size '1G'}}\", qom-type: iothread, id: x}, {when: false, id: y}]\n  \
             args: [-S, {when: true, args: [-d, int]}, {when: false, args: [-no]}]",
        );
        assert!(messages.is_empty(), "{messages:?}");
        assert_eq!(
            serde_json::to_value(&vms.specs["a"].objects).unwrap(),
            json!([{"qom-type": "iothread", "id": "x"}])
        );
        assert_eq!(vms.specs["a"].args, ["-S", "-d", "int"]);
    }
}
