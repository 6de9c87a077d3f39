//! Waiting for a condition of one VM.

use serde_json::Value;

use super::Condition;
use super::impossible::{fail_if_stopped, impossible};
use crate::session::log::Log;
use crate::session::{Cause, Failure, Session};
use crate::step::running::{Mark, Running};

/// A condition that a VM must meet.
pub(super) trait OfVm {
    /// Waits for it; returns the step's result.
    async fn wait(&self, watch: Watch<'_>) -> Result<Value, Failure>;
}

/// A VM and the condition that it must meet.
#[derive(Clone, Copy)]
pub(super) struct Watch<'w> {
    pub run: &'w Running<'w>,
    pub vm: &'w str,
    /// What is awaited, in words.
    pub awaited: &'w str,
    /// What the VM had written when the step began.
    pub mark: Mark,
    condition: &'w Condition,
}

impl<'w> Watch<'w> {
    pub(super) fn new(run: &'w Running<'w>, vm: &'w str, awaited: &'w str, condition: &'w Condition) -> Self {
        Self { run, vm, awaited, mark: run.mark(vm), condition }
    }

    /// Waits until `look` finds something in the VM's log. Fails if that can no longer come.
    pub(super) async fn log(
        &self,
        look: impl Fn(&mut Log) -> Option<Value>,
        describe: impl Fn(&Log) -> String,
    ) -> Result<Value, Failure> {
        let look = |session: &Session| self.look(session, &look);
        self.run.until(self.awaited, look, |session| self.seen(session, &describe)).await
    }

    /// The same for output of the guest. Fails also if its vCPUs are stopped and its output so far does not match.
    pub(super) async fn output(
        &self,
        look: impl Fn(&mut Log) -> Option<Value>,
        describe: impl Fn(&Log) -> String,
    ) -> Result<Value, Failure> {
        tokio::select! {
            biased;
            found = self.log(&look, describe) => found,
            failure = fail_if_stopped(self.run, self.vm, self.awaited) => {
                self.run.session.machine(self.vm)?.catch_up();
                self.look(self.run.session, &look)?.map_or(failure, Ok)
            }
        }
    }

    fn look(
        &self,
        session: &Session,
        read: &dyn Fn(&mut Log) -> Option<Value>,
    ) -> Result<Option<Value>, Failure> {
        let machine = session.machine(self.vm)?;
        if let Some(found) = read(&mut machine.log.lock()) {
            return Ok(Some(found));
        }
        let Some(why) = impossible(session, self.vm, self.condition) else { return Ok(None) };
        machine.catch_up();
        match read(&mut machine.log.lock()) {
            Some(found) => Ok(Some(found)),
            None => Err(Cause::Impossible { awaited: self.awaited.to_owned(), why }.into()),
        }
    }

    fn seen(&self, session: &Session, describe: &dyn Fn(&Log) -> String) -> String {
        session
            .machine(self.vm)
            .map_or_else(|failure| failure.to_string(), |machine| describe(&machine.log.lock()))
    }
}
