//! A headless Chromium, controlled by its debugging protocol over pipes.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// How long the browser may take for anything that is asked of it.
const DEADLINE: Duration = Duration::from_secs(120);

/// A browser with one page. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Browser {
    child: Child,
    input: Option<ChildStdin>,
    messages: Receiver<Value>,
    session: Value,
    next_id: u64,
    /// What the page reported as errors.
    errors: Vec<String>,
    _profile: tempfile::TempDir,
}

impl Browser {
    pub(crate) fn start(program: &Path) -> Self {
        let profile = tempfile::tempdir().unwrap();
        // The browser reads its commands from descriptor 3 and writes to 4.
        let mut child = Command::new("sh")
            .args(["-c", "exec \"$0\" \"$@\" 3<&0 4>&1 </dev/null >/dev/null"])
            .arg(program)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
            .args(["--remote-debugging-pipe", "--allow-file-access-from-files"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let input = child.stdin.take();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let (sender, messages) = channel();
        std::thread::spawn(move || {
            let mut text = Vec::new();
            while output.read_until(0, &mut text).is_ok_and(|length| length > 0) {
                text.pop();
                let message = serde_json::from_slice(&text).unwrap();
                text.clear();
                if sender.send(message).is_err() {
                    break;
                }
            }
        });
        let mut browser = Self {
            child,
            input,
            messages,
            session: Value::Null,
            next_id: 0,
            errors: Vec::new(),
            _profile: profile,
        };
        let target = browser.send("Target.createTarget", &json!({"url": "about:blank"}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        browser.session = browser.send("Target.attachToTarget", &attach)["sessionId"].clone();
        for domain in ["Page", "Runtime", "Log"] {
            browser.send(&format!("{domain}.enable"), &json!({}));
        }
        browser
    }

    /// Opens a page in a window of this size, and waits until its script has started it.
    pub(crate) fn open(&mut self, page: &Path, hash: &str, (width, height): (u32, u32)) {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        self.send("Emulation.setDeviceMetricsOverride", &size);
        // The same page with another hash is not loaded again.
        self.load(&json!({"url": "about:blank"}), "Page.navigate");
        self.visit(&format!("file://{}{hash}", page.display()));
    }

    /// Opens an address.
    pub(crate) fn visit(&mut self, url: &str) {
        self.load(&json!({"url": url}), "Page.navigate");
    }

    pub(crate) fn reload(&mut self) {
        self.load(&json!({}), "Page.reload");
    }

    /// Prefers a dark or a light page.
    pub(crate) fn prefer(&mut self, scheme: &str) {
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.send("Emulation.setEmulatedMedia", &features);
    }

    /// Runs the body of an async function in the page; it must not have reported any error.
    pub(crate) fn run(&mut self, script: &str) -> Value {
        let value = self.evaluate(script);
        assert_eq!(self.errors, Vec::<String>::new(), "errors in the page");
        value
    }

    /// The same, in a page that may report errors.
    pub(crate) fn evaluate(&mut self, script: &str) -> Value {
        let body = format!("(async () => {{ {script} }})()");
        let result = self.send(
            "Runtime.evaluate",
            &json!({"expression": body, "awaitPromise": true, "returnByValue": true, "userGesture": true}),
        );
        assert_eq!(result["exceptionDetails"], Value::Null, "the script failed: {script}");
        result["result"]["value"].clone()
    }

    fn load(&mut self, params: &Value, method: &str) {
        self.send(method, params);
        let end = Instant::now() + DEADLINE;
        while self.receive(end)["method"] != "Page.loadEventFired" {}
    }

    fn send(&mut self, method: &str, params: &Value) -> Value {
        self.next_id += 1;
        let id = self.next_id;
        let mut message = json!({"id": id, "method": method, "params": params});
        if !self.session.is_null() {
            message["sessionId"] = self.session.clone();
        }
        self.input.as_mut().unwrap().write_all(format!("{message}\0").as_bytes()).unwrap();
        let end = Instant::now() + DEADLINE;
        loop {
            let answer = self.receive(end);
            if answer["id"] == id {
                assert_eq!(answer["error"], Value::Null, "{method}");
                return answer["result"].clone();
            }
        }
    }

    fn receive(&mut self, end: Instant) -> Value {
        let left = end.saturating_duration_since(Instant::now());
        let message = self.messages.recv_timeout(left).expect("the browser does not answer");
        let params = &message["params"];
        let error = match message["method"].as_str() {
            Some("Runtime.exceptionThrown") => Some(params["exceptionDetails"].to_string()),
            Some("Runtime.consoleAPICalled") if params["type"] == "error" => Some(params["args"].to_string()),
            Some("Log.entryAdded") if params["entry"]["level"] == "error" => {
                Some(params["entry"].to_string())
            }
            _ => None,
        };
        self.errors.extend(error);
        message
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It ends when its pipe is closed, with all of its processes.
        drop(self.input.take());
        let end = Instant::now() + DEADLINE;
        while self.messages.recv_timeout(end.saturating_duration_since(Instant::now())).is_ok() {}
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
