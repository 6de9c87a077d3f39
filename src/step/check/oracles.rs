//! The checks of each kind.

use regex::Regex;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Bound, Check, Kind, StderrCheck};
use crate::qemu::contains::contains;
use crate::session::checkpoints::{floor, is_in_colo, none_under_way};
use crate::session::metrics::{METRICS, measure};
use crate::session::witness::inherited;
use crate::session::{Failure, Session};
use crate::step::brief;
use crate::step::running::Running;

impl Check {
    pub(super) async fn assert(&self, run: &mut Running<'_>) -> Result<Value, Failure> {
        let kind = self.kind().ok_or_else(|| Failure::error("the check asserts nothing"))?;
        match kind {
            Kind::Metric => return self.metric(run.session),
            Kind::Value => return self.value(),
            Kind::Equal => return self.equal(),
            Kind::Disk => {
                let disk = self.disk.as_deref().unwrap_or_default();
                return super::disk::holds(run, disk, &self.holds.clone().unwrap_or_default()).await;
            }
            Kind::Client => return self.of_client(run).await,
            Kind::File => return self.of_file(run.session.directory()),
            _ => {}
        }
        let mut result = Value::Null;
        for vm in self.about() {
            result = match kind {
                Kind::Memory => super::memory::consistent(run, vm).await?,
                Kind::Query => self.query(run, vm).await?,
                Kind::NoEvent => self.no_event(run, vm).await?,
                Kind::Progress => progress(run, vm).await?,
                Kind::Checkpoint => none_under_way(run.session, vm).map(|()| Value::Null)?,
                Kind::Stderr => self.stderr(run.session, vm)?,
                Kind::Metric | Kind::Value | Kind::Equal | Kind::Disk | Kind::File | Kind::Client => {
                    Value::Null
                }
            };
        }
        Ok(result)
    }

    async fn query(&self, run: &Running<'_>, vm: &str) -> Result<Value, Failure> {
        let command = self.query.as_deref().unwrap_or_default();
        let arguments = Value::Object(self.arguments.clone().unwrap_or_default());
        let reply = run.session.machine(vm)?.qmp(command, arguments, false, run.deadline).await?;
        if let Some(is) = self.is.as_ref().filter(|is| !contains(&reply, is)) {
            return Err(Failure::failed(format!("{command} of `{vm}` does not contain {is}: {reply}")));
        }
        if let Some(is_not) = self.is_not.as_ref().filter(|is_not| contains(&reply, is_not)) {
            return Err(Failure::failed(format!("{command} of `{vm}` contains {is_not}: {reply}")));
        }
        Ok(reply)
    }

    async fn no_event(&self, run: &Running<'_>, vm: &str) -> Result<Value, Failure> {
        let name = self.no_event.as_deref().unwrap_or_default();
        let end = (run.began + self.for_.map(|span| span.0).unwrap_or_default()).min(run.deadline);
        let mut changes = run.session.board().changes();
        loop {
            changes.borrow_and_update();
            let machine = run.session.machine(vm)?;
            if Instant::now() >= end {
                machine.catch_up();
            }
            {
                let log = machine.log.lock();
                if let Some(event) = log.events.iter().skip(log.event_cursor).find(|event| event.name == name)
                {
                    return Err(Failure::failed(format!("`{vm}` emitted {event}, expected no such event")));
                }
            }
            if Instant::now() >= end {
                return Ok(Value::Null);
            }
            let _ = tokio::time::timeout_at(end, changes.changed()).await;
        }
    }

    fn metric(&self, session: &Session) -> Result<Value, Failure> {
        let name = self.metric.as_deref().unwrap_or_default();
        if !METRICS.iter().any(|(known, _)| *known == name) {
            let help = crate::diagnostic::suggest(name, METRICS.iter().map(|(known, _)| *known));
            return Err(Failure::error(format!("there is no metric `{name}`; {help}")));
        }
        // Of several VMs the worst value counts.
        let values: Vec<f64> = measure(session).iter().filter_map(|metric| metric.named(name)).collect();
        let (Some(largest), Some(smallest)) =
            (values.iter().copied().reduce(f64::max), values.iter().copied().reduce(f64::min))
        else {
            return Err(Failure::failed(format!("metric `{name}` has no value")));
        };
        self.within_bounds(&format!("metric `{name}`"), smallest, largest)
    }

    /// Checks a range of numbers against the bounds; NaN is out of bounds. Returns the largest.
    fn within_bounds(&self, what: &str, smallest: f64, largest: f64) -> Result<Value, Failure> {
        let above = self.above.map(Bound::number).filter(|above| smallest <= *above || smallest.is_nan());
        let below = self.below.map(Bound::number).filter(|below| largest >= *below || largest.is_nan());
        match (below, above) {
            (Some(below), _) => Err(Failure::failed(format!("{what} is {largest}, not below {below}"))),
            (None, Some(above)) => Err(Failure::failed(format!("{what} is {smallest}, not above {above}"))),
            (None, None) => Ok(json!(largest)),
        }
    }

    fn value(&self) -> Result<Value, Failure> {
        let read = |value: &Value| {
            number(value).ok_or_else(|| Failure::failed(format!("{} is not a number", brief(value))))
        };
        let value = read(self.value.as_deref().unwrap_or(&Value::Null))?;
        let (what, value) = match self.of.as_deref().map(read).transpose()? {
            Some(of) => (format!("the ratio of {value} to {of}"), value / of),
            None => ("the value".to_owned(), value),
        };
        self.within_bounds(&what, value, value)
    }

