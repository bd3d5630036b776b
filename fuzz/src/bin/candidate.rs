//! A viewer's candidate. What passes is one printable line and passes again, unchanged.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use perch::{
    media::sdp::{
        CANDIDATE_BYTES_MAX,
        CandidatePolicy::{Any, Local},
        OfferFacts, check_candidate,
    },
    signaling::message::Candidate,
};

static OFFER: LazyLock<OfferFacts> = LazyLock::new(|| {
    OfferFacts::read(include_str!("../../../src/media/sdp/fixtures/offer.sdp"))
        .expect("a branch's own offer can be read")
});

fuzz_target!(|text: &str| {
    let candidate = Candidate {
        candidate: text.to_owned(),
        sdp_mid: None,
        sdp_mline_index: Some(0),
        username_fragment: None,
    };
    if let Ok(checked) = check_candidate(&candidate, &OFFER, Any) {
        let line = &checked.candidate().candidate;
        assert!(line.len() <= CANDIDATE_BYTES_MAX + "candidate:".len());
        assert!(line.bytes().all(|b| matches!(b, b' '..=b'~')));
        let again = check_candidate(checked.candidate(), &OFFER, Any);
        assert_eq!(again.as_ref(), Ok(&checked));
    } else {
        let local = check_candidate(&candidate, &OFFER, Local);
        assert!(local.is_err(), "local is never wider than any");
    }
});
