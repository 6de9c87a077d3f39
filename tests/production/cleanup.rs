//! Nothing is left of a production pair, whatever ends the case.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;

use rustix::process::Signal;

use crate::common::{Home, guests, qemu, signal, wait_until};

/// A service that answers each line like a guest; ends with the process of the test.
pub(super) fn service() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || -> std::io::Result<()> {
                for line in BufReader::new(stream.try_clone()?).lines() {
                    writeln!(&stream, "ok {}", line?)?;
                }
                Ok(())
            });
        }
    });
    port
}

/// A case with everything that a production scenario uses, and its last steps.
pub(super) fn everything(service: u16, last: &str) -> String {
    format!(
        r#"
name: production/case
timeout: 1h
roles: {{primary: a}}
disks: {{base: {{size: 1M}}}}
ports: [one]
links: {{way: {{to: "tcp:127.0.0.1:{service}"}}, hole: {{listen: unix, state: blackhole}}}}
networks: {{lan: {{forward: {{service: "10.77.0.2:7000"}}}}}}
vms:
  a:
    memory: 32M
    guest: {{ticker: {{dirty: 1M}}}}
    disks: {{top: {{backing: base}}}}
    blockdevs: [{{driver: qcow2, node-name: d, file: {{driver: file, filename: "{{{{self.disk.top}}}}"}}}}]
    netdevs: [{{type: network, id: hn0, network: lan}}]
    devices: [{{driver: virtio-net-pci, netdev: hn0, romfile: ""}}]
  spare: {{like: a, start: false, copies: 2}}
steps:
- client: {{name: user, connect: "127.0.0.1:{{{{link.way.port}}}}"}}
- client: {{name: flood, send: datagrams, to: "127.0.0.1:{{{{port.one}}}}"}}
- client: {{name: unanswered, connect: "127.0.0.1:{{{{port.service}}}}", wait: false}}
- exec: {{background: held, sh: "sleep 1000 & exec sleep 1000"}}
- start: spare1
- signal: {{vm: spare1, send: STOP}}
- rebind: {{primary: spare1}}
- exec: {{sh: "touch {{{{env.HERE}}}}/reached"}}
- {last}
"#
    )
}

pub(super) fn nothing_is_left_of_disks_networks_and_clients_whatever_ends_the_case() {
    let qemu = qemu(7);
    let port = service();
    let failing = Home::new();
    failing.write("case.yaml", &everything(port, "check: {equal: [1, 2]}"));
    failing.run_on(qemu, &["case.yaml"]).expect(1);
    failing.assert_nothing_is_left();
    assert_eq!(failing.results().case("production/case").reason().unwrap(), "1 is not equal to 2");

    for (number, code) in [(Signal::INT, Some(130)), (Signal::KILL, None)] {
        let home = Home::new();
        home.write("case.yaml", &everything(port, "wait: {vm: a, event: POWERDOWN}\n  timeout: 1h"));
        let path = qemu.path.display().to_string();
        let arguments = ["run", "case.yaml", "--accel", "tcg", "--qemu", &path];
        let child = home.spawn(home.lockstep(&arguments));
        let there = || home.path("reached").exists().then_some(());
        wait_until("the last step", there, || format!("{:?} {}", home.alive(), home.read("tmp.stdout")));
        let alive = home.alive();
        let qemus = alive.iter().filter(|(_, line)| line.contains(" -chardev "));
        assert_eq!(qemus.count(), 3, "two VMs and a wire: {alive:?}");
        signal(&child, number);
        assert_eq!(home.ended(child).code, code);
        home.assert_nothing_is_left();
    }
}

pub(super) fn nothing_is_left_of_a_protected_pair_with_disk_and_network_whatever_ends_the_case() {
    let qemu = qemu(11);
    let guests = guests().display().to_string();
    let templates = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/templates");
    let text = |last: &str| {
        format!(
            r#"
name: production/pair
extends: {templates}/production.yaml
timeout: 1h
steps:
- wait: {{vm: primary, serial: "lockstep guest ready"}}
  timeout: 5m
- use: {{file: {templates}/production-protect.yaml, with: {{checkpoint_delay: 500}}}}
- client: {{name: user, connect: "127.0.0.1:{{{{port.service}}}}"}}
- wait: {{client: user, lines: 3}}
- exec: {{sh: "touch {{{{env.HERE}}}}/reached"}}
- {last}
"#,
            templates = templates.display()
        )
    };
    let failing = Home::new();
    failing.write("case.yaml", &text("check: {client: user, lines: 1000000}"));
    failing.run_on(qemu, &["case.yaml", "--guests", &guests, "--slow", "4"]).expect(1);
    failing.assert_nothing_is_left();
    let reason = failing.results().case("production/pair").reason().unwrap();
    assert!(reason.contains("expected at least 1000000"), "{reason}");

    let home = Home::new();
    home.write("case.yaml", &text("wait: {vm: primary, event: POWERDOWN}\n  timeout: 1h"));
    let path = qemu.path.display().to_string();
    let arguments =
        ["run", "case.yaml", "--accel", "tcg", "--qemu", &path, "--guests", &guests, "--slow", "4"];
    let child = home.spawn(home.lockstep(&arguments));
    let there = || home.path("reached").exists().then_some(());
    wait_until("the last step", there, || format!("{:?} {}", home.alive(), home.read("tmp.stdout")));
    signal(&child, Signal::KILL);
    assert_eq!(home.ended(child).signal, Some(Signal::KILL.as_raw()));
    home.assert_nothing_is_left();
}
