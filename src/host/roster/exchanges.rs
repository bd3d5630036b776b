//! Offers, answers and candidates, with invented instants.

use super::{
    bench::{Bench, candidate, ends, ignored, told},
    *,
};
use crate::{host::viewer, signaling::message::Candidate};

/// The ports of the candidates that went to the branch; `None` is the end of them.
fn added(actions: &[Action]) -> Vec<Option<String>> {
    let port = |action: &Action| match action {
        Action::AddCandidate(_, candidate) => Some(candidate.as_ref().map(|checked| {
            let words = checked.candidate().candidate.split(' ');
            words.skip(5).take(1).collect()
        })),
        _ => None,
    };
    actions.iter().filter_map(port).collect()
}

#[test]
fn the_answer_goes_in_once_and_before_every_candidate() {
    let mut bench = Bench::live(1);
    bench.join("v");
    assert_eq!(ignored(&bench.answer("v")), [&Ignored::UnawaitedAnswer]);
    assert_eq!(
        ignored(&bench.candidate("v", Some(candidate(1)))),
        [&Ignored::UnawaitedCandidate]
    );
    bench.offer(1);
    for port in [2, 3] {
        assert_eq!(bench.candidate("v", Some(candidate(port))), []);
    }
    bench.candidate("v", None);
    let answered = bench.answer("v");
    assert!(matches!(answered[0], Action::SetAnswer(BranchId(1), _)));
    assert_eq!(
        added(&answered),
        [Some("2".to_owned()), Some("3".to_owned()), None]
    );
    assert_eq!(added(&bench.candidate("v", Some(candidate(4)))).len(), 1);
    assert_eq!(ignored(&bench.answer("v")), [&Ignored::UnawaitedAnswer]);
}

#[test]
fn candidates_are_bounded_and_the_excess_is_reported_once() {
    let mut bench = Bench::live(1);
    bench.join("v");
    bench.offer(1);
    let mut reports = 0;
    for _ in 0..viewer::CANDIDATES_MAX * 2 {
        reports += ignored(&bench.candidate("v", Some(candidate(9)))).len();
    }
    assert_eq!(reports, 1);
    assert_eq!(added(&bench.answer("v")).len(), viewer::CANDIDATES_MAX);
    assert_eq!(bench.candidate("v", Some(candidate(9))), []);
}

#[test]
fn candidates_of_a_former_page_are_dropped() {
    let mut bench = Bench::live(1);
    bench.join("v");
    bench.offer(1);
    let stale = Candidate {
        username_fragment: Some("gone".to_owned()),
        ..candidate(5)
    };
    bench.candidate("v", Some(stale.clone()));
    let report = Ignored::StaleCandidate("gone".to_owned());
    let answered = bench.answer("v");
    assert_eq!(added(&answered), []);
    assert_eq!(ignored(&answered), [&report]);
    assert_eq!(ignored(&bench.candidate("v", Some(stale))), [&report]);
}

#[test]
fn a_broken_answer_ends_only_its_viewer() {
    let mut bench = Bench::live(2);
    bench.watch("good", 1);
    bench.join("bad");
    bench.offer(2);
    let ended = bench.hear(Incoming::Answer {
        stream_id: StreamId::new("s1"),
        from: ViewerId::new("bad"),
        sdp: "v=0\r\n".to_owned(),
    });
    assert_eq!(ends(&ended), [End::BadAnswer]);
    assert_eq!(ended[0], Action::CloseBranch(BranchId(2)));
    assert_eq!(bench.roster.viewers(), 1);
}

#[test]
fn no_candidate_overtakes_the_offer_and_their_end_stays_here() {
    let mut bench = Bench::live(1);
    bench.join("v");
    assert_eq!(
        bench.branch(1, BranchEvent::Candidate(Some(candidate(1)))),
        []
    );
    let offered = bench.offer(1);
    assert!(matches!(
        told(&offered)[..],
        [Outgoing::Offer { .. }, Outgoing::Candidate { .. }]
    ));
    assert_eq!(bench.branch(1, BranchEvent::Candidate(None)), []);
}

#[test]
fn a_candidate_names_its_m_line_as_the_offer_does() {
    let nameless = |port| {
        BranchEvent::Candidate(Some(Candidate {
            sdp_mid: None,
            ..candidate(port)
        }))
    };
    let mut bench = Bench::live(1);
    bench.join("v");
    bench.branch(1, nameless(1));
    let with_the_offer = bench.offer(1);
    let after_it = bench.branch(1, nameless(2));
    for actions in [with_the_offer, after_it] {
        let mids: Vec<_> = told(&actions)
            .iter()
            .filter_map(|message| match message {
                Outgoing::Candidate { candidate, .. } => candidate.as_ref()?.sdp_mid.clone(),
                _ => None,
            })
            .collect();
        assert_eq!(mids, ["video0"]);
    }
}
