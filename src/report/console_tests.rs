//! Tests of the console output.

use std::sync::{Arc, Mutex};

use snapbox::{Data, assert_data_eq};

use super::*;
use crate::event::CaseEnd;
use crate::report::sample;

/// What is written, for the test to look at; breaks as a pipe does after so many writes.
#[derive(Clone, Default)]
struct Screen {
    text: Arc<Mutex<Vec<u8>>>,
    breaks: Option<(usize, io::ErrorKind)>,
}

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some((left, kind)) = &mut self.breaks {
            *left = left.checked_sub(1).ok_or(*kind)?;
        }
        self.text.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const PLAIN: Settings = Settings { colour: false, live: false, verbose: false, quiet: false, columns: || 80 };

fn shown_of(events: &[Event], settings: Settings) -> String {
    let screen = Screen::default();
    let mut console = Console::new(Box::new(screen.clone()), settings);
    for event in events {
        console.take(event).unwrap();
    }
    console.finish().unwrap();
    String::from_utf8(screen.text.lock().unwrap().clone()).unwrap()
}

fn snapshot(name: &str) -> Data {
    Data::read_from(format!("src/report/snapshots/{name}.txt").as_ref(), None).raw()
}

#[test]
fn a_run_without_a_terminal_is_plain_lines_and_a_summary() {
    assert_data_eq!(shown_of(&sample::run(), PLAIN), snapshot("plain"));
}

#[test]
fn a_verbose_run_shows_the_steps_as_they_end() {
    let settings = Settings { verbose: true, ..PLAIN };
    assert_data_eq!(shown_of(&sample::run(), settings), snapshot("verbose"));
}

#[test]
fn colours_change_nothing_but_the_colours() {
    let settings = Settings { colour: true, verbose: true, ..PLAIN };
    let shown = shown_of(&sample::run(), settings);
    assert!(shown.contains("\u{1b}[32mPASS\u{1b}[0m   colo/"), "{shown:?}");
    assert_data_eq!(anstream::adapter::strip_str(&shown).to_string(), snapshot("verbose"));
}

/// The final contents of a minimal terminal emulation, which wraps lines that are too long.
fn terminal(shown: &str, columns: usize) -> Vec<String> {
    let mut rows = vec![String::new()];
    let mut row = 0;
    let mut rest = shown;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '\r' => assert!(rest.starts_with('\u{1b}'), "a bare return"),
            '\n' => row += 1,
            '\u{1b}' => {
                let end = rest.find(|c: char| c.is_ascii_alphabetic()).unwrap();
                match (&rest[end..=end], &rest[1..end]) {
                    ("J", _) => {
                        rows.truncate(row);
                    }
                    ("A", lines) => row -= lines.parse::<usize>().unwrap(),
                    other => panic!("{other:?}"),
                }
                rest = &rest[end + 1..];
            }
            c => rows[row].push(c),
        }
        rows.resize(rows.len().max(row + 1), String::new());
        if rest.starts_with('\r') {
            // What is about to be rewritten must not have been broken over two rows.
            assert!(text::width(&rows[row]) < columns, "{:?}", rows[row]);
        }
    }
    rows
}

#[test]
fn the_live_lines_are_erased_completely_on_any_terminal_width() {
    for columns in [|| 20, || 1, || 0, || 200] {
        let live = Settings { live: true, columns, ..PLAIN };
        let shown = shown_of(&sample::run(), live);
        assert!(shown.contains("\u{1b}["), "{shown:?}");
        let plain = shown_of(&sample::run(), Settings { columns, ..PLAIN });
        assert_eq!(terminal(&shown, columns().max(1)).join("\n"), plain);
    }
}

#[test]
fn the_live_lines_show_the_time_while_no_event_arrives() {
    let screen = Screen::default();
    let live = Settings { live: true, ..PLAIN };
    let mut console = Console::new(Box::new(screen.clone()), live);
    console.take(&sample::started(0, "slow", "a.yaml")).unwrap();
    console.seen = Instant::now().checked_sub(std::time::Duration::from_secs(5)).unwrap();
    console.tick().unwrap();
    let shown = String::from_utf8(screen.text.lock().unwrap().clone()).unwrap();
    assert!(shown.contains("slow  5.0"), "{shown:?}");
}

