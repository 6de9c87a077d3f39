//! Any bytes as what a monitor says: the messages do not depend on the pieces in which the bytes arrive, and what was
//! taken for a message is one.

#![no_main]

use libfuzzer_sys::fuzz_target;
use lockstep_vm::qemu::qmp_input::{Input, Message, NotQmp};

fn all(pieces: &[&[u8]]) -> (Vec<Message>, Option<NotQmp>) {
    let (mut input, mut messages) = (Input::default(), Vec::new());
    for piece in pieces {
        input.feed(piece);
        loop {
            match input.next_message() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(error) => return (messages, Some(error)),
            }
        }
    }
    (messages, None)
}

fuzz_target!(|data: &[u8]| {
    let Some((&size, bytes)) = data.split_first() else {
        return;
    };
    let whole = all(&[bytes]);
    let pieces: Vec<&[u8]> = bytes.chunks(usize::from(size).max(1)).collect();
    assert_eq!(all(&pieces), whole);
    for message in &whole.0 {
        match message {
            Message::Greeting(value) => assert!(value.get("QMP").is_some()),
            Message::Event(value) => assert!(value.get("event").is_some()),
            Message::Reply { id, message } => {
                assert!(message.is_object());
                assert_eq!(*id, message.get("id").and_then(serde_json::Value::as_u64));
            }
        }
    }
});
