//! What holds whatever the lobby, the viewers, the branches and the clock do.

use std::collections::{BTreeSet, HashMap, HashSet};

use proptest::{prelude::*, sample::Index};

use super::{
    bench::{ANSWER, OFFER},
    *,
};
use crate::{host::end::Rebuild, media::BranchEvent as Event, signaling::message::Candidate};

const SPARE: usize = 1;

#[derive(Debug, Clone)]
enum Input {
    Live(u8),
    Lost,
    Join(u8, u8),
    Left(u8, u8),
    Answer(u8, u8, bool),
    Candidate(u8, u8, Option<u16>),
    /// Of any branch that was ever opened.
    Branch(Index, Event),
    /// One of the branches that are closing is gone.
    Closed(Index),
    Pass(Duration),
    /// The first so many of our addresses are gone.
    Network(u8),
    PictureChanged,
    /// The slate is shown, or not.
    Camera(bool),
}

fn input() -> impl Strategy<Value = Input> {
    let (stream, viewer) = (|| 0..3u8, || 0..6u8);
    let port = prop::option::of(0..9u16);
    prop_oneof![
        1 => stream().prop_map(Input::Live),
        1 => Just(Input::Lost),
        8 => (stream(), viewer()).prop_map(|(s, v)| Input::Join(s, v)),
        3 => (stream(), viewer()).prop_map(|(s, v)| Input::Left(s, v)),
        8 => (stream(), viewer(), prop::bool::weighted(0.9))
            .prop_map(|(s, v, good)| Input::Answer(s, v, good)),
        6 => (stream(), viewer(), port).prop_map(|(s, v, port)| Input::Candidate(s, v, port)),
        20 => (any::<Index>(), event()).prop_map(|(at, event)| Input::Branch(at, event)),
        6 => any::<Index>().prop_map(Input::Closed),
        6 => (0..8_000u64).prop_map(|ms| Input::Pass(Duration::from_millis(ms))),
        1 => (0..3u8).prop_map(Input::Network),
        1 => Just(Input::PictureChanged),
        2 => any::<bool>().prop_map(Input::Camera),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    let why = || "why".to_owned();
    prop_oneof![
        10 => Just(Event::Offer { sdp: OFFER.to_owned() }),
        1 => Just(Event::Offer { sdp: "v=0".to_owned() }),
        5 => Just(Event::Candidate(Some(candidate(9)))),
        1 => Just(Event::Candidate(None)),
        8 => Just(Event::Connected),
        3 => Just(Event::Disconnected),
        3 => Just(Event::Heard),
        3 => (0..3u8).prop_map(|n| Event::Settled { foundation: n.to_string() }),
        1 => Just(Event::AnswerRejected { why: why() }),
        1 => Just(Event::Failed),
        1 => Just(Event::HungUp),
        1 => Just(Event::Error { why: why() }),
        1 => Just(Event::Closed),
    ]
}

fn candidate(port: u16) -> Candidate {
    Candidate {
        candidate: format!("candidate:1 1 udp 1 192.0.2.1 {port} typ host"),
        sdp_mid: None,
        sdp_mline_index: Some(0),
        username_fragment: None,
    }
}

/// A roster and what an onlooker knows of it from its actions alone.
struct Onlooker {
    roster: Roster,
    max: usize,
    spares: usize,
    now: Instant,
    viewer_of: HashMap<BranchId, ViewerId>,
    opened: Vec<BranchId>,
    /// Opened, and not asked to close.
    open: BTreeSet<BranchId>,
    /// Asked to close, and not closed.
    closing: BTreeSet<BranchId>,
    /// Closed, asked or not.
    gone: HashSet<BranchId>,
    answered: HashSet<BranchId>,
    /// Viewers that were sent the offer of their present branch.
    offered: HashSet<ViewerId>,
    present: HashSet<BranchId>,
    slate: bool,
    /// What the lobby was told last of what viewers are shown, and of which stream.
    told: Option<(StreamId, Shown)>,
}

impl Onlooker {
    fn new(max: usize, spares: SparePlan) -> Self {
        let mut roster = Roster::new(max, CandidatePolicy::Any).with_spares(spares);
        // So little to spare that random lives run into it.
        roster.branches_max = max + SPARE;
        roster.half_open_max = 2;
        roster.newcomers_max = max.clamp(1, 3);
        Self {
            roster,
            max,
            spares: spares.count,
            now: Instant::now(),
            viewer_of: HashMap::new(),
            opened: Vec::new(),
            open: BTreeSet::new(),
            closing: BTreeSet::new(),
            gone: HashSet::new(),
            answered: HashSet::new(),
            offered: HashSet::new(),
            present: HashSet::new(),
            slate: false,
            told: None,
        }
    }

    fn put(&mut self, input: Input) {
        let stream = |n| StreamId::new(format!("s{n}"));
        let viewer = |n| ViewerId::new(format!("v{n}"));
        let message = match input {
            Input::Live(s) => return self.roster.line_live(stream(s), self.now),
            Input::Lost => return self.roster.line_lost(String::new(), self.now),
            Input::Join(s, v) => Incoming::ViewerJoin {
                stream_id: stream(s),
                viewer: viewer(v),
            },
            Input::Left(s, v) => Incoming::ViewerLeft {
                stream_id: stream(s),
                viewer: viewer(v),
            },
            Input::Answer(s, v, good) => Incoming::Answer {
                stream_id: stream(s),
                from: viewer(v),
                sdp: if good { ANSWER } else { OFFER }.to_owned(),
            },
            Input::Candidate(s, v, port) => Incoming::Candidate {
                stream_id: stream(s),
                from: viewer(v),
                candidate: port.map(candidate),
            },
            Input::Branch(at, event) => {
                if !self.opened.is_empty() {
                    self.report(*at.get(&self.opened), event);
                }
                return;
            }
            Input::Closed(at) => {
                let closing: Vec<_> = self.closing.iter().copied().collect();
                if !closing.is_empty() {
                    self.report(*at.get(&closing), Event::Closed);
                }
                return;
            }
            Input::Network(lost) => {
                let lost: Vec<_> = ["192.0.2.1", "192.0.2.2"]
                    .iter()
                    .take(lost.into())
                    .map(|address| address.parse().unwrap())
                    .collect();
                return self.roster.network_changed(&lost, self.now);
            }
            Input::PictureChanged => {
                return self.roster.rebuild_all(Rebuild::PictureChanged, self.now);
            }
            Input::Camera(slate) => {
                self.slate = slate;
                let shown = if slate { Shown::Lost } else { Shown::Live };
                return self.roster.camera(shown);
            }
            Input::Pass(time) => {
                self.now += time;
                self.roster.tick(self.now);
                let next = self.roster.next_deadline();
                assert!(
                    next.is_none_or(|at| at > self.now),
                    "no tick is for nothing"
                );
                return;
            }
        };
        self.roster.message(message, self.now);
    }

    fn report(&mut self, branch: BranchId, event: Event) {
        if event == Event::Closed {
            self.closing.remove(&branch);
            self.gone.insert(branch);
        }
        self.roster.branch_event(branch, event, self.now);
    }

    fn drain(&mut self) {
        while let Some(action) = self.roster.next_action() {
            self.see(action);
        }
        self.check();
    }

    fn see(&mut self, action: Action) {
        match action {
            Action::OpenBranch(branch, _) => {
                assert!(!self.opened.contains(&branch), "a branch is opened once");
                self.opened.push(branch);
                self.open.insert(branch);
            }
            Action::SetAnswer(branch, _) => {
                assert!(self.open.contains(&branch));
                assert!(self.answered.insert(branch), "one answer per branch");
            }
            Action::AddCandidate(branch, _) => {
                assert!(self.open.contains(&branch));
                assert!(self.answered.contains(&branch), "the answer goes first");
            }
            Action::CloseBranch(branch) => {
                assert!(self.open.remove(&branch), "opened, and closed once");
                if !self.gone.contains(&branch) {
                    self.closing.insert(branch);
                }
            }
            Action::Tell(Outgoing::Offer { to, .. }) => {
                self.offered.insert(to);
            }
            Action::Tell(Outgoing::Candidate { to, candidate, .. }) => {
                assert!(self.offered.contains(&to), "the offer goes first");
                assert!(
                    candidate.is_some(),
                    "pages are not told the end of candidates"
                );
            }
            Action::Tell(Outgoing::ViewerRefused {
                reason: Refusal::Full { .. },
                ..
            }) => {
                assert_eq!(self.roster.viewers(), self.max);
            }
            Action::Tell(Outgoing::ViewerRefused { .. }) => {}
            // Told from outside, by the branch.
            Action::Tell(Outgoing::Rendition { .. }) => {}
            Action::Tell(Outgoing::Camera { stream_id, camera }) => {
                self.told = Some((stream_id, camera));
            }
            Action::Report(Report::LineLive { .. }) => self.told = None,
            Action::Report(Report::Rebuilt {
                viewer,
                from,
                branch,
                ..
            }) => {
                assert!(self.present.remove(&from), "only who is there is rebuilt");
                assert!(
                    !self.open.contains(&from),
                    "the former branch is closed first"
                );
                self.offered.remove(&viewer);
                self.present.insert(branch);
                self.viewer_of.insert(branch, viewer);
            }
            Action::Report(Report::Joined { viewer, branch, .. }) => {
                self.offered.remove(&viewer);
                self.present.insert(branch);
                self.viewer_of.insert(branch, viewer);
            }
            Action::Report(Report::Ended { branch, .. }) => {
                assert!(self.present.remove(&branch), "who joined ends once");
            }
            Action::Report(_) | Action::Fatal { .. } => {}
        }
    }

    fn check(&self) {
        assert!(self.roster.viewers() <= self.max);
        assert_eq!(self.roster.viewers(), self.present.len());
        let (taken, spare): (Vec<_>, Vec<_>) = self
            .open
            .iter()
            .partition(|branch| self.present.contains(branch));
        let viewers: HashSet<_> = taken.iter().map(|b| &self.viewer_of[b]).collect();
        assert_eq!(viewers.len(), taken.len(), "one open branch per viewer");
        let (kept, spare): (Vec<_>, Vec<_>) = spare
            .into_iter()
            .partition(|branch| self.viewer_of.contains_key(branch));
        assert!(spare.len() <= self.spares, "so many for whoever comes");
        assert!(kept.len() <= kept::KEPT_MAX, "so many for who was here");
        assert!(self.open.len() + self.closing.len() <= self.max + SPARE);
        for viewer in self.roster.viewers.values() {
            assert!(
                self.answered.contains(&viewer.branch)
                    || Some(&viewer.stream) == self.roster.stream(),
                "without its line a viewer cannot answer"
            );
            assert_eq!(viewer.is_waiting(), !self.open.contains(&viewer.branch));
        }
        let half_open = self.roster.viewers.values().filter(|v| v.is_half_open());
        assert!(half_open.count() <= self.roster.half_open_max);
        let newcomers = self.roster.viewers.values().filter(|v| !v.has_watched());
        assert!(newcomers.count() <= self.roster.newcomers_max);
        if !self.closing.is_empty() {
            assert!(self.roster.next_deadline().is_some());
        }
        if let Some(stream) = self.roster.stream() {
            let told = self.told.as_ref().filter(|(of, _)| of == stream);
            let live = told.is_none_or(|(_, shown)| *shown == Shown::Live);
            assert_eq!(live, !self.slate, "the lobby knows what viewers are shown");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 2000, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn the_roster_keeps_its_promises(
        max in 0..5usize,
        inputs in prop::collection::vec(input(), 0..120),
        quiet in any::<bool>(),
        spares in (0..3usize, prop::option::of(1..20u64)),
    ) {
        let (count, lasts) = spares;
        let lasts = lasts.map(Duration::from_secs);
        let mut onlooker = Onlooker::new(max, SparePlan { count, lasts });
        onlooker.roster.line_live(StreamId::new("s0"), onlooker.now);
        for input in inputs {
            onlooker.put(input);
            onlooker.drain();
        }

        if quiet {
            // Nobody says anything any more, not even by RTCP: all go.
            while let Some(deadline) = onlooker.roster.viewers.values().map(Viewer::deadline).min() {
                onlooker.now = onlooker.now.max(deadline);
                onlooker.roster.tick(onlooker.now);
                onlooker.drain();
            }
        }

        onlooker.roster.shut_down(onlooker.now);
        onlooker.drain();
        prop_assert!(onlooker.open.is_empty() && onlooker.present.is_empty());
        while let Some(branch) = onlooker.closing.pop_first() {
            prop_assert!(!onlooker.roster.is_empty());
            onlooker.report(branch, Event::Closed);
            onlooker.drain();
        }
        prop_assert!(onlooker.roster.is_empty());
        prop_assert_eq!(onlooker.roster.next_deadline(), None);
    }
}
