//! The trace-event JSON that Perfetto and chrome://tracing open: the VMs of each attempt as processes, their lanes as threads.
//!
//! All times are microseconds since the start of the run, on the axis of the trace: a QMP event has QEMU's own time.

use std::io::{BufWriter, Write as _};
use std::path::PathBuf;

use anyhow::Context as _;
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use super::file;
use super::record::Case;
use super::trace::{Attempt, Collectors, Counted, Kind, Line, Source, Span, Trace, Vm};
use super::{Fold, text};
use crate::event::{Event, Subscriber};

/// The lanes of a VM, as the numbers of its threads.
const STATE: usize = 1;
const MIGRATION: usize = 2;
const CHECKPOINTS: usize = 3;
const QMP: usize = 4;
const EVENTS: usize = 5;
const SERIAL: usize = 6;
const TRACE: usize = 7;
const LANES: [(usize, &str); 7] = [
    (STATE, "run state"),
    (MIGRATION, "migration"),
    (CHECKPOINTS, "checkpoints"),
    (QMP, "QMP"),
    (EVENTS, "events"),
    (SERIAL, "serial"),
    (TRACE, "trace events"),
];

/// The threads of a case, after which come the rows of its steps.
const NOTES: usize = 1;
const STEPS: usize = 2;

/// The trace of a run.
#[derive(Debug)]
pub struct Perfetto {
    path: PathBuf,
    fold: Fold,
    open: Collectors,
    out: Option<Out>,
}

/// The file, until it replaces an older one.
#[derive(Debug)]
struct Out {
    file: BufWriter<NamedTempFile>,
    /// How many processes it has.
    processes: usize,
    /// How many commands it has; their ids.
    commands: usize,
}

/// A process of the file: what its events have in common.
#[derive(Debug, Clone, Copy)]
struct Process {
    id: usize,
    /// When its attempt began, in seconds since the start of the run.
    began: f64,
}

impl Perfetto {
    /// A trace to be written to `path` when the stream ends; creates its directory if missing.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), fold: Fold::default(), open: Collectors::default(), out: None }
    }

    fn out(&mut self) -> anyhow::Result<&mut Out> {
        match &mut self.out {
            Some(out) => Ok(out),
            none => {
                let mut file = BufWriter::new(file::beside(&self.path)?);
                // The first event names the file's own zero, so that each further one is preceded by a comma.
                let zero = json!({"ph": "M", "name": "trace_start", "pid": 0, "tid": 0, "ts": 0, "cat": "__metadata",
                    "args": {"time": self.fold.time()}});
                write!(file, "{{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n{zero}")?;
                Ok(none.insert(Out { file, processes: 0, commands: 0 }))
            }
        }
    }

    fn ended(&mut self, case: &Case) -> anyhow::Result<()> {
        let trace = self.open.finish(case);
        self.out()?.case(&text::one_line(&case.title()), &trace)
    }

    fn write(&mut self) -> anyhow::Result<()> {
        self.out()?;
        if let Some(mut out) = self.out.take() {
            out.file.write_all(b"\n]}\n")?;
            out.file.into_inner()?.persist(&self.path)?;
        }
        Ok(())
    }
}

impl Subscriber for Perfetto {
    fn take(&mut self, event: &Event) -> anyhow::Result<()> {
        self.open.take(event);
        match self.fold.take(event) {
            Some(case) => self.ended(&case),
            None => Ok(()),
        }
    }

    fn finish(&mut self) -> anyhow::Result<()> {
        let cut = self.fold.cut_off();
        let written = cut.iter().try_for_each(|case| self.ended(case)).and_then(|()| self.write());
        written.with_context(|| format!("cannot write {}", self.path.display()))
    }
}

impl Out {
    fn case(&mut self, title: &str, trace: &Trace) -> anyhow::Result<()> {
        for attempt in &trace.attempts {
            let began = trace.began + attempt.began;
            let title = match trace.attempts.len() {
                1 => title.to_owned(),
                _ => format!("{title}, attempt {}", attempt.number),
            };
            self.steps(&title, began, attempt)?;
            for (index, vm) in attempt.vms.iter().enumerate() {
                self.vm(&title, began, index, vm, attempt)?;
            }
        }
        Ok(())
    }

