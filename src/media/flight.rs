//! Packets on their way to a viewer: when each was sent, and which of them the viewer misses. Pure.
//!
//! Receivers' estimates and reports are of a while, and speak of a full queue a fifth of a second or more after it has begun to
//! drop packets. Browsers of libwebrtc's family ask for a packet as soon as the one after it has come (generic NACK, RFC 4585
//! §6.2.1; `NackRequester`), which tells two things: how many of those around it did not arrive, and for how long those
//! that did were under way. A share of several pictures that is lost late is lost to a full queue. What is lost without a
//! delay is lost to a radio, and less of a picture would not help; a radio or a receiver that stands still for a moment
//! loses nothing.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::{rtcp::Feedback, shortest::Shortest};

/// Packets sent longer ago are none of this moment's.
pub const REMEMBERS: Duration = Duration::from_secs(2);
/// What is missed within this time is counted together: two pictures at least, from 8 in a second on.
const TOGETHER: Duration = Duration::from_millis(250);
/// So many at least, and so large a share of those around them: losses at random hardly come to that.
const MISSED: usize = 6;
const MUCH_MISSED: f64 = 0.25;
/// The first and the last of them were sent so far apart: a keyframe alone may be too much at once for a link that carries
/// the picture well.
const APART: Duration = Duration::from_millis(15);
/// A queue that matters delays by so much at least; routers hold 100 ms and more.
pub const QUEUED: Duration = Duration::from_millis(80);

/// One stream's packets.
#[derive(Debug, Default)]
pub struct Flight {
    /// The last sequence number of what was sent at once, and when.
    sent: VecDeque<(u16, Instant)>,
    /// Sequence numbers asked for of late, in their order, and when.
    missed: VecDeque<(u16, Instant)>,
    /// Up to this one the viewer has said what it misses.
    known: Option<u16>,
    shortest: Shortest<Duration>,
}

impl Flight {
    /// Packets up to this sequence number have gone out for the first time.
    pub fn sent(&mut self, latest: u16, now: Instant) {
        let is_old = |at: Instant| now.saturating_duration_since(at) > REMEMBERS;
        while self.sent.front().is_some_and(|(_, at)| is_old(*at)) {
            self.sent.pop_front();
        }
        self.sent.push_back((latest, now));
    }

    /// What was sent so far is not waited for any more.
    pub fn forget(&mut self) {
        self.missed.clear();
        self.known = self.sent.back().map(|(latest, _)| *latest);
    }

    /// The viewer has said something. The share of packets that a full queue on the way drops, above 0 and below 1; `None`:
    /// nothing speaks of one.
    pub fn hears(&mut self, feedback: &Feedback, now: Instant) -> Option<f64> {
        // Of a number that is no longer in flight nothing can be said any more: they come around again.
        self.known = self.known.filter(|number| self.place(*number).is_some());
        let mut is_news = false;
        for number in &feedback.missing {
            let is_new = self.known.is_none_or(|known| is_after(*number, known));
            if is_new && self.place(*number).is_some() {
                self.known = Some(*number);
                self.missed.push_back((*number, now));
                is_news = true;
            }
        }
        if let Some(place) = feedback.received.and_then(|latest| self.place(latest)) {
            let (_, sent) = self.sent[place];
            self.shortest.sees(now.saturating_duration_since(sent), now);
        }
        // What a report is beyond already is asked for late: the first request for it was lost.
        let beyond = |received: u16| self.known.is_none_or(|known| is_after(received, known));
        self.known = feedback.received.filter(|it| beyond(*it)).or(self.known);
        let is_old = |at: Instant| now.saturating_duration_since(at) > TOGETHER;
        while self.missed.front().is_some_and(|(_, at)| is_old(*at)) {
            self.missed.pop_front();
        }
        if !is_news {
            return None;
        }
        let share = self.share_missed()?;
        // That it is missing was seen by the packet after it.
        let (latest, _) = self.missed.back()?;
        let (_, after) = self.sent[self.place(latest.wrapping_add(1))?];
        let delay = now.saturating_duration_since(after);
        (self.shortest.known()? + QUEUED <= delay).then(|| {
            self.missed.clear();
            share
        })
    }

    /// Of all that was sent from what the first was sent with to the last, where it is a share that tells something.
    fn share_missed(&self) -> Option<f64> {
        let (first, last) = (self.missed.front()?.0, self.missed.back()?.0);
        let (from, until) = (self.place(first)?, self.place(last)?);
        let (before, _) = self.sent[from.checked_sub(1)?];
        let apart = self.sent[until].1.duration_since(self.sent[from].1);
        let around = f64::from(last.wrapping_sub(before));
        let share = self.missed.len() as f64 / around;
        // Where nothing at all arrived in between, it stood still.
        let tells = self.missed.len() >= MISSED && apart >= APART && share < 1.0;
        (tells && share >= MUCH_MISSED).then_some(share)
    }

