//! Files of the guests directory (`--guests`).

use std::path::Path;

use super::access::Access;
use super::disk::Disk;
use super::linux::text;
use super::spec::{Guest, VmSpec};
use super::ssh::Ssh;

/// What the path of such a file begins with in a scenario.
const PREFIX: &str = "guests:";

/// Whether a path of a scenario is in the guests directory.
#[must_use]
pub fn is_inside(path: &str) -> bool {
    path.starts_with(PREFIX)
}

/// Makes the paths of a VM absolute that are in the guests directory.
///
/// # Errors
/// The file that is missing, as a part of a sentence.
pub fn locate(spec: &mut VmSpec, guests: &Path) -> Result<(), String> {
    let (kernel, initrd) = match &mut spec.guest {
        Guest::Linux(linux) => (linux.kernel.as_mut(), linux.initrd.as_mut()),
        Guest::Image(image) => (image.kernel.as_mut(), image.initrd.as_mut()),
        Guest::Ticker(_) | Guest::None => (None, None),
    };
    [kernel, initrd].into_iter().flatten().try_for_each(|path| locate_path(path, guests))?;
    if let Some(Access::Ssh(Ssh { key: Some(key), .. })) = spec.guest.access_mut() {
        locate_path(key, guests)?;
    }
    locate_disks(spec.disks.values_mut(), guests)
}

/// The same of disks.
///
/// # Errors
/// As for [`locate`].
pub fn locate_disks<'d>(disks: impl IntoIterator<Item = &'d mut Disk>, guests: &Path) -> Result<(), String> {
    let paths = disks.into_iter().flat_map(|disk| [disk.backing.as_mut(), disk.copy.as_mut()]);
    paths.flatten().try_for_each(|path| locate_path(path, guests))
}

fn locate_path(path: &mut String, guests: &Path) -> Result<(), String> {
    let Some(name) = path.strip_prefix(PREFIX) else { return Ok(()) };
    let found = guests.join(name);
    if !found.is_file() {
        let found = text(&found);
        return Err(format!(
            "needs {found}, which does not exist; make it, or pass its directory with --guests"
        ));
    }
    *path = text(&found);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_the_guests_directory_is_found_or_missed_by_its_path() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.img"), "").unwrap();
        let found = folder.path().join("a.img").display().to_string();
        let mut disks = [Disk::on("guests:a.img".to_owned()), Disk::on("/b.img".to_owned())];
        locate_disks(&mut disks, folder.path()).unwrap();
        assert_eq!(disks.map(|disk| disk.backing.unwrap()), [found, "/b.img".to_owned()]);
        let mut missing = [Disk::on("guests:sub/c.img".to_owned())];
        let why = locate_disks(&mut missing, folder.path()).unwrap_err();
        assert!(why.contains("/sub/c.img, which does not exist; make it, or pass"), "{why}");
    }
}
