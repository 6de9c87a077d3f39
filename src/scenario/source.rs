//! The source of a mistake, if that is not where it shows: a value that a template repeats, or missing indentation.

use crate::diagnostic::{Diagnostic, Location};
use crate::template::{self, Origins, Scope};
use crate::yaml::{Key, Node};

/// An error about a value. If the value here is only the name of a parameter, the error is about the place that sets it.
pub(super) fn at_origin(diagnostic: Diagnostic, value: &Node, origins: &Origins) -> Diagnostic {
    match setter(value, origins).filter(|_| diagnostic.location == value.at) {
        Some(setter) => Diagnostic { location: setter.clone(), ..diagnostic }.related(&value.at, "used here"),
        None => diagnostic,
    }
}

/// The help for a key that belongs to an earlier key without a value: it is not indented.
pub(super) fn indentation(map: &Node, wrong: &Key) -> Option<String> {
    let before = map.entries().iter().take_while(|(key, _)| key.at != wrong.at);
    let (owner, _) = before.filter(|(_, value)| value.is_null()).last()?;
    let Location { column, line, .. } = owner.at;
    Some(if line != wrong.at.line && column == wrong.at.column {
        format!("indent the keys of `{0}` further than `{0}`", owner.name)
    } else {
        format!("write the keys of `{0}` inside it: `{0}: {{…}}`", owner.name)
    })
}

/// The place that sets a value: its own, or that of the parameter whose name is all it has.
pub(super) fn origin(value: &Node, scope: &Scope<'_>) -> Location {
    setter(value, scope.origins()).unwrap_or(&value.at).clone()
}

fn setter<'o>(value: &Node, origins: &'o Origins) -> Option<&'o Location> {
    origins.get(&template::only_name(value.text()?)?)
}
