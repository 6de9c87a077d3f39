//! Traces of real QEMUs: `trace` of a VM, and `lockstep report --format perfetto` as another program reads it.

mod common;

use std::path::Path;
use std::process::{Command, ExitCode, Output};

use common::harness::{self, each, once};
use common::{Home, Qemu, Results, qemu};
use lockstep_vm::event::{Event, Verdict, What};
use serde_json::{Map, Value, json};

/// The trace events of a VM, which are all before its end: their names, texts and times.
fn traces(told: &Results, of: &str) -> Vec<(String, String, f64)> {
    let mut ended = false;
    let mut traces = Vec::new();
    for event in &told.events {
        match &event.what {
            What::Trace { vm, name: Some(name), text, emitted: Some(emitted) } if vm == of => {
                assert!(!ended, "a trace event after the end of `{of}`");
                traces.push((name.clone(), text.clone(), *emitted));
            }
            What::Trace { vm, text, .. } if vm == of => panic!("`{text}` was not read"),
            What::VmExited { vm, .. } => ended |= vm == of,
            _ => {}
        }
    }
    traces
}

fn trace_events_are_in_the_stream_until_the_end_of_the_vm_with_their_own_times(qemu: &Qemu) {
    let home = Home::new();
    let path = |file: &str| format!("{}/tests/words/{file}.yaml", env!("CARGO_MANIFEST_DIR"));
    home.run_on(qemu, &[&path("trace")]).expect(0);
    let told = home.results();
    let of_source = traces(&told, "source");
    let states: Vec<&str> = of_source.iter().map(|(_, text, _)| text.as_str()).collect();
    assert!(of_source.iter().all(|(name, ..)| name == "migrate_set_state"), "{of_source:?}");
    assert!(states.starts_with(&["new state setup", "new state active"]), "{states:?}");
    assert_eq!(states.last(), Some(&"new state completed"));
    let of_destination = traces(&told, "destination");
    let has = |name: &str| of_destination.iter().any(|(known, ..)| known == name);
    assert!(has("loadvm_state_setup") && has("migrate_set_state"), "{of_destination:?}");
    // QEMU writes it just before it ends.
    assert_eq!(of_destination.last().unwrap().0, "qmp_exit_quit");
    assert_eq!(traces(&told, "witness"), []);
    // The times are those of QEMU: in order, and between the command and the end as the runner saw them.
    let began = told.events.iter().find(
        |event| matches!(&event.what, What::QmpCommand { message, .. } if message["execute"] == "migrate"),
    );
    let times: Vec<f64> = of_source.iter().map(|(.., time)| *time).collect();
    assert!(times.is_sorted(), "{times:?}");
    let (began, end) = (began.unwrap().at, told.events.last().unwrap().at);
    let slack = 0.5;
    assert!(times[0] > began - slack && *times.last().unwrap() < end + slack, "{began} {times:?} {end}");
    home.assert_nothing_is_left();
}

