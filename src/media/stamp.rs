//! What packets of the picture say of their sending, in RTP header extensions that GStreamer does not write: when it was, and of
//! some, which this was.
//!
//! A receiver estimates its connection by how much later packets arrive than they were sent. Where packets do not say when that
//! was, libwebrtc's receivers take it from their RTP timestamps, which are the camera's: an encoder that is slower for a moment,
//! and packets that are spread over time on purpose, look like a queue along the way then. Said in each packet as it is encrypted
//! (<http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time>), a retransmission's too, what is estimated is the way alone.
//!
//! (Offsets as of RFC 5450 say the same. With them libwebrtc's receivers tell of a shortage up to 200 ms sooner, but estimate each
//! stream by itself, `RemoteBitrateEstimatorSingleStream`: where what is sent again comes late, that stream is late for two seconds
//! after its last packet, and the estimate falls to a fifth of what the link carries.)
//!
//! Of packets that are numbered, a receiver says when each arrived (draft-holmer-rmcat-transport-wide-cc-extensions-01).

use std::{sync::LazyLock, time::Instant};

/// The URI that names the extension for the time in SDP (RFC 8285 §5).
pub const TIME_URI: &str = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time";
/// And that for the number.
pub const NUMBER_URI: &str =
    "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";

/// The local identifiers that Perch's offers give to them (1 to 14).
pub const TIME_ID: u8 = 3;
pub const NUMBER_ID: u8 = 4;

/// Bytes that they make a packet longer that has no other extension.
pub const SIZE: usize = 4 + ELEMENTS;
/// And one that has: an identifier and length with 24 bits, and one with 16 and a byte of padding. Without a number there is
/// padding in its place: packets of one length are handed to the kernel as one.
pub const ELEMENTS: usize = 8;

/// Of an RTP header (RFC 3550 §5.1): before contributing sources and extensions.
const HEADER: usize = 12;
/// "Extensions follow."
const EXTENDED: u8 = 0x10;
/// Words of extensions that are added.
const ADDED: u16 = ELEMENTS as u16 / 4;
/// Extensions of one-byte headers follow (RFC 8285 §4.2).
const ONE_BYTE: [u8; 2] = [0xbe, 0xde];

/// When a packet is sent, and its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Seconds as a fixed-point number with 18 bits behind the point, which wraps around every 64 s.
    time: [u8; 3],
    number: Option<u16>,
}

impl Stamp {
    /// Of a clock that nobody sets: only differences count.
    pub fn at(now: Instant) -> Self {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        Self::after(now.saturating_duration_since(*START).as_secs_f64())
    }

    fn after(seconds: f64) -> Self {
        let units = (seconds * f64::from(1 << 18)) as u64;
        let [.., high, middle, low] = units.to_be_bytes();
        let time = [high, middle, low];
        Self { time, number: None }
    }

    pub fn numbered(self, number: Option<u16>) -> Self {
        Self { number, ..self }
    }

    fn elements(self) -> [u8; ELEMENTS] {
        let [high, middle, low] = self.time;
        let [id, above, below] = self.number.map_or([0; 3], |number| {
            let [above, below] = number.to_be_bytes();
            [NUMBER_ID << 4 | 1, above, below]
        });
        [TIME_ID << 4 | 2, high, middle, low, id, above, below, 0]
    }

    /// Writes it into the RTP packet that begins [`SIZE`] bytes after the beginning of `bytes`, and returns where the packet
    /// begins then. What has extensions of another kind stays as it is, and so does what is no packet.
    pub fn write(self, bytes: &mut [u8]) -> usize {
        let Some(header) = header(bytes.get(SIZE..).unwrap_or_default()) else {
            return SIZE;
        };
        let (begin, words) = match header.words {
            Some(words) => (SIZE - ELEMENTS, words),
            None => (0, 0),
        };
        bytes.copy_within(SIZE..SIZE + header.length, begin);
        let end = SIZE + header.length;
        bytes[end - ELEMENTS..end].copy_from_slice(&self.elements());
        // The length in front of the elements, which without any is new as well.
        let front = end - ELEMENTS - usize::from(words) * 4 - 4;
        bytes[front..front + 2].copy_from_slice(&ONE_BYTE);
        bytes[front + 2..front + 4].copy_from_slice(&(words + ADDED).to_be_bytes());
        bytes[begin] |= EXTENDED;
        begin
    }
}

