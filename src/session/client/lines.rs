//! Lines of text over TCP.

use std::io;

use regex::Regex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::request::{Trouble, Wrong};

/// The maximum length of a reply.
const MAX_ANSWER: usize = 4096;

/// A connection to a service of lines.
#[derive(Debug)]
pub(super) struct Lines {
    stream: TcpStream,
    said: Vec<u8>,
    request: String,
    answer: Option<String>,
    draws: bool,
}

impl Lines {
    pub(super) async fn open(
        address: &str,
        request: &str,
        answer: Option<&str>,
        draws: bool,
    ) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (request, answer) = (request.to_owned(), answer.map(str::to_owned));
        Ok(Self { stream, said: Vec::new(), request, answer, draws })
    }

    /// Sends the line with this number and waits for its answer.
    pub(super) async fn perform(&mut self, number: u64, wrong: Wrong<'_>) -> Result<Option<String>, Trouble> {
        let line = format!("{}\n", with_number(&self.request, number));
        let right = Right::new(self.answer.as_deref(), number, self.draws)?;
        self.stream.write_all(line.as_bytes()).await?;
        loop {
            let answer = self.answer().await?;
            if let Some(value) = right.value(&answer) {
                return Ok(Some(value.to_owned()).filter(|value| !value.is_empty()));
            }
            wrong(&answer);
        }
    }

    /// The next line from the service, without its line end.
    async fn answer(&mut self) -> io::Result<String> {
        let said = &mut self.said;
        loop {
            if let Some(end) = said.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = said.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            if said.len() > MAX_ANSWER {
                return Err(io::Error::other(format!("an answer of more than {MAX_ANSWER} bytes")));
            }
            if self.stream.read_buf(said).await? == 0 {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the service closed the connection",
                ));
            }
        }
    }
}

/// A text with `{n}` replaced by the number.
pub(crate) fn with_number(text: &str, number: u64) -> String {
    text.replace("{n}", &number.to_string())
}

/// The right answer to a line.
#[derive(Debug)]
enum Right {
    /// `ok N`, perhaps with a value.
    Ok { prefix: String, draws: bool },
    /// What matches the expression.
    Match(Regex),
}

impl Right {
    fn new(answer: Option<&str>, number: u64, draws: bool) -> io::Result<Self> {
        Ok(match answer {
            None => Self::Ok { prefix: format!("ok {number}"), draws },
            Some(answer) => Self::Match(Regex::new(&with_number(answer, number)).map_err(io::Error::other)?),
        })
    }

    /// The value in an answer, if it is the right one; empty if it has none.
    fn value<'a>(&self, answer: &'a str) -> Option<&'a str> {
        match self {
            Self::Match(expression) => {
                let groups = expression.captures(answer)?;
                Some(groups.get(1).map_or("", |group| group.as_str()))
            }
            Self::Ok { prefix, draws } => {
                let rest = answer.strip_prefix(prefix)?;
                if !draws {
                    return rest.is_empty().then_some("");
                }
                rest.strip_prefix(' ').filter(|draw| !draw.is_empty() && !draw.contains(char::is_whitespace))
            }
        }
    }
}

/// Asks a service over a separate connection which value it drew for each line; returns its replies in the order of
/// the numbers.
///
/// # Errors
/// Why the connection failed.
pub async fn recall(address: &str, numbers: &[u64]) -> io::Result<Vec<String>> {
    let mut connection = Lines::open(address, "", None, false).await?;
    let mut answers = Vec::new();
    for number in numbers {
        connection.stream.write_all(format!("told {number}\n").as_bytes()).await?;
        answers.push(connection.answer().await?);
    }
    Ok(answers)
}
