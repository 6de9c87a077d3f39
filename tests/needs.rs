//! The tables of tests with needs: what happens to a test that lacks one.

mod common;

use std::process::{Command, ExitCode, Output};

use common::Home;
use common::harness::{self, once};

const NEEDY: &str = "one_that_needs_a_qemu";

fn one_that_needs_a_qemu() {}

/// This table again, on a machine without a QEMU, with the given requirements and arguments.
fn without_a_qemu(home: &Home, required: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", NEEDY]).args(arguments);
    command.env("LOCKSTEP_TEST_QEMU", "/no/qemu").env("LOCKSTEP_TEST_REQUIRE", required);
    command.env("LOCKSTEP_TEST_NOT_RUN", home.path("not-run")).output().unwrap()
}

fn a_test_that_lacks_a_need_is_ignored_with_the_reason_and_listed() {
    let home = Home::new();
    let output = without_a_qemu(&home, "guest", &[]);
    let said = String::from_utf8(output.stdout).unwrap();
    let reason = "there is no qemu-system-x86_64 on the PATH or below .qemu";
    assert!(output.status.success(), "{said}");
    assert!(said.contains(&format!("test {NEEDY} ... ignored ({reason})")), "{said}");
    assert!(said.contains("test result: ok. 0 passed; 0 failed; 1 ignored; "), "{said}");
    assert_eq!(home.read("not-run"), format!("needs {NEEDY}: {reason}\n"));
}

fn a_test_that_lacks_a_required_need_fails() {
    let home = Home::new();
    for (required, arguments) in [("guest,qemu", &[][..]), ("all", &[]), ("", &["--ignored"])] {
        let output = without_a_qemu(&home, required, arguments);
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(101), "{said}");
        assert!(said.contains("test result: FAILED. 0 passed; 1 failed; 0 ignored; "), "{said}");
    }
    assert!(!home.path("not-run").exists());
}

fn a_list_marks_the_ignored_tests() {
    let home = Home::new();
    for (required, listed) in [("", true), ("qemu", false)] {
        let output = without_a_qemu(&home, required, &["--list", "--ignored"]);
        assert_eq!(String::from_utf8(output.stdout).unwrap().contains(NEEDY), listed);
    }
}

fn an_unknown_need_and_a_test_outside_the_table_are_errors() {
    let home = Home::new();
    let output = without_a_qemu(&home, "browser,quemu", &[]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(2) && said.contains("no test needs `quemu`"), "{said}");
    // It has ordinary tests, and so must not have a table.
    assert_eq!(harness::main("tests/suite.rs", &[]), ExitCode::from(2));
}

fn main() -> ExitCode {
    harness::main(
        file!(),
        &[
            once!(one_that_needs_a_qemu, Qemu(0)),
            once!(a_test_that_lacks_a_need_is_ignored_with_the_reason_and_listed),
            once!(a_test_that_lacks_a_required_need_fails),
            once!(a_list_marks_the_ignored_tests),
            once!(an_unknown_need_and_a_test_outside_the_table_are_errors),
        ],
    )
}