#[test]
fn a_closed_output_is_not_an_error_but_a_full_disk_is() {
    let with = |kind| {
        let screen = Screen { breaks: Some((1, kind)), ..Screen::default() };
        let mut console = Console::new(Box::new(screen), PLAIN);
        let taken: anyhow::Result<()> = sample::run().iter().try_for_each(|event| console.take(event));
        taken.and_then(|()| console.finish())
    };
    assert!(with(io::ErrorKind::BrokenPipe).is_ok());
    assert_eq!(with(io::ErrorKind::StorageFull).unwrap_err().to_string(), "cannot write to the console");
}

#[test]
fn the_last_line_reports_an_interrupt() {
    let mut events = sample::run()[..10].to_vec();
    events.push(sample::run_ended(5.0, true));
    let shown = shown_of(&events, PLAIN);
    assert!(shown.ends_with("the run was interrupted: 4 of 6 cases did not run\n"), "{shown}");
    assert!(shown.contains("ERROR  colo/plain/secondary_failover"), "{shown}");
}

fn with_failures(passes_after: bool) -> Vec<Event> {
    let mut events = vec![sample::run_started(4)];
    let cases = [
        (Verdict::Fail, "no tick\nin 30s\n", "a.yaml:3:5"),
        (Verdict::Error, "QEMU exited with 1", "b.yaml:14:7"),
        (Verdict::Flaky, "late", "c.yaml:9:5"),
        (Verdict::Pass, "", ""),
    ];
    let count = if passes_after { 4 } else { 3 };
    for (number, (verdict, reason, place)) in cases.into_iter().take(count).enumerate() {
        let mut end = CaseEnd::new(verdict, Some(reason.into()).filter(|_| verdict != Verdict::Pass), 1.0);
        end.place = Some(place.into()).filter(|_| verdict != Verdict::Pass);
        end.evidence = Some("serial tail:\n  tick 41".into()).filter(|_| verdict != Verdict::Pass);
        events.push(sample::started(number, &format!("case/{number}"), "case.yaml"));
        events.push(sample::at(1.0, Some(number), What::CaseEnded(Box::new(end))));
    }
    events.push(sample::run_ended(3.0, false));
    events
}

/// What is shown below the full text of the last failure.
fn below(shown: &str) -> Vec<&str> {
    shown.rsplit_once("tick 41\n").unwrap().1.lines().collect()
}

#[test]
fn the_summary_names_failures_with_their_place_if_other_lines_followed_them() {
    let shown = shown_of(&with_failures(true), PLAIN);
    assert_eq!(
        below(&shown)[1..],
        [
            "",
            "FAIL   case/0  a.yaml:3:5",
            "ERROR  case/1  b.yaml:14:7",
            "FLAKY  case/2  c.yaml:9:5",
            "",
            "4 cases in 3.00s: 1 passed, 1 failed, 1 error, 1 flaky",
        ]
    );
    assert_eq!(shown.matches("QEMU exited with 1").count(), 1, "{shown}");
}

#[test]
fn a_failure_that_is_still_in_view_is_reported_once() {
    let shown = shown_of(&with_failures(false), PLAIN);
    assert_eq!(below(&shown), ["", "3 cases in 3.00s: 1 failed, 1 error, 1 flaky"]);
    for once in ["case/0", "case/1", "case/2", "a.yaml:3:5", "late"] {
        assert_eq!(shown.matches(once).count(), 1, "{once} in {shown}");
    }
}

#[test]
fn a_quiet_run_shows_failures_and_the_summary() {
    let quiet = Settings { quiet: true, ..PLAIN };
    let shown = shown_of(&with_failures(true), quiet);
    assert_eq!(below(&shown), ["", "4 cases in 3.00s: 1 passed, 1 failed, 1 error, 1 flaky"]);
    let shown = shown_of(&sample::run(), quiet);
    let first = |line: &&str| !line.is_empty() && !line.starts_with(' ');
    let words: Vec<&str> =
        shown.lines().filter(first).filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(words, ["FAIL", "ERROR", "2", "1", "6"], "{shown}");
}

#[test]
fn a_run_without_cases_has_a_summary() {
    let shown = shown_of(&[sample::run_started(0), sample::run_ended(0.5, false)], PLAIN);
    assert_eq!(shown, "\n0 cases in 0.50s: no cases run\n");
}
