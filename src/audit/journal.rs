//! `audit.jsonl`: the results as they come, so that an audit that was cut off is continued.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::outcome::Outcome;

/// The name of the file in the reports directory.
pub const NAME: &str = "audit.jsonl";

/// The first line: what is continued.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// The command line.
    pub command: Vec<String>,
    /// The working directory.
    pub directory: String,
    /// The seed.
    pub seed: u64,
    /// The versions of the QEMUs.
    pub qemus: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Audit(Header),
    Trial(Box<Outcome>),
}

/// The file while an audit runs.
#[derive(Debug)]
pub struct Journal {
    out: File,
    /// The results so far.
    pub results: Vec<Outcome>,
}

impl Journal {
    /// Begins a new file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn create(reports: &Path, header: &Header) -> anyhow::Result<Self> {
        let path = reports.join(NAME);
        let out = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
        let mut journal = Self { out, results: Vec::new() };
        journal.write(&Line::Audit(header.clone()))?;
        Ok(journal)
    }

    /// Continues a file.
    ///
    /// # Errors
    /// When it cannot be read, or is not one of an audit.
    pub fn resume(reports: &Path) -> anyhow::Result<(Header, Self)> {
        let path = reports.join(NAME);
        let shown = path.display().to_string();
        let open = || OpenOptions::new().read(true).append(true).open(&path);
        let out = open().with_context(|| format!("cannot continue {shown}"))?;
        let mut lines = BufReader::new(&out).lines();
        let first = lines.next().transpose()?.unwrap_or_default();
        let Ok(Line::Audit(header)) = serde_json::from_str(&first) else {
            anyhow::bail!("{shown} is not the file of an audit");
        };
        let mut results = Vec::new();
        let mut is_whole = true;
        for line in lines {
            let line = line?;
            // The last line may be cut off.
            match serde_json::from_str(&line) {
                Ok(Line::Trial(outcome)) => results.push(*outcome),
                _ => is_whole = false,
            }
        }
        let mut journal = Self { out, results };
        if !is_whole {
            journal.out.write_all(b"\n")?;
        }
        Ok((header, journal))
    }

    fn write(&mut self, line: &Line) -> anyhow::Result<()> {
        let text = serde_json::to_string(line)? + "\n";
        self.out.write_all(text.as_bytes()).context("cannot write audit.jsonl")
    }

    /// Adds a result.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn add(&mut self, outcome: Outcome) -> anyhow::Result<()> {
        self.write(&Line::Trial(Box::new(outcome.clone())))?;
        self.results.push(outcome);
        Ok(())
    }

    /// What has been tried: case, sabotage and site.
    pub(crate) fn tried(&self) -> BTreeSet<(String, String, String)> {
        let key = |outcome: &Outcome| (outcome.case.clone(), outcome.sabotage.clone(), outcome.key.clone());
        self.results.iter().map(key).collect()
    }
}
