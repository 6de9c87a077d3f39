//! Checks the names in cases against the QEMUs that they would run on.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use super::binaries::Binaries;
use super::requirements::unmet;
use crate::diagnostic::Diagnostics;
use crate::qemu::binary::Binary;
use crate::qemu::releases;
use crate::scenario::lint::{against_binaries, against_releases, other_architecture};
use crate::scenario::model::{Case, Requires};
use crate::units::AnyNumber;

/// Checks cases against their QEMUs; without binaries, against the releases that are known. What would skip a case does not
/// check it.
pub fn check(binaries: Option<&Binaries>, cases: &[Case], diagnostics: &mut Diagnostics) {
    let mut checked = HashSet::new();
    for case in cases.iter().filter(|case| checked.insert(parts(case))) {
        let Some(binaries) = binaries else {
            against_releases(case, &able(case), diagnostics);
            continue;
        };
        let (own, others) = binaries.of(case);
        others.iter().for_each(|(vm, binary)| other_architecture(case, vm, binary, diagnostics));
        let used: Vec<&Binary> = own.values().map(|binary| &**binary).collect();
        if unmet(&case.requires, &used, &std::env::temp_dir()).is_none() {
            against_binaries(case, &own, diagnostics);
        }
    }
}

/// The addresses of all that a case is checked by: cells of a matrix share what is the same in them.
fn parts(case: &Case) -> Vec<usize> {
    let whole = [
        Arc::as_ptr(&case.vms) as usize,
        Arc::as_ptr(&case.vm_sources) as usize,
        Arc::as_ptr(&case.requires) as usize,
        usize::from(case.must_fail.is_some()),
    ];
    let steps = case.all_steps().into_iter();
    let steps =
        steps.flat_map(|step| [Arc::as_ptr(&step.parsed) as usize, usize::from(step.when.is_empty())]);
    whole.into_iter().chain(steps).collect()
}

/// The releases of QEMU that would not skip a case.
fn able(case: &Case) -> Vec<Arc<Binary>> {
    let requires = Requires { host: AnyNumber::default(), ..(*case.requires).clone() };
    let able = |release: &&Arc<Binary>| unmet(&requires, &[release], Path::new("")).is_none();
    releases::all().iter().filter(able).cloned().collect()
}
