//! `lockstep run --watch`: runs the cases of the files that a saved file belongs to.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{EventKind, RecursiveMode, Watcher as _};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::INTERRUPTED;
use super::selection::Selection;

/// For how long no file may be saved before the cases are run: an editor may save several at once.
const QUIET: Duration = Duration::from_millis(200);

/// A scenario file of the call, with all files that it consists of.
type Sources = Vec<(PathBuf, Vec<PathBuf>)>;

/// Runs the selected cases with `run`, then those of saved files, until a signal ends it.
pub(super) fn watch(
    selection: &Selection,
    mut run: impl FnMut(&Selection) -> anyhow::Result<ExitCode>,
) -> anyhow::Result<ExitCode> {
    // Before the first run, so that nothing that is saved during it is missed.
    let (sender, mut saved) = unbounded_channel();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let event = event.ok().filter(|event| is_save(event.kind));
        // The receiver lives as long as the watcher.
        event.into_iter().flat_map(|event| event.paths).for_each(|path| drop(sender.send(path)));
    })?;
    let mut watched = BTreeSet::new();
    let mut sources = selection.sources()?;
    let mut add = |sources: &Sources| -> anyhow::Result<()> {
        for folder in sources.iter().flat_map(|(_, files)| files).filter_map(|file| folder(file)) {
            if watched.insert(folder.clone()) {
                let context = || format!("cannot watch {}", folder.display());
                watcher.watch(&folder, RecursiveMode::NonRecursive).with_context(context)?;
            }
        }
        Ok(())
    };
    add(&sources)?;
    let mut now = selection.clone();
    loop {
        match run(&now) {
            Ok(code) if code == ExitCode::from(INTERRUPTED) => return Ok(code),
            Ok(_) => {}
            Err(error) => anstream::eprintln!("{} {error:#}", super::bold("error:")),
        }
        let mut note = Some(format!("watching {} scenario files; Ctrl-C ends", sources.len()));
        let touched = loop {
            let Some(paths) = wait(&mut saved, note.take())? else {
                return Ok(ExitCode::from(INTERRUPTED));
            };
            // The saved file may have been new, or may now use others.
            if let Ok(found) = selection.sources() {
                sources = found;
                add(&sources)?;
            }
            let touched = touched(&sources, &paths);
            if !touched.is_empty() {
                break touched;
            }
        };
        now.only(&touched);
    }
}

/// Whether a file now has its new content.
fn is_save(kind: EventKind) -> bool {
    matches!(
        kind,
        EventKind::Access(AccessKind::Close(AccessMode::Write)) | EventKind::Modify(ModifyKind::Name(_))
    )
}

fn folder(file: &Path) -> Option<PathBuf> {
    std::path::absolute(file).ok()?.parent()?.canonicalize().ok()
}

/// The scenario files that consist of one of these files.
fn touched(sources: &Sources, paths: &BTreeSet<PathBuf>) -> Vec<PathBuf> {
    let is_touched = |file: &PathBuf| {
        let whole = folder(file).zip(file.file_name()).map(|(folder, name)| folder.join(name));
        whole.is_some_and(|whole| paths.contains(&whole))
    };
    let touched = sources.iter().filter(|(_, files)| files.iter().any(is_touched));
    touched.map(|(scenario, _)| scenario.clone()).collect()
}

/// Prints the note when signals are handled, and waits until files are saved; `None` after a signal.
fn wait(
    saved: &mut UnboundedReceiver<PathBuf>,
    note: Option<String>,
) -> anyhow::Result<Option<BTreeSet<PathBuf>>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()]
            .map(signal)
            .into_iter()
            .collect::<Result<Vec<Signal>, _>>()?;
        let [interrupt, terminate, hangup] = &mut kinds[..] else { unreachable!("three kinds") };
        if let Some(note) = note {
            anstream::println!("{note}");
        }
        let mut paths = BTreeSet::new();
        loop {
            tokio::select! {
                _ = interrupt.recv() => return Ok(None),
                _ = terminate.recv() => return Ok(None),
                _ = hangup.recv() => return Ok(None),
                path = saved.recv() => paths.extend(path),
                () = tokio::time::sleep(QUIET), if !paths.is_empty() => return Ok(Some(paths)),
            }
        }
    })
}
