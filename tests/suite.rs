//! QEMU's migration test suite: every case of it is a scenario, and the table of results.
//!
//! `tests/data/migration_suite.txt` has the names of QEMU's cases (`tests/qtest/migration*`), without the prefix
//! `/migration/`.

mod common;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use common::Home;
use lockstep_vm::event::{Event, Verdict, What};
use lockstep_vm::qemu::arch::NAMES as NAMES_OF_ARCH;
use serde_json::{Value, json};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const NAMES: &str = include_str!("data/migration_suite.txt");
const PAGE: &str = "docs/migration-suite.md";
/// The event files from which the table is made, separated like in `PATH`.
const EVENTS: &str = "LOCKSTEP_SUITE_EVENTS";

/// What was measured with `cross-version.yaml`, of which the suite has no cases.
const VERSIONS: &str = "\n## Between versions\n\n\
    `scenarios/migration/cross-version.yaml` under TCG, with QEMU 7.2.22, 10.0.13 and 11.1.3 of Debian: precopy, multifd and\n\
    postcopy, each in both directions, with the newest machine type that both have.\n\n\
    | architecture | CPU | 7.2 to 10.0, 7.2 to 11.1 | 10.0 to 7.2, 11.1 to 7.2 | 10.0 to 11.1 and back |\n\
    |---|---|---|---|---|\n\
    | i386 | `qemu32` | pass | pass | pass |\n\
    | s390x | `qemu` | pass | pass | pass |\n\
    | ppc64 | `power9_v2.0` | pass | fails: 7.2 does not load the CPU's `slb` | pass |\n\
    | aarch64 | `cortex-a57` | fails | fails | fails |\n\n\
    On `aarch64` a destination refuses the CPU's system registers of another version, also with six other CPU models (10.0 to\n\
    11.1). Both failures are known issues of the scenario. (With `power9`, 7.2 to a later one fails.)\n";

/// A case in the output of `lockstep list --long`.
struct Listed {
    file: String,
    description: String,
}

fn listed() -> BTreeMap<String, Listed> {
    let home = Home::new();
    let ran = home.run(&["list", "--long", &format!("{ROOT}/scenarios")]).expect(0);
    let case = |line: &str| {
        let [name, file, _, description] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let file = Path::new(file).strip_prefix(ROOT).unwrap().display().to_string();
        (name.to_owned(), Listed { file, description: description.to_owned() })
    };
    ran.stdout.lines().map(case).collect()
}

/// The line of a scenario file that names its cases.
fn line(file: &str) -> usize {
    let text = std::fs::read_to_string(Path::new(ROOT).join(file)).unwrap();
    text.lines().position(|line| line.starts_with("name:")).map_or(1, |at| at + 1)
}

fn row_begins(name: &str, file: &str) -> String {
    let stem = file.trim_start_matches("scenarios/");
    format!("| `{name}` | [{stem}:{line}](../{file}#L{line}) |", line = line(file))
}

#[test]
fn every_case_of_qemus_migration_test_is_a_scenario_of_the_same_name() {
    let listed = listed();
    let missing: Vec<&str> = NAMES.lines().filter(|name| !listed.contains_key(*name)).collect();
    assert!(missing.is_empty(), "{} of {}: {missing:?}", missing.len(), NAMES.lines().count());
    assert_eq!(NAMES.lines().collect::<BTreeSet<_>>().len(), 105);
    let undescribed = |name: &&str| listed[*name].description.is_empty();
    assert_eq!(NAMES.lines().filter(undescribed).collect::<Vec<_>>(), Vec::<&str>::new());
}

