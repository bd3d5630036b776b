//! How long to wait before the next dial: full jitter, pure.
//!
//! <https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>: the ceiling doubles with
//! every failure and the wait is drawn evenly below it, so a thousand cameras that lost the same
//! lobby do not come back in the same instant.

use std::time::Duration;

/// The ceiling of the first wait.
pub const BASE: Duration = Duration::from_secs(1);
/// The ceiling of every wait.
pub const CAP: Duration = Duration::from_secs(60);
/// The least wait after a refusal: new credentials rarely come within seconds.
pub const REFUSED_FLOOR: Duration = Duration::from_secs(5);
/// A line that was live for so long has shown that it works; its end starts a new count.
pub const STABLE: Duration = Duration::from_secs(30);

/// How much hope there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// The lobby may be back in a moment.
    Usual,
    /// The lobby is there and does not want us.
    Refused,
}

/// Counts failures in a row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The wait before the next dial. `random` is drawn evenly from 0 to 1; anything else counts as 0 or 1.
    pub fn next(&mut self, pace: Pace, random: f64) -> Duration {
        let doubled = BASE.saturating_mul(2u32.saturating_pow(self.failures));
        self.failures = self.failures.saturating_add(1);
        let floor = match pace {
            Pace::Usual => Duration::ZERO,
            Pace::Refused => REFUSED_FLOOR,
        };
        // Twice the floor keeps some jitter in the first waits after a refusal.
        let ceiling = doubled.max(2 * floor).min(CAP);
        let random = if random.is_nan() {
            0.0
        } else {
            random.clamp(0.0, 1.0)
        };
        floor + (ceiling - floor).mul_f64(random)
    }

    /// The line was live for so long before it ended.
    pub fn lived(&mut self, duration: Duration) {
        if duration >= STABLE {
            self.failures = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn after(failures: u32) -> Backoff {
        let mut backoff = Backoff::default();
        for _ in 0..failures {
            backoff.next(Pace::Usual, 0.5);
        }
        backoff
    }

    #[test]
    fn ceilings_double_up_to_the_cap() {
        let mut backoff = Backoff::default();
        let ceilings: Vec<u64> = (0..9)
            .map(|_| backoff.next(Pace::Usual, 1.0).as_secs())
            .collect();
        assert_eq!(ceilings, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    }

    #[test]
    fn a_refusal_starts_higher() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.next(Pace::Refused, 0.0), REFUSED_FLOOR);
        assert_eq!(backoff.next(Pace::Refused, 1.0), 2 * REFUSED_FLOOR);
    }

    #[test]
    fn only_a_line_that_lived_resets() {
        let mut backoff = after(5);
        backoff.lived(STABLE - Duration::from_millis(1));
        assert_eq!(backoff, after(5));
        backoff.lived(STABLE);
        assert_eq!(backoff, Backoff::default());
    }

    proptest! {
        #[test]
        fn waits_stay_within_bounds(failures in 0..200u32, random in any::<f64>(), refused: bool) {
            let pace = if refused { Pace::Refused } else { Pace::Usual };
            let wait = after(failures).next(pace, random);
            prop_assert!(wait <= CAP);
            if refused {
                prop_assert!(wait >= REFUSED_FLOOR);
            } else {
                let doubled = 1u64.checked_shl(failures).unwrap_or(u64::MAX).max(1);
                prop_assert!(failures >= 6 || wait <= Duration::from_secs(doubled));
            }
        }

        #[test]
        fn more_chance_never_means_less_wait(failures in 0..40u32, a in 0.0..1.0f64, b in 0.0..1.0f64) {
            let wait = |random| after(failures).next(Pace::Usual, random);
            prop_assert!(wait(a.min(b)) <= wait(a.max(b)));
        }
    }

    #[test]
    fn the_count_cannot_overflow() {
        let mut backoff = Backoff { failures: u32::MAX };
        assert_eq!(backoff.next(Pace::Usual, 1.0), CAP);
    }
}
