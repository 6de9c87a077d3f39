//! Paths as CI servers show them: relative to the repository.

use std::path::{Component, Path, PathBuf};

/// A directory that paths are shown relative to.
#[derive(Debug, Clone)]
pub struct Repository(PathBuf);

impl Repository {
    /// The top of the git repository that has the working directory; outside of one, the working directory.
    #[must_use]
    pub fn here() -> Self {
        let here = normal(Path::new(""));
        let top = here.ancestors().find(|folder| folder.join(".git").exists());
        Self(top.unwrap_or(&here).to_owned())
    }

    /// The directory that an environment variable of a CI server names.
    #[must_use]
    pub fn named_by(variable: &str) -> Option<Self> {
        let path = std::env::var_os(variable).filter(|path| !path.is_empty())?;
        Some(Self(normal(Path::new(&path))))
    }

    /// This directory.
    #[must_use]
    pub fn at(folder: &Path) -> Self {
        Self(normal(folder))
    }

    /// The path relative to this directory, without `.` and `..`; `None` if it is outside. A relative path is relative
    /// to the working directory.
    #[must_use]
    pub fn inside(&self, path: &Path) -> Option<PathBuf> {
        let inside = |path: &Path| path.strip_prefix(&self.0).ok().map(Path::to_path_buf);
        // A symbolic link may lead into it.
        inside(&normal(path)).or_else(|| inside(&path.canonicalize().ok()?))
    }
}

/// The absolute path, without `.` and `..`.
#[must_use]
pub fn normal(path: &Path) -> PathBuf {
    let here = || std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
    let whole = if path.is_absolute() { path.to_owned() } else { here().join(path) };
    let mut normal = PathBuf::new();
    for part in whole.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => drop(normal.pop()),
            part => normal.push(part),
        }
    }
    normal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_relative_to_the_top_of_the_repository() {
        let here = std::env::current_dir().unwrap();
        let above = Repository::at(here.parent().unwrap());
        let name = Path::new(here.file_name().unwrap());
        for path in ["a/b.yaml", "./a/b.yaml", "a/../a/./b.yaml"] {
            assert_eq!(above.inside(Path::new(path)), Some(name.join("a/b.yaml")), "{path}");
            assert_eq!(Repository::at(&here).inside(Path::new(path)), Some("a/b.yaml".into()), "{path}");
        }
        let beside = Path::new("../a/../b/c.yaml");
        assert_eq!(above.inside(beside), Some("b/c.yaml".into()));
        assert_eq!(Repository::at(&here).inside(beside), None);
        assert_eq!(normal(Path::new("/../a/../../b")), Path::new("/b"));
    }

    #[test]
    fn a_link_into_the_repository_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().canonicalize().unwrap();
        std::fs::create_dir(folder.join("top")).unwrap();
        std::fs::write(folder.join("top/a.yaml"), "").unwrap();
        std::os::unix::fs::symlink("top", folder.join("link")).unwrap();
        let top = Repository::at(&folder.join("top"));
        assert_eq!(top.inside(&folder.join("link/a.yaml")), Some("a.yaml".into()));
        assert_eq!(top.inside(&folder.join("link/b.yaml")), None);
    }
}
