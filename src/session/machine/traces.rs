//! The trace events of a VM, read from the pipe that is QEMU's log.

use std::io;
use std::os::fd::OwnedFd;

use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
use tokio::net::unix::pipe::Receiver;

use super::Plan;
use crate::event::{Sink, What};
use crate::qemu::trace::Line;

/// The size of the pipe, so that QEMU rarely waits for the runner.
const PIPE: usize = 1 << 20;
/// How much is read at once.
const CHUNK: usize = 64 << 10;

/// The reader of a VM's trace events.
pub(super) struct Traces {
    vm: String,
    sink: Sink,
    pipe: Receiver,
    /// The start of a line that is not complete.
    rest: Vec<u8>,
}

impl Traces {
    /// The reader of a VM that has any, and the end of the pipe that its process inherits.
    pub(super) fn of(plan: &Plan, sink: &Sink) -> io::Result<Option<(Self, OwnedFd)>> {
        (!plan.spec.trace.is_empty()).then(|| Self::new(&plan.name, sink)).transpose()
    }

    fn new(vm: &str, sink: &Sink) -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC)?;
        // A user may have used up what the kernel allows; the pipe then keeps its size.
        let _ = fcntl_setpipe_size(&ours, PIPE);
        let pipe = Receiver::from_owned_fd(ours)?;
        Ok((Self { vm: vm.to_owned(), sink: sink.clone(), pipe, rest: Vec::new() }, theirs))
    }

    /// Emits the events as they come, until the process has ended and all of them are read.
    pub(super) async fn read_until<T>(mut self, ended: impl Future<Output = T>) -> T {
        tokio::pin!(ended);
        let mut chunk = vec![0; CHUNK];
        let mut is_open = true;
        loop {
            tokio::select! {
                end = &mut ended => {
                    self.drain(&mut chunk);
                    return end;
                }
                ready = self.pipe.readable(), if is_open => {
                    is_open = ready.is_ok() && match self.pipe.try_read(&mut chunk) {
                        Ok(count) => self.take(&chunk[..count]),
                        Err(error) => error.kind() == io::ErrorKind::WouldBlock,
                    };
                }
            }
        }
    }

    /// Reads what is left. Bounded, in case a process that QEMU has started outlives it and goes on to write.
    fn drain(&mut self, chunk: &mut [u8]) {
        for _ in 0..=PIPE / CHUNK {
            // Not `try_read`, which only reads what tokio already knows of.
            match rustix::io::read(&self.pipe, &mut *chunk) {
                Ok(count) if self.take(&chunk[..count]) => {}
                _ => break,
            }
        }
        let last = std::mem::take(&mut self.rest);
        if !last.is_empty() {
            self.emit(&last);
        }
    }

    /// Emits the complete lines; returns whether there may be more.
    fn take(&mut self, bytes: &[u8]) -> bool {
        self.rest.extend_from_slice(bytes);
        let lines = std::mem::take(&mut self.rest);
        let mut parts = lines.split(|&byte| byte == b'\n').peekable();
        while let Some(line) = parts.next() {
            // A line without an end is cut, so that it does not fill the memory.
            if parts.peek().is_none() && line.len() < CHUNK {
                self.rest = line.to_vec();
            } else {
                self.emit(line);
            }
        }
        !bytes.is_empty()
    }

    fn emit(&self, line: &[u8]) {
        let line = String::from_utf8_lossy(line);
        let event = Line::parse(&line);
        self.sink.emit(What::Trace {
            vm: self.vm.clone(),
            name: event.map(|event| event.name.to_owned()),
            text: event.map_or(&*line, |event| event.text).to_owned(),
            emitted: event.map(|event| (self.sink.since_start(event.emitted) * 1e6).round() / 1e6),
        });
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::event::Event;
    use crate::session::log::real_time;

    /// The traces of this output, which is written in two parts, and read before its end or after it.
    async fn read(first: &[u8], second: &[u8], before: bool) -> Vec<(Option<String>, String)> {
        let (sink, stream) = Sink::new();
        let (traces, theirs) = Traces::new("vm", &sink).unwrap();
        let mut theirs = std::fs::File::from(theirs);
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let reader = tokio::spawn(traces.read_until(ended));
        theirs.write_all(first).unwrap();
        if before {
            tokio::task::yield_now().await;
        }
        theirs.write_all(second).unwrap();
        // The write end stays open, as if another process had it.
        end.send(()).unwrap();
        reader.await.unwrap().unwrap();
        drop(sink);
        let trace = |event: Event| match event.what {
            What::Trace { name, text, .. } => (name, text),
            other => panic!("{other:?}"),
        };
        stream.iter().map(trace).collect()
    }

    #[tokio::test]
    async fn everything_that_was_written_before_the_end_is_read() {
        let named = |name: &str, text: &str| (Some(name.to_owned()), text.to_owned());
        for before in [true, false] {
            let all = read(b"1@2.5:one a\n1@2.5:tw", b"o b\nno event\n1@2.5:three", before).await;
            let expected =
                [named("one", "a"), named("two", "b"), (None, "no event".to_owned()), named("three", "")];
            assert_eq!(all, expected);
        }
        let many = "1@2.5:x y\n".repeat(20_000);
        assert_eq!(read(many.as_bytes(), many.as_bytes(), false).await.len(), 40_000);
    }

    #[tokio::test]
    async fn a_time_of_qemu_becomes_one_of_the_stream() {
        let (sink, stream) = Sink::new();
        let (traces, theirs) = Traces::new("vm", &sink).unwrap();
        let mut theirs = std::fs::File::from(theirs);
        writeln!(theirs, "1@{:.6}:one a", real_time() - 10.0).unwrap();
        traces.read_until(std::future::ready(())).await;
        let event = stream.recv().unwrap();
        let What::Trace { emitted: Some(emitted), .. } = event.what else { panic!("{event:?}") };
        assert!((emitted + 10.0 - event.at).abs() < 1.0, "{emitted} {}", event.at);
    }
}
