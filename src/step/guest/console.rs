//! Commands in a guest by a shell on its serial port.
//!
//! Each line that is typed ends with an `echo` of a unique mark. The line has the mark in two parts, so that its echo on the
//! terminal is not the mark. What a command reads and writes goes as base64, so that any bytes pass the terminal. If the
//! guest migrates, the output of its new VM continues that of the old one.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use regex::{Captures, Regex};
use tokio::time::{Instant, timeout_at};

use super::place::{Left, left};
use super::{Command, Ran};
use crate::qemu::access::Console;
use crate::qemu::process::Ended;
use crate::session::{Cause, Failure};
use crate::step::running::Running;

/// How long to wait for a prompt until Enter is pressed again: what is typed before a shell reads it may be lost.
const AGAIN: Duration = Duration::from_secs(3);
/// How long a login may take before it is tried again.
const LOGS_IN: Duration = Duration::from_secs(30);
/// The end of a line, as a regular expression.
const END: &str = r"\r?\n";
/// How many base64 digits are typed in one line. A terminal takes 4096 characters, busybox's shell 1024.
const PIECE: usize = 600;
/// The longest output that is read back.
const LONGEST: usize = 1 << 20;
/// How often the output is read back if a message of the kernel came between.
const READS: usize = 3;

/// Control sequences of a terminal.
static CONTROL: LazyLock<Regex> =
    LazyLock::new(|| expression(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07]*\x07|[\r\x00]"));
static LOGIN: LazyLock<Regex> = LazyLock::new(|| expression(r"(?i)login: *$"));
static PASSWORD: LazyLock<Regex> = LazyLock::new(|| expression(r"(?i)password: *$"));
static PROMPT: LazyLock<Regex> = LazyLock::new(|| expression(r"[#$%>] *$"));

fn expression(text: &str) -> Regex {
    Regex::new(text).expect("the expression is right")
}

/// What a serial port shows after Enter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    Login,
    Password,
    Prompt,
}

/// What the last line of some output is.
fn shown(output: &str) -> Option<Shown> {
    let plain = CONTROL.replace_all(output, "");
    let last = plain.rsplit('\n').next().unwrap_or_default();
    // The line about the last login may have arrived in part.
    let is_login = LOGIN.is_match(last) && !last.trim_end().ends_with("Last login:");
    match () {
        () if is_login => Some(Shown::Login),
        () if PASSWORD.is_match(last) => Some(Shown::Password),
        () if PROMPT.is_match(last) => Some(Shown::Prompt),
        () => None,
    }
}

/// A mark as it is typed, and as it is printed.
fn mark() -> (String, String) {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let number = LAST.fetch_add(1, Ordering::Relaxed) + 1;
    (format!("'lock''step-{number}-'"), format!("lockstep-{number}-"))
}

/// Runs a command by a shell on the serial port.
pub(super) async fn run(
    run: &Running<'_>,
    vm: &str,
    console: &Console,
    command: &Command,
    stdin: Option<&str>,
) -> Result<Ran, Failure> {
    let what = format!("`{command}` in the guest of `{vm}`");
    let mut shell = Shell { run, what, places: vec![(vm.to_owned(), 0)] };
    shell.ready(console).await?;
    shell.put("L", command.script().as_bytes()).await?;
    shell.put("I", stdin.unwrap_or_default().as_bytes()).await?;
    let began = Instant::now();
    let ended = shell.exchange(&run_line(), r"(\d+) +(\d*) *(\d*)\r?\n", run.deadline).await;
    let Some(numbers) = ended? else {
        let failure = shell.late(" to end");
        // So that the shell can be used again.
        let _ = shell.send("\x03").await;
        return Err(failure);
    };
    let took = began.elapsed();
    let number = |at: usize| numbers[at].parse::<usize>().ok();
    let (Some(status), Some(out), Some(err)) = (number(0), number(1), number(2)) else {
        let why = "its shell needs the programs `mktemp`, `base64` and `wc`, and a writable `/tmp`";
        return Err(Failure::failed(format!("{}: {why}; {}", shell.what, shell.seen())).about(shell.vm()));
    };
    let [stdout, stderr] = shell.output([out, err]).await?;
    let how = Ended::Status(i32::try_from(status).unwrap_or(i32::MAX));
    Ok(Ran { vm: shell.vm().to_owned(), how, stdout, stderr, took })
}

/// Runs the script in `$L` with the standard input in `$I`; prints its status and the sizes of its outputs.
fn run_line() -> String {
    let command =
        r#"D=$(mktemp -d)&&printf %s "$I"|base64 -d|sh -c "$(printf %s "$L"|base64 -d)" >"$D/o" 2>"$D/e""#;
    format!(r#"{command};S=$?;echo MARK"$S "$(wc -c <"$D/o")" "$(wc -c <"$D/e")"#)
}

struct Shell<'r> {
    run: &'r Running<'r>,
    /// What is run, in words.
    what: String,
    /// The VMs whose serial ports have had the guest's output since the last line was typed, and where it starts in each.
    places: Vec<(String, usize)>,
}

