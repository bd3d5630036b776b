//! Whether anybody wants the camera's picture. Pure: the time is an argument.

use std::time::{Duration, Instant};

/// So long after the last viewer left, nobody wants it any more: a page that is reloaded, or comes back over another
/// network, finds the camera as it was.
pub const GRACE: Duration = Duration::from_secs(10);

/// Somebody wants it from the moment of the first join on, so that the camera starts while the connection is made.
#[derive(Debug, Default)]
pub struct Demand {
    wanted: bool,
    /// When that ends, where nobody watches.
    until: Option<Instant>,
}

impl Demand {
    /// So many viewers hold a place now. To be told after every change, and at [`Demand::deadline`].
    pub fn watch(&mut self, viewers: usize, now: Instant) {
        if viewers > 0 {
            self.wanted = true;
            self.until = None;
        } else if self.wanted {
            let until = *self.until.get_or_insert(now + GRACE);
            if now >= until {
                *self = Self::default();
            }
        }
    }

    pub fn is_wanted(&self) -> bool {
        self.wanted
    }

    /// When it may be over.
    pub fn deadline(&self) -> Option<Instant> {
        self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_viewer_makes_it_and_the_grace_after_the_last_ends_it() {
        let mut demand = Demand::default();
        let start = Instant::now();
        let at = |second: u64| start + Duration::from_secs(second);
        demand.watch(0, at(0));
        assert_eq!((demand.is_wanted(), demand.deadline()), (false, None));
        demand.watch(1, at(1));
        demand.watch(2, at(2));
        demand.watch(1, at(3));
        assert_eq!((demand.is_wanted(), demand.deadline()), (true, None));
        demand.watch(0, at(4));
        demand.watch(0, at(9));
        assert_eq!(demand.deadline(), Some(at(14)), "it is not put off");
        demand.watch(1, at(13));
        assert_eq!((demand.is_wanted(), demand.deadline()), (true, None));
        demand.watch(0, at(20));
        demand.watch(0, at(30));
        assert_eq!((demand.is_wanted(), demand.deadline()), (false, None));
    }
}
