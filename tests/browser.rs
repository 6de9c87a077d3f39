//! `index.html` in a real browser: it opens, zooms, filters, follows a failure, and logs no errors on the console.

#[path = "support/browser.rs"]
mod browser;
mod common;
#[path = "browser/pages.rs"]
mod pages;
#[path = "browser/rounds.rs"]
mod rounds;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Mutex, MutexGuard};

use browser::Browser;
use common::harness::{self, chromium, once};
use common::{Home, qemu};
use lockstep_vm::event::Subscriber as _;
use lockstep_vm::report::Html;
use pages::{event, flaky, merged, page, started};
use serde_json::{Value, json};

/// One browser at a time: it needs much memory.
static TURN: Mutex<()> = Mutex::new(());

/// A browser for a test. A script of a test has `$`, `all`, `key` and `until`.
fn browser() -> (MutexGuard<'static, ()>, Browser) {
    let turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    (turn, Browser::start(&chromium().unwrap()))
}

/// Opens the page in a browser of its own, and runs a script of the test in it.
fn told(page: &Path, hash: &str, script: &str) -> Value {
    let (_turn, mut browser) = browser();
    look(&mut browser, page, hash, DESKTOP, script)
}

/// Opens the page in the browser, and runs a script of the test in it.
fn look(browser: &mut Browser, page: &Path, hash: &str, size: (u32, u32), script: &str) -> Value {
    browser.open(page, hash, size);
    browser.run(&format!("{KIT} {script}"))
}

/// Checks rules of accessibility in a page.
const AXE: &str = ".tools/node/node_modules/axe-core/axe.min.js";
const DESKTOP: (u32, u32) = (1440, 900);
const PHONE: (u32, u32) = (390, 844);

/// `until` waits for a condition, looking at it after each frame. `drawn` is when a case has been opened.
const KIT: &str = "const $ = q => document.querySelector(q), all = q => [...document.querySelectorAll(q)]; \
    const frame = () => new Promise(r => requestAnimationFrame(r)); \
    const until = async is => { const end = performance.now() + 60000; \
      for (;;) { const now = is(); if (now) return now; if (performance.now() > end) throw 'never: ' + is; await frame(); } }; \
    const key = (k, at = document.body) => at.dispatchEvent(new KeyboardEvent('keydown', {key: k, bubbles: true})); \
    const type = (q, text) => { $(q).value = text; $(q).dispatchEvent(new Event('input')); }; \
    const drawn = () => until(() => !$('#case').hidden && $('#timeline canvas')?.width > 300); \
    const chart = () => lockstep.shown(); \
    const go = async hash => { const was = chart(); location.hash = hash; await until(() => chart() && chart() !== was); await drawn(); };";

fn the_page_opens_filters_and_follows_a_failure() {
    let home = Home::new();
    let page = page(&home, 40);
    let said = told(
        &page,
        "",
        "const out = {}; out.rows = all('#cases .row').length; out.grid = all('.grid td').length;
        out.kinds = all('#kinds .kind').length; out.title = document.title;
        type('#filter', 'fail'); out.filtered = all('#cases .row').length;
        $('.chip.pass').click(); out.both = all('#cases .row').length; out.gone = all('#kinds .kind').length;
        $('.chip.pass').click(); key('f'); await drawn();
        out.hash = location.hash; out.wrong = $('.failure').innerText; out.line = $('.source b').textContent;
        out.markup = all('.failure b').length; out.named = document.title;
        out.step = $('.step.on .title').textContent; out.failed = $('.step.on').classList.contains('failed');
        out.said = $('.line.on').textContent; out.evidence = $('#about pre:not(.source)').textContent;
        key('Escape'); await until(() => !$('#overview').hidden); out.back = location.hash; return out;",
    );
    let of = |key: &str| said[key].clone();
    // 40 rows, of which those in view and some more are in the document.
    assert!(said["rows"].as_u64().unwrap() >= 30, "{said}");
    assert_eq!([of("grid"), of("kinds")], [json!(40), json!(1)], "{said}");
    assert_eq!([of("filtered"), of("both"), of("gone")], [json!(4), json!(0), json!(0)], "{said}");
    assert_eq!(of("hash"), "#/made/3", "{said}");
    assert_eq!([of("title"), of("named")], ["Lockstep: 36 passed, 4 failed", "made/3: fail — Lockstep"]);
    let wrong = said["wrong"].as_str().unwrap();
    assert!(wrong.contains("3 ticks of `primary`") && wrong.contains("1 & <b>no</b> more"), "{wrong}");
    assert!(said["line"].as_str().unwrap().contains("- failover: primary"), "{said}");
    assert_eq!(of("markup"), 1, "texts of others are no markup");
    assert_eq!([of("step"), of("failed")], [json!("failover to primary"), json!(true)], "{said}");
    assert!(said["said"].as_str().unwrap().contains("3 ticks of `primary`"), "{said}");
    assert_eq!(of("evidence"), "VM `primary`: running");
    assert_eq!(of("back"), "#?filter=fail");
}

