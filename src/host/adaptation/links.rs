//! The rule beside simulated links: each viewer has a bottleneck with a queue, and estimates what comes through as
//! libwebrtc's receivers do.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

const RATES: Rates = Rates {
    first: (600_000, 2_000_000),
    second: Some((120_000, 480_000)),
};
const MOMENT: Duration = Duration::from_millis(50);
/// A queue holds so much of what its link carries.
const QUEUE: f64 = 0.3;
/// As far back as receivers look.
const WINDOW: Duration = Duration::from_secs(1);

/// A viewer behind a bottleneck.
#[derive(Debug)]
struct Link {
    /// Bit/s.
    capacity: f64,
    /// Bits that wait in front of it.
    queue: f64,
    /// The receiver's estimate, in bit/s.
    estimate: f64,
    overused: bool,
    /// Bits that were sent, those of them that were a probe, and those that arrived, moment by moment.
    lately: VecDeque<[f64; 3]>,
    /// The share of a probe that goes out: none where the viewer takes no retransmissions.
    probes: f64,
    /// How often it says what it thinks.
    says: Duration,
    /// The share of its bitrate that the encoder makes use of.
    busy: f64,
    /// The receiver reads its packets late, once, and believes that the link is short.
    late: bool,
    sent: f64,
    dropped: f64,
    dropped_ever: f64,
    since_report: Duration,
    /// It says when what is numbered arrives.
    numbers: bool,
    /// So many bit/s come through for once, as if the link were short.
    trickles: Option<f64>,
    /// Moments in a row in which what arrives has waited.
    waited: u32,
    /// What each moment of an overflow that has not been told yet dropped, and what came to it.
    overflow: Vec<[f64; 2]>,
}

impl Link {
    fn new(capacity: f64) -> Self {
        Self {
            capacity,
            queue: 0.0,
            estimate: 3_000_000.0,
            overused: false,
            lately: VecDeque::new(),
            probes: 1.0,
            says: Duration::from_millis(200),
            busy: 1.0,
            late: false,
            sent: 0.0,
            dropped: 0.0,
            dropped_ever: 0.0,
            since_report: Duration::ZERO,
            numbers: true,
            trickles: None,
            waited: 0,
            overflow: Vec::new(),
        }
    }

    /// One moment with a picture at this bitrate, and so much beside it; what the viewer then says.
    fn pass(&mut self, picture: f64, beside: f64) -> Option<Way> {
        let moment = MOMENT.as_secs_f64();
        let beside = beside * self.probes;
        let bitrate = picture * self.busy + beside;
        let before = self.queue;
        self.sent += bitrate * moment;
        self.queue = (self.queue + (bitrate - self.capacity) * moment).max(0.0);
        let most = self.capacity * QUEUE;
        if self.queue > most {
            let dropped = self.queue - most;
            self.dropped += dropped;
            self.dropped_ever += dropped;
            self.queue = most;
            self.overflow.push([dropped, bitrate * moment]);
        } else {
            self.overflow.clear();
        }
        // The delay grows, or stands at its most.
        let grows = self.queue > before + 1.0 || (self.queue >= most && bitrate > self.capacity);
        let late = std::mem::take(&mut self.late);
        let falls = late || (grows && self.queue > self.capacity * 0.03);
        // What waited arrives as well.
        let arrived = (before + bitrate * moment).min(self.capacity * moment);
        self.lately
            .push_back([bitrate * moment, beside * moment, arrived]);
        let window = (WINDOW.as_millis() / MOMENT.as_millis()) as usize;
        if self.lately.len() > window {
            self.lately.pop_front();
        }
        let seconds = self.lately.len() as f64 * moment;
        let rate = |of: usize| self.lately.iter().map(|bits| bits[of]).sum::<f64>() / seconds;
        let [sent, beside, arrives] = [rate(0), rate(1), rate(2)];
        let carries = self.comes_out(sent);
        let excess = self.counted();
        self.since_report += MOMENT;
        if falls {
            self.estimate = self.estimate.min(arrives * 0.85);
        } else if self.queue < self.capacity * 0.03 {
            // What little is sent does not lower it.
            let most = self.estimate.max(arrives * 1.5 + 10_000.0);
            self.estimate = (self.estimate * 1.08f64.powf(moment)).min(most);
        }
        let news = falls && !self.overused;
        self.overused = falls;
        let way = Way {
            sent: (self.lately.len() == window).then_some(sent as u64),
            beside: beside as u64,
            carries,
            excess,
            ..Way::default()
        };
        if !news && self.since_report < self.says {
            // Packets are asked for at once.
            return (carries.is_some() || excess.is_some()).then_some(way);
        }
        self.since_report = Duration::ZERO;
        let loss = if self.sent > 0.0 {
            self.dropped / self.sent
        } else {
            0.0
        };
        (self.sent, self.dropped) = (0.0, 0.0);
        Some(Way {
            bandwidth: Some(self.estimate as u64),
            loss: Some(loss),
            ..way
        })
    }

