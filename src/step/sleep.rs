//! `sleep`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::StepAction;
use super::running::Running;
use crate::session::Failure;
use crate::units::Span;

/// Waits for a fixed duration. Only for tests of time itself; for everything else use `wait`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Sleep(pub Span);

impl StepAction for Sleep {
    const EXAMPLE: &str = "1s";

    fn title(&self) -> String {
        format!("sleep {}", self.0)
    }

    async fn run(&self, run: &mut Running<'_>) -> Result<Value, Failure> {
        let end = run.began + self.0.0;
        if end > run.deadline {
            let left = run.deadline.saturating_duration_since(run.began);
            let left = humantime::format_duration(std::time::Duration::from_secs(left.as_secs()));
            return Err(Failure::error(format!(
                "a sleep of {} is longer than the {left} left for the step and its case; use a longer `timeout`",
                self.0
            )));
        }
        run.session.elsewhere(tokio::time::sleep_until(end)).await;
        Ok(Value::Null)
    }
}
