use std::time::Duration;

use proptest::prelude::*;

use super::register::linearizable;
use super::*;
use crate::session::client::{Kind, Outcome};

/// An operation that is sent at one millisecond and ends at another.
fn operation(kind: Kind, number: u64, (asked, ended): (u64, u64), outcome: Outcome) -> Operation {
    let wrote = matches!(kind, Kind::Append | Kind::Write).then_some(number);
    let ended = (outcome != Outcome::Pending).then(|| Duration::from_millis(ended));
    Operation { number, kind, wrote, asked: Duration::from_millis(asked), ended, real: 0.0, outcome }
}

/// Operations one after the other, from number 1 on; `n` takes from `10n` to `10n + 5` ms.
fn one_by_one(kind: Kind, outcomes: Vec<Outcome>) -> Vec<Operation> {
    let one = |(number, outcome)| operation(kind, number, (number * 10, number * 10 + 5), outcome);
    (1..).zip(outcomes).map(one).collect()
}

fn done(value: Option<&str>) -> Outcome {
    Outcome::Acknowledged(value.map(str::to_owned))
}

fn list(elements: &[&str]) -> Contents {
    Contents::List(elements.iter().map(|element| (*element).to_owned()).collect())
}

fn value(value: Option<&str>) -> Contents {
    Contents::Value(value.map(str::to_owned))
}

/// What is wrong if the contents are read after all operations.
fn wrong(does: Does, operations: &[Operation], before: &Contents, after: &Contents) -> String {
    let read = (Duration::from_secs(100), Duration::from_secs(101));
    let account = Account { operations, before, after, read };
    account.check(does).err().map(|violation| violation.what).unwrap_or_default()
}

#[test]
fn a_list_has_what_was_acknowledged_in_order_once_and_nothing_else() {
    let outcomes =
        vec![done(None), Outcome::Unknown, done(None), Outcome::Refused("no".to_owned()), done(None)];
    let operations = one_by_one(Kind::Append, outcomes);
    let wrong = |elements: &[&str]| wrong(Does::Append, &operations, &list(&["x"]), &list(elements));
    for kept in [
        &["x", "1", "3", "5"][..],
        &["x", "1", "2", "3", "5"],
        // An operation with an unknown outcome may be late, or be done twice.
        &["x", "1", "3", "5", "2"],
        &["x", "1", "2", "2", "3", "5"],
    ] {
        assert_eq!(wrong(kept), "", "{kept:?}");
    }
    assert_eq!(
        wrong(&["x", "1", "5"]),
        "the list lost 1 acknowledged operations, the first is append 3; it has 3 elements"
    );
    assert_eq!(
        wrong(&["x", "1", "5", "3"]),
        "the list is out of order: append 3 was acknowledged before append 5 was sent, and is behind it"
    );
    // One that was acknowledged before the unknown one was sent is before it too.
    assert!(wrong(&["x", "2", "1", "3", "5"]).starts_with("the list is out of order: append 1 "));
    assert_eq!(wrong(&["x", "1", "3", "3", "5"]), "the list has \"3\" twice, and it was appended once");
    assert_eq!(wrong(&["x", "1", "3", "5", "9"]), "the list has \"9\", which was never appended");
    assert_eq!(wrong(&["x", "1", "3", "4", "5"]), "the list has \"4\", whose append was refused");
    assert!(wrong(&["1", "3", "5"]).contains("the first 1 elements of the list"));
}

#[test]
fn an_operation_that_ended_after_the_read_need_not_be_there() {
    let operations = one_by_one(Kind::Append, vec![done(None), done(None)]);
    let account = |after: &Contents, at: u64| {
        let read = (Duration::from_millis(at), Duration::from_millis(at + 1));
        let account = Account { operations: &operations, before: &list(&[]), after, read };
        account.check(Does::Append).is_ok()
    };
    assert!(account(&list(&["1"]), 20) && account(&list(&["1", "2"]), 20) && !account(&list(&["1"]), 26));
}

#[test]
fn a_counter_never_goes_back_and_is_as_high_as_the_operations_make_it() {
    let counts = |values: &[&str]| {
        let outcome = |value: &&str| match *value {
            "?" => Outcome::Unknown,
            "no" => Outcome::Refused("no".to_owned()),
            value => done(Some(value)),
        };
        one_by_one(Kind::Count, values.iter().map(outcome).collect())
    };
    let wrong =
        |values: &[&str], after| wrong(Does::Count, &counts(values), &value(Some("10")), &value(Some(after)));
    for (values, after) in [
        (&["11", "12"][..], "12"),
        (&["11", "?", "12"], "12"),
        (&["11", "?", "13"], "13"),
        (&["11", "?"], "12"),
    ] {
        assert_eq!(wrong(values, after), "", "{values:?} {after}");
    }
    assert_eq!(
        wrong(&["11", "12", "12"], "13"),
        "the counter went back: count 3 returned 12 after count 2 had returned 12"
    );
    assert_eq!(
        wrong(&["11", "no", "13"], "13"),
        "count 3 returned 13, more than the 2 acknowledged and 0 unknown operations make, from 10"
    );
    // It went back when only an operation with an unknown outcome shows it.
    assert!(wrong(&["?", "11", "11"], "11").starts_with("the counter went back"));
    assert_eq!(
        wrong(&["9"], "10"),
        "count 1 returned 9, less than the 1 acknowledged operations make, from 10"
    );
    assert_eq!(
        wrong(&["11", "12"], "11"),
        "the counter is 11, less than the 2 acknowledged operations make, from 10"
    );
    assert!(
        wrong(&["11", "?"], "13")
            .starts_with("the counter is 13, more than the 1 acknowledged and 1 unknown")
    );
    assert_eq!(wrong(&["11", "x"], "12"), "\"x\" is not a value of a counter");
}

