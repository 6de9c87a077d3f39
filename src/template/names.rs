//! Checks the names in a template before it is rendered: Handlebars' strict mode accepts a missing name as the
//! parameter of a helper, and does not look at branches that are not taken.

use std::collections::BTreeSet;

use handlebars::template::{HelperTemplate, Parameter, TemplateElement};
use handlebars::{Path, Template};
use serde_json::Value;

use super::{FUNCTIONS, HELPERS, MAX_LOOKS, TemplateError};
use crate::diagnostic::suggest;

/// Checks every name of a template against the data; returns whether one is only known when the step runs.
pub(super) fn check(template: &Template, data: &Value) -> Result<bool, TemplateError> {
    let mut walk = Walk { stack: vec![Some(data)], deferred: false, looks: 0 };
    walk.template(template)?;
    Ok(walk.deferred)
}

/// The value at a plain path from the root.
pub(super) fn lookup<'d>(path: &str, data: &'d Value) -> Option<&'d Value> {
    segments(path).iter().try_fold(data, |value, name| step(value, name))
}

/// The path, if the template is a single plain path.
pub(super) fn only_path(template: &Template) -> Option<String> {
    let call = expression(template.elements.as_slice())?;
    let plain = call.params.is_empty() && call.hash.is_empty() && !call.block;
    Some(name_of(&call.name)?.to_owned()).filter(|_| plain)
}

/// Whether the template is a single expression.
pub(super) fn is_one_expression(template: &Template) -> bool {
    expression(template.elements.as_slice()).is_some()
}

fn expression(elements: &[TemplateElement]) -> Option<&HelperTemplate> {
    match elements {
        [TemplateElement::Expression(call) | TemplateElement::HtmlExpression(call)] => Some(call),
        _ => None,
    }
}

/// The range of a `version` call.
pub(super) fn version_range(value: &Value) -> Result<semver::VersionReq, TemplateError> {
    let help = "write `version \">=11.0\"`";
    let Value::String(text) = value else {
        return Err(TemplateError::new(format!("`{value}` is not a version range"), help));
    };
    text.parse().map_err(|_| TemplateError::new(format!("`{text}` is not a version range"), help))
}

/// The first names of all paths. Inside `each` they may be those of an item.
pub(super) fn roots(template: &Template) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    gather(template, &mut |path| found.extend(from_root(path).into_iter().next()));
    found
}

fn from_root(path: &str) -> Vec<String> {
    segments(path.trim_start_matches("@root").trim_start_matches("../"))
}

/// The paths of a template that start with a name, as lists of names.
pub(super) fn below(template: &Template, root: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    gather(template, &mut |path| {
        let names = from_root(path);
        if names.first().is_some_and(|first| first == root) {
            found.push(names);
        }
    });
    found
}

fn gather(template: &Template, take: &mut dyn FnMut(&str)) {
    for element in &template.elements {
        if let TemplateElement::Expression(call)
        | TemplateElement::HtmlExpression(call)
        | TemplateElement::HelperBlock(call) = element
        {
            gather_call(call, take);
        }
    }
}

fn gather_call(call: &HelperTemplate, take: &mut dyn FnMut(&str)) {
    if call.params.is_empty() && call.hash.is_empty() && !call.block {
        take(name_of(&call.name).unwrap_or_default());
    }
    for parameter in call.params.iter().chain(call.hash.values()) {
        match parameter {
            Parameter::Name(_) | Parameter::Path(_) => take(name_of(parameter).unwrap_or_default()),
            Parameter::Subexpression(inner) => {
                if let TemplateElement::Expression(call) = inner.as_element() {
                    gather_call(call, take);
                }
            }
            _ => {}
        }
    }
    call.template.iter().chain(&call.inverse).for_each(|body| gather(body, take));
}

/// Checks a template without data: its helpers exist and have the right number of parameters.
pub(super) fn check_helpers(template: &Template) -> Result<(), TemplateError> {
    template.elements.iter().try_for_each(|element| match element {
        TemplateElement::RawString(_) | TemplateElement::Comment(_) => Ok(()),
        TemplateElement::Expression(call) | TemplateElement::HtmlExpression(call) => check_call(call),
        TemplateElement::HelperBlock(call) => check_call(call),
        _ => Err(TemplateError::new(
            "partials and decorators are not part of the language",
            "use `extends` or `use` to share parts between scenarios",
        )),
    })
}

