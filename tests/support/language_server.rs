//! A small client of the language server protocol: for the YAML language server that editors run, and for ours.

#![allow(dead_code, reason = "each test file uses its own part of it")]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde_json::{Value, json};

/// The time limit; the machine may be busy.
const DEADLINE: Duration = Duration::from_secs(60);

/// The directory of the project.
pub(crate) const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A running server, stopped on drop.
pub(crate) struct Server {
    child: Child,
    input: Option<ChildStdin>,
    messages: Receiver<Value>,
    settings: Value,
    next_id: u64,
    diagnostics: HashMap<String, Value>,
    /// The messages that it showed to the user.
    pub(crate) notices: Vec<String>,
}

/// The server's program, as `scripts/fetch-readers` installs it.
pub(crate) const PROGRAM: &str = ".tools/editor/node_modules/yaml-language-server/out/server/src/server.js";

/// A file's URI.
pub(crate) fn uri(path: &Path) -> String {
    format!("file://{}", path.display())
}

impl Server {
    /// Starts a server that may only use the given settings and proxy.
    pub(crate) fn start(settings: Value, proxy: &str) -> Self {
        let mut command = Command::new("node");
        command
            .arg(Path::new(ROOT).join(PROGRAM))
            .arg("--stdio")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        for name in ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
            command.env(name, proxy);
        }
        let capabilities = json!({
            "workspace": {"configuration": true, "didChangeConfiguration": {"dynamicRegistration": true}},
            "textDocument": {
                "hover": {"contentFormat": ["markdown"]},
                "completion": {"completionItem": {"snippetSupport": true, "documentationFormat": ["markdown"]}},
            },
        });
        let mut server = Self::spawn(command, settings, Path::new(ROOT), capabilities);
        let settings = server.settings.clone();
        server.notify("workspace/didChangeConfiguration", json!({ "settings": settings }));
        server
    }

    /// Starts the server of a command, for a directory.
    pub(crate) fn spawn(mut command: Command, settings: Value, root: &Path, capabilities: Value) -> Self {
        let mut child = command.spawn().unwrap();
        let input = child.stdin.take();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let (sender, messages) = channel();
        std::thread::spawn(move || {
            while let Some(message) = read_message(&mut output) {
                if sender.send(message).is_err() {
                    break;
                }
            }
        });
        let mut server = Self {
            child,
            input,
            messages,
            settings,
            next_id: 0,
            diagnostics: HashMap::new(),
            notices: Vec::new(),
        };
        let root = uri(root);
        // The server watches this process id, and exits with that process.
        let hello = json!({
            "processId": std::process::id(),
            "rootUri": root,
            "workspaceFolders": [{"uri": root, "name": "lockstep"}],
            "capabilities": capabilities,
        });
        server.request("initialize", hello);
        server.notify("initialized", json!({}));
        server
    }

    /// Opens a text under a URI; returns the diagnostics.
    pub(crate) fn open(&mut self, uri: &str, text: &str) -> Vec<Value> {
        self.diagnostics.remove(uri);
        let document = json!({"uri": uri, "languageId": "yaml", "version": 1, "text": text});
        self.notify("textDocument/didOpen", json!({ "textDocument": document }));
        self.published(uri, |_| true)
    }

    /// The diagnostics of an opened text, once they meet a condition on the published parameters.
    pub(crate) fn published(&mut self, uri: &str, is_it: impl Fn(&Value) -> bool) -> Vec<Value> {
        let end = Instant::now() + DEADLINE;
        while !self.diagnostics.get(uri).is_some_and(&is_it) {
            self.take(end, &format!("diagnostics of {uri}; the last: {:?}", self.diagnostics.get(uri)));
        }
        self.diagnostics[uri]["diagnostics"].as_array().unwrap().clone()
    }

    /// All files with diagnostics.
    pub(crate) fn all_published(&self) -> impl Iterator<Item = (&String, &Value)> {
        let all = self.diagnostics.iter().map(|(uri, parameters)| (uri, &parameters["diagnostics"]));
        all.filter(|(_, found)| found.as_array().is_some_and(|found| !found.is_empty()))
    }

    /// Changes an opened text; does not wait.
    pub(crate) fn change(&mut self, uri: &str, version: usize, text: &str) {
        let document = json!({"uri": uri, "version": version});
        let changes = json!([{"text": text}]);
        self.notify("textDocument/didChange", json!({"textDocument": document, "contentChanges": changes}));
    }

    /// Closes a text.
    pub(crate) fn close(&mut self, uri: &str) {
        self.notify("textDocument/didClose", json!({"textDocument": {"uri": uri}}));
    }

    /// A request about an opened text.
    pub(crate) fn about(&mut self, method: &str, uri: &str) -> Value {
        self.request(method, json!({"textDocument": {"uri": uri}}))
    }

    /// Closes the server's standard input and waits for its end; returns its exit code.
    pub(crate) fn ended(&mut self) -> Option<i32> {
        drop(self.input.take());
        let pidfd = pidfd_open(Pid::from_child(&self.child), PidfdFlags::empty()).unwrap();
        let deadline = Timespec { tv_sec: DEADLINE.as_secs().cast_signed(), tv_nsec: 0 };
        let ready = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&deadline)).unwrap();
        assert_eq!(ready, 1, "the server does not end");
        self.child.wait().unwrap().code()
    }

    /// Waits for the end of the server, whose standard input stays open; returns its exit code.
    pub(crate) fn ended_by_itself(&mut self) -> Option<i32> {
        let input = self.input.take();
        let code = self.ended();
        drop(input);
        code
    }

    /// A request at a position of an opened text.
    pub(crate) fn at(&mut self, method: &str, uri: &str, (line, character): (usize, usize)) -> Value {
        let place = json!({"line": line, "character": character});
        self.request(method, json!({"textDocument": {"uri": uri}, "position": place}))
    }

    pub(crate) fn request(&mut self, method: &str, parameters: Value) -> Value {
        self.next_id += 1;
        let id = self.next_id;
        self.send(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": parameters}));
        let end = Instant::now() + DEADLINE;
        loop {
            if let Some(reply) = self.take(end, method).filter(|reply| reply["id"] == id) {
                assert!(reply.get("error").is_none(), "{method}: {reply}");
                return reply["result"].clone();
            }
        }
    }

    pub(crate) fn notify(&mut self, method: &str, parameters: Value) {
        self.send(&json!({"jsonrpc": "2.0", "method": method, "params": parameters}));
    }

    pub(crate) fn send(&mut self, message: &Value) {
        let text = message.to_string();
        let input = self.input.as_mut().unwrap();
        write!(input, "Content-Length: {}\r\n\r\n{text}", text.len()).unwrap();
        input.flush().unwrap();
    }

    /// Takes the next message: replies to the server's requests, stores what it publishes, returns a reply.
    fn take(&mut self, end: Instant, awaited: &str) -> Option<Value> {
        let left = end.saturating_duration_since(Instant::now());
        let message = match self.messages.recv_timeout(left) {
            Ok(message) => message,
            Err(RecvTimeoutError::Timeout) => panic!("the server is silent: no {awaited}"),
            Err(RecvTimeoutError::Disconnected) => panic!("the server has ended: no {awaited}"),
        };
        let parameters = &message["params"];
        match (message["method"].as_str(), message.get("id")) {
            (Some("textDocument/publishDiagnostics"), _) => {
                let uri = parameters["uri"].as_str().unwrap().to_owned();
                self.diagnostics.insert(uri, parameters.clone());
                None
            }
            (Some("window/showMessage"), _) => {
                self.notices.push(parameters["message"].as_str().unwrap().to_owned());
                None
            }
            (Some("workspace/configuration"), Some(id)) => {
                let of = |item: &Value| self.settings[item["section"].as_str().unwrap_or_default()].clone();
                let answer: Value = parameters["items"].as_array().unwrap().iter().map(of).collect();
                let reply = json!({"jsonrpc": "2.0", "id": id, "result": answer});
                self.send(&reply);
                None
            }
            (Some(_), Some(id)) => {
                let reply = json!({"jsonrpc": "2.0", "id": id, "result": null});
                self.send(&reply);
                None
            }
            (Some(_), None) => None,
            (None, _) => Some(message),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_message(output: &mut impl BufRead) -> Option<Value> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if output.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim().split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.parse().ok()?;
            }
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; length];
    output.read_exact(&mut body).ok()?;
    serde_json::from_slice(&body).ok()
}
