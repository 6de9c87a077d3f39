//! `run --serve`: the page of a run while it runs, over HTTP, and what has changed as server-sent events.

mod answer;

use std::collections::BTreeSet;
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hyper::body::Bytes;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::net::TcpStream;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinSet;

use super::Html;
use crate::event::{Event, Subscriber, What};

/// How often a change within a case is told.
const PULSE: Duration = Duration::from_secs(1);
/// How long the last answers may take once the run has ended.
const PATIENCE: Duration = Duration::from_secs(2);
/// How many messages a slow reader may be behind.
const BEHIND: usize = 64;

/// What the server answers with.
struct Site {
    page: Mutex<Html>,
    /// The directory of the reports.
    folder: PathBuf,
    /// The messages of `/events`; none once the run has ended.
    news: Mutex<Option<broadcast::Sender<Bytes>>>,
}

/// Locks a value that a panic elsewhere does not make wrong.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The page, written to its file at the end of the run, and served until then.
pub struct Serve {
    site: Arc<Site>,
    /// The file of the page.
    file: PathBuf,
    changed: BTreeSet<usize>,
    told: Instant,
    stop: watch::Sender<bool>,
    server: Option<JoinHandle<()>>,
}

impl Serve {
    /// Serves the page, and the files of the directory of the reports, on a thread of its own.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(listener: TcpListener, folder: &Path) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let file = folder.join("index.html");
        let news = Mutex::new(Some(broadcast::channel(BEHIND).0));
        let site = Arc::new(Site { page: Mutex::new(Html::new(&file)), folder: folder.to_owned(), news });
        let (stop, stopped) = watch::channel(false);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let answers = Arc::clone(&site);
        let serve = move || {
            runtime.block_on(async {
                if let Ok(listener) = tokio::net::TcpListener::from_std(listener) {
                    accept(listener, answers, stopped).await;
                }
            });
        };
        let server = Some(std::thread::Builder::new().name("server".to_owned()).spawn(serve)?);
        Ok(Self { site, file, changed: BTreeSet::new(), told: Instant::now(), stop, server })
    }

    /// Sends a message to everyone who listens.
    fn tell(&self, event: &str, data: &serde_json::Value) {
        if let Some(news) = &*lock(&self.site.news) {
            // Without a listener it fails, which does not matter.
            let _ = news.send(format!("event: {event}\ndata: {data}\n\n").into());
        }
    }

    fn tell_changes(&mut self, at: Option<f64>) {
        let cases = std::mem::take(&mut self.changed);
        self.told = Instant::now();
        self.tell("changed", &json!({"at": at, "cases": cases}));
    }

    fn stop(&mut self) {
        // The streams end after the last message.
        lock(&self.site.news).take();
        self.stop.send_replace(true);
        if let Some(server) = self.server.take() {
            let _ = server.join();
        }
    }
}

impl Subscriber for Serve {
    fn take(&mut self, event: &Event) -> anyhow::Result<()> {
        lock(&self.site.page).take(event)?;
        self.changed.extend(event.case);
        match event.what {
            What::RunStarted { .. } | What::CaseStarted { .. } | What::CaseEnded(_) => {
                self.tell_changes(Some(event.at));
            }
            _ => {}
        }
        Ok(())
    }

    fn tick(&mut self) -> anyhow::Result<()> {
        if !self.changed.is_empty() && self.told.elapsed() >= PULSE {
            self.tell_changes(None);
        }
        Ok(())
    }

    fn finish(&mut self) -> anyhow::Result<()> {
        let written = lock(&self.site.page).finish();
        // The server ends now, so the last message has the page itself.
        let page = std::fs::read_to_string(&self.file).ok().filter(|_| written.is_ok());
        self.tell("end", &json!({ "page": page }));
        self.stop();
        written
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Accepts connections until the run has ended; then lets them end.
async fn accept(listener: tokio::net::TcpListener, site: Arc<Site>, mut stopped: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => _ = connections.spawn(connection(stream, Arc::clone(&site), stopped.clone())),
                // No descriptor is left for another connection.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            },
            Some(_) = connections.join_next() => {}
            _ = stopped.changed() => break,
        }
    }
    drop(listener);
    let last = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(PATIENCE, last).await;
}

async fn connection(stream: TcpStream, site: Arc<Site>, mut stopped: watch::Receiver<bool>) {
    let service = service_fn(move |request| {
        let site = Arc::clone(&site);
        async move { Ok::<_, std::convert::Infallible>(site.answer(&request)) }
    });
    let mut builder = http1::Builder::new();
    let connection = builder.timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = stopped.wait_for(|stop| *stop) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

#[cfg(test)]
mod tests;
