//! Viewers that stay while their branches are replaced, and viewers that do not get one.

use std::net::IpAddr;

use super::{
    bench::{Bench, ends, told},
    *,
};
use crate::{
    host::{
        end::Rebuild,
        limits,
        viewer::{self, REBUILD_WINDOW, REBUILDS_MAX, SILENT_FOR},
    },
    media::Certificate,
    signaling::message::Candidate,
};

pub(super) const WIFI: &str = "192.0.2.10";
const CABLE: &str = "198.51.100.10";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn rebuilt(actions: &[Action]) -> Vec<Rebuild> {
    let why = |action: &Action| match action {
        Action::Report(Report::Rebuilt { why, .. }) => Some(*why),
        _ => None,
    };
    actions.iter().filter_map(why).collect()
}

/// One of our own candidates.
fn ours(foundation: &str, address: &str, more: &str) -> BranchEvent {
    BranchEvent::Candidate(Some(Candidate {
        candidate: format!("candidate:{foundation} 1 UDP 2015363327 {address} 40000 typ {more}"),
        sdp_mid: None,
        sdp_mline_index: Some(0),
        username_fragment: None,
    }))
}

impl Bench {
    /// Watches over one of our two addresses.
    pub(super) fn watch_over(&mut self, viewer: &str, branch: u64, foundation: &str) {
        self.watch(viewer, branch);
        for event in [
            ours("1", WIFI, "host"),
            ours("2", CABLE, "host"),
            ours(
                "3",
                "203.0.113.9",
                &format!("srflx raddr {CABLE} rport 40000"),
            ),
        ] {
            self.branch(branch, event);
        }
        let foundation = foundation.to_owned();
        self.branch(branch, BranchEvent::Settled { foundation });
    }

    pub(super) fn network(&mut self, lost: &[&str]) -> Vec<Action> {
        let lost: Vec<_> = lost.iter().map(|address| ip(address)).collect();
        self.roster.network_changed(&lost, self.now);
        self.drain()
    }

    /// The replaced branch makes its offer, the page answers, media flows.
    fn comes_back(&mut self, viewer: &str, branch: u64) {
        assert_eq!(told(&self.offer(branch)).len(), 1, "a second offer");
        self.answer(viewer);
        let back = self.branch(branch, BranchEvent::Connected);
        let recovered =
            |action: &Action| matches!(action, Action::Report(Report::Recovered { .. }));
        assert!(back.iter().any(recovered), "{back:?}");
    }
}

#[test]
fn who_was_reached_from_a_lost_address_gets_another_branch_at_once_and_nobody_else() {
    let mut bench = Bench::live(4);
    bench.watch_over("wifi", 1, "1");
    bench.watch_over("cable", 2, "2");
    bench.watch_over("nat", 3, "3");
    bench.watch_over("who knows", 4, "77");
    let moved = bench.network(&[CABLE]);
    assert_eq!(rebuilt(&moved), [Rebuild::AddressLost; 2]);
    for (former, branch) in [(2, 5), (3, 6)] {
        assert!(moved.contains(&Action::CloseBranch(BranchId(former))));
        // The page must see another certificate, or its DTLS stays as it is.
        let open = Action::OpenBranch(BranchId(branch), Certificate::Second);
        assert!(moved.contains(&open));
    }
    assert_eq!(bench.roster.viewers(), 4);
    assert_eq!(bench.roster.counts().rebuilt, 2);
    bench.comes_back("cable", 5);

    // And again: back to the first certificate.
    bench.branch(5, ours("1", WIFI, "host"));
    let foundation = "1".to_owned();
    bench.branch(5, BranchEvent::Settled { foundation });
    let again = bench.network(&[WIFI]);
    assert!(again.contains(&Action::OpenBranch(BranchId(7), Certificate::First)));
}

#[test]
fn an_address_that_comes_disturbs_nobody() {
    let mut bench = Bench::live(1);
    bench.watch_over("v", 1, "1");
    assert_eq!(rebuilt(&bench.network(&[])), []);
}

#[test]
fn who_is_lost_after_the_network_changed_is_not_waited_for() {
    let mut bench = Bench::live(2);
    bench.watch("v", 1);
    bench.watch("w", 2);
    bench.network(&[]);
    bench.pass(viewer::HEARD_WITHIN / 2);
    let lost = bench.branch(1, BranchEvent::Disconnected);
    assert_eq!(rebuilt(&lost), [Rebuild::AddressLost]);
    for _ in 0..10 {
        bench.branch(2, BranchEvent::Heard);
        bench.pass(NETWORK_SETTLES / 10);
    }
    assert_eq!(rebuilt(&bench.branch(2, BranchEvent::Disconnected)), []);
    assert_eq!(rebuilt(&bench.network(&[])), [Rebuild::AddressLost]);
}

