//! Which failures are news. Pure.

use std::time::Duration;

use crate::signaling::backoff::STABLE;

/// More different texts in one outage are no longer told apart.
const REMEMBERED: usize = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Severity {
    /// Not seen since the line last lived.
    News,
    Known,
}

/// The failures since the line last lived.
#[derive(Debug, Default)]
pub(super) struct Record {
    seen: Vec<String>,
    failures: u64,
}

impl Record {
    pub(super) fn failed(&mut self, why: &str) -> Severity {
        self.failures += 1;
        if self.seen.iter().any(|seen| seen == why) || self.seen.len() >= REMEMBERED {
            return Severity::Known;
        }
        self.seen.push(why.to_owned());
        Severity::News
    }

    pub(super) fn failures(&self) -> u64 {
        self.failures
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
    fn a_failure_is_news_once_until_the_line_has_lived() {
        let mut record = Record::default();
        assert_eq!(record.failed("refused"), Severity::News);
        assert_eq!(record.failed("refused"), Severity::Known);
        assert_eq!(record.failed("unreachable"), Severity::News);
        assert_eq!(record.failed("refused"), Severity::Known);
        assert_eq!(record.failures(), 4);
        record.lived(STABLE / 2);
        assert_eq!(record.failed("refused"), Severity::Known);
        record.lived(STABLE);
        assert_eq!(record.failures(), 0);
        assert_eq!(record.failed("refused"), Severity::News);
    }

    #[test]
    fn texts_that_never_repeat_do_not_pile_up() {
        let mut record = Record::default();
        let news = (0..1000)
            .filter(|number| record.failed(&number.to_string()) == Severity::News)
            .count();
        assert_eq!(news, REMEMBERED);
    }
}
