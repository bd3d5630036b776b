//! A page that joins again before it has answered: it may be one that asks twice, or one that was made anew.
//!
//! Both look the same from here. The first has the offer and answers it, and a second one would be an error to it;
//! the other may have missed it. So an offer is repeated only where no answer comes for a moment, and for as long
//! it outlives a page that leaves.

use std::{
    collections::VecDeque,
    mem,
    time::{Duration, Instant},
};

use super::{ANSWER_WITHIN, Offer, State, Viewer, ignored, tell_candidate, tell_offer};
use crate::{
    host::action::{Action, Ignored},
    media::{BranchEvent, Certificate, sdp::OfferFacts},
};

/// How often the offer is repeated to a viewer that joins again before it has answered.
/// Each repeat costs some kilobytes on the line for a join of a hundred bytes.
pub const OFFER_REPEATS_MAX: usize = 3;
/// A page answers within some hundred milliseconds: past this it is taken to have missed the offer.
pub const REPEAT_AFTER: Duration = Duration::from_secs(1);

/// What a repeated join of a viewer calls for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejoin {
    /// Nothing: what it waits for is on its way, or is repeated if need be.
    Patience,
    /// The answered connection belongs to a page that is gone: begin anew.
    Restart,
}

/// A branch whose offer was sent to a page that left without an answer.
#[derive(Debug)]
pub struct Unanswered {
    pub certificate: Certificate,
    /// The offer and the candidates that were sent.
    pub said: Vec<BranchEvent>,
}

impl Viewer {
    /// The viewer joined again, under the same stream.
    pub fn join_again(&mut self, now: Instant, out: &mut VecDeque<Action>) -> Rejoin {
        match &mut self.state {
            State::Waiting { .. } | State::Opening { .. } => {
                out.push_back(ignored(&self.id, Ignored::OfferOnItsWay));
                Rejoin::Patience
            }
            State::Offered { offer, .. } => {
                let why = if offer.repeats == OFFER_REPEATS_MAX {
                    Ignored::OfferRepeatedEnough
                } else {
                    offer.repeat_at.get_or_insert(now + REPEAT_AFTER);
                    Ignored::OfferUnanswered
                };
                out.push_back(ignored(&self.id, why));
                Rejoin::Patience
            }
            State::Connecting { .. } | State::Live { .. } | State::Disconnected { .. } => {
                Rejoin::Restart
            }
        }
    }

    /// Repeats the offer, if it is time for that.
    pub fn repeats_offer(&mut self, now: Instant, out: &mut VecDeque<Action>) -> bool {
        let State::Offered { offer, deadline } = &mut self.state else {
            return false;
        };
        if offer.repeat_at.is_none_or(|at| now < at) || now >= *deadline {
            return false;
        }
        offer.repeat_at = None;
        offer.repeats += 1;
        out.push_back(tell_offer(&self.stream, &self.id, &offer.sdp));
        let sent = offer.sent.iter().cloned();
        out.extend(sent.map(|candidate| tell_candidate(&self.stream, &self.id, candidate)));
        true
    }

    /// What becomes of its branch where it leaves: an offer that it has not answered may be for the same page, which
    /// is back in a moment.
    pub fn take_unanswered(&mut self) -> Option<Unanswered> {
        let State::Offered { offer, .. } = &mut self.state else {
            return None;
        };
        if self.was_live || self.doomed.is_some() {
            return None;
        }
        let sdp = mem::take(&mut offer.sdp);
        let sent = mem::take(&mut offer.sent).into_iter();
        let offered = [BranchEvent::Offer { sdp }].into_iter();
        Some(Unanswered {
            certificate: self.certificate,
            said: offered
                .chain(sent.map(|candidate| BranchEvent::Candidate(Some(candidate))))
                .collect(),
        })
    }

    /// Is back, and has been sent all that is in `unanswered`.
    pub fn resume(&mut self, unanswered: Unanswered, now: Instant) {
        self.certificate = unanswered.certificate;
        let mut offered = None;
        let mut sent = Vec::new();
        for event in unanswered.said {
            match event {
                BranchEvent::Offer { sdp } => offered = Some(sdp),
                BranchEvent::Candidate(Some(candidate)) => {
                    self.remember(&candidate);
                    sent.push(candidate);
                }
                _ => {}
            }
        }
        let sdp = offered.unwrap_or_default();
        self.state = State::Offered {
            deadline: now + ANSWER_WITHIN,
            offer: Box::new(Offer {
                // It was read when it was made.
                facts: OfferFacts::read(&sdp).unwrap_or_default(),
                sdp,
                sent,
                early: Vec::new(),
                repeats: 0,
                repeat_at: Some(now + REPEAT_AFTER),
            }),
        };
    }
}
