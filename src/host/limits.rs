//! How often one may join. Pure: the time is an argument.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::signaling::message::ViewerId;

/// Joins of one viewer in a row: a page that is reloaded by an impatient person.
pub const VIEWER_BURST: u32 = 8;
/// Then one more each time.
pub const VIEWER_EVERY: Duration = Duration::from_secs(2);
/// Joins of all in a row, for each place: everybody may come back at once, twice.
pub const BURST_PER_PLACE: u32 = 2;
/// And never less in a row than this.
pub const BURST_LEAST: u32 = 32;
/// Then one more each time.
pub const EVERY: Duration = Duration::from_millis(100);

/// Viewers whose joins are remembered. Whoever floods with ever new names runs into the limit for all.
const REMEMBERED: usize = 1024;

/// A bucket that holds `burst` tokens and gets a new one `every` so often.
#[derive(Debug, Clone)]
struct Bucket {
    burst: u32,
    every: Duration,
    /// When the bucket was, or will be, empty of all debts: now or earlier means full.
    full_at: Instant,
}

impl Bucket {
    fn full(burst: u32, every: Duration, now: Instant) -> Self {
        Self {
            burst,
            every,
            full_at: now,
        }
    }

    fn has_one(&self, now: Instant) -> bool {
        self.full_at.max(now) + self.every <= now + self.every * self.burst
    }

    fn take(&mut self, now: Instant) {
        self.full_at = self.full_at.max(now) + self.every;
    }
}

/// Who of those that knock may come in now.
#[derive(Debug)]
pub struct Door {
    burst: u32,
    all: Option<Bucket>,
    each: BTreeMap<ViewerId, Bucket>,
}

impl Door {
    /// For a host with `max` places.
    pub fn new(max: usize) -> Self {
        let places = u32::try_from(max).unwrap_or(u32::MAX);
        Self {
            burst: places.saturating_mul(BURST_PER_PLACE).max(BURST_LEAST),
            all: None,
            each: BTreeMap::new(),
        }
    }

    /// Whether this viewer's join is within bounds. Only those that are count.
    pub fn knock(&mut self, viewer: &ViewerId, now: Instant) -> bool {
        let burst = self.burst;
        let all = self
            .all
            .get_or_insert_with(|| Bucket::full(burst, EVERY, now));
        if !all.has_one(now) {
            return false;
        }
        if self.each.len() >= REMEMBERED {
            self.each.retain(|_, bucket| bucket.full_at > now);
        }
        if self.each.len() >= REMEMBERED && !self.each.contains_key(viewer) {
            return false;
        }
        let own = self
            .each
            .entry(viewer.clone())
            .or_insert_with(|| Bucket::full(VIEWER_BURST, VIEWER_EVERY, now));
        if !own.has_one(now) {
            return false;
        }
        own.take(now);
        all.take(now);
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn viewer(number: usize) -> ViewerId {
        ViewerId::new(format!("v{number}"))
    }

    #[test]
    fn one_viewer_has_its_burst_and_then_its_pace() {
        let start = Instant::now();
        let mut door = Door::new(100);
        let knocks = |door: &mut Door, now, times: usize| {
            (0..times).filter(|_| door.knock(&viewer(1), now)).count()
        };
        assert_eq!(knocks(&mut door, start, 100), VIEWER_BURST as usize);
        assert_eq!(knocks(&mut door, start + VIEWER_EVERY, 100), 1);
        assert_eq!(
            knocks(&mut door, start + VIEWER_EVERY * 1000, 100),
            VIEWER_BURST as usize
        );
        let later = start + VIEWER_EVERY * 1000;
        assert!(door.knock(&viewer(2), later), "others are not concerned");
    }

    #[test]
    fn everybody_may_come_at_once_and_a_flood_may_not() {
        let now = Instant::now();
        let mut door = Door::new(25);
        let let_in = (0..10_000)
            .filter(|number| door.knock(&viewer(*number), now))
            .count();
        assert_eq!(let_in, 50);
        assert!(door.knock(&viewer(10_000), now + EVERY));
    }

    proptest! {
        #[test]
        fn no_order_of_knocks_gets_more_than_burst_and_pace_and_memory_is_bounded(
            knocks in prop::collection::vec((0..3000usize, 0..400u64), 0..3000),
        ) {
            let start = Instant::now();
            let mut now = start;
            let mut door = Door::new(4);
            let mut let_in = 0;
            for (number, wait) in knocks {
                now += Duration::from_millis(wait);
                let_in += u128::from(door.knock(&viewer(number), now));
                prop_assert!(door.each.len() <= REMEMBERED);
            }
            let paced = (now - start).as_millis() / EVERY.as_millis();
            prop_assert!(let_in <= u128::from(BURST_LEAST) + paced + 1);
        }
    }
}
