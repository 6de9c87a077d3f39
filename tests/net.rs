//! Ports, links, networks and clients with real QEMUs.

mod common;
#[path = "net/ports.rs"]
mod ports;

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use common::harness::{self, once};
use common::{Home, Results, VM, qemu, signal, wait_until};
use lockstep_vm::event::{Verdict, What};
use rustix::process::Signal;

/// A service of numbered lines: the connection with this number is closed after its third reply, one line is answered
/// late, another with a wrong reply.
fn service(dropped: usize, late: &'static str, wrong: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let serve = move |stream: TcpStream, most: usize| -> std::io::Result<()> {
        let mut lines = BufReader::new(stream.try_clone()?).lines();
        for _ in 0..most {
            let Some(line) = lines.next().transpose()? else { break };
            if line == late {
                std::thread::sleep(Duration::from_millis(600));
            }
            if line == wrong {
                writeln!(&stream, "no {line}")?;
            }
            writeln!(&stream, "ok {line}")?;
        }
        Ok(())
    };
    // Ends with the process of the test.
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().flatten().enumerate() {
            let most = if number == dropped { 3 } else { usize::MAX };
            std::thread::spawn(move || serve(stream, most));
        }
    });
    port
}

/// Runs cases, each in a file, and compares the verdict and the reason of each with the expected ones.
fn run<T: AsRef<str>>(cases: &[(&str, T, Verdict, &str)]) -> (Home, Results) {
    let qemu = qemu(7);
    let home = Home::new();
    for (name, text, ..) in cases {
        home.write(&format!("cases/{name}.yaml"), text.as_ref());
    }
    let ran = home.run_on(qemu, &["cases", "-j", "2"]);
    assert!(matches!(ran.code, Some(0 | 1)), "{ran:?}");
    let results = home.results();
    for (name, _, verdict, expected) in cases {
        let case = results.case(name);
        let reason = case.reason().unwrap_or_default();
        let fits = regex::Regex::new(&format!("(?s){expected}")).unwrap().is_match(&reason);
        assert!(
            case.verdict() == *verdict && fits && (!expected.is_empty() || reason.is_empty()),
            "{name}: expected {verdict} with /{expected}/, got {}: {reason}\n{:?}\n{ran:?}",
            case.verdict(),
            case.steps()
        );
    }
    home.assert_nothing_is_left();
    (home, results)
}

/// A live precopy migration through a link, with steps after it. It also converges where a busy host sends less than its
/// guest writes.
fn through_a_link(link: &str, steps: &str) -> String {
    let vm = "{memory: 64M, guest: {ticker: {dirty: 12M}}}";
    format!(
        "links: {{way: {link}}}\nvms: {{source: {vm}, destination: {{like: source, incoming: defer}}}}\nsteps:\n\
         - wait: {{vm: source, ticks: 1}}\n- parameters: {{vm: source, set: {{downtime-limit: 30000}}}}\n\
         - migrate: {{from: source, to: destination, link: way}}\n{steps}\n"
    )
}

fn a_migration_through_a_link_passes_and_fails_if_the_link_is_cut() {
    // The source may be active before the link has reached the destination.
    let slow = "- wait: {vm: [source, destination], migration: active}\n";
    let done = "- wait: {vm: [source, destination], migration: completed}\n  timeout: 100s\n- wait: {vm: destination, ticks: 3}\n\
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
            "the migration failed, according to VM `|VM `destination` died: exit status 1",
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
    let (_, results) = run(&cases);
    let links: Vec<&str> = results
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
    let evidence = results.case("for-ever").evidence().unwrap();
    assert!(evidence.contains("link `way`: blackhole; tcp:127.0.0.1:"), "{evidence}");
}

