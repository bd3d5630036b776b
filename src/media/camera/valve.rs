//! What keeps frames from the encoder while nobody watches.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use gst::prelude::*;

/// Open at first. Clones are handles to the same one.
#[derive(Debug, Clone)]
pub struct Valve {
    closed: Arc<AtomicBool>,
}

impl Valve {
    /// Before `encoder`. What is asked of the same pad later is not asked about a frame that is dropped here.
    pub fn before(encoder: &gst::Element) -> Option<Self> {
        let pad = encoder.static_pad("sink")?;
        let closed = Arc::new(AtomicBool::new(false));
        let is_closed = closed.clone();
        pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
            if is_closed.load(Ordering::Acquire) {
                gst::PadProbeReturn::Drop
            } else {
                gst::PadProbeReturn::Ok
            }
        });
        Some(Self { closed })
    }

    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    pub fn open(&self) {
        self.closed.store(false, Ordering::Release);
    }
}
