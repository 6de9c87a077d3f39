//! The built-in guest's images match their source.

mod common;

use std::path::Path;
use std::process::{Command, ExitCode};

use common::harness::{self, once};

/// Builds an architecture's images and compares them with those that are checked in.
#[track_caller]
fn rebuild(arch: &str, images: &[&str]) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("guests/ticker");
    let folder = tempfile::tempdir().unwrap();
    let mut build = Command::new("sh");
    let built = build.arg(source.join("build.sh")).arg(folder.path()).arg(arch).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    for image in images {
        let made = std::fs::read(folder.path().join(image)).unwrap();
        let checked_in = std::fs::read(source.join(image)).unwrap();
        let different = made.iter().zip(&checked_in).position(|(made, checked_in)| made != checked_in);
        assert_eq!((different, made.len()), (None, checked_in.len()), "{image}: the first byte that differs");
    }
}

fn the_checked_in_images_equal_a_build_of_the_source() {
    rebuild("x86", &["firmware.bin", "bootsect.bin"]);
}

fn the_image_for_aarch64_equals_a_build_of_the_source() {
    rebuild("aarch64", &["aarch64.elf"]);
}

fn the_image_for_s390x_equals_a_build_of_the_source() {
    rebuild("s390x", &["s390x.elf"]);
}

fn the_image_for_ppc64_equals_a_build_of_the_source() {
    rebuild("ppc64", &["ppc64.bin"]);
}

fn main() -> ExitCode {
    harness::main(
        file!(),
        &[
            once!(the_checked_in_images_equal_a_build_of_the_source, Compiler),
            once!(the_image_for_aarch64_equals_a_build_of_the_source, CrossCompiler("aarch64-linux-gnu")),
            once!(the_image_for_s390x_equals_a_build_of_the_source, CrossCompiler("s390x-linux-gnu")),
            once!(the_image_for_ppc64_equals_a_build_of_the_source, CrossCompiler("powerpc64-linux-gnu")),
        ],
    )
}
