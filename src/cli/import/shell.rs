//! The text of a command line, as people paste it: from a shell, a script, a document or libvirt's log.

use std::collections::BTreeMap;

use anyhow::bail;
use serde::de::IgnoredAny;

use super::options::is_program;

/// The words of the first command that starts a QEMU, as a shell reads them.
///
/// Comments and the prompts `#` and `$` are skipped. A line continues after a backslash, in a quote, and if the next one
/// begins with an option. Variables have the values of the assignments before, or of the environment.
pub(super) fn words(text: &str) -> anyhow::Result<Vec<String>> {
    let mut variables = BTreeMap::new();
    let mut is_empty = true;
    for command in commands(text)? {
        is_empty = false;
        let names_program = |word: &String| {
            assigned(word).is_none() && expand(word, &variables).is_ok_and(|word| is_program(&word))
        };
        let program = command.iter().position(names_program);
        for (name, value) in
            command[..program.unwrap_or(command.len())].iter().filter_map(|word| assigned(word))
        {
            // Only what the command uses must have a value.
            if let Ok(value) = expand(value, &variables) {
                variables.insert(name.to_owned(), value);
            }
        }
        // `killall qemu-system-x86_64` starts none.
        if let Some(program) = program.filter(|at| at + 1 < command.len()) {
            return command[program..].iter().map(|word| expand(word, &variables)).collect();
        }
    }
    if is_empty {
        bail!("the command line is empty");
    }
    bail!("the command line has no `qemu-system-…` with options");
}

/// The words of each command.
fn commands(text: &str) -> anyhow::Result<Vec<Vec<String>>> {
    let text = mark_quoted(&quote_json(text));
    let mut all = Vec::new();
    let mut command = String::new();
    let mut lines = text.lines().filter_map(without_prompt).peekable();
    while let Some(line) = lines.next() {
        command.push_str(line);
        command.push('\n');
        let continues = lines.peek().is_some_and(|next| next.trim_start().starts_with('-'));
        match shell_words::split(&command) {
            Ok(_) if continues || line.ends_with('\\') => {
                // A shell reads a backslash and the end of a line as nothing.
                command.pop();
                if command.ends_with('\\') {
                    command.pop();
                } else {
                    command.push(' ');
                }
            }
            Ok(words) => {
                all.extend((!words.is_empty()).then_some(words));
                command.clear();
            }
            // The quote ends in a later line.
            Err(_) => {}
        }
    }
    if !command.is_empty() {
        match shell_words::split(&command) {
            Ok(words) => all.push(words),
            Err(_) => bail!("the command line has a quote that is not closed"),
        }
    }
    Ok(all)
}

/// Stands for a `$` that is only text.
const TEXT: char = '\u{1}';

/// Which quotes a place in the text is in.
#[derive(Default)]
struct Quotes {
    single: bool,
    double: bool,
    escaped: bool,
}

impl Quotes {
    /// Goes past a character.
    fn pass(&mut self, c: char) {
        let is_escaped = std::mem::take(&mut self.escaped);
        match c {
            '\\' if !self.single => self.escaped = !is_escaped,
            '\'' if !self.double && !is_escaped => self.single = !self.single,
            '"' if !self.single && !is_escaped => self.double = !self.double,
            _ => {}
        }
    }
}

/// The text with [`TEXT`] for each `$` in single quotes.
fn mark_quoted(text: &str) -> String {
    let mut quotes = Quotes::default();
    let mut mark = |c: char| {
        quotes.pass(c);
        if c == '$' && quotes.single { TEXT } else { c }
    };
    text.chars().map(&mut mark).collect()
}

/// The text with quotes around each word that is a JSON object, which `ps` prints without. A shell would remove those in it.
fn quote_json(text: &str) -> String {
    let mut quotes = Quotes::default();
    let (mut quoted, mut rest, mut starts_word) = (String::new(), text, true);
    while let Some(c) = rest.chars().next() {
        let length = json_length(rest).filter(|_| starts_word && !quotes.single && !quotes.double);
        let (part, after) = rest.split_at(length.unwrap_or(c.len_utf8()));
        if length.is_some() {
            quoted.push_str(&shell_words::quote(part));
        } else {
            quotes.pass(c);
            quoted.push(c);
        }
        starts_word = c.is_whitespace();
        rest = after;
    }
    quoted
}

/// The length of the JSON object at the start of a text, if a word ends there.
fn json_length(text: &str) -> Option<usize> {
    text.strip_prefix("{\"")?;
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<IgnoredAny>();
    values.next()?.ok()?;
    let length = values.byte_offset();
    text[length..].chars().next().is_none_or(char::is_whitespace).then_some(length)
}

