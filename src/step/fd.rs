//! `fd`.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::net::SendFlags;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::running::Running;
use super::{Bytes, Complaints, Named, Needs, Rule, Scene, StepAction};
use crate::session::Failure;
use crate::units::OneOrMany;

/// Passes an open file or one end of a socket pair to a VM (QMP `getfd`, `add-fd`), or uses the test's end of a socket pair.
///
/// The file is opened again for each descriptor, and the runner's copy is closed once QEMU has its own. A socket pair
/// (`AF_UNIX`, stream) is created by the first step that names it. Each step that passes an end takes one of the two; the
/// test can write to a remaining end or close it. The result is QEMU's reply, with `count` a list of replies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fd {
    /// The VM to pass it to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vm: Option<String>,
    /// Its name in QEMU (`getfd`), as in the URI `fd:NAME`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The number of the set that QEMU adds it to (`add-fd`), as in the path `/dev/fdset/NUMBER`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fdset: Option<u64>,
    /// The file to open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open: Option<Open>,
    /// With `fdset` and `open`: the number of descriptors, each opened separately. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// The name of a socket pair: with `vm`, one end is passed; otherwise the test's end is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub socket: Option<String>,
    /// With `socket`: the bytes to write to the test's end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write: Option<Bytes>,
    /// With `socket`: `true` closes the test's ends of the pair. Default: `false`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub close: bool,
}

/// A file to open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Open {
    /// Its path. A relative path is relative to the case's private directory.
    pub path: String,
    /// The flags of `open(2)`. Default: `rdonly`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flags: Option<OneOrMany<Flag>>,
    /// The permissions of a new file, in octal, as in `"0660"`. Default: `"0600"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
}

/// A flag of `open(2)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Flag {
    /// For reading (`O_RDONLY`).
    Rdonly,
    /// For writing (`O_WRONLY`).
    Wronly,
    /// For both (`O_RDWR`).
    Rdwr,
    /// Creates the file if it does not exist (`O_CREAT`).
    Creat,
    /// Truncates the file (`O_TRUNC`).
    Trunc,
    /// Bypasses the host's page cache (`O_DIRECT`).
    Direct,
}

impl Flag {
    const fn is_access(self) -> bool {
        matches!(self, Self::Rdonly | Self::Wronly | Self::Rdwr)
    }

    const fn bits(self) -> OFlags {
        match self {
            Self::Rdonly => OFlags::RDONLY,
            Self::Wronly => OFlags::WRONLY,
            Self::Rdwr => OFlags::RDWR,
            Self::Creat => OFlags::CREATE,
            Self::Trunc => OFlags::TRUNC,
            Self::Direct => OFlags::DIRECT,
        }
    }
}

impl Open {
    fn check(&self, complaints: &mut Complaints) {
        let flags = self.flags.as_ref().map_or(&[][..], |flags| &flags.0);
        if flags.iter().filter(|flag| flag.is_access()).count() > 1 {
            let help = "keep one of `rdonly`, `wronly` and `rdwr`";
            complaints.add(&["open", "flags"], "more than one access mode", help);
        }
        if let Err(message) = self.mode() {
            complaints.add(&["open", "mode"], message, "write it in octal, as in `\"0660\"`");
        }
    }

    fn mode(&self) -> Result<Mode, String> {
        let text = self.mode.as_deref().unwrap_or("0600");
        let bits = u32::from_str_radix(text, 8).ok().filter(|bits| *bits <= 0o7777);
        bits.map(Mode::from_raw_mode).ok_or_else(|| format!("`{text}` is not a valid file mode"))
    }

    fn open(&self, directory: &std::path::Path) -> Result<OwnedFd, Failure> {
        let mode = self.mode().map_err(Failure::error)?;
        let flags = self.flags.iter().flatten().fold(OFlags::CLOEXEC, |flags, flag| flags | flag.bits());
        let path = directory.join(&self.path);
        rustix::fs::open(&path, flags, mode)
            .map_err(|error| Failure::error(format!("cannot open `{}`: {error}", path.display())))
    }
}

impl Fd {
    fn take_end(&self, run: &mut Running<'_>) -> Result<OwnedFd, Failure> {
        let name = self.socket.as_deref().unwrap_or_default();
        let mut sockets = run.session.sockets();
        if !sockets.contains_key(name) {
            let (one, other) = std::os::unix::net::UnixStream::pair()
                .map_err(|error| Failure::error(format!("cannot create a socket pair: {error}")))?;
            sockets.insert(name.to_owned(), vec![other.into(), one.into()]);
        }
        let end = sockets.get_mut(name).and_then(Vec::pop);
        end.ok_or_else(|| none_left(name))
    }

    fn use_own_end(&self, run: &mut Running<'_>) -> Result<Value, Failure> {
        let name = self.socket.as_deref().unwrap_or_default();
        let mut sockets = run.session.sockets();
        let ends = sockets
            .get_mut(name)
            .ok_or_else(|| Failure::failed(format!("there is no socket pair `{name}` yet")))?;
        let end = ends.last().ok_or_else(|| none_left(name))?;
        if let Some(bytes) = &self.write {
            let bytes = bytes.bytes().map_err(|(_, why)| Failure::error(why))?;
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            let failure = |why: String| Failure::failed(format!("cannot write to socket `{name}`: {why}"));
            let count = rustix::net::send(end, &bytes, flags).map_err(|error| failure(error.to_string()))?;
            if count < bytes.len() {
                return Err(failure(format!("its buffer was full after {count} bytes")));
            }
        }
        if self.close {
            ends.clear();
        }
        Ok(Value::Null)
    }
}

