//! `artifacts`: the files of a case that are kept.

use std::path::{Component, Path};

use super::source::{Key, Node};
use super::typed;
use crate::diagnostic::{Code, Diagnostic, Diagnostics};
use crate::template::Scope;
use crate::units::OneOrMany;

/// Reads the `artifacts` of a scenario.
pub(super) fn read(
    section: Option<(&Key, &Node)>,
    scope: &Scope<'_>,
    diagnostics: &mut Diagnostics,
) -> Vec<String> {
    let Some((key, node)) = section else {
        return Vec::new();
    };
    let Some(OneOrMany(files)) = typed::read::<OneOrMany<String>>(&key.at, node, scope, diagnostics) else {
        return Vec::new();
    };
    for (number, file) in files.iter().enumerate() {
        if let Err((message, help)) = check(file) {
            let at = node.items().get(number).map_or(&node.at, |item| &item.at);
            diagnostics.push(Diagnostic::error(Code::WrongValue, at, message).help(help));
        }
    }
    files
}

/// What is wrong with a file that is to be kept, and what would be right.
fn check(file: &str) -> Result<(), (String, &'static str)> {
    let inside = "write a path below the case's folder, such as `traffic.log` or `logs/*.txt`";
    if file.is_empty() {
        return Err(("an empty path names no file".to_owned(), inside));
    }
    let leaves = |part: Component<'_>| !matches!(part, Component::Normal(_) | Component::CurDir);
    if Path::new(file).components().any(leaves) {
        return Err((format!("`{file}` leads out of the case's folder"), inside));
    }
    match glob::Pattern::new(file) {
        Ok(_) => Ok(()),
        Err(error) => Err((format!("`{file}` is not a valid pattern: {}", error.msg), "")),
    }
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn only_what_lies_below_the_cases_folder_is_kept() {
        for good in ["traffic.log", "./a", "logs/*.txt", "**/core", "..a", "[0-9]?"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for (bad, why) in [
            ("", "names no file"),
            ("/etc/passwd", "leads out"),
            ("../x", "leads out"),
            ("a/../../x", "leads out"),
            ("[a", "is not a valid pattern"),
        ] {
            assert!(check(bad).unwrap_err().0.contains(why), "{bad}");
        }
    }
}
