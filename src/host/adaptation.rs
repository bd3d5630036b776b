//! Which rendition each viewer is sent, and at which bitrate each is encoded. Pure: the time is an argument.
//!
//! The picture is encoded once for all. What a viewer's connection carries is told by the viewer itself
//! ([`crate::media::rtcp`]), and answered, in this order:
//!
//! 1. The first rendition's bitrate follows the best of its viewers, and those who are nearly as well off: whoever can
//!    take more is never given less for the sake of one who cannot.
//! 2. Who cannot take it is sent the second rendition, the same picture made smaller; its bitrate follows the slowest of
//!    its viewers.
//! 3. Who cannot take even that at its lowest is given fewer pictures, in whole groups.
//!
//! Down at once: an estimate that falls says what the connection carries. Up by trying: an estimate that rises says
//! little more than that nothing went wrong with what was sent. Who is to be sent a better picture is first sent as much
//! more beside the one it has, and then the picture itself; either may fail, and doubles the wait for the next.

mod probe;
mod shortage;
mod watcher;

pub use watcher::{RETRY, RETRY_MAX, TRIAL};

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use self::watcher::{Sent, Watcher};
use crate::{
    config::Config,
    media::{BranchId, Rendition, rtcp::Way},
};

/// Viewers of the first rendition who can take this share of what the best can are waited for, the others are not.
const NEARLY: f64 = 0.8;
/// What is larger than the present picture by more than this share is probed for.
const NO_GREAT_STEP: f64 = 1.3;
/// For so long receivers' estimates may still be of the slate.
const REMEMBERS: Duration = Duration::from_secs(4);
/// For so long a second rendition that could not be encoded is done without.
const SECOND_AGAIN: Duration = Duration::from_secs(60);
/// How often what may grow does.
pub const STEP: Duration = Duration::from_millis(500);
/// What may be encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    /// Bit/s, the least and the most.
    pub first: (u32, u32),
    /// Of the second rendition, where there is one.
    pub second: Option<(u32, u32)>,
}

/// Why a viewer is sent another rendition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Its connection does not carry the one it had.
    Bandwidth,
    /// Too much of what it is sent is lost.
    Loss,
    /// It may carry the better one by now.
    Retry,
}

impl Why {
    pub const ALL: [Self; 3] = [Self::Bandwidth, Self::Loss, Self::Retry];

    /// Stable, for the journal and the page.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bandwidth => "bandwidth",
            Self::Loss => "loss",
            Self::Retry => "retry",
        }
    }
}

/// What is to be done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Send this branch that rendition, from its next keyframe on.
    Show {
        branch: BranchId,
        rendition: Rendition,
        why: Why,
    },
    /// Encode at this bitrate, in bit/s.
    Encode { rendition: Rendition, bitrate: u32 },
    /// Let this branch's packets follow each other at so many bit/s; `None`: as they come.
    Pace {
        branch: BranchId,
        bitrate: Option<u32>,
    },
    /// Send this branch so many bit/s beside its picture, to see whether they come through; `None`: nothing.
    Probe {
        branch: BranchId,
        bitrate: Option<u32>,
    },
    /// Send this branch no more than so many bit/s, in whole groups of pictures; `None`: everything.
    Thin {
        branch: BranchId,
        bitrate: Option<u32>,
    },
}

/// Why viewers' words say nothing.
#[derive(Debug, Clone, Copy)]
enum Deaf {
    WhileSlate,
    Until(Instant),
}

/// All viewers' connections, and what follows from them.
#[derive(Debug)]
pub struct Adaptation {
    /// What the configuration says; see [`Adaptation::rates`].
    asked: Rates,
    /// Encoders can be told another bitrate while they run.
    adjustable: bool,
    /// The picture's profile can encode a second rendition.
    has_second: bool,
    first: u32,
    second: u32,
    watchers: BTreeMap<BranchId, Watcher>,
    /// Viewers' words say nothing of their connections.
    deaf: Option<Deaf>,
    /// When a second rendition that could not be encoded may be asked for again.
    second_again: Option<Instant>,
    next_step: Option<Instant>,
    decisions: VecDeque<Decision>,
}

