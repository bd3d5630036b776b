//! What the roster wants done, and what it has to say.

use std::time::Duration;

use super::{
    adaptation::Why,
    end::{End, Rebuild},
};
use crate::{
    media::{
        BranchId, Certificate, Rendition,
        sdp::{CandidateFault, CheckedAnswer, CheckedCandidate},
    },
    signaling::message::{Outgoing, Refusal, StreamId, ViewerId},
};

/// To be carried out in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Open a branch; its offer is awaited.
    OpenBranch(BranchId, Certificate),
    /// Once per branch at most.
    SetAnswer(BranchId, CheckedAnswer),
    /// Never before the branch's answer; `None` ends the viewer's candidates.
    AddCandidate(BranchId, Option<CheckedCandidate>),
    /// Exactly once per opened branch.
    CloseBranch(BranchId),
    /// Say this to the lobby.
    Tell(Outgoing),
    /// For the log; nothing follows from it.
    Report(Report),
    /// A branch's teardown hangs: threads and sockets are stuck for good, only a new process helps.
    Fatal { branch: BranchId },
}

/// What happened, for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    LineLive {
        stream: StreamId,
    },
    LineLost {
        why: String,
    },
    Joined {
        viewer: ViewerId,
        stream: StreamId,
        branch: BranchId,
    },
    Refused {
        viewer: ViewerId,
        reason: Refusal,
        /// The first since somebody was last let in or left: whoever hammers on the door floods no log.
        first: bool,
    },
    /// A viewer's branch is replaced; the viewer stays.
    Rebuilt {
        viewer: ViewerId,
        /// The former one.
        from: BranchId,
        branch: BranchId,
        why: Rebuild,
    },
    /// The device's addresses or routes have changed.
    NetworkChanged {
        /// Addresses that are gone.
        lost: usize,
    },
    /// The first time that media flows.
    Live {
        viewer: ViewerId,
        branch: BranchId,
        /// Since the join.
        took: Duration,
    },
    /// The first picture is on its way.
    FirstFrame {
        branch: BranchId,
        /// Since the join.
        took: Duration,
    },
    /// It is sent another rendition from now on.
    Rendition {
        viewer: ViewerId,
        branch: BranchId,
        rendition: Rendition,
        why: Why,
    },
    Disconnected {
        viewer: ViewerId,
        branch: BranchId,
    },
    /// Media flows again.
    Recovered {
        viewer: ViewerId,
        branch: BranchId,
    },
    Ended {
        viewer: ViewerId,
        stream: StreamId,
        branch: BranchId,
        end: End,
        /// More than the table's sentence, where there is more.
        detail: Option<String>,
        /// Since the join.
        after: Duration,
    },
    /// A branch that was kept ready came to nothing.
    SpareLost {
        branch: BranchId,
        why: String,
    },
    Ignored {
        viewer: ViewerId,
        what: Ignored,
    },
}

/// Messages that nothing follows from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Ignored {
    #[error("a join for a stream that is not ours now")]
    OtherStream,
    #[error("a join while the host goes down")]
    GoingDown,
    #[error("a repeated join, too soon after those before it")]
    TooManyJoins,
    #[error("a repeated join; the offer is on its way")]
    OfferOnItsWay,
    #[error("a repeated join; the offer was repeated often enough")]
    OfferRepeatedEnough,
    #[error("a repeated join; the offer is repeated unless it is answered soon")]
    OfferUnanswered,
    #[error("a message from somebody who is no viewer of that stream")]
    Stranger,
    #[error("an answer that is not awaited")]
    UnawaitedAnswer,
    #[error("a candidate before any offer was sent")]
    UnawaitedCandidate,
    /// Said once per viewer.
    #[error("more candidates than a viewer may send")]
    TooManyCandidates,
    #[error("a candidate with another ICE user fragment ({0:?})")]
    StaleCandidate(String),
    #[error("a candidate: {0}")]
    Candidate(#[from] CandidateFault),
}

impl Ignored {
    /// Browsers offer TCP candidates with every connection; ICE over TCP is off here, and that is no fault of theirs.
    pub fn is_harmless(&self) -> bool {
        matches!(self, Self::Candidate(CandidateFault::NotUdp))
    }
}
