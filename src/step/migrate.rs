//! `migrate`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::running::Running;
use super::wakes::Wakes;
use super::{About, Complaints, Named, Needs, Rule, Scene, StepAction, link};
use crate::qemu::spec::{Guest, VmSpec};
use crate::session::{Failure, Listening, Machine, Pair, witness};
use crate::template::is_template;

/// Starts a migration and returns at once.
///
/// With `to`: makes the destination listen if it has `incoming: defer` and does not listen yet, queries its actual address,
/// and starts the migration from `from`. With `uri`: starts a migration to that URI (such as `exec:` or `file:`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Migrate {
    /// The source.
    pub from: String,
    /// The destination. If it has `connect: false` and is not connected yet, it gets no command: `listen` or `channels` must
    /// name its address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// The destination's listening address, as a migration URI. Default: `tcp:127.0.0.1:0`, a port that QEMU chooses; with
    /// `resume`, a new socket in the case's directory. If QEMU reports no address for the URI (`fd:NAME`,
    /// `rdma:HOST:PORT`), the source gets the same URI.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen: Option<String>,
    /// With `to`: a link of `links` that carries the stream. The source connects to the link's address, and the link to the
    /// destination's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// The target as a URI, instead of `to`. A relative path in it is relative to the case's private directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// The target as QAPI `MigrationChannel`s (QEMU 8.2 and later), instead of a URI. With `to`, the destination listens
    /// at the address of the `main` channel, unless there is `listen` or `link`, and an inet port of `"0"` is replaced by the
    /// destination's actual port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channels: Option<Vec<Value>>,
    /// With `to`: whether the destination's QEMU exits if the migration fails (`exit-on-error` of `migrate-incoming`, QEMU
    /// 9.1 and later). Default: QEMU's default, which is `true`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_on_error: Option<bool>,
    /// Resumes a paused postcopy migration; with `to`, the destination first listens again, by an out-of-band
    /// `migrate-recover`. It is not asked for its address: if a device of the guest waits for a page, a destination answers
    /// other commands only after the recovery. Default: `false`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub resume: bool,
}

impl Migrate {
    /// Complains if the channels do not name an address at which the destination can listen.
    fn check_channels(&self, scene: &Scene<'_>, to: &str, complaints: &mut Complaints) {
        let defers = |spec: &VmSpec| spec.incoming.as_deref() == Some("defer") && spec.connect;
        let Some(channels) = self.channels.as_ref().filter(|_| self.listen.is_none() && self.link.is_none())
        else {
            return;
        };
        if !scene.vms.get(to).is_some_and(defers) {
            return;
        }
        let help = format!("add `listen` with the address of `{to}`");
        let Some(at) = channels.iter().position(is_main) else {
            // The value of a template is only known later.
            if !channels.iter().any(|channel| channel["channel-type"].as_str().is_none_or(is_template)) {
                let message = "there is no `main` channel, whose address the destination needs";
                complaints.add_about(About::Vm, &["channels"], message, help);
            }
            return;
        };
        if let Some(transport @ ("exec" | "file")) = channels[at]["addr"]["transport"].as_str() {
            let message = format!("`{to}` cannot listen on a channel with transport `{transport}`");
            complaints.add_about(About::Vm, &["channels", &at.to_string(), "addr"], message, help);
        }
    }

    /// The `main` channel, if it determines where the destination listens.
    fn main_channel(&self) -> Option<&Value> {
        let given = self.channels.iter().flatten().find(|channel| is_main(channel));
        given.filter(|_| self.listen.is_none() && self.link.is_none())
    }

    /// Sends the source's guest a number, which shows later whether the destination's guest got the source's state. Waits
    /// for a running built-in guest to boot. Does nothing if the guest is stopped or is going to sleep.
    async fn send_number(&self, run: &mut Running<'_>) -> Result<(), Failure> {
        let machine = run.session.machine(&self.from)?;
        let takes_number = matches!(&machine.plan.spec.guest, Guest::Ticker(ticker) if !ticker.suspend);
        if self.resume
            || !takes_number
            || machine.query("query-status", run.deadline).await?["running"] != true
        {
            return Ok(());
        }
        witness::give(run.session, &self.from, run.deadline).await.map(|_| ())
    }

