//! Branches that are kept ready, with invented instants.

use super::{
    bench::{Bench, candidate, offer},
    *,
};
use crate::{
    host::{
        end::Rebuild,
        viewer::{ANSWER_UNDER_PRESSURE, OFFER_WITHIN, REPEAT_AFTER},
    },
    media::Certificate,
};

const ONE: SparePlan = SparePlan {
    count: 1,
    lasts: None,
};

fn opened(actions: &[Action]) -> Vec<u64> {
    let branch = |action: &Action| match action {
        Action::OpenBranch(branch, certificate) => {
            assert_eq!(*certificate, Certificate::First, "whoever it is for");
            Some(branch.0)
        }
        _ => None,
    };
    actions.iter().filter_map(branch).collect()
}

fn closed(actions: &[Action]) -> Vec<u64> {
    let branch = |action: &Action| match action {
        Action::CloseBranch(branch) => Some(branch.0),
        _ => None,
    };
    actions.iter().filter_map(branch).collect()
}

fn messages(actions: &[Action]) -> Vec<&'static str> {
    let what = |action: &Action| match action {
        Action::Tell(Outgoing::Offer { .. }) => Some("offer"),
        Action::Tell(Outgoing::Candidate { .. }) => Some("candidate"),
        _ => None,
    };
    actions.iter().filter_map(what).collect()
}

#[test]
fn a_newcomer_is_offered_the_branch_that_is_ready_and_another_is_opened_once_it_watches() {
    let mut bench = Bench::live_with(5, ONE);
    assert_eq!(opened(&bench.done), [1], "before anybody comes");
    assert_eq!(messages(&bench.branch(1, offer())), [""; 0]);
    bench.branch(1, BranchEvent::Candidate(Some(candidate(9))));
    bench.branch(1, BranchEvent::Candidate(None));

    let actions = bench.join("ann");
    assert_eq!(messages(&actions), ["offer", "candidate"], "at once");
    assert_eq!(opened(&actions), [0; 0], "not at its cost");
    assert!(matches!(
        bench.answer("ann")[..],
        [Action::SetAnswer(BranchId(1), _)]
    ));
    let actions = bench.branch(1, BranchEvent::Connected);
    assert!(matches!(
        actions[0],
        Action::Report(Report::Live {
            branch: BranchId(1),
            ..
        })
    ));
    assert_eq!(opened(&actions), [2]);
}

#[test]
fn another_is_opened_too_once_nobody_is_believed_to_be_on_the_way_in() {
    let mut bench = Bench::live_with(5, ONE);
    bench.branch(1, offer());
    bench.join("mute");
    let almost = ANSWER_UNDER_PRESSURE - Duration::from_millis(1);
    assert_eq!(opened(&bench.pass(almost)), [0; 0]);
    assert_eq!(opened(&bench.pass(Duration::from_millis(1))), [2]);

    // One whose connection comes to nothing is waited for to its end.
    bench.branch(2, offer());
    bench.join("ann");
    bench.answer("ann");
    assert_eq!(opened(&bench.pass(ANSWER_UNDER_PRESSURE)), [0; 0]);
    assert_eq!(opened(&bench.branch(2, BranchEvent::Failed)), [3]);
}

#[test]
fn one_that_is_not_ready_yet_is_taken_as_it_is() {
    let mut bench = Bench::live_with(5, ONE);
    assert_eq!(messages(&bench.join("ann")), [""; 0]);
    assert_eq!(messages(&bench.branch(1, offer())), ["offer"]);
    assert_eq!(messages(&bench.branch(2, offer())), [""; 0], "nobody's yet");
}

#[test]
fn a_page_that_was_here_before_gets_a_branch_with_the_other_certificate() {
    let mut bench = Bench::live_with(5, ONE);
    bench.branch(1, offer());
    bench.join("ann");
    bench.answer("ann");
    bench.branch(1, BranchEvent::Connected);
    bench.branch(2, offer());
    let actions = bench.join("ann");
    assert_eq!(messages(&actions), [""; 0]);
    let second = Action::OpenBranch(BranchId(3), Certificate::Second);
    assert!(actions.contains(&second), "{actions:?}");
}

#[test]
fn one_that_comes_to_nothing_is_tried_again_later() {
    let mut bench = Bench::live_with(5, ONE);
    let why = "no memory".to_owned();
    assert_eq!(closed(&bench.branch(1, BranchEvent::Error { why })), [1]);
    assert_eq!(opened(&bench.branch(1, BranchEvent::Closed)), [0; 0]);
    assert_eq!(opened(&bench.pass(TRY_AGAIN)), [2]);

    // Nor does one that makes no offer.
    assert_eq!(closed(&bench.pass(OFFER_WITHIN)), [2]);
    bench.branch(2, BranchEvent::Closed);
    let actions = bench.join("ann");
    assert_eq!(opened(&actions), [3], "a viewer's own");
    assert_eq!(opened(&bench.pass(TRY_AGAIN)), [4]);
}

