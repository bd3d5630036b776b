//! Which packets are sent again. A viewer asks for what it misses, and asks again while it waits; where its connection
//! is full, each answer makes it fuller. Without a bound, 700 kbit/s on a link of 1 Mbit/s were seen to lose half of
//! their packets for seconds, the other half of the link being retransmissions of the same few.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use gst::prelude::*;

use super::transport::when_made;
use crate::media::{
    flight::{Flight, is_after},
    rtcp::Feedback,
};

/// Packets that may be sent again, for each one sent: a link that loses a fifth at random needs a quarter.
const SHARE: f64 = 0.4;
/// So many more in a burst, and for a start.
const BURST: f64 = 32.0;
/// The same packet is not sent again sooner.
const ONCE_IN: Duration = Duration::from_millis(40);
/// A packet that a viewer will not be sent any more is a picture that never comes, for which browsers of libwebrtc's family wait for
/// three seconds before they ask for a keyframe: they are given one unasked, and the next not sooner.
const KEYFRAME_ONCE_IN: Duration = Duration::from_millis(500);
/// While it is decided what a viewer is sent whose connection is full, its queue is not filled up with what it may not need
/// any more. Whoever misses a packet for long asks again.
const HELD: Duration = Duration::from_millis(50);
/// For so long viewers may ask for what was sent before a change to another rendition.
const PAST: Duration = Duration::from_secs(3);
/// What GStreamer calls a request for one packet (`gstrtpsession.c`, 1.22).
const REQUEST: &str = "GstRTPRetransmissionRequest";
/// In a request that no viewer made.
const OWN: &str = "own";

/// What may be sent again. Pure.
#[derive(Debug)]
struct Budget {
    left: f64,
    /// The latest packet's sequence number.
    latest: u16,
    /// What was sent up to this one is of no use any more; since when.
    past: Option<(u16, Instant)>,
    /// Sequence numbers of late, and when they were sent again.
    lately: VecDeque<(u16, Instant)>,
    /// When a keyframe was given in the place of packets.
    keyframe: Option<Instant>,
    /// Nothing is sent again until then.
    held: Option<Instant>,
}

/// What comes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Again,
    Nothing,
    /// It would be too much.
    Keyframe,
}

impl Budget {
    fn new() -> Self {
        Self {
            left: BURST,
            latest: 0,
            past: None,
            lately: VecDeque::new(),
            keyframe: None,
            held: None,
        }
    }

    fn sent(&mut self, packets: usize, latest: u16) {
        self.left = (self.left + packets as f64 * SHARE).min(BURST);
        self.latest = latest;
    }

    fn forget(&mut self, now: Instant) {
        self.past = Some((self.latest, now));
    }

    fn hold(&mut self, now: Instant) {
        self.held = Some(now + HELD);
    }

    fn is_past(&self, sequence: u16, now: Instant) -> bool {
        self.past.is_some_and(|(last, since)| {
            !is_after(sequence, last) && now.saturating_duration_since(since) < PAST
        })
    }

    fn answers(&mut self, sequence: u16, now: Instant) -> Answer {
        if self.is_past(sequence, now) || self.held.is_some_and(|end| now < end) {
            return Answer::Nothing;
        }
        while let Some((_, at)) = self.lately.front()
            && now.saturating_duration_since(*at) >= ONCE_IN
        {
            self.lately.pop_front();
        }
        if self.lately.iter().any(|(lately, _)| *lately == sequence) {
            return Answer::Nothing;
        }
        if self.left < 1.0 {
            let is_due = |at: Instant| now.saturating_duration_since(at) >= KEYFRAME_ONCE_IN;
            if !self.keyframe.is_none_or(is_due) {
                return Answer::Nothing;
            }
            self.keyframe = Some(now);
            return Answer::Keyframe;
        }
        self.left -= 1.0;
        self.lately.push_back((sequence, now));
        Answer::Again
    }
}

