//! The parameters of a scenario or a template: `name: default`, or `{required, default, one_of, description}`.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::{JsonSchema, SchemaGenerator};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::later::Later;
use super::source::origin;
use super::typed;
use crate::diagnostic::{Code, Diagnostic, Diagnostics, Location, suggest};
use crate::template::{self, Origins, Scope};
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

/// A value that is set, with the place that sets it.
#[derive(Debug, Clone)]
pub(super) struct Setting {
    pub name: String,
    pub value: Value,
    pub at: Location,
}

/// Checks that a name can be used in templates; reports why not.
pub(super) fn check_name(key: &Key, diagnostics: &mut Diagnostics) -> bool {
    let usable = key.name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && key.name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if !usable {
        let message = format!("`{}` is not a valid name", key.name);
        let help = "start with a letter; use letters, digits, `_` and `-`";
        diagnostics.push(Diagnostic::error(Code::Param, &key.at, message).help(help));
    } else if template::is_reserved(&key.name) {
        let message = format!("`{}` is a reserved name", key.name);
        diagnostics.push(Diagnostic::error(Code::Param, &key.at, message).help("choose another name"));
        return false;
    }
    usable
}

/// Reads a `params` section.
pub(super) fn declared(section: Option<&Node>, diagnostics: &mut Diagnostics) -> Vec<Param> {
    let entries = section.map(Node::entries).unwrap_or_default();
    let usable = entries.iter().filter(|(key, _)| check_name(key, diagnostics)).collect::<Vec<_>>();
    usable.into_iter().map(|(key, value)| declare(key, value, diagnostics)).collect()
}

fn declare(key: &Key, value: &Node, diagnostics: &mut Diagnostics) -> Param {
    let mut param = Param {
        name: key.name.clone(),
        at: key.at.clone(),
        default: Some(value.clone()),
        one_of: Vec::new(),
    };
    let close = |name: &str| KEYS.iter().any(|known| strsim::damerau_levenshtein(name, known) <= 2);
    // A map with none of the keys, and none similar to them, is a default that is a map.
    if !value.entries().iter().any(|(inner, _)| close(&inner.name)) {
        return param;
    }
    param.default = value.get("default").cloned();
    let Some(long) = typed::read_as_is::<Long>(&key.at, value, diagnostics) else {
        return param;
    };
    match (value.entry("required"), &param.default) {
        (Some((Key { at, .. }, _)), Some(_)) if long.required => {
            let message = "a parameter with a default is not required";
            diagnostics
                .push(Diagnostic::error(Code::Param, at, message).help("keep `required` or `default`"));
        }
        (Some((Key { at, .. }, _)), None) if !long.required => {
            param.default = Some(Node { kind: Kind::Scalar(Value::Null), at: at.clone() });
        }
        _ => {}
    }
    param.one_of = value.get("one_of").map(Node::items).unwrap_or_default().to_vec();
    if long.one_of.is_some() && param.one_of.is_empty() {
        let (at, _) = typed::place(&key.at, value, &["one_of".to_owned()]);
        diagnostics.push(
            Diagnostic::error(Code::WrongValue, &at, "`one_of` is empty").help("list the allowed values"),
        );
    }
    param
}

/// Reports each key of a `with` that is not a parameter.
pub(super) fn check_with(with: Option<&Node>, params: &[Param], diagnostics: &mut Diagnostics) {
    for (key, _) in with.map(Node::entries).unwrap_or_default() {
        if !params.iter().any(|param| param.name == key.name) {
            let message = format!("there is no parameter `{}`", key.name);
            let help = suggest(&key.name, params.iter().map(|param| param.name.as_str()));
            diagnostics.push(Diagnostic::error(Code::Param, &key.at, message).help(help));
        }
    }
}

/// The sources of values. A later one wins over an earlier one, and all win over the defaults.
pub(super) struct Given<'g> {
    /// `with`.
    pub with: Option<&'g Node>,
    /// The matrix cell.
    pub cell: &'g [Setting],
    /// The command line.
    pub defines: &'g [Setting],
    /// The place to report a required parameter that is not set.
    pub user: &'g Location,
}

