//! The ways into a guest: its files, its serial port, its agent.

use std::path::{Path, PathBuf};

use super::evidence::EVIDENCE_PATIENCE;
use super::{Machine, Plan};
use crate::guest::ticker::{self, Layout};
use crate::qemu::agent::Agent;
use crate::qemu::image::Image;
use crate::qemu::linux::{Linux, readable};
use crate::qemu::process::wait_at_most;
use crate::qemu::spec::Guest;
use crate::session::failure::Failure;

impl Machine {
    /// Sends a line to the guest's serial port.
    ///
    /// # Errors
    /// When the port is closed.
    pub async fn send(&self, line: &str) -> Result<(), Failure> {
        self.type_text(&format!("{line}\n")).await
    }

    /// Sends a text to the guest's serial port.
    ///
    /// # Errors
    /// When the port is closed, or the process has ended.
    pub async fn type_text(&self, text: &str) -> Result<(), Failure> {
        let Err(error) = self.serial.send(text.as_bytes()).await else { return Ok(()) };
        // If the process has ended, that is the cause of the closed port.
        let name = self.name();
        Err(match wait_at_most(&self.process, EVIDENCE_PATIENCE).await {
            Some(how) => Failure::ended(format!("VM `{name}` has ended"), how).about(name),
            None => Failure::failed(format!("{name}: the serial port: {error}")),
        })
    }

    /// Everything that the guest has printed on its serial port.
    ///
    /// # Errors
    /// When it is only in a file, and that cannot be read.
    pub fn serial_output(&self) -> Result<Vec<u8>, Failure> {
        let log = self.log.lock();
        if log.has_all_serial() {
            return Ok(log.serial().to_vec());
        }
        let path = self.file("serial.log");
        std::fs::read(&path)
            .map_err(|error| Failure::error(format!("cannot read {}: {error}", path.display())))
    }

    /// The port of the guest agent, if the VM has one.
    #[must_use]
    pub const fn agent(&self) -> Option<&Agent> {
        self.agent.as_ref()
    }
}

/// Writes the image of the built-in guest, or checks that the kernel of another one can be read.
pub(super) fn guest_image(
    plan: &Plan,
    layout: Option<&Layout>,
    directory: &Path,
) -> Result<Option<PathBuf>, Failure> {
    let name = &plan.name;
    let broken = |why: String| Failure::error(format!("cannot start VM `{name}`: {why}")).about(name);
    match (&plan.spec.guest, layout) {
        (Guest::Ticker(ticker), Some(layout)) => {
            let path = directory.join(format!("{name}.ticker.img"));
            let image = ticker::image(ticker, layout, plan.accel);
            std::fs::write(&path, image).map_err(|error| broken(format!("its image: {error}")))?;
            Ok(Some(path))
        }
        (Guest::Linux(Linux { kernel, initrd, .. }) | Guest::Image(Image { kernel, initrd, .. }), _) => {
            readable(kernel.as_deref(), initrd.as_deref())
                .map(|()| None)
                .map_err(|why| broken(why.to_string()))
        }
        _ => Ok(None),
    }
}