/// Of a header that can take more extensions: all of its bytes, and the words of extensions that it has, if any.
struct Header {
    length: usize,
    words: Option<u16>,
}

fn header(packet: &[u8]) -> Option<Header> {
    let first = *packet.first()?;
    let fixed = HEADER + usize::from(first & 0x0f) * 4;
    if first & EXTENDED == 0 {
        return (packet.len() >= fixed).then_some(Header {
            length: fixed,
            words: None,
        });
    }
    let [kind @ .., high, low] = packet.get(fixed..fixed + 4)? else {
        return None;
    };
    let words = u16::from_be_bytes([*high, *low]);
    let length = fixed + 4 + usize::from(words) * 4;
    let fits = kind == ONE_BYTE && words <= u16::MAX - ADDED && packet.len() >= length;
    fits.then_some(Header {
        length,
        words: Some(words),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp {
        time: [1, 2, 3],
        number: Some(0x0708),
    };
    const HEAD: [u8; HEADER] = [0x80, 0xe0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3];
    const SAID: [u8; ELEMENTS] = [0x32, 1, 2, 3, 0x41, 7, 8, 0];

    /// What becomes of a packet.
    fn written(packet: &[&[u8]]) -> Vec<u8> {
        let mut bytes = vec![0; SIZE];
        bytes.extend(packet.concat());
        let begin = STAMP.write(&mut bytes);
        bytes.split_off(begin)
    }

    fn extended(contributing: u8) -> [u8; HEADER] {
        let mut head = HEAD;
        head[0] |= EXTENDED | contributing;
        head
    }

    #[test]
    fn a_second_has_two_to_the_eighteen_parts_and_64_come_around() {
        assert_eq!(Stamp::after(0.0).time, [0, 0, 0]);
        assert_eq!(Stamp::after(1.0).time, [4, 0, 0]);
        assert_eq!(Stamp::after(64.5).time, [2, 0, 0]);
        assert_eq!(Stamp::after(1.0 / 262_144.0).time, [0, 0, 1]);
    }

    #[test]
    fn one_without_a_number_is_as_long() {
        let unnumbered = Stamp {
            number: None,
            ..STAMP
        };
        assert_eq!(unnumbered.elements(), [0x32, 1, 2, 3, 0, 0, 0, 0]);
    }

    #[test]
    fn a_packet_without_extensions_gets_them() {
        let expected = [&extended(0)[..], &[0xbe, 0xde, 0, 2], &SAID, &[7, 8, 9]];
        assert_eq!(written(&[&HEAD, &[7, 8, 9]]), expected.concat());
        let mut contributed = HEAD;
        contributed[0] |= 1;
        let expected = [&extended(1)[..], &[4; 4], &[0xbe, 0xde, 0, 2], &SAID];
        assert_eq!(written(&[&contributed, &[4; 4]]), expected.concat());
    }

    #[test]
    fn one_with_an_extension_gets_more() {
        let playout = [0x52, 0, 0, 0];
        let packet = [&extended(0)[..], &[0xbe, 0xde, 0, 1], &playout, &[7, 8]];
        let expected = [
            &extended(0)[..],
            &[0xbe, 0xde, 0, 3],
            &playout,
            &SAID,
            &[7, 8],
        ];
        assert_eq!(written(&packet), expected.concat());
    }

    #[test]
    fn what_cannot_take_it_stays_as_it_is() {
        for packet in [
            &[&[][..]][..],
            &[&HEAD[..5]],
            &[&extended(0), &[0xbe, 0xde]],
            &[&extended(0), &[0xbe, 0xde, 0, 9], &[0; 8]],
            &[&extended(0), &[0x10, 0, 0, 1], &[0; 8]],
            &[&extended(15), &[0; 8]],
        ] {
            assert_eq!(written(packet), packet.concat());
        }
        assert_eq!(STAMP.write(&mut [0; 3]), SIZE, "there is no packet");
    }
}
