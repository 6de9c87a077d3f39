//! Image files of a command line: each becomes a disk of the VM, so that no image is written to.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::convert::{Scenario, joined, pairs};
use crate::template::escape;

/// The size of a disk in the place of an image that does not exist.
const SIZE: &str = "1G";

impl Scenario {
    /// A template for the path of a disk with the content of an image, and the disk's format.
    fn image(&mut self, path: &str, format: Option<&str>) -> (String, String) {
        let name = format!("disk{}", self.disks.len());
        let format = format.unwrap_or("qcow2");
        let disk = match self.existing(path) {
            Some(found) if format == "qcow2" => json!({"backing": found}),
            Some(found) => json!({"copy": found, "format": format}),
            None => {
                self.note(format!("There is no `{path}` here: `{name}` is an empty disk in its place."));
                json!({"size": SIZE, "format": format})
            }
        };
        self.disks.insert(name.clone(), disk);
        (format!("{{{{self.disk.{name}}}}}"), format.to_owned())
    }

    /// The absolute path of an existing file.
    pub(super) fn existing(&self, path: &str) -> Option<String> {
        let path = self.folder.join(Path::new(path));
        path.is_file().then(|| escape(&path.display().to_string()))
    }

    /// `-drive`: each image that it names becomes a disk.
    pub(super) fn drive(&mut self, value: &str) {
        let mut pairs = pairs(value, "file");
        let is = |key: &str, values: &[&str]| {
            pairs.iter().any(|(known, value)| known == key && values.contains(&value.as_str()))
        };
        if is("if", &["pflash"]) {
            let file = pairs.iter().find(|(key, _)| key == "file").and_then(|(_, path)| self.existing(path));
            let key = if is("readonly", &["on"]) { "code" } else { "vars" };
            return match file {
                Some(file) => _ = self.flash.insert(key.to_owned(), file.into()),
                None => self.leave_out("drive", value, "there is no such file here"),
            };
        }
        if is("media", &["cdrom"]) || is("readonly", &["on"]) || is("read-only", &["on"]) {
            let file = pairs.iter_mut().find(|(key, _)| key == "file");
            if let Some((_, path)) = file {
                match self.existing(path) {
                    Some(found) => *path = found,
                    None => return self.leave_out("drive", value, "there is no such file here"),
                }
            }
            return self.keep(&["-drive", &joined(&pairs)]);
        }
        for at in 0..pairs.len() {
            let (key, path) = pairs[at].clone();
            let is_file = key == "file" || key == "filename" || key.ends_with(".filename");
            if !is_file || path.split('/').next().is_some_and(|scheme| scheme.contains(':')) {
                continue;
            }
            // The driver is that of the node around the file's.
            let above = key
                .strip_suffix(".filename")
                .and_then(|file| file.rsplit_once('.').map_or(Some(""), |(above, _)| Some(above)));
            let of = match above {
                None => "format".to_owned(),
                Some("") => "driver".to_owned(),
                Some(above) => format!("{above}.driver"),
            };
            let known =
                pairs.iter().position(|(known, _)| *known == of || (above == Some("") && known == "format"));
            let format = known.map(|known| pairs[known].1.clone());
            let (path, format) = self.image(&path, format.as_deref());
            pairs[at].1 = path;
            if known.is_none() && key == "file" {
                pairs.push(("format".to_owned(), format));
            }
        }
        self.keep(&["-drive", &joined(&pairs)]);
    }

    /// `-hda` and the like.
    pub(super) fn disk(&mut self, option: &str, path: &str) {
        let index = option.bytes().last().map_or(0, |last| last - b'a');
        let (path, format) = self.image(path, None);
        self.keep(&["-drive", &format!("file={path},format={format},index={index},media=disk")]);
    }

    /// `-cdrom`: only read.
    pub(super) fn cdrom(&mut self, path: &str) {
        match self.existing(path) {
            Some(found) => self.keep(&["-cdrom", &found]),
            None => self.leave_out("cdrom", path, "there is no such file here"),
        }
    }

    /// The image files of all block devices.
    pub(super) fn images_of_blockdevs(&mut self) {
        let Some(Value::Array(mut nodes)) = self.vm.remove("blockdevs") else {
            return;
        };
        let drivers: Vec<(Value, Value)> =
            nodes.iter().map(|node| (node["file"].clone(), node["driver"].clone())).collect();
        for node in &mut nodes {
            let around = drivers.iter().find(|(file, _)| file.is_string() && *file == node["node-name"]);
            let around = around.and_then(|(_, driver)| driver.as_str()).map(str::to_owned);
            if let Value::Object(node) = node {
                self.images_of(node, around.as_deref());
            }
        }
        self.vm.insert("blockdevs".to_owned(), Value::Array(nodes));
    }

    fn images_of(&mut self, node: &mut Map<String, Value>, around: Option<&str>) {
        if node.get("read-only") == Some(&json!(true)) {
            return;
        }
        if let (Some("file"), Some(path)) =
            (node.get("driver").and_then(Value::as_str), node.get("filename").and_then(Value::as_str))
        {
            let (path, _) = self.image(path, Some(around.unwrap_or("raw")));
            node.insert("filename".to_owned(), path.into());
        }
        let own = node.get("driver").and_then(Value::as_str).map(str::to_owned);
        for value in node.values_mut() {
            if let Value::Object(inner) = value {
                self.images_of(inner, own.as_deref());
            }
        }
    }
}
