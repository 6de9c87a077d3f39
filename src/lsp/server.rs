//! The server: the open texts, the checks that are due, the editor's requests.

use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use indexmap::IndexSet;
use lsp_server::{Connection, ErrorCode, Message, Notification, Request, RequestId, Response};
use lsp_types::notification::{
    DidChangeTextDocument, DidChangeWatchedFiles, DidCloseTextDocument, DidOpenTextDocument, LogMessage,
    Notification as _, PublishDiagnostics, ShowMessage,
};
use lsp_types::request::{
    CodeLensRequest, Completion, DocumentSymbolRequest, GotoDefinition, HoverRequest, Request as _,
};
use lsp_types::{LogMessageParams, MessageType, PublishDiagnosticsParams, ShowMessageParams, Uri};
use serde_json::{Value, json};

use super::check::{Checked, Event, Job, for_editor, start};
use super::names::extended;
use super::place;
use super::qemu_names::QemuNames;
use super::view::{Client, Open, View};
use super::{completion, definition, hover, symbols};
use crate::diagnostic::Location;
use crate::runner::Binaries;
use crate::scenario::model::Case;
use crate::scenario::{Texts, merged};

/// The time limit for the editor to read the last messages.
const PATIENCE: Duration = Duration::from_secs(10);

/// Serves one editor on standard input and output, until it says `exit` or closes standard input. `binaries` gets the
/// project's directory and returns its QEMUs. Returns whether the editor asked for a shutdown first.
///
/// # Errors
/// If a thread cannot be started.
pub fn serve(
    binaries: impl FnOnce(Option<&Path>) -> anyhow::Result<Option<Arc<Binaries>>>,
) -> anyhow::Result<bool> {
    let (connection, threads) = Connection::stdio();
    let Ok((id, parameters)) = connection.initialize_start() else {
        return Ok(false);
    };
    let (binaries, trouble) = match binaries(root(&parameters).as_deref()) {
        Ok(binaries) => (binaries, None),
        Err(error) => (None, Some(format!("{error:#}"))),
    };
    // What the editor does not say, or says in a way that cannot be read, it cannot do.
    let client = Client::of(&serde_json::from_value(parameters["capabilities"].clone()).unwrap_or_default());
    let (sender, events) = channel();
    let messages = connection.receiver.clone();
    let of_editor = sender.clone();
    std::thread::Builder::new().name("messages".to_owned()).spawn(move || {
        // The server has ended if it does not receive one.
        let mut all = messages.into_iter().map(Event::Message).chain([Event::Closed]);
        while all.next().is_some_and(|event| of_editor.send(event).is_ok()) {}
    })?;
    let mut server = Server::new(connection, client, start(binaries, sender)?);
    let info = json!({"name": "lockstep", "version": env!("CARGO_PKG_VERSION")});
    server.reply(Response::new_ok(id, json!({"capabilities": capabilities(), "serverInfo": info})));
    if let Some(message) = trouble {
        server.tell::<ShowMessage>(ShowMessageParams { typ: MessageType::ERROR, message });
    }
    while events.recv().is_ok_and(|event| server.take(event)) {}
    let is_orderly = server.shutdown;
    // Closes the channel of the writer, which then ends after its last message.
    drop(server);
    let (sender, ended) = channel();
    std::thread::Builder::new().name("end".to_owned()).spawn(move || sender.send(threads.join().is_ok()))?;
    // An editor that does not read does not keep the server alive.
    let _ = ended.recv_timeout(PATIENCE);
    Ok(is_orderly)
}

/// The project's directory.
fn root(parameters: &Value) -> Option<PathBuf> {
    let folder = parameters.pointer("/workspaceFolders/0/uri").or_else(|| parameters.get("rootUri"))?;
    Some(place::path(&folder.as_str()?.parse().ok()?)).filter(|path| path.is_dir())
}

fn capabilities() -> Value {
    json!({
        "textDocumentSync": {"openClose": true, "change": 1},
        "hoverProvider": true,
        "completionProvider": {"triggerCharacters": [".", "{", "[", ",", ":", " ", "\"", "'"]},
        "definitionProvider": true,
        "documentSymbolProvider": true,
        "codeLensProvider": {"resolveProvider": false},
    })
}

