//! Whether a connection carries more than the picture it is sent: packets of that picture, sent again on purpose.
//!
//! A better picture to try it with costs its viewer up to a second where it turns out to be too much: it begins with a
//! keyframe, which takes most of that second to come through or is lost on the way. Retransmissions of packets that have
//! arrived already are thrown away by every receiver, and counted in its estimate (libwebrtc's senders probe in the
//! same way, "payload padding"). As much more as is wanted goes out before the next picture: for a moment after each
//! there would have to be a thread.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use gst::prelude::*;

use super::{
    meter::Meter,
    retransmission::{self, request},
    transport::when_made,
};

/// What is due since longer ago than this is let go: after a pause there would be a burst.
const AT_MOST: Duration = Duration::from_millis(100);
/// Of one picture's packets, so many are sent again at most.
const MOST_PACKETS: usize = 64;

/// What one branch is sent beyond its picture. Clones are of the same.
#[derive(Debug, Clone)]
pub(super) struct Prober {
    /// Bit/s; 0: nothing.
    bitrate: Arc<AtomicU32>,
    meter: Meter,
}

/// The packets that went out last, and what is due.
#[derive(Debug, Default)]
struct Sent {
    at: Option<Instant>,
    /// Sequence numbers and bytes.
    packets: Vec<(u16, usize)>,
    /// Bytes.
    due: f64,
    /// How many packets had been sent again in all, and the mean size of those asked for last.
    count: Option<u32>,
    size: usize,
}

impl Sent {
    /// Which of the packets before are to be sent again now, in order, for so many bit/s.
    fn again(&mut self, bitrate: u32, now: Instant) -> Vec<(u16, usize)> {
        let passed = self.at.replace(now).map_or(Duration::ZERO, |at| {
            now.saturating_duration_since(at).min(AT_MOST)
        });
        self.due += f64::from(bitrate) / 8.0 * passed.as_secs_f64();
        let mut again = Vec::new();
        let mut packets = self.packets.iter().cycle().take(MOST_PACKETS);
        while let Some(&(number, size)) = packets.next().filter(|(_, size)| self.due > *size as f64)
        {
            self.due -= size as f64;
            again.push((number, size));
        }
        if again.len() == MOST_PACKETS || self.packets.is_empty() {
            self.due = 0.0;
        }
        again
    }

    /// Bytes that went out since the last time, by the number of packets sent again in all: those that were asked for, but
    /// none where nothing is kept for the viewer.
    fn went_out(&mut self, count: u32, asked: &[(u16, usize)]) -> usize {
        let bytes: usize = asked.iter().map(|(_, size)| size).sum();
        self.size = bytes.checked_div(asked.len()).unwrap_or(self.size);
        let before = self.count.replace(count).unwrap_or(count);
        count.wrapping_sub(before) as usize * self.size
    }
}

impl Prober {
    /// Sends packets of the picture, whose SSRC this is, again through what `webrtcbin` keeps them in; the meter counts what
    /// comes of it, which is nothing where the viewer takes no retransmissions. Before it makes its transport.
    pub fn attach(webrtcbin: &gst::Element, picture: u32, meter: Meter) -> Result<Self, String> {
        let prober = Self {
            bitrate: Arc::default(),
            meter,
        };
        let watching = prober.clone();
        when_made(webrtcbin, "rtprtxsend", move |sender| {
            watching.watch(sender, picture);
        })?;
        Ok(prober)
    }

    /// So many bit/s more from now on; `None`: nothing.
    pub fn set(&self, bitrate: Option<u32>) {
        self.bitrate.store(bitrate.unwrap_or(0), Ordering::Relaxed);
    }

    pub fn is_on(&self) -> bool {
        self.bitrate.load(Ordering::Relaxed) > 0
    }

