//! Repetition of cases: rounds, retries, and how flaky cases count.

use std::time::Duration;

use anyhow::bail;
use clap::{Args, ValueEnum};

use crate::runner::Rounds;
use crate::units::Share;

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

    /// Whether a bisection stops at the first failure.
    #[arg(skip)]
    pub until_first: bool,

    /// The share of rounds in which a failure is expected, such as `20%`. All cases are repeated as often as it takes to see
    /// it with a probability of 99 %; `--repeat N` limits that.
    #[arg(long, value_name = "SHARE", env = "LOCKSTEP_EXPECT_RATE", value_parser = share)]
    expect_rate: Option<Share>,

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

/// The probability that a failure which occurs at the expected rate is not seen.
const MISSED: f64 = 0.01;

impl Repeat {
    /// How often to repeat all cases.
    ///
    /// # Errors
    /// When that is too few for the expected rate.
    pub(super) fn rounds(&self) -> anyhow::Result<Rounds> {
        let Some(rate) = self.expect_rate else {
            let endless = if self.until_failure { Rounds::Endless } else { Rounds::Times(1) };
            return Ok(self.repeat.unwrap_or(endless));
        };
        let needed = needed(rate.fraction());
        match self.repeat {
            Some(Rounds::For(_)) => bail!("--expect-rate needs a number of rounds for --repeat, not a time"),
            Some(Rounds::Times(given)) if given < needed => {
                let missed = 100.0 * (1.0 - rate.fraction()).powf(given as f64);
                bail!(
                    "--repeat {given} is too few for --expect-rate {rate}: with that rate, {missed:.0} % of such runs pass; \
                     {needed} rounds are needed"
                )
            }
            _ => Ok(Rounds::Times(needed)),
        }
    }

    pub(super) fn retries(&self) -> usize {
        usize::from(self.retries)
    }

    pub(super) fn flaky_passes(&self) -> bool {
        self.flaky == Flaky::Pass
    }
}

/// The number of rounds of which at least one fails, with a probability of 99 %, at this rate.
fn needed(rate: f64) -> usize {
    if rate >= 1.0 { 1 } else { (MISSED.ln() / (1.0 - rate).ln()).ceil() as usize }
}

fn share(text: &str) -> Result<Share, String> {
    let share: Share = text.parse()?;
    if share.fraction() > 0.0 {
        Ok(share)
    } else {
        Err("a failure that is expected in 0% of the rounds is never seen".to_owned())
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
    fn the_rounds_for_a_rate_leave_one_percent_to_chance() {
        // 0.8^20 = 1.15 %, 0.8^21 = 0.92 %; 0.99^458 = 1.002 %, 0.99^459 = 0.99 %.
        assert_eq!([1.0, 0.2, 0.01].map(needed), [1, 21, 459]);
        assert!(share("0%").is_err() && share("20").is_err() && share("20%").is_ok());
    }

    #[test]
    fn a_repetition_is_a_number_or_a_time() {
        assert_eq!(rounds("20"), Ok(Rounds::Times(20)));
        assert_eq!(rounds("10m"), Ok(Rounds::For(Duration::from_secs(600))));
        for wrong in ["0", "-1", "0s", "often", ""] {
            assert!(rounds(wrong).unwrap_err().contains("a number of rounds"), "{wrong}");
        }
    }
}
