//! THE set of viewers: the only place that adds or removes one. Pure: the time is an argument.
//!
//! One input, then drain [`Roster::next_action`]; call [`Roster::tick`] at [`Roster::next_deadline`].
//!
//! What always holds:
//! - a viewer has one branch; a former branch of it may still be closing, but is no viewer's any more;
//! - there are never more than `max` viewers, those of a former stream included;
//! - there are never more than `max` + [`CLOSING_SPARE`] branches, those that close included;
//! - of viewers that have never watched, no more than a share of the places holds branches, and no more than
//!   another share has places at all;
//! - every viewer has a deadline, and so has every branch that closes;
//! - a branch that is ready is nobody's, and becomes one viewer's; one that is kept becomes its page's alone.

mod crowd;
mod kept;
mod rebuild;
mod spare;

pub use rebuild::NETWORK_SETTLES;
pub use spare::{SparePlan, TRY_AGAIN};

use std::{
    collections::{BTreeMap, VecDeque},
    mem,
    ops::ControlFlow,
    time::{Duration, Instant},
};

use super::{
    action::{Action, Ignored, Report},
    adaptation::Why,
    end::End,
    limits::Door,
    viewer::{Ending, Rejoin, Viewer},
};
use crate::{
    media::{BranchEvent, BranchId, Rendition, branch::THREADS, sdp::CandidatePolicy},
    signaling::message::{Incoming, Outgoing, Refusal, Shown, StreamId, ViewerId},
};

/// For a branch to be taken down: tens of milliseconds. One that needs longer than this, from its turn on, hangs.
pub const CLOSE_WITHIN: Duration = Duration::from_secs(10);

/// How many branches beyond `max` there may be while some are closing. Enough for a page that is
/// reloaded on a full host; a flood of joins and leaves waits here instead of piling up pipelines.
pub const CLOSING_SPARE: usize = 8;

/// Counts since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Joins that were given a place.
    pub joined: u64,
    /// Joins that were refused: the host was full, or too many came at once.
    pub refused: u64,
    /// Branches that were replaced while their viewer stayed.
    pub rebuilt: u64,
    /// Messages that nothing followed from; candidates for TCP, which every browser sends, are not counted.
    pub ignored: u64,
}

/// Who watches.
#[derive(Debug)]
pub struct Roster {
    max: usize,
    /// How many branches there may be at once, those that close included.
    branches_max: usize,
    /// How many of them may be of viewers that have never watched.
    half_open_max: usize,
    /// How many places may be theirs.
    newcomers_max: usize,
    policy: CandidatePolicy,
    door: Door,
    network_changed: Option<Instant>,
    /// What viewers are shown.
    shown: Shown,
    /// The stream that the lobby knows now; `None` while the line is down.
    stream: Option<StreamId>,
    viewers: BTreeMap<ViewerId, Viewer>,
    /// Branches on their way out, and when that becomes too long.
    closing: BTreeMap<BranchId, Instant>,
    spares: spare::Spares,
    kept: Vec<kept::Kept>,
    going_down: bool,
    /// Somebody has been refused since somebody was last let in or left.
    said_refused: bool,
    next_branch: u64,
    counts: Counts,
    actions: VecDeque<Action>,
}

impl Roster {
    /// An empty roster with `max` places.
    pub fn new(max: usize, policy: CandidatePolicy) -> Self {
        Self {
            max,
            branches_max: max.saturating_add(CLOSING_SPARE),
            half_open_max: crowd::half_open_max(max),
            newcomers_max: crowd::newcomers_max(max),
            policy,
            door: Door::new(max),
            network_changed: None,
            shown: Shown::Live,
            stream: None,
            viewers: BTreeMap::new(),
            closing: BTreeMap::new(),
            spares: spare::Spares::default(),
            kept: Vec::new(),
            going_down: false,
            said_refused: false,
            next_branch: 1,
            counts: Counts::default(),
            actions: VecDeque::new(),
        }
    }

    /// What to do next. To be drained after every input.
    ///
    /// What was meant for a stream that the lobby no longer knows is left out: it would not pass it on.
    pub fn next_action(&mut self) -> Option<Action> {
        loop {
            let action = self.actions.pop_front()?;
            match &action {
                Action::Tell(message) if Some(stream_of(message)) != self.stream.as_ref() => {}
                Action::Report(Report::Ignored { what, .. }) => {
                    self.counts.ignored += u64::from(!what.is_harmless());
                    return Some(action);
                }
                _ => return Some(action),
            }
        }
    }

