//! `check: {disk: …, holds: …}`: what was acknowledged is on the disk.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use regex::bytes::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::qemu::disk::qemu_img;
use crate::session::{Failure, Session};
use crate::step::running::Running;

/// Where the Linux guest's service keeps line 0, in sectors.
const FIRST_SECTOR: u64 = 2000;
const SECTOR: u64 = 512;

/// The numbered lines that a disk must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Holds {
    /// All that this client has had acknowledged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// All up to the last one that this VM's guest has said to have written (`wrote N` on its serial port).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vm: Option<String>,
    /// All up to this one, from 1 on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lines: Option<u64>,
}

impl Holds {
    /// What is wrong with it, and what would be right.
    ///
    /// # Errors
    /// Where it does not name exactly one source of lines.
    pub fn check(&self) -> Result<(), (&'static str, String, String)> {
        let given = [self.client.is_some(), self.vm.is_some(), self.lines.is_some()];
        match given.iter().filter(|given| **given).count() {
            1 => Ok(()),
            0 => Err((
                "holds",
                "`holds` names no lines".to_owned(),
                "write `{client: NAME}`, `{vm: NAME}` or `{lines: N}`".to_owned(),
            )),
            _ => Err(("holds", "`holds` names lines twice".to_owned(), "keep one of them".to_owned())),
        }
    }

    /// The lines in words.
    #[must_use]
    pub fn words(&self) -> String {
        match (&self.client, &self.vm, self.lines) {
            (Some(client), ..) => format!("what client {client} had acknowledged"),
            (_, Some(vm), _) => format!("what {vm} wrote"),
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
            let known = session.clients.get(client);
            let known =
                known.ok_or_else(|| Failure::error(format!("client `{client}` was never started")))?;
            return Ok(known.acknowledged());
        }
        Ok((1..=self.lines.unwrap_or_default()).collect())
    }
}

/// Reads an image with `qemu-img` and looks for each line in its sector.
pub(super) async fn holds(run: &Running<'_>, disk: &str, holds: &Holds) -> Result<Value, Failure> {
    let session = &*run.session;
    let numbers = holds.numbers(session)?;
    if numbers.is_empty() {
        let message = format!("there is nothing to look for on the disk: {} is nothing", holds.words());
        return Err(Failure::failed(message));
    }
    let binary = session.plans.values().next().map(|plan| plan.binary.path.clone()).unwrap_or_default();
    let raw = session.directory().join("disk.raw");
    let argv = vec![
        qemu_img(&binary).display().to_string(),
        "convert".to_owned(),
        // It is only read; a VM that still writes to it is a mistake that shows.
        "-U".to_owned(),
        "-O".to_owned(),
        "raw".to_owned(),
        disk.to_owned(),
        raw.display().to_string(),
    ];
    session.qemu_img(argv, run.deadline).await?;
    let wanted = numbers.clone();
    let path = raw.clone();
    let read = tokio::task::spawn_blocking(move || missing(&path, &wanted)).await;
    let _ = std::fs::remove_file(&raw);
    let missing = read
        .map_err(std::io::Error::other)
        .and_then(|missing| missing)
        .map_err(|error| Failure::error(format!("the image `{disk}` could not be read: {error}")))?;
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

/// The lines that are not in their sectors, each with what is there.
fn missing(raw: &Path, numbers: &[u64]) -> std::io::Result<Vec<(u64, String)>> {
    let file = File::open(raw)?;
    let mut missing = Vec::new();
    for &number in numbers {
        let mut sector = vec![0; SECTOR as usize];
        match file.read_exact_at(&mut sector, (FIRST_SECTOR + number) * SECTOR) {
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                missing.push((number, "nothing: the disk ends before it".to_owned()));
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
    fn a_line_counts_where_its_own_sector_holds_it() {
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
        assert_eq!(found, [(2, "\"7\""), (3, "nothing"), (4, "nothing: the disk ends before it")]);
    }

    #[test]
    fn lines_come_from_one_source() {
        assert!(Holds::default().check().is_err());
        let two = Holds { vm: Some("a".into()), lines: Some(1), client: None };
        assert!(two.check().unwrap_err().1.contains("twice"));
        assert_eq!(Holds { lines: Some(1), ..Holds::default() }.check(), Ok(()));
    }
}
