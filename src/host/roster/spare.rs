//! Branches that are ready before their viewers come.
//!
//! The host offers, so nothing of an offer depends on who comes: pipeline, transport, offer, candidates and a place
//! on a TURN server can be there already, and a join is answered at once. What such a branch says of itself is
//! written down until somebody takes it.

use std::time::{Duration, Instant};

use super::{BranchEvent, BranchId, Roster, Viewer};
use crate::{
    config::{Config, IceAuth, IceServer},
    host::{
        action::{Action, Report},
        viewer::{CANDIDATES_MAX, OFFER_WITHIN},
    },
    media::Certificate,
};

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
    ready: Vec<Spare>,
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
}

impl Spares {
    pub fn new(plan: SparePlan) -> Self {
        Self {
            plan,
            ..Self::default()
        }
    }

    pub fn len(&self) -> usize {
        self.ready.len()
    }

    /// When the roster has to look after them; `quiet`: nobody is on the way in any more then.
    pub fn deadline(&self, wanted: bool, quiet: Option<Instant>) -> Option<Instant> {
        let lacking = wanted && self.len() < self.plan.count;
        let again = self.not_before.max(quiet).filter(|_| lacking);
        let ready = self.ready.iter().filter_map(|spare| spare.deadline);
        ready.chain(again).min()
    }
}

impl Roster {
    /// Keeps so many branches ready for whoever comes next.
    pub fn with_spares(mut self, plan: SparePlan) -> Self {
        self.spares = Spares::new(plan);
        self
    }

    /// Opens what is missing. Not while anybody waits for a branch or is on the way in: on a slow machine that would be
    /// work at their cost. Nor where a viewer might need the room.
    pub(super) fn keep_spares(&mut self, now: Instant) {
        let at = self.spares.not_before.max(self.quiet_at());
        if at.is_some_and(|at| now < at) {
            return;
        }
        self.spares.not_before = None;
        while self.wants_spares() && self.spares.len() < self.spares.plan.count {
            let branch = BranchId(self.next_branch);
            self.next_branch += 1;
            self.spares.ready.push(Spare {
                branch,
                said: Vec::new(),
                offered: false,
                deadline: Some(now + OFFER_WITHIN),
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

    /// When nobody is on the way in any more, at the latest.
    pub(super) fn quiet_at(&self) -> Option<Instant> {
        let viewers = self.viewers.values();
        viewers.filter_map(Viewer::arrives_by).max()
    }

    /// The one that has its offer, or is nearest to it.
    pub(super) fn take_spare(&mut self) -> Option<Spare> {
        let ready = &mut self.spares.ready;
        let offered = ready.iter().position(|spare| spare.offered);
        (!ready.is_empty()).then(|| ready.remove(offered.unwrap_or(0)))
    }

    /// Writes down what a spare branch says. False where the branch is none.
    pub(super) fn spare_says(
        &mut self,
        branch: BranchId,
        event: &BranchEvent,
        now: Instant,
    ) -> bool {
        let Spares { plan, ready, .. } = &mut self.spares;
        let Some(at) = ready.iter().position(|spare| spare.branch == branch) else {
            return false;
        };
        let spare = &mut ready[at];
        match event {
            BranchEvent::Offer { .. } if !spare.offered => {
                spare.offered = true;
                spare.deadline = plan.lasts.map(|lasts| now + lasts);
                spare.said.push(event.clone());
            }
            BranchEvent::Candidate(_) if spare.said.len() <= CANDIDATES_MAX => {
                spare.said.push(event.clone());
            }
            BranchEvent::Offer { .. } | BranchEvent::Candidate(_) | BranchEvent::Heard => {}
            _ => {
                ready.remove(at);
                self.spares.not_before = Some(now + TRY_AGAIN);
                self.lose_unwatched(branch, event, now);
            }
        }
        true
    }

    /// A branch that has no viewer has failed.
    pub(super) fn lose_unwatched(&mut self, branch: BranchId, event: &BranchEvent, now: Instant) {
        let why = format!("{event:?}");
        self.report(Report::SpareLost { branch, why });
        self.close(branch, now);
        if *event == BranchEvent::Closed {
            self.closing.remove(&branch);
        }
    }

    /// Time passes: one that has not made its offer has failed, one that has is too old.
    pub(super) fn tick_spares(&mut self, now: Instant) {
        let late = |spare: &Spare| spare.deadline.is_some_and(|deadline| deadline <= now);
        let ready = &self.spares.ready;
        if ready.iter().any(|spare| late(spare) && !spare.offered) {
            self.spares.not_before = Some(now + TRY_AGAIN);
        }
        self.discard_spares(late, now);
    }

    /// What any branch without a viewer offers holds no more.
    pub(super) fn discard_unwatched(&mut self, now: Instant) {
        self.discard_spares(|_| true, now);
        self.discard_kept(|_| true, now);
    }

    /// Closes some of them.
    fn discard_spares(&mut self, which: impl Fn(&Spare) -> bool, now: Instant) {
        let ready = &mut self.spares.ready;
        let gone: Vec<_> = ready.extract_if(.., |spare| which(spare)).collect();
        for spare in gone {
            self.close(spare.branch, now);
        }
    }
}
