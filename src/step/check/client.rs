//! `check: {client: …}`.

use serde_json::Value;

use super::Check;
use crate::session::client::Record;
use crate::session::{Failure, Session};
use crate::step::client::find_with_lines;

impl Check {
    /// What is asserted of a client, for the title of the step.
    pub(super) fn told_of_client(&self) -> String {
        let parts = [
            self.reconnects.map(|most| format!("at most {most} reconnects")),
            self.longest_gap.map(|bound| format!("longest gap below {bound}")),
            self.lines.map(|least| format!("at least {least} lines")),
            self.order.map(|_| "order kept".to_owned()),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        format!("client {}: {}", self.client.as_deref().unwrap_or_default(), parts.join(", "))
    }

    pub(super) fn of_client(&self, session: &Session) -> Result<Value, Failure> {
        let name = self.client.as_deref().unwrap_or_default();
        let client = find_with_lines(session, name)?;
        let record = client.record();
        let wrong = self.wrong_with(&record);
        if wrong.is_empty() {
            return Ok(client.values());
        }
        Err(Failure::failed(format!("client `{name}`: {} ({})", wrong.join("; "), record.told())))
    }

    /// Everything that is not as the check has it.
    fn wrong_with(&self, record: &Record) -> Vec<String> {
        let mut wrong = Vec::new();
        if let Some(most) = self.reconnects.filter(|most| record.reconnects > *most) {
            wrong.push(format!("it connected again {} times, not {most} at most", record.reconnects));
        }
        if let Some(bound) = self.longest_gap {
            match record.longest_gap() {
                None => wrong.push("no line was acknowledged, so there is no gap to measure".to_owned()),
                Some(gap) if gap >= bound.0 => wrong.push(format!(
                    "its longest gap is {:.3}s, not below {}s",
                    gap.as_secs_f64(),
                    bound.0.as_secs_f64()
                )),
                Some(_) => {}
            }
        }
        if let Some(least) = self.lines.filter(|least| record.lines < *least) {
            wrong.push(format!("{} of its lines were acknowledged, not {least} at least", record.lines));
        }
        if self.order.is_some() {
            if let Some((number, answer)) = record.wrong.first() {
                let all = record.wrong_answers;
                wrong
                    .push(format!("{all} of its answers were wrong, the first to line {number}: {answer:?}"));
            } else if record.lines == 0 {
                wrong.push("no line was acknowledged, so there is no order to keep".to_owned());
            }
        }
        wrong
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::time::Instant;

    use super::*;

    fn wrong(check: Value, record: &Record) -> String {
        serde_json::from_value::<Check>(check).unwrap().wrong_with(record).join("; ")
    }

    fn after(lines: u64) -> Record {
        let mut record = Record::new(5);
        for _ in 0..lines {
            record.acknowledge(Instant::now());
        }
        record
    }

    #[test]
    fn each_part_of_a_check_of_a_client_can_fail_and_names_its_numbers() {
        let mut record = after(3);
        let all = json!({"client": "c", "reconnects": 0, "longest_gap": "5s", "lines": 3, "order": "kept"});
        assert_eq!(wrong(all, &record), "");
        assert_eq!(wrong(json!({"lines": 4}), &record), "3 of its lines were acknowledged, not 4 at least");
        assert!(wrong(json!({"longest_gap": "0s"}), &record).ends_with("s, not below 0s"));
        record.reconnects = 2;
        assert_eq!(wrong(json!({"reconnects": 1}), &record), "it connected again 2 times, not 1 at most");
        record.wrong_answer("ok 9".to_owned());
        assert_eq!(
            wrong(json!({"order": "kept"}), &record),
            "1 of its answers were wrong, the first to line 8: \"ok 9\""
        );
    }

    #[test]
    fn a_client_that_saw_nothing_keeps_no_order_and_has_no_gap() {
        let nothing = after(0);
        let told = wrong(json!({"longest_gap": "5s", "order": "kept"}), &nothing);
        assert!(told.contains("no gap to measure") && told.contains("no order to keep"), "{told}");
    }
}