fn the_panes_are_on_the_screen_together_and_follow_each_other() {
    let home = Home::new();
    let page = page(&home, 4);
    let said = told(
        &page,
        "#/made/3",
        "await drawn(); const out = {}, model = chart().model;
        const inside = q => { const b = $(q).getBoundingClientRect();
          return b.width > 200 && b.height > 200 && b.left >= 0 && b.top >= 0 && b.right <= innerWidth && b.bottom <= innerHeight; };
        const whole = () => ['#pane-steps', '#pane-time', '#pane-lines', '#pane-about'].map(inside);
        out.inside = whole(); out.page = [document.documentElement.scrollHeight, innerHeight];
        // A mark on the timeline shows its line and its step.
        const failover = model.marks.find(m => m.kind === 'failover');
        out.marks = model.marks.map(m => m.text);
        const box = $('#timeline').getBoundingClientRect();
        const click = (x, y) => { for (const kind of ['pointerdown', 'pointerup'])
          $('#timeline canvas').dispatchEvent(new PointerEvent(kind, {bubbles: true, clientX: box.left + x, clientY: box.top + y, pointerType: 'mouse'})); };
        const before = chart().timeline.view();
        click(chart().timeline.x(failover.a), box.height - 4);
        out.line = $('.line.on').textContent; out.at = location.hash; out.still = String(before) === String(chart().timeline.view());
        // A step shows its line.
        $('#steps .step').click(); out.began = $('.line.on').textContent; out.step = $('#about h3').textContent;
        // A line of the transcript shows its step, and a command leads to its reply.
        all('.line').find(l => l.textContent.includes('\"yank\"')).click(); out.chosen = $('.step.on .title').textContent;
        $('[data-line]').click(); out.reply = $('.line.on').textContent;
        type('#lines', 'tick'); out.found = all('.line').length; type('#lines', '');
        $('[data-group=events]').click(); out.events = all('.k-event').length;
        out.after = whole(); return out;",
    );
    assert_eq!(said["inside"], json!([true, true, true, true]), "{said}");
    assert_eq!(said["after"], said["inside"], "a click moved a pane: {said}");
    assert_eq!(said["page"], json!([900, 900]), "the page itself scrolls: {said}");
    let marks = said["marks"].to_string();
    for mark in ["yank → primary", "failover → primary", "first tick", "failed: failover to primary"] {
        assert!(marks.contains(mark), "{mark}: {said}");
    }
    let has = |key: &str, word: &str| assert!(said[key].as_str().unwrap().contains(word), "{key}: {said}");
    has("line", "x-colo-lost-heartbeat");
    has("at", "#/made/3/attempt-1?t=680.0");
    assert_eq!(said["still"], true, "{said}");
    has("began", "wait secondary: checkpoints");
    has("step", "wait secondary: checkpoints");
    has("chosen", "failover to primary");
    has("reply", "return");
    assert_eq!([&said["found"], &said["events"]], [&json!(6), &json!(0)], "{said}");
}

