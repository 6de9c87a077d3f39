//! The places that set the values of names.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::{Scope, compile, is_template};
use crate::diagnostic::Location;

/// The place that sets the value of each name.
pub type Origins = Arc<BTreeMap<String, Location>>;

/// The name whose value, or a part of it, is all that a template has.
#[must_use]
pub fn only_name(text: &str) -> Option<String> {
    let compiled = is_template(text).then(|| compile(text))?;
    let path = (*compiled).as_ref().ok()?.path.as_deref()?;
    Some(path.split('.').next()?.to_owned())
}

impl Scope<'_> {
    /// Sets a name, with the place that sets it.
    pub fn set(&mut self, name: &str, value: Value, at: Location) {
        self.rounds.remove(name);
        Arc::make_mut(&mut self.origins).insert(name.to_owned(), at);
        if let Some(names) = self.context.data_mut().as_object_mut() {
            names.insert(name.to_owned(), value);
        }
    }

    /// The places that set the values of names.
    #[must_use]
    pub const fn origins(&self) -> &Origins {
        &self.origins
    }
}
