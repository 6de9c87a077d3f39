//! The clocks of guests.

use std::time::Duration;

use tokio::time::Instant;

use crate::units::elapsed;

/// The clocks of a guest, read at a moment between two times of the host.
#[derive(Debug, Clone)]
pub struct Reading {
    /// The VM in which the guest ran.
    pub vm: String,
    /// The identity of its boot.
    pub boot: String,
    /// The time since it booted, in seconds.
    pub uptime: f64,
    /// Its time of day, in whole seconds since 1970.
    pub wall: f64,
    /// When the host asked.
    pub asked: Instant,
    /// When the host had the answer.
    pub answered: Instant,
}

impl Reading {
    /// By how many seconds the time since boot has fallen behind the host's since an earlier reading; below 0 if it is
    /// ahead. The least that is certain, as neither reading has an exact time of the host.
    ///
    /// # Errors
    /// What is wrong: a clock has stepped back, or differs by more than `allowed` for certain.
    pub fn behind(&self, before: &Self, allowed: Duration) -> Result<f64, String> {
        let least = self.asked.saturating_duration_since(before.answered).as_secs_f64();
        let most = self.answered.saturating_duration_since(before.asked).as_secs_f64();
        // The time of day is in whole seconds.
        let clocks = [
            ("the time since boot", before.uptime, self.uptime, 0.01),
            ("the time of day", before.wall, self.wall, 1.0),
        ];
        for (name, then, now, resolution) in clocks {
            let passed = now - then;
            if passed < 0.0 {
                return Err(format!(
                    "{name} has stepped back by {:.2} s, from {then:.2} s to {now:.2} s",
                    -passed
                ));
            }
            let allowed_s = allowed.as_secs_f64();
            let (behind, ahead) = (least - passed - resolution, passed - resolution - most);
            for (by, how) in [(behind, "behind"), (ahead, "ahead of")] {
                if by > allowed_s {
                    let allowed = elapsed(allowed);
                    return Err(format!(
                        "since the last check {name} has gone on by {passed:.2} s, the host's by {least:.2} to {most:.2} s: \
                         at least {by:.2} s {how} it, allowed {allowed}"
                    ));
                }
            }
        }
        let passed = self.uptime - before.uptime;
        Ok(0_f64.clamp(least - passed, most - passed))
    }

    /// How exactly the host's time of the reading is known.
    #[must_use]
    pub fn window(&self) -> Duration {
        self.answered - self.asked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reading at a second of the host, which takes 0.2 s.
    fn read(start: Instant, at: f64, uptime: f64, wall: f64) -> Reading {
        let asked = start + Duration::from_secs_f64(at);
        let answered = asked + Duration::from_millis(200);
        Reading { vm: "vm".to_owned(), boot: "b".to_owned(), uptime, wall, asked, answered }
    }

    #[test]
    fn a_clock_that_stands_jumps_or_steps_back_is_an_error() {
        let start = Instant::now();
        let first = read(start, 0.0, 5.0, 1000.0);
        let judge = |at, uptime, wall| read(start, at, uptime, wall).behind(&first, Duration::from_secs(1));
        assert!((judge(10.0, 14.5, 1010.0).unwrap() - 0.3).abs() < 1e-6);
        assert!((judge(10.0, 15.5, 1010.0).unwrap() + 0.3).abs() < 1e-6);
        assert_eq!(judge(10.0, 15.1, 1010.0), Ok(0.0));
        // Within the second of the time of day.
        assert!(judge(10.0, 15.0, 1008.0).is_ok());
        assert!(judge(10.0, 12.0, 1010.0).unwrap_err().contains("at least 2.79 s behind it, allowed 1"));
        assert!(judge(10.0, 17.0, 1010.0).unwrap_err().contains("ahead of it"));
        assert!(judge(10.0, 15.0, 1007.0).unwrap_err().contains("the time of day has gone on by 7.00 s"));
        assert_eq!(
            judge(10.0, 4.0, 1010.0).unwrap_err(),
            "the time since boot has stepped back by 1.00 s, from 5.00 s to 4.00 s"
        );
        assert!(judge(10.0, 15.0, 999.0).unwrap_err().contains("the time of day has stepped back"));
    }
}
