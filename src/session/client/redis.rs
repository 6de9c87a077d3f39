//! RESP, the protocol of Redis: what the operations of a client need of it.
//!
//! The crate `redis` brings 43 others; these are a few commands.

use std::io;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::history::{Contents, Kind};
use super::request::{Does, Request, Trouble};

/// The maximum length of a text in a reply.
const MAX_TEXT: usize = 64 << 10;
/// The maximum number of elements of a list.
const MAX_LIST: usize = 10_000_000;

/// A connection to a Redis server.
#[derive(Debug)]
pub(super) struct Redis {
    stream: BufReader<TcpStream>,
    key: String,
}

/// A reply.
#[derive(Debug)]
enum Reply {
    Text(String),
    Number(i64),
    Nothing,
    List(Vec<String>),
}

/// A reply that is not a list, or the head of a list.
#[derive(Debug)]
enum Head {
    Text(String),
    Number(i64),
    Nothing,
    Error(String),
    List(usize),
}

impl Redis {
    pub(super) async fn open(address: &str, key: &str, password: Option<&str>) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let mut redis = Self { stream: BufReader::new(stream), key: key.to_owned() };
        if let Some(password) = password {
            redis.command(&["AUTH", password]).await.map_err(Trouble::into_error)?;
        }
        Ok(redis)
    }

    pub(super) async fn perform(&mut self, request: Request) -> Result<Option<String>, Trouble> {
        let (key, value) = (self.key.clone(), request.value.to_string());
        match request.kind {
            Kind::Append => self.command(&["RPUSH", &key, &value]).await.map(|_| None),
            Kind::Count => match self.command(&["INCR", &key]).await? {
                Reply::Number(sum) => Ok(Some(sum.to_string())),
                other => Err(unexpected(&other)),
            },
            Kind::Write => self.command(&["SET", &key, &value]).await.map(|_| None),
            _ => self.value().await,
        }
    }

    pub(super) async fn contents(&mut self, does: Does) -> Result<Contents, Trouble> {
        if does != Does::Append {
            return Ok(Contents::Value(self.value().await?));
        }
        let key = self.key.clone();
        match self.command(&["LRANGE", &key, "0", "-1"]).await? {
            Reply::List(elements) => Ok(Contents::List(elements)),
            other => Err(unexpected(&other)),
        }
    }

    async fn value(&mut self) -> Result<Option<String>, Trouble> {
        let key = self.key.clone();
        match self.command(&["GET", &key]).await? {
            Reply::Text(value) => Ok(Some(value)),
            Reply::Nothing => Ok(None),
            other => Err(unexpected(&other)),
        }
    }

    async fn command(&mut self, words: &[&str]) -> Result<Reply, Trouble> {
        let mut message = format!("*{}\r\n", words.len());
        for word in words {
            message.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        self.stream.get_mut().write_all(message.as_bytes()).await?;
        let count = match self.head().await? {
            Head::Text(text) => return Ok(Reply::Text(text)),
            Head::Number(number) => return Ok(Reply::Number(number)),
            Head::Nothing => return Ok(Reply::Nothing),
            Head::Error(why) => return Err(Trouble::Refused(why)),
            Head::List(count) => count,
        };
        let mut elements = Vec::new();
        for _ in 0..count {
            match self.head().await? {
                Head::Text(text) => elements.push(text),
                other => return Err(unexpected(&other)),
            }
        }
        Ok(Reply::List(elements))
    }

    async fn head(&mut self) -> io::Result<Head> {
        let line = self.line().await?;
        let mut characters = line.chars();
        let kind = characters.next();
        let rest = characters.as_str();
        let number = || rest.parse::<i64>().map_err(|_| strange(&line));
        Ok(match kind {
            Some('+') => Head::Text(rest.to_owned()),
            Some('-') => Head::Error(rest.to_owned()),
            Some(':') => Head::Number(number()?),
            Some('$' | '*') if number()? == -1 => Head::Nothing,
            Some('*') => {
                let count = usize::try_from(number()?).ok().filter(|count| *count <= MAX_LIST);
                Head::List(count.ok_or_else(|| strange(&line))?)
            }
            Some('$') => {
                let length = usize::try_from(number()?).ok().filter(|length| *length <= MAX_TEXT);
                let mut text = vec![0; length.ok_or_else(|| strange(&line))? + 2];
                self.stream.read_exact(&mut text).await?;
                text.truncate(text.len() - 2);
                Head::Text(String::from_utf8_lossy(&text).into_owned())
            }
            _ => return Err(strange(&line)),
        })
    }

    async fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        (&mut self.stream).take(MAX_TEXT as u64).read_until(b'\n', &mut line).await?;
        match line.strip_suffix(b"\r\n") {
            Some(line) => Ok(String::from_utf8_lossy(line).into_owned()),
            None if line.len() < MAX_TEXT => {
                Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the service closed the connection"))
            }
            None => Err(strange("a long line")),
        }
    }
}

fn strange(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not a reply of Redis: {what:?}"))
}

fn unexpected(reply: &impl std::fmt::Debug) -> Trouble {
    Trouble::Lost(strange(&format!("{reply:?}")))
}
