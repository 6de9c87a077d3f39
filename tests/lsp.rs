//! `lockstep lsp`, driven over its standard input and output as an editor does.

mod common;
#[path = "support/language_server.rs"]
mod language_server;
#[path = "support/lsp_editor.rs"]
mod lsp_editor;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};

use common::Home;
use common::harness::{self, once};
use language_server::{Server, uri};
use lsp_editor::{Editor, at_the_bar};
use serde_json::{Value, json};

fn messages(found: &[Value]) -> Vec<&str> {
    found.iter().map(|found| found["message"].as_str().unwrap()).collect()
}

/// A place of `check --format json` as the protocol has it: from 0, in UTF-16.
fn range(place: &Value) -> Value {
    let text = std::fs::read_to_string(place["file"].as_str().unwrap()).unwrap();
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let position = |line: &str, column: &str| {
        let (line, column) = (place[line].as_u64().unwrap(), place[column].as_u64().unwrap());
        let content = text.split('\n').nth(line as usize - 1).unwrap_or_default();
        let before: String = content.chars().take(column as usize - 1).collect();
        json!({"line": line - 1, "character": before.encode_utf16().count()})
    };
    json!({"start": position("line", "column"), "end": position("end_line", "end_column")})
}

/// A diagnostic of `check --format json` as the protocol has it, and its file.
fn expected(found: &Value) -> (String, Value) {
    let file = |place: &Value| uri(Path::new(place["file"].as_str().unwrap()));
    let help = found["help"].as_str().map(|help| format!("\n{help}")).unwrap_or_default();
    let mut diagnostic = json!({
        "range": range(found),
        "severity": if found["severity"] == "error" { 1 } else { 2 },
        "code": found["code"],
        "source": "lockstep",
        "message": format!("{}{help}", found["message"].as_str().unwrap()),
    });
    if let Some(related) = found["related"].as_array() {
        let place = |place: &Value| json!({"location": {"uri": file(place), "range": range(place)}, "message": place["message"]});
        diagnostic["relatedInformation"] = related.iter().map(place).collect();
    }
    (file(found), diagnostic)
}

fn sorted(mut all: Vec<(String, Value)>) -> Vec<(String, Value)> {
    all.sort_by_key(|(uri, found)| format!("{uri} {found}"));
    all
}

fn the_diagnostics_are_those_of_check() {
    let mut editor = Editor::start();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let pattern = root.join("tests/bad/*.yaml").display().to_string();
    let mut files: Vec<PathBuf> = glob::glob(&pattern).unwrap().map(Result::unwrap).collect();
    let own =
        "name: \"ü𝄞\"\nvms: {a: }\nsteps:\n  - wait: {vm: a, ticks: 1, name: \"ü𝄞\", tik: 1}\n  - quit: ü\n";
    files.push(editor.home.write("own.yaml", own));
    let mut count = 0;
    for file in files {
        // A text that is not UTF-8 cannot be open.
        let Ok(text) = std::fs::read_to_string(&file) else {
            continue;
        };
        let path = file.display().to_string();
        let checked = editor.home.run(&["check", "--format", "json", "--seed", "0", &path]);
        let lines = checked.stdout.replace("HERE", &editor.here());
        let wanted = lines.lines().map(|line| expected(&serde_json::from_str(line).unwrap())).collect();
        let uri = uri(&file);
        editor.server.open(&uri, &text);
        // The diagnostics of other files come before the answer of a request.
        editor.server.about("textDocument/codeLens", &uri);
        let shown = editor.server.all_published().flat_map(|(uri, found)| {
            found.as_array().unwrap().iter().map(|found| (uri.clone(), found.clone())).collect::<Vec<_>>()
        });
        let (wanted, shown): (Vec<_>, Vec<_>) = (sorted(wanted), sorted(shown.collect()));
        assert!(!wanted.is_empty(), "{path}: {checked:?}");
        assert_eq!(shown, wanted, "{path}");
        count += 1;
        editor.server.close(&uri);
        editor.server.published(&uri, |it| it["diagnostics"] == json!([]));
    }
    assert!(count > 100, "{count}");
    editor.end();
}

