//! The Linux guest: its files and its command line.

use std::path::{Path, absolute};

use schemars::JsonSchema;
use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize};

use super::access::Access;

/// The start of the kernel's command line: a quiet console on the serial port, reboot on panic, and no checks of
/// clock and timer, which would make the kernel panic on a slow machine.
const COMMON: &str = "console=ttyS0 quiet panic=1 tsc=reliable no_timer_check";

/// A Linux kernel with its initial RAM disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Linux {
    /// The kernel image (`-kernel`). Default: `vmlinuz` in the guests directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// The initial RAM disk (`-initrd`). Default: in the guests directory `initrd.gz`, with `access: agent`
    /// `initrd-agent.gz`; none if `kernel` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initrd: Option<String>,
    /// The address of `eth0` with its prefix length. Default: `10.77.0.2/24`.
    #[serde(default = "default_ip", deserialize_with = "ip")]
    pub ip: String,
    /// Whether TCP sends timestamps (`net.ipv4.tcp_timestamps`). Default: `false`, because COLO's `filter-rewriter`
    /// does not adjust them, and a young connection breaks at the failover to the secondary.
    #[serde(default)]
    pub timestamps: bool,
    /// The guest's own workload. Default: `none`.
    #[serde(default)]
    pub load: Load,
    /// Another guest to connect to, as `ADDRESS:PORT` of its echo service (port 7001 of the Linux guest). The guest
    /// keeps four connections, sends a number on each about every 100 ms, prints `visiting …` on the serial port when
    /// they are open, and `heard n` when each of them has had n replies. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "address")]
    pub visit: Option<String>,
    /// How the steps `guest`, `wait: {guest: …}` and `check: {guest: …}` get in. `agent`: QEMU's guest agent; the VM gets
    /// a `virtio-serial` device with its port. `console`: a shell on the serial port, `{console: {user: root, password:
    /// lockstep}}` after a login. `ssh`: an SSH server, which only a guest with a `kernel` of one's own may have. Default:
    /// none; then these steps cannot be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
    /// Additional words for the kernel's command line, after Lockstep's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub append: Option<String>,
    /// The whole command line (`-append`), replacing Lockstep's words: `ip`, `timestamps`, `load`, `visit` and
    /// `append` then have no effect, and no shell is started for `access: console`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cmdline: Option<String>,
}

impl Default for Linux {
    fn default() -> Self {
        Self {
            kernel: None,
            initrd: None,
            ip: default_ip(),
            timestamps: false,
            load: Load::None,
            visit: None,
            access: None,
            append: None,
            cmdline: None,
        }
    }
}

/// The Linux guest's own workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Load {
    /// Nothing.
    #[default]
    None,
    /// About every 100 ms it writes line n to sector 2000+n of `/dev/vda`, waits until the disk has it, and prints
    /// `wrote n` on the serial port, starting at 1.
    Disk,
}

impl Linux {
    pub(super) fn checked(self) -> Result<Self, &'static str> {
        if self.kernel.is_none() && self.initrd.is_none() && matches!(self.access, Some(Access::Ssh(_))) {
            return Err(
                "Lockstep's Linux guest has no SSH server; write `access: agent` or `console`, or use another `kernel`",
            );
        }
        Ok(self)
    }

    /// The kernel's command line.
    #[must_use]
    pub fn command_line(&self) -> String {
        if let Some(cmdline) = &self.cmdline {
            return cmdline.clone();
        }
        let load = match self.load {
            Load::None => "none",
            Load::Disk => "disk",
        };
        let (ip, timestamps) = (&self.ip, u8::from(self.timestamps));
        let mut words =
            format!("{COMMON} lockstep.ip={ip} lockstep.timestamps={timestamps} lockstep.load={load}");
        if let Some(visit) = &self.visit {
            words.push_str(" lockstep.visit=");
            words.push_str(visit);
        }
        if let Some(Access::Console(console)) = &self.access {
            words.push_str(" lockstep.console=");
            words.push_str(if console.user.is_some() { "login" } else { "shell" });
        }
        if let Some(append) = self.append.as_deref().map(str::trim).filter(|append| !append.is_empty()) {
            words.push(' ');
            words.push_str(append);
        }
        words
    }

    /// The same with absolute paths, since QEMU runs in the case's directory. A relative path that is only known in the
    /// run is relative to the current directory.
    ///
    /// # Errors
    /// Why the guest cannot run: it is the one of the guests directory, and is missing.
    pub fn located(mut self, guests: &Path) -> Result<Self, LinuxError> {
        if self.kernel.is_none() {
            self.kernel = Some(guest_file(guests, "vmlinuz")?);
            if self.initrd.is_none() {
                let has_agent = self.access == Some(Access::Agent);
                let name = if has_agent { "initrd-agent.gz" } else { "initrd.gz" };
                self.initrd = Some(guest_file(guests, name)?);
            }
        }
        for file in [&mut self.kernel, &mut self.initrd].into_iter().flatten() {
            *file = text(Path::new(file));
        }
        Ok(self)
    }
}

/// Whether a guest's files can be read. A scenario may name one that an earlier step creates, so this is checked when
/// the VM is started.
///
/// # Errors
/// The file that cannot be read, and why.
pub fn readable(kernel: Option<&str>, initrd: Option<&str>) -> Result<(), LinuxError> {
    for (key, file) in [("kernel", kernel), ("initrd", initrd)] {
        if let Some(file) = file {
            std::fs::File::open(file).map_err(|error| LinuxError::Unreadable {
                key,
                file: file.to_owned(),
                error,
            })?;
        }
    }
    Ok(())
}

