//! A picture's packets, spread over time where the viewer's connection would not take them all at once.
//!
//! A payloader sends a picture's packets together, and a keyframe is a hundred milliseconds or more of its bitrate: a
//! router in front of a narrow link lets the rest fall when its queue is full. Only viewers whose connection is known to
//! be short of something are paced; for the others it would be delay and wake-ups for nothing.

use std::{
    cell::Cell,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use gst::prelude::*;

/// Packets that go together last about so long; shorter sleeps cost more than they spread.
const TOGETHER: Duration = Duration::from_millis(5);

/// However slow a connection is said to be, a picture's packets are spread over no more than this: the branch's thread
/// has to be free for the next one, and for the branch's end.
const AT_MOST: Duration = Duration::from_millis(250);

thread_local! {
    /// What this thread pushes is paced already.
    static PUSHES: Cell<bool> = const { Cell::new(false) };
}

/// How fast one track's packets may follow each other.
#[derive(Debug, Clone, Default)]
pub(super) struct Pace(Arc<AtomicU32>);

impl Pace {
    /// From now on so many bit/s; `None`: as they come.
    pub fn set(&self, bitrate: Option<u32>) {
        self.0.store(bitrate.unwrap_or(0), Ordering::Relaxed);
    }

    /// Bit/s.
    fn bitrate(&self) -> Option<f64> {
        let bitrate = self.0.load(Ordering::Relaxed);
        (bitrate > 0).then(|| f64::from(bitrate))
    }

    /// Paces what leaves here, on the branch's own streaming thread, which waits for nothing else.
    pub fn govern(&self, pad: &gst::Pad) {
        let pace = self.clone();
        pad.add_probe(gst::PadProbeType::BUFFER_LIST, move |pad, info| {
            let (Some(bitrate), Some(list)) = (pace.bitrate(), info.buffer_list()) else {
                return gst::PadProbeReturn::Ok;
            };
            if PUSHES.get() || list.len() < 2 {
                return gst::PadProbeReturn::Ok;
            }
            PUSHES.set(true);
            spread(pad, list, bitrate);
            PUSHES.set(false);
            gst::PadProbeReturn::Drop
        });
    }
}

/// Pushes the packets a few at a time, each few when the link is through with those before.
fn spread(pad: &gst::Pad, list: &gst::BufferListRef, bitrate: f64) {
    let mut free = Instant::now();
    let end = free + AT_MOST;
    let mut few = gst::BufferList::new();
    let mut lasts = Duration::ZERO;
    let mut rest = list.len();
    for packet in list.iter_owned() {
        rest -= 1;
        lasts += Duration::from_secs_f64(packet.size() as f64 * 8.0 / bitrate);
        few.make_mut().add(packet);
        if lasts < TOGETHER && rest > 0 {
            continue;
        }
        thread::sleep(free.min(end).saturating_duration_since(Instant::now()));
        // Fails only while the branch is being closed.
        if pad
            .push_list(std::mem::replace(&mut few, gst::BufferList::new()))
            .is_err()
        {
            return;
        }
        free += std::mem::take(&mut lasts);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const PACKETS: usize = 40;
    const SIZE: usize = 1000;

    /// When each of a picture's packets came through, and their number.
    fn through(pace: &Pace) -> (Duration, usize) {
        crate::media::init().expect("GStreamer starts");
        let source = gst::Pad::builder(gst::PadDirection::Src)
            .name("src")
            .build();
        let (comes, packets) = mpsc::channel();
        let sink = gst::Pad::builder(gst::PadDirection::Sink)
            .name("sink")
            .chain_list_function(move |_, _, list| {
                let _ = comes.send((Instant::now(), list.len()));
                Ok(gst::FlowSuccess::Ok)
            })
            .build();
        pace.govern(&source);
        source.link(&sink).expect("linked");
        for pad in [&sink, &source] {
            pad.set_active(true).expect("active");
        }
        let segment = gst::FormattedSegment::<gst::ClockTime>::new();
        assert!(source.push_event(gst::event::StreamStart::new("test")));
        assert!(source.push_event(gst::event::Segment::new(&segment)));
        let mut list = gst::BufferList::new();
        for _ in 0..PACKETS {
            let packet = gst::Buffer::with_size(SIZE).expect("memory");
            list.make_mut().add(packet);
        }
        // Dropped by the probe is not an error.
        assert!(source.push_list(list).is_ok());
        drop((source, sink));
        let came: Vec<_> = packets.try_iter().collect();
        let number = came.iter().map(|(_, number)| number).sum();
        let (first, last) = (came.first().expect("some"), came.last().expect("some"));
        (last.0 - first.0, number)
    }

    #[test]
    fn nobody_can_make_a_branch_wait_for_long() {
        let pace = Pace::default();
        pace.set(Some(1));
        let (lasted, number) = through(&pace);
        assert_eq!(number, PACKETS);
        assert!(lasted < AT_MOST * 4, "{lasted:?}");
    }

    #[test]
    fn a_picture_is_sent_at_once_unless_it_is_too_much_at_once() {
        let pace = Pace::default();
        let (lasted, number) = through(&pace);
        assert_eq!((lasted, number), (Duration::ZERO, PACKETS), "in one list");

        pace.set(Some(1_300_000));
        let (lasted, number) = through(&pace);
        assert_eq!(number, PACKETS, "none is lost");
        let whole = (PACKETS * SIZE * 8) as f64 / 1_300_000.0;
        // The last few do not wait for themselves to be through.
        assert!(
            lasted.as_secs_f64() > whole * 0.9,
            "{lasted:?} of {whole} s"
        );
    }
}