    /// The assertion about a value, for the step's title.
    pub(super) fn value_title(&self) -> String {
        let value = self.value.as_deref().map(brief).unwrap_or_default();
        let of = self.of.as_deref().map(|of| format!(" of {}", brief(of))).unwrap_or_default();
        let bound =
            |word: &str, bound: Option<Bound>| bound.map(|bound| format!(" {word} {}", bound.number()));
        let bounds = [bound("above", self.above), bound("below", self.below)];
        let bounds: String = bounds.into_iter().flatten().collect();
        format!("value {value}{of}{bounds}")
    }

    fn equal(&self) -> Result<Value, Failure> {
        let values = self.equal.as_deref().unwrap_or_default();
        let first = values.first().cloned().unwrap_or_default();
        match values.iter().find(|value| !(contains(value, &first) && contains(&first, value))) {
            None => Ok(first),
            Some(other) => Err(Failure::failed(format!("{first} is not equal to {other}"))),
        }
    }

    fn stderr(&self, session: &Session, vm: &str) -> Result<Value, Failure> {
        let expected = self.stderr.clone().unwrap_or_default();
        let text = session.machine(vm)?.stderr();
        let Some(why) = mismatch(&text, &expected).map_err(|error| Failure::error(error.to_string()))? else {
            return Ok(Value::Null);
        };
        Err(Failure::failed(format!("the standard error of `{vm}` {why}")))
    }
}

/// A number, or text that is a number, as a template with more than one expression results in.
pub(super) fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.parse().ok())
}

/// What is wrong with a standard error: lines that are not allowed, or a missing line.
fn mismatch(text: &str, expected: &StderrCheck) -> Result<Option<String>, regex::Error> {
    let compiled = |expressions: &[String]| {
        expressions.iter().map(|expression| Regex::new(expression)).collect::<Result<Vec<_>, _>>()
    };
    let (allow, has) = (compiled(&expected.allow)?, compiled(&expected.has)?);
    let lines = || text.lines().filter(|line| !line.trim().is_empty());
    let known = |line: &&str| allow.iter().chain(&has).any(|expression| expression.is_match(line));
    let unexpected: Vec<&str> = lines().filter(|line| !known(line)).take(10).collect();
    if !unexpected.is_empty() {
        return Ok(Some(format!("has unexpected lines:\n{}", unexpected.join("\n"))));
    }
    let missing = has.iter().find(|expression| !lines().any(|line| expression.is_match(line)));
    Ok(missing.map(|expression| format!("has no line that matches /{expression}/")))
}

impl Bound {
    fn number(self) -> f64 {
        match self {
            Self::Number(number) => number,
            Self::Span(span) => span.0.as_secs_f64(),
        }
    }
}

/// Checks that the guest is not behind the last completed checkpoint, and that its passes only increase since then. One
/// step back is allowed: a checkpoint may have been completed during the failover. A VM in COLO must print a new tick first.
async fn progress(run: &Running<'_>, vm: &str) -> Result<Value, Failure> {
    let machine = run.session.machine(vm)?;
    run.session.catch_up();
    let floor = floor(run.session, vm)?;
    if is_in_colo(&machine.log.lock().events) {
        let look = |_: &Session| Ok(machine.log.lock().ticks_from(floor.serial).next().map(|_| ()));
        let awaited = format!("a tick of `{vm}`, which is in COLO, to compare with");
        run.until(&awaited, look, |_| machine.log.lock().serial_tail(1)).await?;
    }
    let counts: Vec<u64> = machine.log.lock().ticks_from(floor.serial).map(|tick| tick.count).collect();
    kept(vm, floor.passes, &counts).map_err(Failure::failed)?;
    inherited(run.session, vm, &floor)?;
    Ok(json!({"floor": floor.passes, "first": counts.first(), "last": counts.last()}))
}

/// Compares the passes that a VM printed since it took over with the passes that were complete before.
fn kept(vm: &str, floor: u64, counts: &[u64]) -> Result<(), String> {
    let Some(lowest) = counts.iter().min() else {
        return Err(format!("`{vm}` has printed no tick since it took over"));
    };
    if *lowest <= floor {
        return Err(format!(
            "`{vm}` stepped back: it was at pass {lowest} when it took over, but {floor} passes were complete before \
             the last completed checkpoint"
        ));
    }
    if counts.windows(2).filter(|pair| pair[1] <= pair[0]).count() > 1 {
        return Err(format!("`{vm}` stepped back more than once since it took over: {counts:?}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standard_error_has_the_expected_lines_and_no_others() {
        let checked = |text: &str, allow: &[&str], has: &[&str]| {
            let texts = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect();
            mismatch(text, &StderrCheck { vm: None, allow: texts(allow), has: texts(has) }).unwrap()
        };
        assert_eq!(checked("warning: a\n\nfailed: b\n", &["^warning:"], &["^failed: b$"]), None);
        assert_eq!(checked("", &["x"], &[]), None);
        assert_eq!(checked("", &["x"], &["x"]).unwrap(), "has no line that matches /x/");
        assert_eq!(checked("a\nb", &[], &["a"]).unwrap(), "has unexpected lines:\nb");
    }

    #[test]
    fn progress_is_kept_if_passes_increase_above_the_floor() {
        assert_eq!(kept("a", 128, &[256, 384, 512]), Ok(()));
        // A checkpoint that was completed during the failover rolls it back once, but not behind the last one.
        assert_eq!(kept("a", 128, &[512, 256, 384]), Ok(()));
    }

    #[test]
    fn progress_is_lost_without_ticks_below_the_floor_and_by_two_steps_back() {
        assert!(kept("a", 128, &[]).unwrap_err().contains("no tick"));
        assert!(kept("a", 128, &[128, 256]).unwrap_err().contains("it was at pass 128"));
        assert!(kept("a", 128, &[512, 384, 640, 384]).unwrap_err().contains("more than once"));
    }
}
