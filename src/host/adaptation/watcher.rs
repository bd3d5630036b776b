//! One viewer's connection: what it carries, as far as that follows from what the viewer says of it. Pure.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::{
    probe::{Outcome, Probe, Word},
    shortage::{Cause, Doubt, Onset, Shortage},
};
use crate::media::{Rendition, rtcp::fell};

/// Of what a connection is said to carry, the share that the picture may take: retransmissions, keyframes and RTP's
/// own bytes take the rest.
const SHARE: f64 = 0.9;
/// An estimate that falls is this share of what arrived (libwebrtc's `AimdRateControl`).
const REACTION: f64 = 0.85;
/// How much a limit grows with each [`super::STEP`]: 17 % a second.
const GROWTH: f64 = 1.08;
/// The same where it was too much before: what waits along the way grows so slowly then that it is noticed in time.
const CAREFUL_GROWTH: f64 = 1.03;
/// From this share of what was too much on, up to that one.
const NEAR: (f64, f64) = (0.85, 1.3);
/// An estimate that falls again within this time belongs to the same shortage.
const SAME_SHORTAGE: Duration = Duration::from_millis(800);
/// So long after its beginning, an estimate of less than this share of what is sent says that a shortage lasts: after a
/// stall of a radio it would have grown beyond.
const STAYS: Duration = Duration::from_secs(1);
const PLAINLY_LESS: f64 = 0.88;
/// A receiver that is late itself, because its machine is busy, says what one says whose link is a little short: that
/// most of what is sent arrives, and late. So little a link loses packets for within a second or so, or goes on.
const MOST_ARRIVES: f64 = 0.8;
const GOES_ON: Duration = Duration::from_secs(1);
/// Less than this share of what is sent that arrives is a fall that the smaller picture bridges, even for a viewer alone: what
/// waits along the way is gone sooner.
const STEEP: f64 = 0.75;
/// What was sent in a burst is in a receiver's count by then.
const COUNTED_WITHIN: Duration = Duration::from_millis(450);
/// For a receiver to see that more comes through than it thought possible: it looks back for a second.
const GROWS_WITHIN: Duration = Duration::from_secs(2);
/// An estimate that is larger by less than this share has not grown.
pub(super) const GROWS: f64 = 1.03;
/// After a fall it grows by a packet in each round trip, which is little: while the link is short, not even by so much.
const RECOVERS: f64 = 1.01;
/// While a shortage lasts, what waits along the way has to drain as well: so much less is encoded meanwhile.
const DRAIN: f64 = 0.75;
/// Of the second rendition, whose keyframe waits behind all that.
const DRAIN_SMALL: f64 = 1.0 / 3.0;
const DRAINS: Duration = Duration::from_millis(600);
/// Of what is known to come through, the share at which a queue that may be full empties for certain.
const EMPTIES: f64 = 0.8;
/// So much faster than what a connection carries for certain is a picture sent: it has to be through before the next one.
const HEADROOM: f64 = 1.3;
/// The first estimate of all is a shortage only where it is below this share of what was sent: it still grows.
const FIRST_ESTIMATE: f64 = 0.8;
/// Losses while the estimate falls are of the same shortage, and so are those for so long afterwards.
const LOSS_AFTER: Duration = Duration::from_secs(2);
/// For a lower bitrate to show in the losses.
const LOWERED_FOR: Duration = Duration::from_secs(1);
/// After a shortage, before anything grows again.
const CALM: Duration = Duration::from_millis(1500);
/// Before a bitrate goes beyond what was too much: this after the first shortage, twice as long after each, and at most.
const BEYOND: Duration = Duration::from_secs(4);
const BEYOND_MAX: Duration = Duration::from_secs(16);
/// Before the first rendition is tried again: this after the first time, twice as long after each, and at most.
pub const RETRY: Duration = Duration::from_secs(5);
pub const RETRY_MAX: Duration = Duration::from_secs(80);
/// Before a probe that failed is made again: [`RETRY`], twice as long after each, and at most. It costs its viewer next to nothing.
const PROBE_AGAIN_MAX: Duration = Duration::from_secs(15);
/// So long a viewer has to stay on the first rendition for the try to be one that went well.
pub const TRIAL: Duration = Duration::from_secs(6);
/// So long a viewer that was moved stays where it is, at least, unless what it is sent is too much.
const SETTLES: Duration = Duration::from_secs(3);
/// A share of packets lost that is taken for too much sent (RFC 8298 and others: below a tenth, radios lose as well).
const MUCH_LOST: f64 = 0.1;
/// In every report for so long: of the few packets between two that are 200 ms apart, a radio loses that many at times.
const MUCH_LOST_FOR: Duration = Duration::from_millis(800);
/// Less than that, but for longer, and of a receiver whose estimate is plainly less than what it is sent.
const SOME_LEFT_OUT: f64 = 0.05;
const SOME_LEFT_OUT_FOR: Duration = Duration::from_secs(2);
/// While the estimate falls, so many lost say that the queue in front of the link is full.
const OVERFLOWS: f64 = 0.2;
/// The share of the smallest picture's bitrate that everybody is given.
const LEAST: f64 = 0.25;
/// A share that speaks of a queue that is full somewhere, and for how long it does.
const SOME_LOST: f64 = 0.02;
const LOSS_TELLS: Duration = Duration::from_secs(3);

