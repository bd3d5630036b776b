//! The line to the lobby: Engine.IO 4 and Socket.IO 5 over one WebSocket.

pub mod backoff;
pub mod client;
pub mod credentials;
pub mod engineio;
pub mod message;
pub mod socketio;