#[test]
fn a_stale_read_of_a_register_is_found() {
    let mut operations = vec![
        operation(Kind::Write, 1, (10, 15), done(None)),
        operation(Kind::Read, 2, (20, 25), done(Some("1"))),
        operation(Kind::Write, 3, (30, 35), done(None)),
        operation(Kind::Read, 4, (40, 45), done(Some("3"))),
    ];
    let wrong = |operations: &[Operation], after| {
        wrong(Does::Register, operations, &value(None), &value(Some(after)))
    };
    assert_eq!(wrong(&operations, "3"), "");
    // The service lost the last write.
    assert!(
        wrong(&operations, "1")
            .starts_with("the register is not linearizable: the final read returned \"1\"")
    );
    operations[3].outcome = done(Some("1"));
    assert!(
        wrong(&operations, "3").starts_with("the register is not linearizable: read 4 returned \"1\" after ")
    );
    operations[3].outcome = done(None);
    assert!(wrong(&operations, "3").starts_with("the register is not linearizable: read 4 returned nothing"));
    operations[3].outcome = done(Some("9"));
    assert_eq!(wrong(&operations, "3"), "read 4 returned \"9\", which was never written");
    // The write has no answer: it may be done at any time after it was sent, or never.
    operations[2].outcome = Outcome::Unknown;
    for (seen, after) in [("1", "1"), ("1", "3"), ("3", "3")] {
        operations[3].outcome = done(Some(seen));
        assert_eq!(wrong(&operations, after), "", "{seen} {after}");
    }
    assert!(wrong(&operations, "1").contains("not linearizable"));
    operations[2].outcome = Outcome::Refused("no".to_owned());
    assert_eq!(wrong(&operations, "3"), "read 4 returned \"3\", whose write was refused");
    operations[1].outcome = done(Some("3"));
    operations[2].outcome = done(None);
    assert_eq!(wrong(&operations, "3"), "read 2 returned \"3\" before it was written");
}

#[test]
fn a_violation_shows_the_operations_at_fault_and_around_it() {
    let operations = one_by_one(Kind::Append, vec![done(None), done(None), done(None), Outcome::Unknown]);
    let (what, lines) = Violation::of("it lost one".to_owned(), &[0]).words(&operations);
    assert_eq!(what, "it lost one");
    assert_eq!(
        lines,
        "\noperations: append 1 acknowledged at 0.010 to 0.015 s\
         \naround them: append 2 acknowledged at 0.020 to 0.025 s, append 3 acknowledged at 0.030 to 0.035 s"
    );
}

/// Whether there is an order, by trying all of them.
fn has_order(operations: &[Operation], done: u32, value: Option<u64>) -> bool {
    let left = || (0..operations.len()).filter(|at| done & (1 << at) == 0);
    if left().all(|at| !operations[at].is_acknowledged()) {
        return true;
    }
    let is_next = |at: &usize| left().all(|other| !operations[other].precedes(&operations[*at]));
    left().filter(is_next).any(|at| {
        let operation = &operations[at];
        let done = done | (1 << at);
        match operation.wrote {
            Some(wrote) => has_order(operations, done, Some(wrote)),
            None if !operation.is_acknowledged() => has_order(operations, done, value),
            None => {
                operation.returned() == value.map(|value| value.to_string()).as_deref()
                    && has_order(operations, done, value)
            }
        }
    })
}

/// An operation of a random history: write or read, its times, the value read, whether its outcome is known.
fn any_operation() -> impl Strategy<Value = (bool, u64, u64, u64, bool)> {
    (any::<bool>(), 0..40_u64, 1..20_u64, 0..4_u64, prop::bool::weighted(0.8))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn the_check_of_a_register_agrees_with_trying_all_orders(drawn in prop::collection::vec(any_operation(), 1..8)) {
        let writes = drawn.iter().filter(|one| one.0).count() as u64;
        let mut written = 0;
        let operations: Vec<Operation> = drawn.iter().enumerate().map(|(at, &(is_write, asked, took, seen, is_known))| {
            written += u64::from(is_write);
            let (kind, number) = if is_write { (Kind::Write, written) } else { (Kind::Read, 100 + at as u64) };
            let seen = Some(seen.min(writes)).filter(|seen| *seen > 0).map(|seen| seen.to_string());
            let outcome = match (is_known, is_write) {
                (false, _) => Outcome::Unknown,
                (true, true) => done(None),
                (true, false) => Outcome::Acknowledged(seen),
            };
            operation(kind, number, (asked, asked + took), outcome)
        }).collect();
        prop_assert_eq!(linearizable(&operations, None).is_ok(), has_order(&operations, 0, None), "{:#?}", operations);
    }
}
