//! The only folder that imports GStreamer: the camera, the branches, and what they report.

pub mod arrivals;
pub mod branch;
pub mod bus;
pub mod camera;
pub mod certificate;
pub mod check;
pub mod devices;
pub mod flight;
pub mod h264;
pub mod ice;
pub mod offer;
mod parts;
pub mod playout_delay;
pub mod profile;
pub mod room;
pub mod rtcp;
pub mod sdp;
mod shortest;
pub mod stamp;
pub mod statistics;
pub mod trial;
pub mod v4l2;

use std::sync::Once;

use self::rtcp::Way;
use crate::signaling::message::Candidate;

/// GStreamer itself does not start: an installation at fault.
#[derive(Debug, thiserror::Error)]
#[error("GStreamer does not start: {0}; reinstall libgstreamer1.0-0")]
pub struct InitError(glib::Error);

/// Starts GStreamer, once; again does nothing. Everything else in this folder needs it.
pub fn init() -> Result<(), InitError> {
    static PARTS: Once = Once::new();
    gst::init().map_err(InitError)?;
    PARTS.call_once(parts::replace);
    Ok(())
}

/// One branch; never used twice, so a late report of a closed branch can be told apart from its successor's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BranchId(pub u64);

/// One way in which the camera's picture is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Rendition {
    /// As the configuration asks for it.
    #[default]
    First,
    /// The same made smaller, encoded only while somebody's connection does not carry the first.
    Second,
}

impl Rendition {
    /// Stable, for the journal, the figures and the page.
    pub const fn name(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Second => "second",
        }
    }
}

/// Which of the process's two DTLS certificates a branch shows.
///
/// A page that gets a second offer on the peer connection that it has, because its branch was replaced,
/// keeps its DTLS association as long as the fingerprint stays the same (RFC 8842 §5), and the new
/// branch waits for a handshake that never comes. Seen with Chromium; another fingerprint mends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Certificate {
    /// GStreamer's own, made at the start.
    #[default]
    First,
    /// Made in the background after the start, or when it is needed before.
    Second,
}

impl Certificate {
    /// The one that whoever has seen this one has not.
    pub fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }
}

/// What the media side tells the host.
#[derive(Debug)]
pub enum MediaEvent {
    Branch {
        branch: BranchId,
        event: BranchEvent,
    },
    Camera(CameraEvent),
}

/// One branch's life as its `webrtcbin` sees it.
#[derive(Debug, Clone, PartialEq)]
pub enum BranchEvent {
    /// The offer, ready to be sent. No candidate is reported before it.
    Offer { sdp: String },
    /// A local candidate; `None` when gathering is complete.
    Candidate(Option<Candidate>),
    /// The answer did not go in; nothing can come of this branch.
    AnswerRejected { why: String },
    /// DTLS is up: media flows.
    Connected,
    /// The first packet of the first picture is on its way: a keyframe.
    FirstFrame,
    /// RTCP came from the viewer; told once a second at most.
    Heard,
    /// The viewer says what its connection carries, or loses.
    Way(Way),
    /// ICE has settled on a way: the foundation of our own candidate on it (RFC 8445 §5.1.1.3).
    Settled { foundation: String },
    /// ICE lost the viewer, perhaps for a moment.
    Disconnected,
    /// ICE or DTLS gave up.
    Failed,
    /// The viewer closed its side (DTLS close_notify).
    HungUp,
    /// The process has no room for this branch.
    Exhausted { why: String },
    /// An element of this branch reported an error.
    Error { why: String },
    /// The branch is gone: every thread, socket and buffer of it. Always the last event.
    Closed,
}

/// What the camera says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CameraEvent {
    /// It cannot be helped from within this process.
    Failed {
        why: String,
        /// A driver or an encoder hangs, and would hang the process's end, too.
        hangs: bool,
    },
    /// The second rendition cannot be encoded; it is not to be asked for again soon.
    NoSecond,
    /// Its picture is of another H.264 profile than offers said so far: branches that were offered the
    /// former one ([`branch::Branch::offers`]) have to be offered this one.
    Profile { profile_level_id: String },
}