/// What a viewer is sent, in bit/s.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    /// Over the last second, which is as far as a receiver looks back, too.
    pub picture: f64,
    /// That was measured; else it is what was to be.
    pub measured: bool,
    /// What of that was a probe.
    pub beside: f64,
    /// What may be sent by now: of a quiet scene, and just after a change for the better, much more than that.
    pub told: f64,
    /// The least that a picture can be encoded at.
    pub least: f64,
}

impl Sent {
    /// From a share of what was sent to the same share of what may be.
    fn scale(self) -> f64 {
        (self.told / self.picture.max(1.0)).max(1.0)
    }

    /// Who is sent less than this is better off with the smaller picture, where much less arrives than is sent.
    fn steep(self) -> f64 {
        self.told.max(self.picture) * STEEP
    }

    /// Whether an estimate is of plainly less.
    fn is_plainly_more_than(self, bandwidth: f64) -> bool {
        bandwidth < self.picture * PLAINLY_LESS
    }
}

/// One viewer's connection, as far as it is known.
#[derive(Debug)]
pub(super) struct Watcher {
    pub rendition: Rendition,
    /// The latest estimate, and when it was said.
    bandwidth: Option<u64>,
    heard: Option<Instant>,
    /// What went out beside the picture of late, in bit/s.
    beside: Option<f64>,
    /// What of a picture it carries, in bit/s; `None`: nothing has ever gone wrong.
    pub limit: Option<f64>,
    /// What was too much the last time.
    knee: Option<f64>,
    pub shortage: Option<Shortage>,
    doubted: Option<Doubt>,
    /// When its limit was last lowered.
    lowered: Instant,
    /// How long to wait before going beyond the knee.
    beyond: Duration,
    /// Before the first rendition is tried again, and when.
    pub retry: Duration,
    pub retry_at: Instant,
    /// It is sent more than its picture.
    pub probe: Option<Probe>,
    pub probed: Option<u32>,
    /// How long to wait for the next one; `None`: none has failed.
    probe_again: Option<Duration>,
    /// It was moved to where it is.
    moved: Instant,
    /// It was moved up, and that may still turn out to be too much.
    pub on_trial: bool,
    /// It was moved up at some time.
    tried: bool,
    /// The estimate when it was moved up.
    before_trial: Option<u64>,
    pub thinned: Option<u32>,
    pub paced: Option<u32>,
    /// Since when every report has been of much loss.
    lossy: Option<Instant>,
    /// And of some.
    leaky: Option<Instant>,
    /// The share that the latest report was of.
    loss: f64,
    /// When some were lost.
    lost: Option<Instant>,
    /// What was sent over a second, as it was measured lately.
    sent: VecDeque<(Instant, u64)>,
}

impl Watcher {
    /// Somebody who is sent the first rendition from now on.
    pub fn new(now: Instant) -> Self {
        Self {
            rendition: Rendition::First,
            bandwidth: None,
            heard: None,
            beside: None,
            limit: None,
            knee: None,
            shortage: None,
            doubted: None,
            lowered: now,
            beyond: BEYOND,
            retry: RETRY,
            retry_at: now,
            probe: None,
            probed: None,
            probe_again: None,
            moved: now,
            on_trial: false,
            tried: false,
            before_trial: None,
            thinned: None,
            paced: None,
            lossy: None,
            leaky: None,
            loss: 0.0,
            lost: None,
            sent: VecDeque::new(),
        }
    }