fn a_pattern_without_an_event_and_a_qemu_without_a_log_are_named(qemu: &Qemu) {
    let home = Home::new();
    let path = |file: &str| format!("{}/tests/words/{file}.yaml", env!("CARGO_MANIFEST_DIR"));
    let said = home.run_on(qemu, &[&path("trace-control")]).expect(2).stderr;
    let wrong = format!("QEMU {} has no trace event `migrate_sot_*`", qemu.version);
    assert!(said.contains(&wrong) && said.contains("trace-control.yaml:4:33"), "{said}");
    assert!(said.contains("did you mean `migrate_set_*`?"), "{said}");
    // Without its standard error it is as if it were built without the backend.
    let script = format!("#!/bin/sh\nexec '{}' \"$@\" 2>/dev/null\n", qemu.path.display());
    let mute = home.write("qemu-mute", &script);
    std::fs::set_permissions(&mute, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mute = mute.display().to_string();
    for file in ["trace", "trace-control"] {
        home.run(&["run", "--accel", "tcg", "--qemu", &mute, &path(file)]).expect(0);
        let (_, verdict, reason) = home.results().verdicts().remove(0);
        let reason = reason.unwrap();
        assert_eq!(verdict, Verdict::Skip);
        assert!(reason.ends_with("is built without the trace backend `log`"), "{reason}");
    }
}

/// A reader of trace-event JSON.
const READER: &str = ".tools/node/node_modules/@tracerbench/trace-model";

/// A migration whose first attempt fails at its end; one of the VMs has a trace.
const MIGRATED: &str = r#"
name: migrated
vms:
  source: {memory: 32M, trace: [migrate_set_state]}
  destination: {like: source, incoming: defer, trace: []}
steps:
  - migrate: {from: source, to: destination}
  - wait: {vm: [source, destination], migration: completed}
  - exec: {sh: "test -e $HERE/again || { touch $HERE/again; exit 5; }"}
"#;

/// What the reader makes of a file.
fn read(file: &Path) -> Output {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut reader = Command::new("node");
    reader.arg(root.join("tests/readers/trace_model_reads.mjs")).arg(root.join(".tools/node")).arg(file);
    reader.output().unwrap()
}

/// The processes that an attempt must have: that of the case and those of its VMs, with the events of their threads.
/// The spans of run states and migration statuses are not in it.
fn processes(attempt: usize, events: &[Event]) -> Vec<Value> {
    let count = |is: &dyn Fn(&What) -> bool| events.iter().filter(|event| is(&event.what)).count();
    let threads = |all: &[(&str, &[(&str, usize)])]| -> Value {
        let counted = |counts: &[(&str, usize)]| -> Map<String, Value> {
            let some = counts.iter().filter(|(_, count)| *count > 0);
            some.map(|(kind, count)| ((*kind).to_owned(), json!(count))).collect()
        };
        all.iter().map(|(name, counts)| json!({"name": name, "events": counted(counts)})).collect()
    };
    let title = format!("migrated, attempt {attempt}");
    let notes = count(&|what| matches!(what, What::Note { .. }));
    let steps = count(&|what| matches!(what, What::StepBegan { .. }));
    let case = threads(&[("notes", &[("i note", notes)]), ("steps", &[("X step", steps)])]);
    let of_vm = |own: &str| {
        let processes = count(
            &|what| matches!(what, What::VmSpawned { vm, .. } | What::VmExited { vm, .. } if vm == own),
        );
        let commands = count(&|what| matches!(what, What::QmpCommand { vm, .. } if vm == own));
        let events = count(&|what| matches!(what, What::QmpEvent { vm, .. } if vm == own));
        let lines = count(&|what| matches!(what, What::SerialLine { vm, .. } if vm == own));
        let traces = count(&|what| matches!(what, What::Trace { vm, .. } if vm == own));
        assert!(processes == 2 && commands > 0 && events > 0 && (own == "source") == (traces > 0), "{own}");
        threads(&[
            ("run state", &[("i process", processes)]),
            ("migration", &[]),
            ("checkpoints", &[]),
            ("QMP", &[("b qmp", commands), ("e qmp", commands)]),
            ("events", &[("i event", events)]),
            ("serial", &[("i serial", lines)]),
            ("trace events", &[("i trace", traces)]),
        ])
    };
    let vm = |vm: &str| json!({"name": format!("{vm}: {title}"), "threads": of_vm(vm)});
    let mut vms = vec![vm("source"), vm("destination")];
    let is_start = |event: &&Event| matches!(event.what, What::VmSpawned { .. });
    let first = events.iter().find(is_start).map(|event| &event.what);
    if matches!(first, Some(What::VmSpawned { vm, .. }) if vm == "destination") {
        vms.reverse();
    }
    [vec![json!({"name": title, "threads": case})], vms].concat()
}

fn another_program_reads_the_processes_threads_and_events_of_the_perfetto_file() {
    let home = Home::new();
    home.write("migrated.yaml", MIGRATED);
    home.run_on(qemu(7), &["migrated.yaml", "--retries", "1"]).expect(1);
    home.run(&["report", "reports", "--format", "perfetto", "-o", "trace.json"]).expect(0);
    let file = home.path("trace.json");
    let output = read(&file);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut told: Value = serde_json::from_slice(&output.stdout).unwrap();
    // Each run state and status is a span; how many there are is for QEMU to say.
    let mut spans = 0;
    for thread in told["processes"]
        .as_array_mut()
        .unwrap()
        .iter_mut()
        .flat_map(|one| one["threads"].as_array_mut().unwrap())
    {
        let events = thread["events"].as_object_mut().unwrap();
        spans += usize::from(events.remove("X state").is_some());
    }
    assert_eq!(spans, 8, "run state and migration of two VMs in two attempts: {told:#}");
    let events = home.results().events;
    let ended = |event: &Event| matches!(event.what, What::AttemptEnded { .. });
    let cut = events.iter().position(ended).unwrap();
    let expected = [processes(1, &events[..cut]), processes(2, &events[cut..])].concat();
    assert_eq!(told["processes"], json!(expected));
    let last = events.last().unwrap().at;
    let end = told["end"].as_f64().unwrap();
    assert!(end > 0.0 && end <= last + 0.1, "the trace ends at {end} s, the run at {last} s");
    // It sees an event that is missing, and a file that is cut off.
    let text = home.read("trace.json");
    let line = text.lines().find(|line| line.contains("new state active")).unwrap();
    home.write("less.json", &text.replacen(&format!("{line}\n"), "", 1));
    let less: Value = serde_json::from_slice(&read(&home.path("less.json")).stdout).unwrap();
    let count = |told: &Value| told["events"]["i trace"].as_u64().unwrap();
    assert_eq!(count(&less), count(&told) - 1);
    home.write("cut.json", &text[..text.len() / 2]);
    assert!(!read(&home.path("cut.json")).status.success());
}

fn main() -> ExitCode {
    harness::main(
        file!(),
        &[
            each!(trace_events_are_in_the_stream_until_the_end_of_the_vm_with_their_own_times),
            each!(a_pattern_without_an_event_and_a_qemu_without_a_log_are_named),
            once!(
                another_program_reads_the_processes_threads_and_events_of_the_perfetto_file,
                Qemu(7),
                Reader(READER)
            ),
        ],
    )
}
