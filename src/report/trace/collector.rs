//! Collects the trace of a case from its events.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use crate::event::{Again, CaseEnd, Event, StepOutcome, Verdict, What};
use crate::guest::ticker;
use crate::report::record::{Case, Kept, Metric};
use crate::report::text;
use crate::session::log::QmpEvent;

use super::clock::{Differences, NOTABLE, Offset};
use super::open::{Moment, News, OpenVm};
use super::{Attempt, Change, Counted, Kind, LeftOut, Line, Mark, MarkKind, Source, Step, Trace};

/// How many transcript lines are kept from the start of an attempt, and from its end.
pub(super) const LINES: usize = 10_000;
/// How many bytes of a message are kept.
pub(super) const RAW: usize = 700;
/// How many attempts are kept from the first ones, and from the last ones.
const ATTEMPTS: usize = 4;
/// How many steps of an attempt are kept from its start, and from its end.
const STEPS: usize = 2_000;

/// Collects the trace of a case.
#[derive(Debug, Clone)]
pub(crate) struct Collector {
    began: f64,
    ended: Kept<Attempt>,
    excused: bool,
    open: Open,
}

/// The attempt that is running.
#[derive(Debug, Clone)]
struct Open {
    number: usize,
    /// When it began, and its latest event, in seconds since the start of the run.
    began: f64,
    last: f64,
    vms: Vec<OpenVm>,
    links: Vec<(String, Kept<Change>)>,
    clients: Vec<(String, Kept<Change>)>,
    steps: Kept<Step>,
    /// The number of the open step in each row; steps of branches run at the same time.
    rows: Vec<Option<usize>>,
    lines: Kept<OpenLine>,
    /// How many lines there were.
    count: usize,
    /// The commands without a reply: VM and id of the command, and the number of the line.
    commands: HashMap<(usize, String), usize>,
    /// How many QEMUs a step sent each signal to that have not ended by it.
    sent: HashMap<String, usize>,
    marks: Kept<(Moment, MarkKind, String, usize)>,
    metrics: Kept<Metric>,
    differences: Differences,
}

/// A line with its number in the order of arrival.
#[derive(Debug, Clone)]
struct OpenLine {
    number: usize,
    moment: Moment,
    partner: Option<usize>,
    line: Line,
}

impl Collector {
    /// A collector for a case that began at this time, in seconds since the start of the run.
    pub(crate) fn new(began: f64) -> Self {
        Self { began, ended: Kept::of(ATTEMPTS), excused: false, open: Open::new(1, began) }
    }

    /// Adds an event of the case.
    pub(crate) fn take(&mut self, event: &Event) {
        match &event.what {
            What::AttemptEnded { attempt, again, end } => {
                // It is also run again if the known issue did not occur.
                self.excused |= *again == Again::KnownIssue && end.verdict == Verdict::Xfail;
                self.open.last = self.open.last.max(event.at);
                let mut ended = self.open.shown(self.began);
                (ended.number, ended.verdict) = (*attempt, Some(end.verdict));
                self.ended.push(ended);
                self.open = Open::new(attempt + 1, event.at);
            }
            what => self.open.take(event.at, what),
        }
    }

    /// The trace of a case that has ended like this, or has not ended yet.
    pub(crate) fn finish(mut self, end: Option<&CaseEnd>) -> Trace {
        let mut last = self.open.shown(self.began);
        last.verdict = end.map(|end| match end.verdict {
            Verdict::Flaky => Verdict::Pass,
            // The result of the case is that of the excused attempt.
            Verdict::Xfail if self.excused => Verdict::Pass,
            verdict => verdict,
        });
        let attempts = self.ended.into_iter().chain([last]).collect();
        Trace { began: self.began, attempts }
    }
}

/// The collectors of the cases that run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Collectors(BTreeMap<usize, Collector>);

