//! The checks on services that do one thing wrong.

use std::sync::Arc;

use tokio::time::timeout;

use super::*;
use crate::event::Sink;
use crate::session::board::Board;
use crate::session::client::played::{Fault, Front, Played};
use crate::session::client::{Record, Speaks, Work};

/// The deadline of each wait; never reached if the test passes.
const PATIENCE: Duration = Duration::from_secs(60);

fn service(played: &Played, front: Front, does: Does) -> Service {
    let speaks = match front {
        Front::Redis => Speaks::Redis { key: "k".to_owned(), password: None },
        Front::Http => Speaks::Http { path: "/k".to_owned(), status: 200, answer: None },
    };
    Service { address: played.address.clone(), does, speaks }
}

/// Runs a client until it has this many acknowledgements.
async fn run(service: &Service, connections: u32, count: u64) -> Client {
    let board = Arc::new(Board::default());
    let work = Work::Operations { service: service.clone(), every: Duration::ZERO, first: 1, connections };
    let client = Client::start("c", work, &board, &Sink::silent()).unwrap();
    let mut changes = board.changes();
    let until = async |is_so: &dyn Fn(&Record) -> bool| {
        let wait = async {
            while !is_so(&client.record()) {
                changes.changed().await.unwrap();
            }
        };
        timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{}", client.summary()));
    };
    let mut until = until;
    until(&|record| record.lines >= count).await;
    client.ask_to_stop();
    until(&|record| record.ended.is_some()).await;
    client
}

/// What the check finds, and the lines that show it.
async fn found(front: Front, does: Does, fault: Fault) -> (String, String, Client) {
    let played = Played::start(front, fault).await;
    let service = service(&played, front, does);
    let client = run(&service, 1, 20).await;
    let after = client::contents(&service).await.unwrap();
    let read = (Duration::from_secs(1000), Duration::from_secs(1001));
    let (what, lines) = compare(&client, &service, &after, read).err().unwrap_or_default();
    (what, lines, client)
}

#[tokio::test]
async fn each_fault_of_a_service_of_redis_is_found_and_no_other() {
    use Does::{Append, Count, Register};
    for (does, fault, expected) in [
        (Append, Fault::None, ""),
        (Append, Fault::Unanswered, ""),
        (Append, Fault::Dropped, ""),
        (Append, Fault::Refused, ""),
        (Append, Fault::Lost, "the list lost 1 acknowledged operations, the first is append 5; it has 1"),
        (Append, Fault::Reordered, "the list is out of order: append 4 was acknowledged before append 5"),
        (Append, Fault::Twice, "the list has \"5\" twice"),
        (Append, Fault::Invented, "the list has \"777\", which was never appended"),
        (Append, Fault::RefusedAndDone, "the list has \"5\", whose append was refused"),
        (Count, Fault::None, ""),
        (Count, Fault::Unanswered, ""),
        (Count, Fault::Dropped, ""),
        (Count, Fault::Refused, ""),
        (Count, Fault::Lost, "the counter went back: count 6 returned 5 after count 5 had returned 5"),
        (Count, Fault::Back, "the counter went back: count 5 returned 3 after count 4 had returned 4"),
        (Count, Fault::Twice, "count 5 returned 6, more than the 5 acknowledged and 0 unknown"),
        (Count, Fault::RefusedAndDone, "count 6 returned 6, more than the 5 acknowledged and 0 unknown"),
        (Register, Fault::None, ""),
        (Register, Fault::Unanswered, ""),
        (Register, Fault::Dropped, ""),
        (Register, Fault::Refused, ""),
        (Register, Fault::Lost, "the register is not linearizable: read 10 returned \"7\" after write 9 had"),
        (Register, Fault::Stale, "the register is not linearizable: "),
        (Register, Fault::RefusedAndDone, "read 10 returned \"9\", whose write was refused"),
    ] {
        let (what, lines, client) = found(Front::Redis, does, fault).await;
        let fits = if expected.is_empty() { what.is_empty() } else { what.starts_with(expected) };
        assert!(fits, "{does:?} {fault:?}: expected {expected:?}, got {what:?}{lines}");
        assert_eq!(lines.lines().count(), if expected.is_empty() { 0 } else { 3 }, "{lines}");
        let record = client.record();
        let is_unknown = matches!(fault, Fault::Unanswered | Fault::Dropped);
        assert_eq!((record.unknown, record.reconnects), (u64::from(is_unknown), u64::from(is_unknown)));
        let is_refused = matches!(fault, Fault::Refused | Fault::RefusedAndDone);
        assert_eq!(record.refused, u64::from(is_refused));
    }
}

#[tokio::test]
async fn a_register_over_http_is_checked_in_the_same_way() {
    for (fault, expected) in [
        (Fault::None, ""),
        (Fault::Unanswered, ""),
        (Fault::Refused, ""),
        (Fault::Lost, "the register is not linearizable: read 10 returned \"7\" after write 9 had"),
        (Fault::Stale, "the register is not linearizable: "),
        (Fault::RefusedAndDone, "read 10 returned \"9\", whose write was refused"),
    ] {
        let (what, lines, _) = found(Front::Http, Does::Register, fault).await;
        let fits = if expected.is_empty() { what.is_empty() } else { what.starts_with(expected) };
        assert!(fits, "{fault:?}: expected {expected:?}, got {what:?}{lines}");
    }
}

#[tokio::test]
async fn several_connections_use_a_register_at_the_same_time() {
    let played = Played::start(Front::Redis, Fault::None).await;
    // What is there before has the value of no write.
    played.hold("3");
    let service = service(&played, Front::Redis, Does::Register);
    let client = run(&service, 4, 200).await;
    let record = client.record();
    let history = record.history().unwrap();
    let overlap = |pair: &[Operation]| pair[1].asked < pair[0].ended.unwrap();
    assert!(history.windows(2).any(overlap), "no two operations overlap");
    assert_eq!(record.acknowledged, [[1, record.lines]]);
    let after = client::contents(&service).await.unwrap();
    let read = (Duration::from_secs(1000), Duration::from_secs(1001));
    assert_eq!(compare(&client, &service, &after, read), Ok(()));
    // The value that was there before all writes is a stale one now.
    let (what, _) = compare(&client, &service, &Contents::Value(Some("3".to_owned())), read).unwrap_err();
    assert!(
        what.starts_with("the register is not linearizable: the final read returned \"3\" after "),
        "{what}"
    );
}
