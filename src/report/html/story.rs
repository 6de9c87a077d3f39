//! The timeline and the transcript of a case, collected while it runs.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::event::{Event, StepOutcome, What};
use crate::guest::ticker;
use crate::report::record::Kept;
use crate::report::text;
use crate::session::checkpoints::Tracker;
use crate::session::log::QmpEvent;

/// How many transcript lines are kept from the start of a case, and from its end.
const LINES: usize = 2_000;
/// How many bytes of a message are kept.
const RAW: usize = 700;

/// A running case.
#[derive(Debug, Clone, Default)]
pub(super) struct Story {
    began: f64,
    vms: Vec<Vm>,
    /// The names of lanes other than VMs: links and clients.
    others: Vec<String>,
    lines: Option<Kept<Line>>,
    /// The number of the open step in each row of their lane; steps of branches run at the same time.
    rows: Vec<Option<usize>>,
    /// The minimum delay between QEMU's time stamp of an event and the runner's: the offset of the two clocks.
    offset: Option<f64>,
}

/// A line of the transcript: time, lane, kind, short text, and the whole message.
#[derive(Debug, Clone)]
struct Line {
    at: f64,
    /// QEMU's own time stamp, which is more precise than the runner's.
    emitted: Option<f64>,
    lane: Lane,
    kind: char,
    brief: String,
    raw: String,
}

#[derive(Debug, Clone, Copy)]
enum Lane {
    /// The steps, with the row.
    Steps(usize),
    Vm(usize),
    Other(usize),
}

/// A VM and the contents of its lane.
#[derive(Debug, Clone)]
struct Vm {
    name: String,
    version: Option<String>,
    command: String,
    state: Kept<(f64, Clock, String)>,
    migration: Kept<(f64, Clock, String)>,
    tracker: Tracker,
    checkpoints: Kept<(f64, Option<f64>)>,
    completed: usize,
    /// When its failover was requested.
    failover: Option<f64>,
}

/// The clock of a time.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Clock {
    Runner,
    Qemu,
}

/// The timeline and transcript as JSON; times in milliseconds since the start of the case.
#[derive(Debug, Serialize)]
pub(super) struct StoryJson {
    vms: Vec<VmJson>,
    others: Vec<String>,
    /// `[time, lane, kind, brief, raw]`; the rows of the steps are -1, -2 …, VMs come first, then the others.
    lines: Vec<(f64, isize, char, String, String)>,
    /// How many lines were omitted, and before which line.
    left_out: (usize, usize),
}

#[derive(Debug, Serialize)]
struct VmJson {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    command: String,
    state: Vec<(f64, String)>,
    migration: Vec<(f64, String)>,
    checkpoints: Vec<(f64, Option<f64>)>,
    /// How many checkpoints were completed, including those that are not shown.
    completed: usize,
}

impl Story {
    pub(super) fn new(began: f64) -> Self {
        Self { began, ..Self::default() }
    }