    /// When [`Roster::tick`] is to be called next.
    pub fn next_deadline(&self) -> Option<Instant> {
        let viewers = self.viewers.values().map(Viewer::deadline);
        let closing = self.closing.values().copied();
        let spares = self.spares.deadline(self.wants_spares(), self.quiet_at());
        let kept = self.kept.iter().map(|kept| kept.deadline);
        let others = self
            .pressure_deadline()
            .into_iter()
            .chain(spares)
            .chain(kept);
        viewers.chain(closing).chain(others).min()
    }

    /// The stream that the lobby knows now.
    pub fn stream(&self) -> Option<&StreamId> {
        self.stream.as_ref()
    }

    /// How many places are taken.
    pub fn viewers(&self) -> usize {
        self.viewers.len()
    }

    /// Tells the viewer of this branch which rendition it is sent.
    pub fn tell_rendition(&mut self, branch: BranchId, rendition: Rendition, why: Why) {
        let Some(viewer) = self.viewers.values().find(|it| it.branch == branch) else {
            return;
        };
        let told = Outgoing::Rendition {
            stream_id: viewer.stream.clone(),
            to: viewer.id.clone(),
            rendition: rendition.name(),
            reason: why.name(),
        };
        let report = Report::Rendition {
            viewer: viewer.id.clone(),
            branch,
            rendition,
            why,
        };
        self.actions.push_back(Action::Tell(told));
        self.report(report);
    }

    /// Everybody, for whoever wants to show them.
    pub fn each(&self) -> impl Iterator<Item = &Viewer> {
        self.viewers.values()
    }

    /// How many branches are on their way out.
    pub fn closing(&self) -> usize {
        self.closing.len()
    }

    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Nobody watches and every branch is gone.
    pub fn is_empty(&self) -> bool {
        self.viewers.is_empty() && self.open() == 0
    }

    /// The lobby knows us, under a new stream id.
    pub fn line_live(&mut self, stream: StreamId, now: Instant) {
        if self.stream.as_ref() == Some(&stream) {
            return;
        }
        if self.stream.is_some() {
            self.line_lost("the lobby gave the stream a new id".to_owned(), now);
        }
        self.report(Report::LineLive {
            stream: stream.clone(),
        });
        self.stream = Some(stream);
        // The camera's picture is what a lobby takes for granted of a new stream.
        if self.shown != Shown::Live {
            self.tell_shown();
        }
        self.fill_room(now);
    }

    /// What viewers are shown: the slate, or the camera's picture.
    pub fn camera(&mut self, shown: Shown) {
        if mem::replace(&mut self.shown, shown) != shown {
            self.tell_shown();
        }
    }

    /// One message for all viewers: the lobby tells them, and those who come later.
    fn tell_shown(&mut self) {
        if let Some(stream_id) = self.stream.clone() {
            let camera = self.shown;
            self.actions
                .push_back(Action::Tell(Outgoing::Camera { stream_id, camera }));
        }
    }

    /// The line is down. Who has answered keeps the picture; who has not cannot any more.
    pub fn line_lost(&mut self, why: String, now: Instant) {
        if self.stream.take().is_none() {
            return;
        }
        self.report(Report::LineLost { why });
        self.end_where(|viewer| !viewer.has_answered(), |_| End::LineLost, now);
    }

    /// The lobby passed on a message.
    pub fn message(&mut self, message: Incoming, now: Instant) {
        match message {
            Incoming::ViewerJoin { stream_id, viewer } => self.join(stream_id, viewer, now),
            Incoming::ViewerLeft { stream_id, viewer } => {
                if self.known(&stream_id, &viewer).is_some() {
                    self.leave(&viewer, now);
                    self.fill_room(now);
                }
            }
            Incoming::Answer {
                stream_id,
                from,
                sdp,
            } => {
                if let Some((viewer, out)) = self.known(&stream_id, &from) {
                    if let Some(why) = viewer.doomed() {
                        return self.rebuild_now(&from, why, None, now);
                    }
                    let flow = viewer.answer(&sdp, now, out);
                    self.follow(&from, flow, now);
                }
            }
            Incoming::Candidate {
                stream_id,
                from,
                candidate,
            } => {
                if let Some((viewer, out)) = self.known(&stream_id, &from) {
                    viewer.candidate(candidate.as_ref(), out);
                }
            }
        }
    }

    /// A branch reported something. What branches that are closing say, save that they are closed, is past.
    pub fn branch_event(&mut self, branch: BranchId, event: BranchEvent, now: Instant) {
        let closed = event == BranchEvent::Closed;
        if closed && self.closing.remove(&branch).is_some() {
            self.fill_room(now);
            return;
        }
        if self.spare_says(branch, &event, now) || self.kept_says(branch, &event, now) {
            return self.fill_room(now);
        }
        let of_branch = |viewer: &&mut Viewer| viewer.branch == branch && !viewer.is_waiting();
        let Some(viewer) = self.viewers.values_mut().find(of_branch) else {
            return;
        };
        let id = viewer.id.clone();
        if closed {
            let ending = Ending {
                end: End::BranchError,
                detail: Some("it closed by itself".to_owned()),
            };
            self.end(&id, ending, now);
            self.closing.remove(&branch);
            self.fill_room(now);
            return;
        }
        let flow = viewer.branch_event(event, now, &mut self.actions);
        self.follow(&id, flow, now);
        self.rebuild_after_change(&id, now);
    }

