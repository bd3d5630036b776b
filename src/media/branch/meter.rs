//! What a viewer is sent: of the picture, and beside it, to see whether it would come through. An encoder's bitrate is what
//! it may take, and of a quiet scene it takes a tenth of that; what a viewer says of its connection is to be compared with
//! what was on its way.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use gst::prelude::*;

/// As far back as a receiver looks (libwebrtc's `RemoteBitrateEstimator`).
const WINDOW: Duration = Duration::from_secs(1);

/// What was sent of late. Pure.
#[derive(Debug, Default)]
struct Lately {
    began: Option<Instant>,
    /// When each part was sent, and its bytes.
    sent: VecDeque<(Instant, usize)>,
}

impl Lately {
    fn count(&mut self, bytes: usize, now: Instant) {
        self.began.get_or_insert(now);
        self.sent.push_back((now, bytes));
        self.forget(now);
    }

    fn forget(&mut self, now: Instant) {
        let old = |at: Instant| now.saturating_duration_since(at) >= WINDOW;
        while self.sent.front().is_some_and(|(at, _)| old(*at)) {
            self.sent.pop_front();
        }
    }

    /// Bit/s over the last second; `None` until it is a second.
    fn bitrate(&mut self, now: Instant) -> Option<u64> {
        let whole = now.saturating_duration_since(self.began?) >= WINDOW;
        let bits = self.bits(now);
        whole.then_some(bits)
    }

    /// Bits of the last second.
    fn bits(&mut self, now: Instant) -> u64 {
        self.forget(now);
        let bytes: usize = self.sent.iter().map(|(_, bytes)| bytes).sum();
        bytes as u64 * 8
    }
}

/// Of one track. Clones are of the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Meter(Arc<Mutex<Counts>>);

#[derive(Debug, Default)]
struct Counts {
    pictures: Lately,
    beside: Lately,
}

impl Meter {
    /// Counts the pictures that come in here.
    pub fn watch(&self, pad: &gst::Pad) {
        let meter = self.clone();
        pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
            if let Some(picture) = info.buffer() {
                meter
                    .counts()
                    .pictures
                    .count(picture.size(), Instant::now());
            }
            gst::PadProbeReturn::Ok
        });
    }

    /// Counts what is sent beside the pictures, in bytes.
    pub fn count(&self, bytes: usize, now: Instant) {
        self.counts().beside.count(bytes, now);
    }

    /// Bit/s over the last second, of the pictures, where there has been one, and beside them.
    pub fn bitrates(&self, now: Instant) -> (Option<u64>, u64) {
        let mut counts = self.counts();
        let beside = counts.beside.bits(now);
        (counts.pictures.bitrate(now), beside)
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_was_sent_within_the_last_second() {
        let (mut pictures, start) = (Lately::default(), Instant::now());
        assert_eq!(pictures.bitrate(start), None);
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        for picture in 0..100 {
            pictures.count(1000, at(picture * 100));
            let bitrate = pictures.bitrate(at(picture * 100));
            assert_eq!(bitrate, (picture >= 10).then_some(80_000), "{picture}");
        }
        assert_eq!(pictures.bitrate(at(10_400)), Some(40_000));
        assert_eq!(pictures.bitrate(at(20_000)), Some(0), "a silence counts");
        assert!(pictures.sent.is_empty());
    }
}
