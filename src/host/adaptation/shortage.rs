//! What is known of a shortage: what spoke of it, when it began, and how much comes through while it lasts. Pure.

use std::time::{Duration, Instant};

use super::watcher::Sent;

/// A shortage that has gone on for so long is none that passes by itself; a stall of a radio does.
const LASTS: Duration = Duration::from_millis(80);
/// What has not arrived of the last second's pictures grows while the link is short, and shows what it carries long before
/// a second has passed; a receiver that is late itself misses less than this, and not ever more.
const MISSES: f64 = 0.1;
const SHOWS_AFTER: Duration = Duration::from_millis(100);
/// As far back as receivers look.
const WINDOW: Duration = Duration::from_secs(1);

/// More was sent than a way carries.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shortage {
    /// All that spoke of it, taken together.
    pub cause: Cause,
    pub last: Instant,
}

/// What speaks of a shortage.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cause {
    pub began: Onset,
    /// Much less arrived than was sent, at some time; what would have been enough, in bit/s.
    pub steep: Option<f64>,
    /// No estimate spoke of it.
    pub loss: bool,
    /// The queue in front of the link was full.
    pub overflows: bool,
    /// What it carries, or drops, was counted packet by packet.
    pub counted: bool,
}

/// When something first spoke of a shortage.
#[derive(Debug, Clone, Copy)]
pub(super) struct Onset {
    pub at: Instant,
    /// Bits of the last second that had not arrived by then.
    pub missing: f64,
}

/// A shortage that may be none.
#[derive(Debug, Clone, Copy)]
pub(super) struct Doubt {
    pub since: Onset,
    /// Estimate meanwhile.
    pub lowest: f64,
}

impl Shortage {
    /// It is spoken of again.
    pub fn goes_on(&mut self, cause: Cause, now: Instant) {
        self.last = now;
        self.cause = Cause {
            began: self.cause.began,
            steep: self.cause.steep.or(cause.steep),
            loss: self.cause.loss && cause.loss,
            overflows: self.cause.overflows || cause.overflows,
            counted: self.cause.counted || cause.counted,
        };
    }

    /// It is none that passes by itself: what a report says of losses is of all the time since the one before.
    pub fn lasts(&self) -> bool {
        self.cause.overflows || self.last.duration_since(self.cause.began.at) >= LASTS
    }
}

impl Cause {
    pub fn since(began: Onset) -> Self {
        Self {
            began,
            steep: None,
            loss: false,
            overflows: false,
            counted: false,
        }
    }

    /// Nothing spoke of it before.
    pub fn at(now: Instant) -> Self {
        Self::since(Onset {
            at: now,
            missing: 0.0,
        })
    }
}

impl Onset {
    /// What comes through at this moment, in bit/s, where ever more of the last second is missing; the estimate is still of
    /// all of that second.
    pub fn arrives_by_now(&self, missing: f64, sent: Sent, now: Instant) -> Option<f64> {
        let passed = now.saturating_duration_since(self.at);
        let tells = sent.measured
            && (SHOWS_AFTER..WINDOW).contains(&passed)
            && missing > sent.picture * MISSES;
        let short = (missing - self.missing) / passed.as_secs_f64();
        tells.then(|| (sent.picture - short).clamp(0.0, sent.picture - missing))
    }
}