impl From<&Config> for Rates {
    fn from(config: &Config) -> Self {
        Self {
            first: (config.encoder.min_bitrate, config.encoder.bitrate),
            second: config.encoder.second_bitrates(),
        }
    }
}

impl Adaptation {
    pub fn new(rates: Rates) -> Self {
        Self {
            asked: rates,
            adjustable: true,
            has_second: true,
            first: rates.first.1,
            second: rates.second.map_or(0, |(_, most)| most),
            watchers: BTreeMap::new(),
            deaf: None,
            second_again: None,
            next_step: None,
            decisions: VecDeque::new(),
        }
    }

    /// Whether encoders can be told another bitrate while they run. Where not, each rendition has the one that it has.
    pub fn adjustable(&mut self, adjustable: bool, now: Instant) {
        if std::mem::replace(&mut self.adjustable, adjustable) != adjustable {
            self.settle(now);
        }
    }

    /// Whether the picture's profile can encode a second rendition beside the first.
    pub fn has_second(&mut self, has_second: bool, now: Instant) {
        if std::mem::replace(&mut self.has_second, has_second) != has_second {
            if !has_second {
                self.show_all_the_first();
            }
            self.settle(now);
        }
    }

    /// What can be encoded at present.
    fn rates(&self) -> Rates {
        let possible = |(least, most)| (if self.adjustable { least } else { most }, most);
        let is_possible = self.has_second && self.second_again.is_none();
        let second = self.asked.second.filter(|_| is_possible);
        Rates {
            first: possible(self.asked.first),
            second: second.map(possible),
        }
    }

    /// The second rendition cannot be encoded: for a while there is none, and who was sent it is sent what fits of the
    /// first.
    pub fn without_second(&mut self, now: Instant) {
        self.second_again = Some(now + SECOND_AGAIN);
        self.show_all_the_first();
        self.settle(now);
    }

    fn show_all_the_first(&mut self) {
        for (branch, watcher) in &mut self.watchers {
            if watcher.rendition == Rendition::Second {
                watcher.rendition = Rendition::First;
                self.decisions.push_back(Decision::Show {
                    branch: *branch,
                    rendition: Rendition::First,
                    why: Why::Retry,
                });
            }
            watcher.on_trial = false;
            watcher.probe = None;
        }
    }

    /// Whether viewers are shown the camera's picture. Of a slate of two pictures a second an estimator learns that little
    /// comes through, and for a moment afterwards it remembers.
    pub fn camera(&mut self, live: bool, now: Instant) {
        self.deaf = match (live, self.deaf) {
            (false, _) => Some(Deaf::WhileSlate),
            (true, Some(Deaf::WhileSlate)) => Some(Deaf::Until(now + REMEMBERS)),
            (true, deaf) => deaf,
        };
        if !live {
            for watcher in self.watchers.values_mut() {
                watcher.probe = None;
            }
            self.settle(now);
        }
    }

    fn is_deaf(&self, now: Instant) -> bool {
        match self.deaf {
            None => false,
            Some(Deaf::WhileSlate) => true,
            Some(Deaf::Until(end)) => now < end,
        }
    }

    /// To be drained after every input.
    pub fn next_decision(&mut self) -> Option<Decision> {
        self.decisions.pop_front()
    }

