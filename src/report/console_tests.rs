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

const PLAIN: Settings = Settings { colour: false, live: false, verbose: false, columns: || 80 };

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

#[test]
fn the_summary_has_two_lines_per_failure_with_place_and_reason() {
    let mut events = vec![sample::run_started(3)];
    let failures = [
        (Verdict::Fail, "no tick\nin 30s\n", "a.yaml:3:5"),
        (Verdict::Error, "QEMU exited with 1", "b.yaml:14:7"),
        (Verdict::Flaky, "late", "c.yaml:9:5"),
    ];
    for (number, (verdict, reason, place)) in failures.into_iter().enumerate() {
        let mut end = CaseEnd::new(verdict, Some(reason.into()), 1.0);
        end.place = Some(place.into());
        end.evidence = Some("serial tail:\n  tick 41".into());
        events.push(sample::started(number, &format!("case/{number}"), "case.yaml"));
        events.push(sample::at(1.0, Some(number), What::CaseEnded(Box::new(end))));
    }
    events.push(sample::run_ended(3.0, false));
    let shown = shown_of(&events, PLAIN);
    // The full text of each came when it ended; the summary is below the last of these.
    let (_, summary) = shown.rsplit_once("tick 41\n").unwrap();
    let lines: Vec<&str> = summary.lines().collect();
    assert_eq!(
        lines,
        [
            "",
            "FAIL   case/0",
            "       a.yaml:3:5: no tick in 30s",
            "ERROR  case/1",
            "       b.yaml:14:7: QEMU exited with 1",
            "FLAKY  case/2",
            "       c.yaml:9:5: late",
            "",
            "3 cases in 3.00s: 1 failed, 1 error, 1 flaky",
        ]
    );
}

#[test]
fn a_run_without_cases_has_a_summary() {
    let shown = shown_of(&[sample::run_started(0), sample::run_ended(0.5, false)], PLAIN);
    assert_eq!(shown, "\n0 cases in 0.50s: no cases run\n");
}
