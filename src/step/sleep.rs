//! `sleep`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Complaints, Scene};
use crate::units::Span;

/// Lets time pass: a duration. For the rare case where time itself is what is tested; for everything else there is
/// `wait`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Sleep(pub Span);

impl Sleep {
    pub(super) fn title(&self) -> String {
        format!("sleep {}", self.0)
    }

    pub(super) fn check(&self, _: &Scene<'_>, _: &mut Complaints) {}
}
