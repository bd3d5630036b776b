mod retries;

use super::*;

const RATES: Rates = Rates {
    first: (600_000, 2_000_000),
    second: Some((120_000, 480_000)),
};
const MOMENT: Duration = Duration::from_millis(100);

/// A viewer's words, in virtual time.
struct Talk {
    adaptation: Adaptation,
    now: Instant,
}

impl Talk {
    fn new(rates: Rates, viewers: u64) -> Self {
        let mut adaptation = Adaptation::new(rates);
        let now = Instant::now();
        for viewer in 0..viewers {
            adaptation.joined(BranchId(viewer), now);
        }
        Self { adaptation, now }
    }

    fn estimate(&mut self, viewer: u64, bandwidth: u64) -> Vec<Decision> {
        self.now += MOMENT;
        let way = Way {
            bandwidth: Some(bandwidth),
            ..Way::default()
        };
        self.adaptation.way(BranchId(viewer), way, self.now);
        self.decisions()
    }

    /// An estimate, 200 ms after the one before, of what was so much over the last second.
    fn estimate_of(&mut self, sent: u64, bandwidth: u64) -> Vec<Decision> {
        self.now += MOMENT * 2;
        let way = Way {
            bandwidth: Some(bandwidth),
            sent: Some(sent),
            ..Way::default()
        };
        self.adaptation.way(BranchId(0), way, self.now);
        self.decisions()
    }

    fn loss(&mut self, viewer: u64, loss: f64) -> Vec<Decision> {
        self.now += MOMENT;
        let way = Way {
            loss: Some(loss),
            ..Way::default()
        };
        self.adaptation.way(BranchId(viewer), way, self.now);
        self.decisions()
    }

    fn pass(&mut self, time: Duration) -> Vec<Decision> {
        let end = self.now + time;
        let mut decisions = Vec::new();
        while let Some(at) = self.adaptation.next_deadline().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.adaptation.tick(self.now);
            decisions.extend(self.decisions());
        }
        self.now = end;
        decisions
    }

    fn decisions(&mut self) -> Vec<Decision> {
        std::iter::from_fn(|| self.adaptation.next_decision()).collect()
    }
}

fn shown(decisions: &[Decision]) -> Vec<(u64, Rendition, Why)> {
    let shown = decisions.iter().filter_map(|decision| match decision {
        Decision::Show {
            branch,
            rendition,
            why,
        } => Some((branch.0, *rendition, *why)),
        _ => None,
    });
    shown.collect()
}

fn paced(decisions: &[Decision]) -> Option<u32> {
    decisions.iter().find_map(|decision| match decision {
        Decision::Pace { bitrate, .. } => *bitrate,
        _ => None,
    })
}

#[test]
fn nothing_is_decided_while_all_is_well() {
    let mut talk = Talk::new(RATES, 3);
    assert_eq!(talk.decisions(), []);
    assert_eq!(talk.adaptation.next_deadline(), None, "nobody is woken");
    // It grows towards what is sent, and beyond.
    for bandwidth in [1_700_000, 1_900_000, 2_500_000, 3_000_000] {
        assert_eq!(talk.estimate(1, bandwidth), []);
    }
    assert_eq!(talk.loss(2, 0.05), []);
    assert_eq!(talk.loss(2, 0.05), []);
    assert!(!talk.adaptation.wants_second());
}

#[test]
fn a_viewer_alone_is_followed_by_the_encoder() {
    let mut talk = Talk::new(RATES, 1);
    talk.estimate(0, 3_000_000);
    let decisions = talk.estimate(0, 1_300_000);
    assert_eq!(shown(&decisions), []);
    let encoded = talk.adaptation.bitrate(Rendition::First);
    assert!((800_000..1_000_000).contains(&encoded), "{encoded}");
    // What waits along the way has drained: as much as it carries.
    talk.pass(Duration::from_secs(1));
    let encoded = talk.adaptation.bitrate(Rendition::First);
    assert!((1_100_000..1_200_000).contains(&encoded), "{encoded}");
    talk.pass(Duration::from_secs(30));
    assert_eq!(talk.adaptation.bitrate(Rendition::First), 2_000_000);
}

