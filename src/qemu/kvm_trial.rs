//! Tries KVM with a binary: `/dev/kvm` may exist and still not run a guest, as on many nested hosts.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt;

use super::process::wait_at_most;
use super::short_run::ShortRun;
use crate::units::elapsed;

/// How long the guest may take to show progress; normally it takes a fraction of a second.
const PATIENCE: Duration = Duration::from_secs(10);
/// The size of the smallest firmware that QEMU accepts.
const ROM: usize = 64 << 10;
/// Where the CPU starts: a jump to `CODE`.
const RESET: (usize, &[u8]) = (0xfff0, &[0xeb, 0xce]);
/// Writes `OUTPUT` to the first serial port, then halts.
const CODE: (usize, &[u8]) = (0xffc0, &[0xba, 0xf8, 0x03, 0xb0, OUTPUT, 0xee, 0xf4, 0xeb, 0xfd]);
const OUTPUT: u8 = b'L';

/// What the result depends on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Setup {
    /// The binary.
    pub binary: PathBuf,
    /// As for `-accel`.
    pub accel: String,
    /// The machine type; none: the binary's default.
    pub machine: Option<String>,
    /// As for `-cpu`.
    pub cpu: String,
}

impl Setup {
    fn arguments(&self) -> Vec<&str> {
        let machine = self.machine.iter().flat_map(|machine| ["-machine", machine.as_str()]);
        machine.chain(["-accel", &self.accel, "-cpu", &self.cpu]).collect()
    }

    /// Runs a guest of a few instructions. Only its output counts: a QEMU that stays alive may still not run it.
    ///
    /// # Errors
    /// Why the guest did not run, with QEMU's last lines.
    pub async fn attempt(&self) -> Result<(), String> {
        self.attempt_within(PATIENCE).await
    }

    async fn attempt_within(&self, patience: Duration) -> Result<(), String> {
        let outcome = match self.guest_runs(patience).await {
            Ok(outcome) => outcome,
            Err(error) => Err(error.to_string()),
        };
        outcome.map_err(|why| format!("KVM does not work with `{}`: {why}", self.arguments().join(" ")))
    }

    async fn guest_runs(&self, patience: Duration) -> std::io::Result<Result<(), String>> {
        let rom = rom()?;
        let bios = format!("/proc/self/fd/{}", rom.as_raw_fd());
        let mut arguments = self.arguments();
        arguments.extend(["-m", "16M", "-bios", &bios, "-serial", "chardev:ours"]);
        let (mut run, mut serial) = ShortRun::start(&self.binary, &arguments, vec![Arc::new(rom)])?;
        let mut output = [0];
        let answer = tokio::time::timeout(patience, serial.read_exact(&mut output)).await;
        Ok(match answer {
            Ok(Ok(_)) if output == [OUTPUT] => Ok(()),
            Ok(_) => {
                let ended = wait_at_most(&run.process, Duration::from_secs(2)).await;
                let how =
                    ended.map_or_else(|| "QEMU closed the serial port".to_owned(), |how| how.to_string());
                Err(with_last_lines(how, &run.output(64 << 10)))
            }
            Err(_) => {
                let how = format!("the guest did not run within {}", elapsed(patience));
                Err(with_last_lines(how, &run.output(64 << 10)))
            }
        })
    }
}

/// The firmware, as a file without a name.
fn rom() -> std::io::Result<OwnedFd> {
    let mut rom = vec![0; ROM];
    for (at, code) in [CODE, RESET] {
        rom[at..at + code.len()].copy_from_slice(code);
    }
    let file = rustix::fs::memfd_create("rom", rustix::fs::MemfdFlags::CLOEXEC)?;
    let mut file = File::from(file);
    file.write_all(&rom)?;
    Ok(file.into())
}

fn with_last_lines(how: String, said: &str) -> String {
    let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    match &lines[lines.len().saturating_sub(2)..] {
        [] => how,
        last => format!("{how}, saying: {}", last.join("; ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// The result with a script as the binary.
    async fn with(script: &str, patience: Duration) -> Result<(), String> {
        let folder = tempfile::tempdir().unwrap();
        let binary = folder.path().join("qemu");
        std::fs::write(&binary, format!("#!/usr/bin/env bash\n{script}\n")).unwrap();
        std::fs::set_permissions(&binary, PermissionsExt::from_mode(0o755)).unwrap();
        let machine = Some("q35".to_owned());
        let setup = Setup { binary, accel: "kvm".to_owned(), machine, cpu: "max".to_owned() };
        setup.attempt_within(patience).await
    }

    /// Finds the descriptor of the serial port.
    const SERIAL: &str = "for word; do case $word in socket,*fd=*) fd=${word##*fd=};; esac; done\n";

    #[tokio::test]
    async fn kvm_works_if_the_guest_runs_and_not_if_qemu_just_lives_or_dies() {
        assert_eq!(with(&format!("{SERIAL}printf L >&$fd; sleep 1000"), PATIENCE).await, Ok(()));
        let dead = with(
            "echo first >&2; echo error: no MSR >&2; echo 'Assertion failed' >&2; kill -ABRT $$",
            PATIENCE,
        )
        .await;
        let expected = "KVM does not work with `-machine q35 -accel kvm -cpu max`: signal ABRT, saying: error: no MSR; Assertion failed";
        assert_eq!(dead.unwrap_err(), expected);
        assert!(with("exit 0", PATIENCE).await.unwrap_err().ends_with("exit status 0"));
        // Output that is not the guest's.
        assert!(with(&format!("{SERIAL}printf X >&$fd"), PATIENCE).await.is_err());
    }

    #[tokio::test]
    async fn a_guest_that_does_not_run_is_not_awaited_forever() {
        let why = with("exec sleep 1000", Duration::from_millis(200)).await.unwrap_err();
        assert!(why.ends_with("the guest did not run within 200 ms"), "{why}");
    }

    #[tokio::test]
    async fn the_firmware_runs_on_real_qemus() {
        for accel in ["tcg", "tcg,thread=single"] {
            for machine in ["pc", "q35"] {
                let Ok(binary) = super::super::binary::find("qemu-system-x86_64") else { return };
                let machine = Some(machine.to_owned());
                let setup = Setup { binary, accel: accel.to_owned(), machine, cpu: "max".to_owned() };
                assert_eq!(setup.attempt().await, Ok(()));
            }
        }
    }
}
