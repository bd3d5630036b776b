//! A viewer is sent more than its picture for a moment before it is sent a better one: whether its connection carries that
//! is known then without a picture that stands still. Pure.

use std::time::{Duration, Instant};

use super::watcher::GROWS;

/// So much more with each [`super::STEP`].
const STEEPER: f64 = 1.3;
/// And of the estimate, so much at most: a queue of 200 ms takes longer to fill than is waited for the estimate to grow.
const BEYOND: f64 = 1.4;
/// All of it has to come through for so long, as far back as receivers look.
const HOLDS: Duration = Duration::from_secs(1);
/// A receiver whose estimate is below what it is sent has no room for it unless the estimate grows, by 8 % a second: by so
/// little it does not, and after so long without it is no use to go on. It need not fall: of what is far more than an
/// estimate, that may be less than what arrives.
const LITTLE: f64 = 1.01;
const STANDS: Duration = Duration::from_millis(1000);
const GROWS_WITHIN: Duration = Duration::from_secs(2);
/// A receiver that is late itself is given a moment, and so often.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSES: u32 = 3;

/// One such try.
#[derive(Debug, Clone, Copy)]
pub(super) struct Probe {
    /// Bit/s, in all: by now, and in the end.
    bitrate: f64,
    target: f64,
    /// An estimate, and since when there has been none that is larger.
    highest: (Option<u64>, Instant),
    /// All of it is sent, since when, and the estimate then.
    reached: Option<(Instant, Option<u64>)>,
    /// Until when there is a pause.
    pause: Option<Instant>,
    pauses: u32,
}

/// What is known of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Open,
    /// It comes through.
    Fits,
    Fails,
}

impl Probe {
    /// From a picture of so many bit/s up to `target`.
    pub fn new(picture: f64, target: f64, estimate: Option<u64>, now: Instant) -> Self {
        Self {
            bitrate: (picture * STEEPER).min(target),
            target,
            highest: (estimate, now),
            reached: None,
            pause: None,
            pauses: 0,
        }
    }

    /// What is sent beside a picture of so many bit/s.
    pub fn beside(&self, picture: f64) -> f64 {
        match self.pause {
            Some(_) => 0.0,
            None => (self.bitrate - picture).max(0.0),
        }
    }

    /// Something may be amiss: what waits along the way may drain.
    pub fn doubt(&mut self, now: Instant) -> Outcome {
        if self.pause.is_some() {
            return Outcome::Open;
        }
        self.pauses += 1;
        self.pause = Some(now + PAUSE);
        self.reached = None;
        if self.pauses > PAUSES {
            return Outcome::Fails;
        }
        Outcome::Open
    }

    /// One step, with the latest estimate.
    pub fn step(&mut self, estimate: Option<u64>, now: Instant) -> Outcome {
        if self.pause.is_some_and(|end| now < end) {
            return Outcome::Open;
        }
        // It goes on from where it was.
        if self.pause.take().is_some() {
            self.highest = (estimate, now);
        } else {
            let most = estimate.map_or(self.target, |estimate| estimate as f64 * BEYOND);
            let more = (self.bitrate * STEEPER).min(most).min(self.target);
            self.bitrate = self.bitrate.max(more);
        }
        let fits = estimate.is_none_or(|estimate| estimate as f64 >= self.bitrate);
        // It has no reason to grow while it is more than what is sent.
        if fits || is_larger(estimate, self.highest.0, LITTLE) {
            self.highest = (estimate, now);
        }
        let stands = now.saturating_duration_since(self.highest.1) >= STANDS;
        if stands && !fits {
            return Outcome::Fails;
        }
        if self.bitrate < self.target {
            return Outcome::Open;
        }
        let (since, then) = *self.reached.get_or_insert((now, estimate));
        let held = now.saturating_duration_since(since);
        match (held >= HOLDS, fits || is_larger(estimate, then, GROWS)) {
            (true, true) => Outcome::Fits,
            (true, false) if held >= GROWS_WITHIN => Outcome::Fails,
            _ => Outcome::Open,
        }
    }
}

/// By this factor at least, or where there was none before.
fn is_larger(estimate: Option<u64>, before: Option<u64>, factor: f64) -> bool {
    let before = before.map_or(0.0, |before| before as f64);
    estimate.is_some_and(|estimate| estimate as f64 >= before * factor)
}

#[cfg(test)]
mod tests {
    use super::{super::STEP, *};

    const PICTURE: f64 = 480_000.0;
    const TARGET: f64 = 2_000_000.0;

    /// Steps until something is known, with estimates that grow by so much with each.
    fn outcome(probe: &mut Probe, growth: f64) -> (Outcome, Duration) {
        let start = Instant::now();
        let mut now = start;
        let mut estimate = 700_000.0;
        loop {
            now += STEP;
            estimate *= growth;
            match probe.step(Some(estimate as u64), now) {
                Outcome::Open => assert!(now < start + Duration::from_secs(60)),
                known => return (known, now - start),
            }
        }
    }

    #[test]
    fn it_grows_to_what_is_wanted_and_stays_there_for_a_second() {
        let mut probe = Probe::new(PICTURE, TARGET, Some(700_000), Instant::now());
        assert!(
            probe.beside(PICTURE) < PICTURE * 0.5,
            "it begins with little"
        );
        let (known, took) = outcome(&mut probe, 1.04);
        assert_eq!(known, Outcome::Fits);
        assert!((8..=12).contains(&took.as_secs()), "{took:?}");
        assert_eq!(probe.beside(PICTURE), TARGET - PICTURE);
    }

    #[test]
    fn an_estimate_that_does_not_grow_has_no_room() {
        let mut probe = Probe::new(PICTURE, TARGET, Some(700_000), Instant::now());
        assert_eq!(outcome(&mut probe, 1.0).0, Outcome::Fails);
        let mut probe = Probe::new(PICTURE, 650_000.0, Some(700_000), Instant::now());
        assert_eq!(
            outcome(&mut probe, 1.0).0,
            Outcome::Fits,
            "it is above that"
        );
    }

    #[test]
    fn an_estimate_need_not_grow_before_more_is_sent() {
        let mut probe = Probe::new(PICTURE, TARGET, Some(1_000_000), Instant::now());
        let mut now = Instant::now();
        for _ in 0..2 {
            now += STEP;
            assert_eq!(probe.step(Some(1_000_000), now), Outcome::Open);
        }
        assert!(probe.beside(PICTURE) + PICTURE > 1_000_000.0);
        assert_eq!(probe.step(Some(1_000_000), now + STEP), Outcome::Fails);
    }

    #[test]
    fn a_doubt_is_a_pause_and_many_are_a_failure() {
        let mut probe = Probe::new(PICTURE, TARGET, Some(700_000), Instant::now());
        let mut now = Instant::now();
        for _ in 0..PAUSES {
            assert_eq!(probe.doubt(now), Outcome::Open);
            assert_eq!(probe.doubt(now), Outcome::Open, "that is known");
            assert_eq!(probe.beside(PICTURE), 0.0);
            probe.step(None, now + PAUSE / 2);
            assert_eq!(probe.beside(PICTURE), 0.0);
            now += PAUSE;
            probe.step(None, now);
            assert!(probe.beside(PICTURE) > 0.0);
        }
        assert_eq!(probe.doubt(now), Outcome::Fails);
    }
}
