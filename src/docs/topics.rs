//! The topics of the reference, in order: chapters written by hand, and doc comments of the types.

use serde_json::Value;

use super::fields::{Field, Schema, WIDTH, with_default};
use super::text::{anchor, paragraphs, sections, wrap};
use crate::session::metrics::METRICS;
use crate::step::{ACTIONS, CheckKind, Condition, FLOW, Form, MODIFIERS};

/// A part of the reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// An introduction.
    Ideas,
    /// The keys of a file.
    File,
    /// The keys of a VM.
    Vms,
    /// The modifiers of a step.
    Modifiers,
    /// The actions.
    Actions,
    /// The conditions of a `wait`.
    Conditions,
    /// The kinds of `check`.
    Checks,
    /// Templates, matrix, inheritance.
    Reuse,
    /// What happens in a run.
    Running,
}

impl Part {
    /// All, in the order of the page.
    pub const ALL: &[Self] = &[
        Self::Ideas,
        Self::File,
        Self::Vms,
        Self::Modifiers,
        Self::Actions,
        Self::Conditions,
        Self::Checks,
        Self::Reuse,
        Self::Running,
    ];

    /// Its heading.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Ideas => "Ideas",
            Self::File => "Keys of a file",
            Self::Vms => "Keys of a VM",
            Self::Modifiers => "Modifiers of a step",
            Self::Actions => "Actions",
            Self::Conditions => "Conditions of a wait",
            Self::Checks => "Kinds of check",
            Self::Reuse => "Templates and reuse",
            Self::Running => "In a run",
        }
    }

    /// The text below its heading.
    pub(super) const fn about(self) -> &'static str {
        match self {
            Self::File => {
                "At the top of a scenario file. A scenario needs `vms` and `steps`, its own or from the file it extends."
            }
            Self::Vms => {
                "Under `vms: {NAME: …}`. All are optional: `vms: {vm: }` is a VM with the built-in guest."
            }
            Self::Modifiers => "Allowed on any step, next to its action.",
            Self::Actions => {
                "Each step has exactly one. If the type of `vm` allows a list of VMs, the action applies to each in turn."
            }
            Self::Conditions => {
                "A `wait` has exactly one of these, and `vm` (except for `process` and `client`). With several VMs all must meet it."
            }
            Self::Checks => "A `check` has exactly one of these, and `vm` if it is about a VM.",
            Self::Ideas | Self::Reuse | Self::Running => "",
        }
    }
}

/// A topic of the reference.
#[derive(Debug, Clone)]
pub struct Topic {
    /// Its full name, such as `extends`, `vms.machine` or `wait.ticks`.
    pub name: String,
    /// Its part.
    pub part: Part,
    /// Its heading, in Markdown.
    pub heading: String,
    /// Its first sentence; for a chapter its title.
    pub summary: String,
    /// Its text in Markdown, including the example.
    pub text: String,
}

impl Topic {
    /// The last part of its name.
    #[must_use]
    pub fn word(&self) -> &str {
        self.name.rsplit('.').next().unwrap_or_default()
    }

    /// Whether it is a chapter written by hand, not a key.
    #[must_use]
    pub fn is_chapter(&self) -> bool {
        matches!(self.part, Part::Ideas | Part::Reuse | Part::Running)
    }

    /// A link to it inside the page, below the heading of its part.
    pub(super) fn link(&self) -> String {
        let text = if self.is_chapter() { self.heading.clone() } else { format!("`{}`", self.word()) };
        format!("[{text}](#{})", anchor(&self.heading))
    }
}

