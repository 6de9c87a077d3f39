//! Failures of steps: the cause as data, which is turned into words where it is displayed or recorded.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use crate::cause::{self, CauseKind};
use crate::guest::ticker::Line;
use crate::qemu::process::Ended;
use crate::qemu::qmp::QmpError;
use crate::qemu::qtest::QtestError;
use crate::units::elapsed;

/// A step's failure. The evidence is collected separately.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    cause: Box<Cause>,
    vm: Option<String>,
    /// The text before the cause.
    lead: String,
    /// What follows the cause, in order.
    tail: Vec<Tail>,
}

/// The cause of a failure.
#[derive(Debug, Clone, PartialEq)]
pub enum Cause {
    /// A wait gave up at its deadline.
    Timeout {
        /// What was awaited.
        awaited: String,
        /// For how long.
        waited: Duration,
        /// What was seen instead.
        seen: String,
    },
    /// A wait can no longer succeed.
    Impossible {
        /// What was awaited.
        awaited: String,
        /// Why it cannot come.
        why: String,
    },
    /// A QMP command failed.
    Qmp(QmpError),
    /// A process ended.
    Exit {
        /// The process and what it did: "VM `a` died".
        what: String,
        /// How it was expected to end, if it was.
        expected: Option<String>,
        /// How it ended.
        how: Ended,
        /// Its last output, as the end of the sentence: "saying: …"; may be empty.
        said: String,
    },
    /// A guest did something that indicates a malfunction.
    Guest {
        /// What it did, as a verb.
        did: &'static str,
        /// The console line, or the event.
        said: String,
    },
    /// The built-in guest found its memory or a device wrong. `expect_error` does not excuse it.
    Corrupt {
        /// Its report.
        line: Line,
        /// Its report of the number of wrong pages.
        pages: Option<Line>,
    },
    /// A migration failed, or ended otherwise than expected.
    Migration {
        /// Its status, with QEMU's error if there is one.
        status: String,
        /// The expected status; none if the failure was reported by an event.
        expected: Option<String>,
        /// QEMU's error, if the failure was reported by an event and `query-migrate` has one.
        error: Option<String>,
    },
    /// Anything else.
    Other {
        /// Its kind.
        kind: CauseKind,
        /// What was expected, and what was found instead.
        message: String,
    },
}

/// What follows the cause in a failure's message.
#[derive(Debug, Clone, PartialEq)]
enum Tail {
    Consequence(Failure),
    Note(String),
}

impl Cause {
    fn kind(&self) -> CauseKind {
        match self {
            Self::Timeout { .. } => CauseKind::Timeout,
            Self::Impossible { .. } => CauseKind::Impossible,
            Self::Qmp(_) => CauseKind::Qmp,
            Self::Exit { .. } => CauseKind::Exit,
            Self::Guest { .. } => CauseKind::Guest,
            Self::Corrupt { .. } => CauseKind::Corrupt,
            Self::Migration { .. } => CauseKind::Migration,
            Self::Other { kind, .. } => *kind,
        }
    }

    /// Its words: what identifies it, and what varies between causes of this kind, with the text that joins them.
    fn words(&self, vm: &str) -> (String, Option<(&'static str, String)>) {
        match self {
            Self::Timeout { awaited, waited, seen } => {
                (format!("waited {} for {awaited}", elapsed(*waited)), Some(("; saw ", seen.clone())))
            }
            Self::Impossible { awaited, why } => {
                (format!("{awaited} can no longer come"), Some((": ", why.clone())))
            }
            Self::Qmp(error) => (error.to_string(), None),
            Self::Exit { what, expected, how, said } => {
                let how = how.to_string();
                let what = match expected {
                    None => format!("{what}: {how}"),
                    Some(expected) => {
                        let both = "exit status ";
                        let got = how.strip_prefix(both).filter(|_| expected.starts_with(both));
                        format!("{what}: expected {expected}, got {}", got.unwrap_or(&how))
                    }
                };
                (what, Some((", ", said.clone())).filter(|(_, said)| !said.is_empty()))
            }
            Self::Guest { did, said } => (format!("the guest of VM `{vm}` {did}: {said}"), None),
            Self::Corrupt { line, pages } => {
                let pages = pages.as_ref().map(|pages| ("; ", pages.to_string()));
                (format!("VM `{vm}`: {line}"), pages)
            }
            Self::Migration { status, expected: Some(expected), .. } => {
                (format!("the migration of `{vm}` is {status}, expected {expected}"), None)
            }
            Self::Migration { status, expected: None, error } => (
                format!("the migration {status}, according to VM `{vm}`"),
                error.clone().map(|error| (": ", error)),
            ),
            Self::Other { message, .. } => (message.clone(), None),
        }
    }
}

impl From<Cause> for Failure {
    fn from(cause: Cause) -> Self {
        Self { cause: Box::new(cause), vm: None, lead: String::new(), tail: Vec::new() }
    }
}

impl Failure {
    /// A failure of this kind without further data.
    pub fn of_kind(kind: CauseKind, message: impl Into<String>) -> Self {
        Cause::Other { kind, message: message.into() }.into()
    }

