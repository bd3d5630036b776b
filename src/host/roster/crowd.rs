//! Who comes in when many are on their way in at once.
//!
//! Whoever joins costs a place, and soon a branch, before it has shown that it means to watch. So those who
//! have never watched get no more than a share of either, and one that leaves its offer unanswered makes way
//! for a newcomer long before its own deadline. A newcomer finds a place within seconds, whoever else is mute.

use super::{End, Ending, Instant, Refusal, Roster, Viewer, ViewerId};

/// Of viewers that have never watched, this share of the places may hold a branch at once: the rest of them waits.
/// Who came first goes first.
pub const HALF_OPEN_SHARE: usize = 2;
/// And never fewer than this.
pub const HALF_OPEN_LEAST: usize = 8;

/// One place of so many is kept free of viewers that have never watched, those that wait for a branch included.
pub const KEPT_SHARE: usize = 4;

/// How many that have never watched may hold branches on a host with `max` places.
pub(super) fn half_open_max(max: usize) -> usize {
    max.div_ceil(HALF_OPEN_SHARE).max(HALF_OPEN_LEAST)
}

/// How many that have never watched may hold places. A small host keeps none: there the mute make way only.
pub(super) fn newcomers_max(max: usize) -> usize {
    (max - max / KEPT_SHARE).max(HALF_OPEN_LEAST.min(max))
}

impl Roster {
    /// Why nobody can be given a place now.
    pub(super) fn no_place(&self) -> Option<Refusal> {
        let newcomers = self.viewers.values().filter(|one| !one.has_watched());
        if self.max > 0 && newcomers.count() >= self.newcomers_max {
            Some(Refusal::Busy)
        } else if self.viewers.len() >= self.max {
            Some(Refusal::Full { max: self.max })
        } else {
            None
        }
    }

    /// Who has left its offer unanswered for longest, if that is long enough to make way for another.
    pub(super) fn mute(&self, now: Instant) -> Option<ViewerId> {
        self.makes_way()
            .filter(|(at, _)| *at <= now)
            .min_by_key(|(at, viewer)| (*at, viewer.branch))
            .map(|(_, viewer)| viewer.id.clone())
    }

    /// Those who may have to make way, and when.
    fn makes_way(&self) -> impl Iterator<Item = (Instant, &Viewer)> {
        let viewers = self.viewers.values();
        viewers.filter_map(|viewer| Some((viewer.makes_way_at()?, viewer)))
    }

    /// When the next one has to make way for those who wait already.
    pub(super) fn pressure_deadline(&self) -> Option<Instant> {
        let pressed = self.is_pressed();
        self.makes_way().filter(|_| pressed).map(|(at, _)| at).min()
    }

    /// Newcomers wait for branches, and only other newcomers are in their way.
    fn is_pressed(&self) -> bool {
        let mut viewers = self.viewers.values();
        viewers.any(|viewer| viewer.is_waiting() && !viewer.has_watched())
            && self.open() < self.branches_max
            && self.is_crowded()
    }

    /// As many are on their way in as may be.
    pub(super) fn is_crowded(&self) -> bool {
        self.half_open() >= self.half_open_max
    }

    /// How many hold branches and have never watched.
    fn half_open(&self) -> usize {
        let viewers = self.viewers.values();
        viewers.filter(|viewer| viewer.is_half_open()).count()
    }

    /// It is told why: whoever is only slow may join again.
    pub(super) fn put_out(&mut self, id: &ViewerId, now: Instant) {
        if let Some(viewer) = self.viewers.get(id) {
            self.tell_refused(viewer.stream.clone(), id.clone(), Refusal::Busy);
        }
        let ending = Ending {
            end: End::NoAnswer,
            detail: Some("others were waiting".to_owned()),
        };
        self.end(id, ending, now);
    }

    /// Opens branches for those who wait, as far as there is room, or a mute one can make some; then for those who may come.
    pub(super) fn fill_room(&mut self, now: Instant) {
        self.open_branches(now);
        // Each turn ends one viewer and opens one branch.
        while self.is_pressed()
            && let Some(mute) = self.mute(now)
        {
            self.put_out(&mute, now);
            self.open_branches(now);
        }
        self.keep_spares(now);
    }

    /// First come first served. Who has watched before does not queue behind those who are only on their way in.
    fn open_branches(&mut self, now: Instant) {
        let mut half_open = self.half_open();
        for _ in self.open()..self.branches_max {
            let crowded = half_open >= self.half_open_max;
            let first = self
                .viewers
                .values_mut()
                .filter(|viewer| viewer.is_waiting() && (viewer.has_watched() || !crowded))
                .min_by_key(|viewer| viewer.branch);
            let Some(first) = first else {
                return;
            };
            first.open(now, &mut self.actions);
            half_open += usize::from(first.is_half_open());
        }
    }
}
