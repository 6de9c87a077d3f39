use std::sync::{Arc, Mutex};

use super::machine::Reading;
use super::*;
use crate::scenario::{Options, load_texts};
use crate::template::NoVersions;

const GIB: u64 = 1 << 30;
const MACHINE: Machine = Machine { cpus: 4.0, memory: 8 * GIB, free: 8 * GIB };

fn takes(cpus: f64, memory: u64) -> Demand {
    Demand { cpus, memory, exclusive: false }
}

fn fits(machine: &Machine, strain: Option<&Strain>, running: &[Demand], next: Demand) -> bool {
    has_room(machine, strain, running.iter(), &next)
}

#[test]
fn a_case_starts_if_cpus_and_memory_suffice_for_it_and_the_others() {
    let three = [takes(1.0, GIB); 3];
    assert!(fits(&MACHINE, None, &three, takes(1.0, 5 * GIB)));
    assert!(!fits(&MACHINE, None, &three, takes(1.5, GIB)));
    assert!(!fits(&MACHINE, None, &three, takes(1.0, 6 * GIB)));
    // Others have taken what was free at the start.
    let full = Machine { free: GIB, ..MACHINE };
    assert!(fits(&full, None, &three, takes(1.0, GIB)) && !fits(&full, None, &three, takes(1.0, 2 * GIB)));
    // Tenths add up.
    assert!(fits(&Machine { cpus: 0.3, ..MACHINE }, None, &[takes(0.1, 0), takes(0.1, 0)], takes(0.1, 0)));
}

#[test]
fn a_case_that_needs_more_than_there_is_runs_when_nothing_else_does() {
    let large = takes(64.0, 64 * GIB);
    let none = Machine { free: 0, ..MACHINE };
    assert!(fits(&none, Some(&Strain::Memory(String::new())), &[], large));
    assert!(!fits(&MACHINE, None, &[takes(0.5, 0)], large));
}

#[test]
fn an_exclusive_case_has_the_machine_for_itself() {
    let alone = Demand { exclusive: true, ..takes(0.5, 0) };
    assert!(fits(&MACHINE, None, &[], alone));
    assert!(!fits(&MACHINE, None, &[takes(0.5, 0)], alone));
    assert!(!fits(&MACHINE, None, &[alone], takes(0.5, 0)));
}

#[test]
fn a_strained_machine_runs_fewer_cases() {
    let (memory, cpus) = (Strain::Memory(String::new()), Strain::Cpus(String::new()));
    let one = [takes(1.0, 0)];
    assert!(!fits(&MACHINE, Some(&memory), &one, takes(0.5, 0)));
    assert!(fits(&MACHINE, Some(&cpus), &one, takes(1.0, 0)));
    assert!(!fits(&MACHINE, Some(&cpus), &[one[0], one[0]], takes(1.0, 0)));
}

#[test]
fn the_number_of_jobs_is_a_number_or_auto() {
    let read = |text: &str| text.parse::<Jobs>();
    assert_eq!((read("1"), read("65535")), (Ok(Jobs::Count(1)), Ok(Jobs::Count(65535))));
    assert_eq!(read("auto"), Ok(Jobs::Auto));
    for wrong in ["0", "65536", "-1", "", "Auto", "1.5"] {
        assert!(read(wrong).is_err(), "{wrong}");
    }
}

/// A budget on a stand-in machine with two CPUs and 4 GiB; what it reads can be changed.
fn on_stand_in() -> (Budget, Arc<Mutex<Reading>>) {
    let seen = Reading { free: 4 * GIB, pressure: Some([10.0, 0.0]), ..Reading::default() };
    let seen = Arc::new(Mutex::new(seen));
    let shared = Arc::clone(&seen);
    let gauge = Gauge::new(2.0, Box::new(move || *shared.lock().unwrap()));
    (Budget::with(Jobs::Auto, gauge), seen)
}

fn case(text: &str) -> Case {
    let text = format!("{text}vms: {{a: {{}}}}\nsteps: [{{sleep: 1s}}]\n");
    load_texts(&[("a.yaml".into(), text)], &Options::default(), &NoVersions).cases.remove(0)
}

#[tokio::test]
async fn a_machine_that_others_overload_is_reported_once_until_it_has_recovered() {
    let (mut budget, seen) = on_stand_in();
    let (sink, events) = Sink::new();
    let case = case("");
    let id = tokio::spawn(async {}).id();
    budget.started(id, &case);
    assert!(budget.has_room(&case, &sink) && budget.may_change());
    // A look at the strain is worth it once a second.
    budget.gauge.rewind(Duration::from_secs(2));
    seen.lock().unwrap().pressure = Some([90.0, 0.0]);
    assert!(!budget.has_room(&case, &sink));
    budget.gauge.rewind(Duration::from_secs(2));
    seen.lock().unwrap().pressure = Some([70.0, 0.0]);
    assert!(!budget.has_room(&case, &sink));
    budget.gauge.rewind(Duration::from_secs(2));
    seen.lock().unwrap().pressure = Some([20.0, 0.0]);
    assert!(budget.has_room(&case, &sink));
    budget.gauge.rewind(Duration::from_secs(2));
    seen.lock().unwrap().swapped = 10_000;
    assert!(!budget.has_room(&case, &sink));
    budget.ended(id);
    assert!(budget.has_room(&case, &sink) && !budget.may_change());
    drop(sink);
    let notes: Vec<String> = events
        .into_iter()
        .map(|event| match event.what {
            What::Note { text } => text.split(':').next().unwrap_or_default().to_owned(),
            other => panic!("{other:?}"),
        })
        .collect();
    let recovered = "the machine has recovered; -j auto uses all of it again";
    assert_eq!(notes, ["the machine is overloaded", recovered, "the machine is short of memory"]);
}

#[test]
fn auto_says_in_one_line_what_it_does_and_why() {
    let (mut budget, _) = on_stand_in();
    let (small, alone) = (case(""), case("needs: {cpus: 0.5}\nexclusive: true\n"));
    let told = budget.plan([&small, &small, &small, &alone].into_iter()).unwrap();
    let expected = "-j auto: 2 cases at once to begin with: the machine has 2 cores and 3686 MiB to use, \
                    a case takes up to 1 core and 256 MiB; 1 exclusive, at the end";
    assert_eq!(told, expected);
    assert_eq!(Budget::new(Jobs::Count(2)).plan([&small].into_iter()), None);
}
