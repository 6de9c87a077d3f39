//! The keys at the top of a scenario file: what each is, how it is merged with that of a template, its JSON Schema, and how a
//! case without templates has it.

use indexmap::IndexMap;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::merge::Merge;
use super::model::{Case, DEFAULT_CASE_TIMEOUT, KnownIssue, MustFail, Needs, Requires};
use super::render::{blocks, literal};
use super::sweep::Range;
use crate::qemu::credential::Credential;
use crate::qemu::disk::Disk;
use crate::qemu::network::NetworkSpec;
use crate::qemu::spec::VmSpec;
use crate::session::link::LinkSpec;
use crate::step::Step;
use crate::units::{OneOrMany, Span};

/// What the value must be, if it is not read as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Any,
    Map,
    Steps,
}

type SchemaOf = fn(&mut SchemaGenerator) -> Value;
type Written = fn(&Case) -> Value;

/// A key of a file.
pub(crate) struct TopKey {
    pub name: &'static str,
    pub doc: &'static str,
    pub shape: Shape,
    pub(super) merge: Merge,
    pub schema: SchemaOf,
    /// The value in a case; null or empty if it is the default, or has been replaced by what it stands for.
    pub written: Written,
}

/// The names of all keys.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    KEYS.iter().map(|key| key.name)
}

/// How a key is merged.
pub(super) fn merge(name: &str) -> Option<Merge> {
    KEYS.iter().find(|key| key.name == name).map(|key| key.merge)
}

/// The case as YAML: a scenario without templates, except those that are only known when a step runs. It loads to an equal
/// case.
#[must_use]
pub fn to_yaml(case: &Case) -> String {
    let written = KEYS.iter().map(|key| (key.name.to_owned(), (key.written)(case)));
    let is_needed = |(name, value): &(String, Value)| match value {
        Value::Null => false,
        Value::Array(list) => !list.is_empty() || name == "steps",
        Value::Object(map) => !map.is_empty() || name == "vms",
        _ => true,
    };
    let top: Map<String, Value> = written.filter(is_needed).collect();
    serde_yaml::to_string(&Value::Object(top)).unwrap_or_default()
}

/// A value that is read as a whole.
const fn value(name: &'static str, doc: &'static str, schema: SchemaOf, written: Written) -> TopKey {
    TopKey { name, doc, shape: Shape::Any, merge: Merge::Replaced, schema, written }
}

/// A map from names to values.
const fn map(name: &'static str, doc: &'static str, schema: SchemaOf, written: Written) -> TopKey {
    TopKey { shape: Shape::Map, merge: Merge::Deeply, ..value(name, doc, schema, written) }
}

/// One text or several, added to those of the template.
const fn texts(name: &'static str, doc: &'static str, written: Written) -> TopKey {
    TopKey { merge: Merge::Joined, ..value(name, doc, of::<OneOrMany<String>>, written) }
}

/// A list of steps.
const fn steps(name: &'static str, doc: &'static str, written: Written) -> TopKey {
    TopKey { shape: Shape::Steps, ..value(name, doc, of::<Vec<Step>>, written) }
}