    /// Makes the destination listen, unless it already does. Returns its actual address (QAPI `SocketAddress`; null if QEMU
    /// reports none, as for a descriptor) and its URI.
    async fn listen(&self, run: &mut Running<'_>, to: &str) -> Result<(Value, String), Failure> {
        let machine = run.session.machine(to)?;
        if self.resume && self.listen.is_none() {
            return self::recover(run, to).await;
        }
        let fixed = machine.plan.spec.incoming.clone().filter(|incoming| incoming != "defer");
        let deferred = fixed.is_none();
        let channel = self.main_channel().filter(|_| deferred);
        let of_channel = channel.and_then(|channel| self::uri(&channel["addr"]));
        let given = self.listen.clone().or(fixed).or(of_channel);
        let uri = given.clone().unwrap_or_else(|| "tcp:127.0.0.1:0".to_owned());
        if !machine.is_connected() {
            // It has no monitor yet. Its command line has the address.
            if given.is_none() && self.channels.is_none() {
                let message = format!("VM `{to}` is not connected yet, so its address is unknown");
                return Err(Failure::failed(format!("{message}; add `listen` or `channels` to the step")));
            }
            return Ok((Value::Null, uri));
        }
        // If another step made the destination listen, it may have a status.
        let listens_already = async || {
            if machine.incoming().address.is_none() && machine.incoming().told_to_listen.is_some() {
                return Ok(true);
            }
            let reply = machine.query("query-migrate", run.deadline).await?;
            Ok::<_, Failure>(reply.get("status").is_some_and(|status| *status != "none"))
        };
        let mut listening = None;
        let mut has_address =
            uri.starts_with("tcp:") || uri.starts_with("unix:") || uri.starts_with("vsock:");
        if self.resume {
            machine.qmp("migrate-recover", json!({"uri": uri}), true, run.deadline).await?;
        } else if deferred
            && (self.listen.is_some() || machine.incoming().address.is_none())
            && !listens_already().await?
        {
            let arguments = self.of_migrate_incoming(&machine, channel, &uri)?;
            machine.qmp("migrate-incoming", arguments, false, run.deadline).await?;
            listening = Some(Listening { exits: self.exit_on_error != Some(false) });
        } else if given.is_none() && channel.is_none() {
            // Only QEMU knows the address.
            has_address = true;
        }
        let mut address = Value::Null;
        if has_address {
            address = reported_address(run, &machine).await?;
        }
        let mut incoming = machine.incoming();
        incoming.told_to_listen = listening.or(incoming.told_to_listen);
        incoming.address = Some(self::uri(&address).unwrap_or_else(|| uri.clone()));
        drop(incoming);
        Ok((address, uri))
    }

    /// The arguments of `migrate-incoming`.
    fn of_migrate_incoming(
        &self,
        machine: &Machine,
        channel: Option<&Value>,
        uri: &str,
    ) -> Result<Value, Failure> {
        let binary = &machine.plan.binary;
        let takes = |argument: &str| binary.schema.has_argument("migrate-incoming", argument);
        let mut arguments = match channel.filter(|_| takes("channels")) {
            Some(channel) => json!({"channels": [channel]}),
            None => json!({"uri": uri}),
        };
        if let Some(exit) = self.exit_on_error {
            if !takes("exit-on-error") {
                return Err(Failure::error(format!(
                    "`exit_on_error` needs `exit-on-error` of `migrate-incoming`, which QEMU has from 9.1 on; VM `{}` has QEMU {}",
                    machine.name(),
                    binary.version
                )));
            }
            arguments["exit-on-error"] = json!(exit);
        }
        Ok(arguments)
    }
}

/// The address where a VM says that it listens.
async fn reported_address(run: &Running<'_>, machine: &Machine) -> Result<Value, Failure> {
    let awaited = format!("`{}` to report its listening address", machine.name());
    let judge = |reply: &Value| Ok(reply["socket-address"].get(0).cloned());
    let seen = |reply: &Value| format!("no address in {reply}");
    let query = ("query-migrate", &Value::Null, false);
    run.ask(machine, query, &Wakes::Interval, &awaited, judge, seen).await
}

impl StepAction for Migrate {
    const EXAMPLE: &str = "{from: NAME, to: NAME}";
    const SNIPPET: Option<&str> = Some(r#"{"from": "$1", "to": "$2"}"#);
    const RULES: &[Rule] = &[
        Rule::AtMostOne { keys: &["to", "uri"], both: "keep one of them" },
        Rule::AtLeastOne {
            keys: &["to", "uri", "channels"],
            none: ("the migration has no target", "write `to: VM`, `uri: …` or `channels: […]`"),
        },
        Rule::GoesWith { key: "listen", owners: &["to"] },
        Rule::GoesWith { key: "link", owners: &["to"] },
        Rule::GoesWith { key: "exit_on_error", owners: &["to"] },
    ];

    fn title(&self) -> String {
        let target = self.to.as_deref().or(self.uri.as_deref()).unwrap_or("its channels");
        let link = self.link.as_ref().map(|link| format!(" through {link}")).unwrap_or_default();
        format!("{} {} to {target}{link}", if self.resume { "resume" } else { "migrate" }, self.from)
    }

    fn vms(&mut self) -> Vec<Named<'_>> {
        let from = Named::one(&mut self.from, &["from"], Needs::Monitor);
        // It needs no monitor if its address is given.
        let to = self.to.as_mut().map(|to| Named::one(to, &["to"], Needs::Process));
        std::iter::once(from).chain(to).collect()
    }

    fn check(&self, scene: &Scene<'_>, complaints: &mut Complaints) {
        if let Some(link) = &self.link {
            complaints.link(scene, &["link"], link);
        }
        if let Some(to) = &self.to {
            if *to == self.from {
                complaints.add(&["to"], format!("`{to}` cannot migrate to itself"), "name another VM");
            } else if scene.vms.get(to).is_some_and(|spec| spec.incoming.is_none()) {
                complaints.add_about(
                    About::Vm,
                    &["to"],
                    format!("VM `{to}` does not accept a migration"),
                    format!("give it `incoming: defer` under `vms: {{{to}: …}}`"),
                );
            }
            self.check_channels(scene, to, complaints);
        }
    }

