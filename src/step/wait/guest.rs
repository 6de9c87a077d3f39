//! `wait: {guest: …}`: a command in a guest.

use serde_json::Value;

use super::InGuest;
use super::watch::{OfVm, Watch};
use crate::session::Failure;
use crate::step::guest::{Ran, run_in};

impl OfVm for InGuest {
    async fn wait(&self, watch: Watch<'_>) -> Result<Value, Failure> {
        let ask = || run_in(watch.run, watch.vm, &self.guest, None);
        let judge = |ran: &Ran| Ok(ran.unmet(self.output.as_deref())?.is_none().then(|| ran.result()));
        let seen = |ran: &Ran| ran.seen();
        watch.run.repeat(ask, watch.awaited, judge, seen).await
    }
}
