//! Options shared by the commands: which QEMU to use.

use anyhow::{Context, anyhow, bail};
use clap::{Args, ValueHint};

use crate::diagnostic::Location;
use crate::runner::Binaries;

/// Which QEMU to use.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "QEMU")]
pub(super) struct Qemu {
    /// The QEMU to run: a path or a program in PATH; a folder with `qemu-system-<arch>`, or a pattern with `{arch}`, has one
    /// for each architecture. With a name, VMs with `qemu: NAME` use it. May be repeated.
    /// Default: `qemu-system-<arch>` in PATH.
    #[arg(long, value_name = "[NAME=]PATH", env = "LOCKSTEP_QEMU", value_delimiter = ',',
          value_hint = ValueHint::CommandName)]
    qemu: Vec<String>,

    /// Those of `lockstep.toml`.
    #[arg(skip)]
    pub(super) of_file: Vec<Named>,

    /// Whether `qemu` is the environment variable.
    #[arg(skip)]
    pub(super) of_environment: bool,
}

/// A QEMU with its name, `default` for the one without.
#[derive(Debug, Clone)]
pub(super) struct Named {
    pub(super) name: String,
    pub(super) path: String,
    /// Its place in `lockstep.toml`, if it is from there.
    pub(super) at: Option<Location>,
}

/// Several QEMUs, one after the other.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "QEMU")]
pub(super) struct QemuMatrix {
    /// Run all cases on each of these QEMUs and show the results side by side.
    #[arg(long, value_name = "NAME=PATH,…", env = "LOCKSTEP_QEMU_MATRIX", value_delimiter = ',')]
    qemu_matrix: Vec<String>,
}

impl QemuMatrix {
    /// The QEMUs with their names, each replacing the `default` one of `--qemu`; without a matrix, that one alone.
    pub(super) fn binaries(&self, qemu: &Qemu) -> anyhow::Result<Vec<(Option<String>, Binaries)>> {
        if self.qemu_matrix.is_empty() {
            return Ok(vec![(None, qemu.binaries()?)]);
        }
        let mut all: Vec<(Option<String>, Binaries)> = Vec::new();
        for given in &self.qemu_matrix {
            let parts = given.split_once('=').filter(|(name, path)| !name.is_empty() && !path.is_empty());
            let (name, path) = parts.ok_or_else(|| anyhow!("--qemu-matrix {given}: write NAME=PATH"))?;
            if all.iter().any(|(known, _)| known.as_deref() == Some(name)) {
                bail!("--qemu-matrix names `{name}` twice");
            }
            let others = qemu.named().into_iter().filter(|named| named.name != "default");
            let others = others.map(|named| (named.name, named.path));
            let binaries = Binaries::new(others.chain([("default".to_owned(), path.to_owned())]));
            binaries.check("default").with_context(|| format!("--qemu-matrix {name}"))?;
            all.push((Some(name.to_owned()), binaries));
        }
        Ok(all)
    }
}

impl Qemu {
    /// The binaries; each given path must exist.
    pub(super) fn binaries(&self) -> anyhow::Result<Binaries> {
        let named = self.named();
        let binaries = Binaries::new(named.iter().map(|named| (named.name.clone(), named.path.clone())));
        for Named { name, at, .. } in &named {
            binaries.check(name).with_context(|| match at {
                Some(at) => at.to_string(),
                None if self.of_environment => format!("LOCKSTEP_QEMU {name}"),
                None => format!("--qemu {name}"),
            })?;
        }
        Ok(binaries)
    }

    /// The QEMUs by name. An option replaces the QEMU of `lockstep.toml` with the same name.
    pub(super) fn named(&self) -> Vec<Named> {
        let given = self.qemu.iter().map(|given| match given.split_once('=') {
            Some((name, path)) => Named { name: name.to_owned(), path: path.to_owned(), at: None },
            None => Named { name: "default".to_owned(), path: given.clone(), at: None },
        });
        let given: Vec<Named> = given.collect();
        let replaced = |named: &&Named| given.iter().any(|other| other.name == named.name);
        let kept: Vec<Named> = self.of_file.iter().filter(|named| !replaced(named)).cloned().collect();
        kept.into_iter().chain(given).collect()
    }

    /// Uses this QEMU for the VMs that name none.
    pub(super) fn set_default(&mut self, path: &str) {
        self.qemu.retain(|given| given.split_once('=').is_some_and(|(name, _)| name != "default"));
        self.qemu.push(format!("default={path}"));
    }

    /// Whether any was given.
    pub(super) fn is_given(&self) -> bool {
        !(self.qemu.is_empty() && self.of_file.is_empty())
    }
}
