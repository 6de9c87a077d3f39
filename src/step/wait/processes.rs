//! Conditions on a process or a client: of a VM, or of the case.

use serde_json::Value;

use super::watch::{OfVm, Watch};
use super::{Client, Process, VmExit};
use crate::cause::CauseKind;
use crate::session::{Failure, Session};
use crate::step::client::{find, summary};
use crate::step::running::Running;

impl OfVm for VmExit {
    async fn wait(&self, watch: Watch<'_>) -> Result<Value, Failure> {
        let look = |session: &Session| Ok(session.machine(watch.vm)?.process.ended());
        let how = watch.run.until(watch.awaited, look, |_| "a running process".to_owned()).await?;
        if self.exit.matches(how) {
            return Ok(Value::Null);
        }
        Err(self.exit.mismatch(format!("VM `{}`", watch.vm), how, String::new()))
    }
}

impl Process {
    pub(super) async fn wait(&self, run: &Running<'_>) -> Result<Value, Failure> {
        let name = &self.process;
        let process = run.session.background().get(name).cloned();
        let process =
            process.ok_or_else(|| Failure::failed(format!("process `{name}` has not been started")))?;
        let awaited = format!("process `{name}` to end");
        let how = run.until(&awaited, |_| Ok(process.ended()), |_| process.state_and_output()).await?;
        if self.exit.matches(how) {
            return Ok(process.result());
        }
        Err(self.exit.mismatch(format!("process `{name}`"), how, process.said()))
    }
}

impl Client {
    pub(super) async fn wait(&self, run: &Running<'_>) -> Result<Value, Failure> {
        let Self { client: name, lines } = self;
        let before = run.lines_before(name);
        let more = |session: &Session| -> Result<u64, Failure> {
            Ok(find(session, name)?.progress().saturating_sub(before))
        };
        let awaited = format!("{lines} more lines of client `{name}`");
        let seen = |session: &Session| {
            format!("{} of {lines}; in total {}", more(session).unwrap_or_default(), summary(session, name))
        };
        let look = |session: &Session| {
            let more = more(session)?;
            if more < *lines && find(session, name)?.is_stopped() {
                let message =
                    format!("client `{name}` was stopped after {more} more lines, expected {lines}");
                return Err(Failure::of_kind(CauseKind::Impossible, message));
            }
            Ok((more >= *lines).then_some(()))
        };
        run.until(&awaited, look, seen).await?;
        Ok(find(run.session, name)?.values())
    }
}
