//! How `ssh` gets into the guests of a case: keys, ports, addresses.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use tokio::time::Instant;

use super::failure::Failure;
use super::machine::Plan;
use super::state::Session;
use crate::qemu::access::Access;
use crate::qemu::ssh::{Entry, FOLDER, Ssh, port_name, split};

/// The key made for the case, relative to its directory.
const KEY: &str = ".lockstep-ssh/key";

impl Session {
    /// Finds how to reach the SSH server of a VM's guest, if that is the way in. Makes the case's key for the first VM that
    /// needs it.
    pub(super) async fn find_ssh(&self, plan: &mut Plan, deadline: Instant) -> Result<(), Failure> {
        let name = &plan.name;
        let Some(Access::Ssh(ssh)) = plan.spec.guest.access_mut() else { return Ok(()) };
        let broken = |why: String| {
            Failure::error(format!("cannot start VM `{name}`: `access: ssh`: {why}")).about(name)
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(self.directory().join(FOLDER))
            .map_err(|error| broken(error.to_string()))?;
        let (key, public) = match &ssh.key {
            Some(path) => {
                let copy = format!("{FOLDER}/{name}.key");
                copy_key(&self.directory().join(path), &self.directory().join(&copy))
                    .map_err(|error| broken(format!("its key {path}: {error}")))?;
                (copy, None)
            }
            None => (KEY.to_owned(), Some(self.public_key(deadline).await?)),
        };
        let (host, port, is_forwarded) = match &ssh.address {
            Some(address) => {
                let (host, port) =
                    split(address).ok_or_else(|| broken(format!("`{address}` is no address")))?;
                (host, port, false)
            }
            None => {
                let port = self.wiring.ports.get(&port_name(name));
                let port = port.ok_or_else(|| broken("no port is reserved for it".to_owned()))?;
                ("127.0.0.1".to_owned(), port, true)
            }
        };
        *ssh = Ssh { entry: Some(Entry { host, port, is_forwarded, key, public }), ..ssh.clone() };
        Ok(())
    }

    /// The public part of the case's key, which is made if there is none yet.
    async fn public_key(&self, deadline: Instant) -> Result<String, Failure> {
        if !self.directory().join(KEY).exists() {
            let argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lockstep", "-f", KEY];
            self.run_tool(argv.map(str::to_owned).to_vec(), deadline).await?;
        }
        let public = std::fs::read_to_string(self.directory().join(format!("{KEY}.pub")));
        let public =
            public.map_err(|error| Failure::error(format!("cannot read the key {KEY}.pub: {error}")))?;
        Ok(public.trim().to_owned())
    }
}

/// Copies a private key: `ssh` takes only one that no other user can read.
fn copy_key(from: &Path, to: &Path) -> io::Result<()> {
    let key = std::fs::read(from)?;
    let mut options = OpenOptions::new();
    options.create(true).truncate(true).write(true).mode(0o600).open(to)?.write_all(&key)
}