/// The line without the prompt of a shell; `None` for a comment.
fn without_prompt(line: &str) -> Option<&str> {
    let start = line.trim_start();
    let Some(rest) = start.strip_prefix(['#', '$']) else { return Some(line) };
    let is_command = rest.split_whitespace().take(2).any(|word| is_program(word) || assigned(word).is_some());
    if is_command {
        return Some(rest);
    }
    // `$NAME …` is not a prompt.
    (!start.starts_with('#')).then_some(line)
}

/// The name and the value of an assignment.
fn assigned(word: &str) -> Option<(&str, &str)> {
    word.split_once('=').filter(|(name, _)| !name.is_empty() && name_length(name) == name.len())
}

/// The length of the name of a variable at the start of a text.
fn name_length(text: &str) -> usize {
    let is_in_name =
        |(at, c): (usize, char)| c == '_' || c.is_ascii_alphabetic() || (at > 0 && c.is_ascii_digit());
    text.char_indices().take_while(|&(at, c)| is_in_name((at, c))).count()
}

/// The word with the values of its variables; `~/` is the home directory.
fn expand(word: &str, variables: &BTreeMap<String, String>) -> anyhow::Result<String> {
    let value = |name: &str| match variables.get(name).cloned().or_else(|| std::env::var(name).ok()) {
        Some(value) => Ok(value),
        None => {
            bail!("the shell variable `{name}` has no value; write `{name}=…` in a line before the command")
        }
    };
    let mut text = String::new();
    let mut rest = word;
    if rest.starts_with("~/") {
        text.push_str(&value("HOME")?);
        rest = &rest[1..];
    }
    while let Some((before, after)) = rest.split_once('$') {
        text.push_str(before);
        if after.starts_with('(') {
            bail!("`{word}` has the output of a command; replace it by its text");
        }
        let inner = after.strip_prefix('{').and_then(|inner| inner.split_once('}'));
        let (name, length) = match inner {
            Some((name, _)) => (name, name.len() + 2),
            None => (&after[..name_length(after)], name_length(after)),
        };
        if name.is_empty() {
            text.push('$');
        } else {
            text.push_str(&value(name)?);
        }
        rest = &after[length..];
    }
    text.push_str(rest);
    Ok(text.replace(TEXT, "$"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        words(text).unwrap_err().to_string()
    }

    #[test]
    fn a_command_is_split_as_a_shell_does() {
        let all = words("# a comment\nPATH=/bin \\\n qemu-system-x86_64 \\\n-name 'a b'\n").unwrap();
        assert_eq!(all, ["qemu-system-x86_64", "-name", "a b"]);
        assert_eq!(words("kvm -drive a,\\\nb -m 1\n").unwrap(), ["kvm", "-drive", "a,b", "-m", "1"]);
        assert_eq!(words("kvm -append 'a\nb'").unwrap(), ["kvm", "-append", "a\nb"]);
        assert!(error("kvm -name 'a").contains("not closed"));
        assert!(error("# nothing\n").contains("empty"));
        assert!(error("ls -l").contains("has no `qemu-system-…`"));
    }

    #[test]
    fn prompts_and_the_lines_after_the_command_are_skipped() {
        let all = words(
            "Text.\nkillall kvm\n# folder=/vm\n$ sudo kvm -m 1\n  -hda ${folder}/a$folder\nchar device -x\n",
        )
        .unwrap();
        assert_eq!(all, ["kvm", "-m", "1", "-hda", "/vm/a/vm"]);
    }

    #[test]
    fn json_without_quotes_stays_as_it_is() {
        let all =
            words("kvm -object {\"id\":\"a b\",\"n\":{\"$x\":\"it's\"}}\n -append 'x {\"y\":1} z' -S\n")
                .unwrap();
        let json = r#"{"id":"a b","n":{"$x":"it's"}}"#;
        assert_eq!(all, ["kvm", "-object", json, "-append", r#"x {"y":1} z"#, "-S"]);
        // As a shell reads it: not an object, or only a part of a word.
        assert_eq!(words(r#"kvm -x {"a"} {"a":1}b"#).unwrap(), ["kvm", "-x", "{a}", "{a:1}b"]);
    }

    #[test]
    fn what_only_a_shell_knows_is_an_error() {
        assert!(error("kvm -hda $folder_0/a").contains("`folder_0` has no value; write `folder_0=…`"));
        assert!(error("kvm -smp $(nproc)").contains("the output of a command"));
        assert_eq!(words("kvm -name a$ '$b'").unwrap(), ["kvm", "-name", "a$", "$b"]);
        assert_eq!(words("Q=/bin/kvm\n$Q -S").unwrap(), ["/bin/kvm", "-S"]);
    }
}
