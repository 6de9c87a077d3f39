//! QEMU's QMP schema from `query-qmp-schema`, and checks of commands against it.
//!
//! The types in the reply have numeric names that change from version to version; only commands and events have
//! stable names (QEMU's `docs/devel/qapi-code-gen.rst`, "Client JSON Protocol introspection").

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The schema of a binary's commands and events.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Schema {
    pub(super) types: BTreeMap<String, Type>,
    pub(super) commands: BTreeMap<String, Command>,
    pub(super) events: BTreeMap<String, String>,
}

/// A type of the schema; it refers to other types by name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Type {
    /// A JSON type: `string`, `number`, `int`, `boolean`, `null`, `object`, `array` or `value`.
    Plain(String),
    /// One of these strings.
    Enum(Vec<String>),
    /// A list of this type.
    Array(String),
    /// An object; a union if it has a tag.
    Object(Object),
    /// One of these types, distinguished by their JSON types.
    Alternate(Vec<String>),
}

/// An object of the schema.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Object {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<Member>,
    /// The member whose value selects further members.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// The type with those further members, by the tag's value.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub variants: Vec<(String, String)>,
}

/// A member of an object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Member {
    pub name: String,
    pub kind: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
}

/// A command of the schema.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Command {
    pub argument: String,
    pub reply: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub oob: bool,
}

/// A mismatch with the schema, at a path inside the checked value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// The path of keys and list positions; empty for the whole.
    pub path: Vec<String>,
    /// What is wrong.
    pub message: String,
    /// How to fix it; may be empty.
    pub help: String,
}

impl Schema {
    /// Parses the reply to `query-qmp-schema`. Unknown parts are ignored and not checked.
    #[must_use]
    pub fn read(answer: &Value) -> Self {
        let mut schema = Self::default();
        for entry in list(answer) {
            let Some(name) = text(&entry["name"]) else {
                continue;
            };
            let read = match entry["meta-type"].as_str().unwrap_or_default() {
                "command" => {
                    let (argument, reply) = (text(&entry["arg-type"]), text(&entry["ret-type"]));
                    let command = Command {
                        argument: argument.unwrap_or_default(),
                        reply: reply.unwrap_or_default(),
                        oob: entry["allow-oob"] == true,
                    };
                    schema.commands.insert(name, command);
                    continue;
                }
                "event" => {
                    schema.events.insert(name, text(&entry["arg-type"]).unwrap_or_default());
                    continue;
                }
                "builtin" => text(&entry["json-type"]).map(Type::Plain),
                "enum" => Some(Type::Enum(values(entry))),
                "array" => text(&entry["element-type"]).map(Type::Array),
                "object" => Some(Type::Object(object(entry))),
                "alternate" => {
                    Some(Type::Alternate(list(&entry["members"]).filter_map(|m| text(&m["type"])).collect()))
                }
                _ => None,
            };
            schema.types.extend(read.map(|read| (name, read)));
        }
        schema
    }

    /// Whether there is no schema: the binary was not probed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// The names of the commands.
    pub fn commands(&self) -> impl Iterator<Item = &str> {
        self.commands.keys().map(String::as_str)
    }

    /// The names of the events.
    pub fn events(&self) -> impl Iterator<Item = &str> {
        self.events.keys().map(String::as_str)
    }

    /// Whether a command may run out of band; `None` if there is no such command.
    #[must_use]
    pub fn allows_oob(&self, command: &str) -> Option<bool> {
        self.commands.get(command).map(|command| command.oob)
    }

    /// The possible values of the tag of a command's argument, such as the drivers of `blockdev-add`.
    #[must_use]
    pub fn variants(&self, command: &str) -> Vec<&str> {
        let argument = self.commands.get(command).and_then(|command| self.types.get(&command.argument));
        match argument {
            Some(Type::Object(object)) => object.variants.iter().map(|(case, _)| case.as_str()).collect(),
            _ => Vec::new(),
        }
    }

    /// The names of a command's arguments, except those that depend on the value of another one.
    #[must_use]
    pub fn arguments(&self, command: &str) -> Vec<&str> {
        let argument = self.commands.get(command).and_then(|command| self.types.get(&command.argument));
        match argument {
            Some(Type::Object(object)) => object.members.iter().map(|member| member.name.as_str()).collect(),
            _ => Vec::new(),
        }
    }

    /// Whether a command has an argument; true if the QEMU does not describe its commands.
    #[must_use]
    pub fn has_argument(&self, command: &str, argument: &str) -> bool {
        self.is_empty() || self.arguments(command).contains(&argument)
    }

    /// The possible values of an enum argument of a command.
    #[must_use]
    pub fn words(&self, command: &str, argument: &str) -> Option<&[String]> {
        let command = self.commands.get(command)?;
        let Type::Object(object) = self.types.get(&command.argument)? else {
            return None;
        };
        let member = object.members.iter().find(|member| member.name == argument)?;
        match self.types.get(&member.kind)? {
            Type::Enum(words) => Some(words),
            _ => None,
        }
    }

