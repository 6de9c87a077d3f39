//! Explanations of the error codes, each with a wrong and a right example: `docs/errors.md` and `lockstep explain`.

use std::fmt::Write as _;

use super::text::blocks;
use crate::diagnostic::Code;

macro_rules! explanations {
    ($($name:ident = $file:literal,)*) => {
        const EXPLANATIONS: &[(Code, &str)] = &[$((Code::$name, include_str!(concat!("errors/", $file, ".md"))),)*];
    };
}

explanations! {
    Unreadable = "LS001",
    Syntax = "LS002",
    DuplicateKey = "LS003",
    Unquoted = "LS004",
    NotOneDocument = "LS005",
    TooMuch = "LS006",
    UnknownKey = "LS010",
    MissingKey = "LS011",
    WrongValue = "LS012",
    Template = "LS013",
    UnknownName = "LS014",
    Deferred = "LS015",
    Regex = "LS016",
    Extends = "LS020",
    Param = "LS021",
    Matrix = "LS022",
    CaseName = "LS023",
    Hook = "LS024",
    Like = "LS025",
    Use = "LS026",
    Step = "LS030",
    Action = "LS031",
    Order = "LS032",
    Unused = "LS033",
    OwnDisk = "LS034",
    RawArgument = "LS035",
    Missing = "LS050",
    Arguments = "LS051",
}

/// The code of a number such as `LS010`; case is ignored, and `10` works too.
#[must_use]
pub fn find(number: &str) -> Option<Code> {
    let number = number.trim().to_ascii_uppercase();
    let full = format!("LS{:0>3}", number.trim_start_matches("LS").trim_start_matches('-'));
    Code::ALL.iter().copied().find(|code| code.number() == full)
}

/// The explanation of a code in Markdown: its summary, details, a wrong and a right example.
#[must_use]
pub fn explain(code: Code) -> String {
    let more = EXPLANATIONS.iter().find(|(known, _)| *known == code).map_or("", |(_, text)| text.trim());
    format!("## {}\n\n**{}**\n\n{}\n", code.number(), code.summary(), more.replace("\n## ", "\n### "))
}

/// All codes as one page.
#[must_use]
pub fn page() -> String {
    let mut page = include_str!("chapters/errors.md").trim_end().to_owned();
    page.push_str("\n\n");
    for code in Code::ALL {
        let number = code.number();
        let _ = writeln!(page, "- [{number}](#{}): {}", number.to_lowercase(), code.summary());
    }
    for code in Code::ALL {
        let _ = write!(page, "\n{}", explain(*code));
    }
    page
}

/// A file of an example: its name and its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExampleFile {
    /// Its name.
    pub name: String,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// The files of a code's wrong (or right) example; the first one is the scenario.
#[must_use]
pub fn example(code: Code, right: bool) -> Vec<ExampleFile> {
    let text = explain(code);
    let (wrong_part, right_part) = text.split_once("\n### Right").unwrap_or((&text, ""));
    let part = if right { right_part } else { wrong_part };
    let files = blocks(part).into_iter().filter(|block| block.language == "yaml").map(|block| {
        let name = block.caption.strip_prefix('`').and_then(|rest| rest.split('`').next());
        let latin = block.caption.contains("ISO 8859-1");
        // The characters of that encoding are the first 256 of Unicode.
        let bytes = if latin {
            block.text.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')).collect()
        } else {
            block.text.into_bytes()
        };
        ExampleFile {
            name: name.filter(|name| name.ends_with(".yaml")).unwrap_or("scenario.yaml").to_owned(),
            bytes,
        }
    });
    files.collect()
}