fn places_are_in_the_message_if_the_editor_cannot_show_them() {
    let mut editor = Editor::with(&[], false);
    let (_, found) = editor.open("a.yaml", "vms: {a: }\nvms: {b: }\nsteps: []\n");
    assert_eq!(found[0]["code"], "LS003");
    assert!(found[0].get("relatedInformation").is_none(), "{found:?}");
    assert!(messages(&found)[0].contains("\nfirst here: /"), "{found:?}");
    editor.end();
}

const FINE: &str = "vms: {a: }\nsteps:\n  - wait: {vm: a, ticks: 3}\n";

fn while_one_types_the_newest_text_is_checked_last() {
    let mut editor = Editor::start();
    let (uri, found) = editor.open("a.yaml", FINE);
    assert!(found.is_empty(), "{found:?}");
    for version in 2..40 {
        editor.server.change(&uri, version, &format!("{FINE}  - quit: b{version}\n"));
    }
    let found = editor.server.published(&uri, |it| it["version"] == 39);
    assert!(found[0]["message"].as_str().unwrap().contains("`b39`"), "{found:?}");
    editor.server.change(&uri, 40, FINE);
    assert!(editor.server.published(&uri, |it| it["version"] == 40).is_empty());
    // The answer of a later request shows that nothing else was due.
    editor.server.about("textDocument/codeLens", &uri);
    assert!(editor.server.published(&uri, |_| true).is_empty());
    editor.end();
}

const TEMPLATE: &str = "params: {moment: {required: true}}\nvms: {a: {memory: 64M}}\n";

fn an_open_template_is_used_as_it_is_in_the_editor() {
    let mut editor = Editor::start();
    editor.home.write("templates/base.yaml", "not: {what: is open");
    let (base, found) = editor.open("templates/base.yaml", TEMPLATE);
    assert!(found.is_empty(), "{found:?}");
    let user = "extends: templates/base.yaml\nwith: {moment: x}\nsteps:\n  - wait: {vm: a, ticks: 1}\n";
    let (user, found) = editor.open("user.yaml", user);
    assert!(found.is_empty(), "{found:?}");
    // Its VM is renamed: the file that uses it is checked again.
    editor.server.change(&base, 2, &TEMPLATE.replace("{a: {", "{b: {"));
    let found = editor.server.published(&user, |it| it["diagnostics"] != json!([]));
    assert!(messages(&found)[0].contains("`a`"), "{found:?}");
    // A mistake in it that only the other file shows is shown in it.
    editor.server.change(&base, 3, &TEMPLATE.replace("memory", "memry"));
    let found = editor.server.published(&base, |it| it["version"] == 3 && it["diagnostics"] != json!([]));
    assert!(messages(&found)[0].contains("unknown key `memry`"), "{found:?}");
    // Without the other file, the mistake is not known.
    editor.server.close(&user);
    editor.server.published(&base, |it| it["diagnostics"] == json!([]));
    // Its own syntax is checked.
    editor.server.change(&base, 4, "params: {x\n");
    let found = editor.server.published(&base, |it| it["version"] == 4);
    assert_eq!(found[0]["code"], "LS002");
    editor.end();
}

fn a_file_that_appears_ends_the_error_that_it_is_missing() {
    let mut editor = Editor::start();
    let text = format!("extends: base.yaml\n{FINE}");
    let (user, found) = editor.open("user.yaml", &text);
    assert!(messages(&found)[0].contains("there is no file"), "{found:?}");
    let path = editor.home.write("base.yaml", "timeout: 60s\n");
    let changes = json!({"changes": [{"uri": uri(&path), "type": 1}]});
    editor.server.notify("workspace/didChangeWatchedFiles", changes);
    editor.server.published(&user, |it| it["diagnostics"] == json!([]));
    editor.end();
}

