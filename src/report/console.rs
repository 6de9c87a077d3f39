//! The console report: a line per finished case, the running cases, and a summary.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write};
use std::time::Instant;

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use anyhow::Context as _;
use indexmap::IndexMap;

use crate::event::{Event, Subscriber, Verdict, What};
use crate::report::live::Live;
use crate::report::record::{Case, Counts};
use crate::report::stats::Stats;
use crate::report::{Fold, log, overview, text};

/// The indentation of details below a case.
const INDENT: &str = "       ";

/// How many bytes of a case's evidence to show; the other reports have more.
const EVIDENCE: usize = 8 << 10;

/// How the console shows a run.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Whether to use colours.
    pub colour: bool,
    /// Whether to show running cases in lines rewritten in place; for terminals only.
    pub live: bool,
    /// Whether to show every finished step, and the reason of each skip.
    pub verbose: bool,
    /// Whether to show only the cases that failed, had an error or were flaky, and the summary.
    pub quiet: bool,
    /// The terminal width; queried each time, since the window may be resized.
    pub columns: fn() -> usize,
}

impl Settings {
    /// The settings for standard output: colours and live lines on a terminal, plain lines elsewhere. Honours
    /// `NO_COLOR`, `CLICOLOR_FORCE` and the like.
    #[must_use]
    pub fn of_stdout(verbose: bool) -> Self {
        let stdout = io::stdout();
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self {
            colour: AutoStream::choice(&stdout) != ColorChoice::Never,
            live: stdout.is_terminal() && !dumb,
            verbose,
            quiet: false,
            columns: || {
                terminal_size::terminal_size_of(io::stdout()).map_or(80, |(width, _)| usize::from(width.0))
            },
        }
    }
}

/// The report on the console.
pub struct Console {
    /// `None` once the reader has closed it.
    out: Option<Box<dyn Write + Send>>,
    settings: Settings,
    fold: Fold,
    live: Live,
    /// The time of the latest event; live lines keep counting between events.
    seen: Instant,
    bad: Vec<Bad>,
    /// Whether other lines followed those of a failed case.
    buried: bool,
    reasons: IndexMap<(Verdict, String), usize>,
    stats: Stats,
}

/// A failed case, to be named in the summary.
struct Bad {
    verdict: Verdict,
    name: String,
    place: String,
}

impl Console {
    /// A report that is written to `out`.
    #[must_use]
    pub fn new(out: Box<dyn Write + Send>, settings: Settings) -> Self {
        Self {
            out: Some(out),
            settings,
            fold: Fold::default(),
            live: Live::default(),
            seen: Instant::now(),
            bad: Vec::new(),
            buried: false,
            reasons: IndexMap::new(),
            stats: Stats::default(),
        }
    }

    /// A report on the standard output, as [`Settings::of_stdout`] has it.
    #[must_use]
    pub fn stdout(verbose: bool) -> Self {
        Self::new(Box::new(io::stdout()), Settings::of_stdout(verbose))
    }

    /// Prints text above the live lines, then redraws them.
    fn show(&mut self, text: &str, now: f64) -> anyhow::Result<()> {
        let mut frame = self.live.clear();
        frame.push_str(text);
        if self.settings.live {
            frame.push_str(&self.live.draw(&self.fold, now, (self.settings.columns)()));
        }
        let Some(out) = &mut self.out else {
            return Ok(());
        };
        match out.write_all(frame.as_bytes()).and_then(|()| out.flush()) {
            // Output was closed (`| head`): stop quietly.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => self.out = None,
            result => result.context("cannot write to the console")?,
        }
        Ok(())
    }