    /// The process of the case itself: its notes, steps, links and clients.
    fn steps(&mut self, title: &str, began: f64, attempt: &Attempt) -> anyhow::Result<()> {
        let case = self.process(title, began)?;
        let rows = attempt.steps.iter().map(|step| step.row + 1).max().unwrap_or(1);
        self.thread(case, NOTES, "notes")?;
        for row in 0..rows {
            let name = if row == 0 { "steps".to_owned() } else { format!("steps ({})", row + 1) };
            self.thread(case, STEPS + row, &name)?;
        }
        for step in &attempt.steps {
            let ended = step.ended.unwrap_or(attempt.seconds);
            let args = json!({"number": step.number, "place": step.place, "outcome": step.outcome, "message": step.message});
            self.slice(case, STEPS + step.row, "step", &step.title, (step.began, ended), args)?;
        }
        for line in attempt.lines.iter().filter(|line| line.kind == Kind::Note) {
            self.instant(case, NOTES, "note", line)?;
        }
        let counted = [("link", "bytes", &attempt.links), ("client", "lines", &attempt.clients)];
        let each =
            counted.into_iter().flat_map(|(kind, unit, all)| all.iter().map(move |one| (kind, unit, one)));
        for (number, (kind, unit, one)) in each.enumerate() {
            self.counted(case, STEPS + rows + number, kind, unit, one)?;
        }
        Ok(())
    }

    fn counted(
        &mut self,
        case: Process,
        thread: usize,
        kind: &str,
        unit: &str,
        one: &Counted,
    ) -> anyhow::Result<()> {
        let name = format!("{kind} {}", one.name);
        self.thread(case, thread, &name)?;
        for change in &one.changes {
            let at = case.at(change.at);
            let args = json!({"total": change.total, "connections": change.connections});
            self.put(
                &json!({"ph": "i", "s": "t", "cat": kind, "name": change.text, "pid": case.id, "tid": thread,
                "ts": at, "args": args}),
            )?;
            self.put(&json!({"ph": "C", "cat": kind, "name": format!("{name}: {unit}"), "pid": case.id, "tid": thread,
                "ts": at, "args": {unit: change.total}}))?;
        }
        Ok(())
    }

