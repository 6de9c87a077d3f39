//! A case as plain text: its parameters, its steps, its metrics.

use std::fmt::Write as _;

use serde_json::Value;

use crate::event::StepOutcome;
use crate::report::record::{Case, Kept, Step};
use crate::report::text;

/// The full text of a finished case, for reports with room for it.
#[must_use]
pub(super) fn of(case: &Case) -> String {
    let mut out = String::new();
    if let Some(description) = &case.description {
        let _ = writeln!(out, "{}", description.trim_end());
    }
    fact(&mut out, "tags", &case.tags.join(" "));
    fact(&mut out, "params", &params(&case.params));
    vms(&mut out, case);
    list(&mut out, "earlier attempts", &case.attempts, |end| {
        let place = end.place.as_deref().map(|place| format!(" at {place}")).unwrap_or_default();
        format!("{}{place}: {}", end.verdict, end.reason.as_deref().unwrap_or("no reason given"))
    });
    course(&mut out, case);
    list(&mut out, "notes", &case.notes, Clone::clone);
    if let Some(artifacts) = case.end.as_ref().and_then(|end| end.artifacts.as_ref()) {
        fact(&mut out, "artifacts", &artifacts.display().to_string());
    }
    out
}

/// The text of the attempt that a case is at: its VMs, steps and metrics.
#[must_use]
pub(super) fn of_attempt(case: &Case) -> String {
    let mut out = String::new();
    vms(&mut out, case);
    course(&mut out, case);
    out
}

fn vms(out: &mut String, case: &Case) {
    for (vm, version) in case.vms.iter() {
        let version = version.as_deref().unwrap_or("of unknown version");
        fact(out, "vm", &format!("{vm}, QEMU {version}"));
    }
}

/// The steps and the metrics.
fn course(out: &mut String, case: &Case) {
    list(out, "steps", &case.steps, |step| {
        let mut lines = step_line(step, case.planned);
        if let Some(message) = &step.message {
            let _ = write!(lines, "\n{}", text::indent(message, "    "));
        }
        lines
    });
    list(out, "metrics", &case.metrics, ToString::to_string);
}

/// A step in one line: number, outcome, duration, title, place.
#[must_use]
pub(super) fn step_line(step: &Step, planned: usize) -> String {
    let outcome = match step.outcome {
        Some(StepOutcome::Done) => "done",
        Some(StepOutcome::Failed) => "failed",
        Some(StepOutcome::Skipped) => "skipped",
        Some(StepOutcome::Cancelled) => "cancelled",
        None => "cut off",
    };
    format!(
        "{:>3}/{planned} {outcome:<9} {:>7}  {}{}  {}",
        step.number,
        text::seconds(step.seconds),
        if step.finally { "finally " } else { "" },
        text::one_line(&step.title),
        text::one_line(&step.place),
    )
}

/// The parameters as `name=value`, in their order.
fn params(params: &Value) -> String {
    let Value::Object(map) = params else {
        return String::new();
    };
    let parts: Vec<String> = map
        .iter()
        .map(|(name, value)| match value {
            Value::String(word) => format!("{name}={word}"),
            other => format!("{name}={other}"),
        })
        .collect();
    parts.join(" ")
}

fn fact(out: &mut String, name: &str, value: &str) {
    if !value.is_empty() {
        let _ = writeln!(out, "{name}: {value}");
    }
}

fn list<T>(out: &mut String, name: &str, items: &Kept<T>, line: impl Fn(&T) -> String) {
    if items.iter().next().is_none() {
        return;
    }
    let _ = writeln!(out, "{name}:");
    let mut put = |text: String| {
        let _ = writeln!(out, "{}", text::indent(&text, "  "));
    };
    items.first().map(&line).for_each(&mut put);
    if items.left_out() > 0 {
        put(format!("[… {} omitted …]", items.left_out()));
    }
    items.last().map(&line).for_each(&mut put);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Again, CaseEnd, Verdict, What};
    use crate::report::{Fold, sample};

    #[test]
    fn the_log_of_a_case_lists_its_steps() {
        let mut fold = Fold::default();
        let lines: Vec<String> =
            sample::run().iter().filter_map(|event| fold.take(event)).map(|case| of(&case)).collect();
        assert_eq!(
            lines[1],
            "tags: colo
params: transport=plain count=3
vm: secondary, QEMU 11.0.0
steps:
    1/2 done        0.90s  wait: secondary checkpoints 3  scenarios/colo/failover.yaml:13:5
    2/2 failed     30.00s  wait: secondary event STOP  scenarios/colo/failover.yaml:14:5
      secondary: no event STOP within 30s
metrics:
  checkpoint_pause (secondary) = 300 ms (n 3, min 200 ms, median 300 ms, p95 400 ms, max 400 ms)
notes:
  secondary's tick was slow
artifacts: reports/artifacts/1
"
        );
    }

    #[test]
    fn the_log_lists_earlier_attempts_without_their_steps() {
        let mut fold = Fold::default();
        let mut end = CaseEnd::new(Verdict::Fail, Some("no tick".into()), 1.0);
        end.place = Some("a.yaml:3:5".into());
        fold.take(&sample::started(0, "a", "a.yaml"));
        fold.take(&sample::step(0, 1, "the first try"));
        let ended = What::AttemptEnded { attempt: 1, again: Again::Retry, end: Box::new(end) };
        fold.take(&sample::at(1.0, Some(0), ended));
        fold.take(&sample::step(0, 1, "the second try"));
        let text = of(&fold.take(&sample::ended(0, Verdict::Flaky, None, 2.0)).unwrap());
        assert!(text.contains("earlier attempts:\n  fail at a.yaml:3:5: no tick\n"), "{text}");
        assert!(text.contains("the second try") && !text.contains("the first try"), "{text}");
        assert_eq!(fold.counts().flaky, 1);
    }

    #[test]
    fn the_log_has_the_number_of_omitted_steps() {
        let mut fold = Fold::default();
        fold.take(&sample::started(0, "many", "many.yaml"));
        for number in 1..=2000 {
            fold.take(&sample::step(0, number, "again"));
        }
        let text = of(&fold.cut_off()[0]);
        assert!(text.contains("\n  [… 1000 omitted …]\n"), "{text}");
    }
}
