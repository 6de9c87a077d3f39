//! Which keys go with which, in the form in which editors show a sentence of ours and not one of JSON Schema's:
//! `errorMessage` is heard beside `required` and beside a property that is `false`, and nowhere above them.

use serde_json::{Value, json};

use crate::step::{
    ACTIONS, CHECK_BELONGS, CHECK_KINDS, CLIENT_KEYS, FILE_KEYS, FLOW, WAIT_BELONGS, WAIT_CONDITIONS,
    alternatives,
};

/// The keys of the steps that stand for others, of which none has a time, a result or an error of its own.
const NOT_WITH_FLOW: &[&str] = &["timeout", "capture", "expect_error"];

/// Puts the rules to the definitions.
pub(super) fn put(definitions: &mut Value) {
    let mut rules = |name: &str, put: &dyn Fn(&mut Value)| {
        if let Some(schema) = definitions.pointer_mut(&format!("/{name}")) {
            put(schema);
        }
    };
    rules("Step", &step);
    rules("Step/properties/repeat", &repeat);
    rules("Wait", &wait);
    rules("Check", &check);
    rules("Memory", &|schema| {
        exactly_one(
            schema,
            &["read", "write"],
            "Nothing is read or written: add `read` or `write`.",
            |key| {
                format!("A step reads or writes, not both, and here is `{key}` already: make it two steps.")
            },
        );
    });
    rules("Watched", &|schema| {
        exactly_one(
            schema,
            &["equals", "changes"],
            "Nothing is awaited of the memory: add `equals: NUMBER` or `changes: true`.",
            |key| {
                format!("The memory is to be a number or to change, and here is `{key}` already: keep one.")
            },
        );
    });
    rules("Exec", &|schema| {
        exactly_one(
            schema,
            &["run", "sh"],
            "Nothing to run: add `run: [program, argument…]` or `sh: \"…\"`.",
            |key| format!("A step runs one program, and here is `{key}` already: keep one."),
        );
        goes_with(schema, "ready", &["background"]);
    });
    rules("Migrate", &|schema| {
        at_most_one(schema, &["to", "uri"], |key| {
            format!("A migration has one target, and here is `{key}` already: keep one.")
        });
        at_least_one(
            schema,
            &["to", "uri", "channels"],
            "The migration has no target: write `to: VM`, `uri: …` or `channels: […]`.",
        );
        goes_with(schema, "listen", &["to"]);
        goes_with(schema, "link", &["to"]);
        goes_with(schema, "exit_on_error", &["to"]);
    });
    rules("Client", &|schema| {
        exactly_one(
            schema,
            &["connect", "send", "stop"],
            "Nothing is said of what the client does: add `connect: HOST:PORT`, `send: datagrams` or `stop: true`.",
            |key| {
                format!(
                    "A step does one thing with a client, and here is `{key}` already: make it two steps."
                )
            },
        );
        for (key, owners) in
            [("first", &["connect"][..]), ("wait", &["connect"]), ("to", &["send"]), ("size", &["send"])]
        {
            goes_with(schema, key, owners);
        }
        goes_with(schema, "every", &["connect", "send"]);
        needs(schema, "send", "to", "The datagrams go nowhere: add `to: HOST:PORT`.");
    });
    rules("Fd", &|schema| {
        at_least_one(
            schema,
            &["vm", "socket"],
            "Nothing is done with a descriptor: write `vm: VM` to pass one, or `socket: NAME` to use the test's end of it.",
        );
        at_most_one(schema, &["name", "fdset"], |key| {
            format!("A descriptor has a name or is in a set, and here is `{key}` already: keep one.")
        });
        at_most_one(schema, &["open", "socket"], |key| {
            format!("A step passes a file or a socket, and here is `{key}` already: keep one.")
        });
        for key in ["name", "fdset", "open"] {
            goes_with(schema, key, &["vm"]);
        }
        for key in ["write", "close"] {
            goes_with(schema, key, &["socket"]);
        }
        goes_with(schema, "count", &["fdset"]);
        not_with(
            schema,
            "vm",
            &["write", "close"],
            "This is for the end that the test has kept: leave `vm` out.",
        );
    });
    rules("Bytes", &|schema| {
        exactly_one(
            schema,
            &["text", "hex", "u32"],
            "There are no bytes: add `text`, `hex` or `u32`.",
            |key| format!("Bytes are written in one way, and here is `{key}` already: keep one."),
        );
    });
    rules("Link", &|schema| {
        at_least_one(
            schema,
            &["state", "delay", "rate"],
            "Nothing of the link is changed: add `state`, `delay` or `rate`.",
        );
    });
    rules("Capabilities", &|schema| {
        at_least_one(
            schema,
            &["on", "off"],
            "No capability is named: write `on: [x-colo]`, `off: […]` or both.",
        );
    });
}

fn step(schema: &mut Value) {
    let actions: Vec<&str> = ACTIONS.iter().chain(FLOW).copied().collect();
    let none = format!("The step has no action: add one of {}.", alternatives(&actions));
    exactly_one(schema, &actions, &none, |key| {
        format!("A step has one action, and this one has `{key}` already: make it two steps.")
    });
    let message = "This does not go with a step that only stands for others: give it to those steps.";
    for flow in ["hook", "use", "block"] {
        not_with(schema, flow, NOT_WITH_FLOW, message);
    }
}

