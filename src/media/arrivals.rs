//! What a viewer's link carries, from when packets arrive there. Pure: the time is an argument.
//!
//! Of packets that are numbered a receiver says each tenth of a second when they arrived
//! (draft-holmer-rmcat-transport-wide-cc-extensions-01). Those that waited in a queue come out of it one after the other, as fast
//! as the link behind it carries: what was sent between two of them, and how much later the one arrived than the other, is its
//! bitrate. A queue in front of a link that was cut short tells of it that way while it still fills; packets that are missed
//! ([`super::flight`]) do when it is full, and at its end.
//!
//! Two fifths of what is sent is numbered. libwebrtc's receivers leave that out of the estimates that they make themselves
//! (`ReceiveSideCongestionController::OnReceivedPacket`), which are of the rest then, and are taken for all of it here: so it is
//! always the same share. The last packet of a picture is among the rest: how much later it arrives than that of the picture before
//! is what such an estimate follows from.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::{flight::is_after, shortest::Shortest};

/// The share of what is sent that is numbered, and how far a picture may be behind it for the sake of its last packet, in bytes.
const NUMBERED: f64 = 0.4;
const BEHIND: f64 = 2400.0;
/// Packets sent longer ago are none of this moment's.
const REMEMBERS: Duration = Duration::from_secs(2);
/// As far back as it is looked for what is sent, and how much of that at least.
const WINDOW: Duration = Duration::from_secs(1);
const WINDOW_LEAST: Duration = Duration::from_millis(300);
/// A packet that was under way for so much longer than the fastest of late has waited.
const WAITED: Duration = Duration::from_millis(30);
/// A queue that matters delays by so much at least; routers hold 100 ms and more.
const QUEUED: Duration = Duration::from_millis(80);
/// So many in a row have to have waited, and no more of them are looked at.
const WAITED_LEAST: usize = 4;
const WAITED_MOST: usize = 10;
/// For so long they have to come out of the queue.
const COMES_OUT: Duration = Duration::from_millis(60);
/// The share that is not carried tells something from here on: what encoders and estimates are off by is less.
const MUCH: f64 = 0.25;

/// When a numbered packet arrived, by its receiver's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    pub number: u16,
    /// Microseconds since a moment that only the receiver knows.
    pub at: i64,
}

/// One branch's packets: of the picture, and what of it is sent again.
#[derive(Debug, Default)]
pub struct Arrivals {
    /// Bytes of all packets so far.
    sent: u64,
    /// Bytes that are to be numbered.
    due: f64,
    next: u16,
    /// Numbered packets of late.
    marks: VecDeque<Mark>,
    /// The viewer has said of some when they arrived.
    is_understood: bool,
    /// Up to this one their arrival is known.
    known: Option<u16>,
    /// When the first was sent; delays are differences to that.
    epoch: Option<Instant>,
    shortest: Shortest<i64>,
    /// The latest that waited, without one between them that did not.
    waited: VecDeque<Waited>,
    /// What was sent before is not looked at any more.
    since: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Mark {
    number: u16,
    at: Instant,
    /// Bytes that had been sent before it.
    before: u64,
}

#[derive(Debug, Clone, Copy)]
struct Waited {
    mark: Mark,
    arrived: i64,
    /// Microseconds longer under way than the fastest of late.
    queued: i64,
}

impl Waited {
    /// Microseconds until the next one came, and bytes that came meanwhile: of what is missing there, as much as of the marks.
    fn until(&self, next: &Self) -> (i64, f64) {
        let marks = next.mark.number.wrapping_sub(self.mark.number).max(1);
        let bytes = next.mark.before - self.mark.before;
        let time = next.arrived.saturating_sub(self.arrived);
        (time, bytes as f64 / f64::from(marks))
    }
}

impl Arrivals {
    /// A packet of so many bytes is sent, maybe as the last of several. The number that it is to carry, if any.
    pub fn sends(&mut self, bytes: usize, is_last: bool, now: Instant) -> Option<u16> {
        let before = self.sent;
        self.sent += bytes as u64;
        let bytes = bytes as f64;
        self.due = (self.due + bytes * NUMBERED).min(BEHIND);
        if is_last || self.due * 2.0 < bytes {
            return None;
        }
        self.due -= bytes;
        self.epoch.get_or_insert(now);
        let is_old = |at: Instant| now.saturating_duration_since(at) > REMEMBERS;
        while self.marks.front().is_some_and(|mark| is_old(mark.at)) {
            self.marks.pop_front();
        }
        let number = self.next;
        self.next = number.wrapping_add(1);
        self.marks.push_back(Mark {
            number,
            at: now,
            before,
        });
        Some(number)
    }

