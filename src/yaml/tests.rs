use std::path::PathBuf;

use serde_json::json;

use serde_json::Value;

use super::*;

fn file(text: &str) -> Arc<SourceFile> {
    Arc::new(SourceFile { path: PathBuf::from("a.yaml"), text: text.to_owned() })
}

fn tree(text: &str) -> Node {
    parse(&file(text)).unwrap_or_else(|errors| panic!("{text}: {errors:?}"))
}

fn value(node: &Node) -> Value {
    match &node.kind {
        Kind::Scalar(value) => value.clone(),
        Kind::Seq(items) => items.iter().map(value).collect(),
        Kind::Map(entries) => entries.iter().map(|(key, node)| (key.name.clone(), value(node))).collect(),
    }
}

fn only_error(text: &str) -> Diagnostic {
    let errors = parse(&file(text)).expect_err(text);
    assert_eq!(errors.len(), 1, "{text}: {errors:?}");
    errors.into_iter().next().unwrap()
}

#[test]
fn every_value_and_key_has_its_place() {
    let root = tree("a: 1\nüb:\n  - {c: \"x y\"}\n  - |\n    t\n");
    assert_eq!(value(&root), json!({"a": 1, "üb": [{"c": "x y"}, "t\n"]}));
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
    assert_eq!(value(&tree("{a: '1', 2: \"true\", true: 5}")), json!({"a": "1", "2": "true", "true": 5}));
}

#[test]
fn an_alias_has_the_value_of_its_anchor() {
    let root = tree("a: &x {k: [1, 2]}\nb: *x\n");
    assert_eq!(value(&root), json!({"a": {"k": [1, 2]}, "b": {"k": [1, 2]}}));
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
    assert!(only_error("a: &a [*a]").message.contains("inside its own value"));
}

#[test]
fn a_key_given_twice_names_both_places() {
    let error = only_error("a: 1\nb: {c: 1, d: 2, c: 3}\n");
    assert_eq!((error.location.line, error.location.column), (2, 17));
    assert_eq!(error.related[0].0.column, 5);
    assert_eq!(parse(&file("a: 1\na: 2\na: 3\n")).unwrap_err().len(), 2);
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
fn invalid_text_gets_one_clear_message() {
    for (text, message) in [
        ("", "is empty"),
        ("# only a comment\n", "is empty"),
        ("---\n", "is empty"),
        ("a: 1\n---\nb: 2\n", "more than one document"),
        ("a:\n\tb: 1\n", "a tab is used"),
        ("a: [1\n", "not valid YAML"),
        ("a: 'x\n", "not valid YAML"),
        ("a: *nope\n", "not valid YAML"),
        ("? [a]\n: b\n", "a single word"),
        ("a: !odd x\n", "tags"),
        ("<<: {a: 1}\n", "merge keys"),
    ] {
        let error = only_error(text);
        assert!(error.message.contains(message), "{text:?}: {error:?}");
        assert!(error.location.end <= text.len());
    }
}

#[test]
fn an_unreadable_file_gets_a_clear_message() {
    let folder = tempfile::tempdir().unwrap();
    let message = |path: &Path| read(path).unwrap_err()[0].message.clone();
    assert!(message(&folder.path().join("x.yaml")).contains("no such file"));
    assert!(message(folder.path()).contains("directory"));
    let path = folder.path().join("latin.yaml");
    std::fs::write(&path, b"a: 1\nb: \xe4\n").unwrap();
    let error = &read(&path).unwrap_err()[0];
    assert!(error.message.contains("UTF-8") && error.location.line == 2, "{error:?}");
}
