//! The rules: who watches, in which state, what happens next.
//!
//! [`run`] is the one task that hears the line, the media and the clock. It asks the [`Roster`] what
//! follows and carries that out; it alone holds the branches.

pub mod action;
pub mod adaptation;
pub mod demand;
pub mod end;
pub mod limits;
mod log;
pub mod roster;
pub mod snapshot;
pub mod tally;
pub mod viewer;

use std::{
    collections::{HashMap, VecDeque},
    future::Future,
    pin::{Pin, pin},
    time::{Duration, Instant},
};

use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{timeout, timeout_at},
};
use tracing::{debug, trace, warn};

use self::{
    action::Action,
    adaptation::{Adaptation, Decision, Rates, Why},
    demand::Demand,
    end::Rebuild,
    roster::{Roster, SparePlan},
    snapshot::{HostSnapshot, Watching},
    tally::Tally,
};
use crate::{
    clock::{now, until},
    config::Viewers,
    media::{
        BranchEvent, BranchId, CameraEvent, MediaEvent,
        branch::{Branch, Change},
        camera::{
            Camera,
            status::{CameraState, CameraStatus, Caption},
        },
    },
    network::{self, Network},
    news,
    signaling::{
        client::{LineCommand, LineEvent},
        message::{Outgoing, Shown, StreamId},
    },
    systemd,
};

/// How long the line may take to say `live:end` and close before the branches are closed all the same.
pub const LINE_CLOSES_WITHIN: Duration = Duration::from_millis(500);
/// How long the branches may take to close when the host goes down.
pub const BRANCHES_CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// A watchdog that could not be fed is thought of again so soon.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Messages kept for a line that is slow to take them: some 40 viewers' offers and candidates.
const OUTBOX_MAX: usize = 1024;

/// What the host is connected to.
#[derive(Debug)]
pub struct Links {
    pub camera: Camera,
    pub media_events: mpsc::UnboundedReceiver<MediaEvent>,
    pub line: mpsc::Sender<LineCommand>,
    pub line_events: mpsc::Receiver<LineEvent>,
    /// The device's addresses and routes.
    pub network: watch::Receiver<Network>,
    /// Where the host shows how it is; changes only are sent.
    pub status: watch::Sender<HostStatus>,
    /// Who wants to know how it is in detail. Nobody needs to.
    pub questions: mpsc::Receiver<oneshot::Sender<HostSnapshot>>,
    /// How often systemd's watchdog is fed; see [`crate::systemd::watchdog`].
    pub watchdog: Option<Duration>,
}

/// How the host is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HostStatus {
    /// The stream as the lobby knows it now.
    pub stream_id: Option<StreamId>,
    /// Viewers that hold a place, connected or on their way.
    pub viewers: usize,
    /// Whether the lobby can be spoken to.
    pub line_up: bool,
}

/// Why the host cannot go on. For every one of them the process has to end.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    #[error("the camera failed: {0}")]
    Camera(String),
    /// A driver or an encoder hangs: the process may have to be killed.
    #[error("the camera hangs: {0}")]
    CameraHangs(String),
    #[error(
        "the teardown of branch {} hangs; its threads and sockets can only be freed by a new process", .0.0
    )]
    TeardownHung(BranchId),
    /// One of our own tasks is gone without being asked to; its panic is in the log.
    #[error("the {0} task ended by itself")]
    TaskGone(&'static str),
}

impl HostError {
    /// Threads are stuck for good.
    pub fn is_hang(&self) -> bool {
        matches!(self, Self::CameraHangs(_) | Self::TeardownHung(_))
    }
}

/// Serves viewers until `shutdown` resolves. On the way out, clean or not, the lobby hears of the
/// stream's end first and then the branches are closed.
pub async fn run(
    viewers: &Viewers,
    spares: SparePlan,
    rates: Rates,
    links: Links,
    shutdown: impl Future<Output = ()>,
) -> Result<(), HostError> {
    let mut links = links;
    let known_network = links.network.borrow_and_update().clone();
    let mut camera_status = links.camera.status();
    let shown = shown(&camera_status.borrow_and_update());
    let mut host = Host {
        roster: Roster::new(viewers.max, viewers.candidates).with_spares(spares),
        adaptation: Adaptation::new(rates),
        branches: HashMap::new(),
        demand: Demand::default(),
        outbox: VecDeque::new(),
        outbox_overflowed: false,
        tally: Tally::default(),
        next_feed: links.watchdog.map(|_| now()),
        starved: 0,
        known_network,
        camera_status,
        links,
    };
    host.camera(shown);
    let outcome = host.serve(shutdown).await;
    host.take_down().await;
    outcome
}

