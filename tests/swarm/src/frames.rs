//! From RTP packets to frames, without decoding: which are complete, which are keyframes, what was lost.
//!
//! Sans-io: time is an argument. RTP (RFC 3550) numbers the packets, the marker bit ends a frame
//! (RFC 6184 §5.1), and the NAL unit types (RFC 6184 §5.2 to 5.8) tell a keyframe from the rest.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// A packet that is missing this long is lost: retransmissions come within a round trip or not at all.
const PATIENCE: Duration = Duration::from_millis(500);
/// Packets kept behind a hole, about two seconds of 2 Mbit/s.
const MOST_AHEAD: usize = 512;

/// One packet, as far as frames are concerned.
#[derive(Debug, Clone, Copy)]
struct Piece {
    at: Instant,
    marker: bool,
    /// The payload begins a NAL unit; a frame can only begin here.
    starts: bool,
    /// A part of an instantaneous decoder refresh (NAL type 5) is in it.
    idr: bool,
    /// A sequence parameter set (NAL type 7) is in it.
    sps: bool,
}

/// A frame that a decoder could have shown: complete, and nothing missing since its keyframe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    pub keyframe: bool,
    /// When the packet that completed the frame came.
    pub at: Instant,
}

#[derive(Debug, Default, Clone, Copy)]
struct Assembly {
    /// Every packet from the frame's start is there.
    whole: bool,
    idr: bool,
    sps: bool,
}

/// Follows one H.264 stream.
#[derive(Debug, Default)]
pub struct FrameTracker {
    /// The next sequence number in order (extended, so that it never wraps).
    next: Option<u64>,
    /// Packets behind a hole.
    ahead: BTreeMap<u64, Piece>,
    frame: Assembly,
    /// A keyframe came and nothing was lost since.
    decodable: bool,
    /// Since when frames come that cannot be decoded.
    blind_since: Option<Instant>,
    lost: u64,
}

impl FrameTracker {
    /// Packets that never came.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Since when packets come that no decoder could use, or `None` when all is well.
    pub fn blind_since(&self) -> Option<Instant> {
        self.blind_since
    }

    /// Takes one packet and hands every frame that it completes to `on_frame`, in order.
    pub fn packet(
        &mut self,
        at: Instant,
        sequence: u64,
        marker: bool,
        payload: &[u8],
        mut on_frame: impl FnMut(Frame),
    ) {
        let piece = Piece::read(at, marker, payload);
        let next = *self.next.get_or_insert_with(|| {
            self.frame.whole = piece.starts;
            sequence
        });
        if sequence < next {
            return;
        }
        if sequence > next {
            self.ahead.insert(sequence, piece);
            self.give_up_on_old_holes(at, &mut on_frame);
            return;
        }
        self.in_order(piece, at, &mut on_frame);
        self.drain_ahead(at, &mut on_frame);
    }

    fn drain_ahead(&mut self, at: Instant, on_frame: &mut impl FnMut(Frame)) {
        while let Some(entry) = self.ahead.first_entry() {
            if Some(*entry.key()) != self.next {
                return;
            }
            let piece = entry.remove();
            self.in_order(piece, at, on_frame);
        }
    }

    fn give_up_on_old_holes(&mut self, at: Instant, on_frame: &mut impl FnMut(Frame)) {
        let Some((&first, piece)) = self.ahead.first_key_value() else {
            return;
        };
        if at.duration_since(piece.at) < PATIENCE && self.ahead.len() <= MOST_AHEAD {
            return;
        }
        self.lost += first - self.next.expect("something is ahead of it");
        self.next = Some(first);
        self.decodable = false;
        self.blind_since.get_or_insert(at);
        // Only what begins a keyframe can be trusted to begin a frame after a hole.
        self.frame = Assembly {
            whole: piece.sps,
            ..Assembly::default()
        };
        self.drain_ahead(at, on_frame);
    }

    fn in_order(&mut self, piece: Piece, at: Instant, on_frame: &mut impl FnMut(Frame)) {
        self.next = self.next.map(|next| next + 1);
        self.frame.idr |= piece.idr;
        self.frame.sps |= piece.sps;
        if !piece.marker {
            return;
        }
        let frame = std::mem::take(&mut self.frame);
        self.frame.whole = true;
        let keyframe = frame.whole && frame.idr && frame.sps;
        self.decodable |= keyframe;
        if self.decodable && frame.whole {
            self.blind_since = None;
            on_frame(Frame { keyframe, at });
        } else {
            self.blind_since.get_or_insert(at);
        }
    }
}

impl Piece {
    fn read(at: Instant, marker: bool, payload: &[u8]) -> Self {
        let mut piece = Self {
            at,
            marker,
            starts: true,
            idr: false,
            sps: false,
        };
        match payload {
            // STAP-A: a list of NAL units, each behind its 16-bit length.
            [head, rest @ ..] if head & 0x1f == 24 => {
                let mut rest = rest;
                while let [high, low, unit, ..] = *rest {
                    piece.note(unit & 0x1f);
                    let length = usize::from(u16::from_be_bytes([high, low]));
                    rest = rest.get(2 + length..).unwrap_or_default();
                    if length == 0 {
                        break;
                    }
                }
            }
            // FU-A: a fragment of one NAL unit.
            [head, fragment, ..] if head & 0x1f == 28 => {
                piece.starts = fragment & 0x80 != 0;
                piece.note(fragment & 0x1f);
            }
            [head, ..] => piece.note(head & 0x1f),
            [] => piece.starts = false,
        }
        piece
    }