    /// What the times say at which packets come out of a queue that fills.
    fn comes_out(&mut self, sent: f64) -> Option<u64> {
        let queued = self.queue / self.capacity;
        self.waited = if queued < 0.03 { 0 } else { self.waited + 1 };
        let told = self.waited >= 4 && queued >= 0.08 && self.capacity <= sent * 0.75;
        let trickles = std::mem::take(&mut self.trickles);
        let carries = told.then_some(self.capacity).or(trickles);
        carries
            .filter(|_| self.numbers)
            .map(|carries| carries as u64)
    }

    /// What its requests for packets say, where several pictures are broken: a queue drops.
    fn counted(&mut self) -> Option<f64> {
        (self.overflow.len() >= 2)
            .then(|| {
                let moments = std::mem::take(&mut self.overflow);
                let sum = |of: usize| moments.iter().map(|moment| moment[of]).sum::<f64>();
                sum(0) / sum(1)
            })
            .filter(|share| *share >= 0.25)
    }
}

/// All viewers, their links and the rule.
struct Street {
    adaptation: Adaptation,
    links: Vec<Link>,
    thin: Vec<Option<u32>>,
    probe: Vec<Option<u32>>,
    now: Instant,
    /// When who was moved where.
    moves: Vec<(Instant, usize, Rendition, Why)>,
}

impl Street {
    fn new(capacities: &[f64]) -> Self {
        let mut adaptation = Adaptation::new(RATES);
        let now = Instant::now();
        for viewer in 0..capacities.len() {
            adaptation.joined(BranchId(viewer as u64), now);
        }
        Self {
            adaptation,
            links: capacities.iter().copied().map(Link::new).collect(),
            thin: vec![None; capacities.len()],
            probe: vec![None; capacities.len()],
            now,
            moves: Vec::new(),
        }
    }

    /// `look` is taken at each moment.
    fn pass(&mut self, time: Duration, mut look: impl FnMut(&Self)) {
        let end = self.now + time;
        while self.now < end {
            self.now += MOMENT;
            for (viewer, link) in self.links.iter_mut().enumerate() {
                let branch = BranchId(viewer as u64);
                let rendition = self.adaptation.rendition(branch).unwrap_or_default();
                let encoded = self.adaptation.bitrate(rendition);
                let sent = self.thin[viewer].map_or(encoded, |thin| thin.min(encoded));
                let beside = self.probe[viewer].unwrap_or(0);
                if let Some(way) = link.pass(f64::from(sent), f64::from(beside)) {
                    self.adaptation.way(branch, way, self.now);
                }
            }
            self.adaptation.tick(self.now);
            while let Some(decision) = self.adaptation.next_decision() {
                match decision {
                    Decision::Show {
                        branch,
                        rendition,
                        why,
                    } => self
                        .moves
                        .push((self.now, branch.0 as usize, rendition, why)),
                    Decision::Thin { branch, bitrate } => self.thin[branch.0 as usize] = bitrate,
                    Decision::Probe { branch, bitrate } => self.probe[branch.0 as usize] = bitrate,
                    Decision::Encode { .. } | Decision::Pace { .. } => {}
                }
            }
            look(self);
        }
    }

    fn rendition(&self, viewer: usize) -> Rendition {
        let branch = BranchId(viewer as u64);
        self.adaptation.rendition(branch).unwrap_or_default()
    }

    fn first(&self) -> f64 {
        f64::from(self.adaptation.bitrate(Rendition::First))
    }

