//! An attempt that is being collected: its times are still those of the two clocks.

use crate::report::record::Kept;
use crate::session::checkpoints::Tracker;
use crate::session::log::QmpEvent;

use super::clock::Offset;
use super::{Checkpoint, Span, Vm};

/// A time, as the runner saw it, and by QEMU's clock if QEMU said so.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub(super) seen: f64,
    pub(super) emitted: Option<f64>,
}

/// A VM of the open attempt.
#[derive(Debug, Clone)]
pub(super) struct OpenVm {
    pub(super) name: String,
    pub(super) version: Option<String>,
    pub(super) command: String,
    pub(super) pid: u32,
    state: Kept<(Moment, String)>,
    migration: Kept<(Moment, String)>,
    tracker: Tracker,
    checkpoints: Kept<(Moment, Option<Moment>)>,
    stopped: Option<Moment>,
    completed: usize,
    /// When its failover was requested.
    pub(super) failover: Option<f64>,
}

/// What an event says about COLO.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum News {
    /// The VM has entered COLO.
    Colo,
    /// The VM has completed its first checkpoint.
    Checkpoint,
}

impl Moment {
    pub(super) const fn of_runner(seen: f64) -> Self {
        Self { seen, emitted: None }
    }

    /// The moment on the runner's clock.
    pub(super) fn at(self, offset: &Offset) -> f64 {
        self.emitted.map_or(self.seen, |emitted| offset.moved(self.seen, emitted))
    }
}

impl OpenVm {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            version: None,
            command: String::new(),
            pid: 0,
            state: Kept::default(),
            migration: Kept::default(),
            tracker: Tracker::default(),
            checkpoints: Kept::default(),
            stopped: None,
            completed: 0,
            failover: None,
        }
    }

    pub(super) fn spawned(&mut self, seen: f64, pid: u32, version: Option<String>, argv: &[String]) {
        let has = |option: &str| argv.iter().any(|word| word == option);
        let state = match () {
            () if has("-incoming") => "incoming",
            () if has("-S") => "paused",
            () => "running",
        };
        self.pid = pid;
        self.version = version;
        self.command = crate::qemu::argv::for_shell(argv);
        self.tracker = Tracker::default();
        self.stopped = None;
        self.state.push((Moment::of_runner(seen), state.to_owned()));
    }

    pub(super) fn exited(&mut self, seen: f64) {
        self.state.push((Moment::of_runner(seen), String::new()));
        self.migration.push((Moment::of_runner(seen), String::new()));
    }

    pub(super) fn event(&mut self, moment: Moment, event: &QmpEvent) -> Option<News> {
        let state = match event.name.as_str() {
            "STOP" => Some("paused"),
            "RESUME" => Some("running"),
            "SHUTDOWN" => Some("shut down"),
            "GUEST_PANICKED" => Some("panicked"),
            _ => None,
        };
        if let Some(state) = state {
            self.state.push((moment, state.to_owned()));
        }
        if let Some(status) = event.migration_status() {
            self.migration.push((moment, status.to_owned()));
        }
        let was_in_colo = self.tracker.is_in_colo();
        let completed = self.tracker.take(event).is_some();
        let stopped = self.stopped;
        self.stopped =
            self.tracker.under_way().and(if event.name == "STOP" { Some(moment) } else { stopped });
        match stopped {
            Some(stopped) if completed => {
                self.checkpoints.push((stopped, Some(moment)));
                self.completed += 1;
                (self.completed == 1).then_some(News::Checkpoint)
            }
            // The failover came during the checkpoint.
            Some(stopped) if self.stopped.is_none() => {
                self.checkpoints.push((stopped, None));
                None
            }
            _ => (!was_in_colo && self.tracker.is_in_colo()).then_some(News::Colo),
        }
    }

    /// The VM with the times of the axis, by `axis`.
    pub(super) fn shown(&self, offset: &Offset, axis: impl Fn(f64) -> f64, end: f64) -> Vm {
        let moment = |moment: &Moment| axis(moment.at(offset));
        let spans = |kept: &Kept<(Moment, String)>| {
            let mut spans: Vec<Span> = kept
                .iter()
                .map(|(at, word)| Span { began: moment(at), ended: end, word: word.clone() })
                .collect();
            if kept.left_out() > 0 {
                "omitted".clone_into(&mut spans[kept.first().count() - 1].word);
            }
            // An event may have been emitted before the moment at which the runner saw the start of the process.
            spans.sort_by(|one, other| one.began.total_cmp(&other.began));
            for next in 1..spans.len() {
                spans[next - 1].ended = spans[next].began;
            }
            spans.retain(|span| !span.word.is_empty());
            spans
        };
        let open = self.stopped.as_ref().map(|stopped| (stopped, None));
        let checkpoints = self.checkpoints.iter().map(|(stopped, resumed)| (stopped, resumed.as_ref()));
        Vm {
            name: self.name.clone(),
            version: self.version.clone(),
            command: self.command.clone(),
            pid: self.pid,
            state: spans(&self.state),
            migration: spans(&self.migration),
            checkpoints: checkpoints
                .chain(open)
                .map(|(stopped, resumed)| Checkpoint {
                    stopped: moment(stopped),
                    resumed: resumed.map(moment),
                })
                // The stop of the survivor by a failover is not a checkpoint.
                .filter(|checkpoint| {
                    checkpoint.resumed.is_some()
                        || self.failover.is_none_or(|asked| checkpoint.stopped < axis(asked))
                })
                .collect(),
            completed: self.completed,
        }
    }
}