impl StepAction for Fd {
    const EXAMPLE: &str = "{vm: NAME, name: NAME, open: {path: FILE}}";
    const RULES: &[Rule] = &[
        Rule::AtLeastOne {
            keys: &["vm", "socket"],
            none: (
                "the step does nothing with a descriptor",
                "write `vm: VM` to pass one, or `socket: NAME` to use the test's end of a pair",
            ),
        },
        Rule::AtMostOne { keys: &["name", "fdset"], both: "keep one" },
        Rule::AtMostOne { keys: &["open", "socket"], both: "keep one" },
        Rule::GoesWith { key: "name", owners: &["vm"] },
        Rule::GoesWith { key: "fdset", owners: &["vm"] },
        Rule::GoesWith { key: "open", owners: &["vm"] },
        Rule::GoesWith { key: "write", owners: &["socket"] },
        Rule::GoesWith { key: "close", owners: &["socket"] },
        Rule::GoesWith { key: "count", owners: &["fdset"] },
        Rule::GoesWith { key: "count", owners: &["open"] },
        Rule::Needs {
            key: "vm",
            any: &["name", "fdset"],
            none: ("the descriptor has no name in QEMU", "add `name: NAME` or `fdset: NUMBER`"),
        },
        Rule::Needs {
            key: "vm",
            any: &["open", "socket"],
            none: ("the step passes no descriptor", "add `open: {path: …}` or `socket: NAME`"),
        },
        Rule::Needs {
            key: "socket",
            any: &["vm", "write", "close"],
            none: ("the step does nothing with the socket", "add `vm: VM`, `write: …` or `close: true`"),
        },
        Rule::Excludes {
            key: "vm",
            others: &["write", "close"],
            help: "use two steps, this one without `vm`",
        },
    ];

    fn title(&self) -> String {
        let socket = self.socket.as_deref().unwrap_or_default();
        let Some(vm) = &self.vm else {
            return match &self.write {
                Some(_) => format!("write to socket {socket}"),
                None => format!("close socket {socket}"),
            };
        };
        let what = match &self.open {
            Some(open) => open.path.rsplit('/').next().unwrap_or_default().to_owned(),
            None => format!("an end of socket {socket}"),
        };
        let times = self.count.map(|count| format!(" {count} times")).unwrap_or_default();
        match (&self.name, self.fdset) {
            (Some(name), _) => format!("pass {what} to {vm} as {name}"),
            (None, set) => format!("pass {what}{times} to {vm} for fdset {}", set.unwrap_or_default()),
        }
    }

    fn vms(&mut self) -> Vec<Named<'_>> {
        self.vm.iter_mut().map(|vm| Named::one(vm, &["vm"], Needs::Monitor)).collect()
    }

    fn check(&self, _: &Scene<'_>, complaints: &mut Complaints) {
        if let Some(bytes) = &self.write {
            bytes.check(&["write"], complaints);
        }
        if let Some(open) = &self.open {
            open.check(complaints);
        }
        if let Some(count) = self.count.filter(|count| !(1..=100).contains(count)) {
            complaints.add(&["count"], format!("`count` must be from 1 to 100, not {count}"), "");
        }
    }

    async fn run(&self, run: &mut Running<'_>) -> Result<Value, Failure> {
        let Some(vm) = &self.vm else {
            return self.use_own_end(run);
        };
        let (command, arguments) = match (&self.name, self.fdset) {
            (Some(name), _) => ("getfd", json!({"fdname": name})),
            (None, set) => ("add-fd", json!({"fdset-id": set})),
        };
        let mut replies = Vec::new();
        for _ in 0..self.count.unwrap_or(1) {
            let descriptor = match &self.open {
                Some(open) => open.open(run.session.directory())?,
                None => self.take_end(run)?,
            };
            let machine = run.session.machine(vm)?;
            let fd = Some(descriptor.as_fd());
            let answer = machine.qmp_with(command, arguments.clone(), fd, false, run.deadline).await;
            replies.push(machine.reply_or_failure(answer).await?);
        }
        match self.count {
            Some(_) => Ok(Value::Array(replies)),
            None => Ok(replies.pop().unwrap_or_default()),
        }
    }
}

fn none_left(name: &str) -> Failure {
    Failure::failed(format!("no end of socket `{name}` is left: both were passed or closed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_become_those_of_open() {
        let open: Open =
            serde_json::from_value(json!({"path": "f", "flags": ["wronly", "creat"], "mode": "0640"}))
                .unwrap();
        let directory = tempfile::tempdir().unwrap();
        drop(open.open(directory.path()).unwrap());
        use std::os::unix::fs::PermissionsExt;
        let made = std::fs::metadata(directory.path().join("f")).unwrap();
        assert_eq!(made.permissions().mode() & 0o777 & !0o640, 0);
        let missing: Open = serde_json::from_value(json!({"path": "nothing"})).unwrap();
        assert!(missing.open(directory.path()).unwrap_err().to_string().contains("cannot open"));
    }
}