fn a_qemu_listens_on_a_reserved_port() {
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

/// A client of a service on the host, and steps after it.
fn with_client(port: u16, steps: &str) -> String {
    format!(
        "vms: {{a: {VM}}}\nsteps:\n- wait: {{vm: a, ticks: 1}}\n\
         - client: {{name: c, connect: \"127.0.0.1:{port}\", every: 1ms}}\n{steps}\n"
    )
}

fn each_check_of_a_client_passes_and_can_fail() {
    let (well, badly) = (service(usize::MAX, "", ""), service(0, "5", "7"));
    let all = "- wait: {client: c, lines: 20}\n- client: {name: c, stop: true}\n  capture: end\n\
               - check: {client: c, reconnects: 0, longest_gap: 20s, lines: 20, order: kept}\n\
               - check: {metric: client_gap, below: 20s}\n\
               - check: {equal: [\"{{run.captures.end.answered}}\", true]}\n\
               - check: {equal: [\"{{run.client.c.lines}}\", \"{{run.client.c.acknowledged.0.1}}\"]}";
    let check = |port: u16, check: &str| {
        with_client(port, &format!("- wait: {{client: c, lines: 20}}\n- check: {{client: c, {check}}}"))
    };
    let failing = [
        ("reconnects", service(0, "", ""), "reconnects: 0", "client `c`: 1 reconnects, expected at most 0"),
        ("gap", badly, "longest_gap: 500ms", "the longest gap is [0-9.]+ s, not below 0.5 s"),
        ("order", badly, "order: kept", "1 wrong answers, the first to line 7: \"no 7\""),
        ("checkpoints", well, "checkpoints: none", "client `c`: there was no migration"),
        ("lines", well, "lines: 1000000", "acknowledged, expected at least 1000000"),
    ];
    let mut cases = vec![
        ("all", with_client(well, all), Verdict::Pass, ""),
        ("enough", check(badly, "reconnects: 1, longest_gap: 20s, lines: 20"), Verdict::Pass, ""),
    ];
    cases.extend(failing.map(|(name, port, text, why)| (name, check(port, text), Verdict::Fail, why)));
    let (_, results) = run(&cases);
    let evidence = results.case("gap").evidence().unwrap();
    assert!(evidence.contains("client `c`: ") && evidence.contains("longest gap "), "{evidence}");
    let words = |name: &str| {
        let mut words = Vec::new();
        for what in &results.case(name).events {
            if let What::Client { happened, .. } = what {
                words.push(happened.clone());
            }
        }
        words
    };
    assert_eq!(words("all").len(), 2, "{:?}", words("all"));
    let gap = words("gap").join("\n");
    for happened in
        ["line 1 acknowledged, the first", "wrong answer to line 7", "line 5 acknowledged after a gap of "]
    {
        assert!(gap.contains(happened), "{happened}: {gap}");
    }
}

fn a_wait_for_lines_of_a_client_reports_what_the_client_saw() {
    let well = service(usize::MAX, "", "");
    run(&[
        (
            "draws",
            with_client(well, "- check: {client: c, lines: 1}").replace("every: 1ms", "draws: true"),
            Verdict::Fail,
            "waited .* for client `c` to get its first answer; .* 1 wrong answers, the last to line 1: \"ok 1\"",
        ),
        (
            "too_few",
            with_client(well, "- wait: {client: c, lines: 1000000}\n  timeout: 300ms"),
            Verdict::Fail,
            "waited .* for 1000000 more lines of client `c`; saw [0-9]+ of 1000000; in total .* longest gap [0-9.]+ m?s",
        ),
        (
            "stopped",
            with_client(well, "- client: {name: c, stop: true}\n- wait: {client: c, lines: 1}"),
            Verdict::Fail,
            "client `c` was stopped after 0 more lines, expected 1",
        ),
    ]);
}

fn a_client_reports_a_closed_port_and_datagrams_need_no_receiver() {
    let closed = format!("vms: {{a: {VM}}}\nports: [none]\nsteps:\n- wait: {{vm: a, ticks: 1}}\n");
    run(&[
        (
            "refused",
            format!(
                "{closed}- client: {{name: c, connect: \"127.0.0.1:{{{{port.none}}}}\"}}\n  timeout: 300ms\n"
            ),
            Verdict::Fail,
            "waited .* for client `c` to get its first answer; saw 0 lines .*Connection refused",
        ),
        (
            "flood",
            format!(
                "{closed}- client: {{name: f, send: datagrams, to: \"127.0.0.1:{{{{port.none}}}}\", every: 1ms}}\n\
                 - wait: {{vm: a, ticks: 3}}\n- client: {{name: f, stop: true}}\n  capture: f\n\
                 - check: {{equal: [\"{{{{gt run.captures.f.sent 1}}}}\", true]}}\n"
            ),
            Verdict::Pass,
            "",
        ),
    ]);
}

/// Two VMs with a netdev each on a network, and steps for them.
fn on_a_network(steps: &str) -> String {
    format!(
        r#"
networks: {{lan: {{forward: {{service: "10.77.0.2:7000", flood: "udp:10.77.0.2:9"}}}}, other: {{subnet: 10.78.0.0/24}}, unused: {{}}}}
vms:
  a:
    memory: 32M
    guest: {{ticker: {{dirty: 1M}}}}
    netdevs: [{{type: network, id: hn0, network: lan}}, {{type: network, id: hn1, network: other}}]
    devices: [{{driver: virtio-net-pci, netdev: hn0, romfile: ""}}, {{driver: virtio-net-pci, netdev: hn1, romfile: ""}}]
  b: {{like: a, start: false}}
steps:
- wait: {{vm: a, ticks: 1}}
- start: b
{steps}
"#
    )
}

fn vms_join_and_leave_a_network_and_its_unexpected_exit_fails_the_case() {
    // A guest that does not reply: the forwarder accepts the connection, and the client waits for a reply.
    let comes_and_goes = on_a_network(
        r#"
- client: {name: unanswered, connect: "127.0.0.1:{{port.service}}", wait: false}
- client: {name: flood, send: datagrams, to: "127.0.0.1:{{port.flood}}"}
- exec: {run: [bash, -c, "exec 3<>/dev/tcp/127.0.0.1/{{port.service}}"]}
- signal: {vm: b, send: KILL}
- wait: {vm: b, exit: {signal: KILL}}
- wait: {vm: a, ticks: 3}
- start: b
- wait: {vm: b, ticks: 3}
- check: {vm: [a, b], stderr: {}}
"#,
    );
    let dead = on_a_network(
        "- exec: {sh: \"for p in /proc/[0-9]*; do test $(readlink $p/cwd) = $PWD && tr '\\\\0' ' ' <$p/cmdline | grep -q '^[^ ]*qemu[^ ]* -name lan@network,' && kill -9 ${p#/proc/}; done; true\"}\n\
         - wait: {vm: a, event: POWERDOWN}\n",
    );
    let (home, results) = run(&[
        ("comes", &comes_and_goes, Verdict::Pass, ""),
        ("dead", &dead, Verdict::Fail, "the QEMU that runs network `lan` died: signal KILL"),
    ]);
    let files = common::names(&home.path("reports/dead"));
    for file in ["lan@network.command.sh", "lan@network.stderr.log", "other@network.qmp.jsonl"] {
        assert!(files.contains(file), "{file}: {files:?}");
    }
    assert!(!files.iter().any(|file| file.starts_with("unused@")), "{files:?}");
    let evidence = results.case("dead").evidence().unwrap();
    assert!(evidence.contains("VM `lan@network` (pid"), "{evidence}");
}

fn ready_waits_for_a_line_of_a_background_process() {
    let with = |exec: &str, steps: &str| {
        format!(
            "vms: {{a: {VM}}}\nsteps:\n- wait: {{vm: a, ticks: 1}}\n- exec: {{background: p, {exec}}}\n{steps}\n"
        )
    };
    let late = "sh: \"mkfifo fifo; echo not yet; (sleep 0.3; echo ready at 7; echo more) & exec cat fifo\"";
    let cases = [
        (
            "ready",
            with(
                &format!(
                    "{late}, ready: \"^ready at [0-9]+$\"}}\n  capture: p\n- exec: {{sh: \"echo on >fifo\""
                ),
                "- check: {equal: [\"{{run.captures.p.line}}\", ready at 7]}\n- wait: {process: p}\n  capture: all\n\
                 - check: {equal: [\"{{run.captures.all.stdout}}\", \"not yet\\nready at 7\\nmore\\non\\n\"]}",
            ),
            Verdict::Pass,
            "",
        ),
        (
            "stderr",
            with("sh: \"echo up >&2; exec sleep 1000\", ready: up", "- wait: {vm: a, ticks: 1}"),
            Verdict::Pass,
            "",
        ),
        (
            "last",
            with("sh: \"echo up; exit 3\", ready: up", "- wait: {process: p, exit: 3}"),
            Verdict::Pass,
            "",
        ),
        (
            "ended",
            with("sh: \"echo down; exit 3\", ready: up", ""),
            Verdict::Fail,
            "process `p` ended before it wrote a line matching /up/: exit status 3, saying:.*down",
        ),
        (
            "silent",
            with(
                "sh: \"echo down; printf up; exec sleep 1000\", ready: up}\n  timeout: 400ms\n- exec: {sh: \"true\"",
                "",
            ),
            Verdict::Fail,
            "waited .* for process `p` to write a line matching /up/; saw still running, saying:.*down",
        ),
    ];
    run(&cases);
}

fn an_interrupted_or_killed_run_leaves_no_network_link_or_client() {
    let qemu = qemu(7);
    let answering = service(usize::MAX, "", "");
    for (number, code) in [(Signal::INT, Some(130)), (Signal::KILL, None)] {
        let home = Home::new();
        home.write(
            "case.yaml",
            &format!(
                r#"
name: net/case
timeout: 1h
ports: [one]
links: {{up: {{to: "tcp:127.0.0.1:{answering}"}}, unix: {{listen: unix, state: blackhole}}}}
networks: {{lan: {{forward: {{service: "10.77.0.2:7000"}}}}}}
vms:
  a:
    memory: 32M
    guest: {{ticker: {{dirty: 1M}}}}
    netdevs: [{{type: network, id: hn0, network: lan}}]
    devices: [{{driver: virtio-net-pci, netdev: hn0, romfile: ""}}]
steps:
- client: {{name: user, connect: "127.0.0.1:{{{{link.up.port}}}}"}}
- client: {{name: flood, send: datagrams, to: "127.0.0.1:{{{{port.one}}}}"}}
- exec: {{background: server, sh: "echo up; exec sleep 1000", ready: up}}
- exec: {{sh: "touch {{{{env.HERE}}}}/reached"}}
- wait: {{vm: a, event: POWERDOWN}}
  timeout: 1h
"#
            ),
        );
        let path = qemu.path.display().to_string();
        let arguments = ["run", "case.yaml", "--accel", "tcg", "--qemu", &path];
        let child = home.spawn(home.lockstep(&arguments));
        let there = || home.path("reached").exists().then_some(());
        wait_until("the last step", there, || format!("{:?}", home.alive()));
        let wire = |line: &str| line.contains("lan@network");
        assert!(home.alive().iter().any(|(_, line)| wire(line)), "{:?}", home.alive());
        signal(&child, number);
        assert_eq!(home.ended(child).code, code);
        home.assert_nothing_is_left();
    }
}

fn main() -> ExitCode {
    harness::main(
        file!(),
        &[
            once!(a_migration_through_a_link_passes_and_fails_if_the_link_is_cut, Qemu(7)),
            once!(a_qemu_listens_on_a_reserved_port, Qemu(7)),
            once!(each_check_of_a_client_passes_and_can_fail, Qemu(7)),
            once!(a_wait_for_lines_of_a_client_reports_what_the_client_saw, Qemu(7)),
            once!(a_client_reports_a_closed_port_and_datagrams_need_no_receiver, Qemu(7)),
            once!(vms_join_and_leave_a_network_and_its_unexpected_exit_fails_the_case, Qemu(7)),
            once!(ready_waits_for_a_line_of_a_background_process, Qemu(7)),
            once!(an_interrupted_or_killed_run_leaves_no_network_link_or_client, Qemu(7)),
            once!(ports::a_case_restarts_with_new_ports_if_another_program_took_one, Qemu(7)),
            once!(ports::a_case_fails_if_its_ports_are_taken_each_time, Qemu(7)),
            once!(ports::a_case_that_uses_one_port_twice_does_not_restart, Qemu(7)),
        ],
    )
}