#[test]
fn a_receiver_that_is_late_itself_is_not_taken_for_a_short_link() {
    // Most of what is sent arrives; the machine is busy for a moment, and again later.
    let late = [1_720_000, 1_640_000, 1_560_000, 1_480_000];
    let mut talk = Talk::new(RATES, 3);
    talk.estimate(1, 2_200_000);
    for _ in 0..5 {
        for bandwidth in late {
            assert_eq!(talk.estimate(1, bandwidth), []);
        }
        talk.pass(Duration::from_secs(2));
        talk.estimate(1, 1_900_000);
    }
    assert!(!talk.adaptation.wants_second());
    // A link that is a little short loses packets …
    talk.loss(1, 0.05);
    let decisions: Vec<_> = late
        .iter()
        .flat_map(|bandwidth| talk.estimate(1, *bandwidth))
        .collect();
    assert_eq!(shown(&decisions), [(1, Rendition::Second, Why::Bandwidth)]);
    // … or it goes on.
    let mut talk = Talk::new(RATES, 3);
    talk.estimate(1, 2_200_000);
    for fall in 0..10 {
        let decisions = talk.estimate(1, 1_740_000 - fall * 2_000);
        assert_eq!(shown(&decisions), [], "not within a second");
    }
    let mut decisions = talk.estimate(1, 1_710_000);
    decisions.extend(talk.estimate(1, 1_640_000));
    assert_eq!(shown(&decisions), [(1, Rendition::Second, Why::Bandwidth)]);
}

#[test]
fn a_picture_that_takes_little_is_not_taken_for_one_that_does_not_arrive() {
    let mut talk = Talk::new(RATES, 1);
    // A quiet scene takes 700 kbit/s of 2 Mbit/s; the receiver is late twice, and takes its time to say more again.
    for bandwidth in [
        670_000, 680_000, 691_000, 800_000, 1_030_000, 550_000, 553_000,
    ] {
        assert_eq!(talk.estimate_of(700_000, bandwidth), [], "{bandwidth}");
    }
    for _ in 0..10 {
        assert_eq!(talk.estimate_of(700_000, 570_000), []);
    }
    // Half of it arrives.
    let moved: Vec<_> = [400_000, 300_000]
        .iter()
        .flat_map(|bandwidth| talk.estimate_of(700_000, *bandwidth))
        .collect();
    assert_eq!(shown(&moved), [(0, Rendition::Second, Why::Bandwidth)]);
}

#[test]
fn a_steep_fall_is_bridged_for_a_viewer_alone_and_a_gentle_one_followed() {
    // As Chromium says it of 2 Mbit/s on a link that is cut to 1 Mbit/s, every 200 ms.
    let mut talk = Talk::new(RATES, 1);
    talk.estimate_of(2_000_000, 2_527_000);
    assert_eq!(talk.estimate_of(2_000_000, 1_583_000), []);
    // Within 200 ms, 160 kbit more of the last second are missing: 1.2 Mbit/s come through.
    let moved = talk.estimate_of(2_000_000, 1_444_000);
    assert_eq!(shown(&moved), [(0, Rendition::Second, Why::Bandwidth)]);

    // It says so a moment later; by then the queue in front of the link is full.
    let mut talk = Talk::new(RATES, 1);
    talk.estimate_of(2_000_000, 2_527_000);
    assert_eq!(talk.estimate_of(2_000_000, 1_583_000), []);
    talk.loss(0, 0.25);
    let moved = talk.estimate_of(2_000_000, 1_500_000);
    assert_eq!(shown(&moved), [(0, Rendition::Second, Why::Bandwidth)]);

    // A receiver that follows what is sent less and less of, because it says less: all of that arrives.
    let mut talk = Talk::new(RATES, 1);
    talk.estimate_of(2_000_000, 2_527_000);
    for (sent, bandwidth) in [
        (2_000_000, 1_620_000),
        (2_000_000, 1_590_000),
        (1_950_000, 1_540_000),
        (1_800_000, 1_440_000),
        (1_700_000, 1_350_000),
        (1_600_000, 1_270_000),
        (1_400_000, 1_110_000),
        (1_200_000, 950_000),
        (1_000_000, 790_000),
    ] {
        let decisions = talk.estimate_of(sent, bandwidth);
        assert_eq!(shown(&decisions), [], "{bandwidth} of {sent}");
    }
    assert!(talk.adaptation.bitrate(Rendition::First) < 2_000_000);
}