    /// Before each of the picture's lists of packets, on their thread, those of the list before are asked for.
    fn watch(&self, sender: &gst::Element, picture: u32) {
        let (Some(sink), Some(source)) = (sender.static_pad("sink"), sender.static_pad("src"))
        else {
            return;
        };
        let (prober, source, sender) = (self.clone(), source.downgrade(), sender.downgrade());
        let sent = Mutex::new(Sent::default());
        let kind = gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST;
        sink.add_probe(kind, move |_, info| {
            let bitrate = prober.bitrate.load(Ordering::Relaxed);
            let mut sent = sent.lock().unwrap_or_else(PoisonError::into_inner);
            if bitrate == 0 {
                *sent = Sent::default();
                return gst::PadProbeReturn::Ok;
            }
            let list = info.buffer_list().into_iter().flat_map(|list| list.iter());
            let packets = list.chain(info.buffer().map(AsRef::as_ref));
            // Sound comes through here as well.
            let packets: Vec<(u16, usize)> = packets
                .filter_map(|packet| Some((retransmission::stream_of(packet)?, packet.size())))
                .filter(|((ssrc, _), _)| *ssrc == picture)
                .map(|((_, number), size)| (number, size))
                .collect();
            if packets.is_empty() {
                return gst::PadProbeReturn::Ok;
            }
            let again = sent.again(bitrate, Instant::now());
            if let (Some(source), Some(sender)) = (source.upgrade(), sender.upgrade()) {
                for (number, _) in &again {
                    source.send_event(request(picture, *number));
                }
                let bytes = sent.went_out(sender.property("num-rtx-packets"), &again);
                prober.meter.count(bytes, Instant::now());
            }
            sent.packets = packets;
            gst::PadProbeReturn::Ok
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes a second that are sent again beside pictures of so many packets of 1000 bytes, 30 a second.
    fn through(bitrate: u32, packets: u16) -> usize {
        let mut sent = Sent::default();
        let start = Instant::now();
        let mut bytes = 0;
        for picture in 0..=30u16 {
            let at = start + Duration::from_secs(1) * u32::from(picture) / 30;
            bytes += sent
                .again(bitrate, at)
                .iter()
                .map(|(_, size)| size)
                .sum::<usize>();
            let numbers = (0..packets).map(|packet| (picture * packets + packet, 1000));
            sent.packets = numbers.collect();
        }
        bytes
    }

    #[test]
    fn as_much_more_goes_out_as_is_wanted() {
        assert_eq!(through(0, 3), 0);
        for (bitrate, packets) in [(100_000, 1), (800_000, 3), (1_600_000, 3), (4_000_000, 1)] {
            let wanted = bitrate as usize / 8;
            let bytes = through(bitrate, packets);
            assert!(
                (wanted - 1001..=wanted).contains(&bytes),
                "{bytes} of {wanted}"
            );
        }
    }

    #[test]
    fn what_went_out_is_known_by_its_number() {
        let mut sent = Sent::default();
        let asked = [(1, 1000), (2, 500)];
        assert_eq!(sent.went_out(7, &[]), 0, "those were of before");
        assert_eq!(sent.went_out(7, &asked), 0, "nothing is kept");
        assert_eq!(sent.went_out(9, &asked), 1500);
        assert_eq!(sent.went_out(10, &[]), 750, "one was late");
        sent.count = Some(u32::MAX);
        assert_eq!(sent.went_out(0, &[]), 750);
    }

    #[test]
    fn a_pause_is_not_made_up_for_and_no_picture_is_sent_again_without_end() {
        let mut sent = Sent::default();
        let start = Instant::now();
        assert_eq!(sent.again(8_000_000, start), []);
        sent.packets = vec![(7, 1000), (8, 1000)];
        let after_pause = sent.again(800_000, start + Duration::from_secs(60));
        assert_eq!(after_pause.len(), 9, "of 100 ms");
        assert_eq!(after_pause[..3], [(7, 1000), (8, 1000), (7, 1000)]);
        let most = sent.again(u32::MAX, start + Duration::from_secs(61));
        assert_eq!(most.len(), MOST_PACKETS);
        let after = sent.again(1, start + Duration::from_secs(61));
        assert_eq!(after, [], "what was too much is forgotten");
    }
}
