//! How each kind of `check` finds out.

use regex::Regex;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Bound, Check, Kind, StderrCheck};
use crate::guest::ticker::{self, AREA_START, PAGE};
use crate::qemu::contains::contains;
use crate::qemu::spec::Guest;
use crate::session::checkpoints::{floor, is_in_colo, none_under_way};
use crate::session::metrics::{METRICS, measure};
use crate::session::{Failure, Session};
use crate::step::running::Running;

impl Check {
    pub(in crate::step) async fn run(&self, run: &mut Running<'_>) -> Result<Value, Failure> {
        let kind = self.kind().map_err(|(_, message, _)| Failure::error(message))?;
        match kind {
            Kind::Metric => return self.metric(run.session),
            Kind::Equal => return self.equal(),
            Kind::Disk => {
                let disk = self.disk.as_deref().unwrap_or_default();
                return super::disk::holds(run, disk, &self.holds.clone().unwrap_or_default()).await;
            }
            Kind::Client => return self.of_client(run.session),
            Kind::File => return self.of_file(run.session.directory()),
            _ => {}
        }
        let mut result = Value::Null;
        for vm in self.vms() {
            result = match kind {
                Kind::Memory => memory(run, vm).await?,
                Kind::Query => self.query(run, vm).await?,
                Kind::NoEvent => self.no_event(run, vm).await?,
                Kind::Progress => progress(run, vm).await?,
                Kind::Checkpoint => {
                    none_under_way(run.session, vm).map(|()| Value::Null).map_err(Failure::failed)?
                }
                Kind::Stderr => self.stderr(run.session, vm)?,
                Kind::Metric | Kind::Equal | Kind::Disk | Kind::File | Kind::Client => Value::Null,
            };
        }
        Ok(result)
    }

    async fn query(&self, run: &Running<'_>, vm: &str) -> Result<Value, Failure> {
        let command = self.query.as_deref().unwrap_or_default();
        let arguments = Value::Object(self.arguments.clone().unwrap_or_default());
        let reply = run.session.machine(vm)?.qmp(command, arguments, false, run.deadline).await?;
        if let Some(is) = self.is.as_ref().filter(|is| !contains(&reply, is)) {
            return Err(Failure::failed(format!("{command} of `{vm}` does not contain {is}: {reply}")));
        }
        if let Some(is_not) = self.is_not.as_ref().filter(|is_not| contains(&reply, is_not)) {
            return Err(Failure::failed(format!("{command} of `{vm}` contains {is_not}: {reply}")));
        }
        Ok(reply)
    }

    async fn no_event(&self, run: &Running<'_>, vm: &str) -> Result<Value, Failure> {
        let name = self.no_event.as_deref().unwrap_or_default();
        let end = (run.began + self.for_.map(|span| span.0).unwrap_or_default()).min(run.deadline);
        let mut changes = run.session.board.changes();
        loop {
            changes.borrow_and_update();
            let machine = run.session.machine(vm)?;
            if Instant::now() >= end {
                machine.catch_up();
            }
            {
                let log = machine.log.lock();
                if let Some(event) = log.events.iter().skip(log.event_cursor).find(|event| event.name == name)
                {
                    return Err(Failure::failed(format!("`{vm}` emitted {event}, which must not come")));
                }
            }
            if Instant::now() >= end {
                return Ok(Value::Null);
            }
            let _ = tokio::time::timeout_at(end, changes.changed()).await;
        }
    }

    fn metric(&self, session: &Session) -> Result<Value, Failure> {
        let name = self.metric.as_deref().unwrap_or_default();
        if !METRICS.iter().any(|(known, _)| *known == name) {
            let help = crate::diagnostic::suggest(name, METRICS.iter().map(|(known, _)| *known));
            return Err(Failure::error(format!("there is no metric `{name}`; {help}")));
        }
        // Of several VMs the worst counts, whichever way the bound goes.
        let values: Vec<f64> = measure(session).iter().filter_map(|metric| metric.named(name)).collect();
        let (Some(largest), Some(smallest)) =
            (values.iter().copied().reduce(f64::max), values.iter().copied().reduce(f64::min))
        else {
            return Err(Failure::failed(format!("metric `{name}` has no value")));
        };
        if let Some(below) = self.below.map(Bound::number).filter(|below| largest >= *below) {
            return Err(Failure::failed(format!("metric `{name}` is {largest}, not below {below}")));
        }
        if let Some(above) = self.above.map(Bound::number).filter(|above| smallest <= *above) {
            return Err(Failure::failed(format!("metric `{name}` is {smallest}, not above {above}")));
        }
        Ok(json!(largest))
    }