    pub(super) fn take(&mut self, event: &Event) {
        let at = event.at;
        match &event.what {
            What::VmSpawned { vm, version, argv, pid } => self.spawned(at, vm, version.clone(), *pid, argv),
            What::VmExited { vm, how, .. } => {
                let number = self.vm(vm);
                self.vms[number].state.push((at, Clock::Runner, String::new()));
                self.vms[number].migration.push((at, Clock::Runner, String::new()));
                self.line(at, Lane::Vm(number), 'x', how, String::new());
            }
            What::QmpCommand { vm, message } => {
                let word = message["execute"].as_str().or_else(|| message["exec-oob"].as_str());
                if word == Some("x-colo-lost-heartbeat") {
                    let number = self.vm(vm);
                    self.vms[number].failover.get_or_insert(at);
                }
                self.message(at, vm, '>', word.unwrap_or_default(), message);
            }
            What::QmpReply { vm, message } => {
                let brief = message["error"]["desc"].as_str().unwrap_or_default();
                self.message(at, vm, '<', brief, message);
            }
            What::QmpEvent { vm, message } => self.event(at, vm, message),
            What::SerialLine { vm, line } => self.serial(at, vm, line),
            What::Trace { vm, name, text, emitted } => {
                self.trace(emitted.unwrap_or(at), vm, name.as_deref(), text);
            }
            What::StepBegan { step, title, place, .. } => {
                let row = self.row(None, Some(*step));
                self.line(at, Lane::Steps(row), '(', title, place.clone());
            }
            What::StepEnded { step, message, outcome, .. } => {
                let row = self.row(Some(*step), None);
                let outcome = match outcome {
                    StepOutcome::Done => "done",
                    StepOutcome::Failed => "failed",
                    StepOutcome::Skipped => "skipped",
                    StepOutcome::Cancelled => "cancelled",
                };
                let message = message.as_deref().unwrap_or_default();
                self.line(at, Lane::Steps(row), ')', message, outcome.to_owned());
            }
            What::Link { link, happened, connections, bytes } => {
                let more = format!("{connections} connections, {bytes} bytes so far");
                self.other(at, &format!("link {link}"), 'l', happened, more);
            }
            What::Client { client, happened, lines, reconnects } => {
                let more = format!("{lines} lines acknowledged, {reconnects} reconnects so far");
                self.other(at, &format!("client {client}"), 'c', happened, more);
            }
            What::Note { text } => self.line(at, Lane::Steps(0), 'n', text, String::new()),
            What::AttemptEnded { attempt, end, .. } => {
                let reason = end.reason.as_deref().unwrap_or_default();
                let brief = format!("attempt {attempt}: {}: {reason}", end.verdict);
                self.line(at, Lane::Steps(0), 'a', &brief, String::new());
            }
            _ => {}
        }
    }

    fn spawned(&mut self, at: f64, vm: &str, version: Option<String>, pid: u32, argv: &[String]) {
        let number = self.vm(vm);
        let has = |option: &str| argv.iter().any(|word| word == option);
        let state = match () {
            () if has("-incoming") => "incoming",
            () if has("-S") => "paused",
            () => "running",
        };
        let known = &mut self.vms[number];
        known.version = version;
        known.command = crate::qemu::argv::for_shell(argv);
        known.tracker = Tracker::default();
        known.state.push((at, Clock::Runner, state.to_owned()));
        self.line(at, Lane::Vm(number), 'x', &format!("started, pid {pid}"), String::new());
    }

    fn serial(&mut self, at: f64, vm: &str, line: &str) {
        let lane = Lane::Vm(self.vm(vm));
        match ticker::Line::parse(line.as_bytes()) {
            Some(ticker::Line::Tick { count, .. }) => {
                self.line(at, lane, 't', &count.to_string(), String::new());
            }
            _ => self.line(at, lane, 's', "", raw(line)),
        }
    }

    fn trace(&mut self, at: f64, vm: &str, name: Option<&str>, text: &str) {
        let lane = Lane::Vm(self.vm(vm));
        let line = name.map_or_else(|| text.to_owned(), |name| format!("{name} {text}"));
        self.line(at, lane, 'd', &line, String::new());
    }

    fn event(&mut self, at: f64, vm: &str, message: &Value) {
        let event = QmpEvent::new(message);
        let number = self.vm(vm);
        let emitted = event.emitted;
        let late = at - emitted;
        self.offset = Some(self.offset.map_or(late, |offset| offset.min(late)));
        let known = &mut self.vms[number];
        let state = match event.name.as_str() {
            "STOP" => Some("paused"),
            "RESUME" => Some("running"),
            "SHUTDOWN" => Some("shut down"),
            "GUEST_PANICKED" => Some("panicked"),
            _ => None,
        };
        known.state_is(emitted, state);
        if let Some(status) = event.migration_status() {
            known.migration.push((emitted, Clock::Qemu, status.to_owned()));
        }
        let before = known.tracker.under_way();
        if let Some((stopped, resumed)) = known.tracker.take(&event) {
            known.completed += 1;
            known.checkpoints.push((stopped, Some(resumed)));
        } else if let (Some(stopped), None) = (before, known.tracker.under_way()) {
            // The failover came during the checkpoint.
            known.checkpoints.push((stopped, None));
        }
        let brief = event.to_string();
        self.put(Line {
            at,
            emitted: Some(emitted),
            lane: Lane::Vm(number),
            kind: 'e',
            brief,
            raw: raw(&message.to_string()),
        });
    }

