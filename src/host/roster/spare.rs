//! Branches that are ready before their viewers come.
//!
//! The host offers, so nothing of an offer depends on who comes: pipeline, transport, offer, candidates and a place
//! on a TURN server can be there already, and a join is answered at once. What such a branch says of itself is
//! written down until somebody takes it.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::{BranchEvent, BranchId, End, Roster, Viewer};
use crate::{
    config::{Config, IceAuth, IceServer},
    host::{
        action::{Action, Report},
        viewer::{CANDIDATES_MAX, OFFER_WITHIN, REPEAT_AFTER, Unanswered},
    },
    media::Certificate,
    signaling::message::{StreamId, ViewerId},
};

/// So many branches of pages that left are kept for their return; the others close at once.
pub(super) const KEPT_MAX: usize = 4;
/// For so long what a STUN server said of the way out is taken for true: routers forget a way that nobody uses after
/// two to five minutes (RFC 4787 §4.3). Whoever is given one that is older is found all the same, mostly.
const LASTS: Duration = Duration::from_secs(300);
/// After one that came to nothing: so soon another is tried. What ails it would ail a viewer's as well, and is told
/// of there.
pub const TRY_AGAIN: Duration = Duration::from_secs(30);

/// How many are kept, and for how long one is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SparePlan {
    pub count: usize,
    /// `None`: until it is taken. What a STUN or TURN server gave it does not last for ever.
    pub lasts: Option<Duration>,
}

impl From<&Config> for SparePlan {
    fn from(config: &Config) -> Self {
        let ttl = |server: &IceServer| match server.auth {
            IceAuth::SharedSecret { ttl, .. } => ttl / 2,
            IceAuth::None | IceAuth::Static { .. } => LASTS,
        };
        let lasts = config.ice.servers.iter().map(ttl).min();
        Self {
            count: config.viewers.spare,
            lasts: lasts.map(|lasts| lasts.min(LASTS)),
        }
    }
}

/// Those that there are.
#[derive(Debug, Default)]
pub(super) struct Spares {
    plan: SparePlan,
    kept: VecDeque<Spare>,
    /// No other before this.
    not_before: Option<Instant>,
}

/// A branch that is nobody's yet.
#[derive(Debug)]
pub(super) struct Spare {
    pub branch: BranchId,
    /// What it has said so far, in order.
    pub said: Vec<BranchEvent>,
    offered: bool,
    /// `None`: it is good until it is taken.
    deadline: Option<Instant>,
    /// Of a page that left with an offer and may be back.
    kept: Option<KeptFor>,
}

#[derive(Debug)]
struct KeptFor {
    viewer: ViewerId,
    stream: StreamId,
    certificate: Certificate,
    /// How much of what was said it has been told.
    told: usize,
}

impl Spare {
    /// What its viewer has been told already, if it is kept for one, and the rest.
    pub fn hand_over(mut self) -> (Option<Unanswered>, Vec<BranchEvent>) {
        let Some(kept) = self.kept else {
            return (None, self.said);
        };
        let rest = self.said.split_off(kept.told);
        let unanswered = Unanswered {
            certificate: kept.certificate,
            said: self.said,
        };
        (Some(unanswered), rest)
    }
}

impl Spares {
    pub fn new(plan: SparePlan) -> Self {
        Self {
            plan,
            ..Self::default()
        }
    }

    pub fn len(&self) -> usize {
        self.kept.len()
    }

    fn for_anybody(&self) -> usize {
        self.kept
            .iter()
            .filter(|spare| spare.kept.is_none())
            .count()
    }

    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// When the roster has to look after them.
    pub fn deadline(&self, wanted: bool) -> Option<Instant> {
        let lacking = wanted && self.for_anybody() < self.plan.count;
        let again = self.not_before.filter(|_| lacking);
        let kept = self.kept.iter().filter_map(|spare| spare.deadline);
        kept.chain(again).min()
    }
}

impl Roster {
    /// Keeps so many branches ready for whoever comes next.
    pub fn with_spares(mut self, plan: SparePlan) -> Self {
        self.spares = Spares::new(plan);
        self
    }

    /// Opens what is missing. Not while anybody waits for a branch, nor where a viewer might need the room.
    pub(super) fn keep_spares(&mut self, now: Instant) {
        if self.spares.not_before.is_some_and(|at| now < at) {
            return;
        }
        self.spares.not_before = None;
        while self.wants_spares() && self.spares.for_anybody() < self.spares.plan.count {
            let branch = BranchId(self.next_branch);
            self.next_branch += 1;
            self.spares.kept.push_back(Spare {
                branch,
                said: Vec::new(),
                offered: false,
                deadline: Some(now + OFFER_WITHIN),
                kept: None,
            });
            let open = Action::OpenBranch(branch, Certificate::First);
            self.actions.push_back(open);
        }
    }