    /// The least that was measured lately. A keyframe is sent in one burst, which the receiver, that looks back from a moment
    /// ago, cannot have counted yet: as long as that, it is not missing.
    pub fn steadily(&mut self, sent: u64, now: Instant) -> f64 {
        let is_old = |(at, _): &(Instant, u64)| now.saturating_duration_since(*at) > COUNTED_WITHIN;
        while self.sent.front().is_some_and(is_old) {
            self.sent.pop_front();
        }
        self.sent.push_back((now, sent));
        let least = self.sent.iter().map(|(_, sent)| *sent).min();
        least.unwrap_or(sent) as f64
    }

    /// An estimate that nothing follows from: the next is compared with it.
    pub fn overhears(&mut self, bandwidth: Option<u64>) {
        self.bandwidth = bandwidth.or(self.bandwidth);
    }

    /// The viewer's estimate of what comes through, in bit/s.
    pub fn estimates(&mut self, bandwidth: u64, sent: Sent, now: Instant) {
        let falls = match self.bandwidth.replace(bandwidth) {
            Some(before) => fell(bandwidth, before),
            None => (bandwidth as f64) < sent.picture * FIRST_ESTIMATE,
        };
        self.heard = Some(now);
        self.beside = sent.measured.then_some(sent.beside);
        let bandwidth = bandwidth as f64;
        // While a shortage lasts, it is said of more than what is sent by now.
        let lasts = self.is_short(now);
        let carried = self.plausible(bandwidth * SHARE, sent, now);
        let arrived = (bandwidth / REACTION).max(carried);
        let falls = falls && (lasts || bandwidth <= sent.picture);
        let missing = sent.picture - arrived;
        let shortage = self.shortage.filter(|_| lasts).map(|it| it.cause.began);
        let onset = shortage.or(self.doubted.map(|it| it.since));
        // Where packets are missed, that tells it better.
        let is_counted = lasts && self.shortage.is_some_and(|it| it.cause.counted);
        let grows = onset.filter(|_| falls && !is_counted);
        let by_now = grows.and_then(|onset| onset.arrives_by_now(missing, sent, now));
        // The estimate will come down to that; whether to less than the smallest picture is for the estimate to say.
        let arrived = by_now.map_or(arrived, |by_now| by_now.max(sent.least));
        let carried = by_now.map_or(carried, |by_now| {
            carried.min((by_now * SHARE).max(sent.least))
        });
        // One that does not fall is of what arrived when it last did.
        let loses = self.loses_some(now) || (falls && arrived < sent.picture * MOST_ARRIVES);
        let began = onset.unwrap_or(Onset { at: now, missing });
        let doubt = Doubt {
            since: began,
            lowest: bandwidth,
        };
        let overflows = self.loss > OVERFLOWS;
        if (lasts && falls) || self.is_short_for_certain(falls, loses, doubt, now) {
            let steep = (falls && arrived < sent.picture * STEEP) || overflows;
            let scale = if self.loses_some(now) {
                1.0
            } else {
                sent.scale()
            };
            let cause = Cause {
                overflows,
                steep: steep.then_some(sent.steep()),
                ..Cause::since(began)
            };
            self.too_much(cause, arrived * scale, carried * scale, sent, now);
        } else if sent.is_plainly_more_than(bandwidth) && overflows {
            // An estimate that is far below what is sent has no need to fall.
            let cause = Cause {
                overflows,
                steep: Some(sent.steep()),
                ..Cause::since(began)
            };
            let arrived = sent.picture * (1.0 - self.loss);
            self.too_much(cause, arrived, carried, sent, now);
        } else if sent.is_plainly_more_than(bandwidth) {
            // Of so little an estimator learns nothing; while none of it is lost, it is no reason to give less for ever.
            if self.loses_some(now) || sent.picture > sent.least * 2.0 {
                self.stays_short(now);
            }
            if self.fails_its_trial(bandwidth, now) {
                self.too_much(Cause::at(now), sent.picture, carried, sent, now);
            }
        }
    }

