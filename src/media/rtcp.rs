//! What a viewer's RTCP says of its connection. Pure; reads bytes from the network.
//!
//! Browsers estimate what arrives at them and say it in REMB messages (draft-alvestrand-rmcat-remb-03), which cost the sender
//! nothing per packet. They are of the picture alone: libwebrtc's receivers leave sound out of such an estimate
//! (`ReceiveSideCongestionController::OnReceivedPacket`). Of packets that are numbered they say when each arrived instead.

mod arrived;

use super::arrivals::Arrival;

/// RTCP packet types (RFC 3550 §12.1, RFC 4585 §6.1).
const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const TRANSPORT_FEEDBACK: u8 = 205;
const PAYLOAD_FEEDBACK: u8 = 206;
/// The formats that ask for packets again (RFC 4585 §6.2.1) and that say when packets arrived
/// (draft-holmer-rmcat-transport-wide-cc-extensions-01 §3.1), and that of application layer feedback (RFC 4585 §6.4).
const GENERIC_NACK: u8 = 1;
const TRANSPORT_WIDE: u8 = 15;
const APPLICATION: u8 = 15;

/// One viewer's connection, as the viewer sees it.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Way {
    /// What it is estimated to carry of the picture, in bit/s.
    pub bandwidth: Option<u64>,
    /// The share of packets lost since the report before, 0 to 1; of the stream that lost most.
    pub loss: Option<f64>,
    /// What it was sent over the last second, in bit/s: of the picture, and beside it as a probe. No viewer says that: it
    /// is measured here.
    pub sent: Option<u64>,
    /// What of that was a probe.
    pub beside: u64,
    /// What comes out of a queue on the way at this moment, in bit/s, where plainly more is sent ([`super::arrivals`]).
    pub carries: Option<u64>,
    /// The share of what is sent that a full queue drops at this moment, 0 to 1 ([`super::flight`]).
    pub excess: Option<f64>,
}

/// What one packet of a viewer's RTCP says of a stream.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Feedback {
    /// See [`Way::bandwidth`].
    pub bandwidth: Option<u64>,
    /// See [`Way::loss`].
    pub loss: Option<f64>,
    /// The latest packet that arrived, by its sequence number.
    pub received: Option<u16>,
    /// The sequence numbers of those that did not, and are asked for.
    pub missing: Vec<u16>,
    /// Of whichever stream.
    pub arrived: Option<Arrived>,
}

/// When numbered packets arrived.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Arrived {
    /// Which of the pieces of such feedback it is, all of them counted.
    pub count: u8,
    /// In the order of their numbers.
    pub arrivals: Vec<Arrival>,
}

impl Feedback {
    /// Reads a compound packet (RFC 3550 §6.1), as far as it is one. `media` is the stream that is spoken of; what is
    /// said of others is left out.
    pub fn read(compound: &[u8], media: u32) -> Self {
        let mut feedback = Self::default();
        let mut rest = compound;
        while let Some((packet, after)) = split_packet(rest) {
            feedback.read_packet(&packet, media);
            rest = after;
        }
        feedback
    }

    fn read_packet(&mut self, packet: &Packet, media: u32) {
        match packet.kind {
            SENDER_REPORT => self.read_reports(packet, 24, media),
            RECEIVER_REPORT => self.read_reports(packet, 4, media),
            TRANSPORT_FEEDBACK if packet.count == GENERIC_NACK => {
                self.read_missing(packet.body, media);
            }
            // One at most, as browsers send them.
            TRANSPORT_FEEDBACK if packet.count == TRANSPORT_WIDE && self.arrived.is_none() => {
                self.arrived = arrived::read(packet.body);
            }
            PAYLOAD_FEEDBACK if packet.count == APPLICATION => {
                if let Some(bandwidth) = remb(packet.body) {
                    self.bandwidth = Some(bandwidth);
                }
            }
            _ => {}
        }
    }

    /// Report blocks of 24 bytes begin at `offset` (RFC 3550 §6.4.1).
    fn read_reports(&mut self, packet: &Packet, offset: usize, media: u32) {
        let blocks = packet.body.get(offset..).unwrap_or_default();
        for block in blocks.chunks_exact(24).take(usize::from(packet.count)) {
            if word(block, 0) == Some(media) {
                let share = f64::from(block[4]) / 256.0;
                self.loss = Some(self.loss.unwrap_or_default().max(share));
                // Of 32 bits the lower half; the upper counts how often it wrapped around.
                self.received = word(block, 8).map(|extended| extended as u16);
            }
        }
    }

    /// Each word is a sequence number, and a bit for each of the sixteen after it (RFC 4585 §6.2.1).
    fn read_missing(&mut self, body: &[u8], media: u32) {
        if word(body, 4) != Some(media) {
            return;
        }
        for item in body.get(8..).unwrap_or_default().chunks_exact(4) {
            let first = u16::from_be_bytes([item[0], item[1]]);
            let after = u16::from_be_bytes([item[2], item[3]]);
            self.missing.push(first);
            let others = (0..16).filter(|bit| after & (1 << bit) != 0);
            self.missing
                .extend(others.map(|bit| first.wrapping_add(bit + 1)));
        }
    }
}

