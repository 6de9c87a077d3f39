//! The runner with monitors whose bytes are changed, lost, repeated, cut into pieces or held back for good. Each case must
//! end in time, and leave nothing behind. `LOCKSTEP_AUDIT_TRIES` is the number of cases; `make audit-runner` runs 1,000.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lockstep_vm::event::{Event, Sink, Subscriber, Verdict, What};
use lockstep_vm::qemu::qmp_filter::{Filter, Late};
use lockstep_vm::random::Random;
use lockstep_vm::runner::{Binaries, Interrupt, Job, Keep, Rounds, Settings};
use lockstep_vm::scenario::{Options, load_texts};
use lockstep_vm::session::interference::Interference;
use lockstep_vm::template::NoVersions;
use serde_json::Value;

use crate::common::{qemu, wait_until};

/// A case with a migration, whose waits end soon.
const CASE: &str = "name: garbled\ntimeout: 12s\nvms:\n\
    \x20 source: {memory: 16M, guest: {ticker: {dirty: 64K}}}\n  destination: {like: source, incoming: defer}\nsteps:\n\
    - wait: {vm: source, ticks: 1}\n  timeout: 2s\n\
    - migrate: {from: source, to: destination}\n  timeout: 2s\n\
    - wait: {vm: [source, destination], migration: completed}\n  timeout: 2s\n\
    - check: {vm: destination, query: query-status, is: {running: true}}\n  timeout: 2s\n";

/// What a case may take: its deadline, the grace of its last step, evidence and tear-down of two VMs.
const LONGEST: Duration = Duration::from_secs(60);

/// Garbles one of the monitors' streams from some byte on.
#[derive(Debug)]
struct Garbler(u64);

/// The stream of one monitor.
struct Stream {
    state: Mutex<(Random, u64)>,
    way: u64,
}

impl Interference for Garbler {
    fn monitor(&self, vm: &str) -> Option<Box<dyn Filter>> {
        let mut random = Random::new(vm, self.0);
        let (way, clean) = (random.below(9), random.below(6000));
        Some(Box::new(Stream { state: Mutex::new((random, clean)), way }))
    }
}

impl Filter for Stream {
    fn bytes(&self, chunk: &[u8]) -> Option<Vec<u8>> {
        let mut state = self.state.lock().unwrap();
        let (random, clean) = &mut *state;
        if *clean > chunk.len() as u64 {
            *clean -= chunk.len() as u64;
            return None;
        }
        *clean = 0;
        let mut bytes = chunk.to_vec();
        let at = random.below(bytes.len() as u64) as usize;
        match self.way {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes.truncate(at),
            2 => drop(bytes.drain(..at)),
            3 => bytes.clear(),
            4 => bytes.extend_from_slice(chunk),
            5 => bytes.insert(at, b'\n'),
            6 => bytes.splice(at..at, (0..200).map(|_| random.below(256) as u8)).for_each(drop),
            7 => bytes.splice(at..at, std::iter::repeat_n(b'[', 100_000)).for_each(drop),
            _ => return None,
        }
        Some(bytes)
    }

    fn heard(&self, message: &Value) -> Option<Vec<Late>> {
        let mut state = self.state.lock().unwrap();
        let (random, clean) = &mut *state;
        if self.way != 8 || *clean > 0 {
            return None;
        }
        // Another value in the place of one of the message.
        let mut message = message.clone();
        let values = [Value::Null, 7.into(), "x".into(), vec![1].into(), serde_json::json!({"return": 3})];
        let value = values[random.below(values.len() as u64) as usize].clone();
        let keys: Vec<String> = message.as_object()?.keys().cloned().collect();
        message[&keys[random.below(keys.len() as u64) as usize]] = value;
        Some(vec![Late::not(message)])
    }
}

/// How a case ended, how long it took, and why.
type End = (Verdict, f64, String);

/// Records the end of each case.
struct Ends(Arc<Mutex<BTreeMap<usize, End>>>);

impl Subscriber for Ends {
    fn take(&mut self, event: &Event) -> anyhow::Result<()> {
        match (&event.what, event.case) {
            (What::CaseEnded(end), Some(case)) => {
                let end = (end.verdict, end.seconds, end.reason.clone().unwrap_or_default());
                self.0.lock().unwrap().insert(case, end);
            }
            (What::Note { text }, _) => assert!(!text.contains("internal error"), "{text}"),
            _ => {}
        }
        Ok(())
    }
}

/// The QEMUs that are children of this process.
fn children() -> Vec<String> {
    let own = std::process::id();
    let all = std::fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse::<u32>().ok()?;
        (parent == own && stat.contains("(qemu")).then_some(stat)
    });
    all.collect()
}

pub(crate) fn a_garbled_monitor_ends_each_case_and_leaves_nothing() {
    let tries: usize = std::env::var("LOCKSTEP_AUDIT_TRIES").map_or(24, |tries| tries.parse().unwrap());
    let texts = [("garbled.yaml".into(), CASE.to_owned())];
    let loaded = load_texts(&texts, &Options::default(), &NoVersions);
    assert!(!loaded.diagnostics.has_errors(), "{:?}", loaded.diagnostics);
    let case = Arc::new(loaded.cases.into_iter().next().unwrap());
    let path = qemu(11).path.display().to_string();
    let binaries = Arc::new(Binaries::new([("default".to_owned(), path)]));
    let job = |seed: usize| Job {
        number: seed,
        case: Arc::clone(&case),
        binaries: Arc::clone(&binaries),
        qemu: None,
        interference: Some(Arc::new(Garbler(seed as u64))),
    };
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings {
        accel: Some("tcg".parse().unwrap()),
        guests: ".guests".into(),
        slow: 1.0,
        jobs: 4,
        fail_fast: false,
        keep: Keep::Never,
        reports: folder.path().to_owned(),
        pause_on_failure: false,
        step_by_step: false,
        begin_until: None,
        rounds: Rounds::Times(1),
        retries: 0,
        flaky_passes: false,
        done: None,
        seed: 1,
        command: Vec::new(),
        options: Vec::new(),
        shard: None,
    };
    let ends: Arc<Mutex<BTreeMap<usize, End>>> = Arc::default();
    let (sink, stream) = Sink::new();
    let reports = lockstep_vm::report::run(stream, vec![Box::new(Ends(Arc::clone(&ends)))]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let began = Instant::now();
    let jobs = (0..tries).map(job).collect();
    let running = lockstep_vm::runner::run(jobs, settings, sink, Interrupt::never());
    let longest = LONGEST * u32::try_from(tries).unwrap();
    runtime.block_on(async { tokio::time::timeout(longest, running).await.expect("a case hangs") }).unwrap();
    drop(runtime);
    let summary = reports.join();
    assert!(summary.complete && summary.errors.is_empty(), "{:?}", summary.errors);
    let ends = ends.lock().unwrap();
    assert_eq!(ends.len(), tries);
    for (number, (_, seconds, reason)) in &*ends {
        assert!(*seconds < LONGEST.as_secs_f64(), "try {number} took {seconds} s: {reason}");
    }
    let failed = ends.values().filter(|end| end.0.is_bad()).count();
    // Some streams are garbled after their last message.
    assert!(failed > tries / 4, "only {failed} of {tries} cases noticed anything");
    wait_until("each QEMU to end", || children().is_empty().then_some(()), || format!("{:?}", children()));
    println!("{tries} tries, {failed} failed, {:.0} s", began.elapsed().as_secs_f64());
}
