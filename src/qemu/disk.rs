//! Disk images, created with the QEMU's own `qemu-img`.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Size;

/// A disk image that is created in the case's directory before it is needed, and removed with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Disk {
    /// Its virtual size. Default: that of `backing` or `copy`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Size>,
    /// Its format, a block driver such as `qcow2` or `raw`. Default: `qcow2`.
    #[serde(default = "qcow2")]
    pub format: String,
    /// Its backing image: another disk of the same VM or of the case, by name; or an existing image file, by its path,
    /// which contains a `.` or a `/`. The image is only read; its format comes from
    /// `qemu-img info`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backing: Option<String>,
    /// An existing image file, by its path, of which it is a full copy in its own `format`. The file is only read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy: Option<String>,
    /// Whether all VMs that have a disk of this name with `share` use one image, as the source and the destination of a
    /// migration do with storage that both reach, such as NFS. QEMU locks the image as on such storage: one VM at a time
    /// writes to it. Default: `false`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub share: bool,
}

fn qcow2() -> String {
    "qcow2".to_owned()
}

impl Disk {
    /// One whose backing file is this image.
    #[must_use]
    pub fn on(image: String) -> Self {
        Self { size: None, format: qcow2(), backing: Some(image), copy: None, share: false }
    }

    /// Checks the disk.
    ///
    /// # Errors
    /// The wrong key, what is wrong, and how to fix it.
    pub fn check(&self) -> Result<(), (&'static str, String, String)> {
        if self.copy.is_some() && (self.size.is_some() || self.backing.is_some()) {
            let other = if self.backing.is_some() { "backing" } else { "size" };
            return Err((
                other,
                format!("`copy` cannot be combined with `{other}`"),
                "a copy has the size of the image, and no backing file".to_owned(),
            ));
        }
        match (self.size.is_some() || self.copy.is_some(), &self.backing) {
            (false, None) => Err((
                "",
                "the disk has no size".to_owned(),
                "add `size: 64M`, `backing: DISK`, or `copy: PATH`".to_owned(),
            )),
            (_, Some(_)) if self.format == "raw" => Err((
                "backing",
                "a raw image cannot have a backing file".to_owned(),
                "remove `format`: the default, `qcow2`, can".to_owned(),
            )),
            _ => Ok(()),
        }
    }

    /// Whether a `backing` is a file path; names of disks contain neither of these characters.
    #[must_use]
    pub fn is_file(backing: &str) -> bool {
        backing.contains(['.', '/'])
    }

    /// The name of its file; `owner` is the VM it belongs to, if any.
    #[must_use]
    pub fn file_name(&self, owner: Option<&str>, name: &str) -> String {
        // No VM and no disk has an `@` in its name.
        let owner = if self.share { Some("shared@".to_owned()) } else { owner.map(|vm| format!("{vm}.")) };
        let owner = owner.unwrap_or_default();
        format!("{owner}{name}.{}", self.format)
    }

    /// The command that creates it.
    #[must_use]
    pub fn create(&self, qemu_img: &Path, file: &Path, backing: Option<(&Path, &str)>) -> Vec<String> {
        let mut argv = vec![qemu_img.display().to_string()];
        if let Some(image) = &self.copy {
            let file = file.display().to_string();
            argv.extend(["convert", "-q", "-O", &self.format, image, &file].map(str::to_owned));
            return argv;
        }
        argv.extend(["create", "-q", "-f", &self.format].map(str::to_owned));
        if let Some((file, format)) = backing {
            argv.extend(["-b".to_owned(), file.display().to_string(), "-F".to_owned(), format.to_owned()]);
        }
        argv.push(file.display().to_string());
        argv.extend(self.size.map(|size| size.0.to_string()));
        argv
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(text: &str) -> Disk {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_disk_has_its_own_size_or_that_of_its_backing_image() {
        assert!(disk("{}").check().unwrap_err().1.contains("no size"));
        assert_eq!(disk(r#"{"size": "64M"}"#).check(), Ok(()));
        assert_eq!(disk(r#"{"backing": "base"}"#).check(), Ok(()));
        assert!(disk(r#"{"backing": "base", "format": "raw"}"#).check().is_err());
        assert_eq!(disk(r#"{"copy": "i.img", "format": "raw"}"#).check(), Ok(()));
        assert!(disk(r#"{"copy": "i.img", "size": "1M"}"#).check().is_err());
        assert!(disk(r#"{"copy": "i.img", "backing": "base"}"#).check().is_err());
    }

    #[test]
    fn an_overlay_names_its_backing_image_and_format() {
        let argv = disk(r#"{"backing": "base"}"#).create(
            Path::new("qemu-img"),
            Path::new("/c/vm.top.qcow2"),
            Some((Path::new("/c/base.raw"), "raw")),
        );
        assert_eq!(argv.join(" "), "qemu-img create -q -f qcow2 -b /c/base.raw -F raw /c/vm.top.qcow2");
        let argv = disk(r#"{"size": "64M", "format": "raw"}"#).create(Path::new("q"), Path::new("f"), None);
        assert_eq!(argv.join(" "), "q create -q -f raw f 67108864");
        let argv = disk(r#"{"copy": "/i"}"#).create(Path::new("q"), Path::new("f"), None);
        assert_eq!(argv.join(" "), "q convert -q -O qcow2 /i f");
    }

    #[test]
    fn a_shared_disk_has_one_file_for_all_vms() {
        let name = |text: &str| disk(text).file_name(Some("vm"), "a");
        assert_eq!(name(r#"{"size": "1M"}"#), "vm.a.qcow2");
        assert_eq!(name(r#"{"size": "1M", "share": true}"#), "shared@a.qcow2");
    }
}