fn repeat(schema: &mut Value) {
    let none =
        "Nothing says how often to repeat: add `times: N`, `over: […]` with `as: NAME`, or `until: {…}`.";
    exactly_one(schema, &["times", "over", "until"], none, |key| {
        format!("A loop has one measure, and here is `{key}` already: keep one.")
    });
    goes_with(schema, "as", &["over"]);
    needs(schema, "over", "as", "`over` needs `as: NAME`, the name of the loop variable.");
}

fn wait(schema: &mut Value) {
    let none = format!("The wait has no condition: add one of {}.", alternatives(WAIT_CONDITIONS));
    let two = |key: &str| {
        format!("A wait has one condition, and here is `{key}` already: write a `wait` step for each.")
    };
    at_least_one(schema, WAIT_CONDITIONS, &none);
    at_most_one(schema, WAIT_CONDITIONS, two);
    // How a process of the host ended is part of waiting for it.
    for (one, other) in [("exit", "process"), ("process", "exit")] {
        if let Some(refused) = schema["dependentSchemas"][one]["properties"].as_object_mut() {
            refused.shift_remove(other);
        }
    }
    for (key, owners) in WAIT_BELONGS {
        goes_with(schema, key, owners);
    }
    needs(schema, "query", "until", "`query` needs `until`: what the reply must contain.");
    needs(schema, "job", "is", "`job` needs `is`: the status that is awaited.");
    not_with(schema, "process", &["vm"], "`vm` does not go with `process`: leave it out.");
    not_with(schema, "client", &["vm"], "`vm` does not go with `client`: leave it out.");
    rule(
        schema,
        json!({
            "if": {"anyOf": required(&["process", "client"])},
            "else": {"required": ["vm"], "errorMessage": "The wait names no VM: add `vm: NAME`."},
        }),
    );
}

fn check(schema: &mut Value) {
    let none = format!("The check asserts nothing: add one of {}.", alternatives(CHECK_KINDS));
    exactly_one(schema, CHECK_KINDS, &none, |key| {
        format!("A check asserts one thing, and here is `{key}` already: write a `check` step for each.")
    });
    for (key, owners) in CHECK_BELONGS {
        goes_with(schema, key, owners);
    }
    for kind in ["metric", "value", "equal", "client", "disk", "file"] {
        not_with(schema, kind, &["vm"], &format!("`vm` does not go with `{kind}`: leave it out."));
    }
    rule(
        schema,
        json!({
            "if": {"anyOf": required(&["metric", "value", "equal", "stderr", "client", "disk", "file"])},
            "else": {"required": ["vm"], "errorMessage": "The check names no VM: add `vm: NAME`."},
        }),
    );
    needs(schema, "disk", "holds", "`disk` needs `holds`: which lines the image must hold.");
    for (kind, keys, message) in [
        (
            "client",
            CLIENT_KEYS,
            "Nothing is asserted of the client: add `reconnects`, `longest_gap`, `lines` or `order`.",
        ),
        (
            "query",
            &["is", "is_not"][..],
            "`query` needs `is`, `is_not` or both: what the reply must, or must not, contain.",
        ),
        ("file", FILE_KEYS, "Nothing is asserted of the file: add `size`, `at_least` or `bytes_at`."),
        ("metric", &["below", "above"][..], "The metric has no bound: add `below`, `above` or both."),
    ] {
        rule(
            schema,
            json!({
                "if": {"allOf": [{"required": [kind]}, {"not": {"anyOf": required(keys)}}]},
                "then": {"required": [keys[0]], "errorMessage": message},
            }),
        );
    }
}

fn required(keys: &[&str]) -> Value {
    keys.iter().map(|key| json!({"required": [key]})).collect()
}

fn rule(schema: &mut Value, rule: Value) {
    match &mut schema["allOf"] {
        Value::Array(rules) => rules.push(rule),
        none => *none = json!([rule]),
    }
}

fn exactly_one(schema: &mut Value, keys: &[&str], none: &str, two: impl Fn(&str) -> String) {
    at_least_one(schema, keys, none);
    at_most_one(schema, keys, two);
}

fn at_least_one(schema: &mut Value, keys: &[&str], message: &str) {
    rule(
        schema,
        json!({
            "if": {"anyOf": required(keys)},
            "else": {"required": [keys[0]], "errorMessage": message},
        }),
    );
}

/// Where one of the keys is there, each other one is wrong, and is told so.
fn at_most_one(schema: &mut Value, keys: &[&str], message: impl Fn(&str) -> String) {
    for key in keys {
        let others = keys.iter().filter(|other| *other != key);
        let refused: serde_json::Map<String, Value> =
            others.map(|other| ((*other).to_owned(), json!(false))).collect();
        schema["dependentSchemas"][*key] = json!({"properties": refused, "errorMessage": message(key)});
    }
}

fn goes_with(schema: &mut Value, key: &str, owners: &[&str]) {
    let message = format!("`{key}` goes with `{}`.", owners.join("` and `"));
    rule(
        schema,
        json!({
            "if": {"anyOf": required(owners)},
            "else": {"properties": {key: false}, "errorMessage": message},
        }),
    );
}

fn needs(schema: &mut Value, key: &str, needed: &str, message: &str) {
    rule(
        schema,
        json!({
            "if": {"required": [key]},
            "then": {"required": [needed], "errorMessage": message},
        }),
    );
}

fn not_with(schema: &mut Value, key: &str, refused: &[&str], message: &str) {
    let refused: serde_json::Map<String, Value> =
        refused.iter().map(|other| ((*other).to_owned(), json!(false))).collect();
    rule(
        schema,
        json!({
            "if": {"required": [key]},
            "then": {"properties": refused, "errorMessage": message},
        }),
    );
}
