//! Tests of the JUnit report: what a parser reads back from it.

use std::collections::BTreeSet;

use proptest::prelude::*;
use roxmltree::{Document, Node};

use super::*;
use crate::event::{Again, CaseEnd, Host, Qemu, Verdict, What};
use crate::report::sample;

const SCHEMA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/schemas/junit.xsd");

/// What the report of these events looks like.
fn written(events: &[Event]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("not/yet/there/junit.xml");
    let mut report = Junit::new(&path);
    for event in events {
        report.take(event).unwrap();
    }
    report.finish().unwrap();
    std::fs::read_to_string(path).unwrap()
}

fn elements<'d>(document: &'d Document<'d>, name: &str) -> Vec<Node<'d, 'd>> {
    document.descendants().filter(|node| node.has_tag_name(name)).collect()
}

fn whole_text(node: Node<'_, '_>) -> String {
    node.children().filter_map(|child| child.text()).collect()
}

#[test]
fn a_run_is_one_suite_per_file_and_one_test_case_per_case() {
    let xml = written(&sample::run());
    let document = Document::parse(&xml).unwrap();
    let suites: Vec<_> = elements(&document, "testsuite")
        .iter()
        .map(|suite| {
            ["name", "tests", "failures", "errors", "skipped", "timestamp", "time"]
                .map(|key| suite.attribute(key).unwrap())
        })
        .collect();
    assert_eq!(
        suites,
        [
            ["scenarios/colo/failover.yaml", "2", "1", "0", "0", "2026-03-01T12:00:00Z", "32.620"],
            ["scenarios/migration/post.copy.yml", "4", "0", "1", "3", "2026-03-01T12:00:00Z", "2.000"],
        ]
    );
    // The time is that of the run, not the sum of the suites.
    let root = ["name", "tests", "failures", "errors", "skipped", "timestamp", "time"];
    assert_eq!(
        root.map(|key| document.root_element().attribute(key).unwrap()),
        ["lockstep", "6", "1", "1", "3", "2026-03-01T12:00:00Z", "36.000"]
    );
    let cases = elements(&document, "testcase");
    let of = |key| -> Vec<_> { cases.iter().map(|case| case.attribute(key).unwrap()).collect() };
    assert_eq!(of("name")[..2], ["colo/plain/primary_failover", "colo/plain/secondary_failover"]);
    assert_eq!(of("classname")[1..3], ["scenarios.colo.failover", "scenarios.migration.post_copy"]);
    assert_eq!(of("file")[1..3], ["scenarios/colo/failover.yaml", "scenarios/migration/post.copy.yml"]);
    // That of the name, and that of the failed step.
    assert_eq!(of("line")[..2], ["2", "14"]);
    assert_eq!(of("time")[..2], ["1.420", "31.200"]);
    assert_eq!(elements(&document, "system-err").len(), 0);
}

#[test]
fn a_failure_has_its_message_place_and_evidence() {
    let xml = written(&sample::run());
    let document = Document::parse(&xml).unwrap();
    let failure = elements(&document, "failure")[0];
    assert_eq!(failure.attribute("type"), Some("timeout"));
    assert_eq!(failure.attribute("message"), Some("secondary: no event STOP within 30s"));
    assert_eq!(
        whole_text(failure),
        "scenarios/colo/failover.yaml:14:5\nsecondary: no event STOP within 30s\nlast events:\n  RESUME\n\
         serial tail:\n  ␛[0mtick 41\n  ]]> & <tick> 42"
    );
    let error = elements(&document, "error")[0];
    assert_eq!(error.attribute("type"), Some("error"), "without a cause");
    assert_eq!(error.attribute("message"), Some("qemu-system-x86_64: no such program caused by: os error 2"));
    let log = whole_text(elements(&document, "system-out")[1]);
    assert!(
        log.contains("2/2 failed     30.00s") && log.contains("checkpoint_pause (secondary) = 300 ms (n 3, "),
        "{log}"
    );
}

#[test]
fn a_skip_and_a_known_issue_are_skipped_with_their_reason() {
    let xml = written(&sample::run());
    let document = Document::parse(&xml).unwrap();
    let skipped: Vec<_> = elements(&document, "skipped")
        .iter()
        .map(|node| (node.attribute("type").unwrap(), node.attribute("message").unwrap()))
        .collect();
    let unmet = ("skip", "skipped: needs QEMU >=11.0, this is 7.2.22");
    assert_eq!(skipped, [unmet, unmet, ("xfail", "known issue: upstream issue 42")]);
}