    /// What was sent so far is not waited for any more.
    pub fn forget(&mut self, now: Instant) {
        self.waited.clear();
        self.since = Some(now);
    }

    /// The viewer has said when these arrived, in the order of their numbers. The share of what is sent that its link does not
    /// carry, above 0 and below 1; `None`: nothing speaks of one.
    pub fn hears(&mut self, arrivals: &[Arrival], now: Instant) -> Option<f64> {
        // Of a number that is no longer known nothing can be said any more: they come around again.
        self.known = self.known.filter(|number| self.mark(*number).is_some());
        for arrival in arrivals {
            let is_new = self
                .known
                .is_none_or(|known| is_after(arrival.number, known));
            if let Some(mark) = self.mark(arrival.number).filter(|_| is_new) {
                self.is_understood = true;
                self.known = Some(arrival.number);
                self.arrives(mark, arrival.at, now);
            }
        }
        let carried = self.carried()?;
        let share = 1.0 - carried / self.bitrate(now)?;
        (share >= MUCH).then(|| {
            self.waited.clear();
            share
        })
    }

    /// A viewer's estimate of what arrives, in bit/s, taken for all that is sent.
    pub fn of_all(&self, bandwidth: u64) -> u64 {
        match self.is_understood {
            true => (bandwidth as f64 / (1.0 - NUMBERED)) as u64,
            false => bandwidth,
        }
    }

    fn arrives(&mut self, mark: Mark, at: i64, now: Instant) {
        let Some(epoch) = self.epoch else { return };
        let sent = mark.at.saturating_duration_since(epoch).as_micros() as i64;
        let delay = at.saturating_sub(sent);
        self.shortest.sees(delay, now);
        let shortest = self.shortest.known().unwrap_or(delay);
        let queued = delay.saturating_sub(shortest);
        let is_past = self.since.is_some_and(|since| mark.at < since);
        if queued < WAITED.as_micros() as i64 || is_past {
            return self.waited.clear();
        }
        // What comes behind what was sent later took another way.
        if self.waited.back().is_some_and(|last| at < last.arrived) {
            return;
        }
        if self.waited.len() == WAITED_MOST {
            self.waited.pop_front();
        }
        self.waited.push_back(Waited {
            mark,
            arrived: at,
            queued,
        });
    }

    /// What comes out of a queue that matters, in bit/s. Without the longest time between two: a radio or a receiver that stands
    /// still for a moment is no short link.
    fn carried(&self) -> Option<f64> {
        let latest = self.waited.back()?;
        if self.waited.len() < WAITED_LEAST || latest.queued < QUEUED.as_micros() as i64 {
            return None;
        }
        let pairs = self.waited.iter().zip(self.waited.iter().skip(1));
        let mut steps: Vec<(i64, f64)> = pairs.map(|(one, next)| one.until(next)).collect();
        steps.sort_by_key(|(time, _)| *time);
        steps.pop();
        let time: i64 = steps.iter().map(|(time, _)| *time).sum();
        let bytes: f64 = steps.iter().map(|(_, bytes)| *bytes).sum();
        (time >= COMES_OUT.as_micros() as i64).then(|| bytes * 8.0 / (time as f64 / 1e6))
    }

    /// What is sent, in bit/s.
    fn bitrate(&self, now: Instant) -> Option<f64> {
        let is_lately = |at: Instant| now.saturating_duration_since(at) <= WINDOW;
        let is_past = |at: Instant| self.since.is_some_and(|since| at < since);
        let mut marks = self.marks.iter();
        let first = marks.find(|mark| is_lately(mark.at) && !is_past(mark.at))?;
        let time = now.saturating_duration_since(first.at);
        let bytes = self.sent - first.before;
        (time >= WINDOW_LEAST).then(|| bytes as f64 * 8.0 / time.as_secs_f64())
    }

