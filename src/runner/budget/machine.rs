//! What the machine has, and how it is doing, from `/proc` and the control groups (versions 1 and 2).

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What may be used of the memory that is free, in percent.
const OF_FREE: u64 = 90;
/// The shares of the last 10 seconds, in percent, in which some task waited for a CPU: overloaded from the first on, until
/// below the second. With as many busy virtual CPUs as there are CPUs it is about a half.
const WAITED: [f64; 2] = [80.0, 60.0];
/// The same for tasks that waited for memory.
const WAITED_FOR_MEMORY: [f64; 2] = [10.0, 5.0];
/// The pages swapped in each second.
const SWAPPED: [f64; 2] = [256.0, 64.0];
/// Over how long swapping is measured, at least.
const INTERVAL: Duration = Duration::from_secs(1);

/// What a machine has for the cases of a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Machine {
    /// The CPUs that this process may use.
    pub cpus: f64,
    /// The memory for all cases: what was free before the first one.
    pub memory: u64,
    /// The memory that is free now.
    pub free: u64,
}

/// Why fewer cases run, with what was seen.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Strain {
    /// The machine swaps, or tasks wait for memory.
    Memory(String),
    /// Others use the CPUs.
    Cpus(String),
}

/// What is read at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Reading {
    /// The free memory, in bytes.
    pub free: u64,
    /// `avg10` of `some` in `/proc/pressure/cpu` and `memory`, if the kernel has them.
    pub pressure: Option<[f64; 2]>,
    /// The number of tasks that run or want to, as an average of a minute.
    pub load: f64,
    /// The pages swapped in and out since the start of the machine.
    pub swapped: u64,
}

type Look = Box<dyn Fn() -> Reading + Send>;

/// Looks at the machine.
pub(super) struct Gauge {
    look: Look,
    cpus: f64,
    /// The free memory before the first case.
    memory: u64,
    latest: Reading,
    strain: Option<Strain>,
    /// When swapping was last measured, and the pages until then.
    swapped: Option<(Instant, u64)>,
}

impl Gauge {
    /// This machine.
    pub(super) fn of_host() -> Self {
        // It takes the affinity and the quota of the control groups into account.
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        Self::new(cpus as f64, Box::new(|| Reading::of(Path::new("/"))))
    }

    pub(super) fn new(cpus: f64, look: Look) -> Self {
        let latest = look();
        Self { look, cpus, memory: latest.free, latest, strain: None, swapped: None }
    }

    pub(super) fn machine(&self) -> Machine {
        let usable = |bytes: u64| bytes / 100 * OF_FREE;
        Machine { cpus: self.cpus, memory: usable(self.memory), free: usable(self.latest.free) }
    }

    pub(super) const fn strain(&self) -> Option<&Strain> {
        self.strain.as_ref()
    }

    /// As if the last look was this long ago.
    #[cfg(test)]
    pub(super) fn rewind(&mut self, time: Duration) {
        if let Some((then, _)) = &mut self.swapped {
            *then -= time;
        }
    }

    /// Looks again; `own` is what the cases of the run take of the CPUs. Returns a text if the machine becomes strained or
    /// that ends.
    pub(super) fn look(&mut self, now: Instant, own: f64) -> Option<String> {
        self.latest = (self.look)();
        let pages = match self.swapped {
            Some((then, _)) if now.duration_since(then) < INTERVAL => return None,
            Some((then, before)) => {
                self.latest.swapped.saturating_sub(before) as f64 / now.duration_since(then).as_secs_f64()
            }
            None => 0.0,
        };
        self.swapped = Some((now, self.latest.swapped));
        let before = self.strain.take();
        self.strain = strain(&self.latest, pages, self.cpus, own, before.as_ref());
        let kind = std::mem::discriminant::<Strain>;
        if before.as_ref().map(kind) == self.strain.as_ref().map(kind) {
            return None;
        }
        Some(match &self.strain {
            Some(Strain::Memory(seen)) => {
                format!("the machine is short of memory: {seen}; -j auto runs one case at a time meanwhile")
            }
            Some(Strain::Cpus(seen)) => {
                format!("the machine is overloaded: {seen}; -j auto uses half of its CPUs meanwhile")
            }
            None => "the machine has recovered; -j auto uses all of it again".to_owned(),
        })
    }
}

