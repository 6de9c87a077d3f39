//! Machine-readable diagnostics: a line of JSON, and a GitHub annotation.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{Diagnostic, Location, Severity};
use crate::repository::{Repository, normal};

impl Diagnostic {
    /// The diagnostic as one JSON object: `code`, `severity`, `file`, `line`, `column`, `end_line`, `end_column`,
    /// `length` (in characters), `message`, and, if present, `label`, `help` and `related`, a list of places with a
    /// `message` each. Lines and columns are counted from 1; the end is exclusive.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut object = json!({"code": self.code, "severity": self.severity});
        place(&self.location, &mut object);
        object["message"] = json!(self.message);
        if let Some(label) = &self.label {
            object["label"] = json!(label);
        }
        if let Some(help) = &self.help {
            object["help"] = json!(help);
        }
        if !self.related.is_empty() {
            let related = self.related.iter().map(|(at, what)| {
                let mut object = json!({});
                place(at, &mut object);
                object["message"] = json!(what);
                object
            });
            object["related"] = related.collect();
        }
        object
    }

    /// The diagnostic as a workflow command of GitHub Actions: one line.
    #[must_use]
    pub fn to_github(&self) -> String {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let at = &self.location;
        let end = end(at);
        // GitHub underlines only within one line.
        let end_column = (end.line == at.line && end.column > at.column).then_some(end.column - 1);
        let place = Place { file: at.path(), line: at.line, column: at.column, end_column };
        let help = self.help.as_ref().map(|help| format!("\n{help}")).unwrap_or_default();
        annotation(severity, &place, self.code.number(), &format!("{}{help}", self.message))
    }
}

fn place(at: &Location, object: &mut Value) {
    let end = end(at);
    object["file"] = json!(at.path());
    object["line"] = json!(at.line);
    object["column"] = json!(at.column);
    object["end_line"] = json!(end.line);
    object["end_column"] = json!(end.column);
    object["length"] = json!(at.excerpt().chars().count());
}

fn end(at: &Location) -> Location {
    Location::of(&at.file, at.end, at.end)
}

/// The place of an annotation.
#[derive(Debug)]
pub struct Place<'p> {
    /// The file as the user named it.
    pub file: &'p Path,
    /// The line, counted from 1.
    pub line: usize,
    /// The column, counted from 1.
    pub column: usize,
    /// The last column, if it is in the same line.
    pub end_column: Option<usize>,
}

/// A workflow command of GitHub Actions (`::error file=…,line=…::message`): `severity` is `error`, `warning` or
/// `notice`. Omits a place that is not in a file, such as `-D` on the command line.
#[must_use]
pub fn annotation(severity: &str, place: &Place<'_>, title: &str, message: &str) -> String {
    let mut properties = Vec::new();
    if place.file.is_file() {
        let file = in_workspace(place.file, Repository::named_by("GITHUB_WORKSPACE").as_ref());
        properties.push(format!("file={}", property(&file.display().to_string())));
        properties.push(format!("line={},col={}", place.line, place.column));
        properties.extend(place.end_column.map(|column| format!("endColumn={column}")));
    }
    properties.push(format!("title={}", property(title)));
    format!("::{severity} {}::{}", properties.join(","), data(message))
}

/// How many annotations of a severity GitHub shows for a step of a job; it drops the others.
pub const ANNOTATIONS: usize = 10;

/// The annotation for `more` than [`ANNOTATIONS`] of a severity. It is a notice, which has a limit of its own, and has no
/// place.
#[must_use]
pub fn further(more: usize, what: &str) -> String {
    let nowhere = Place { file: Path::new(""), line: 1, column: 1, end_column: None };
    let message = format!("GitHub shows {ANNOTATIONS} annotations of a kind; the log has all of them");
    annotation("notice", &nowhere, &format!("{more} more {what}"), &message)
}

/// GitHub identifies files by their path in the repository, without `.` and `..`.
fn in_workspace(file: &Path, workspace: Option<&Repository>) -> PathBuf {
    let inside = workspace.and_then(|workspace| workspace.inside(file));
    inside.or_else(|| Repository::here().inside(file)).unwrap_or_else(|| normal(file))
}

fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::{Code, SourceFile};
    use super::*;

    fn diagnostic(path: &str) -> Diagnostic {
        let file = Arc::new(SourceFile::new(path, "a: 1\nü: [x,\n y]\n"));
        let at = Location::of(&file, 9, 12);
        Diagnostic::error(Code::WrongValue, &at, "100% wrong: a, b")
            .help("one\ntwo")
            .related(&Location::of(&file, 0, 1), "the first")
    }

    #[test]
    fn json_has_the_start_and_end_of_the_place_in_characters() {
        assert_eq!(
            diagnostic("a.yaml").to_json(),
            json!({
                "code": "LS012", "severity": "error", "file": "a.yaml", "line": 2, "column": 4, "end_line": 2,
                "end_column": 7, "length": 3, "message": "100% wrong: a, b", "help": "one\ntwo",
                "related": [{"file": "a.yaml", "line": 1, "column": 1, "end_line": 1, "end_column": 2, "length": 1,
                             "message": "the first"}],
            })
        );
    }

    #[test]
    fn an_annotation_is_always_one_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a,b.yaml");
        std::fs::write(&path, "").unwrap();
        let line = diagnostic(&path.display().to_string()).to_github();
        let place = "a%2Cb.yaml,line=2,col=4,endColumn=6,title=LS012::100%25 wrong: a, b%0Aone%0Atwo";
        assert!(line.starts_with("::error file=") && line.ends_with(place), "{line}");
        let line = Diagnostic { severity: Severity::Warning, ..diagnostic("-D") }.to_github();
        assert_eq!(line, "::warning title=LS012::100%25 wrong: a, b%0Aone%0Atwo");
    }

    #[test]
    fn a_file_is_named_relative_to_the_repository() {
        let here = std::env::current_dir().unwrap();
        let above = Repository::at(here.parent().unwrap());
        assert_eq!(in_workspace(Path::new("./x/a.yaml"), Some(&above)), {
            Path::new(here.file_name().unwrap()).join("x/a.yaml")
        });
        for other in [None, Some(Repository::at(Path::new("/there/is/none")))] {
            assert_eq!(in_workspace(Path::new("./y/../x/a.yaml"), other.as_ref()), Path::new("x/a.yaml"));
        }
        assert_eq!(in_workspace(Path::new("/x/../a.yaml"), None), Path::new("/a.yaml"));
    }
}
