//! The job file of Slurm on a real Slurm: two nodes on this machine, one of which is lost in the middle of a shard.

mod common;
#[path = "support/junit.rs"]
mod junit;
#[path = "support/whole.rs"]
mod whole;

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, ExitCode};

use common::harness::{self, CONTAINED, once};
use common::{Home, VM, qemu, wait_until};
use junit::cases;
use lockstep_vm::event::{Event, What};
use whole::wrong;

/// A Slurm with the nodes `n1` and `n2`, each in a process namespace. It ends with this value.
struct Slurm<'h> {
    home: &'h Home,
    munged: Daemon,
    slurmctld: Daemon,
    nodes: Vec<Daemon>,
}

/// A process with all that it has started.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        // The namespace ends with its first process, whose end is that of `unshare`.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The configuration, with these ports.
fn configuration(here: &str, [controller, first, second]: [u16; 3]) -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let host = host.split('.').next().unwrap_or_default();
    let user = rustix::process::geteuid().as_raw();
    assert_eq!(user, 0, "a process namespace needs root");
    // A credential lasts five seconds at least; before, a task that is queued again does not start.
    format!(
        "ClusterName=lockstep\n\
         SlurmctldHost={host}(127.0.0.1)\n\
         SlurmctldPort={controller}\n\
         SlurmUser=root\n\
         SlurmdUser=root\n\
         AuthInfo=socket={here}/munge.socket,cred_expire=5\n\
         StateSaveLocation={here}/state\n\
         SlurmdSpoolDir={here}/spool-%n\n\
         SlurmctldPidFile={here}/slurmctld.pid\n\
         SlurmdPidFile={here}/slurmd-%n.pid\n\
         ProctrackType=proctrack/linuxproc\n\
         TaskPlugin=task/none\n\
         SelectType=select/cons_tres\n\
         SelectTypeParameters=CR_Core\n\
         SlurmdParameters=config_overrides\n\
         SchedulerParameters=sched_interval=1,bf_interval=1\n\
         SlurmdTimeout=3\n\
         MessageTimeout=2\n\
         ReturnToService=2\n\
         MailProg=/bin/true\n\
         NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={first} CPUs=1\n\
         NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={second} CPUs=1\n\
         PartitionName=lab Nodes=n[1-2] Default=YES MaxTime=INFINITE State=UP\n"
    )
}

