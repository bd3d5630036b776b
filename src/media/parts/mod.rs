//! Elements of GStreamer's that `webrtcbin` makes by their factories' names, replaced in this process by ones that cost
//! less. `webrtcbin` stays what it is: whatever stands behind a name has the properties and pads that it asks for.
//!
//! What each of them saves is in `benches/RESULTS.md`. `PERCH_PARTS` names those that are to be replaced, for
//! measurements and to find the one that is at fault: `PERCH_PARTS= perch run` takes none.

mod nice;
mod nicesink;
mod passage;
mod rtprtxsend;
mod srtp;
mod srtpenc;

use std::{collections::HashSet, env};

pub use self::srtpenc::SrtpEnc;

/// The dynamic payload type of sound (RFC 3551 §6), as browsers number it.
pub const AUDIO_PAYLOAD_TYPE: u8 = 111;

/// Which of them are replaced, where not all are: names separated by commas.
const VARIABLE: &str = "PERCH_PARTS";

struct Part {
    factory: &'static str,
    /// That has GStreamer's own.
    plugin: &'static str,
    register: fn() -> Result<(), glib::BoolError>,
}

const PARTS: [Part; 5] = [
    Part {
        factory: "srtpenc",
        plugin: "srtp",
        register: srtpenc::register,
    },
    Part {
        factory: "nicesink",
        plugin: "nice",
        register: nicesink::register,
    },
    Part {
        factory: "rtprtxsend",
        plugin: "rtpmanager",
        register: rtprtxsend::register,
    },
    Part {
        factory: "rtpulpfecenc",
        plugin: "rtp",
        register: passage::register_ulpfec,
    },
    Part {
        factory: "rtpredenc",
        plugin: "rtp",
        register: passage::register_red,
    },
];

/// Once, before the first `webrtcbin`. A part that cannot be replaced stays GStreamer's.
pub fn replace() {
    let chosen = env::var(VARIABLE).ok();
    let chosen: Option<HashSet<&str>> = chosen.as_ref().map(|names| names.split(',').collect());
    for part in PARTS {
        if chosen
            .as_ref()
            .is_some_and(|names| !names.contains(part.factory))
        {
            continue;
        }
        // A plugin that is loaded later would put its own element in the place of ours.
        let replaced = gst::Plugin::load_by_name(part.plugin).and_then(|_| (part.register)());
        if let Err(error) = replaced {
            tracing::debug!(part = part.factory, %error, "GStreamer's own element is used");
        }
    }
}
