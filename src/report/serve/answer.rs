//! The answers of the server: the page, the events, the files of the reports.

use std::fs::File;
use std::io::{self, Read as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Bytes, Frame};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HOST, X_CONTENT_TYPE_OPTIONS};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::{Site, lock};
use crate::report::text;

/// The script that keeps the page up to date.
const SCRIPT: &str = include_str!("../html/live.js");
/// How much of a file is read at once.
const CHUNK: usize = 64 << 10;

type Body = UnsyncBoxBody<Bytes, io::Error>;

const HTML: &str = "text/html; charset=utf-8";
/// For all files: they have what guests and QEMUs wrote, which must not run in the page's origin.
const TEXT: &str = "text/plain; charset=utf-8";

impl Site {
    /// The answer to a request.
    pub(super) fn answer<B>(&self, request: &Request<B>) -> Response<Body> {
        let is_head = request.method() == Method::HEAD;
        if !is_head && request.method() != Method::GET {
            let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD");
            refused.headers_mut().insert(ALLOW, "GET, HEAD".parse().expect("it is a value"));
            return refused;
        }
        if !is_own_host(request.headers()) {
            return text(StatusCode::FORBIDDEN, "this host name is not the server's; use its address");
        }
        let answer = match request.uri().path() {
            "/" => Some(self.page()),
            "/events" => self.events(),
            path => file(&self.folder, path),
        };
        let answer = answer.unwrap_or_else(|| text(StatusCode::NOT_FOUND, "there is nothing here"));
        if is_head { answer.map(|_| whole(Bytes::new())) } else { answer }
    }

    fn page(&self) -> Response<Body> {
        match lock(&self.page).so_far(SCRIPT) {
            Ok(page) => found(HTML, Some(page.len() as u64), whole(page.into())),
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error:#}")),
        }
    }

    fn events(&self) -> Option<Response<Body>> {
        let receiver = lock(&self.news).as_ref()?.subscribe();
        // The browser connects again after this time, in milliseconds.
        let first = Some(Bytes::from_static(b"retry: 1000\n\n"));
        let messages = stream::unfold((receiver, first), async |(mut receiver, first)| {
            let message = match first {
                Some(first) => first,
                None => next(&mut receiver).await?,
            };
            Some((Ok(Frame::data(message)), (receiver, None)))
        });
        Some(found("text/event-stream", None, StreamBody::new(messages).boxed_unsync()))
    }
}

/// The next message; `None` after the last one.
async fn next(receiver: &mut broadcast::Receiver<Bytes>) -> Option<Bytes> {
    match receiver.recv().await {
        Ok(message) => Some(message),
        Err(RecvError::Lagged(_)) => Some(Bytes::from_static(b"event: changed\ndata: {}\n\n")),
        Err(RecvError::Closed) => None,
    }
}

/// Whether the `Host` is an address or `localhost`. Another name may be that of a page elsewhere that was made to lead
/// here, so that its scripts can read the answers.
fn is_own_host(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(HOST).and_then(|host| host.to_str().ok()) else {
        return false;
    };
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    // The last colon of an IPv6 address is inside of the brackets.
    let name = host.rsplit_once(':').filter(|(_, port)| is_port(port)).map_or(host, |(name, _)| name);
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok()
}

/// The answer with a file or the list of a folder below a directory; `None` if there is none at this path, or it is
/// elsewhere.
fn file(folder: &Path, path: &str) -> Option<Response<Body>> {
    let folder = folder.canonicalize().ok()?;
    let named = path.strip_suffix('/').unwrap_or(path);
    let is_folder = named != path;
    let path = folder.join(relative(named)?).canonicalize().ok()?;
    let metadata = path.metadata().ok()?;
    if !path.starts_with(&folder) || metadata.is_dir() != is_folder {
        return None;
    }
    if is_folder {
        return list(&path);
    }
    if !metadata.is_file() {
        return None;
    }
    // A file that grows is sent as long as it was.
    let rest = File::open(path).ok()?.take(metadata.len());
    let chunks = stream::unfold(rest, async |mut rest| {
        let mut chunk = vec![0; CHUNK];
        match rest.read(&mut chunk) {
            Ok(0) => None,
            Ok(count) => {
                chunk.truncate(count);
                Some((Ok(Frame::data(chunk.into())), rest))
            }
            Err(error) => Some((Err(error), rest)),
        }
    });
    Some(found(TEXT, Some(metadata.len()), StreamBody::new(chunks).boxed_unsync()))
}

/// The list of what is in a folder, to which the page links.
fn list(folder: &Path) -> Option<Response<Body>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).ok()?.flatten() {
        let slash = if entry.file_type().is_ok_and(|kind| kind.is_dir()) { "/" } else { "" };
        names.push((entry.file_name().to_str()?.to_owned(), slash));
    }
    names.sort();
    let item = |(name, slash): (String, &str)| {
        let address = text::encoded(name.as_bytes());
        format!("<li><a href=\"./{address}{slash}\">{}{slash}</a>\n", handlebars::html_escape(&name))
    };
    let list: String = names.into_iter().map(item).collect();
    let page = format!("<!doctype html><meta charset=\"utf-8\"><ul>\n{list}</ul>\n");
    Some(found(HTML, Some(page.len() as u64), whole(page.into())))
}

/// The path of a request as a path below a directory.
fn relative(path: &str) -> Option<PathBuf> {
    let mut bytes = Vec::new();
    let mut rest = path.strip_prefix('/')?.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                (digit()? * 16 + digit()?) as u8
            }
            byte => byte,
        });
    }
    let path = String::from_utf8(bytes).ok()?;
    let is_name = |part: &str| !matches!(part, "" | "." | "..") && !part.contains('\0');
    path.split('/').all(is_name).then(|| path.into())
}

fn whole(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

fn text(status: StatusCode, text: &str) -> Response<Body> {
    let text = format!("{text}\n");
    let mut answer = found(TEXT, Some(text.len() as u64), whole(text.into()));
    *answer.status_mut() = status;
    answer
}

fn found(kind: &'static str, length: Option<u64>, body: Body) -> Response<Body> {
    let mut answer = Response::new(body);
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, kind.parse().expect("it is a value"));
    headers.insert(CACHE_CONTROL, "no-store".parse().expect("it is a value"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, "nosniff".parse().expect("it is a value"));
    if let Some(length) = length {
        headers.insert(CONTENT_LENGTH, length.into());
    }
    answer
}