const CHAPTERS: &[(&str, Part, &str)] = &[
    ("rules", Part::Ideas, include_str!("chapters/rules.md")),
    ("example", Part::Ideas, include_str!("chapters/example.md")),
    ("values", Part::Ideas, include_str!("chapters/values.md")),
    ("ticker", Part::Ideas, include_str!("chapters/ticker.md")),
    ("linux", Part::Ideas, include_str!("chapters/linux.md")),
    ("inside", Part::Ideas, include_str!("chapters/guest.md")),
    ("versions", Part::Ideas, include_str!("chapters/versions.md")),
    ("templates", Part::Reuse, include_str!("chapters/templates.md")),
    ("run", Part::Reuse, include_str!("chapters/run.md")),
    ("params", Part::Reuse, include_str!("chapters/params.md")),
    ("matrix", Part::Reuse, include_str!("chapters/matrix.md")),
    ("extends", Part::Reuse, include_str!("chapters/merging.md")),
    ("flow", Part::Reuse, include_str!("chapters/flow.md")),
    ("waiting", Part::Running, include_str!("chapters/waiting.md")),
    ("verdicts", Part::Running, include_str!("chapters/verdicts.md")),
    ("exit-codes", Part::Running, include_str!("chapters/exit-codes.md")),
    ("limits", Part::Running, include_str!("chapters/limits.md")),
];

const EXAMPLES: &[&str] = &[
    include_str!("examples/file.md"),
    include_str!("examples/vms.md"),
    include_str!("examples/steps.md"),
    include_str!("examples/conditions.md"),
];

/// The names of all sections of the example files, for the test that each has a topic.
#[cfg(test)]
pub(super) fn example_names() -> Vec<&'static str> {
    EXAMPLES.iter().flat_map(|page| sections(page)).map(|(name, _)| name).collect()
}

fn example(name: &str) -> &'static str {
    let all = EXAMPLES.iter().flat_map(|page| sections(page));
    all.into_iter().find(|(topic, _)| *topic == name).map(|(_, body)| body).unwrap_or_default()
}

/// Every topic.
pub(super) fn all() -> Vec<Topic> {
    let schema = Schema(crate::schema::schema());
    let step = &schema.0["$defs"]["Step"];
    let wait = &schema.0["$defs"]["Wait"];
    let check = &schema.0["$defs"]["Check"];
    let mut topics = chapters(Part::Ideas);
    topics.extend(keys(&schema, &schema.0, Part::File, ""));
    topics.extend(keys(&schema, &schema.0["$defs"]["VmSpec"], Part::Vms, "vms."));
    let steps = schema.fields(step);
    let of = |names: &'static [&'static str]| {
        names.iter().filter_map(|name| steps.iter().find(|field| field.name == *name))
    };
    topics.extend(of(MODIFIERS).map(|field| key(&schema, field, Part::Modifiers, "step.")));
    topics.extend(of(ACTIONS).chain(of(FLOW)).map(|field| action(&schema, field)));
    topics.extend(kinds(&schema, wait, Part::Conditions, "wait", Condition::FORMS));
    topics.extend(kinds(&schema, check, Part::Checks, "check", CheckKind::FORMS));
    topics.extend(chapters(Part::Reuse));
    topics.extend(chapters(Part::Running));
    topics.push(metrics());
    topics
}

fn chapters(part: Part) -> Vec<Topic> {
    let ours = CHAPTERS.iter().filter(|(_, of, _)| *of == part);
    ours.map(|(name, part, page)| {
        let (title, text) = page.split_once('\n').unwrap_or((page, ""));
        let heading = title.trim_start_matches('#').trim().to_owned();
        let text = text.trim().to_owned();
        Topic { name: (*name).to_owned(), part: *part, summary: heading.clone(), heading, text }
    })
    .collect()
}

fn keys(schema: &Schema, of: &Value, part: Part, prefix: &str) -> Vec<Topic> {
    // What adds to a list is explained at `like`.
    let fields = schema.fields(of).into_iter().filter(|field| !field.name.starts_with('+'));
    fields.map(|field| key(schema, &field, part, prefix)).collect()
}

/// A key with its type, meaning, default and example.
fn key(schema: &Schema, field: &Field<'_>, part: Part, prefix: &str) -> Topic {
    let doc = with_default(schema.doc(field.schema), field.schema);
    let mut text = wrap(&format!("Type: {}.", schema.kind(field.schema)), WIDTH, 0);
    text = format!("{}\n\n{text}", paragraphs(&doc, WIDTH));
    let choices = choices(schema, field.schema);
    if !choices.is_empty() {
        text = format!("{text}\n\n{choices}");
    }
    finish(format!("{prefix}{}", field.name), part, field.name, &doc, text)
}

