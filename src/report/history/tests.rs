use super::*;
use crate::event::Subscriber as _;
use crate::event::Verdict::{self, Error, Fail, Pass, Skip, Xfail};
use crate::report::JsonLines;

/// A run on a QEMU, with the verdict and the seconds of some cases.
fn run(day: usize, qemu: &str, cases: &[(&str, Verdict, f64)]) -> Run {
    let cell = |(case, verdict, seconds): &(&str, Verdict, f64)| {
        let bad = *verdict != Pass && *verdict != Skip;
        let cell = Cell {
            verdict: *verdict,
            failed: usize::from(bad),
            ran: usize::from(*verdict != Skip),
            reason: (*verdict != Pass).then(|| "no event STOP".to_owned()),
            values: vec![("duration".to_owned(), "s".to_owned(), *seconds)],
        };
        ((*case).to_owned(), cell)
    };
    Run {
        name: format!("runs/{day}"),
        time: format!("2026-01-{day:02}T00:00:00Z"),
        qemus: qemu.to_owned(),
        trouble: None,
        cells: cases.iter().map(cell).collect(),
    }
}

/// The history of one case, each run on its QEMU.
fn of(runs: &[(&str, Verdict)]) -> History {
    let runs =
        runs.iter().enumerate().map(|(day, (qemu, verdict))| run(day + 1, qemu, &[("a", *verdict, 1.0)]));
    History::new(runs.rev().collect())
}

fn text(history: &History) -> String {
    render(history, &Findings::of(history), Format::Text)
}

#[test]
fn a_changed_verdict_is_listed_with_its_run_and_both_qemus() {
    let history = of(&[("11.1.2", Pass), ("11.1.2", Pass), ("11.1.3", Fail), ("11.1.3", Error)]);
    let text = text(&history);
    assert!(
        text.contains(
            "pass → fail since 2026-01-03T00:00:00Z, QEMU 11.1.2 → 11.1.3\n  a (2 runs): no event STOP\n"
        ),
        "{text}"
    );
    assert!(text.ends_with("..FE  a\n"), "{text}");
    let same = of(&[("1", Pass), ("1", Pass)]);
    assert!(Findings::of(&same).turned.is_empty());
}

#[test]
fn a_verdict_that_changes_with_the_qemu_only_is_a_change_and_no_chance() {
    let history = of(&[("1", Pass), ("2", Fail), ("2", Fail), ("3", Pass), ("3", Pass)]);
    let found = Findings::of(&history);
    assert_eq!((found.turned.len(), found.intermittent.len()), (1, 0));
    assert_eq!((found.turned[0].to, found.turned[0].at, found.turned[0].runs), (Pass, 3, 2));
    // The same verdicts on one QEMU.
    let history = of(&[("1", Pass), ("1", Fail), ("1", Fail), ("1", Pass), ("1", Pass)]);
    let found = Findings::of(&history);
    assert_eq!((found.turned.len(), found.intermittent.len()), (0, 1));
    assert_eq!(found.intermittent[0].rate, "2 of 5 failed: 40 % (95 %: 12 to 77 %)");
    assert_eq!((found.intermittent[0].last, found.intermittent[0].since.is_none()), (2, true));
}

#[test]
fn a_failure_rate_that_changes_is_listed_with_both_rates() {
    let verdict = |run: usize| if run < 40 || run.is_multiple_of(2) { Pass } else { Fail };
    let runs: Vec<(&str, Verdict)> =
        (0..80).map(|run| (if run < 40 { "1" } else { "2" }, verdict(run))).collect();
    let since = Findings::of(&of(&runs)).intermittent.remove(0).since.unwrap();
    // The first run that fails is the second one on the other QEMU.
    assert_eq!((since.before, since.at), (40, 41));
    assert!(since.was.starts_with("0 of 41 failed") && since.is.starts_with("20 of 39 failed"), "{since:?}");
    // A constant rate does not change.
    let runs: Vec<(&str, Verdict)> = (0..80).map(|run| ("1", verdict(40 + run))).collect();
    assert!(Findings::of(&of(&runs)).intermittent[0].since.is_none());
}