struct Server {
    connection: Connection,
    client: Client,
    names: QemuNames,
    jobs: Sender<Job>,
    texts: Arc<Texts>,
    open: HashMap<PathBuf, Open>,
    /// The open files to check, in this order.
    due: IndexSet<PathBuf>,
    /// Whether a check is running.
    is_busy: bool,
    /// Requests that are answered when all checks are done.
    waiting: Vec<Request>,
    /// What the editor shows.
    published: BTreeMap<PathBuf, Vec<lsp_types::Diagnostic>>,
    shutdown: bool,
}

impl Server {
    fn new(connection: Connection, client: Client, jobs: Sender<Job>) -> Self {
        Self {
            connection,
            client,
            names: QemuNames::default(),
            jobs,
            texts: Arc::default(),
            open: HashMap::new(),
            due: IndexSet::new(),
            is_busy: false,
            waiting: Vec::new(),
            published: BTreeMap::new(),
            shutdown: false,
        }
    }

    /// Acts on an event. Returns false if it is the last one.
    fn take(&mut self, event: Event) -> bool {
        match event {
            Event::Closed => return false,
            Event::Message(Message::Notification(it)) if it.method == "exit" => return false,
            Event::Message(Message::Notification(notification)) => self.notification(notification),
            Event::Message(Message::Request(request)) => self.request(request),
            Event::Message(Message::Response(_)) => {}
            Event::Checked(result) => self.checked(result),
            Event::Qemu(binary) => self.names = QemuNames::of_binary(binary),
        }
        self.check_next();
        true
    }

    fn notification(&mut self, notification: Notification) {
        match notification.method.as_str() {
            "initialized" => self.watch(),
            DidOpenTextDocument::METHOD => {
                if let Some(opened) = self.read::<DidOpenTextDocument>(notification) {
                    let document = opened.text_document;
                    let path = place::path(&document.uri);
                    let open = Open::new(document.uri, document.version);
                    self.open.insert(path.clone(), open);
                    self.change(&path, Some(document.text));
                    self.touch_wrong();
                }
            }
            DidChangeTextDocument::METHOD => {
                if let Some(mut changed) = self.read::<DidChangeTextDocument>(notification) {
                    let path = place::path(&changed.text_document.uri);
                    let text = changed.content_changes.pop().map(|change| change.text);
                    if let (Some(open), Some(text)) = (self.open.get_mut(&path), text) {
                        open.version = changed.text_document.version;
                        self.change(&path, Some(text));
                    }
                }
            }
            DidCloseTextDocument::METHOD => {
                if let Some(closed) = self.read::<DidCloseTextDocument>(notification) {
                    self.close(&place::path(&closed.text_document.uri));
                }
            }
            DidChangeWatchedFiles::METHOD => {
                let changed = self.read::<DidChangeWatchedFiles>(notification).into_iter();
                changed.flat_map(|changed| changed.changes).for_each(|file| {
                    self.touch(&place::path(&file.uri));
                });
                self.touch_wrong();
            }
            "$/cancelRequest" => {
                let id: Option<RequestId> = serde_json::from_value(notification.params["id"].clone()).ok();
                let cancelled = self.waiting.iter().position(|request| Some(&request.id) == id.as_ref());
                if let Some(request) = cancelled.map(|at| self.waiting.remove(at)) {
                    let code = ErrorCode::RequestCanceled as i32;
                    self.reply(Response::new_err(request.id, code, "cancelled".to_owned()));
                }
            }
            _ => {}
        }
    }

    /// Asks the editor to report changes of files that are not open.
    fn watch(&self) {
        if self.client.watches_files {
            let options = json!({"watchers": [{"globPattern": "**/*.{yaml,yml}"}]});
            let registration =
                json!({"id": "files", "method": DidChangeWatchedFiles::METHOD, "registerOptions": options});
            let parameters = json!({"registrations": [registration]});
            let id = RequestId::from("watch".to_owned());
            self.send(Request::new(id, "client/registerCapability".to_owned(), parameters).into());
        }
    }

    /// A file has another text.
    fn change(&mut self, path: &Path, text: Option<String>) {
        let texts = Arc::make_mut(&mut self.texts);
        match text {
            Some(text) => {
                texts.insert(path.to_owned(), text.strip_prefix('\u{feff}').unwrap_or(&text).into())
            }
            None => texts.remove(path),
        };
        self.touch(path);
    }