    fn equal(&self) -> Result<Value, Failure> {
        let values = self.equal.as_deref().unwrap_or_default();
        let first = values.first().cloned().unwrap_or_default();
        match values.iter().find(|value| !(contains(value, &first) && contains(&first, value))) {
            None => Ok(first),
            Some(other) => Err(Failure::failed(format!("{first} is not equal to {other}"))),
        }
    }

    fn stderr(&self, session: &Session, vm: &str) -> Result<Value, Failure> {
        let wanted = self.stderr.clone().unwrap_or_default();
        let text = session.machine(vm)?.stderr();
        let why = match only(&text, &wanted).map_err(|error| Failure::error(error.to_string()))? {
            None => return Ok(Value::Null),
            Some(why) => why,
        };
        Err(Failure::failed(format!("`{vm}` wrote to its standard error {why}")))
    }
}

/// What is wrong with a standard error: lines that are not allowed, or a line that is not there.
fn only(text: &str, wanted: &StderrCheck) -> Result<Option<String>, regex::Error> {
    let compiled = |expressions: &[String]| {
        expressions.iter().map(|expression| Regex::new(expression)).collect::<Result<Vec<_>, _>>()
    };
    let (allow, has) = (compiled(&wanted.allow)?, compiled(&wanted.has)?);
    let lines = || text.lines().filter(|line| !line.trim().is_empty());
    let known = |line: &&str| allow.iter().chain(&has).any(|expression| expression.is_match(line));
    let unexpected: Vec<&str> = lines().filter(|line| !known(line)).take(10).collect();
    if !unexpected.is_empty() {
        return Ok(Some(format!("what is not allowed:\n{}", unexpected.join("\n"))));
    }
    let missing = has.iter().find(|expression| !lines().any(|line| expression.is_match(line)));
    Ok(missing.map(|expression| format!("no line that matches /{expression}/")))
}

impl Bound {
    fn number(self) -> f64 {
        match self {
            Self::Number(number) => number,
            Self::Span(span) => span.0.as_secs_f64(),
        }
    }
}

/// Reads the whole area of a stopped guest in one go and looks at its pattern; then holds it against what the guest has
/// printed, because a pattern can be consistent and stale all over.
async fn memory(run: &Running<'_>, vm: &str) -> Result<Value, Failure> {
    let machine = run.session.machine(vm)?;
    let Guest::Ticker(options) = &machine.plan.spec.guest else {
        return Err(Failure::error(format!("VM `{vm}` does not run the built-in guest")));
    };
    let file = run.session.directory().join(format!("{vm}.ram"));
    let ran = machine.query("query-status", run.deadline).await?["running"] == true;
    if ran {
        machine.query("stop", run.deadline).await?;
    }
    machine.catch_up();
    let from = run.session.failover.as_ref().filter(|mark| mark.survivor == vm).map_or(0, |mark| mark.serial);
    let last = machine.log.lock().ticks_from(from).last().map(|tick| tick.count);
    let size = ticker::pages(options) * PAGE;
    let arguments = json!({"val": AREA_START, "size": size, "filename": file});
    let saved = machine.qmp("pmemsave", arguments, false, run.deadline).await;
    let bytes = match saved {
        Ok(_) => {
            let path = file.clone();
            let read = tokio::task::spawn_blocking(move || std::fs::read(path)).await;
            read.map_err(std::io::Error::other).and_then(|bytes| bytes)
        }
        Err(failure) => return Err(failure),
    };
    let _ = std::fs::remove_file(&file);
    if ran {
        machine.query("cont", run.deadline).await?;
    }
    let bytes =
        bytes.map_err(|error| Failure::error(format!("the RAM of `{vm}` could not be read: {error}")))?;
    if bytes.len() as u64 != size {
        return Err(Failure::error(format!("{} bytes of RAM came instead of {size}", bytes.len())));
    }
    let count = ticker::check_pattern(&bytes)
        .map_err(|wrong| Failure::failed(format!("the memory of `{vm}` is inconsistent: {wrong}")))?;
    if let Some(last) = last {
        // The words are 32 bits wide. A line may be half printed, and a pass half done.
        let ahead = u64::from(count.wrapping_sub(last as u32));
        if ahead > 2 * u64::from(ticker::passes(options)) + 1 {
            return Err(Failure::failed(format!(
                "the memory of `{vm}` is stale: its pages hold {count}, and the guest has printed {last} passes"
            )));
        }
    }
    Ok(json!({"count": count, "pages": ticker::pages(options)}))
}