    async fn run(&self, run: &mut Running<'_>) -> Result<Value, Failure> {
        self.send_number(run).await?;
        let mut arguments = json!({});
        let mut addresses = Vec::new();
        if let Some(to) = &self.to {
            let (mut address, listening) = self.listen(run, to).await?;
            addresses.extend(uri(&address).unwrap_or(listening.clone()).parse());
            if let Some(name) = &self.link {
                let link = link::find(run.session, name)?;
                let real = uri(&address).unwrap_or(listening.clone());
                let target = real.parse().map_err(|why| {
                    Failure::failed(format!("link `{name}` cannot connect to the address of `{to}`: {why}"))
                })?;
                link.set_target(target);
                addresses.push(link.address().clone());
                address = link.address().to_qapi();
            }
            match &self.channels {
                None => arguments["uri"] = json!(uri(&address).unwrap_or(listening)),
                Some(channels) => arguments["channels"] = fill_ports(channels, &address),
            }
        } else {
            if let Some(uri) = &self.uri {
                arguments["uri"] = json!(uri);
                addresses.extend(uri.parse());
            }
            if let Some(channels) = &self.channels {
                arguments["channels"] = json!(channels);
            }
        }
        if self.resume {
            arguments["resume"] = json!(true);
        }
        let pair = Pair {
            source: self.from.clone(),
            destination: self.to.clone(),
            started: Instant::now(),
            addresses,
            link: self.link.clone(),
        };
        let source = run.session.machine(&self.from)?;
        let board = run.session.board();
        let number = board.begin_migration([Some(self.from.clone()), self.to.clone()].into_iter().flatten());
        if let Err(failure) = source.qmp("migrate", arguments, false, run.deadline).await {
            // This step reports the failure. If QEMU did not set up a migration, an earlier one may still be active.
            source.catch_up();
            let was_set_up = source
                .log
                .lock()
                .migration_statuses(run.mark(&self.from).events)
                .any(|status| status == "setup");
            match was_set_up {
                true => board.forgive_migration(&self.from),
                false => board.discard_migration(number),
            }
            return Err(failure);
        }
        run.session.set_pair(pair);
        Ok(Value::Null)
    }
}

/// Makes the destination of a paused postcopy listen at a new socket. Returns its address and its URI, as `listen` does.
async fn recover(run: &mut Running<'_>, to: &str) -> Result<(Value, String), Failure> {
    let machine = run.session.machine(to)?;
    let socket = |number: u16| run.session.directory().join(format!("{to}-recovery-{number}"));
    let path = (1..=u16::MAX).map(socket).find(|path| !path.exists()).unwrap_or_default();
    let uri = format!("unix:{}", path.display());
    machine.qmp("migrate-recover", json!({"uri": uri}), true, run.deadline).await?;
    machine.incoming().address = Some(uri.clone());
    Ok((Value::Null, uri))
}

fn is_main(channel: &Value) -> bool {
    channel["channel-type"] == "main"
}

/// A QEMU address as a migration URI.
fn uri(address: &Value) -> Option<String> {
    let word = |key: &str| address[key].as_str();
    match word("type")? {
        "inet" => {
            let host = word("host")?;
            let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
            Some(format!("tcp:{host}:{}", word("port")?))
        }
        "unix" => Some(format!("unix:{}", word("path")?)),
        "vsock" => Some(format!("vsock:{}:{}", word("cid")?, word("port")?)),
        "fd" => Some(format!("fd:{}", word("str")?)),
        _ => None,
    }
}

/// The channels, with a port of `"0"` replaced by the destination's actual port.
fn fill_ports(channels: &[Value], address: &Value) -> Value {
    let mut channels = Value::from(channels);
    for channel in channels.as_array_mut().into_iter().flatten() {
        if channel["addr"]["port"] == "0" {
            channel["addr"]["port"] = address["port"].clone();
        }
    }
    channels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_becomes_the_uri_to_migrate_to() {
        let inet = json!({"type": "inet", "host": "127.0.0.1", "port": "4444"});
        assert_eq!(uri(&inet).unwrap(), "tcp:127.0.0.1:4444");
        assert_eq!(uri(&json!({"type": "inet", "host": "::1", "port": "1"})).unwrap(), "tcp:[::1]:1");
        assert_eq!(uri(&json!({"type": "unix", "path": "/tmp/m"})).unwrap(), "unix:/tmp/m");
        assert_eq!(uri(&Value::Null), None);
    }

    #[test]
    fn an_open_port_of_a_channel_is_filled_in() {
        let channels =
            [json!({"channel-type": "main", "addr": {"transport": "socket", "type": "inet", "port": "0"}})];
        let filled = fill_ports(&channels, &json!({"type": "inet", "host": "127.0.0.1", "port": "4444"}));
        assert_eq!(filled[0]["addr"]["port"], "4444");
    }
}
