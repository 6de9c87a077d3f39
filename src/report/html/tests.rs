//! Tests of the page: what is in the file. What a browser makes of it is tried in `tests/browser.rs`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::event::CaseEnd;
use crate::report::sample;

fn written(events: &[Event]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("not/yet/there/index.html");
    let mut page = Html::new(&path);
    events.iter().for_each(|event| page.take(event).unwrap());
    page.finish().unwrap();
    std::fs::read_to_string(path).unwrap()
}

/// The data of a case, as the browser would read it.
fn detail(page: &str, number: usize) -> Value {
    let lead = format!("<script type=\"text/plain\" id=\"d{number}\">");
    let (_, rest) = page.split_once(&lead).unwrap_or_else(|| panic!("no case {number}"));
    let compressed = STANDARD.decode(rest.split_once("</script>").unwrap().0).unwrap();
    serde_json::from_reader(flate2::read::ZlibDecoder::new(&compressed[..])).unwrap()
}

#[test]
fn the_page_is_one_file_without_external_resources() {
    let page = written(&sample::run());
    for word in ["http://", "https://", "src=", "@import", "url("] {
        let at = page.find(word).filter(|&at| !page[at..].starts_with("http://www.w3.org/2000/svg"));
        assert_eq!(at.map(|at| &page[at.saturating_sub(40)..at + 40]), None, "{word}");
    }
    assert!(page.starts_with("<!doctype html>") && page.trim_end().ends_with("</html>"));
}

#[test]
fn every_case_is_in_the_index_and_has_its_data() {
    let page = written(&sample::run());
    for number in 0..6 {
        assert!(detail(&page, number)["again"].as_str().unwrap().starts_with("lockstep run "), "{number}");
    }
    let failed = detail(&page, 1);
    assert_eq!(failed["end"]["reason"], "secondary: no event STOP within 30s");
    let attempt = &failed["trace"]["attempts"][0];
    assert_eq!(attempt["lines"].as_array().unwrap().len(), 6);
    assert_eq!(attempt["metrics"][0][0], "checkpoint_pause (secondary)");
    assert_eq!(failed["ends"][0][1]["reason"], failed["end"]["reason"]);
}

#[test]
fn text_of_a_guest_is_escaped() {
    let nasty = "</script><img onerror=alert(1)>\u{1b}[31m\0]]><!--{{run}}";
    let line = What::SerialLine { vm: nasty.into(), line: nasty.into() };
    let page = written(&[
        sample::run_started(1),
        sample::started(0, nasty, nasty),
        sample::at(0.5, Some(0), line),
        sample::ended(0, Verdict::Fail, Some(nasty), 1.0),
        sample::run_ended(1.0, false),
    ]);
    assert!(!page.contains("<img") && !page.contains('\0') && !page.contains('\u{1b}'));
    let line = &detail(&page, 0)["trace"]["attempts"][0]["lines"][0];
    assert_eq!(line["text"].as_str(), Some(&*text::visible(nasty)));
}

#[test]
fn the_page_of_an_incomplete_run_reports_that() {
    let page = written(&sample::run()[..10]);
    assert!(page.contains("the run did not finish: 4 of 6 cases did not run"));
    assert_eq!(detail(&page, 1)["end"]["verdict"], "error");
}

#[test]
fn passed_cases_are_shortened_on_a_large_page() {
    let folder = tempfile::tempdir().unwrap();
    let mut page = Html::new(folder.path().join("index.html"));
    page.written = BRIEF_ABOVE + 1;
    sample::run().iter().for_each(|event| page.take(event).unwrap());
    page.finish().unwrap();
    let page = std::fs::read_to_string(folder.path().join("index.html")).unwrap();
    assert_eq!(detail(&page, 0)["briefly"], true);
    assert_eq!(detail(&page, 1)["briefly"], false);
}

#[test]
fn a_repeated_case_has_its_rate_and_a_row_for_each_metric() {
    let round = |case: usize, value: f64| {
        [
            sample::started(case, "a", "a.yaml"),
            sample::metric(case, "boot", value),
            sample::ended(case, Verdict::Pass, None, 1.0),
        ]
    };
    let mut events = vec![sample::run_started(3)];
    events.extend([0.2, 0.4, 1.5].into_iter().enumerate().flat_map(|(case, value)| round(case, value)));
    events.push(sample::run_ended(3.0, false));
    let page = written(&events);
    assert!(page.contains("a — 0 of 3 failed: 0 % (95 %: 0 to 56 %)"));
    let row: String = ["3", "200 ms", "400 ms", "1.50 s", "1.50 s"]
        .iter()
        .map(|value| format!("<td class=\"number\">{value}</td>"))
        .collect();
    assert!(page.contains(&format!("<tr><th>boot (primary)</th>{row}</tr>")));
}

#[test]
fn a_failed_case_has_its_kind_and_the_files_of_its_artifacts() {
    let folder = tempfile::tempdir().unwrap();
    let artifacts = folder.path().join("a/attempt-1");
    std::fs::create_dir_all(&artifacts).unwrap();
    std::fs::write(artifacts.join("evidence.txt"), "").unwrap();
    let path = folder.path().join("index.html");
    let mut page = Html::new(&path);
    let end = |artifacts: PathBuf| CaseEnd {
        artifacts: Some(artifacts),
        ..CaseEnd::new(Verdict::Fail, Some("lost".into()), 1.0)
    };
    let mut take = |case: usize, end: CaseEnd| {
        page.take(&sample::started(case, "a", "a.yaml")).unwrap();
        page.take(&sample::at(1.0, Some(case), What::CaseEnded(Box::new(end)))).unwrap();
    };
    take(0, end(artifacts));
    // Of a run whose reports are here now, and of one whose artifacts are gone.
    take(1, end("/elsewhere/a/attempt-1".into()));
    take(2, end("/elsewhere/gone".into()));
    page.finish().unwrap();
    let page = std::fs::read_to_string(&path).unwrap();
    let of = |number: usize| detail(&page, number)["end"]["artifacts"].clone();
    for number in [0, 1] {
        assert_eq!(of(number)["near"], "a/attempt-1");
        assert_eq!(of(number)["files"], json!(["evidence.txt"]));
    }
    assert_eq!(of(2), json!({"folder": "/elsewhere/gone", "files": []}));
    let (_, index) = page.split_once("id=\"index\">").unwrap();
    let index: Value = serde_json::from_str(index.split_once("</script>").unwrap().0).unwrap();
    assert_eq!((&index["cases"][2][7], &index["kinds"][0]["count"]), (&json!(0), &json!(3)));
}