    fn message(&mut self, at: f64, vm: &str, kind: char, brief: &str, message: &Value) {
        let number = self.vm(vm);
        self.line(at, Lane::Vm(number), kind, brief, raw(&message.to_string()));
    }

    fn other(&mut self, at: f64, name: &str, kind: char, brief: &str, more: String) {
        let known = self.others.iter().position(|known| known == name);
        let number = known.unwrap_or_else(|| {
            self.others.push(name.to_owned());
            self.others.len() - 1
        });
        self.line(at, Lane::Other(number), kind, brief, more);
    }

    fn line(&mut self, at: f64, lane: Lane, kind: char, brief: &str, raw: String) {
        let brief = text::one_line(&text::cut(brief, RAW));
        self.put(Line { at, emitted: None, lane, kind, brief, raw });
    }

    fn put(&mut self, line: Line) {
        self.lines.get_or_insert_with(|| Kept::of(LINES)).push(line);
    }

    /// The first row that has this step, or none if that is not given; from now on it has the other one.
    fn row(&mut self, old: Option<usize>, new: Option<usize>) -> usize {
        let row = self.rows.iter().position(|open| *open == old).unwrap_or(self.rows.len());
        self.rows.resize(self.rows.len().max(row + 1), None);
        self.rows[row] = new;
        row
    }

    fn vm(&mut self, name: &str) -> usize {
        self.vms.iter().position(|vm| vm.name == name).unwrap_or_else(|| {
            self.vms.push(Vm::new(name));
            self.vms.len() - 1
        })
    }

    /// Converts the story for the page. `briefly` omits most of the transcript.
    pub(super) fn into_json(self, briefly: bool) -> StoryJson {
        let Self { began, vms, others, lines: kept, offset, .. } = self;
        let offset = offset.unwrap_or(0.0);
        let ms = |seconds: f64| ((seconds - began) * 1e5).round() / 1e2;
        let moment = |at: f64, clock: Clock| ms(if clock == Clock::Qemu { at + offset } else { at });
        let count = vms.len();
        let lane = |lane: Lane| match lane {
            Lane::Steps(row) => -1 - isize::try_from(row).unwrap_or_default(),
            Lane::Vm(number) => isize::try_from(number).unwrap_or_default(),
            Lane::Other(number) => isize::try_from(count + number).unwrap_or_default(),
        };
        let spans = |kept: &Kept<(f64, Clock, String)>| {
            kept.iter().map(|(at, clock, word)| (moment(*at, *clock), word.clone())).collect()
        };
        let mut lines: Vec<(f64, isize, char, String, String)> = Vec::new();
        let mut left_out = (0, 0);
        if let Some(kept) = kept {
            left_out = (kept.left_out(), kept.first().count());
            for line in kept.iter().filter(|line| !briefly || "()xna".contains(line.kind)) {
                let at = line.emitted.map_or_else(|| ms(line.at), |at| moment(at, Clock::Qemu));
                let raw = if briefly && !"()".contains(line.kind) { String::new() } else { line.raw.clone() };
                lines.push((at, lane(line.lane), line.kind, line.brief.clone(), raw));
            }
        }
        let vm = |vm: Vm| VmJson {
            state: spans(&vm.state),
            migration: spans(&vm.migration),
            checkpoints: vm
                .checkpoints
                .iter()
                .map(|(stopped, resumed)| {
                    (moment(*stopped, Clock::Qemu), resumed.map(|at| moment(at, Clock::Qemu)))
                })
                // The stop of the survivor by a failover is not a checkpoint.
                .filter(|(stopped, resumed)| {
                    resumed.is_some() || vm.failover.is_none_or(|asked| *stopped < ms(asked))
                })
                .collect(),
            completed: vm.completed,
            name: vm.name,
            version: vm.version,
            command: vm.command,
        };
        StoryJson { vms: vms.into_iter().map(vm).collect(), others, lines, left_out }
    }
}

impl Vm {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            version: None,
            command: String::new(),
            state: Kept::default(),
            migration: Kept::default(),
            tracker: Tracker::default(),
            checkpoints: Kept::default(),
            completed: 0,
            failover: None,
        }
    }

    fn state_is(&mut self, at: f64, state: Option<&str>) {
        if let Some(state) = state {
            self.state.push((at, Clock::Qemu, state.to_owned()));
        }
    }
}