    /// The system under test did not behave as the scenario says.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::of_kind(CauseKind::Check, message)
    }

    /// The test could not be run.
    pub fn error(message: impl Into<String>) -> Self {
        Self::of_kind(CauseKind::Runner, message)
    }

    /// Something did not happen by the deadline.
    pub fn late(message: impl Into<String>) -> Self {
        Self::of_kind(CauseKind::Timeout, message)
    }

    /// A process has ended: `what` is the process and what it did.
    pub fn ended(what: impl Into<String>, how: Ended) -> Self {
        Cause::Exit { what: what.into(), expected: None, how, said: String::new() }.into()
    }

    /// The same failure, about this VM unless it is already about one.
    #[must_use]
    pub fn about(mut self, vm: &str) -> Self {
        self.vm.get_or_insert_with(|| vm.to_owned());
        self
    }

    /// The same failure, about this VM and prefixed with its name.
    #[must_use]
    pub fn of(self, vm: &str) -> Self {
        self.about(vm).led_by(&format!("{vm}: "))
    }

    /// The same failure with a text before it.
    #[must_use]
    pub fn led_by(mut self, lead: &str) -> Self {
        self.lead.insert_str(0, lead);
        self
    }

    /// The same failure with a note after it.
    #[must_use]
    pub fn noted(mut self, note: &str) -> Self {
        self.tail.push(Tail::Note(format!(" ({note})")));
        self
    }

    /// The same failure, followed by one that is its consequence, unless that says the same.
    #[must_use]
    pub fn then(mut self, consequence: Self) -> Self {
        if !consequence.repeats(&self) {
            self.tail.push(Tail::Consequence(consequence));
        }
        self
    }

    /// Whether it has nothing that the other one does not have: the same words, or the same end of the same VM.
    fn repeats(&self, other: &Self) -> bool {
        let end = |failure: &Self| match &*failure.cause {
            Cause::Exit { how, expected: None, .. } => Some((failure.vm.clone()?, *how)),
            _ => None,
        };
        let is_same_end = self.tail.is_empty() && end(self).is_some() && end(self) == end(other);
        is_same_end || other.to_string().contains(&self.to_string())
    }

    /// The same failure with the last output of the process that ended.
    #[must_use]
    pub fn saying(mut self, output: &str) -> Self {
        if let Cause::Exit { said, .. } = &mut *self.cause
            && !output.is_empty()
        {
            *said = format!("saying: {output}");
        }
        self
    }

    /// The VM it is about.
    #[must_use]
    pub fn vm(&self) -> Option<&str> {
        self.vm.as_deref()
    }

    /// The kind of its cause.
    #[must_use]
    pub fn kind(&self) -> CauseKind {
        self.cause.kind()
    }

    /// Whether the test could not be run.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.kind() == CauseKind::Runner
    }

    /// Whether a guest found its memory or a device wrong, as the cause or as a consequence.
    #[must_use]
    pub fn is_corrupt(&self) -> bool {
        let consequence = |tail: &Tail| matches!(tail, Tail::Consequence(failure) if failure.is_corrupt());
        matches!(*self.cause, Cause::Corrupt { .. }) || self.tail.iter().any(consequence)
    }

    /// Its cause for the event stream.
    #[must_use]
    pub fn record(&self) -> cause::Cause {
        let (what, seen) = self.words();
        let seen = seen.map(|(_, seen)| seen);
        cause::Cause { kind: self.kind(), vm: self.vm.clone(), what: format!("{}{what}", self.lead), seen }
    }

    fn words(&self) -> (String, Option<(&'static str, String)>) {
        self.cause.words(self.vm.as_deref().unwrap_or_default())
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (what, seen) = self.words();
        write!(f, "{}{what}", self.lead)?;
        if let Some((joint, seen)) = seen {
            write!(f, "{joint}{seen}")?;
        }
        self.tail.iter().try_for_each(|tail| match tail {
            Tail::Consequence(failure) => write!(f, " (and then: {failure})"),
            Tail::Note(note) => f.write_str(note),
        })
    }
}

impl From<QmpError> for Failure {
    fn from(error: QmpError) -> Self {
        Cause::Qmp(error).into()
    }
}

