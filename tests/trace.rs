//! `trace` of a VM, on real QEMUs.

mod common;

use std::process::ExitCode;

use common::harness::{self, each};
use common::{Home, Qemu, Results};
use lockstep_vm::event::{Verdict, What};

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

fn main() -> ExitCode {
    harness::main(
        file!(),
        &[
            each!(trace_events_are_in_the_stream_until_the_end_of_the_vm_with_their_own_times),
            each!(a_pattern_without_an_event_and_a_qemu_without_a_log_are_named),
        ],
    )
}
