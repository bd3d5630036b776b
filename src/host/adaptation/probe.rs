//! A viewer is sent more than its picture for a moment before it is sent a better one: whether its connection carries that
//! is known then without a picture that stands still. Pure.

use std::time::{Duration, Instant};

use super::watcher::GROWS;

/// So much more with each [`super::STEP`] in which nothing speaks against it: a queue of 200 ms takes longer to fill than it
/// takes to be noticed.
const STEEPER: f64 = 1.2;
/// And so much of the estimate at most, which need not fall where it is far less than what arrives.
const BEYOND: f64 = 1.6;
/// All of it has to come through for so long, as far back as receivers look.
const HOLDS: Duration = Duration::from_secs(1);
/// A receiver whose estimate is below what it is sent has no room for it unless the estimate grows, by 8 % a second: while
/// it does not, no more is sent, and after so long it is no use to go on.
const LITTLE: f64 = 1.01;
const STANDS: Duration = Duration::from_millis(1000);
const GROWS_WITHIN: Duration = Duration::from_secs(2);
/// A receiver that is late itself is given a moment, and so often.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSES: u32 = 3;
/// Whatever is said or not said, a probe has an end.
const MOST: Duration = Duration::from_secs(40);
/// Of what is to go out beside the picture, less than this share that does is no probe, measured over a second. That is so
/// where a viewer takes no retransmissions, and where there is too little that could be sent again.
const GOES_OUT: f64 = 0.6;
const NOTHING_AFTER: Duration = Duration::from_millis(1500);

/// One such try.
#[derive(Debug, Clone, Copy)]
pub(super) struct Probe {
    began: Instant,
    /// What went out beside the picture at first, in bit/s, and since when.
    least: (f64, Instant),
    /// Bit/s, in all: by now, and in the end.
    bitrate: f64,
    target: f64,
    /// An estimate, and since when there has been none that is larger.
    highest: (Option<f64>, Instant),
    /// All of it is sent, since when, and the estimate then.
    reached: Option<(Instant, Option<f64>)>,
    /// Until when there is a pause.
    pause: Option<Instant>,
    pauses: u32,
}

/// The latest that is known of the connection.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Word {
    /// Of what it carries of pictures, in bit/s, and when it was said.
    pub estimate: Option<(f64, Instant)>,
    /// What went out beside the picture over the last second, in bit/s, where that was measured.
    pub beside: Option<f64>,
}

/// What is known of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Open,
    /// It comes through.
    Fits,
    Fails,
    /// It does not go out: nothing follows from it.
    Mute,
}