    fn mark(&self, number: u16) -> Option<Mark> {
        let oldest = self.marks.front()?.number;
        let place = number.wrapping_sub(oldest);
        self.marks.get(usize::from(place)).copied()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PICTURE: f64 = 1.0 / 30.0;
    const PACKET: usize = 1000;
    /// Packets of a picture at 2 Mbit/s.
    const PACKETS: usize = 8;
    const SENT: f64 = PACKET as f64 * PACKETS as f64 * 8.0 / PICTURE;
    /// How often the viewer says something, in seconds.
    const SAYS: f64 = 0.06;
    const WIDE: f64 = 20e6;

    /// A viewer behind a link; times are in seconds.
    struct Viewer {
        arrivals: Arrivals,
        start: Instant,
        now: f64,
        /// Bit/s.
        carries: f64,
        /// What waits for longer is dropped.
        queue: f64,
        free: f64,
        /// What its clock says at the start.
        clock: i64,
        under_way: Vec<Arrival>,
        said: f64,
    }

    impl Viewer {
        fn new(carries: f64) -> Self {
            Self {
                arrivals: Arrivals::default(),
                start: Instant::now(),
                now: 0.0,
                carries,
                queue: 0.25,
                free: 0.0,
                clock: 7_000_000,
                under_way: Vec::new(),
                said: 0.0,
            }
        }

        /// One who has watched for so long.
        fn watching(carries: f64, seconds: f64) -> Self {
            let mut viewer = Self::new(carries);
            assert_eq!(viewer.watch(seconds, &[PACKETS]), None);
            viewer
        }

        /// Sends pictures of so many packets, in turn, until something is told or so many seconds have passed.
        fn watch(&mut self, seconds: f64, pictures: &[usize]) -> Option<f64> {
            let end = self.now + seconds;
            let mut pictures = pictures.iter().cycle();
            while self.now < end {
                self.send(*pictures.next().expect("without end"));
                let next = self.now + PICTURE;
                while self.said + SAYS <= next {
                    self.said += SAYS;
                    let told = self.say();
                    if told.is_some() {
                        self.now = next;
                        return told;
                    }
                }
                self.now = next;
            }
            None
        }

        fn send(&mut self, packets: usize) {
            for place in 0..packets {
                let now = self.at(self.now);
                let number = self.arrivals.sends(PACKET, place + 1 == packets, now);
                let waits = (self.free - self.now).max(0.0);
                if waits > self.queue {
                    continue;
                }
                self.free = self.now + waits + PACKET as f64 * 8.0 / self.carries;
                if let Some(number) = number {
                    let at = self.clock + ((self.free + 0.01) * 1e6) as i64;
                    self.under_way.push(Arrival { number, at });
                }
            }
        }

        fn say(&mut self) -> Option<f64> {
            let by_now = self.clock + (self.said * 1e6) as i64;
            let (arrived, rest) = self.under_way.iter().partition(|it| it.at <= by_now);
            self.under_way = rest;
            let arrived: Vec<Arrival> = arrived;
            self.arrivals.hears(&arrived, self.at(self.said))
        }

        fn stands_still(&mut self, seconds: f64) {
            self.free = self.free.max(self.now + seconds);
        }

        fn at(&self, seconds: f64) -> Instant {
            self.start + Duration::from_secs_f64(seconds)
        }
    }

    /// Where what comes through comes unevenly, the time that is left out makes it more; it is never much less.
    fn is_about(share: f64, missing: f64) -> bool {
        (missing - 0.2..missing + 0.05).contains(&share)
    }

    #[test]
    fn a_link_that_was_cut_short_is_known_before_its_queue_is_emptied_once() {
        for (clock, next) in [(7_000_000, 0), (-9_000_000_000, u16::MAX - 40)] {
            let mut viewer = Viewer::new(WIDE);
            viewer.clock = clock;
            viewer.arrivals.next = next;
            assert_eq!(viewer.watch(3.0, &[PACKETS]), None);
            viewer.carries = SENT / 4.0;
            let cut = viewer.now;
            let share = viewer.watch(1.0, &[PACKETS]).expect("it is told");
            assert!((share - 0.75).abs() < 0.05, "{share}");
            assert!(viewer.now - cut < 0.27, "{}", viewer.now - cut);
        }
    }

    #[test]
    fn it_is_told_again_while_it_lasts_and_not_of_what_came_before_a_change() {
        let mut viewer = Viewer::watching(WIDE, 3.0);
        viewer.carries = SENT / 4.0;
        for _ in 0..3 {
            let share = viewer.watch(1.0, &[PACKETS]).expect("it is told");
            assert!(is_about(share, 0.75), "{share}");
        }
        let now = viewer.at(viewer.now);
        viewer.arrivals.forget(now);
        assert_eq!(viewer.watch(10.0, &[1]), None, "that fits");
    }

    #[test]
    fn what_a_link_carries_on_the_whole_may_be_too_much_at_once() {
        let mut viewer = Viewer::new(SENT * 1.2);
        let mut pictures = vec![PACKETS - 1; 60];
        pictures[0] = 50;
        assert_eq!(viewer.watch(20.0, &pictures), None);
    }

    #[test]
    fn what_stands_still_for_a_moment_is_no_short_link() {
        for carries in [WIDE, SENT * 1.25] {
            let mut viewer = Viewer::watching(carries, 3.0);
            for moment in [0.05, 0.1, 0.15, 0.2, 0.3, 0.2, 0.1] {
                viewer.stands_still(moment);
                assert_eq!(viewer.watch(1.5, &[PACKETS]), None, "{carries} {moment}");
            }
        }
    }

    #[test]
    fn a_short_queue_and_a_longer_way_say_nothing() {
        let mut viewer = Viewer::watching(WIDE, 3.0);
        viewer.queue = QUEUED.as_secs_f64() * 0.9;
        viewer.carries = SENT / 2.0;
        assert_eq!(viewer.watch(3.0, &[PACKETS]), None);

        let mut viewer = Viewer::watching(WIDE, 3.0);
        viewer.clock += 3_600_000_000;
        assert_eq!(viewer.watch(30.0, &[PACKETS]), None);
        viewer.clock -= 7_200_000_000;
        assert_eq!(viewer.watch(30.0, &[PACKETS]), None);
    }

    #[test]
    fn an_estimate_is_taken_for_all_once_the_numbers_are_understood() {
        let mut viewer = Viewer::new(WIDE);
        viewer.send(PACKETS);
        let said = Arrival { number: 0, at: 5 };
        let now = viewer.at(0.1);
        assert_eq!(viewer.arrivals.of_all(600_000), 600_000);
        let unknown = Arrival {
            number: 900,
            ..said
        };
        viewer.arrivals.hears(&[unknown], now);
        assert_eq!(viewer.arrivals.of_all(600_000), 600_000);
        viewer.arrivals.hears(&[said], now);
        assert_eq!(viewer.arrivals.of_all(600_000), 1_000_000);
        assert_eq!(viewer.arrivals.of_all(u64::MAX), u64::MAX);
    }

    #[test]
    fn the_same_share_is_numbered_however_large_a_picture_is() {
        for packets in 1..10 {
            let mut arrivals = Arrivals::default();
            let now = Instant::now();
            let mut numbered = 0;
            for _ in 0..1000 {
                for place in 1..=packets {
                    // Of a picture, the last packet is what is left over.
                    let is_last = place == packets && packets > 1;
                    let bytes = if is_last { PACKET / 2 } else { PACKET };
                    let number = arrivals.sends(bytes, is_last, now);
                    assert!(number.is_none() || !is_last);
                    numbered += number.map_or(0, |_| bytes);
                }
            }
            let share = numbered as f64 / arrivals.sent as f64;
            assert!((share - NUMBERED).abs() < 0.01, "{packets}: {share}");
        }
    }

    #[test]
    fn whatever_is_said_no_more_is_kept_than_was_sent() {
        let mut viewer = Viewer::watching(WIDE, 3.0);
        let now = viewer.at(viewer.now);
        let said = (0..=u16::MAX).map(|number| Arrival {
            number,
            at: if number % 2 == 0 { i64::MIN } else { i64::MAX },
        });
        let said: Vec<Arrival> = said.collect();
        viewer.arrivals.hears(&said, now);
        assert!(viewer.arrivals.waited.len() <= WAITED_MOST);
        assert_eq!(Arrivals::default().hears(&said, now), None);
    }

    proptest! {
        #[test]
        fn what_is_told_is_what_is_missing(
            carries in 0.1..0.6f64,
            queue in 0.15..0.5f64,
            before in 1.2..10.0f64,
        ) {
            let mut viewer = Viewer::watching(SENT * before, 3.0);
            (viewer.carries, viewer.queue) = (SENT * carries, queue);
            let cut = viewer.now;
            let share = viewer.watch(2.0, &[PACKETS - 1, PACKETS, PACKETS + 1]);
            let took = viewer.now - cut;
            prop_assert!(share.is_some_and(|it| is_about(it, 1.0 - carries)), "{share:?}");
            prop_assert!(took < 0.6, "{took}");
        }

        #[test]
        fn nobody_is_told_of_whose_link_carries_it(
            carries in 1.1..10.0f64,
            keyframe in 8..60usize,
            stands in prop::collection::vec(0.0..0.3f64, 5),
        ) {
            let mut viewer = Viewer::new(SENT * carries);
            let mut pictures = [PACKETS - 1; 60];
            pictures[0] = keyframe;
            for moment in stands {
                prop_assert_eq!(viewer.watch(2.1, &pictures), None);
                viewer.stands_still(moment);
            }
        }
    }
}
