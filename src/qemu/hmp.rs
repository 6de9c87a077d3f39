//! The human monitor through `human-monitor-command`: its reply is text, and errors are ordinary replies.

/// The QMP command that runs a human monitor command.
pub const CARRIER: &str = "human-monitor-command";

/// How the monitor's own error lines begin, for any command.
const MONITOR: &[&str] = &["error:", "error ", "unknown command:", "try \"help "];

/// How lines begin or end in which a command reports an error (QEMU 7.2 to 11.1). `info` and `help` are excluded,
/// since they may print anything.
const BEGINNINGS: &[&str] = &[
    "cannot ",
    "could not ",
    "expected ",
    "failed ",
    "gdbstub: couldn't",
    "id or pci device path is invalid",
    "invalid ",
    "must specify ",
    "no memory is mapped",
    "no such ",
    "replay must be enabled",
    "setting the breakpoint is allowed only",
    "there is no ",
    "there's no ",
    "unable to ",
    "unexpected ",
    "unknown ",
];
const ENDINGS: &[&str] =
    &[" not found", " not in use", " cannot access memory", " not supported", " is not available"];

/// The error lines of a reply, joined; `None` if there are none.
#[must_use]
pub fn refusal(command: &str, reply: &str) -> Option<String> {
    let prints_anything = matches!(word(command), "info" | "help" | "?");
    let reports = |line: &str| {
        let line = line.to_lowercase();
        let begins = |words: &[&str]| words.iter().any(|words| line.starts_with(words));
        begins(MONITOR)
            || !prints_anything && (begins(BEGINNINGS) || ENDINGS.iter().any(|words| line.ends_with(words)))
    };
    let errors: Vec<&str> = reply.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    errors.iter().any(|line| reports(line)).then(|| errors.join("; "))
}

/// The name of the command in a command line.
#[must_use]
pub fn word(command: &str) -> &str {
    command.split_whitespace().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_with_errors_are_recognized() {
        for (command, reply) in [
            ("loadvm two", "Error: Snapshot 'two' does not exist in one or more devices\r\n"),
            ("nosuch", "unknown command: 'nosuch'\r\n"),
            ("info nosuch", "unknown command: 'info nosuch'\r\n"),
            ("delvm", "delvm: string expected\r\nTry \"help delvm\" for more information\r\n"),
            ("drive_add 0 x", "warning: short-form option\r\nMust specify either driver or file\r\n"),
            ("drive_del x", "Device 'x' not found\r\n"),
            ("log cpu", "Error opening logfile /nosuch: No such file or directory\r\n"),
            ("x /2xw 0xfffffffffffff", "000fffffffffffff: Cannot access memory\r\n"),
            ("sendkey foo", "invalid parameter: foo\r\n"),
            ("gpa2hva 0xffffffffff", "No memory is mapped at address 0xffffffffff\r\n"),
            ("trace-event x on", "unknown event \"x\"\r\n"),
        ] {
            assert!(refusal(command, reply).is_some(), "{command}: {reply}");
        }
        for (command, reply) in [
            ("savevm one", ""),
            ("drive_add 0 if=none", "OK\r\n"),
            ("boot_set d", "boot device list now set to d\r\n"),
            ("info migrate", "Migration status: failed (error parsing address 'foo')\r\n"),
            ("info status", "VM status: paused (internal-error)\r\n"),
            ("info usb", "  Device 0.0, Port 1, Speed 12 Mb/s\r\nUnknown device\r\n"),
            ("stopcapture 4", "warning: 'stopcapture' is deprecated since v10.2\r\n"),
        ] {
            assert_eq!(refusal(command, reply), None, "{command}");
        }
    }
}
