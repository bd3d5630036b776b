//! The embedded lobby from outside, over real sockets.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod abuse;
mod endings;
mod entrance;
mod line;
mod talk;
mod tls;
mod wire;
