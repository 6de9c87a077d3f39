//! `lockstep run --dry-run`.

use std::path::Path;

use serde_json::Map;

use super::binaries::Binaries;
use super::budget::{Budget, Jobs};
use super::cannot_run::CannotRun;
use super::plans::plans;
use super::settings::Settings;
use crate::scenario::model::Case;

/// Lists the cases in order: those that would run, and on what; those that would be skipped, and why. Only probes the
/// QEMUs.
#[must_use]
pub fn dry_run(cases: &[Case], binaries: &Binaries, settings: &Settings) -> String {
    let mut text = String::new();
    let mut run = 0;
    for case in cases {
        match plans(case, Path::new("CASE"), binaries, settings, &Map::new()) {
            Ok(plans) => {
                run += 1;
                text.push_str(&format!("run   {}\n", case.name));
                for (name, plan) in &plans {
                    let machine = plan.spec.machine.as_deref().or(plan.binary.default_machine.as_deref());
                    let why = plan.without_kvm.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
                    text.push_str(&format!(
                        "        {name}: QEMU {}, {}, {}{why}, {} of RAM{}\n",
                        plan.binary.version,
                        machine.unwrap_or("no machine"),
                        plan.accel.name(),
                        plan.spec.memory.size(),
                        if plan.spec.start { "" } else { ", started by a step" },
                    ));
                }
                for issue in &case.known_issues {
                    let how = match (issue.at_most, issue.attempts) {
                        (Some(at_most), _) => format!("known to fail in at most {at_most} of its runs"),
                        (None, Some(attempts)) => format!("known to fail in one of {attempts} attempts"),
                        (None, None) => "known to fail".to_owned(),
                    };
                    text.push_str(&format!("        {how}: {}\n", issue.reason));
                }
                if let Some(must_fail) = &case.must_fail {
                    text.push_str(&format!("        must fail with /{}/\n", must_fail.pattern));
                }
            }
            Err(CannotRun { verdict, reason }) => {
                text.push_str(&format!("{verdict:<5} {}: {reason}\n", case.name));
            }
        }
    }
    let at_once = match settings.jobs {
        Jobs::Count(count) => format!("{count} at a time"),
        Jobs::Auto => "as many at a time as fit".to_owned(),
    };
    text.push_str(&format!("{run} of {} would run, {at_once}\n", cases.len()));
    if let Some(plan) = Budget::new(settings.jobs).plan(cases.iter()) {
        text.push_str(&format!("{plan}\n"));
    }
    text
}
