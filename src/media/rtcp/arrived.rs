//! When packets arrived, out of one piece of transport-wide feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01 §3.1).

use crate::media::arrivals::Arrival;

/// Microseconds of the unit that the time of reference is said in, and of the one that times between arrivals are.
const REFERENCE: i64 = 64_000;
const DELTA: i64 = 250;

/// What is said of one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Missing,
    /// The time since the arrival before takes one byte.
    Soon,
    /// Or two, with a sign.
    Late,
}

impl Status {
    fn of(bits: u16) -> Option<Self> {
        match bits & 0b11 {
            0 => Some(Self::Missing),
            1 => Some(Self::Soon),
            2 => Some(Self::Late),
            _ => None,
        }
    }
}

/// Those that arrived, in the order of their numbers; as far as the feedback is well-formed. `body` is what follows the four bytes
/// of the header.
pub(super) fn read(body: &[u8]) -> Vec<Arrival> {
    // Who says it and of whom is of no interest: the numbers are of all that is sent.
    let Some(([first, number, of, many, time @ .., _count], chunks)) =
        body.get(8..).and_then(<[u8]>::split_first_chunk::<8>)
    else {
        return Vec::new();
    };
    let first = u16::from_be_bytes([*first, *number]);
    let count = usize::from(u16::from_be_bytes([*of, *many]));
    // 24 bits with a sign.
    let reference = i32::from_be_bytes([time[0], time[1], time[2], 0]) >> 8;
    let Some((statuses, mut deltas)) = statuses(chunks, count) else {
        return Vec::new();
    };
    let mut arrivals = Vec::new();
    let mut at = i64::from(reference) * REFERENCE;
    let numbers = (0..=u16::MAX).map(|offset| first.wrapping_add(offset));
    for (number, status) in numbers.zip(statuses) {
        let delta = match status {
            Status::Missing => continue,
            Status::Soon => deltas.split_first_chunk().map(|([delta], rest)| {
                let delta = i64::from(*delta);
                (delta, rest)
            }),
            Status::Late => deltas.split_first_chunk().map(|(delta, rest)| {
                let delta = i64::from(i16::from_be_bytes(*delta));
                (delta, rest)
            }),
        };
        let Some((delta, rest)) = delta else { break };
        deltas = rest;
        at += delta * DELTA;
        arrivals.push(Arrival { number, at });
    }
    arrivals
}

/// So many, and what follows them.
fn statuses(mut chunks: &[u8], count: usize) -> Option<(Vec<Status>, &[u8])> {
    let mut statuses = Vec::new();
    while statuses.len() < count {
        let (chunk, rest) = chunks.split_first_chunk()?;
        chunks = rest;
        let chunk = u16::from_be_bytes(*chunk);
        let left = count - statuses.len();
        match chunk >> 14 {
            // A run of one: two bits, and how often.
            0 | 1 => {
                let length = usize::from(chunk & 0x1fff);
                let status = Status::of(chunk >> 13)?;
                statuses.extend(std::iter::repeat_n(status, length.min(left)));
            }
            // Fourteen of one bit each, the first in front.
            2 => {
                let bits = (0..14).rev().map(|bit| chunk >> bit & 1);
                statuses.extend(bits.filter_map(Status::of).take(left));
            }
            // Seven of two.
            _ => {
                for bit in (0..7).rev().take(left) {
                    statuses.push(Status::of(chunk >> (bit * 2))?);
                }
            }
        }
    }
    Some((statuses, chunks))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a receiver, from number 65 534 on, so many, at 64 ms; chunks and deltas follow.
    fn feedback(count: u16, rest: &[u8]) -> Vec<u8> {
        let mut body = vec![0, 0, 0, 1, 0, 0, 0, 2, 0xff, 0xfe];
        body.extend(count.to_be_bytes());
        body.extend([0, 0, 1, 9]);
        body.extend(rest);
        body
    }

    fn arrivals(count: u16, rest: &[u8]) -> Vec<(u16, i64)> {
        let arrivals = read(&feedback(count, rest));
        arrivals.iter().map(|it| (it.number, it.at)).collect()
    }

    #[test]
    fn a_run_says_the_same_of_all() {
        // Three that came soon.
        let rest = [0x20, 3, 0, 4, 255];
        let expected = [(65_534, 64_000), (65_535, 65_000), (0, 128_750)];
        assert_eq!(arrivals(3, &rest), expected);
    }

    #[test]
    fn a_vector_says_of_each() {
        // One bit each: arrived, missing, arrived.
        assert_eq!(
            arrivals(3, &[0b1010_1000, 0, 1, 2]),
            [(65_534, 64_250), (0, 64_750)]
        );
        // Two bits each: late, missing, soon; one arrived before the other.
        assert_eq!(
            arrivals(3, &[0b1110_0001, 0, 0x01, 0x00, 4]),
            [(65_534, 128_000), (0, 129_000)]
        );
        assert_eq!(
            arrivals(2, &[0b1101_1000, 0, 8, 0xff, 0xfc]),
            [(65_534, 66_000), (65_535, 65_000)]
        );
    }

    #[test]
    fn chunks_follow_each_other_and_padding_says_nothing() {
        // Two missing, then fourteen places of which three count.
        let rest = [0, 2, 0b1011_1111, 0xff, 1, 1, 1, 0, 0];
        let expected = [(0, 64_250), (1, 64_500), (2, 64_750)];
        assert_eq!(arrivals(5, &rest), expected);
    }

    #[test]
    fn a_time_of_reference_may_be_negative() {
        let mut body = feedback(1, &[0x20, 1, 0]);
        body[12..15].copy_from_slice(&[0xff, 0xff, 0xff]);
        let arrivals = read(&body);
        assert_eq!(arrivals.first().map(|it| it.at), Some(-64_000));
    }

    #[test]
    fn what_is_cut_off_or_no_status_says_nothing_more() {
        let whole = feedback(3, &[0x20, 3, 0, 4, 255]);
        for end in 0..whole.len() {
            let known = end.saturating_sub(18);
            assert_eq!(read(&whole[..end]).len(), known, "{end}");
        }
        assert_eq!(arrivals(3, &[0x60, 3, 0, 4, 255]), [], "it is reserved");
        assert_eq!(arrivals(7, &[0xff, 0xff, 0, 4, 255]), [], "so are these");
        assert_eq!(arrivals(3, &[0x20, 0, 0x20, 0]), [], "a run of none");
    }

    #[test]
    fn as_many_as_there_can_be_are_read() {
        // Eight runs of all but nothing, and one that arrived.
        let mut rest = [0x1f, 0xff].repeat(8);
        rest.extend([0x20, 7, 4]);
        let expected = 65_534u16.wrapping_add(8 * 0x1fff);
        assert_eq!(arrivals(u16::MAX, &rest), [(expected, 65_000)]);
    }
}