    /// Of little that is sent an estimator learns little, and where the receiver is busy its delays are its own: without
    /// a packet lost, nobody is taken to be worse off than what the smallest picture needs at least.
    fn plausible(&self, carried: f64, sent: Sent, now: Instant) -> f64 {
        carried.max(if self.loses_some(now) {
            0.0
        } else {
            sent.least
        })
    }

    fn loses_some(&self, now: Instant) -> bool {
        self.lost
            .is_some_and(|at| now.saturating_duration_since(at) < LOSS_TELLS)
    }

    /// Whether what speaks of a shortage is the link and not the receiver itself. `loses`: there is no doubt about that.
    fn is_short_for_certain(
        &mut self,
        falls: bool,
        loses: bool,
        latest: Doubt,
        now: Instant,
    ) -> bool {
        let doubt = match self.doubted.take() {
            None if !falls => return false,
            None => latest,
            // It was for a moment.
            Some(doubt) if !falls && latest.lowest > doubt.lowest * RECOVERS => return false,
            Some(doubt) => Doubt {
                lowest: doubt.lowest.min(latest.lowest),
                ..doubt
            },
        };
        let certain = loses || now.saturating_duration_since(doubt.since.at) >= GOES_ON;
        if !certain {
            self.doubted = Some(doubt);
        }
        certain
    }

    /// The viewer's report of a share of packets lost, 0 to 1.
    pub fn reports(&mut self, lost: f64, sent: Sent, now: Instant) {
        if lost > SOME_LOST {
            self.lost = Some(now);
        }
        self.loss = lost;
        lasts_since(&mut self.lossy, lost > MUCH_LOST, now);
        lasts_since(&mut self.leaky, lost > SOME_LEFT_OUT, now);
        let for_long = |since: Option<Instant>, long| {
            since.is_some_and(|at| now.saturating_duration_since(at) >= long)
        };
        // Of one report alone a radio may be the reason that was away for a moment.
        let much = for_long(self.lossy, MUCH_LOST_FOR);
        let some = for_long(self.leaky, SOME_LEFT_OUT_FOR)
            && self
                .bandwidth
                .is_some_and(|bandwidth| sent.is_plainly_more_than(bandwidth as f64));
        if much || some {
            self.loses(sent, lost, now);
        }
    }

    /// So many bit/s come out of a queue on its way, and plainly more is sent. A radio may be the reason, for a moment; an estimate
    /// falls later: it is of the last second.
    pub fn carries(&mut self, carried: u64, sent: Sent, now: Instant) {
        let arrived = (carried as f64).min(sent.picture);
        let cause = Cause {
            steep: (arrived < sent.steep()).then_some(sent.steep()),
            counted: true,
            ..Cause::at(now)
        };
        self.is_sent_more_than(arrived, cause, sent, now);
    }

    /// A queue on its way drops this share of what it is sent, 0 to 1. An estimate falls later: it is of the last second.
    pub fn exceeds(&mut self, share: f64, sent: Sent, now: Instant) {
        let arrived = sent.picture * (1.0 - share);
        let cause = Cause {
            steep: (arrived < sent.picture * STEEP).then_some(sent.steep()),
            overflows: true,
            counted: true,
            ..Cause::at(now)
        };
        self.is_sent_more_than(arrived, cause, sent, now);
    }

    /// Whether what arrives is less than the smallest picture is for the estimate to say.
    fn is_sent_more_than(&mut self, arrived: f64, cause: Cause, sent: Sent, now: Instant) {
        let carried = (arrived * SHARE).max(sent.least);
        self.too_much(cause, arrived, carried, sent, now);
    }

    /// More was sent than its way carries: `arrived` bit/s of picture came through at most, `carried` do for certain.
    fn too_much(&mut self, cause: Cause, arrived: f64, carried: f64, sent: Sent, now: Instant) {
        match &mut self.shortage {
            Some(shortage) if now.saturating_duration_since(shortage.last) < SAME_SHORTAGE => {
                shortage.goes_on(cause, now);
            }
            before => {
                self.beyond = match before {
                    Some(before) if now.saturating_duration_since(before.last) < BEYOND_MAX * 2 => {
                        (self.beyond * 2).min(BEYOND_MAX)
                    }
                    _ => BEYOND,
                };
                self.knee = None;
                *before = Some(Shortage { cause, last: now });
            }
        }
        self.knee = Some(self.knee.map_or(arrived, |knee| knee.min(arrived)));
        self.lower(carried, sent, now);
    }