fn hover_shows_the_reference_of_a_key() {
    let mut editor = Editor::start();
    for (text, shown) in [
        ("vms: {a: }\nst|eps:\n  - sleep: 1s\n", "The steps of the scenario."),
        ("steps:\n  - wait: {vm: a, tic|ks: 3}\n", "The number of ticks that the built-in guest prints"),
        ("steps:\n  - wa|it: {vm: a, ticks: 3}\n", "Waits"),
        ("steps:\n  - sleep: 1s\n    timeout|: 3s\n", "Default: `30s`"),
        ("vms:\n  a:\n    machi|ne: q35\n", "machine"),
        ("# ü𝄞\nvms: {ü: {name: \"𝄞\", memo|ry: 64M}}\n", "The guest's RAM"),
        // In a text that is not valid YAML.
        ("vms: {a: {\nsteps:\n  - migrate: {fr|om: \n", "source"),
    ] {
        let found = editor.hover("a.yaml", text);
        assert!(found.contains(shown), "{text}: {found}");
    }
    assert_eq!(editor.hover("a.yaml", "# co|mment\nvms: {a: }\n"), "");
    editor.end();
}

fn hover_shows_the_values_of_a_template() {
    let mut editor = Editor::start();
    let head = "matrix: {size: [1, 2, 4], side: [x]}\nparams: {n: 7}\nvms: {a: }\nsteps:\n";
    let text = format!("{head}  - wait: {{vm: a, ticks: \"{{{{si|ze}}}}\"}}\n");
    let found = editor.hover("a.yaml", &text);
    assert!(found.contains("= `1` in the first cell") && found.contains("- `4`"), "{found}");
    let text = format!("{head}  - wait: {{vm: a, ticks: 1}}\n    name: \"{{{{size}}}}-{{{{n|}}}}\"\n");
    assert!(editor.hover("a.yaml", &text).contains("= `7`"));
    let of_loop = "  - repeat:\n      over: [3, 5]\n      as: k\n      steps:\n        - wait: {vm: a, ticks: \"{{k|}}\"}\n";
    let found = editor.hover("a.yaml", &format!("{head}{of_loop}"));
    assert!(
        found.contains("= `3` (3 times) in the first cell") && found.contains("- `5` (3 times)"),
        "{found}"
    );
    let late = "  - exec: {run: [echo, \"{{ca|se.dir}}\"]}\n";
    assert!(editor.hover("a.yaml", &format!("{head}{late}")).contains("only known when the step runs"));
    // In a text with errors, the values are those that it had without them.
    let text = format!("{head}  - wait: {{vm: a, ticks: \"{{{{n}}}}\"}}\n");
    let (uri, _) = editor.open("b.yaml", &text);
    editor.server.change(&uri, 2, &text.replace("vm: a", "vm: b").replace("n: 7", "n: 8"));
    let column = text.lines().last().unwrap().find("n}}").unwrap();
    let found = editor.server.at("textDocument/hover", &uri, (4, column));
    assert!(found["contents"]["value"].as_str().unwrap().contains("= `7`"), "{found}");
    // A template has the values of the open files that extend it.
    let (base, _) = editor.open("base.yaml", TEMPLATE);
    let user = "extends: base.yaml\nmatrix: {moment: [u, v]}\nsteps:\n  - wait: {vm: a, ticks: 1}\n";
    editor.open("user.yaml", user);
    editor.server.close(&base);
    let found = editor.hover("base.yaml", &format!("{TEMPLATE}description: \"{{{{mom|ent}}}}\"\n"));
    assert!(found.contains("= `u` in the first cell") && found.contains("- `v`"), "{found}");
    editor.end();
}