    fn note(&mut self, nal_type: u8) {
        self.idr |= nal_type == 5;
        self.sps |= nal_type == 7;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPS_PPS: &[u8] = &[24, 0, 2, 0x67, 1, 0, 2, 0x68, 1];
    const IDR_START: &[u8] = &[28, 0x85, 1, 2];
    const IDR_END: &[u8] = &[28, 0x45, 1, 2];
    const DELTA: &[u8] = &[0x41, 1, 2, 3];

    struct Stream {
        start: Instant,
        tracker: FrameTracker,
        frames: Vec<(u64, bool)>,
    }

    impl Stream {
        fn new() -> Self {
            Self {
                start: Instant::now(),
                tracker: FrameTracker::default(),
                frames: Vec::new(),
            }
        }

        fn packet(&mut self, ms: u64, sequence: u64, marker: bool, payload: &[u8]) -> &mut Self {
            let at = self.start + Duration::from_millis(ms);
            let start = self.start;
            let frames = &mut self.frames;
            self.tracker.packet(at, sequence, marker, payload, |frame| {
                let ms = frame.at.duration_since(start).as_millis();
                frames.push((u64::try_from(ms).expect("short"), frame.keyframe));
            });
            self
        }

        fn keyframe(&mut self, ms: u64, sequence: u64) -> &mut Self {
            self.packet(ms, sequence, false, SPS_PPS)
                .packet(ms, sequence + 1, false, IDR_START)
                .packet(ms, sequence + 2, true, IDR_END)
        }
    }

    #[test]
    fn a_keyframe_and_its_deltas_are_frames() {
        let mut stream = Stream::new();
        stream.keyframe(5, 70_000).packet(38, 70_003, true, DELTA);
        assert_eq!(stream.frames, [(5, true), (38, false)]);
        assert_eq!(stream.tracker.lost(), 0);
        assert_eq!(stream.tracker.blind_since(), None);
    }

    #[test]
    fn nothing_counts_before_the_first_keyframe() {
        let mut stream = Stream::new();
        stream.packet(0, 1, true, DELTA).packet(33, 2, true, DELTA);
        assert_eq!(stream.frames, []);
        assert_eq!(stream.tracker.blind_since(), Some(stream.start));
        stream.keyframe(66, 3);
        assert_eq!(stream.frames, [(66, true)]);
        assert_eq!(stream.tracker.blind_since(), None);
    }

    #[test]
    fn an_idr_without_parameter_sets_cannot_be_decoded() {
        let mut stream = Stream::new();
        stream
            .packet(0, 1, false, IDR_START)
            .packet(0, 2, true, IDR_END);
        assert_eq!(stream.frames, []);
    }

    #[test]
    fn a_late_packet_completes_its_frame_and_those_behind_it() {
        let mut stream = Stream::new();
        stream
            .keyframe(0, 1)
            .packet(66, 5, true, DELTA)
            .packet(80, 4, true, DELTA)
            .packet(81, 4, true, DELTA);
        assert_eq!(stream.frames, [(0, true), (80, false), (80, false)]);
        assert_eq!(stream.tracker.lost(), 0);
    }

    #[test]
    fn after_a_loss_only_a_keyframe_counts_again() {
        let mut stream = Stream::new();
        stream.keyframe(0, 1).packet(66, 6, true, DELTA);
        stream.packet(600, 7, true, DELTA);
        assert_eq!(stream.tracker.lost(), 2);
        assert!(stream.tracker.blind_since().is_some());
        stream.packet(633, 8, true, DELTA).keyframe(666, 9);
        assert_eq!(stream.frames, [(0, true), (666, true)]);
        assert_eq!(stream.tracker.blind_since(), None);
    }

    #[test]
    fn a_keyframe_behind_the_hole_counts_at_once() {
        let mut stream = Stream::new();
        stream.keyframe(0, 1).keyframe(66, 6).keyframe(700, 9);
        assert_eq!(stream.frames, [(0, true), (700, true), (700, true)]);
        assert_eq!(stream.tracker.lost(), 2);
    }

    #[test]
    fn a_hole_within_a_keyframe_spoils_it() {
        let mut stream = Stream::new();
        stream
            .packet(0, 1, false, SPS_PPS)
            .packet(0, 3, true, IDR_END)
            .packet(700, 4, true, DELTA);
        assert_eq!(stream.frames, []);
        assert_eq!(stream.tracker.lost(), 1);
    }

    #[test]
    fn odd_payloads_are_read_without_panic() {
        let mut stream = Stream::new();
        for (sequence, payload) in [&[][..], &[24], &[24, 0, 0, 5], &[24, 255, 255, 5], &[28]]
            .into_iter()
            .enumerate()
        {
            stream.packet(0, sequence as u64, true, payload);
        }
        assert_eq!(stream.frames, []);
    }
}