fn the_timeline_zooms_and_measures_and_keys_do_the_same() {
    let home = Home::new();
    let page = page(&home, 2);
    let said = told(
        &page,
        "#/made/1",
        "await drawn(); const out = {}, { timeline, model } = chart(), size = () => { const [a, b] = timeline.view(); return b - a; };
        const lane = word => model.lanes.find(l => l.label === word);
        out.checkpoints = lane('checkpoints').items.map(i => i.word); const whole = size();
        for (let n = 0; n < 6; n++) key('+'); out.zoomed = size() < whole / 10; const from = timeline.view()[0];
        key('ArrowRight'); out.panned = timeline.view()[0] > from; key('0'); out.again = size() === whole;
        const host = $('#timeline'), box = host.getBoundingClientRect();
        host.dispatchEvent(new WheelEvent('wheel', {bubbles: true, cancelable: true, deltaY: -100, clientX: box.left + 400, clientY: box.top + 90}));
        out.wheel = size() < whole; key('0');
        const touch = (kind, x, id) => $('#timeline canvas').dispatchEvent(new PointerEvent(kind, {bubbles: true, clientX: box.left + x, clientY: box.top + 90, pointerType: 'touch', pointerId: id}));
        await frame(); const under = (timeline.view()[0] + timeline.view()[1]) / 2, middle = timeline.x(under);
        touch('pointerdown', middle - 50, 7); touch('pointerdown', middle + 50, 8); touch('pointermove', middle - 100, 7); touch('pointermove', middle + 100, 8);
        out.pinch = [whole / size(), timeline.x(under) - middle].map(Math.round); touch('pointerup', middle, 7); touch('pointerup', middle, 8); key('0');
        const at = (kind, x, y) => $('#timeline canvas').dispatchEvent(new PointerEvent(kind, {bubbles: true, clientX: box.left + x, clientY: box.top + y, pointerType: 'mouse', pointerId: 1}));
        const item = lane('checkpoints').items[1], y = () => timeline.y(lane('checkpoints'));
        await frame(); at('pointermove', timeline.x(item.a) + 1, y()); out.tip = $('#tip').textContent;
        out.measured = timeline.measure(item.a, item.b); key('z'); out.ruler = Math.abs(size() - (item.b - item.a)) < 1e-6; key('0');
        key(']'); out.next = $('.line.on, .step.on').textContent.length > 0;
        return out;",
    );
    assert_eq!(said["checkpoints"], json!(["1", "2", "3", "4"]), "{said}");
    for key in ["zoomed", "panned", "again", "wheel", "ruler", "next"] {
        assert_eq!(said[key], true, "{key}: {said}");
    }
    assert!(said["tip"].as_str().unwrap().contains("checkpoint 2, STOP to RESUME 20.0 ms"), "{said}");
    assert_eq!(said["measured"], "20.0 ms");
    assert_eq!(said["pinch"], json!([2, 0]), "two fingers do not zoom: {said}");
}

