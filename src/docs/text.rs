//! Text for pages and terminals: wraps it, splits it into sections, formats it.

use textwrap::core::Word;
use textwrap::{Options, WordSeparator, WordSplitter, WrapAlgorithm};

/// A list with a word before its last item: `a, b or c`.
pub(super) fn joined(words: &[String], last: &str) -> String {
    match words {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., end] => format!("{} {last} {end}", first.join(", ")),
    }
}

/// The anchor that GitHub and others generate for a heading.
pub(super) fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

/// One paragraph in lines of a width; the lines after the first are indented.
pub(super) fn wrap(text: &str, width: usize, indent: usize) -> String {
    let lead = &text[..text.len() - text.trim_start().len()];
    let indent = " ".repeat(indent);
    let options = Options::new(width)
        .initial_indent(lead)
        .subsequent_indent(&indent)
        .word_separator(WordSeparator::Custom(words))
        .word_splitter(WordSplitter::NoHyphenation)
        .wrap_algorithm(WrapAlgorithm::FirstFit)
        .break_words(false);
    textwrap::fill(&text.split_whitespace().collect::<Vec<_>>().join(" "), options)
}

/// The words of a line. What would begin a list or a heading at the start of a line stays with the word before it.
fn words(line: &str) -> Box<dyn Iterator<Item = Word<'_>> + '_> {
    let is_special = |word: &str| matches!(word, "-" | "+" | "*" | "#" | ">" | "=");
    let starts = line.match_indices(' ').map(|(at, _)| at + 1);
    let mut ends: Vec<usize> =
        starts.filter(|&at| !is_special(line[at..].split(' ').next().unwrap_or_default())).collect();
    ends.push(line.len());
    let mut start = 0;
    Box::new(ends.into_iter().map(move |end| Word::from(&line[std::mem::replace(&mut start, end)..end])))
}

/// Paragraphs, each wrapped.
pub(super) fn paragraphs(text: &str, width: usize) -> String {
    let wrapped: Vec<String> = text.split("\n\n").map(|part| wrap(part.trim(), width, 0)).collect();
    wrapped.join("\n\n")
}

/// The sections of one of our pages: the text below each `## NAME`.
pub(super) fn sections(page: &str) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    let mut rest = page;
    while let Some(at) = heading(rest) {
        let section = &rest[at + 3..];
        let (name, body) = section.split_once('\n').unwrap_or((section, ""));
        let end = heading(body).unwrap_or(body.len());
        found.push((name.trim(), body[..end].trim()));
        rest = &body[end..];
    }
    found
}

fn heading(text: &str) -> Option<usize> {
    if text.starts_with("## ") { Some(0) } else { text.find("\n## ").map(|at| at + 1) }
}

/// A fenced block of a page: its language, and its text.
pub(super) struct Block<'p> {
    pub language: &'p str,
    pub text: String,
    /// The last line of text before it.
    pub caption: &'p str,
}

/// The fenced blocks of a page.
pub(super) fn blocks(page: &str) -> Vec<Block<'_>> {
    let mut found: Vec<Block<'_>> = Vec::new();
    let mut open = false;
    let mut caption = "";
    for line in page.lines() {
        match line.strip_prefix("```") {
            Some(language) if !open => {
                found.push(Block { language: language.trim(), text: String::new(), caption });
                open = true;
            }
            Some(_) => (open, caption) = (false, ""),
            None if open => {
                if let Some(block) = found.last_mut() {
                    block.text.push_str(line);
                    block.text.push('\n');
                }
            }
            None if !line.trim().is_empty() => caption = line.trim(),
            None => {}
        }
    }
    found
}

/// Replaces links inside the page by their text and the command that prints their target.
pub(super) fn without_links(page: &str, command: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::new();
    let mut rest = page;
    while let Some(middle) = rest.find("](#") {
        let start = rest[..middle].rfind('[').unwrap_or(middle);
        let link = rest[middle + 3..].split(')').next().unwrap_or_default();
        out.push_str(&rest[..start]);
        out.push_str(rest[start..middle].trim_start_matches('['));
        if let Some(command) = command(link) {
            out.push_str(&format!(" (`{command}`)"));
        }
        rest = rest[middle + 3 + link.len()..].strip_prefix(')').unwrap_or_default();
    }
    out + rest
}

/// A page for the terminal: headings without `#`, examples indented instead of fenced.
pub(super) fn for_terminal(page: &str, colour: bool) -> String {
    let (bold, faint, end) = if colour { ("\u{1b}[1m", "\u{1b}[36m", "\u{1b}[0m") } else { ("", "", "") };
    let mut out = String::new();
    let mut open = false;
    for line in page.lines() {
        if line.starts_with("```") {
            open = !open;
        } else if open {
            out.push_str(format!("    {faint}{line}{end}").trim_end());
            out.push('\n');
        } else if line.starts_with('#') {
            out.push_str(&format!("{bold}{}{end}\n", line.trim_start_matches('#').trim()));
        } else {
            out.push_str(&line.replace("**", ""));
            out.push('\n');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrapped_line_does_not_become_a_list_item() {
        assert_eq!(wrap("- one two three", 9, 2), "- one two\n  three");
        assert_eq!(wrap("a b - c", 3, 0), "a\nb -\nc");
    }

    #[test]
    fn a_page_is_split_at_its_headings_and_fences() {
        let page = "## a\ntext\n\n```yaml\nx: 1\n```\n## b.c\nmore\n";
        assert_eq!(sections(page), [("a", "text\n\n```yaml\nx: 1\n```"), ("b.c", "more")]);
        let blocks = blocks(page);
        assert_eq!(
            (blocks[0].language, blocks[0].text.as_str(), blocks[0].caption),
            ("yaml", "x: 1\n", "text")
        );
    }

    #[test]
    fn a_link_becomes_its_text_and_a_command() {
        let command = |link: &str| (link == "values").then(|| "docs values".to_owned());
        let text = "a[0], see [Values](#values) and [more](#x).";
        assert_eq!(without_links(text, command), "a[0], see Values (`docs values`) and more.");
    }

    #[test]
    fn text_for_a_terminal_has_no_markdown_except_backticks() {
        assert_eq!(for_terminal("# A\n```yaml\nx: 1\n```\n`b`\n", false), "A\n    x: 1\n`b`\n");
    }
}
