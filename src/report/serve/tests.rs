use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};

use tempfile::TempDir;

use super::*;
use crate::event::Verdict;
use crate::report::sample;

/// A server in a directory of its own.
fn start() -> (TempDir, SocketAddr, Serve) {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let reports = folder.path().join("reports");
    std::fs::create_dir(&reports).unwrap();
    let serve = Serve::start(listener, &reports).unwrap();
    (folder, address, serve)
}

/// The answer to a request that closes its connection.
fn ask(address: SocketAddr, method: &str, path: &str, host: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap()
}

#[test]
fn only_files_below_the_directory_are_served() {
    let (folder, address, _serve) = start();
    let write = |name: &str| std::fs::write(folder.path().join(name), "secret <b>").unwrap();
    std::fs::create_dir(folder.path().join("reports/a b")).unwrap();
    ["outside", "reports/events.jsonl", "reports/a b/qmp"].into_iter().for_each(write);
    std::os::unix::fs::symlink("../outside", folder.path().join("reports/link")).unwrap();
    for path in ["/events.jsonl", "/a%20b/qmp"] {
        let answer = ask(address, "GET", path, "localhost");
        assert!(status(&answer) == "200" && answer.ends_with("secret <b>"), "{path}: {answer}");
        assert!(answer.contains("content-type: text/plain") && answer.contains("nosniff"), "{answer}");
    }
    std::fs::write(folder.path().join("reports/a b/<i> &"), "").unwrap();
    let list = ask(address, "GET", "/a%20b/", "localhost");
    assert!(
        list.contains("<li><a href=\"./%3Ci%3E%20%26\">&lt;i&gt; &amp;</a>\n<li><a href=\"./qmp\">"),
        "{list}"
    );
    let outside = folder.path().join("outside").display().to_string();
    for path in [
        "/../outside",
        "/%2e%2e/outside",
        "/..%2foutside",
        "/a%20b/../../outside",
        &outside,
        &format!("/{outside}"),
        "/link",
        "/a%20b",
        "/events.jsonl/",
        "//",
        "/../",
        "/%",
        "/%zz",
        "/%00",
        "/none",
    ] {
        let answer = ask(address, "GET", path, "localhost");
        assert!(status(&answer) == "404" && !answer.contains("secret"), "{path}: {answer}");
    }
}

#[test]
fn other_methods_and_other_hosts_are_refused() {
    let (_folder, address, _serve) = start();
    let of = |method: &str, host: &str| status(&ask(address, method, "/", host)).to_owned();
    for host in ["localhost", "LOCALHOST:80", "127.0.0.1:9", "[::1]:80", "[::1]", &address.to_string()] {
        assert_eq!(of("GET", host), "200", "{host}");
    }
    for host in ["", "example.org", "localhost.example.org:80", "127.0.0.1.example.org", "[::1].org:1", "x:y"]
    {
        assert_eq!(of("GET", host), "403", "{host}");
    }
    assert_eq!([of("POST", "localhost"), of("DELETE", "localhost")], ["405", "405"]);
    let head = ask(address, "HEAD", "/", "localhost");
    assert!(status(&head) == "200" && head.ends_with("\r\n\r\n"), "{head}");
}

#[test]
fn the_events_tell_of_each_case_and_of_the_end_which_ends_the_server() {
    let (_folder, address, mut serve) = start();
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut seen = String::new();
    let mut until = |stream: &mut TcpStream, awaited: &str| {
        while !seen.contains(awaited) {
            let mut chunk = [0; 4096];
            let count = stream.read(&mut chunk).unwrap();
            assert!(count > 0, "it ended without {awaited}: {seen}");
            seen.push_str(&String::from_utf8_lossy(&chunk[..count]));
        }
        std::mem::take(&mut seen)
    };
    assert!(until(&mut stream, "retry: 1000").contains("content-type: text/event-stream"));
    serve.take(&sample::run_started(2)).unwrap();
    serve.take(&sample::started(1, "one", "a.yaml")).unwrap();
    until(&mut stream, r#""cases":[1]}"#);
    let page = ask(address, "GET", "/", "localhost");
    assert!(
        page.contains(r#"[1,"one",null,"a.yaml","running","""#) && page.contains("EventSource"),
        "{page}"
    );
    serve.take(&sample::ended(1, Verdict::Pass, None, 1.0)).unwrap();
    until(&mut stream, r#""cases":[1]}"#);
    let page = ask(address, "GET", "/", "localhost");
    assert!(
        page.contains(r#"[1,"one",null,"a.yaml","pass","""#) && !page.contains("did not finish"),
        "{page}"
    );
    serve.take(&sample::run_ended(1.0, false)).unwrap();
    // Clients that do not read, or have not asked for anything, do not hold up the end.
    let idle = TcpStream::connect(address).unwrap();
    serve.finish().unwrap();
    let last = until(&mut stream, "event: end");
    assert!(!last.contains("EventSource"), "{last}");
    stream.read_to_end(&mut Vec::new()).unwrap();
    assert!(TcpStream::connect(address).is_err());
    let _ = idle.shutdown(Shutdown::Both);
}

#[test]
fn a_server_that_is_dropped_ends_without_saying_that_the_run_has_ended() {
    let (_folder, address, serve) = start();
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET /events HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut first = [0; 1];
    stream.read_exact(&mut first).unwrap();
    drop(serve);
    let mut rest = String::new();
    let _ = stream.read_to_string(&mut rest);
    assert!(!rest.contains("event: end"), "{rest}");
    assert!(TcpStream::connect(address).is_err());
}
