//! A viewer's answer. What passes is written in a form that passes again, unchanged.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use perch::media::sdp::{CandidatePolicy::Any, OfferFacts, check_answer};

static OFFER: LazyLock<OfferFacts> = LazyLock::new(|| {
    OfferFacts::read(include_str!("../../../src/media/sdp/fixtures/offer.sdp"))
        .expect("a branch's own offer can be read")
});

fuzz_target!(|text: &str| {
    let _ = OfferFacts::read(text);
    if let Ok(answer) = check_answer(text, &OFFER, Any) {
        assert_eq!(
            check_answer(answer.sdp(), &OFFER, Any).as_ref(),
            Ok(&answer)
        );
        // webrtcbin 1.22 aborts on an m-line with two directions.
        let directions = ["sendrecv", "sendonly", "recvonly", "inactive"];
        let is_direction = |line: &&str| {
            line.strip_prefix("a=")
                .is_some_and(|name| directions.contains(&name))
        };
        for media in answer.sdp().split("\r\nm=").skip(1) {
            assert_eq!(media.lines().filter(is_direction).count(), 1);
        }
    }
});
