//! How much one socket may ask for: token buckets, with the time as an argument.

use std::time::Instant;

/// A token bucket: bursts up to its capacity, and its rate in the long run.
#[derive(Debug, Clone)]
pub struct Bucket {
    capacity: f64,
    per_second: f64,
    level: f64,
    at: Instant,
}

impl Bucket {
    /// Starts full.
    pub fn new(rate: Rate, now: Instant) -> Self {
        Self {
            capacity: rate.burst,
            per_second: rate.per_second,
            level: rate.burst,
            at: now,
        }
    }

    /// Takes `tokens` if they are there.
    pub fn take(&mut self, tokens: f64, now: Instant) -> bool {
        self.fill(now);
        let enough = self.level >= tokens;
        if enough {
            self.level -= tokens;
        }
        enough
    }

    /// Whether nothing has been taken lately.
    pub fn is_full(&mut self, now: Instant) -> bool {
        self.fill(now);
        self.level >= self.capacity
    }

    fn fill(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.at).as_secs_f64();
        self.level = (self.level + elapsed * self.per_second).min(self.capacity);
        self.at = self.at.max(now);
    }
}

/// A bucket's size and how fast it fills.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    pub burst: f64,
    pub per_second: f64,
}

/// What becomes of one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Pass,
    /// Too much for the moment: ignored and counted.
    Drop,
    /// It does not stop: the socket is to be closed.
    Abuse,
}

/// How many dropped events are borne, and how fast they are forgiven.
const PATIENCE: Rate = Rate {
    burst: 500.0,
    per_second: 5.0,
};

/// One socket's allowance.
#[derive(Debug)]
pub struct Throttle {
    events: Bucket,
    patience: Bucket,
    dropped: u64,
}

impl Throttle {
    pub fn new(rate: Rate, now: Instant) -> Self {
        Self {
            events: Bucket::new(rate, now),
            patience: Bucket::new(PATIENCE, now),
            dropped: 0,
        }
    }

    pub fn event(&mut self, cost: f64, now: Instant) -> Verdict {
        if self.events.take(cost, now) {
            return Verdict::Pass;
        }
        self.dropped += 1;
        if self.patience.take(1.0, now) {
            Verdict::Drop
        } else {
            Verdict::Abuse
        }
    }

    /// Events dropped so far.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const RATE: Rate = Rate {
        burst: 10.0,
        per_second: 2.0,
    };

    #[test]
    fn a_burst_passes_and_the_rest_waits_for_time() {
        let start = Instant::now();
        let mut throttle = Throttle::new(RATE, start);
        let passed = (0..20)
            .filter(|_| throttle.event(1.0, start) == Verdict::Pass)
            .count();
        assert_eq!(passed, 10);
        assert_eq!(throttle.dropped(), 10);
        let later = start + Duration::from_secs(3);
        let passed = (0..20)
            .filter(|_| throttle.event(1.0, later) == Verdict::Pass)
            .count();
        assert_eq!(passed, 6);
    }

    #[test]
    fn a_flood_is_abuse_and_a_bad_minute_is_not() {
        let start = Instant::now();
        let mut flood = Throttle::new(RATE, start);
        assert!((0..600).any(|_| flood.event(1.0, start) == Verdict::Abuse));

        let mut chatty = Throttle::new(RATE, start);
        for second in 0..3600 {
            let now = start + Duration::from_secs(second);
            for _ in 0..6 {
                assert_ne!(chatty.event(1.0, now), Verdict::Abuse);
            }
        }
        assert!(chatty.dropped() > 1000);
    }

    #[test]
    fn a_clock_that_stands_still_or_goes_back_gives_nothing() {
        let start = Instant::now() + Duration::from_secs(60);
        let mut bucket = Bucket::new(RATE, start);
        assert!(bucket.take(10.0, start));
        assert!(!bucket.take(1.0, start - Duration::from_secs(30)));
        assert!(!bucket.is_full(start));
    }
}