fn attempts_are_apart_and_lines_have_the_order_of_qemu_s_clock() {
    let home = Home::new();
    let page = flaky(&home);
    let said = told(
        &page,
        "",
        "await drawn(); const out = {};
        const look = () => ({hash: location.hash.replace(/.*_\\//, ''), title: document.title.replace(/.*_, /, ''), lines: all('.line').map(l => l.innerText.replace(/\\s+/g, ' ').trim()),
          bars: chart().model.lanes.find(l => l.label === 'QMP').items.map(i => [i.a, i.b].map(Math.round)), length: Math.round(chart().model.length),
          failure: all('.failure').length});
        out.tabs = all('.strip .tab').map(t => t.textContent); out.first = look();
        await go(all('.strip .tab')[1].hash); out.second = look(); return out;",
    );
    assert_eq!(said["tabs"], json!(["attempt 1", "attempt 2"]), "{said}");
    let (first, second) = (&said["first"], &said["second"]);
    // A flaky case opens at the attempt that failed.
    assert_eq!(
        first["lines"],
        json!([
            r#"500.0 a → {"execute":"cont","id":1}"#,
            "1000.0 a ● RESUME",
            "1120.0 a ● +380 ms lateSTOP",
            "1200.0 a | hello"
        ]),
        "{said}"
    );
    assert_eq!([&first["bars"], &second["bars"]], [&json!([[500, 500]]), &json!([[500, 600]])], "{said}");
    assert_eq!([&first["length"], &second["length"]], [&json!(2000), &json!(2000)], "{said}");
    assert_eq!([&first["failure"], &second["failure"]], [&json!(1), &json!(0)], "{said}");
    assert_eq!(second["title"], "attempt 2: flaky — Lockstep", "{said}");
}

fn addresses_survive_a_reload_and_old_ones_lead_to_the_case() {
    let home = Home::new();
    let page = page(&home, 40);
    let (_turn, mut browser) = browser();
    let at = |browser: &mut Browser, hash: &str, script: &str| look(browser, &page, hash, DESKTOP, script);
    let filtered = "return [$('#filter').value, $('.chip.fail').ariaPressed, all('#cases .row').length];";
    assert_eq!(at(&mut browser, "#?filter=made%2F1&verdict=fail", filtered), json!(["made/1", "true", 1]));
    // Typed, then reloaded.
    at(
        &mut browser,
        "",
        "type('#filter', 'made/2'); await until(() => location.hash === '#?filter=made%2F2');",
    );
    browser.reload();
    assert_eq!(browser.run(&format!("{KIT} {filtered}")), json!(["made/2", "false", 11]));
    let opened = "await drawn(); return [location.hash, $('.head h1').textContent, $('.line.on, .line.near')?.innerText.split(/\\s+/)[0]];";
    let case = json!(["#/made/7/attempt-1?t=670.0", "made/7", "670.0"]);
    assert_eq!(at(&mut browser, "#/made/7/attempt-1?t=670.0", opened), case);
    browser.reload();
    assert_eq!(browser.run(&format!("{KIT} {opened}")), case);
    let encoded = at(&mut browser, "#/made%2F7", opened);
    assert_eq!(encoded[1], "made/7");
    let old = at(&mut browser, "#case-7", opened);
    assert_eq!([&old[0], &old[1]], ["#/made/7", "made/7"]);
    let gone =
        at(&mut browser, "#/made/99", "return [$('#crumbs').textContent, all('#cases .row').length > 0];");
    assert_eq!(gone, json!(["the run has no made/99", true]));
}

fn the_page_is_readable_on_a_phone_and_in_the_dark() {
    let home = Home::new();
    let page = flaky(&home);
    let (_turn, mut browser) = browser();
    let script = "const out = {wide: [], back: getComputedStyle(document.body).backgroundColor, width: innerWidth};
        const wide = () => [document.documentElement.scrollWidth, document.body.scrollWidth].some(w => w > innerWidth)
          || all('.pane, .head, .view, #about').some(e => e.offsetParent && e.getBoundingClientRect().right > innerWidth + 1);
        await until(() => $('.panes'));
        for (const pane of ['about', 'time', 'lines', 'steps']) { $(`[data-pane=${pane}]`).click(); await frame(); out.wide.push(wide());
          out[pane] = $('#pane-' + pane).getBoundingClientRect().height > 300; }
        $('[data-pane=about]').click(); $('[data-about=facts]').click(); out.wide.push(wide());
        location.hash = '#?'; await until(() => !$('#overview').hidden);
        for (const tab of all('#views [role=tab]')) { tab.click(); await frame(); out.wide.push(wide()); } return out;";
    let mut colours = BTreeSet::new();
    for scheme in ["light", "dark"] {
        browser.prefer(scheme);
        let said = look(&mut browser, &page, "", PHONE, script);
        assert!(said["wide"].as_array().unwrap().iter().all(|wide| wide == false), "{scheme}: {said}");
        assert!(
            ["about", "time", "lines", "steps"].iter().all(|pane| said[pane] == true),
            "{scheme}: {said}"
        );
        assert_eq!(said["width"], 390);
        colours.insert(said["back"].to_string());
    }
    // The button changes it too.
    colours.insert(browser.run("document.getElementById('theme').click(); return getComputedStyle(document.body).backgroundColor;").to_string());
    assert_eq!(colours.len(), 2, "{colours:?}");
}

fn many_cases_and_many_events_are_fast() {
    let home = Home::new();
    let path = page(&home, 1200);
    let said = told(
        &path,
        "",
        "const out = {loaded: performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd, rows: all('#cases .row').length, high: document.body.scrollHeight};
        const spent = what => { const began = performance.now(); what(); $('#cases').getBoundingClientRect(); return performance.now() - began; };
        out.keys = [...'made/11'].map((_, n) => spent(() => type('#filter', 'made/11'.slice(0, n + 1)))); out.found = $('#shown').textContent;
        type('#filter', ''); const began = performance.now(); location.hash = '#/made/993'; await drawn(); out.opened = performance.now() - began;
        // 100,000 events in a lane: what a frame takes.
        const { model, timeline } = chart(), events = model.lanes.find(l => l.label === 'events');
        events.items = Array.from({length: 100000}, (_, n) => ({a: n * model.length / 100000, line: 0}));
        out.frames = Array.from({length: 20}, (_, n) => spent(() => { timeline.zoom(n < 10 ? .8 : 1.25); timeline.draw(); }));
        return out;",
    );
    eprintln!("1,200 cases, {} bytes: {said}", std::fs::metadata(&path).unwrap().len());
    assert!(said["rows"].as_u64().unwrap() < 100, "every row is in the document: {said}");
    assert_eq!([&said["high"], &said["found"]], [&json!(900), &json!("111 of 1200 cases")], "{said}");
    // The bounds are generous: a busy machine must not fail them, a list of all rows would.
    let most = |key: &str| {
        let all = said[key].as_array().unwrap().iter().map(|ms| ms.as_f64().unwrap());
        all.fold(0.0, f64::max)
    };
    assert!(said["loaded"].as_f64().unwrap() < 5000.0 && said["opened"].as_f64().unwrap() < 5000.0, "{said}");
    assert!(most("keys") < 500.0 && most("frames") < 500.0, "{said}");
}

/// The rules of accessibility that axe checks, on each screen, light and dark.
fn axe_finds_nothing() {
    let home = Home::new();
    let rules = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(AXE)).unwrap();
    let many = page(&home, 40);
    let (_turn, mut browser) = browser();
    let (two, phone) = (home.path("two.html"), home.path("phone.html"));
    std::fs::copy(&many, &two).unwrap();
    std::fs::copy(flaky(&home), &phone).unwrap();
    let repeated = rounds::rounds(&home, &(0..40).collect::<Vec<_>>(), true);
    let run = "const found = await axe.run(); return found.violations.map(v => v.id + ': ' + v.nodes.map(n => n.html + ' ' + n.failureSummary).join(' | '));";
    let mut checked = |page: &Path, hash: &str, size: (u32, u32), before: &str| {
        for scheme in ["light", "dark"] {
            browser.prefer(scheme);
            browser.open(page, hash, size);
            let found = browser.run(&format!("{rules};\n{KIT} {before} {run}"));
            assert_eq!(found, json!([]), "{hash} {scheme}");
        }
    };
    checked(&two, "", DESKTOP, "");
    checked(&two, "#?view=run", DESKTOP, "");
    checked(&two, "#/made/3", DESKTOP, "await drawn();");
    checked(&two, "#/made/3", DESKTOP, "await drawn(); $('#steps .step').click();");
    checked(&two, "", DESKTOP, "key('?');");
    checked(&phone, "", PHONE, "await until(() => $('.panes'));");
    checked(&repeated, "#/made/round-2", DESKTOP, "await drawn();");
    for size in [DESKTOP, PHONE] {
        let both = "await until(() => $('#lanes-1 canvas')?.width > 300);";
        checked(&repeated, "#/made/round-4/attempt-1?vs=round-2", size, both);
    }
    // It does find something that is wrong.
    browser.open(&two, "", DESKTOP);
    let broken = format!(
        "{rules};\n{KIT} $('#theme').removeAttribute('aria-label'); $('#theme').removeAttribute('title'); $('#theme').textContent = ''; {run}"
    );
    assert!(browser.run(&broken).to_string().contains("button-name"));
}