impl Probe {
    /// From a picture of so many bit/s up to `target`.
    pub fn new(picture: f64, target: f64, word: Word, now: Instant) -> Self {
        let bitrate = (picture * STEEPER).min(target);
        Self {
            began: now,
            least: (bitrate - picture, now),
            bitrate,
            target,
            highest: (word.estimate.map(|(estimate, _)| estimate), now),
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

    /// The better picture may have become another meanwhile.
    pub fn aim(&mut self, target: f64) {
        if target > self.target {
            self.reached = None;
        }
        self.target = target;
        self.bitrate = self.bitrate.min(target);
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

    /// One step, beside a picture of so many bit/s.
    pub fn step(&mut self, picture: f64, word: Word, now: Instant) -> Outcome {
        if now.saturating_duration_since(self.began) >= MOST {
            return Outcome::Fails;
        }
        if self.pause.is_some_and(|end| now < end) {
            return Outcome::Open;
        }
        let estimate = word.estimate.map(|(estimate, _)| estimate);
        if picture >= self.bitrate && picture < self.target {
            if estimate.is_some_and(|estimate| estimate < picture) {
                return Outcome::Fails;
            }
            self.begin_above(picture, now);
        }
        if self.is_mute(word, now) {
            return Outcome::Mute;
        }
        let fits = estimate.is_none_or(|estimate| estimate >= self.bitrate);
        // After a pause it goes on from where it was. While an estimate is more than what is sent, it has no reason to grow.
        if self.pause.take().is_some() {
            self.highest = (estimate, now);
        } else if fits || is_larger(estimate, self.highest.0, LITTLE) {
            self.highest = (estimate, now);
            let most = estimate.map_or(self.target, |estimate| estimate * BEYOND);
            let more = (self.bitrate * STEEPER).min(most).min(self.target);
            self.bitrate = self.bitrate.max(more);
        }
        // Who speaks seldom is not taken for one who says the same again.
        let heard = word.estimate.map_or(now, |(_, at)| at);
        let enough = self.beside(picture) * GOES_OUT;
        let goes_out = word.beside.is_none_or(|beside| beside >= enough);
        if !fits && heard.saturating_duration_since(self.highest.1) >= STANDS {
            return match goes_out {
                true => Outcome::Fails,
                false => Outcome::Mute,
            };
        }
        if self.bitrate < self.target {
            return Outcome::Open;
        }
        let (since, then) = *self.reached.get_or_insert((now, estimate));
        let held = now.saturating_duration_since(since);
        if held < HOLDS || heard <= since {
            return Outcome::Open;
        }
        if !goes_out {
            return Outcome::Mute;
        }
        match fits || is_larger(estimate, then, GROWS) {
            true => Outcome::Fits,
            false if held >= GROWS_WITHIN => Outcome::Fails,
            false => Outcome::Open,
        }
    }

    /// The picture has become as much as all of it was: nothing was to go out beside that.
    fn begin_above(&mut self, picture: f64, now: Instant) {
        self.bitrate = (picture * STEEPER).min(self.target);
        self.least = (self.bitrate - picture, now);
        self.highest.1 = now;
    }

    fn is_mute(&self, word: Word, now: Instant) -> bool {
        let (least, since) = self.least;
        let some = least * GOES_OUT;
        self.pauses == 0
            && now.saturating_duration_since(since) >= NOTHING_AFTER
            && word.beside.is_some_and(|beside| beside < some)
    }
}

/// By this factor at least, or where there was none before.
fn is_larger(estimate: Option<f64>, before: Option<f64>, factor: f64) -> bool {
    estimate.is_some_and(|estimate| estimate >= before.unwrap_or(0.0) * factor)
}

#[cfg(test)]
mod tests {
    use super::{super::STEP, *};

    const PICTURE: f64 = 480_000.0;
    const TARGET: f64 = 2_000_000.0;

    fn word(estimate: f64, at: Instant) -> Word {
        Word {
            estimate: Some((estimate, at)),
            beside: None,
        }
    }

    fn begun(target: f64, estimate: f64, now: Instant) -> Probe {
        Probe::new(PICTURE, target, word(estimate, now), now)
    }

    /// Steps until something is known, with estimates that grow by so much with each. Of what is asked for, so much goes out.
    fn outcome(probe: &mut Probe, growth: f64, goes_out: f64) -> (Outcome, Duration) {
        let start = Instant::now();
        let mut now = start;
        let mut estimate = 700_000.0;
        loop {
            let before = probe.beside(PICTURE) * goes_out;
            now += STEP;
            estimate *= growth;
            let word = Word {
                beside: Some(before),
                ..word(estimate, now)
            };
            match probe.step(PICTURE, word, now) {
                Outcome::Open => assert!(now < start + Duration::from_secs(60)),
                known => return (known, now - start),
            }
        }
    }

    #[test]
    fn it_grows_to_what_is_wanted_and_stays_there_for_a_second() {
        let mut probe = begun(TARGET, 700_000.0, Instant::now());
        assert!(
            probe.beside(PICTURE) < PICTURE * 0.5,
            "it begins with little"
        );
        let (known, took) = outcome(&mut probe, 1.04, 1.0);
        assert_eq!(known, Outcome::Fits);
        assert!((5..=12).contains(&took.as_secs()), "{took:?}");
        assert_eq!(probe.beside(PICTURE), TARGET - PICTURE);
    }

    #[test]
    fn an_estimate_that_does_not_grow_has_no_room() {
        let mut probe = begun(TARGET, 700_000.0, Instant::now());
        assert_eq!(outcome(&mut probe, 1.0, 1.0).0, Outcome::Fails);
        let mut probe = begun(650_000.0, 700_000.0, Instant::now());
        assert_eq!(outcome(&mut probe, 1.0, 1.0).0, Outcome::Fits, "it is more");
    }

    #[test]
    fn what_does_not_go_out_proves_nothing() {
        let mut probe = begun(TARGET, 700_000.0, Instant::now());
        let (known, took) = outcome(&mut probe, 1.0, 0.0);
        assert_eq!(known, Outcome::Mute);
        assert!(took <= NOTHING_AFTER + STEP, "{took:?}");
        for goes_out in [0.2, 0.5] {
            let mut probe = begun(TARGET, 700_000.0, Instant::now());
            assert_eq!(outcome(&mut probe, 1.04, goes_out).0, Outcome::Mute);
        }
    }

    #[test]
    fn who_says_nothing_more_has_not_said_that_it_fits() {
        let mut now = Instant::now();
        let mut probe = begun(TARGET, 3_000_000.0, now);
        let said = word(3_000_000.0, now);
        let end = now + MOST;
        loop {
            now += STEP;
            match probe.step(PICTURE, said, now) {
                Outcome::Open => {}
                known => break assert_eq!((known, now >= end), (Outcome::Fails, true)),
            }
        }
    }

    #[test]
    fn what_is_aimed_at_may_become_more() {
        let mut now = Instant::now();
        let mut probe = begun(700_000.0, 3_000_000.0, now);
        now += STEP * 2;
        assert_eq!(probe.step(PICTURE, word(3e6, now), now), Outcome::Open);
        probe.aim(1_000_000.0);
        now += STEP * 2;
        assert_eq!(probe.step(PICTURE, word(3e6, now), now), Outcome::Open);
        assert!(probe.beside(PICTURE) + PICTURE > 700_000.0);
        probe.aim(600_000.0);
        assert_eq!(probe.beside(PICTURE), 120_000.0);
    }

    #[test]
    fn a_picture_that_becomes_more_does_not_make_it_mute() {
        let start = Instant::now();
        let mut probe = begun(TARGET, 3e6, start);
        let picture = PICTURE * 2.0;
        let mut now = start;
        while now < start + NOTHING_AFTER + STEP {
            let beside = Some(probe.beside(picture));
            now += STEP;
            let word = Word {
                beside,
                ..word(3e6, now)
            };
            assert_eq!(probe.step(picture, word, now), Outcome::Open);
            assert!(probe.beside(picture) > 0.0, "it goes on from there");
        }
    }

    #[test]
    fn an_estimate_need_not_grow_before_more_is_sent() {
        let mut now = Instant::now();
        let mut probe = begun(TARGET, 1e6, now);
        while probe.beside(PICTURE) + PICTURE <= 1e6 {
            now += STEP;
            assert_eq!(probe.step(PICTURE, word(1e6, now), now), Outcome::Open);
        }
        now += STEP;
        assert_eq!(probe.step(PICTURE, word(1e6, now), now), Outcome::Open);
        now += STEP;
        assert_eq!(probe.step(PICTURE, word(1e6, now), now), Outcome::Fails);
    }

    #[test]
    fn a_doubt_is_a_pause_and_many_are_a_failure() {
        let mut now = Instant::now();
        let mut probe = begun(TARGET, 700_000.0, now);
        for _ in 0..PAUSES {
            assert_eq!(probe.doubt(now), Outcome::Open);
            assert_eq!(probe.doubt(now), Outcome::Open, "that is known");
            assert_eq!(probe.beside(PICTURE), 0.0);
            probe.step(PICTURE, Word::default(), now + PAUSE / 2);
            assert_eq!(probe.beside(PICTURE), 0.0);
            now += PAUSE;
            probe.step(PICTURE, Word::default(), now);
            assert!(probe.beside(PICTURE) > 0.0);
        }
        assert_eq!(probe.doubt(now), Outcome::Fails);
    }
}