#[test]
fn what_it_offers_does_not_hold_for_ever() {
    let lasts = Some(Duration::from_secs(300));
    let mut bench = Bench::live_with(5, SparePlan { count: 1, lasts });
    bench.branch(1, offer());
    let actions = bench.pass(Duration::from_secs(300));
    assert_eq!((closed(&actions), opened(&actions)), (vec![1], vec![2]));
    bench.branch(2, offer());

    bench.roster.network_changed(&[], bench.now);
    let actions = bench.drain();
    assert_eq!((closed(&actions), opened(&actions)), (vec![2], vec![3]));
    bench.branch(3, offer());

    bench.roster.rebuild_all(Rebuild::PictureChanged, bench.now);
    let actions = bench.drain();
    assert_eq!((closed(&actions), opened(&actions)), (vec![3], vec![4]));

    bench.roster.shut_down(bench.now);
    assert_eq!(closed(&bench.drain()), [4]);
    assert!(!bench.roster.is_empty());
}

#[test]
fn a_full_host_keeps_none() {
    let mut bench = Bench::live_with(1, ONE);
    bench.branch(1, offer());
    assert_eq!(opened(&bench.join("ann")), [0; 0], "nobody else may come");
    bench.answer("ann");
    let actions = bench.leave("ann");
    assert_eq!(closed(&actions), [1]);
    assert_eq!(opened(&bench.branch(1, BranchEvent::Closed)), [2]);
}

#[test]
fn it_outlives_a_loss_of_the_line() {
    let mut bench = Bench::live_with(5, ONE);
    bench.branch(1, offer());
    bench.roster.line_lost("gone".to_owned(), bench.now);
    assert_eq!(closed(&bench.drain()), [0; 0]);
    bench.roster.line_live(StreamId::new("s1"), bench.now);
    assert_eq!(opened(&bench.drain()), [0; 0]);
    assert_eq!(messages(&bench.join("ann")), ["offer"]);
}

#[test]
fn a_page_that_joins_twice_in_a_row_is_offered_once() {
    let mut bench = Bench::live_with(5, ONE);
    bench.branch(1, offer());
    assert_eq!(messages(&bench.join("ann")), ["offer"]);
    assert_eq!(messages(&bench.join("ann")), [""; 0]);
    bench.answer("ann");
    assert_eq!(
        messages(&bench.pass(REPEAT_AFTER)),
        [""; 0],
        "it has answered"
    );
}

#[test]
fn a_page_that_was_made_anew_and_missed_the_offer_gets_it_again() {
    let mut bench = Bench::live_with(5, ONE);
    bench.branch(1, offer());
    bench.branch(1, BranchEvent::Candidate(Some(candidate(9))));
    bench.join("ann");
    bench.join("ann");
    let again = bench.pass(REPEAT_AFTER);
    assert_eq!(messages(&again), ["offer", "candidate"]);
    assert_eq!(
        messages(&bench.pass(REPEAT_AFTER)),
        [""; 0],
        "once for a join"
    );
}

#[test]
fn a_page_that_leaves_and_is_back_at_once_may_answer_the_offer_that_it_has() {
    let mut bench = Bench::live_with(5, ONE);
    bench.branch(1, offer());
    assert_eq!(messages(&bench.join("ann")), ["offer"]);
    let left = bench.leave("ann");
    assert_eq!((closed(&left), opened(&left)), (vec![], vec![2]));
    bench.branch(2, offer());
    bench.branch(1, BranchEvent::Candidate(Some(candidate(9))));
    let back = bench.join("ann");
    assert_eq!(messages(&back), ["candidate"], "what is new");
    assert!(matches!(
        bench.answer("ann")[..],
        [Action::SetAnswer(BranchId(1), _)]
    ));

    // Others do not get it, and it does not wait for long.
    assert_eq!(messages(&bench.join("bob")), ["offer"]);
    bench.leave("bob");
    let third = bench.join("eve");
    assert!(third.iter().all(|action| !matches!(
        action,
        Action::Report(Report::Joined {
            branch: BranchId(2),
            ..
        })
    )));
    assert_eq!(closed(&bench.pass(REPEAT_AFTER)), [2]);
}