/// A message on one line, truncated.
fn raw(message: &str) -> String {
    text::one_line(&text::cut(message, RAW))
}

/// All stories in progress.
pub(super) type Open = BTreeMap<usize, Story>;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::report::sample::at;

    fn event(seen: f64, emitted: f64, name: &str, status: Option<&str>) -> Event {
        let data = status.map(|status| json!({"status": status}));
        let stamp =
            json!({"seconds": 1000 + emitted as u64, "microseconds": (emitted.fract() * 1e6).round()});
        let message = json!({"event": name, "data": data, "timestamp": stamp});
        at(seen, Some(0), What::QmpEvent { vm: "primary".into(), message })
    }

    fn shown(events: &[Event]) -> Value {
        let mut story = Story::new(10.0);
        events.iter().for_each(|event| story.take(event));
        serde_json::to_value(story.into_json(false)).unwrap()
    }

    #[test]
    fn a_checkpoint_is_a_bar_with_the_times_of_qemu() {
        let shown = shown(&[
            event(11.0, 1.0, "MIGRATION", Some("colo")),
            // Seen 300 ms late: that must not move the bar.
            event(12.3, 2.0, "STOP", None),
            event(12.4, 2.25, "RESUME", None),
            event(13.0, 3.0, "STOP", None),
            event(13.5, 3.5, "COLO_EXIT", None),
        ]);
        assert_eq!(shown["vms"][0]["checkpoints"], json!([[2000.0, 2250.0], [3000.0, null]]));
        assert_eq!(shown["vms"][0]["completed"], 1);
        assert_eq!(shown["vms"][0]["migration"], json!([[1000.0, "colo"]]));
        assert_eq!(
            shown["vms"][0]["state"],
            json!([[2000.0, "paused"], [2250.0, "running"], [3000.0, "paused"]])
        );
    }

    #[test]
    fn a_tick_is_shown_as_its_number_and_other_lines_unchanged() {
        let serial =
            |line: &str| at(10.5, Some(0), What::SerialLine { vm: "primary".into(), line: line.into() });
        let shown =
            shown(&[serial(&ticker::line::text("tick", &[128, 5, 40])), serial("\u{1b}[31mlogin: \0")]);
        assert_eq!(shown["lines"], json!([[500.0, 0, "t", "128", ""], [500.0, 0, "s", "", "␛[31mlogin: ␀"]]));
    }

    #[test]
    fn steps_that_run_at_the_same_time_have_rows_of_their_own() {
        let began = |step, title: &str| What::StepBegan {
            step,
            title: title.to_owned(),
            place: String::new(),
            finally: false,
        };
        let ended = |step| What::StepEnded { step, outcome: StepOutcome::Done, message: None, seconds: 0.0 };
        let mut story = Story::default();
        for what in [
            began(1, "a"),
            began(2, "b"),
            ended(1),
            began(3, "c"),
            ended(2),
            ended(3),
            began(4, "d"),
            ended(4),
        ] {
            story.take(&at(1.0, Some(0), what));
        }
        let lines = story.into_json(false).lines;
        let rows: Vec<(char, isize)> = lines.into_iter().map(|(_, row, kind, ..)| (kind, row)).collect();
        let expected = [-1, -2, -1, -1, -2, -1, -1, -1];
        assert_eq!(rows.iter().map(|(_, row)| *row).collect::<Vec<_>>(), expected);
        assert_eq!(rows.iter().map(|(kind, _)| *kind).collect::<String>(), "(()())()");
    }

    #[test]
    fn a_long_case_and_a_long_line_need_little_memory() {
        let mut story = Story::new(0.0);
        for number in 0..20_000 {
            let line = if number == 0 { "x".repeat(10 << 20) } else { "y".into() };
            story.take(&at(1.0, Some(0), What::SerialLine { vm: "a".into(), line }));
        }
        let shown = story.into_json(false);
        assert_eq!((shown.lines.len(), shown.left_out), (2 * LINES, (20_000 - 2 * LINES, LINES)));
        assert!(shown.lines.iter().all(|line| line.4.len() < 2 * RAW));
    }
}
