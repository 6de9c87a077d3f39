//! Actions that have one of several forms, such as the conditions of `wait`.
//!
//! Each form is a struct with exactly its own keys; its first key selects it. An action consists of such a form and the VMs
//! that it is about. In a file, and in the JSON Schema, their keys are side by side.

use indexmap::IndexSet;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::read::{Misfit, fit};
use super::{Complaints, Rule};
use crate::units::OneOrMany;

/// A form of an action.
#[derive(Debug)]
pub struct Form {
    pub(super) fields: &'static [&'static str],
    pub(super) schema: fn(&mut SchemaGenerator) -> Schema,
}

impl Form {
    /// Its keys, the one that selects it first.
    pub fn keys(&self) -> impl Iterator<Item = &'static str> {
        self.fields.iter().map(|field| field.trim_start_matches("r#"))
    }

    /// The key that selects it.
    #[must_use]
    pub fn key(&self) -> &'static str {
        self.fields[0]
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.keys().any(|own| own == key)
    }

    /// Whether the keys of two forms can be given together: one of them is also a key of the other form.
    pub(crate) fn goes_with(&self, other: &Self) -> bool {
        self.has(other.key()) || other.has(self.key())
    }
}

/// The keys that select a form.
pub(crate) fn selecting(forms: &[Form]) -> Vec<&'static str> {
    forms.iter().map(Form::key).collect()
}

/// The other keys, each with the keys that select the forms that have it.
pub(crate) fn companions(forms: &[Form]) -> impl Iterator<Item = (&'static str, Vec<&'static str>)> {
    let keys: IndexSet<&str> = forms.iter().flat_map(|form| form.keys().skip(1)).collect();
    let owners = |key: &str| forms.iter().filter(|form| form.has(key)).map(Form::key).collect::<Vec<_>>();
    let others = keys.into_iter().map(move |key| (key, owners(key)));
    others.filter(|(key, owners)| !owners.contains(key))
}

/// Reads one form.
pub(super) type Reader<F> = fn(&Value) -> Result<F, Misfit>;

/// Reads an action: its VMs and its form. A key with the value null is not given.
pub(super) fn read<F>(
    forms: &[Form],
    readers: &[Reader<F>],
    rules: &[Rule],
    value: &Value,
) -> Result<(Vec<String>, F), Misfit> {
    #[derive(Deserialize)]
    struct About {
        vm: Option<OneOrMany<String>>,
    }
    let mut given: Map<String, Value> = fit(value)?;
    let known = || std::iter::once("vm").chain(forms.iter().flat_map(Form::keys));
    if let Some(unknown) = given.keys().find(|key| known().all(|known| known != *key)) {
        let known: IndexSet<String> = known().map(|key| format!("`{key}`")).collect();
        let known: Vec<String> = known.into_iter().collect();
        let message = format!("unknown field `{unknown}`, expected one of {}", known.join(", "));
        return Err(Misfit::new(vec![unknown.clone()], message));
    }
    given.retain(|_, value| !value.is_null());
    let mut complaints = Complaints::default();
    complaints.rules(rules, &given);
    if let Some(first) = complaints.0.into_iter().next() {
        let message = format!("{}; {}", first.message, first.help.unwrap_or_default());
        return Err(Misfit { path: first.path, message, is_rule: true });
    }
    let has_all = |form: &Form| given.keys().all(|key| key == "vm" || form.has(key));
    let form = forms.iter().position(|form| given.contains_key(form.key()) && has_all(form));
    let form = form.ok_or_else(|| Misfit::new(Vec::new(), "these keys cannot be combined"))?;
    let value = Value::Object(given);
    let about: About = fit(&value)?;
    Ok((about.vm.map(|vms| vms.0).unwrap_or_default(), readers[form](&value)?))
}

/// The JSON Schema of a value that has the keys of all forms; none is required. A key of several forms is described by the
/// first of them.
pub(super) fn schema(forms: &[Form], generator: &mut SchemaGenerator) -> Schema {
    let mut properties = Map::new();
    for form in forms {
        let own = (form.schema)(generator).to_value();
        for (key, schema) in own["properties"].as_object().into_iter().flatten() {
            properties.entry(key).or_insert_with(|| or_null(schema.clone()));
        }
    }
    json_schema!({"type": "object", "properties": properties})
}

fn or_null(mut schema: Value) -> Value {
    if let Value::Object(map) = &mut schema {
        map.shift_remove("default");
        if let Some(reference) = map.shift_remove("$ref") {
            map.shift_insert(0, "anyOf".to_owned(), json!([{"$ref": reference}, {"type": "null"}]));
        } else if let Some(kind) = map.get_mut("type").filter(|kind| kind.is_string()) {
            *kind = json!([kind.take(), "null"]);
        }
    }
    schema
}

/// Defines the forms of an action, and the enum of them.
macro_rules! forms {
    ($(#[$doc:meta])* enum $name:ident; $($form:ident { $($(#[$about:meta])* $key:ident: $type:ty,)* })*) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, serde::Serialize)]
        #[serde(untagged)]
        pub enum $name { $(#[doc = concat!("See `", stringify!($form), "`.")] $form($form),)* }

        $(
            #[doc = concat!("A form of `", stringify!($name), "`.")]
            #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
            pub struct $form { $($(#[$about])* pub $key: $type,)* }
        )*

        impl $name {
            /// Its forms.
            pub const FORMS: &[$crate::step::forms::Form] = &[$($crate::step::forms::Form {
                fields: &[$(stringify!($key)),*],
                schema: <$form as schemars::JsonSchema>::json_schema,
            }),*];

            const READERS: &[$crate::step::forms::Reader<Self>] =
                &[$(|value| $crate::step::read::fit(value).map(Self::$form)),*];
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                $crate::step::forms::schema(Self::FORMS, generator)
            }
        }
    };
}

pub(super) use forms;
