//! The rules, with invented instants.

use super::*;
use crate::media::Certificate;
use crate::{host::viewer, signaling::message::Candidate};

const OFFER: &str = include_str!("../../media/sdp/fixtures/offer.sdp");
const ANSWER: &str = include_str!("../../media/sdp/fixtures/chromium.sdp");
/// The answer's user name fragment.
const UFRAG: &str = "5Uw2";

/// A roster, its clock and what it has asked for.
pub(super) struct Bench {
    pub(super) roster: Roster,
    pub(super) now: Instant,
    pub(super) done: Vec<Action>,
}

impl Bench {
    pub(super) fn live(max: usize) -> Self {
        Self::live_with(max, SparePlan::default())
    }

    pub(super) fn live_with(max: usize, spares: SparePlan) -> Self {
        let mut bench = Self {
            roster: Roster::new(max, CandidatePolicy::Any).with_spares(spares),
            now: Instant::now(),
            done: Vec::new(),
        };
        bench.roster.line_live(StreamId::new("s1"), bench.now);
        bench.drain();
        bench
    }

    pub(super) fn drain(&mut self) -> Vec<Action> {
        let new: Vec<_> = std::iter::from_fn(|| self.roster.next_action()).collect();
        self.done.extend(new.iter().cloned());
        new
    }

    fn hear(&mut self, message: Incoming) -> Vec<Action> {
        self.roster.message(message, self.now);
        self.drain()
    }

    pub(super) fn join(&mut self, viewer: &str) -> Vec<Action> {
        self.join_stream("s1", viewer)
    }

    fn join_stream(&mut self, stream: &str, viewer: &str) -> Vec<Action> {
        self.hear(Incoming::ViewerJoin {
            stream_id: StreamId::new(stream),
            viewer: ViewerId::new(viewer),
        })
    }

    pub(super) fn leave(&mut self, viewer: &str) -> Vec<Action> {
        self.hear(Incoming::ViewerLeft {
            stream_id: StreamId::new("s1"),
            viewer: ViewerId::new(viewer),
        })
    }

    pub(super) fn answer(&mut self, viewer: &str) -> Vec<Action> {
        self.hear(Incoming::Answer {
            stream_id: StreamId::new("s1"),
            from: ViewerId::new(viewer),
            sdp: ANSWER.to_owned(),
        })
    }

    fn candidate(&mut self, viewer: &str, candidate: Option<Candidate>) -> Vec<Action> {
        self.hear(Incoming::Candidate {
            stream_id: StreamId::new("s1"),
            from: ViewerId::new(viewer),
            candidate,
        })
    }

    pub(super) fn branch(&mut self, branch: u64, event: BranchEvent) -> Vec<Action> {
        self.roster.branch_event(BranchId(branch), event, self.now);
        self.drain()
    }

    pub(super) fn offer(&mut self, branch: u64) -> Vec<Action> {
        self.branch(branch, offer())
    }

    /// Lets exactly that much time pass.
    pub(super) fn pass(&mut self, time: Duration) -> Vec<Action> {
        self.now += time;
        self.roster.tick(self.now);
        self.drain()
    }

    /// Joins, is offered, answers and connects.
    pub(super) fn watch(&mut self, viewer: &str, branch: u64) {
        assert!(
            self.join(viewer)
                .contains(&Action::OpenBranch(BranchId(branch), Certificate::First))
        );
        self.offer(branch);
        self.answer(viewer);
        let live = self.branch(branch, BranchEvent::Connected);
        assert!(
            matches!(live[..], [Action::Report(Report::Live { .. })]),
            "{live:?}"
        );
    }
}

pub(super) fn offer() -> BranchEvent {
    BranchEvent::Offer {
        sdp: OFFER.to_owned(),
    }
}

pub(super) fn candidate(port: u16) -> Candidate {
    Candidate {
        candidate: format!("candidate:1 1 UDP 2122260223 192.0.2.1 {port} typ host"),
        sdp_mid: Some("video0".to_owned()),
        sdp_mline_index: Some(0),
        username_fragment: Some(UFRAG.to_owned()),
    }
}

pub(super) fn ends(actions: &[Action]) -> Vec<End> {
    let end = |action: &Action| match action {
        Action::Report(Report::Ended { end, .. }) => Some(*end),
        _ => None,
    };
    actions.iter().filter_map(end).collect()
}

fn ignored(actions: &[Action]) -> Vec<&Ignored> {
    let reports = actions.iter().filter_map(|action| match action {
        Action::Report(Report::Ignored { what, .. }) => Some(what),
        _ => None,
    });
    reports.collect()
}

pub(super) fn told(actions: &[Action]) -> Vec<&Outgoing> {
    let messages = actions.iter().filter_map(|action| match action {
        Action::Tell(message) => Some(message),
        _ => None,
    });
    messages.collect()
}

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
