//! The parameters of a scenario or a template: `name: default`, or `{required, default, one_of, description}`.

use std::sync::Arc;

use schemars::{JsonSchema, SchemaGenerator};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::later::Later;
use super::names;
use super::typed::{self, Reader, origin};
use crate::diagnostic::{Code, Diagnostic, Diagnostics, Location, suggest};
use crate::template::{self, Scope};
use crate::yaml::{Key, Kind, Node};

/// The long form of a parameter.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Long {
    /// Whether it must be set.
    #[serde(default)]
    required: bool,
    /// Its value if it is not set. May use params declared above it.
    #[serde(rename = "default")]
    _default: Option<Later<Value>>,
    /// The allowed values.
    #[schemars(length(min = 1), with = "Vec<Value>")]
    one_of: Option<Vec<Later<Value>>>,
    /// What it is for.
    #[serde(rename = "description")]
    #[schemars(with = "String")]
    _description: Option<String>,
}

const KEYS: [&str; 4] = ["required", "default", "one_of", "description"];

/// The JSON Schema of a parameter: any value; a map may be the long form.
pub(crate) fn schema(generator: &mut SchemaGenerator) -> Value {
    let long = Long::json_schema(generator);
    let closed = ["properties", "additionalProperties"].map(|key| (key.to_owned(), json!(long.get(key))));
    json!({
        "description": "A default, or `{required, default, one_of, description}`.",
        "if": {"type": "object", "anyOf": KEYS.map(|key| json!({"required": [key]}))},
        "then": Map::from_iter(closed),
    })
}

/// A declared parameter.
#[derive(Debug, Clone)]
pub(super) struct Param {
    pub name: String,
    /// The place of its name.
    pub at: Location,
    /// Its default; if there is none, it must be set.
    pub default: Option<Node>,
    /// The allowed values; if empty, any.
    one_of: Vec<Node>,
}

impl Param {
    /// Whether only some values are allowed.
    pub(super) const fn is_limited(&self) -> bool {
        !self.one_of.is_empty()
    }
}

/// A value that is set, with the place that sets it.
#[derive(Debug, Clone)]
pub(super) struct Setting {
    pub name: String,
    pub value: Value,
    pub at: Location,
}

/// Checks that a name can be used in templates; reports why not.
pub(super) fn check_name(key: &Key, diagnostics: &mut Diagnostics) -> bool {
    let usable = names::PARAM.check(key, diagnostics);
    let reserved = usable && template::is_reserved(&key.name);
    if reserved {
        let message = format!("`{}` is a reserved name", key.name);
        diagnostics.error(Code::Param, &key.at, message, "choose another name");
    }
    usable && !reserved
}

/// Reads the `params` of a file.
pub(super) fn declared(root: &Node, diagnostics: &mut Diagnostics) -> Vec<Param> {
    let entries = root.section("params").iter();
    let usable: Vec<_> = entries.filter(|(key, _)| check_name(key, diagnostics)).collect();
    usable.into_iter().map(|(key, value)| declare(key, value, diagnostics)).collect()
}

fn declare(key: &Key, value: &Node, diagnostics: &mut Diagnostics) -> Param {
    let Key { name, at } = key.clone();
    let mut param = Param { name, at, default: Some(value.clone()), one_of: Vec::new() };
    let close = |name: &str| KEYS.iter().any(|known| strsim::damerau_levenshtein(name, known) <= 2);
    // A map with none of the keys, and none similar to them, is a default that is a map.
    if !value.entries().iter().any(|(inner, _)| close(&inner.name)) {
        return param;
    }
    param.default = value.get("default").cloned();
    // The templates in it are rendered later.
    let scope = &Scope::new(Map::new(), &template::NoVersions);
    let Some(long) = Reader { scope, diagnostics }.fit::<Long>(&value.to_value(), &key.at, value) else {
        return param;
    };
    match (value.entry("required"), &param.default) {
        (Some((Key { at, .. }, _)), Some(_)) if long.required => {
            let message = "a parameter with a default is not required";
            diagnostics.error(Code::Param, at, message, "keep `required` or `default`");
        }
        (Some((Key { at, .. }, _)), None) if !long.required => {
            param.default = Some(Node { kind: Kind::Scalar(Value::Null), at: at.clone() });
        }
        _ => {}
    }
    param.one_of = value.get("one_of").map(Node::items).unwrap_or_default().to_vec();
    if long.one_of.is_some() && param.one_of.is_empty() {
        let (at, _) = typed::place(&key.at, value, &["one_of"]);
        diagnostics.error(Code::WrongValue, &at, "`one_of` is empty", "list the allowed values");
    }
    param
}

/// Reports each key of the `with` of a file or of a `use` that is not a parameter.
pub(super) fn check_with(user: &Node, params: &[Param], diagnostics: &mut Diagnostics) {
    for (key, _) in user.section("with") {
        if !params.iter().any(|param| param.name == key.name) {
            let help = suggest(&key.name, params.iter().map(|param| &param.name));
            diagnostics.error(Code::Param, &key.at, format!("there is no parameter `{}`", key.name), help);
        }
    }
}

