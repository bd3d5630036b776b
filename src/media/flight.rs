//! Packets on their way to a viewer: when each was sent, and which of them the viewer misses. Pure.
//!
//! Receivers' estimates and reports are of a while, and speak of a full queue a fifth of a second or more after it has begun to
//! drop packets. A packet that is missed is asked for at once (RFC 4585 §6.2.1), which tells two things: how many of
//! those around it did not arrive, and for how long those that did were under way. A share that is lost late is lost to
//! a full queue. One that is lost without a delay is lost to a radio, and less of a picture would not help; a radio or a
//! receiver that stands still for a moment loses nothing.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::rtcp::Feedback;

/// Packets sent longer ago are none of this moment's.
const REMEMBERS: Duration = Duration::from_secs(2);
/// What is missed within this time is counted together.
const TOGETHER: Duration = Duration::from_millis(150);
/// So many at least, and so large a share of those around them: losses at random hardly come to that.
const MISSED: usize = 6;
const MUCH_MISSED: f64 = 0.25;
/// A queue that matters delays by so much at least; routers hold 100 ms and more.
const QUEUED: Duration = Duration::from_millis(80);
/// The shortest delay is looked for in this time and the one before; a route may change.
const SHORTEST_OF: Duration = Duration::from_secs(10);

/// One stream's packets.
#[derive(Debug, Default)]
pub struct Flight {
    /// The last sequence number of what was sent at once, and when.
    sent: VecDeque<(u16, Instant)>,
    /// Sequence numbers asked for of late, in their order, and when.
    missed: VecDeque<(u16, Instant)>,
    /// The latest that was ever asked for.
    newest: Option<u16>,
    shortest: Shortest,
}

impl Flight {
    /// Packets from the first of these sequence numbers to the latest have gone out for the first time. What is left out
    /// before them never will.
    pub fn sent(&mut self, first: u16, latest: u16, now: Instant) {
        let is_old = |at: Instant| now.saturating_duration_since(at) > REMEMBERS;
        while self.sent.front().is_some_and(|(_, at)| is_old(*at)) {
            self.sent.pop_front();
        }
        let before = first.wrapping_sub(1);
        if self.sent.back().is_some_and(|(last, _)| *last != before) {
            self.missed.clear();
            self.newest = Some(before);
        }
        self.sent.push_back((latest, now));
    }

    /// What was sent so far is not waited for any more.
    pub fn forget(&mut self) {
        self.missed.clear();
        self.newest = self.sent.back().map(|(latest, _)| *latest);
    }

    /// The viewer has said something. The share of packets that a full queue on the way drops, above 0 and up to 1; `None`:
    /// nothing speaks of one.
    pub fn hears(&mut self, feedback: &Feedback, now: Instant) -> Option<f64> {
        if let Some(sent) = feedback.received.and_then(|latest| self.sent_at(latest)) {
            self.shortest.sees(now.saturating_duration_since(sent), now);
        }
        // Of a number that is no longer in flight nothing can be said any more: they come around again.
        self.newest = self.newest.filter(|number| self.sent_at(*number).is_some());
        let asked_again = |number: u16| self.newest.is_some_and(|newest| !is_after(number, newest));
        let new: Vec<u16> = feedback
            .missing
            .iter()
            .copied()
            .filter(|number| !asked_again(*number) && self.sent_at(*number).is_some())
            .collect();
        let latest = new.iter().copied().reduce(later)?;
        self.newest = Some(latest);
        self.missed
            .extend(new.into_iter().map(|number| (number, now)));
        let is_old = |at: Instant| now.saturating_duration_since(at) > TOGETHER;
        while self.missed.front().is_some_and(|(_, at)| is_old(*at)) {
            self.missed.pop_front();
        }
        let share = self.share_missed()?;
        // That it is missing was seen by the packet after it.
        let after = self.sent_at(latest.wrapping_add(1))?;
        let delay = now.saturating_duration_since(after);
        (self.shortest.known()? + QUEUED <= delay).then(|| {
            self.missed.clear();
            share
        })
    }

