//! What the benches that run Lockstep share.

use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// What the kernel counted for a process.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Used {
    /// The high-water mark of its memory, in kB.
    pub memory: u64,
    /// The processor time of the process, in ticks.
    pub own: u64,
    /// That of its children that have ended.
    pub children: u64,
}

/// A run of Lockstep under emulation, on `LOCKSTEP_QEMU`, else the newest below `.qemu`, else the one on the `PATH`.
pub(crate) fn lockstep(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lockstep"));
    command.args(["run", "--accel", "tcg"]).args(arguments).stdout(Stdio::null());
    if std::env::var_os("LOCKSTEP_QEMU").is_none()
        && let Some(qemu) = unpacked()
    {
        command.arg("--qemu").arg(qemu);
    }
    command
}

/// Waits for a process, and reads what it used.
pub(crate) fn watch(mut child: Child) -> (ExitStatus, Used) {
    let folder = PathBuf::from(format!("/proc/{}", child.id()));
    let read = |file: &str| std::fs::read_to_string(folder.join(file)).unwrap_or_default();
    let mut used = Used::default();
    loop {
        let status = read("status");
        let mark = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let mark = mark.and_then(|mark| mark.trim().trim_end_matches(" kB").parse().ok());
        used.memory = used.memory.max(mark.unwrap_or(0));
        // The fields after the program's name: the times are the 14th to the 17th of all.
        let stat = read("stat");
        let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ').skip(11);
        let times: Vec<u64> = fields.take(4).filter_map(|field| field.parse().ok()).collect();
        if let [user, system, of_children, system_of_children] = times[..] {
            used.own = used.own.max(user + system);
            used.children = used.children.max(of_children + system_of_children);
        }
        if let Some(ended) = child.try_wait().unwrap() {
            return (ended, used);
        }
        // All of them only grow, so that looking often is enough to see the last of them.
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The newest QEMU below `.qemu`, by its own word.
fn unpacked() -> Option<PathBuf> {
    let pattern = concat!(env!("CARGO_MANIFEST_DIR"), "/.qemu/*/bin/qemu-system-x86_64");
    let version = |path: &PathBuf| {
        let said = Command::new(path).arg("--version").output().ok()?;
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        said.split("version ").nth(1)?.split_whitespace().next()?.parse::<semver::Version>().ok()
    };
    glob::glob(pattern).ok()?.filter_map(Result::ok).max_by_key(version)
}
