//! The schema in an editor, tested with the language server that editors use.
//!
mod common;
#[path = "support/language_server.rs"]
mod language_server;

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use common::harness::{self, once};
use language_server::{PROGRAM, ROOT, Server, uri};
use lockstep_vm::step::{ACTIONS, CheckKind, Condition, FLOW, Form, MODIFIERS};
use serde_json::{Value, json};

const SCHEMA: &str = "schemas/scenario.schema.json";

/// A server, and a proxy in place of the network, which must not be used.
struct Editor {
    server: Server,
    network: TcpListener,
    texts: usize,
}

impl Editor {
    fn start() -> Self {
        let network = TcpListener::bind("127.0.0.1:0").unwrap();
        network.set_nonblocking(true).unwrap();
        let proxy = format!("http://{}", network.local_addr().unwrap());
        let settings = json!({
            "yaml": {
                "validate": true, "hover": true, "completion": true,
                "schemaStore": {"enable": false, "url": ""},
                "kubernetesCRDStore": {"enable": false},
                "schemas": {uri(&Path::new(ROOT).join(SCHEMA)): ["/by-setting/*.yaml"]},
            },
            "http": {"proxy": proxy},
            "[yaml]": {"editor.tabSize": 2},
            "editor": {},
            "files": {},
        });
        Self { server: Server::start(settings, &proxy), network, texts: 0 }
    }

    fn open(&mut self, folder: &str, text: &str) -> (String, Vec<Value>) {
        self.texts += 1;
        let uri = uri(&Path::new(ROOT).join(folder).join(format!("text-{}.yaml", self.texts)));
        let found = self.server.open(&uri, text);
        (uri, found)
    }

    /// The errors found: lines, counted from 1, and messages.
    fn wrong(&mut self, text: &str) -> Vec<(u64, String)> {
        let text = format!("# yaml-language-server: $schema=../../{SCHEMA}\n{text}");
        let (_, found) = self.open("scenarios/colo", &text);
        found
            .iter()
            .map(|found| (found["range"]["start"]["line"].as_u64().unwrap(), message(found)))
            .collect()
    }

    /// The completions at the `|` of a text.
    fn completion(&mut self, text: &str) -> BTreeSet<String> {
        let (text, place) = at_the_bar(text);
        let (uri, _) = self.open("by-setting", &text);
        let answer = self.server.at("textDocument/completion", &uri, place);
        let items = answer["items"].as_array().unwrap();
        items.iter().map(|item| item["label"].as_str().unwrap().to_owned()).collect()
    }

    /// The hover text at the `|` of a text.
    fn hover(&mut self, text: &str) -> String {
        let (text, place) = at_the_bar(text);
        let (uri, _) = self.open("by-setting", &text);
        let answer = self.server.at("textDocument/hover", &uri, place);
        answer["contents"]["value"].as_str().unwrap_or_default().to_owned()
    }
}

impl Drop for Editor {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert!(self.network.accept().is_err(), "the server went to the network");
        }
    }
}

fn message(diagnostic: &Value) -> String {
    diagnostic["message"].as_str().unwrap().to_owned()
}

fn at_the_bar(text: &str) -> (String, (usize, usize)) {
    let at = text.find('|').unwrap();
    let line = text[..at].matches('\n').count();
    let column = at - text[..at].rfind('\n').map_or(0, |at| at + 1);
    (text.replacen('|', "", 1), (line, column))
}

fn the_shipped_scenarios_have_no_errors() {
    let mut editor = Editor::start();
    let files: Vec<PathBuf> = glob::glob("scenarios/**/*.yaml").unwrap().map(Result::unwrap).collect();
    assert!(files.len() > 8, "{files:?}");
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let up = "../".repeat(file.components().count() - 1);
        let schema = format!("# yaml-language-server: $schema={up}{SCHEMA}");
        assert!(text.starts_with(&schema), "{} does not name the schema", file.display());
        let found = editor.server.open(&uri(&Path::new(ROOT).join(&file)), &text);
        assert!(found.is_empty(), "{}: {found:#?}", file.display());
    }
    // The server does use the schema.
    assert_eq!(editor.wrong("nothing_of_the_kind: 1\n").len(), 1);
}