impl Shell<'_> {
    /// The VM that has the guest.
    fn vm(&self) -> &str {
        self.places.last().map_or("", |(vm, _)| vm)
    }

    /// What the guest has printed since the last line was typed.
    fn printed(&self) -> String {
        let mut bytes = Vec::new();
        for (vm, from) in &self.places {
            if let Ok(machine) = self.run.session.machine(vm) {
                bytes.extend_from_slice(machine.log.lock().serial_from(*from));
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn seen(&self) -> String {
        let machine = self.run.session.machine(self.vm());
        let tail = machine.map(|machine| machine.log.lock().serial_tail(5)).unwrap_or_default();
        if tail.is_empty() {
            "no output on the serial port".to_owned()
        } else {
            format!("its serial port: {tail}")
        }
    }

    fn late(&self, awaited: &str) -> Failure {
        let (awaited, waited) = (format!("{}{awaited}", self.what), self.run.began.elapsed());
        Failure::from(Cause::Timeout { awaited, waited, seen: self.seen() }).about(self.vm())
    }

    /// Types a text. What is printed counts from here.
    async fn send(&mut self, text: &str) -> Result<(), Failure> {
        let vm = self.vm().to_owned();
        let machine = self.run.session.machine(&vm)?;
        machine.catch_up();
        let from = machine.log.lock().serial_end();
        let sent = timeout_at(self.run.patience(), machine.type_text(text)).await;
        self.places = vec![(vm, from)];
        sent.unwrap_or_else(|_| Err(self.late(": the serial port takes no input")))
    }

    /// Waits until `look` finds something in what is printed; None at this time.
    async fn wait<T>(
        &mut self,
        look: impl Fn(&str) -> Option<T>,
        end: Instant,
    ) -> Result<Option<T>, Failure> {
        let run = self.run;
        let mut changes = run.session.board().changes();
        loop {
            let (vm, what) = (self.vm().to_owned(), self.what.clone());
            let mut left = std::pin::pin!(left(run, &vm, &what));
            let left = loop {
                changes.borrow_and_update();
                if let Some(found) = look(&self.printed()) {
                    return Ok(Some(found));
                }
                tokio::select! {
                    biased;
                    left = &mut left => break left,
                    _ = changes.changed() => {}
                    () = tokio::time::sleep_until(end) => {
                        run.session.machine(&vm)?.catch_up();
                        return Ok(look(&self.printed()));
                    }
                }
            };
            match left {
                Left::Lost(failure) => return Err(failure),
                Left::Moved(to) => {
                    run.session.machine(&vm)?.catch_up();
                    let from = run.mark(&to).serial;
                    self.places.push((to, from));
                }
            }
        }
    }

    /// Types a line in which `MARK` is a unique mark, and waits until that has been printed and what follows matches. The
    /// groups of the match; None at this time.
    async fn exchange(
        &mut self,
        line: &str,
        then: &str,
        end: Instant,
    ) -> Result<Option<Vec<String>>, Failure> {
        let (typed, printed) = mark();
        let pattern = expression(&format!("(?s){printed}{}", then.replace("MARK", &printed)));
        self.send(&format!("{}\n", line.replace("MARK", &typed))).await?;
        let groups = |found: Captures<'_>| {
            found
                .iter()
                .skip(1)
                .map(|group| group.map_or_else(String::new, |group| group.as_str().to_owned()))
                .collect()
        };
        self.wait(|output| pattern.captures(output).map(groups), end).await
    }

    /// The time at which something else is tried.
    fn soon(&self, patience: Duration) -> Instant {
        (Instant::now() + patience).min(self.run.deadline)
    }

    /// Waits for a shell, after a login if the serial port asks for one.
    async fn ready(&mut self, console: &Console) -> Result<(), Failure> {
        loop {
            self.send("\n").await?;
            match self.wait(shown, self.soon(AGAIN)).await? {
                Some(Shown::Login) => self.log_in(console).await?,
                Some(Shown::Prompt) => {
                    if self.exchange("echo MARK", END, self.soon(AGAIN)).await?.is_some() {
                        return Ok(());
                    }
                }
                Some(Shown::Password) | None => {}
            }
            if Instant::now() >= self.run.deadline {
                return Err(self.late(": a shell on the serial port"));
            }
        }
    }

    /// Logs in at the prompt for a user.
    async fn log_in(&mut self, console: &Console) -> Result<(), Failure> {
        let failed = |shell: &Self, why: String| {
            Err(Failure::failed(format!("{}: the serial port asks for {why}", shell.what)).about(shell.vm()))
        };
        let Some(user) = &console.user else {
            return failed(self, "a login, but `access` has no `user`".to_owned());
        };
        self.send(&format!("{user}\n")).await?;
        let next = |output: &str| shown(output).filter(|shown| *shown != Shown::Login);
        if self.wait(next, self.soon(LOGS_IN)).await? != Some(Shown::Password) {
            return Ok(());
        }
        let Some(password) = &console.password else {
            return failed(self, format!("the password of `{user}`, but `access` has no `password`"));
        };
        self.send(&format!("{password}\n")).await?;
        match self.wait(shown, self.soon(LOGS_IN)).await? {
            Some(Shown::Login) => failed(self, format!("a login again after that of `{user}`")),
            _ => Ok(()),
        }
    }

    /// Puts bytes into a variable of the shell, as base64.
    async fn put(&mut self, variable: &str, bytes: &[u8]) -> Result<(), Failure> {
        let digits = STANDARD.encode(bytes);
        let mut before = String::new();
        let mut rest = digits.as_str();
        loop {
            let (piece, after) = rest.split_at(rest.len().min(PIECE));
            let line = format!("{variable}={before}{piece};echo MARK");
            if self.exchange(&line, END, self.run.deadline).await?.is_none() {
                return Err(self.late(": its shell does not answer"));
            }
            if after.is_empty() {
                return Ok(());
            }
            (before, rest) = (format!("${{{variable}}}"), after);
        }
    }

    /// Reads the outputs back, which have these sizes, and removes them.
    async fn output(&mut self, sizes: [usize; 2]) -> Result<[Vec<u8>; 2], Failure> {
        if sizes.iter().any(|size| *size > LONGEST) {
            let message = "its output is longer than 1 MiB; use `access: agent`";
            return Err(Failure::failed(format!("{}: {message}", self.what)).about(self.vm()));
        }
        let line = r#"echo MARKa;base64 "$D/o";echo MARKb;base64 "$D/e";echo MARKc"#;
        for _ in 0..READS {
            let then = r"a\r?\n(.*)MARKb\r?\n(.*)MARKc\r?\n";
            let Some(groups) = self.exchange(line, then, self.run.deadline).await? else {
                return Err(self.late(": its output"));
            };
            let read = |at: usize| decoded(&groups[at]).filter(|bytes| bytes.len() == sizes[at]);
            if let (Some(stdout), Some(stderr)) = (read(0), read(1)) {
                self.exchange(r#"rm -r "$D";echo MARK"#, END, self.run.deadline).await?;
                return Ok([stdout, stderr]);
            }
        }
        let message = "its output is mixed with other output on the serial port";
        Err(Failure::failed(format!("{}: {message}; {}", self.what, self.seen())).about(self.vm()))
    }
}

/// The bytes of lines of base64; lines of anything else are left out.
fn decoded(lines: &str) -> Option<Vec<u8>> {
    let is_digit = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte);
    let lines = lines.lines().map(str::trim).filter(|line| line.bytes().all(is_digit));
    STANDARD.decode(lines.collect::<String>()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_a_prompt_or_asks_for_a_user_or_a_password() {
        for (output, expected) in [
            ("\r\n~ # \x1b[6n", Some(Shown::Prompt)),
            ("\x1b[?2004hroot@debian:~$ ", Some(Shown::Prompt)),
            ("Debian GNU/Linux 13 debian ttyS0\r\n\r\ndebian login: ", Some(Shown::Login)),
            ("root\r\nPassword: ", Some(Shown::Password)),
            ("\r\nLast login: ", None),
            ("[    1.0] a message\r\n", None),
            ("~ # \r\n[    1.0] a message", None),
            ("", None),
        ] {
            assert_eq!(shown(output), expected, "{output:?}");
        }
    }

    #[test]
    fn a_mark_is_not_in_the_line_that_is_typed() {
        let (typed, printed) = mark();
        let line = run_line().replace("MARK", &typed);
        assert!(!line.contains(&printed), "{line}");
        // The longest line, with room for the shell's own.
        assert!(line.len() < 1000 && PIECE < 900, "{line}");
    }

    #[test]
    fn output_is_decoded_without_the_lines_between() {
        assert_eq!(decoded("AP8=\r\n").unwrap(), [0, 255]);
        assert_eq!(decoded("AAAA\n[ 1.0] usb 1-1: new\nAP8=\n").unwrap(), [0, 0, 0, 0, 255]);
        assert_eq!(decoded("").unwrap(), [0; 0]);
        assert_eq!(decoded("AP8[ 1.0] usb\n="), None);
    }

    /// In a shell of this host.
    #[test]
    fn the_line_runs_a_script_and_prints_its_status_and_the_sizes_of_its_outputs() {
        let script =
            format!("L={};I={};", STANDARD.encode("cat; echo error >&2; exit 7"), STANDARD.encode("in"));
        let script = script + &run_line() + r#";cat "$D/o";rm -r "$D""#;
        let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "MARK7 2 6\nin");
    }
}