/// A case whose attempts end like this: verdict, reason, cause, why the case ran again. The last one is the end.
fn tried(flaky_passes: bool, tries: &[(Verdict, &str, Again)], verdict: Verdict) -> String {
    let mut started = sample::run_started(1);
    if let What::RunStarted { flaky_passes: passes, .. } = &mut started.what {
        *passes = flaky_passes;
    }
    let mut events = vec![started, sample::started(0, "tried", "a.yaml")];
    for (at, (verdict, reason, again)) in tries.iter().enumerate() {
        let seconds = at as f64 + 1.5;
        let place = Some(format!("a.yaml:{}:3", 10 + at));
        let evidence = Some(format!("evidence {at}"));
        let end = CaseEnd { evidence, place, ..CaseEnd::new(*verdict, Some((*reason).into()), seconds) };
        events.push(sample::step(0, 1, &format!("step of attempt {at}")));
        let ended = What::AttemptEnded { attempt: at + 1, again: *again, end: Box::new(end) };
        events.push(sample::at(seconds, Some(0), ended));
    }
    events.push(sample::step(0, 1, "step of the last attempt"));
    events.push(sample::ended(0, verdict, Some("the last"), 20.0));
    events.push(sample::run_ended(21.0, false));
    written(&events)
}

/// The elements of the test case, with their messages.
fn results<'d>(document: &'d Document<'d>) -> Vec<(&'d str, &'d str)> {
    let case = elements(document, "testcase")[0];
    let results = case.children().filter(|child| child.attribute("message").is_some());
    results.map(|child| (child.tag_name().name(), child.attribute("message").unwrap())).collect()
}

use Again::{KnownIssue, PortTaken, Retry};
use Verdict::{Error, Fail, Flaky, Pass, Xfail};

#[test]
fn the_failed_attempts_of_a_flaky_case_are_elements_of_their_own() {
    let tries = [(Error, "broken", Retry), (Fail, "a port", PortTaken), (Fail, "no tick", Retry)];
    let xml = tried(true, &tries, Flaky);
    let document = Document::parse(&xml).unwrap();
    let attempts = [("flakyError", "broken"), ("flakyFailure", "no tick")];
    assert_eq!(results(&document), attempts);
    assert_eq!(document.root_element().attribute("failures"), Some("0"));
    let flaky = elements(&document, "flakyFailure")[0];
    assert_eq!(flaky.attribute("type"), Some("fail"));
    let texts: Vec<_> = flaky.children().map(|child| (child.tag_name().name(), whole_text(child))).collect();
    assert_eq!(texts[0], ("stackTrace", "a.yaml:12:3\nno tick\nevidence 2".to_owned()));
    assert_eq!((texts[1].0, texts.len()), ("system-out", 2));
    let output = &texts[1].1;
    assert!(output.starts_with("attempt 3: 3.50s\n") && output.contains("step of attempt 2"), "{output}");
    assert!(!output.contains("step of attempt 1") && !output.contains("last attempt"), "{output}");
    // If flaky cases fail the run, the file is not green.
    let xml = tried(false, &tries, Flaky);
    let document = Document::parse(&xml).unwrap();
    assert_eq!(results(&document), attempts);
    assert_eq!(document.root_element().attribute("failures"), Some("1"));
    let failure = elements(&document, "failure")[0];
    assert_eq!(failure.attribute("message"), Some("1 passed only when tried again: tried"));
    assert_eq!(failure.attribute("type"), Some("flaky"));
}

