//! `lockstep lsp`.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use clap::Args;

use super::file::File;
use super::qemu::Qemu;
use crate::runner::Binaries;

/// Run a language server for editors, on standard input and output: diagnostics, hover, completion, definitions. With
/// --qemu, or a QEMU in the project's lockstep.toml, it also checks against that binary.
#[derive(Debug, Args)]
pub(super) struct Lsp {
    #[command(flatten)]
    qemu: Qemu,

    /// Use standard input and output, which is the only way; some editors add this option.
    #[arg(long)]
    stdio: bool,
}

impl Lsp {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let is_orderly = crate::lsp::serve(|root| self.binaries(root))?;
        Ok(ExitCode::from(u8::from(!is_orderly)))
    }

    /// The QEMUs of a project.
    fn binaries(&self, root: Option<&Path>) -> anyhow::Result<Option<Arc<Binaries>>> {
        if let Some(root) = root {
            std::env::set_current_dir(root).with_context(|| root.display().to_string())?;
        }
        let mut qemu = self.qemu.clone();
        let run = super::options::command().find_subcommand("run").cloned().unwrap_or_default();
        let file = File::find(&run).map_err(|mistakes| anyhow!(mistakes.render(false)))?;
        qemu.of_file = file.map(|file| file.qemus).unwrap_or_default();
        if qemu.is_given() { qemu.binaries().map(Arc::new).map(Some) } else { Ok(None) }
    }
}