/// Each text, with some of the labels it must and must not have, separated by blanks.
const COMPLETIONS: &[(&str, &str, &str)] = &[
    ("|", "vms steps extends matrix", "wait machine"),
    ("vms: {a: }\n|", "steps params", "vms"),
    ("vms:\n  a:\n    |", "machine memory like", "steps wait"),
    ("vms:\n  a:\n    memory: 64M\n    m|\n", "machine", "memory"),
    ("vms:\n  a: {cpu: max, |", "machine memory", "cpu steps"),
    ("steps:\n  - |", "wait migrate hook name", "vms ticks"),
    ("steps:\n  |", "wait migrate", "vms"),
    ("vms: {a: }\nsteps:\n  - wait: {vm: a, ticks: 1}\n    |", "timeout name capture", "quit wait"),
    (
        "vms: {a: }\nsteps:\n  - wait:\n      vm: a\n      |\n  - sleep: 1s\n",
        "ticks event serial",
        "vm machine",
    ),
    ("steps:\n  - wait: {|}\n", "vm ticks event", "wait"),
    ("steps:\n  - wait: {ticks: 1, |}\n", "vm", "event ticks"),
    ("steps:\n  - signal: {vm: a, send: |}\n", "KILL STOP", "vm"),
    ("vms:\n  a:\n    start: |\n", "true false", "a"),
    // Names, in a text that cannot be parsed.
    (
        "vms: {first: , second: }\nroles: {primary: first}\nsteps:\n  - wait: {vm: |",
        "first second primary",
        "ticks",
    ),
    ("vms: {first: , second: }\nsteps:\n  - wait: {vm: [first, |", "first second", "ticks"),
    ("vms: {first: , second: }\nsteps:\n  - migrate: {from: first, to: |}\n  - quit", "first second", "from"),
    ("vms: {first: }\nsteps:\n  - start: |\n", "first", "wait"),
    ("vms: {first: {copies: 2}, second: {like: |}}\n", "first1 second", "wait"),
    ("links: {wire: {to: \"127.0.0.1:1\"}}\nsteps:\n  - link: {name: |", "wire", "state"),
    ("steps:\n  - exec: {run: [a], background: job}\n  - wait: {process: |", "job", "vm"),
    ("params: {size: 1}\nmatrix: {side: [x, y]}\ndescription: \"{{|\"\n", "size side run case eq", "wait"),
    ("params: {size: 1}\nvms: {a: {memory: \"{{si|}}\"}}\n", "size", "machine"),
    (
        "steps:\n  - wait: {vm: a, ticks: 1}\n    capture: seen\n  - set: {x: \"{{run.captures.|}}\"}\n",
        "run.captures.seen",
        "size",
    ),
    (
        "vms: {a: }\nsteps:\n  - set: {x: \"{{run.vm.a.|}}\"}\n",
        "run.vm.a.pid run.vm.a.version",
        "run.vm.a.alive",
    ),
    ("ports: [web]\nvms: {a: {args: [\"{{port.|}}\"]}}\n", "port.web", "web"),
    (
        "steps:\n  - repeat:\n      over: [1]\n      as: item\n      steps:\n        - set: {x: \"{{|}}\"}\n  - repeat: {over: [1], as: other, steps: []}\n",
        "item",
        "other",
    ),
];

fn completion_offers_what_fits_even_if_the_text_is_not_valid() {
    let mut editor = Editor::start();
    for (text, offered, refused) in COMPLETIONS {
        let labels = editor.labels("a.yaml", text);
        let missing: Vec<&str> = offered.split(' ').filter(|label| !labels.contains(*label)).collect();
        assert!(missing.is_empty(), "{text}: {missing:?} are not among {labels:?}");
        let wrong: Vec<&str> = refused.split(' ').filter(|label| labels.contains(*label)).collect();
        assert!(wrong.is_empty(), "{text}: {wrong:?} are among {labels:?}");
    }
    assert_eq!(editor.labels("a.yaml", "# |\nvms: {a: }\n"), BTreeSet::new());
    editor.end();
}

fn the_names_of_the_last_valid_text_are_offered() {
    let mut editor = Editor::start();
    let (uri, _) = editor.open("a.yaml", "vms: {first: , second: }\nsteps:\n  - sleep: 1s\n");
    let (text, place) = at_the_bar("vms: {first: , second: }\nsteps:\n  - wait: {vm: \"|\n  x\n");
    editor.server.change(&uri, 2, &text);
    let items = editor.server.at("textDocument/completion", &uri, place);
    let labels: Vec<&str> =
        items.as_array().unwrap().iter().map(|it| it["label"].as_str().unwrap()).collect();
    assert!(labels.contains(&"first") && labels.contains(&"second"), "{labels:?}");
    editor.end();
}

