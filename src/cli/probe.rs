//! `lockstep probe`.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::ExitCode;

use clap::Args;

use super::qemu::Qemu;
use crate::qemu::binary::Binary;
use crate::qemu::kvm;
use crate::runner::Binaries;

/// Show the capabilities of a QEMU binary, as reported by QEMU.
#[derive(Debug, Args)]
pub(super) struct Probe {
    /// The binary: a path or a program in PATH. Default: --qemu, else qemu-system-x86_64.
    path: Option<String>,

    #[command(flatten)]
    pub(super) qemu: Qemu,

    /// Print everything as JSON.
    #[arg(long, env = "LOCKSTEP_JSON")]
    json: bool,
}

impl Probe {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let binaries = match &self.path {
            Some(path) => Binaries::new([("default".to_owned(), path.clone())]),
            None => self.qemu.binaries()?,
        };
        let mut binary = Binary::clone(&*binaries.get("default", "x86_64")?);
        let trouble = binaries.kvm_trouble(&binary, "kvm".to_owned(), None, "max");
        binary.kvm_works = trouble.is_none();
        let mut out = std::io::stdout().lock();
        if self.json {
            writeln!(out, "{}", serde_json::to_string_pretty(&binary)?)?;
        } else {
            write!(out, "{}", summary(&binary, trouble.as_deref()))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn summary(binary: &Binary, trouble: Option<&str>) -> String {
    let yes = |is: bool| if is { "yes" } else { "no" };
    let list = |names: &BTreeSet<String>| names.iter().map(String::as_str).collect::<Vec<_>>().join(" ");
    let kvm = match trouble {
        Some(why) => format!("no KVM: {why}"),
        None if kvm::Host::this().virtualizes => "kvm works here".to_owned(),
        None => "kvm works here, but is slow: the CPU has no vmx or svm".to_owned(),
    };
    let rows = [
        ("binary", binary.path.display().to_string()),
        ("version", format!("{} ({})", binary.version, binary.package)),
        ("architecture", binary.arch.clone()),
        ("accelerators", format!("{} ({kvm})", list(&binary.accelerators))),
        ("out-of-band QMP", yes(binary.oob).to_owned()),
        ("COLO", yes(binary.has_colo()).to_owned()),
        ("replication", yes(binary.block_drivers.contains("replication")).to_owned()),
        ("colo-compare", yes(binary.has_colo_compare()).to_owned()),
        ("capabilities", list(&binary.capabilities)),
        ("machines", list(&binary.machines)),
        ("default machine", binary.default_machine.clone().unwrap_or_else(|| "none".to_owned())),
        ("block drivers", list(&binary.block_drivers)),
        (
            "counts",
            format!(
                "{} QMP commands, {} devices, {} objects, {} migration parameters, {} trace events (--json lists them)",
                binary.commands.len(),
                binary.devices.len(),
                binary.objects.len(),
                binary.parameters.len(),
                binary.trace_events.len()
            ),
        ),
    ];
    rows.iter().map(|(name, value)| format!("{name:<16} {value}\n")).collect()
}