/// Three ports that are free now.
fn ports() -> [u16; 3] {
    let listeners = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

impl<'h> Slurm<'h> {
    /// Starts it, and waits until both nodes can be used.
    fn start(home: &'h Home) -> Self {
        let here = home.path("").display().to_string();
        let here = here.trim_end_matches('/');
        std::fs::create_dir(home.path("state")).unwrap();
        std::fs::create_dir(home.path("bin")).unwrap();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_lockstep"), home.path("bin/lockstep")).unwrap();
        home.write("slurm.conf", &configuration(here, ports()));
        let key = home.write("munge.key", &"a key of this test only ".repeat(4));
        std::fs::set_permissions(key, std::fs::Permissions::from_mode(0o600)).unwrap();
        let at = |option: &str, name: &str| format!("--{option}={here}/{name}");
        let files = [
            at("key-file", "munge.key"),
            at("socket", "munge.socket"),
            at("pid-file", "munged.pid"),
            at("log-file", "munged.log"),
            at("seed-file", "munged.seed"),
        ];
        let files: Vec<&str> = files.iter().map(String::as_str).collect();
        let munged = daemon(home, "munged", &[&["-F", "--force"], &files[..]].concat());
        wait_until(
            "munged",
            || home.path("munge.socket").exists().then_some(()),
            || home.read("munged.said"),
        );
        let slurmctld = daemon(home, "slurmctld", &["-D"]);
        let nodes = ["n1", "n2"].map(|node| daemon(home, "slurmd", &["-D", "-N", node])).into();
        let slurm = Self { home, munged, slurmctld, nodes };
        let states = || slurm.says("sinfo", &["-h", "-N", "-o", "%N %T"]);
        wait_until("two idle nodes", || (states() == "n1 idle\nn2 idle\n").then_some(()), states);
        slurm
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = self.home.command(program);
        command.args(arguments).envs(variables(self.home));
        command
    }

    /// What a command of Slurm prints.
    fn says(&self, program: &str, arguments: &[&str]) -> String {
        let output = self.command(program, arguments).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    }

    /// A value that `scontrol show job` has.
    fn value(&self, job: &str, key: &str) -> String {
        let said = self.says("scontrol", &["show", "job", "-o", job]);
        let value = said.split_whitespace().find_map(|word| word.strip_prefix(&format!("{key}=")));
        value.unwrap_or_else(|| panic!("{key} is not in {said}")).to_owned()
    }

    /// Starts the script; the array job and the one that merges.
    fn submit(&self, script: &str) -> [String; 2] {
        self.home.write("lockstep.sh", script);
        let said = self.home.finish(self.command("sh", &["lockstep.sh"])).expect(0).stdout;
        let jobs =
            said.trim().strip_prefix("array job ").and_then(|rest| rest.split_once(", merged by job "));
        let (array, merge) = jobs.unwrap_or_else(|| panic!("{said}"));
        [array, merge].map(str::to_owned)
    }

    /// Loses the node that runs this task, with all its processes; returns its name.
    fn lose_node_of(&mut self, task: &str) -> String {
        let node = self.value(task, "NodeList");
        let at = ["n1", "n2"].iter().position(|name| *name == node).unwrap();
        drop(self.nodes.remove(at));
        node
    }

    /// Waits for the end of a job; its exit code.
    fn ended(&self, job: &str) -> String {
        let file = self.home.path(&format!("slurm-{job}.out"));
        let seen = || format!("{}\n{}", self.says("squeue", &["-a"]), self.home.read("slurmctld.said"));
        // It appears when the job starts, which is cheaper to look at than the job is.
        wait_until("the start of the job", || file.exists().then_some(()), seen);
        let is_over = || (!["RUNNING", "COMPLETING"].contains(&&*self.value(job, "JobState"))).then_some(());
        wait_until("the end of the job", is_over, seen);
        self.value(job, "ExitCode")
    }

    /// Ends it. No process of it is left; the next run on the machine removes the temporary folder of a lost node.
    fn end(self) {
        let Self { home, munged, slurmctld, nodes } = self;
        drop((nodes, slurmctld, munged));
        // `slurmstepd` has no environment by which it would be found.
        let inside = || {
            let processes = std::fs::read_dir("/proc").unwrap().flatten();
            let folders = processes.filter_map(|entry| std::fs::read_link(entry.path().join("cwd")).ok());
            folders.filter(|folder| folder.starts_with(home.path(""))).count()
        };
        let left = || (inside(), home.alive());
        let seen = || format!("{:?}", left());
        wait_until(
            "the end of Slurm",
            || matches!(left(), (0, marked) if marked.is_empty()).then_some(()),
            seen,
        );
    }
}

fn variables(home: &Home) -> [(&'static str, String); 2] {
    let path = std::env::var("PATH").unwrap();
    [
        ("PATH", format!("{}:{path}", home.path("bin").display())),
        ("SLURM_CONF", home.path("slurm.conf").display().to_string()),
    ]
}

/// Starts a daemon, which writes what it says to a file.
fn daemon(home: &Home, program: &str, arguments: &[&str]) -> Daemon {
    let mut command = home.command("setpriv");
    command.args(CONTAINED).arg(program).args(arguments).envs(variables(home));
    let said = home.path(&format!("{program}.said"));
    let said = std::fs::File::options().create(true).append(true).open(said).unwrap();
    command.stdout(said.try_clone().unwrap()).stderr(said);
    Daemon(command.spawn().unwrap())
}

/// Four cases: the first waits for the file `go`, the second fails.
fn gate() -> String {
    format!(
        "name: gate/{{{{x}}}}\nmatrix: {{x: [1, 2, 3, 4]}}\nvms: {{a: {VM}}}\nsteps:\n- wait: {{vm: a, ticks: 1}}\n\
         - exec: {{sh: \"test {{{{x}}}} != 2\"}}\n\
         - exec: {{sh: \"if test {{{{x}}}} = 1 && ! test -e $HERE/go; then touch $HERE/reached; sleep 1000; fi\"}}\n  \
         timeout: 1h\n"
    )
}

/// The events in a file, whose last line may be cut off.
fn events(home: &Home, file: &str) -> Vec<Event> {
    home.read(file).lines().map_while(|line| serde_json::from_str(line).ok()).collect()
}

fn done(events: &[Event]) -> Vec<usize> {
    let ended = events.iter().filter(|event| matches!(event.what, What::CaseEnded(_)));
    ended.filter_map(|event| event.case).collect()
}

fn a_shard_whose_node_is_lost_continues_on_the_other_one() {
    let home = Home::new();
    home.write("gate.yaml", &gate());
    let qemu = qemu(11).path.display().to_string();
    let failovers = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios/colo/failover.yaml");
    let arguments =
        [failovers, "gate.yaml", "--case", "{colo/plain/*,gate/*}", "--qemu", &qemu, "--accel", "tcg"];
    let script = home.run(&[&["engine", "slurm", "--shards", "2"], &arguments[..]].concat()).expect(0).stdout;
    let mut slurm = Slurm::start(&home);
    let [array, merge] = slurm.submit(&script);
    let task = format!("{array}_1");
    wait_until(
        "the case that waits",
        || home.path("reached").exists().then_some(()),
        || slurm.says("squeue", &[]),
    );
    let lost = slurm.lose_node_of(&task);
    let folder = format!("reports/slurm-{array}");
    let shard = format!("{folder}/shard-1/events.jsonl");
    let before = events(&home, &shard);
    assert_eq!(done(&before), [0, 2], "the first shard has two failovers, and was cut off in the third case");
    home.write("go", "");
    assert_eq!(slurm.ended(&merge), "1:0", "a case failed");
    let restarts = (slurm.value(&task, "Restarts"), slurm.value(&task, "NodeList"));
    assert_eq!(restarts.0, "1");
    assert_ne!(restarts.1, lost);
    slurm.end();

    // What had a verdict is as it was, and each case of the shard ran once.
    let after = events(&home, &shard);
    let kept = |event: &Event| event.case.is_none_or(|number| number < 3);
    let kept: Vec<Event> = before.into_iter().filter(kept).collect();
    assert_eq!(after[..kept.len()], kept);
    assert_eq!(wrong(&after, [0, 2, 4, 6]), [""; 0]);
    let mut merged = done(&events(&home, &format!("{folder}/merged/events.jsonl")));
    merged.sort_unstable();
    assert_eq!(merged, [0, 1, 2, 3, 4, 5, 6, 7]);
    home.run(&[&["run", "--seed", "0", "--reports", "whole"], &arguments[..]].concat()).expect(1);
    let whole = cases(&home.read("whole/junit.xml"));
    assert_eq!(cases(&home.read(&format!("{folder}/merged/junit.xml"))), whole);
    assert_eq!(whole.len(), 8);
    home.assert_nothing_is_left();
}

fn without_requeue_the_shard_is_lost_and_the_merge_says_so() {
    let home = Home::new();
    home.write("gate.yaml", &gate());
    let qemu = qemu(7).path.display().to_string();
    let arguments = ["engine", "slurm", "--shards", "2", "gate.yaml", "--qemu", &qemu, "--accel", "tcg"];
    let script = home.run(&arguments).expect(0).stdout;
    let mut slurm = Slurm::start(&home);
    let [array, merge] = slurm.submit(&script.replace("#SBATCH --requeue", "#SBATCH --no-requeue"));
    wait_until(
        "the case that waits",
        || home.path("reached").exists().then_some(()),
        || slurm.says("squeue", &[]),
    );
    slurm.lose_node_of(&format!("{array}_1"));
    assert_eq!(slurm.ended(&merge), "1:0");
    let said = home.read(&format!("slurm-{merge}.out"));
    assert!(said.contains(&format!(" (reports/slurm-{array}/shard-1) was cut off\n")), "{said}");
    assert!(said.contains("the run did not finish: "), "{said}");
    let shard = events(&home, &format!("reports/slurm-{array}/shard-1/events.jsonl"));
    assert!(!wrong(&shard, [0, 2]).is_empty());
    slurm.end();
}

fn main() -> ExitCode {
    harness::main(
        file!(),
        &[
            once!(a_shard_whose_node_is_lost_continues_on_the_other_one, Qemu(11), Slurm),
            once!(without_requeue_the_shard_is_lost_and_the_merge_says_so, Qemu(7), Slurm),
        ],
    )
}
