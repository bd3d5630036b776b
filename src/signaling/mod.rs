//! The line to the lobby: Engine.IO 4 and Socket.IO 5 over one WebSocket.
//!
//! From the wire inwards: [`engineio`] and [`socketio`] know packets, [`session`] knows a
//! conversation of them (all sans-io: frames and instants go in, outputs are drained),
//! [`message`] knows what host and lobby say to each other, and [`client`] owns the socket.

pub mod backoff;
pub mod client;
pub mod credentials;
pub mod dial;
pub mod engineio;
pub mod message;
pub mod probe;
pub mod resolve;
pub mod session;
pub mod socketio;
