//! The rules, with invented instants.

use super::{
    bench::{Bench, OFFER, candidate, ends, ignored, told},
    *,
};
use crate::{host::viewer, media::Certificate};

#[test]
fn a_viewer_joins_watches_and_leaves() {
    let mut bench = Bench::live(1);
    bench.watch("v", 1);
    assert_eq!(
        bench.roster.next_deadline(),
        Some(bench.now + viewer::HEARD_WITHIN)
    );
    let left = bench.leave("v");
    assert_eq!(left[0], Action::CloseBranch(BranchId(1)));
    assert_eq!(ends(&left), [End::Left]);
    assert!(!bench.roster.is_empty());
    bench.branch(1, BranchEvent::Closed);
    assert!(bench.roster.is_empty());
}

#[test]
fn every_state_ends_with_its_own_reason() {
    let mut bench = Bench::live(9);
    bench.join("v1");
    assert_eq!(ends(&bench.pass(viewer::OFFER_WITHIN)), [End::NoOffer]);

    bench.join("v2");
    bench.offer(2);
    assert_eq!(ends(&bench.pass(viewer::ANSWER_WITHIN)), [End::NoAnswer]);

    bench.join("v3");
    bench.offer(3);
    bench.answer("v3");
    bench.branch(1, BranchEvent::Closed);
    bench.branch(2, BranchEvent::Closed);
    assert_eq!(
        ends(&bench.pass(viewer::CONNECT_WITHIN)),
        [End::NoConnection]
    );
    bench.branch(3, BranchEvent::Closed);

    bench.watch("v4", 4);
    for _ in 0..10_000 {
        bench.branch(4, BranchEvent::Heard);
        assert_eq!(bench.pass(viewer::SILENT_FOR * 9 / 10), []);
    }
    bench.branch(4, BranchEvent::Disconnected);
    bench
        .roster
        .line_lost("nobody can be given a second offer".to_owned(), bench.now);
    bench.drain();
    let just_before = viewer::RECOVER_WITHIN - Duration::from_millis(1);
    assert_eq!(ends(&bench.pass(just_before)), []);
    assert_eq!(ends(&bench.pass(Duration::from_millis(1))), [End::Vanished]);
}

#[test]
fn a_viewer_that_comes_back_in_time_goes_on() {
    let mut bench = Bench::live(1);
    bench.watch("v", 1);
    bench.branch(1, BranchEvent::Disconnected);
    bench.pass(viewer::RECOVER_WITHIN / 2);
    let back = bench.branch(1, BranchEvent::Connected);
    assert!(matches!(
        back[..],
        [Action::Report(Report::Recovered { .. })]
    ));
}

#[test]
fn a_repeated_join_waits_for_the_offer_then_hears_it_again_then_restarts() {
    let mut bench = Bench::live(1);
    bench.join("v");
    assert_eq!(ignored(&bench.join("v")), [&Ignored::OfferOnItsWay]);
    bench.offer(1);
    bench.branch(1, BranchEvent::Candidate(Some(candidate(7))));

    assert_eq!(ignored(&bench.join("v")), [&Ignored::OfferUnanswered]);
    let again = bench.pass(viewer::REPEAT_AFTER);
    let heard = told(&again);
    assert!(matches!(heard[0], Outgoing::Offer { sdp, .. } if sdp == OFFER));
    assert!(
        matches!(heard[1], Outgoing::Candidate { candidate: Some(c), .. } if *c == candidate(7))
    );
    assert_eq!(heard.len(), 2);

    bench.answer("v");
    let restarted = bench.join("v");
    assert_eq!(restarted[0], Action::CloseBranch(BranchId(1)));
    assert_eq!(ends(&restarted), [End::Rejoined]);
    assert!(restarted.contains(&Action::OpenBranch(BranchId(2), Certificate::Second)));
    assert_eq!(bench.roster.viewers(), 1);

    // What the former branch still says is past.
    assert_eq!(bench.branch(1, BranchEvent::Failed), []);
    bench.branch(1, BranchEvent::Closed);
    assert_eq!(bench.roster.viewers(), 1);
}

