//! Warns if the clocks of a guest are read, but never compared.

use crate::diagnostic::{Code, Diagnostic, Diagnostics};
use crate::scenario::model::{Block, Case, CaseStep};
use crate::step::{Action, Check, CheckKind};

/// Reports the only `clock` check of a case, unless it is in a loop or its result is captured: the first one only reads.
pub(super) fn check(case: &Case, diagnostics: &mut Diagnostics) {
    let mut readings = case
        .all_steps()
        .into_iter()
        .filter(|step| matches!(&step.step.action, Action::Check(Check { kind: CheckKind::Clock(_), .. })));
    let (Some(step), None) = (readings.next(), readings.next()) else { return };
    let is_once = [&case.steps, &case.finally].into_iter().any(|blocks| runs_once(blocks, step));
    if is_once && step.step.capture.is_none() {
        let message = "the only `clock` check of the case has nothing to compare with";
        let help = "the first check of a guest's clocks only reads them; add another one before it, or after what may change them";
        diagnostics.push(Diagnostic::warning(Code::Unused, &step.at, message).help(help));
    }
}

/// Whether the step is one of these blocks, and not in a loop.
fn runs_once(blocks: &[Block], step: &CaseStep) -> bool {
    blocks.iter().any(|block| match block {
        Block::Step(own) => own.at == step.at,
        Block::RepeatUntil { .. } => false,
        Block::Parallel { branches, .. } => branches.iter().any(|(_, steps)| runs_once(steps, step)),
    })
}
