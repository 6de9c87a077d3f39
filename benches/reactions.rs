//! How long QEMU waits for the runner, in the eight failovers of `scenarios/colo/failover.yaml`, and what the runner uses.
//!
//! `cargo bench --bench reactions`. All figures are of one run, and each limit is a ratio of two of them, except for the
//! single reactions and the memory. It prints them, names the limits that are exceeded, and fails if there are any.
//! `LOCKSTEP_QEMU` is the QEMU (default: the newest below `.qemu`, else the one on the `PATH`).

mod support;

use std::collections::HashMap;
use std::path::Path;
use std::process::ExitCode;

use lockstep_vm::event::{Event, Turns, What};
use support::{lockstep, watch};

/// A reaction in a case.
struct Reaction {
    seconds: f64,
    /// The case, the step that was running at its end, and the time since the start of the run.
    place: String,
}

/// A case so far.
#[derive(Default)]
struct Case {
    turns: Turns,
    name: String,
    /// When each step began, and its title.
    steps: Vec<(f64, String)>,
}

/// What the event stream says.
#[derive(Default)]
struct Heard {
    reactions: Vec<Reaction>,
    /// The wall time of the cases, in seconds.
    wall: f64,
}

fn main() -> ExitCode {
    // `cargo test --benches` runs it as well, and has not the time.
    if std::env::args().any(|argument| argument == "--test") {
        return ExitCode::SUCCESS;
    }
    let reports = tempfile::tempdir().unwrap();
    let scenario = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios/colo/failover.yaml");
    let folder = reports.path().display().to_string();
    let child = lockstep(&["-j", "1", "--reports", &folder, scenario]).spawn().unwrap();
    let (ended, used) = watch(child);
    assert!(ended.success(), "the run ended with {ended}");
    let mut heard = hear(&reports.path().join("events.jsonl"));
    heard.reactions.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
    let number = heard.reactions.len();
    let rank =
        |share: f64| heard.reactions[((number as f64 * share).ceil() as usize).max(1) - 1].seconds * 1e3;
    let sum: f64 = heard.reactions.iter().map(|reaction| reaction.seconds).sum();
    println!("{number} reactions in {:.1} s; the longest:", heard.wall);
    for Reaction { seconds, place } in heard.reactions.iter().rev().take(10) {
        println!("  {:7.2} ms  {place}", seconds * 1e3);
    }
    let percent = |part: f64, whole: f64| 100.0 * part / whole;
    let limits = [
        ("runner_wait, of the wall time of the cases", percent(sum, heard.wall), 2.0, "%"),
        ("a reaction, the median", rank(0.5), 1.0, "ms"),
        ("a reaction, the 99th percentile", rank(0.99), 5.0, "ms"),
        (
            "processor time of the runner, of that of QEMU",
            percent(used.own as f64, used.children as f64),
            2.0,
            "%",
        ),
        ("memory of the runner", used.memory as f64 / 1e3, 30.0, "MB"),
    ];
    let mut code = ExitCode::SUCCESS;
    for (what, value, limit, unit) in limits {
        let exceeds = value > limit;
        let verdict = if exceeds { "EXCEEDED" } else { "kept" };
        println!("{what:48} {value:8.3} {unit:2}  limit {limit} {unit}: {verdict}");
        if exceeds {
            code = ExitCode::FAILURE;
        }
    }
    code
}

/// Reads the stream up to the end of each case's steps: its metrics come before the VMs are stopped.
fn hear(stream: &Path) -> Heard {
    let mut heard = Heard::default();
    let mut cases: HashMap<usize, Case> = HashMap::new();
    for line in std::fs::read_to_string(stream).unwrap().lines() {
        let Event { at, case, what } = serde_json::from_str(line).unwrap();
        let Some(number) = case else { continue };
        let Case { turns, name, steps } = cases.entry(number).or_default();
        turns.take(at, &what);
        match what {
            What::CaseStarted { name: started, .. } => *name = started,
            What::StepBegan { title, .. } => steps.push((at, title)),
            What::Metric { name: metric, value, .. } if metric == "runner_wait" => {
                let reactions = turns.reactions();
                let sum: f64 = reactions.iter().map(|(from, until)| until - from).sum();
                assert!((sum - value).abs() < 1e-6, "the stream of {name} has {sum} s, its metric {value} s");
                heard.reactions.extend(reactions.into_iter().map(|(from, until)| {
                    let step = steps.iter().rfind(|(began, _)| *began <= until);
                    let step = step.map_or("before the first step", |(_, title)| title);
                    Reaction { seconds: until - from, place: format!("{name}, {step}, at {until:.3} s") }
                }));
            }
            What::CaseEnded(end) => heard.wall += end.seconds,
            _ => {}
        }
    }
    heard
}
