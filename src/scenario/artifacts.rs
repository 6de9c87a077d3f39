//! `artifacts`: the files of a case to keep.

use std::path::{Component, Path};

use super::typed::{Reader, place};
use crate::diagnostic::Code;
use crate::units::OneOrMany;
use crate::yaml::Node;

/// Reads the `artifacts` of a scenario.
pub(super) fn read(root: &Node, reader: &mut Reader<'_, '_>) -> Vec<String> {
    let files: Option<OneOrMany<String>> = reader.read_key(root, "artifacts");
    let files = files.map(|files| files.0).unwrap_or_default();
    for (number, file) in files.iter().enumerate() {
        if let Err((message, help)) = check(file) {
            let at = place(&root.at, root, &["artifacts", &number.to_string()]).0;
            reader.error(Code::WrongValue, &at, message, help);
        }
    }
    files
}

/// Checks a path or pattern. The error is the message and the help.
fn check(file: &str) -> Result<(), (String, &'static str)> {
    let inside = "write a path below the case's directory, such as `traffic.log` or `logs/*.txt`";
    if file.is_empty() {
        return Err(("the path is empty".to_owned(), inside));
    }
    let leaves = |part: Component<'_>| !matches!(part, Component::Normal(_) | Component::CurDir);
    if Path::new(file).components().any(leaves) {
        return Err((format!("`{file}` is outside the case's directory"), inside));
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
    fn only_files_below_the_cases_directory_are_kept() {
        for good in ["traffic.log", "./a", "logs/*.txt", "**/core", "..a", "[0-9]?"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        assert!(check("a/../../x").unwrap_err().0.contains("is outside"));
    }
}
