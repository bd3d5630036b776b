//! When packets arrived, out of one piece of transport-wide feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01 §3.1).

use super::Arrived;
use crate::media::arrivals::Arrival;

/// Microseconds of the unit that the time of reference is said in, and of the one that times between arrivals are.
const REFERENCE: i64 = 64_000;
const DELTA: i64 = 250;

/// What is said of so many numbers in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    status: Status,
    length: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Missing,
    /// The time since the arrival before takes one byte.
    Soon,
    /// Or two, with a sign.
    Late,
    Reserved,
}

impl Status {
    fn of(bits: u16) -> Self {
        match bits & 0b11 {
            0 => Self::Missing,
            1 => Self::Soon,
            2 => Self::Late,
            _ => Self::Reserved,
        }
    }
}

/// As far as the feedback is well-formed. `body` is what follows the four bytes of the header.
pub(super) fn read(body: &[u8]) -> Option<Arrived> {
    // Who says it and of whom is of no interest: the numbers are of all that is sent.
    let ([first, number, of, many, time @ .., count], rest) =
        body.get(8..)?.split_first_chunk::<8>()?;
    let mut number = u16::from_be_bytes([*first, *number]);
    let statuses = usize::from(u16::from_be_bytes([*of, *many]));
    // 24 bits with a sign.
    let reference = i32::from_be_bytes([time[0], time[1], time[2], 0]) >> 8;
    let mut at = i64::from(reference) * REFERENCE;
    let (chunks, mut deltas) = split_chunks(rest, statuses)?;
    let mut arrivals = Vec::new();
    let mut left = statuses;
    for run in chunks.chunks_exact(2).flat_map(runs) {
        let length = run.length.min(left);
        left -= length;
        // However many are missing, that takes no time; of the others, each has a delta.
        for offset in 0..if run.status == Status::Missing {
            0
        } else {
            length
        } {
            let Some((delta, after)) = split_delta(deltas, run.status) else {
                return Some(Arrived {
                    count: *count,
                    arrivals,
                });
            };
            deltas = after;
            at += delta * DELTA;
            let number = number.wrapping_add(offset as u16);
            arrivals.push(Arrival { number, at });
        }
        number = number.wrapping_add(length as u16);
    }
    Some(Arrived {
        count: *count,
        arrivals,
    })
}

/// The chunks that say something of so many numbers, and what follows them.
fn split_chunks(bytes: &[u8], statuses: usize) -> Option<(&[u8], &[u8])> {
    let mut known = 0;
    let mut end = 0;
    while known < statuses {
        let chunk = bytes.get(end..end + 2)?;
        known += runs(chunk).map(|run| run.length).sum::<usize>();
        end += 2;
    }
    Some(bytes.split_at(end))
}

fn runs(chunk: &[u8]) -> impl Iterator<Item = Run> + use<> {
    let chunk = u16::from_be_bytes([chunk[0], chunk[1]]);
    // The first in front.
    let (length, places, bits) = match chunk >> 14 {
        // A run of one: two bits, and how often.
        0 | 1 => (usize::from(chunk & 0x1fff), 1, 13),
        // Fourteen of one bit each.
        2 => (1, 14, 1),
        // Seven of two.
        _ => (1, 7, 2),
    };
    (0..places).rev().map(move |place| Run {
        length,
        status: match bits {
            1 => Status::of(chunk >> place & 1),
            2 => Status::of(chunk >> (place * 2)),
            _ => Status::of(chunk >> 13),
        },
    })
}

fn split_delta(deltas: &[u8], status: Status) -> Option<(i64, &[u8])> {
    match status {
        Status::Soon => {
            let ([delta], rest) = deltas.split_first_chunk()?;
            Some((i64::from(*delta), rest))
        }
        Status::Late => {
            let (delta, rest) = deltas.split_first_chunk()?;
            Some((i64::from(i16::from_be_bytes(*delta)), rest))
        }
        Status::Missing | Status::Reserved => None,
    }
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
        let arrivals = read(&feedback(count, rest)).map(|it| it.arrivals);
        let arrivals = arrivals.unwrap_or_default();
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
        let arrived = read(&body).expect("it is one");
        assert_eq!(arrived.arrivals[0].at, -64_000);
        assert_eq!(arrived.count, 9);
    }

    #[test]
    fn what_is_cut_off_or_no_status_says_nothing_more() {
        let whole = feedback(3, &[0x20, 3, 0, 4, 255]);
        for end in 0..whole.len() {
            let known = end.saturating_sub(18);
            let arrived = read(&whole[..end]);
            assert_eq!(arrived.is_some(), end >= 18, "{end}");
            let arrivals = arrived.map(|it| it.arrivals).unwrap_or_default();
            assert_eq!(arrivals.len(), known, "{end}");
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
        // Runs of none lead nowhere.
        assert_eq!(read(&feedback(1, &[0; 1500])), None);
    }
}
