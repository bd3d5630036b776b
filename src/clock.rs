//! The time: whether the device's clock can be right, and the clock of everything that runs by rules. Pure, but
//! for [`is_known_unsynchronised`], [`now`] and [`until`].
//!
//! A board without a battery-backed clock wakes up in 1970, or at the time of its last shutdown. Until the
//! time is set, no token can be minted that others take and no certificate be judged.

use std::{
    path::Path,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tokio::time::sleep_until;

/// A wall clock that moves so much further than the time that passed was set.
const JUMP: Duration = Duration::from_secs(2);
/// In seconds.
const DAY: i64 = 86_400;

/// Tokio's clock, so that tests may pause it.
pub fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Until then; for ever, where there is nothing to wait for.
pub async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

/// For the log's fields.
pub fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// When this program was built, or a little earlier: no clock that is right shows a time before.
pub fn built() -> SystemTime {
    // By the build script; a text that is no number would not have got through it.
    UNIX_EPOCH + Duration::from_secs(env!("PERCH_BUILD_EPOCH").parse().unwrap_or(0))
}

/// Whether `now` can be the time at all.
pub fn is_plausible(now: SystemTime) -> bool {
    now >= built()
}

/// `1970-01-01`, for people (UTC).
pub fn date(time: SystemTime) -> String {
    let (year, month, day) = civil(seconds(time).div_euclid(DAY));
    format!("{year:04}-{month:02}-{day:02}")
}

/// Date and time as RFC 3339 writes them, to the second: `1970-01-01T00:00:00Z`.
pub fn utc(time: SystemTime) -> String {
    let second = seconds(time).rem_euclid(DAY);
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!("{}T{hour:02}:{minute:02}:{:02}Z", date(time), second % 60)
}

/// Since 1970; negative before it.
fn seconds(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        Err(before) => -i64::try_from(before.duration().as_secs()).unwrap_or(i64::MAX),
    }
}

/// Days since 1970-01-01 to a date (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn civil(days: i64) -> (i64, i64, i64) {
    // From 0000-03-01, so that a leap day is a year's last.
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// Whether systemd-timesyncd runs here and has not set the time yet. False where something else, or nobody, keeps
/// the time: then it is not known.
pub fn is_known_unsynchronised() -> bool {
    let folder = Path::new("/run/systemd/timesync");
    folder.is_dir() && !folder.join("synchronized").exists()
}

/// Notices when the clock is set.
#[derive(Debug)]
pub struct Jumps {
    last: (Instant, SystemTime),
}

impl Jumps {
    pub fn new(steady: Instant, wall: SystemTime) -> Self {
        Self {
            last: (steady, wall),
        }
    }

    /// Whether the wall clock was set since the last look, forward or back.
    pub fn look(&mut self, steady: Instant, wall: SystemTime) -> bool {
        let (was_steady, was_wall) = std::mem::replace(&mut self.last, (steady, wall));
        let passed = steady.saturating_duration_since(was_steady);
        match wall.duration_since(was_wall) {
            Ok(moved) => moved.abs_diff(passed) >= JUMP,
            Err(back) => back.duration() + passed >= JUMP,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn a_clock_before_the_build_is_not_believed() {
        assert!(!is_plausible(UNIX_EPOCH));
        assert!(!is_plausible(built() - Duration::from_secs(1)));
        assert!(is_plausible(built()));
        assert!(is_plausible(SystemTime::now()), "the build's time is past");
        assert!(built() > at(1_700_000_000), "and it was told to the build");
    }

    #[test]
    fn dates_are_right() {
        for (seconds, expected) in [
            (0, "1970-01-01"),
            (951_782_399, "2000-02-28"),
            (951_782_400, "2000-02-29"),
            (951_868_800, "2000-03-01"),
            (1_735_689_599, "2024-12-31"),
            (4_107_542_400, "2100-03-01"),
        ] {
            assert_eq!(date(at(seconds)), expected);
        }
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        // date -u -d @N +%FT%TZ
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_767_225_599, "2025-12-31T23:59:59Z"),
            (1_795_382_445, "2026-11-22T21:20:45Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(utc(at(seconds)), text);
        }
        let before = UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(utc(before), "1969-12-31T23:59:59Z");
    }

    #[test]
    fn a_clock_that_is_set_is_noticed_and_one_that_drifts_is_not() {
        let start = Instant::now();
        let mut jumps = Jumps::new(start, at(1000));
        let second = Duration::from_secs(1);
        assert!(!jumps.look(start + second, at(1001)));
        // Suspended for an hour: the steady clock stood still.
        assert!(jumps.look(start + 2 * second, at(4602)));
        assert!(!jumps.look(start + 3 * second, at(4603)));
        assert!(jumps.look(start + 4 * second, at(10)));
        assert!(!jumps.look(start + 5 * second, at(12)), "slewed");
    }

    proptest! {
        #[test]
        fn only_what_differs_from_the_time_passed_is_a_jump(passed in 0..100_000u64, moved in 0..200_000u64) {
            let start = Instant::now();
            let mut jumps = Jumps::new(start, at(1_000_000));
            let jumped = jumps.look(start + Duration::from_millis(passed), at(1_000_000) + Duration::from_millis(moved));
            prop_assert_eq!(jumped, passed.abs_diff(moved) >= 2000);
        }
    }
}
