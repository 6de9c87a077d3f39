//! The VMs of a case: `like` resolved, rendered, read; and its roles, the names for VMs that can be rebound in a run.

use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::{Map, Value, json};

use super::merge::{LISTS, deep, joined};
use super::typed::{Reader, indentation};
use super::{args, disks, names, paths};
use crate::diagnostic::{Code, Diagnostic, Diagnostics, Location, suggest};
use crate::qemu::disk::Disk;
use crate::qemu::image::OVERLAY;
use crate::qemu::spec::{Guest, VmSpec};
use crate::template;
use crate::yaml::{Key, Kind, Node};

/// What a VM is in the file.
#[derive(Debug, Clone)]
pub struct VmSource {
    /// The place of its name.
    pub at: Location,
    /// Its options, including those of the VM it is `like`; each keeps its place.
    pub options: Node,
    /// If some options are only known in a run: all of them, with those as templates.
    pub template: Option<Value>,
}

/// The VMs of a case; cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Vms {
    pub specs: Arc<IndexMap<String, VmSpec>>,
    pub sources: Arc<IndexMap<String, VmSource>>,
    /// Whether none of them is invalid.
    pub sound: bool,
}

/// The maximum number of copies of a VM.
pub(crate) const MAX_COPIES: usize = 100;

/// Reads the `vms` of a scenario; reports and skips invalid ones.
pub(super) fn read(root: &Node, reader: &mut Reader<'_, '_>) -> Vms {
    let before = reader.diagnostics.errors_added();
    let mut vms = Vms::default();
    let Some(section) = root.get("vms") else {
        return Vms { sound: true, ..vms };
    };
    for (key, own) in section.entries() {
        if !names::VM.check(key, reader.diagnostics) {
            continue;
        }
        let Some(node) = options(&key.name, section, &mut Vec::new(), reader) else {
            continue;
        };
        let Some(copies) = own.get("copies") else {
            vms.one(key, &key.name, &node, reader);
            continue;
        };
        let count = reader.read_key::<usize>(own, "copies").unwrap_or(0);
        if count > MAX_COPIES {
            let message = format!("`copies` is {count}; the limit is {MAX_COPIES}");
            reader.error(Code::TooMuch, &copies.at, message, "use fewer copies; each is a separate QEMU");
            continue;
        }
        for number in 1..=count {
            vms.one(key, &format!("{}{number}", key.name), &node, reader);
        }
    }
    Arc::make_mut(&mut vms.specs).shrink_to_fit();
    Arc::make_mut(&mut vms.sources).shrink_to_fit();
    vms.check_shared(reader.diagnostics);
    vms.sound = reader.diagnostics.errors_added() == before;
    vms
}

