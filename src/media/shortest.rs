//! The shortest delay of late: of a way without a queue, as far as there was a moment without one. Pure.

use std::time::{Duration, Instant};

/// It is looked for in this time and the one before; a route may change.
pub const SHORTEST_OF: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub struct Shortest<T> {
    since: Option<Instant>,
    now: Option<T>,
    before: Option<T>,
}

impl<T: Ord + Copy> Shortest<T> {
    pub fn sees(&mut self, delay: T, now: Instant) {
        let since = *self.since.get_or_insert(now);
        if now.saturating_duration_since(since) >= SHORTEST_OF {
            self.before = self.now.take();
            self.since = Some(now);
        }
        self.now = Some(self.now.map_or(delay, |shortest| shortest.min(delay)));
    }

    pub fn known(&self) -> Option<T> {
        self.now.into_iter().chain(self.before).min()
    }
}