/// The sources of values. A later one wins over an earlier one, and all win over the defaults.
pub(super) struct Given<'g> {
    /// `with`.
    pub with: Option<&'g Node>,
    /// The matrix cell.
    pub cell: &'g [Arc<Setting>],
    /// The command line.
    pub defines: &'g [Setting],
    /// The place to report a required parameter that is not set.
    pub user: &'g Location,
}

/// The values of the axes and the params, and the names with them; `None` after reporting a missing or invalid one.
pub(super) fn resolve<'v>(
    params: &[Param],
    given: &Given<'_>,
    reader: &mut Reader<'_, 'v>,
) -> Option<(Map<String, Value>, Scope<'v>)> {
    let (mut values, mut scope) = (Map::new(), reader.scope.clone());
    let is_known = |define: &&Setting| {
        let axes = given.cell.iter().map(|set| &set.name);
        params.iter().map(|param| &param.name).chain(axes).any(|name| *name == define.name)
    };
    for Setting { name, value, at } in
        given.cell.iter().map(|set| &**set).chain(given.defines.iter().filter(is_known))
    {
        scope.set(name, value.clone(), at.clone());
        values.insert(name.clone(), value.clone());
    }
    let mut sound = true;
    for param in params {
        if !values.contains_key(&param.name) {
            let node = given.with.and_then(|with| with.get(&param.name)).or(param.default.as_ref());
            let Some(node) = node else {
                let message = format!("the required parameter `{}` is not set", param.name);
                let help =
                    format!("set it with `with: {{{}: …}}`, an axis of the matrix, or `-D`", param.name);
                let wrong = Diagnostic::error(Code::Param, given.user, message).help(help);
                reader.diagnostics.push(wrong.related(&param.at, "declared here"));
                sound = false;
                continue;
            };
            let Some(value) = reader.with(&scope).render_now(node) else {
                sound = false;
                continue;
            };
            scope.set(&param.name, value.clone(), origin(node, &scope));
            values.insert(param.name.clone(), value);
        }
        let at = scope.origins().get(&param.name).unwrap_or(&param.at);
        sound &= allowed(param, &values[&param.name], at, reader);
    }
    sound.then_some((values, scope))
}

fn allowed(param: &Param, value: &Value, at: &Location, reader: &mut Reader<'_, '_>) -> bool {
    let may: Vec<Value> = param.one_of.iter().filter_map(|node| reader.render_now(node)).collect();
    if param.one_of.is_empty() || may.contains(value) {
        return true;
    }
    let word_of = word(value);
    let message = format!("`{word_of}` is not a value of the parameter `{}`", param.name);
    let wrong = Diagnostic::error(Code::Param, at, message).help(suggest(&word_of, may.iter().map(word)));
    reader.diagnostics.push(wrong.related(&param.at, "declared here"));
    false
}

/// A value as it is written in a scenario.
pub(super) fn word(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::scenario::tests::node;
    use crate::template::NoVersions;

    fn resolved(
        params: &str,
        with: &str,
        cell: &[Setting],
        defines: &[Setting],
    ) -> Result<Value, Vec<String>> {
        let mut diagnostics = Diagnostics::default();
        let root = node(&format!("params: {{{params}}}\nwith: {{{with}}}"));
        let params = declared(&root, &mut diagnostics);
        check_with(&root, &params, &mut diagnostics);
        let cell: Vec<Arc<Setting>> = cell.iter().cloned().map(Arc::new).collect();
        let given = Given { with: root.get("with"), cell: &cell, defines, user: &root.at };
        let scope = &Scope::new(Map::new(), &NoVersions);
        match resolve(&params, &given, &mut Reader { scope, diagnostics: &mut diagnostics }) {
            Some((values, _)) if diagnostics.is_empty() => Ok(Value::Object(values)),
            _ => Err(diagnostics.sorted().iter().map(|d| format!("{} {:?}", d.message, d.help)).collect()),
        }
    }

    fn set(name: &str, value: Value) -> Setting {
        let at = Location::top_of(&node("x").at.file);
        Setting { name: name.to_owned(), value, at }
    }

    #[test]
    fn a_later_source_has_precedence() {
        let params = "a: 1, b: 1, c: 1, d: 1, e: '{{d}}0', nic: {model: e1000}";
        let values = resolved(
            params,
            "b: 2, c: 2, d: 2",
            &[set("c", json!(3)), set("d", json!(3))],
            &[set("d", json!(4)), set("other", json!(5))],
        );
        assert_eq!(
            values.unwrap(),
            json!({"c": 3, "d": 4, "a": 1, "b": 2, "e": "40", "nic": {"model": "e1000"}})
        );
    }

    #[test]
    fn an_invalid_default_is_an_error() {
        let error = |params, with| resolved(params, with, &[], &[]).unwrap_err().join("; ");
        assert!(error("a: {one_of: [x, y], default: z}", "").contains("`z` is not a value"));
        assert!(error("a: '{{run.x}}'", "").contains("only known when a step runs"));
        assert_eq!(resolved("a: {required: false}", "", &[], &[]).unwrap(), json!({"a": null}));
    }
}
