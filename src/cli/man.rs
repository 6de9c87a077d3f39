//! `lockstep man`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;

/// Write the man pages, one for each command, into a directory.
///
/// `lockstep man ~/.local/share/man/man1` installs them for one user.
#[derive(Debug, Args)]
pub(super) struct Man {
    /// The directory; it is created if it does not exist.
    directory: PathBuf,
}

impl Man {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let shown = self.directory.display();
        let context = || format!("cannot write the man pages to {shown}");
        std::fs::create_dir_all(&self.directory).with_context(context)?;
        clap_mangen::generate_to(super::options::command(), &self.directory).with_context(context)?;
        anstream::println!(
            "wrote {shown}/lockstep.1 and a page for each command; next: man -l {shown}/lockstep.1"
        );
        Ok(ExitCode::SUCCESS)
    }
}