impl Collectors {
    /// Adds an event of the run.
    pub(crate) fn take(&mut self, event: &Event) {
        let Some(number) = event.case else { return };
        if let What::CaseStarted { .. } = event.what {
            self.0.insert(number, Collector::new(event.at));
        } else if let Some(collector) = self.0.get_mut(&number) {
            collector.take(event);
        }
    }

    /// The trace of a case, which is then dropped here.
    pub(crate) fn finish(&mut self, case: &Case) -> Trace {
        let collector = self.0.remove(&case.number).unwrap_or_else(|| Collector::new(case.began));
        collector.finish(case.end.as_ref())
    }
}

impl Open {
    fn new(number: usize, began: f64) -> Self {
        Self {
            number,
            began,
            last: began,
            vms: Vec::new(),
            links: Vec::new(),
            clients: Vec::new(),
            steps: Kept::of(STEPS),
            rows: Vec::new(),
            lines: Kept::of(LINES),
            count: 0,
            commands: HashMap::new(),
            sent: HashMap::new(),
            marks: Kept::default(),
            metrics: Kept::default(),
            differences: Differences::default(),
        }
    }

    fn take(&mut self, at: f64, what: &What) {
        self.last = self.last.max(at);
        match what {
            What::VmSpawned { vm, version, argv, pid } => {
                let number = self.vm(vm);
                self.vms[number].spawned(at, *pid, version.clone(), argv);
                self.process(at, number, &format!("started, pid {pid}"));
            }
            What::VmExited { vm, how, expected } => {
                let number = self.vm(vm);
                self.vms[number].exited(at);
                self.process(at, number, how);
                // A step that sent the signal has a mark; it may name the VM by its role.
                let sent = how.strip_prefix("signal ").map(|signal| self.sent.get_mut(signal));
                match sent {
                    Some(Some(count)) if *count > 0 => *count -= 1,
                    None if *expected => {}
                    _ => self.mark(at, MarkKind::Signal, format!("{vm}: {how}")),
                }
            }
            What::QmpCommand { vm, message } => self.command(at, vm, message),
            What::QmpReply { vm, message } => self.reply(at, vm, message),
            What::QmpEvent { vm, message } => self.event(at, vm, message),
            What::SerialLine { vm, line } => self.serial(at, vm, line),
            What::Trace { vm, name, text, emitted } => {
                self.trace(emitted.unwrap_or(at), vm, name.as_deref(), text);
            }
            What::StepBegan { step, title, place, finally } => {
                self.step_began(at, *step, title, place, *finally);
            }
            What::StepEnded { step, message, outcome, .. } => {
                self.step_ended(at, *step, *outcome, message.as_deref());
            }
            What::Link { link, happened, connections, bytes } => {
                let change = self.change(at, happened, *bytes, *connections);
                let number = changed(&mut self.links, link, change);
                let more = format!("{connections} connections, {bytes} bytes so far");
                self.line(at, Source::Link(number), Kind::Change, happened, more);
                if !happened.starts_with("connection") && !happened.starts_with("cannot") {
                    self.mark(at, MarkKind::Link, format!("link {link}: {happened}"));
                }
            }
            What::Client { client, happened, lines, reconnects } => {
                let change = self.change(at, happened, *lines, *reconnects);
                let number = changed(&mut self.clients, client, change);
                let more = format!("{lines} lines acknowledged, {reconnects} reconnects so far");
                self.line(at, Source::Client(number), Kind::Change, happened, more);
            }
            What::Metric { name, value, unit, vm, spread } => {
                let (name, unit, vm) = (name.clone(), unit.clone(), vm.clone());
                self.metrics.push(Metric { name, value: *value, unit, vm, spread: *spread });
            }
            What::Note { text } => self.line(at, Source::Case, Kind::Note, text, String::new()),
            _ => {}
        }
    }

    /// A new process, or its end: replies to earlier commands cannot come any more.
    fn process(&mut self, at: f64, vm: usize, text: &str) {
        self.commands.retain(|(of, _), _| *of != vm);
        self.line(at, Source::Vm(vm), Kind::Process, text, String::new());
    }