    /// Of the packets between the first and the last that are missed, where it is a share that tells something.
    fn share_missed(&self) -> Option<f64> {
        let numbers = || self.missed.iter().map(|(number, _)| *number);
        let (first, last) = (numbers().reduce(earlier)?, numbers().reduce(later)?);
        let after_first = usize::from(last.wrapping_sub(first));
        // With the first it would be a share of what begins and ends with a loss; and of one run of losses nobody knows how
        // much of what came before it arrived.
        let others = self.missed.len().checked_sub(1)?;
        let tells = self.missed.len() >= MISSED && others < after_first;
        let share = others as f64 / after_first.max(1) as f64;
        (tells && share >= MUCH_MISSED).then_some(share)
    }

    fn sent_at(&self, number: u16) -> Option<Instant> {
        let (oldest, _) = self.sent.front()?;
        if is_after(*oldest, number) {
            return None;
        }
        let sent = self.sent.iter().find(|(last, _)| !is_after(number, *last));
        sent.map(|(_, at)| *at)
    }
}

/// The shortest delay of late.
#[derive(Debug, Default)]
struct Shortest {
    since: Option<Instant>,
    now: Option<Duration>,
    before: Option<Duration>,
}

impl Shortest {
    fn sees(&mut self, delay: Duration, now: Instant) {
        let since = *self.since.get_or_insert(now);
        if now.saturating_duration_since(since) >= SHORTEST_OF {
            self.before = self.now.take();
            self.since = Some(now);
        }
        self.now = Some(self.now.map_or(delay, |shortest| shortest.min(delay)));
    }

    fn known(&self) -> Option<Duration> {
        self.now.into_iter().chain(self.before).min()
    }
}

/// Sequence numbers wrap around (RFC 3550 §5.1).
fn is_after(number: u16, other: u16) -> bool {
    number != other && number.wrapping_sub(other) < 0x8000
}

fn later(one: u16, other: u16) -> u16 {
    if is_after(other, one) { other } else { one }
}

