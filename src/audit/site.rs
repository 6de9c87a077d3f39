//! Where a sabotage is done: on what, after which step, at what.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A step, so that it is found again in another run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct StepRef {
    /// Its number in the straight run; 0 is the start of the VMs.
    pub number: usize,
    /// Its title.
    pub title: String,
    /// Its place in the file; empty for the start.
    pub place: String,
    /// How often a step at this place had ended before.
    pub occurrence: usize,
}

impl std::fmt::Display for StepRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.number {
            0 => f.write_str("the start"),
            number => write!(f, "step {number} ({})", self.title),
        }
    }
}

/// What a sabotage waits for once its step has ended.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Trigger {
    /// Nothing.
    Now,
    /// The next event of this name.
    Event(String),
    /// The next command of this name, or the reply to it.
    Command(String),
    /// The next line on the serial port.
    Line,
    /// The next bytes.
    Bytes,
    /// The next operation.
    Operation,
}

/// Where a sabotage is done.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Site {
    /// The VM, the link or the client.
    pub target: String,
    /// The step after which it is done.
    pub after: StepRef,
    /// What it waits for.
    pub trigger: Trigger,
    /// What else it needs to know, such as the name of a parameter; may be empty.
    pub detail: String,
    /// How many such events of the VM came before the end of the step in the straight run.
    #[serde(default)]
    pub earlier: usize,
}

impl Site {
    /// One with names that a scenario may have.
    pub(crate) fn plausible(target: &str, detail: &str) -> Self {
        let after = StepRef { number: 0, title: String::new(), place: String::new(), occurrence: 0 };
        Self {
            target: target.to_owned(),
            after,
            trigger: Trigger::Now,
            detail: detail.to_owned(),
            earlier: 0,
        }
    }

    /// The same with a detail.
    pub(crate) fn with(self, detail: impl Into<String>) -> Self {
        Self { detail: detail.into(), ..self }
    }

    /// Identifies it in a case, in each run.
    pub(crate) fn key(&self) -> String {
        let StepRef { place, occurrence, .. } = &self.after;
        let trigger = match &self.trigger {
            Trigger::Now => String::new(),
            Trigger::Event(name) | Trigger::Command(name) => format!(" {name}"),
            Trigger::Line | Trigger::Bytes | Trigger::Operation => format!(" {:?}", self.trigger),
        };
        format!("{} {place}#{occurrence}{trigger} {}", self.target, self.detail)
    }

    /// The moment, for a reader: `after step 7 (migrate …), at the next STOP`.
    pub(crate) fn moment(&self) -> String {
        let after = format!("after {}", self.after);
        match &self.trigger {
            Trigger::Now => after,
            Trigger::Event(name) => format!("{after}, at the next {name}"),
            Trigger::Command(name) => format!("{after}, at the next `{name}`"),
            Trigger::Line => format!("{after}, at the next line"),
            Trigger::Bytes => format!("{after}, with the next bytes"),
            Trigger::Operation => format!("{after}, with the next operation"),
        }
    }
}

/// The name of an event, and the status of a migration or a job, as the detail of a site; empty for another message.
pub(crate) fn of_event(message: &Value) -> String {
    let name = message["event"].as_str().unwrap_or_default();
    match message["data"]["status"].as_str() {
        Some(status) if !name.is_empty() => format!("{name} {status}"),
        _ => name.to_owned(),
    }
}