/// The values of the axes and the params, with the places that set them; `None` after reporting a missing or invalid one.
pub(super) fn resolve(
    params: &[Param],
    given: &Given<'_>,
    scope: &Scope<'_>,
    diagnostics: &mut Diagnostics,
) -> Option<(Map<String, Value>, Origins)> {
    let mut values = Map::new();
    let mut places = BTreeMap::new();
    for setting in given.cell {
        places.insert(setting.name.clone(), setting.at.clone());
        values.insert(setting.name.clone(), setting.value.clone());
    }
    for setting in given.defines {
        if params.iter().any(|param| param.name == setting.name) || values.contains_key(&setting.name) {
            places.insert(setting.name.clone(), setting.at.clone());
            values.insert(setting.name.clone(), setting.value.clone());
        }
    }
    let mut sound = true;
    for param in params {
        if !values.contains_key(&param.name) {
            let node = given.with.and_then(|with| with.get(&param.name)).or(param.default.as_ref());
            let Some(node) = node else {
                let message = format!("the required parameter `{}` is not set", param.name);
                let help =
                    format!("set it with `with: {{{}: …}}`, an axis of the matrix, or `-D`", param.name);
                let diagnostic = Diagnostic::error(Code::Param, given.user, message).help(help);
                diagnostics.push(diagnostic.related(&param.at, "declared here"));
                sound = false;
                continue;
            };
            match typed::render_now(node, &scope.with(values.clone()), diagnostics) {
                Some(value) => {
                    places.insert(param.name.clone(), origin(node, scope, &places));
                    values.insert(param.name.clone(), value);
                }
                None => sound = false,
            }
        }
        sound &= allowed(param, &values, &places, scope, diagnostics);
    }
    sound.then(|| (values, Arc::new(places)))
}

fn allowed(
    param: &Param,
    values: &Map<String, Value>,
    places: &BTreeMap<String, Location>,
    scope: &Scope<'_>,
    diagnostics: &mut Diagnostics,
) -> bool {
    let Some(value) = values.get(&param.name).filter(|_| !param.one_of.is_empty()) else {
        return true;
    };
    let may: Vec<Value> =
        param.one_of.iter().filter_map(|node| typed::render_now(node, scope, diagnostics)).collect();
    if may.contains(value) {
        return true;
    }
    let words: Vec<String> = may.iter().map(word).collect();
    let word = word(value);
    let at = places.get(&param.name).unwrap_or(&param.at);
    let message = format!("`{word}` is not a value of the parameter `{}`", param.name);
    let help = suggest(&word, words.iter().map(String::as_str));
    diagnostics
        .push(Diagnostic::error(Code::Param, at, message).help(help).related(&param.at, "declared here"));
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
    use crate::diagnostic::SourceFile;
    use crate::template::NoVersions;
    use crate::yaml;

    fn node(text: &str) -> Node {
        let file = SourceFile { path: "a.yaml".into(), text: text.to_owned() };
        yaml::parse(&Arc::new(file)).unwrap()
    }

    fn resolved(
        params: &str,
        with: &str,
        cell: &[Setting],
        defines: &[Setting],
    ) -> Result<Value, Vec<String>> {
        let mut diagnostics = Diagnostics::default();
        let (section, with) = (node(params), node(with));
        let params = declared(Some(&section), &mut diagnostics);
        check_with(Some(&with), &params, &mut diagnostics);
        let given = Given { with: Some(&with), cell, defines, user: &with.at };
        let values = resolve(&params, &given, &Scope::new(Map::new(), &NoVersions), &mut diagnostics);
        match values {
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
        let params = "{a: 1, b: 1, c: 1, d: 1, e: '{{d}}0', nic: {model: e1000}}";
        let values = resolved(
            params,
            "{b: 2, c: 2, d: 2}",
            &[set("c", json!(3)), set("d", json!(3))],
            &[set("d", json!(4)), set("other", json!(5))],
        );
        assert_eq!(
            values.unwrap(),
            json!({"c": 3, "d": 4, "a": 1, "b": 2, "e": "40", "nic": {"model": "e1000"}})
        );
    }

    #[test]
    fn missing_unknown_and_invalid_values_are_errors() {
        let error = |params, with| resolved(params, with, &[], &[]).unwrap_err().join("; ");
        assert!(error("a: {required: true}", "{}").contains("parameter `a` is not set"));
        assert!(error("a: {one_of: [x, y], default: z}", "{}").contains("`z` is not a value"));
        assert!(error("machine: q35", "{machin: pc}").contains("did you mean `machine`?"));
        assert!(error("a: {requird: true}", "{a: 1}").contains("did you mean `required`?"));
        assert!(error("a: {required: true, default: 1}", "{}").contains("not required"));
        assert!(error("run: 1", "{}").contains("reserved name"));
        assert!(error("'a b': 1", "{}").contains("not a valid name"));
        assert!(error("a: '{{run.x}}'", "{}").contains("only known when a step runs"));
        assert_eq!(resolved("a: {required: false}", "{}", &[], &[]).unwrap(), json!({"a": null}));
    }
}
