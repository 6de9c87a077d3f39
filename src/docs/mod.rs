//! The reference of the language, in topics, for `docs/language.md` and `lockstep docs`.
//!
//! The meaning of a key comes from the doc comments of the types that parse it, through the JSON Schema. The example of
//! each key is in `examples/`; general topics are in `chapters/`. [`errors`] does the same for the error codes.

pub mod errors;
mod fields;
mod text;
mod topics;

use std::fmt::Write as _;
use std::sync::LazyLock;

pub use topics::{Part, Topic};

/// All topics, in the order of the page.
pub static TOPICS: LazyLock<Vec<Topic>> = LazyLock::new(topics::all);

/// The topics of a name: the one with this full name (`wait.ticks`), else all with this last part (`ticks`).
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

/// A page whose links inside the reference are replaced by the commands that print their targets.
#[must_use]
pub fn without_links(page: &str) -> String {
    let command = |link: &str| {
        let topic = TOPICS.iter().find(|topic| text::anchor(&topic.heading) == link)?;
        Some(format!("lockstep docs {}", topic.name))
    };
    text::without_links(page, command)
}

/// A page for the terminal: without Markdown syntax; a link becomes the command that prints its target.
#[must_use]
pub fn for_terminal(page: &str, colour: bool) -> String {
    text::for_terminal(&without_links(page), colour)
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