fn the_page_shows_an_excused_attempt_and_a_rate_over_the_limit() {
    let home = Home::new();
    let path = home.path("index.html");
    let mut html = Html::new(&path);
    let mut take = |case: Option<usize>, what: Value| {
        html.take(&event(0.5, case, serde_json::from_value(what).unwrap())).unwrap();
    };
    take(None, serde_json::to_value(&started(2).what).unwrap());
    for number in 0..2 {
        let race = json!({"reason": "torn <b>pages</b>", "at_most": "5%"});
        take(
            Some(number),
            json!({"event": "case_started", "name": format!("race/{number}"), "file": "r.yaml",
            "params": {}, "steps": 1, "races": [race]}),
        );
        let end = |verdict: &str, attempt: usize| {
            json!({"verdict": verdict, "reason": "torn <b>pages</b>", "struck": "torn <b>pages</b>", "seconds": 0.1,
                "evidence": format!("attempt {attempt}: page 7 is wrong"), "source": ">    1 | - quit: a"})
        };
        let excused = json!({"event": "attempt_ended", "attempt": 1, "again": "known_issue"});
        take(Some(number), merged(end("xfail", 1), &excused));
        // The first case passed when it was run again, and has the result of its first attempt; the other one did
        // not.
        let last = if number == 0 { end("xfail", 1) } else { end("fail", 2) };
        take(Some(number), merged(last, &json!({"event": "case_ended"})));
    }
    take(None, json!({"event": "run_ended", "interrupted": false, "seconds": 1.0}));
    html.finish().unwrap();
    let said = told(
        &path,
        "",
        "const out = {top: $('.trouble').innerText}; $('[data-view=run]').click(); out.rate = $('.races').innerText;
        const look = () => all('.failure strong').map(e => e.textContent);
        for (const n of [0, 1]) { location.hash = '#case-' + n; await until(() => $('.head h1')?.textContent === 'race/' + n); await drawn();
          out[n] = look(); await go('#/race/' + n + '/attempt-' + (2 - n)); out[n + 'other'] = look(); } return out;",
    );
    let told = "in 2 of 2 cases, expected at most 5% (torn <b>pages</b>)";
    assert!(said["top"].as_str().unwrap().ends_with(told), "{said}");
    assert!(said["rate"].as_str().unwrap().contains("2 of 2 cases; at most 5% expected"), "{said}");
    assert_eq!(said["0"], json!(["Excused by a known issue; the next attempt passed"]), "{said}");
    assert_eq!(said["0other"], json!([]), "{said}");
    assert_eq!(
        [&said["1"], &said["1other"]],
        [&json!(["Failure"]), &json!(["Excused by a known issue"])],
        "{said}"
    );
}

