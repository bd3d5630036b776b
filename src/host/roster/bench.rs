//! What the tests of the roster share: a roster, its clock, and what it has asked for.

use super::*;
use crate::{media::Certificate, signaling::message::Candidate};

pub(super) const OFFER: &str = include_str!("../../media/sdp/fixtures/offer.sdp");
pub(super) const ANSWER: &str = include_str!("../../media/sdp/fixtures/chromium.sdp");
/// The answer's user name fragment.
const UFRAG: &str = "5Uw2";

/// A roster, its clock and what it has asked for.
pub(super) struct Bench {
    pub(super) roster: Roster,
    pub(super) now: Instant,
    pub(super) done: Vec<Action>,
}

impl Bench {
    pub(super) fn live(max: usize) -> Self {
        Self::live_with(max, SparePlan::default())
    }

    pub(super) fn live_with(max: usize, spares: SparePlan) -> Self {
        let mut bench = Self {
            roster: Roster::new(max, CandidatePolicy::Any).with_spares(spares),
            now: Instant::now(),
            done: Vec::new(),
        };
        bench.roster.line_live(StreamId::new("s1"), bench.now);
        bench.drain();
        bench
    }

    pub(super) fn drain(&mut self) -> Vec<Action> {
        let new: Vec<_> = std::iter::from_fn(|| self.roster.next_action()).collect();
        self.done.extend(new.iter().cloned());
        new
    }

    pub(super) fn hear(&mut self, message: Incoming) -> Vec<Action> {
        self.roster.message(message, self.now);
        self.drain()
    }

    pub(super) fn join(&mut self, viewer: &str) -> Vec<Action> {
        self.join_stream("s1", viewer)
    }

    pub(super) fn join_stream(&mut self, stream: &str, viewer: &str) -> Vec<Action> {
        self.hear(Incoming::ViewerJoin {
            stream_id: StreamId::new(stream),
            viewer: ViewerId::new(viewer),
        })
    }

    pub(super) fn leave(&mut self, viewer: &str) -> Vec<Action> {
        self.hear(Incoming::ViewerLeft {
            stream_id: StreamId::new("s1"),
            viewer: ViewerId::new(viewer),
        })
    }

    pub(super) fn answer(&mut self, viewer: &str) -> Vec<Action> {
        self.hear(Incoming::Answer {
            stream_id: StreamId::new("s1"),
            from: ViewerId::new(viewer),
            sdp: ANSWER.to_owned(),
        })
    }

    pub(super) fn candidate(&mut self, viewer: &str, candidate: Option<Candidate>) -> Vec<Action> {
        self.hear(Incoming::Candidate {
            stream_id: StreamId::new("s1"),
            from: ViewerId::new(viewer),
            candidate,
        })
    }

    pub(super) fn branch(&mut self, branch: u64, event: BranchEvent) -> Vec<Action> {
        self.roster.branch_event(BranchId(branch), event, self.now);
        self.drain()
    }

    pub(super) fn offer(&mut self, branch: u64) -> Vec<Action> {
        self.branch(branch, offer())
    }

    /// Lets exactly that much time pass.
    pub(super) fn pass(&mut self, time: Duration) -> Vec<Action> {
        self.now += time;
        self.roster.tick(self.now);
        self.drain()
    }

    /// Joins, is offered, answers and connects.
    pub(super) fn watch(&mut self, viewer: &str, branch: u64) {
        assert!(
            self.join(viewer)
                .contains(&Action::OpenBranch(BranchId(branch), Certificate::First))
        );
        self.offer(branch);
        self.answer(viewer);
        let live = self.branch(branch, BranchEvent::Connected);
        assert!(
            matches!(live[..], [Action::Report(Report::Live { .. })]),
            "{live:?}"
        );
    }
}

pub(super) fn offer() -> BranchEvent {
    BranchEvent::Offer {
        sdp: OFFER.to_owned(),
    }
}

pub(super) fn candidate(port: u16) -> Candidate {
    Candidate {
        candidate: format!("candidate:1 1 UDP 2122260223 192.0.2.1 {port} typ host"),
        sdp_mid: Some("video0".to_owned()),
        sdp_mline_index: Some(0),
        username_fragment: Some(UFRAG.to_owned()),
    }
}

pub(super) fn ends(actions: &[Action]) -> Vec<End> {
    let end = |action: &Action| match action {
        Action::Report(Report::Ended { end, .. }) => Some(*end),
        _ => None,
    };
    actions.iter().filter_map(end).collect()
}

pub(super) fn ignored(actions: &[Action]) -> Vec<&Ignored> {
    let reports = actions.iter().filter_map(|action| match action {
        Action::Report(Report::Ignored { what, .. }) => Some(what),
        _ => None,
    });
    reports.collect()
}

pub(super) fn told(actions: &[Action]) -> Vec<&Outgoing> {
    let messages = actions.iter().filter_map(|action| match action {
        Action::Tell(message) => Some(message),
        _ => None,
    });
    messages.collect()
}