    fn vm(
        &mut self,
        title: &str,
        began: f64,
        index: usize,
        vm: &Vm,
        attempt: &Attempt,
    ) -> anyhow::Result<()> {
        let process = self.process(&format!("{}: {title}", vm.name), began)?;
        for (thread, name) in LANES {
            self.thread(process, thread, name)?;
        }
        for (thread, spans) in [(STATE, &vm.state), (MIGRATION, &vm.migration)] {
            for Span { began, ended, word } in spans {
                self.slice(process, thread, "state", word, (*began, *ended), json!({}))?;
            }
        }
        for checkpoint in &vm.checkpoints {
            let name = if checkpoint.resumed.is_some() { "checkpoint" } else { "incomplete checkpoint" };
            let ended = checkpoint.resumed.unwrap_or(checkpoint.stopped);
            self.slice(process, CHECKPOINTS, "checkpoint", name, (checkpoint.stopped, ended), json!({}))?;
        }
        for line in attempt.lines.iter().filter(|line| line.source == Source::Vm(index)) {
            match line.kind {
                Kind::Command => self.command(process, line, attempt)?,
                Kind::Event => self.instant(process, EVENTS, "event", line)?,
                Kind::Process => self.instant(process, STATE, "process", line)?,
                Kind::Tick | Kind::Serial => self.instant(process, SERIAL, "serial", line)?,
                Kind::Trace => self.instant(process, TRACE, "trace", line)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// A command with its reply. Several may be in flight at the same time.
    fn command(&mut self, process: Process, line: &Line, attempt: &Attempt) -> anyhow::Result<()> {
        let reply = line.partner.and_then(|partner| attempt.lines.get(partner));
        self.commands += 1;
        let mut event = json!({"ph": "b", "cat": "qmp", "id": self.commands, "name": line.text, "pid": process.id,
            "tid": QMP, "ts": process.at(line.at), "args": {"command": line.message}});
        self.put(&event)?;
        event["ph"] = "e".into();
        event["ts"] = process.at(reply.map_or(attempt.seconds, |reply| reply.at)).into();
        event["args"] = json!({"reply": reply.map(|reply| &reply.message)});
        self.put(&event)
    }

    fn process(&mut self, name: &str, began: f64) -> anyhow::Result<Process> {
        self.processes += 1;
        let id = self.processes;
        self.metadata(id, 0, "process_name", json!({"name": name}))?;
        self.metadata(id, 0, "process_sort_index", json!({"sort_index": id}))?;
        Ok(Process { id, began })
    }

    fn thread(&mut self, process: Process, thread: usize, name: &str) -> anyhow::Result<()> {
        self.metadata(process.id, thread, "thread_name", json!({"name": name}))?;
        self.metadata(process.id, thread, "thread_sort_index", json!({"sort_index": thread}))
    }

    fn metadata(&mut self, process: usize, thread: usize, name: &str, args: Value) -> anyhow::Result<()> {
        self.put(
            &json!({"ph": "M", "cat": "__metadata", "name": name, "pid": process, "tid": thread, "ts": 0,
            "args": args}),
        )
    }

    fn slice(
        &mut self,
        process: Process,
        thread: usize,
        category: &str,
        name: &str,
        (began, ended): (f64, f64),
        args: Value,
    ) -> anyhow::Result<()> {
        let (began, ended) = (process.at(began), process.at(ended));
        self.put(
            &json!({"ph": "X", "cat": category, "name": name, "pid": process.id, "tid": thread, "ts": began,
            "dur": (ended - began).max(0), "args": args}),
        )
    }

    fn instant(
        &mut self,
        process: Process,
        thread: usize,
        category: &str,
        line: &Line,
    ) -> anyhow::Result<()> {
        let name = match line.kind {
            Kind::Tick => format!("tick {}", line.text),
            _ if line.text.is_empty() => line.message.clone(),
            _ => line.text.clone(),
        };
        self.put(
            &json!({"ph": "i", "s": "t", "cat": category, "name": name, "pid": process.id, "tid": thread,
            "ts": process.at(line.at), "args": {"message": line.message, "delay": line.delay}}),
        )
    }

    fn put(&mut self, event: &Value) -> anyhow::Result<()> {
        Ok(write!(self.file, ",\n{event}")?)
    }
}

impl Process {
    /// A time of the attempt in microseconds of the run.
    fn at(self, seconds: f64) -> i64 {
        ((self.began + seconds) * 1e6).round() as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::What;
    use crate::report::sample;

    #[test]
    fn each_command_event_and_step_of_a_run_is_in_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trace.json");
        let mut perfetto = Perfetto::new(&path);
        let mut events = sample::run();
        let step = events.iter().position(|event| matches!(event.what, What::StepBegan { .. })).unwrap();
        let (at, case) = (events[step].at, events[step].case);
        let vm = || "primary".to_owned();
        let stop = json!({"event": "STOP", "timestamp": {"seconds": 1, "microseconds": 0}});
        for what in [
            What::QmpEvent { vm: vm(), message: stop },
            What::QmpReply { vm: vm(), message: json!({"return": {}, "id": 1}) },
            What::QmpCommand { vm: vm(), message: json!({"execute": "stop", "id": 1}) },
        ] {
            events.insert(step + 1, sample::at(at, case, what));
        }
        events.iter().for_each(|event| perfetto.take(event).unwrap());
        perfetto.finish().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let trace: Value = serde_json::from_str(&text).unwrap();
        let all = trace["traceEvents"].as_array().unwrap();
        let count = |phase: &str, category: &str| {
            all.iter().filter(|one| one["ph"] == phase && one["cat"] == category).count()
        };
        let expected = |wanted: fn(&What) -> bool| events.iter().filter(|event| wanted(&event.what)).count();
        assert_eq!(count("X", "step"), expected(|what| matches!(what, What::StepBegan { .. })));
        let commands = expected(|what| matches!(what, What::QmpCommand { .. }));
        assert_eq!((commands, [count("b", "qmp"), count("e", "qmp")]), (1, [commands; 2]));
        assert_eq!(count("i", "event"), expected(|what| matches!(what, What::QmpEvent { .. })));
        assert!(all.iter().all(|one| one["ts"].is_i64() && one["pid"].is_u64() && one["tid"].is_u64()));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