    /// The estimate of before is far below what is sent by now, and does not grow: were there more room, it would, by 8 %
    /// a second. It does not fall either where what arrives is more than it.
    fn fails_its_trial(&self, bandwidth: f64, now: Instant) -> bool {
        let before = self.before_trial.map(|before| before as f64);
        self.on_trial
            && now.saturating_duration_since(self.moved) >= GROWS_WITHIN
            && before.is_some_and(|before| bandwidth < before * GROWS)
    }

    /// The estimate does not fall any more, and is less than what is sent.
    fn stays_short(&mut self, now: Instant) {
        if let Some(shortage) = &mut self.shortage
            && now.saturating_duration_since(shortage.last) < LOSS_AFTER
            && now.saturating_duration_since(shortage.cause.began.at) >= STAYS
        {
            shortage.last = now;
        }
    }

    /// A good share is lost, for more than a moment.
    fn loses(&mut self, sent: Sent, lost: f64, now: Instant) {
        let carried = sent.picture * (1.0 - lost);
        match &mut self.shortage {
            // Of one that is known; its losses come later than its delays, and while they last it does.
            Some(shortage) if now.saturating_duration_since(shortage.last) < LOSS_AFTER => {
                shortage.last = now;
                if now.saturating_duration_since(self.lowered) >= LOWERED_FOR {
                    self.lower(carried, sent, now);
                }
            }
            _ => {
                let cause = Cause {
                    loss: true,
                    ..Cause::at(now)
                };
                self.too_much(cause, sent.picture, carried, sent, now);
            }
        }
    }

    /// Never to nothing: from there no growth leads back, and whatever a viewer says, it is no more than its word.
    fn lower(&mut self, carried: f64, sent: Sent, now: Instant) {
        let carried = carried.max(sent.least * LEAST);
        self.lowered = now;
        self.limit = Some(self.limit.map_or(carried, |limit| limit.min(carried)));
    }

    /// What of a picture it can be sent at the moment, in bit/s; `most` is what its rendition is encoded at, at most.
    pub fn takes(&self, most: f64, now: Instant) -> Option<f64> {
        self.limit
            .map(|limit| match (self.drains(now), self.rendition) {
                (false, _) => limit,
                (true, Rendition::First) => limit * DRAIN,
                // How far the estimate will fall is not known yet: a small picture that comes through is what is wanted.
                (true, Rendition::Second) => limit.min(most) * DRAIN_SMALL,
            })
    }

    /// How fast a picture of `encoded` bit/s is sent, in bit/s; `None`: as it comes. `small` is what the second rendition is
    /// encoded at, at most.
    pub fn pace(&self, encoded: f64, small: f64, now: Instant) -> Option<f64> {
        let probed = f64::from(self.probed.unwrap_or(0));
        let drains = self.drains(now) && self.rendition == Rendition::Second;
        self.limit.map(|limit| match drains {
            // A queue may be full, and would drop what comes faster than it empties; but the keyframe that ends a freeze
            // is not sent much more slowly than that either, whatever little is encoded meanwhile.
            true => (limit.min(small) * EMPTIES).max(encoded * 1.1) + probed,
            // Not much faster than it is made: what a connection carries is known only roughly.
            false => (limit.min(encoded * 1.2) + probed) * HEADROOM,
        })
    }

    /// It is given less than it carries, for what waits along the way.
    pub fn drains(&self, now: Instant) -> bool {
        self.quiet(now).is_some_and(|quiet| quiet < DRAINS)
    }

    /// It is sent the second rendition from now on.
    pub fn move_down(&mut self, now: Instant) {
        let stayed = now.saturating_duration_since(self.moved);
        self.retry = match self.tried {
            true if stayed < RETRY_MAX => (self.retry * 2).min(RETRY_MAX),
            _ => RETRY,
        };
        self.on_trial = false;
        self.rendition = Rendition::Second;
        self.moved = now;
        self.retry_at = now + self.retry;
    }