    /// The share of the last `time` that this viewer spends on the first rendition, and the most that its bitrate was.
    fn watch(&mut self, viewer: usize, time: Duration) -> (f64, f64) {
        let (mut on_first, mut all, mut bitrates) = (0, 0, 0.0);
        self.pass(time, |street| {
            all += 1;
            if street.rendition(viewer) == Rendition::First {
                on_first += 1;
                bitrates += street.first();
            }
        });
        let mean = if on_first > 0 {
            bitrates / f64::from(on_first)
        } else {
            0.0
        };
        (f64::from(on_first) / f64::from(all), mean)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn good_viewers_are_never_starved_for_bad_ones(
        bad in prop::collection::vec(50_000.0..1_500_000.0f64, 1..5),
        good in prop::collection::vec(2_300_000.0..20_000_000.0f64, 1..4),
    ) {
        let all: Vec<f64> = good.iter().chain(&bad).copied().collect();
        let number = good.len();
        let mut street = Street::new(&all);
        let mut worst = f64::MAX;
        street.pass(Duration::from_secs(120), |street| {
            worst = worst.min(street.first());
            for viewer in 0..number {
                assert_eq!(street.rendition(viewer), Rendition::First);
            }
        });
        prop_assert_eq!(worst, 2_000_000.0);
        // And the bad ones are sent the first only to try.
        for viewer in number..all.len() {
            let (share, _) = street.watch(viewer, Duration::from_secs(60));
            prop_assert!(share < 0.25, "viewer {} of {:?}: {}", viewer, all, share);
        }
    }

    #[test]
    fn a_viewer_alone_ends_up_with_the_best_that_fits(
        capacity in 60_000.0..6_000_000.0f64,
        numbers in any::<bool>(),
    ) {
        let mut street = Street::new(&[capacity]);
        street.links[0].numbers = numbers;
        street.pass(Duration::from_secs(60), |_| {});
        let (share, bitrate) = street.watch(0, Duration::from_secs(120));
        if capacity > 900_000.0 {
            prop_assert!(share > 0.9, "{capacity}: {share} of the time");
            let fits = (capacity * 0.6).min(1_900_000.0);
            prop_assert!(bitrate >= fits, "{capacity}: {bitrate}");
            prop_assert!(bitrate <= (capacity * 1.1).max(600_000.0), "{capacity}: {bitrate}");
        } else if capacity < 500_000.0 {
            prop_assert!(share < 0.2, "{capacity}: {share} of the time");
            prop_assert!(f64::from(street.adaptation.bitrate(Rendition::Second)) <= (capacity * 1.2).max(120_000.0));
        }
    }

    #[test]
    fn a_receiver_that_is_late_keeps_its_picture_whatever_the_picture_takes(
        busy in 0.02..1.0f64,
        late in prop::collection::vec(20..200usize, 1..20),
        viewers in 1..4usize,
    ) {
        let mut street = Street::new(&vec![20_000_000.0; viewers]);
        for link in &mut street.links {
            link.busy = busy;
        }
        street.pass(Duration::from_secs(5), |_| {});
        for moments in late {
            street.links[0].late = true;
            street.pass(MOMENT * moments as u32, |_| {});
        }
        let moves: Vec<_> = street.moves.iter().map(|(_, who, ..)| *who).collect();
        prop_assert_eq!(moves, Vec::<usize>::new());
    }

    #[test]
    fn what_trickles_for_a_moment_moves_nobody(
        trickles in prop::collection::vec((0.6..0.75f64, 20..100usize), 1..20),
        viewers in 1..4usize,
    ) {
        let mut street = Street::new(&vec![20_000_000.0; viewers]);
        street.pass(Duration::from_secs(5), |_| {});
        for (share, moments) in trickles {
            street.links[0].trickles = Some(street.first() * share);
            street.pass(MOMENT * moments as u32, |_| {});
        }
        let moves: Vec<_> = street.moves.iter().map(|(_, who, ..)| *who).collect();
        prop_assert_eq!(moves, Vec::<usize>::new());
    }

    #[test]
    fn nobody_flaps(
        capacities in prop::collection::vec(60_000.0..4_000_000.0f64, 1..6),
        numbers in any::<bool>(),
    ) {
        let mut street = Street::new(&capacities);
        for link in &mut street.links {
            link.numbers = numbers;
        }
        street.pass(Duration::from_secs(600), |_| {});
        for viewer in 0..capacities.len() {
            let tries: Vec<Instant> = street.moves.iter()
                .filter(|(_, who, _, why)| *who == viewer && *why == Why::Retry)
                .map(|(at, ..)| *at)
                .collect();
            for pair in tries.windows(2) {
                prop_assert!(pair[1] - pair[0] >= Duration::from_secs(3), "viewer {viewer} of {capacities:?}");
            }
            prop_assert!(tries.len() <= 20, "viewer {} of {:?}: {} tries", viewer, capacities, tries.len());
        }
    }

    #[test]
    fn who_has_no_room_for_the_first_hardly_ever_has_to_find_out_by_watching_it(
        capacity in 400_000.0..1_700_000.0f64,
    ) {
        let mut street = Street::new(&[20_000_000.0, capacity]);
        street.pass(Duration::from_secs(10), |_| {});
        street.moves.clear();
        let before = street.links[1].dropped_ever;
        street.pass(Duration::from_secs(600), |_| {});
        let lost = street.links[1].dropped_ever - before;
        let tries: Vec<_> = street.moves.iter().filter(|(.., why)| *why == Why::Retry).collect();
        prop_assert!(tries.len() <= 1, "{capacity}: {tries:?}");
        // Forty probes or so, where even the second rendition may hardly fit.
        prop_assert!(lost < capacity * 600.0 * 0.02, "{} lost of {}", lost, capacity);
    }

    #[test]
    fn whoever_has_room_again_is_moved_up_however_many_have_none(
        short in prop::collection::vec(300_000.0..1_500_000.0f64, 0..12),
        place in 0..12usize,
        probes in prop::sample::select(vec![1.0, 0.3, 0.15, 0.0]),
        says in prop::sample::select(vec![200, 500, 1000]),
        numbers in any::<bool>(),
    ) {
        let place = place.min(short.len());
        let mut capacities = short.clone();
        capacities.insert(place, 800_000.0);
        capacities.push(20_000_000.0);
        let mut street = Street::new(&capacities);
        for link in &mut street.links {
            link.probes = probes;
            link.numbers = numbers;
            link.says = Duration::from_millis(says);
        }
        street.pass(Duration::from_secs(60), |_| {});
        // Who cannot be probed may just be trying.
        prop_assume!(street.rendition(place) == Rendition::Second);
        street.links[place].capacity = 20_000_000.0;
        street.moves.clear();
        let changed = street.now;
        street.pass(Duration::from_secs(400), |_| {});
        let up = street.moves.iter().find(|(_, who, _, why)| (*who, *why) == (place, Why::Retry));
        let took = up.map(|(at, ..)| *at - changed);
        // Tries that fail are far between, and there is one at a time.
        let most = Duration::from_secs(if probes == 1.0 { 120 } else { 300 });
        prop_assert!(took.is_some_and(|took| took < most), "{took:?}");
    }

    #[test]
    fn who_is_moved_up_takes_no_more_than_was_probed_for(back in 1_200_000.0..20_000_000.0f64, other in 900_000.0..1_100_000.0f64) {
        let mut street = Street::new(&[500_000.0, other]);
        street.pass(Duration::from_secs(60), |_| {});
        prop_assert_eq!((street.rendition(0), street.rendition(1)), (Rendition::Second, Rendition::First));
        street.links[0].capacity = back;
        street.moves.clear();
        street.pass(Duration::from_secs(60), |_| {});
        let up = street.moves.iter().find(|(_, who, ..)| *who == 0).map(|(at, ..)| *at);
        let thrown = street.moves.iter().any(|(at, who, to, _)| {
            (*who, *to) == (1, Rendition::Second) && up.is_some_and(|up| *at - up < Duration::from_secs(1))
        });
        prop_assert!(up.is_some() && !thrown, "{:?}", street.moves);
    }

    #[test]
    fn a_link_that_changes_is_followed(
        before in 300_000.0..4_000_000.0f64,
        after in 700_000.0..4_000_000.0f64,
        numbers in any::<bool>(),
    ) {
        let mut street = Street::new(&[before, 10_000_000.0]);
        street.links[0].numbers = numbers;
        street.pass(Duration::from_secs(60), |_| {});
        let changed = street.now;
        street.links[0].capacity = after;
        let mut down = None;
        street.pass(Duration::from_secs(100), |street| {
            if street.rendition(0) == Rendition::Second && down.is_none() {
                down = Some(street.now);
            }
        });
        // Beside another, it takes the whole picture or the small one.
        if after > 2_400_000.0 {
            let moves: Vec<_> = street.moves.iter().map(|(at, who, r, why)| (at.duration_since(changed), changed.duration_since(*at), *who, *r, *why)).collect();
            prop_assert_eq!(street.rendition(0), Rendition::First, "{} {} {:?}", before, after, moves);
        }
        if before > 2_400_000.0 && after < 1_500_000.0 {
            let took = down.map(|at| at - changed);
            prop_assert!(took.is_some_and(|took| took <= Duration::from_secs(2)), "{took:?}");
        }
    }
}