    /// The error for an unknown command, with a suggestion.
    #[must_use]
    pub fn unknown_command(&self, command: &str) -> Complaint {
        Complaint {
            path: Vec::new(),
            message: format!("there is no QMP command `{command}`"),
            help: crate::diagnostic::suggest(command, self.commands()),
        }
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

/// Before 7.0 an enum had only `values`; since then `members`, with more details.
fn values(entry: &Value) -> Vec<String> {
    let members: Vec<String> = list(&entry["members"]).filter_map(|member| text(&member["name"])).collect();
    if members.is_empty() { list(&entry["values"]).filter_map(text).collect() } else { members }
}

fn object(entry: &Value) -> Object {
    let member = |member: &Value| {
        Some(Member {
            name: text(&member["name"])?,
            kind: text(&member["type"])?,
            optional: member.get("default").is_some(),
        })
    };
    let variant = |variant: &Value| Some((text(&variant["case"])?, text(&variant["type"])?));
    Object {
        members: list(&entry["members"]).filter_map(member).collect(),
        tag: text(&entry["tag"]),
        variants: list(&entry["variants"]).filter_map(variant).collect(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;

    /// A hand-written schema in QEMU's format.
    pub(crate) fn sample() -> Schema {
        let member = |name: &str, kind: &str| json!({"name": name, "type": kind});
        let option = |name: &str, kind: &str| json!({"name": name, "type": kind, "default": null});
        let object =
            |name: &str, members: Value| json!({"name": name, "meta-type": "object", "members": members});
        let list = |name: &str, of: &str| json!({"name": name, "meta-type": "array", "element-type": of});
        let words =
            |name: &str, values: &[&str]| json!({"name": name, "meta-type": "enum", "values": values});
        let command = |name: &str, argument: &str, reply: &str| json!({"name": name, "meta-type": "command", "arg-type": argument, "ret-type": reply});
        let plain = ["string", "int", "number", "boolean", "null"];
        let plain = plain.map(|json| {
            json!({"name": if json == "string" { "str" } else { json }, "meta-type": "builtin", "json-type": json})
        });
        let capabilities = ["events", "return-path", "x-colo"];
        Schema::read(&Value::from_iter(plain.into_iter().chain([
            object("0", json!([])),
            command("query-status", "0", "1"),
            object("1", json!([member("running", "boolean"), member("status", "2")])),
            words("2", &["running", "paused", "postmigrate"]),
            json!({"name": "yank", "meta-type": "command", "arg-type": "3", "ret-type": "0", "allow-oob": true}),
            object("3", json!([member("instances", "4")])),
            list("4", "5"),
            json!({"name": "5", "meta-type": "object", "members": [member("type", "6")], "tag": "type",
                   "variants": [{"case": "migration", "type": "0"}, {"case": "block-node", "type": "7"}]}),
            // As in newer QEMUs, with `members`.
            json!({"name": "6", "meta-type": "enum", "values": ["migration", "block-node"],
                   "members": [{"name": "migration"}, {"name": "block-node"}]}),
            object("7", json!([member("node-name", "str")])),
            command("migrate-set-capabilities", "8", "0"),
            object("8", json!([member("capabilities", "9")])),
            list("9", "10"),
            object("10", json!([member("capability", "11"), member("state", "boolean")])),
            words("11", &capabilities),
            command("migrate-set-parameters", "12", "0"),
            object("12", json!([
                option("max-bandwidth", "int"), option("tls-creds", "13"), option("throttle", "number"),
                option("x-checkpoint-delay", "int"), option("multifd-compression", "21"),
            ])),
            words("21", &["none", "zlib"]),
            json!({"name": "13", "meta-type": "alternate", "members": [{"type": "str"}, {"type": "null"}]}),
            command("query-yank", "0", "4"),
            command("blockdev-add", "14", "0"),
            json!({"name": "14", "meta-type": "object", "tag": "driver",
                   "members": [member("driver", "15"), option("node-name", "str"), option("read-only", "boolean")],
                   "variants": [{"case": "file", "type": "16"}, {"case": "null-co", "type": "17"}]}),
            words("15", &["file", "null-co"]),
            object("16", json!([member("filename", "str")])),
            object("17", json!([option("size", "int")])),
            command("device_add", "18", "0"),
            object("18", json!([member("driver", "str"), option("id", "str")])),
            command("object-add", "19", "0"),
            object("19", json!([member("qom-type", "str"), member("id", "str")])),
            command("stop", "0", "0"),
            command("query-migrate", "0", "0"),
            json!({"name": "MIGRATION", "meta-type": "event", "arg-type": "20"}),
            object("20", json!([member("status", "2")])),
            json!({"name": "STOP", "meta-type": "event", "arg-type": "0"}),
        ])))
    }

    fn complaints(command: &str, arguments: Value) -> Vec<String> {
        let line = |complaint: Complaint| {
            format!("{}: {}; {}", complaint.path.join("."), complaint.message, complaint.help)
        };
        sample().check(command, &arguments).into_iter().map(line).collect()
    }

    #[test]
    fn valid_arguments_get_no_complaint() {
        let nothing: [&str; 0] = [];
        assert_eq!(complaints("query-status", json!({})), nothing);
        assert_eq!(
            complaints("yank", json!({"instances": [{"type": "block-node", "node-name": "n"}]})),
            nothing
        );
        assert_eq!(complaints("migrate-set-parameters", json!({"tls-creds": null, "throttle": 3})), nothing);
        assert_eq!(complaints("blockdev-add", json!({"driver": "null-co", "size": 4096})), nothing);
        assert_eq!(complaints("device_add", json!({"driver": "e1000", "netdev": "n0"})), nothing);
    }

    #[test]
    fn templates_of_run_values_are_not_checked() {
        let nothing: [&str; 0] = [];
        let late = "{{run.captures.x}}";
        assert_eq!(complaints("migrate-set-parameters", json!({"max-bandwidth": late})), nothing);
        assert_eq!(complaints("yank", json!({"instances": late})), nothing);
        assert_eq!(complaints("blockdev-add", json!({"driver": late, "filename": "x"})), nothing);
    }

    #[test]
    fn unknown_names_get_suggestions() {
        assert_eq!(
            complaints("query-statsu", json!({})),
            [": there is no QMP command `query-statsu`; did you mean `query-status`?"]
        );
        assert_eq!(
            complaints("migrate-set-parameters", json!({"max-bandwith": 1})),
            [
                "max-bandwith: `migrate-set-parameters` has no argument `max-bandwith`; did you mean `max-bandwidth`?"
            ]
        );
        assert_eq!(
            complaints("query-status", json!({"x": 1})),
            ["x: `query-status` has no argument `x`; it has no arguments"]
        );
        assert_eq!(
            complaints(
                "migrate-set-capabilities",
                json!({"capabilities": [{"capability": "x-coloo", "state": true}]})
            ),
            ["capabilities.0.capability: `x-coloo` is not a value of `capability`; did you mean `x-colo`?"]
        );
    }

    #[test]
    fn missing_arguments_wrong_types_and_members_of_other_variants_are_reported() {
        assert_eq!(complaints("yank", json!({})), [": `yank` needs the argument `instances`; "]);
        assert_eq!(
            complaints("yank", json!({"instances": [{"type": "block-node"}]})),
            ["instances.0: `instances` needs the member `node-name`; "]
        );
        assert_eq!(
            complaints("migrate-set-parameters", json!({"max-bandwidth": "1M"})),
            ["max-bandwidth: `max-bandwidth` takes a whole number, not `1M`; write 1048576"]
        );
        assert_eq!(
            complaints("migrate-set-parameters", json!({"tls-creds": 3})),
            ["tls-creds: `tls-creds` takes a text or null, not `3`; write \"3\""]
        );
        assert_eq!(
            complaints("blockdev-add", json!({"driver": "null-co", "filename": "x", "read-only": "yes"})),
            [
                "filename: `blockdev-add` with `driver: null-co` has no argument `filename`; available: driver, node-name, read-only, size",
                "read-only: `read-only` takes `true` or `false`, not `yes`; write `true`",
            ]
        );
        assert_eq!(complaints("stop", json!([1])), [": `stop` takes a map, not a list; "]);
    }

    #[test]
    fn a_pattern_of_a_reply_may_be_partial_but_must_be_possible() {
        let schema = sample();
        assert_eq!(schema.check_reply("query-status", &json!({"status": "paused"})), []);
        assert_eq!(schema.check_reply("query-yank", &json!([{"type": "migration"}])), []);
        assert_eq!(schema.check_reply("query-yank", &json!([{"node-name": "x"}])), []);
        let never = schema.check_reply("query-status", &json!({"statsu": "paused"}));
        assert_eq!(never[0].message, "`query-status` has no member `statsu`");
        let never = schema.check_event("MIGRATION", &json!({"status": "complete"}));
        assert_eq!(never[0].path, ["status"]);
    }

    #[test]
    fn a_condition_is_checked_against_the_type_of_its_value() {
        let schema = sample();
        assert_eq!(schema.check_reply("query-status", &json!({"status": {"matches": "^pa"}})), []);
        assert_eq!(schema.check_reply("query-yank", &json!([{"node-name": {"matches": "disk"}}])), []);
        let never = schema.check_reply("query-status", &json!({"status": {"above": 1}}));
        assert_eq!(never[0].path, ["status"]);
        assert_eq!(
            never[0].message,
            "`status` takes one of running, paused, postmigrate, so `above` never matches"
        );
        let never = schema.check_reply("query-status", &json!({"running": {"matches": "true"}}));
        assert_eq!(never[0].message, "`running` takes `true` or `false`, so `matches` never matches");
        // What is sent to QEMU is not a pattern.
        assert_eq!(schema.check("migrate-set-parameters", &json!({"max-bandwidth": {"above": 1}})).len(), 1);
    }

    #[test]
    fn the_schema_lists_the_commands_that_may_run_out_of_band() {
        assert_eq!(sample().allows_oob("yank"), Some(true));
        assert_eq!(sample().allows_oob("stop"), Some(false));
        assert_eq!(sample().allows_oob("nothing"), None);
    }
}
