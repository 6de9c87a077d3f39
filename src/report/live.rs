//! Live lines at the bottom of a terminal that show the running cases.

use std::fmt::Write as _;

use crate::report::record::Case;
use crate::report::{Fold, text};

/// How many running cases to show.
const SHOWN: usize = 4;

/// The width of the progress bar.
const BAR: usize = 16;

/// The state of the live lines on the terminal.
#[derive(Debug, Default)]
pub(super) struct Live {
    drawn: usize,
}

impl Live {
    /// The escape sequence that removes the lines; the cursor is then where they began.
    pub(super) fn clear(&mut self) -> String {
        match std::mem::take(&mut self.drawn) {
            0 => String::new(),
            1 => "\r\u{1b}[J".to_owned(),
            lines => format!("\r\u{1b}[{}A\u{1b}[J", lines - 1),
        }
    }

    /// The text that draws the lines below the existing output; empty if no case runs.
    pub(super) fn draw(&mut self, fold: &Fold, now: f64, columns: usize) -> String {
        let lines = lines(fold, now);
        self.drawn = lines.len();
        // Leave the last column free: many terminals wrap when it is filled.
        let fitted: Vec<_> = lines.iter().map(|line| text::fit(line, columns.saturating_sub(1))).collect();
        fitted.join("\n")
    }
}

fn lines(fold: &Fold, now: f64) -> Vec<String> {
    if fold.open().len() == 0 {
        return Vec::new();
    }
    let mut lines: Vec<String> = fold.open().take(SHOWN).map(|case| running(case, now)).collect();
    lines.push(progress(fold, now));
    lines
}

/// The progress of the run and the estimated time left.
fn progress(fold: &Fold, now: f64) -> String {
    let counts = fold.counts();
    let (done, selected) = (counts.total(), fold.selected());
    let full = (BAR * done.min(selected)).checked_div(selected).unwrap_or(0);
    let mut progress =
        format!("       {:·<BAR$} {done} of {selected} done, {}", "━".repeat(full), text::seconds(now));
    let left = selected.saturating_sub(done);
    if done > 0 && left > 0 {
        let _ = write!(progress, ", about {} left", text::seconds(now / done as f64 * left as f64));
    }
    if counts.bad() > 0 {
        let _ = write!(progress, ", {} failed", counts.bad());
    }
    let more = fold.open().len().saturating_sub(SHOWN);
    if more > 0 {
        let _ = write!(progress, ", {more} more running");
    }
    progress
}

fn running(case: &Case, now: f64) -> String {
    let mut line = format!("RUN    {}  {}", text::one_line(&case.title()), text::seconds(now - case.began));
    if let Some(step) = case.current() {
        let _ = write!(
            line,
            "  {}/{} {} ({})",
            step.number,
            case.planned,
            text::one_line(&step.title),
            text::seconds(now - step.began)
        );
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{CaseEnd, Verdict, What};
    use crate::report::sample;

    #[test]
    fn a_running_case_shows_its_step_and_its_time() {
        let mut fold = Fold::default();
        for event in &sample::run()[..5] {
            fold.take(event);
        }
        assert_eq!(
            lines(&fold, 1.5),
            [
                "RUN    colo/plain/primary_failover  1.50s  2/2 failover: primary (1.50s)",
                "       ················ 0 of 6 done, 1.50s",
            ]
        );
    }

    #[test]
    fn the_remaining_time_is_estimated_from_finished_cases() {
        let mut fold = Fold::default();
        fold.take(&sample::run_started(4));
        fold.take(&sample::started(0, "a", "a.yaml"));
        let end = CaseEnd::new(Verdict::Fail, None, 2.0);
        fold.take(&sample::at(2.0, Some(0), What::CaseEnded(Box::new(end))));
        assert_eq!(
            progress(&fold, 2.0),
            "       ━━━━············ 1 of 4 done, 2.00s, about 6.00s left, 1 failed"
        );
    }

    #[test]
    fn many_parallel_cases_need_few_lines() {
        let mut fold = Fold::default();
        fold.take(&sample::run_started(9));
        for number in 0..9 {
            fold.take(&sample::started(number, "a", "a.yaml"));
        }
        let lines = lines(&fold, 0.0);
        assert_eq!(lines.len(), SHOWN + 1);
        assert!(lines[SHOWN].ends_with("5 more running"), "{lines:?}");
    }

    #[test]
    fn exactly_the_drawn_lines_are_cleared() {
        let mut fold = Fold::default();
        let mut live = Live::default();
        assert_eq!(live.clear() + &live.draw(&fold, 0.0, 20), "");
        fold.take(&sample::started(0, "日本語日本語日本語", "a.yaml"));
        let drawn = live.draw(&fold, 0.0, 20);
        assert_eq!(
            drawn,
            "RUN    日本語日本語\n       ···········…".replace("日本語日本語\n", "日本語日本…\n")
        );
        assert_eq!(live.clear(), "\r\u{1b}[1A\u{1b}[J");
        assert_eq!(live.clear(), "");
    }
}
