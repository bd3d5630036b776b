//! Engine.IO, protocol 4, over a WebSocket: packets and the ping deadline. Sans-io.
//!
//! <https://github.com/socketio/engine.io-protocol>. One text frame is one packet, its first
//! character is the type. Binary frames are messages without a type; see [`super::session`].

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The largest frame that is taken from a lobby, in bytes: the JavaScript server's own default
/// for `maxHttpBufferSize`.
pub const MAX_FRAME: usize = 1_000_000;

/// What the JavaScript server uses where its handshake names no intervals.
const DEFAULT_PING_INTERVAL: Duration = Duration::from_secs(25);
const DEFAULT_PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Longer than any sane setting and short enough to be added to any instant.
const LONGEST_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);
/// A lobby that announces less patience than this would make every line die at once.
const LEAST_PATIENCE: Duration = Duration::from_secs(1);

/// Pings carry nothing over WebSocket; what a small one carries is sent back as the protocol asks.
const LONGEST_ECHO: usize = 64;

/// A frame that is no Engine.IO packet.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PacketError {
    #[error("an empty frame")]
    Empty,
    #[error("unknown Engine.IO packet type {0:?}")]
    UnknownType(char),
    #[error("a broken Engine.IO handshake: {0}")]
    Handshake(String),
}

/// One text frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet<'a> {
    Open(Handshake),
    Close,
    Ping(&'a str),
    Pong(&'a str),
    /// Carries one Socket.IO packet.
    Message(&'a str),
    /// Belongs to the change from long-polling, which is not used here.
    Upgrade,
    Noop,
}

impl<'a> Packet<'a> {
    pub fn parse(frame: &'a str) -> Result<Self, PacketError> {
        let kind = frame.chars().next().ok_or(PacketError::Empty)?;
        let rest = &frame[kind.len_utf8()..];
        Ok(match kind {
            '0' => Self::Open(Handshake::parse(rest)?),
            '1' => Self::Close,
            '2' => Self::Ping(rest),
            '3' => Self::Pong(rest),
            '4' => Self::Message(rest),
            '5' => Self::Upgrade,
            '6' => Self::Noop,
            other => return Err(PacketError::UnknownType(other)),
        })
    }

    pub fn encode(&self) -> String {
        match self {
            Self::Open(handshake) => {
                let json = serde_json::to_string(&handshake.to_wire())
                    .expect("a struct of strings and numbers is always JSON");
                format!("0{json}")
            }
            Self::Close => "1".to_owned(),
            Self::Ping(payload) => format!("2{payload}"),
            Self::Pong(payload) => format!("3{payload}"),
            Self::Message(payload) => format!("4{payload}"),
            Self::Upgrade => "5".to_owned(),
            Self::Noop => "6".to_owned(),
        }
    }

    /// The answer to a ping with this payload.
    pub fn pong_for(payload: &'a str) -> Self {
        Self::Pong(if payload.len() <= LONGEST_ECHO {
            payload
        } else {
            ""
        })
    }
}

/// The server's first packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handshake {
    pub sid: String,
    pub ping_interval: Duration,
    pub ping_timeout: Duration,
    /// The longest frame in bytes that the server takes; older servers do not tell.
    pub max_payload: Option<usize>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct WireHandshake {
    sid: String,
    #[serde(default)]
    upgrades: Vec<String>,
    ping_interval: Option<u64>,
    ping_timeout: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_payload: Option<u64>,
}

impl Handshake {
    fn parse(json: &str) -> Result<Self, PacketError> {
        let wire: WireHandshake =
            serde_json::from_str(json).map_err(|e| PacketError::Handshake(e.to_string()))?;
        let interval = |millis: Option<u64>, default| {
            millis.map_or(default, |ms| {
                Duration::from_millis(ms).min(LONGEST_INTERVAL)
            })
        };
        Ok(Self {
            sid: wire.sid,
            ping_interval: interval(wire.ping_interval, DEFAULT_PING_INTERVAL),
            ping_timeout: interval(wire.ping_timeout, DEFAULT_PING_TIMEOUT),
            // Zero means "no limit" to some servers and can mean nothing else.
            max_payload: wire
                .max_payload
                .filter(|&bytes| bytes > 0)
                .map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX)),
        })
    }

    fn to_wire(&self) -> WireHandshake {
        let millis = |d: Duration| u64::try_from(d.as_millis()).ok();
        WireHandshake {
            sid: self.sid.clone(),
            upgrades: Vec::new(),
            ping_interval: millis(self.ping_interval),
            ping_timeout: millis(self.ping_timeout),
            max_payload: self.max_payload.and_then(|bytes| u64::try_from(bytes).ok()),
        }
    }
}