    /// Time passes: who is out of patience ends.
    pub fn tick(&mut self, now: Instant) {
        let expired: Vec<_> = self
            .viewers
            .values()
            .filter(|viewer| viewer.deadline() <= now)
            .map(|viewer| viewer.id.clone())
            .collect();
        for id in expired {
            self.out_of_patience(&id, now);
        }
        for (branch, deadline) in &mut self.closing {
            if *deadline <= now {
                // Said again after as long, should anybody still be listening.
                *deadline = now + CLOSE_WITHIN;
                self.actions.push_back(Action::Fatal { branch: *branch });
            }
        }
        self.tick_spares(now);
        self.discard_kept(|kept| kept.deadline <= now, now);
        self.fill_room(now);
    }

    fn out_of_patience(&mut self, id: &ViewerId, now: Instant) {
        let Some(viewer) = self.viewers.get_mut(id) else {
            return;
        };
        if viewer.repeats_offer(now, &mut self.actions) {
            return;
        }
        if viewer.falls_silent(now, &mut self.actions) {
            return self.rebuild_after_change(id, now);
        }
        let (mut end, stream) = (viewer.end_of_patience(), viewer.stream.clone());
        if end == End::NoRoom && self.open() < self.branches_max {
            end = End::Crowded;
        }
        if matches!(end, End::NoRoom | End::Crowded) {
            self.tell_refused(stream, id.clone(), Refusal::Busy);
        }
        self.lose(id, end.into(), now);
    }

    /// Ends everybody and lets nobody in any more; [`Roster::is_empty`] tells when all are gone.
    pub fn shut_down(&mut self, now: Instant) {
        self.going_down = true;
        self.discard_unwatched(now);
        self.end_where(|_| true, |_| End::Shutdown, now);
    }

    fn join(&mut self, stream: StreamId, id: ViewerId, now: Instant) {
        if self.going_down {
            return self.ignore(id, Ignored::GoingDown);
        }
        if self.stream.as_ref() != Some(&stream) {
            return self.ignore(id, Ignored::OtherStream);
        }
        let mut former = None;
        if let Some(viewer) = self.viewers.get_mut(&id) {
            // A viewer that waits for its offer may say so again; what costs a branch is counted.
            if viewer.stream == stream
                && viewer.join_again(now, &mut self.actions) == Rejoin::Patience
            {
                return;
            }
            if !self.door.knock(&id, now) {
                return self.ignore(id, Ignored::TooManyJoins);
            }
            former = self.end(&id, End::Rejoined.into(), now);
        } else {
            let full = self.no_place();
            let mute = full.is_some().then(|| self.mute(now)).flatten();
            if let (Some(reason), None) = (full, &mute) {
                return self.refuse(stream, id, reason);
            }
            if !self.door.knock(&id, now) {
                return self.refuse(stream, id, Refusal::Busy);
            }
            if let Some(mute) = mute {
                self.put_out(&mute, now);
            }
        }
        self.admit(stream, id, former.as_ref(), now);
        self.fill_room(now);
    }

    fn refuse(&mut self, stream_id: StreamId, viewer: ViewerId, reason: Refusal) {
        self.counts.refused += 1;
        self.tell_refused(stream_id, viewer.clone(), reason);
        let first = !mem::replace(&mut self.said_refused, true);
        self.report(Report::Refused {
            viewer,
            reason,
            first,
        });
    }

    fn tell_refused(&mut self, stream_id: StreamId, to: ViewerId, reason: Refusal) {
        let refused = Outgoing::ViewerRefused {
            stream_id,
            to,
            reason,
        };
        self.actions.push_back(Action::Tell(refused));
    }