fn errors_are_shown_at_their_line_with_a_sentence() {
    let mut editor = Editor::start();
    for (steps, expected) in [
        ("- wait: {vm: a, ticks: 1}\n- slep: 1s", [(4, "Property slep is not allowed")]),
        ("- sleep: 1s\n- name: x", [(4, "The step has no action: add one of start, connect, quit,")]),
        (
            "- wait: {vm: a, ticks: 1}\n  quit: a",
            [(4, "A step has one action, and this one already has `wait`")],
        ),
        ("- wait:\n    vm: a\n    tiks: 1", [(5, "Property tiks is not allowed")]),
        (
            "- wait:\n    vm: a\n    ticks: 1\n    event: STOP",
            [(6, "Cannot be combined with `ticks`: write a `wait` step for each.")],
        ),
        ("- wait:\n    vm: a\n    ticks: 1\n    count: 2", [(6, "`count` needs `event`")]),
        ("- wait: {ticks: 1}", [(3, "The wait names no VM")]),
        (
            "- wait:\n    vm: a\n    ticks: soon",
            [(5, "Expected a whole number. A text here must be a template")],
        ),
        ("- sleep: 1s\n- sleep: soon", [(4, "A duration is a number with its unit")]),
        ("- signal:\n    vm: a\n    send: KIL", [(5, "Valid values: \"KILL\", \"STOP\"")]),
        ("- check: {vm: a}", [(3, "The check asserts nothing: add `memory`, `query`,")]),
        (
            "- check: {vm: a, query: query-status}",
            [(3, "Nothing is compared with the reply: add `is` or `is_not`.")],
        ),
        ("- repeat:\n    steps: []", [(3, "The loop has no `times`, `over` or `until`")]),
        ("- hook: x\n  timeout: 1s", [(4, "Not allowed on a step that expands to other steps")]),
        ("- migrate: {from: a}", [(3, "The migration has no target")]),
        ("- exec: {run: [x], sh: x}", [(3, "Cannot be combined with `run`: keep one")]),
        ("- use: {file: '{{x}}'}", [(3, "The path of a file cannot be a template")]),
    ] {
        let found = editor.wrong(&format!("vms: {{a: }}\nsteps:\n{steps}\n"));
        for (line, message) in expected {
            let told = found.iter().any(|(at, said)| *at == line && said.contains(message));
            assert!(told, "{steps}\nis not told {message:?} in line {line} but {found:?}");
        }
    }
    for (text, line, message) in [
        ("name: x\nstps: []\n", 2, "Property stps is not allowed"),
        ("vms:\n  a:\n    memroy: 1G\n", 3, "Property memroy is not allowed"),
        ("vms:\n  a:\n    memory: lots\n", 3, "A size is a whole number with K, M, G or T"),
        ("vms:\n  a:\n    accel: kmv\n", 3, "Valid values: \"kvm\", \"tcg\""),
        ("vms:\n  a:\n    oob: maybe\n", 3, "Expected `true` or `false`"),
        ("params:\n  a: {requird: true, default: 1}\n", 2, "Property requird is not allowed"),
        ("steps: '{{x}}'\n", 1, "Expected \"array\""),
        ("known_issue:\n  reason: x\n", 1, "Missing property \"match\""),
    ] {
        let found = editor.wrong(text);
        let told = found.iter().any(|(at, said)| *at == line && said.contains(message));
        assert!(told, "{text}\nis not told {message:?} in line {line} but {found:?}");
    }
}

fn templates_are_valid_in_place_of_values() {
    let mut editor = Editor::start();
    let text = "params: {n: 3, list: [1, 2], machine: {type: q35}, p: {required: true, one_of: [1]}}\n\
        matrix: {x: \"{{list}}\", y: [{a: 1}, 2], exclude: [{x: 1}]}\nrequires: {host: kvm, qemu: \"{{n}}\"}\n\
        vms: {a: , b: {memory: \"{{n}}M\", accel: \"{{n}}\", oob: \"{{n}}\", guest: {ticker: {dirty: \"{{n}}\"}}}}\n\
        steps:\n- wait: {vm: \"{{n}}\", ticks: \"{{n}}\"}\n- wait: \"{{n}}\"\n- \"{{n}}\"\n\
        - repeat: {times: \"{{n}}\", steps: \"{{n}}\"}\n- sleep: \"{{n}}s\"\n  timeout: \"{{n}}\"\n\
        - wait: {vm: a, exit: \"{{n}}\"}\n- wait: {process: x, exit: 0}\n- wait: {vm: a, exit: {signal: KILL}}\n\
        - failover: {survivor: \"{{n}}\", fence: \"{{n}}\", yank: \"{{n}}\"}\n- signal: {vm: a, send: \"{{n}}\"}\n\
        - memory: {vm: a, read: {address: 1M, size: \"{{n}}\"}}\n- check: {stderr: {vm: a}}\n\
        - yank: {vm: a, instances: \"{{n}}\"}\n- protect: {primary: a, secondary: b, checkpoints: \"{{n}}\", disks: \"{{n}}\"}\n\
        - qmp: {vm: a, execute: stop, expect: \"{{n}}\", within: \"{{n}}\"}\n- rebind: \"{{n}}\"\n\
        - check: {disk: \"{{n}}\", holds: {lines: \"{{n}}\"}}\n- repeat: {times: 1, index: \"{{n}}\", steps: []}\n";
    assert_eq!(editor.wrong(text), []);
}