#[test]
fn an_offer_is_not_repeated_for_ever() {
    let mut bench = Bench::live(1);
    bench.join("v");
    bench.offer(1);
    for _ in 0..viewer::OFFER_REPEATS_MAX {
        assert_eq!(ignored(&bench.join("v")), [&Ignored::OfferUnanswered]);
        assert_eq!(told(&bench.pass(viewer::REPEAT_AFTER)).len(), 1);
    }
    assert_eq!(ignored(&bench.join("v")), [&Ignored::OfferRepeatedEnough]);
}

#[test]
fn strangers_change_nothing() {
    let mut bench = Bench::live(2);
    bench.watch("v", 1);
    for actions in [
        bench.answer("stranger"),
        bench.candidate("stranger", None),
        bench.leave("stranger"),
    ] {
        assert_eq!(ignored(&actions), [&Ignored::Stranger]);
        assert_eq!(actions.len(), 1);
    }
    let other = bench.join_stream("s0", "w");
    assert_eq!(ignored(&other), [&Ignored::OtherStream]);
    assert_eq!(bench.roster.counts().ignored, 4);
    assert_eq!(bench.roster.viewers(), 1);
}

#[test]
fn a_full_host_refuses_each_join_once() {
    let mut bench = Bench::live(1);
    bench.watch("v", 1);
    for first in [true, false] {
        let refused = bench.join("w");
        assert!(refused.contains(&Action::Report(Report::Refused {
            viewer: ViewerId::new("w"),
            reason: Refusal::Full { max: 1 },
            first,
        })));
        assert_eq!(
            told(&refused),
            [&Outgoing::ViewerRefused {
                stream_id: StreamId::new("s1"),
                to: ViewerId::new("w"),
                reason: Refusal::Full { max: 1 },
            }]
        );
        assert_eq!(refused.len(), 2);
    }
    assert_eq!(bench.roster.counts().refused, 2);
    bench.leave("v");
    assert!(
        bench
            .join("w")
            .contains(&Action::OpenBranch(BranchId(2), Certificate::First))
    );
}

#[test]
fn who_has_answered_outlives_the_line() {
    let mut bench = Bench::live(4);
    bench.watch("live", 1);
    bench.join("connecting");
    bench.offer(2);
    bench.answer("connecting");
    bench.join("offered");
    bench.offer(3);
    bench.join("opening");
    bench.roster.line_lost("gone".to_owned(), bench.now);
    assert_eq!(ends(&bench.drain()), [End::LineLost, End::LineLost]);

    // Nobody is there to hear it.
    assert_eq!(
        bench.branch(2, BranchEvent::Candidate(Some(candidate(1)))),
        []
    );
    bench.branch(2, BranchEvent::Connected);

    bench.roster.line_live(StreamId::new("s2"), bench.now);
    bench.drain();
    assert_eq!(bench.roster.viewers(), 2);
    for branch in [1, 2] {
        bench.branch(branch, BranchEvent::Heard);
    }
    assert_eq!(bench.pass(viewer::SILENT_FOR / 2), []);

    // The same page joins the new stream: its former connection makes way.
    let moved = bench.join_stream("s2", "live");
    assert_eq!(ends(&moved), [End::Rejoined]);
    // The other one hangs up and frees its place.
    assert_eq!(ends(&bench.branch(2, BranchEvent::HungUp)), [End::HungUp]);
    assert_eq!(bench.roster.viewers(), 1);
}

#[test]
fn viewers_of_a_former_stream_hold_their_places() {
    let mut bench = Bench::live(1);
    bench.watch("old", 1);
    bench.roster.line_live(StreamId::new("s2"), bench.now);
    bench.drain();
    assert_eq!(told(&bench.join_stream("s2", "new")).len(), 1);
    assert_eq!(bench.roster.counts().refused, 1);
}

#[test]
fn a_flood_of_joins_and_leaves_waits_for_branches_to_close() {
    let mut bench = Bench::live(1);
    for round in 1..=1 + CLOSING_SPARE as u64 {
        let viewer = format!("v{round}");
        assert!(
            bench
                .join(&viewer)
                .contains(&Action::OpenBranch(BranchId(round), Certificate::First))
        );
        bench.leave(&viewer);
    }
    let waiting = bench.join("v");
    assert!(
        !waiting
            .iter()
            .any(|action| matches!(action, Action::OpenBranch(..)))
    );
    assert_eq!(bench.roster.viewers(), 1);
    let closed = bench.branch(3, BranchEvent::Closed);
    assert_eq!(
        closed,
        [Action::OpenBranch(
            BranchId(2 + CLOSING_SPARE as u64),
            Certificate::First
        )]
    );
}