/// The bounds on one branch's retransmissions, and what is on its way. Clones are of the same.
#[derive(Debug, Clone)]
pub(super) struct Retransmissions(Arc<Mutex<Sending>>);

#[derive(Debug)]
struct Sending {
    budget: Budget,
    flight: Flight,
}

impl Retransmissions {
    /// Bounds what `webrtcbin` will send again of the picture, whose SSRC this is: sound comes through the same element, and
    /// is not kept. Before it makes its transport.
    pub fn bound(webrtcbin: &gst::Element, picture: u32) -> Result<Self, String> {
        let bounds = Self(Arc::new(Mutex::new(Sending {
            budget: Budget::new(),
            flight: Flight::default(),
        })));
        let watching = bounds.clone();
        when_made(webrtcbin, "rtprtxsend", move |sender| {
            watching.watch(sender, picture);
        })?;
        Ok(bounds)
    }

    /// What has been sent so far is of no use to the viewer any more.
    pub fn forget(&self, now: Instant) {
        let mut sending = self.sending();
        sending.budget.forget(now);
        sending.flight.forget();
    }

    /// The share of what is sent that the way drops, if the viewer's feedback speaks of that ([`Flight::hears`]).
    pub fn dropped(&self, feedback: &Feedback, now: Instant) -> Option<f64> {
        self.sending().flight.hears(feedback, now)
    }

    /// Nothing is sent again for a moment.
    pub fn hold(&self, now: Instant) {
        self.sending().budget.hold(now);
    }

    /// What goes into `rtprtxsend` is sent for the first time; requests come up to its other end.
    fn watch(&self, sender: &gst::Element, picture: u32) {
        let (Some(sink), Some(source)) = (sender.static_pad("sink"), sender.static_pad("src"))
        else {
            return;
        };
        let fed = self.clone();
        let kind = gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST;
        sink.add_probe(kind, move |_, info| {
            let sent = match (info.buffer_list(), info.buffer()) {
                (Some(list), _) => list
                    .len()
                    .checked_sub(1)
                    .and_then(|last| Some((list.len(), stream_of(list.get(last)?)?))),
                (None, Some(packet)) => stream_of(packet).map(|stream| (1, stream)),
                (None, None) => None,
            };
            if let Some((packets, (ssrc, latest))) = sent
                && ssrc == picture
            {
                let mut sending = fed.sending();
                sending.budget.sent(packets, latest);
                sending.flight.sent(latest, Instant::now());
            }
            gst::PadProbeReturn::Ok
        });
        let (asked, sink) = (self.clone(), sink.downgrade());
        source.add_probe(gst::PadProbeType::EVENT_UPSTREAM, move |_, info| {
            let request = info.event().and_then(|event| event.structure());
            let request = request.filter(|it| it.has_name(REQUEST) && !it.has_field(OWN));
            let number = request.and_then(|request| request.get::<u32>("seqnum").ok());
            let Some(number) = number.and_then(|number| u16::try_from(number).ok()) else {
                return gst::PadProbeReturn::Ok;
            };
            let answer = asked.sending().budget.answers(number, Instant::now());
            if let (Answer::Keyframe, Some(sink)) = (answer, sink.upgrade()) {
                // As if the viewer had asked for it.
                let wanted = gst_video::UpstreamForceKeyUnitEvent::builder();
                sink.push_event(wanted.all_headers(true).build());
            }
            match answer {
                Answer::Again => gst::PadProbeReturn::Ok,
                // Not "Drop": of an event that Rust has dropped already, 1.22 then drops nothing once more ("assertion
                // 'mini_object != NULL' failed").
                Answer::Nothing | Answer::Keyframe => gst::PadProbeReturn::Handled,
            }
        });
    }