fn check_call(call: &HelperTemplate) -> Result<(), TemplateError> {
    let name = name_of(&call.name).unwrap_or_default();
    let function = FUNCTIONS.iter().find(|(function, ..)| *function == name).map(|(_, takes, _)| takes);
    let helper = HELPERS.iter().find(|(helper, _)| *helper == name).map(|(_, takes)| takes);
    let bare = call.params.is_empty() && call.hash.is_empty() && !call.block;
    match helper.or(function.filter(|_| !bare)) {
        Some(takes) if !takes.contains(&call.params.len()) => {
            let number = match (takes.start(), takes.end()) {
                (1, 1) => "one value".to_owned(),
                (2, 2) => "two values".to_owned(),
                (3, 3) => "three values".to_owned(),
                (least, _) => format!("at least {least} values"),
            };
            return Err(TemplateError::new(
                format!("`{name}` takes {number}, not {}", call.params.len()),
                "",
            ));
        }
        None if !bare => {
            let help = suggest(name, super::helpers());
            return Err(TemplateError::new(format!("unknown helper `{name}`"), help));
        }
        _ => {}
    }
    if let ("version", Some(Parameter::Literal(range))) = (name, call.params.first()) {
        version_range(range)?;
    }
    for key in call.hash.keys() {
        if !(name == "version" && key == "vm") {
            return Err(TemplateError::new(format!("`{name}` has no argument `{key}=`"), ""));
        }
    }
    if call.block_param.is_some() {
        return Err(TemplateError::new(
            "`as |name|` is not part of the language",
            "inside `each` the item is `this`",
        ));
    }
    for parameter in call.params.iter().chain(call.hash.values()) {
        if let Parameter::Subexpression(inner) = parameter
            && let TemplateElement::Expression(inner) = inner.as_element()
        {
            check_call(inner)?;
        }
    }
    let bodies = call.template.iter().chain(&call.inverse);
    bodies.into_iter().try_for_each(check_helpers)
}

struct Walk<'d> {
    /// The values of `this`, outermost first; `None` if only known later.
    stack: Vec<Option<&'d Value>>,
    deferred: bool,
    /// How much of the template was visited, counting each round of an `each`: as much as rendering would.
    looks: usize,
}

impl<'d> Walk<'d> {
    fn template(&mut self, template: &Template) -> Result<(), TemplateError> {
        template.elements.iter().try_for_each(|element| {
            self.looks += 1;
            if self.looks > MAX_LOOKS {
                let message = format!("the template reads more than {MAX_LOOKS} values");
                return Err(TemplateError::new(message, "loop over fewer values"));
            }
            match element {
                TemplateElement::Expression(call)
                | TemplateElement::HtmlExpression(call)
                | TemplateElement::HelperBlock(call) => self.call(call).map(|_| ()),
                _ => Ok(()),
            }
        })
    }

