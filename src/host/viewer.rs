//! One viewer's life, from its join to its end. Pure: the time is an argument.
//!
//! ```text
//! Waiting → Opening → Offered → Connecting → Live ⇄ Disconnected
//!    ↑______________________________________________|  rebuilt
//! ```
//! Every state has a deadline, so nobody holds a place without being served; in Live the viewer's
//! RTCP keeps moving it.

mod again;
mod lasting;

pub use again::{OFFER_REPEATS_MAX, REPEAT_AFTER, Rejoin, Unanswered};
pub use lasting::{ANSWER_UNDER_PRESSURE, HEARD_WITHIN, REBUILD_WINDOW, REBUILDS_MAX, SILENT_FOR};

use std::{
    collections::VecDeque,
    mem,
    net::IpAddr,
    ops::ControlFlow,
    time::{Duration, Instant},
};

use super::{
    action::{Action, Ignored, Report},
    end::{End, Rebuild},
};
use crate::{
    media::{
        BranchEvent, BranchId, Certificate,
        sdp::{CandidatePolicy, CheckedCandidate, OfferFacts, check_answer, check_candidate},
    },
    signaling::message::{Candidate, Outgoing, StreamId, ViewerId},
};

/// For former viewers' branches to make room. They have [`super::roster::CLOSE_WITHIN`] to close.
pub const WAIT_FOR_ROOM: Duration = Duration::from_secs(10);
/// From the opening of a branch to its offer: tens of milliseconds, a second or two on a slow board under load.
pub const OFFER_WITHIN: Duration = Duration::from_secs(5);
/// From the offer to the viewer's answer: two trips through the lobby and a page that may just be starting its decoder.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// From the answer to media: ICE over TURN with lost packets needs about ten seconds, DTLS a few round trips more.
pub const CONNECT_WITHIN: Duration = Duration::from_secs(20);
/// For a lost viewer to be found again before it is given another branch.
pub const RECOVER_WITHIN: Duration = Duration::from_secs(12);

/// How many candidates a viewer may send in all. A laptop with Wi-Fi, Ethernet, VPN, IPv6 and a TURN server sends about 20.
pub const CANDIDATES_MAX: usize = 64;
/// The viewer's stay is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    pub end: End,
    pub detail: Option<String>,
}

impl From<End> for Ending {
    fn from(end: End) -> Self {
        Self { end, detail: None }
    }
}

fn ended(end: End, detail: impl ToString) -> ControlFlow<Ending> {
    ControlFlow::Break(Ending {
        end,
        detail: Some(detail.to_string()),
    })
}

/// Where a viewer stands.
#[derive(Debug)]
pub enum State {
    /// Admitted, but former viewers' branches must close before its own is opened.
    Waiting { deadline: Instant },
    /// The branch builds; its offer is awaited.
    Opening {
        deadline: Instant,
        /// Candidates that came before the offer. Branches promise not to do that, but a page that
        /// gets one is lost, so the order is made sure here.
        held: Vec<Candidate>,
    },
    /// The offer is sent; the answer is awaited.
    Offered {
        deadline: Instant,
        offer: Box<Offer>,
    },
    /// The answer is set; ICE and DTLS are at work.
    Connecting { deadline: Instant, terms: Terms },
    /// Media flows, and the viewer's RTCP keeps moving the deadline.
    Live { deadline: Instant, terms: Terms },
    /// ICE lost the viewer, perhaps for a moment.
    Disconnected { deadline: Instant, terms: Terms },
}

impl State {
    /// The states' stable names, in the order of a stay.
    pub const NAMES: [&str; 6] = [
        "waiting",
        "opening",
        "offered",
        "connecting",
        "live",
        "disconnected",
    ];

    /// This state's stable name, for statistics.
    pub const fn name(&self) -> &'static str {
        let index = match self {
            Self::Waiting { .. } => 0,
            Self::Opening { .. } => 1,
            Self::Offered { .. } => 2,
            Self::Connecting { .. } => 3,
            Self::Live { .. } => 4,
            Self::Disconnected { .. } => 5,
        };
        Self::NAMES[index]
    }
}

/// What was said so far to a viewer that has not answered.
#[derive(Debug)]
pub struct Offer {
    sdp: String,
    facts: OfferFacts,
    /// Our candidates so far, for a page that joins again.
    sent: Vec<Candidate>,
    /// The viewer's candidates so far: `webrtcbin` must see the answer first.
    early: Vec<Option<CheckedCandidate>>,
    repeats: usize,
    /// When it is repeated unless an answer comes.
    repeat_at: Option<Instant>,
}

/// What offer and answer agreed on, for checking later candidates against.
#[derive(Debug, Default)]
pub struct Terms {
    facts: OfferFacts,
    ufrags: Vec<String>,
}

