//! An editor that uses `lockstep lsp`.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::common::Home;
use crate::language_server::{Server, uri};

/// A server in a home of its own.
pub(crate) struct Editor {
    pub server: Server,
    pub home: Home,
}

impl Editor {
    pub(crate) fn start() -> Self {
        Self::with(&[], true)
    }

    pub(crate) fn with(arguments: &[&str], shows_related: bool) -> Self {
        let home = Home::new();
        let mut command = home.lockstep(&[&["lsp"], arguments].concat());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let capabilities = json!({
            "workspace": {"didChangeWatchedFiles": {"dynamicRegistration": true}},
            "textDocument": {
                "publishDiagnostics": {"relatedInformation": shows_related},
                "completion": {"completionItem": {"snippetSupport": true}},
            },
        });
        let server = Server::spawn(command, json!({}), &home.path(""), capabilities);
        Self { server, home }
    }

    pub(crate) fn uri(&self, name: &str) -> String {
        uri(&self.home.path(name))
    }

    /// The path of the home.
    pub(crate) fn here(&self) -> String {
        self.home.path("").display().to_string().trim_end_matches('/').to_owned()
    }

    /// Opens a text as a file that is not on disk.
    pub(crate) fn open(&mut self, name: &str, text: &str) -> (String, Vec<Value>) {
        let uri = self.uri(name);
        let found = self.server.open(&uri, text);
        (uri, found)
    }

    /// The completions at the `|` of a text.
    pub(crate) fn completion(&mut self, name: &str, text: &str) -> Vec<Value> {
        let (text, place) = at_the_bar(text);
        let (uri, _) = self.open(name, &text);
        let items = self.server.at("textDocument/completion", &uri, place).as_array().unwrap().clone();
        self.server.close(&uri);
        items
    }

    /// Their labels.
    pub(crate) fn labels(&mut self, name: &str, text: &str) -> BTreeSet<String> {
        let items = self.completion(name, text);
        items.iter().map(|item| item["label"].as_str().unwrap().to_owned()).collect()
    }

    /// The hover text at the `|` of a text.
    pub(crate) fn hover(&mut self, name: &str, text: &str) -> String {
        let (text, place) = at_the_bar(text);
        let (uri, _) = self.open(name, &text);
        let answer = self.server.at("textDocument/hover", &uri, place);
        self.server.close(&uri);
        answer["contents"]["value"].as_str().unwrap_or_default().to_owned()
    }

    /// The definitions at the `|` of a text: file and text of the line.
    pub(crate) fn definition(&mut self, name: &str, text: &str) -> Vec<String> {
        let (text, place) = at_the_bar(text);
        let (uri, _) = self.open(name, &text);
        let answer = self.server.at("textDocument/definition", &uri, place);
        let shown = |found: &Value| {
            let path = found["uri"].as_str().unwrap().strip_prefix("file://").unwrap().to_owned();
            let file = Path::new(&path).file_name().unwrap().to_string_lossy().into_owned();
            let line = found["range"]["start"]["line"].as_u64().unwrap() as usize;
            let content =
                if found["uri"] == uri { text.clone() } else { std::fs::read_to_string(&path).unwrap() };
            format!("{file}: {}", content.lines().nth(line).unwrap_or_default().trim())
        };
        let shown = answer.as_array().unwrap().iter().map(shown).collect();
        self.server.close(&uri);
        shown
    }

    /// Ends the server as an editor does.
    pub(crate) fn end(mut self) {
        assert_eq!(self.server.request("shutdown", Value::Null), Value::Null);
        self.server.notify("exit", Value::Null);
        assert_eq!(self.server.ended_by_itself(), Some(0));
        self.home.assert_nothing_is_left();
    }
}

/// A text without its `|`, and the place of that.
pub(crate) fn at_the_bar(text: &str) -> (String, (usize, usize)) {
    let at = text.find('|').unwrap();
    let line = text[..at].matches('\n').count();
    let start = text[..at].rfind('\n').map_or(0, |at| at + 1);
    (text.replacen('|', "", 1), (line, text[start..at].encode_utf16().count()))
}
