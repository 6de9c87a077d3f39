//! `check: {serial: …}`: what a VM has printed on its serial port.

use serde_json::{Value, json};

use super::{OfVm, SerialCheck};
use crate::session::Failure;
use crate::session::log::serial_expression;
use crate::step::running::Running;

impl SerialCheck {
    pub(super) fn title(&self) -> String {
        format!("{}serial output matching /{}/", if self.absent { "no " } else { "" }, self.serial)
    }
}

impl OfVm for SerialCheck {
    async fn run(&self, run: &Running<'_>, vm: &str) -> Result<Value, Failure> {
        let expression = serial_expression(&self.serial)?;
        let machine = run.session.machine(vm)?;
        machine.catch_up();
        let printed = machine.serial_output()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        match expression.find(&printed) {
            Some(found) if self.absent => {
                let start =
                    printed[..found.start()].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
                let end = printed[found.end()..].iter().position(|byte| *byte == b'\n');
                let line = text(&printed[start..end.map_or(printed.len(), |end| found.end() + end)]);
                let message =
                    format!("the serial port of `{vm}` has printed what /{}/ matches: {line}", self.serial);
                Err(Failure::failed(message).about(vm))
            }
            None if !self.absent => {
                let tail = machine.log.lock().serial_tail(5);
                let tail =
                    if tail.is_empty() { "no output".to_owned() } else { format!("its last lines: {tail}") };
                let message = format!(
                    "the serial port of `{vm}` has printed nothing that /{}/ matches; {tail}",
                    self.serial
                );
                Err(Failure::failed(message).about(vm))
            }
            found => Ok(found.map_or(Value::Null, |found| json!(text(found.as_bytes())))),
        }
    }
}