#[test]
fn known_issues_and_skips_are_verdicts_of_their_own() {
    let history = of(&[("1", Pass), ("1", Xfail), ("1", Pass), ("1", Skip), ("1", Pass)]);
    let found = Findings::of(&history);
    assert_eq!(found.intermittent[0].rate, "1 of 4 failed: 25 % (95 %: 4.6 to 70 %)");
    let history = of(&[("1", Skip), ("1", Skip), ("1", Pass)]);
    assert_eq!(Findings::of(&history).turned[0].from, Skip);
}

#[test]
fn a_duration_that_grows_is_found_and_noise_is_not() {
    let seconds = |run: usize, grows: bool| {
        1.0 + (run * 7 % 10) as f64 / 50.0 + f64::from(u8::from(grows && run >= 20))
    };
    let runs = |grows| {
        let of =
            |day: usize| run(day + 1, if day < 20 { "1" } else { "2" }, &[("a", Pass, seconds(day, grows))]);
        History::new((0..40).map(of).collect())
    };
    let found = Findings::of(&runs(true));
    assert_eq!((found.moved.len(), found.moved[0].before, found.moved[0].at), (1, 19, 20));
    assert!((1.8..2.0).contains(&found.moved[0].factor), "{:?}", found.moved[0]);
    let text = text(&runs(true));
    assert!(text.contains("  a: duration 1.08 s (n 20) → 2.08 s (n 20) (×1.93) since 2026-01-21"), "{text}");
    assert!(Findings::of(&runs(false)).moved.is_empty());
}

#[test]
fn the_page_shows_stretches_of_runs_and_links_to_their_pages() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("runs/3 a")).unwrap();
    std::fs::write(folder.path().join("runs/3 a/index.html"), "").unwrap();
    let mut runs = [("1", Pass), ("1", Pass), ("2", Fail)]
        .iter()
        .enumerate()
        .map(|(day, (qemu, verdict))| run(day + 1, qemu, &[("a/<b>", *verdict, 1.0)]))
        .collect::<Vec<_>>();
    runs[2].name = folder.path().join("runs/3 a").display().to_string();
    let history = History::new(runs);
    let page = page(&history, &Findings::of(&history), folder.path()).unwrap();
    assert!(page.contains(r#"<rect class="pass" x="0" width="2" height="1">"#), "{page}");
    assert!(
        page.contains(r#"<a href="runs/3%20a/index.html#/a/%3Cb%3E"><rect class="fail" x="2" width="1""#),
        "{page}"
    );
    assert!(page.contains("<th>a/&lt;b&gt;</th>") && page.contains(r#"d="M2 0V1""#), "{page}");
    assert!(!page.contains("<script"), "it has no scripts");
}

#[test]
fn a_run_is_read_from_its_stream() {
    use crate::report::sample;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.jsonl");
    let mut events = JsonLines::create(&path).unwrap();
    sample::run().iter().for_each(|event| events.take(event).unwrap());
    events.finish().unwrap();
    let run = Run::read("x", &path).unwrap();
    assert_eq!(
        (run.time.as_str(), run.qemus.as_str(), run.cells.len()),
        ("2026-03-01T12:00:00Z", "unknown", 6)
    );
    let (name, cell) = &run.cells[1];
    assert_eq!((name.as_str(), cell.verdict, cell.failed), ("colo/plain/secondary_failover", Fail, 1));
    let names: Vec<&str> = cell.values.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(names, ["duration", "checkpoint_pause (secondary)"]);
    std::fs::write(&path, "").unwrap();
    assert!(Run::read("x", &path).unwrap_err().to_string().ends_with("is empty"));
}
