//! How long a case waits for its runner.

use std::collections::HashMap;

use super::What;

/// The times in which the runner waits, from the event stream of one case.
///
/// Each is called a *turn*: it begins when the runner has sent a command and ends with the reply, or begins when a VM is
/// started and ends with the first command to it, or is a wait of a step ([`What::Waited`]). What lies between the end of a
/// turn and the beginning of the next is a *reaction*: what was awaited has happened, and the runner has not yet sent the
/// next command, started a VM, or begun to wait. In `parallel`, there is a reaction only while no branch waits.
#[derive(Debug, Clone, Default)]
pub struct Turns {
    /// The commands without a reply, by VM and identifier, and when they were sent.
    sent: HashMap<(String, u64), f64>,
    /// The VMs without a command, and when they were started.
    started: HashMap<String, f64>,
    /// The turns that have ended: when they began and ended.
    ended: Vec<(f64, f64)>,
}

impl Turns {
    /// Processes an event of the case.
    pub fn take(&mut self, at: f64, what: &What) {
        match what {
            What::CaseStarted { .. } | What::AttemptEnded { .. } => *self = Self::default(),
            What::VmSpawned { vm, .. } => _ = self.started.insert(vm.clone(), at),
            What::QmpCommand { vm, message } => {
                if let Some(started) = self.started.remove(vm) {
                    self.ended.push((started, at));
                }
                if let Some(id) = message["id"].as_u64() {
                    self.sent.insert((vm.clone(), id), at);
                }
            }
            What::QmpReply { vm, message } => {
                let sent = message["id"].as_u64().and_then(|id| self.sent.remove(&(vm.clone(), id)));
                self.ended.extend(sent.map(|sent| (sent, at)));
            }
            What::Waited { from, until } => {
                // Its own queries are a part of it.
                let first = self.ended.iter().rposition(|turn| turn.1 < *from).map_or(0, |last| last + 1);
                let inside = |turn: &(f64, f64)| turn.0 >= *from && turn.1 <= *until;
                let later = self.ended.split_off(first);
                self.ended.extend(later.into_iter().filter(|turn| !inside(turn)));
                self.ended.push((*from, *until));
            }
            _ => {}
        }
    }

    /// The reactions so far: when each began and ended.
    #[must_use]
    pub fn reactions(&self) -> Vec<(f64, f64)> {
        let mut turns = self.ended.clone();
        turns.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut end = turns.first().map_or(0.0, |turn| turn.1);
        let mut reactions = Vec::new();
        for (from, until) in turns {
            if from > end {
                reactions.push((end, from));
            }
            end = end.max(until);
        }
        reactions
    }

    /// The sum of the reactions, in seconds; none without a turn.
    #[must_use]
    pub fn runner_wait(&self) -> Option<f64> {
        let sum = self.reactions().iter().map(|(from, until)| until - from).sum();
        (!self.ended.is_empty()).then_some(sum)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The reactions to a stream, in milliseconds.
    fn reactions(stream: &[(f64, What)]) -> Vec<(i64, i64)> {
        let mut turns = Turns::default();
        stream.iter().for_each(|(ms, what)| turns.take(*ms / 1e3, what));
        let ms = |seconds: f64| (seconds * 1e3).round() as i64;
        turns.reactions().into_iter().map(|(from, until)| (ms(from), ms(until))).collect()
    }

    fn command(id: u64) -> What {
        What::QmpCommand { vm: "a".into(), message: json!({"execute": "query-status", "id": id}) }
    }

    fn reply(id: u64) -> What {
        What::QmpReply { vm: "a".into(), message: json!({"return": {}, "id": id}) }
    }

    fn waited(from: f64, until: f64) -> What {
        What::Waited { from: from / 1e3, until: until / 1e3 }
    }

    #[test]
    fn a_reaction_lasts_from_a_reply_to_the_next_command() {
        let spawned = What::VmSpawned { vm: "a".into(), pid: 1, version: None, argv: Vec::new() };
        let stream = |delay: f64| {
            [
                (0.0, spawned.clone()),
                (100.0, command(1)),
                (110.0, reply(1)),
                (112.0 + delay, command(2)),
                (120.0 + delay, reply(2)),
            ]
        };
        assert_eq!(reactions(&stream(0.0)), [(110, 112)]);
        // The control: a runner that is late.
        assert_eq!(reactions(&stream(50.0)), [(110, 162)]);
    }

    #[test]
    fn a_wait_ends_when_its_condition_was_met_and_its_queries_are_a_part_of_it() {
        let mut stream = vec![(10.0, command(1)), (11.0, reply(1))];
        let queries = [(20.0, command(2)), (21.0, reply(2)), (30.0, command(3)), (31.0, reply(3))];
        stream.extend(queries);
        // Met at 28; asked at 30; the next step begins at 35.
        stream.extend([(32.0, waited(11.0, 28.0)), (35.0, command(4)), (36.0, reply(4))]);
        assert_eq!(reactions(&stream), [(28, 30), (31, 35)]);
    }

    #[test]
    fn there_is_no_reaction_while_another_branch_waits() {
        let stream = [(10.0, command(1)), (11.0, reply(1)), (13.0, command(2)), (14.0, reply(2))];
        let with = |wait: What| stream.iter().cloned().chain([(20.0, wait)]).collect::<Vec<_>>();
        assert_eq!(reactions(&stream), [(11, 13)]);
        assert_eq!(reactions(&with(waited(5.0, 20.0))), []);
        assert_eq!(reactions(&with(waited(5.0, 12.0))), [(12, 13)]);
    }

    #[test]
    fn a_new_attempt_begins_anew() {
        let mut turns = Turns::default();
        turns.take(0.1, &command(1));
        turns.take(0.2, &reply(1));
        assert_eq!(turns.runner_wait(), Some(0.0));
        let started = json!({"event": "case_started", "name": "n", "file": "f", "params": {}, "steps": 1});
        turns.take(0.3, &serde_json::from_value(started).unwrap());
        assert_eq!(turns.runner_wait(), None);
    }
}
