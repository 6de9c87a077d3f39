//! Disk images that no VM has open.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::audit::blow::Blow;
use crate::audit::rule::Rule;
use crate::audit::scene::{Scene, Sites};
use crate::audit::site::Trigger;
use crate::qemu::programs::{QEMU_IMG, program};

/// The hint for a damaged disk.
pub(super) const DISK_HINT: &str = "check: {disk: \"{{run.vm.VM.disk.DETAIL}}\", holds: {lines: 2}}";

const SECTOR: u64 = 512;
/// Where the lines of the Linux guest begin.
const FIRST: u64 = 2000;
/// How many sectors are read from there.
const READ: u64 = 20_000;

/// The first moment after the end of each VM with a disk.
pub(super) fn disk_sites(scene: &Scene<'_>) -> Sites {
    let mut sites = Sites::default();
    for vm in scene.vms() {
        let Some(spec) = scene.spec(vm) else { continue };
        let ended = scene.tape.lives.iter().find(|life| life.vm == vm && life.until.is_finite());
        for disk in spec.disks.keys() {
            let after = ended.and_then(|life| {
                scene.tape.steps.iter().position(|step| step.done && step.ended >= life.until)
            });
            sites.add(match after {
                Some(at) if scene.after(at).next().is_some() => {
                    Ok(scene.site(vm, at, Trigger::Now).with(disk))
                }
                Some(_) => Err(Rule::NothingAfter),
                None => Err(Rule::InUse),
            });
        }
    }
    sites
}

/// The image, its format, and the folder of the tools.
fn image(blow: &Blow) -> Result<(PathBuf, String, PathBuf), String> {
    let plan = &blow.handle.plan;
    let disk = plan.spec.disks.get(&blow.site.detail).ok_or("the VM does not have the disk")?;
    let folder = blow.handle.monitor.parent().unwrap_or(Path::new("/"));
    let path = folder.join(disk.file_name(Some(&plan.name), &blow.site.detail));
    Ok((path, disk.format.clone(), program(&plan.binary.path, QEMU_IMG)))
}

/// Runs a program to its end.
async fn run(mut command: Command) -> Result<(), String> {
    command.stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output()).await;
    let output = output.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if output.status.success() && said.is_empty() {
        Ok(())
    } else {
        Err(format!("{}: {said}", output.status))
    }
}

/// The sectors with lines, counted from the first sector of the disk.
pub(super) async fn lines_of(blow: &Blow) -> Result<Vec<u64>, String> {
    let raw = raw(blow).await?;
    let sectors = raw.chunks_exact(SECTOR as usize).enumerate().skip(FIRST as usize).take(READ as usize);
    let lines = sectors.filter(|(_, sector)| sector[0].is_ascii_digit()).map(|(number, _)| number as u64);
    let lines: Vec<u64> = lines.collect();
    if lines.is_empty() { Err("the disk has no lines".to_owned()) } else { Ok(lines) }
}

/// The content of the disk up to the last sector that may have a line.
async fn raw(blow: &Blow) -> Result<Vec<u8>, String> {
    let (path, _, tool) = image(blow)?;
    let copy = path.with_extension("audit");
    let mut command = Command::new(tool);
    command.args(["convert", "-U", "-O", "raw"]).arg(&path).arg(&copy);
    run(command).await?;
    let reading = tokio::task::spawn_blocking(move || {
        let bytes = std::fs::read(&copy);
        let _ = std::fs::remove_file(&copy);
        bytes
    });
    reading.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
}

async fn qemu_io(blow: &Blow, line: String) -> Result<(), String> {
    let (path, format, tool) = image(blow)?;
    let mut command = Command::new(tool.with_file_name("qemu-io"));
    command.args(["-f", &format, "-c", &line]).arg(&path).stdout(Stdio::null());
    run(command).await
}

/// Overwrites sectors with zeros.
pub(super) async fn write_zeros(blow: &Blow, sector: u64, count: u64) -> Result<(), String> {
    qemu_io(blow, format!("write -P 0 {} {}", sector * SECTOR, count * SECTOR)).await
}

/// Exchanges two sectors.
pub(super) async fn swap(blow: &Blow, one: u64, other: u64) -> Result<(), String> {
    let raw = raw(blow).await?;
    let (path, ..) = image(blow)?;
    for (from, to) in [(one, other), (other, one)] {
        let bytes = raw[(from * SECTOR) as usize..][..SECTOR as usize].to_vec();
        let file = path.with_extension("sector");
        std::fs::write(&file, bytes).map_err(|error| error.to_string())?;
        let written = qemu_io(blow, format!("write -s {} {} {SECTOR}", file.display(), to * SECTOR)).await;
        let _ = std::fs::remove_file(&file);
        written?;
    }
    Ok(())
}
