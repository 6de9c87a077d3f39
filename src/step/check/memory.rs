//! `check: {memory: consistent}`: checks the built-in guest's pages from outside.

use std::ops::Range;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Memory, OfVm};
use crate::cause::CauseKind;
use crate::guest::ticker::layout::{Kind, Layout, PAGE};
use crate::guest::ticker::memory::check_pages;
use crate::guest::ticker::passes;
use crate::qemu::spec::Guest;
use crate::session::{Failure, Machine};
use crate::step::running::Running;

/// What `check: {memory: …}` asserts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MemoryCheck {
    /// At most one edge, from a count to the count before it.
    Consistent,
}

/// The maximum number of pages between two ranges that are read at once: reading these pages costs less than another read.
const GAP: u64 = 256;

impl OfVm for Memory {
    /// Reads the pages of the stopped guest and checks that they are consistent. Then compares them with the guest's output:
    /// pages can be consistent although all of them are stale.
    async fn run(&self, run: &Running<'_>, vm: &str) -> Result<Value, Failure> {
        let machine = run.session.machine(vm)?;
        let (Guest::Ticker(options), Some(layout)) = (&machine.plan.spec.guest, &machine.layout) else {
            return Err(Failure::error(format!("VM `{vm}` does not run the built-in guest")));
        };
        let ran = machine.query("query-status", run.deadline).await?["running"] == true;
        if ran {
            machine.query("stop", run.deadline).await?;
        }
        machine.catch_up();
        let from = run.session.failover().filter(|mark| mark.survivor == vm).map_or(0, |mark| mark.serial);
        let last = machine.log.lock().ticks_from(from).last().copied();
        let read = read(run, &machine, layout).await;
        if ran {
            // Even if the read failed: the following steps expect a running guest.
            machine.query("cont", run.patience()).await?;
        }
        let read = read?;
        let pages: Vec<(u64, Kind, &[u8])> =
            read.iter().map(|(page, kind, bytes)| (*page, *kind, &bytes[..])).collect();
        let corrupt = |message: String| Failure::of_kind(CauseKind::Corrupt, message).about(vm);
        let moment = check_pages(layout, &pages)
            .map_err(|wrong| corrupt(format!("the memory of `{vm}` is inconsistent: {wrong}")))?;
        if let Some(last) = last {
            // The words are 32 bits wide. A line may be partly printed, and a pass partly complete.
            let ahead = u64::from(moment.count.wrapping_sub(last.count as u32));
            if ahead > 2 * u64::from(passes(options, layout)) + 1 {
                return Err(corrupt(format!(
                    "the memory of `{vm}` is stale: its pages are at pass {}, but the guest has printed {} passes",
                    moment.count, last.count
                )));
            }
        }
        Ok(json!({"count": moment.count, "witness": moment.witness, "pages": pages.len()}))
    }
}

/// Reads every page of the layout.
async fn read(
    run: &Running<'_>,
    machine: &Machine,
    layout: &Layout,
) -> Result<Vec<(u64, Kind, Vec<u8>)>, Failure> {
    let file = run.session.directory().join(format!("{}.ram", machine.name()));
    let mut pages = layout.pages().peekable();
    let mut read = Vec::new();
    for range in ranges(layout) {
        let (start, size) = (range.start * PAGE, (range.end - range.start) * PAGE);
        let arguments = json!({"val": start, "size": size, "filename": file});
        let saved = machine.qmp("pmemsave", arguments, false, run.deadline).await;
        let bytes = match saved {
            Ok(_) => contents(&file).await,
            Err(failure) => Err(failure),
        };
        let _ = std::fs::remove_file(&file);
        let bytes = bytes?;
        if bytes.len() as u64 != size {
            return Err(Failure::error(format!(
                "`pmemsave` wrote {} bytes of RAM, expected {size}",
                bytes.len()
            )));
        }
        while let Some((page, kind)) = pages.next_if(|(page, _)| range.contains(page)) {
            let at = usize::try_from((page - range.start) * PAGE).unwrap_or(usize::MAX);
            read.push((page, kind, bytes[at..][..PAGE as usize].to_vec()));
        }
    }
    Ok(read)
}

async fn contents(file: &Path) -> Result<Vec<u8>, Failure> {
    let path = file.to_owned();
    let read = tokio::task::spawn_blocking(move || std::fs::read(path)).await;
    let read = read.map_err(std::io::Error::other).and_then(|bytes| bytes);
    read.map_err(|error| Failure::error(format!("{}: {error}", file.display())))
}

/// The ranges of pages to read.
fn ranges(layout: &Layout) -> Vec<Range<u64>> {
    let mut ranges: Vec<Range<u64>> = Vec::new();
    for extent in &layout.extents {
        let end = extent.page + extent.pages;
        match ranges.last_mut() {
            Some(range) if extent.page <= range.end + GAP => range.end = end,
            _ => ranges.push(extent.page..end),
        }
    }
    ranges
}
