//! HTTP/1.1: a page that is read, or a resource that is written with PUT and read with GET.

use std::io;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::HOST;
use hyper::{Method, Request as Message, StatusCode};
use hyper_util::rt::TokioIo;
use regex::Regex;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::history::{Contents, Kind};
use super::request::{Request, Trouble, Wrong};

/// The maximum length of an answer's body.
const MAX_BODY: usize = 1 << 20;
/// How much of a wrong answer is kept.
const SHOWN: usize = 200;

/// A connection to an HTTP server. It is opened again if the server closed it after an answer.
#[derive(Debug)]
pub(super) struct Http {
    address: String,
    path: String,
    status: u16,
    answer: Option<Regex>,
    sender: SendRequest<Full<Bytes>>,
    task: JoinHandle<()>,
}

impl Drop for Http {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Http {
    pub(super) async fn open(
        address: &str,
        path: &str,
        status: u16,
        answer: Option<Regex>,
    ) -> io::Result<Self> {
        let (sender, task) = connect(address).await?;
        Ok(Self { address: address.to_owned(), path: path.to_owned(), status, answer, sender, task })
    }

    pub(super) async fn perform(
        &mut self,
        request: Request,
        wrong: Wrong<'_>,
    ) -> Result<Option<String>, Trouble> {
        match request.kind {
            Kind::Write => self.write(request.value).await.map(|()| None),
            Kind::Get => self.page(wrong).await.map(|()| None),
            _ => self.value().await,
        }
    }

    pub(super) async fn contents(&mut self) -> Result<Contents, Trouble> {
        Ok(Contents::Value(self.value().await?))
    }

    async fn write(&mut self, value: u64) -> Result<(), Trouble> {
        match self.send(Method::PUT, value.to_string()).await? {
            (status, _) if status.is_success() => Ok(()),
            (status, _) if status.is_client_error() => Err(Trouble::Refused(format!("status {status}"))),
            (status, _) => Err(Trouble::Unclear(format!("status {status}"))),
        }
    }

    async fn value(&mut self) -> Result<Option<String>, Trouble> {
        match self.send(Method::GET, String::new()).await? {
            (StatusCode::OK, body) => Ok(Some(body.trim_end().to_owned())),
            (StatusCode::NOT_FOUND, _) => Ok(None),
            (status, _) => Err(Trouble::Refused(format!("status {status}"))),
        }
    }

    async fn page(&mut self, wrong: Wrong<'_>) -> Result<(), Trouble> {
        let (status, body) = self.send(Method::GET, String::new()).await?;
        let is_right = status.as_u16() == self.status
            && self.answer.as_ref().is_none_or(|expression| expression.is_match(&body));
        if is_right {
            return Ok(());
        }
        let body: String = body.chars().take(SHOWN).collect();
        wrong(&format!("status {status}: {body}"));
        Err(Trouble::Refused(format!("status {status}")))
    }

    /// Sends a request; returns the status and the body of its answer.
    async fn send(&mut self, method: Method, body: String) -> Result<(StatusCode, String), Trouble> {
        if self.sender.ready().await.is_err() {
            self.task.abort();
            (self.sender, self.task) = connect(&self.address).await?;
        }
        let message = Message::builder().method(method).uri(&self.path).header(HOST, &self.address);
        let message = message.body(Full::new(Bytes::from(body))).map_err(io::Error::other)?;
        let answer = self.sender.send_request(message).await.map_err(io::Error::other)?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_BODY).collect().await.map_err(io::Error::other)?;
        Ok((status, String::from_utf8_lossy(&body.to_bytes()).into_owned()))
    }
}

async fn connect(address: &str) -> io::Result<(SendRequest<Full<Bytes>>, JoinHandle<()>)> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    // An error of the connection is also that of the pending request.
    let task = tokio::spawn(async move {
        let _ = connection.await;
    });
    Ok((sender, task))
}