/// Why a Linux guest cannot run.
#[derive(Debug, thiserror::Error)]
pub enum LinuxError {
    /// A file of the guests directory is missing.
    #[error(
        "needs the Linux guest: {0} not found; run scripts/fetch-guest, or pass its directory with --guests"
    )]
    Missing(String),
    /// A file cannot be read.
    #[error("cannot read its {key} {file}: {error}")]
    Unreadable {
        /// The key of the guest that names it.
        key: &'static str,
        /// The file.
        file: String,
        /// Why.
        error: std::io::Error,
    },
}

/// A file of the guests directory.
fn guest_file(guests: &Path, name: &str) -> Result<String, LinuxError> {
    let path = guests.join(name);
    if path.is_file() {
        return Ok(text(&path));
    }
    Err(LinuxError::Missing(text(&path)))
}

pub(super) fn text(path: &Path) -> String {
    absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}

fn default_ip() -> String {
    "10.77.0.2/24".to_owned()
}

fn ip<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    let fits = text.split_once('/').is_some_and(|(address, length)| {
        address.parse::<std::net::Ipv4Addr>().is_ok() && length.parse::<u8>().is_ok_and(|length| length <= 32)
    });
    // A template that only the run can render is parsed again then.
    if fits || text.contains("{{") {
        return Ok(text);
    }
    Err(de::Error::custom(format!(
        "`{text}` is not an IPv4 address with a prefix length; write it like `10.77.0.2/24`"
    )))
}

fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
    if text.parse::<std::net::SocketAddrV4>().is_ok() || text.contains("{{") {
        return Ok(Some(text));
    }
    Err(de::Error::custom(format!(
        "`{text}` is not an IPv4 address with a port; write it like `10.77.0.2:7001`"
    )))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn linux(value: Value) -> Linux {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn the_fields_become_arguments_of_the_command_line() {
        assert_eq!(
            linux(json!({})).command_line(),
            "console=ttyS0 quiet panic=1 tsc=reliable no_timer_check lockstep.ip=10.77.0.2/24 lockstep.timestamps=0 lockstep.load=none"
        );
        let other = json!({"ip": "10.0.0.9/8", "timestamps": true, "load": "disk", "append": " a b "});
        assert_eq!(
            linux(other).command_line(),
            format!("{COMMON} lockstep.ip=10.0.0.9/8 lockstep.timestamps=1 lockstep.load=disk a b")
        );
        let visitor = linux(json!({"visit": "10.77.0.2:7001"})).command_line();
        assert!(visitor.ends_with(" lockstep.load=none lockstep.visit=10.77.0.2:7001"), "{visitor}");
        assert_eq!(linux(json!({"kernel": "k", "cmdline": "console=hvc0"})).command_line(), "console=hvc0");
        let console = |access: Value| linux(json!({ "access": access })).command_line();
        assert!(console(json!("console")).ends_with(" lockstep.console=shell"));
        assert!(console(json!({"console": {"user": "root"}})).ends_with(" lockstep.console=login"));
        assert!(!console(json!("agent")).contains("lockstep.console"));
    }

    #[test]
    fn an_address_without_a_prefix_is_refused() {
        for ip in ["10.77.0.2", "10.77.0/24", "10.77.0.2/33", "10.77.0.256/24", "fe80::1/64", "/"] {
            let error = serde_json::from_value::<Linux>(json!({ "ip": ip })).unwrap_err().to_string();
            assert!(error.contains(&format!("`{ip}` is not an IPv4 address")), "{error}");
        }
    }

    #[test]
    fn an_address_without_a_port_cannot_be_visited() {
        for visit in ["10.77.0.2", "lan:7001", "10.77.0.2:", "[::1]:7001"] {
            let error = serde_json::from_value::<Linux>(json!({ "visit": visit })).unwrap_err().to_string();
            assert!(error.contains(&format!("`{visit}` is not an IPv4 address with a port")), "{error}");
        }
    }

    #[test]
    fn files_that_the_scenario_does_not_name_are_in_the_guests_folder() {
        let folder = tempfile::tempdir().unwrap();
        let missing = linux(json!({})).located(folder.path()).unwrap_err().to_string();
        let path = folder.path().join("vmlinuz");
        let expected = format!("{} not found; run scripts/fetch-guest", path.display());
        assert!(missing.contains(&expected), "{missing}");
        for name in ["vmlinuz", "initrd.gz", "initrd-agent.gz", "own"] {
            std::fs::write(folder.path().join(name), name).unwrap();
        }
        let path = |name: &str| Some(folder.path().join(name).display().to_string());
        let files = |value| {
            let linux = linux(value).located(folder.path()).unwrap();
            (linux.kernel, linux.initrd)
        };
        assert_eq!(files(json!({})), (path("vmlinuz"), path("initrd.gz")));
        assert_eq!(files(json!({"access": "agent"})), (path("vmlinuz"), path("initrd-agent.gz")));
        assert_eq!(files(json!({"initrd": path("own")})), (path("vmlinuz"), path("own")));
        assert_eq!(files(json!({"kernel": path("own")})), (path("own"), None));
    }

    #[test]
    fn a_file_that_the_scenario_names_must_exist() {
        let own = linux(json!({"kernel": "no/such"})).located(Path::new("/nowhere")).unwrap();
        let path = std::env::current_dir().unwrap().join("no/such").display().to_string();
        assert_eq!((own.kernel.as_deref(), &own.initrd), (Some(path.as_str()), &None));
        let why = readable(own.kernel.as_deref(), None).unwrap_err().to_string();
        assert!(why.starts_with(&format!("cannot read its kernel {path}: No such file")), "{why}");
    }
}