#[test]
fn one_of_three_that_is_slow_is_sent_the_smaller_picture_and_the_others_notice_nothing() {
    let mut talk = Talk::new(RATES, 3);
    talk.estimate(1, 2_200_000);
    let first = talk.estimate(1, 1_300_000);
    assert_eq!(shown(&first), [], "a stall of a radio passes");
    let second = talk.estimate(1, 1_100_000);
    assert_eq!(shown(&second), [(1, Rendition::Second, Why::Bandwidth)]);
    assert!(talk.adaptation.wants_second());
    assert_eq!(talk.adaptation.bitrate(Rendition::First), 2_000_000);
    let order: Vec<_> = second
        .iter()
        .filter(|it| !matches!(it, Decision::Pace { .. }))
        .collect();
    assert!(
        matches!(
            order[0],
            Decision::Encode {
                rendition: Rendition::Second,
                ..
            }
        ),
        "its keyframe is of the right size: {order:?}"
    );
}

/// The second of two is sent the second rendition.
fn one_moved_down() -> Talk {
    let mut talk = Talk::new(RATES, 2);
    talk.estimate(1, 2_200_000);
    talk.estimate(1, 1_300_000);
    talk.estimate(1, 1_000_000);
    let rendition = talk.adaptation.rendition(BranchId(1));
    assert_eq!(rendition, Some(Rendition::Second));
    talk
}

#[test]
fn losses_count_where_they_last_and_no_estimate_speaks_of_them() {
    let mut talk = Talk::new(RATES, 2);
    assert_eq!(shown(&talk.loss(0, 0.3)), []);
    assert_eq!(shown(&talk.loss(0, 0.0)), []);
    // Of a few packets each, as reports are that come with estimates.
    for _ in 0..8 {
        assert_eq!(shown(&talk.loss(0, 0.5)), []);
    }
    assert_eq!(
        shown(&talk.loss(0, 0.5)),
        [(0, Rendition::Second, Why::Loss)]
    );
    // And where there is one every second or so.
    let mut talk = Talk::new(RATES, 2);
    assert_eq!(shown(&talk.loss(1, 0.5)), []);
    talk.pass(Duration::from_secs(1));
    assert_eq!(
        shown(&talk.loss(1, 0.5)),
        [(1, Rendition::Second, Why::Loss)]
    );
}

/// An estimate and losses, 200 ms after the ones before, of what was so much over the last second.
fn report_of(talk: &mut Talk, sent: u64, bandwidth: u64, loss: f64) -> Vec<Decision> {
    talk.now += MOMENT * 2;
    let way = Way {
        bandwidth: Some(bandwidth),
        sent: Some(sent),
        loss: Some(loss),
        ..Way::default()
    };
    talk.adaptation.way(BranchId(0), way, talk.now);
    talk.decisions()
}

#[test]
fn an_estimate_that_is_far_below_what_is_sent_need_not_fall() {
    // As Chromium says it on a link that was short a while ago, and is cut from 3 Mbit/s to 500 kbit/s.
    let mut talk = Talk::new(RATES, 1);
    report_of(&mut talk, 2_000_000, 994_000, 0.0);
    assert_eq!(report_of(&mut talk, 1_920_000, 1_013_000, 0.0), []);
    let moved = report_of(&mut talk, 1_990_000, 1_029_000, 0.21);
    assert_eq!(shown(&moved), [(0, Rendition::Second, Why::Bandwidth)]);
}

