//! Facts about the host, for the reports.

use std::collections::BTreeSet;

use super::case::Job;
use crate::event::{Host, Qemu};

/// The host.
#[must_use]
pub(super) fn host() -> Host {
    let names = rustix::system::uname();
    let word = |word: &std::ffi::CStr| word.to_string_lossy().into_owned();
    let memory = rustix::system::sysinfo();
    Host {
        name: word(names.nodename()),
        system: [names.sysname(), names.release(), names.machine()].map(word).join(" "),
        cpus: std::thread::available_parallelism().map_or(1, usize::from),
        memory: u64::from(memory.mem_unit) * memory.totalram,
    }
}

/// The QEMUs of all cases, each once.
#[must_use]
pub fn qemus(jobs: &[Job]) -> Vec<Qemu> {
    let mut found = BTreeSet::new();
    for job in jobs {
        for spec in job.case.vms.values().filter(|spec| !crate::template::is_template(&spec.qemu)) {
            if let Ok(binary) = job.binaries.get(&spec.qemu, spec.arch()) {
                found.insert(Qemu {
                    name: job.qemu.clone().unwrap_or_else(|| spec.qemu.clone()),
                    path: binary.path.display().to_string(),
                    version: binary.version.to_string(),
                    package: binary.package.clone(),
                });
            }
        }
    }
    found.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_says_what_it_is() {
        let host = host();
        assert!(host.system.starts_with("Linux ") && host.cpus > 0 && host.memory > 1 << 20, "{host:?}");
    }
}
