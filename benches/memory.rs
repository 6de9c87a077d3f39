//! The runner's peak memory in a run of many short cases, its reports included. It must stay below 100 MB.
//!
//! `cargo bench --bench memory`; `LOCKSTEP_BENCH_CASES` is their number (default 1000), `LOCKSTEP_QEMU` the QEMU
//! (default: the newest below `.qemu`, else the one on the `PATH`).

mod support;

use std::time::Instant;

use support::{Used, lockstep, watch};

/// In kB, as `/proc/PID/status` has it.
const LIMIT: u64 = 100_000;

fn main() {
    // `cargo test --benches` runs it as well, and has not the time.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let cases: usize = std::env::var("LOCKSTEP_BENCH_CASES").map_or(1000, |cases| cases.parse().unwrap());
    let small = peak(cases / 10);
    let whole = peak(cases);
    println!(
        "the runner's peak memory: {:.1} MB for {cases} cases, {:.2} times that of a tenth of them",
        whole as f64 / 1e3,
        whole as f64 / small as f64
    );
    assert!(whole < LIMIT, "{whole} kB is not below {LIMIT} kB");
}

/// The high-water mark of the runner's memory in kB in a run of so many cases, without that of the QEMUs.
fn peak(cases: usize) -> u64 {
    let folder = tempfile::tempdir().unwrap();
    let (scenario, reports) = (folder.path().join("many.yaml"), folder.path().join("reports"));
    let text = format!(
        "name: \"many/{{{{n}}}}\"\nmatrix: {{n: {{from: 1, to: {cases}, step: 1}}}}\n\
         vms: {{vm: {{memory: 32M, guest: {{ticker: {{dirty: 1M}}}}}}}}\n\
         steps:\n  - wait: {{vm: vm, ticks: 3}}\n  - check: {{vm: vm, memory: consistent}}\n  - quit: vm\n"
    );
    std::fs::write(&scenario, text).unwrap();
    let mut command = lockstep(&["-j", "2", "--reports"]);
    command.arg(&reports).arg(&scenario);
    let began = Instant::now();
    let (ended, Used { memory: peak, .. }) = watch(command.spawn().unwrap());
    assert!(ended.success(), "the run ended with {ended}");
    let size = |name: &str| std::fs::metadata(reports.join(name)).map_or(0, |file| file.len());
    println!(
        "{cases:5} cases in {:.0} s: {:.1} MB; events.jsonl {} kB, junit.xml {} kB, index.html {} kB",
        began.elapsed().as_secs_f64(),
        peak as f64 / 1e3,
        size("events.jsonl") / 1000,
        size("junit.xml") / 1000,
        size("index.html") / 1000
    );
    peak
}