    /// Whether somebody may come who could take one.
    pub(super) fn wants_spares(&self) -> bool {
        let somebody_waits = self.viewers.values().any(|viewer| viewer.is_waiting());
        self.stream.is_some()
            && !self.going_down
            && !somebody_waits
            && self.viewers.len() < self.max
            && self.open() < self.max
    }

    /// The one that is ready for a newcomer, or nearest to it.
    pub(super) fn take_spare(&mut self) -> Option<Spare> {
        let free = |spare: &Spare| spare.kept.is_none();
        let kept = &self.spares.kept;
        let ready = kept.iter().position(|spare| free(spare) && spare.offered);
        let any = ready.or_else(|| kept.iter().position(free))?;
        self.spares.kept.remove(any)
    }

    /// The viewer leaves. Where it has an offer that it has not answered, that stays good for a moment: a page that is
    /// mounted twice leaves and is back at once, and answers what it was sent first.
    pub(super) fn leave(&mut self, id: &ViewerId, now: Instant) {
        let room = self.spares.len() - self.spares.for_anybody() < KEPT_MAX;
        let viewer = self.viewers.get_mut(id).filter(|_| room);
        let Some(unanswered) = viewer.and_then(Viewer::take_unanswered) else {
            self.end(id, End::Left.into(), now);
            return;
        };
        let Some(viewer) = self.remove(id, End::Left.into(), now) else {
            return;
        };
        self.spares.kept.push_back(Spare {
            branch: viewer.branch,
            offered: true,
            deadline: Some(now + REPEAT_AFTER),
            kept: Some(KeptFor {
                viewer: viewer.id,
                stream: viewer.stream,
                certificate: unanswered.certificate,
                told: unanswered.said.len(),
            }),
            said: unanswered.said,
        });
    }

    /// The branch that is kept for this viewer.
    pub(super) fn take_kept(&mut self, id: &ViewerId, stream: &StreamId) -> Option<Spare> {
        let its = |spare: &Spare| {
            let kept = spare.kept.as_ref();
            kept.is_some_and(|kept| kept.viewer == *id && kept.stream == *stream)
        };
        let at = self.spares.kept.iter().position(its)?;
        self.spares.kept.remove(at)
    }

    /// Writes down what a spare branch says. False where the branch is none.
    pub(super) fn spare_says(
        &mut self,
        branch: BranchId,
        event: &BranchEvent,
        now: Instant,
    ) -> bool {
        let lasts = self.spares.plan.lasts;
        let of_branch = |spare: &&mut Spare| spare.branch == branch;
        let Some(spare) = self.spares.kept.iter_mut().find(of_branch) else {
            return false;
        };
        match event {
            BranchEvent::Offer { .. } if !spare.offered => {
                spare.offered = true;
                spare.deadline = lasts.map(|lasts| now + lasts);
                spare.said.push(event.clone());
            }
            BranchEvent::Candidate(_) if spare.said.len() <= CANDIDATES_MAX => {
                spare.said.push(event.clone());
            }
            BranchEvent::Offer { .. } | BranchEvent::Candidate(_) | BranchEvent::Heard => {}
            _ => self.lose_spare(branch, event, now),
        }
        true
    }

    fn lose_spare(&mut self, branch: BranchId, event: &BranchEvent, now: Instant) {
        let why = format!("{event:?}");
        self.report(Report::SpareLost { branch, why });
        let free = |spare: &Spare| spare.branch == branch && spare.kept.is_none();
        if self.spares.kept.iter().any(free) {
            self.spares.not_before = Some(now + TRY_AGAIN);
        }
        self.discard_spares(|spare| spare.branch == branch, now);
        if *event == BranchEvent::Closed {
            self.closing.remove(&branch);
        }
    }

    /// What they offer holds no more.
    pub(super) fn discard_all_spares(&mut self, now: Instant) {
        self.discard_spares(|_| true, now);
    }

    /// Time passes: one that has not made its offer has failed, one that has is too old.
    pub(super) fn tick_spares(&mut self, now: Instant) {
        let late = |spare: &Spare| spare.deadline.is_some_and(|deadline| deadline <= now);
        if self
            .spares
            .kept
            .iter()
            .any(|spare| late(spare) && !spare.offered)
        {
            self.spares.not_before = Some(now + TRY_AGAIN);
        }
        self.discard_spares(late, now);
    }

    fn discard_spares(&mut self, which: impl Fn(&Spare) -> bool, now: Instant) {
        for spare in std::mem::take(&mut self.spares.kept) {
            if which(&spare) {
                self.close(spare.branch, now);
            } else {
                self.spares.kept.push_back(spare);
            }
        }
    }
}
