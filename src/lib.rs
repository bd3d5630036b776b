//! Perch: the userland of a camera appliance.
//!
//! The camera is encoded once; every viewer that the lobby announces gets a branch of its own
//! (one `webrtcbin`), and nothing but a reference to the encoded frame is handed over per viewer.
//! ARCHITECTURE.md draws the two ways through the code.

pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod doctor;
pub mod files;
pub mod host;
pub mod lobby;
pub mod media;
pub mod metrics;
pub mod network;
pub mod news;
pub mod say;
pub mod secret;
pub mod sentence;
pub mod signaling;
pub mod status;
pub mod systemd;
pub mod telemetry;
