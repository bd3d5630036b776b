//! One conversation with a Socket.IO server, from the first frame to the last. Sans-io.
//!
//! Frames and instants go in ([`Session::text`], [`Session::binary`], [`Session::tick`]), requests of
//! the caller too ([`Session::emit`], …), and everything that follows is drained with
//! [`Session::poll`]. Call [`Session::tick`] when [`Session::deadline`] has come. The session knows
//! event names and JSON arguments and nothing of the lobby, so viewers can be built on it as well.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use thiserror::Error;

use super::{
    engineio::{self, Handshake, Heartbeat, MAX_FRAME},
    socketio::Packet,
};
use crate::secret::Secret;

/// From the open WebSocket to the accepted CONNECT.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Acknowledgements that may be awaited at once.
const MAX_PENDING_ACKS: usize = 256;

/// A text frame to be sent. `Debug` shows its type and size only: the CONNECT frame holds a token.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame(String);

impl Frame {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn into_text(self) -> String {
        self.0
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind: String = self.0.chars().take(2).collect();
        write!(f, "Frame({kind}…, {} bytes)", self.0.len())
    }
}

/// What is to be done or known, in order.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    Send(Frame),
    /// The server took the credentials; events may be emitted.
    Connected,
    Event {
        name: String,
        args: Vec<Value>,
        /// The server waits for [`Session::acknowledge`] with this id.
        ack: Option<u64>,
    },
    /// The answer to the emit that returned this id.
    Ack {
        id: u64,
        args: Vec<Value>,
    },
    AckTimeout {
        id: u64,
    },
    /// Always the last output.
    Ended(End),
}

/// Why the conversation is over.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum End {
    /// `44`: the server did not take the credentials.
    #[error("the lobby refused the token: {message}")]
    Refused { message: String },
    /// `41`: the server put us out.
    #[error("the lobby disconnected us")]
    Disconnected,
    /// Engine.IO's close packet.
    #[error("the lobby closed the session")]
    Closed,
    #[error("no ping from the lobby for {} s", .patience.as_secs_f32())]
    PingTimeout { patience: Duration },
    /// The WebSocket opened and then nothing of use came.
    #[error("no answer to {waiting_for} within {} s", HANDSHAKE_TIMEOUT.as_secs())]
    HandshakeTimeout { waiting_for: &'static str },
    #[error("what answers there is no Socket.IO 4 server: {0}")]
    NotSocketIo(String),
    /// By our own [`Session::close`].
    #[error("closed by us")]
    Left,
}

/// Why a packet was not sent.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EmitError {
    #[error("not connected")]
    NotConnected,
    #[error("a frame of {size} bytes is more than the {max} that the lobby takes")]
    TooLarge { size: usize, max: usize },
    #[error("{MAX_PENDING_ACKS} acknowledgements are awaited already")]
    TooManyAcks,
}

/// What came in and was dropped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Frames that could not be parsed or made no sense where they came.
    pub garbage: u64,
    /// Binary events and acknowledgements.
    pub binary: u64,
    /// Binary frames, with or without a packet that announced them.
    pub attachments: u64,
    /// Packets for other namespaces.
    pub foreign: u64,
    /// Acknowledgements that nobody waits for (any more).
    pub acks: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Waits for Engine.IO's handshake.
    Opening,
    /// CONNECT is sent.
    Connecting,
    Connected,
    Ended,
}

/// See the module.
#[derive(Debug)]
pub struct Session {
    state: State,
    token: Option<Secret>,
    handshake_deadline: Instant,
    heartbeat: Option<Heartbeat>,
    max_payload: usize,
    next_ack: u64,
    /// Awaited acknowledgements and the end of the patience with each.
    pending: BTreeMap<u64, Instant>,
    outputs: VecDeque<Output>,
    dropped: Dropped,
}