/// The keys of a value that is a map, or its allowed words if they have doc texts.
fn choices(schema: &Schema, value: &Value) -> String {
    let text: String = schema.inner(value).iter().map(|field| schema.item(field, 0)).collect();
    text.trim_end().to_owned()
}

/// An action with its fields; those of `wait` and `check` are separate topics.
fn action(schema: &Schema, field: &Field<'_>) -> Topic {
    let kind = schema.behind(field.schema);
    let summary = schema.doc(field.schema);
    let doc = schema.type_doc(field.schema).unwrap_or_else(|| summary.clone());
    let mut text = paragraphs(&doc, WIDTH);
    let elsewhere = match field.name {
        "wait" => Some((Part::Conditions, "condition")),
        "check" => Some((Part::Checks, "kind")),
        _ => None,
    };
    if let Some((part, what)) = elsewhere {
        let vm = schema.fields(kind).into_iter().find(|field| field.name == "vm");
        text.push_str(&format!("\n\n{}", vm.map(|vm| schema.item(&vm, 0)).unwrap_or_default()));
        let more = format!(
            "The other keys belong to the {what}: see [{}](#{}).",
            part.title(),
            anchor(part.title())
        );
        text.push_str(&wrap(&format!("- {more}"), WIDTH, 2));
    } else {
        let fields = choices(schema, field.schema);
        if fields.is_empty() {
            text.push_str(&format!("\n\nTakes: {}.", schema.kind(field.schema)));
        } else {
            text.push_str(&format!("\n\n{fields}"));
        }
    }
    finish(field.name.to_owned(), Part::Actions, field.name, &summary, text)
}

/// The kinds of a `wait` or a `check`, each with its keys.
fn kinds(schema: &Schema, of: &Value, part: Part, action: &str, forms: &[Form]) -> Vec<Topic> {
    let fields = schema.fields(of);
    let topic = |form: &Form| {
        let field = |key| fields.iter().find(|field| field.name == key);
        let own: Vec<&Field<'_>> = form.keys().filter_map(field).collect();
        let doc = own.first().map(|field| schema.doc(field.schema)).unwrap_or_default();
        let items: String = own.into_iter().map(|field| schema.item(field, 0)).collect();
        let name = format!("{action}.{}", form.key());
        finish(name, part, form.key(), &doc, items.trim_end().to_owned())
    };
    forms.iter().map(topic).collect()
}

/// The metrics, from the list in the code.
fn metrics() -> Topic {
    let about = "Measured in every case and written to the event stream; `check: {metric: NAME, below: …}` compares one \
                 against a bound. A metric has a value for each VM it is known of; of several the worst counts.";
    let mut text = paragraphs(about, WIDTH);
    text.push_str("\n\n");
    for (name, meaning) in METRICS {
        text.push_str(&wrap(&format!("- `{name}`: {meaning}."), WIDTH, 2));
        text.push('\n');
    }
    let mut topic = finish("metrics".to_owned(), Part::Running, "", about, text.trim_end().to_owned());
    "Metrics".clone_into(&mut topic.heading);
    topic
}

fn finish(name: String, part: Part, word: &str, doc: &str, text: String) -> Topic {
    let heading = match name.split_once('.') {
        Some(("wait" | "check", _)) => format!("`{}: {word}`", name.split('.').next().unwrap_or_default()),
        Some(("vms", _)) => format!("`{word}` of a VM"),
        Some(_) => format!("`{word}` of a step"),
        None => format!("`{word}`"),
    };
    let text = match example(&name) {
        "" => text,
        example => format!("{text}\n\n{example}"),
    };
    Topic { summary: first_sentence(doc), name, part, heading, text }
}

/// The first sentence of a text, in one line, without its full stop.
fn first_sentence(text: &str) -> String {
    let line = text.split("\n\n").next().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
    let end = line.match_indices(". ").map(|(at, _)| at).next().unwrap_or(line.len());
    line[..end].trim_end_matches(['.', ':']).to_owned()
}