/// Whether an estimate has fallen, in bit/s: by more than the estimator's own unrest. One that stays says nothing new.
pub fn fell(bandwidth: u64, before: u64) -> bool {
    (bandwidth as f64) < before as f64 * 0.98
}

struct Packet<'a> {
    /// Reception reports, or the feedback's format.
    count: u8,
    kind: u8,
    /// What follows the four bytes of the header.
    body: &'a [u8],
}

/// The first packet, and what follows it.
fn split_packet(bytes: &[u8]) -> Option<(Packet<'_>, &[u8])> {
    let head = word(bytes, 0)?.to_be_bytes();
    // Version 2 (RFC 3550 §6.4.1); the length is in words, without the first.
    if head[0] >> 6 != 2 {
        return None;
    }
    let length = usize::from(u16::from_be_bytes([head[2], head[3]])) * 4;
    let body = bytes.get(4..4 + length)?;
    let packet = Packet {
        count: head[0] & 0x1f,
        kind: head[1],
        body,
    };
    Some((packet, &bytes[4 + length..]))
}

/// Bit/s out of a REMB: 18 bits of mantissa, 6 of exponent.
fn remb(body: &[u8]) -> Option<u64> {
    // Who sends it, whom it is about (nobody), and then what it is.
    let fci = body.get(8..)?;
    if fci.get(..4)? != b"REMB" {
        return None;
    }
    let head = word(fci, 4)?;
    let exponent = (head >> 18) & 0x3f;
    let mantissa = u64::from(head & 0x3_ffff);
    // Beyond 64 bits is as good as no limit.
    Some(if exponent > 63 - 18 {
        u64::MAX
    } else {
        mantissa << exponent
    })
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes(four.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEDIA: u32 = 0x1234_5678;

    /// A receiver report, a sender's description and a REMB, as Chromium sends them together.
    fn compound() -> Vec<u8> {
        let mut bytes = vec![0x81, 201, 0, 7, 0, 0, 0, 1];
        bytes.extend(MEDIA.to_be_bytes());
        // 64 of 256 lost, nine in all, and what came last is the fifth after the numbers wrapped around for the second time.
        bytes.extend([64, 0, 0, 9, 0, 2, 0, 5]);
        bytes.extend([0; 12]);
        bytes.extend([0x81, 202, 0, 2, 0, 0, 0, 1, 1, 1, b'x', 0]);
        bytes.extend([0x8f, 206, 0, 5, 0, 0, 0, 1, 0, 0, 0, 0]);
        bytes.extend(b"REMB");
        // One SSRC; exponent 3, mantissa 131072.
        bytes.extend([1, (3 << 2) | 0b10, 0, 0]);
        bytes.extend(MEDIA.to_be_bytes());
        bytes
    }

    #[test]
    fn loss_and_bandwidth_are_read_out_of_one_packet() {
        let feedback = Feedback::read(&compound(), MEDIA);
        assert_eq!(
            feedback,
            Feedback {
                bandwidth: Some(131_072 << 3),
                loss: Some(0.25),
                received: Some(5),
                ..Feedback::default()
            }
        );
        // What another stream lost is not the picture's.
        let other = Feedback::read(&compound(), 7);
        assert_eq!((other.loss, other.received), (None, None));
    }

    #[test]
    fn the_packets_that_are_asked_for_are_read_out_of_their_bits() {
        let mut bytes = vec![0x81, 205, 0, 4, 0, 0, 0, 1];
        bytes.extend(MEDIA.to_be_bytes());
        bytes.extend([0xff, 0xfe, 0b1000_0000, 0b0000_0011]);
        bytes.extend([0, 40, 0, 0]);
        let missing = Feedback::read(&bytes, MEDIA).missing;
        assert_eq!(missing, [65_534, 65_535, 0, 14, 40]);
        assert!(Feedback::read(&bytes, 7).missing.is_empty(), "another's");
        bytes[0] = 0x82;
        assert!(Feedback::read(&bytes, MEDIA).missing.is_empty());
    }

    #[test]
    fn what_is_cut_off_or_no_rtcp_says_nothing_more() {
        let whole = compound();
        for end in 0..whole.len() {
            let feedback = Feedback::read(&whole[..end], MEDIA);
            assert_eq!(feedback.bandwidth, None, "{end}");
            assert_eq!(feedback.loss.is_some(), end >= 32, "{end}");
        }
        let nothing = Feedback::default();
        for version in [0x01, 0x41, 0xc1] {
            let mut other = whole.clone();
            other[0] = version;
            assert_eq!(Feedback::read(&other, MEDIA), nothing);
        }
        // A count of reports that are not there, a length beyond the end.
        let empty = [0x9f, 201, 0, 1, 0, 0, 0, 1];
        assert_eq!(Feedback::read(&empty, MEDIA), nothing);
        let long = [0x81, 201, 0xff, 0xff, 0, 0, 0, 1];
        assert_eq!(Feedback::read(&long, MEDIA), nothing);
    }

    #[test]
    fn an_estimate_without_end_is_one() {
        let mut bytes = compound();
        let at = bytes.len() - 7;
        bytes[at] = 0xff;
        assert_eq!(Feedback::read(&bytes, MEDIA).bandwidth, Some(u64::MAX));
    }
}
