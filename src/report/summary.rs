//! A summary in Markdown for a CI server's job page (`$GITHUB_STEP_SUMMARY`).

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;

use crate::event::{Event, Subscriber, Verdict};
use crate::report::record::Case;
use crate::report::stats::Stats;
use crate::report::{Fold, console, text};

/// How many failures to show with their evidence; GitHub shows at most 1 MiB.
const SHOWN: usize = 50;
/// How many bytes of evidence to show for each.
const EVIDENCE: usize = 6 << 10;

/// The summary; it is appended to the file.
#[derive(Debug)]
pub struct Markdown {
    path: PathBuf,
    fold: Fold,
    stats: Stats,
    failures: String,
    failed: usize,
    reasons: indexmap::IndexMap<String, usize>,
}

impl Markdown {
    /// A summary to be appended to the file at `path` when the stream ends.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            fold: Fold::default(),
            stats: Stats::default(),
            failures: String::new(),
            failed: 0,
            reasons: indexmap::IndexMap::new(),
        }
    }

    fn ended(&mut self, case: &Case) {
        self.stats.add(case);
        let verdict = case.verdict();
        if matches!(verdict, Verdict::Skip | Verdict::Xfail) {
            let reason = text::one_line(case.reason().unwrap_or("no reason given"));
            *self.reasons.entry(format!("{verdict}: {reason}")).or_default() += 1;
        }
        if !verdict.is_bad() && verdict != Verdict::Flaky {
            return;
        }
        self.failed += 1;
        if self.failed > SHOWN {
            return;
        }
        let end = case.end.as_ref();
        let place = end.and_then(|end| end.place.as_deref()).unwrap_or(&case.file);
        let evidence = end.and_then(|end| end.evidence.as_deref()).unwrap_or_default();
        let _ = write!(
            self.failures,
            "\n<details><summary><b>{verdict}</b> {} <code>{}</code>: {}</summary>\n\n{}\n</details>\n",
            html(&text::one_line(&case.title())),
            html(&text::one_line(place)),
            html(&text::fit(&text::one_line(case.reason().unwrap_or_default()), 300)),
            fenced(&text::visible(&text::cut(
                &format!("{}\n{evidence}", case.reason().unwrap_or_default()),
                EVIDENCE
            ))),
        );
    }

    fn render(&self) -> String {
        let counts = self.fold.counts();
        let mut out =
            format!("## Lockstep: {} in {}\n", console::counted(counts), text::seconds(self.fold.last()));
        if let Some(trouble) = self.fold.trouble() {
            let _ = writeln!(out, "\n**{trouble}**");
        }
        for exceeded in self.stats.races.exceeded() {
            let _ = writeln!(out, "\n**{}**", html(&text::one_line(&exceeded)));
        }
        out.push_str(&self.failures);
        if self.failed > SHOWN {
            let _ = writeln!(out, "\n… and {} more", self.failed - SHOWN);
        }
        let repeated: Vec<_> = self.stats.repeated().take(200).collect();
        if !repeated.is_empty() {
            out.push_str("\n| case | rate |\n|---|---|\n");
        }
        for (name, case) in repeated {
            let _ = writeln!(out, "| {} | {} |", cell(&name), case.rate());
        }
        let kinds = self.stats.kinds();
        if kinds.iter().any(|(_, kind)| kind.count > 1) {
            out.push_str("\n| failures by kind | |\n|---|---|\n");
            for (signature, kind) in kinds.iter().take(SHOWN) {
                let _ = writeln!(out, "| {} | {} |", cell(signature), self.stats.often(kind));
            }
        }
        if !self.reasons.is_empty() {
            out.push_str("\n| skipped, and known issues | |\n|---|---|\n");
        }
        for (reason, count) in self.reasons.iter().take(SHOWN) {
            let _ = writeln!(out, "| {} | {count} |", cell(reason));
        }
        let races: Vec<_> = self.stats.races.rates().take(SHOWN).collect();
        if !races.is_empty() {
            out.push_str("\n| intermittent known issues | |\n|---|---|\n");
        }
        for (reason, rate) in races {
            let _ = writeln!(out, "| {} | {rate} |", cell(reason));
        }
        out
    }
}

impl Subscriber for Markdown {
    fn take(&mut self, event: &Event) -> anyhow::Result<()> {
        if let Some(case) = self.fold.take(event) {
            self.ended(&case);
        }
        Ok(())
    }

    fn finish(&mut self) -> anyhow::Result<()> {
        for case in self.fold.cut_off() {
            self.ended(&case);
        }
        let write = || {
            OpenOptions::new().create(true).append(true).open(&self.path)?.write_all(self.render().as_bytes())
        };
        write().with_context(|| format!("cannot write {}", self.path.display()))
    }
}

/// Text escaped for HTML, on one line.
fn html(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Text escaped for a table cell.
fn cell(text: &str) -> String {
    html(&text::one_line(text)).replace('|', "\\|")
}

/// Text in a fenced block that it cannot close.
fn fenced(text: &str) -> String {
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    format!("{fence}text\n{text}\n{fence}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{feed, sample};

    #[test]
    fn the_summary_is_appended_and_names_each_failure_with_its_place_and_reason() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("summary.md");
        std::fs::write(&path, "before\n").unwrap();
        assert!(feed(sample::run(), vec![Box::new(Markdown::new(&path))]).errors.is_empty());
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(
            text.starts_with(
                "before\n## Lockstep: 1 passed, 1 failed, 1 error, 2 skipped, 1 xfailed in 36.00s\n"
            ),
            "{text}"
        );
        assert!(text.contains("<b>fail</b> colo/plain/secondary_failover <code>scenarios/colo/failover.yaml:14:5</code>: secondary: no event STOP"), "{text}");
        assert!(text.contains("| skip: needs QEMU &gt;=11.0, this is 7.2.22 | 2 |"), "{text}");
    }

    #[test]
    fn text_is_escaped() {
        assert!(fenced("a\n````\nb").starts_with("`````text\n"));
        assert_eq!(cell("a|b<c>\nd"), "a\\|b&lt;c&gt; d");
    }
}
