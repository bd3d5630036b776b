//! The lobby's vocabulary.

use std::fmt;

/// The lobby's name for a stream; a new one each time the host goes live.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(String);

/// The lobby's name for a viewer: the id of the viewer's own socket.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ViewerId(String);

macro_rules! text_id {
    ($name:ident) => {
        impl $name {
            pub fn new(text: impl Into<String>) -> Self {
                Self(text.into())
            }
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}
text_id!(StreamId);
text_id!(ViewerId);

/// An ICE candidate as a browser writes it (`RTCIceCandidateInit`, W3C WebRTC §4.8.1.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// `candidate:…` without a leading `a=`; never empty (an end of candidates is `None` one level up).
    pub candidate: String,
    pub sdp_mid: Option<String>,
    pub sdp_mline_index: Option<u16>,
    pub username_fragment: Option<String>,
}

/// What the lobby says to the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    ViewerJoin {
        stream_id: StreamId,
        viewer: ViewerId,
    },
    ViewerLeft {
        stream_id: StreamId,
        viewer: ViewerId,
    },
    Answer {
        stream_id: StreamId,
        from: ViewerId,
        sdp: String,
    },
    /// `None` ends the viewer's candidates.
    Candidate {
        stream_id: StreamId,
        from: ViewerId,
        candidate: Option<Candidate>,
    },
}

/// What the host says to the lobby.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outgoing {
    Offer {
        stream_id: StreamId,
        to: ViewerId,
        sdp: String,
    },
    /// `None` ends the host's candidates.
    Candidate {
        stream_id: StreamId,
        to: ViewerId,
        candidate: Option<Candidate>,
    },
    /// Ours, ignored by lobbies that do not know it: `live:viewer-refused {streamId, to, reason, max}`.
    ViewerRefused {
        stream_id: StreamId,
        to: ViewerId,
        reason: Refusal,
    },
}

/// Why a viewer is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// All `max` places are taken.
    Full { max: usize },
}