/// The server pings; a link without a ping for `pingInterval + pingTimeout` is dead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heartbeat {
    patience: Duration,
    deadline: Instant,
}

impl Heartbeat {
    pub fn new(handshake: &Handshake, now: Instant) -> Self {
        let patience = (handshake.ping_interval + handshake.ping_timeout).max(LEAST_PATIENCE);
        Self {
            patience,
            deadline: now + patience,
        }
    }

    pub fn ping(&mut self, now: Instant) {
        self.deadline = now + self.patience;
    }

    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    pub fn patience(&self) -> Duration {
        self.patience
    }

    pub fn is_dead(&self, now: Instant) -> bool {
        now >= self.deadline
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn handshake(json: &str) -> Handshake {
        match Packet::parse(&format!("0{json}")).unwrap() {
            Packet::Open(handshake) => handshake,
            other => panic!("not an open packet: {other:?}"),
        }
    }

    #[test]
    fn reads_the_javascript_servers_handshake() {
        let got = handshake(
            r#"{"sid":"x1","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#,
        );
        assert_eq!(
            got,
            Handshake {
                sid: "x1".into(),
                ping_interval: Duration::from_secs(25),
                ping_timeout: Duration::from_secs(20),
                max_payload: Some(1_000_000),
            }
        );
    }

    #[test]
    fn fills_in_what_a_handshake_leaves_out() {
        let got = handshake(r#"{"sid":"x1","maxPayload":0,"news":true}"#);
        assert_eq!(got.ping_interval, DEFAULT_PING_INTERVAL);
        assert_eq!(got.ping_timeout, DEFAULT_PING_TIMEOUT);
        assert_eq!(got.max_payload, None);
    }

    #[test]
    fn absurd_intervals_neither_overflow_nor_kill_the_line_at_once() {
        let now = Instant::now();
        let long = handshake(r#"{"sid":"x","pingInterval":18446744073709551615}"#);
        assert!(!Heartbeat::new(&long, now).is_dead(now + Duration::from_secs(3600)));
        let short = handshake(r#"{"sid":"x","pingInterval":0,"pingTimeout":0}"#);
        assert!(!Heartbeat::new(&short, now).is_dead(now + Duration::from_millis(999)));
    }

    #[test]
    fn refuses_what_is_no_packet() {
        assert_eq!(Packet::parse(""), Err(PacketError::Empty));
        assert_eq!(Packet::parse("é"), Err(PacketError::UnknownType('é')));
        for broken in ["0", "0null", "0{}", r#"0{"sid":1}"#, "0{\"sid\":\"a\""] {
            assert!(matches!(
                Packet::parse(broken),
                Err(PacketError::Handshake(_))
            ));
        }
    }

    #[test]
    fn the_deadline_moves_with_every_ping() {
        let start = Instant::now();
        let mut beat = Heartbeat::new(
            &handshake(r#"{"sid":"x","pingInterval":25000,"pingTimeout":20000}"#),
            start,
        );
        assert!(!beat.is_dead(start + Duration::from_millis(44_999)));
        assert!(beat.is_dead(start + Duration::from_secs(45)));
        beat.ping(start + Duration::from_secs(25));
        assert!(!beat.is_dead(start + Duration::from_secs(45)));
        assert_eq!(beat.deadline(), start + Duration::from_secs(70));
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused_without_a_panic(frame in "\\PC*") {
            let _ = Packet::parse(&frame);
        }

        #[test]
        fn what_is_encoded_is_parsed_back(payload in "\\PC*", kind in 0..6u8) {
            let packet = match kind {
                0 => Packet::Close,
                1 => Packet::Ping(&payload),
                2 => Packet::Pong(&payload),
                3 => Packet::Message(&payload),
                4 => Packet::Upgrade,
                _ => Packet::Noop,
            };
            let frame = packet.encode();
            prop_assert_eq!(Packet::parse(&frame), Ok(packet));
        }

        #[test]
        fn handshakes_survive_the_way_there_and_back(
            sid in "\\PC{0,20}", interval in 0..86_400_000u64, timeout in 0..86_400_000u64,
            max_payload in proptest::option::of(1..usize::MAX),
        ) {
            let packet = Packet::Open(Handshake {
                sid,
                ping_interval: Duration::from_millis(interval),
                ping_timeout: Duration::from_millis(timeout),
                max_payload,
            });
            let frame = packet.encode();
            prop_assert_eq!(Packet::parse(&frame), Ok(packet));
        }
    }
}