    /// It is sent the first rendition from now on, and `limit` bit/s of it are not too much; `None`: all.
    pub fn try_first(&mut self, limit: Option<f64>, now: Instant) {
        self.rendition = Rendition::First;
        self.probe = None;
        self.probe_again = None;
        self.moved = now;
        self.on_trial = true;
        self.tried = true;
        self.before_trial = self.bandwidth;
        self.limit = limit;
    }

    /// It is sent ever more than its picture of so many bit/s, up to `target`, before it is sent a better one.
    pub fn start_probe(&mut self, picture: f64, target: f64, now: Instant) {
        self.probe = Some(Probe::new(picture, target, self.word(), now));
    }

    fn word(&self) -> Word {
        let estimate = self.bandwidth.map(|bandwidth| bandwidth as f64);
        Word {
            estimate: estimate.zip(self.heard),
            beside: self.beside,
        }
    }

    /// What was just said of its connection was said of its probe as well.
    pub fn judge_probe(&mut self, now: Instant) {
        let is_short = self.shortage.is_some_and(|shortage| shortage.last == now);
        let is_doubted = self.doubted.is_some();
        let outcome = self.probe.as_mut().map(|probe| match is_short {
            true => Outcome::Fails,
            false if is_doubted => probe.doubt(now),
            false => Outcome::Open,
        });
        if outcome == Some(Outcome::Fails) {
            self.fail_probe(now);
        }
    }

    /// One step of its probe towards `target`, beside a picture of so many bit/s; whether the better picture
    /// is to be tried now.
    pub fn step_probe(&mut self, picture: f64, target: f64, now: Instant) -> bool {
        let word = self.word();
        let Some(probe) = &mut self.probe else {
            return false;
        };
        probe.aim(target);
        match probe.step(picture, word, now) {
            // As without a probe: what comes of a try is seen by trying.
            Outcome::Fits | Outcome::Mute => true,
            Outcome::Open => false,
            Outcome::Fails => {
                self.fail_probe(now);
                false
            }
        }
    }

    fn fail_probe(&mut self, now: Instant) {
        let wait = self.probe_again.map_or(RETRY, |wait| wait * 2);
        let wait = wait.min(PROBE_AGAIN_MAX);
        self.probe = None;
        self.probe_again = Some(wait);
        self.retry_at = now + wait;
    }

    /// Nothing that it was tried with has failed.
    pub fn is_untried(&self) -> bool {
        self.retry == RETRY && self.probe_again.is_none()
    }

    /// Nothing went wrong lately.
    pub fn is_calm(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.moved) >= SETTLES
            && self.quiet(now).is_none_or(|quiet| quiet >= SETTLES)
    }

    /// Something is amiss at this very moment.
    pub fn is_short(&self, now: Instant) -> bool {
        self.quiet(now).is_some_and(|quiet| quiet < SAME_SHORTAGE)
    }

    /// How long ago something was amiss.
    fn quiet(&self, now: Instant) -> Option<Duration> {
        self.shortage
            .map(|shortage| now.saturating_duration_since(shortage.last))
    }

    /// One step up, where nothing speaks against it.
    pub fn grow(&mut self, first: f64, second: f64, now: Instant) {
        let stays = now.saturating_duration_since(self.moved);
        if self.on_trial && stays >= TRIAL && self.quiet(now).is_none_or(|quiet| quiet >= TRIAL) {
            self.on_trial = false;
        }
        let Some(limit) = self.limit else { return };
        let quiet = self.quiet(now).unwrap_or(Duration::MAX);
        if quiet < CALM {
            return;
        }
        let near = self.knee.is_some_and(|knee| limit > knee * NEAR.0);
        if near && quiet < self.beyond {
            return;
        }
        let grown = limit * if near { CAREFUL_GROWTH } else { GROWTH };
        if self.knee.is_some_and(|knee| grown > knee * NEAR.1) {
            self.knee = None;
        }
        self.limit = match self.rendition {
            Rendition::First => (grown < first).then_some(grown),
            // More than it is sent at most has not been tried.
            Rendition::Second => Some(grown.min(second).max(limit)),
        };
    }
}

/// Since when something has been so without a break.
fn lasts_since(since: &mut Option<Instant>, is_so: bool, now: Instant) {
    *since = is_so.then(|| since.unwrap_or(now));
}