/// Whether a machine is strained: the pure part. `pages` are swapped in each second, `own` CPUs are used by the cases.
pub(super) fn strain(
    seen: &Reading,
    pages: f64,
    cpus: f64,
    own: f64,
    before: Option<&Strain>,
) -> Option<Strain> {
    let of = |[begins, ends]: [f64; 2], is_on: bool| if is_on { ends } else { begins };
    let (short, busy) = (matches!(before, Some(Strain::Memory(_))), matches!(before, Some(Strain::Cpus(_))));
    if pages >= of(SWAPPED, short) {
        return Some(Strain::Memory(format!("it swaps {pages:.0} pages a second")));
    }
    let Some([waited, for_memory]) = seen.pressure else {
        let others = seen.load - own;
        let limit = cpus * if busy { 0.75 } else { 1.0 };
        let seen = format!("a load of {:.1} on {cpus} CPUs, {own:.1} of it from the run", seen.load);
        return (others > limit).then_some(Strain::Cpus(seen));
    };
    let share = |what: &str, share: f64| format!("tasks waited for {what} in {share:.0} % of the last 10 s");
    if for_memory >= of(WAITED_FOR_MEMORY, short) {
        return Some(Strain::Memory(share("memory", for_memory)));
    }
    (waited >= of(WAITED, busy)).then(|| Strain::Cpus(share("a CPU", waited)))
}

impl Reading {
    /// What the files below this directory say: `/`, except in tests.
    pub(super) fn of(root: &Path) -> Self {
        let text = |path: &str| std::fs::read_to_string(root.join(path)).unwrap_or_default();
        let available = number(&text("proc/meminfo"), "MemAvailable:").map_or(0, |kib| kib << 10);
        let groups = groups(root, &text("proc/self/cgroup"));
        let free = groups.iter().filter_map(|group| left(group)).fold(available, u64::min);
        let cpu = some(&text("proc/pressure/cpu"));
        let pressure = cpu.map(|cpu| [cpu, some(&text("proc/pressure/memory")).unwrap_or(0.0)]);
        let load = text("proc/loadavg").split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(0.0);
        let counters = text("proc/vmstat");
        let swapped = ["pswpin", "pswpout"].iter().filter_map(|name| number(&counters, name)).sum();
        Self { free, pressure, load, swapped }
    }
}

/// The number after a name at the start of a line.
fn number(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.split_whitespace().next() == Some(name))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// `avg10` of the line `some` of a file of `/proc/pressure`.
fn some(text: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.starts_with("some "))?;
    line.split(' ').find_map(|word| word.strip_prefix("avg10="))?.parse().ok()
}

/// The directories of the control groups that limit the memory of this process: its own and those above.
fn groups(root: &Path, cgroup: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for line in cgroup.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
            continue;
        };
        let mounts: &[&str] = match controllers {
            "" => &["sys/fs/cgroup", "sys/fs/cgroup/unified"],
            names if names.split(',').any(|name| name == "memory") => &["sys/fs/cgroup/memory"],
            _ => &[],
        };
        for mount in mounts {
            // In a container the path may be that of the host; what is there is then its group.
            let above = Path::new(path).ancestors().map(|path| path.strip_prefix("/").unwrap_or(path));
            found.extend(above.map(|path| root.join(mount).join(path)).filter(|path| path.is_dir()));
        }
    }
    found
}

