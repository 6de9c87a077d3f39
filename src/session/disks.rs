//! The disk images of a case: created before use, inspected afterwards.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::failure::Failure;
use super::machine::Plan;
use super::process::Background;
use super::state::Session;
use crate::qemu::disk::Disk;
use crate::qemu::image::Drive;
use crate::qemu::process::Ended;
use crate::qemu::programs::{QEMU_IMG, program};
use crate::qemu::spec::Guest;

impl Session {
    /// Creates the disks that belong to no VM, with the `qemu-img` of the case's first VM.
    ///
    /// # Errors
    /// When one cannot be created.
    pub async fn make_disks(&self, deadline: Instant) -> Result<(), Failure> {
        self.make(&self.disks, None, &self.first_qemu(), deadline).await
    }

    /// Creates the missing disks of a VM.
    ///
    /// # Errors
    /// When one cannot be created.
    pub async fn make_disks_of(&self, plan: &Plan, deadline: Instant) -> Result<(), Failure> {
        self.make(&plan.spec.disks, Some(&plan.name), &plan.binary.path, deadline).await
    }

    /// Where the disks of a VM are, by name.
    #[must_use]
    pub fn disk_paths(&self, plan: &Plan) -> Value {
        let path = |(name, disk): (&String, &Disk)| {
            (name.clone(), json!(self.disk_path(Some(&plan.name), name, disk)))
        };
        Value::Object(plan.spec.disks.iter().map(path).collect::<Map<_, _>>())
    }

    fn disk_path(&self, owner: Option<&str>, name: &str, disk: &Disk) -> PathBuf {
        self.directory().join(disk.file_name(owner, name))
    }

    async fn make(
        &self,
        disks: &BTreeMap<String, Disk>,
        owner: Option<&str>,
        binary: &Path,
        deadline: Instant,
    ) -> Result<(), Failure> {
        let mut waiting: Vec<(&String, &Disk)> = disks.iter().collect();
        while !waiting.is_empty() {
            let before = waiting.len();
            let mut later = Vec::new();
            for (name, disk) in waiting {
                let file = self.disk_path(owner, name, disk);
                if file.exists() {
                    continue;
                }
                let backing = match &disk.backing {
                    None => None,
                    Some(image) if Disk::is_file(image) => {
                        Some((PathBuf::from(image), self.format(image, binary, deadline).await?))
                    }
                    Some(below) => match self.below(disks, owner, below) {
                        Some((path, _)) if !path.exists() => {
                            later.push((name, disk));
                            continue;
                        }
                        Some(backing) => Some(backing),
                        None => {
                            let message =
                                format!("disk `{name}`: no disk `{below}` to use as its backing image");
                            return Err(Failure::error(message));
                        }
                    },
                };
                let backing = backing.as_ref().map(|(path, format)| (path.as_path(), format.as_str()));
                self.run_tool(disk.create(&program(binary, QEMU_IMG), &file, backing), deadline).await?;
            }
            if later.len() == before {
                let names: Vec<&str> = later.iter().map(|(name, _)| name.as_str()).collect();
                return Err(Failure::error(format!(
                    "the disks {} back each other in a cycle",
                    names.join(", ")
                )));
            }
            waiting = later;
        }
        Ok(())
    }

    /// The format of an existing image.
    async fn format(&self, image: &str, binary: &Path, deadline: Instant) -> Result<String, Failure> {
        let info = ["info", "-U", "--output=json", image].map(str::to_owned);
        let argv = [vec![program(binary, QEMU_IMG).display().to_string()], info.to_vec()].concat();
        let reply = self.run_tool(argv, deadline).await?;
        let reply: Value = serde_json::from_str(reply.as_str().unwrap_or_default()).unwrap_or_default();
        let format = reply["format"].as_str().map(str::to_owned);
        format.ok_or_else(|| Failure::error(format!("`qemu-img info` reports no format for {image}")))
    }

    /// Finds the disk that a VM's guest names, if it names one.
    pub(super) fn find_image(&self, plan: &mut Plan) {
        let Guest::Image(image) = &mut plan.spec.guest else { return };
        let found = |disk: &String| self.below(&plan.spec.disks, Some(&plan.name), disk);
        image.drive = image.disk.as_ref().and_then(found).map(|(path, format)| Drive { format, path });
    }

    /// The path and format of a disk's backing disk: of the same VM, else of the case.
    fn below(
        &self,
        disks: &BTreeMap<String, Disk>,
        owner: Option<&str>,
        name: &str,
    ) -> Option<(PathBuf, String)> {
        let own = disks.get(name).map(|disk| (owner, disk));
        let (owner, disk) = own.or_else(|| self.disks.get(name).map(|disk| (None, disk)))?;
        Some((self.disk_path(owner, name, disk), disk.format.clone()))
    }

    /// Runs a program such as `qemu-img` and returns its standard output.
    ///
    /// # Errors
    /// When it cannot be started, fails, or exceeds the deadline; includes its output.
    pub async fn run_tool(&self, argv: Vec<String>, deadline: Instant) -> Result<Value, Failure> {
        let command = argv.join(" ");
        let (board, notes) = (&self.board, &self.notes);
        let process =
            Background::start(argv, BTreeMap::new(), None, self.directory(), (board, notes), |_| None)?;
        match tokio::time::timeout_at(deadline, process.wait()).await {
            Ok(Ended::Status(0)) => Ok(process.result()["stdout"].clone()),
            Ok(_) => Err(Failure::error(format!("`{command}`: {}", process.state_and_output()))),
            Err(_) => Err(Failure::error(format!("`{command}` timed out"))),
        }
    }
}
