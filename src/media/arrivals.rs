//! What a viewer's link carries, from when packets arrive there. Pure: the time is an argument.
//!
//! Of packets that are numbered a receiver says some fifteen times a second when they arrived
//! (draft-holmer-rmcat-transport-wide-cc-extensions-01). Those that waited in a queue come out of it one after the other, as fast
//! as the link behind it carries: what was sent between two of them, and how much later the one arrived than the other, is its
//! bitrate. A queue in front of a link that was cut short tells of it that way while it still fills; packets that are missed
//! ([`super::flight`]) do when it is full, and at its end.
//!
//! Nothing is numbered before a viewer was short of something once: each of its words goes through three of `webrtcbin`'s threads,
//! and so many of them cost as much as all that is sent to it. From then on two fifths of what is sent are numbered. libwebrtc's
//! receivers leave those out of the estimates that they make themselves (`ReceiveSideCongestionController::OnReceivedPacket`), which
//! are of the rest then, and are taken for all of it here. Of packets that are sent at once, the last is always among the rest: how
//! much later it arrives than that of the picture before is what such an estimate follows from.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::{
    flight::is_after,
    rtcp::{Arrived, fell},
    shortest::Shortest,
};

/// The share of what is sent that is numbered, and how far a picture may be behind it for the sake of its last packet, in bytes.
const NUMBERED: f64 = 0.4;
const BEHIND: f64 = 2400.0;
/// The share is measured over some so many bytes.
const MEASURED: f64 = 1_000_000.0;
/// Packets sent longer ago are none of this moment's.
const REMEMBERS: Duration = Duration::from_secs(2);
/// As far back as it is looked for what is sent.
const WINDOW: Duration = Duration::from_secs(1);
/// A packet that was under way for so much longer than the fastest of late has waited.
const WAITED: Duration = Duration::from_millis(30);
/// A queue that matters delays by so much at least; routers hold 100 ms and more.
const QUEUED: Duration = Duration::from_millis(80);
/// So many in a row have to have waited; of more than that, those that came out of the queue within this time.
const WAITED_LEAST: usize = 4;
const WAITED_MOST: usize = 10;
const OF_LATE: Duration = Duration::from_millis(150);
/// For so long they have to come out of it.
const COMES_OUT: Duration = Duration::from_millis(60);
/// Of what is sent, a share that is carried tells something up to here: what encoders are off by is less.
const PLAINLY_LESS: f64 = 0.75;

/// For so long after the first numbers an estimate may still be of all packets.
const OF_BEFORE: Duration = Duration::from_secs(2);

/// When a numbered packet arrived, by its receiver's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    pub number: u16,
    /// Microseconds since a moment that only the receiver knows.
    pub at: i64,
}

/// One branch's packets: of the picture, and what of it is sent again.
#[derive(Debug)]
pub struct Arrivals {
    /// Some packets are numbered.
    is_begun: bool,
    /// Bytes of all packets so far.
    sent: u64,
    /// Bytes that are to be numbered.
    due: f64,
    /// The share of them that was numbered of late.
    numbered: f64,
    next: u16,
    /// Numbered packets of late.
    marks: VecDeque<Mark>,
    /// When the viewer first said of some when they arrived.
    understood: Option<Instant>,
    /// Its latest estimate, and whether that is of the rest.
    estimate: Option<u64>,
    is_of_rest: bool,
    /// Up to this one their arrival is known.
    known: Option<u16>,
    /// Which piece of feedback comes next.
    expected: Option<u8>,
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

impl Default for Arrivals {
    fn default() -> Self {
        Self {
            is_begun: false,
            sent: 0,
            due: 0.0,
            numbered: NUMBERED,
            next: 0,
            marks: VecDeque::new(),
            understood: None,
            estimate: None,
            is_of_rest: false,
            known: None,
            expected: None,
            epoch: None,
            shortest: Shortest::default(),
            waited: VecDeque::new(),
            since: None,
        }
    }
}

impl Arrivals {
    /// From now on packets are numbered.
    pub fn begin(&mut self) {
        self.is_begun = true;
    }

