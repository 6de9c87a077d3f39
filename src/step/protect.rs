//! `protect`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::running::Running;
use super::wait::{Checkpoints, Condition, Migration, Status, Wait};
use super::{Complaints, Migrate, Named, Needs, Scene, StepAction, listed};
use crate::session::{Failure, Machine};
use crate::units::OneOrMany;

/// Starts COLO for two VMs, and asserts that either can take over.
///
/// The status `colo` does not mean that a pair is protected: QEMU enters COLO without a replicated disk or a compared network
/// and does not report that (QEMU's `docs/COLO-FT.txt` and `docs/block-replication.txt` describe a complete setup). So this
/// step first checks capabilities, quorums and their children, exports, the sizes of the secondary's images, and net
/// filters. Then it starts the migration, and waits until both sides run in COLO and the first checkpoints are completed.
/// The failure message lists everything that is missing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Protect {
    /// The VM that runs the guest.
    pub primary: String,
    /// The VM that is synchronized with it.
    pub secondary: String,
    /// The block devices that must be replicated, by device or node name; each is a quorum on the primary. Other quorums are
    /// checked too. Empty names are ignored. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disks: Option<OneOrMany<String>>,
    /// The network backends whose output must be compared, by `id`. Empty names are ignored. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub networks: Option<OneOrMany<String>>,
    /// The number of checkpoints to wait for. Default: 1.
    #[serde(default = "one")]
    pub checkpoints: u64,
    /// The secondary's listening address, as in `migrate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen: Option<String>,
    /// The migration's link, as in `migrate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
}

const fn one() -> u64 {
    1
}

impl Protect {
    fn migration(&self) -> Migrate {
        Migrate {
            from: self.primary.clone(),
            to: Some(self.secondary.clone()),
            listen: self.listen.clone(),
            link: self.link.clone(),
            uri: None,
            channels: None,
            exit_on_error: None,
            resume: false,
        }
    }

    /// The run states of both sides.
    async fn run_states(&self, run: &Running<'_>) -> String {
        let mut states = Vec::new();
        for vm in [&self.primary, &self.secondary] {
            let Ok(machine) = run.session.machine(vm) else {
                continue;
            };
            let patience = tokio::time::Instant::now() + std::time::Duration::from_secs(2);
            let state = match machine.query("query-status", patience).await {
                Ok(reply) => reply["status"].as_str().unwrap_or("unknown").to_owned(),
                Err(_) => "not answering".to_owned(),
            };
            states.push(format!("`{vm}` is {state}"));
        }
        states.join(", ")
    }

    /// A description of everything that is missing.
    async fn missing(&self, run: &Running<'_>) -> Result<Vec<String>, Failure> {
        let (primary, secondary) =
            (run.session.machine(&self.primary)?, run.session.machine(&self.secondary)?);
        let mut missing = Vec::new();
        for machine in [&primary, &secondary] {
            let known = machine.query("query-migrate-capabilities", run.deadline).await?;
            missing.extend(capabilities(machine, &known));
        }
        let blocks = primary.query("query-block", run.deadline).await?;
        let named = named(&primary, run).await?;
        let disks = self.disks.iter().flatten().filter(|name| !name.is_empty());
        let replicated = quorums(&blocks, &named);
        for disk in disks {
            if !replicated.iter().any(|quorum| quorum.is(disk)) {
                missing.push(format!(
                    "`{disk}` of `{}` is not a quorum, so its writes are not replicated",
                    self.primary
                ));
            }
        }
        for quorum in &replicated {
            if !quorum.has_nbd {
                missing.push(format!(
                    "the quorum `{}` of `{}` has no child on `{}`: add the node of its export with \
                     `blockdev-add` and `x-blockdev-change`",
                    quorum.name, self.primary, self.secondary
                ));
            }
        }
        if !replicated.is_empty() {
            missing.extend(self.replica(run, &secondary).await?);
        }
        for network in self.networks.iter().flatten().filter(|name| !name.is_empty()) {
            missing.extend(self.filters(run, network).await?);
        }
        Ok(missing)
    }

