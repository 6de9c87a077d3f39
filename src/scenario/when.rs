//! `when`: whether a part of a case applies. A template decides it; a constant `true` or `false` is allowed.

use regex::Regex;
use serde_json::{Value, json};

use super::typed::{Piece, Reader};
use crate::diagnostic::Code;
use crate::template;
use crate::yaml::{Kind, Node};

const EXAMPLE: &str = "write `when: \"{{eq axis 'value'}}\"`";

/// Renders a `when`. `None` after reporting an invalid one: a text that is not a template would always be true.
pub(super) fn render(when: &Node, reader: &mut Reader<'_, '_>) -> Option<Piece> {
    let (message, help) = match &when.kind {
        Kind::Scalar(Value::Bool(_)) => return reader.render(when),
        Kind::Scalar(Value::String(text)) if template::is_template(text) => return reader.render(when),
        Kind::Scalar(Value::String(text)) => {
            let help = comparison(text).map(|right| format!("write `when: \"{right}\"`"));
            (
                format!("`when` takes a template, `true` or `false`; the text `{text}` is not a template"),
                help.unwrap_or_else(|| EXAMPLE.to_owned()),
            )
        }
        Kind::Scalar(Value::Number(number)) => {
            let message = format!("`when` takes a template, `true` or `false`, not `{number}`");
            (message, format!("write `{}`", number.as_f64() != Some(0.0)))
        }
        _ => (format!("`when` takes a template, `true` or `false`, not {}", when.what()), EXAMPLE.to_owned()),
    };
    reader.error(Code::WrongValue, &when.at, message, help);
    None
}

/// The template for a text that looks like a name or a comparison: `m == 'a'`.
fn comparison(text: &str) -> Option<String> {
    if Regex::new(r"^[A-Za-z_][\w.]*$").is_ok_and(|name| name.is_match(text)) {
        return Some(format!("{{{{{text}}}}}"));
    }
    let form = Regex::new(r#"^\s*([A-Za-z_][\w.]*)\s*(==|!=)\s*['"]?([^'"]*?)['"]?\s*$"#).ok()?;
    let parts = form.captures(text)?;
    let helper = if &parts[2] == "==" { "eq" } else { "ne" };
    let is_number = parts[3].parse::<f64>().is_ok();
    let value = if is_number { parts[3].to_owned() } else { format!("'{}'", &parts[3]) };
    Some(format!("{{{{{helper} {} {value}}}}}", &parts[1]))
}

/// Its JSON Schema.
pub(crate) fn schema(description: &str) -> Value {
    json!({
        "type": ["string", "boolean"],
        "pattern": r"\{\{",
        "patternErrorMessage": "`when` takes a template, `true` or `false`.",
        "description": description,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_for_a_comparison_is_suggested() {
        assert_eq!(comparison("m == 'a'").unwrap(), "{{eq m 'a'}}");
        assert_eq!(comparison("fault.name != \"cut off\"").unwrap(), "{{ne fault.name 'cut off'}}");
        assert_eq!(comparison("n==3").unwrap(), "{{eq n 3}}");
        assert_eq!(comparison("with_disk").unwrap(), "{{with_disk}}");
        assert_eq!(comparison("yes, please"), None);
    }
}
