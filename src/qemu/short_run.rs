//! A QEMU that runs for a moment, to find out something about it.

use std::fs::File;
use std::io::{Read, Result, Seek, SeekFrom};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::UnixStream;

use super::process::{Launch, Process};

/// A QEMU with a character device `ours`, whose other end is a socket of the runner.
pub(super) struct ShortRun {
    pub process: Process,
    /// Its standard output and standard error.
    output: File,
}

impl ShortRun {
    /// Starts it with these arguments and descriptors; returns it and the socket.
    pub(super) fn start(
        binary: &Path,
        arguments: &[&str],
        inherit: Vec<Arc<OwnedFd>>,
    ) -> Result<(Self, UnixStream)> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let theirs = OwnedFd::from(theirs);
        let output = tempfile::tempfile()?;
        let chardev = format!("socket,id=ours,fd={}", theirs.as_raw_fd());
        let common = ["-nodefaults", "-no-user-config", "-display", "none", "-chardev", &chardev];
        let argv = common.iter().chain(arguments).map(|&word| word.to_owned());
        let launch = Launch {
            argv: std::iter::once(binary.display().to_string()).chain(argv).collect(),
            env: Default::default(),
            directory: PathBuf::from("/"),
            inherit: [vec![Arc::new(theirs)], inherit].concat(),
            stdin: None,
            stdout: output.try_clone()?,
            stderr: output.try_clone()?,
        };
        Ok((Self { process: Process::spawn(launch)?, output }, UnixStream::from_std(ours)?))
    }

    /// The start of what it has printed, up to this number of bytes.
    pub(super) fn output(&mut self, most: u64) -> String {
        let mut said = Vec::new();
        let output = &mut self.output;
        let _ = output.seek(SeekFrom::Start(0)).and_then(|_| output.take(most).read_to_end(&mut said));
        String::from_utf8_lossy(&said).into_owned()
    }
}

impl Drop for ShortRun {
    /// Waits for its end: the runtime that would notice that may end first, and leave a zombie.
    fn drop(&mut self) {
        self.process.kill_and_wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_it_is_left_when_its_runtime_has_ended() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let program = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/sleeps"));
        let start = || ShortRun::start(program, &[], Vec::new()).unwrap().0;
        let pid = runtime.block_on(async { start().process.pid() });
        drop(runtime);
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }
}