    /// Checks a file and those that use it.
    fn touch(&mut self, path: &Path) {
        if self.open.contains_key(path) {
            self.due.insert(path.to_owned());
        }
        let uses = |checked: &Checked| checked.loaded.sources.iter().any(|source| source == path);
        self.check_those(uses);
    }

    /// Checks the files that may have an error because they did not find another one.
    fn touch_wrong(&mut self) {
        self.check_those(|checked| checked.loaded.diagnostics.has_errors());
    }

    fn check_those(&mut self, is_due: impl Fn(&Checked) -> bool) {
        let open = self.open.iter().filter(|(_, open)| open.checked.as_ref().is_some_and(&is_due));
        self.due.extend(open.map(|(path, _)| path.clone()));
    }

    fn close(&mut self, path: &Path) {
        self.open.remove(path);
        self.due.shift_remove(path);
        self.change(path, None);
        self.touch_wrong();
        self.publish(None);
    }

    /// Starts the next check. If there is none, answers the requests that wait.
    fn check_next(&mut self) {
        if self.is_busy {
            return;
        }
        if let Some(path) = self.due.shift_remove_index(0) {
            self.is_busy = self.jobs.send(Job { path, texts: Arc::clone(&self.texts) }).is_ok();
        } else {
            std::mem::take(&mut self.waiting).into_iter().for_each(|request| self.answer(request));
        }
    }

    fn checked(&mut self, result: Result<Box<Checked>, PathBuf>) {
        self.is_busy = false;
        match result {
            Ok(checked) if checked.is_current(&self.texts) => {
                let path = checked.path.clone();
                if let Some(open) = self.open.get_mut(&path) {
                    open.take(*checked);
                    self.publish(Some(&path));
                }
            }
            Ok(stale) if self.open.contains_key(&stale.path) => drop(self.due.insert(stale.path)),
            Ok(_) => {}
            Err(path) => {
                let message = format!("the check of {} failed: this is a bug of Lockstep", path.display());
                self.log(message);
            }
        }
    }

    /// The diagnostics of all results that are current, by file.
    fn diagnostics(&self) -> BTreeMap<PathBuf, Vec<lsp_types::Diagnostic>> {
        let mut files: BTreeMap<PathBuf, Vec<lsp_types::Diagnostic>> = BTreeMap::new();
        let results = self.open.values().filter_map(|open| open.checked.as_ref());
        for checked in results.filter(|checked| checked.is_current(&self.texts)) {
            files.entry(checked.path.clone()).or_default();
            for diagnostic in checked.loaded.diagnostics.sorted() {
                let found = for_editor(diagnostic, self.client.related_places, |at| self.uri(at.path()));
                let of_file = files.entry(diagnostic.location.path().to_owned()).or_default();
                if !of_file.contains(&found) {
                    of_file.push(found);
                }
            }
        }
        files
    }

    /// Sends the diagnostics that have changed, and those of the file that was checked.
    fn publish(&mut self, checked: Option<&Path>) {
        let mut files = self.diagnostics();
        for path in self.published.keys() {
            // Those of an open file stay until it is checked.
            if !self.open.contains_key(path) {
                files.entry(path.clone()).or_default();
            }
        }
        for (path, diagnostics) in files {
            let is_same = self.published.get(&path) == Some(&diagnostics);
            if is_same && checked != Some(&path) {
                continue;
            }
            let version = self.open.get(&path).map(|open| open.version);
            if let Some(uri) = self.uri(&path) {
                let parameters = PublishDiagnosticsParams { uri, diagnostics: diagnostics.clone(), version };
                self.tell::<PublishDiagnostics>(parameters);
            }
            if diagnostics.is_empty() && !self.open.contains_key(&path) {
                self.published.remove(&path);
            } else {
                self.published.insert(path, diagnostics);
            }
        }
    }

    /// The URI of a file, as the editor writes it if it has it open.
    fn uri(&self, path: &Path) -> Option<Uri> {
        self.open.get(path).map(|open| open.uri.clone()).or_else(|| place::uri(path))
    }

    fn request(&mut self, request: Request) {
        match request.method.as_str() {
            "shutdown" => {
                self.shutdown = true;
                self.reply(Response::new_ok(request.id, Value::Null));
            }
            // While one types, it cannot wait.
            Completion::METHOD => self.answer(request),
            HoverRequest::METHOD
            | GotoDefinition::METHOD
            | DocumentSymbolRequest::METHOD
            | CodeLensRequest::METHOD => self.waiting.push(request),
            _ => self.unknown(request),
        }
    }