    /// A packet of so many bytes is sent, maybe as the last of several. The number that it is to carry, if any.
    pub fn sends(&mut self, bytes: usize, is_last: bool, now: Instant) -> Option<u16> {
        let before = self.sent;
        self.sent += bytes as u64;
        if !self.is_begun {
            return None;
        }
        let bytes = bytes as f64;
        self.due = (self.due + bytes * NUMBERED).min(BEHIND);
        let is_numbered = !is_last && self.due * 2.0 >= bytes;
        let share = if is_numbered { 1.0 } else { 0.0 };
        self.numbered += (share - self.numbered) * (bytes / MEASURED).min(1.0);
        if !is_numbered {
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

    /// The viewer has said when packets arrived. What comes out of a queue on the way at this moment, in bit/s, where plainly more
    /// is sent; `None`: nothing speaks of one.
    pub fn hears(&mut self, arrived: &Arrived, now: Instant) -> Option<u64> {
        // What one that was lost spoke of is not known to be missing.
        if self.expected.is_some_and(|count| count != arrived.count) {
            self.waited.clear();
        }
        self.expected = Some(arrived.count.wrapping_add(1));
        // Of a number that is no longer known nothing can be said any more: they come around again.
        self.known = self.known.filter(|number| self.mark(*number).is_some());
        let mut is_news = false;
        for arrival in &arrived.arrivals {
            let is_new = self
                .known
                .is_none_or(|known| is_after(arrival.number, known));
            if let Some(mark) = self.mark(arrival.number).filter(|_| is_new) {
                is_news = true;
                self.known = Some(arrival.number);
                self.arrives(mark, arrival.at, now);
            }
        }
        if !is_news {
            return None;
        }
        self.understood.get_or_insert(now);
        let carried = self.carried()?;
        // A keyframe is more than what is sent on the whole; and of less than before, less comes out, whatever the way is like.
        let sent = self.bitrate(now)?.min(self.sent_meanwhile()?);
        (carried <= sent * PLAINLY_LESS).then_some(carried as u64)
    }

    /// A viewer's estimate of what arrives, in bit/s, taken for all that is sent. One that falls is of what has just arrived;
    /// until then it may be of before.
    pub fn of_all(&mut self, bandwidth: u64, now: Instant) -> u64 {
        let before = self.estimate.replace(bandwidth);
        let Some(understood) = self.understood else {
            return bandwidth;
        };
        let falls = before.is_some_and(|before| fell(bandwidth, before));
        self.is_of_rest |= falls || now.saturating_duration_since(understood) >= OF_BEFORE;
        match self.is_of_rest {
            true => (bandwidth as f64 / (1.0 - self.numbered)) as u64,
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
        self.waited.push_back(Waited {
            mark,
            arrived: at,
            queued,
        });
        let is_old = |it: &Waited| {
            at.saturating_sub(it.arrived) > OF_LATE.as_micros() as i64
                || mark.at.saturating_duration_since(it.mark.at) > WINDOW
        };
        while self.waited.len() > WAITED_MOST && self.waited.front().is_some_and(is_old) {
            self.waited.pop_front();
        }
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

    /// What was sent in the time in which those were that waited, in bit/s.
    fn sent_meanwhile(&self) -> Option<f64> {
        let (first, last) = (self.waited.front()?.mark, self.waited.back()?.mark);
        let time = last.at.saturating_duration_since(first.at).as_secs_f64();
        Some((last.before - first.before) as f64 * 8.0 / time)
    }

    /// What is sent, in bit/s; nothing for as long as that is not a second since the first packet, or since a change: whoever
    /// joins is sent a third of a second of pictures at once.
    fn bitrate(&self, now: Instant) -> Option<f64> {
        let began = self.since.max(self.epoch)?;
        if now.saturating_duration_since(began) < WINDOW {
            return None;
        }
        let is_lately = |at: Instant| now.saturating_duration_since(at) <= WINDOW;
        let first = self.marks.iter().find(|mark| is_lately(mark.at))?;
        let time = now.saturating_duration_since(first.at).as_secs_f64();
        Some((self.sent - first.before) as f64 * 8.0 / time)
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
        count: u8,
    }

    impl Viewer {
        fn new(carries: f64) -> Self {
            let mut arrivals = Arrivals::default();
            arrivals.begin();
            Self {
                arrivals,
                start: Instant::now(),
                now: 0.0,
                carries,
                queue: 0.25,
                free: 0.0,
                clock: 7_000_000,
                under_way: Vec::new(),
                said: 0.0,
                count: 250,
            }
        }

        /// One who has watched for so long.
        fn watching(carries: f64, seconds: f64) -> Self {
            let mut viewer = Self::new(carries);
            assert_eq!(viewer.watch(seconds, &[PACKETS]), None);
            viewer
        }

        /// Sends pictures of so many packets, in turn, until something is told or so many seconds have passed. The share of
        /// what is sent that is not carried.
        fn watch(&mut self, seconds: f64, pictures: &[usize]) -> Option<f64> {
            let end = self.now + seconds;
            let mut pictures = pictures.iter().cycle();
            while self.now < end {
                self.send(*pictures.next().expect("without end"));
                let next = self.now + PICTURE;
                while self.said + SAYS <= next {
                    self.said += SAYS;
                    if let Some(carried) = self.say() {
                        self.now = next;
                        return Some(1.0 - carried as f64 / SENT);
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

        fn say(&mut self) -> Option<u64> {
            let by_now = self.clock + (self.said * 1e6) as i64;
            let (arrivals, rest) = self.under_way.iter().partition(|it| it.at <= by_now);
            self.under_way = rest;
            self.count = self.count.wrapping_add(1);
            let arrived = Arrived {
                count: self.count,
                arrivals,
            };
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
        (missing - 0.3..missing + 0.05).contains(&share)
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
    fn of_less_that_is_sent_less_comes_however_long_the_way_is() {
        let mut viewer = Viewer::watching(WIDE, 3.0);
        viewer.clock += 100_000;
        for _ in 0..10 {
            assert_eq!(viewer.watch(1.5, &[PACKETS / 2]), None);
            assert_eq!(viewer.watch(1.5, &[PACKETS]), None);
        }
        // An encoder that has followed a link is not told of it again while what waited drains.
        let mut viewer = Viewer::watching(WIDE, 3.0);
        viewer.carries = SENT / 2.0;
        assert!(viewer.watch(1.0, &[PACKETS]).is_some());
        let followed = viewer.now;
        while viewer.now < followed + 0.3 {
            viewer.watch(0.3, &[PACKETS * 3 / 8]);
        }
        assert_eq!(viewer.watch(3.0, &[PACKETS * 3 / 8]), None);
    }

    #[test]
    fn who_joins_on_a_link_that_carries_it_is_told_nothing_of_the_first_burst() {
        for carries in [1.1, 1.3, 2.0] {
            let mut viewer = Viewer::new(SENT * carries);
            viewer.send(50 + 9 * PACKETS);
            assert_eq!(viewer.watch(5.0, &[PACKETS]), None, "{carries}");
        }
    }

    #[test]
    fn keyframes_between_small_pictures_on_a_longer_way_say_nothing() {
        for packets in [1, 2, 4] {
            let mut pictures = vec![packets; 60];
            pictures[0] = 50;
            let mut viewer = Viewer::new(WIDE);
            assert_eq!(viewer.watch(3.0, &pictures), None);
            viewer.clock += 100_000;
            assert_eq!(viewer.watch(30.0, &pictures), None, "{packets}");
        }
    }

    #[test]
    fn a_wide_link_that_becomes_less_wide_is_known_as_well() {
        for (sent, left) in [(25, 0.1), (50, 0.5), (80, 0.25)] {
            let mut viewer = Viewer::new(WIDE * 3.0);
            assert_eq!(viewer.watch(3.0, &[sent]), None);
            let bitrate = SENT / PACKETS as f64 * sent as f64;
            viewer.carries = bitrate * left;
            let share = viewer.watch(1.0, &[sent]).expect("it is told");
            let carried = (1.0 - share) * SENT / bitrate;
            assert!(is_about(1.0 - carried, 1.0 - left), "{sent}: {carried}");
        }
    }

    #[test]
    fn what_a_piece_of_feedback_spoke_of_that_was_lost_is_not_missing() {
        let mut viewer = Viewer::watching(WIDE, 3.0);
        viewer.clock += 100_000;
        for _ in 0..50 {
            assert_eq!(viewer.watch(SAYS * 4.0, &[PACKETS]), None);
            // And so is when they arrived.
            viewer.under_way.clear();
            viewer.count = viewer.count.wrapping_add(1);
        }
    }

    #[test]
    fn what_was_heard_tells_once() {
        let mut viewer = Viewer::watching(WIDE, 3.0);
        viewer.carries = SENT / 4.0;
        assert!(viewer.watch(1.0, &[PACKETS]).is_some());
        let now = viewer.at(viewer.now);
        let nothing = Arrived {
            count: viewer.count.wrapping_add(1),
            arrivals: Vec::new(),
        };
        assert_eq!(viewer.arrivals.hears(&nothing, now), None);
    }

    #[test]
    fn an_estimate_is_taken_for_all_once_the_numbers_are_understood() {
        let mut viewer = Viewer::new(WIDE);
        for _ in 0..100 {
            viewer.send(PACKETS);
        }
        let said = |number| Arrived {
            count: 0,
            arrivals: vec![Arrival { number, at: 5 }],
        };
        let now = viewer.at(0.1);
        let later = now + OF_BEFORE;
        let arrivals = &mut viewer.arrivals;
        assert_eq!(arrivals.of_all(600_000, later), 600_000);
        arrivals.hears(&said(9000), now);
        assert_eq!(arrivals.of_all(600_000, later), 600_000);
        arrivals.hears(&said(0), now);
        assert_eq!(arrivals.of_all(700_000, now), 700_000, "of before");
        let fallen = arrivals.of_all(600_000, now) as f64;
        assert!((fallen / 1e6 - 1.0).abs() < 0.01, "{fallen}");
        assert_eq!(arrivals.of_all(u64::MAX, now), u64::MAX);
        let mut patient = Viewer::new(WIDE).arrivals;
        patient.sends(PACKET, false, now);
        patient.sends(PACKET, false, now);
        patient.hears(&said(0), now);
        assert_eq!(patient.of_all(600_000, now), 600_000);
        assert!(patient.of_all(600_000, later) > 900_000);
    }

    #[test]
    fn who_was_never_short_of_anything_is_sent_no_numbers() {
        let mut arrivals = Arrivals::default();
        let now = Instant::now();
        for _ in 0..100 {
            assert_eq!(arrivals.sends(PACKET, false, now), None);
        }
        arrivals.begin();
        let numbers = (0..100).filter_map(|_| arrivals.sends(PACKET, false, now));
        assert_eq!(numbers.count(), 40);
    }

    #[test]
    fn the_share_that_is_numbered_is_known_and_mostly_the_same() {
        for (packets, last, is_same) in [
            (1, 1000, true),
            (2, 500, true),
            (3, 500, true),
            (9, 100, true),
            // The last is nearly all of the picture.
            (2, 10_000, false),
        ] {
            let mut arrivals = Arrivals::default();
            arrivals.begin();
            let now = Instant::now();
            let (mut numbered, mut sent) = (0, 0);
            for picture in 0..4000 {
                for place in 1..=packets {
                    let is_last = place == packets && packets > 1;
                    let bytes = if place == packets { last } else { PACKET };
                    let number = arrivals.sends(bytes, is_last, now);
                    assert!(number.is_none() || !is_last);
                    if picture >= 2000 {
                        sent += bytes;
                        numbered += number.map_or(0, |_| bytes);
                    }
                }
            }
            let share = numbered as f64 / sent as f64;
            assert!(
                (share - arrivals.numbered).abs() < 0.02,
                "{packets}: {share}"
            );
            assert_eq!(
                (share - NUMBERED).abs() < 0.01,
                is_same,
                "{packets}: {share}"
            );
        }
    }

    #[test]
    fn whatever_is_said_no_more_is_kept_than_was_sent() {
        let mut viewer = Viewer::watching(WIDE, 3.0);
        let now = viewer.at(viewer.now);
        let said = |at: fn(u16) -> i64| Arrived {
            count: 0,
            arrivals: (0..=u16::MAX)
                .map(|number| Arrival {
                    number,
                    at: at(number),
                })
                .collect(),
        };
        let alternating = said(|number| if number % 2 == 0 { i64::MIN } else { i64::MAX });
        for said in [
            alternating,
            said(|_| i64::MAX),
            said(|it| i64::MIN + i64::from(it)),
        ] {
            viewer.arrivals.hears(&said, now);
            assert!(viewer.arrivals.waited.len() <= viewer.arrivals.marks.len());
            assert_eq!(Arrivals::default().hears(&said, now), None);
        }
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
            longer in 0..100_000i64,
        ) {
            let mut viewer = Viewer::new(SENT * carries);
            let mut pictures = [PACKETS - 1; 60];
            pictures[0] = keyframe;
            for moment in stands {
                prop_assert_eq!(viewer.watch(2.1, &pictures), None);
                viewer.stands_still(moment);
                viewer.clock += longer;
            }
        }
    }
}