#[test]
fn a_queue_that_overflows_is_believed_before_any_estimate_falls() {
    for (share, moved) in [(0.75, true), (0.25, false)] {
        let mut talk = Talk::new(RATES, 1);
        talk.estimate_of(2_000_000, 2_800_000);
        talk.now += MOMENT;
        let way = Way {
            bandwidth: Some(2_800_000),
            sent: Some(2_000_000),
            excess: Some(share),
            ..Way::default()
        };
        talk.adaptation.way(BranchId(0), way, talk.now);
        let decisions = talk.decisions();
        assert_eq!(!shown(&decisions).is_empty(), moved, "{decisions:?}");
        let rendition = talk.adaptation.rendition(BranchId(0)).expect("there");
        let encoded = f64::from(talk.adaptation.bitrate(rendition));
        assert!(encoded < 2_000_000.0 * (1.0 - share), "{encoded}");
        if !moved {
            continue;
        }
        // The keyframe is sent as fast as the queue empties, whatever is encoded meanwhile.
        let pace = f64::from(paced(&decisions).expect("paced"));
        assert!(
            pace > encoded && pace < 2_000_000.0 * (1.0 - share),
            "{pace}"
        );
    }
    // However much is lost of a few packets, whether not even the smallest comes through is for the estimate to say.
    let mut talk = Talk::new(RATES, 1);
    let way = Way {
        sent: Some(2_000_000),
        excess: Some(0.98),
        ..Way::default()
    };
    talk.adaptation.way(BranchId(0), way, talk.now);
    assert_eq!(talk.adaptation.watchers[&BranchId(0)].thinned, None);
}

#[test]
fn whoever_is_sent_more_than_it_carries_is_not_paced_below_what_is_made() {
    // A little short, beside one who takes everything.
    let mut talk = Talk::new(RATES, 2);
    talk.estimate(0, 2_200_000);
    talk.loss(0, 0.05);
    let decisions = talk.estimate(0, 1_900_000);
    assert_eq!(talk.adaptation.bitrate(Rendition::First), 2_000_000);
    assert!(
        paced(&decisions).is_some_and(|pace| pace >= 2_000_000),
        "{decisions:?}"
    );
}

#[test]
fn a_few_that_are_lost_for_good_are_too_many_where_the_estimate_says_so_too() {
    for (bandwidth, fits) in [(1_700_000, false), (2_100_000, true)] {
        let mut talk = Talk::new(RATES, 1);
        for _ in 0..20 {
            report_of(&mut talk, 2_000_000, bandwidth, 0.08);
        }
        let encoded = talk.adaptation.bitrate(Rendition::First);
        assert_eq!(encoded == 2_000_000, fits, "{bandwidth}: {encoded}");
    }
}

#[test]
fn what_comes_through_by_now_is_not_taken_for_nothing() {
    // Of the last second's pictures more is missing than was sent since the first word of it.
    let mut talk = Talk::new(RATES, 1);
    report_of(&mut talk, 2_000_000, 2_500_000, 0.0);
    report_of(&mut talk, 2_000_000, 1_580_000, 0.0);
    let decisions = report_of(&mut talk, 2_000_000, 800_000, 0.8);
    assert_eq!(shown(&decisions), [(0, Rendition::Second, Why::Bandwidth)]);
    let thins = |decision: &Decision| matches!(decision, Decision::Thin { .. });
    assert!(!decisions.iter().any(thins), "{decisions:?}");
}

#[test]
fn who_cannot_take_the_smallest_is_given_fewer_pictures_and_then_all_again() {
    let mut talk = Talk::new(RATES, 1);
    for bandwidth in [2_200_000, 900_000, 500_000, 200_000, 80_000, 60_000] {
        talk.estimate(0, bandwidth);
    }
    assert_eq!(talk.adaptation.bitrate(Rendition::Second), 120_000);
    let thin = |decisions: &[Decision]| {
        decisions
            .iter()
            .any(|it| matches!(it, Decision::Thin { .. }))
    };
    assert!(
        !thin(&talk.decisions()),
        "nothing is lost: the receiver may just be busy"
    );
    talk.loss(0, 0.04);
    let last = talk.estimate(0, 50_000);
    assert_eq!(talk.adaptation.bitrate(Rendition::Second), 120_000);
    let thin = last.iter().find_map(|decision| match decision {
        Decision::Thin { bitrate, .. } => Some(*bitrate),
        _ => None,
    });
    assert!(matches!(thin, Some(Some(30_000..=60_000))), "{last:?}");
    let later = talk.pass(Duration::from_secs(60));
    let whole = Decision::Thin {
        branch: BranchId(0),
        bitrate: None,
    };
    assert!(later.contains(&whole), "{later:?}");
}