/// One viewer.
#[derive(Debug)]
pub struct Viewer {
    pub id: ViewerId,
    /// The stream that it joined. After a loss of the line this may not be the lobby's current one.
    pub stream: StreamId,
    pub branch: BranchId,
    joined: Instant,
    state: State,
    candidates_taken: usize,
    reported_excess: bool,
    policy: CandidatePolicy,
    certificate: Certificate,
    /// Has watched at some time.
    was_live: bool,
    /// Has been sent a picture at some time.
    was_sent: bool,
    /// Its branch was replaced for this reason, and media does not flow yet.
    rebuilding: Option<Rebuild>,
    /// Its branch is to be replaced as soon as the answer to the present offer is in: a page that has
    /// two offers to answer at once cannot say which one it answers.
    doomed: Option<Rebuild>,
    /// When its branches were replaced, lately.
    rebuilds: VecDeque<Instant>,
    /// Our candidates' foundations and the addresses behind them.
    locals: Vec<(String, IpAddr)>,
    /// Our address on the way that ICE has settled on, where it can be told.
    address: Option<IpAddr>,
}

impl Viewer {
    /// A viewer that is admitted; [`Viewer::open`] comes next, as soon as there is room.
    pub fn new(
        id: ViewerId,
        stream: StreamId,
        branch: BranchId,
        policy: CandidatePolicy,
        now: Instant,
    ) -> Self {
        Self {
            id,
            stream,
            branch,
            joined: now,
            state: State::Waiting {
                deadline: now + WAIT_FOR_ROOM,
            },
            candidates_taken: 0,
            reported_excess: false,
            policy,
            certificate: Certificate::default(),
            was_live: false,
            was_sent: false,
            rebuilding: None,
            doomed: None,
            rebuilds: VecDeque::new(),
            locals: Vec::new(),
            address: None,
        }
    }

    pub fn state(&self) -> &State {
        &self.state
    }

    /// When this state's patience ends, or the offer is to be repeated.
    pub fn deadline(&self) -> Instant {
        match &self.state {
            State::Offered { deadline, offer } => {
                offer.repeat_at.map_or(*deadline, |at| at.min(*deadline))
            }
            State::Waiting { deadline }
            | State::Opening { deadline, .. }
            | State::Connecting { deadline, .. }
            | State::Live { deadline, .. }
            | State::Disconnected { deadline, .. } => *deadline,
        }
    }

    /// How this viewer ends when its deadline passes. Live is not one to end in: see [`Viewer::falls_silent`].
    pub fn end_of_patience(&self) -> End {
        if let Some(why) = self.rebuilding
            && !self.is_waiting()
        {
            return why.end();
        }
        match self.state {
            State::Waiting { .. } => End::NoRoom,
            State::Opening { .. } => End::NoOffer,
            State::Offered { .. } => End::NoAnswer,
            State::Connecting { .. } => End::NoConnection,
            State::Live { .. } | State::Disconnected { .. } => End::Vanished,
        }
    }

    pub fn is_waiting(&self) -> bool {
        matches!(self.state, State::Waiting { .. })
    }

    /// Whether its answer has come. From then on it can do without the lobby.
    pub fn has_answered(&self) -> bool {
        match self.state {
            State::Waiting { .. } | State::Opening { .. } | State::Offered { .. } => false,
            State::Connecting { .. } | State::Live { .. } | State::Disconnected { .. } => true,
        }
    }