#[test]
fn a_branch_that_does_not_close_is_fatal() {
    let mut bench = Bench::live(1);
    bench.watch("v", 1);
    bench.leave("v");
    let late = bench.pass(CLOSE_WITHIN);
    assert_eq!(
        late,
        [Action::Fatal {
            branch: BranchId(1)
        }]
    );
}

#[test]
fn branches_that_wait_for_a_crowd_to_close_are_not_taken_to_hang() {
    let crowd = 4 * THREADS;
    let mut bench = Bench::live(crowd);
    for number in 1..=crowd {
        bench.watch(&format!("v{number}"), number as u64);
    }
    for number in 1..=crowd {
        bench.leave(&format!("v{number}"));
    }
    // Each takes its time, and as many as there are threads are taken at once.
    let slow = CLOSE_WITHIN * 9 / 10;
    for turn in 0..crowd / THREADS {
        assert_eq!(bench.pass(slow), []);
        for branch in 1..=THREADS {
            bench.branch((turn * THREADS + branch) as u64, BranchEvent::Closed);
        }
    }
    assert!(bench.roster.is_empty());
}

#[test]
fn events_of_a_branch_end_its_viewer_with_a_reason() {
    for (event, end) in [
        (BranchEvent::HungUp, End::HungUp),
        (BranchEvent::Exhausted { why: "x".into() }, End::Exhausted),
        (BranchEvent::Error { why: "x".into() }, End::BranchError),
        (
            BranchEvent::AnswerRejected { why: "x".into() },
            End::BadAnswer,
        ),
    ] {
        let mut bench = Bench::live(1);
        bench.watch("v", 1);
        let ended = bench.branch(1, event);
        assert_eq!(ends(&ended), [end]);
        assert_eq!(ended[0], Action::CloseBranch(BranchId(1)));
    }
}

#[test]
fn a_connection_that_never_came_up_is_told_from_one_that_was_lost() {
    let mut bench = Bench::live(1);
    bench.join("v");
    bench.offer(1);
    bench.answer("v");
    assert_eq!(
        ends(&bench.branch(1, BranchEvent::Failed)),
        [End::IceFailed]
    );
}

#[test]
fn after_shut_down_nobody_comes_in_and_all_go() {
    let mut bench = Bench::live(3);
    bench.watch("a", 1);
    bench.join("b");
    bench.roster.shut_down(bench.now);
    assert_eq!(ends(&bench.drain()), [End::Shutdown, End::Shutdown]);
    assert_eq!(ignored(&bench.join("c")), [&Ignored::GoingDown]);
    bench.branch(1, BranchEvent::Closed);
    bench.branch(2, BranchEvent::Closed);
    assert!(bench.roster.is_empty());
}

/// What was said of the camera.
fn said_of_camera(bench: &mut Bench) -> Vec<(String, Shown)> {
    let drained = bench.drain();
    let said = told(&drained).into_iter().map(|message| match message {
        Outgoing::Camera { stream_id, camera } => (stream_id.to_string(), *camera),
        other => panic!("only the camera was of interest: {other:?}"),
    });
    said.collect()
}

#[test]
fn the_lobby_hears_when_viewers_are_shown_something_else() {
    let mut bench = Bench::live(1);
    let say = |bench: &mut Bench, shown| {
        bench.roster.camera(shown);
        said_of_camera(bench)
    };
    let of = |stream: &str, shown| vec![(stream.to_owned(), shown)];
    assert_eq!(say(&mut bench, Shown::Waiting), of("s1", Shown::Waiting));
    assert_eq!(say(&mut bench, Shown::Waiting), []);
    assert_eq!(say(&mut bench, Shown::Live), of("s1", Shown::Live));
    assert_eq!(say(&mut bench, Shown::Lost), of("s1", Shown::Lost));

    // A new stream is taken for live, so it is said only where that is wrong.
    let (roster, now) = (&mut bench.roster, bench.now);
    roster.line_live(StreamId::new("s2"), now);
    assert_eq!(said_of_camera(&mut bench), of("s2", Shown::Lost));
    bench.roster.line_lost("gone".into(), now);
    assert_eq!(say(&mut bench, Shown::Live), []);
    bench.roster.line_live(StreamId::new("s3"), now);
    assert_eq!(said_of_camera(&mut bench), []);
}
