//! `serial`.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::guest::{Left, left};
use super::running::Running;
use super::{Complaints, Named, Needs, Scene, StepAction, brief};
use crate::session::log::serial_expression;
use crate::session::{Cause, Failure, Machine, Session};

/// Types a text on the serial port of a VM, and waits for output. The result is the text that `expect` matched, or null.
///
/// If the text is for a shell, `guest` with `access: console` does more: it logs in, and has the exit status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Serial {
    /// The VM.
    pub vm: String,
    /// The text, sent as it is: `"root\n"`, in double quotes, ends with Enter.
    pub send: String,
    /// A regular expression for the output after the text was sent; `^` and `$` match at line boundaries. A terminal prints
    /// what is typed, so that counts too. Default: none; the step ends at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<String>,
}

impl StepAction for Serial {
    const EXAMPLE: &str = "{vm: NAME, send: \"root\\n\", expect: \"Password:\"}";
    const SNIPPET: Option<&str> = Some(r#"{"vm": "$1", "send": "$2\n", "expect": "$3"}"#);

    fn title(&self) -> String {
        let expect = self.expect.as_ref().map(|expect| format!(" until /{expect}/")).unwrap_or_default();
        format!("{}: type {}{expect}", self.vm, brief(&json!(self.send.escape_debug().to_string())))
    }

    fn vms(&mut self) -> Vec<Named<'_>> {
        vec![Named::one(&mut self.vm, &["vm"], Needs::Process)]
    }

    fn check(&self, _: &Scene<'_>, complaints: &mut Complaints) {
        if self.send.is_empty() {
            complaints.add(&["send"], "the text is empty", "write `send: \"\\n\"` for Enter alone");
        }
        if self.send.ends_with("\\n") {
            let help = "write the text in double quotes: `\"root\\n\"`";
            complaints.add(&["send"], "the text ends with a backslash and an `n`, not with Enter", help);
        }
        if let Some(expect) = &self.expect {
            complaints.regex(&["expect"], expect);
        }
    }

    async fn run(&self, run: &mut Running<'_>) -> Result<Value, Failure> {
        let vm = &self.vm;
        if let Some(expect) = &self.expect {
            run.session.board().allow(vm, expect);
        }
        let machine = run.session.machine(vm)?;
        machine.catch_up();
        let from = machine.log.lock().serial_end();
        match tokio::time::timeout_at(run.deadline, machine.type_text(&self.send)).await {
            Ok(sent) => sent?,
            Err(_) => {
                let message =
                    format!("the serial port of `{vm}` did not take the text within {}", run.waited());
                return Err(Failure::late(message).about(vm));
            }
        }
        let Some(expect) = &self.expect else { return Ok(Value::Null) };
        let expression = serial_expression(expect)?;
        let look = |session: &Session| {
            let machine = session.machine(vm)?;
            let mut log = machine.log.lock();
            let Some((end, text)) = log.find_serial(&expression, from) else { return Ok(None) };
            log.serial_cursor = end;
            Ok(Some(json!(text)))
        };
        let seen = |session: &Session| {
            let output = |machine: Arc<Machine>| {
                String::from_utf8_lossy(machine.log.lock().serial_from(from)).into_owned()
            };
            let output = session.machine(vm).map(output).unwrap_or_default();
            let lines: Vec<&str> = output.lines().collect();
            match &lines[lines.len().saturating_sub(5)..] {
                [] => "no output".to_owned(),
                last => format!("its last lines: {}", last.join("\n")),
            }
        };
        let awaited = format!("serial output of `{vm}` matching /{expect}/");
        let session = run.session;
        let left = tokio::select! {
            biased;
            found = run.until(&awaited, look, seen) => return found.map_err(|failure| failure.about(vm)),
            left = left(run, vm, &awaited) => left,
        };
        machine.catch_up();
        match (look(session)?, left) {
            (Some(found), _) => Ok(found),
            (None, Left::Lost(failure)) => Err(failure),
            (None, Left::Moved(to)) => {
                let why = format!("its guest has moved to `{to}`");
                Err(Failure::from(Cause::Impossible { awaited, why }).about(vm))
            }
        }
    }
}