/// What a control group leaves of the memory that it allows; `None` if it sets no limit.
fn left(group: &Path) -> Option<u64> {
    let text = |name: &str| std::fs::read_to_string(group.join(name)).ok();
    let bytes = |name: &str| text(name)?.trim().parse::<u64>().ok();
    let least = |limits: &[&str]| limits.iter().filter_map(|limit| bytes(limit)).min();
    let (limit, used, cache) = match least(&["memory.max", "memory.high"]) {
        Some(limit) => (limit, bytes("memory.current")?, "inactive_file"),
        None => (least(&["memory.limit_in_bytes"])?, bytes("memory.usage_in_bytes")?, "total_inactive_file"),
    };
    // The cache of files is dropped when memory is needed.
    let cache = text("memory.stat").and_then(|text| number(&text, cache)).unwrap_or(0);
    Some(limit.saturating_sub(used.saturating_sub(cache)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        root
    }

    const MEMINFO: (&str, &str) =
        ("proc/meminfo", "MemTotal: 4000 kB\nMemFree: 9 kB\nMemAvailable:    2000 kB\n");

    #[test]
    fn this_machine_has_memory_and_a_load() {
        let seen = Reading::of(Path::new("/"));
        assert!(seen.free > 1 << 20 && seen.load >= 0.0, "{seen:?}");
        assert!(Gauge::of_host().machine().cpus >= 1.0);
    }

    #[test]
    fn free_memory_is_bounded_by_each_control_group_around_the_process() {
        let free = |files: &[(&str, &str)]| Reading::of(tree(files).path()).free;
        assert_eq!(free(&[MEMINFO]), 2000 << 10);
        let own = ("proc/self/cgroup", "0::/a/b\n");
        let at = |path: &'static str, text: &'static str| (path, text);
        let second = [
            MEMINFO,
            own,
            at("sys/fs/cgroup/a/b/memory.max", "max\n"),
            at("sys/fs/cgroup/a/b/memory.current", "5\n"),
            at("sys/fs/cgroup/a/memory.max", "1000000\n"),
            at("sys/fs/cgroup/a/memory.current", "600000\n"),
            at("sys/fs/cgroup/a/memory.stat", "anon 1\ninactive_file 100000\n"),
        ];
        assert_eq!(free(&second), 500_000);
        let first = [
            MEMINFO,
            at("proc/self/cgroup", "4:memory:/x\n0::/\n"),
            at("sys/fs/cgroup/memory/x/memory.limit_in_bytes", "9223372036854771712\n"),
            at("sys/fs/cgroup/memory/x/memory.usage_in_bytes", "1\n"),
            at("sys/fs/cgroup/memory/memory.limit_in_bytes", "300000\n"),
            at("sys/fs/cgroup/memory/memory.usage_in_bytes", "400000\n"),
        ];
        assert_eq!(free(&first), 0);
        assert_eq!(free(&first[..4]), 2000 << 10);
    }

    #[test]
    fn pressure_load_and_swapping_are_read() {
        let root = tree(&[
            ("proc/pressure/cpu", "some avg10=45.63 avg60=23.67 avg300=1.0 total=3\nfull avg10=0.00\n"),
            ("proc/pressure/memory", "some avg10=1.50 avg60=0\n"),
            ("proc/loadavg", "2.50 1.11 1.68 1/300 4\n"),
            ("proc/vmstat", "pswpin 30\npswpout 12\nnr_x 7\n"),
        ]);
        let expected = Reading { free: 0, pressure: Some([45.63, 1.5]), load: 2.5, swapped: 42 };
        assert_eq!(Reading::of(root.path()), expected);
        assert_eq!(Reading::of(tree(&[MEMINFO]).path()).pressure, None);
    }

    #[test]
    fn a_machine_is_strained_by_swapping_and_by_others_and_recovers_later_than_it_was() {
        let quiet = Reading { pressure: Some([50.0, 0.0]), ..Reading::default() };
        let of = |seen: &Reading, pages, before| strain(seen, pages, 2.0, 2.0, before);
        assert_eq!(of(&quiet, 0.0, None), None);
        let swaps = of(&quiet, 300.0, None);
        assert_eq!(swaps, Some(Strain::Memory("it swaps 300 pages a second".into())));
        assert!(of(&quiet, 100.0, None).is_none() && of(&quiet, 100.0, swaps.as_ref()).is_some());
        let waits = |cpu, memory| Reading { pressure: Some([cpu, memory]), ..Reading::default() };
        let busy = of(&waits(85.0, 0.0), 0.0, None);
        let told = "tasks waited for a CPU in 85 % of the last 10 s";
        assert_eq!(busy, Some(Strain::Cpus(told.into())));
        assert!(of(&waits(70.0, 0.0), 0.0, None).is_none());
        assert!(of(&waits(70.0, 0.0), 0.0, busy.as_ref()).is_some());
        assert!(of(&waits(59.0, 0.0), 0.0, busy.as_ref()).is_none());
        assert!(matches!(of(&waits(85.0, 12.0), 0.0, None), Some(Strain::Memory(_))));
        // Without pressure the load counts, except that of the run.
        let load = |load| Reading { load, ..Reading::default() };
        assert_eq!(of(&load(4.0), 0.0, None), None);
        let told = "a load of 4.5 on 2 CPUs, 2.0 of it from the run";
        assert_eq!(of(&load(4.5), 0.0, None), Some(Strain::Cpus(told.into())));
        assert!(of(&load(3.8), 0.0, busy.as_ref()).is_some() && of(&load(3.4), 0.0, busy.as_ref()).is_none());
    }
}
