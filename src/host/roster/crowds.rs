//! Many who come in at once, and those who only say so.

use super::{
    bench::{Bench, ends, told},
    rebuilds::WIFI,
    *,
};
use crate::{host::viewer, media::Certificate};

/// Plays mute ones: their branches make offers and close as they should, and nobody answers.
fn stay_mute(bench: &mut Bench, mut actions: Vec<Action>) {
    while let Some(action) = actions.pop() {
        match action {
            Action::OpenBranch(branch, _) => actions.extend(bench.offer(branch.0)),
            Action::CloseBranch(branch) => {
                actions.extend(bench.branch(branch.0, BranchEvent::Closed));
            }
            _ => {}
        }
    }
}

fn refusals(actions: &[Action]) -> Vec<Refusal> {
    let reason = |message: &&Outgoing| match message {
        Outgoing::ViewerRefused { reason, .. } => Some(*reason),
        _ => None,
    };
    told(actions).iter().filter_map(reason).collect()
}

#[test]
fn mute_joiners_that_come_again_and_again_lock_nobody_out() {
    const PLACES: usize = 25;
    let mut bench = Bench::live(PLACES);
    let mut busy = 0;
    for number in 0..PLACES {
        let joined = bench.join(&format!("mute {number}"));
        busy += refusals(&joined).len();
        assert!(refusals(&joined).iter().all(|why| *why == Refusal::Busy));
        stay_mute(&mut bench, joined);
    }
    assert_eq!(
        busy, 6,
        "a quarter of the places is not for those who never watched"
    );
    assert_eq!(refusals(&bench.join("too early")), [Refusal::Busy]);

    // All of them hold on to what they have, and come again as soon as they are out.
    for round in 0..20 {
        let passed = bench.pass(viewer::ANSWER_UNDER_PRESSURE);
        stay_mute(&mut bench, passed);
        let name = format!("good {round}");
        let joined = bench.join(&name);
        assert!(refusals(&joined).iter().all(|why| *why == Refusal::Busy));
        assert!(
            bench
                .roster
                .viewers
                .contains_key(&ViewerId::new(name.as_str())),
            "{joined:?}"
        );
        stay_mute(&mut bench, joined);
        for number in 0..PLACES {
            let again = bench.join(&format!("mute {number}"));
            stay_mute(&mut bench, again);
        }
        // A page that answers within two seconds of its offer.
        let id = ViewerId::new(name.as_str());
        let offered = |bench: &Bench| bench.roster.viewers[&id].state().name() == "offered";
        for _ in 0..10 {
            let ready = offered(&bench);
            let passed = bench.pass(Duration::from_secs(1));
            stay_mute(&mut bench, passed);
            if ready {
                break;
            }
        }
        let answered = bench.answer(&name);
        let accepted = |action: &Action| matches!(action, Action::SetAnswer(..));
        assert!(answered.iter().any(accepted), "round {round}: {answered:?}");
        bench.leave(&name);
    }
}

#[test]
fn a_mute_viewer_makes_way_on_a_full_host_and_one_that_watches_does_not() {
    let mut bench = Bench::live(2);
    bench.watch("v", 1);
    let joined = bench.join("mute");
    stay_mute(&mut bench, joined);
    let full = Refusal::Full { max: 2 };
    assert_eq!(refusals(&bench.join("w")), [full]);
    bench.branch(1, BranchEvent::Heard);
    assert_eq!(
        ends(&bench.pass(viewer::ANSWER_UNDER_PRESSURE)),
        [],
        "nobody waits"
    );
    let joined = bench.join("w");
    assert_eq!(ends(&joined), [End::NoAnswer]);
    assert_eq!(refusals(&joined), [Refusal::Busy], "the mute one is told");
    stay_mute(&mut bench, joined);
    bench.answer("w");
    bench.pass(viewer::ANSWER_UNDER_PRESSURE);
    assert_eq!(refusals(&bench.join("x")), [full], "who has answered stays");
    assert_eq!(bench.roster.viewers(), 2);
}

#[test]
fn who_waits_for_a_branch_is_not_kept_waiting_by_the_mute() {
    let mut bench = Bench::live(40);
    for number in 0..20 {
        let joined = bench.join(&format!("mute {number}"));
        stay_mute(&mut bench, joined);
    }
    bench.join("v");
    let at = bench.roster.next_deadline().unwrap();
    assert_eq!(at, bench.now + viewer::ANSWER_UNDER_PRESSURE);
    let passed = bench.pass(viewer::ANSWER_UNDER_PRESSURE);
    assert_eq!(ends(&passed), [End::NoAnswer], "one for one");
    let open = Action::OpenBranch(BranchId(21), Certificate::First);
    assert!(passed.contains(&open));
}

#[test]
fn half_open_viewers_leave_branches_to_nobody_else_but_for_a_time() {
    let mut bench = Bench::live(40);
    let mut opened = 0;
    for number in 0..30 {
        let actions = bench.join(&format!("mute {number}"));
        let open = |action: &&Action| matches!(action, Action::OpenBranch(..));
        opened += actions.iter().filter(open).count();
    }
    assert_eq!(opened, 20, "half of the places");
    // One of those who came in watches now: the next in the line is let in.
    bench.offer(1);
    bench.answer("mute 0");
    let live = bench.branch(1, BranchEvent::Connected);
    assert!(live.contains(&Action::OpenBranch(BranchId(21), Certificate::First)));
    // These do answer, and are slow to connect.
    for branch in 2..=21 {
        bench.offer(branch);
        bench.answer(&format!("mute {}", branch - 1));
    }
    let late = bench.pass(viewer::WAIT_FOR_ROOM);
    assert_eq!(ends(&late), [End::Crowded; 9]);
    let busy = |message: &&Outgoing| {
        matches!(
            message,
            Outgoing::ViewerRefused {
                reason: Refusal::Busy,
                ..
            }
        )
    };
    assert!(told(&late).iter().all(busy) && told(&late).len() == 9);
}

#[test]
fn who_has_watched_does_not_queue_behind_the_half_open() {
    let mut bench = Bench::live(20);
    bench.watch_over("v", 1, "1");
    for number in 0..15 {
        bench.join(&format!("mute {number}"));
    }
    let moved = bench.network(&[WIFI]);
    let opened = |action: &&Action| matches!(action, Action::OpenBranch(..));
    assert_eq!(moved.iter().filter(opened).count(), 1);
}
