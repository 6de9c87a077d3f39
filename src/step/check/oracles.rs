//! Checks of a VM's replies, events, progress and standard error.

use regex::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Checkpoint, NoEvent, OfVm, Progress, Query, Stderr};
use crate::qemu::contains::{contains, differences, values};
use crate::session::checkpoints::{floor, is_in_colo, none_under_way};
use crate::session::witness::inherited;
use crate::session::{Failure, Session};
use crate::step::brief;
use crate::step::running::Running;
use crate::units::OneOrMany;

/// What `check: {progress: …}` asserts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProgressCheck {
    /// Nothing from before the last completed checkpoint was lost.
    Kept,
}

/// What `check: {checkpoint: …}` asserts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CheckpointCheck {
    /// Every stop for a checkpoint has its resume.
    None,
}

/// What `check: {stderr: …}` asserts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StderrCheck {
    /// The VM or VMs; can be given beside `stderr` instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vm: Option<OneOrMany<String>>,
    /// Regular expressions; lines that match one of them are allowed. Default: none.
    #[serde(default)]
    pub allow: Vec<String>,
    /// Regular expressions; each must match at least one line. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub has: Vec<String>,
}

impl Query {
    pub(super) fn title(&self) -> String {
        let command = &self.query;
        match (&self.is, &self.is_not) {
            (Some(is), _) => format!("{command} contains {}", brief(is)),
            (None, Some(is_not)) => format!("{command} does not contain {}", brief(is_not)),
            (None, None) => command.clone(),
        }
    }
}

impl OfVm for Query {
    async fn run(&self, run: &Running<'_>, vm: &str) -> Result<Value, Failure> {
        let (command, arguments) = (&self.query, Value::Object(self.arguments.clone()));
        let reply = run.session.machine(vm)?.qmp(command, arguments, false, run.deadline).await?;
        if let Some(is) = self.is.as_ref().filter(|is| !contains(&reply, is)) {
            let why = differences(&reply, is);
            return Err(Failure::failed(format!("{command} of `{vm}` does not contain {is}: {why}")));
        }
        let Some(is_not) = &self.is_not else { return Ok(reply) };
        if let Some(kind) = kind(is_not).filter(|own| Some(*own) != kind(&reply)) {
            let reply = brief(&reply);
            return Err(Failure::failed(format!("{command} of `{vm}`: expected {kind}, got {reply}")));
        }
        if contains(&reply, is_not) {
            let found = values(&reply, is_not);
            let found = if found.is_empty() { found } else { format!(": {found}") };
            return Err(Failure::failed(format!("{command} of `{vm}` contains {is_not}{found}")));
        }
        Ok(reply)
    }
}

/// What a value is, if it has parts.
const fn kind(value: &Value) -> Option<&'static str> {
    match value {
        Value::Array(_) => Some("a list"),
        Value::Object(_) => Some("a map"),
        _ => None,
    }
}

impl OfVm for NoEvent {
    async fn run(&self, run: &Running<'_>, vm: &str) -> Result<Value, Failure> {
        let end = (run.began + self.r#for.0).min(run.deadline);
        let mut changes = run.session.board().changes();
        loop {
            changes.borrow_and_update();
            let machine = run.session.machine(vm)?;
            if Instant::now() >= end {
                machine.catch_up();
            }
            {
                let log = machine.log.lock();
                let mut events = log.events.iter().skip(log.event_cursor);
                if let Some(event) = events.find(|event| event.name == self.no_event) {
                    return Err(Failure::failed(format!("`{vm}` emitted {event}, expected no such event")));
                }
            }
            if Instant::now() >= end {
                return Ok(Value::Null);
            }
            let _ = run.session.elsewhere(tokio::time::timeout_at(end, changes.changed())).await;
        }
    }
}

impl OfVm for Checkpoint {
    async fn run(&self, run: &Running<'_>, vm: &str) -> Result<Value, Failure> {
        none_under_way(run.session, vm).map(|()| Value::Null)
    }
}

impl OfVm for Stderr {
    async fn run(&self, run: &Running<'_>, vm: &str) -> Result<Value, Failure> {
        let text = run.session.machine(vm)?.stderr();
        match mismatch(&text, &self.stderr).map_err(|error| Failure::error(error.to_string()))? {
            None => Ok(Value::Null),
            Some(why) => Err(Failure::failed(format!("the standard error of `{vm}` {why}"))),
        }
    }
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

impl OfVm for Progress {
    /// Checks that the guest is not behind the last completed checkpoint, and that its passes only increase since then. One
    /// step back is allowed: a checkpoint may have been completed during the failover. A VM in COLO must print a new tick first.
    async fn run(&self, run: &Running<'_>, vm: &str) -> Result<Value, Failure> {
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
