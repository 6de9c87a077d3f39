//! `run --serve`: the page of a run while it runs, for a plain HTTP client and in a real browser.

#[allow(dead_code, reason = "a part of it is used")]
#[path = "support/browser.rs"]
mod browser;
mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, ExitCode};

use browser::Browser;
use common::harness::{self, chromium, once};
use common::{Home, PATIENCE, VM, qemu, signal, wait_until};
use rustix::process::Signal;
use serde_json::Value;

const LIVE: &str = "live page: http://";

/// A case that passes, and one that runs until the file `go` exists.
fn home() -> Home {
    let home = Home::new();
    let case =
        |name: &str, step: &str| format!("name: {name}\ntimeout: 1h\nvms: {{a: {VM}}}\nsteps:\n- {step}\n");
    home.write("1.yaml", &case("first", "wait: {vm: a, ticks: 1}"));
    let step = "wait: {exec: {sh: \"test -e {{env.HERE}}/go\"}}\n  timeout: 1h";
    home.write("2.yaml", &case("second", step));
    home
}

/// Starts a run that serves its page; returns it, and the address, once the second case runs.
fn started(home: &Home, options: &[&str]) -> (Child, String) {
    let path = qemu(7).path.display().to_string();
    let run = ["run", "1.yaml", "2.yaml", "--accel", "tcg", "--qemu", &path];
    let child = home.spawn(home.lockstep(&[&run, options].concat()));
    let said = || home.read("tmp.stdout") + &home.read("tmp.stderr");
    let address = || Some(said().split_once(LIVE)?.1.split_once("/\n")?.0.to_owned());
    let address = wait_until("the address", address, said);
    let runs = || get(&address, "/").contains(r#""second",null,"2.yaml","running""#).then_some(());
    wait_until("the second case", runs, said);
    (child, address)
}

fn connect(address: &str, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    stream
}

fn get(address: &str, path: &str) -> String {
    let mut answer = Vec::new();
    connect(address, path).read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// Reads until this text has come; returns what has come.
fn until(stream: &mut TcpStream, awaited: &str) -> String {
    let (mut seen, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        let count = stream.read(&mut chunk).unwrap();
        seen.extend_from_slice(&chunk[..count]);
        let text = String::from_utf8_lossy(&seen);
        if text.contains(awaited) {
            return text.into_owned();
        }
        assert!(count > 0, "it ended without {awaited}: {text}");
    }
}

fn the_page_and_the_events_are_there_while_the_run_goes_on() {
    let home = home();
    let (child, address) = started(&home, &["--serve"]);
    let page = get(&address, "/");
    assert!(page.contains(r#""first",null,"1.yaml","pass""#) && page.contains("EventSource"), "{page}");
    assert!(!page.contains("the run did not finish"), "{page}");
    assert!(get(&address, "/events.jsonl").contains("case_started"));
    assert!(get(&address, "/../1.yaml").contains(" 404 "));
    let mut events = connect(&address, "/events");
    // The guest goes on to print.
    assert!(until(&mut events, "event: changed").contains("200 OK"));
    home.write("go", "");
    let last = until(&mut events, "event: end");
    assert!(last.contains(r#""cases":[1]"#), "{last}");
    let mut rest = String::new();
    events.read_to_string(&mut rest).unwrap();
    assert!(rest.contains(r#"\"second\",null,\"2.yaml\",\"pass\""#), "{rest}");
    home.ended(child).expect(0);
    assert!(TcpStream::connect(&address).is_err());
    // The page in the file does not look for a server.
    assert!(!home.read("reports/index.html").contains("EventSource"));
    home.assert_nothing_is_left();
}

fn the_events_of_a_killed_runner_end_without_an_end() {
    let home = home();
    let (child, address) = started(&home, &["--serve=0", "-j", "2"]);
    let mut events = connect(&address, "/events");
    until(&mut events, "retry");
    signal(&child, Signal::KILL);
    let mut rest = Vec::new();
    // It may end with a reset.
    let _ = events.read_to_end(&mut rest);
    assert!(!String::from_utf8_lossy(&rest).contains("event: end"));
    assert_eq!(home.ended(child).signal, Some(9));
    home.assert_nothing_is_left();
}

fn an_address_that_is_wrong_or_in_use_starts_nothing() {
    let home = home();
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = held.local_addr().unwrap().to_string();
    let path = qemu(7).path.display().to_string();
    let run = |serve: &str| home.run(&["run", "1.yaml", "--qemu", &path, serve]).expect(2).stderr;
    let said = run(&format!("--serve={taken}"));
    assert!(said.contains(&format!("cannot serve the page at {taken}")) && said.contains("in use"), "{said}");
    for wrong in ["--serve=nowhere", "--serve=1.2.3.4:x", "--serve=70000", "--serve="] {
        let said = run(wrong);
        assert!(said.contains("an IP address and a port (127.0.0.1:8000)"), "{wrong}: {said}");
    }
    let mut command = home.lockstep(&["run", "1.yaml"]);
    command.env("LOCKSTEP_SERVE", "nowhere");
    let said = home.finish(command).expect(2).stderr;
    assert!(said.contains("variable LOCKSTEP_SERVE has the invalid value `nowhere`: write a port"), "{said}");
    assert!(!home.path("reports").exists());
}

fn each_run_of_a_watch_has_the_same_address() {
    let home = home();
    home.write("go", "");
    let path = qemu(7).path.display().to_string();
    let run = ["run", "1.yaml", "--accel", "tcg", "--qemu", &path, "--serve", "--watch"];
    let child = home.spawn(home.lockstep(&run));
    let said = || home.read("tmp.stdout") + &home.read("tmp.stderr");
    let until = |awaited: &'static str, times: usize| {
        wait_until(awaited, || (said().matches(awaited).count() >= times).then_some(()), said);
    };
    until("Ctrl-C ends", 1);
    home.write("1.yaml", &home.read("1.yaml"));
    until("Ctrl-C ends", 2);
    let said = said();
    let addresses: Vec<&str> = said.split(LIVE).skip(1).filter_map(|rest| rest.lines().next()).collect();
    assert!(addresses.len() == 2 && addresses[0] == addresses[1], "{said}");
    signal(&child, Signal::INT);
    home.ended(child).expect(130);
    home.assert_nothing_is_left();
}

fn open(url: &str) -> Browser {
    let mut browser = Browser::start(&chromium().unwrap());
    browser.visit(url);
    browser
}

/// Waits until an expression has this value. (A page whose server has ended reports errors.)
fn until_shown(browser: &mut Browser, script: &str, expected: &str) {
    let mut seen = Value::Null;
    let deadline = std::time::Instant::now() + PATIENCE;
    while seen != expected {
        assert!(std::time::Instant::now() < deadline, "{script} is {seen}, not {expected}");
        seen = browser.evaluate(&format!("try {{ return {script}; }} catch (e) {{ return String(e); }}"));
    }
}

const STATE: &str = "document.querySelector('#live').textContent";

/// The verdict of a case in the list.
fn row(name: &str) -> String {
    format!(
        "[...document.querySelectorAll('#cases .row')].find(r => r.textContent.includes('{name}'))\
         .querySelector('.badge').textContent"
    )
}

fn the_browser_shows_the_running_case_and_its_end_and_keeps_what_the_reader_does() {
    let home = home();
    let (child, address) = started(&home, &["--serve"]);
    let mut browser = open(&format!("http://{address}/"));
    until_shown(&mut browser, STATE, "live");
    until_shown(&mut browser, &row("first"), "pass");
    until_shown(&mut browser, &row("second"), "running");
    // The reader filters, and is in the field when the case ends.
    browser.evaluate(
        "const f = document.querySelector('#filter'); f.value = 'second'; \
         f.dispatchEvent(new Event('input')); f.focus()",
    );
    home.write("go", "");
    until_shown(&mut browser, STATE, "ended");
    until_shown(&mut browser, &row("second"), "pass");
    until_shown(
        &mut browser,
        "String([document.querySelector('#filter').value, document.activeElement.id])",
        "second,filter",
    );
    until_shown(&mut browser, "String(document.querySelectorAll('#cases .row').length)", "1");
    until_shown(
        &mut browser,
        "document.querySelector('header .chips').textContent.trim().replace(/\\s+/g, ' ')",
        "2 passed",
    );
    home.ended(child).expect(0);
}

fn the_browser_says_that_a_killed_run_was_cut_off_and_keeps_the_open_case() {
    let home = home();
    let (child, address) = started(&home, &["--serve"]);
    let mut browser = open(&format!("http://{address}/#case-1"));
    until_shown(&mut browser, STATE, "live");
    until_shown(&mut browser, "window.lockstep.shown().c.name", "second");
    signal(&child, Signal::KILL);
    until_shown(&mut browser, STATE, "cut off: the runner has ended without finishing");
    until_shown(&mut browser, "window.lockstep.shown().c.name", "second");
    until_shown(&mut browser, "window.lockstep.shown().c.verdict", "running");
    assert_eq!(home.ended(child).signal, Some(9));
}

fn main() -> ExitCode {
    harness::main(
        file!(),
        &[
            once!(the_page_and_the_events_are_there_while_the_run_goes_on, Qemu(7)),
            once!(the_events_of_a_killed_runner_end_without_an_end, Qemu(7)),
            once!(an_address_that_is_wrong_or_in_use_starts_nothing, Qemu(7)),
            once!(each_run_of_a_watch_has_the_same_address, Qemu(7)),
            once!(
                the_browser_shows_the_running_case_and_its_end_and_keeps_what_the_reader_does,
                Qemu(7),
                Browser
            ),
            once!(the_browser_says_that_a_killed_run_was_cut_off_and_keeps_the_open_case, Qemu(7), Browser),
        ],
    )
}
