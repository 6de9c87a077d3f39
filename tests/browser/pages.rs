//! Pages of made-up runs.

use std::path::PathBuf;

use lockstep_vm::event::{CaseEnd, Event, STREAM_VERSION, StepOutcome, Subscriber as _, Verdict, What};
use lockstep_vm::report::Html;
use serde_json::{Value, json};

use crate::common::Home;

pub(crate) fn event(at: f64, case: Option<usize>, what: What) -> Event {
    Event { at, case, what }
}

pub(crate) fn started(cases: usize) -> Event {
    let started = json!({"event": "run_started", "version": STREAM_VERSION, "lockstep": "0.1.0",
        "time": "2026-03-01T12:00:00Z", "cases": cases, "command": ["lockstep", "run"], "seed": 7});
    event(0.0, None, serde_json::from_value(started).unwrap())
}

fn step(step: usize, title: &str) -> What {
    What::StepBegan { step, title: title.into(), place: format!("made.yaml:{}:5", 3 + step), finally: false }
}

fn step_ended(step: usize, failure: Option<&str>) -> What {
    let outcome = failure.map_or(StepOutcome::Done, |_| StepOutcome::Failed);
    What::StepEnded { step, outcome, message: failure.map(str::to_owned), seconds: 0.1 }
}

/// A COLO case with four checkpoints and a failover; every tenth fails.
pub(crate) fn case(number: usize) -> Vec<Event> {
    let t = number as f64;
    let fails = number % 10 == 3;
    let mut events = Vec::new();
    let mut add = |at: f64, what: What| events.push(event(t + at, Some(number), what));
    let began = json!({"event": "case_started", "name": format!("made/{number}"), "file": "made.yaml",
        "axes": ["tens", "ones"], "params": {"tens": number / 10 % 10, "ones": number % 10}, "steps": 2});
    add(0.0, serde_json::from_value(began).unwrap());
    for vm in ["primary", "secondary"] {
        let argv = vec!["qemu-system-x86_64".into(), "-name".into(), vm.into()];
        add(0.01, What::VmSpawned { vm: vm.into(), pid: 1, version: Some("11.1.0".into()), argv });
    }
    add(0.02, step(1, "wait secondary: checkpoints"));
    let qmp = |at: f64, name: &str, status: Option<&str>| What::QmpEvent {
        vm: "primary".into(),
        message: json!({"event": name, "data": {"status": status},
            "timestamp": {"seconds": 1000 + (t + at) as u64, "microseconds": (((t + at).fract()) * 1e6) as u64}}),
    };
    add(0.1, qmp(0.1, "MIGRATION", Some("colo")));
    for round in 0..4 {
        let at = 0.2 + 0.1 * f64::from(round);
        add(at, qmp(at, "STOP", None));
        add(at + 0.02, qmp(at + 0.02, "RESUME", None));
        let line = format!("tick {:010} {:010}", 128 * round, 128 * round);
        add(at + 0.05, What::SerialLine { vm: "primary".into(), line });
    }
    add(0.65, step_ended(1, None));
    add(0.66, step(2, "failover to primary"));
    for (id, name) in ["yank", "x-colo-lost-heartbeat"].into_iter().enumerate() {
        let at = 0.67 + 0.01 * id as f64;
        add(at, What::QmpCommand { vm: "primary".into(), message: json!({"execute": name, "id": id}) });
        add(at + 0.001, What::QmpReply { vm: "primary".into(), message: json!({"return": {}, "id": id}) });
    }
    add(
        0.72,
        What::SerialLine {
            vm: "primary".into(),
            line: "tick 0000000999 0000000000 0000000040 0000000999 0000000000 0000000040".into(),
        },
    );
    let why = format!("waited {number}s for 3 ticks of `primary`; saw 1 & <b>no</b> more");
    add(0.8, step_ended(2, fails.then_some(why.as_str())));
    let mut end = CaseEnd::new(if fails { Verdict::Fail } else { Verdict::Pass }, fails.then_some(why), 0.9);
    if fails {
        end.place = Some("made.yaml:5:5".into());
        end.source = Some("     4 | steps:\n>    5 | - failover: primary".into());
        end.evidence = Some("VM `primary`: running".into());
    }
    add(0.9, What::CaseEnded(Box::new(end)));
    events
}

pub(crate) fn page(home: &Home, cases: usize) -> PathBuf {
    let path = home.path("index.html");
    let mut html = Html::new(&path);
    html.take(&started(cases)).unwrap();
    (0..cases).flat_map(case).for_each(|event| html.take(&event).unwrap());
    html.take(&event(cases as f64, None, What::RunEnded { interrupted: false, seconds: cases as f64 }))
        .unwrap();
    html.finish().unwrap();
    path
}

/// A case that fails, and passes in a second attempt, with an event that was seen 380 ms late in the first.
pub(crate) fn flaky(home: &Home) -> PathBuf {
    let path = home.path("index.html");
    let mut html = Html::new(&path);
    let mut take = |at: f64, what: Value| {
        let case = (what["event"] != "run_started" && what["event"] != "run_ended").then_some(0);
        html.take(&event(at, case, serde_json::from_value(what).unwrap())).unwrap();
    };
    let qmp = |emitted: f64, name: &str| {
        let micros = (emitted.fract() * 1e6).round();
        json!({"event": "qmp_event", "vm": "a", "message": {"event": name,
            "timestamp": {"seconds": 5000.0 + emitted.floor(), "microseconds": micros}}})
    };
    let command = |event: &str, message: Value| json!({"event": event, "vm": "a", "message": message});
    let failed = || json!({"verdict": "fail", "reason": "too slow", "seconds": 2.0});
    take(0.0, serde_json::to_value(&started(1).what).unwrap());
    let name = format!("long/{}", "name_".repeat(40));
    take(
        0.0,
        json!({"event": "case_started", "name": name, "file": "f.yaml", "steps": 1,
        "params": {"text": "y".repeat(300)}}),
    );
    take(0.5, command("qmp_command", json!({"execute": "cont", "id": 1})));
    take(1.0, qmp(1.0, "RESUME"));
    take(1.2, json!({"event": "serial_line", "vm": "a", "line": "hello"}));
    take(1.5, qmp(1.12, "STOP"));
    take(2.0, merged(failed(), &json!({"event": "attempt_ended", "attempt": 1})));
    take(2.5, command("qmp_command", json!({"execute": "stop", "id": 1})));
    take(2.6, command("qmp_reply", json!({"return": {}, "id": 1})));
    take(4.0, merged(failed(), &json!({"event": "case_ended", "verdict": "flaky"})));
    take(4.0, json!({"event": "run_ended", "interrupted": false, "seconds": 4.0}));
    html.finish().unwrap();
    path
}

pub(crate) fn merged(mut one: Value, other: &Value) -> Value {
    one.as_object_mut().unwrap().extend(other.as_object().unwrap().clone());
    one
}