    fn change(&self, at: f64, happened: &str, total: u64, connections: u64) -> Change {
        let text = text::one_line(&text::cut(happened, RAW));
        Change { at: at - self.began, text, total, connections }
    }

    fn command(&mut self, at: f64, name: &str, message: &Value) {
        let vm = self.vm(name);
        let word = message["execute"].as_str().or_else(|| message["exec-oob"].as_str()).unwrap_or_default();
        self.line(at, Source::Vm(vm), Kind::Command, word, raw(&message.to_string()));
        if !message["id"].is_null() {
            self.commands.insert((vm, message["id"].to_string()), self.count);
        }
        match word {
            "yank" => self.mark(at, MarkKind::Yank, format!("yank → {name}")),
            "x-colo-lost-heartbeat" => {
                self.vms[vm].failover.get_or_insert(at);
                self.mark(at, MarkKind::Failover, format!("failover → {name}"));
            }
            _ => {}
        }
    }

    fn reply(&mut self, at: f64, name: &str, message: &Value) {
        let vm = self.vm(name);
        let brief = message["error"]["desc"].as_str().unwrap_or_default();
        let command = self.commands.remove(&(vm, message["id"].to_string()));
        self.line(at, Source::Vm(vm), Kind::Reply, brief, raw(&message.to_string()));
        self.latest(|line| line.partner = command);
    }

    fn serial(&mut self, at: f64, name: &str, line: &str) {
        let source = Source::Vm(self.vm(name));
        match ticker::Line::parse(line.as_bytes()) {
            Some(ticker::Line::Tick { count, .. }) => {
                self.line(at, source, Kind::Tick, &count.to_string(), String::new());
            }
            _ => self.line(at, source, Kind::Serial, line, String::new()),
        }
    }

    fn trace(&mut self, at: f64, vm: &str, name: Option<&str>, text: &str) {
        let source = Source::Vm(self.vm(vm));
        let line = name.map_or_else(|| text.to_owned(), |name| format!("{name} {text}"));
        self.line(at, source, Kind::Trace, &line, String::new());
    }

    fn event(&mut self, at: f64, name: &str, message: &Value) {
        let event = QmpEvent::new(message);
        let vm = self.vm(name);
        let moment = Moment { seen: at, emitted: Some(event.emitted) };
        self.differences.add(at, event.emitted);
        let news = self.vms[vm].event(moment, &event);
        self.line(at, Source::Vm(vm), Kind::Event, &event.to_string(), raw(&message.to_string()));
        self.latest(|line| line.moment = moment);
        let (kind, text) = match news {
            Some(News::Colo) => (MarkKind::Colo, format!("{name} enters COLO")),
            Some(News::Checkpoint) => (MarkKind::Checkpoint, format!("first checkpoint of {name}")),
            None => return,
        };
        self.marks.push((moment, kind, text, self.count));
    }

    fn step_began(&mut self, at: f64, step: usize, title: &str, place: &str, finally: bool) {
        let row = self.row(None, Some(step));
        let title = text::one_line(&text::cut(title, RAW));
        self.line(at, Source::Case, Kind::Began, &title, raw(place));
        self.latest(|line| line.line.step = Some(step));
        // The action `signal`, perhaps after the name of the step.
        let words = title.rsplit(": ").next().unwrap_or_default();
        if let Some((signal, to)) = words.strip_prefix("SIG").and_then(|words| words.split_once(" to ")) {
            *self.sent.entry(signal.to_owned()).or_default() += to.split(", ").count();
            self.mark(at, MarkKind::Signal, words.to_owned());
        }
        self.steps.push(Step {
            number: step,
            title,
            place: raw(place),
            finally,
            began: at - self.began,
            ended: None,
            outcome: None,
            message: None,
            row,
        });
    }

