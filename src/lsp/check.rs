//! Checks open files on a thread of their own.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};

use lsp_server::Message;
use lsp_types::{DiagnosticRelatedInformation, DiagnosticSeverity, Location, NumberOrString, Uri};

use super::place::range_of;
use super::qemu_names::asked;
use crate::diagnostic::{Diagnostic, Severity};
use crate::qemu::binary::Binary;
use crate::runner::Binaries;
use crate::scenario::{Loaded, Options, QemuVersions, Texts, load_edited, merged};
use crate::template::NoVersions;
use crate::yaml::Node;

/// A file to check.
pub(super) struct Job {
    pub path: PathBuf,
    /// All open texts.
    pub texts: Arc<Texts>,
}

/// A file that was checked.
pub(super) struct Checked {
    pub path: PathBuf,
    /// The texts that were open then.
    pub texts: Arc<Texts>,
    pub loaded: Loaded,
    /// The file merged over what it extends.
    pub root: Option<Node>,
}

impl Checked {
    /// Whether none of its files has another text now.
    pub(super) fn is_current(&self, texts: &Texts) -> bool {
        let sources = self.loaded.sources.iter().chain([&self.path]);
        sources.into_iter().all(|source| match (texts.get(source), self.texts.get(source)) {
            (Some(now), Some(then)) => Arc::ptr_eq(now, then),
            (now, then) => now.is_none() && then.is_none(),
        })
    }
}

/// What the server waits for.
pub(super) enum Event {
    Message(Message),
    /// A file was checked; or its path, if the check failed.
    Checked(Result<Box<Checked>, PathBuf>),
    /// The QEMU whose names are to be completed.
    Qemu(Arc<Binary>),
    /// The editor has closed standard input.
    Closed,
}

/// Starts the thread. It ends when the sender of the jobs is dropped.
pub(super) fn start(binaries: Option<Arc<Binaries>>, events: Sender<Event>) -> std::io::Result<Sender<Job>> {
    let (jobs, next) = channel::<Job>();
    std::thread::Builder::new().name("check".to_owned()).spawn(move || {
        let binary = binaries.as_deref().and_then(asked);
        if binary.is_some_and(|binary| events.send(Event::Qemu(binary)).is_err()) {
            return;
        }
        for job in next {
            let done = catch_unwind(AssertUnwindSafe(|| check(&job, binaries.as_deref())));
            let checked = done.map_err(|_| job.path);
            if events.send(Event::Checked(checked.map(Box::new))).is_err() {
                break;
            }
        }
    })?;
    Ok(jobs)
}

/// The same as `lockstep check` of the file.
pub(super) fn check(job: &Job, binaries: Option<&Binaries>) -> Checked {
    let versions: &dyn QemuVersions = binaries.map_or(&NoVersions, |binaries| binaries);
    let paths = std::slice::from_ref(&job.path);
    let mut loaded = load_edited(paths, &job.texts, &Options::default(), versions);
    if !loaded.diagnostics.has_errors() {
        crate::runner::check(binaries, &loaded.cases, &mut loaded.diagnostics);
    }
    let root = merged(&job.path, &job.texts);
    Checked { path: job.path.clone(), texts: Arc::clone(&job.texts), loaded, root }
}

/// A diagnostic for the editor. An editor that cannot show related places gets them in the message.
pub(super) fn for_editor(
    diagnostic: &Diagnostic,
    shows_related: bool,
    uri: impl Fn(&crate::diagnostic::Location) -> Option<Uri>,
) -> lsp_types::Diagnostic {
    let mut message = diagnostic.message.clone();
    if let Some(help) = &diagnostic.help {
        message.push_str(&format!("\n{help}"));
    }
    let mut related = Vec::new();
    for (at, what) in &diagnostic.related {
        match uri(at).filter(|_| shows_related) {
            Some(uri) => related.push(DiagnosticRelatedInformation {
                location: Location::new(uri, range_of(at)),
                message: what.clone(),
            }),
            None => message.push_str(&format!("\n{what}: {at}")),
        }
    }
    lsp_types::Diagnostic {
        range: range_of(&diagnostic.location),
        severity: Some(match diagnostic.severity {
            Severity::Error => DiagnosticSeverity::ERROR,
            Severity::Warning => DiagnosticSeverity::WARNING,
        }),
        code: Some(NumberOrString::String(diagnostic.code.number().to_owned())),
        source: Some("lockstep".to_owned()),
        message,
        related_information: (!related.is_empty()).then_some(related),
        ..lsp_types::Diagnostic::default()
    }
}
