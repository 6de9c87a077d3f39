//! `migrate`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Complaints, Scene};

/// Starts a migration and returns at once.
///
/// With `to`: has the destination listen where it is `incoming: defer`, finds out the address it really got, and
/// starts the migration from `from`. With `uri`: starts it towards that URI (`exec:`, `file:`, `fd:` and the like).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Migrate {
    /// The source.
    pub from: String,
    /// The destination.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Where the destination listens, as a migration URI. Default: `tcp:127.0.0.1:0`, a port of QEMU's choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen: Option<String>,
    /// The target as a URI, instead of `to`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// The target as QAPI `MigrationChannel`s (QEMU 8.2 and later), instead of a URI; with `to`, an inet port of `"0"`
    /// is replaced by the destination's real one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channels: Option<Vec<Value>>,
    /// Resumes a paused postcopy migration. Default: `false`.
    #[serde(default)]
    pub resume: bool,
}

impl Migrate {
    pub(super) fn title(&self) -> String {
        let target = self
            .to
            .as_deref()
            .or(self.uri.as_deref())
            .unwrap_or("its channels");
        format!(
            "{} {} to {target}",
            if self.resume { "resume" } else { "migrate" },
            self.from
        )
    }

    pub(super) fn check(&self, scene: &Scene<'_>, complaints: &mut Complaints) {
        complaints.vm(scene, &["from"], &self.from);
        if let Some(to) = &self.to {
            complaints.vm(scene, &["to"], to);
            if *to == self.from {
                complaints.add(
                    &["to"],
                    format!("`{to}` cannot migrate to itself"),
                    "name another VM",
                );
            } else if scene.vms.get(to).is_some_and(|spec| spec.incoming.is_none()) {
                complaints.add(
                    &["to"],
                    format!("VM `{to}` does not wait for a migration"),
                    format!("give it `incoming: defer` under `vms: {{{to}: …}}`"),
                );
            }
            if self.uri.is_some() {
                complaints.add(
                    &["uri"],
                    "a migration has one target, not `to` and `uri`",
                    "keep one of them",
                );
            }
        } else {
            if self.uri.is_none() && self.channels.is_none() {
                complaints.add(
                    &[],
                    "the migration has no target",
                    "write `to: VM`, `uri: …` or `channels: […]`",
                );
            }
            if self.listen.is_some() {
                complaints.add(&["listen"], "there is no VM to listen", "name it with `to`");
            }
        }
    }
}