    fn step_ended(&mut self, at: f64, step: usize, outcome: StepOutcome, message: Option<&str>) {
        let word = match outcome {
            StepOutcome::Done => "done",
            StepOutcome::Failed => "failed",
            StepOutcome::Skipped => "skipped",
            StepOutcome::Cancelled => "cancelled",
        };
        self.row(Some(step), None);
        let text = message.map_or_else(|| word.to_owned(), |message| format!("{word}: {message}"));
        self.line(at, Source::Case, Kind::Ended, &text, String::new());
        self.latest(|line| line.line.step = Some(step));
        // Search from the end: it is usually there.
        let Some(known) = self.steps.iter_mut().rev().find(|known| known.number == step) else { return };
        known.ended = Some(at - self.began);
        known.outcome = Some(outcome);
        known.message = message.map(|message| text::visible(&text::cut(message, RAW)).into_owned());
        if outcome == StepOutcome::Failed {
            let text = format!("failed: {}", known.title);
            self.mark(at, MarkKind::Failed, text);
        }
    }

    fn line(&mut self, seen: f64, source: Source, kind: Kind, text: &str, message: String) {
        self.count += 1;
        let text = text::one_line(&text::cut(text, RAW));
        let line = Line { at: 0.0, delay: None, source, kind, text, message, partner: None, step: None };
        self.lines.push(OpenLine {
            number: self.count,
            moment: Moment::of_runner(seen),
            partner: None,
            line,
        });
    }

    /// Changes the latest line.
    fn latest(&mut self, change: impl FnOnce(&mut OpenLine)) {
        if let Some(line) = self.lines.iter_mut().next_back() {
            change(line);
        }
    }

