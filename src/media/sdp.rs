//! Answers and candidates, checked before `webrtcbin` sees them. Pure.

mod answer;
mod candidate;
mod offer;
mod policy;
mod transport;

pub use answer::{
    ANSWER_BYTES_MAX, ANSWER_CANDIDATES_MAX, ANSWER_LINES_MAX, AnswerFault, CheckedAnswer,
    check_answer,
};
pub use candidate::{CANDIDATE_BYTES_MAX, CandidateFault, CheckedCandidate, check_candidate};
pub use offer::{OfferFacts, OfferFault};
pub use policy::CandidatePolicy;

#[cfg(test)]
mod tests;
