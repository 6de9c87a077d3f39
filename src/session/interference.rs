//! Interference: what changes a running case from outside of its scenario, such as the trials of an audit.
//!
//! A session without it behaves as if none of this existed.

use std::fmt::Debug;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::link::Setting;
use super::machine::Plan;
use crate::guest::ticker::Layout;
use crate::qemu::qmp_filter::Filter;
use crate::qemu::qtest::Qtest;

/// What a VM offers besides the monitor that the scenario uses.
#[derive(Debug, Clone)]
pub struct Handle {
    /// How it was started.
    pub plan: Plan,
    /// The process.
    pub pidfd: Arc<OwnedFd>,
    /// Its qtest socket.
    pub qtest: Arc<Qtest>,
    /// The socket of a second monitor.
    pub monitor: PathBuf,
    /// The memory layout of the built-in guest, if it runs that.
    pub layout: Option<Layout>,
}

/// What happens with bytes on a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flow {
    /// They are delivered.
    Pass,
    /// They are read and not delivered.
    Drop,
    /// They are not delivered, and this direction of the connection ends.
    Close,
    /// They are delivered after the link has got this setting.
    Set(Setting),
}

/// What happens with an operation of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// It is sent.
    Straight,
    /// It is not sent, and counts as acknowledged.
    Invent,
    /// It is sent twice; the first answer is dropped.
    Twice,
    /// It is sent after this time.
    Late(Duration),
    /// It is sent, and its answer counts as a wrong one.
    Wrong,
}

/// A future of a trait object.
pub type Pending<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// Interferes with one case. By default nothing happens.
pub trait Interference: Debug + Send + Sync {
    /// An attempt at the case begins.
    fn begins(&self) {}

    /// A VM was started.
    fn started(&self, _: Handle) {}

    /// The filter of a VM's monitor.
    fn monitor(&self, _vm: &str) -> Option<Box<dyn Filter>> {
        None
    }

    /// Serial output of a VM: what is read in its place; `None` leaves it as it is.
    fn serial(&self, _vm: &str, _: &[u8]) -> Option<Vec<u8>> {
        None
    }

    /// Bytes on a link, in the direction forward (0) or back (1).
    fn bytes(&self, _link: &str, _direction: usize, _: &mut Vec<u8>) -> Flow {
        Flow::Pass
    }

    /// The next operation of a client.
    fn operation(&self, _client: &str) -> Operation {
        Operation::Straight
    }

    /// The step at this place has ended well; an empty place: the VMs have been started.
    fn after_step<'a>(&'a self, _place: &'a str) -> Pending<'a> {
        Box::pin(std::future::ready(()))
    }

    /// The outcome of the attempt is known: what lasts, such as a stopped process, is undone.
    fn over(&self) {}
}
