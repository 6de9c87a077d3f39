//! Renders a diagnostic for people: an excerpt of the file with the place underlined.

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{Annotation, AnnotationKind, Group, Level, Origin, Renderer, Snippet};

use super::{Diagnostic, Location, Severity};

impl Diagnostic {
    /// The message, the excerpt with its place underlined, related places, and the help. Without a trailing line
    /// break.
    #[must_use]
    pub fn render(&self, colour: bool) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let mut group = Group::with_title(level.primary_title(self.message.as_str()).id(self.code.number()));
        let path = self.location.path().display().to_string();
        if self.location.file.text.trim().is_empty() {
            group = group.element(Origin::path(path));
        } else {
            let mut own = Snippet::source(self.location.file.text.as_str()).path(path);
            own = own.annotation(annotation(AnnotationKind::Primary, &self.location, self.label.as_deref()));
            let (near, far): (Vec<_>, Vec<_>) =
                self.related.iter().partition(|(place, _)| place.file == self.location.file);
            for (place, what) in near {
                own = own.annotation(annotation(AnnotationKind::Context, place, Some(what)));
            }
            group = group.element(own);
            for (place, what) in far {
                let snippet = Snippet::source(place.file.text.as_str())
                    .path(place.path().display().to_string())
                    .annotation(annotation(AnnotationKind::Context, place, Some(what)));
                group = group.element(snippet);
            }
        }
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        rendered(&renderer, group)
    }
}

impl Location {
    /// The excerpt of the file with this place underlined, without colour. Without a trailing line break.
    #[must_use]
    pub fn shown(&self) -> String {
        let snippet = Snippet::source(self.file.text.as_str())
            .path(self.path().display().to_string())
            .annotation(annotation(AnnotationKind::Primary, self, None));
        rendered(&Renderer::plain(), Group::with_level(Level::NOTE).element(snippet))
    }
}

fn rendered(renderer: &Renderer, group: Group<'_>) -> String {
    let text = renderer.clone().decor_style(DecorStyle::Ascii).render(&[group]);
    // Remove trailing blanks, which get in the way when the text is compared or pasted.
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

fn annotation<'a>(kind: AnnotationKind, place: &Location, label: Option<&'a str>) -> Annotation<'a> {
    let text = &place.file.text;
    // Underline at least one character, if there is one.
    let mut end = place.end.max(place.start);
    if end == place.start {
        end += text[place.start..].chars().next().map_or(0, char::len_utf8);
    }
    kind.span(place.start..end).label(label)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::{Code, SourceFile};
    use super::*;

    fn file(text: &str) -> Arc<SourceFile> {
        Arc::new(SourceFile::new("a.yaml", text))
    }

    #[test]
    fn a_rendered_diagnostic_has_the_line_the_place_and_the_help() {
        let file = file("steps:\n- wiat: {}\n");
        let at = Location::of(&file, 9, 13);
        let text = Diagnostic::error(Code::Step, &at, "unknown action `wiat`")
            .help("did you mean `wait`?")
            .render(false);
        assert!(text.starts_with("error[LS030]: unknown action `wiat`\n"), "{text}");
        assert!(text.contains("a.yaml:2:3") && text.contains("2 | - wiat: {}"), "{text}");
        assert!(text.contains("^^^^") && text.contains("help: did you mean"), "{text}");
    }

    #[test]
    fn tabs_wide_characters_and_ends_of_files_do_not_panic() {
        for text in ["", "\t\t", "a:\t宽宽 x", "宽", "\u{1b}[1mx\0", "a\r\nb\r\n", "a\n"] {
            let file = file(text);
            for start in 0..=text.len() + 1 {
                let at = Location::of(&file, start, start + 2);
                let diagnostic = Diagnostic::error(Code::Syntax, &at, "x").related(&at, "y");
                assert!(diagnostic.render(true).contains("LS002"));
                assert!(!diagnostic.render(false).contains("\u{1b}["), "{text:?}");
            }
        }
    }
}