fn a_completion_replaces_the_word_and_adds_what_follows() {
    let mut editor = Editor::start();
    let mut edit = |text: &str, label: &str| {
        let items = editor.completion("a.yaml", text);
        let item = items.iter().find(|item| item["label"] == label).unwrap_or_else(|| panic!("{items:?}"));
        let range = &item["textEdit"]["range"];
        let columns =
            (range["start"]["character"].as_u64().unwrap(), range["end"]["character"].as_u64().unwrap());
        (columns, item["textEdit"]["newText"].as_str().unwrap().to_owned())
    };
    assert_eq!(edit("ste|", "steps"), ((0, 3), "steps: ".to_owned()));
    assert_eq!(edit("st|eps:\n", "steps"), ((0, 5), "steps".to_owned()));
    assert_eq!(edit("steps:\n  - qm|\n", "qmp"), ((4, 6), "qmp: {vm: $1, execute: $2}".to_owned()));
    assert_eq!(edit("vms:\n  a:\n    mem| 64M\n", "memory"), ((4, 7), "memory: ".to_owned()));
    assert_eq!(edit("steps:\n  |\n", "sleep"), ((2, 2), "- sleep: ".to_owned()));
    assert_eq!(edit("vms: {ü𝄞: {}, vm: {accel: \"t|\"}}\n", "tcg"), ((28, 29), "tcg".to_owned()));
    editor.end();
}

fn names_of_a_template_are_offered() {
    let mut editor = Editor::start();
    editor.home.write("templates/base.yaml", &format!("{TEMPLATE}steps:\n  - hook: in_colo\n"));
    let start = "extends: templates/base.yaml\n";
    assert!(editor.labels("user.yaml", &format!("{start}hooks:\n  |")).contains("in_colo"));
    assert!(editor.labels("user.yaml", &format!("{start}with: {{|}}\n")).contains("moment"));
    assert!(editor.labels("user.yaml", &format!("{start}matrix:\n  |")).contains("moment"));
    assert!(editor.labels("user.yaml", &format!("{start}steps:\n  - quit: |\n")).contains("a"));
    assert!(editor.labels("user.yaml", "extends: |\n").contains("templates/base.yaml"));
    editor.home.write("used.yaml", "params: {of_used: 1}\nsteps: []\n");
    let text = "steps:\n  - use: {file: templates/base.yaml}\n  - use: {file: used.yaml, with: {|}}\n";
    let labels = editor.labels("user.yaml", text);
    assert!(labels.contains("of_used") && !labels.contains("moment"), "{labels:?}");
    editor.end();
}

fn a_name_leads_to_its_declaration() {
    let mut editor = Editor::start();
    let base = "params:\n  moment: {required: true}\nvms:\n  a: {memory: 64M}\nsteps:\n  - hook: in_colo\n";
    editor.home.write("templates/base.yaml", base);
    editor.home.write("used.yaml", "params:\n  times: 1\nsteps:\n  - sleep: 1s\n    capture: nap\n");
    let whole = "extends: templates/base.yaml\nwith: {moment: 3}\nroles:\n  primary: a\nlinks:\n  wire: {to: \"127.0.0.1:1\"}\n\
                 vms:\n  b: {like: a}\nhooks:\n  in_colo:\n    - quit: b\n    - use: {file: used.yaml, with: {times: 2}}\n    \
                 - link: {name: wire, state: cut}\n    - set: {x: \"{{moment}} {{run.captures.nap}}\"}\n    - quit: primary\n";
    for (place, expected) in [
        ("extends: templates/ba|se.yaml", "base.yaml: params:"),
        ("with: {mom|ent", "base.yaml: moment: {required: true}"),
        ("like: |a", "base.yaml: a: {memory: 64M}"),
        ("in_co|lo:", "base.yaml: - hook: in_colo"),
        ("quit: |b", "user.yaml: b: {like: a}"),
        ("quit: pri|mary", "user.yaml: primary: a"),
        ("file: used.|yaml", "used.yaml: params:"),
        ("{times|: 2", "used.yaml: times: 1"),
        ("name: wi|re", "user.yaml: wire: {to: \"127.0.0.1:1\"}"),
        ("{{mom|ent}}", "base.yaml: moment: {required: true}"),
        ("captures.n|ap", "used.yaml: capture: nap"),
    ] {
        let text = whole.replace(&place.replacen('|', "", 1), place);
        assert_eq!(editor.definition("user.yaml", &text), [expected], "{place}");
    }
    // From the template to the open file that extends it.
    editor.home.write("user.yaml", whole);
    editor.open("user.yaml", whole);
    let found = editor.definition("templates/base.yaml", &base.replace("in_colo", "in_|colo"));
    assert_eq!(found, ["user.yaml: in_colo:"]);
    editor.end();
}