#[test]
fn the_later_attempts_of_a_failed_case_are_reruns() {
    let of = |tries: &[(Verdict, &str, Again)], verdict| -> Vec<(String, String)> {
        let xml = tried(false, tries, verdict);
        let document = Document::parse(&xml).unwrap();
        let all = results(&document);
        all.into_iter().map(|(name, message)| (name.to_owned(), message.to_owned())).collect()
    };
    let wanted = |wanted: &[(&str, &str)]| -> Vec<(String, String)> {
        wanted.iter().map(|(name, message)| ((*name).to_owned(), (*message).to_owned())).collect()
    };
    let tries = [(Fail, "first", Retry), (Error, "broken", Retry), (Fail, "third", Retry)];
    assert_eq!(
        of(&tries, Fail),
        wanted(&[
            ("failure", "first"),
            ("rerunError", "broken"),
            ("rerunFailure", "third"),
            ("rerunFailure", "the last")
        ])
    );
    assert_eq!(
        of(&tries, Error),
        wanted(&[
            ("error", "broken"),
            ("rerunFailure", "first"),
            ("rerunFailure", "third"),
            ("rerunError", "the last")
        ])
    );
    // Attempts that do not count are not reruns.
    let tries = [(Fail, "a port", PortTaken), (Xfail, "a race", KnownIssue)];
    assert_eq!(of(&tries, Fail), wanted(&[("failure", "the last")]));
    assert_eq!(of(&tries, Pass), wanted(&[]));
    assert_eq!(of(&tries, Xfail), wanted(&[("skipped", "known issue: the last")]));
    let xml = tried(false, &[(Fail, "first", Retry)], Fail);
    let rerun = xml.split("<rerunFailure").nth(1).unwrap();
    assert!(rerun.contains("attempt 2: 18.50s\n") && rerun.contains("step of the last attempt"), "{rerun}");
    let document = Document::parse(&xml).unwrap();
    let output = whole_text(elements(&document, "system-out")[0]);
    let (last, first) = output.split_once("attempt 1: 1.50s\n").unwrap();
    assert!(last.contains("step of the last attempt") && first.contains("step of attempt 0"), "{output}");
}

#[test]
fn the_properties_are_the_qemus_the_seed_the_axes_and_the_metrics() {
    let mut events = sample::run();
    if let What::RunStarted { seed, qemus, host, .. } = &mut events[0].what {
        *seed = Some(7);
        *host = Some(Host { name: "ci-1".into(), system: "Linux".into(), cpus: 2, memory: 1 });
        let (path, package) = ("/opt/<old>/qemu-system-x86_64".into(), String::new());
        *qemus = vec![Qemu { name: "old".into(), path, version: "7.2.22".into(), package }];
    }
    let xml = written(&events);
    let document = Document::parse(&xml).unwrap();
    let of = |node: Node<'_, '_>| -> Vec<(String, String)> {
        let properties = node.children().find(|child| child.has_tag_name("properties")).unwrap();
        let value = |property: Node<'_, '_>, key| property.attribute(key).unwrap().to_owned();
        properties.children().map(|property| (value(property, "name"), value(property, "value"))).collect()
    };
    let wanted = |wanted: &[(&str, &str)]| -> Vec<(String, String)> {
        wanted.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let suites = elements(&document, "testsuite");
    assert_eq!(suites[1].attribute("hostname"), Some("ci-1"));
    assert_eq!(
        of(suites[1]),
        wanted(&[
            ("lockstep", "0.1.0"),
            ("seed", "7"),
            ("qemu.old", "7.2.22"),
            ("qemu.old.binary", "/opt/<old>/qemu-system-x86_64")
        ])
    );
    assert_eq!(
        of(elements(&document, "testcase")[1]),
        wanted(&[
            ("vm.secondary.qemu", "11.0.0"),
            ("axis.transport", "plain"),
            ("metric.secondary.checkpoint_pause", "0.3 s")
        ])
    );
}

#[test]
fn a_file_outside_of_the_repository_is_not_a_file_of_the_report() {
    let case = |file: &str| {
        let events =
            [sample::run_started(1), sample::started(0, "a", file), sample::ended(0, Pass, None, 1.0)];
        let xml = written(&events);
        let document = Document::parse(&xml).unwrap();
        let case = elements(&document, "testcase")[0];
        (case.attribute("file").map(str::to_owned), case.attribute("line").map(str::to_owned))
    };
    assert_eq!(case("/there/is/none.yaml"), (None, None));
    assert_eq!(case("../../../../../../../none.yaml"), (None, None));
    assert_eq!(case("x/.././/a.yaml"), (Some("a.yaml".into()), Some("2".into())));
}

#[test]
fn the_output_of_a_guest_attaches_nothing() {
    let xml = written(&[
        sample::run_started(1),
        sample::started(0, "a", "a.yaml"),
        sample::step(0, 1, "exec"),
        sample::step_ended(0, 1, 1.0, Some("saying:\n[[ATTACHMENT|/etc/passwd]]")),
        sample::ended(0, Fail, Some("no"), 1.0),
    ]);
    assert!(xml.contains("[ [ATTACHMENT|/etc/passwd]]") && !xml.contains("[[ATTACHMENT|"), "{xml}");
}

#[test]
fn the_evidence_is_attached_before_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let artifacts = folder.path().canonicalize().unwrap();
    std::fs::write(artifacts.join("evidence.txt"), "").unwrap();
    let end = CaseEnd { artifacts: Some(artifacts.clone()), ..CaseEnd::new(Fail, Some("no".into()), 1.0) };
    let xml = written(&[
        sample::run_started(1),
        sample::started(0, "a", "a.yaml"),
        sample::at(1.0, Some(0), What::CaseEnded(Box::new(end))),
    ]);
    let document = Document::parse(&xml).unwrap();
    let output = whole_text(elements(&document, "system-out")[0]);
    let line = format!("[[ATTACHMENT|{}/evidence.txt]]\ntags: colo\n", artifacts.display());
    assert!(output.starts_with(&line), "{output}");
}

