//! The reference of the language, in topics: `docs/language.md` and `lockstep docs` are made of them.
//!
//! What a key means is taken from the doc comments of the types that read it, by way of the JSON Schema; each key's
//! example stands in `examples/`, and what belongs to no key alone in `chapters/`. [`errors`] does the same for the
//! codes of mistakes.

pub mod errors;
mod fields;
mod text;
mod topics;

use std::fmt::Write as _;
use std::sync::LazyLock;

pub use topics::{Part, Topic};

/// Everything there is to look up, in the order of the page.
pub static TOPICS: LazyLock<Vec<Topic>> = LazyLock::new(topics::all);

/// The topics of a name: that of the full name (`wait.ticks`), else all whose last part it is (`ticks`).
#[must_use]
pub fn find(name: &str) -> Vec<&'static Topic> {
    let by = |fits: &dyn Fn(&Topic) -> bool| TOPICS.iter().filter(|topic| fits(topic)).collect::<Vec<_>>();
    let full = by(&|topic| topic.name == name && topic.name.contains('.'));
    if full.is_empty() { by(&|topic| topic.word() == name) } else { full }
}

/// The names that [`find`] knows, each once.
#[must_use]
pub fn names() -> Vec<&'static str> {
    let mut names: Vec<&str> = Vec::new();
    for topic in TOPICS.iter() {
        for name in [topic.word(), topic.name.as_str()] {
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    names
}

/// A page for the terminal: without the signs of Markdown, and a link as the command that prints what it leads to.
#[must_use]
pub fn for_terminal(page: &str, colour: bool) -> String {
    let command = |link: &str| {
        let topic = TOPICS.iter().find(|topic| text::anchor(&topic.heading) == link)?;
        Some(format!("lockstep docs {}", topic.name))
    };
    text::for_terminal(&text::without_links(page, command), colour)
}

/// The whole reference as one page.
#[must_use]
pub fn page() -> String {
    let mut page = include_str!("chapters/intro.md").trim_end().to_owned();
    page.push_str("\n\n## Contents\n\n");
    for part in Part::ALL {
        let links = TOPICS.iter().filter(|topic| topic.part == *part).map(Topic::link);
        let links = links.collect::<Vec<_>>().join(" · ");
        let line = format!("- [{}](#{}): {links}", part.title(), text::anchor(part.title()));
        let _ = writeln!(page, "{}", text::wrap(&line, fields::WIDTH, 2));
    }
    for part in Part::ALL {
        let _ = write!(page, "\n## {}\n\n", part.title());
        if !part.about().is_empty() {
            let _ = write!(page, "{}\n\n", text::paragraphs(part.about(), fields::WIDTH));
        }
        for topic in TOPICS.iter().filter(|topic| topic.part == *part) {
            let _ = write!(page, "### {}\n\n{}\n\n", topic.heading, topic.text);
        }
        page.truncate(page.trim_end().len());
        page.push('\n');
    }
    page
}

#[cfg(test)]
mod tests;