    /// Records a finished case and returns its lines.
    fn ended(&mut self, case: &Case) -> String {
        let verdict = case.verdict();
        let reason = case.reason().map(text::one_line).unwrap_or_default();
        let is_bad = verdict.is_bad() || verdict == Verdict::Flaky;
        let is_shown = is_bad || !self.settings.quiet;
        let mut out = if is_shown { self.line(case) } else { String::new() };
        self.stats.add(case);
        self.buried |= is_shown && !is_bad && !self.bad.is_empty();
        if is_bad {
            let name = text::one_line(&case.title());
            out.push_str(&self.failure(case));
            self.bad.push(Bad { verdict, name, place: text::one_line(place(case)) });
        } else if verdict != Verdict::Pass {
            if self.settings.verbose && !reason.is_empty() {
                let _ = writeln!(out, "{INDENT}{reason}");
            }
            *self.reasons.entry((verdict, reason)).or_default() += 1;
        }
        out
    }

    fn line(&self, case: &Case) -> String {
        let verdict = case.verdict();
        let seconds = match &case.end {
            Some(end) if verdict != Verdict::Skip => text::seconds(end.seconds),
            _ => String::new(),
        };
        let name = text::one_line(&case.title());
        // Use at most 100 columns, so that a name and its time stay close together.
        let room = (self.settings.columns)().min(100).saturating_sub(INDENT.len() + 10);
        let gap = " ".repeat(room.saturating_sub(text::width(&name)));
        let line = format!("{}{name}{gap}  {seconds:>7}", self.label(verdict));
        format!("{}\n", line.trim_end())
    }

    fn failure(&self, case: &Case) -> String {
        let mut out = String::new();
        let mut part = |text: &str, by: &str| {
            if !text.trim().is_empty() {
                let _ = writeln!(out, "{}", text::indent(&text::visible(text), by));
            }
        };
        part(&text::one_line(place(case)), INDENT);
        if let Some(end) = &case.end {
            part(end.reason.as_deref().unwrap_or_default(), INDENT);
            let evidence = text::cut(end.evidence.as_deref().unwrap_or_default(), EVIDENCE);
            part(&evidence, &format!("{INDENT}  "));
            if let Some(artifacts) = &end.artifacts {
                part(&format!("artifacts: {}", artifacts.display()), INDENT);
            }
        }
        out
    }

    fn label(&self, verdict: Verdict) -> String {
        let (word, style) = match verdict {
            Verdict::Pass => ("PASS", AnsiColor::Green.on_default()),
            Verdict::Fail => ("FAIL", AnsiColor::Red.on_default().bold()),
            Verdict::Error => ("ERROR", AnsiColor::Red.on_default().bold()),
            Verdict::Skip => ("SKIP", AnsiColor::Yellow.on_default()),
            Verdict::Xfail => ("XFAIL", AnsiColor::Yellow.on_default()),
            Verdict::Flaky => ("FLAKY", AnsiColor::Magenta.on_default().bold()),
        };
        let gap = &INDENT[word.len()..];
        format!("{}{gap}", self.paint(style, word))
    }

