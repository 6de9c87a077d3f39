//! The keys at the top of a file.

use schemars::SchemaGenerator;
use serde_json::{Value, json};

use super::{admit, of, path, steps, with_doc};
use crate::qemu::credential::Credential;
use crate::qemu::disk::Disk;
use crate::qemu::network::NetworkSpec;
use crate::qemu::spec::VmSpec;
use crate::scenario::model::{DEFAULT_CASE_TIMEOUT, KnownIssue, MustFail, Requires};
use crate::session::link::LinkSpec;
use crate::units::{OneOrMany, Span};

const DOCS: &[(&str, &str)] = &[
    (
        "name",
        "The case's name, a path with `/`, unique in a run. Default: the file's stem and `axis=value` for each axis.",
    ),
    ("description", "What the scenario tests, in prose."),
    ("tags", "Tags to select cases by; the template's tags are added."),
    ("extends", "A template to extend, relative to this file."),
    ("with", "Values for the template's params."),
    ("params", "Parameters: `name: default`, or `name: {required, default, one_of, description}`."),
    ("matrix", "Axes, each a list of values or a range; each combination is a case."),
    ("requires", "Requirements without which the case is skipped, with the reason."),
    ("known_issue", "Known failures: the case is expected to fail in one of these ways."),
    ("must_fail", "A negative control: the case passes only if it fails this way."),
    ("timeout", "The timeout of the whole case. Default: `120s`."),
    (
        "artifacts",
        "Files in the case's directory to keep with its artifacts, below `files`: paths or patterns (`*`, `?`, `[…]`, \
     `**`), relative to that directory; the template's entries are added.",
    ),
    ("vms", "The VMs, by name."),
    (
        "roles",
        "Names for VMs, to use in steps in place of a VM's name; a `rebind` step binds them to other VMs. So steps can \
     use `primary` and `secondary`, whichever VM that is at the time.",
    ),
    (
        "disks",
        "Disk images that do not belong to a single VM, created before anything is started; `{{disk.NAME}}` is the path.",
    ),
    (
        "credentials",
        "TLS credentials, by name, created for each case before anything is started; `{{credential.NAME}}` is the \
     directory, for `dir` of `tls-creds-x509` and `tls-creds-psk`.",
    ),
    ("ports", "Names of free TCP ports of 127.0.0.1, reserved for the case: `{{port.NAME}}` is the number."),
    ("links", "Relays of byte streams, by name; `link` steps cut them or slow them down."),
    ("networks", "Networks, by name, that connect VMs and the host without root."),
    ("hooks", "Steps for the template's hooks (`hook: name`)."),
    ("steps", "The steps of the scenario."),
    ("finally", "Steps that always run at the end, before everything is torn down."),
];

pub(super) fn key(key: &str, generator: &mut SchemaGenerator) -> Value {
    let schema = match key {
        "name" | "description" => json!({"type": "string"}),
        "tags" | "artifacts" | "ports" => of::<OneOrMany<String>>(generator),
        "extends" => path(),
        "with" => json!({"type": "object"}),
        "params" => by_name(json!({"$ref": "#/$defs/Param"})),
        "matrix" => matrix(),
        "requires" => of::<Requires>(generator),
        "known_issue" => {
            let issue = of::<KnownIssue>(generator);
            json!({"anyOf": [{"type": "array", "items": issue}, issue]})
        }
        "must_fail" => of::<MustFail>(generator),
        "timeout" => of::<Span>(generator),
        "vms" => by_name(of::<VmSpec>(generator)),
        "roles" => by_name(json!({"type": "string", "description": "Its initial VM."})),
        "disks" => by_name(of::<Disk>(generator)),
        "credentials" => by_name(of::<Credential>(generator)),
        "links" => by_name(of::<LinkSpec>(generator)),
        "networks" => by_name(of::<NetworkSpec>(generator)),
        "hooks" => by_name(admitted(steps())),
        _ => steps(),
    };
    let doc = DOCS.iter().find(|(of, _)| *of == key).map(|(_, doc)| *doc);
    let mut schema = with_doc(doc.unwrap_or_default(), schema);
    if key == "timeout" {
        schema["default"] = json!(DEFAULT_CASE_TIMEOUT);
    }
    schema
}

/// A map from names to values.
fn by_name(schema: Value) -> Value {
    json!({"type": "object", "additionalProperties": schema})
}

fn admitted(mut schema: Value) -> Value {
    admit::templates(&mut schema);
    schema
}

fn matrix() -> Value {
    json!({
        "type": "object",
        "properties": {
            "exclude": {"type": "array", "items": {"type": "object", "minProperties": 1},
                "description": "Combinations to exclude: each removes every cell that has its values."},
            "include": {"type": "array", "items": {"type": "object", "minProperties": 1},
                "description": "Whole combinations to add."},
        },
        "additionalProperties": admitted(json!({
            "description": "An axis: a list of scalars, or of maps (`{{axis.field}}`); or a range, in steps or drawn \
                            at random by `--seed`.",
            "anyOf": [
                {"type": "array", "minItems": 1},
                {"type": "object", "required": ["from", "to", "step"], "additionalProperties": false,
                    "properties": {"from": true, "to": true, "step": true}},
                {"type": "object", "required": ["random"], "additionalProperties": false,
                    "properties": {"random": {"type": "object", "required": ["count", "from", "to"],
                        "additionalProperties": false,
                        "properties": {"count": true, "from": true, "to": true}}}},
            ],
        })),
    })
}