fn the_cases_are_counted_and_listed() {
    let mut editor = Editor::start();
    let text = "name: \"x/{{side}}\"\nmatrix: {side: [l, r]}\nvms: {a: }\nsteps:\n  - wait: {vm: a, ticks: 1}\n    name: it runs\n  - block:\n    - quit: a\n";
    let (uri, _) = editor.open("a.yaml", text);
    let lenses = editor.server.about("textDocument/codeLens", &uri);
    assert_eq!(lenses[0]["command"]["title"], "2 cases");
    assert_eq!(lenses[0]["range"]["start"], json!({"line": 0, "character": 0}));
    fn names(symbols: &Value, found: &mut Vec<String>) {
        for symbol in symbols.as_array().into_iter().flatten() {
            found.push(symbol["name"].as_str().unwrap().to_owned());
            names(&symbol["children"], found);
        }
    }
    let mut found = Vec::new();
    names(&editor.server.about("textDocument/documentSymbol", &uri), &mut found);
    let expected = ["2 cases", "x/l", "x/r", "vms", "a", "steps", "wait: it runs", "block", "quit: a"];
    assert_eq!(found, expected);
    let (template, _) = editor.open("base.yaml", TEMPLATE);
    let lenses = editor.server.about("textDocument/codeLens", &template);
    assert_eq!(lenses[0]["command"]["title"], "template; it needs moment");
    editor.end();
}

fn it_ends_when_the_editor_does() {
    // With `exit` alone, that is an error.
    let mut editor = Editor::start();
    editor.open("a.yaml", FINE);
    editor.server.notify("exit", Value::Null);
    assert_eq!(editor.server.ended_by_itself(), Some(1));
    editor.home.assert_nothing_is_left();
    // The editor dies in the middle of a check.
    let mut editor = Editor::start();
    let (uri, _) = editor.open("a.yaml", FINE);
    let many =
        format!("matrix: {{i: {{from: 1, to: 100, step: 1}}, j: {{from: 1, to: 50, step: 1}}}}\n{FINE}");
    editor.server.change(&uri, 2, &many);
    assert_eq!(editor.server.ended(), Some(1));
    editor.home.assert_nothing_is_left();
    // Before it is initialized.
    let home = Home::new();
    home.finish(home.lockstep(&["lsp", "--stdio"])).expect(1);
}

