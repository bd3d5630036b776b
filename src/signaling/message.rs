//! The lobby's vocabulary: tolerant in what is received, strict in what is sent.

use std::fmt;

use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use thiserror::Error;

/// The longest id that is taken from a lobby, in characters. Socket.IO's own have 20.
const LONGEST_ID: usize = 128;

/// The longest session description that is taken, in bytes. An answer with one video and one audio
/// section has about 5 kB.
const LONGEST_SDP: usize = 64 * 1024;

/// The longest candidate line that is taken, in bytes.
const LONGEST_CANDIDATE: usize = 2048;

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
    /// Ours, ignored by lobbies that do not know it: `live:camera {streamId, camera}`.
    Camera { stream_id: StreamId, camera: Shown },
    /// Ours, ignored by lobbies that do not know it: `live:rendition {streamId, to, rendition, reason}`.
    Rendition {
        stream_id: StreamId,
        to: ViewerId,
        rendition: &'static str,
        reason: &'static str,
    },
}

/// What viewers are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Shown {
    /// The camera's picture. It is what is taken for granted where nothing is said.
    #[default]
    Live,
    /// The slate: the camera gave a picture and does not any more.
    Lost,
    /// The slate: the camera has not given a picture yet.
    Waiting,
}

impl Shown {
    const ALL: [Self; 3] = [Self::Live, Self::Lost, Self::Waiting];

    /// Its name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Lost => "lost",
            Self::Waiting => "waiting",
        }
    }

    /// What has this name on the wire.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|shown| shown.name() == name)
    }
}

/// Why a viewer is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// All `max` places are taken.
    Full { max: usize },
    /// It, or all together, join too often, or too many are still on their way in.
    Busy,
}

impl Refusal {
    /// Every reason's stable name, for statistics.
    pub const NAMES: [&str; 2] = ["full", "busy"];

    /// This one's.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Full { .. } => Self::NAMES[0],
            Self::Busy => Self::NAMES[1],
        }
    }
}

