//! `check: {disk: …, holds: …}`: the acknowledged lines are on the disk.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use regex::bytes::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Disk;
use crate::qemu::programs::{QEMU_IMG, program};
use crate::session::{Failure, Session};
use crate::step::running::Running;
use crate::step::{Complaints, Rule, Scene};

/// The sector of line 0 of the Linux guest's service.
const FIRST_SECTOR: u64 = 2000;
const SECTOR: u64 = 512;

/// The numbered lines that a disk must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Holds {
    /// All lines that were acknowledged to this client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// All lines up to the last one that this VM's guest reported as written (`wrote N` on its serial port).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vm: Option<String>,
    /// All lines from 1 to this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lines: Option<u64>,
}

impl Holds {
    pub(crate) const RULES: &[Rule] = &[Rule::ExactlyOne {
        keys: &["client", "vm", "lines"],
        none: ("`holds` is empty", "write `{client: NAME}`, `{vm: NAME}` or `{lines: N}`"),
        both: "keep one of them",
    }];

    /// A description of the lines.
    fn words(&self) -> String {
        match (&self.client, &self.vm, self.lines) {
            (Some(client), ..) => format!("lines acknowledged to client {client}"),
            (_, Some(vm), _) => format!("lines written by {vm}"),
            (.., lines) => format!("{} lines", lines.unwrap_or_default()),
        }
    }

    fn numbers(&self, session: &Session) -> Result<Vec<u64>, Failure> {
        if let Some(vm) = &self.vm {
            let machine = session.machine(vm)?;
            machine.catch_up();
            let said =
                Regex::new(r"(?m)^wrote ([0-9]{1,9})\r?$").map_err(|e| Failure::error(e.to_string()))?;
            let log = machine.log.lock();
            let last = said
                .captures_iter(log.serial())
                .filter_map(|found| String::from_utf8_lossy(found.get(1)?.as_bytes()).parse::<u64>().ok());
            return Ok((1..=last.max().unwrap_or(0)).collect());
        }
        if let Some(client) = &self.client {
            let known = session.clients().get(client).cloned();
            let known =
                known.ok_or_else(|| Failure::error(format!("client `{client}` was never started")))?;
            return Ok(known.acknowledged());
        }
        Ok((1..=self.lines.unwrap_or_default()).collect())
    }
}

impl Disk {
    pub(super) fn title(&self) -> String {
        let name = self.disk.rsplit('/').next().unwrap_or_default();
        format!("{name} holds {}", self.holds.words())
    }

    pub(super) fn check(&self, scene: &Scene<'_>, complaints: &mut Complaints) {
        complaints.rules_at(&["holds"], Holds::RULES, &self.holds);
        if let Some(client) = &self.holds.client {
            complaints.client(scene, &["holds", "client"], client);
        }
    }

    /// Reads the image with `qemu-img` and looks for each line in its sector.
    pub(super) async fn run(&self, run: &Running<'_>) -> Result<Value, Failure> {
        let Self { disk, holds } = self;
        let session = run.session;
        let numbers = holds.numbers(session)?;
        if numbers.is_empty() {
            let message = format!("nothing to check on the disk: there are no {}", holds.words());
            return Err(Failure::failed(message));
        }
        let raw = session.directory().join("disk.raw");
        let argv = vec![
            program(&session.first_qemu(), QEMU_IMG).display().to_string(),
            "convert".to_owned(),
            // The image is only read. If a VM still writes to it, the check fails.
            "-U".to_owned(),
            "-O".to_owned(),
            "raw".to_owned(),
            disk.clone(),
            raw.display().to_string(),
        ];
        session.elsewhere(session.run_tool(argv, run.deadline)).await?;
        let expected = numbers.clone();
        let path = raw.clone();
        let read = tokio::task::spawn_blocking(move || missing(&path, &expected)).await;
        let _ = std::fs::remove_file(&raw);
        let missing = read
            .map_err(std::io::Error::other)
            .and_then(|missing| missing)
            .map_err(|error| Failure::error(format!("cannot read the image `{disk}`: {error}")))?;
        let name = PathBuf::from(disk).file_name().map(|name| name.to_string_lossy().into_owned());
        let name = name.unwrap_or_default();
        let Some((first, found)) = missing.first() else {
            return Ok(json!({"lines": numbers.len()}));
        };
        let shown: Vec<String> = missing.iter().take(10).map(|(number, _)| number.to_string()).collect();
        let more = if missing.len() > shown.len() { ", …" } else { "" };
        let are = if missing.len() == 1 { "is" } else { "are" };
        Err(Failure::failed(format!(
            "{} of {} lines {are} not on `{name}` ({}): {}{more}; sector {} holds {found}, not line {first}",
            missing.len(),
            numbers.len(),
            holds.words(),
            shown.join(", "),
            FIRST_SECTOR + first,
        )))
    }
}

/// The lines that are not in their sectors, each with the sector's content.
fn missing(raw: &Path, numbers: &[u64]) -> std::io::Result<Vec<(u64, String)>> {
    let file = File::open(raw)?;
    let mut missing = Vec::new();
    for &number in numbers {
        let mut sector = vec![0; SECTOR as usize];
        match file.read_exact_at(&mut sector, (FIRST_SECTOR + number) * SECTOR) {
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                missing.push((number, "nothing (the disk ends before it)".to_owned()));
            }
            Err(error) => return Err(error),
            Ok(()) => {
                let text = String::from_utf8_lossy(&sector);
                let text = text.trim_matches(['\0', ' ', '\n']);
                if text != number.to_string() {
                    let text: String = text.chars().take(20).collect();
                    missing.push((
                        number,
                        if text.is_empty() { "nothing".to_owned() } else { format!("{text:?}") },
                    ));
                }
            }
        }
    }
    Ok(missing)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_line_must_be_in_its_own_sector() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let mut image = vec![0; ((FIRST_SECTOR + 4) * SECTOR) as usize];
        let mut put = |line: u64, text: &str| {
            let at = ((FIRST_SECTOR + line) * SECTOR) as usize;
            image[at..at + text.len()].copy_from_slice(text.as_bytes());
        };
        put(1, "1    \n");
        put(2, "7    \n");
        file.write_all(&image).unwrap();
        let missing = missing(file.path(), &[1, 2, 3, 4]).unwrap();
        let found: Vec<(u64, &str)> =
            missing.iter().map(|(number, found)| (*number, found.as_str())).collect();
        assert_eq!(found, [(2, "\"7\""), (3, "nothing"), (4, "nothing (the disk ends before it)")]);
    }

    #[test]
    fn lines_come_from_one_source() {
        let complaint = |holds: Holds| {
            let mut complaints = crate::step::Complaints::default();
            complaints.rules_at(&["holds"], Holds::RULES, &holds);
            complaints.0.first().map(|first| first.message.clone())
        };
        assert_eq!(complaint(Holds::default()).unwrap(), "`holds` is empty");
        let two = Holds { vm: Some("a".into()), lines: Some(1), client: None };
        assert_eq!(complaint(two).unwrap(), "`lines` cannot be combined with `vm`");
        assert_eq!(complaint(Holds { lines: Some(1), ..Holds::default() }), None);
    }
}