    /// When [`Adaptation::tick`] is to be called next.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.next_step
    }

    /// What this branch is sent.
    pub fn rendition(&self, branch: BranchId) -> Option<Rendition> {
        self.watchers.get(&branch).map(|watcher| watcher.rendition)
    }

    /// Whether the second rendition is needed: by those who are sent it, or those who may be back in a moment.
    pub fn wants_second(&self) -> bool {
        let mut watchers = self.watchers.values();
        watchers.any(|watcher| watcher.rendition == Rendition::Second || watcher.on_trial)
    }

    /// What this rendition is encoded at, in bit/s.
    pub fn bitrate(&self, rendition: Rendition) -> u32 {
        match rendition {
            Rendition::First => self.first,
            Rendition::Second => self.second,
        }
    }

    /// What is encoded for somebody, in bit/s. The first rendition is ready for whoever comes.
    pub fn bitrates(&self) -> impl Iterator<Item = (Rendition, u32)> {
        let second = self.wants_second().then_some(Rendition::Second);
        let renditions = [Some(Rendition::First), second].into_iter().flatten();
        renditions.map(|rendition| (rendition, self.bitrate(rendition)))
    }

    /// Somebody is sent a picture from now on: the first rendition. Again does nothing.
    pub fn joined(&mut self, branch: BranchId, now: Instant) {
        let newcomer = || Watcher::new(now);
        self.watchers.entry(branch).or_insert_with(newcomer);
        self.settle(now);
    }

    /// A branch is closed.
    pub fn gone(&mut self, branch: BranchId, now: Instant) {
        if self.watchers.remove(&branch).is_some() {
            self.settle(now);
        }
    }

    /// A viewer has said what its connection carries.
    pub fn way(&mut self, branch: BranchId, way: Way, now: Instant) {
        let (rates, deaf) = (self.rates(), self.is_deaf(now));
        let rendition = self.rendition(branch);
        let encoded = rendition.map(|rendition| f64::from(self.bitrate(rendition)));
        let (Some(encoded), Some(watcher)) = (encoded, self.watchers.get_mut(&branch)) else {
            return;
        };
        if deaf {
            return watcher.overhears(way.bandwidth);
        }
        let beside = watcher.probed.map_or(0.0, f64::from);
        let told = beside
            + watcher
                .thinned
                .map_or(encoded, |thin| encoded.min(f64::from(thin)));
        let sent = Sent {
            measured: way.sent.is_some(),
            told,
            // What it was to be, where nothing was measured.
            picture: way.sent.map_or(told, |sent| watcher.steadily(sent, now)),
            beside: way.beside as f64,
            least: f64::from(rates.second.unwrap_or(rates.first).0),
        };
        if let Some(carried) = way.carries {
            watcher.carries(carried, sent, now);
        }
        if let Some(share) = way.excess {
            watcher.exceeds(share, sent, now);
        }
        if let Some(lost) = way.loss {
            watcher.reports(lost, sent, now);
        }
        if let Some(bandwidth) = way.bandwidth {
            watcher.estimates(bandwidth, sent, now);
        }
        watcher.judge_probe(now);
        self.settle(now);
    }

    /// Time passes: what may grow does.
    pub fn tick(&mut self, now: Instant) {
        if self.next_step.is_none_or(|at| now < at) {
            return;
        }
        self.next_step = None;
        self.second_again = self.second_again.filter(|at| now < *at);
        let rates = self.rates();
        let highest = f64::from(rates.first.1);
        let second = rates.second.map_or(0.0, |(_, most)| f64::from(most));
        for watcher in self.watchers.values_mut() {
            watcher.grow(highest, second, now);
        }
        self.try_again(now);
        self.settle(now);
    }

    /// Tries whoever has waited long enough with more. One at a time: two who share a way would take each other's.
    fn try_again(&mut self, now: Instant) {
        if self.is_deaf(now) {
            return;
        }
        let picture = f64::from(self.second);
        let probed = self.watchers.iter().find(|(_, it)| it.probe.is_some());
        if let Some(branch) = probed.map(|(branch, _)| *branch) {
            let target = self.first_for(branch);
            let watcher = self.watchers.get_mut(&branch);
            if watcher.is_some_and(|it| it.step_probe(picture, target, now)) {
                self.move_up(branch, now);
            }
            return;
        }
        let busy = self.watchers.values().any(|watcher| watcher.on_trial);
        let lowest = f64::from(self.rates().first.0);
        let empty = self.on(Rendition::First).next().is_none();
        let ready = |watcher: &Watcher| {
            // Alone, it is given what it carries, unless that went wrong before; beside others it has to take what
            // they do.
            let fits =
                empty && watcher.is_untried() && watcher.limit.is_none_or(|limit| limit >= lowest);
            watcher.rendition == Rendition::Second
                && (fits || now >= watcher.retry_at)
                && watcher.is_calm(now)
                && watcher.thinned.is_none()
        };
        // Each in its turn: a probe that fails puts its viewer behind the others.
        let waiting = self.watchers.iter().filter(|(_, it)| ready(it));
        let longest = waiting.min_by_key(|(_, it)| it.retry_at);
        let Some(branch) = longest.map(|(branch, _)| *branch).filter(|_| !busy) else {
            return;
        };
        let target = self.first_for(branch);
        if target <= picture * NO_GREAT_STEP {
            self.move_up(branch, now);
        } else if let Some(watcher) = self.watchers.get_mut(&branch) {
            watcher.start_probe(picture, target, now);
        }
    }

    /// What the first rendition would be encoded at with this one among its viewers, in bit/s: what it carries itself, where it
    /// is alone.
    fn first_for(&self, branch: BranchId) -> f64 {
        if self.on(Rendition::First).next().is_some() {
            return f64::from(self.first);
        }
        let (least, most) = self.rates().first;
        let (least, most) = (f64::from(least), f64::from(most));
        let limit = self.watchers.get(&branch).and_then(|it| it.limit);
        limit.map_or(most, |limit| limit.clamp(least, most))
    }

    fn move_up(&mut self, branch: BranchId, now: Instant) {
        // It is taken to carry what it was probed for, and no more: the others need not make room.
        let target = self.first_for(branch);
        let most = f64::from(self.rates().first.1);
        let limit = (target < most).then_some(target);
        if let Some(watcher) = self.watchers.get_mut(&branch) {
            watcher.try_first(limit, now);
        }
        // The keyframe that it begins with is of the right size then.
        self.choose_rates(now);
        self.decisions.push_back(Decision::Show {
            branch,
            rendition: Rendition::First,
            why: Why::Retry,
        });
    }

    /// Those who are sent this rendition.
    fn on(&self, rendition: Rendition) -> impl Iterator<Item = &Watcher> {
        let watchers = self.watchers.values();
        watchers.filter(move |watcher| watcher.rendition == rendition)
    }

    /// Draws the conclusions.
    fn settle(&mut self, now: Instant) {
        let moved = match self.rates().second {
            Some(_) => self.move_down(now),
            None => Vec::new(),
        };
        // The keyframe that a viewer begins with is of the right size then.
        self.choose_rates(now);
        self.decisions.extend(moved);
        self.thin_out();
        self.probe();
        self.pace(now);
        let mut watchers = self.watchers.values();
        let grows = watchers.any(|watcher| watcher.limit.is_some())
            || self.wants_second()
            || self.second_again.is_some();
        self.next_step = grows.then(|| self.next_step.unwrap_or(now + STEP));
    }

    /// What the best of the first rendition's viewers can take, in bit/s.
    fn best(&self) -> f64 {
        let (least, most) = self.rates().first;
        let (least, most) = (f64::from(least), f64::from(most));
        self.on(Rendition::First)
            .map(|watcher| watcher.limit.unwrap_or(most).clamp(least, most))
            .fold(0.0, f64::max)
    }

    /// Sends the second rendition to whoever cannot take what the first is encoded at for the best of its viewers.
    fn move_down(&mut self, now: Instant) -> Vec<Decision> {
        let mut moved = Vec::new();
        let needed = (self.best() * NEARLY).max(f64::from(self.rates().first.0));
        for (branch, watcher) in &mut self.watchers {
            if watcher.rendition == Rendition::Second {
                continue;
            }
            let shortage = watcher.shortage;
            let steep = shortage.filter(|_| watcher.is_short(now));
            let steep = steep.and_then(|shortage| shortage.cause.steep);
            let needed = steep.map_or(needed, |steep| needed.max(steep));
            let Some(limit) = watcher.limit.filter(|limit| *limit < needed) else {
                continue;
            };
            // What is far too much needs no second look.
            let certain =
                limit < needed / 2.0 || shortage.is_some_and(|it| it.lasts() || it.cause.loss);
            if !certain {
                continue;
            }
            watcher.move_down(now);
            let why = match shortage {
                Some(shortage) if shortage.cause.loss => Why::Loss,
                _ => Why::Bandwidth,
            };
            moved.push(Decision::Show {
                branch: *branch,
                rendition: Rendition::Second,
                why,
            });
        }
        moved
    }

    fn choose_rates(&mut self, now: Instant) {
        let (rates, best) = (self.rates(), self.best());
        // Who has never been short of anything is given everything.
        let limits = self.on(Rendition::First).map(|watcher| watcher.limit);
        let limits: Option<Vec<f64>> = limits.collect();
        let first = limits.map_or(best, |limits| {
            let nearly = limits.into_iter().filter(|limit| *limit >= best * NEARLY);
            let first = self.on(Rendition::First);
            let present = first.filter_map(|watcher| watcher.takes(best, now));
            nearly.fold(present.fold(0.0, f64::max), f64::min)
        });
        if best > 0.0 {
            self.encode(Rendition::First, first, rates.first);
        }
        if let Some(bounds) = rates.second
            && self.on(Rendition::Second).next().is_some()
        {
            let most = f64::from(bounds.1);
            let second = self.on(Rendition::Second);
            let takes = second.filter_map(|watcher| watcher.takes(most, now));
            let second = takes.fold(most, f64::min);
            self.encode(Rendition::Second, second, bounds);
        }
    }

    /// An encoder is not disturbed for less than a twentieth, except to reach a bound.
    fn encode(&mut self, rendition: Rendition, bitrate: f64, (least, most): (u32, u32)) {
        let bitrate = whole(bitrate).clamp(least, most);
        let now = match rendition {
            Rendition::First => &mut self.first,
            Rendition::Second => &mut self.second,
        };
        let little = now.abs_diff(bitrate) < *now / 20;
        if *now == bitrate || (little && bitrate != least && bitrate != most) {
            return;
        }
        *now = bitrate;
        self.decisions
            .push_back(Decision::Encode { rendition, bitrate });
    }

    /// Whoever is short of something is sent nothing in bursts.
    fn pace(&mut self, now: Instant) {
        let most = self.rates().second.map_or(0, |(_, most)| most);
        for (branch, watcher) in &mut self.watchers {
            let encoded = match watcher.rendition {
                Rendition::First => self.first,
                Rendition::Second => self.second,
            };
            let bitrate = watcher.pace(f64::from(encoded), f64::from(most), now);
            let bitrate = bitrate.map(whole);
            if differs(bitrate, watcher.paced) {
                watcher.paced = bitrate;
                self.decisions.push_back(Decision::Pace {
                    branch: *branch,
                    bitrate,
                });
            }
        }
    }

    /// What is sent beside the picture.
    fn probe(&mut self) {
        let picture = f64::from(self.second);
        for (branch, watcher) in &mut self.watchers {
            let bitrate = watcher.probe.map(|probe| whole(probe.beside(picture)));
            let bitrate = bitrate.filter(|bitrate| *bitrate > 0);
            if bitrate != watcher.probed {
                watcher.probed = bitrate;
                self.decisions.push_back(Decision::Probe {
                    branch: *branch,
                    bitrate,
                });
            }
        }
    }

    /// Whoever cannot take the last rendition at its lowest.
    fn thin_out(&mut self) {
        let last = match self.rates().second {
            Some(_) => Rendition::Second,
            None => Rendition::First,
        };
        let encoded = f64::from(self.bitrate(last));
        for (branch, watcher) in &mut self.watchers {
            let bitrate = watcher
                .limit
                .filter(|limit| watcher.rendition == last && *limit < encoded * NEARLY)
                .map(whole);
            if differs(bitrate, watcher.thinned) {
                watcher.thinned = bitrate;
                self.decisions.push_back(Decision::Thin {
                    branch: *branch,
                    bitrate,
                });
            }
        }
    }
}

/// By a tenth at least, or by being there at all.
fn differs(new: Option<u32>, old: Option<u32>) -> bool {
    match (new, old) {
        (Some(new), Some(old)) => new.abs_diff(old) >= (old / 10).max(1),
        _ => new != old,
    }
}

fn whole(bitrate: f64) -> u32 {
    // Floats saturate at the ends of the integers.
    bitrate as u32
}

#[cfg(test)]
mod links;
#[cfg(test)]
mod tests;
