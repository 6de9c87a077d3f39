//! Image files of a command line: each becomes a disk of the VM, so that no image is written to.

use std::io::Read;
use std::path::Path;

use serde_json::{Value, json};

use super::convert::{Scenario, joined, pairs, value_of, without_first_key};
use crate::template::escape;

/// The size of a disk in the place of an image that does not exist.
const SIZE: &str = "1G";

impl Scenario {
    /// A template for the path of a disk with the content of an image, and the disk's format.
    fn image(&mut self, path: &str, format: Option<&str>) -> (String, String) {
        let name = format!("disk{}", self.disks.len());
        let found = self.existing(path);
        let format = format.unwrap_or_else(|| found.as_deref().map_or("qcow2", format_of));
        let disk = match found {
            Some(found) if format == "qcow2" => json!({"backing": found}),
            Some(found) => json!({"copy": found, "format": format}),
            None => {
                self.note(format!("There is no file `{path}` here: `{name}` is an empty disk in its place."));
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
            let key = if is("readonly", &["on"]) { "code" } else { "vars" };
            self.flash.insert(key.to_owned(), value_of(&pairs, "file").into());
            return;
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

    /// The firmware in flash memory, of `-drive if=pflash` or of the machine's `pflash0` and `pflash1`.
    pub(super) fn firmware(&mut self) {
        for (option, key) in [("pflash0", "code"), ("pflash1", "vars")] {
            let at = self.machine.iter().position(|(known, _)| known == option);
            if let Some((_, node)) = at.map(|at| self.machine.remove(at)) {
                let path = self.take_file_of(&node);
                self.flash.insert(key.to_owned(), path.into());
            }
        }
        let path = |key: &str| self.flash.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (code, vars) = (path("code"), path("vars"));
        match (self.existing(&code), self.existing(&vars)) {
            _ if code.is_empty() && vars.is_empty() => {}
            (Some(code), Some(vars)) => self.set("firmware", json!({"code": code, "vars": vars})),
            (Some(code), None) => {
                let template = code.replace("CODE", "VARS");
                let all = [template.replace(".secboot", ""), template];
                let Some(template) =
                    all.into_iter().filter(|path| *path != code).find_map(|path| self.existing(&path))
                else {
                    return self.keep(&["-drive", &format!("if=pflash,format=raw,readonly=on,file={code}")]);
                };
                if !vars.is_empty() {
                    self.note(format!("There is no file `{vars}` here: `{template}` is in its place."));
                }
                self.set("firmware", json!({"code": code, "vars": template}));
            }
            (None, _) => self.note(format!("Left out: the firmware `{code}`: there is no such file here.")),
        }
    }

    /// The path of a node's file; removes the node, and those below it.
    fn take_file_of(&mut self, name: &str) -> String {
        let Some(at) = self.nodes.iter().position(|(node, _)| node["node-name"] == name) else {
            return String::new();
        };
        let (node, _) = self.nodes.remove(at);
        let filename = node["filename"].as_str().or_else(|| node["file"]["filename"].as_str());
        match (filename, node["file"].as_str()) {
            (Some(path), _) => path.to_owned(),
            (None, Some(below)) => self.take_file_of(below),
            (None, None) => String::new(),
        }
    }

    /// The image files of all block devices.
    pub(super) fn images_of_nodes(&mut self) {
        let mut nodes = std::mem::take(&mut self.nodes);
        let drivers: Vec<(Value, Value)> =
            nodes.iter().map(|(node, _)| (node["file"].clone(), node["driver"].clone())).collect();
        for (mut node, is_json) in nodes.drain(..) {
            let around = drivers.iter().find(|(file, _)| file.is_string() && *file == node["node-name"]);
            self.images_of(&mut node, around.and_then(|(_, driver)| driver.as_str()));
            if is_json {
                self.push("blockdevs", node);
            } else {
                let mut pairs = Vec::new();
                flatten(&node, "", &mut pairs);
                self.keep(&["-blockdev", without_first_key(&joined(&pairs))]);
            }
        }
    }

    fn images_of(&mut self, node: &mut Value, around: Option<&str>) {
        let own = node["driver"].as_str().map(str::to_owned);
        if let (Some("file" | "host_device" | "host_cdrom"), Some(path)) =
            (own.as_deref(), node["filename"].as_str())
        {
            let is_read = [json!(true), json!("on")].contains(&node["read-only"]);
            let path = match self.existing(path) {
                Some(found) if is_read => found,
                _ => self.image(path, Some(around.unwrap_or("raw"))).0,
            };
            node["filename"] = path.into();
            node["driver"] = "file".into();
        }
        for value in node.as_object_mut().into_iter().flat_map(|node| node.values_mut()) {
            if value.is_object() {
                self.images_of(value, own.as_deref());
            }
        }
    }
}

/// The format of an existing image: that of QEMU's own images, or else raw.
fn format_of(path: &str) -> &'static str {
    let mut start = [0; 4];
    let read = std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut start));
    if read.is_ok() && start == *b"QFI\xfb" { "qcow2" } else { "raw" }
}

/// A node of words such as `file.filename=PATH`.
pub(super) fn nested(pairs: &[(String, String)]) -> Value {
    let mut node = json!({});
    for (key, value) in pairs {
        let mut at = &mut node;
        for part in key.split('.') {
            if !at.is_object() {
                *at = json!({});
            }
            at = &mut at[part];
        }
        *at = value.as_str().into();
    }
    node
}

/// The reverse of [`nested`].
fn flatten(node: &Value, prefix: &str, pairs: &mut Vec<(String, String)>) {
    for (key, value) in node.as_object().into_iter().flatten() {
        let key = format!("{prefix}{key}");
        match value.as_str() {
            Some(text) => pairs.push((key, text.to_owned())),
            None => flatten(value, &format!("{key}."), pairs),
        }
    }
}
