//! `link`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::running::Running;
use super::{Complaints, Rule, Scene, StepAction};
use crate::session::link::{Setting, State};
use crate::session::{Failure, Session};
use crate::units::{Size, Span};

/// Changes a link: cuts it, turns it into a black hole, opens it again, or slows it down.
///
/// Returns once the change is complete: after `cut`, every connection has ended and no new one is accepted. The result is
/// what the link has carried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// The link, as `links` declares it.
    pub name: String,
    /// Its new state. Default: no change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// The delay of each byte, in each direction, for data from now on. Default: no change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<Span>,
    /// The limit in bytes per second, in each direction; `0`: no limit. Default: no change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Size>,
}

impl StepAction for Link {
    const EXAMPLE: &str = "{name: NAME, state: cut}";
    const SNIPPET: Option<&str> = Some(r#"{"name": "$1", "state": "${2:cut}"}"#);
    const RULES: &[Rule] = &[Rule::AtLeastOne {
        keys: &["state", "delay", "rate"],
        none: ("the step changes nothing", "add `state`, `delay` or `rate`"),
    }];

    fn title(&self) -> String {
        let state = self.state.map(|state| format!(" {state}"));
        let delay = self.delay.map(|delay| format!(" delay {delay}"));
        let rate = self.rate.map(|rate| format!(" rate {rate}"));
        let parts: String = [state, delay, rate].into_iter().flatten().collect();
        format!("link {}:{parts}", self.name)
    }

    fn check(&self, scene: &Scene<'_>, complaints: &mut Complaints) {
        complaints.link(scene, &["name"], &self.name);
    }

    async fn run(&self, run: &mut Running<'_>) -> Result<Value, Failure> {
        let link = find(run.session, &self.name)?;
        let now = link.setting();
        link.set(Setting {
            state: self.state.unwrap_or(now.state),
            delay: self.delay.unwrap_or(now.delay),
            rate: self.rate.unwrap_or(now.rate),
        });
        let awaited = format!("link `{}` to be {}", self.name, link.setting());
        let look = |session: &Session| {
            let settled = find(session, &self.name)?.is_settled();
            Ok(settled?.then_some(()))
        };
        run.until(&awaited, look, |_| link.summary()).await?;
        Ok(link.values())
    }
}

/// A link of the case.
///
/// # Errors
/// If there is none of that name.
pub(super) fn find<'s>(session: &'s Session, name: &str) -> Result<&'s crate::session::link::Link, Failure> {
    session.links().get(name).ok_or_else(|| Failure::error(format!("there is no link `{name}` in this case")))
}