/// What the guest had done before the last completed checkpoint is still done, and since then it only went forward; but
/// for one step back, where a checkpoint was still completed while the failover was on its way. A VM in COLO must still
/// print something to be compared.
async fn progress(run: &Running<'_>, vm: &str) -> Result<Value, Failure> {
    let machine = run.session.machine(vm)?;
    run.session.catch_up();
    let floor = floor(run.session, vm)
        .map_err(|why| Failure::failed(format!("the progress of `{vm}` cannot be compared: {why}")))?;
    if is_in_colo(&machine.log.lock().events) {
        let look = |_: &Session| Ok(machine.log.lock().ticks_from(floor.serial).next().map(|_| ()));
        let awaited = format!("a tick of `{vm}`, which is in COLO, to compare with");
        run.until(&awaited, look, |_| machine.log.lock().serial_tail(1)).await?;
    }
    let counts: Vec<u64> = machine.log.lock().ticks_from(floor.serial).map(|tick| tick.count).collect();
    kept(vm, floor.passes, &counts).map_err(Failure::failed)?;
    Ok(json!({"floor": floor.passes, "first": counts.first(), "last": counts.last()}))
}

/// Holds the passes that a VM printed since it took over against those that had been completed before.
fn kept(vm: &str, floor: u64, counts: &[u64]) -> Result<(), String> {
    let Some(lowest) = counts.iter().min() else {
        return Err(format!("`{vm}` has printed no tick since it took over"));
    };
    if *lowest <= floor {
        return Err(format!(
            "`{vm}` stepped back: it was at pass {lowest} when it took over, and {floor} passes had been completed \
             before the last completed checkpoint"
        ));
    }
    if counts.windows(2).filter(|pair| pair[1] <= pair[0]).count() > 1 {
        return Err(format!("`{vm}` stepped back more than once since it took over: {counts:?}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standard_error_has_what_it_must_and_nothing_else() {
        let says = |text: &str, allow: &[&str], has: &[&str]| {
            let texts = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect();
            only(text, &StderrCheck { vm: None, allow: texts(allow), has: texts(has) }).unwrap()
        };
        assert_eq!(says("warning: a\n\nfailed: b\n", &["^warning:"], &["^failed: b$"]), None);
        assert_eq!(says("", &["x"], &[]), None);
        assert_eq!(says("", &["x"], &["x"]).unwrap(), "no line that matches /x/");
        assert_eq!(says("a\nb", &[], &["a"]).unwrap(), "what is not allowed:\nb");
    }

    #[test]
    fn progress_is_kept_by_going_forward_from_beyond_the_floor() {
        assert_eq!(kept("a", 128, &[256, 384, 512]), Ok(()));
        // A checkpoint that was still completed on the way rolls it back once, but not behind the last one.
        assert_eq!(kept("a", 128, &[512, 256, 384]), Ok(()));
    }

    #[test]
    fn progress_is_lost_by_silence_by_the_floor_and_by_going_back_twice() {
        assert!(kept("a", 128, &[]).unwrap_err().contains("no tick"));
        assert!(kept("a", 128, &[128, 256]).unwrap_err().contains("it was at pass 128"));
        assert!(kept("a", 128, &[512, 384, 640, 384]).unwrap_err().contains("more than once"));
    }
}
