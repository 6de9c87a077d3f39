//! Actions that have one of several forms, such as the conditions of `wait`.
//!
//! Each form is a struct with exactly its own keys; its first key selects it. An action consists of such a form and the VMs
//! that it is about. In a file, and in the JSON Schema, their keys are side by side.

use indexmap::IndexSet;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::misfit::{Misfit, Wrong};
use super::read::fit;
use super::{Complaints, Rule};
use crate::units::OneOrMany;

/// A form of an action.
#[derive(Debug)]
pub struct Form {
    pub(crate) fields: &'static [&'static str],
    pub(crate) schema: fn(&mut SchemaGenerator) -> Schema,
}

impl Form {
    /// Its keys, the one that selects it first.
    pub fn keys(&self) -> impl Iterator<Item = &'static str> {
        self.fields.iter().map(|field| field.strip_prefix("r#").unwrap_or(field))
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

/// The keys of some of the forms, each with the keys that select those forms.
pub(crate) fn companions(forms: &[Form]) -> impl Iterator<Item = (&'static str, Vec<&'static str>)> {
    let keys: IndexSet<&str> = forms.iter().flat_map(|form| form.keys().skip(1)).collect();
    keys.into_iter().filter_map(move |key| companion(forms, key))
}

/// A key of some of the forms, with the keys that select those forms; `None` for a key of all of them, or that selects one.
pub(crate) fn companion(forms: &[Form], key: &str) -> Option<(&'static str, Vec<&'static str>)> {
    let owners: Vec<&str> = forms.iter().filter(|form| form.has(key)).map(Form::key).collect();
    let own = forms.iter().flat_map(Form::keys).find(|own| *own == key)?;
    (!owners.contains(&key) && owners.len() < forms.len()).then_some((own, owners))
}

/// Reads one form.
pub(crate) type Reader<F> = fn(&Value) -> Result<F, Misfit>;

/// Reads a form of a map, which may also have some `other` keys. A key with the value null is not given.
pub(crate) fn read<F>(
    forms: &[Form],
    readers: &[Reader<F>],
    rules: &[Rule],
    other: &[&'static str],
    value: &Value,
) -> Result<F, Misfit> {
    let mut given: Map<String, Value> = fit(value)?;
    let known = || other.iter().copied().chain(forms.iter().flat_map(Form::keys));
    if let Some(unknown) = given.keys().find(|key| known().all(|known| known != *key)) {
        let known: IndexSet<String> = known().map(str::to_owned).collect();
        let wrong = Wrong::UnknownKey { key: unknown.clone(), known: known.into_iter().collect() };
        return Err(Misfit::new(vec![unknown.clone()], wrong));
    }
    given.retain(|_, value| !value.is_null());
    let mut complaints = Complaints::default();
    complaints.rules(rules, &given);
    if let Some(first) = complaints.0.into_iter().next() {
        return Err(Misfit::new(first.path, Wrong::Rule(first.message, first.help.unwrap_or_default())));
    }
    let has_all = |form: &Form| given.keys().all(|key| other.contains(&key.as_str()) || form.has(key));
    let form = forms.iter().position(|form| given.contains_key(form.key()) && has_all(form));
    let form = form
        .ok_or_else(|| Misfit::new(Vec::new(), Wrong::Other("these keys cannot be combined".to_owned())))?;
    readers[form](&Value::Object(given))
}

/// The VMs that an action is about.
pub(super) fn vms(value: &Value) -> Result<Vec<String>, Misfit> {
    #[derive(Deserialize)]
    struct About {
        vm: Option<OneOrMany<String>>,
    }
    fit::<About>(value).map(|about| about.vm.map(|vms| vms.0).unwrap_or_default())
}

/// The JSON Schema of a value that has the keys of all forms; only those are required that each form requires. A key of
/// several forms is described by the first of them. What all forms have comes last.
pub(crate) fn schema(forms: &[Form], generator: &mut SchemaGenerator) -> Schema {
    let own: Vec<Value> = forms.iter().map(|form| (form.schema)(generator).to_value()).collect();
    let in_all = |key: &str| forms.iter().all(|form| form.has(key));
    let mut properties = Map::new();
    for common in [false, true] {
        let keys = own.iter().filter_map(|form| form["properties"].as_object()).flatten();
        for (key, schema) in keys.filter(|(key, _)| in_all(key) == common) {
            properties.entry(key).or_insert_with(|| or_null(schema.clone()));
        }
    }
    let requires = |form: &Value, key: &String| {
        form["required"].as_array().is_some_and(|keys| keys.iter().any(|own| own == key))
    };
    let required: Vec<&String> =
        properties.keys().filter(|key| own.iter().all(|form| requires(form, key))).collect();
    let mut schema = json_schema!({"type": "object", "properties": properties});
    if !required.is_empty() {
        schema.insert("required".to_owned(), json!(required));
    }
    schema
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
    ($(#[$doc:meta])* $vis:vis enum $name:ident; $($form:ident { $($(#[$about:meta])* $key:ident: $type:ty,)* })*) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, serde::Serialize)]
        #[serde(untagged)]
        $vis enum $name { $(#[doc = concat!("See `", stringify!($form), "`.")] $form($form),)* }

        $(
            #[doc = concat!("A form of `", stringify!($name), "`.")]
            #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
            $vis struct $form { $($(#[$about])* $vis $key: $type,)* }
        )*

        impl $name {
            /// Its forms.
            $vis const FORMS: &[$crate::step::forms::Form] = &[$($crate::step::forms::Form {
                fields: &[$(stringify!($key)),*],
                schema: <$form as schemars::JsonSchema>::json_schema,
            }),*];

            const READERS: &[$crate::step::forms::Reader<Self>] =
                &[$(|value| $crate::step::fit(value).map(Self::$form)),*];
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

pub(crate) use forms;
