//! `check: {client: …}`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::timeout_at;

use super::{Client, history};
use crate::session::checkpoints::began;
use crate::session::client::{self, Line, Record, recall};
use crate::session::{Failure, Session};
use crate::step::client::{find_with_lines, is_address};
use crate::step::running::Running;
use crate::step::{Complaints, Scene};

/// What `check: {client: …, checkpoints: …}` asserts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CheckpointsCheck {
    /// At least one for each line.
    Each,
    /// None.
    None,
}

/// What `check: {client: …, order: …}` asserts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OrderCheck {
    /// No answer was wrong, missing or extra.
    Kept,
}

impl Client {
    /// Its assertions, for the step's title.
    pub(super) fn title(&self) -> String {
        let parts = [
            self.reconnects.map(|most| format!("at most {most} reconnects")),
            self.longest_gap.map(|bound| format!("longest gap below {bound}")),
            self.lines.map(|least| format!("at least {least} lines")),
            self.order.map(|_| "order kept".to_owned()),
            self.checkpoints.map(|which| match which {
                CheckpointsCheck::Each => "a checkpoint for each line".to_owned(),
                CheckpointsCheck::None => "no checkpoint".to_owned(),
            }),
            self.known_at.as_ref().map(|address| format!("its draws known at {address}")),
            self.history.map(|_| match &self.at {
                Some(address) => format!("history kept at {address}"),
                None => "history kept".to_owned(),
            }),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        format!("client {}: {}", self.client, parts.join(", "))
    }

    pub(super) fn check(&self, scene: &Scene<'_>, complaints: &mut Complaints) {
        complaints.client(scene, &["client"], &self.client);
        for (key, address) in [("known_at", &self.known_at), ("at", &self.at)] {
            if let Some(address) = address.as_ref().filter(|address| !is_address(address)) {
                let message = format!("`{address}` is not a valid `HOST:PORT`");
                complaints.add(&[key], message, "write `127.0.0.1:7003`");
            }
        }
    }

    pub(super) async fn run(&self, run: &Running<'_>) -> Result<Value, Failure> {
        let name = &self.client;
        let client = find_with_lines(run.session, name)?;
        let record = client.record();
        let mut wrong = self.mismatches(&record);
        if let Some(which) = self.checkpoints {
            wrong.extend(of_primary(run.session, which, &record).err());
        }
        if let Some(address) = &self.known_at {
            wrong.extend(known(run, &client, &record, address).await.err());
        }
        let mut shown = String::new();
        if self.history.is_some()
            && let Err((what, operations)) = history::check(run, &client, self.at.as_deref()).await?
        {
            wrong.push(what);
            shown = operations;
        }
        if wrong.is_empty() {
            return Ok(client.values());
        }
        let message = format!("client `{name}`: {} ({}){shown}", wrong.join("; "), record.summary());
        Err(Failure::failed(message))
    }

    /// Every assertion that fails.
    fn mismatches(&self, record: &Record) -> Vec<String> {
        let mut wrong = Vec::new();
        if let Some(most) = self.reconnects.filter(|most| record.reconnects > *most) {
            wrong.push(format!("{} reconnects, expected at most {most}", record.reconnects));
        }
        if let Some(bound) = self.longest_gap {
            match record.longest_gap() {
                None => wrong.push("no line was acknowledged, cannot measure the longest gap".to_owned()),
                Some(gap) if gap >= bound.0 => wrong.push(format!(
                    "the longest gap is {:.3} s, not below {} s",
                    gap.as_secs_f64(),
                    bound.0.as_secs_f64()
                )),
                Some(_) => {}
            }
        }
        if let Some(least) = self.lines.filter(|least| record.lines < *least) {
            wrong.push(format!("{} lines acknowledged, expected at least {least}", record.lines));
        }
        if self.order.is_some() {
            if let Some((number, answer)) = record.wrong.first() {
                let all = record.wrong_answers;
                wrong.push(format!("{all} wrong answers, the first to line {number}: {answer:?}"));
            } else if record.lines == 0 {
                wrong.push("no line was acknowledged, cannot check the order".to_owned());
            }
        }
        wrong
    }
}

/// Checks the primary's checkpoints against the client's lines.
fn of_primary(session: &Session, which: CheckpointsCheck, record: &Record) -> Result<(), String> {
    let lines = record.kept().map_err(|why| why.to_string())?;
    let primary = &session.pair().ok_or("there was no migration")?.source;
    let machine = session.machine(primary).map_err(|failure| failure.to_string())?;
    machine.catch_up();
    let log = machine.log.lock();
    match which {
        CheckpointsCheck::Each => one_for_each(&began(&log.events), &lines),
        CheckpointsCheck::None => none_since(&began(&log.events), lines[0].asked),
    }
    .map_err(|wrong| format!("{wrong}, by the events of `{primary}`"))
}

/// Checks that no checkpoint began after a moment.
fn none_since(began: &[f64], first: f64) -> Result<(), String> {
    match began.iter().filter(|at| **at > first).count() {
        0 => Ok(()),
        count => Err(format!("{count} checkpoints began since its first line, expected 0")),
    }
}

/// Checks that a checkpoint began between each line and its answer.
fn one_for_each(began: &[f64], lines: &[Line]) -> Result<(), String> {
    let lacks = |line: &&Line| !began.iter().any(|at| line.asked < *at && *at < line.answered);
    let without: Vec<&Line> = lines.iter().filter(lacks).collect();
    let Some(first) = without.first() else { return Ok(()) };
    let (count, all, number) = (without.len(), lines.len(), first.number);
    Err(format!("{count} of its {all} lines were answered without a checkpoint, the first is line {number}"))
}

/// Checks that a service returns the numbers that the client got.
async fn known(
    run: &Running<'_>,
    client: &client::Client,
    record: &Record,
    address: &str,
) -> Result<(), String> {
    if !client.has_draws() {
        return Err("`known_at` needs a client with `draws: true`".to_owned());
    }
    let lines = record.kept().map_err(|why| why.to_string())?;
    let numbers: Vec<u64> = lines.iter().map(|line| line.number).collect();
    let answers = run.session.elsewhere(timeout_at(run.deadline, recall(address, &numbers))).await;
    let answers = answers
        .map_err(|_| format!("the service at {address} did not answer in time"))?
        .map_err(|error| format!("cannot query the service at {address}: {error}"))?;
    same_draws(&lines, &answers)
}

/// Compares a service's answers with the numbers that the client got.
fn same_draws(lines: &[Line], answers: &[String]) -> Result<(), String> {
    let other = |(line, answer): &(&Line, &String)| **answer != format!("ok {} {}", line.number, line.draw);
    let others: Vec<(&Line, &String)> = lines.iter().zip(answers).filter(other).collect();
    let Some((line, answer)) = others.first() else { return Ok(()) };
    let (Line { number, draw, .. }, count, all) = (line, others.len(), lines.len());
    let known = answer.strip_prefix(&format!("ok {number} ")).unwrap_or(answer);
    Err(format!(
        "{count} of its {all} draws differ: for line {number} it got {draw}, the service answers {known:?}"
    ))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::session::client::Kind;

    fn wrong(mut check: Value, record: &Record) -> String {
        check["client"] = json!("c");
        serde_json::from_value::<Client>(check).unwrap().mismatches(record).join("; ")
    }

    fn after(lines: u64) -> Record {
        let mut record = Record::new(5);
        for number in 5..5 + lines {
            let place = record.begin(Kind::Line, number, Duration::ZERO);
            record.acknowledge(place, number, None, Duration::ZERO);
        }
        record
    }

    #[test]
    fn each_part_of_a_check_of_a_client_can_fail_and_names_its_numbers() {
        let mut record = after(3);
        let all = json!({"reconnects": 0, "longest_gap": "5s", "lines": 3, "order": "kept"});
        assert_eq!(wrong(all, &record), "");
        assert_eq!(wrong(json!({"lines": 4}), &record), "3 lines acknowledged, expected at least 4");
        assert!(wrong(json!({"longest_gap": "0s"}), &record).ends_with(" s, not below 0 s"));
        record.reconnects = 2;
        assert_eq!(wrong(json!({"reconnects": 1}), &record), "2 reconnects, expected at most 1");
        record.wrong_answer(8, "ok 9".to_owned());
        assert_eq!(
            wrong(json!({"order": "kept"}), &record),
            "1 wrong answers, the first to line 8: \"ok 9\""
        );
    }

    fn line(number: u64, asked: f64, answered: f64) -> Line {
        Line { number, asked, answered, draw: format!("n{number}") }
    }

    #[test]
    fn a_line_needs_a_checkpoint_that_began_between_the_line_and_its_answer() {
        let lines = [line(7, 1.0, 2.0), line(8, 3.0, 4.0), line(9, 5.0, 6.0)];
        assert_eq!(one_for_each(&[1.5, 3.5, 5.5], &lines), Ok(()));
        assert_eq!(
            one_for_each(&[1.5, 2.5, 4.5, 6.5], &lines).unwrap_err(),
            "2 of its 3 lines were answered without a checkpoint, the first is line 8"
        );
        assert_eq!(none_since(&[0.5], 1.0), Ok(()));
        assert_eq!(
            none_since(&[0.5, 7.0], 1.0).unwrap_err(),
            "1 checkpoints began since its first line, expected 0"
        );
    }

    #[test]
    fn a_service_must_return_the_number_that_the_client_got_for_each_line() {
        let lines = [line(1, 1.0, 2.0), line(2, 3.0, 4.0)];
        let compared = |answers: [&str; 2]| same_draws(&lines, &answers.map(str::to_owned));
        assert_eq!(compared(["ok 1 n1", "ok 2 n2"]), Ok(()));
        assert_eq!(
            compared(["ok 1 n1", "ok 2 n3"]).unwrap_err(),
            "1 of its 2 draws differ: for line 2 it got n2, the service answers \"n3\""
        );
        assert!(
            compared(["error nothing was drawn for 1", "ok 2 n2"])
                .unwrap_err()
                .ends_with("for line 1 it got n1, the service answers \"error nothing was drawn for 1\"")
        );
    }

    #[test]
    fn without_lines_order_and_gap_fail() {
        let nothing = after(0);
        let message = wrong(json!({"longest_gap": "5s", "order": "kept"}), &nothing);
        assert!(message.contains("the longest gap") && message.contains("the order"), "{message}");
    }
}
