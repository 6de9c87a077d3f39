//! Repetition of cases: rounds, retries, and how flaky cases count.

use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::runner::Rounds;

/// Repetition of cases.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Repetition")]
pub(super) struct Repeat {
    /// Repeat all cases N times, or for a DURATION such as `10m`; a round that has started is completed.
    #[arg(long, value_name = "N|DURATION", env = "LOCKSTEP_REPEAT", value_parser = rounds)]
    repeat: Option<Rounds>,

    /// Repeat all cases until one fails, at most as often as `--repeat` allows.
    #[arg(long, env = "LOCKSTEP_UNTIL_FAILURE")]
    pub until_failure: bool,

    /// Retry a case that failed or had an error, up to N times. If it then passes, it is `flaky`, not passed.
    #[arg(long, value_name = "N", default_value_t = 0, env = "LOCKSTEP_RETRIES",
          value_parser = clap::value_parser!(u16).range(..=1000))]
    retries: u16,

    /// Whether a flaky case fails the run.
    #[arg(long, value_enum, default_value = "fail", env = "LOCKSTEP_FLAKY")]
    flaky: Flaky,
}

/// What a flaky case counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Flaky {
    Fail,
    Pass,
}

impl Repeat {
    pub(super) fn rounds(&self) -> Rounds {
        self.repeat.unwrap_or(if self.until_failure { Rounds::Endless } else { Rounds::Times(1) })
    }

    pub(super) fn retries(&self) -> usize {
        usize::from(self.retries)
    }

    pub(super) fn flaky_passes(&self) -> bool {
        self.flaky == Flaky::Pass
    }
}

fn rounds(text: &str) -> Result<Rounds, String> {
    const HELP: &str = "write a number of rounds from 1 on (20), or a time with its unit (10m)";
    if let Ok(times) = text.parse::<usize>() {
        return if times == 0 { Err(HELP.to_owned()) } else { Ok(Rounds::Times(times)) };
    }
    match humantime::parse_duration(text) {
        Ok(time) if time > Duration::ZERO => Ok(Rounds::For(time)),
        _ => Err(HELP.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repetition_is_a_number_or_a_time() {
        assert_eq!(rounds("20"), Ok(Rounds::Times(20)));
        assert_eq!(rounds("10m"), Ok(Rounds::For(Duration::from_secs(600))));
        for wrong in ["0", "-1", "0s", "often", ""] {
            assert!(rounds(wrong).unwrap_err().contains("a number of rounds"), "{wrong}");
        }
    }
}
