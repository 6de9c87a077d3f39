//! GitHub Actions annotations: the cases that failed or had an error, at the line of the step that failed.

use std::io::Write;
use std::path::Path;

use crate::diagnostic::{ANNOTATIONS, Place, annotation, further};
use crate::event::{Event, Subscriber};
use crate::report::record::Case;
use crate::report::{Fold, text};

/// Writes the annotations.
pub struct Github<W> {
    fold: Fold,
    failed: usize,
    out: W,
}

impl<W> std::fmt::Debug for Github<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Github").field("fold", &self.fold).finish_non_exhaustive()
    }
}

impl<W: Write> Github<W> {
    /// Annotations on `out`; GitHub reads them from the standard output of a step.
    #[must_use]
    pub fn new(out: W) -> Self {
        Self { fold: Fold::default(), failed: 0, out }
    }

    fn annotate(&mut self, case: &Case) -> anyhow::Result<()> {
        let verdict = case.verdict();
        if !verdict.is_bad() {
            return Ok(());
        }
        self.failed += 1;
        if self.failed > ANNOTATIONS {
            return Ok(());
        }
        let end = case.end.as_ref();
        let known = end.and_then(|end| end.place.as_deref());
        let (file, line, column) = known.and_then(parts).unwrap_or((case.file.as_str(), 1, 1));
        let place = Place { file: Path::new(file), line, column, end_column: None };
        let kind = end.and_then(|end| end.cause.as_ref()).map(|cause| format!(" ({})", cause.kind));
        let title = format!("{verdict}{}: {}", kind.unwrap_or_default(), text::one_line(&case.title()));
        let reason = text::visible(case.reason().unwrap_or("no reason given"));
        writeln!(self.out, "{}", annotation("error", &place, &title, &text::cut(&reason, text::LINE_LIMIT)))?;
        Ok(())
    }
}

/// The file, line and column of `file:line:column`.
pub(super) fn parts(place: &str) -> Option<(&str, usize, usize)> {
    let mut parts = place.rsplitn(3, ':');
    let (column, line, file) = (parts.next()?, parts.next()?, parts.next()?);
    Some((file, line.parse().ok()?, column.parse().ok()?))
}

impl<W: Write> Subscriber for Github<W> {
    fn take(&mut self, event: &Event) -> anyhow::Result<()> {
        match self.fold.take(event) {
            Some(case) => self.annotate(&case),
            None => Ok(()),
        }
    }

    fn finish(&mut self) -> anyhow::Result<()> {
        for case in self.fold.cut_off() {
            self.annotate(&case)?;
        }
        if let Some(more @ 1..) = self.failed.checked_sub(ANNOTATIONS) {
            writeln!(self.out, "{}", further(more, "cases failed or had an error"))?;
        }
        Ok(self.out.flush()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{feed, sample};

    #[derive(Clone, Default)]
    struct Out(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

    impl Write for Out {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn each_failed_case_is_an_annotation_on_one_line() {
        let out = Out::default();
        let _ = feed(sample::run(), vec![Box::new(Github::new(out.clone()))]);
        let text = String::from_utf8(out.0.lock().unwrap().clone()).unwrap();
        let bad = sample::run()
            .iter()
            .filter(|event| {
                matches!(&event.what,
            crate::event::What::CaseEnded(end) if end.verdict.is_bad())
            })
            .count();
        assert!(text.lines().count() >= bad && bad > 0, "{text}");
        assert!(text.lines().all(|line| line.starts_with("::error ")), "{text}");
        assert!(text.contains(",title=fail (timeout)%3A "), "{text}");
        assert!(text.contains("title=error%3A "), "without a cause: {text}");
    }

    #[test]
    fn ten_failures_are_annotated_and_the_others_counted() {
        let written = |cases: usize| {
            let mut events = vec![sample::run_started(cases)];
            for number in 0..cases {
                events.push(sample::started(number, "a", "src/../Cargo.toml"));
                events.push(sample::ended(number, crate::event::Verdict::Fail, Some("no"), 1.0));
            }
            let out = Out::default();
            let _ = feed(events, vec![Box::new(Github::new(out.clone()))]);
            String::from_utf8(out.0.lock().unwrap().clone()).unwrap()
        };
        let lines = |text: &str, start: &str| text.lines().filter(|line| line.starts_with(start)).count();
        let (ten, twelve) = (written(10), written(12));
        assert_eq!((lines(&ten, "::error "), lines(&ten, "::notice ")), (10, 0), "{ten}");
        assert_eq!((lines(&twelve, "::error "), lines(&twelve, "::notice ")), (10, 1), "{twelve}");
        let last = twelve.lines().last().unwrap();
        assert!(last.starts_with("::notice title=2 more cases failed or had an error::"), "{twelve}");
    }

    #[test]
    fn a_place_is_parsed_from_its_end() {
        assert_eq!(parts("a:b.yaml:3:5"), Some(("a:b.yaml", 3, 5)));
        assert_eq!(parts("nowhere"), None);
    }
}
