//! Parses the input of a QMP monitor, from bytes to messages, independent of the socket.

use serde_json::Value;
use thiserror::Error;

/// The maximum length of a message; QEMU's own input limit is 64 MiB.
const LONGEST_MESSAGE: usize = 64 << 20;

/// How much of invalid input is shown.
const SHOWN: usize = 80;

/// Received bytes, in pieces of any length, to be taken out as messages.
#[derive(Debug, Default)]
pub struct Input {
    bytes: Vec<u8>,
    /// Where the next message starts; earlier bytes are dropped with the next piece.
    begin: usize,
    /// How far the search for a line end has got, so that a long line in many pieces is searched once.
    searched: usize,
}

/// One message of a monitor.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    /// The first message, with the version and the capabilities.
    Greeting(Value),
    /// An event.
    Event(Value),
    /// A reply to a command, or an error.
    Reply {
        /// The command it belongs to; `None` if it has no id.
        id: Option<u64>,
        /// The whole message.
        message: Value,
    },
}

impl Message {
    /// The message that an object is; `None` if it is not an object.
    #[must_use]
    pub fn of(value: Value) -> Option<Self> {
        Some(match value {
            value if value.get("QMP").is_some() => Self::Greeting(value),
            value if value.get("event").is_some() => Self::Event(value),
            value @ Value::Object(_) => {
                Self::Reply { id: value.get("id").and_then(Value::as_u64), message: value }
            }
            _ => return None,
        })
    }

    /// The object.
    #[must_use]
    pub const fn value(&self) -> &Value {
        match self {
            Self::Greeting(value) | Self::Event(value) | Self::Reply { message: value, .. } => value,
        }
    }
}

/// The input is not QMP; nothing after it can be trusted either.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct NotQmp(pub String);

impl Input {
    /// Adds received bytes.
    pub fn feed(&mut self, piece: &[u8]) {
        self.bytes.drain(..self.begin);
        self.searched -= self.begin;
        self.begin = 0;
        self.bytes.extend_from_slice(piece);
    }

    /// Takes out the next message; `None` if none is complete.
    ///
    /// # Errors
    /// If a line is not a JSON object, or does not end.
    pub fn next_message(&mut self) -> Result<Option<Message>, NotQmp> {
        while let Some(length) = self.bytes[self.searched..].iter().position(|&byte| byte == b'\n') {
            let end = self.searched + length;
            let line = &self.bytes[self.begin..end];
            (self.begin, self.searched) = (end + 1, end + 1);
            if !line.iter().all(u8::is_ascii_whitespace) {
                return message(line).map(Some);
            }
        }
        self.searched = self.bytes.len();
        if self.bytes.len() - self.begin > LONGEST_MESSAGE {
            return Err(NotQmp("it sent an endless line".to_owned()));
        }
        Ok(None)
    }
}

fn message(line: &[u8]) -> Result<Message, NotQmp> {
    serde_json::from_slice(line).ok().and_then(Message::of).ok_or_else(|| {
        let text = String::from_utf8_lossy(line).trim().chars().take(SHOWN).collect::<String>();
        NotQmp(format!("it sent {text:?}"))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn all(pieces: &[&[u8]]) -> Result<Vec<Message>, NotQmp> {
        let (mut input, mut messages) = (Input::default(), Vec::new());
        for piece in pieces {
            input.feed(piece);
            while let Some(message) = input.next_message()? {
                messages.push(message);
            }
        }
        Ok(messages)
    }

    #[test]
    fn messages_do_not_depend_on_how_the_bytes_arrive() {
        let text =
            b"{\"QMP\": {}}\r\n\n{\"event\": \"STOP\"}\n{\"return\": {}, \"id\": 3}\n{\"error\": {}}\n{";
        let whole = all(&[text]).unwrap();
        assert_eq!(whole.len(), 4);
        assert_eq!(whole[2], Message::Reply { id: Some(3), message: json!({"return": {}, "id": 3}) });
        assert!(matches!(&whole[3], Message::Reply { id: None, .. }));
        for size in 1..text.len() {
            let pieces: Vec<&[u8]> = text.chunks(size).collect();
            assert_eq!(all(&pieces).unwrap(), whole, "{size}");
        }
    }

    #[test]
    fn input_that_is_not_an_object_is_reported_and_truncated() {
        for line in ["hello\n", "1\n", "[]\n", "\"x\"\n", "{\n", "\u{0}\n"] {
            let error = all(&[line.as_bytes()]).unwrap_err().0;
            assert!(error.starts_with("it sent \""), "{error}");
        }
        assert!(all(&[&[b'x'; 5000], b"\n"]).unwrap_err().0.len() < 200);
        assert!(all(&[&[b'['; 5000], b"\n"]).is_err());
    }

    #[test]
    fn a_line_without_an_end_is_an_error_in_linear_time() {
        let mut input = Input::default();
        let piece = vec![b' '; 16 << 10];
        let began = std::time::Instant::now();
        let error = loop {
            input.feed(&piece);
            if let Err(error) = input.next_message() {
                break error;
            }
        };
        assert!(error.0.contains("endless line"));
        assert!(began.elapsed().as_secs() < 30, "{:?}", began.elapsed());
    }
}
