//! Files that a report replaces as a whole when it is complete.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tempfile::NamedTempFile;

/// The directory of a file.
pub(super) fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// A temporary file beside `path`, to be persisted there; creates the directory if missing.
///
/// # Errors
/// When the directory or the file cannot be created.
pub(super) fn beside(path: &Path) -> io::Result<NamedTempFile> {
    let folder = folder(path);
    std::fs::create_dir_all(folder)?;
    tempfile::Builder::new().prefix(".report.").permissions(Permissions::from_mode(0o666)).tempfile_in(folder)
}
