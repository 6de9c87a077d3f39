//! `wait: {job: …}`: a QEMU job, such as a disk mirror.

use serde_json::{Value, json};

use super::Job;
use super::job_history::{History, JobStatus, status_in};
use super::watch::{OfVm, Watch};
use crate::cause::CauseKind;
use crate::session::Failure;
use crate::step::wakes::Wakes;

impl OfVm for Job {
    /// Fails once the job has ended and can no longer have the status.
    async fn wait(&self, watch: Watch<'_>) -> Result<Value, Failure> {
        let (Self { job: id, is }, vm) = (self, watch.vm);
        let machine = watch.run.session.machine(vm)?;
        // Only events show a short status, and a job that no longer exists. Only the query has the error of a job without a
        // disk.
        let judge = |reply: &Value| {
            let mut history = History::of(&machine.log.lock(), id);
            let now = find(reply, id);
            let status = now.map_or(Some(JobStatus::Null), status_in);
            // The job's status has changed since the reply.
            if history.passed.last().is_some_and(|last| Some(*last) != status) {
                return Ok(None);
            }
            if let Some(job) = now {
                history.passed.extend(status);
                let error = job.get("error").and_then(Value::as_str).map(str::to_owned);
                history.error = error.or(history.error);
            }
            let is_met = history.has_been(*is);
            let ended = history.ended();
            let succeeded = history.error.is_none() && !history.has_been(JobStatus::Aborting);
            let accepts_error = matches!(is, JobStatus::Aborting | JobStatus::Null);
            match ended {
                _ if is_met && (succeeded || accepts_error) => {
                    let gone = json!({"id": id, "status": JobStatus::Null, "error": history.error});
                    Ok(Some(now.cloned().unwrap_or(gone)))
                }
                Some(how) if *is != JobStatus::Null => {
                    let message = format!("job `{id}` of `{vm}` {how}, expected status {is}");
                    Err(Failure::of_kind(CauseKind::Impossible, message))
                }
                _ => Ok(None),
            }
        };
        let seen = |reply: &Value| match (find(reply, id), reply.as_array()) {
            (Some(job), _) => job.to_string(),
            (None, Some(others)) if !others.is_empty() => format!("no such job; its jobs: {reply}"),
            _ => "no jobs".to_owned(),
        };
        let (query, null) = ("query-jobs", Value::Null);
        let wakes = Wakes::of(&machine, query, &json!([{"id": id, "status": is}]));
        watch.run.ask(&machine, (query, &null, false), &wakes, watch.awaited, judge, seen).await
    }
}

fn find<'r>(reply: &'r Value, id: &str) -> Option<&'r Value> {
    reply.as_array()?.iter().find(|job| job["id"] == id)
}
