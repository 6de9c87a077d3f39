//! 100,000 cases, expanded, divided and listed: `lockstep list --shard 1/64`. It must take less than 5 seconds and 500 MB.
//!
//! `cargo bench --bench many`; `LOCKSTEP_BENCH_CASES` is the number of cases, rounded to a multiple of 1000.

use std::io::Read as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const TIME: Duration = Duration::from_secs(5);
/// In kB, as `/proc/PID/status` has it.
const MEMORY: u64 = 500_000;

fn main() {
    // `cargo test --benches` runs it as well, and has not the time.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let cases = std::env::var("LOCKSTEP_BENCH_CASES").map_or(100_000, |cases| cases.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let scenario = folder.path().join("many.yaml");
    let text = format!(
        "name: \"many/{{{{memory}}}}/{{{{ticks}}}}/{{{{n}}}}\"\n\
         matrix:\n  memory: {{from: 32, to: 41, step: 1}}\n  ticks: {{from: 1, to: 100, step: 1}}\n\
         \x20 n: {{from: 1, to: {}, step: 1}}\n\
         vms:\n  source: {{memory: \"{{{{memory}}}}M\"}}\n  destination: {{like: source, incoming: defer}}\n\
         steps:\n- wait: {{vm: source, ticks: \"{{{{ticks}}}}\"}}\n- migrate: {{from: source, to: destination}}\n\
         - wait: {{vm: source, migration: completed}}\n- wait: {{vm: destination, ticks: 3}}\n\
         - check: {{vm: destination, memory: consistent}}\n",
        cases / 1000
    );
    std::fs::write(&scenario, text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_lockstep"));
    command.args(["list", "--shard", "1/64"]).arg(&scenario).stdout(Stdio::piped());
    let began = Instant::now();
    let mut child = command.spawn().unwrap();
    let mut out = child.stdout.take().unwrap();
    let mut listed = vec![0];
    // The first line comes when all cases are known, which is when the most memory is used.
    out.read_exact(&mut listed).unwrap();
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    out.read_to_end(&mut listed).unwrap();
    assert!(child.wait().unwrap().success());
    let took = began.elapsed();
    let mark = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak: u64 = mark.and_then(|mark| mark.trim().trim_end_matches(" kB").parse().ok()).unwrap();
    let lines = String::from_utf8(listed).unwrap().lines().count();
    println!("{cases} cases, {lines} of them listed, in {took:.2?}, with {:.0} MB", peak as f64 / 1e3);
    assert!((cases / 64..=cases / 64 + 1).contains(&lines), "{lines} is not a part of 64");
    assert!(took < TIME && peak < MEMORY, "more than {TIME:?} or {MEMORY} kB");
}
