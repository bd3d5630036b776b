//! What a viewer is sent of the picture, and beside it to see whether it would come through. An encoder's bitrate is what it may take, and of a quiet scene it takes a tenth of
//! that; what a viewer says of its connection is to be compared with what was on its way.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use gst::prelude::*;

/// As far back as a receiver looks (libwebrtc's `RemoteBitrateEstimator`).
const WINDOW: Duration = Duration::from_secs(1);

/// The pictures of late. Pure.
#[derive(Debug, Default)]
struct Pictures {
    began: Option<Instant>,
    /// When each was sent, and its bytes.
    lately: VecDeque<(Instant, usize)>,
}

impl Pictures {
    fn sent(&mut self, bytes: usize, now: Instant) {
        self.began.get_or_insert(now);
        self.lately.push_back((now, bytes));
        self.forget(now);
    }

    fn forget(&mut self, now: Instant) {
        let old = |at: Instant| now.saturating_duration_since(at) >= WINDOW;
        while self.lately.front().is_some_and(|(at, _)| old(*at)) {
            self.lately.pop_front();
        }
    }

    /// Bit/s over the last second; `None` until it is a second.
    fn bitrate(&mut self, now: Instant) -> Option<u64> {
        self.forget(now);
        let whole = now.saturating_duration_since(self.began?) >= WINDOW;
        let bytes: usize = self.lately.iter().map(|(_, bytes)| bytes).sum();
        whole.then_some(bytes as u64 * 8)
    }
}

/// Of one track. Clones are of the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Meter(Arc<Mutex<Pictures>>);

impl Meter {
    /// Counts the pictures that come in here.
    pub fn watch(&self, pad: &gst::Pad) {
        let meter = self.clone();
        pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
            if let Some(picture) = info.buffer() {
                meter.pictures().sent(picture.size(), Instant::now());
            }
            gst::PadProbeReturn::Ok
        });
    }

    /// Counts what is sent beside the pictures, in bytes.
    pub fn count(&self, bytes: usize, now: Instant) {
        self.pictures().sent(bytes, now);
    }

    /// Bit/s over the last second, where there has been one.
    pub fn bitrate(&self, now: Instant) -> Option<u64> {
        self.pictures().bitrate(now)
    }

    fn pictures(&self) -> MutexGuard<'_, Pictures> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_was_sent_within_the_last_second() {
        let (mut pictures, start) = (Pictures::default(), Instant::now());
        assert_eq!(pictures.bitrate(start), None);
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        for picture in 0..100 {
            pictures.sent(1000, at(picture * 100));
            let bitrate = pictures.bitrate(at(picture * 100));
            assert_eq!(bitrate, (picture >= 10).then_some(80_000), "{picture}");
        }
        assert_eq!(pictures.bitrate(at(10_400)), Some(40_000));
        assert_eq!(pictures.bitrate(at(20_000)), Some(0), "a silence counts");
        assert!(pictures.lately.is_empty());
    }
}
