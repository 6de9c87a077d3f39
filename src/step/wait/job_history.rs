//! What a VM's events say of its jobs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::session::log::{Log, QmpEvent};

/// A job's status (QAPI `JobStatus`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum JobStatus {
    /// It was created and does not run yet.
    Created,
    /// It runs.
    Running,
    /// It was paused while running.
    Paused,
    /// It has caught up, and runs until `job-complete`.
    Ready,
    /// It was paused while ready.
    Standby,
    /// It waits for the other jobs of its transaction.
    Waiting,
    /// It waits for `job-finalize`.
    Pending,
    /// It failed or was cancelled, and is ending.
    Aborting,
    /// It has ended.
    Concluded,
    /// It no longer exists, however it ended. In quotes, because `null` is not a string in YAML.
    Null,
}

impl std::fmt::Display for JobStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&format!("{self:?}").to_lowercase())
    }
}

/// A job's history since it was last created, from the VM's events.
#[derive(Debug)]
pub(super) struct History {
    /// The statuses it had, in order.
    pub(super) passed: Vec<JobStatus>,
    pub(super) error: Option<String>,
}

impl History {
    /// The history of the job with this identifier.
    pub(super) fn of(log: &Log, id: &str) -> Self {
        let mut history = Self { passed: Vec::new(), error: None };
        for event in &log.events {
            match status_of(event) {
                Some((of, status)) if of == id => {
                    if status == JobStatus::Created {
                        history = Self { passed: Vec::new(), error: None };
                    }
                    history.passed.push(status);
                }
                None if event.data["device"] == id => match event.name.as_str() {
                    "BLOCK_JOB_COMPLETED" => {
                        history.error = event.data["error"].as_str().map(str::to_owned);
                    }
                    "BLOCK_JOB_CANCELLED" => history.error = Some("it was cancelled".to_owned()),
                    _ => {}
                },
                _ => {}
            }
        }
        history
    }

    pub(super) fn has_been(&self, status: JobStatus) -> bool {
        self.passed.contains(&status)
    }

    /// How it ended, if it has.
    pub(super) fn ended(&self) -> Option<String> {
        let is_over = self.has_been(JobStatus::Concluded) || self.has_been(JobStatus::Null);
        is_over.then(|| match &self.error {
            Some(error) => format!("ended with an error: {error}"),
            None if self.has_been(JobStatus::Aborting) => "ended with an error".to_owned(),
            None => "ended without an error".to_owned(),
        })
    }
}

/// The jobs in a VM's events.
pub(super) fn jobs(log: &Log) -> Vec<String> {
    let mut jobs: Vec<String> =
        log.events.iter().filter_map(status_of).map(|(id, _)| id.to_owned()).collect();
    jobs.sort();
    jobs.dedup();
    jobs
}

fn status_of(event: &QmpEvent) -> Option<(&str, JobStatus)> {
    (event.name == "JOB_STATUS_CHANGE").then_some(())?;
    Some((event.data["id"].as_str()?, status_in(&event.data)?))
}

/// The status of a job in a reply or an event.
pub(super) fn status_in(job: &Value) -> Option<JobStatus> {
    serde_json::from_value(job["status"].clone()).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn log(events: &[(&str, Value)]) -> Log {
        let event = |(name, data): &(&str, Value)| QmpEvent::new(&json!({"event": name, "data": data}));
        let mut log = Log::default();
        log.events.extend(events.iter().map(event));
        log
    }

    fn status(id: &str, status: &str) -> (&'static str, Value) {
        ("JOB_STATUS_CHANGE", json!({"id": id, "status": status}))
    }

    #[test]
    fn a_job_has_ended_once_it_has_concluded_and_its_error_is_reported() {
        let failed = ("BLOCK_JOB_COMPLETED", json!({"device": "m", "error": "No space left on device"}));
        let mut events =
            vec![status("m", "created"), status("m", "running"), status("m", "aborting"), failed];
        assert_eq!(History::of(&log(&events), "m").ended(), None);
        events.push(status("m", "concluded"));
        let how = History::of(&log(&events), "m").ended().unwrap();
        assert_eq!(how, "ended with an error: No space left on device");
        assert_eq!(History::of(&log(&events), "other").ended(), None);
        // A new job of the same name does not inherit its history.
        events.push(status("m", "created"));
        assert_eq!(History::of(&log(&events), "m").ended(), None);
        events.push(status("m", "concluded"));
        assert_eq!(History::of(&log(&events), "m").ended().unwrap(), "ended without an error");
    }

    #[test]
    fn a_job_that_aborts_without_a_reason_has_ended_with_an_error() {
        let events = [status("m", "created"), status("m", "aborting"), status("m", "null")];
        assert_eq!(History::of(&log(&events), "m").ended().unwrap(), "ended with an error");
        assert_eq!(jobs(&log(&events)), ["m"]);
    }
}
