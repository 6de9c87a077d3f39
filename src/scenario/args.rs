//! `args`: arguments as a list, or as one text that is split as a shell does.

use std::sync::LazyLock;

use regex::Regex;

use super::typed;
use crate::diagnostic::{Code, Diagnostic, Diagnostics};
use crate::yaml::{Kind, Node};

/// The arguments: the items of a list, or the words of a text. A text that is a single template is kept as it is.
/// `None`: the text cannot be split, and a diagnostic says so.
pub(super) fn list(value: &Node, diagnostics: &mut Diagnostics) -> Option<Node> {
    let Some(text) = value.text() else {
        value.items().iter().for_each(|item| diagnostics.extend(several_words(item).or(refused(item))));
        return Some(value.clone());
    };
    match words(text) {
        Ok(words) if words == [text] && text.starts_with("{{") => Some(value.clone()),
        Ok(words) => {
            let word = |word: String| Node { kind: Kind::Scalar(word.into()), at: value.at.clone() };
            let words: Vec<Node> = words.into_iter().map(word).collect();
            words.iter().for_each(|word| diagnostics.extend(refused(word)));
            Some(Node::seq(words, value.at.clone()))
        }
        Err(error) => {
            let message = format!("`args` cannot be split into words: {error}");
            let help = "close each quote, or write a list: `args: [-device, e1000]`";
            diagnostics.error(Code::WrongValue, &value.at, message, help);
            None
        }
    }
}

/// The words of a text, as a POSIX shell splits it; a template is never split.
fn words(text: &str) -> Result<Vec<String>, shell_words::ParseError> {
    static TEMPLATE: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"(?s)\{\{.*?\}\}+").ok());
    // YAML does not allow this character; to a shell it is an ordinary one.
    let mark = |number: usize| format!("\u{1}{number}\u{1}");
    let mut templates = Vec::new();
    let marked = TEMPLATE.as_ref().map(|template| {
        template.replace_all(text, |found: &regex::Captures<'_>| {
            templates.push(found[0].to_owned());
            mark(templates.len() - 1)
        })
    });
    let words = shell_words::split(marked.as_deref().unwrap_or(text))?;
    let whole = |word: String| {
        let all = templates.iter().enumerate();
        all.fold(word, |word, (number, template)| word.replace(&mark(number), template))
    };
    Ok(words.into_iter().map(whole).collect())
}

/// A warning if an item of the list has an option and its value.
fn several_words(item: &Node) -> Option<Diagnostic> {
    static OPTION: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"(?s)^(--?[a-zA-Z][\w-]*)\s+(\S.*)$").ok());
    let text = item.text()?;
    let found = OPTION.as_ref()?.captures(text)?;
    let message = format!("`{text}` is passed to QEMU as one argument");
    let help = format!("write two items: `{}`, `{}`; or write `args` as one text", &found[1], &found[2]);
    Some(Diagnostic::warning(Code::RawArgument, &item.at, message).help(help))
}

/// A warning if QEMU does not accept the option together with the runner's own `-accel`.
fn refused(item: &Node) -> Option<Diagnostic> {
    let option = item.text().filter(|text| matches!(*text, "-enable-kvm" | "--enable-kvm"))?;
    let message = format!("QEMU does not accept `{option}` together with `-accel`, which every VM has");
    let help = "remove it: the key `accel` selects the accelerator";
    Some(Diagnostic::warning(Code::RawArgument, &item.at, message).help(help))
}

/// Keys of a VM, and the option of each; QEMU would merge or replace a second one without a message.
const KEYS: &[(&str, &str)] = &[
    ("smp", "-smp"),
    ("memory", "-m"),
    ("firmware", "-bios"),
    ("firmware", "-pflash"),
    ("trace", "-trace"),
    ("trace", "-D"),
];

/// Errors for options in `args` that a key of the VM already adds. `args` are those of the VM, rendered.
pub(super) fn check_twice(options: &Node, args: &[String], diagnostics: &mut Diagnostics) {
    for (key, option) in KEYS {
        let Some((known, _)) = options.entry(key) else {
            continue;
        };
        let again =
            args.iter().position(|arg| arg.strip_prefix('-').unwrap_or(arg) == *option || arg == option);
        let Some(number) = again else {
            continue;
        };
        let at = typed::place(&known.at, options, &["args", &number.to_string()]).0;
        let message = format!("the VM has `{option}` in `args`, and the key `{key}`");
        let help = format!("remove `{option}` and its value: the key `{key}` takes all of it");
        let wrong = Diagnostic::error(Code::WrongValue, &at, message);
        diagnostics.push(wrong.related(&known.at, format!("the key `{key}`")).help(help));
    }
}

#[cfg(test)]
mod tests {
    use super::words;

    #[test]
    fn a_text_is_split_like_in_a_shell() {
        let split = |text| words(text).unwrap();
        assert_eq!(split("-m 512M  -smp 2\n"), ["-m", "512M", "-smp", "2"]);
        assert_eq!(
            split(r#"-append "a b" -name 'it is' x\ y """#),
            ["-append", "a b", "-name", "it is", "x y", ""]
        );
        assert!(words("-name 'open").is_err());
    }

    #[test]
    fn a_template_is_not_split() {
        let split = |text| words(text).unwrap();
        assert_eq!(split("-D {{case.dir}}/log{{ n }} -S"), ["-D", "{{case.dir}}/log{{ n }}", "-S"]);
        assert_eq!(
            split("-x {{choose (eq a 'b') \"c d\" 'e'}}"),
            ["-x", "{{choose (eq a 'b') \"c d\" 'e'}}"]
        );
    }
}