    /// The one place where a viewer is added.
    fn admit(&mut self, stream: StreamId, id: ViewerId, former: Option<&Viewer>, now: Instant) {
        let kept = self.take_kept(&id, &stream);
        let spare = match kept {
            None => self.spare_for_newcomer(former),
            Some(_) => None,
        };
        let ready = kept.as_ref().map(|kept| kept.branch);
        let ready = ready.or(spare.as_ref().map(|spare| spare.branch));
        let branch = ready.unwrap_or(BranchId(self.next_branch));
        self.next_branch += u64::from(ready.is_none());
        self.counts.joined += 1;
        self.report(Report::Joined {
            viewer: id.clone(),
            stream: stream.clone(),
            branch,
        });
        let mut viewer = Viewer::new(id.clone(), stream, branch, self.policy, now);
        if let Some(former) = former {
            viewer.succeed(former);
        }
        let said = match (kept, spare) {
            (Some(kept), _) => {
                viewer.resume(kept.unanswered, now);
                kept.said
            }
            (None, Some(spare)) => {
                viewer.open_ready(now);
                spare.said
            }
            (None, None) => Vec::new(),
        };
        self.viewers.insert(id, viewer);
        for said in said {
            self.branch_event(branch, said, now);
        }
    }

    /// One whose page has been here before needs another certificate than the spare branches', and one that others
    /// are before waits for its turn.
    fn spare_for_newcomer(&mut self, former: Option<&Viewer>) -> Option<spare::Spare> {
        let somebody_waits = self.viewers.values().any(Viewer::is_waiting);
        if former.is_some() || somebody_waits || self.is_crowded() {
            return None;
        }
        self.take_spare()
    }

    /// The one place where a viewer is removed.
    fn end(&mut self, id: &ViewerId, ending: Ending, now: Instant) -> Option<Viewer> {
        let viewer = self.viewers.get(id)?;
        if !viewer.is_waiting() {
            self.close(viewer.branch, now);
        }
        self.remove(id, ending, now)
    }

    /// Leaves its branch to the caller.
    fn remove(&mut self, id: &ViewerId, ending: Ending, now: Instant) -> Option<Viewer> {
        let viewer = self.viewers.remove(id)?;
        self.said_refused = false;
        self.report(Report::Ended {
            viewer: viewer.id.clone(),
            stream: viewer.stream.clone(),
            branch: viewer.branch,
            end: ending.end,
            detail: ending.detail,
            after: viewer.age(now),
        });
        Some(viewer)
    }

    /// Branches close in turn, so many at a time: one that waits for a crowd before it does not hang yet.
    fn close(&mut self, branch: BranchId, now: Instant) {
        let turns = u32::try_from(self.closing.len() / THREADS).unwrap_or(u32::MAX);
        let patience = CLOSE_WITHIN.saturating_mul(turns.saturating_add(1));
        self.actions.push_back(Action::CloseBranch(branch));
        self.closing.insert(branch, now + patience);
    }

    fn end_where(
        &mut self,
        doomed: impl Fn(&Viewer) -> bool,
        end: impl Fn(&Viewer) -> End,
        now: Instant,
    ) {
        let doomed: Vec<_> = self
            .viewers
            .values()
            .filter(|viewer| doomed(viewer))
            .map(|viewer| (viewer.id.clone(), end(viewer)))
            .collect();
        for (id, end) in doomed {
            self.end(&id, end.into(), now);
        }
    }

    /// How many branches there are, those that close included.
    fn open(&self) -> usize {
        let open = self.viewers.values().filter(|viewer| !viewer.is_waiting());
        open.count() + self.closing.len() + self.spares.len() + self.kept.len()
    }

    /// The viewer of that stream, or a word about a stranger.
    fn known(
        &mut self,
        stream: &StreamId,
        id: &ViewerId,
    ) -> Option<(&mut Viewer, &mut VecDeque<Action>)> {
        if self
            .viewers
            .get(id)
            .is_none_or(|viewer| viewer.stream != *stream)
        {
            self.ignore(id.clone(), Ignored::Stranger);
            return None;
        }
        let viewer = self.viewers.get_mut(id)?;
        Some((viewer, &mut self.actions))
    }

    fn follow(&mut self, id: &ViewerId, flow: ControlFlow<Ending>, now: Instant) {
        if let ControlFlow::Break(ending) = flow {
            self.lose(id, ending, now);
        }
        // A viewer that has come to watch makes room for those who wait to be let in.
        self.fill_room(now);
    }

    fn ignore(&mut self, viewer: ViewerId, what: Ignored) {
        self.report(Report::Ignored { viewer, what });
    }

    fn report(&mut self, report: Report) {
        self.actions.push_back(Action::Report(report));
    }
}

fn stream_of(message: &Outgoing) -> &StreamId {
    match message {
        Outgoing::Offer { stream_id, .. }
        | Outgoing::Candidate { stream_id, .. }
        | Outgoing::ViewerRefused { stream_id, .. }
        | Outgoing::Camera { stream_id, .. }
        | Outgoing::Rendition { stream_id, .. } => stream_id,
    }
}

#[cfg(test)]
mod bench;
#[cfg(test)]
mod crowds;
#[cfg(test)]
mod exchanges;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod rebuilds;
#[cfg(test)]
mod spares;
#[cfg(test)]
mod tests;
