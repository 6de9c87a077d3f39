use std::sync::mpsc::Receiver;

use super::super::check::check;
use super::*;

/// A server, the checks that it starts, and its editor.
fn server() -> (Server, Receiver<Job>, Connection) {
    let (ours, editor) = Connection::memory();
    let (jobs, started) = channel();
    (Server::new(ours, Client::of(&Default::default()), jobs), started, editor)
}

fn notify(server: &mut Server, method: &str, parameters: Value) {
    let notification = Notification { method: method.to_owned(), params: parameters };
    assert!(server.take(Event::Message(Message::Notification(notification))));
}

fn open(server: &mut Server, name: &str, text: &str) {
    let document =
        json!({"uri": format!("file:///none/{name}"), "languageId": "yaml", "version": 1, "text": text});
    notify(server, "textDocument/didOpen", json!({ "textDocument": document }));
}

fn change(server: &mut Server, name: &str, version: usize, text: &str) {
    let document = json!({"uri": format!("file:///none/{name}"), "version": version});
    let changes = json!([{"text": text}]);
    notify(server, "textDocument/didChange", json!({"textDocument": document, "contentChanges": changes}));
}

fn ask(server: &mut Server, id: i32, method: &str, name: &str) {
    let parameters = json!({"textDocument": {"uri": format!("file:///none/{name}")}, "position": {"line": 0, "character": 1}});
    let request = Request::new(id.into(), method.to_owned(), parameters);
    assert!(server.take(Event::Message(Message::Request(request))));
}

/// The file and the text of the only check that was started.
fn only(started: &Receiver<Job>) -> Job {
    let job = started.try_recv().expect("no check was started");
    assert!(started.try_recv().is_err(), "two checks at the same time");
    job
}

fn finish(server: &mut Server, job: &Job) {
    assert!(server.take(Event::Checked(Ok(Box::new(check(job, None))))));
}

/// What the editor has received: the file and version of published diagnostics, or the identifier of an answer.
fn received(editor: &Connection) -> Vec<String> {
    let shown = |message| match message {
        Message::Notification(it) => {
            let uri = it.params["uri"].as_str().unwrap_or_default().rsplit('/').next().unwrap_or_default();
            format!("{uri} {}", it.params["version"])
        }
        Message::Response(response) => format!("answer {}", response.id),
        Message::Request(request) => request.method,
    };
    editor.receiver.try_iter().map(shown).collect()
}

#[test]
fn only_the_newest_text_is_checked_and_an_old_result_is_dropped() {
    let (mut server, started, editor) = server();
    open(&mut server, "a.yaml", "text: 1\n");
    let first = only(&started);
    for version in 2..10 {
        change(&mut server, "a.yaml", version, &format!("text: {version}\n"));
    }
    assert!(started.try_recv().is_err());
    finish(&mut server, &first);
    assert_eq!(received(&editor), [""; 0]);
    let second = only(&started);
    assert_eq!(&*second.texts[&second.path], "text: 9\n");
    finish(&mut server, &second);
    assert_eq!(received(&editor), ["a.yaml 9"]);
    assert!(started.try_recv().is_err());
}

#[test]
fn a_result_is_dropped_if_a_template_has_changed_meanwhile() {
    let (mut server, started, editor) = server();
    open(&mut server, "base.yaml", "vms: {a: }\n");
    finish(&mut server, &only(&started));
    open(&mut server, "user.yaml", "extends: base.yaml\nsteps:\n  - quit: a\n");
    // The template has an error of its own, as it has no steps: it may be missing a file, and is checked again.
    let mut job = only(&started);
    while job.path.ends_with("base.yaml") {
        finish(&mut server, &job);
        job = only(&started);
    }
    received(&editor);
    change(&mut server, "base.yaml", 2, "vms: {b: }\n");
    finish(&mut server, &job);
    assert_eq!(received(&editor), [""; 0]);
    let mut checked = Vec::new();
    while let Ok(job) = started.try_recv() {
        checked.push(job.path.file_name().unwrap().to_owned());
        finish(&mut server, &job);
    }
    checked.sort();
    assert_eq!(checked, ["base.yaml", "user.yaml"]);
}

#[test]
fn completion_does_not_wait_for_a_check_and_hover_does() {
    let (mut server, started, editor) = server();
    open(&mut server, "a.yaml", "steps: []\n");
    ask(&mut server, 1, "textDocument/hover", "a.yaml");
    ask(&mut server, 2, "textDocument/completion", "a.yaml");
    assert_eq!(received(&editor), ["answer 2"]);
    finish(&mut server, &only(&started));
    assert_eq!(received(&editor), ["a.yaml 1", "answer 1"]);
    ask(&mut server, 3, "textDocument/hover", "a.yaml");
    assert_eq!(received(&editor), ["answer 3"]);
}

#[test]
fn a_cancelled_request_a_failed_check_and_a_closed_text_leave_nothing_waiting() {
    let (mut server, started, editor) = server();
    open(&mut server, "a.yaml", "steps: []\n");
    let job = only(&started);
    ask(&mut server, 1, "textDocument/hover", "a.yaml");
    ask(&mut server, 2, "textDocument/hover", "a.yaml");
    notify(&mut server, "$/cancelRequest", json!({"id": 1}));
    assert_eq!(received(&editor), ["answer 1"]);
    assert!(server.take(Event::Checked(Err(job.path))));
    // The second one is a line of the log.
    assert_eq!(received(&editor), [" null", "answer 2"]);
    change(&mut server, "a.yaml", 2, "steps: [{}]\n");
    let job = only(&started);
    ask(&mut server, 3, "textDocument/hover", "a.yaml");
    notify(&mut server, "textDocument/didClose", json!({"textDocument": {"uri": "file:///none/a.yaml"}}));
    finish(&mut server, &job);
    assert_eq!(received(&editor), ["answer 3"]);
    assert!(started.try_recv().is_err());
}