    fn sending(&self) -> MutexGuard<'_, Sending> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request of our own for a packet of the stream `ssrc`, which is not counted among the viewer's.
pub(super) fn request(ssrc: u32, sequence: u16) -> gst::Event {
    let asked = gst::Structure::builder(REQUEST)
        .field("ssrc", ssrc)
        .field("seqnum", u32::from(sequence))
        .field(OWN, true)
        .build();
    gst::event::CustomUpstream::new(asked)
}

/// An RTP packet's SSRC and sequence number (RFC 3550 §5.1).
pub(super) fn stream_of(packet: &gst::BufferRef) -> Option<(u32, u16)> {
    let mut head = [0; 12];
    (packet.size() >= head.len() && packet.copy_to_slice(0, &mut head).is_ok()).then(|| {
        let [.., a, b, c, d] = head;
        (
            u32::from_be_bytes([a, b, c, d]),
            u16::from_be_bytes([head[2], head[3]]),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants(budget: &mut Budget, sequence: u16, now: Instant) -> bool {
        budget.answers(sequence, now) == Answer::Again
    }

    #[test]
    fn a_packet_is_sent_again_once_in_a_while() {
        let mut budget = Budget::new();
        let now = Instant::now();
        assert!(grants(&mut budget, 7, now));
        assert!(!grants(&mut budget, 7, now + ONCE_IN / 2));
        assert!(grants(&mut budget, 8, now + ONCE_IN / 2));
        assert!(grants(&mut budget, 7, now + ONCE_IN));
        assert!(budget.lately.len() <= 2, "what is past is forgotten");
    }

    #[test]
    fn retransmissions_stay_a_share_of_what_is_sent() {
        let mut budget = Budget::new();
        let now = Instant::now();
        let mut granted = 0;
        let mut asked = 0;
        // Everything is missed, and asked for twice.
        for packet in 0..10_000u16 {
            budget.sent(1, packet);
            for _ in 0..2 {
                asked += 1;
                let now = now + ONCE_IN * u32::from(packet);
                granted += u32::from(grants(&mut budget, asked, now));
            }
        }
        let most = 10_000.0 * SHARE + BURST;
        assert!(f64::from(granted) <= most, "{granted}");
        assert!(f64::from(granted) >= most - BURST - 1.0, "{granted}");
        // A fifth lost, and a fifth of what is sent again: nobody is refused.
        let mut budget = Budget::new();
        for packet in 0..10_000u16 {
            budget.sent(1, packet);
            if packet % 4 == 0 {
                let now = now + ONCE_IN * u32::from(packet);
                assert!(grants(&mut budget, packet, now), "{packet}");
            }
        }
    }

    #[test]
    fn what_came_before_a_change_is_not_sent_again() {
        let mut budget = Budget::new();
        let now = Instant::now();
        budget.sent(1, 2);
        budget.forget(now);
        for (number, granted) in [(2, false), (1, false), (65_535, false), (3, true)] {
            assert_eq!(grants(&mut budget, number, now), granted, "{number}");
        }
        assert!(
            grants(&mut budget, 2, now + PAST),
            "it will be another by then"
        );
    }

    #[test]
    fn nothing_is_sent_again_while_it_is_decided_what_else_is() {
        let mut budget = Budget::new();
        let now = Instant::now();
        budget.hold(now);
        assert_eq!(budget.answers(7, now + HELD / 2), Answer::Nothing);
        assert_eq!(budget.answers(7, now + HELD), Answer::Again);
    }

    #[test]
    fn who_asks_for_more_than_that_is_given_a_keyframe_now_and_then() {
        let mut budget = Budget::new();
        let now = Instant::now();
        for packet in 0..BURST as u16 {
            assert!(grants(&mut budget, packet, now));
        }
        assert_eq!(budget.answers(100, now), Answer::Keyframe);
        assert_eq!(budget.answers(101, now), Answer::Nothing);
        assert_eq!(budget.answers(1, now), Answer::Nothing, "it was just sent");
        let later = now + KEYFRAME_ONCE_IN;
        assert_eq!(budget.answers(101, later), Answer::Keyframe);
        budget.sent(5, 102);
        assert_eq!(budget.answers(102, later), Answer::Again);
    }
}
