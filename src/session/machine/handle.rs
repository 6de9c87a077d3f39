//! What a VM offers besides its monitor.

use std::sync::Arc;

use super::Machine;
use crate::session::interference::Handle;

impl Machine {
    /// What it offers to what interferes with the case.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle {
            plan: self.plan.clone(),
            pidfd: Arc::clone(self.process.pidfd()),
            qtest: Arc::clone(&self.qtest),
            monitor: self.directory.join(self.attach_socket()),
            layout: self.layout.clone(),
        }
    }
}