#[test]
fn a_viewer_that_falls_silent_is_lost_then_rebuilt_then_ended() {
    let mut bench = Bench::live(1);
    bench.watch("v", 1);
    assert_eq!(bench.branch(1, BranchEvent::Heard), []);
    let just_before = SILENT_FOR - Duration::from_millis(1);
    for _ in 0..3 {
        assert_eq!(bench.pass(just_before), []);
        bench.branch(1, BranchEvent::Heard);
    }
    let silent = bench.pass(SILENT_FOR);
    let disconnected =
        |action: &Action| matches!(action, Action::Report(Report::Disconnected { .. }));
    assert!(silent.iter().any(disconnected), "{silent:?}");

    // Ten seconds of outage: it is there again.
    let back = bench.branch(1, BranchEvent::Heard);
    assert!(matches!(
        back[..],
        [Action::Report(Report::Recovered { .. })]
    ));
    bench.pass(SILENT_FOR);
    assert_eq!(
        rebuilt(&bench.pass(viewer::RECOVER_WITHIN)),
        [Rebuild::Vanished]
    );
    assert_eq!(told(&bench.offer(2)).len(), 1);
    assert_eq!(ends(&bench.pass(viewer::ANSWER_WITHIN)), [End::Vanished]);
    assert_eq!(bench.roster.viewers(), 0);
}

#[test]
fn thirty_seconds_without_anything_are_survived_by_a_second_offer() {
    let mut bench = Bench::live(1);
    bench.watch("v", 1);
    bench.branch(1, BranchEvent::Heard);
    bench.pass(SILENT_FOR);
    bench.pass(viewer::RECOVER_WITHIN);
    bench.branch(1, BranchEvent::Closed);
    bench.offer(2);
    // The page hears the offer only when its network is back.
    bench.pass(Duration::from_secs(30) - SILENT_FOR - viewer::RECOVER_WITHIN);
    assert_eq!(bench.roster.viewers(), 1);
    bench.answer("v");
    let back = bench.branch(2, BranchEvent::Connected);
    assert!(matches!(
        back[..],
        [Action::Report(Report::Recovered { .. })]
    ));
}

#[test]
fn a_failure_of_ice_is_answered_by_a_rebuild() {
    let mut bench = Bench::live(1);
    bench.watch("v", 1);
    bench.branch(1, BranchEvent::Disconnected);
    assert_eq!(
        rebuilt(&bench.branch(1, BranchEvent::Failed)),
        [Rebuild::Vanished]
    );
    bench.comes_back("v", 2);
    assert_eq!(
        rebuilt(&bench.branch(2, BranchEvent::Failed)),
        [Rebuild::Vanished],
        "from one state to the other in one step"
    );
}

#[test]
fn without_the_line_nobody_can_be_told_and_the_lost_end() {
    let mut bench = Bench::live(2);
    bench.watch("v", 1);
    bench.watch("w", 2);
    bench.roster.line_lost("gone".to_owned(), bench.now);
    bench.drain();
    assert_eq!(ends(&bench.branch(1, BranchEvent::Failed)), [End::Vanished]);

    // Of a former stream: the page does not listen to the new one's offers.
    bench.roster.line_live(StreamId::new("s2"), bench.now);
    bench.drain();
    assert_eq!(ends(&bench.branch(2, BranchEvent::Failed)), [End::Vanished]);
}

/// Lost for a moment right after a change, and found again.
fn stays_and_recovers(bench: &mut Bench, branch: u64) {
    let lost = bench.branch(branch, BranchEvent::Disconnected);
    assert_eq!((ends(&lost), rebuilt(&lost)), (vec![], vec![]));
    let changed = bench.network(&[]);
    assert_eq!((ends(&changed), rebuilt(&changed)), (vec![], vec![]));
    let just_before = viewer::RECOVER_WITHIN - Duration::from_millis(1);
    assert_eq!(ends(&bench.pass(just_before)), []);
    let back = bench.branch(branch, BranchEvent::Connected);
    let recovered = |action: &Action| matches!(action, Action::Report(Report::Recovered { .. }));
    assert!(back.iter().any(recovered), "{back:?}");
}

#[test]
fn a_change_of_the_network_ends_nobody_who_cannot_be_told_of_another_branch() {
    let mut bench = Bench::live(1);
    bench.watch_over("v", 1, "1");
    bench.roster.line_lost("gone".to_owned(), bench.now);
    bench.drain();
    assert_eq!(ends(&bench.network(&[WIFI])), [], "its picture may go on");
    stays_and_recovers(&mut bench, 1);
    // Of a former stream: no better.
    bench.roster.line_live(StreamId::new("s2"), bench.now);
    bench.drain();
    stays_and_recovers(&mut bench, 1);
    // Its silence is noticed by a deadline: the next one is for it to recover.
    assert_eq!(ends(&bench.pass(viewer::HEARD_WITHIN)), []);
    assert_eq!(ends(&bench.pass(viewer::RECOVER_WITHIN)), [End::Vanished]);
}

