//! The live picture of a running daemon: what `perch status` shows and `/metrics` exports.
//!
//! [`Status`] is the shape of `perch status --json`, described in docs/observe.md: its names are stable, new ones
//! may join them. It is put together when somebody asks, and costs nothing otherwise.

pub mod observer;
pub mod socket;
mod text;

use std::{collections::BTreeMap, fs};

use serde::{Deserialize, Serialize};

pub(crate) use text::{many, span};

use crate::host::tally::Histogram;

/// Raised when a name changes its meaning or goes.
pub const SHAPE: u32 = 1;

/// How a daemon is. Times are in seconds, sizes in bytes, shares from 0 to 1.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    pub shape: u32,
    pub version: String,
    pub pid: u32,
    pub uptime_s: f64,
    /// The stream's title.
    pub title: String,
    /// Whether a viewer with a place is served: there is a line to the lobby, and the camera's picture. A host that
    /// is full serves.
    pub serving: bool,
    /// Why not.
    pub reason: Option<String>,
    pub lobby: LobbyStatus,
    pub camera: CameraStatus,
    /// How many may watch at once.
    pub viewers_max: usize,
    /// In the order in which they joined.
    pub viewers: Vec<ViewerStatus>,
    pub totals: Totals,
    pub process: Process,
    #[serde(skip)]
    pub went_live: Histogram,
    #[serde(skip)]
    pub first_frame: Histogram,
}

/// The line to the lobby.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LobbyStatus {
    /// Where it is; nothing secret.
    pub address: String,
    /// Whether it is the one inside the daemon.
    pub embedded: bool,
    /// `dialing` (never live so far), `live` or `down`.
    pub state: String,
    /// How long it has been so.
    pub for_s: Option<f64>,
    /// Why it is down: a stable name, and a sentence.
    pub cause: Option<String>,
    pub why: Option<String>,
    /// Dials in a row that came to nothing.
    pub failures: u64,
    pub next_dial_s: Option<f64>,
}

/// The camera and its encoder.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CameraStatus {
    /// `starting`, `live`, `silent`, `stopping`, `waiting`, `idle` or `ended`.
    pub state: String,
    /// `encoder` or `camera`: what is off while nobody watches, where it is idle.
    pub off: Option<String>,
    pub for_s: f64,
    /// Whether viewers are shown the slate instead of its picture.
    pub slate: bool,
    pub profile: Option<String>,
    pub device: Option<String>,
    pub encoder: Option<String>,
    /// What is wrong: a stable name, and a sentence.
    pub fault: Option<String>,
    pub why: Option<String>,
    pub next_start_s: Option<f64>,
    /// Frames per second that leave the encoder, over the last second.
    pub fps: Option<f64>,
    /// What they amount to.
    pub bits_per_s: Option<f64>,
    /// What the encoder is set to, by rendition: the second is among them while somebody needs it.
    pub target_bits_per_s: BTreeMap<String, u32>,
    /// How long a frame was in the encoder, over the last second's mean.
    pub encoder_latency_s: Option<f64>,
    pub source_frames: u64,
    pub encoded_frames: u64,
    pub keyframes: u64,
    pub encoded_bytes: u64,
    /// How long frames were in the encoder, in all, and how many frames that was.
    pub encoder_latency_sum_s: f64,
    pub encoder_latency_frames: u64,
    /// How often it was taken down, by the name of the fault.
    pub restarts: BTreeMap<String, u64>,
}

/// One viewer.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ViewerStatus {
    /// Its place, from 1 to `viewers_max`; given again when it leaves.
    pub number: usize,
    /// The beginning of the lobby's id.
    pub id: String,
    /// As in the log.
    pub branch: u64,
    /// `waiting`, `opening`, `offered`, `connecting`, `live` or `disconnected`.
    pub state: String,
    /// Since it joined.
    pub for_s: f64,
    /// `first` or `second`: the full picture or the smaller one.
    pub rendition: Option<String>,
    /// RTP payload, over the last second.
    pub bits_per_s: Option<f64>,
    pub sent_bytes: Option<u64>,
    pub sent_packets: Option<u64>,
    pub lost_packets: Option<u64>,
    /// Between the viewer's last two reports.
    pub loss: Option<f64>,
    pub round_trip_s: Option<f64>,
    /// `direct` or `relay`.
    pub path: Option<String>,
}

/// Counts since the start.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Totals {
    pub joined: u64,
    pub refused: u64,
    /// The same by the reason's name.
    pub refusals: BTreeMap<String, u64>,
    pub went_live: u64,
    /// From join to media, on average.
    pub join_to_media_s: Option<f64>,
    pub disconnected: u64,
    pub recovered: u64,
    /// Messages of viewers that nothing followed from.
    pub ignored: u64,
    /// Branches that were replaced, by the reason's name.
    pub rebuilt: BTreeMap<String, u64>,
    /// By the reason's name.
    pub ended: BTreeMap<String, u64>,
    /// Branches that are being taken down now.
    pub closing: usize,
    pub line_live: u64,
    pub line_lost: u64,
}

/// What the daemon takes of the machine.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Process {
    pub resident_bytes: u64,
    pub threads: u64,
    pub descriptors: u64,
}

impl Process {
    /// Of this very process, as far as `/proc` tells.
    fn own() -> Self {
        let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse().ok()
        };
        // The directory that is being read is one more.
        let descriptors = fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count());
        Self {
            resident_bytes: field("VmRSS:").unwrap_or(0_u64) * 1024,
            threads: field("Threads:").unwrap_or_default(),
            descriptors: descriptors.saturating_sub(1) as u64,
        }
    }
}