fn an_unknown_request_and_a_wrong_lockstep_toml_do_not_end_it() {
    let home = Home::new();
    home.write("lockstep.toml", "qemu = 3\n");
    let mut command = home.lockstep(&["lsp"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let server = Server::spawn(command, json!({}), &home.path(""), json!({}));
    let mut editor = Editor { server, home };
    let (_, found) = editor.open("a.yaml", FINE);
    assert!(found.is_empty(), "{found:?}");
    let notices = &editor.server.notices;
    assert!(notices.len() == 1 && notices[0].contains("lockstep.toml:1:"), "{notices:?}");
    editor.server.send(&json!({"jsonrpc": "2.0", "id": "x", "method": "no/such", "params": {}}));
    editor.server.send(&json!({"jsonrpc": "2.0", "method": "textDocument/didOpen", "params": 3}));
    editor.end();
}

fn a_qemu_of_the_project_is_used_for_checks_and_names() {
    let qemu = common::qemu(0);
    let home = Home::new();
    home.write("lockstep.toml", &format!("qemu = {:?}\n", qemu.path.display().to_string()));
    let mut command = home.lockstep(&["lsp"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let server = Server::spawn(command, json!({}), &home.path(""), json!({}));
    let mut editor = Editor { server, home };
    let (uri, found) =
        editor.open("b.yaml", "vms: {a: }\nsteps:\n  - qmp: {vm: a, execute: query-statuss}\n");
    assert!(messages(&found)[0].contains("has no QMP command `query-statuss`"), "{found:?}");
    editor.server.close(&uri);
    for (text, label) in [
        ("vms: {a: }\nsteps:\n  - qmp: {vm: a, execute: |}\n", "query-status"),
        ("vms: {a: }\nsteps:\n  - wait: {vm: a, event: |}\n", "RESUME"),
        ("vms: {a: }\nsteps:\n  - capabilities: {vm: a, on: [|]}\n", "x-colo"),
        ("vms: {a: {machine: |}}\n", "q35"),
    ] {
        let labels = editor.labels("a.yaml", text);
        assert!(labels.contains(label), "{text}: {labels:?}");
    }
    editor.end();
    // The editor dies while QEMU is asked.
    let mut editor = Editor::with(&["--qemu", &qemu.path.display().to_string()], true);
    assert_eq!(editor.server.ended(), Some(1));
    editor.home.assert_nothing_is_left();
}

fn wherever_a_text_ends_there_is_an_answer() {
    let mut editor = Editor::start();
    let whole = include_str!("data/colo_template.yaml");
    let text =
        format!("# ü𝄞\n{whole}finally:\n  - exec: {{run: [a, 'b\"'], background: \"{{{{moment}}}}\"}}\n");
    let (uri, _) = editor.open("a.yaml", &text);
    for (version, (at, _)) in text.char_indices().enumerate().skip(1).step_by(5) {
        let (start, line) = (text[..at].rfind('\n').map_or(0, |at| at + 1), text[..at].matches('\n').count());
        let place = (line, text[start..at].encode_utf16().count());
        editor.server.change(&uri, version + 1, &text[..at]);
        // A bug would be an error, on which this fails.
        editor.server.at("textDocument/completion", &uri, place);
        if version % 10 == 1 {
            editor.server.at("textDocument/hover", &uri, place);
            editor.server.at("textDocument/definition", &uri, place);
            editor.server.about("textDocument/documentSymbol", &uri);
        }
    }
    editor.end();
}

fn main() -> ExitCode {
    harness::main(
        file!(),
        &[
            once!(the_diagnostics_are_those_of_check),
            once!(places_are_in_the_message_if_the_editor_cannot_show_them),
            once!(while_one_types_the_newest_text_is_checked_last),
            once!(an_open_template_is_used_as_it_is_in_the_editor),
            once!(a_file_that_appears_ends_the_error_that_it_is_missing),
            once!(hover_shows_the_reference_of_a_key),
            once!(hover_shows_the_values_of_a_template),
            once!(completion_offers_what_fits_even_if_the_text_is_not_valid),
            once!(the_names_of_the_last_valid_text_are_offered),
            once!(wherever_a_text_ends_there_is_an_answer),
            once!(a_completion_replaces_the_word_and_adds_what_follows),
            once!(names_of_a_template_are_offered),
            once!(a_name_leads_to_its_declaration),
            once!(the_cases_are_counted_and_listed),
            once!(it_ends_when_the_editor_does),
            once!(an_unknown_request_and_a_wrong_lockstep_toml_do_not_end_it),
            once!(a_qemu_of_the_project_is_used_for_checks_and_names, Qemu(0)),
        ],
    )
}
