//! From text to cases: what the expansion of a matrix costs, by the side of what reading its text costs.
//!
//! `cargo bench --bench expand`. Beside the times it prints two ratios, which say more than times do on a machine that
//! is busy: a cell among 10,000 against a cell among 100, and 10,000 cells against plain YAML reading of a text of as
//! many values, written out.

use std::hint::black_box;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput};
use lockstep_vm::scenario::{Options, load_texts, to_yaml};
use lockstep_vm::template::NoVersions;

/// A scenario of `side` times `side` cells: two VMs, twelve steps, some of them with templates.
fn scenario(side: usize) -> String {
    let values = |from: usize| (from..from + side).map(|n| n.to_string()).collect::<Vec<_>>().join(", ");
    format!(
        "name: \"bench/{{{{delay}}}}/{{{{memory}}}}\"\n\
         matrix:\n  delay: [{}]\n  memory: [{}]\n\
         params: {{machine: q35, transport: {{default: plain, one_of: [plain, multifd]}}}}\n\
         vms:\n  primary: {{machine: \"{{{{machine}}}}\", memory: \"{{{{memory}}}}M\"}}\n\
         \x20 secondary: {{like: primary, incoming: defer}}\n\
         steps:\n\
         - capabilities: {{vm: [primary, secondary], on: [x-colo]}}\n\
         - when: \"{{{{eq transport 'multifd'}}}}\"\n  capabilities: {{vm: [primary, secondary], on: [multifd]}}\n\
         - parameters: {{vm: primary, set: {{x-checkpoint-delay: \"{{{{delay}}}}\"}}}}\n\
         - wait: {{vm: primary, ticks: 1}}\n\
         - migrate: {{from: primary, to: secondary}}\n\
         - wait: {{vm: primary, migration: colo}}\n\
         - wait: {{vm: secondary, event: RESUME}}\n\
         - repeat: {{times: 3, steps: [{{wait: {{vm: secondary, checkpoints: 1}}}}]}}\n\
         - failover: {{survivor: secondary, fence: false}}\n\
         - wait: {{vm: secondary, ticks: 3}}\n\
         - check: {{vm: secondary, memory: consistent}}\n",
        values(100),
        values(64),
    )
}

fn expand(text: &str, cells: usize) -> lockstep_vm::scenario::Loaded {
    let texts = [(PathBuf::from("bench.yaml"), text.to_owned())];
    let loaded = load_texts(&texts, &Options::default(), &NoVersions);
    assert!(!loaded.diagnostics.has_errors(), "{}", loaded.diagnostics.render(false));
    assert_eq!(loaded.cases.len(), cells);
    loaded
}

/// The shortest of a few runs: what it costs when nothing is in the way.
fn shortest<T>(mut run: impl FnMut() -> T) -> Duration {
    let once = || {
        let began = Instant::now();
        let kept = black_box(run());
        let took = began.elapsed();
        drop(kept);
        took
    };
    std::iter::repeat_with(once).take(5).min().unwrap_or_default()
}

fn ratios() {
    let (few, many) = (scenario(10), scenario(100));
    let of_few = shortest(|| expand(&few, 100));
    let of_many = shortest(|| expand(&many, 10_000));
    let written: String = expand(&many, 10_000).cases.iter().map(|case| to_yaml(case) + "---\n").collect();
    let plain = shortest(|| {
        let documents = written.split_terminator("---\n");
        documents.map(|one| serde_yaml::from_str::<serde_json::Value>(one).unwrap()).collect::<Vec<_>>()
    });
    let per_cell = |all: Duration, cells: u32| all.as_secs_f64() * 1e6 / f64::from(cells);
    println!("10,000 cells of twelve steps: {of_many:.2?}");
    println!(
        "a cell among 10,000 costs {:.2} times a cell among 100 ({:.1} us, {:.1} us)",
        per_cell(of_many, 10_000) / per_cell(of_few, 100),
        per_cell(of_many, 10_000),
        per_cell(of_few, 100),
    );
    println!(
        "expanding and checking them costs {:.2} times what reading them as plain YAML costs, written out ({plain:.2?} for {} KiB)",
        of_many.as_secs_f64() / plain.as_secs_f64(),
        written.len() >> 10,
    );
}

fn main() {
    // `cargo test --benches` only wants to see that it runs.
    if std::env::args().any(|argument| argument == "--test") {
        expand(&scenario(10), 100);
        return;
    }
    ratios();
    let mut criterion = Criterion::default().configure_from_args().sample_size(10);
    let mut group = criterion.benchmark_group("expand");
    for side in [10, 32, 100] {
        let text = scenario(side);
        let cells = side * side;
        group.throughput(Throughput::Elements(cells as u64));
        group.bench_with_input(BenchmarkId::from_parameter(cells), &text, |bench, text| {
            bench.iter(|| expand(text, cells));
        });
    }
    group.finish();
    criterion.final_summary();
}
