//! Parts of a file that are the same in many cells of its matrix: each is read once for all cells in which the names of its
//! templates have the same values.

use std::any::Any;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::template::{self, Scope};
use crate::yaml::{Kind, Node};

/// The maximum number of parts to keep, and the maximum length of the values of their names.
const MAX_PARTS: usize = 50_000;
const MAX_KEY: usize = 4096;

/// A part, by its address, and the values of its names.
pub(super) type PartKey = (usize, String);

/// The parts that were read.
#[derive(Default)]
pub(super) struct Shared {
    /// The names that the templates of a part use; `None` if it depends on more than their values. While its node is here,
    /// no other part has its address.
    names: HashMap<usize, (Node, Option<BTreeSet<String>>)>,
    parts: HashMap<PartKey, Arc<dyn Any + Send + Sync>>,
}

impl Shared {
    /// The key of a list or map, without some of its own keys; `None` if it must be read in each cell.
    pub(super) fn key(&mut self, node: &Node, without: &[&str], scope: &Scope<'_>) -> Option<PartKey> {
        let address = match &node.kind {
            Kind::Map(entries) => Arc::as_ptr(entries) as usize,
            Kind::Seq(items) => Arc::as_ptr(items) as usize,
            Kind::Scalar(_) => return None,
        };
        let names = self.names.entry(address).or_insert_with(|| (node.clone(), used(&node.without(without))));
        let mut key = String::new();
        for name in names.1.as_ref()? {
            if scope.is_round(name) {
                return None;
            }
            // A path is relative to the file that sets it.
            let file = scope.origins().get(name).map_or(0, |origin| Arc::as_ptr(&origin.file) as usize);
            let value = scope.names().get(name).map(ToString::to_string).unwrap_or_default();
            key.extend([value.as_str(), "\n", &file.to_string(), "\n"]);
        }
        (key.len() <= MAX_KEY).then_some((address, key))
    }

    /// The part of a key, if it was read.
    pub(super) fn get<T: Any + Send + Sync>(&self, key: Option<&PartKey>) -> Option<Arc<T>> {
        Arc::clone(self.parts.get(key?)?).downcast().ok()
    }

    /// Keeps a part, which must be valid.
    pub(super) fn put<T: Any + Send + Sync>(&mut self, key: Option<PartKey>, part: &Arc<T>) {
        if let Some(key) = key.filter(|_| self.parts.len() < MAX_PARTS) {
            self.parts.insert(key, Arc::clone(part) as Arc<dyn Any + Send + Sync>);
        }
    }
}

/// The names that the templates in a part use. A version depends on the QEMU of a VM, and `case` is another one in each
/// cell.
fn used(node: &Node) -> Option<BTreeSet<String>> {
    let mut names = Some(BTreeSet::new());
    node.walk(None, &mut |_, node| {
        let Some(text) = node.text().filter(|text| template::is_template(text)) else {
            return;
        };
        let of_text =
            template::names(text).filter(|names| !text.contains("version") && !names.contains("case"));
        match (of_text, &mut names) {
            (Some(more), Some(names)) => names.extend(more),
            _ => names = None,
        }
    });
    names
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;
    use crate::scenario::tests::node;
    use crate::template::NoVersions;

    fn key(text: &str, names: &[(&str, i32)]) -> Option<String> {
        let names: Map<_, _> = names.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        Shared::default().key(&node(text), &["when"], &Scope::new(names, &NoVersions)).map(|(_, key)| key)
    }

    #[test]
    fn a_part_has_the_same_key_in_cells_in_which_its_names_have_the_same_values() {
        let text = "{a: '{{x}}', b: ['{{#if y.z}}{{add x 1}}{{/if}}'], when: '{{w}}'}";
        let one = key(text, &[("x", 1), ("y", 2), ("z", 3), ("w", 4)]).unwrap();
        assert_eq!(key(text, &[("x", 1), ("y", 2), ("z", 5), ("w", 6)]), Some(one.clone()));
        for other in [[("x", 2), ("y", 2)], [("x", 1), ("y", 3)], [("y", 1), ("x", 2)]] {
            assert_ne!(key(text, &other), Some(one.clone()), "{other:?}");
        }
        assert_eq!(key("{a: b}", &[("x", 1)]), key("{a: b}", &[]));
    }

    #[test]
    fn a_part_that_depends_on_more_than_values_has_none() {
        for text in ["x", "{a: '{{case.name}}'}", "{a: \"{{version '>=9'}}\"}", "{a: '{{#if'}"] {
            assert_eq!(key(text, &[("x", 1)]), None, "{text}");
        }
        let scope = Scope::new(Map::new(), &NoVersions).with_round("x");
        assert_eq!(Shared::default().key(&node("['{{x}}']"), &[], &scope), None);
    }

    #[test]
    fn a_part_is_found_again_by_its_key_and_its_type() {
        let (mut shared, part) = (Shared::default(), node("['{{x}}']"));
        let of = |shared: &mut Shared, x: i32| {
            let scope = Scope::new(Map::from_iter([("x".to_owned(), json!(x))]), &NoVersions);
            shared.key(&part, &[], &scope)
        };
        let one = of(&mut shared, 1);
        shared.put(one.clone(), &Arc::new(7_u8));
        assert_eq!(shared.get::<u8>(one.as_ref()).as_deref(), Some(&7));
        assert_eq!(shared.get::<u16>(one.as_ref()), None);
        let two = of(&mut shared, 2);
        assert_eq!(shared.get::<u8>(two.as_ref()), None);
    }
}
