//! What is counted of the host's reports, since the start. Pure.

use std::{collections::BTreeMap, time::Duration};

use super::{
    action::Report,
    end::{End, Rebuild},
};
use crate::{media::BranchId, signaling::message::Refusal};

/// Everything that is counted.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// How often the lobby took the stream.
    pub line_live: u64,
    /// How often the line was lost after that.
    pub line_lost: u64,
    /// From a viewer's join to the moment when media flows to it.
    pub went_live: Histogram,
    /// From a viewer's join to its first picture being sent.
    pub first_frame: Histogram,
    /// How often a viewer was lost for a moment.
    pub disconnected: u64,
    /// How often such a one was found again.
    pub recovered: u64,
    ends: [u64; End::ALL.len()],
    rebuilds: [u64; Rebuild::ALL.len()],
    refusals: [u64; Refusal::NAMES.len()],
    /// The places of those who watch.
    places: BTreeMap<usize, BranchId>,
}

impl Tally {
    /// Counts one report.
    pub fn note(&mut self, report: &Report) {
        match report {
            Report::LineLive { .. } => self.line_live += 1,
            Report::LineLost { .. } => self.line_lost += 1,
            Report::Live { took, .. } => self.went_live.observe(*took),
            Report::FirstFrame { took, .. } => self.first_frame.observe(*took),
            Report::Disconnected { .. } => self.disconnected += 1,
            Report::Recovered { .. } => self.recovered += 1,
            Report::Refused { reason, .. } => {
                let index = Refusal::NAMES
                    .iter()
                    .position(|name| *name == reason.name());
                if let Some(index) = index {
                    self.refusals[index] += 1;
                }
            }
            Report::Joined { branch, .. } => {
                let free = (1..).find(|number| !self.places.contains_key(number));
                self.places.insert(free.unwrap_or_default(), *branch);
            }
            Report::Rebuilt {
                from, branch, why, ..
            } => {
                for holder in self.places.values_mut().filter(|holder| *holder == from) {
                    *holder = *branch;
                }
                if let Some(index) = Rebuild::ALL.iter().position(|known| known == why) {
                    self.rebuilds[index] += 1;
                }
            }
            Report::Ended { branch, end, .. } => {
                self.places.retain(|_, holder| holder != branch);
                if let Some(index) = End::ALL.iter().position(|known| known == end) {
                    self.ends[index] += 1;
                }
            }
            _ => {}
        }
    }

    /// The place of a branch's viewer: the lowest that was free when it joined. Short, and no more of them than there
    /// may be viewers, which the lobby's ids are not.
    pub fn number(&self, branch: BranchId) -> usize {
        let place = self.places.iter().find(|(_, holder)| **holder == branch);
        place.map_or(0, |(number, _)| *number)
    }

    /// Reasons for refusing a join, and how many were refused for each.
    pub fn refusals(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Refusal::NAMES.into_iter().zip(self.refusals)
    }

    /// How many branches were replaced for this reason while their viewers stayed.
    pub fn rebuilt(&self, why: Rebuild) -> u64 {
        let index = Rebuild::ALL.iter().position(|known| *known == why);
        index.map_or(0, |index| self.rebuilds[index])
    }

    /// How many viewers ended in this way.
    pub fn ended(&self, end: End) -> u64 {
        let index = End::ALL.iter().position(|known| *known == end);
        index.map_or(0, |index| self.ends[index])
    }
}

/// Times, counted by how long they were.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Histogram {
    /// Beside each of [`Histogram::BOUNDS`]; the last is for what is longer.
    counts: [u64; Histogram::BOUNDS.len() + 1],
    sum: Duration,
}

impl Histogram {
    /// Upper bounds in seconds, each its bucket's last value. A join on a network nearby takes a few hundred
    /// milliseconds; after thirty-five seconds every viewer that has not come so far is out of patience.
    pub const BOUNDS: [f64; 12] = [
        0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 40.0,
    ];

    fn observe(&mut self, time: Duration) {
        let seconds = time.as_secs_f64();
        let bucket = Self::BOUNDS.iter().position(|bound| seconds <= *bound);
        self.counts[bucket.unwrap_or(Self::BOUNDS.len())] += 1;
        self.sum += time;
    }

    /// How many times there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    pub fn sum(&self) -> Duration {
        self.sum
    }

    /// Upper bound and count of each bucket, the last without a bound.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> {
        let bounds = Self::BOUNDS.into_iter().chain([f64::INFINITY]);
        bounds.zip(self.counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signaling::message::{StreamId, ViewerId};

    fn joined(branch: u64) -> Report {
        Report::Joined {
            viewer: ViewerId::new("v"),
            stream: StreamId::new("s"),
            branch: BranchId(branch),
        }
    }

    fn ended(branch: u64, end: End) -> Report {
        Report::Ended {
            viewer: ViewerId::new("v"),
            stream: StreamId::new("s"),
            branch: BranchId(branch),
            end,
            detail: None,
            after: Duration::ZERO,
        }
    }

    #[test]
    fn places_are_given_again_lowest_first() {
        let mut tally = Tally::default();
        for branch in 1..=3 {
            tally.note(&joined(branch));
        }
        tally.note(&ended(1, End::Left));
        tally.note(&ended(2, End::Vanished));
        tally.note(&joined(4));
        let places = [1, 2, 3, 4].map(|branch| tally.number(BranchId(branch)));
        assert_eq!(places, [0, 0, 3, 1]);
        assert_eq!(tally.ended(End::Left), 1);
        assert_eq!(tally.ended(End::Vanished), 1);
        assert_eq!(tally.ended(End::HungUp), 0);
    }

    #[test]
    fn refusals_are_counted_by_their_reason() {
        let mut tally = Tally::default();
        for reason in [
            Refusal::Full { max: 1 },
            Refusal::Busy,
            Refusal::Full { max: 1 },
        ] {
            tally.note(&Report::Refused {
                viewer: ViewerId::new("v"),
                reason,
                first: false,
            });
        }
        let counted: Vec<_> = tally.refusals().collect();
        assert_eq!(counted, [("full", 2), ("busy", 1)]);
    }

    #[test]
    fn a_time_falls_into_the_first_bucket_that_holds_it() {
        let mut histogram = Histogram::default();
        for millis in [1, 100, 101, 999_000] {
            histogram.observe(Duration::from_millis(millis));
        }
        let filled: Vec<_> = histogram
            .buckets()
            .filter(|(_, count)| *count > 0)
            .collect();
        assert_eq!(
            filled,
            [(0.025, 1), (0.1, 1), (0.25, 1), (f64::INFINITY, 1)]
        );
        assert_eq!(histogram.count(), 4);
        assert_eq!(histogram.sum(), Duration::from_millis(999_202));
    }
}
