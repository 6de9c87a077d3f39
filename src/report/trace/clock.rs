//! The offset between QEMU's clock and the runner's.
//!
//! QEMU stamps its events with the host's real-time clock; the runner uses a monotonic one. An event is seen after it
//! was emitted, so the smallest difference is the offset. If the real-time clock is set while a case runs, the offset is
//! another one from then on.

/// Delays from this one on are shown, in seconds.
pub(super) const NOTABLE: f64 = 0.010;
/// A change of the offset from this one on is taken for a step of the real-time clock, in seconds.
const STEP: f64 = 0.050;
/// How many events there must be before and after a step of the clock, so that it is told from late events.
const EVIDENCE: usize = 16;
/// How many seconds the events before and after it must span: a busy host makes events late for a while.
const SPAN: f64 = 1.0;
/// How many groups of events are kept.
const GROUPS: usize = 1024;

/// The smallest difference of consecutive events, in groups of the same size.
#[derive(Debug, Clone)]
pub(super) struct Differences {
    size: usize,
    last: usize,
    groups: Vec<Group>,
}

/// When the runner saw the first of some events, and the smallest difference of the two clocks.
#[derive(Debug, Clone, Copy)]
struct Group {
    seen: f64,
    least: f64,
}

/// The offset, with a step of the clock if there was one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Offset {
    before: f64,
    step: Option<(f64, f64)>,
}

impl Default for Differences {
    fn default() -> Self {
        Self { size: 1, last: 0, groups: Vec::new() }
    }
}

impl Differences {
    /// Adds an event.
    pub(super) fn add(&mut self, seen: f64, emitted: f64) {
        let least = seen - emitted;
        match self.groups.last_mut() {
            Some(group) if self.last < self.size => group.least = group.least.min(least),
            _ => {
                self.last = 0;
                self.groups.push(Group { seen, least });
            }
        }
        self.last += 1;
        if self.groups.len() > GROUPS {
            let joined = |two: &[Group]| Group {
                seen: two[0].seen,
                least: two.iter().map(|group| group.least).fold(f64::INFINITY, f64::min),
            };
            self.groups = self.groups.chunks(2).map(joined).collect();
            self.size *= 2;
        }
    }

    /// The offset, as far as it is known.
    pub(super) fn offset(&self) -> Offset {
        let least = |groups: &[Group]| groups.iter().map(|group| group.least).fold(f64::INFINITY, f64::min);
        let all = least(&self.groups);
        let mut offset = Offset { before: if all.is_finite() { all } else { 0.0 }, step: None };
        let enough = EVIDENCE.div_ceil(self.size);
        let span =
            |of: &[Group]| of.last().zip(of.first()).map_or(0.0, |(last, first)| last.seen - first.seen);
        let splits: Vec<(usize, f64, f64)> = (enough..self.groups.len().saturating_sub(enough - 1))
            .filter(|at| span(&self.groups[..*at]) >= SPAN && span(&self.groups[*at..]) >= SPAN)
            .map(|at| (at, least(&self.groups[..at]), least(&self.groups[at..])))
            .collect();
        let change = |split: &(usize, f64, f64)| (split.2 - split.1).abs();
        let largest = splits.iter().map(change).fold(0.0, f64::max);
        if largest >= STEP {
            // Late events hide the step: set back, its first sign is the earliest split; set forward, the latest one.
            let mut signs = splits.iter().filter(|split| change(split) > largest - STEP / 2.0);
            let (first, last) = (signs.next(), signs.next_back());
            let is_back = |split: &&(usize, f64, f64)| split.2 > split.1;
            if let Some(&(at, before, after)) = first.filter(is_back).or(last).or(first) {
                offset = Offset { before, step: Some((self.groups[at].seen, after)) };
            }
        }
        offset
    }
}

impl Offset {
    /// Moves QEMU's time of an event to the runner's clock.
    pub(super) fn moved(&self, seen: f64, emitted: f64) -> f64 {
        let offset = self.step.filter(|(from, _)| seen >= *from).map_or(self.before, |(_, after)| after);
        // An event cannot have happened after it was seen.
        (emitted + offset).min(seen)
    }

    /// What to say about a step of the clock: when, and by how many seconds the clock was set forward.
    pub(super) fn step(&self) -> Option<(f64, f64)> {
        self.step.map(|(from, after)| (from, self.before - after))
    }
}
