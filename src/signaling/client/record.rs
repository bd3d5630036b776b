//! What of an outage is told. Pure.
//!
//! One line when the line is lost, one for each further cause, one an hour while it lasts, one when
//! it is over. A line that flaps is one outage: it is over once the line has lived.

use std::{
    mem,
    time::{Duration, Instant},
};

use super::state::Cause;
use crate::signaling::backoff::STABLE;

/// Between two reminders of an outage that lasts.
pub(super) const REMINDER: Duration = Duration::from_secs(3600);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    /// This cause was not told in this outage.
    Cause,
    /// Told long ago, and it lasts.
    Lasting,
    /// Told long ago; the line was live since then, and not for long.
    Again,
    Known,
}

/// The failures since the line last lived.
#[derive(Debug, Default)]
pub(super) struct Record {
    told: Vec<Cause>,
    failures: u64,
    /// Since when there is no line; `None` while it is live.
    down_since: Option<Instant>,
    last_told: Option<Instant>,
    /// The loss was told, its end was not.
    owed: bool,
}

impl Record {
    pub(super) fn failed(&mut self, cause: Cause, now: Instant) -> News {
        self.failures += 1;
        self.down_since.get_or_insert(now);
        let news = if !self.told.contains(&cause) {
            self.told.push(cause);
            News::Cause
        } else if self
            .last_told
            .is_none_or(|told| now.saturating_duration_since(told) >= REMINDER)
        {
            let (since, told) = (self.down_since, self.last_told);
            if since > told {
                News::Again
            } else {
                News::Lasting
            }
        } else {
            return News::Known;
        };
        self.last_told = Some(now);
        self.owed = true;
        news
    }

    pub(super) fn failures(&self) -> u64 {
        self.failures
    }

    pub(super) fn down_since(&self) -> Option<Instant> {
        self.down_since
    }

    /// The line is up. How long it was down, if that was told and not yet that it is over.
    pub(super) fn live(&mut self, now: Instant) -> Option<Duration> {
        let down = now.saturating_duration_since(self.down_since.take()?);
        mem::take(&mut self.owed).then_some(down)
    }

    /// The line was live for so long before it ended. One that flaps is no news each time.
    pub(super) fn lived(&mut self, duration: Duration) {
        if duration >= STABLE {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_news_once_until_the_line_has_lived() {
        let now = Instant::now();
        let mut record = Record::default();
        assert_eq!(record.failed(Cause::Refused, now), News::Cause);
        assert_eq!(record.failed(Cause::Refused, now), News::Known);
        assert_eq!(record.failed(Cause::Route, now), News::Cause);
        assert_eq!(record.failed(Cause::Refused, now), News::Known);
        assert_eq!(record.failures(), 4);
        record.lived(STABLE / 2);
        assert_eq!(record.failed(Cause::Refused, now), News::Known);
        record.lived(STABLE);
        assert_eq!(record.failures(), 0);
        assert_eq!(record.failed(Cause::Refused, now), News::Cause);
    }

    #[test]
    fn an_outage_that_lasts_is_told_once_an_hour() {
        let begin = Instant::now();
        let mut record = Record::default();
        // A dial every 30 s for ten hours.
        let told: Vec<_> = (0..1200u32)
            .map(|dial| record.failed(Cause::Silent, begin + Duration::from_secs(30) * dial))
            .filter(|news| *news != News::Known)
            .collect();
        assert_eq!(told[0], News::Cause);
        assert_eq!(told[1..], [News::Lasting; 9]);
    }

    #[test]
    fn a_line_that_comes_and_goes_is_not_said_to_have_been_down_all_the_time() {
        let begin = Instant::now();
        let mut record = Record::default();
        assert_eq!(record.failed(Cause::BrokeOff, begin), News::Cause);
        // Live for a moment, every minute.
        for minute in 1..60 {
            let now = begin + Duration::from_secs(60) * minute;
            record.live(now - Duration::from_secs(5));
            assert_eq!(record.failed(Cause::BrokeOff, now), News::Known);
        }
        record.live(begin + REMINDER - Duration::from_secs(5));
        assert_eq!(
            record.failed(Cause::BrokeOff, begin + REMINDER),
            News::Again
        );
        let later = begin + REMINDER * 2;
        assert_eq!(record.failed(Cause::BrokeOff, later), News::Lasting);
    }

    #[test]
    fn the_end_of_an_outage_is_told_with_its_length_and_flapping_is_not() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut record = Record::default();
        assert_eq!(record.live(at(0)), None, "the first dial went well");
        record.failed(Cause::BrokeOff, at(100));
        record.failed(Cause::Refused, at(130));
        assert_eq!(record.live(at(160)), Some(Duration::from_secs(60)));
        for flap in 0..100 {
            let news = record.failed(Cause::BrokeOff, at(162 + 4 * flap));
            assert_eq!(news, News::Known);
            assert_eq!(record.live(at(164 + 4 * flap)), None);
        }
    }
}