#[test]
fn an_encoder_that_cannot_be_told_is_not() {
    let mut talk = Talk::new(RATES, 1);
    talk.adaptation.adjustable(false, talk.now);
    talk.estimate(0, 2_200_000);
    talk.estimate(0, 1_300_000);
    let decisions = talk.estimate(0, 1_100_000);
    assert_eq!(shown(&decisions), [(0, Rendition::Second, Why::Bandwidth)]);
    talk.pass(Duration::from_secs(300));
    assert_eq!(talk.adaptation.bitrate(Rendition::First), 2_000_000);
    assert_eq!(talk.adaptation.bitrate(Rendition::Second), 480_000);
}

#[test]
fn an_encoder_that_cannot_be_told_is_not_told_either_when_the_second_is_tried_again() {
    let mut talk = Talk::new(RATES, 1);
    talk.adaptation.adjustable(false, talk.now);
    talk.adaptation.without_second(talk.now);
    talk.pass(SECOND_AGAIN + STEP);
    for bandwidth in [2_200_000, 900_000, 500_000, 200_000] {
        talk.estimate(0, bandwidth);
    }
    assert!(talk.adaptation.wants_second());
    assert_eq!(talk.adaptation.bitrate(Rendition::Second), 480_000);
}

#[test]
fn a_profile_without_a_second_rendition_is_not_asked_for_one() {
    let mut talk = Talk::new(RATES, 1);
    for bandwidth in [2_200_000, 900_000, 500_000, 200_000] {
        talk.estimate(0, bandwidth);
    }
    assert!(talk.adaptation.wants_second());
    // The camera was exchanged for one that encodes by itself.
    talk.adaptation.has_second(false, talk.now);
    assert_eq!(
        shown(&talk.decisions()),
        [(0, Rendition::First, Why::Retry)]
    );
    talk.pass(SECOND_AGAIN + STEP);
    for bandwidth in [200_000, 150_000, 200_000] {
        talk.estimate(0, bandwidth);
    }
    assert!(!talk.adaptation.wants_second());
    // And for one that lets itself be encoded.
    talk.adaptation.has_second(true, talk.now);
    for bandwidth in [200_000, 150_000, 200_000] {
        talk.estimate(0, bandwidth);
    }
    assert!(talk.adaptation.wants_second());
}

#[test]
fn without_a_second_rendition_the_slow_are_given_fewer_pictures() {
    let rates = Rates {
        second: None,
        ..RATES
    };
    let mut talk = Talk::new(rates, 2);
    talk.estimate(1, 2_200_000);
    talk.estimate(1, 900_000);
    let decisions = talk.estimate(1, 700_000);
    assert_eq!(shown(&decisions), []);
    assert!(
        decisions.iter().any(|it| matches!(
            it,
            Decision::Thin {
                branch: BranchId(1),
                bitrate: Some(_)
            }
        )),
        "{decisions:?}"
    );
    assert_eq!(talk.adaptation.bitrate(Rendition::First), 2_000_000);
}

#[test]
fn where_the_second_cannot_be_encoded_the_slow_get_fewer_pictures_and_it_is_tried_again() {
    let mut talk = Talk::new(RATES, 2);
    for bandwidth in [2_200_000, 900_000, 500_000] {
        talk.estimate(1, bandwidth);
    }
    assert!(talk.adaptation.wants_second());
    talk.adaptation.without_second(talk.now);
    let decisions = talk.decisions();
    assert_eq!(shown(&decisions), [(1, Rendition::First, Why::Retry)]);
    assert!(
        decisions.iter().any(|it| matches!(
            it,
            Decision::Thin {
                branch: BranchId(1),
                bitrate: Some(_)
            }
        )),
        "{decisions:?}"
    );
    assert!(!talk.adaptation.wants_second());
    assert_eq!(talk.adaptation.bitrate(Rendition::First), 2_000_000);
    talk.pass(SECOND_AGAIN + STEP);
    talk.estimate(1, 400_000);
    talk.estimate(1, 300_000);
    assert!(talk.adaptation.wants_second(), "it is tried again");
}