/// What wakes the host.
#[derive(Debug)]
enum Input {
    ShutDown,
    Deadline,
    /// It is time to feed the watchdog.
    Feed,
    MessageSent,
    Question(oneshot::Sender<HostSnapshot>),
    Line(LineEvent),
    Media(MediaEvent),
    Network(Network),
    /// The camera's status is another; what viewers are shown now.
    Camera(Shown),
}

#[derive(Debug)]
struct Host {
    roster: Roster,
    adaptation: Adaptation,
    branches: HashMap<BranchId, Branch>,
    demand: Demand,
    /// Never waited for: a line that is slow to take messages holds up nobody's media.
    outbox: VecDeque<Outgoing>,
    outbox_overflowed: bool,
    tally: Tally,
    next_feed: Option<Instant>,
    /// How often in a row the watchdog was not fed.
    starved: u32,
    /// As the roster knows it.
    known_network: Network,
    camera_status: watch::Receiver<CameraStatus>,
    links: Links,
}

impl Host {
    async fn serve(&mut self, shutdown: impl Future<Output = ()>) -> Result<(), HostError> {
        let mut shutdown = pin!(shutdown);
        loop {
            match self.next_input(shutdown.as_mut()).await? {
                Input::ShutDown => return Ok(()),
                Input::Deadline => {
                    self.roster.tick(now());
                    self.adaptation.tick(now());
                }
                Input::Feed => {
                    self.feed();
                    continue;
                }
                Input::MessageSent => continue,
                Input::Question(answer) => {
                    // Whoever asked may have gone.
                    let _ = answer.send(self.snapshot());
                    continue;
                }
                Input::Line(event) => self.line_event(event),
                Input::Media(event) => self.media_event(event)?,
                Input::Network(now) => self.network(now),
                Input::Camera(shown) => self.camera(shown),
            }
            // First of all, as a camera takes longer to start than anything else.
            self.demand.watch(self.roster.viewers(), now());
            self.links.camera.want(self.demand.is_wanted());
            self.adapt();
            self.carry_out()?;
            self.show_status();
        }
    }

