//! Errors around the reports: broken streams, directories that are not writable, arbitrary guest output, and
//! terminals that are narrow or gone.

mod common;

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use common::harness::{self, once};
use common::{Home, VM, names, qemu};
use lockstep_vm::event::What;

/// Input that terminals, XML and HTML must treat as plain text: ESC, NUL, invalid UTF-8, and ends of sections.
const VICIOUS: &[u8] = b"\x1b[31mred\x1b]0;title\x07 nul\0 bad\xff\xfe ]]> </script><b>&amp; \x9b2J\r\n";

/// A home with two sequential cases that start no VM.
fn two(second: &str) -> Home {
    let home = Home::new();
    home.write("one.yaml", "name: first\nvms: {}\nsteps:\n- exec: {run: [\"true\"]}\n");
    home.write("two.yaml", &format!("name: second\nvms: {{}}\nsteps:\n- exec: {{sh: \"{second}\"}}\n"));
    home
}

/// The file is valid XML for an independent parser, and for a second one if that is installed.
fn assert_xml(path: &Path) {
    roxmltree::Document::parse(&std::fs::read_to_string(path).unwrap()).unwrap();
    if let Ok(output) = Command::new("xmllint").arg("--noout").arg(path).output() {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

fn an_incomplete_stream_is_one_line_and_keeps_the_reports() {
    let home = two("true");
    home.run(&["run", "one.yaml", "two.yaml"]).expect(0);
    let whole = home.read("reports/events.jsonl");
    let lines: Vec<&str> = whole.lines().collect();
    let newer = whole.replacen("\"version\":1", "\"version\":99", 1);
    assert_ne!(newer, whole);
    let garbage = format!("{}\nwhat?\n{}\n", lines[..3].join("\n"), lines[3..].join("\n"));
    let cut = &whole[..whole.len() / 2];
    assert!(!cut.ends_with('\n'));

    // The stream, the exit code and message of `report`, the same of `compare`, and whether there is a report.
    let all: [(&str, &str, i32, &str, i32, &str, bool); 5] = [
        (
            "cut",
            cut,
            0,
            "note: ignored the last line, which is truncated\n",
            1,
            "; the run did not finish",
            true,
        ),
        ("empty", "", 2, "error: bad is empty", 2, "error: bad is empty", false),
        ("newer", &newer, 2, "has event stream version 99", 2, "has event stream version 99", false),
        ("garbage", &garbage, 1, "bad:4: not a valid event: ", 2, "bad:4: not a valid event: ", true),
        ("other", "{\"at\":1}\n", 2, "bad:1: not a valid event: ", 2, "bad:1: ", false),
    ];
    for (what, text, code, message, compare_code, compare_message, made) in all {
        home.write("bad", text);
        home.write("page.html", "an earlier page");
        let ran = home.run(&["report", "bad", "-o", "page.html"]).expect(code);
        assert!(ran.stderr.contains(message) && ran.stderr.lines().count() == 1, "{what}: {}", ran.stderr);
        assert_eq!(home.read("page.html") != "an earlier page", made, "{what}");
        let ran = home.run(&["report", "bad", "-o", "junit.xml"]).expect(code);
        assert!(ran.stderr.contains(message), "{what}: {}", ran.stderr);
        if made {
            assert_xml(&home.path("junit.xml"));
            for name in ["page.html", "junit.xml"] {
                assert!(home.read(name).contains("the run did not finish"), "{what}: {name}");
            }
        }
        for (old, new) in [("reports", "bad"), ("bad", "reports")] {
            let ran = home.run(&["compare", old, new]);
            // A run that has lost its cases is worse; one that has regained them is not.
            let code = if compare_code == 1 && old == "bad" { 0 } else { compare_code };
            let ran = ran.expect(code);
            let said = if ran.code == Some(2) { &ran.stderr } else { &ran.stdout };
            assert!(said.contains(compare_message), "{what}: {ran:?}");
            assert_eq!(ran.stderr.lines().count(), usize::from(ran.code == Some(2)), "{what}: {ran:?}");
        }
    }
    home.assert_nothing_is_left();
}

fn a_read_only_reports_directory_is_an_error_before_the_run() {
    let home = two("touch $HERE/tmp/ran");
    let mode = |name: &str, mode| {
        std::fs::set_permissions(home.path(name), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    std::fs::create_dir(home.path("reports")).unwrap();
    mode("reports", 0o555);
    mode("tmp", 0o777);
    mode(".", 0o755);
    // Root may do everything, so run as another user.
    let mut command = home.command("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--"]);
    command.args([env!("CARGO_BIN_EXE_lockstep"), "run", "two.yaml"]);
    let ran = home.finish(command).expect(2);
    let message = "error: cannot create reports/events.jsonl: Permission denied (os error 13)\n";
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("", message));
    home.assert_nothing_is_left();
}

fn removing_the_reports_directory_during_a_run_changes_no_verdict() {
    // Removed: the page, the JUnit report and the durations are written at the end, to a new directory.
    let home = two("rm -r $HERE/reports; exit 3");
    let ran = home.run(&["run", "one.yaml", "two.yaml", "--keep", "never"]).expect(1);
    assert!(ran.stdout.contains("PASS   first") && ran.stdout.contains("FAIL   second"), "{}", ran.stdout);
    assert!(ran.stdout.ends_with("1 passed, 1 failed\n"), "{}", ran.stdout);
    let message =
        "error: a report is incomplete: reports/events.jsonl was removed or replaced during the run\n";
    assert_eq!(ran.stderr, message);
    assert_xml(&home.path("reports/junit.xml"));
    assert!(home.read("reports/junit.xml").contains("second"));
    let written = names(&home.path("reports")).into_iter().collect::<Vec<_>>();
    assert_eq!(written, ["durations.json", "index.html", "junit.xml"]);

    // Replaced by a file: nothing can be written, and each of the four is named.
    let home = two("rm -r $HERE/reports; touch $HERE/reports; exit 3");
    let ran = home.run(&["run", "one.yaml", "two.yaml"]).expect(1);
    assert!(ran.stdout.contains("PASS   first") && ran.stdout.contains("FAIL   second"), "{}", ran.stdout);
    assert!(ran.stdout.contains("cannot save the artifacts to reports/second: "), "{}", ran.stdout);
    for name in ["events.jsonl", "junit.xml", "index.html", "durations.json"] {
        assert!(ran.stderr.contains(&format!("reports/{name}")), "{}", ran.stderr);
    }
    assert_eq!(ran.stderr.lines().count(), 4, "{}", ran.stderr);
    home.assert_nothing_is_left();
}

/// A boot sector that prints [`VICIOUS`] on the first serial port, a line of this many bytes, and `the end`.
fn loud_guest(long: u32) -> Vec<u8> {
    const CODE: usize = 64;
    // Sends CX bytes starting at SI, as fast as the port accepts them.
    let says = |text: &[u8], at: usize| {
        let (at, count) = (u16::try_from(at).unwrap(), u16::try_from(text.len()).unwrap());
        let mut code = vec![0xbe]; // mov si, at
        code.extend(at.to_le_bytes());
        code.push(0xb9); // mov cx, count
        code.extend(count.to_le_bytes());
        code.extend([0xf3, 0x6e]); // rep outsb
        code
    };
    let end = b"\nthe end\n";
    let mut image = vec![0xfa, 0x31, 0xc0, 0x8e, 0xd8, 0xfc]; // cli; xor ax, ax; mov ds, ax; cld
    image.extend([0xba, 0xf8, 0x03]); // mov dx, 0x3f8
    image.extend(says(VICIOUS, 0x7c00 + CODE));
    image.extend([0x66, 0xb9]); // mov ecx, long
    image.extend(long.to_le_bytes());
    image.extend([0xb2, 0xfd, 0xec, 0xa8, 0x20, 0x74, 0xf9]); // again: mov dl, 0xfd; in al, dx; test al, 0x20; jz again
    image.extend([0xb2, 0xf8, 0xb0, b'x', 0xee]); // mov dl, 0xf8; mov al, 'x'; out dx, al
    image.extend([0x66, 0x49, 0x75, 0xf0]); // dec ecx; jnz again
    image.extend(says(end, 0x7c00 + CODE + VICIOUS.len()));
    image.extend([0xf4, 0xeb, 0xfd]); // hlt, for ever
    assert!(image.len() <= CODE);
    image.resize(CODE, 0);
    image.extend(VICIOUS);
    image.extend(end);
    image.resize(510, 0);
    image.extend([0x55, 0xaa]);
    image
}

fn any_guest_output_gives_complete_reports_in_bounded_memory() {
    // Many times the maximum line length; each byte of the guest is a VM exit, and the host process is faster.
    const LONG: u32 = 1 << 20;
    const LONGER: u32 = 10 << 20;
    let qemu = qemu(5);
    let home = Home::new();
    std::fs::write(home.path("loud.img"), loud_guest(LONG)).unwrap();
    std::fs::write(home.path("vicious"), VICIOUS).unwrap();
    let vm = r#"{guest: none, memory: 32M, args: [-drive, "if=none,id=d,format=raw,snapshot=on,file={{env.HERE}}/loud.img", -device, "ide-hd,drive=d"]}"#;
    home.write(
        "loud.yaml",
        &format!(
            "name: loud\nvms: {{a: {vm}}}\nsteps:\n- wait: {{vm: a, serial: 'the end'}}\n  timeout: 5m\n\
             - exec: {{sh: \"cat $HERE/vicious; head -c {LONGER} /dev/zero | tr '\\\\0' y; cat $HERE/vicious >&2; exit 3\"}}\n"
        ),
    );
    // The shell's parent is the runner.
    let peak = "while read p; do case $p in VmHWM:*) echo $p > $HERE/peak;; esac; done < /proc/$PPID/status";
    home.write("peak.yaml", &format!("name: peak\nvms: {{}}\nsteps:\n- exec: {{sh: \"{peak}\"}}\n"));
    let ran = home.run_on(qemu, &["loud.yaml", "peak.yaml", "--verbose"]).expect(1);

    let said: usize = home
        .results()
        .events
        .iter()
        .map(|event| match &event.what {
            What::SerialLine { line, .. } => line.bytes().filter(|&byte| byte == b'x').count(),
            _ => 0,
        })
        .sum();
    assert_eq!(said, LONG as usize, "the guest was not heard to its end");
    let unfit = |c: char| c.is_control() && c != '\n' && c != '\t';
    let junit = home.read("reports/junit.xml");
    assert_xml(&home.path("reports/junit.xml"));
    for (name, text) in
        [("the console", &ran.stdout), ("JUnit", &junit), ("the page", &home.read("reports/index.html"))]
    {
        assert!(!text.contains(unfit), "{name} has a control character");
        assert!(text.contains("␛[31mred␛]0;title␇ nul␀ bad"), "{name}");
        assert!(text.len() < 1 << 20, "{name} has {} bytes", text.len());
    }
    assert!(!home.read("reports/index.html").contains("</script><b>"));
    // It was kept completely where there is room for it.
    let kept = std::fs::read(home.path("reports/loud/a.serial.log")).unwrap();
    assert!(kept.windows(VICIOUS.len()).any(|part| part == VICIOUS) && kept.len() > LONG as usize);
    let peak = home.read("peak");
    let kilobytes: u64 = peak.split_whitespace().nth(1).unwrap().parse().unwrap();
    eprintln!("the runner's memory at its peak: {} MiB", kilobytes >> 10);
    assert!(kilobytes < 100 << 10, "{peak}");
    home.assert_nothing_is_left();
}

fn a_narrow_terminal_and_a_closed_pipe_are_not_errors() {
    let qemu = qemu(5);
    let home = Home::new();
    let text = |name: &str| format!("name: {name}\nvms: {{a: {VM}}}\nsteps:\n- wait: {{vm: a, ticks: 1}}\n");
    home.write("a.yaml", &text("a/case/with/a/name/that/is/longer/than/the/terminal"));
    home.write("b.yaml", &text("b"));
    let path = qemu.path.display();
    let run = format!("{} run a.yaml b.yaml --accel tcg --qemu {path}", env!("CARGO_BIN_EXE_lockstep"));
    for options in ["", " --verbose"] {
        let mut command = home.command("sh");
        command.args(["-c", &format!("{run}{options} | head -1")]);
        let ran = home.finish(command).expect(0);
        assert_eq!((ran.stdout.lines().count(), ran.stderr.as_str()), (1, ""), "{}", ran.stdout);
        home.assert_nothing_is_left();
        // It continued to its end, to write the files.
        assert!(home.read("reports/junit.xml").contains("name=\"b\""));
    }

    let mut command = home.command("script");
    // Use the real size of the terminal, not the test's settings.
    command.env_remove("COLUMNS").env_remove("NO_COLOR").env("TERM", "xterm");
    command.args([
        "--quiet",
        "--return",
        "--command",
        &format!("stty rows 24 cols 20; exec {run}"),
        "/dev/null",
    ]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut seen = String::new();
    std::io::Read::read_to_string(child.stdout.as_mut().unwrap(), &mut seen).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{seen}");
    assert!(seen.contains("2 passed") && !seen.contains("panicked"), "{seen}");
    let lines = seen.split(['\r', '\n']);
    // Lines that are rewritten in place must not wrap, or they could not be removed.
    let live: Vec<&str> = lines.filter(|line| line.contains("RUN    ") || line.contains(" done")).collect();
    assert!(!live.is_empty(), "nothing was shown of what runs: {seen}");
    for line in live {
        let plain = line.rsplit("\u{1b}[J").next().unwrap();
        assert!(plain.chars().count() < 20, "{line:?}");
    }
    home.assert_nothing_is_left();
}

fn main() -> ExitCode {
    harness::main(
        file!(),
        &[
            once!(an_incomplete_stream_is_one_line_and_keeps_the_reports),
            once!(a_read_only_reports_directory_is_an_error_before_the_run, OtherUser),
            once!(removing_the_reports_directory_during_a_run_changes_no_verdict),
            once!(any_guest_output_gives_complete_reports_in_bounded_memory, Qemu(5)),
            once!(a_narrow_terminal_and_a_closed_pipe_are_not_errors, Qemu(5), Script),
        ],
    )
}