impl From<QtestError> for Failure {
    fn from(error: QtestError) -> Self {
        Self::of_kind(CauseKind::Qmp, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(failure: impl Into<Failure>) -> String {
        failure.into().about("a").to_string()
    }

    #[test]
    fn each_cause_has_its_words() {
        let waited = Duration::from_secs(3);
        let timeout = Cause::Timeout { awaited: "2 ticks of `a`".into(), waited, seen: "1".into() };
        assert_eq!(shown(timeout), "waited 3.0 s for 2 ticks of `a`; saw 1");
        let impossible = Cause::Impossible { awaited: "2 ticks of `a`".into(), why: "it is stopped".into() };
        assert_eq!(shown(impossible), "2 ticks of `a` can no longer come: it is stopped");
        let (command, description) = ("stop".to_owned(), "no".to_owned());
        let refused = QmpError::Refused { command, class: Some("DeviceNotFound".into()), description };
        assert_eq!(Failure::from(refused).of("a").to_string(), "a: `stop` was refused: no (DeviceNotFound)");
        let died = Failure::ended("VM `a` died", Ended::Signal(9));
        assert_eq!(died.to_string(), "VM `a` died: signal KILL");
        assert_eq!(died.clone().saying("x").to_string(), "VM `a` died: signal KILL, saying: x");
        assert_eq!(died.clone().saying(""), died);
        assert_eq!(
            shown(Cause::Guest { did: "panicked", said: "Oops".into() }),
            "the guest of VM `a` panicked: Oops"
        );
        let status = "failed (no)".to_owned();
        let expected = Some("completed or colo".to_owned());
        let failed = Cause::Migration { status: status.clone(), expected, error: None };
        assert_eq!(shown(failed), "the migration of `a` is failed (no), expected completed or colo");
        let event = |error: Option<&str>| {
            let error = error.map(str::to_owned);
            shown(Cause::Migration { status: "failed".into(), expected: None, error })
        };
        assert_eq!(event(None), "the migration failed, according to VM `a`");
        assert_eq!(event(Some("no route")), "the migration failed, according to VM `a`: no route");
    }

    #[test]
    fn an_unexpected_exit_says_what_was_expected() {
        let exit = |expected: &str, how| {
            let (what, expected) = ("`x`".to_owned(), Some(expected.to_owned()));
            shown(Cause::Exit { what, expected, how, said: "saying:\n    y".into() })
        };
        assert_eq!(
            exit("exit status 0", Ended::Status(3)),
            "`x`: expected exit status 0, got 3, saying:\n    y"
        );
        let killed = exit("exit status 0", Ended::Signal(9));
        assert_eq!(killed, "`x`: expected exit status 0, got signal KILL, saying:\n    y");
        let status = exit("signal KILL", Ended::Status(3));
        assert_eq!(status, "`x`: expected signal KILL, got exit status 3, saying:\n    y");
    }

    #[test]
    fn what_follows_the_cause_is_in_the_message_and_not_in_the_record() {
        let failure = Failure::ended("VM `a` died", Ended::Status(1))
            .about("a")
            .saying("x")
            .then(Failure::failed("y").noted("z"))
            .noted("late")
            .led_by("expected: ");
        assert_eq!(
            failure.to_string(),
            "expected: VM `a` died: exit status 1, saying: x (and then: y (z)) (late)"
        );
        let record = failure.record();
        assert_eq!((record.kind, record.vm.as_deref()), (CauseKind::Exit, Some("a")));
        assert_eq!(record.what, "expected: VM `a` died: exit status 1");
        assert_eq!(record.seen.as_deref(), Some("saying: x"));
    }

    #[test]
    fn a_consequence_that_says_the_same_is_left_out() {
        let died = |vm: &str| Failure::ended(format!("VM `{vm}` died"), Ended::Signal(9)).about(vm);
        let gone = |vm: &str| Failure::ended(format!("VM `{vm}` has ended"), Ended::Signal(9)).about(vm);
        let plain = "VM `a` died: signal KILL";
        assert_eq!(died("a").then(died("a")).to_string(), plain);
        assert_eq!(died("a").then(gone("a")).to_string(), plain);
        assert_eq!(died("a").saying("x").then(died("a")).to_string(), format!("{plain}, saying: x"));
        let both = format!("{plain} (and then: VM `b` has ended: signal KILL)");
        assert_eq!(died("a").then(gone("b")).to_string(), both);
        let noted = format!("{plain} (and then: VM `a` has ended: signal KILL (late))");
        assert_eq!(died("a").then(gone("a").noted("late")).to_string(), noted);
        let other = Failure::ended("VM `a` has ended", Ended::Status(1)).about("a");
        assert_eq!(
            died("a").then(other).to_string(),
            format!("{plain} (and then: VM `a` has ended: exit status 1)")
        );
    }

    #[test]
    fn wrong_memory_counts_also_as_a_consequence() {
        let corrupt =
            Failure::from(Cause::Corrupt { line: Line::Stale { expected: 9, found: 1 }, pages: None });
        assert!(corrupt.is_corrupt() && !corrupt.is_error());
        let died = Failure::ended("VM `b` died", Ended::Status(1));
        assert!(!died.is_corrupt());
        let both = died.then(Failure::failed("x")).then(corrupt);
        assert!(both.is_corrupt());
        assert_eq!(both.kind(), CauseKind::Exit);
    }
}