#[test]
fn whatever_a_viewer_says_it_is_given_something_and_soon_all_again() {
    let mut talk = Talk::new(RATES, 1);
    for _ in 0..100 {
        talk.loss(0, 0.9);
        talk.estimate(0, 0);
        for decision in talk.pass(MOMENT * 3) {
            if let Decision::Pace {
                bitrate: Some(bitrate),
                ..
            }
            | Decision::Thin {
                bitrate: Some(bitrate),
                ..
            } = decision
            {
                assert!(bitrate >= 30_000, "{bitrate}");
            }
        }
    }
    talk.loss(0, 0.0);
    talk.pass(Duration::from_secs(20));
    assert_eq!(talk.adaptation.watchers[&BranchId(0)].thinned, None);
    for bandwidth in 0..160 {
        talk.pass(Duration::from_secs(1));
        talk.estimate(0, (bandwidth + 1) * 100_000);
    }
    assert_eq!(
        talk.adaptation.rendition(BranchId(0)),
        Some(Rendition::First)
    );
}

#[test]
fn what_is_said_of_a_slate_counts_for_nothing() {
    let mut talk = Talk::new(RATES, 2);
    talk.estimate(0, 2_200_000);
    talk.adaptation.camera(false, talk.now);
    for bandwidth in [900_000, 300_000, 100_000] {
        assert_eq!(talk.estimate(0, bandwidth), []);
    }
    talk.adaptation.camera(true, talk.now);
    assert_eq!(talk.estimate(0, 80_000), [], "it remembers");
    talk.pass(REMEMBERS);
    talk.estimate(0, 2_200_000);
    talk.estimate(0, 1_300_000);
    let moved = talk.estimate(0, 1_100_000);
    assert_eq!(shown(&moved), [(0, Rendition::Second, Why::Bandwidth)]);
}

#[test]
fn who_is_gone_counts_no_more() {
    let mut talk = Talk::new(RATES, 1);
    for bandwidth in [2_200_000, 900_000, 500_000] {
        talk.estimate(0, bandwidth);
    }
    assert!(talk.adaptation.wants_second());
    talk.adaptation.gone(BranchId(0), talk.now);
    assert!(!talk.adaptation.wants_second());
    assert_eq!(talk.adaptation.next_deadline(), None);
    talk.adaptation.joined(BranchId(1), talk.now);
    talk.decisions();
    assert_eq!(
        talk.adaptation.bitrate(Rendition::First),
        2_000_000,
        "a newcomer pays for nobody"
    );
    assert_eq!(shown(&talk.estimate(0, 10)), [], "late words are nobody's");
}

#[test]
fn the_second_renditions_bitrate_is_told_while_it_is_needed() {
    let mut talk = Talk::new(RATES, 2);
    let told = |talk: &Talk| talk.adaptation.bitrates().collect::<Vec<_>>();
    assert_eq!(told(&talk), [(Rendition::First, 2_000_000)]);
    talk.estimate(1, 200_000);
    let sent = [0, 1, 2].map(|viewer| talk.adaptation.rendition(BranchId(viewer)));
    assert_eq!(
        sent,
        [Some(Rendition::First), Some(Rendition::Second), None]
    );
    let second = talk.adaptation.bitrate(Rendition::Second);
    let both = [(Rendition::First, 2_000_000), (Rendition::Second, second)];
    assert_eq!(told(&talk), both);
    talk.adaptation.gone(BranchId(1), talk.now);
    assert_eq!(told(&talk), [(Rendition::First, 2_000_000)]);
}
