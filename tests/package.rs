//! The Debian package: what is installed works.

mod common;

use std::path::Path;
use std::process::ExitCode;

use common::Home;
use common::harness::{self, once};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn what_is_installed_works() {
    let home = Home::new();
    // The command of this test in place of a release build.
    std::fs::create_dir_all(home.path("target/release")).unwrap();
    std::fs::copy(env!("CARGO_BIN_EXE_lockstep"), home.path("target/release/lockstep")).unwrap();
    let run = |program: &str, arguments: &[&str]| {
        let mut command = home.command(program);
        command.args(arguments).current_dir(ROOT).env("CARGO_TARGET_DIR", home.path("target"));
        home.finish(command).expect(0)
    };
    let at = |path: &str| home.path(path).display().to_string();
    run("make", &["deb-files", &format!("LOCKSTEP={}", env!("CARGO_BIN_EXE_lockstep"))]);
    run(
        env!("CARGO"),
        &["deb", "--no-build", "--no-strip", "--locked", "--offline", "-o", &at("lockstep.deb")],
    );

    std::fs::create_dir_all(home.path("root/var/lib/dpkg/updates")).unwrap();
    std::fs::create_dir_all(home.path("root/var/lib/dpkg/info")).unwrap();
    home.write("root/var/lib/dpkg/status", "");
    let root = format!("--root={}", at("root"));
    run(
        "dpkg",
        &[&root, "--force-depends", "--force-not-root", "--log=/dev/null", "-i", &at("lockstep.deb")],
    );

    let installed = at("root/usr/bin/lockstep");
    let version = run(&installed, &["--version"]).stdout;
    assert_eq!(version, home.run(&["--version"]).stdout);
    let pattern = at("root/usr/share/lockstep/scenarios/**/*.yaml");
    assert_eq!(
        run(&installed, &["list", &pattern]).stdout,
        run(&installed, &["list", "scenarios/**/*.yaml"]).stdout
    );
    for file in glob::glob(&pattern).unwrap().map(Result::unwrap) {
        let text = std::fs::read_to_string(&file).unwrap();
        let schema = text.lines().next().unwrap().split_once("$schema=").unwrap().1;
        assert!(file.parent().unwrap().join(schema).is_file(), "{}: {schema}", file.display());
    }
    run("bash", &["-n", &at("root/usr/share/bash-completion/completions/lockstep")]);
    let files = run("dpkg", &[&root, "-L", "lockstep"]).stdout;
    for file in [
        "/usr/share/zsh/vendor-completions/_lockstep",
        "/usr/share/fish/vendor_completions.d/lockstep.fish",
        "/usr/share/man/man1/lockstep.1.gz",
        "/usr/share/man/man1/lockstep-run.1.gz",
        "/usr/share/doc/lockstep/copyright",
        "/usr/share/doc/lockstep/docs/language.md",
    ] {
        assert!(files.lines().any(|line| line == file), "{file} is not in\n{files}");
        assert!(Path::new(&format!("{}{file}", at("root"))).is_file(), "{file}");
    }
    home.assert_nothing_is_left();
}

fn main() -> ExitCode {
    harness::main(file!(), &[once!(what_is_installed_works, CargoDeb)])
}