#[test]
fn a_change_of_the_network_ends_nobody_who_has_had_its_branches() {
    let mut bench = Bench::live(1);
    bench.watch("v", 1);
    for branch in 1..=REBUILDS_MAX as u64 {
        bench.branch(branch, BranchEvent::Failed);
        bench.branch(branch, BranchEvent::Closed);
        bench.comes_back("v", branch + 1);
    }
    bench.network(&[]);
    stays_and_recovers(&mut bench, REBUILDS_MAX as u64 + 1);
}

#[test]
fn nobody_is_rebuilt_for_ever() {
    let mut bench = Bench::live(1);
    bench.watch("v", 1);
    for branch in 1..=REBUILDS_MAX as u64 {
        assert_eq!(
            rebuilt(&bench.branch(branch, BranchEvent::Failed)),
            [Rebuild::Vanished]
        );
        bench.branch(branch, BranchEvent::Closed);
        bench.comes_back("v", branch + 1);
    }
    let last = REBUILDS_MAX as u64 + 1;
    assert_eq!(
        ends(&bench.branch(last, BranchEvent::Failed)),
        [End::Vanished]
    );

    let mut bench = Bench::live(1);
    bench.watch("v", 1);
    for branch in 1..100 {
        assert_eq!(rebuilt(&bench.branch(branch, BranchEvent::Failed)).len(), 1);
        bench.branch(branch, BranchEvent::Closed);
        bench.comes_back("v", branch + 1);
        bench.pass(REBUILD_WINDOW / REBUILDS_MAX as u32);
    }
}

#[test]
fn a_page_is_never_given_a_second_offer_before_it_has_answered_the_first() {
    let mut bench = Bench::live(3);
    bench.join("opening");
    bench.join("offered");
    bench.offer(2);
    bench.watch("watching", 3);
    bench.roster.rebuild_all(Rebuild::PictureChanged, bench.now);
    let actions = bench.drain();
    assert_eq!(rebuilt(&actions), [Rebuild::PictureChanged; 2]);
    assert!(!actions.contains(&Action::CloseBranch(BranchId(2))));
    let answered = bench.answer("offered");
    assert_eq!(rebuilt(&answered), [Rebuild::PictureChanged]);
    assert!(answered.contains(&Action::CloseBranch(BranchId(2))));
    let applied = |action: &Action| matches!(action, Action::SetAnswer(..));
    assert!(!answered.iter().any(applied));
}

#[test]
fn a_rebuild_that_comes_to_nothing_ends_with_its_own_reason() {
    let mut bench = Bench::live(1);
    bench.watch_over("v", 1, "1");
    bench.network(&[WIFI]);
    bench.offer(2);
    bench.answer("v");
    assert_eq!(
        ends(&bench.pass(viewer::CONNECT_WITHIN)),
        [End::NetworkChanged]
    );
}

#[test]
fn a_storm_of_joins_of_one_viewer_costs_few_branches() {
    let mut bench = Bench::live(2);
    bench.watch("good", 1);
    let mut opened = 0;
    for _ in 0..1000 {
        let actions = bench.join("bad");
        for action in actions {
            if let Action::OpenBranch(branch, _) = action {
                opened += 1;
                bench.offer(branch.0);
                bench.answer("bad");
            }
        }
        for former in 2..bench.roster.next_branch {
            bench.branch(former, BranchEvent::Closed);
        }
    }
    assert!(opened <= limits::VIEWER_BURST, "{opened} branches");
    assert_eq!(
        ends(&bench.leave("good")),
        [End::Left],
        "untouched until then"
    );
}

#[test]
fn a_flood_of_names_is_refused_in_words_and_does_not_last() {
    let mut bench = Bench::live(2);
    let mut refusals = 0;
    for number in 0..1000 {
        let viewer = format!("v{number}");
        let actions = bench.join(&viewer);
        let busy = |message: &&&Outgoing| {
            matches!(
                message,
                Outgoing::ViewerRefused {
                    reason: Refusal::Busy,
                    ..
                }
            )
        };
        refusals += told(&actions).iter().filter(busy).count();
        bench.leave(&viewer);
    }
    assert!(refusals > 900, "{refusals} refusals");
    assert!(!bench.join("late").is_empty());
    bench.pass(limits::EVERY);
    let joined = |action: &Action| matches!(action, Action::Report(Report::Joined { .. }));
    assert!(bench.join("later").iter().any(joined));
}