impl Vms {
    /// The VMs that share a disk must have the same one.
    fn check_shared(&self, diagnostics: &mut Diagnostics) {
        let mut first: IndexMap<&str, (&Disk, Location)> = IndexMap::new();
        for (vm, spec) in self.specs.iter() {
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

    /// Reads one VM; `None` after reporting an error.
    fn one(&mut self, key: &Key, name: &str, node: &Node, reader: &mut Reader<'_, '_>) -> Option<()> {
        let mut known = disks::names(node);
        let unknown = |name: &String| (name.clone(), Value::Null);
        let own = Map::from_iter(known.iter().map(unknown));
        let shared = reader.scope.names().get("disk").and_then(Value::as_object);
        known.extend(shared.into_iter().flatten().map(|(disk, _)| disk.clone()));
        let fds = Map::from_iter(node.section("fds").iter().map(|(key, _)| unknown(&key.name)));
        let own = json!({"name": name, "disk": own, "fd": fds});
        let scope = reader.scope.with([("self".to_owned(), own)]);
        let reader = &mut reader.with(&scope);
        let node = joined(node, reader);
        let node = &without_disabled(&node, reader)?;
        let mut piece = reader.render(node)?;
        paths::locate(paths::OF_VM, &mut piece, node, reader);
        let mut spec = reader.fit::<VmSpec>(&piece.value, &key.at, node)?;
        if let (Some((firmware, _)), Guest::Ticker(_)) = (node.entry("firmware"), &spec.guest) {
            let message = "the built-in guest does not run on UEFI firmware";
            let help = "add another guest, such as `guest: linux` or `guest: none`";
            reader.error(Code::WrongValue, &firmware.at, message, help);
        }
        args::check_twice(node, &spec.args, reader.diagnostics);
        disks::check(node, &mut spec.disks, &known, reader);
        disks::locate_guest(node, &mut spec, &known, reader);
        if let Some(first) = self.sources.get(name) {
            let message = format!("two VMs have the name `{name}`");
            let diagnostic = Diagnostic::error(Code::DuplicateKey, &key.at, message);
            let help = "a copy's name is the VM's name followed by a number: rename one of the two";
            reader.diagnostics.push(diagnostic.related(&first.at, "the other VM").help(help));
            return None;
        }
        let template = piece.raw.map(|mut raw| {
            // The disks with the checked, absolute paths of files.
            for (disk, Disk { backing, copy, .. }) in spec.disks.iter().filter(|(disk, _)| *disk != OVERLAY) {
                for (key, path) in [("backing", backing), ("copy", copy)] {
                    if let (Some(path), Value::Object(raw)) = (path, &mut raw["disks"][disk]) {
                        raw.insert(key.to_owned(), json!(path));
                    }
                }
            }
            disks::rewrite(&spec, &mut raw);
            raw
        });
        Arc::make_mut(&mut self.specs).insert(name.to_owned(), spec);
        let source = VmSource { at: key.at.clone(), options: node.clone(), template };
        Arc::make_mut(&mut self.sources).insert(name.to_owned(), source);
        Some(())
    }
}

/// A VM's options without those whose `when` is false. An item of `args` with a `when` is a map with its own `args`; the
/// same for `trace`.
fn without_disabled(node: &Node, reader: &mut Reader<'_, '_>) -> Option<Node> {
    let mut sound = true;
    let mut entries = Vec::new();
    for (key, value) in node.entries() {
        let is_args = key.name == "args";
        let value = if is_args { args::list(value, reader.diagnostics) } else { Some(value.clone()) };
        let Some(value) = value else {
            sound = false;
            continue;
        };
        if !LISTS.contains(&key.name.as_str()) || !matches!(value.kind, Kind::Seq(_)) {
            entries.push((key.clone(), value));
            continue;
        }
        let mut kept = Vec::new();
        for item in value.items() {
            let Some(when) = item.get("when") else {
                kept.push(item.clone());
                continue;
            };
            let answer = super::when::render(when, reader).and_then(|piece| reader.now(piece));
            let Some(answer) = answer else {
                sound = false;
                continue;
            };
            if !template::is_true(&answer) {
                // Check the names in it anyway: it may be enabled in another cell.
                sound &= reader.render(item).is_some();
                continue;
            }
            let inner = item.get(&key.name).map(|list| match is_args {
                true => args::list(list, reader.diagnostics).unwrap_or_else(|| list.clone()),
                false => list.clone(),
            });
            match inner {
                Some(list) if matches!(list.kind, Kind::Seq(_)) => kept.extend_from_slice(list.items()),
                Some(one) => kept.push(one),
                None => kept.push(item.without(&["when"])),
            }
        }
        entries.push((key.clone(), Node::seq(kept, value.at)));
    }
    sound.then(|| Node::map(entries, node.at.clone()))
}

/// A VM's options merged over those of the VM it is like.
fn options(name: &str, section: &Node, chain: &mut Vec<String>, reader: &mut Reader<'_, '_>) -> Option<Node> {
    let (key, node) = section.entry(name)?;
    let node = &node.or_empty(key);
    if !node.is_map() {
        let message = format!("a VM is a map of options, not {}", node.what());
        let help = indentation(section, key).unwrap_or_else(|| "write `{}` for the defaults".to_owned());
        reader.error(Code::WrongValue, &node.at, message, help);
        return None;
    }
    // `copies` is not inherited by VMs that are `like` this one.
    let own = node.without(&["copies", "like"]);
    let Some(like) = node.get("like") else {
        return Some(own);
    };
    chain.push(name.to_owned());
    let other: String = reader.read_key(node, "like")?;
    let (message, help) = if other == name {
        (format!("VM `{name}` is `like` itself"), String::new())
    } else if chain.contains(&other) {
        (format!("`like` is circular: {} -> {other}", chain.join(" -> ")), String::new())
    } else if section.get(&other).is_none() {
        let others = section.entries().iter().map(|(key, _)| &key.name).filter(|known| *known != name);
        (format!("there is no VM `{other}`"), suggest(&other, others))
    } else {
        return Some(deep(&own, &options(&other, section, chain, reader)?));
    };
    reader.error(Code::Like, &like.at, message, help);
    None
}

/// Reads the `roles` of a scenario: each names a VM and does not have a VM's name itself. If one of the VMs is invalid,
/// unknown VMs are not reported.
pub(super) fn roles(root: &Node, vms: &Vms, reader: &mut Reader<'_, '_>) -> IndexMap<String, String> {
    let mut roles = IndexMap::new();
    for (key, node) in root.section("roles") {
        let Some(vm) = reader.read::<String>(&key.at, node) else {
            continue;
        };
        if vms.specs.contains_key(&key.name) {
            let message = format!("`{}` is the name of a VM, so it cannot be a role", key.name);
            let help = "rename the VM, for example to `first`, and keep the role";
            reader.error(Code::WrongValue, &key.at, message, help);
        } else if vms.specs.contains_key(&vm) || !vms.sound {
            roles.insert(key.name.clone(), vm);
        } else {
            let help = suggest(&vm, vms.specs.keys());
            reader.error(Code::WrongValue, &node.at, format!("there is no VM `{vm}` in this case"), help);
        }
    }
    roles
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::tests::node;
    use crate::template::{NoVersions, Scope};

    fn vms(text: &str) -> (Vms, Vec<String>) {
        let key = Key { name: "vms".to_owned(), at: node("x").at };
        let root = Node::map(vec![(key.clone(), node(text))], key.at);
        let mut diagnostics = Diagnostics::default();
        let scope = &Scope::new(Map::from_iter([("size".to_owned(), json!("1G"))]), &NoVersions);
        let vms = read(&root, &mut Reader { scope, diagnostics: &mut diagnostics });
        let line = |d: &&Diagnostic| format!("{d} {}", d.help.clone().unwrap_or_default());
        (vms, diagnostics.sorted().iter().map(line).collect())
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
        let template = json!({"memory": "1G", "args": ["-D", "{{case.dir}}/log"]});
        assert_eq!(vms.sources["a"].template, Some(template));
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
    fn copies_have_their_own_names_and_disks() {
        let (vms, messages) = vms(
            "a: {disks: {top: {size: 1M}}}\nb: {like: a, copies: 2, args: ['{{self.name}}', '{{self.disk.top}}']}",
        );
        assert!(messages.is_empty(), "{messages:?}");
        assert_eq!(vms.specs.keys().collect::<Vec<_>>(), ["a", "b1", "b2"]);
        assert_eq!(vms.specs["b2"].args[0], "b2");
        assert_eq!(vms.sources["b2"].template.as_ref().unwrap()["args"], json!(["b2", "{{self.disk.top}}"]));
    }

    #[test]
    fn an_option_with_a_when_is_only_used_if_it_is_true() {
        let (vms, messages) = vms(
            "a:\n  objects: [{when: \"{{eq size '1G'}}\", qom-type: iothread, id: x}, {when: false, id: y}]\n  \
             args: [-S, {when: true, args: [-d, int]}, {when: false, args: [-no]}]",
        );
        assert!(messages.is_empty(), "{messages:?}");
        assert_eq!(json!(vms.specs["a"].objects), json!([{"qom-type": "iothread", "id": "x"}]));
        assert_eq!(vms.specs["a"].args, ["-S", "-d", "int"]);
    }
}
