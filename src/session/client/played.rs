//! Services of Redis and HTTP, played by the tests, that do one thing wrong.

use std::io;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// What a service does with its fifth change. `Stale` is about the reads after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// It is acknowledged and not done.
    Lost,
    /// An element is put before the last one.
    Reordered,
    /// It is done twice.
    Twice,
    /// An element that no client appended comes with it.
    Invented,
    /// The counter goes back by two first.
    Back,
    /// Reads after it return the value before it.
    Stale,
    /// It is done, and the connection is closed without an answer.
    Unanswered,
    /// The connection is closed, and it is not done.
    Dropped,
    /// It is refused.
    Refused,
    /// It is refused, and done.
    RefusedAndDone,
}

/// The change at which the fault happens.
const AT: u32 = 5;

#[derive(Debug, Default)]
struct Store {
    list: Vec<String>,
    value: Option<String>,
    stale: Option<Option<String>>,
    changes: u32,
}

/// The reply to a change.
enum Reply {
    Done,
    Refused,
    Close,
}

/// A service that is being played.
#[derive(Debug, Clone)]
pub(crate) struct Played {
    pub address: String,
    fault: Fault,
    store: Arc<Mutex<Store>>,
}

/// The protocol of a played service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Front {
    Redis,
    Http,
}

impl Played {
    pub(crate) async fn start(front: Front, fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let played = Self { address, fault, store: Arc::default() };
        let service = played.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let service = service.clone();
                tokio::spawn(async move {
                    let _ = match front {
                        Front::Redis => service.redis(BufReader::new(stream)).await,
                        Front::Http => service.http(BufReader::new(stream)).await,
                    };
                });
            }
        });
        played
    }

    /// Puts a value there before a client comes.
    pub(crate) fn hold(&self, value: &str) {
        self.store.lock().unwrap().value = Some(value.to_owned());
    }

    fn change(&self, change: impl Fn(&mut Store)) -> Reply {
        let store = &mut *self.store.lock().unwrap();
        store.changes += 1;
        if store.changes != AT {
            change(store);
            return Reply::Done;
        }
        let before = store.value.clone();
        match self.fault {
            Fault::Lost => return Reply::Done,
            Fault::Refused => return Reply::Refused,
            Fault::Dropped => return Reply::Close,
            Fault::Back => {
                store.value = before.as_ref().map(|value| (value.parse::<i64>().unwrap() - 2).to_string());
            }
            Fault::Invented => store.list.push("777".to_owned()),
            _ => {}
        }
        change(store);
        match self.fault {
            Fault::Twice => change(store),
            Fault::Reordered => {
                let last = store.list.len() - 1;
                store.list.swap(last - 1, last);
            }
            Fault::Stale => store.stale = Some(before),
            Fault::Unanswered => return Reply::Close,
            Fault::RefusedAndDone => return Reply::Refused,
            _ => {}
        }
        Reply::Done
    }

    fn value(&self) -> Option<String> {
        let store = self.store.lock().unwrap();
        store.stale.clone().unwrap_or_else(|| store.value.clone())
    }

    async fn redis(&self, mut stream: BufReader<TcpStream>) -> io::Result<()> {
        loop {
            let count = number(&line(&mut stream).await?);
            let mut words = Vec::new();
            for _ in 0..count {
                let mut word = vec![0; number(&line(&mut stream).await?) + 2];
                stream.read_exact(&mut word).await?;
                words.push(String::from_utf8_lossy(&word[..word.len() - 2]).into_owned());
            }
            let bulk = |text: &String| format!("${}\r\n{text}\r\n", text.len());
            let (word, reply) = (words.last().cloned().unwrap_or_default(), "+OK\r\n".to_owned());
            let (reply, answer) = match words[0].as_str() {
                "RPUSH" => (self.change(|store| store.list.push(word.clone())), reply),
                "SET" => (self.change(|store| store.value = Some(word.clone())), reply),
                "INCR" => {
                    let sum = |store: &Store| store.value.as_deref().unwrap_or("0").parse::<i64>().unwrap();
                    let next = sum(&self.store.lock().unwrap()) + 1;
                    let done = self.change(|store| store.value = Some((sum(store) + 1).to_string()));
                    let now = sum(&self.store.lock().unwrap());
                    let returned = if self.fault == Fault::Lost { next } else { now };
                    (done, format!(":{returned}\r\n"))
                }
                "GET" => (Reply::Done, self.value().as_ref().map_or_else(|| "$-1\r\n".to_owned(), bulk)),
                _ => {
                    let list = self.store.lock().unwrap().list.clone();
                    (Reply::Done, format!("*{}\r\n{}", list.len(), list.iter().map(bulk).collect::<String>()))
                }
            };
            let answer = match reply {
                Reply::Done => answer,
                Reply::Refused => "-READONLY not now\r\n".to_owned(),
                Reply::Close => return Ok(()),
            };
            stream.get_mut().write_all(answer.as_bytes()).await?;
        }
    }

    async fn http(&self, mut stream: BufReader<TcpStream>) -> io::Result<()> {
        loop {
            let request = line(&mut stream).await?;
            let mut length = 0;
            loop {
                let header = line(&mut stream).await?.to_ascii_lowercase();
                match header.strip_prefix("content-length:") {
                    Some(value) => length = number(value.trim()),
                    None if header.is_empty() => break,
                    None => {}
                }
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).await?;
            let text = String::from_utf8_lossy(&body).into_owned();
            let (status, answer) = match (request.starts_with("PUT"), self.value()) {
                (true, _) => match self.change(|store| store.value = Some(text.clone())) {
                    Reply::Done => (204, String::new()),
                    Reply::Refused => (409, String::new()),
                    Reply::Close => return Ok(()),
                },
                (false, Some(value)) => (200, format!("{value}\n")),
                (false, None) => (404, "nothing".to_owned()),
            };
            let length =
                if status == 204 { String::new() } else { format!("Content-Length: {}\r\n", answer.len()) };
            let answer = format!("HTTP/1.1 {status} x\r\n{length}\r\n{answer}");
            stream.get_mut().write_all(answer.as_bytes()).await?;
        }
    }
}

fn number(text: &str) -> usize {
    text.trim_start_matches(['*', '$']).parse().unwrap()
}

async fn line(stream: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut line = String::new();
    if stream.read_line(&mut line).await? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end().to_owned())
}