fn earlier(one: u16, other: u16) -> u16 {
    if is_after(other, one) { one } else { other }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PICTURE: Duration = Duration::from_millis(33);
    /// Packets of one picture.
    const PACKETS: u16 = 7;
    /// Of a way without a queue.
    const DELAY: Duration = Duration::from_millis(20);

    /// A viewer whose way loses and delays what the test says.
    struct Viewer {
        flight: Flight,
        now: Instant,
        next: u16,
    }

    impl Viewer {
        /// One that has received a second of pictures, from this sequence number on, and said so.
        fn watching(next: u16) -> Self {
            let mut viewer = Self {
                flight: Flight::default(),
                now: Instant::now(),
                next,
            };
            for _ in 0..30 {
                assert_eq!(viewer.picture(&[], DELAY), None);
            }
            viewer
        }

        /// One picture of which these packets are lost and the others take so long.
        fn picture(&mut self, lost: &[u16], delay: Duration) -> Option<f64> {
            self.now += PICTURE;
            let first = self.next;
            self.next = first.wrapping_add(PACKETS);
            self.flight.sent(first, self.next.wrapping_sub(1), self.now);
            let missing = lost.iter().map(|packet| first.wrapping_add(*packet));
            let feedback = Feedback {
                missing: missing.collect(),
                received: lost.is_empty().then(|| self.next.wrapping_sub(1)),
                ..Feedback::default()
            };
            self.flight.hears(&feedback, self.now + delay)
        }
    }

    #[test]
    fn a_queue_that_is_full_is_told_by_the_second_picture_that_it_breaks() {
        for start in [0, u16::MAX - 30 * PACKETS - 3] {
            let mut viewer = Viewer::watching(start);
            let full = Duration::from_millis(200);
            assert_eq!(viewer.picture(&[2, 3, 4, 5], full), None, "too few");
            let share = viewer.picture(&[1, 3, 4, 5], full).expect("told");
            // Seven of the ten between the third of the one picture and the sixth of the other.
            assert!((share - 0.7).abs() < 1e-9, "{share}");
            assert_eq!(viewer.picture(&[1], full), None, "counted anew");
        }
    }

    #[test]
    fn what_is_lost_without_a_delay_is_no_queue() {
        let mut viewer = Viewer::watching(0);
        for _ in 0..20 {
            assert_eq!(viewer.picture(&[1, 2, 3, 4, 5], DELAY * 3), None);
        }
    }

    #[test]
    fn a_few_that_are_lost_late_are_none_either() {
        let mut viewer = Viewer::watching(0);
        let late = Duration::from_millis(300);
        for _ in 0..20 {
            assert_eq!(viewer.picture(&[3], late), None);
        }
        // A picture as a whole: how many are lost while others arrive is not known.
        assert_eq!(viewer.picture(&[0, 1, 2, 3, 4, 5, 6], late), None);
    }

    #[test]
    fn the_same_packet_is_missed_once() {
        let mut viewer = Viewer::watching(0);
        let full = Duration::from_millis(200);
        assert_eq!(viewer.picture(&[1, 2, 3], full), None);
        let missing: Vec<u16> = (1..=3).map(|back| viewer.next - back).collect();
        let feedback = Feedback {
            missing,
            ..Feedback::default()
        };
        for again in 0..10 {
            let now = viewer.now + full + Duration::from_millis(again);
            assert_eq!(viewer.flight.hears(&feedback, now), None);
        }
    }

    #[test]
    fn what_was_not_sent_is_not_lost() {
        let mut viewer = Viewer::watching(0);
        // The rest of a picture was given up.
        viewer.next += 20;
        viewer.picture(&[], DELAY);
        let missing = (1..=20).map(|back| viewer.next - PACKETS - back);
        let feedback = Feedback {
            missing: missing.collect(),
            ..Feedback::default()
        };
        let later = viewer.now + Duration::from_millis(200);
        assert_eq!(viewer.flight.hears(&feedback, later), None);
    }

    #[test]
    fn the_last_of_a_picture_is_missed_when_the_next_one_comes() {
        let mut viewer = Viewer::watching(0);
        let sent = viewer.now;
        // Five pictures a second: the packet was sent long ago, the one that shows the gap was not.
        let missing: Vec<u16> = (1..=6).map(|back| viewer.next - back).collect();
        let now = sent + Duration::from_millis(200);
        viewer.flight.sent(viewer.next, viewer.next + 2, now);
        let feedback = Feedback {
            missing,
            ..Feedback::default()
        };
        assert_eq!(viewer.flight.hears(&feedback, now + DELAY), None);
    }

    #[test]
    fn of_packets_that_were_never_sent_nothing_follows() {
        let mut flight = Flight::default();
        let now = Instant::now();
        let feedback = Feedback {
            received: Some(7),
            missing: (0..40).collect(),
            ..Feedback::default()
        };
        assert_eq!(flight.hears(&feedback, now), None);
        flight.sent(59_000, 60_000, now);
        assert_eq!(flight.hears(&feedback, now + REMEMBERS), None);
    }

    #[test]
    fn numbers_come_around_again() {
        let mut viewer = Viewer::watching(0);
        let full = Duration::from_millis(200);
        for _ in 0..3 {
            viewer.picture(&[1, 2], full);
            // More than half of all numbers later.
            for _ in 0..5000 {
                viewer.picture(&[], DELAY);
            }
            viewer.picture(&[2, 3, 4, 5], full);
            assert!(viewer.picture(&[1, 3, 4, 5], full).is_some());
        }
    }

    #[test]
    fn a_longer_way_is_learnt() {
        let mut viewer = Viewer::watching(0);
        let longer = Duration::from_millis(300);
        for _ in 0..2 * SHORTEST_OF.as_millis() / PICTURE.as_millis() + 60 {
            viewer.picture(&[], longer);
        }
        for _ in 0..3 {
            assert_eq!(viewer.picture(&[1, 2, 3, 4], longer), None);
        }
    }
}
