//! The way into a guest by its SSH server, with the host's OpenSSH.

use std::path::Path;
use std::time::Duration;

use schemars::JsonSchema;
use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// The directory for keys, below the case's directory, in which `ssh` runs.
pub const FOLDER: &str = ".lockstep-ssh";

/// The exit status of `ssh` if it fails itself.
const FAILED: i32 = 255;

/// The beginnings of log lines that are not messages of `ssh`.
const SILENT: [&str; 5] =
    ["debug", "Authenticated to", "Transferred:", "Bytes per second:", "Warning: Permanently added"];

/// The guest's SSH server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ssh {
    /// The user to log in as. Default: `root`.
    #[serde(default = "root")]
    pub user: String,
    /// The path of a private key that the guest accepts for this user. Default: a key made for the case. The VM gives the
    /// guest its public part as systemd's credential `ssh.authorized_keys.root` (SMBIOS), so it is for `root` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The address of the server, `HOST:PORT`, such as a port that a network of the case forwards to the guest. Default:
    /// a port of 127.0.0.1. The VM then gets a `virtio-net-pci` after its `devices`, on a user-mode network of its own that
    /// forwards this port to port 22 of 10.0.2.15, the address that its DHCP server gives.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "address")]
    pub address: Option<String>,
    /// How to reach the server, once the session knows that.
    #[serde(skip)]
    pub entry: Option<Entry>,
}

/// How to reach an SSH server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its host.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Whether the VM forwards the port, on a network of its own.
    pub is_forwarded: bool,
    /// The file with the private key, relative to the case's directory.
    pub key: String,
    /// The public key, if it was made for the case.
    pub public: Option<String>,
}

/// How far `ssh` has got with a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reached {
    /// The server has not got the command.
    Nothing,
    /// The command has been sent.
    Sent,
    /// The server has started it.
    Started,
}

/// Why `ssh` and the server do not agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The server does not accept the key.
    Key,
    /// The server's own key has changed.
    HostKey,
    /// They have no algorithm in common.
    Algorithms,
}

fn root() -> String {
    "root".to_owned()
}

fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
    // A template that only the run can render is parsed again then.
    if text.contains("{{") || split(&text).is_some() {
        return Ok(Some(text));
    }
    Err(de::Error::custom(format!("`{text}` is not an address with a port; write it like `127.0.0.1:2222`")))
}

/// The host and the port of an address.
#[must_use]
pub fn split(address: &str) -> Option<(String, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = port.parse().ok().filter(|port| *port != 0)?;
    (!host.is_empty()).then(|| (host.to_owned(), port))
}

/// The name under which the port of a VM's SSH server is reserved. No port of a scenario has an `@` in its name.
#[must_use]
pub fn port_name(vm: &str) -> String {
    format!("{vm}@ssh")
}

impl Default for Ssh {
    fn default() -> Self {
        Self { user: root(), key: None, address: None, entry: None }
    }
}

impl Ssh {
    pub(super) fn checked(self) -> Result<Self, &'static str> {
        match (&self.key, self.user.as_str()) {
            (_, "") => Err("the user's name is empty; write `user: root`"),
            (Some(_), _) | (None, "root") => Ok(self),
            (None, _) => Err("the key that is made for the case is for `root`; add `key: PATH`"),
        }
    }
}

impl Entry {
    /// The options of QEMU for it.
    #[must_use]
    pub fn options(&self) -> Vec<(&'static str, String)> {
        let mut options = Vec::new();
        if self.is_forwarded {
            let forward = [json!({"str": format!("tcp:{}:{}-:22", self.host, self.port)})];
            let network = json!({"type": "user", "id": "lockstep-ssh", "ipv6": false, "restrict": true, "hostfwd": forward});
            let card = json!({"driver": "virtio-net-pci", "netdev": "lockstep-ssh", "id": "lockstep-ssh", "romfile": ""});
            options.extend([("-netdev", network.to_string()), ("-device", card.to_string())]);
        }
        if let Some(public) = &self.public {
            let credential = format!("io.systemd.credential:ssh.authorized_keys.root={public}");
            options.push(("-smbios", format!("type=11,value={}", credential.replace(',', ",,"))));
        }
        options
    }

    /// The command that runs a script in the guest of this VM. It uses no file of the user, and logs to this one.
    #[must_use]
    pub fn argv(&self, vm: &str, user: &str, log: &Path, patience: Duration, script: &str) -> Vec<String> {
        let mut argv: Vec<String> = ["ssh", "-F", "none", "-T", "-E"].map(str::to_owned).to_vec();
        argv.push(log.display().to_string());
        for option in [
            "LogLevel=DEBUG2",
            "BatchMode=yes",
            "PreferredAuthentications=publickey",
            "IdentitiesOnly=yes",
            "IdentityAgent=none",
            // The guest's key is known from the first connection on.
            "StrictHostKeyChecking=accept-new",
            &format!("UserKnownHostsFile={FOLDER}/known_hosts"),
            "GlobalKnownHostsFile=/dev/null",
            "UpdateHostKeys=no",
            &format!("HostKeyAlias={vm}"),
            &format!("ConnectTimeout={}", patience.as_secs().max(1)),
        ] {
            argv.extend(["-o".to_owned(), option.to_owned()]);
        }
        let port = self.port.to_string();
        argv.extend(["-i", &self.key, "-p", &port, "-l", user, "--", &self.host, script].map(str::to_owned));
        argv
    }