/// A message of the lobby that cannot be acted upon. The caller drops and counts it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum MessageError {
    #[error("{event} came without a payload")]
    NoPayload { event: &'static str },
    #[error("{event}: {why}")]
    Payload { event: &'static str, why: String },
    #[error("{event}: {field} is not an id of 1 to {LONGEST_ID} printable characters")]
    Id {
        event: &'static str,
        field: &'static str,
    },
    #[error("{event}: {field} of {size} bytes is too long")]
    TooLong {
        event: &'static str,
        field: &'static str,
        size: usize,
    },
    #[error("{event}: the answer is of type {found:?}")]
    NotAnAnswer { event: &'static str, found: String },
}

/// The lobby did not put the stream on the air.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StartError {
    #[error("the lobby did not take the stream: {0}")]
    Refused(String),
    #[error("the lobby's answer to live:start holds no usable streamId: {0}")]
    Unusable(String),
}

pub const LIVE_START: &str = "live:start";
pub const LIVE_END: &str = "live:end";
const VIEWER_JOIN: &str = "live:viewer-join";
const VIEWER_LEFT: &str = "live:viewer-left";
const SIGNAL_OFFER: &str = "live:signal-offer";
const SIGNAL_ANSWER: &str = "live:signal-answer";
const SIGNAL_ICE: &str = "live:signal-ice";
const VIEWER_REFUSED: &str = "live:viewer-refused";
const CAMERA: &str = "live:camera";
const RENDITION: &str = "live:rendition";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireViewer {
    stream_id: String,
    viewer_socket_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireAnswer {
    stream_id: String,
    from: String,
    answer: WireDescription,
}

#[derive(Deserialize)]
struct WireDescription {
    #[serde(rename = "type")]
    kind: Option<String>,
    sdp: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireIce {
    stream_id: String,
    from: String,
    candidate: Option<WireCandidate>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireCandidate {
    candidate: Option<String>,
    sdp_mid: Option<String>,
    #[serde(
        default,
        rename = "sdpMLineIndex",
        deserialize_with = "index_or_nothing"
    )]
    sdp_mline_index: Option<u16>,
    username_fragment: Option<String>,
}

/// An index that makes no sense counts as none: `sdpMid` says the same.
fn index_or_nothing<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u16>, D::Error> {
    let value = Option::<Value>::deserialize(deserializer)?;
    Ok(value
        .as_ref()
        .and_then(Value::as_u64)
        .and_then(|index| u16::try_from(index).ok()))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireStarted {
    stream_id: String,
}

impl Incoming {
    /// Reads an event. `Ok(None)` is an event that does not concern the host: the lobby's list, the
    /// rest of the app's chatter.
    pub fn parse(event: &str, args: Vec<Value>) -> Result<Option<Self>, MessageError> {
        let payload = args.into_iter().next();
        match event {
            VIEWER_JOIN => {
                let (stream_id, viewer) = parse_viewer(VIEWER_JOIN, payload)?;
                Ok(Some(Self::ViewerJoin { stream_id, viewer }))
            }
            VIEWER_LEFT => {
                let (stream_id, viewer) = parse_viewer(VIEWER_LEFT, payload)?;
                Ok(Some(Self::ViewerLeft { stream_id, viewer }))
            }
            SIGNAL_ANSWER => parse_answer(payload).map(Some),
            SIGNAL_ICE => parse_ice(payload).map(Some),
            _ => Ok(None),
        }
    }
}

fn parse_viewer(
    event: &'static str,
    payload: Option<Value>,
) -> Result<(StreamId, ViewerId), MessageError> {
    let wire: WireViewer = read(event, payload)?;
    Ok((
        StreamId(checked_id(event, "streamId", wire.stream_id)?),
        ViewerId(checked_id(event, "viewerSocketId", wire.viewer_socket_id)?),
    ))
}

fn parse_answer(payload: Option<Value>) -> Result<Incoming, MessageError> {
    let event = SIGNAL_ANSWER;
    let wire: WireAnswer = read(event, payload)?;
    if let Some(kind) = wire.answer.kind
        && kind != "answer"
    {
        let found = kind.chars().take(20).collect();
        return Err(MessageError::NotAnAnswer { event, found });
    }
    Ok(Incoming::Answer {
        stream_id: StreamId(checked_id(event, "streamId", wire.stream_id)?),
        from: ViewerId(checked_id(event, "from", wire.from)?),
        sdp: at_most(event, "sdp", wire.answer.sdp, LONGEST_SDP)?,
    })
}

fn parse_ice(payload: Option<Value>) -> Result<Incoming, MessageError> {
    let event = SIGNAL_ICE;
    let wire: WireIce = read(event, payload)?;
    let candidate = match wire.candidate {
        Some(wire) => parse_candidate(wire)?,
        None => None,
    };
    Ok(Incoming::Candidate {
        stream_id: StreamId(checked_id(event, "streamId", wire.stream_id)?),
        from: ViewerId(checked_id(event, "from", wire.from)?),
        candidate,
    })
}

fn parse_candidate(wire: WireCandidate) -> Result<Option<Candidate>, MessageError> {
    let event = SIGNAL_ICE;
    let line = wire.candidate.unwrap_or_default();
    let line = line.trim();
    let line = line.strip_prefix("a=").unwrap_or(line);
    if line.is_empty() {
        return Ok(None);
    }
    let short = |field, text: Option<String>| {
        text.map(|text| at_most(event, field, text, LONGEST_ID))
            .transpose()
    };
    Ok(Some(Candidate {
        candidate: at_most(event, "candidate", line.to_owned(), LONGEST_CANDIDATE)?,
        sdp_mid: short("sdpMid", wire.sdp_mid)?,
        sdp_mline_index: wire.sdp_mline_index,
        // RFC 8839 §5.4 allows 256 characters; browsers use 4 and some libraries 16.
        username_fragment: wire
            .username_fragment
            .map(|text| at_most(event, "usernameFragment", text, 256))
            .transpose()?,
    }))
}

fn read<T: for<'de> Deserialize<'de>>(
    event: &'static str,
    payload: Option<Value>,
) -> Result<T, MessageError> {
    let payload = payload.ok_or(MessageError::NoPayload { event })?;
    T::deserialize(payload).map_err(|error| MessageError::Payload {
        event,
        // serde quotes the offending value, which may be as long as a frame.
        why: error.to_string().chars().take(200).collect(),
    })
}

fn checked_id(
    event: &'static str,
    field: &'static str,
    text: String,
) -> Result<String, MessageError> {
    let fits = !text.is_empty() && text.chars().take(LONGEST_ID + 1).count() <= LONGEST_ID;
    if fits && !text.chars().any(char::is_control) {
        Ok(text)
    } else {
        Err(MessageError::Id { event, field })
    }
}

fn at_most(
    event: &'static str,
    field: &'static str,
    text: String,
    most: usize,
) -> Result<String, MessageError> {
    if text.len() <= most {
        Ok(text)
    } else {
        let size = text.len();
        Err(MessageError::TooLong { event, field, size })
    }
}

/// Reads the acknowledgement of `live:start`: `{ok: true, streamId}`, where some servers leave out `ok`.
pub fn parse_started(args: Vec<Value>) -> Result<StreamId, StartError> {
    let Some(reply) = args.into_iter().next() else {
        return Err(StartError::Unusable("it is empty".to_owned()));
    };
    let error = reply.get("error").or_else(|| reply.get("message"));
    let refused = match reply.get("ok") {
        Some(ok) => ok != &Value::Bool(true),
        None => reply == Value::Bool(false) || (error.is_some() && reply.get("streamId").is_none()),
    };
    if refused {
        let why = match error {
            Some(Value::String(text)) => {
                text.chars().filter(|c| !c.is_control()).take(200).collect()
            }
            _ => "it gave no reason".to_owned(),
        };
        return Err(StartError::Refused(why));
    }
    read::<WireStarted>(LIVE_START, Some(reply))
        .and_then(|wire| checked_id(LIVE_START, "streamId", wire.stream_id))
        .map(StreamId)
        .map_err(|error| StartError::Unusable(error.to_string()))
}

/// The payload of `live:start`.
pub fn start_payload(title: &str) -> Value {
    json!({ "title": title })
}

/// The payload of `live:end`.
pub fn end_payload(stream_id: &StreamId) -> Value {
    json!({ "streamId": stream_id.as_str() })
}

impl Outgoing {
    /// The event's name and its one argument.
    pub fn to_event(&self) -> (&'static str, Value) {
        match self {
            Self::Offer { stream_id, to, sdp } => (
                SIGNAL_OFFER,
                json!({
                    "streamId": stream_id.as_str(),
                    "to": to.as_str(),
                    "offer": { "type": "offer", "sdp": sdp },
                }),
            ),
            Self::Candidate {
                stream_id,
                to,
                candidate,
            } => (
                SIGNAL_ICE,
                json!({
                    "streamId": stream_id.as_str(),
                    "to": to.as_str(),
                    "candidate": candidate_payload(candidate.as_ref()),
                }),
            ),
            Self::ViewerRefused {
                stream_id,
                to,
                reason: Refusal::Busy,
            } => (
                VIEWER_REFUSED,
                json!({
                    "streamId": stream_id.as_str(),
                    "to": to.as_str(),
                    "reason": "busy",
                }),
            ),
            Self::ViewerRefused {
                stream_id,
                to,
                reason: Refusal::Full { max },
            } => (
                VIEWER_REFUSED,
                json!({
                    "streamId": stream_id.as_str(),
                    "to": to.as_str(),
                    "reason": "full",
                    "max": max,
                }),
            ),
            Self::Camera { stream_id, camera } => (
                CAMERA,
                json!({ "streamId": stream_id.as_str(), "camera": camera.name() }),
            ),
            Self::Rendition {
                stream_id,
                to,
                rendition,
                reason,
            } => (
                RENDITION,
                json!({
                    "streamId": stream_id.as_str(),
                    "to": to.as_str(),
                    "rendition": rendition,
                    "reason": reason,
                }),
            ),
        }
    }
}

/// `RTCIceCandidateInit`. The end of candidates is an empty string for the bundle's first section, as
/// browsers write it themselves, and not `null`: pages wrap what comes in `new RTCIceCandidate(…)`,
/// which throws on `null`. The section goes by its index: only the offer knows the names.
fn candidate_payload(candidate: Option<&Candidate>) -> Value {
    let Some(candidate) = candidate else {
        return json!({ "candidate": "", "sdpMid": null, "sdpMLineIndex": 0 });
    };
    let mut payload = json!({
        "candidate": candidate.candidate,
        "sdpMid": candidate.sdp_mid,
        "sdpMLineIndex": candidate.sdp_mline_index,
    });
    if let Some(fragment) = &candidate.username_fragment {
        payload["usernameFragment"] = Value::from(fragment.as_str());
    }
    payload
}

#[cfg(test)]
mod tests;
