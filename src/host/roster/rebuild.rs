//! Viewers that stay while their branches are replaced: because the way to them is gone, or the picture is another.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use super::{BranchId, Ending, Roster, Viewer, ViewerId};
use crate::host::{
    action::Report,
    end::{End, Rebuild},
};

/// After a change of the network: who is lost within this time is given another branch at once, where that can be.
pub const NETWORK_SETTLES: Duration = Duration::from_secs(60);

impl Roster {
    /// Addresses of this device are gone, or others came, or routes moved. Who was reached from one that is gone
    /// is given another branch at once, and so is who is lost already; the others are left alone, and so is who
    /// cannot be given another branch now: it may be found again, and its deadline stands.
    pub fn network_changed(&mut self, lost: &[IpAddr], now: Instant) {
        self.network_changed = Some(now);
        self.report(Report::NetworkChanged { lost: lost.len() });
        self.discard_unwatched(now);
        let gone = |address: IpAddr| lost.contains(&address);
        let concerned: Vec<_> = self
            .viewers
            .values()
            .filter(|viewer| viewer.is_disconnected() || viewer.address().is_some_and(gone))
            .filter(|viewer| self.can_rebuild(viewer, now))
            .map(|viewer| viewer.id.clone())
            .collect();
        for id in concerned {
            self.rebuild(&id, Rebuild::AddressLost, None, now);
        }
        self.fill_room(now);
    }

    /// Gives everybody another branch: what their offers said holds no more.
    pub fn rebuild_all(&mut self, why: Rebuild, now: Instant) {
        self.discard_unwatched(now);
        let holding = self.viewers.values().filter(|viewer| !viewer.is_waiting());
        let holding: Vec<_> = holding.map(|viewer| viewer.id.clone()).collect();
        for id in holding {
            self.rebuild(&id, why, None, now);
        }
        self.fill_room(now);
    }

    /// Whether a viewer can be told of another branch, and may have one.
    pub(super) fn can_rebuild(&self, viewer: &Viewer, now: Instant) -> bool {
        let can_be_told = self.stream.as_ref() == Some(&viewer.stream) && !self.going_down;
        can_be_told && viewer.may_be_rebuilt(now)
    }

    /// Gives a viewer another branch, as soon as its page can take a second offer.
    pub(super) fn rebuild(
        &mut self,
        id: &ViewerId,
        why: Rebuild,
        detail: Option<String>,
        now: Instant,
    ) {
        let waits_for_answer = |viewer: &mut Viewer| viewer.dooms_offer(why);
        if !self.viewers.get_mut(id).is_some_and(waits_for_answer) {
            self.rebuild_now(id, why, detail, now);
        }
    }

    /// Closes a viewer's branch and opens another for it, whose offer its page takes as a second one. Where that
    /// cannot be, the viewer ends: its stream is not the lobby's any more, or it had several in a short time.
    pub(super) fn rebuild_now(
        &mut self,
        id: &ViewerId,
        why: Rebuild,
        detail: Option<String>,
        now: Instant,
    ) {
        let Some(viewer) = self.viewers.get(id) else {
            return;
        };
        if !self.can_rebuild(viewer, now) {
            let end = why.end();
            self.end(id, Ending { end, detail }, now);
            return self.fill_room(now);
        }
        let Some(viewer) = self.viewers.get_mut(id) else {
            return;
        };
        let (from, branch) = (viewer.branch, BranchId(self.next_branch));
        self.next_branch += 1;
        self.counts.rebuilt += 1;
        viewer.rebuild(branch, why, now);
        self.close(from, now);
        self.report(Report::Rebuilt {
            viewer: id.clone(),
            from,
            branch,
            why,
        });
        self.fill_room(now);
    }

    /// A viewer that watched is lost: it gets another branch, and ends if that comes to nothing.
    pub(super) fn lose(&mut self, id: &ViewerId, ending: Ending, now: Instant) {
        let watched = |viewer: &Viewer| viewer.is_live() || viewer.is_disconnected();
        if ending.end == End::Vanished && self.viewers.get(id).is_some_and(watched) {
            self.rebuild(id, Rebuild::Vanished, ending.detail, now);
        } else {
            self.end(id, ending, now);
        }
    }

    /// Lost right after the network has changed: it will hardly be found again on the way that it had. Where it
    /// cannot be given another, that way is still the best there is.
    pub(super) fn rebuild_after_change(&mut self, id: &ViewerId, now: Instant) {
        let lately = |at: Instant| now.saturating_duration_since(at) < NETWORK_SETTLES;
        let lost = self
            .viewers
            .get(id)
            .is_some_and(|viewer| viewer.is_disconnected() && self.can_rebuild(viewer, now));
        if lost && self.network_changed.is_some_and(lately) {
            self.rebuild(id, Rebuild::AddressLost, None, now);
        }
    }
}
