//! When waits ask QEMU.

use lockstep_vm::event::What;

use crate::common::{Home, Qemu};

pub(crate) fn a_wait_for_a_migration_is_woken_by_events_and_works_without_them(qemu: &Qemu) {
    let home = Home::new();
    // One at a time: the control stops the runner.
    let run = |file: &str| {
        let path = format!("{}/tests/words/{file}.yaml", env!("CARGO_MANIFEST_DIR"));
        home.run_on(qemu, &[&path, "-j", "1", "--slow", "2"]).expect(0);
    };
    run("runner-wait");
    run("wakes");
    // The queries of a step that follow another one shortly, without an event between them.
    let told = home.results();
    let hasty = |case: usize| {
        let (mut last, mut number) = (f64::NEG_INFINITY, 0);
        for event in told.events.iter().filter(|event| event.case == Some(case)) {
            match &event.what {
                What::StepBegan { .. } => last = f64::NEG_INFINITY,
                What::QmpEvent { vm, message } if vm == "source" && message["event"] != "STOP" => {
                    last = f64::NEG_INFINITY;
                }
                What::QmpCommand { vm, message }
                    if vm == "source" && message["execute"] == "query-migrate" =>
                {
                    number += usize::from(event.at - last < 0.15);
                    last = event.at;
                }
                _ => {}
            }
        }
        number
    };
    let (woken, at_interval) = (hasty(0), hasty(1));
    assert!(woken == 0 && at_interval > 0, "{woken} and {at_interval} queries");
}