#[test]
fn cases_that_end_in_any_order_are_reported_in_the_order_of_selection() {
    let xml = written(&[
        sample::run_started(2),
        sample::started(0, "first", "one.yaml"),
        sample::started(1, "second", "two.yaml"),
        sample::ended(1, Verdict::Pass, None, 1.0),
        sample::ended(0, Verdict::Pass, None, 2.0),
        sample::run_ended(2.0, false),
    ]);
    assert!(xml.find("first").unwrap() < xml.find("second").unwrap(), "{xml}");
}

#[test]
fn an_interrupted_run_has_the_cases_that_ran_and_the_number_of_others() {
    let xml = written(&[
        sample::run_started(5),
        sample::started(0, "ran", "one.yaml"),
        sample::ended(0, Verdict::Pass, None, 1.0),
        sample::run_ended(2.0, true),
    ]);
    let document = Document::parse(&xml).unwrap();
    assert_eq!(elements(&document, "testcase").len(), 1);
    assert_eq!(
        whole_text(elements(&document, "system-err")[0]),
        "the run was interrupted: 4 of 5 cases did not run"
    );
    let nothing = written(&[sample::run_started(5), sample::run_ended(0.1, true)]);
    assert!(nothing.contains("5 of 5 cases did not run"), "{nothing}");
}

#[test]
fn a_case_without_an_end_is_an_error() {
    let events = sample::run();
    let xml = written(&events[..14]);
    let document = Document::parse(&xml).unwrap();
    let error = elements(&document, "error")[0];
    assert_eq!(error.attribute("type"), Some("error"), "without a cause");
    assert_eq!(error.attribute("message"), Some("the run ended before the case finished"));
    assert!(whole_text(error).contains("It was running step 2: wait: secondary event STOP"));
    assert!(xml.contains("the run did not finish: 4 of 6 cases did not run"), "{xml}");
}

#[test]
fn a_report_that_cannot_be_written_is_named_and_the_old_one_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "old").unwrap();
    let error = Junit::new(file.join("junit.xml")).finish().unwrap_err();
    assert!(format!("{error:#}").contains("file/junit.xml: "), "{error:#}");
    assert_eq!(std::fs::read_to_string(file).unwrap(), "old");
}

#[test]
fn a_class_name_has_no_separators_of_ci_servers() {
    let repository = Repository::here();
    let names = [
        ("a/../b/./c.d.yaml", "b.c_d"),
        ("/srv/x.d/y.yaml", "srv.x_d.y"),
        ("x", "x"),
        ("", "lockstep"),
        (".", "lockstep"),
    ];
    for (file, name) in names {
        assert_eq!(class_name(file, &repository), name, "{file}");
    }
}

#[test]
fn every_written_element_and_attribute_is_in_the_schema() {
    let schema = std::fs::read_to_string(SCHEMA).unwrap();
    let schema = Document::parse(&schema).unwrap();
    let known: BTreeSet<&str> = schema.descendants().filter_map(|node| node.attribute("name")).collect();
    let xml = written(&sample::run());
    let document = Document::parse(&xml).unwrap();
    for node in document.root_element().descendants().filter(Node::is_element) {
        assert!(known.contains(node.tag_name().name()), "{node:?}");
        for attribute in node.attributes() {
            assert!(known.contains(attribute.name()), "{attribute:?}");
        }
    }
}

#[test]
fn the_report_of_many_long_failures_has_a_limited_size() {
    let mut events = vec![sample::run_started(400)];
    let long = "x".repeat(100 << 10);
    for number in 0..400 {
        events.push(sample::started(number, &format!("case {number}"), "many.yaml"));
        let end =
            CaseEnd { evidence: Some(long.clone()), ..CaseEnd::new(Verdict::Fail, Some("no".into()), 1.0) };
        events.push(sample::at(1.0, Some(number), What::CaseEnded(Box::new(end))));
    }
    let xml = written(&events);
    assert!(xml.len() < 20 << 20, "{} bytes", xml.len());
    let document = Document::parse(&xml).unwrap();
    let failures = elements(&document, "failure");
    assert_eq!(failures.len(), 400);
    assert!(failures.iter().all(|failure| whole_text(*failure).contains(" bytes omitted …]")));
}