fn completion_offers_every_valid_key() {
    let mut editor = Editor::start();
    let keys = |forms: &[Form]| forms.iter().map(Form::key).collect::<Vec<_>>();
    let (conditions, kinds) = (keys(Condition::FORMS), keys(CheckKind::FORMS));
    let actions: Vec<&str> = ACTIONS.iter().chain(FLOW).chain(MODIFIERS).copied().collect();
    for (text, keys) in [
        ("steps:\n  - |\n", &actions[..]),
        ("finally:\n  - |\n", &actions),
        ("hooks:\n  before:\n    - |\n", &actions),
        ("steps:\n  - repeat:\n      times: 2\n      steps:\n        - |\n", &actions),
        ("steps:\n  - wait:\n      |\n", &conditions),
        ("steps:\n  - wait:\n      vm: a\n      |\n", &conditions),
        ("steps:\n  - check:\n      vm: a\n      |\n", &kinds),
        ("|\n", &["extends", "matrix", "steps", "vms"]),
        ("vms:\n  a:\n    |\n", &["like", "machine", "memory", "guest"]),
        ("vms:\n  a:\n    accel: |\n", &["kvm", "tcg"]),
        ("steps:\n  - signal:\n      vm: a\n      send: |\n", &["KILL", "SEGV"]),
    ] {
        let offered = editor.completion(text);
        let missing: Vec<_> = keys.iter().filter(|key| !offered.contains(**key)).collect();
        assert!(missing.is_empty(), "{text}: {missing:?} are not among {offered:?}");
    }
}

fn hover_shows_the_text_of_the_reference() {
    let mut editor = Editor::start();
    let schema = lockstep_vm::schema::schema();
    let steps = schema["$defs"]["Step"]["properties"].as_object().unwrap();
    for action in ACTIONS {
        let doc = steps[*action]["markdownDescription"].as_str().unwrap();
        let shown = editor.hover(&format!("steps:\n  - |{action}: x\n"));
        assert!(shown.contains(doc), "{action}: {shown}");
    }
    for (text, doc) in [
        ("st|eps:\n- sleep: 1s\n", "The steps of the scenario."),
        ("steps:\n- wait: {vm: a, ti|cks: 1}\n", "The number of ticks that the built-in guest prints"),
        ("steps:\n- sleep: 1s\n  time|out: 3s\n", "The timeout of the step. Default: `30s`."),
        ("vms: {a: {memo|ry: 5M}}\n", "The guest's RAM: its size, at least `1M`, or a map"),
        ("vms: {a: {accel: k|vm}}\n", "The host's virtualisation, `/dev/kvm`."),
        ("steps:\n- repeat: {ti|mes: 2, steps: []}\n", "The number of rounds."),
    ] {
        let shown = editor.hover(text);
        assert!(shown.contains(doc), "{text}: {shown}");
    }
}

fn main() -> ExitCode {
    harness::main(
        file!(),
        &[
            once!(the_shipped_scenarios_have_no_errors, Reader(PROGRAM)),
            once!(errors_are_shown_at_their_line_with_a_sentence, Reader(PROGRAM)),
            once!(templates_are_valid_in_place_of_values, Reader(PROGRAM)),
            once!(completion_offers_every_valid_key, Reader(PROGRAM)),
            once!(hover_shows_the_text_of_the_reference, Reader(PROGRAM)),
        ],
    )
}
