//! A viewer's RTCP, and the rule that follows from it: whatever it says, what is encoded stays within its bounds.
#![no_main]

use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use perch::{
    host::adaptation::{Adaptation, Decision, Rates},
    media::{
        BranchId, Rendition,
        arrivals::Arrivals,
        flight::Flight,
        rtcp::{Feedback, Way},
    },
};

/// The SSRC that the seeds report on.
const MEDIA: u32 = 0x1234_5678;
const RATES: Rates = Rates {
    first: (600_000, 2_000_000),
    second: Some((120_000, 480_000)),
};
const BRANCH: BranchId = BranchId(1);

/// No part of the seeds; what comes between two is a packet.
const BETWEEN: u8 = 0xfe;

fuzz_target!(|bytes: &[u8]| {
    let mut adaptation = Adaptation::new(RATES);
    let mut now = Instant::now();
    adaptation.joined(BRANCH, now);
    let mut flight = Flight::default();
    let mut arrivals = Arrivals::default();
    arrivals.begin();
    let mut latest = 65_500u16;
    for packet in bytes.split(|byte| *byte == BETWEEN) {
        // The seed `missing` misses some of the second and the third forty, which are 400 ms old by then.
        latest = latest.wrapping_add(40);
        flight.sent(latest, now);
        // The seed `late` says that the first sixteen that were numbered came out of a queue one after the other.
        for left in (0..40).rev() {
            arrivals.sends(1000, left == 0, now);
        }
        let feedback = Feedback::read(packet, MEDIA);
        let carries = feedback.arrived.as_ref().and_then(|it| arrivals.hears(it, now));
        let way = Way {
            bandwidth: feedback.bandwidth.map(|it| arrivals.of_all(it, now)),
            loss: feedback.loss,
            carries,
            excess: flight.hears(&feedback, now),
            ..Way::default()
        };
        for share in way.loss.into_iter().chain(way.excess) {
            assert!((0.0..=1.0).contains(&share));
        }
        adaptation.way(BRANCH, way, now);
        now += Duration::from_millis(200);
        adaptation.tick(now);
        while let Some(decision) = adaptation.next_decision() {
            if let Decision::Encode { rendition, bitrate } = decision {
                let (least, most) = match rendition {
                    Rendition::First => (600_000, 2_000_000),
                    Rendition::Second => (120_000, 480_000),
                };
                assert!((least..=most).contains(&bitrate), "{rendition:?} {bitrate}");
            }
        }
    }
});