/// Texts as guests print them, and worse.
fn nasty() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("]]>".to_owned()),
        Just("<![CDATA[".to_owned()),
        Just("&<>\"'".to_owned()),
        Just("\u{1b}[31m\0\u{8}\u{7f}\u{9b}\u{fffe}\u{ffff}".to_owned()),
        Just("🦀 é\r\n\t".to_owned()),
        Just("]]".to_owned()),
        Just(">".to_owned()),
        any::<String>(),
    ];
    proptest::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

fn verdicts() -> impl Strategy<Value = Verdict> {
    prop_oneof![
        Just(Verdict::Pass),
        Just(Verdict::Fail),
        Just(Verdict::Error),
        Just(Verdict::Skip),
        Just(Verdict::Xfail),
        Just(Verdict::Flaky),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_text_reads_back_from_the_report(
        cases in proptest::collection::vec((verdicts(), nasty(), nasty(), nasty(), any::<f64>()), 0..6),
        file in nasty(),
    ) {
        let mut events = vec![sample::run_started(cases.len())];
        for (number, (verdict, name, reason, evidence, seconds)) in cases.iter().enumerate() {
            events.push(sample::started(number, name, &file));
            events.push(sample::step(number, 1, name));
            events.push(sample::step_ended(number, 1, *seconds, Some(reason)));
            let end = CaseEnd::new(*verdict, Some(reason.clone()), *seconds);
            let end = CaseEnd { evidence: Some(evidence.clone()), ..end };
            events.push(sample::at(*seconds, Some(number), What::CaseEnded(Box::new(end))));
        }
        events.push(sample::run_ended(1.0, false));
        let xml = written(&events);
        let document = Document::parse(&xml).map_err(|error| TestCaseError::fail(format!("{error}\n{xml}")))?;
        // The last one is for the run, which flaky cases fail.
        let flaky = usize::from(cases.iter().any(|case| case.0 == Verdict::Flaky));
        let tests = elements(&document, "testcase");
        prop_assert_eq!(tests.len(), cases.len() + flaky);
        for (test, (verdict, name, reason, evidence, _)) in tests.into_iter().zip(&cases) {
            prop_assert_eq!(test.attribute("name").map(str::to_owned), Some(text::one_line(name)));
            let tag = match verdict {
                Verdict::Pass | Verdict::Flaky => None,
                Verdict::Fail => Some("failure"),
                Verdict::Error => Some("error"),
                Verdict::Skip | Verdict::Xfail => Some("skipped"),
            };
            let is_other = |child: &Node<'_, '_>| child.has_tag_name("system-out") || child.has_tag_name("properties");
            let result = test.children().find(|child| child.is_element() && !is_other(child));
            prop_assert_eq!(result.map(|result| result.tag_name().name()), tag);
            if let Some(result) = result {
                let lead = match verdict {
                    Verdict::Skip => "skipped: ",
                    Verdict::Xfail => "known issue: ",
                    _ => "",
                };
                let reason = text::one_line(reason);
                let lead = if reason.is_empty() { lead.trim_end_matches(": ") } else { lead };
                let message = format!("{lead}{reason}");
                prop_assert_eq!(result.attribute("message"), Some(message.as_str()));
                let meant = text::visible(evidence.trim_end()).into_owned();
                prop_assert!(whole_text(result).ends_with(&meant), "{:?} in {xml}", meant);
            }
        }
        for timed in document.descendants().filter_map(|node| node.attribute("time")) {
            let decimals = timed.split_once('.').unwrap().1;
            prop_assert_eq!(decimals.len(), 3, "{}", timed);
        }
        let count = |key: &str| elements(&document, "testsuite").iter().map(|suite| suite.attribute(key).unwrap().parse::<usize>().unwrap()).sum::<usize>();
        prop_assert_eq!(count("tests"), cases.len() + flaky);
        prop_assert_eq!(count("failures"), cases.iter().filter(|case| case.0 == Verdict::Fail).count() + flaky);
        prop_assert_eq!(count("errors"), cases.iter().filter(|case| case.0 == Verdict::Error).count());
    }
}