    /// Where in what was sent this one is.
    fn place(&self, number: u16) -> Option<usize> {
        let (oldest, _) = self.sent.front()?;
        let place = self
            .sent
            .partition_point(|(last, _)| is_after(number, *last));
        (!is_after(*oldest, number) && place < self.sent.len()).then_some(place)
    }
}

/// Sequence numbers wrap around (RFC 3550 §5.1).
pub fn is_after(number: u16, other: u16) -> bool {
    number != other && number.wrapping_sub(other) < 0x8000
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::shortest::SHORTEST_OF;

    const PICTURE: Duration = Duration::from_millis(33);
    /// Packets of one picture.
    const PACKETS: u16 = 8;
    /// Of a way without a queue, and of one whose queue is full.
    const DELAY: Duration = Duration::from_millis(20);
    const FULL: Duration = Duration::from_millis(200);
    /// What a queue leaves of a picture.
    const MOST: &[u16] = &[2, 3, 4, 5, 6, 7];
    const SHARE: f64 = 0.75;

    /// A viewer whose way loses and delays what the test says.
    struct Viewer {
        flight: Flight,
        now: Instant,
        next: u16,
        lost: Vec<u16>,
    }

    impl Viewer {
        /// One that has received a second of pictures, from this sequence number on, and said so.
        fn watching(next: u16) -> Self {
            let mut viewer = Self {
                flight: Flight::default(),
                now: Instant::now(),
                next,
                lost: Vec::new(),
            };
            for _ in 0..30 {
                assert_eq!(viewer.picture(&[], DELAY), None);
            }
            viewer
        }

        /// One picture of which these packets are lost, and which takes so long. It shows what is missing of the one before.
        fn picture(&mut self, lost: &[u16], delay: Duration) -> Option<f64> {
            let first = self.send(PACKETS);
            let lost = lost.iter().map(|packet| first.wrapping_add(*packet));
            let missing = std::mem::replace(&mut self.lost, lost.collect());
            let is_whole = missing.is_empty() && self.lost.is_empty();
            let feedback = Feedback {
                missing,
                received: is_whole.then(|| self.next.wrapping_sub(1)),
                ..Feedback::default()
            };
            self.flight.hears(&feedback, self.now + delay)
        }

        /// The sequence number that the picture begins with.
        fn send(&mut self, packets: u16) -> u16 {
            self.now += PICTURE;
            let first = self.next;
            self.next = first.wrapping_add(packets);
            self.flight.sent(self.next.wrapping_sub(1), self.now);
            first
        }
    }

    #[test]
    fn a_queue_that_is_full_is_told_by_the_second_picture_that_it_breaks() {
        for start in [0, u16::MAX - 30 * PACKETS - 3] {
            let mut viewer = Viewer::watching(start);
            assert_eq!(viewer.picture(MOST, FULL), None);
            assert_eq!(viewer.picture(MOST, FULL), None, "one may be a keyframe");
            assert_eq!(viewer.picture(MOST, FULL), Some(SHARE));
            assert_eq!(viewer.picture(MOST, FULL), None, "counted anew");
            assert_eq!(viewer.picture(MOST, FULL), Some(SHARE));
        }
    }

    #[test]
    fn a_keyframe_that_overflows_a_queue_is_not_taken_for_a_short_link() {
        let mut viewer = Viewer::watching(0);
        let first = viewer.send(50);
        let missing = (37..50).filter(|packet| *packet != 42);
        let feedback = Feedback {
            missing: missing.map(|packet| first + packet).collect(),
            ..Feedback::default()
        };
        viewer.send(PACKETS);
        let now = viewer.now + FULL;
        assert_eq!(viewer.flight.hears(&feedback, now), None);
    }

    #[test]
    fn what_is_lost_without_a_delay_is_no_queue() {
        let mut viewer = Viewer::watching(0);
        for _ in 0..20 {
            assert_eq!(viewer.picture(MOST, DELAY * 3), None);
        }
    }

    #[test]
    fn a_few_that_are_lost_late_are_none_either() {
        let mut viewer = Viewer::watching(0);
        for _ in 0..20 {
            assert_eq!(viewer.picture(&[3], FULL), None);
        }
        // Nothing arrives, and then everything again.
        let mut viewer = Viewer::watching(0);
        let all: Vec<u16> = (0..PACKETS).collect();
        for _ in 0..3 {
            assert_eq!(viewer.picture(&all, FULL), None);
        }
        assert_eq!(viewer.picture(&[], FULL), None);
    }

    #[test]
    fn the_same_packet_is_missed_once() {
        let mut viewer = Viewer::watching(0);
        let (first, second) = (viewer.send(PACKETS), viewer.send(PACKETS));
        viewer.send(PACKETS);
        let again = Feedback {
            missing: vec![first + 5, first + 6, first + 7, second + 6, second + 7],
            ..Feedback::default()
        };
        for later in 0..10 {
            let now = viewer.now + FULL + Duration::from_millis(later);
            assert_eq!(viewer.flight.hears(&again, now), None);
        }
        assert_eq!(viewer.flight.missed.len(), 5);
    }

    #[test]
    fn a_request_that_comes_after_a_report_is_late_itself() {
        for (report, told) in [(false, true), (true, false)] {
            let mut viewer = Viewer::watching(0);
            let first = viewer.send(PACKETS);
            viewer.send(PACKETS);
            viewer.send(PACKETS);
            let missing = MOST
                .iter()
                .flat_map(|it| [first + it, first + PACKETS + it]);
            let mut missing: Vec<u16> = missing.collect();
            missing.sort_unstable();
            if report {
                let received = Some(viewer.next - 1);
                let report = Feedback {
                    received,
                    ..Feedback::default()
                };
                viewer.flight.hears(&report, viewer.now + DELAY);
            }
            let request = Feedback {
                missing,
                ..Feedback::default()
            };
            let share = viewer.flight.hears(&request, viewer.now + FULL);
            assert_eq!(share.is_some(), told);
        }
    }

    #[test]
    fn what_went_before_a_change_is_not_waited_for() {
        let mut viewer = Viewer::watching(0);
        let first = viewer.send(PACKETS);
        viewer.send(PACKETS);
        viewer.flight.forget();
        viewer.send(PACKETS);
        let missing = [MOST, MOST].concat().into_iter().enumerate();
        let missing = missing.map(|(n, it)| first + it + if n < MOST.len() { 0 } else { PACKETS });
        let feedback = Feedback {
            missing: missing.collect(),
            ..Feedback::default()
        };
        assert_eq!(viewer.flight.hears(&feedback, viewer.now + FULL), None);
        viewer.picture(MOST, FULL);
        viewer.picture(MOST, FULL);
        let told = viewer.picture(&[], FULL);
        assert_eq!(told, Some(SHARE), "what came after is");
    }

    #[test]
    fn the_last_of_a_picture_is_missed_when_the_next_one_comes() {
        // Few pictures in a second: what was lost was sent long ago, what shows the gap was not.
        for (delay, told) in [(DELAY, false), (FULL, true)] {
            let mut viewer = Viewer::watching(0);
            let first = viewer.send(PACKETS);
            let second = viewer.send(PACKETS);
            viewer.now += Duration::from_millis(200);
            viewer.flight.sent(viewer.next, viewer.now);
            let feedback = Feedback {
                missing: [4, 5, 6, 7]
                    .map(|it| first + it)
                    .into_iter()
                    .chain([5, 6, 7].map(|it| second + it))
                    .collect(),
                ..Feedback::default()
            };
            let share = viewer.flight.hears(&feedback, viewer.now + delay);
            assert_eq!(share.is_some(), told);
        }
    }

    #[test]
    fn whatever_is_asked_for_no_more_is_kept_than_is_in_flight() {
        let mut viewer = Viewer::watching(0);
        let first = viewer.send(PACKETS);
        let mut missing: Vec<u16> = [first, first + 3].repeat(10_000);
        missing.extend(0..=u16::MAX);
        let feedback = Feedback {
            received: Some(40_000),
            missing,
            ..Feedback::default()
        };
        viewer.flight.hears(&feedback, viewer.now + DELAY);
        assert!(viewer.flight.missed.len() <= usize::from(PACKETS));
        assert_eq!(Flight::default().hears(&feedback, viewer.now), None);
    }

    #[test]
    fn numbers_come_around_again() {
        let mut viewer = Viewer::watching(0);
        for _ in 0..3 {
            viewer.picture(&[1, 2], FULL);
            // More than half of all numbers later.
            for _ in 0..5000 {
                viewer.picture(&[], DELAY);
            }
            viewer.picture(MOST, FULL);
            viewer.picture(MOST, FULL);
            assert_eq!(viewer.picture(&[], FULL), Some(SHARE));
        }
    }

    #[test]
    fn a_longer_way_is_learnt() {
        let mut viewer = Viewer::watching(0);
        let longer = Duration::from_millis(300);
        for _ in 0..2 * SHORTEST_OF.as_millis() / PICTURE.as_millis() + 60 {
            viewer.picture(&[], longer);
        }
        for _ in 0..4 {
            assert_eq!(viewer.picture(MOST, longer), None);
        }
    }
}