    /// What the secondary's replica lacks.
    async fn replica(&self, run: &Running<'_>, secondary: &Machine) -> Result<Vec<String>, Failure> {
        let mut missing = Vec::new();
        let name = secondary.name();
        let exports = secondary.query("query-block-exports", run.deadline).await?;
        if exports.as_array().is_none_or(Vec::is_empty) {
            missing.push(format!(
                "`{name}` exports no block device: `nbd-server-start` and `nbd-server-add` are missing"
            ));
        }
        let blocks = secondary.query("query-block", run.deadline).await?;
        let named = named(secondary, run).await?;
        let replications: Vec<&Value> =
            nodes(&blocks, &named).filter(|node| node["drv"] == "replication").collect();
        if replications.is_empty() {
            missing.push(format!("`{name}` has no node of the driver `replication`"));
        }
        for node in replications {
            missing.extend(sizes(&node["image"]).map(|sizes| {
                format!("the images of `{name}` differ in size: {sizes}; active, hidden and secondary disk must have the same size")
            }));
        }
        Ok(missing)
    }

    /// What the comparison of a network lacks.
    async fn filters(&self, run: &Running<'_>, network: &str) -> Result<Vec<String>, Failure> {
        let mut missing = Vec::new();
        for (vm, needed) in [
            (&self.primary, &[("filter-mirror", 1), ("filter-redirector", 2)][..]),
            (&self.secondary, &[("filter-redirector", 2), ("filter-rewriter", 1)][..]),
        ] {
            let objects = objects(&*run.session.machine(vm)?, run).await?;
            for (kind, count) in needed {
                let there = objects.iter().filter(|object| object.kind == *kind && object.netdev == network);
                let there = there.count();
                if there < *count {
                    missing.push(format!("`{vm}` has {there} of {count} {kind} on the network `{network}`"));
                }
            }
            if vm == &self.primary && !objects.iter().any(|object| object.kind == "colo-compare") {
                missing.push(format!("`{vm}` has no colo-compare, so the guests' packets are not compared"));
            }
        }
        Ok(missing)
    }
}

impl StepAction for Protect {
    const EXAMPLE: &str = "{primary: NAME, secondary: NAME}";

    fn title(&self) -> String {
        format!("protect {} with {}", self.primary, self.secondary)
    }

    fn vms(&mut self) -> Vec<Named<'_>> {
        let side = |vm, path| Named::one(vm, path, Needs::Monitor);
        vec![side(&mut self.primary, &["primary"]), side(&mut self.secondary, &["secondary"])]
    }

    fn check(&self, scene: &Scene<'_>, complaints: &mut Complaints) {
        let mut of_migrate = Complaints::default();
        self.migration().check(scene, &mut of_migrate);
        for mut complaint in of_migrate.0 {
            for key in &mut complaint.path {
                match key.as_str() {
                    "from" => "primary".clone_into(key),
                    "to" => "secondary".clone_into(key),
                    _ => {}
                }
            }
            complaints.0.push(complaint);
        }
    }

    async fn run(&self, run: &mut Running<'_>) -> Result<Value, Failure> {
        let missing = self.missing(run).await?;
        if !missing.is_empty() {
            return Err(Failure::failed(format!("the pair would not be protected: {}", missing.join("; "))));
        }
        self.migration().run(run).await?;
        let both = || vec![self.primary.clone(), self.secondary.clone()];
        let word = |word: &str| OneOrMany(vec![word.to_owned()]);
        let waits = [
            (both(), Condition::Migration(Migration { migration: word("colo"), never: None })),
            (both(), Condition::Status(Status { status: word("running") })),
            (
                vec![self.secondary.clone()],
                Condition::Checkpoints(Checkpoints { checkpoints: self.checkpoints }),
            ),
        ];
        for (vm, condition) in waits {
            if let Err(failure) = (Wait { vm, condition }).run(run).await {
                let states = self.run_states(run).await;
                return Err(failure.led_by("the pair is not protected: ").noted(&states));
            }
        }
        Ok(Value::Null)
    }
}

/// The migration capabilities that a VM lacks.
fn capabilities(machine: &Machine, known: &Value) -> Vec<String> {
    let is_on = |name: &str| {
        known.as_array().into_iter().flatten().any(|one| one["capability"] == name && one["state"] == true)
    };
    let name = machine.name();
    let mut missing = Vec::new();
    if !is_on("x-colo") {
        missing.push(format!("`{name}` lacks the migration capability `x-colo`"));
    }
    // Required since 11.0; in older versions the pair fails at once with it.
    let version = &machine.plan.binary.version;
    match (version.major >= 11, is_on("return-path")) {
        (true, false) => missing.push(format!("`{name}` lacks the migration capability `return-path`")),
        (false, true) => {
            missing.push(format!(
                "`{name}` has `return-path` on, which COLO in QEMU {version} does not support"
            ));
        }
        _ => {}
    }
    missing
}

