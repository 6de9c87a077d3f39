//! Checks the names in cases against the QEMUs that they would run on.

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
    for case in cases {
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

/// The releases of QEMU that would not skip a case.
fn able(case: &Case) -> Vec<Arc<Binary>> {
    let requires = Requires { host: AnyNumber::default(), ..case.requires.clone() };
    let able = |release: &&Arc<Binary>| unmet(&requires, &[release], Path::new("")).is_none();
    releases::all().iter().filter(able).cloned().collect()
}
