//! The line to the lobby: golden transcripts, and the client against servers that replay them.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod client;
mod golden;
mod hours;
mod pressure;
mod replay;
mod tls;
