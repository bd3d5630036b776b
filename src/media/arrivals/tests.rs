//! Viewers behind simulated links, and what is told of those.

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
            (share - arrivals.numbered.expect("begun")).abs() < 0.02,
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
