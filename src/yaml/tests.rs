use serde_json::json;

use super::*;

fn parse(text: &str) -> Result<Node, Vec<Diagnostic>> {
    from_bytes(Path::new("a.yaml"), text.into())
}

fn tree(text: &str) -> Node {
    parse(text).unwrap_or_else(|errors| panic!("{text}: {errors:?}"))
}

fn only_error(text: &str) -> Diagnostic {
    let errors = parse(text).expect_err(text);
    assert_eq!(errors.len(), 1, "{text}: {errors:?}");
    errors.into_iter().next().unwrap()
}

#[test]
fn every_value_and_key_has_its_place() {
    let root = tree("a: 1\nüb:\n  - {c: \"x y\"}\n  - |\n    t\n");
    assert_eq!(root.to_value(), json!({"a": 1, "üb": [{"c": "x y"}, "t\n"]}));
    let (key, list) = root.entry("üb").unwrap();
    assert_eq!((key.at.line, key.at.column, key.at.excerpt()), (2, 1, "üb"));
    let text = list.items()[0].get("c").unwrap();
    assert_eq!((text.at.line, text.at.column, text.at.excerpt()), (3, 9, "\"x y\""));
    assert_eq!(list.items()[0].at.excerpt(), "{c: \"x y\"}");
}

#[test]
fn carriage_returns_do_not_move_the_places() {
    let root = tree("a: 1\r\nb: 2\r\nc: three\r\n");
    let node = root.get("c").unwrap();
    assert_eq!((node.at.line, node.at.column, node.at.excerpt()), (3, 4, "three"));
}

#[test]
fn quotes_make_text_and_keys_are_text() {
    assert_eq!(tree("{a: '1', 2: \"true\", true: 5}").to_value(), json!({"a": "1", "2": "true", "true": 5}));
}

#[test]
fn an_alias_has_the_value_of_its_anchor() {
    let root = tree("a: &x {k: [1, 2]}\nb: *x\n");
    assert_eq!(root.to_value(), json!({"a": {"k": [1, 2]}, "b": {"k": [1, 2]}}));
    assert_eq!(root.get("b").unwrap().at.excerpt(), "*x");
}

#[test]
fn exponential_aliases_and_deep_nesting_are_refused_at_once() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..30 {
        let below = level - 1;
        let aliases = vec![format!("*a{below}"); 10].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    assert_eq!(only_error(&text).code, Code::TooMuch);
    assert_eq!(only_error(&"[".repeat(200)).code, Code::TooMuch);
    let mut deep = "a0: &a0 [x]\n".to_owned();
    for level in 1..200 {
        deep.push_str(&format!("a{level}: &a{level} [*a{}]\n", level - 1));
    }
    assert_eq!(only_error(&deep).code, Code::TooMuch);
}

#[test]
fn a_key_given_twice_names_both_places() {
    let error = only_error("a: 1\nb: {c: 1, d: 2, c: 3}\n");
    assert_eq!((error.location.line, error.location.column), (2, 17));
    assert_eq!(error.related[0].0.column, 5);
    assert_eq!(parse("a: 1\na: 2\na: 3\n").unwrap_err().len(), 2);
}

#[test]
fn an_unquoted_template_is_explained_with_its_quoted_form() {
    for (text, quoted, line) in [
        ("a: {{x}}\n", "\"{{x}}\"", 1),
        ("b: 1\na: {{x}}/y {{z}} # c\n", "\"{{x}}/y {{z}}\"", 2),
        ("- {{eq a \"b\"}}\n", "'{{eq a \"b\"}}'", 1),
        ("a: [{{x}}]\n", "\"{{x}}\"", 1),
        ("steps:\n  - wait: {vm: {{x}}, ticks: 1}\n", "\"{{x}}\"", 2),
        ("a: {{#if x}}y{{/if}}\nb: 1\n", "{{#if x}}y{{/if}}", 1),
    ] {
        let error = only_error(text);
        assert_eq!((error.code, error.location.line), (Code::Unquoted, line), "{text}: {error:?}");
        assert!(error.help.as_deref().unwrap().contains(quoted), "{text}: {error:?}");
    }
}

#[test]
fn a_document_without_a_value_is_empty() {
    assert!(only_error("---\n").message.contains("is empty"));
}

#[test]
fn an_unreadable_file_gets_a_clear_message() {
    let folder = tempfile::tempdir().unwrap();
    let message = |path: &Path| read(path).unwrap_err()[0].message.clone();
    assert!(message(&folder.path().join("x.yaml")).contains("no such file"));
    assert!(message(folder.path()).contains("directory"));
}
