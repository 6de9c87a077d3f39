//! Mutations of a scenario's tree: nodes removed, duplicated, replaced by others.

use std::path::PathBuf;
use std::sync::LazyLock;

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};

/// The shipped scenarios and templates, each with its path.
pub(crate) fn shipped() -> &'static [(PathBuf, Value)] {
    static SHIPPED: LazyLock<Vec<(PathBuf, Value)>> = LazyLock::new(|| {
        let files = glob::glob("scenarios/**/*.yaml").unwrap().map(Result::unwrap);
        let tree = |path: &PathBuf| serde_yaml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        files.map(|path| (path.clone(), tree(&path))).collect()
    });
    &SHIPPED
}

/// One mutation of a tree.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    /// The index of the node in the tree.
    at: Index,
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    TakeOut,
    Double,
    Rename(String),
    Replace(Value),
    /// By another node of the same tree.
    Move(Index),
}

/// A few mutations in sequence.
pub(crate) fn changes() -> impl Strategy<Value = Vec<Change>> {
    let names = prop::sample::select(vec![
        "wait", "vm", "steps", "like", "extends", "use", "repeat", "hook", "name", "when", "x", "a b",
        "timeout", "run",
    ]);
    let values = prop::sample::select(vec![
        json!(null),
        json!(true),
        json!(-1),
        json!(1.5),
        json!(u64::MAX),
        json!(""),
        json!("{{"),
        json!("{{x}}"),
        json!("{{run.captures.x}}"),
        json!("{{case.dir}}"),
        json!("{{version '<11'}}"),
        json!("{{survivor}}"),
        json!("primary"),
        json!("colo.yaml"),
        json!("\u{e9}\n\t"),
        json!([]),
        json!({}),
        json!([1, "a"]),
        json!({"vm": "primary", "ticks": 1}),
    ]);
    let kind = prop_oneof![
        Just(Kind::TakeOut),
        Just(Kind::Double),
        names.prop_map(|name| Kind::Rename(name.to_owned())),
        values.prop_map(Kind::Replace),
        any::<Index>().prop_map(Kind::Move),
    ];
    let change = (any::<Index>(), kind).prop_map(|(at, kind)| Change { at, kind });
    prop::collection::vec(change, 1..5)
}

impl Change {
    /// Applies it.
    pub(crate) fn apply(&self, tree: &mut Value) {
        let number = count(tree);
        let Kind::Move(from) = &self.kind else {
            return visit(tree, &mut self.at.index(number), &mut |parent, key| self.change(parent, key));
        };
        let mut moved = Value::Null;
        visit(tree, &mut from.index(number), &mut |parent, key| moved = get(parent, key).clone());
        visit(tree, &mut self.at.index(number), &mut |parent, key| *get(parent, key) = moved.clone());
    }

    fn change(&self, parent: &mut Value, key: &Key) {
        match (&self.kind, parent, key) {
            (Kind::Replace(value), parent, key) => *get(parent, key) = value.clone(),
            (Kind::TakeOut, Value::Array(list), Key::Item(at)) => drop(list.remove(*at)),
            (Kind::TakeOut, Value::Object(map), Key::Field(name)) => drop(map.shift_remove(name)),
            (Kind::Double, Value::Array(list), Key::Item(at)) => list.insert(*at, list[*at].clone()),
            (Kind::Double, Value::Object(map), Key::Field(name)) => {
                map.insert(format!("{name}2"), map[name].clone());
            }
            (Kind::Rename(new), Value::Object(map), Key::Field(name)) => {
                let value = map.shift_remove(name).unwrap_or_default();
                map.insert(new.clone(), value);
            }
            _ => {}
        }
    }
}

enum Key {
    Item(usize),
    Field(String),
}

fn get<'v>(parent: &'v mut Value, key: &Key) -> &'v mut Value {
    match key {
        Key::Item(at) => &mut parent[*at],
        Key::Field(name) => &mut parent[name.as_str()],
    }
}

/// The number of nodes below the root, at least one.
fn count(tree: &Value) -> usize {
    fn below(value: &Value) -> usize {
        match value {
            Value::Array(list) => list.iter().map(|item| 1 + below(item)).sum(),
            Value::Object(map) => map.values().map(|item| 1 + below(item)).sum(),
            _ => 0,
        }
    }
    below(tree).max(1)
}

/// Calls `act` on the node reached when the counter has run down.
fn visit(parent: &mut Value, left: &mut usize, act: &mut dyn FnMut(&mut Value, &Key)) {
    let keys: Vec<Key> = match parent {
        Value::Array(list) => (0..list.len()).map(Key::Item).collect(),
        Value::Object(map) => map.keys().cloned().map(Key::Field).collect(),
        _ => return,
    };
    for key in keys {
        if *left == 0 {
            act(parent, &key);
            *left = usize::MAX;
            return;
        }
        *left -= 1;
        visit(get(parent, &key), left, act);
        if *left == usize::MAX {
            return;
        }
    }
}