    fn unknown(&self, request: Request) {
        let message = format!("there is no `{}`", request.method);
        self.reply(Response::new_err(request.id, ErrorCode::MethodNotFound as i32, message));
    }

    /// Answers a request about a text. A bug in it does not end the server.
    fn answer(&self, request: Request) {
        let result = catch_unwind(AssertUnwindSafe(|| self.result(&request.method, &request.params)));
        self.reply(match result {
            Ok(result) => Response::new_ok(request.id, result),
            Err(_) => {
                let message = format!("{} failed: this is a bug of Lockstep", request.method);
                Response::new_err(request.id, ErrorCode::InternalError as i32, message)
            }
        });
    }

    /// The answer to a request about a text; null if it is not open.
    fn result(&self, method: &str, parameters: &Value) -> Value {
        let uri = parameters.pointer("/textDocument/uri").and_then(Value::as_str);
        let path = uri.and_then(|uri| uri.parse().ok()).map(|uri| place::path(&uri)).unwrap_or_default();
        let Some(view) = self.view(&path) else {
            return Value::Null;
        };
        let position = serde_json::from_value(parameters["position"].clone()).unwrap_or_default();
        let at = place::byte(view.text, position);
        match method {
            HoverRequest::METHOD => json!(hover::hover(&view, at)),
            Completion::METHOD => json!(completion::items(&view, &self.names, at)),
            GotoDefinition::METHOD => {
                let found = definition::definitions(&view, at);
                let location =
                    |at: &Location| Some(json!({"uri": self.uri(at.path())?, "range": place::range_of(at)}));
                found.iter().filter_map(location).collect()
            }
            DocumentSymbolRequest::METHOD => json!(symbols::symbols(&view)),
            _ => json!(symbols::lenses(&view)),
        }
    }

    fn view<'s>(&'s self, path: &'s Path) -> Option<View<'s>> {
        let open = self.open.get(path)?;
        let uses = |checked: &&Checked| checked.loaded.sources.iter().any(|source| source == path);
        let others = self.open.iter().filter(|(other, _)| *other != path);
        let users: Vec<&Open> = others
            .map(|(_, open)| open)
            .filter(|open| open.checked.as_ref().is_some_and(|it| uses(&it)))
            .collect();
        let text = self.texts.get(path)?;
        let now = merged(path, &self.texts);
        let is_valid = now.is_some();
        let of_template = || merged(&extended(path, text)?, &self.texts);
        let checked = open.checked.as_ref().filter(|checked| checked.is_current(&self.texts));
        let mut cases: Vec<&Case> = checked.iter().flat_map(|checked| &checked.loaded.cases).collect();
        if cases.is_empty() {
            cases = users.iter().flat_map(|open| open.cases()).collect();
        }
        let is_old = cases.is_empty();
        if is_old {
            cases = open.good.iter().flat_map(|checked| &checked.loaded.cases).collect();
        }
        Some(View {
            path,
            text,
            texts: &self.texts,
            client: &self.client,
            checked,
            root: now.or_else(|| open.root.clone()).or_else(of_template),
            is_valid,
            roots_of_users: users.iter().filter_map(|open| open.root.as_ref()).collect(),
            cases,
            is_old,
        })
    }

    /// The parameters of a notification; one that is not valid is only logged, as the protocol has no answer to it.
    fn read<N: lsp_types::notification::Notification>(
        &self,
        notification: Notification,
    ) -> Option<N::Params> {
        match serde_json::from_value(notification.params) {
            Ok(parameters) => Some(parameters),
            Err(error) => {
                self.log(format!("cannot read {}: {error}", N::METHOD));
                None
            }
        }
    }

    fn log(&self, message: String) {
        self.tell::<LogMessage>(LogMessageParams { typ: MessageType::ERROR, message });
    }

    fn reply(&self, response: Response) {
        self.send(response.into());
    }

    fn tell<N: lsp_types::notification::Notification>(&self, parameters: N::Params) {
        self.send(Notification::new(N::METHOD.to_owned(), parameters).into());
    }

    fn send(&self, message: Message) {
        // If the editor does not read any more, it also closes standard input, which ends the server.
        drop(self.connection.sender.send(message));
    }
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
