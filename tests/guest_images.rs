//! The built-in guest's images are what their source makes.

use std::path::Path;
use std::process::Command;

#[test]
fn the_checked_in_images_are_the_bytes_that_the_source_makes() {
    for tool in ["gcc-12", "ld", "objcopy"] {
        if !Command::new(tool).arg("--version").output().is_ok_and(|said| said.status.success()) {
            eprintln!("skipped: there is no `{tool}` here");
            return;
        }
    }
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
