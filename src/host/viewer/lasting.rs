//! What lets a viewer outlive its branch: whether it is still heard, over which of our addresses, and how often it
//! may be given another branch.

use std::{collections::VecDeque, net::IpAddr, time::Duration, time::Instant};

use super::{ANSWER_WITHIN, State, Viewer, WAIT_FOR_ROOM};
use crate::{
    host::{action::Action, end::Rebuild},
    media::BranchId,
    signaling::message::Candidate,
};

/// How long a viewer that watches may send no RTCP. Browsers report every second or so (RFC 3550 §6.2), so
/// that every fifth packet may be lost and ten seconds of outage are no more than a moment's trouble.
pub const SILENT_FOR: Duration = Duration::from_secs(10);
/// When others wait to come in, so long may a viewer that has never watched leave its offer unanswered. A page
/// needs a trip through the lobby and the start of its decoder: a second, or a few on a slow telephone.
pub const ANSWER_UNDER_PRESSURE: Duration = Duration::from_secs(5);
/// For the first RTCP after DTLS is up.
pub const HEARD_WITHIN: Duration = Duration::from_secs(20);
/// How often a viewer may be given another branch within [`REBUILD_WINDOW`].
pub const REBUILDS_MAX: usize = 3;
pub const REBUILD_WINDOW: Duration = Duration::from_secs(60);
/// Local candidates whose address is remembered: more than any device has.
const LOCALS_MAX: usize = 64;

impl Viewer {
    /// Takes the place of a former stay, whose page may be the same: it needs another certificate.
    pub fn succeed(&mut self, former: &Self) {
        self.certificate = former.certificate.other();
    }

    /// Media flowed, and nothing is heard of the viewer any more: it may be a moment's trouble. False in any other
    /// state than Live.
    pub fn falls_silent(&mut self, now: Instant, out: &mut VecDeque<Action>) -> bool {
        let live = matches!(self.state, State::Live { .. });
        self.disconnected(now, out);
        live
    }

    pub fn is_live(&self) -> bool {
        matches!(self.state, State::Live { .. })
    }

    pub fn is_disconnected(&self) -> bool {
        matches!(self.state, State::Disconnected { .. })
    }

    /// Holds a branch and has not watched yet.
    pub fn is_half_open(&self) -> bool {
        !self.was_live && !self.is_waiting()
    }

    /// Has watched before: it need not queue behind those who are only on their way in.
    pub fn has_watched(&self) -> bool {
        self.was_live
    }

    /// When it has to make way for others that want to come in: it has never watched, and leaves its offer unanswered.
    pub fn makes_way_at(&self) -> Option<Instant> {
        let offered = matches!(self.state, State::Offered { .. });
        self.arrives_by().filter(|_| offered && !self.was_live)
    }

    /// Until when it may be on its way in. One that leaves its offer unanswered for long may well be none.
    pub fn arrives_by(&self) -> Option<Instant> {
        match self.state {
            State::Opening { deadline, .. } | State::Connecting { deadline, .. } => Some(deadline),
            State::Offered { deadline, .. } => {
                Some(deadline - (ANSWER_WITHIN - ANSWER_UNDER_PRESSURE))
            }
            State::Waiting { .. } | State::Live { .. } | State::Disconnected { .. } => None,
        }
    }

    /// Our address on the way to it, where it is known.
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// Whether its branch may be replaced once more.
    pub fn may_be_rebuilt(&self, now: Instant) -> bool {
        let lately = |at: &&Instant| now.saturating_duration_since(**at) < REBUILD_WINDOW;
        self.rebuilds.iter().filter(lately).count() < REBUILDS_MAX
    }

    /// Its branch is to be replaced once it has answered, if that is what is awaited now.
    pub fn dooms_offer(&mut self, why: Rebuild) -> bool {
        let offered = matches!(self.state, State::Offered { .. });
        if offered {
            self.doomed = Some(why);
        }
        offered
    }

    /// Takes what [`Viewer::dooms_offer`] has noted.
    pub fn doomed(&mut self) -> Option<Rebuild> {
        self.doomed.take()
    }

    /// Goes back to the beginning with another branch; the viewer's page takes a second offer.
    pub fn rebuild(&mut self, branch: BranchId, why: Rebuild, now: Instant) {
        self.branch = branch;
        self.certificate = self.certificate.other();
        self.state = State::Waiting {
            deadline: now + WAIT_FOR_ROOM,
        };
        self.candidates_taken = 0;
        self.reported_excess = false;
        self.rebuilding = Some(why);
        self.doomed = None;
        self.rebuilds.push_back(now);
        while self.rebuilds.len() > REBUILDS_MAX {
            self.rebuilds.pop_front();
        }
        self.locals.clear();
        self.address = None;
    }

    /// Which of our addresses stands behind a candidate: for one that a server sees, it is the related one.
    pub(super) fn remember(&mut self, candidate: &Candidate) {
        let mut words = candidate.candidate.split(' ');
        let foundation = words
            .next()
            .and_then(|word| word.strip_prefix("candidate:"));
        let own = words.nth(3);
        let related = words.skip_while(|word| *word != "raddr").nth(1);
        let address = related.or(own).and_then(|text| text.parse::<IpAddr>().ok());
        if let (Some(foundation), Some(address)) = (foundation, address)
            && self.locals.len() < LOCALS_MAX
        {
            self.locals.push((foundation.to_owned(), address));
        }
    }

    /// The viewer is there.
    pub(super) fn heard(&mut self, now: Instant, out: &mut VecDeque<Action>) {
        if matches!(self.state, State::Disconnected { .. }) {
            self.connected(now, out);
        }
        if let State::Live { deadline, .. } = &mut self.state {
            *deadline = now + SILENT_FOR;
        }
    }

    /// ICE has settled on a way: which of our addresses is that?
    pub(super) fn settle(&mut self, foundation: &str) {
        let known = self.locals.iter().find(|(known, _)| known == foundation);
        self.address = known.map(|(_, address)| *address);
    }
}