    fn paint(&self, style: Style, text: &str) -> String {
        if self.settings.colour { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }

    fn step(&self, event: &Event) -> Option<String> {
        let (What::StepEnded { step, .. }, Some(number)) = (&event.what, event.case) else {
            return None;
        };
        let case = self.fold.open().find(|case| case.number == number)?;
        let step = case.steps.iter().rev().find(|known| known.number == *step)?;
        let dim = Style::new().dimmed();
        let name = self.paint(dim, &text::one_line(&case.title()));
        Some(format!("{}  {name}\n", log::step_line(step, case.planned)))
    }

    fn note(&self, event: &Event) -> Option<String> {
        let What::Note { text } = &event.what else {
            return None;
        };
        if self.settings.quiet && event.case.is_some() {
            return None;
        }
        let case = event.case.and_then(|number| self.fold.open().find(|case| case.number == number));
        let whose = case.map_or_else(String::new, |case| format!("{}: ", case.title()));
        Some(format!("NOTE   {}\n", text::one_line(&format!("{whose}{text}"))))
    }

    fn summary(&self) -> String {
        let mut out = overview::of(&self.stats);
        // A failure was shown in full when it ended. If a case failed in many rounds, the overview has an example.
        let named = self.buried && self.stats.repeated().next().is_none();
        for (number, bad) in self.bad.iter().filter(|_| named).enumerate() {
            let lead = if number == 0 { "\n" } else { "" };
            let _ = writeln!(out, "{lead}{}{}  {}", self.label(bad.verdict), bad.name, bad.place);
        }
        if !self.reasons.is_empty() {
            out.push('\n');
        }
        for ((verdict, reason), count) in &self.reasons {
            let reason = if reason.is_empty() { "no reason given" } else { reason };
            let _ = writeln!(out, "{count} {}: {reason}", past(*verdict, *count));
        }
        for (number, (reason, rate)) in self.stats.races.rates().enumerate() {
            let lead = if number == 0 { "\n" } else { "" };
            let _ = writeln!(out, "{lead}known issue: {rate}: {}", text::one_line(reason));
        }
        for exceeded in self.stats.races.exceeded() {
            let _ = writeln!(out, "\n{}{}", self.label(Verdict::Fail), text::one_line(&exceeded));
        }
        let counts = self.fold.counts();
        let cases = if counts.total() == 1 { "case" } else { "cases" };
        let _ = writeln!(
            out,
            "\n{} {cases} in {}: {}",
            counts.total(),
            text::seconds(self.fold.last()),
            counted(counts)
        );
        if let Some(trouble) = self.fold.trouble() {
            let _ = writeln!(out, "{trouble}");
        }
        out
    }
}

impl Subscriber for Console {
    fn take(&mut self, event: &Event) -> anyhow::Result<()> {
        self.seen = Instant::now();
        let mut out = self.note(event).unwrap_or_default();
        if let Some(case) = self.fold.take(event) {
            out.push_str(&self.ended(&case));
        }
        if self.settings.verbose {
            out.push_str(&self.step(event).unwrap_or_default());
        }
        // Other events do not change the screen, and there may be thousands per second.
        let changes =
            matches!(event.what, What::CaseStarted { .. } | What::StepBegan { .. } | What::StepEnded { .. });
        if out.is_empty() && !(changes && self.settings.live) {
            return Ok(());
        }
        self.show(&out, self.fold.last())
    }

    fn tick(&mut self) -> anyhow::Result<()> {
        if !self.settings.live || self.fold.open().len() == 0 {
            return Ok(());
        }
        self.show("", self.fold.last() + self.seen.elapsed().as_secs_f64())
    }

    fn finish(&mut self) -> anyhow::Result<()> {
        let mut out = String::new();
        for case in self.fold.cut_off() {
            out.push_str(&self.ended(&case));
        }
        out.push_str(&self.summary());
        self.show(&out, self.fold.last())
    }
}

/// Where a case failed, or at least its file.
fn place(case: &Case) -> &str {
    let known = case.end.as_ref().and_then(|end| end.place.as_deref());
    known.unwrap_or(&case.file)
}

/// The word after a count of cases with this verdict.
const fn past(verdict: Verdict, count: usize) -> &'static str {
    match verdict {
        Verdict::Pass => "passed",
        Verdict::Fail => "failed",
        Verdict::Error if count == 1 => "error",
        Verdict::Error => "errors",
        Verdict::Skip => "skipped",
        Verdict::Xfail => "xfailed",
        Verdict::Flaky => "flaky",
    }
}

/// `3 passed, 1 failed`, without verdicts that have no case.
pub(super) fn counted(counts: Counts) -> String {
    let parts: Vec<String> = [
        (counts.pass, Verdict::Pass),
        (counts.fail, Verdict::Fail),
        (counts.error, Verdict::Error),
        (counts.skip, Verdict::Skip),
        (counts.xfail, Verdict::Xfail),
        (counts.flaky, Verdict::Flaky),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, verdict)| format!("{count} {}", past(verdict, count)))
    .collect();
    match parts.as_slice() {
        [] => "no cases run".to_owned(),
        parts => parts.join(", "),
    }
}

#[cfg(test)]
#[path = "console_tests.rs"]
mod tests;
