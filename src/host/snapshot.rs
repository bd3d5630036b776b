//! The host at one moment, for whoever asks.

use std::time::Duration;

use tokio::sync::oneshot;

use super::{roster::Counts, tally::Tally};
use crate::{
    media::{BranchId, Rendition, statistics::BranchStatistics},
    signaling::message::ViewerId,
};

/// What the host knows without asking anybody.
#[derive(Debug)]
pub struct HostSnapshot {
    /// In the order in which they joined.
    pub viewers: Vec<Watching>,
    /// What the encoders are set to, in bit/s: of the first rendition, and of the second while it is needed.
    pub bitrates: Vec<(Rendition, u32)>,
    /// Branches on their way out.
    pub closing: usize,
    pub counts: Counts,
    pub tally: Tally,
}

/// One viewer.
#[derive(Debug)]
pub struct Watching {
    /// The viewer's place, from 1 to the most viewers that there may be. Free again when it leaves.
    pub number: usize,
    pub id: ViewerId,
    pub branch: BranchId,
    /// One of [`super::viewer::State::NAMES`].
    pub state: &'static str,
    /// Since its join.
    pub age: Duration,
    /// What it is sent; `None` until it is sent anything.
    pub rendition: Option<Rendition>,
    /// Where its branch tells how the connection does: soon, or never where the branch hangs. `None` without an
    /// open branch, and while an earlier question is not answered.
    pub statistics: Option<oneshot::Receiver<BranchStatistics>>,
}