/// In the order of the reference and of a resolved case.
pub(crate) const KEYS: &[TopKey] = &[
    value(
        "name",
        "The case's name, a path with `/`, unique in a run. Default: the file's stem and `axis=value` for each axis.",
        of::<String>,
        |case| literal(&case.name),
    ),
    value("description", "What the scenario tests, in prose.", of::<String>, |case| {
        literal(&case.description)
    }),
    texts("tags", "Tags to select cases by; the template's tags are added.", |case| literal(&case.tags)),
    value(
        "extends",
        "A template to extend, relative to this file.",
        |generator| path(generator).to_value(),
        none,
    ),
    map("with", "Values for the template's params.", |_| json!({"type": "object"}), none),
    map(
        "params",
        "Parameters: `name: default`, or `name: {required, default, one_of, description}`.",
        |_| by_name(json!({"$ref": "#/$defs/Param"})),
        params,
    ),
    TopKey {
        merge: Merge::Replaced,
        ..map("matrix", "Axes, each a list of values or a range; each combination is a case.", matrix, none)
    },
    TopKey {
        merge: Merge::ByKey,
        ..map(
            "requires",
            "Requirements without which the case is skipped, with the reason.",
            of::<Requires>,
            |case| literal(&*case.requires),
        )
    },
    TopKey {
        merge: Merge::ByKey,
        ..map(
            "needs",
            "What the case takes of the machine, for `-j auto`. Default: an estimate from its VMs.",
            of::<Needs>,
            |case| literal(&case.needs),
        )
    },
    value(
        "exclusive",
        "Whether the case runs alone, also with `-j`: for cases that measure time. Default: `false`.",
        of::<bool>,
        |case| if case.exclusive { Value::Bool(true) } else { Value::Null },
    ),
    value(
        "known_issue",
        "Known failures: the case is expected to fail in one of these ways.",
        |generator| {
            let issue = of::<KnownIssue>(generator);
            json!({"anyOf": [{"type": "array", "items": issue}, issue]})
        },
        |case| literal(&case.known_issues),
    ),
    value(
        "must_fail",
        "A negative control: the case passes only if it fails this way.",
        of::<MustFail>,
        |case| literal(&case.must_fail),
    ),
    value(
        "timeout",
        "The timeout of the whole case. Default: `120s`.",
        |generator| {
            let mut schema = of::<Span>(generator);
            schema["default"] = json!(DEFAULT_CASE_TIMEOUT);
            schema
        },
        |case| {
            if case.timeout == DEFAULT_CASE_TIMEOUT.0 { Value::Null } else { literal(&Span(case.timeout)) }
        },
    ),
    texts(
        "artifacts",
        "Files in the case's directory to keep with its artifacts, below `files`: paths or patterns (`*`, `?`, \
         `[…]`, `**`), relative to that directory; the template's entries are added.",
        |case| literal(&case.artifacts),
    ),
    map("vms", "The VMs, by name.", named::<VmSpec>, |case| {
        with_deferred(&case.vms, |vm| case.vm_sources[vm].template.as_ref())
    }),
    map(
        "roles",
        "Names for VMs, to use in steps in place of a VM's name; a `rebind` step binds them to other VMs. So steps can \
         use `primary` and `secondary`, whichever VM that is at the time.",
        |_| by_name(json!({"type": "string", "description": "Its initial VM."})),
        |case| literal(&case.roles),
    ),
    map(
        "disks",
        "Disk images that do not belong to a single VM, created before anything is started; `{{disk.NAME}}` is the path.",
        named::<Disk>,
        |case| literal(&case.disks),
    ),
    map(
        "credentials",
        "TLS credentials, by name, created for each case before anything is started; `{{credential.NAME}}` is the \
         directory, for `dir` of `tls-creds-x509` and `tls-creds-psk`.",
        named::<Credential>,
        |case| literal(&case.credentials),
    ),
    texts(
        "ports",
        "Names of free TCP ports of 127.0.0.1, reserved for the case: `{{port.NAME}}` is the number.",
        |case| literal(&case.net.ports),
    ),
    map(
        "links",
        "Relays of byte streams, by name; `link` steps cut them or slow them down.",
        named::<LinkSpec>,
        |case| with_deferred(&case.net.links, |link| case.net.deferred_links.get(link)),
    ),
    map(
        "networks",
        "Networks, by name, that connect VMs and the host without root.",
        named::<NetworkSpec>,
        |case| literal(&case.net.networks),
    ),
    map("hooks", "Steps for the template's hooks (`hook: name`).", named::<Vec<Step>>, none),
    steps("steps", "The steps of the scenario.", |case| blocks(&case.steps)),
    steps("finally", "Steps that always run at the end, before everything is torn down.", |case| {
        blocks(&case.finally)
    }),
];

/// The schema of a type.
pub(crate) fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Value {
    generator.subschema_for::<T>().to_value()
}

/// The path of a file.
pub(super) fn path(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "pattern": "^([^{]|\\{[^{])*\\{?$",
        "patternErrorMessage":
            "The path of a file cannot be a template: write the path itself, or use `when` on several steps.",
    })
}

fn by_name(schema: Value) -> Value {
    json!({"type": "object", "additionalProperties": schema})
}

fn named<T: JsonSchema>(generator: &mut SchemaGenerator) -> Value {
    by_name(of::<T>(generator))
}

fn matrix(generator: &mut SchemaGenerator) -> Value {
    let cells = |doc: &str| json!({"type": "array", "items": {"type": "object", "minProperties": 1}, "description": doc});
    let ranges = Range::FORMS.iter().map(|form| (form.schema)(generator).to_value());
    let ranges = ranges.map(|range| {
        json!({
            "type": "object", "required": range["required"], "additionalProperties": false,
            "properties": range["properties"],
        })
    });
    let axis: Value = std::iter::once(json!({"type": "array", "minItems": 1})).chain(ranges).collect();
    json!({
        "type": "object",
        "properties": {
            "exclude": cells("Combinations to exclude: each removes every cell that has its values."),
            "include": cells("Whole combinations to add."),
        },
        "additionalProperties": {
            "description": "An axis: a list of scalars, or of maps (`{{axis.field}}`); or a range, in steps or drawn \
                            at random by `--seed`.",
            "anyOf": axis,
        },
    })
}

fn none(_: &Case) -> Value {
    Value::Null
}

fn params(case: &Case) -> Value {
    // In the long form, since a default that is a map could be mistaken for it.
    let written = |(name, value): (&String, &Value)| {
        let value = literal(value);
        (name.clone(), if value.is_object() { json!({"default": value}) } else { value })
    };
    Value::Object(case.params.iter().map(written).collect())
}

/// The values by name; those with deferred templates as they are.
fn with_deferred<'c, T: Serialize>(
    values: &IndexMap<String, T>,
    deferred: impl Fn(&str) -> Option<&'c Value>,
) -> Value {
    let value = |name: &String, value: &T| deferred(name).cloned().unwrap_or_else(|| literal(value));
    Value::Object(values.into_iter().map(|(name, one)| (name.clone(), value(name, one))).collect())
}