    /// How long it has been with us.
    pub fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.joined)
    }

    /// Opens its branch.
    pub fn open(&mut self, now: Instant, out: &mut VecDeque<Action>) {
        self.open_ready(now);
        out.push_back(Action::OpenBranch(self.branch, self.certificate));
    }

    /// Takes over a branch that is open already; what it has said so far comes next.
    pub fn open_ready(&mut self, now: Instant) {
        self.state = State::Opening {
            deadline: now + OFFER_WITHIN,
            held: Vec::new(),
        };
    }

    /// The viewer answered.
    pub fn answer(
        &mut self,
        sdp: &str,
        now: Instant,
        out: &mut VecDeque<Action>,
    ) -> ControlFlow<Ending> {
        let State::Offered { offer, .. } = &mut self.state else {
            out.push_back(ignored(&self.id, Ignored::UnawaitedAnswer));
            return ControlFlow::Continue(());
        };
        let answer = match check_answer(sdp, &offer.facts, self.policy) {
            Ok(answer) => answer,
            Err(fault) => return ended(End::BadAnswer, fault),
        };
        let terms = Terms {
            facts: mem::take(&mut offer.facts),
            ufrags: answer.ufrags().to_vec(),
        };
        out.push_back(Action::SetAnswer(self.branch, answer));
        for candidate in mem::take(&mut offer.early) {
            match stale(candidate.as_ref(), &terms) {
                Some(why) => out.push_back(ignored(&self.id, why)),
                None => out.push_back(Action::AddCandidate(self.branch, candidate)),
            }
        }
        self.state = State::Connecting {
            deadline: now + CONNECT_WITHIN,
            terms,
        };
        ControlFlow::Continue(())
    }

    /// The viewer sent a candidate; `None` ends them.
    pub fn candidate(&mut self, candidate: Option<&Candidate>, out: &mut VecDeque<Action>) {
        if matches!(self.state, State::Waiting { .. } | State::Opening { .. }) {
            out.push_back(ignored(&self.id, Ignored::UnawaitedCandidate));
            return;
        }
        if self.candidates_taken == CANDIDATES_MAX {
            if !mem::replace(&mut self.reported_excess, true) {
                out.push_back(ignored(&self.id, Ignored::TooManyCandidates));
            }
            return;
        }
        self.candidates_taken += 1;
        match self.place_candidate(candidate) {
            Ok(Some(action)) => out.push_back(action),
            Ok(None) => {}
            Err(why) => out.push_back(ignored(&self.id, why)),
        }
    }

    /// Keeps a candidate until the answer is there, or passes it on.
    fn place_candidate(
        &mut self,
        candidate: Option<&Candidate>,
    ) -> Result<Option<Action>, Ignored> {
        let policy = self.policy;
        match &mut self.state {
            State::Waiting { .. } | State::Opening { .. } => Err(Ignored::UnawaitedCandidate),
            State::Offered { offer, .. } => {
                let checked = candidate
                    .map(|candidate| check_candidate(candidate, &offer.facts, policy))
                    .transpose()?;
                offer.early.push(checked);
                Ok(None)
            }
            State::Connecting { terms, .. }
            | State::Live { terms, .. }
            | State::Disconnected { terms, .. } => {
                let checked = candidate
                    .map(|candidate| check_candidate(candidate, &terms.facts, policy))
                    .transpose()?;
                match stale(checked.as_ref(), terms) {
                    Some(why) => Err(why),
                    None => Ok(Some(Action::AddCandidate(self.branch, checked))),
                }
            }
        }
    }

    /// Its branch reported something. [`BranchEvent::Closed`] is the roster's affair.
    pub fn branch_event(
        &mut self,
        event: BranchEvent,
        now: Instant,
        out: &mut VecDeque<Action>,
    ) -> ControlFlow<Ending> {
        match event {
            BranchEvent::Offer { sdp } => return self.offer(sdp, now, out),
            BranchEvent::Candidate(candidate) => self.local_candidate(candidate, out),
            BranchEvent::Connected => self.connected(now, out),
            BranchEvent::FirstFrame => self.first_frame(now, out),
            BranchEvent::Heard => self.heard(now, out),
            BranchEvent::Settled { foundation } => self.settle(&foundation),
            BranchEvent::Disconnected => self.disconnected(now, out),
            BranchEvent::AnswerRejected { why } => return ended(End::BadAnswer, why),
            BranchEvent::Failed => return ControlFlow::Break(self.failure().into()),
            BranchEvent::HungUp => return ControlFlow::Break(End::HungUp.into()),
            BranchEvent::Exhausted { why } => return ended(End::Exhausted, why),
            BranchEvent::Error { why } => return ended(End::BranchError, why),
            // What follows from it is decided for all viewers together.
            BranchEvent::Way(_) => {}
            BranchEvent::Closed => {}
        }
        ControlFlow::Continue(())
    }

    /// What it means that ICE gave up: who has watched was reachable once.
    fn failure(&self) -> End {
        match self.state {
            State::Live { .. } | State::Disconnected { .. } => End::Vanished,
            State::Waiting { .. }
            | State::Opening { .. }
            | State::Offered { .. }
            | State::Connecting { .. } => End::IceFailed,
        }
    }

    /// The first offer is sent on with what was held back for it. Later ones are not: pages do not renegotiate.
    fn offer(
        &mut self,
        sdp: String,
        now: Instant,
        out: &mut VecDeque<Action>,
    ) -> ControlFlow<Ending> {
        let State::Opening { held, .. } = &mut self.state else {
            return ControlFlow::Continue(());
        };
        let facts = match OfferFacts::read(&sdp) {
            Ok(facts) => facts,
            Err(fault) => return ended(End::BranchError, fault),
        };
        let sent: Vec<_> = mem::take(held)
            .into_iter()
            .map(|candidate| named(candidate, &facts))
            .collect();
        out.push_back(tell_offer(&self.stream, &self.id, &sdp));
        out.extend(
            sent.iter()
                .map(|candidate| tell_candidate(&self.stream, &self.id, candidate.clone())),
        );
        self.state = State::Offered {
            deadline: now + ANSWER_WITHIN,
            offer: Box::new(Offer {
                sdp,
                facts,
                sent,
                early: Vec::new(),
                repeats: 0,
                repeat_at: None,
            }),
        };
        ControlFlow::Continue(())
    }

    /// The end of our candidates is not passed on: pages hand what they get to `new RTCIceCandidate`,
    /// which throws on null, and none of them needs to know.
    fn local_candidate(&mut self, candidate: Option<Candidate>, out: &mut VecDeque<Action>) {
        let Some(candidate) = candidate else { return };
        self.remember(&candidate);
        let candidate = match &mut self.state {
            State::Waiting { .. } => return,
            State::Opening { held, .. } => {
                held.push(candidate);
                return;
            }
            State::Offered { offer, .. } => {
                let candidate = named(candidate, &offer.facts);
                offer.sent.push(candidate.clone());
                candidate
            }
            State::Connecting { terms, .. }
            | State::Live { terms, .. }
            | State::Disconnected { terms, .. } => named(candidate, &terms.facts),
        };
        out.push_back(tell_candidate(&self.stream, &self.id, candidate));
    }

    fn connected(&mut self, now: Instant, out: &mut VecDeque<Action>) {
        let (viewer, branch) = (self.id.clone(), self.branch);
        let terms = match &mut self.state {
            State::Connecting { terms, .. } => {
                let took = now.saturating_duration_since(self.joined);
                out.push_back(Action::Report(if self.was_live {
                    Report::Recovered { viewer, branch }
                } else {
                    Report::Live {
                        viewer,
                        branch,
                        took,
                    }
                }));
                mem::take(terms)
            }
            State::Disconnected { terms, .. } => {
                out.push_back(Action::Report(Report::Recovered { viewer, branch }));
                mem::take(terms)
            }
            // Without an answer there is nobody to be connected to.
            State::Waiting { .. }
            | State::Opening { .. }
            | State::Offered { .. }
            | State::Live { .. } => return,
        };
        self.was_live = true;
        self.rebuilding = None;
        self.state = State::Live {
            deadline: now + HEARD_WITHIN,
            terms,
        };
    }

    fn first_frame(&mut self, now: Instant, out: &mut VecDeque<Action>) {
        if !mem::replace(&mut self.was_sent, true) {
            out.push_back(Action::Report(Report::FirstFrame {
                branch: self.branch,
                took: now.saturating_duration_since(self.joined),
            }));
        }
    }

    /// While still connecting, ICE may come and go: that state's deadline stands.
    fn disconnected(&mut self, now: Instant, out: &mut VecDeque<Action>) {
        let State::Live { terms, .. } = &mut self.state else {
            return;
        };
        let terms = mem::take(terms);
        self.state = State::Disconnected {
            deadline: now + RECOVER_WITHIN,
            terms,
        };
        out.push_back(Action::Report(Report::Disconnected {
            viewer: self.id.clone(),
            branch: self.branch,
        }));
    }
}

