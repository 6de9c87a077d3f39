//! The rounds of a case, in the browser: two of them side by side, and what tells failing from passing rounds.

use std::path::{Path, PathBuf};

use lockstep_vm::event::{Event, Subscriber as _, What};
use lockstep_vm::report::Html;
use serde_json::json;

use crate::common::Home;
use crate::pages::{case, event, started};
use crate::told;

/// A page whose made-up cases are rounds of one. If they differ, those that fail have one more event.
pub(crate) fn rounds(home: &Home, numbers: &[usize], differ: bool) -> PathBuf {
    let path = home.path("index.html");
    let mut html = Html::new(&path);
    html.take(&started(numbers.len())).unwrap();
    for number in numbers {
        for mut event in case(*number) {
            if let What::CaseStarted { name, round, .. } = &mut event.what {
                (*name, *round) = ("made".into(), Some(number + 1));
            }
            if differ && number % 10 == 3 && matches!(event.what, What::StepEnded { step: 2, .. }) {
                html.take(&lost(*number)).unwrap();
            }
            html.take(&event).unwrap();
        }
    }
    html.take(&event(99.0, None, What::RunEnded { interrupted: false, seconds: 99.0 })).unwrap();
    html.finish().unwrap();
    path
}

/// The primary loses something, 750 ms after the start of the round.
fn lost(number: usize) -> Event {
    let at = number as f64 + 0.75;
    let message =
        json!({"event": "LOST_<b>", "timestamp": {"seconds": 1000 + number, "microseconds": 750_000}});
    event(at, Some(number), What::QmpEvent { vm: "primary".into(), message })
}

pub(crate) fn two_rounds_are_compared_at_their_failover() {
    let home = Home::new();
    let said = told(
        &rounds(&home, &[3, 13], false),
        "#/made/round-4",
        "await drawn(); const out = {tabs: all('.strip .tab').map(t => t.textContent), choices: all('#versus option').map(o => o.textContent)};
        $('#versus').value = all('#versus option')[1].value; $('#versus').dispatchEvent(new Event('change', {bubbles: true}));
        await until(() => $('#lanes-1 canvas')?.width > 300); const [one, other] = chart().charts;
        out.hash = location.hash; out.align = $('#align').value;
        out.x = [one.x(680), other.x(680)].map(Math.round); one.zoom(.2); out.views = [one.view(), other.view()].map(v => v.map(Math.round)); key('0');
        out.lines = ['#lines-0', '#lines-1'].map(q => $(q + ' .near').textContent);
        return out;",
    );
    assert_eq!(said["tabs"], json!(["#4", "#14"]), "{said}");
    assert_eq!(said["choices"], json!(["compare with …", "round 14 (fail)"]), "{said}");
    assert_eq!(
        [&said["hash"], &said["align"]],
        ["#/made/round-4/attempt-1?vs=round-14", "failover"],
        "{said}"
    );
    assert_eq!(said["x"][0], said["x"][1], "the failovers are not above one another: {said}");
    assert_eq!(said["views"][0], said["views"][1], "they do not zoom together: {said}");
    for line in said["lines"].as_array().unwrap() {
        assert!(line.as_str().unwrap().contains("x-colo-lost-heartbeat"), "{said}");
    }
}

pub(crate) fn the_differences_of_rounds_lead_to_their_events() {
    let home = Home::new();
    let numbers: Vec<usize> = (0..40).collect();
    let shown = |page: &Path, hash: &str, script: &str| {
        told(
            page,
            hash,
            &format!(
                "await drawn(); const chosen = () => all('.line.on').map(l => l.innerText.replace(/\\s+/g, ' ').trim()); {script}"
            ),
        )
    };
    let page = rounds(&home, &numbers, true);
    let said = shown(
        &page,
        "#/made/round-4",
        "const out = {text: $('#about .differences').innerText}; $('#about .differences button').click(); out.own = chosen();
        out.kept = !!$('#about .differences');
        await go('#/made/round-2'); out.near = $('.line.near')?.innerText; $('#about .differences button').click();
        await until(() => location.hash.includes('round-4')); await drawn(); out.hash = location.hash;
        location.hash = '#/made/round-4/attempt-1?vs=round-14'; await until(() => $('#lanes-1 canvas')?.width > 300);
        $('.differences button').click(); out.both = chosen();
        const was = chart(); location.hash = '#/made/round-2/attempt-1?vs=round-4';
        await until(() => chart() && chart() !== was && $('#lanes-1 canvas')?.width > 300);
        $('.differences button').click(); out.one = [chosen(), $('#lines-0 .near').innerText.replace(/\\s+/g, ' ').trim()];
        location.hash = '#?view=repeated'; await until(() => !$('#overview').hidden); out.overview = all('#view-repeated li').map(l => l.innerText);
        return out;",
    );
    let text = said["text"].as_str().unwrap();
    assert!(text.contains("LOST_<b> of `primary` came\t4 of 4\t0 of 36"), "{said}");
    let line = "750.0 primary ● LOST_<b>";
    assert_eq!([&said["own"], &said["both"]], [&json!([line]), &json!([line, line])], "{said}");
    // The one that passed shows the same moment.
    assert_eq!(said["one"][0], json!([line]), "{said}");
    assert!(said["one"][1].as_str().unwrap().starts_with("720.0 primary"), "{said}");
    assert_eq!(said["kept"], true, "the click removed the list: {said}");
    let listed = "in 4 of 4 failing and 0 of 36 passing rounds, LOST_<b> of `primary` came";
    assert!(said["overview"][0].as_str().unwrap().starts_with(listed), "{said}");
    // The round that passed does not have the event.
    assert_eq!(said["hash"], "#/made/round-4/attempt-1?t=750.0", "{said}");
    // Rounds that do not differ have no list.
    let page = rounds(&home, &numbers, false);
    let said = shown(
        &page,
        "#/made/round-4",
        "return [$('.differences').innerText, all('.differences button, #view-repeated li').length];",
    );
    assert_eq!(said, json!(["Nothing tells the 4 failing from the 36 passing rounds.", 0]));
}
