//! As much of RTP (RFC 3550), RTCP (RFC 4585) and H.264 in it (RFC 6184) as the feed and the floor need.

/// What the feed's packets are numbered with.
pub const PAYLOAD_TYPE: u8 = 96;
pub const CLOCK_RATE: u32 = 90_000;
const HEADER: usize = 12;

/// The fields of an RTP packet that the feed sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    pub marker: bool,
    pub sequence: u16,
    pub timestamp: u32,
}

/// Writes one packet.
pub fn write(packet: &mut Vec<u8>, header: Header, ssrc: u32, payload: &[u8]) {
    packet.clear();
    packet.extend([0x80, u8::from(header.marker) << 7 | PAYLOAD_TYPE]);
    packet.extend(header.sequence.to_be_bytes());
    packet.extend(header.timestamp.to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.extend(payload);
}

/// Reads what [`write()`] writes: a packet without extensions, padding and contributors.
pub fn read(packet: &[u8]) -> Option<(Header, &[u8])> {
    let (header, payload) = packet.split_at_checked(HEADER)?;
    let plain = header[0] == 0x80 && header[1] & 0x7f == PAYLOAD_TYPE;
    let header = Header {
        marker: header[1] & 0x80 != 0,
        sequence: u16::from_be_bytes([header[2], header[3]]),
        timestamp: u32::from_be_bytes([header[4], header[5], header[6], header[7]]),
    };
    plain.then_some((header, payload))
}

/// A picture loss indication (RFC 4585 §6.3.1): the request for a keyframe.
pub fn picture_loss() -> [u8; 12] {
    [0x81, 206, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1]
}

/// Whether a compound RTCP packet asks for a keyframe, by PLI or by FIR (RFC 5104 §4.3.1).
pub fn asks_for_keyframe(mut compound: &[u8]) -> bool {
    while let [head, kind, high, low, ..] = *compound {
        if kind == 206 && matches!(head & 0x1f, 1 | 4) {
            return true;
        }
        let length = 4 * (1 + usize::from(u16::from_be_bytes([high, low])));
        compound = compound.get(length..).unwrap_or_default();
    }
    false
}

/// Whether a packet holds a sequence parameter set, which is where a keyframe begins that stands on its own.
pub fn begins_keyframe(payload: &[u8]) -> bool {
    match payload {
        // STAP-A: a list of NAL units, each behind its 16-bit length.
        [head, rest @ ..] if head & 0x1f == 24 => {
            let mut rest = rest;
            while let [high, low, unit, ..] = *rest {
                if unit & 0x1f == 7 {
                    return true;
                }
                let length = usize::from(u16::from_be_bytes([high, low]));
                rest = rest.get(2 + length..).unwrap_or_default();
            }
            false
        }
        [head, ..] => head & 0x1f == 7,
        [] => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        let header = Header {
            marker: true,
            sequence: 65_535,
            timestamp: 4_000_000_000,
        };
        let mut packet = vec![9; 3];
        write(&mut packet, header, 7, b"payload");
        assert_eq!(read(&packet), Some((header, &b"payload"[..])));
        assert_eq!(read(&packet[..11]), None);
        packet[1] = 97;
        assert_eq!(read(&packet), None);
    }

    #[test]
    fn finds_the_request_for_a_keyframe() {
        assert!(asks_for_keyframe(&picture_loss()));
        let receiver_report = [0x80, 201, 0, 1, 0, 0, 0, 1];
        assert!(!asks_for_keyframe(&receiver_report));
        assert!(asks_for_keyframe(
            &[&receiver_report[..], &picture_loss()].concat()
        ));
        // FIR asks, a generic NACK does not, and a length beyond the end is the end.
        assert!(asks_for_keyframe(&[0x84, 206, 0, 0]));
        assert!(!asks_for_keyframe(&[
            0x81, 205, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1
        ]));
        assert!(!asks_for_keyframe(&[0x80, 201, 255, 255, 0x81, 206]));
    }

    #[test]
    fn knows_where_a_keyframe_begins() {
        assert!(begins_keyframe(&[0x67, 1, 2]));
        // An access unit delimiter, then the parameter sets.
        assert!(begins_keyframe(&[
            24, 0, 2, 0x09, 0x10, 0, 2, 0x67, 1, 0, 2, 0x68, 1
        ]));
        for other in [
            &[][..],
            &[0x41, 1],
            &[24],
            &[24, 0, 2, 0x09, 0x10],
            &[28, 0x85, 1],
            &[24, 0, 0, 1],
        ] {
            assert!(!begins_keyframe(other), "{other:?}");
        }
    }
}
