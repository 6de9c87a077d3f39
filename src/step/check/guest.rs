//! `check: {guest: …}`: a command in a guest.

use serde_json::Value;

use super::{InGuest, OfVm};
use crate::session::Failure;
use crate::step::guest::run_in;
use crate::step::running::Running;

impl OfVm for InGuest {
    async fn run(&self, run: &Running<'_>, vm: &str) -> Result<Value, Failure> {
        let ran = run_in(run, vm, &self.guest, None).await?;
        match ran.unmet(self.output.as_deref())? {
            None => Ok(ran.result()),
            Some(failure) => {
                Err(failure.led_by(&format!("`{}` in the guest of `{vm}`: ", self.guest)).about(vm))
            }
        }
    }
}