impl Session {
    /// A conversation over a WebSocket that opened `now`. `token` goes into the CONNECT packet as `{"token":…}`.
    pub fn new(now: Instant, token: Option<Secret>) -> Self {
        Self {
            state: State::Opening,
            token,
            handshake_deadline: now + HANDSHAKE_TIMEOUT,
            heartbeat: None,
            max_payload: usize::MAX,
            next_ack: 0,
            pending: BTreeMap::new(),
            outputs: VecDeque::new(),
            dropped: Dropped::default(),
        }
    }

    /// A text frame came.
    pub fn text(&mut self, now: Instant, frame: &str) {
        if self.state == State::Ended {
            return;
        }
        if frame.len() > MAX_FRAME {
            return self.garbage();
        }
        let packet = match engineio::Packet::parse(frame) {
            Ok(packet) => packet,
            Err(error) if self.state == State::Opening => {
                return self.end(End::NotSocketIo(error.to_string()));
            }
            Err(_) => return self.garbage(),
        };
        match packet {
            engineio::Packet::Open(handshake) if self.state == State::Opening => {
                self.opened(now, &handshake);
            }
            engineio::Packet::Close => self.end(End::Closed),
            _ if self.state == State::Opening => self.end(End::NotSocketIo(
                "its first packet is no Engine.IO handshake".to_owned(),
            )),
            engineio::Packet::Ping(payload) => {
                if let Some(heartbeat) = &mut self.heartbeat {
                    heartbeat.ping(now);
                }
                self.send(engineio::Packet::pong_for(payload).encode());
            }
            engineio::Packet::Message(text) => self.message(text),
            engineio::Packet::Noop => {}
            engineio::Packet::Open(_) | engineio::Packet::Pong(_) | engineio::Packet::Upgrade => {
                self.garbage();
            }
        }
    }