fn each_colo_failover_shows_its_checkpoints_its_yank_its_failover_and_the_next_ticks() {
    let qemu = qemu(11);
    let home = Home::new();
    let scenario = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios/colo/failover.yaml");
    // Each twice: one that ends early because of a known issue on a busy machine has no failover to show.
    home.run_on(qemu, &[scenario, "--slow", "3", "--repeat", "2"]).expect(0);
    let said = told(
        &home.path("reports/index.html"),
        "",
        "const out = []; for (let n = 0; n < 16; n++) { await go('#case-' + n); const { model, attempt, timeline } = chart();
        const completed = vm => { const all = attempt.vms.find(v => v.name === vm); return all.checkpoints.filter(c => c.resumed !== undefined).length; };
        const xs = kind => model.marks.filter(m => m.kind === kind).map(m => timeline.x(m.a)), tick = model.marks.find(m => m.kind === 'tick');
        out.push({name: $('.head h1').textContent, verdict: $('.head .badge').textContent, words: model.lanes.map(l => l.label).concat(model.marks.map(m => m.text)).join(' '),
        primary: completed('primary'), secondary: completed('secondary'), yank: xs('yank'), failover: xs('failover'), tick: xs('tick'), told: tick?.text,
        measured: attempt.metrics.find(([name]) => name.startsWith('failover'))?.[1],
        later: attempt.lines.filter(l => l.kind === 'tick' && l.at > tick?.at).length, width: $('#timeline').clientWidth,
        sorted: attempt.lines.every((l, i, all) => !i || all[i - 1].at <= l.at)}); } return out;",
    );
    let passed = said.as_array().unwrap().iter().filter(|case| case["verdict"] == "pass");
    let mut names = BTreeSet::new();
    for case in passed {
        let words = case["words"].as_str().unwrap();
        let name = case["name"].as_str().unwrap();
        names.insert(name.split(" #").next().unwrap());
        let survivor = if name.contains("/primary_failover") { "primary" } else { "secondary" };
        for lane in ["steps", "primary", "secondary", "checkpoints"] {
            assert!(words.contains(lane), "no lane for {lane}: {case}");
        }
        assert!(words.contains(&format!("failover → {survivor}")), "{case}");
        // The timeline and the metrics say the same.
        let measured = case["measured"].as_str().unwrap();
        assert_eq!(case["told"], format!("first tick, failover {measured}"), "{case}");
        for side in ["primary", "secondary"] {
            assert!(case[side].as_u64().unwrap() >= 3, "fewer than three checkpoints of {side}: {case}");
        }
        let first = |key: &str| case[key][0].as_f64().unwrap_or_else(|| panic!("{key}: {case}"));
        let width = case["width"].as_f64().unwrap();
        assert!([0.0, first("yank"), first("failover"), width].is_sorted(), "not in the picture: {case}");
        assert!([0.0, first("yank"), first("tick"), width].is_sorted(), "not in the picture: {case}");
        assert_eq!(case["sorted"], true, "{case}");
        assert!(case["later"].as_u64().unwrap() >= 1, "the survivor's next ticks are not there: {case}");
    }
    assert_eq!(names.len(), 8, "{said}");
}

fn main() -> ExitCode {
    harness::main(
        file!(),
        &[
            once!(the_page_opens_filters_and_follows_a_failure, Browser),
            once!(the_panes_are_on_the_screen_together_and_follow_each_other, Browser),
            once!(the_timeline_zooms_and_measures_and_keys_do_the_same, Browser),
            once!(attempts_are_apart_and_lines_have_the_order_of_qemu_s_clock, Browser),
            once!(addresses_survive_a_reload_and_old_ones_lead_to_the_case, Browser),
            once!(the_page_is_readable_on_a_phone_and_in_the_dark, Browser),
            once!(rounds::two_rounds_are_compared_at_their_failover, Browser),
            once!(rounds::the_differences_of_rounds_lead_to_their_events, Browser),
            once!(many_cases_and_many_events_are_fast, Browser),
            once!(axe_finds_nothing, Browser, Reader(AXE)),
            once!(the_page_shows_an_excused_attempt_and_a_rate_over_the_limit, Browser),
            once!(
                each_colo_failover_shows_its_checkpoints_its_yank_its_failover_and_the_next_ticks,
                Browser,
                Qemu(11)
            ),
        ],
    )
}