    /// Its address for messages.
    #[must_use]
    pub fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

impl Reached {
    /// By what `ssh` has logged.
    #[must_use]
    pub fn of(log: &str) -> Self {
        let has = |start: &str| log.lines().any(|line| line.starts_with(start));
        match () {
            () if has("debug2: exec request accepted") => Self::Started,
            () if has("debug1: Sending command: ") => Self::Sent,
            () => Self::Nothing,
        }
    }
}

/// Whether this exit status of `ssh` is that of the command.
#[must_use]
pub fn is_of_command(status: i32, log: &str) -> bool {
    status != FAILED || log.trim_end().lines().next_back() == Some(&format!("debug1: Exit status {FAILED}"))
}

/// The last messages of `ssh`, in one line.
#[must_use]
pub fn said(log: &str) -> String {
    let is_message =
        |line: &&str| !line.trim().is_empty() && SILENT.iter().all(|start| !line.starts_with(start));
    let said: Vec<&str> = log.lines().map(str::trim_end).filter(is_message).collect();
    said[said.len().saturating_sub(2)..].join("; ")
}

/// Why the server will not let us in at a later attempt either.
#[must_use]
pub fn refusal(log: &str) -> Option<Refusal> {
    let words = [
        ("Permission denied (", Refusal::Key),
        ("Host key verification failed.", Refusal::HostKey),
        ("Unable to negotiate with ", Refusal::Algorithms),
    ];
    let said = said(log);
    words.into_iter().find(|(words, _)| said.contains(words)).map(|(_, why)| why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        let (key, public) = (format!("{FOLDER}/key"), Some("ssh-ed25519 AAAA lockstep".to_owned()));
        Entry { host: "127.0.0.1".to_owned(), port: 2022, is_forwarded: true, key, public }
    }

    #[test]
    fn a_vm_gets_a_card_and_a_key_of_its_own() {
        let words: Vec<String> =
            entry().options().into_iter().map(|(option, value)| format!("{option} {value}")).collect();
        assert!(words[0].contains(r#"{"str":"tcp:127.0.0.1:2022-:22"}"#), "{words:?}");
        assert_eq!(
            words[2],
            "-smbios type=11,value=io.systemd.credential:ssh.authorized_keys.root=ssh-ed25519 AAAA lockstep"
        );
        let given = Entry { is_forwarded: false, public: None, ..entry() };
        assert_eq!(given.options(), []);
    }

    #[test]
    fn no_file_of_the_user_is_used() {
        let argv = entry().argv("vm", "root", Path::new("log"), Duration::from_secs(9), "true");
        let line = argv.join(" ");
        assert!(line.starts_with("ssh -F none -T -E log "), "{line}");
        assert!(line.contains("UserKnownHostsFile=.lockstep-ssh/known_hosts "), "{line}");
        assert!(
            line.contains("GlobalKnownHostsFile=/dev/null ") && line.contains("IdentityAgent=none "),
            "{line}"
        );
        assert!(
            line.ends_with("ConnectTimeout=9 -i .lockstep-ssh/key -p 2022 -l root -- 127.0.0.1 true"),
            "{line}"
        );
    }

    #[test]
    fn the_log_tells_how_far_a_command_has_got() {
        let sent = "debug1: Entering interactive session.\ndebug1: Sending command: exit 3\n";
        assert_eq!(Reached::of("debug1: Connecting to 127.0.0.1\n"), Reached::Nothing);
        assert_eq!(Reached::of(sent), Reached::Sent);
        let started = format!("{sent}debug2: exec request accepted on channel 0\n");
        assert_eq!(Reached::of(&started), Reached::Started);
        assert!(is_of_command(3, &started) && !is_of_command(255, &started));
        assert!(is_of_command(255, &format!("{started}debug1: Exit status 255\n")));
        // The command's own text does not count.
        assert!(!is_of_command(255, "debug1: Sending command: echo debug1: Exit status 255\nclosed\n"));
    }

    #[test]
    fn a_refusal_is_told_from_a_server_that_does_not_answer_yet() {
        let denied = "debug1: x\r\nroot@127.0.0.1: Permission denied (publickey,password).\r\n";
        assert_eq!(refusal(denied), Some(Refusal::Key));
        assert_eq!(said(denied), "root@127.0.0.1: Permission denied (publickey,password).");
        let closed = "kex_exchange_identification: Connection closed by remote host\nConnection closed by 127.0.0.1 port 1\n";
        assert_eq!(refusal(closed), None);
        assert!(said(closed).contains("; Connection closed by"));
        assert_eq!(said("debug1: x\nTransferred: 1\n"), "");
    }

    #[test]
    fn an_address_has_a_host_and_a_port() {
        assert_eq!(split("[::1]:22"), Some(("::1".to_owned(), 22)));
        assert_eq!(split("guest.example:2222"), Some(("guest.example".to_owned(), 2222)));
        for wrong in ["10.77.0.2", ":22", "a:0", "a:x", "a:70000"] {
            assert_eq!(split(wrong), None, "{wrong}");
        }
    }
}
