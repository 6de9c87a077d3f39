//! The names in the templates of a part of a file.

use crate::template;
use crate::yaml::Node;

/// Visits the paths below a name that a template uses, such as `captures.n` for `run`.
pub(super) fn each_path(text: &str, root: &str, mut visit: impl FnMut(&[&str])) {
    for path in template::names_below(text, root) {
        visit(&path.iter().skip(1).map(String::as_str).collect::<Vec<_>>());
    }
}

/// Visits the templates in a part of a file that use `run`, each with its node.
pub(super) fn each_run_text<'n>(node: &'n Node, visit: &mut impl FnMut(&'n str, &'n Node)) {
    node.walk(None, &mut |_, node| {
        if let Some(text) = node.text().filter(|text| template::is_template(text) && text.contains("run")) {
            visit(text, node);
        }
    });
}
