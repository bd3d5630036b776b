//! Cheap WebRTC viewers: they speak to a lobby as a browser page does, receive a stream with str0m,
//! and know when a frame is complete without decoding it.

pub mod bench;
pub mod broken;
pub mod churn;
pub mod clock;
pub mod crowd;
pub mod frames;
pub mod hmac;
pub mod host;
pub mod idle;
pub mod line;
pub mod lobby;
pub mod log;
pub mod measure;
pub mod parts;
pub mod peer;
pub mod soak;
pub mod stats;
pub mod threads;
pub mod tokens;
pub mod viewer;
