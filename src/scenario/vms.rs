//! The VMs of a case: `like` resolved, rendered, read.

use indexmap::IndexMap;
use serde_json::Value;

use super::load::deep;
use super::model::VmSource;
use super::source::{Key, Kind, Node};
use super::typed;
use crate::diagnostic::{Code, Diagnostic, Diagnostics, suggest};
use crate::qemu::spec::VmSpec;
use crate::template::Scope;

/// The VMs of a case, and the templates of those of which something is only known at run time.
#[derive(Debug, Default)]
pub(super) struct Vms {
    pub specs: IndexMap<String, VmSpec>,
    pub late: IndexMap<String, Value>,
    pub sources: IndexMap<String, VmSource>,
}

/// Reads a `vms` section; what is wrong with it is told, and the VMs at fault are left out.
pub(super) fn read(section: &Node, scope: &Scope<'_>, diagnostics: &mut Diagnostics) -> Vms {
    let mut vms = Vms::default();
    for (key, _) in section.entries() {
        if !check_name(key, diagnostics) {
            continue;
        }
        let Some(node) = options(&key.name, section, &mut Vec::new(), scope, diagnostics) else {
            continue;
        };
        let Some(piece) = typed::render(&node, scope, diagnostics) else {
            continue;
        };
        match typed::fit::<VmSpec>(&piece.value) {
            Ok(spec) => {
                vms.specs.insert(key.name.clone(), spec);
                vms.sources.insert(key.name.clone(), VmSource { at: key.at.clone(), options: node.clone() });
                vms.late.extend(piece.raw.map(|raw| (key.name.clone(), raw)));
            }
            Err(misfit) => {
                for misfit in
                    typed::all_misfits(misfit, &piece.value, |value| typed::fit::<VmSpec>(value).err())
                {
                    diagnostics.push(typed::explain(&misfit, &key.at, &node, scope));
                }
            }
        }
    }
    vms
}

/// A VM's name is also the name of its folder among the artifacts.
fn check_name(key: &Key, diagnostics: &mut Diagnostics) -> bool {
    let usable = key.name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && key.name.len() <= 64
        && key.name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
    if !usable {
        let message = format!("`{}` cannot be the name of a VM", key.name);
        let help = "a name is made of letters, digits, `_`, `-` and `.`, at most 64 of them";
        diagnostics.push(Diagnostic::error(Code::WrongValue, &key.at, message).help(help));
    }
    usable
}

/// A VM's options over those of the VM it is like.
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
        diagnostics
            .push(Diagnostic::error(Code::WrongValue, &node.at, message).help("write `{}` for the defaults"));
        return None;
    }
    let Some((like_key, like)) = node.entry("like") else {
        return Some(node.clone());
    };
    chain.push(name.to_owned());
    let other: String = typed::read(&like_key.at, like, scope, diagnostics)?;
    let wrong = if chain.contains(&other) {
        let message = if other == name {
            format!("VM `{name}` is `like` itself")
        } else {
            format!("`like` leads in a circle: {} -> {other}", chain.join(" -> "))
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
    use crate::scenario::source;
    use crate::template::NoVersions;

    fn vms(text: &str) -> (Vms, Vec<String>) {
        let file = Arc::new(SourceFile { path: "a.yaml".into(), text: text.to_owned() });
        let node = source::parse(&file).unwrap();
        let mut diagnostics = Diagnostics::default();
        let mut names = Map::new();
        names.insert("size".to_owned(), json!("1G"));
        let vms = read(&node, &Scope::new(names, &NoVersions), &mut diagnostics);
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
    fn a_vm_takes_the_options_of_the_one_it_is_like() {
        let text = "{b: {like: a, cpu: host, guest: {ticker: {dirty: 8M}}}, a: {memory: '{{size}}', guest: {ticker: {boot: disk}}}, c: }";
        let (vms, errors) = vms(text);
        assert_eq!(errors, [] as [&str; 0]);
        assert_eq!(vms.specs.keys().collect::<Vec<_>>(), ["b", "a", "c"]);
        assert_eq!(vms.specs["b"].memory, vms.specs["a"].memory);
        assert_eq!(vms.specs["b"].cpu, "host");
        assert!(serde_json::to_string(&vms.specs["b"]).unwrap().contains(r#"{"dirty":"8M","boot":"disk"}"#));
    }

    #[test]
    fn what_is_only_known_at_run_time_stays_a_template() {
        let (vms, errors) = vms("{a: {memory: '{{size}}', args: [-D, '{{case.dir}}/log']}}");
        assert_eq!(errors, [] as [&str; 0]);
        assert_eq!(vms.specs["a"].args[1], "{{case.dir}}/log");
        assert_eq!(vms.late["a"], json!({"memory": "1G", "args": ["-D", "{{case.dir}}/log"]}));
    }

    #[test]
    fn wrong_vms_are_told() {
        let error = |text| vms(text).1.join("; ");
        assert!(error("{a: {like: a}}").contains("like` itself"));
        assert!(error("{a: {like: b}, b: {like: a}}").contains("a -> b -> a"));
        assert!(error("{prim: {}, a: {like: prin}}").contains("did you mean `prim`?"));
        assert!(error("{a: {memry: 1G}}").contains("did you mean `memory`?"));
        assert!(error("{a: {cpu: 3}}").contains("a.yaml:1:11: `cpu` takes a text, not `3` write \"3\""));
        assert!(error("{a: 3}").contains("a map of options"));
        assert!(error("{a: {start: '{{run.x}}'}}").contains("only known when the step runs"));
        assert!(error("{../a: {}}").contains("cannot be the name"));
    }
}