/// All named nodes of a VM.
async fn named(machine: &Machine, run: &Running<'_>) -> Result<Value, Failure> {
    machine.qmp("query-named-block-nodes", json!({"flat": true}), false, run.deadline).await
}

/// Every node of a VM, those of its devices first.
fn nodes<'v>(blocks: &'v Value, named: &'v Value) -> impl Iterator<Item = &'v Value> {
    let tops = blocks.as_array().into_iter().flatten().map(|device| &device["inserted"]);
    tops.chain(named.as_array().into_iter().flatten())
}

struct Quorum {
    name: String,
    node: String,
    has_nbd: bool,
}

impl Quorum {
    fn is(&self, name: &str) -> bool {
        self.name == name || self.node == name
    }
}

/// The quorums of a VM, each once.
fn quorums(blocks: &Value, named: &Value) -> Vec<Quorum> {
    let mut found: Vec<Quorum> = Vec::new();
    let devices = blocks.as_array().into_iter().flatten();
    let tops = devices.map(|device| (device["device"].as_str().unwrap_or_default(), &device["inserted"]));
    let rest = named.as_array().into_iter().flatten().map(|node| ("", node));
    for (device, node) in tops.chain(rest).filter(|(_, node)| node["drv"] == "quorum") {
        let node_name = node["node-name"].as_str().unwrap_or_default();
        if found.iter().any(|quorum| quorum.node == node_name) {
            continue;
        }
        let name = if device.is_empty() { node_name } else { device };
        // All QEMU versions with quorum describe it by its children's options.
        let described = node["file"].as_str().unwrap_or_default();
        let has_nbd = described.contains("\"driver\": \"nbd\"") || described.contains("nbd+unix:");
        found.push(Quorum { name: name.to_owned(), node: node_name.to_owned(), has_nbd });
    }
    found
}

/// The virtual sizes of an image and its backing images, if they differ.
fn sizes(image: &Value) -> Option<String> {
    let mut all = Vec::new();
    let mut image = Some(image);
    while let Some(one) = image {
        all.extend(one["virtual-size"].as_u64());
        image = one.get("backing-image");
    }
    let differ = all.iter().any(|size| Some(size) != all.first());
    differ.then(|| listed(&all.iter().map(|size| crate::units::Size(*size).to_string()).collect::<Vec<_>>()))
}

struct Object {
    kind: String,
    netdev: String,
}

/// The user-created objects of a VM, with the network that each filters.
async fn objects(machine: &Machine, run: &Running<'_>) -> Result<Vec<Object>, Failure> {
    let listed = machine.qmp("qom-list", json!({"path": "/objects"}), false, run.deadline).await?;
    let mut objects = Vec::new();
    for entry in listed.as_array().into_iter().flatten() {
        let kind = entry["type"].as_str().and_then(|kind| kind.strip_prefix("child<")?.strip_suffix('>'));
        let (Some(kind), Some(name)) = (kind, entry["name"].as_str()) else {
            continue;
        };
        let netdev = if kind.starts_with("filter-") {
            let arguments = json!({"path": format!("/objects/{name}"), "property": "netdev"});
            let netdev = machine.qmp("qom-get", arguments, false, run.deadline).await?;
            netdev.as_str().unwrap_or_default().to_owned()
        } else {
            String::new()
        };
        objects.push(Object { kind: kind.to_owned(), netdev });
    }
    Ok(objects)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quorum_is_replicated_if_it_has_an_nbd_child() {
        let quorum = |file: &str| {
            let blocks = json!([{"device": "colo-disk0", "inserted":
                {"drv": "quorum", "node-name": "#block1", "file": file}}]);
            let named = json!([blocks[0]["inserted"]]);
            let found = quorums(&blocks, &named);
            assert_eq!(found.len(), 1);
            assert!(found[0].is("colo-disk0") && found[0].is("#block1") && !found[0].is("other"));
            found[0].has_nbd
        };
        assert!(quorum(
            r#"json:{"children": [{"driver": "qcow2"}, {"server.path": "/n", "driver": "nbd"}]}"#
        ));
        assert!(!quorum(r#"json:{"children": [{"driver": "qcow2"}], "driver": "quorum"}"#));
    }

    #[test]
    fn images_of_different_sizes_are_reported() {
        let image = |hidden: u64| {
            json!({"virtual-size": 67108864,
                "backing-image": {"virtual-size": hidden, "backing-image": {"virtual-size": 67108864}}})
        };
        assert_eq!(sizes(&image(67108864)), None);
        assert_eq!(sizes(&image(33554432)).unwrap(), "64M, 32M, 64M");
    }
}
