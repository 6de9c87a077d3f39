//! Conditions on a VM's events and output.

use serde_json::Value;

use super::watch::{OfVm, Watch};
use super::{Checkpoints, Event, Serial, Ticks};
use crate::qemu::contains::contains;
use crate::session::Failure;
use crate::session::checkpoints::checkpoints;
use crate::session::log::{Log, QmpEvent, serial_expression};

impl Event {
    /// Whether it is the failure of a migration.
    pub(super) fn is_failure(&self) -> bool {
        self.event == "MIGRATION" && self.data.as_ref().is_some_and(|data| data["status"] == "failed")
    }
}

impl OfVm for Event {
    async fn wait(&self, watch: Watch<'_>) -> Result<Value, Failure> {
        let from = |log: &Log| {
            if self.fresh { watch.mark.events.max(log.event_cursor) } else { log.event_cursor }
        };
        let matches = |event: &QmpEvent| {
            event.name == self.event && self.data.as_ref().is_none_or(|data| contains(&event.data, data))
        };
        let look = |log: &mut Log| {
            let found = log.events.iter().enumerate().skip(from(log)).filter(|(_, event)| matches(event));
            let (at, event) = found
                .take(usize::try_from(self.count).ok()?)
                .enumerate()
                .last()
                .and_then(|(number, found)| (number as u64 + 1 == self.count).then_some(found))?;
            let data = event.data.clone();
            log.event_cursor = at + 1;
            Some(data)
        };
        let describe = |log: &Log| {
            let events = log.events.get(from(log)..).unwrap_or_default();
            let found = events.iter().filter(|event| matches(event)).count();
            let others: Vec<String> = events.iter().rev().take(8).rev().map(ToString::to_string).collect();
            let others = if others.is_empty() { "none".to_owned() } else { others.join(", ") };
            format!("{found} of {}; its events: {others}", self.count)
        };
        watch.log(look, describe).await
    }
}

impl OfVm for Checkpoints {
    async fn wait(&self, watch: Watch<'_>) -> Result<Value, Failure> {
        let since = watch.mark.events;
        let number =
            |log: &Log| checkpoints(&log.events).iter().filter(|done| done.resume_at >= since).count() as u64;
        let look = |log: &mut Log| (number(log) >= self.checkpoints).then_some(Value::Null);
        watch.log(look, |log| number(log).to_string()).await
    }
}

impl OfVm for Ticks {
    async fn wait(&self, watch: Watch<'_>) -> Result<Value, Failure> {
        let since = watch.mark.serial;
        let number = |log: &Log| log.ticks_from(since).count() as u64;
        let look = |log: &mut Log| if number(log) >= self.ticks { log.progress_since(since) } else { None };
        let describe = |log: &Log| {
            let tail = log.serial_tail(1);
            format!("{}; its last line: {}", number(log), if tail.is_empty() { "none" } else { &tail })
        };
        watch.output(look, describe).await
    }
}

impl OfVm for Serial {
    async fn wait(&self, watch: Watch<'_>) -> Result<Value, Failure> {
        let expression = serial_expression(&self.serial)?;
        let look = |log: &mut Log| {
            let from = if self.fresh { watch.mark.serial } else { log.serial_cursor };
            let (end, text) = log.find_serial(&expression, from)?;
            log.serial_cursor = end;
            Some(text.into())
        };
        let describe = |log: &Log| match log.serial_tail(5) {
            tail if tail.is_empty() => "no output".to_owned(),
            tail => format!("as its last lines: {tail}"),
        };
        watch.output(look, describe).await
    }
}
