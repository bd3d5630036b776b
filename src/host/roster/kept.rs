//! Branches of pages that left before they answered, and may be back at once.
//!
//! A page that is mounted twice joins, leaves and joins again, and answers the offer that it was sent first.

use std::time::Instant;

use super::{BranchEvent, BranchId, End, Roster, Viewer};
use crate::{
    host::viewer::{CANDIDATES_MAX, REPEAT_AFTER, Unanswered},
    signaling::message::{StreamId, ViewerId},
};

/// So many are kept; the others close at once.
pub(super) const KEPT_MAX: usize = 4;

/// A branch that is good for one page only.
#[derive(Debug)]
pub(super) struct Kept {
    pub branch: BranchId,
    viewer: ViewerId,
    stream: StreamId,
    /// What the page has been told.
    pub unanswered: Unanswered,
    /// What it has yet to be told.
    pub said: Vec<BranchEvent>,
    pub deadline: Instant,
}

impl Roster {
    /// The viewer leaves. Where it has an offer that it has not answered, that stays good for a moment.
    pub(super) fn leave(&mut self, id: &ViewerId, now: Instant) {
        let room = self.kept.len() < KEPT_MAX;
        let viewer = self.viewers.get_mut(id).filter(|_| room);
        let Some(unanswered) = viewer.and_then(Viewer::take_unanswered) else {
            self.end(id, End::Left.into(), now);
            return;
        };
        let Some(viewer) = self.remove(id, End::Left.into(), now) else {
            return;
        };
        self.kept.push(Kept {
            branch: viewer.branch,
            viewer: viewer.id,
            stream: viewer.stream,
            unanswered,
            said: Vec::new(),
            deadline: now + REPEAT_AFTER,
        });
    }

    /// The branch that is kept for this viewer.
    pub(super) fn take_kept(&mut self, id: &ViewerId, stream: &StreamId) -> Option<Kept> {
        let its = |kept: &Kept| kept.viewer == *id && kept.stream == *stream;
        let at = self.kept.iter().position(its)?;
        Some(self.kept.remove(at))
    }

    /// Writes down what a branch says that is kept. False where it is none.
    pub(super) fn kept_says(
        &mut self,
        branch: BranchId,
        event: &BranchEvent,
        now: Instant,
    ) -> bool {
        let Some(at) = self.kept.iter().position(|kept| kept.branch == branch) else {
            return false;
        };
        let kept = &mut self.kept[at];
        let known = kept.unanswered.said.len() + kept.said.len();
        match event {
            BranchEvent::Candidate(_) if known <= CANDIDATES_MAX => kept.said.push(event.clone()),
            BranchEvent::Offer { .. } | BranchEvent::Candidate(_) | BranchEvent::Heard => {}
            _ => {
                self.kept.remove(at);
                self.lose_unwatched(branch, event, now);
            }
        }
        true
    }

    /// Closes some of them.
    pub(super) fn discard_kept(&mut self, which: impl Fn(&Kept) -> bool, now: Instant) {
        let gone: Vec<_> = self.kept.extract_if(.., |kept| which(kept)).collect();
        for kept in gone {
            self.close(kept.branch, now);
        }
    }
}
