//! Replaces a name in a template by another path.

use std::collections::BTreeMap;

/// The template with each name replaced by a path, also where it begins a longer path. Helpers, texts in quotes, keys of
/// helpers and what is outside of braces stay as they are.
#[must_use]
pub fn with_aliases(template: &str, aliases: &BTreeMap<String, String>) -> String {
    let mut out = String::new();
    let mut rest = template;
    while let Some(begin) = rest.find("{{") {
        let (before, inside) = rest.split_at(begin + 2);
        let end = inside.find("}}").unwrap_or(inside.len());
        out.push_str(before);
        out.push_str(&expression(&inside[..end], aliases));
        rest = &inside[end..];
    }
    out + rest
}

fn expression(text: &str, aliases: &BTreeMap<String, String>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let is_quote = matches!(first, '"' | '\'');
        let length = match first {
            '[' => rest.find(']').map_or(rest.len(), |end| end + 1),
            _ if is_quote => rest[1..].find(first).map_or(rest.len(), |end| end + 2),
            _ if is_of_name(first) => rest.find(|c| !is_of_name(c)).unwrap_or(rest.len()),
            _ => first.len_utf8(),
        };
        let (token, after) = rest.split_at(length);
        let begins_path = !out.ends_with(['.', '/', '@']) || out.ends_with("../");
        let is_key = after.starts_with('=');
        let calls = out.trim_end_matches(['{', '~', '#']).trim_end();
        let is_helper = (calls.is_empty() || calls.ends_with('('))
            && !after.trim_end_matches(['}', '~']).trim().is_empty()
            && after.starts_with(char::is_whitespace)
            && !after.trim_start().starts_with(')');
        match aliases.get(token).filter(|_| begins_path && !is_key && !is_helper) {
            Some(path) => out.push_str(path),
            None => out.push_str(token),
        }
        rest = after;
    }
    out
}

const fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_replaced_where_it_is_the_beginning_of_a_path() {
        let aliases = [("door", "port.ssh"), ("round", "run.captures.n"), ("m", "run.vm.a")];
        let aliases = aliases.map(|(name, path)| (name.to_owned(), path.to_owned())).into();
        for (template, expected) in [
            ("{{door}}", "{{port.ssh}}"),
            (
                "door {{ door }}:{{~m.pid~}} {{{door}}}",
                "door {{ port.ssh }}:{{~run.vm.a.pid~}} {{{port.ssh}}}",
            ),
            (
                "{{add door 1}} {{add 1 (add door m.pid)}}",
                "{{add port.ssh 1}} {{add 1 (add port.ssh run.vm.a.pid)}}",
            ),
            ("{{eq 'door' door}} {{x.door}} {{adoor}}", "{{eq 'door' port.ssh}} {{x.door}} {{adoor}}"),
            (
                "{{round 2.5}} {{add (round door) round}}",
                "{{round 2.5}} {{add (round port.ssh) run.captures.n}}",
            ),
            ("{{#if door}}{{../door}}{{/if}}", "{{#if port.ssh}}{{../port.ssh}}{{/if}}"),
            ("{{helper door=door}} {{x.[door]}}", "{{helper door=port.ssh}} {{x.[door]}}"),
            ("no door, {{unclosed door", "no door, {{unclosed port.ssh"),
        ] {
            assert_eq!(with_aliases(template, &aliases), expected);
        }
    }
}
