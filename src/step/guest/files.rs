//! Files to and from a guest, compared on both sides.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use ring::digest::{Context, SHA256};
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tokio::time::Instant;

use super::agent_files::{self, Way};
use super::command::quoted;
use super::{Command, place, run_in, ssh};
use crate::qemu::access::Access;
use crate::qemu::process::Ended;
use crate::session::Failure;
use crate::session::process::said;
use crate::step::running::Running;

/// Copies a file of the host into the guest of a VM.
pub(super) async fn write(run: &Running<'_>, vm: &str, path: &str, from: &str) -> Result<Value, Failure> {
    let from = run.session.directory().join(from);
    let broken = |error: io::Error| Failure::error(format!("cannot read `{}`: {error}", from.display()));
    let file = File::open(&from).map_err(broken)?;
    // To open a FIFO or a device reads something else each time.
    if !file.metadata().map_err(broken)?.is_file() {
        return Err(Failure::error(format!("`{}` is not a regular file", from.display())));
    }
    let what = format!("writing `{path}` in the guest of `{vm}`");
    let began = Instant::now();
    let place = run.session.elsewhere(copy(run, vm, (Way::Into, path), &file, &what)).await?;
    compare(run, &place, path, from, began).await
}

/// Copies a file of the guest of a VM to the host.
pub(super) async fn read(run: &Running<'_>, vm: &str, path: &str, to: &str) -> Result<Value, Failure> {
    let to = run.session.directory().join(to);
    let broken = |error: io::Error| Failure::error(format!("cannot write `{}`: {error}", to.display()));
    // It gets its name when all of it is there.
    let file = NamedTempFile::new_in(to.parent().unwrap_or(Path::new("/"))).map_err(broken)?;
    let what = format!("reading `{path}` in the guest of `{vm}`");
    let began = Instant::now();
    let copied = copy(run, vm, (Way::OutOf, path), file.as_file(), &what);
    let place = run.session.elsewhere(copied).await?;
    let result = compare(run, &place, path, file.path().to_owned(), began).await?;
    file.persist(&to).map_err(|error| broken(error.error))?;
    Ok(result)
}

/// Copies a file; returns the VM in which the copy ended.
async fn copy(
    run: &Running<'_>,
    vm: &str,
    (way, path): (Way, &str),
    file: &File,
    what: &str,
) -> Result<String, Failure> {
    let machine = run.session.machine(vm)?;
    place::fail_if_moved(run, vm, what).await?;
    match machine.plan.spec.guest.access() {
        Some(Access::Agent) => agent_files::copy(run, vm, (way, path), file, what).await,
        Some(Access::Ssh(_)) => by_ssh(run, vm, (way, path), file, what).await,
        Some(Access::Console(_)) | None => {
            let message = format!("{what}: only `access: agent` and `access: ssh` can copy files");
            Err(Failure::error(message).about(vm))
        }
    }
}

async fn by_ssh(
    run: &Running<'_>,
    vm: &str,
    (way, path): (Way, &str),
    file: &File,
    what: &str,
) -> Result<String, Failure> {
    let (sign, stdin) = if way == Way::Into { (">", Some(file)) } else { ("<", None) };
    let script = Command::Shell(format!("cat {sign}{}", quoted(path))).remote_script();
    let done = ssh::enter(run, vm, what, &script, stdin).await?;
    let broken = |error: io::Error| Failure::error(format!("{what}: {error}"));
    if done.how != Ended::Status(0) {
        let [_, stderr] = done.process.outputs().map_err(broken)?;
        let said = said("", &String::from_utf8_lossy(&stderr));
        return Err(Failure::failed(format!("{what}: {}, {said}", done.how)).about(&done.vm));
    }
    if way == Way::OutOf {
        let (mut from, mut to) = (done.process.stdout().map_err(broken)?, file.try_clone().map_err(broken)?);
        let copied = blocking(move || io::copy(&mut from, &mut to)).await;
        copied.map_err(broken)?;
    }
    Ok(done.vm)
}

/// Compares a file of the guest with one of the host; the step's result.
async fn compare(
    run: &Running<'_>,
    vm: &str,
    path: &str,
    file: PathBuf,
    began: Instant,
) -> Result<Value, Failure> {
    let seconds = began.elapsed().as_secs_f64();
    let shown = file.display().to_string();
    let own = blocking(move || sum(&file)).await;
    let (bytes, own) = own.map_err(|error| Failure::error(format!("cannot read `{shown}`: {error}")))?;
    let command = Command::Shell(format!("sha256sum <{}", quoted(path)));
    let ran = run_in(run, vm, &command, None).await?;
    let stdout = ran.stdout();
    let theirs = stdout.split_whitespace().next().unwrap_or_default();
    let what = format!("`{path}` in the guest of `{vm}`");
    if ran.how != Ended::Status(0) || theirs.len() != own.len() {
        let message = format!("cannot compare {what}: `{command}`: {}", ran.seen());
        return Err(Failure::failed(message).about(vm));
    }
    if theirs != own {
        let message = format!(
            "{what} differs from its copy on the host, which has {bytes} bytes: the SHA-256 is {theirs} in the guest and {own} on the host"
        );
        return Err(Failure::failed(message).about(vm));
    }
    Ok(json!({"bytes": bytes, "sha256": own, "seconds": seconds, "vm": ran.vm}))
}

/// The length of a file and its SHA-256.
fn sum(path: &Path) -> io::Result<(u64, String)> {
    let mut file = File::open(path)?;
    let (mut sum, mut bytes, mut piece) = (Context::new(&SHA256), 0, vec![0; 1 << 20]);
    loop {
        let read = file.read(&mut piece)?;
        if read == 0 {
            let digits = sum.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
            return Ok((bytes, digits));
        }
        sum.update(&piece[..read]);
        bytes += read as u64;
    }
}

/// Runs what may take long on a thread of its own.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_that_of_sha256sum() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, vec![7; 3_000_000]).unwrap();
        let output = std::process::Command::new("sha256sum").arg(&path).output().unwrap();
        let (bytes, own) = sum(&path).unwrap();
        assert_eq!(
            (bytes, own.as_str()),
            (3_000_000, String::from_utf8_lossy(&output.stdout).split(' ').next().unwrap())
        );
    }
}
