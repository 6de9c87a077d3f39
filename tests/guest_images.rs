//! The built-in guest's images match their source.

mod common;

use std::path::Path;
use std::process::{Command, ExitCode};

use common::harness::{self, once};

fn the_checked_in_images_equal_a_build_of_the_source() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("guests/ticker");
    let folder = tempfile::tempdir().unwrap();
    let built = Command::new("sh").arg(source.join("build.sh")).arg(folder.path()).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    for image in ["firmware.bin", "bootsect.bin"] {
        let made = std::fs::read(folder.path().join(image)).unwrap();
        let checked_in = std::fs::read(source.join(image)).unwrap();
        let different = made.iter().zip(&checked_in).position(|(made, checked_in)| made != checked_in);
        assert_eq!((different, made.len()), (None, checked_in.len()), "{image}: the first byte that differs");
    }
}

fn main() -> ExitCode {
    harness::main(file!(), &[once!(the_checked_in_images_equal_a_build_of_the_source, Compiler)])
}
