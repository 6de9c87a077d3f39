//! `lockstep docs`.

use std::fmt::Write as _;
use std::io::Write;
use std::process::ExitCode;

use clap::Args;

use super::{NOTHING_RUN, colourful};
use crate::diagnostic::similar;
use crate::docs::{Part, TOPICS, find, for_terminal, names, page};

/// Print the reference of the scenario language: the list of its topics, one topic, or `all`.
#[derive(Debug, Args)]
pub(super) struct Docs {
    /// A key, an action, a condition of `wait`, a kind of `check`, a chapter; or `all`. A word with several meanings
    /// prints them all; `wait.query` or `vms.memory` selects one.
    topic: Option<String>,
}

impl Docs {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let text = match self.topic.as_deref() {
            None => list(),
            Some("all") => page(),
            Some(name) => match topic(name) {
                Some(text) => text,
                None => {
                    let help = match similar(name, &names()) {
                        Some(close) => format!("did you mean `{close}`?"),
                        None => format!("available: {}", words().join(", ")),
                    };
                    anstream::eprintln!("{} unknown topic `{name}`; {help}", super::bold("error:"));
                    anstream::eprintln!("`lockstep docs` lists them all");
                    return Ok(ExitCode::from(NOTHING_RUN));
                }
            },
        };
        std::io::stdout().lock().write_all(for_terminal(&text, colourful(&std::io::stdout())).as_bytes())?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The names of all topics, short, each once.
fn words() -> Vec<&'static str> {
    let mut words: Vec<&str> = Vec::new();
    for topic in TOPICS.iter() {
        if !words.contains(&topic.word()) {
            words.push(topic.word());
        }
    }
    words
}

/// All topics with this name.
fn topic(name: &str) -> Option<String> {
    let found = find(name);
    let text = found.iter().map(|topic| {
        format!("## {} ({})\n\n{}\n", topic.heading, topic.part.title().to_lowercase(), topic.text)
    });
    (!found.is_empty()).then(|| text.collect::<Vec<_>>().join("\n"))
}

/// The topics by part, one sentence each.
fn list() -> String {
    let mut text = "`lockstep docs TOPIC` prints one of these, `lockstep docs all` everything.\n".to_owned();
    let width = 100;
    for part in Part::ALL {
        let _ = write!(text, "\n## {}\n\n", part.title());
        for topic in TOPICS.iter().filter(|topic| topic.part == *part) {
            let room = width - 20;
            let summary = &topic.summary;
            let short = if summary.chars().count() <= room {
                summary.clone()
            } else {
                let cut: String = summary.chars().take(room - 1).collect();
                format!("{}…", cut.rsplit_once(' ').map_or(cut.as_str(), |(words, _)| words))
            };
            let _ = writeln!(text, "  {:<17} {short}", topic.word());
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_with_several_meanings_prints_all_of_them() {
        let text = topic("memory").unwrap();
        assert!(
            text.contains("`memory` of a VM")
                && text.contains("guest RAM")
                && text.contains("`check: memory`")
        );
        assert!(topic("check.memory").unwrap().len() < text.len());
        assert_eq!(topic("memroy"), None);
    }

    #[test]
    fn the_list_has_one_line_for_each_topic() {
        let text = list();
        for topic in TOPICS.iter() {
            assert!(text.lines().any(|line| line.trim_start().starts_with(topic.word())), "{}", topic.name);
        }
        assert!(text.lines().all(|line| line.chars().count() <= 100));
    }
}