    async fn next_input(
        &mut self,
        shutdown: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<Input, HostError> {
        let deadlines = [self.roster.next_deadline(), self.adaptation.next_deadline()];
        let deadline = deadlines.into_iter().flatten().min();
        let links = &mut self.links;
        tokio::select! {
            () = shutdown => Ok(Input::ShutDown),
            () = until(deadline) => Ok(Input::Deadline),
            () = until(self.demand.deadline()) => Ok(Input::Deadline),
            () = until(self.next_feed) => Ok(Input::Feed),
            permit = links.line.reserve(), if !self.outbox.is_empty() => {
                let permit = permit.map_err(|_| HostError::TaskGone("line"))?;
                if let Some(message) = self.outbox.pop_front() {
                    permit.send(LineCommand::Send(message));
                }
                Ok(Input::MessageSent)
            }
            Some(answer) = links.questions.recv() => Ok(Input::Question(answer)),
            network = network::next(&mut links.network) => Ok(Input::Network(network)),
            shown = next_shown(&mut self.camera_status) => shown
                .map(Input::Camera)
                .ok_or(HostError::TaskGone("camera")),
            event = links.line_events.recv() => {
                event.map(Input::Line).ok_or(HostError::TaskGone("line"))
            }
            // Never closed: the camera itself holds the other end.
            Some(event) = links.media_events.recv() => Ok(Input::Media(event)),
        }
    }

    fn line_event(&mut self, event: LineEvent) {
        match event {
            LineEvent::Live { stream_id } => self.roster.line_live(stream_id, now()),
            LineEvent::Message(message) => self.roster.message(message, now()),
            LineEvent::Lost { why } => {
                self.roster.line_lost(why, now());
                self.outbox.clear();
                self.outbox_overflowed = false;
            }
        }
    }

    fn camera(&mut self, shown: Shown) {
        self.roster.camera(shown);
        self.adaptation.camera(shown == Shown::Live, now());
        if let Some(picture) = &self.camera_status.borrow().picture {
            self.adaptation.adjustable(picture.adjustable, now());
            self.adaptation.has_second(picture.has_second, now());
        }
    }

    fn network(&mut self, later: Network) {
        let change = std::mem::replace(&mut self.known_network, later.clone()).change(&later);
        if !change.lost.is_empty() || change.opens_a_way() {
            self.roster.network_changed(&change.lost, now());
        }
    }

    fn media_event(&mut self, event: MediaEvent) -> Result<(), HostError> {
        match event {
            MediaEvent::Branch {
                branch,
                event: BranchEvent::Way(way),
            } => {
                trace!(
                    event = "viewer-way",
                    branch = branch.0,
                    ?way,
                    "a viewer's word on its connection"
                );
                self.adaptation.way(branch, way, now());
                Ok(())
            }
            MediaEvent::Branch { branch, event } => {
                if event == BranchEvent::Connected {
                    self.adaptation.joined(branch, now());
                }
                self.roster.branch_event(branch, event, now());
                Ok(())
            }
            MediaEvent::Camera(CameraEvent::Failed { why, hangs: true }) => {
                Err(HostError::CameraHangs(why))
            }
            MediaEvent::Camera(CameraEvent::Failed { why, .. }) => Err(HostError::Camera(why)),
            MediaEvent::Camera(CameraEvent::NoSecond) => {
                self.adaptation.without_second(now());
                Ok(())
            }
            MediaEvent::Camera(CameraEvent::Profile { profile_level_id }) => {
                self.offer_anew(&profile_level_id);
                Ok(())
            }
        }
    }

    /// The picture is of another profile than some branches' offers said.
    fn offer_anew(&mut self, profile_level_id: &str) {
        let mut branches = self.branches.values();
        if branches.any(|branch| !branch.offers(profile_level_id)) {
            self.roster.rebuild_all(Rebuild::PictureChanged, now());
        }
    }

    /// Tells systemd that all is well, or keeps silent: frames flow, or somebody does something about their
    /// absence. From here, because this is the loop that everything hangs on.
    fn feed(&mut self) {
        let Some(every) = self.links.watchdog else {
            return;
        };
        if self.links.camera.status().borrow().is_looked_after(now()) {
            systemd::feed_watchdog();
            self.starved = 0;
            self.next_feed = Some(now() + every);
            return;
        }
        // After a time in which the whole process stood still, the camera's task may just not have had its turn yet.
        self.next_feed = Some(now() + every.min(ASK_AGAIN));
        self.starved = self.starved.saturating_add(1);
        if self.starved == 2 {
            warn!(
                event = "watchdog-starves",
                "nobody looks after the camera any more; systemd's watchdog will end this process"
            );
        }
    }

    /// Sends viewers what their connections carry.
    fn adapt(&mut self) {
        // Before anybody is sent it.
        self.links
            .camera
            .want_second(self.adaptation.wants_second());
        while let Some(decision) = self.adaptation.next_decision() {
            match decision {
                Decision::Show {
                    branch,
                    rendition,
                    why,
                } => {
                    if let Some(shown) = self.branches.get(&branch) {
                        let change = match why {
                            Why::Retry => Change::Seamless,
                            Why::Bandwidth | Why::Loss => Change::AtOnce,
                        };
                        shown.show(rendition, change);
                    }
                    self.roster.tell_rendition(branch, rendition, why);
                }
                Decision::Encode { rendition, bitrate } => {
                    debug!(
                        event = "encoder-bitrate",
                        rendition = rendition.name(),
                        bitrate,
                        "the encoder's bitrate follows the viewers"
                    );
                    self.links.camera.encode(rendition, bitrate);
                }
                Decision::Pace { branch, bitrate } => {
                    if let Some(paced) = self.branches.get(&branch) {
                        paced.pace(bitrate);
                    }
                }
                Decision::Probe { branch, bitrate } => {
                    debug!(
                        event = "viewer-probed",
                        branch = branch.0,
                        bitrate,
                        "viewer is sent more than its picture, to see whether it comes through"
                    );
                    if let Some(probed) = self.branches.get(&branch) {
                        probed.probe(bitrate);
                    }
                }
                Decision::Thin { branch, bitrate } => {
                    debug!(
                        event = "viewer-thinned",
                        branch = branch.0,
                        bitrate,
                        "viewer is given as many pictures as its connection carries"
                    );
                    if let Some(shown) = self.branches.get(&branch) {
                        shown.thin(bitrate);
                    }
                }
            }
        }
    }

    fn carry_out(&mut self) -> Result<(), HostError> {
        while let Some(action) = self.roster.next_action() {
            match action {
                Action::OpenBranch(id, certificate) => {
                    let branch = self.links.camera.open_branch(id, certificate);
                    self.branches.insert(id, branch);
                }
                Action::SetAnswer(id, answer) => {
                    if let Some(branch) = self.branches.get(&id) {
                        branch.set_answer(answer.into_sdp());
                    }
                }
                Action::AddCandidate(id, candidate) => {
                    if let Some(branch) = self.branches.get(&id) {
                        branch.add_candidate(candidate.map(|checked| checked.into_candidate()));
                    }
                }
                Action::CloseBranch(id) => {
                    self.adaptation.gone(id, now());
                    if let Some(branch) = self.branches.remove(&id) {
                        branch.close();
                    }
                }
                Action::Tell(message) => self.post(message),
                Action::Report(report) => {
                    self.tally.note(&report);
                    log::report(&report);
                }
                Action::Fatal { branch } => return Err(HostError::TeardownHung(branch)),
            }
        }
        Ok(())
    }

    fn post(&mut self, message: Outgoing) {
        if self.outbox.len() < OUTBOX_MAX {
            self.outbox.push_back(message);
        } else if !std::mem::replace(&mut self.outbox_overflowed, true) {
            warn!(
                event = "outbox-full",
                "the lobby takes messages too slowly; {OUTBOX_MAX} wait, further ones are dropped"
            );
        }
    }

    /// The facts of this moment, and the branches asked for theirs: the answers are waited for by whoever wants to
    /// know them.
    fn snapshot(&self) -> HostSnapshot {
        let mut viewers: Vec<_> = self
            .roster
            .each()
            .map(|viewer| Watching {
                number: self.tally.number(viewer.branch),
                id: viewer.id.clone(),
                branch: viewer.branch,
                state: viewer.state().name(),
                age: viewer.age(now()),
                rendition: self.adaptation.rendition(viewer.branch),
                statistics: self
                    .branches
                    .get(&viewer.branch)
                    .and_then(Branch::statistics),
            })
            .collect();
        viewers.sort_by_key(|viewer| viewer.branch);
        HostSnapshot {
            viewers,
            bitrates: self.adaptation.bitrates().collect(),
            closing: self.roster.closing(),
            counts: self.roster.counts(),
            tally: self.tally.clone(),
        }
    }

    fn show_status(&self) {
        let status = HostStatus {
            stream_id: self.roster.stream().cloned(),
            viewers: self.roster.viewers(),
            line_up: self.roster.stream().is_some(),
        };
        news::show(&self.links.status, status);
    }

    /// Ends the stream in the lobby, so that pages show its end and not a lost connection, and then
    /// closes the branches. Bounded, whatever hangs.
    async fn take_down(&mut self) {
        let links = &mut self.links;
        // Heard all the while: a line that waits to be heard takes no commands.
        let line_closed = async {
            let _ = tokio::join!(links.line.send(LineCommand::Close), async {
                while links.line_events.recv().await.is_some() {}
            });
        };
        if timeout(LINE_CLOSES_WITHIN, line_closed).await.is_err() {
            debug!(event = "line-slow-to-close", "the line is still closing");
        }

        self.roster.shut_down(now());
        let deadline = tokio::time::Instant::now() + BRANCHES_CLOSE_WITHIN;
        loop {
            // Another branch's hanging teardown is no reason to leave the rest open.
            while self.carry_out().is_err() {}
            if self.roster.is_empty() {
                break;
            }
            match timeout_at(deadline, self.links.media_events.recv()).await {
                Ok(Some(MediaEvent::Branch { branch, event })) => {
                    self.roster.branch_event(branch, event, now());
                }
                Ok(Some(MediaEvent::Camera(_))) => {}
                Ok(None) | Err(_) => {
                    let branches = self.roster.closing();
                    warn!(
                        event = "branches-left-open",
                        branches, "branches did not close in time"
                    );
                    break;
                }
            }
        }
        self.show_status();
        let counts = self.roster.counts();
        debug!(event = "host-down", ?counts, "host is down");
    }
}

/// The camera's picture, or the slate. A camera that is off while nobody watches shows neither, which is nobody's
/// concern: whoever comes is shown its picture.
fn shown(status: &CameraStatus) -> Shown {
    match (status.slate, status.caption) {
        (false, _) => Shown::Live,
        (true, Caption::Waiting) => Shown::Waiting,
        (true, Caption::Lost) => Shown::Lost,
    }
}

/// What viewers are shown, as soon as the camera's status is another one; `None` where the camera's task is
/// gone and has not said that it ends: it has panicked.
async fn next_shown(status: &mut watch::Receiver<CameraStatus>) -> Option<Shown> {
    match status.changed().await {
        Ok(()) => Some(shown(&status.borrow_and_update())),
        Err(_) if matches!(status.borrow().state, CameraState::Ended { .. }) => {
            std::future::pending().await
        }
        Err(_) => None,
    }
}