#[test]
fn the_table_has_every_case_with_its_place() {
    let page = std::fs::read_to_string(Path::new(ROOT).join(PAGE)).unwrap();
    let listed = listed();
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| `")).collect();
    for name in NAMES.lines() {
        let begin = row_begins(name, &listed[name].file);
        assert_eq!(
            rows.iter().filter(|row| row.starts_with(&begin)).count(),
            1,
            "{PAGE} has no row `{begin}`; `make suite` regenerates it"
        );
    }
    assert_eq!(rows.len(), NAMES.lines().count());
}

/// The result of a case on one QEMU.
struct Went {
    verdict: Verdict,
    reason: String,
    seconds: f64,
}

/// A column: the QEMUs of x86-64, the newest first, then those of the other architectures.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Column {
    arch: usize,
    version: Reverse<semver::Version>,
}

impl Column {
    fn of(version: &semver::Version, params: &Value) -> Self {
        let arch = params.get("arch").and_then(Value::as_str).unwrap_or(NAMES_OF_ARCH[0]);
        let arch = NAMES_OF_ARCH.iter().position(|name| *name == arch).unwrap();
        Self { arch, version: Reverse(version.clone()) }
    }
}

impl std::fmt::Display for Column {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.arch {
            0 => write!(f, "{}", self.version.0),
            arch => write!(f, "{} {}", self.version.0, NAMES_OF_ARCH[arch]),
        }
    }
}

/// The columns, and the results of each case.
fn told(runs: &[String]) -> (BTreeSet<Column>, BTreeMap<(String, Column), Went>) {
    let mut columns = BTreeSet::new();
    let mut went = BTreeMap::new();
    for text in runs {
        let events: Vec<Event> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let mut names = BTreeMap::new();
        let mut running = BTreeMap::new();
        for event in events {
            match event.what {
                What::RunStarted { qemus, .. } => {
                    for qemu in qemus {
                        names.insert(qemu.name, qemu.version.parse::<semver::Version>().unwrap());
                    }
                }
                What::CaseStarted { name, qemu, params, .. } => {
                    let version = qemu.as_ref().map_or_else(|| names.values().next(), |qemu| names.get(qemu));
                    let column = Column::of(version.unwrap(), &params);
                    columns.insert(column.clone());
                    running.insert(event.case, (name, column));
                }
                What::CaseEnded(end) => {
                    let key = running.remove(&event.case).unwrap();
                    let this = Went {
                        verdict: end.verdict,
                        reason: end.reason.unwrap_or_default(),
                        seconds: end.seconds,
                    };
                    // A case that one run skips, for lack of an accelerator, may have run in another one.
                    let better = went.get(&key).is_none_or(|known: &Went| known.verdict == Verdict::Skip);
                    if better && (this.verdict != Verdict::Skip || !went.contains_key(&key)) {
                        went.insert(key, this);
                    }
                }
                _ => {}
            }
        }
    }
    (columns, went)
}

/// The page, generated from the events of runs.
fn page(names: &[&str], listed: &BTreeMap<String, Listed>, runs: &[String]) -> String {
    let (columns, went) = told(runs);
    let mut page = "<!-- `make suite suite-architectures` writes this page. -->\n\n# QEMU's migration test suite\n\n\
        Every case of QEMU's own migration test (`tests/qtest/migration*` of QEMU, 105 cases) under its name there, without\n\
        `/migration/`; the scenario; its result on each QEMU for x86-64, and on the newest one for the other architectures,\n\
        under emulation unless the case needs KVM; its seconds on the newest QEMU; and what the scenario checks, beyond QEMU's\n\
        own test.\n\n\
        All of them wait with deadlines, count the guest's output from the step that waits for it, check that both sides\n\
        have finished, let the guest compare every page of its memory on every pass, and accept only the listed lines on\n\
        standard error.\n\n"
        .to_owned();
    let _ = write!(page, "| case | scenario |");
    for column in &columns {
        let _ = write!(page, " {column} |");
    }
    page += " seconds | what it checks, also beyond QEMU's own case |\n|---|---|";
    page += &"---|".repeat(columns.len() + 2);
    page.push('\n');
    let mut reasons: BTreeMap<(&Column, &str), usize> = BTreeMap::new();
    for name in names {
        let case = &listed[*name];
        page += &row_begins(name, &case.file);
        for column in &columns {
            let went = went.get(&((*name).to_owned(), column.clone()));
            let _ = write!(
                page,
                " {} |",
                went.map_or_else(|| "not run".to_owned(), |went| went.verdict.to_string())
            );
            if let Some(went) = went.filter(|went| went.verdict != Verdict::Pass) {
                *reasons.entry((column, &went.reason)).or_default() += 1;
            }
        }
        let newest = columns.first().and_then(|column| went.get(&((*name).to_owned(), column.clone())));
        let seconds =
            newest.filter(|went| went.verdict != Verdict::Skip).map(|went| format!("{:.1}", went.seconds));
        let _ =
            writeln!(page, " {} | {} |", seconds.unwrap_or_default(), case.description.replace('|', "\\|"));
    }
    page += "\n## Cases that did not pass\n\n| QEMU | cases | reason |\n|---|---|---|\n";
    for ((column, reason), count) in reasons {
        let reason = reason.lines().next().unwrap_or_default().replace('|', "\\|");
        let _ = writeln!(page, "| {column} | {count} | {reason} |");
    }
    page += VERSIONS;
    page
}

/// `make suite` sets the event files of its runs, and the page is generated from them.
#[test]
fn the_table_says_what_the_runs_say() {
    let listed = listed();
    if let Some(paths) = std::env::var_os(EVENTS) {
        let read = |path: PathBuf| {
            let path = Path::new(ROOT).join(path);
            std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        };
        let runs: Vec<String> = std::env::split_paths(&paths).map(read).collect();
        let names: Vec<&str> = NAMES.lines().collect();
        std::fs::write(Path::new(ROOT).join(PAGE), page(&names, &listed, &runs)).unwrap();
    }
    let run = |arch: &str, qemus: &[(&str, &str)], cases: &[(&str, &str, &str, &str, f64)]| {
        let qemus: Vec<Value> = qemus
            .iter()
            .map(|(name, version)| json!({"name": name, "path": "/q", "version": version, "package": ""}))
            .collect();
        let host = json!({"name": "", "system": "", "cpus": 1, "memory": 1});
        let mut lines = vec![
            json!({"at": 0.0, "what": {"event": "run_started", "version": 1, "lockstep": "0",
            "time": "2026-01-01T00:00:00Z", "cases": cases.len(), "command": [], "options": [], "seed": 1, "host": host,
            "qemus": qemus}}),
        ];
        for (number, (name, qemu, verdict, reason, seconds)) in cases.iter().enumerate() {
            lines.push(
                json!({"at": 0.0, "case": number, "what": {"event": "case_started", "name": name, "file": "",
                "tags": [], "params": {"arch": arch}, "axes": [], "qemu": qemu, "steps": 1}}),
            );
            lines.push(json!({"at": 0.0, "case": number, "what": {"event": "case_ended", "verdict": verdict,
                "reason": reason, "seconds": seconds}}));
        }
        lines.iter().map(|line| format!("{line}\n")).collect::<String>()
    };
    let (plain, ring, nowhere) = ("precopy/unix/plain", "dirty_ring", "precopy/tcp/plain");
    let both = run(
        "x86_64",
        &[("new", "11.1.3"), ("old", "7.2.22")],
        &[
            (plain, "new", "pass", "", 1.25),
            (plain, "old", "fail", "it | broke", 2.0),
            (ring, "new", "skip", "needs kvm", 0.0),
            (ring, "old", "skip", "needs kvm", 0.0),
        ],
    );
    let new = [("new", "11.1.3")];
    let kvm = run("x86_64", &new, &[(ring, "new", "pass", "", 14.0), (plain, "new", "skip", "x", 0.0)]);
    let other = run("s390x", &new, &[(plain, "new", "pass", "", 3.0), (ring, "new", "skip", "no KVM", 0.0)]);
    let page = page(&[plain, ring, nowhere], &listed, &[other, both, kvm]);
    assert!(page.contains("| case | scenario | 11.1.3 | 7.2.22 | 11.1.3 s390x | seconds |"), "{page}");
    assert!(page.contains("| 11.1.3 s390x | 1 | no KVM |"), "{page}");
    let row = |name: &str| {
        let of = |line: &&str| line.starts_with(&format!("| `{name}` |"));
        page.lines().find(of).unwrap().split(" | ").skip(2).take(4).collect::<Vec<_>>().join(", ")
    };
    // A case that one run skipped but another one ran has run, and one that ran does not become a skip.
    assert_eq!((row(plain), row(ring)), ("pass, fail, pass, 1.2".into(), "pass, skip, skip, 14.0".into()));
    assert_eq!(row(nowhere), "not run, not run, not run, ");
    assert!(
        page.contains("| 7.2.22 | 1 | it \\| broke |") && page.contains("| 7.2.22 | 1 | needs kvm |"),
        "{page}"
    );
    assert!(!page.contains("| 11.1.3 | 1 |"), "{page}");
}
