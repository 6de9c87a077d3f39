//! Which case runs when.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::binaries::Binaries;
use super::case;
use super::settings::{Interrupt, Settings};
use crate::event::{Sink, Verdict, What};
use crate::scenario::model::Case;
use crate::session::directory::Workspace;

/// Runs the cases, in order, and tells the sink everything.
///
/// # Errors
/// When not even a private folder can be made.
pub async fn run(
    cases: Vec<Case>,
    binaries: Arc<Binaries>,
    settings: Settings,
    sink: Sink,
    interrupt: Interrupt,
) -> std::io::Result<()> {
    let workspace = Workspace::new()?;
    sink.emit(What::RunStarted {
        version: crate::event::STREAM_VERSION,
        lockstep: env!("CARGO_PKG_VERSION").to_owned(),
        time: humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string(),
        cases: cases.len(),
        command: settings.command.clone(),
    });
    let settings = Arc::new(settings);
    let mut running: JoinSet<Option<Verdict>> = JoinSet::new();
    let mut waiting = cases.into_iter().enumerate();
    let mut stop = false;
    loop {
        while !stop && interrupt.now().is_none() && running.len() < settings.jobs.max(1) {
            let Some((number, case)) = waiting.next() else {
                break;
            };
            let directory = match workspace.case_directory(number) {
                Ok(directory) => directory,
                Err(error) => {
                    let reason = format!("no folder can be made for it: {error}");
                    case::not_begun(&case, &sink.for_case(number), reason);
                    stop |= settings.fail_fast;
                    continue;
                }
            };
            let place = case::Place { directory, notes: workspace.notes(), sink: sink.for_case(number) };
            let surroundings = (Arc::clone(&binaries), Arc::clone(&settings), interrupt.clone());
            running.spawn(async move {
                let (binaries, settings, interrupt) = surroundings;
                Some(case::run(&case, place, &binaries, &settings, &interrupt).await)
            });
        }
        match running.join_next().await {
            None => break,
            Some(Ok(verdict)) => stop |= settings.fail_fast && verdict.is_some_and(Verdict::is_bad),
            // A panic is a bug of ours; the reports call the case an error, and the other cases go on.
            Some(Err(error)) => sink.emit(What::Note { text: format!("a case broke the runner: {error}") }),
        }
    }
    drop(workspace);
    let (interrupted, seconds) = (interrupt.now().is_some(), sink.elapsed().as_secs_f64());
    sink.emit(What::RunEnded { interrupted, seconds });
    Ok(())
}
