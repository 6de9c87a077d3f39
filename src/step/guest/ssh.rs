//! Commands in a guest by its SSH server.
//!
//! Each command has a connection of its own. If the VM itself forwards the port, its QEMU has the connection, so it breaks
//! when the guest moves to another VM; else it is between the guest and something outside, and goes on there.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::time::Duration;

use tempfile::NamedTempFile;
use tokio::time::Instant;

use super::place::{Left, left};
use super::{Command, Ran};
use crate::qemu::access::Access;
use crate::qemu::process::Ended;
use crate::qemu::ssh::{Entry, FOLDER, Reached, Refusal, Ssh, is_of_command, refusal, said};
use crate::session::process::{Background, from_start, input};
use crate::session::{Cause, Failure};
use crate::step::running::Running;

/// How long the server may take to greet, twice as long each time up to a limit: a guest that boots drops what arrives.
const GREETS: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(40);
/// The pause before the next attempt.
const AGAIN: Duration = Duration::from_millis(500);

/// A command that has ended.
pub(super) struct Done {
    /// The VM in which it ended.
    pub(super) vm: String,
    /// How it ended.
    pub(super) how: Ended,
    /// The process of `ssh`, which has its outputs.
    pub(super) process: Background,
}

/// Runs a command by SSH.
pub(super) async fn run(
    run: &Running<'_>,
    vm: &str,
    command: &Command,
    stdin: Option<&str>,
) -> Result<Ran, Failure> {
    let began = Instant::now();
    let what = format!("`{command}` in the guest of `{vm}`");
    let stdin = stdin.map(|text| input(text, run.session.directory())).transpose()?;
    let done = enter(run, vm, &what, &command.remote_script(), stdin.as_ref()).await?;
    let outputs = done.process.outputs();
    let [stdout, stderr] =
        outputs.map_err(|error| Failure::error(format!("cannot read the output of ssh: {error}")))?;
    Ok(Ran { vm: done.vm, how: done.how, stdout, stderr, took: began.elapsed() })
}

/// Runs a script by SSH; `what` is what it does, in words. Waits until the server answers.
pub(super) async fn enter(
    run: &Running<'_>,
    vm: &str,
    what: &str,
    script: &str,
    stdin: Option<&File>,
) -> Result<Done, Failure> {
    let mut place = vm.to_owned();
    let (mut patience, mut last) = (GREETS, String::new());
    loop {
        let attempt = Attempt::start(run, &place, script, stdin, patience)?;
        match attempt.outcome(run, &mut place, what, &last).await? {
            Outcome::Done(how) => return Ok(Done { vm: place, how, process: attempt.process }),
            Outcome::Moved => {}
            Outcome::Unreached(why) => {
                last = why;
                patience = (patience * 2).min(LONGEST);
                let again = Instant::now() + AGAIN;
                if again >= run.deadline {
                    return Err(attempt.late(run, &place, what, &last));
                }
                // Nothing tells when a server starts to listen in the guest.
                tokio::time::sleep_until(again).await;
            }
        }
    }
}

/// One connection.
struct Attempt {
    vm: String,
    ssh: Ssh,
    entry: Entry,
    process: Background,
    log: NamedTempFile,
}

/// How an attempt ended.
enum Outcome {
    /// The command has ended.
    Done(Ended),
    /// The server has not got the command, for this reason.
    Unreached(String),
    /// The same, because the guest has moved.
    Moved,
}

impl Attempt {
    fn start(
        run: &Running<'_>,
        vm: &str,
        script: &str,
        stdin: Option<&File>,
        patience: Duration,
    ) -> Result<Self, Failure> {
        let session = &run.session;
        let machine = session.machine(vm)?;
        let ssh = machine.plan.spec.guest.access().and_then(Access::ssh).cloned();
        let Some((ssh, entry)) = ssh.and_then(|ssh| Some((ssh.clone(), ssh.entry?))) else {
            return Err(Failure::error(format!("VM `{vm}` has no `access: ssh` to its guest")).about(vm));
        };
        let broken = |error: io::Error| Failure::error(format!("cannot start ssh: {error}")).about(vm);
        let log = NamedTempFile::new_in(session.directory().join(FOLDER)).map_err(broken)?;
        let stdin = stdin.map(from_start).transpose().map_err(broken)?;
        let argv = entry.argv(vm, &ssh.user, log.path(), patience, script);
        let around = (session.board(), session.notes());
        let process = Background::start(argv, BTreeMap::new(), stdin, session.directory(), around, |_| None)?;
        Ok(Self { vm: vm.to_owned(), ssh, entry, process, log })
    }