    /// Checks a call; returns the value if it is a plain path.
    fn call(&mut self, call: &HelperTemplate) -> Result<Option<&'d Value>, TemplateError> {
        let name = name_of(&call.name).unwrap_or_default();
        if call.params.is_empty() && call.hash.is_empty() && !call.block {
            return self.path(name);
        }
        let mut first = None;
        for (at, parameter) in call.params.iter().chain(call.hash.values()).enumerate() {
            let value = self.parameter(parameter)?;
            if at == 0 {
                first = value;
            }
        }
        if let Some(body) = &call.template {
            if name == "each" {
                let items: Vec<Option<&'d Value>> = match first {
                    Some(Value::Array(list)) => list.iter().map(Some).collect(),
                    Some(Value::Object(map)) => map.values().map(Some).collect(),
                    _ => vec![None],
                };
                for item in items {
                    self.stack.push(item);
                    let checked = self.template(body);
                    self.stack.pop();
                    checked?;
                }
            } else {
                self.template(body)?;
            }
        }
        if let Some(inverse) = &call.inverse {
            self.template(inverse)?;
        }
        Ok(None)
    }

    fn parameter(&mut self, parameter: &Parameter) -> Result<Option<&'d Value>, TemplateError> {
        match parameter {
            Parameter::Name(name) => self.path(name),
            Parameter::Path(path) => self.path(raw(path)),
            Parameter::Literal(_) => Ok(None),
            Parameter::Subexpression(inner) => match inner.as_element() {
                TemplateElement::Expression(call) => self.call(call),
                _ => Ok(None),
            },
            _ => Ok(None),
        }
    }

    fn path(&mut self, path: &str) -> Result<Option<&'d Value>, TemplateError> {
        let mut level = self.stack.len() - 1;
        let mut rest = path;
        if let Some(below) = rest.strip_prefix("@root") {
            (level, rest) = (0, below);
        } else if rest.starts_with('@') {
            let inside = level > 0 && ["@index", "@key", "@first", "@last"].contains(&rest);
            return if inside {
                Ok(None)
            } else {
                Err(unknown(path, "it is only known inside `each`".to_owned()))
            };
        }
        while let Some(below) = rest.strip_prefix("../") {
            let Some(above) = level.checked_sub(1) else {
                return Err(unknown(path, "there is no level above".to_owned()));
            };
            (level, rest) = (above, below);
        }
        let names = segments(rest);
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let top = self.stack.first().copied().flatten();
        if level == 0 && self.is_deferred(&names, top) {
            self.deferred = true;
            return Ok(None);
        }
        let Some(mut value) = self.stack.get(level).copied().flatten() else {
            return Ok(None);
        };
        for (at, name) in names.iter().enumerate() {
            value = step(value, name).ok_or_else(|| {
                let help = match (value, names.first()) {
                    (_, Some(root @ (&"port" | &"link" | &"credential"))) if at == 0 => {
                        format!("declare it under `{root}s`")
                    }
                    (Value::Object(_), Some(&"env")) if at == 1 => {
                        "this environment variable is not set".to_owned()
                    }
                    // Only known in the run.
                    (Value::Object(map), Some(&"case")) if at == 1 => {
                        suggest(name, map.keys().map(String::as_str).chain(["dir"]))
                    }
                    (Value::Object(map), _) => suggest(name, map.keys().map(String::as_str)),
                    (Value::Array(list), _) => format!("it is a list with {} items", list.len()),
                    _ => format!("`{}` is a single value", names[..at].join(".")),
                };
                unknown(path, help)
            })?;
        }
        Ok(Some(value))
    }

    fn is_deferred(&self, names: &[&str], top: Option<&Value>) -> bool {
        let absent = |name: &str, map: Option<&Value>| map.and_then(|map| map.get(name)).is_none();
        match names {
            ["run", ..] => absent("run", top),
            ["case", "dir", ..] => absent("dir", top.and_then(|top| top.get("case"))),
            // Declared names are null until their value is known.
            ["port" | "link" | "disk" | "credential", ..] | ["self", "disk" | "fd", ..] => names
                .iter()
                .try_fold(top.unwrap_or(&Value::Null), |value, name| step(value, name))
                .is_some_and(is_unknown_yet),
            _ => false,
        }
    }
}

fn is_unknown_yet(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.values().any(is_unknown_yet),
        _ => false,
    }
}

fn unknown(path: &str, help: String) -> TemplateError {
    TemplateError { message: format!("unknown name `{path}`"), help, unknown_name: true }
}

fn step<'d>(value: &'d Value, name: &str) -> Option<&'d Value> {
    match value {
        Value::Object(map) => map.get(name),
        Value::Array(list) => list.get(name.parse::<usize>().ok()?),
        _ => None,
    }
}

/// The names of a path in Handlebars syntax: `a.b`, `a/b`, `this.a`, `a.[b c]`.
fn segments(path: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(quoted) = rest.strip_prefix('[') {
            let end = quoted.find(']').unwrap_or(quoted.len());
            names.push(quoted[..end].to_owned());
            rest = quoted.get(end + 1..).unwrap_or_default();
        } else {
            let end = rest.find(['.', '/']).unwrap_or(rest.len());
            let name = &rest[..end];
            if !(name.is_empty() || name == "this") {
                names.push(name.to_owned());
            }
            rest = rest.get(end + 1..).unwrap_or_default();
        }
    }
    names
}

fn name_of(parameter: &Parameter) -> Option<&str> {
    match parameter {
        Parameter::Name(name) => Some(name),
        Parameter::Path(path) => Some(raw(path)),
        _ => None,
    }
}

fn raw(path: &Path) -> &str {
    match path {
        Path::Relative((_, raw)) | Path::Local((_, _, raw)) => raw,
    }
}