    /// Marks the time of the latest line.
    fn mark(&mut self, seen: f64, kind: MarkKind, text: String) {
        self.marks.push((Moment::of_runner(seen), kind, text::one_line(&text), self.count));
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
            self.vms.push(OpenVm::new(name));
            self.vms.len() - 1
        })
    }

    /// The attempt, with all times on its axis.
    fn shown(&mut self, case_began: f64) -> Attempt {
        let offset = self.differences.offset();
        let (began, seconds) = (self.began, self.last - self.began);
        let axis = |at: f64| rounded(at - began);
        let (lines, left_out) = self.transcript(&offset);
        let place: HashMap<usize, usize> =
            lines.iter().enumerate().map(|(index, line)| (line.number, index)).collect();
        let pairs: Vec<(usize, usize)> = lines
            .iter()
            .enumerate()
            .filter_map(|(index, line)| Some((index, *place.get(&line.partner?)?)))
            .collect();
        let mut lines: Vec<Line> = lines.into_iter().map(|line| line.line).collect();
        for (reply, command) in pairs {
            lines[reply].partner = Some(command);
            lines[command].partner = Some(reply);
        }
        let mark = |(moment, kind, text, line): (Moment, MarkKind, String, usize)| Mark {
            at: axis(moment.at(&offset)),
            kind,
            text,
            line: place.get(&line).copied(),
        };
        let mut marks: Vec<Mark> = std::mem::take(&mut self.marks).into_iter().map(mark).collect();
        marks.extend(self.first_tick(&lines));
        marks.sort_by(|one, other| one.at.total_cmp(&other.at));
        let round = |step: Step| Step { began: rounded(step.began), ended: step.ended.map(rounded), ..step };
        let said = |(at, by): (f64, f64)| {
            let (ms, way) = (by.abs() * 1e3, if by > 0.0 { "forward" } else { "back" });
            format!("the host's clock was set {way} by about {ms:.0} ms at {:.3} s", axis(at))
        };
        Attempt {
            number: self.number,
            began: rounded(began - case_began),
            seconds: rounded(seconds),
            verdict: None,
            vms: self.vms.iter().map(|vm| vm.shown(&offset, axis, rounded(seconds))).collect(),
            links: counted(std::mem::take(&mut self.links)),
            clients: counted(std::mem::take(&mut self.clients)),
            steps: std::mem::take(&mut self.steps).into_iter().map(round).collect(),
            lines,
            left_out,
            marks,
            metrics: self
                .metrics
                .iter()
                .map(|metric| text::one_line(&metric.to_string()))
                .filter_map(split)
                .collect(),
            notes: offset.step().map(said).into_iter().collect(),
        }
    }

    /// The transcript in the order of its times.
    fn transcript(&mut self, offset: &Offset) -> (Vec<OpenLine>, LeftOut) {
        let kept = std::mem::replace(&mut self.lines, Kept::of(LINES));
        let left_out = LeftOut { count: kept.left_out(), before: kept.first().count() };
        let mut lines: Vec<OpenLine> = kept.into_iter().collect();
        for OpenLine { moment, line, .. } in &mut lines {
            let at = moment.at(offset);
            line.at = rounded(at - self.began);
            line.delay = Some(rounded(moment.seen - at)).filter(|delay| *delay >= NOTABLE);
        }
        let (first, last) = lines.split_at_mut(left_out.before);
        for part in [first, last] {
            part.sort_by(|one, other| one.line.at.total_cmp(&other.line.at));
        }
        (lines, if left_out.count == 0 { LeftOut::default() } else { left_out })
    }

    /// The survivor's first tick: the end of the time that the metric `failover` measures, or else the first tick after
    /// the command.
    fn first_tick(&self, lines: &[Line]) -> Option<Mark> {
        let (vm, asked) = self.vms.iter().enumerate().find_map(|(vm, of)| Some((vm, of.failover?)))?;
        let asked = asked - self.began;
        let name = &self.vms[vm].name;
        let metric =
            self.metrics.iter().rfind(|metric| metric.name == "failover" && metric.vm.as_ref() == Some(name));
        let mut ticks = lines
            .iter()
            .enumerate()
            .filter(|(_, line)| line.kind == Kind::Tick && line.source == Source::Vm(vm));
        let (line, text) = match metric {
            Some(metric) => {
                // It is measured from the start of the step.
                let failover = |step: &&Step| step.began <= asked && step.title.contains("failover");
                let began = self.steps.iter().rfind(failover).map_or(asked, |step| step.began);
                let expected = began + metric.value;
                let far = |(_, line): &(usize, &Line)| (line.at - expected).abs();
                let nearest = ticks.min_by(|one, other| far(one).total_cmp(&far(other)))?;
                (nearest.0, format!("first tick, failover {}", text::value(metric.value, &metric.unit)))
            }
            None => (ticks.find(|(_, line)| line.at > asked)?.0, "first tick".to_owned()),
        };
        Some(Mark { at: lines[line].at, kind: MarkKind::Tick, text, line: Some(line) })
    }
}

/// Adds a change; returns the index of the link or client.
fn changed(all: &mut Vec<(String, Kept<Change>)>, name: &str, change: Change) -> usize {
    let known = all.iter().position(|(known, _)| known == name);
    let number = known.unwrap_or_else(|| {
        all.push((name.to_owned(), Kept::default()));
        all.len() - 1
    });
    all[number].1.push(change);
    number
}

fn counted(all: Vec<(String, Kept<Change>)>) -> Vec<Counted> {
    let round = |change: Change| Change { at: rounded(change.at), ..change };
    all.into_iter()
        .map(|(name, changes)| Counted { name, changes: changes.into_iter().map(round).collect() })
        .collect()
}

/// A message on one line, truncated.
fn raw(message: &str) -> String {
    text::one_line(&text::cut(message, RAW))
}

/// The name of a metric, and its value.
fn split(metric: String) -> Option<(String, String)> {
    metric.split_once(" = ").map(|(name, value)| (name.to_owned(), value.to_owned()))
}

/// Seconds with the precision of QEMU's time stamps.
fn rounded(seconds: f64) -> f64 {
    (seconds * 1e6).round() / 1e6
}
