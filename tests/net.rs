//! Ports, links, networks and clients with real QEMUs.

mod common;

use common::{Home, Told, VM, qemu};
use lockstep_vm::event::{Verdict, What};

/// Runs cases, each a file, and holds the verdict and the reason of each against what they must be.
fn run(cases: &[(&str, &str, Verdict, &str)]) -> Option<(Home, Told)> {
    let qemu = qemu(8)?;
    let home = Home::new();
    for (name, text, ..) in cases {
        home.write(&format!("cases/{name}.yaml"), text);
    }
    let ran = home.run_on(qemu, &["cases", "-j", "2"]);
    assert!(matches!(ran.code, Some(0 | 1)), "{ran:?}");
    let told = home.told();
    for (name, _, verdict, expected) in cases {
        let case = told.case(name);
        let reason = case.reason().unwrap_or_default();
        let fits = regex::Regex::new(&format!("(?s){expected}")).unwrap().is_match(&reason);
        assert!(
            case.verdict() == *verdict && fits && (!expected.is_empty() || reason.is_empty()),
            "{name} is to be {verdict}, with /{expected}/; it is {}: {reason}\n{:?}\n{ran:?}",
            case.verdict(),
            case.steps()
        );
    }
    home.assert_nothing_is_left();
    Some((home, told))
}

/// A live precopy migration through a link, with steps after it.
fn through_a_link(link: &str, steps: &str) -> String {
    let vm = "{memory: 64M, guest: {ticker: {dirty: 12M}}}";
    format!(
        "links: {{way: {link}}}\nvms: {{source: {vm}, destination: {{like: source, incoming: defer}}}}\nsteps:\n\
         - wait: {{vm: source, ticks: 1}}\n- migrate: {{from: source, to: destination, link: way}}\n{steps}\n"
    )
}

#[test]
fn a_migration_takes_a_link_at_its_rate_and_fails_where_it_is_cut() {
    let slow = "- wait: {vm: source, migration: active}\n";
    let done = "- wait: {vm: [source, destination], migration: completed}\n- wait: {vm: destination, ticks: 3}\n\
                - check: {equal: [\"{{run.link.way.connections}}\", 1]}\n\
                - check: {equal: [\"{{gt run.link.way.bytes 12000000}}\", true]}\n";
    let cases = [
        ("rate", through_a_link("{rate: 60M}", done), Verdict::Pass, ""),
        ("unix", through_a_link("{listen: unix}", done), Verdict::Pass, ""),
        (
            "cut",
            through_a_link(
                "{rate: 100K}",
                &format!(
                    "{slow}- link: {{name: way, state: cut}}\n- wait: {{vm: source, migration: completed}}"
                ),
            ),
            Verdict::Fail,
            "the migration failed, says VM `|VM `destination` died: exit status 1",
        ),
        (
            "hole",
            through_a_link(
                "{rate: 100K}",
                &format!(
                    "{slow}- link: {{name: way, state: blackhole, rate: 0}}\n- set: {{before: \"{{{{run.link.way.bytes}}}}\"}}\n\
                     - sleep: 300ms\n- check: {{equal: [\"{{{{run.captures.before}}}}\", \"{{{{run.link.way.bytes}}}}\"]}}\n\
                     - link: {{name: way, state: open}}\n{done}"
                ),
            ),
            Verdict::Pass,
            "",
        ),
        (
            "for-ever",
            through_a_link(
                "{state: blackhole}",
                "- wait: {vm: source, migration: completed}\n  timeout: 500ms",
            ),
            Verdict::Fail,
            "waited .* for migration status completed of `source`; saw (active|setup)",
        ),
    ];
    let cases: Vec<_> =
        cases.iter().map(|(name, text, verdict, why)| (*name, text.as_str(), *verdict, *why)).collect();
    let Some((_, told)) = run(&cases) else { return };
    let links: Vec<&str> = told
        .events
        .iter()
        .filter_map(|event| match &event.what {
            What::Link { happened, .. } => Some(happened.as_str()),
            _ => None,
        })
        .collect();
    for happened in ["connection 1 is up", "connection 1 finished", "connection 1 cut", "cut, rate 100K"] {
        assert!(links.contains(&happened), "{happened}: {links:?}");
    }
    let evidence = told.case("for-ever").evidence().unwrap();
    assert!(evidence.contains("link `way`: blackhole; tcp:127.0.0.1:"), "{evidence}");
}

#[test]
fn a_qemu_listens_at_a_port_that_is_held_for_the_case() {
    let service = r#"
ports: [nbd, other]
vms:
  a: VM
  b:
    like: a
    start: false
    netdevs:
      - type: user
        id: u
        hostfwd: [{str: "tcp:127.0.0.1:{{port.other}}-:7"}, {str: "udp:127.0.0.1:{{port.other}}-:9"}]
steps:
  - qmp:
      vm: a
      execute: nbd-server-start
      arguments: {addr: {type: inet, data: {host: 127.0.0.1, port: "{{text port.nbd}}"}}}
  - start: b
  - exec: {run: [bash, -c, "exec 3<>/dev/tcp/127.0.0.1/{{port.nbd}} && head -c 8 <&3"]}
    capture: nbd
  - check: {equal: ["{{run.captures.nbd.stdout}}", NBDMAGIC]}
  - exec: {run: [bash, -c, "exec 3<>/dev/tcp/127.0.0.1/{{port.other}}"]}
"#;
    run(&[("held", &service.replace(": VM", &format!(": {VM}")), Verdict::Pass, "")]);
}
