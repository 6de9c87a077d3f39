use super::*;

/// Each entry as `path = scalar`.
fn lines(text: &str) -> Vec<String> {
    let part = |part: &Part| match part {
        Part::Key(name) => name.clone(),
        Part::Item => "-".to_owned(),
    };
    let line = |entry: &Entry| {
        let path: Vec<String> = entry.path.iter().map(part).collect();
        let value = entry.value.clone().map(|value| format!(" = {}", &text[value])).unwrap_or_default();
        format!("{}{}{value}", path.join("."), if entry.key.is_some() { "" } else { "!" })
    };
    outline(text).iter().map(line).collect()
}

#[test]
fn keys_items_and_scalars_have_their_paths() {
    let text = "name: \"a: b\" # c\nvms:\n  a: {cpu: max, args: [x, {when: y}]}\n  'b':\n    like: a\nsteps:\n\
                - wait: {vm: a,\n     ticks: 3}\n  name: x\n- block:\n  - quit: [a, b]\n";
    let expected = [
        "name = \"a: b\"",
        "vms",
        "vms.a",
        "vms.a.cpu = max",
        "vms.a.args",
        "vms.a.args.-! = x",
        "vms.a.args.-.when = y",
        "vms.b",
        "vms.b.like = a",
        "steps",
        "steps.-.wait",
        "steps.-.wait.vm = a",
        "steps.-.wait.ticks = 3",
        "steps.-.name = x",
        "steps.-.block",
        "steps.-.block.-.quit",
        "steps.-.block.-.quit.-! = a",
        "steps.-.block.-.quit.-! = b",
    ];
    assert_eq!(lines(text), expected);
}

#[test]
fn an_open_bracket_or_quote_ends_where_the_indentation_does() {
    let text = "vms: {a: {cpu: \nsteps:\n  - wait: {vm: \"a\n  - sl\n  - \n  - sleep: 1s\n";
    let expected = [
        "vms",
        "vms.a",
        "vms.a.cpu",
        "steps",
        "steps.-.wait",
        "steps.-.wait.vm = \"a",
        "steps.-! = sl",
        "steps.-.sleep = 1s",
    ];
    assert_eq!(lines(text), expected);
}

#[test]
fn the_text_of_a_block_scalar_has_no_keys() {
    let text = "description: |\n  a: b\n\n  c: d\nsteps:\n- exec:\n    run: >-\n      x: y\n    name: z\n";
    assert_eq!(
        lines(text),
        ["description", "steps", "steps.-.exec", "steps.-.exec.run", "steps.-.exec.name = z"]
    );
}

#[test]
fn an_item_of_a_list_may_be_a_key_with_its_value() {
    assert_eq!(lines("a: [b: {c: 1}, d]\n"), ["a", "a.-.b", "a.-.b.c = 1", "a.-! = d"]);
}

#[test]
fn a_template_without_quotes_is_a_scalar() {
    assert_eq!(lines("a: {{x\nb: [{{y}}, 1]\n"), ["a = {{x", "b", "b.-! = {{y}}", "b.-! = 1"]);
}

#[test]
fn keys_of_the_same_map_are_known_by_it() {
    let entries = outline("steps:\n  - wait: {vm: a, ticks: 1}\n    name: x\n  - name: y\n");
    let within = |entry: usize| entries[entry].within();
    assert_eq!(within(1), within(4));
    assert_eq!(within(2), within(3));
    assert_ne!(within(4), within(5));
}

#[test]
fn every_place_of_the_shipped_files_is_found_as_the_parser_finds_it() {
    use crate::yaml::{self, Kind, Node};
    fn scalars(node: &Node, path: &mut Vec<Part>, found: &mut Vec<(Vec<Part>, usize)>) {
        match &node.kind {
            Kind::Scalar(_) => {
                let text = node.at.excerpt();
                if !text.is_empty() && !text.starts_with(['|', '>']) {
                    found.push((path.clone(), node.at.start));
                }
            }
            Kind::Seq(items) => items.iter().for_each(|item| {
                path.push(Part::Item);
                scalars(item, path, found);
                path.pop();
            }),
            Kind::Map(entries) => entries.iter().for_each(|(key, value)| {
                path.push(Part::Key(key.name.clone()));
                scalars(value, path, found);
                path.pop();
            }),
        }
    }
    let mut count = 0;
    for file in glob::glob("scenarios/**/*.yaml").unwrap().map(Result::unwrap) {
        let root = yaml::read(&file).unwrap();
        let mut expected = Vec::new();
        scalars(&root, &mut Vec::new(), &mut expected);
        let entries = outline(&root.at.file.text);
        for (path, start) in expected {
            // The place of a value with an anchor is that of the anchor.
            let anchored = root.at.file.text[start..].strip_prefix('&').and_then(|text| text.find(' '));
            let start = start + anchored.map_or(0, |length| length + 2);
            let known = |entry: &&Entry| entry.value.as_ref().is_some_and(|value| value.start == start);
            let entry = entries.iter().find(known);
            // A text of several lines is not one scalar for the outline.
            let text = &root.at.file.text;
            let line = text[start..].lines().next().unwrap_or_default();
            let quote = line.chars().next().filter(|letter| ['"', '\''].contains(letter));
            let is_open =
                quote.is_some_and(|quote| quoted(line, quote) == line.len() && !line.ends_with(quote));
            let is_long = is_open
                || line.starts_with(['|', '>'])
                || text[..start].trim_end_matches(' ').ends_with('\n');
            assert!(
                entry.is_some_and(|entry| entry.path == path) || is_long,
                "{} {line}: {path:?}, {entry:?}",
                file.display()
            );
            count += 1;
        }
    }
    assert!(count > 1000, "{count}");
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(pieces in proptest::collection::vec(proptest::sample::select(PIECES), 0..40)) {
        for entry in outline(&pieces.concat()) {
            proptest::prop_assert!(entry.path.len() == entry.inside.len() + usize::from(entry.key.is_some()));
        }
    }
}

const PIECES: &[&str] = &[
    "a", "b:", "- ", "-", "  ", "\n", "\r\n", "\t", ": ", "{", "}", "[", "]", ", ", "\"", "'", "{{", "}}",
    "&x ", "&", "!t ", "|", ">", "#", " #", "---\n", "ü", "𝄞", "\u{a0}", "\u{2028}", "\u{e000}", "\\", "\0",
    ":",
];