    /// A binary frame came. Its content does not matter: nothing of ours is binary.
    pub fn binary(&mut self) {
        if self.state != State::Ended {
            self.dropped.attachments += 1;
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant) {
        match self.state {
            State::Ended => return,
            State::Opening | State::Connecting if now >= self.handshake_deadline => {
                let waiting_for = match self.state {
                    State::Opening => "the WebSocket's opening",
                    _ => "CONNECT",
                };
                return self.end(End::HandshakeTimeout { waiting_for });
            }
            _ => {}
        }
        if let Some(heartbeat) = &self.heartbeat
            && heartbeat.is_dead(now)
        {
            let patience = heartbeat.patience();
            return self.end(End::PingTimeout { patience });
        }
        for (id, _) in self.pending.extract_if(.., |_, deadline| now >= *deadline) {
            self.outputs.push_back(Output::AckTimeout { id });
        }
    }

    /// When [`Session::tick`] has something to do, at the latest. `None` after the end.
    pub fn deadline(&self) -> Option<Instant> {
        let handshake = match self.state {
            State::Ended => return None,
            State::Opening | State::Connecting => Some(self.handshake_deadline),
            State::Connected => None,
        };
        let heartbeat = self.heartbeat.as_ref().map(Heartbeat::deadline);
        let acks = self.pending.values().min().copied();
        [handshake, heartbeat, acks].into_iter().flatten().min()
    }

    /// Sends an event that wants no acknowledgement.
    pub fn emit(&mut self, name: &str, args: Vec<Value>) -> Result<(), EmitError> {
        self.emit_packet(name, args, None)
    }

    /// Sends an event and waits for its acknowledgement until `now + timeout`. The id comes back in
    /// [`Output::Ack`] or [`Output::AckTimeout`].
    pub fn emit_with_ack(
        &mut self,
        now: Instant,
        name: &str,
        args: Vec<Value>,
        timeout: Duration,
    ) -> Result<u64, EmitError> {
        if self.pending.len() >= MAX_PENDING_ACKS {
            return Err(EmitError::TooManyAcks);
        }
        let id = self.next_ack;
        self.emit_packet(name, args, Some(id))?;
        self.next_ack += 1;
        self.pending.insert(id, now + timeout);
        Ok(id)
    }

    /// Answers an event that came with an acknowledgement id.
    pub fn acknowledge(&mut self, id: u64, args: Vec<Value>) -> Result<(), EmitError> {
        self.send_packet(&Packet::Ack { id, args })
    }

    /// Takes leave: DISCONNECT where connected, then the end.
    pub fn close(&mut self) {
        if self.state == State::Connected {
            self.send(encode(&Packet::Disconnect));
        }
        if self.state != State::Ended {
            self.end(End::Left);
        }
    }

    /// The next thing to do; `None` when there is nothing (left).
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    pub fn dropped(&self) -> Dropped {
        self.dropped
    }

    fn opened(&mut self, now: Instant, handshake: &Handshake) {
        self.heartbeat = Some(Heartbeat::new(handshake, now));
        self.max_payload = handshake.max_payload.unwrap_or(usize::MAX);
        self.state = State::Connecting;
        let payload = self
            .token
            .take()
            .map(|token| json!({ "token": token.expose() }));
        self.send(encode(&Packet::Connect { payload }));
    }

    fn message(&mut self, text: &str) {
        let Ok(packet) = Packet::parse(text) else {
            return self.garbage();
        };
        match (packet, self.state) {
            (Packet::Connect { .. }, State::Connecting) => {
                self.state = State::Connected;
                self.outputs.push_back(Output::Connected);
            }
            (Packet::ConnectError { message }, _) => self.end(End::Refused {
                message: printable(&message),
            }),
            (Packet::Disconnect, _) => self.end(End::Disconnected),
            (Packet::Event { name, args, ack }, State::Connected) => {
                self.outputs.push_back(Output::Event { name, args, ack });
            }
            (Packet::Ack { id, args }, State::Connected) => {
                if self.pending.remove(&id).is_some() {
                    self.outputs.push_back(Output::Ack { id, args });
                } else {
                    self.dropped.acks += 1;
                }
            }
            // Their attachments are dropped as they come, announced or not.
            (Packet::Binary { .. }, _) => self.dropped.binary += 1,
            (Packet::Foreign { .. }, _) => self.dropped.foreign += 1,
            (Packet::Connect { .. } | Packet::Event { .. } | Packet::Ack { .. }, _) => {
                self.garbage();
            }
        }
    }

    fn emit_packet(
        &mut self,
        name: &str,
        args: Vec<Value>,
        ack: Option<u64>,
    ) -> Result<(), EmitError> {
        self.send_packet(&Packet::Event {
            name: name.to_owned(),
            args,
            ack,
        })
    }

    fn send_packet(&mut self, packet: &Packet) -> Result<(), EmitError> {
        if self.state != State::Connected {
            return Err(EmitError::NotConnected);
        }
        let frame = encode(packet);
        if frame.len() > self.max_payload {
            return Err(EmitError::TooLarge {
                size: frame.len(),
                max: self.max_payload,
            });
        }
        self.send(frame);
        Ok(())
    }

    fn send(&mut self, frame: String) {
        self.outputs.push_back(Output::Send(Frame(frame)));
    }

    fn garbage(&mut self) {
        self.dropped.garbage += 1;
    }

    fn end(&mut self, end: End) {
        self.state = State::Ended;
        self.token = None;
        self.pending.clear();
        self.outputs.push_back(Output::Ended(end));
    }
}

fn encode(packet: &Packet) -> String {
    engineio::Packet::Message(&packet.encode()).encode()
}

/// A server's text, fit for a log line: bounded, on one line, and without the token should the
/// server quote it (every JWT begins with the base64url of `{"`).
fn printable(text: &str) -> String {
    const LONGEST: usize = 200;
    let words: Vec<&str> = text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .map(|word| {
            if word.contains("eyJ") {
                "(token)"
            } else {
                word
            }
        })
        .collect();
    words.join(" ").chars().take(LONGEST).collect()
}

#[cfg(test)]
mod tests;