/// With the m-line's name beside its number, as browsers send them: some pages go by one, some by
/// the other.
fn named(mut candidate: Candidate, facts: &OfferFacts) -> Candidate {
    if candidate.sdp_mid.is_none() {
        candidate.sdp_mid = candidate
            .sdp_mline_index
            .and_then(|index| facts.mid(index.into()))
            .map(str::to_owned);
    }
    candidate
}

/// A candidate that names its ICE user fragment must name an answered one (W3C WebRTC §4.4.1.9): after a page
/// was made anew, candidates of the former one may still be on their way.
fn stale(candidate: Option<&CheckedCandidate>, terms: &Terms) -> Option<Ignored> {
    let ufrag = candidate?.candidate().username_fragment.as_ref()?;
    let known = terms.ufrags.contains(ufrag);
    (!known).then(|| Ignored::StaleCandidate(ufrag.clone()))
}

fn ignored(viewer: &ViewerId, what: Ignored) -> Action {
    Action::Report(Report::Ignored {
        viewer: viewer.clone(),
        what,
    })
}

fn tell_offer(stream_id: &StreamId, to: &ViewerId, sdp: &str) -> Action {
    Action::Tell(Outgoing::Offer {
        stream_id: stream_id.clone(),
        to: to.clone(),
        sdp: sdp.to_owned(),
    })
}

fn tell_candidate(stream_id: &StreamId, to: &ViewerId, candidate: Candidate) -> Action {
    Action::Tell(Outgoing::Candidate {
        stream_id: stream_id.clone(),
        to: to.clone(),
        candidate: Some(candidate),
    })
}