    /// Waits for its end; `place` follows the guest. `last` is why the attempt before failed.
    async fn outcome(
        &self,
        run: &Running<'_>,
        place: &mut String,
        what: &str,
        last: &str,
    ) -> Result<Outcome, Failure> {
        loop {
            let moved = tokio::select! {
                biased;
                how = self.process.wait() => return self.ended(what, place, how),
                moved = left(run, place, what) => moved,
                () = tokio::time::sleep_until(run.deadline) => return Err(self.late(run, place, what, last)),
            };
            match moved {
                Left::Lost(failure) => return Err(failure),
                Left::Moved(to) if !self.entry.is_forwarded => *place = to,
                Left::Moved(to) if Reached::of(&self.log()) == Reached::Nothing => {
                    *place = to;
                    return Ok(Outcome::Moved);
                }
                Left::Moved(to) => {
                    let message = format!(
                        "{what}: the guest moved to `{to}`, and its SSH connection did not survive that: it ends in the user-mode network of `{}`, whose connections do not migrate; give `access: {{ssh: {{address: …}}}}` a port that a network of the case forwards",
                        self.vm
                    );
                    return Err(Failure::failed(message).about(&self.vm));
                }
            }
        }
    }

    /// What it means that `ssh` has ended.
    fn ended(&self, what: &str, place: &str, how: Ended) -> Result<Outcome, Failure> {
        let log = self.log();
        if matches!(how, Ended::Status(status) if is_of_command(status, &log)) {
            return Ok(Outcome::Done(how));
        }
        // It says on its standard error, too, that the server has gone.
        let said = match (said(&log), self.process.output_tail()) {
            (said, tail) if said.is_empty() && tail.is_empty() => format!("ssh ended with {how}"),
            (said, tail) => format!("ssh said: {}", if said.is_empty() { tail } else { said }),
        };
        let (address, user) = (self.entry.address(), &self.ssh.user);
        if Reached::of(&log) != Reached::Nothing {
            let moved = if *place == self.vm {
                String::new()
            } else {
                format!(", after the guest moved to `{place}`")
            };
            let message =
                format!("{what}: the SSH connection to {address} broke before it ended{moved}; {said}");
            return Err(Failure::failed(message).about(place));
        }
        let Some(why) = refusal(&log) else { return Ok(Outcome::Unreached(said)) };
        let key = match &self.ssh.key {
            Some(path) => format!("the key is {path}"),
            None => "the key was made for the case; the guest takes it from the credential `ssh.authorized_keys.root`, as systemd 252 and later does".to_owned(),
        };
        let message = match why {
            Refusal::Key => {
                format!("the SSH server at {address} refuses the key for `{user}`; {said}; {key}")
            }
            Refusal::HostKey => {
                format!("the SSH server at {address} has another host key than at the first connection")
            }
            Refusal::Algorithms => {
                format!("the SSH server at {address} has no algorithm in common with ssh; {said}")
            }
        };
        Err(Failure::failed(format!("{what}: {message}")).about(place))
    }

    /// The failure at the deadline.
    fn late(&self, run: &Running<'_>, place: &str, what: &str, last: &str) -> Failure {
        let log = self.log();
        let (awaited, seen) = if Reached::of(&log) == Reached::Nothing {
            let now = said(&log);
            let said = match (now.as_str(), last) {
                ("", "") => "ssh said nothing".to_owned(),
                ("", last) => last.to_owned(),
                (now, _) => format!("ssh said: {now}"),
            };
            let address = self.entry.address();
            let why = match () {
                () if said.contains("Connection refused") => format!("nothing listens at {address}"),
                () if self.entry.is_forwarded => {
                    "no answer from port 22 of 10.0.2.15 in the guest".to_owned()
                }
                () => format!("no answer from {address}"),
            };
            (format!("{what}: an SSH server at {address}"), format!("{why}; {said}"))
        } else {
            (format!("{what} to end"), "it has been started and has not ended".to_owned())
        };
        let waited = run.began.elapsed();
        Failure::from(Cause::Timeout { awaited, waited, seen }).about(place)
    }

    /// What `ssh` has logged so far.
    fn log(&self) -> String {
        let bytes = std::fs::read(self.log.path()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}
