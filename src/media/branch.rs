//! One viewer's `webrtcbin`: open, offer, answer, candidate, close.
//!
//! ```text
//! outlet → appsrc ! rtph264pay ! webrtcbin → network
//!          appsrc ! rtpopuspay !
//! ```
//!
//! A branch is a pipeline of its own on the camera's clock and base time: what goes wrong in it ends
//! in it. (In one pipeline with a `tee`, a branch whose caps do not fit stops the picture for all.)
//! A task per branch carries out what the host asks, in order, on blocking threads; callbacks from
//! GStreamer's threads only translate and send.

mod meter;
mod pacing;
mod probing;
mod retransmission;
mod threads;
mod track;
mod transport;
mod work;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

use gst::prelude::*;
use gst_webrtc::{
    WebRTCICEGatheringState, WebRTCPeerConnectionState, WebRTCRTPTransceiver, WebRTCSDPType,
    WebRTCSessionDescription,
};
use tokio::sync::{mpsc, oneshot};

pub use self::threads::THREADS;
use self::{
    meter::Meter,
    pacing::Pace,
    probing::Prober,
    retransmission::Retransmissions,
    threads::on_branch_thread,
    track::{Gate, Track},
    transport::{configure_ice, listen_for_rtcp, number_packets, show_certificate},
    work::Work,
};
use super::{
    BranchEvent, BranchId, Certificate, MediaEvent, Rendition, arrivals::Arrivals, bus,
    camera::Feed, certificate, h264, ice::IceUri, offer, room, statistics::BranchStatistics,
};
use crate::signaling::message::Candidate;

/// The host's hold on one branch. Every call returns at once; GStreamer is waited for elsewhere and
/// reports through `MediaEvent::Branch`. Dropping it closes the branch.
#[derive(Debug)]
pub struct Branch {
    // Unbounded, but fed by the roster alone, which bounds answers and candidates per viewer.
    commands: mpsc::UnboundedSender<Command>,
    /// A question for statistics is not answered yet.
    asked: Arc<AtomicBool>,
    /// As its offer says it.
    profile_level_id: String,
}

/// What a viewer sees until the first keyframe of another rendition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The one before goes on.
    Seamless,
    /// Nothing new: the one before is too much for its connection, and would only be in the way.
    AtOnce,
}

#[derive(Debug)]
enum Command {
    /// From the branch's own `webrtcbin`: it is time for the offer.
    Negotiate,
    SetAnswer(String),
    AddCandidate(Option<Candidate>),
    Show(Rendition, Change),
    Thin(Option<u32>),
    Pace(Option<u32>),
    Probe(Option<u32>),
    /// From the branch's own `webrtcbin`, in order with the rest.
    Follow(WebRTCPeerConnectionState),
    Tell(Question),
    /// From the branch's own `webrtcbin`, too: its sockets are all there.
    Gathered,
    Close,
}

/// Somebody who wants to know the branch's statistics.
#[derive(Debug)]
struct Question {
    answer: oneshot::Sender<BranchStatistics>,
    asked: Open,
}

/// Says that the question is no longer open, answered or not.
#[derive(Debug)]
struct Open(Arc<AtomicBool>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl Branch {
    pub(super) fn open(
        id: BranchId,
        certificate: Certificate,
        feed: Feed,
        events: mpsc::UnboundedSender<MediaEvent>,
    ) -> Self {
        let (commands, requests) = mpsc::unbounded_channel();
        let reporter = Reporter {
            id,
            events,
            commands: commands.downgrade(),
        };
        let profile_level_id = feed.profile_level_id.clone();
        tokio::spawn(live(id, certificate, feed, requests, reporter));
        Self {
            commands,
            asked: Arc::default(),
            profile_level_id,
        }
    }

    /// Whether its offer says this H.264 profile. The level may be another one: no decoder minds.
    pub fn offers(&self, profile_level_id: &str) -> bool {
        h264::profile(&self.profile_level_id) == h264::profile(profile_level_id)
    }

    /// Takes an answer that `sdp::check_answer` has passed.
    pub fn set_answer(&self, sdp: String) {
        let _ = self.commands.send(Command::SetAnswer(sdp));
    }

    /// A viewer's candidate, after its answer; `None` ends them.
    pub fn add_candidate(&self, candidate: Option<Candidate>) {
        let _ = self.commands.send(Command::AddCandidate(candidate));
    }

    /// Shows this rendition from its next keyframe on.
    pub fn show(&self, rendition: Rendition, change: Change) {
        let _ = self.commands.send(Command::Show(rendition, change));
    }

    /// Sends no more than so many bit/s of pictures, and leaves out whole groups of them for that; `None` ends it.
    pub fn thin(&self, bitrate: Option<u32>) {
        let _ = self.commands.send(Command::Thin(bitrate));
    }

    /// Lets each picture's packets follow each other at so many bit/s; `None`: as they come.
    pub fn pace(&self, bitrate: Option<u32>) {
        let _ = self.commands.send(Command::Pace(bitrate));
    }

    /// Sends so many bit/s beside the picture, to see whether they come through; `None` ends it.
    pub fn probe(&self, bitrate: Option<u32>) {
        let _ = self.commands.send(Command::Probe(bitrate));
    }

    /// Asks `webrtcbin` for its statistics. The answer comes once it has done what it was asked before; from one
    /// that hangs it never comes, and nothing is asked of it again meanwhile (`None`).
    pub fn statistics(&self) -> Option<oneshot::Receiver<BranchStatistics>> {
        if self.asked.swap(true, Ordering::Relaxed) {
            return None;
        }
        let (answer, answered) = oneshot::channel();
        let asked = Open(self.asked.clone());
        let _ = self
            .commands
            .send(Command::Tell(Question { answer, asked }));
        Some(answered)
    }

    /// Takes the branch down; `BranchEvent::Closed` follows.
    pub fn close(&self) {
        let _ = self.commands.send(Command::Close);
    }
}

/// Carries what happens to one branch to the host and to the branch's own task.
#[derive(Debug, Clone)]
struct Reporter {
    id: BranchId,
    events: mpsc::UnboundedSender<MediaEvent>,
    /// Weak: the task ends when the host lets go of the branch.
    commands: mpsc::WeakUnboundedSender<Command>,
}

impl Reporter {
    fn send(&self, event: BranchEvent) {
        let _ = self.events.send(MediaEvent::Branch {
            branch: self.id,
            event,
        });
    }

    fn to_branch(&self, command: Command) {
        if let Some(commands) = self.commands.upgrade() {
            let _ = commands.send(command);
        }
    }
}

/// A branch from its opening to its end.
async fn live(
    id: BranchId,
    certificate: Certificate,
    feed: Feed,
    mut requests: mpsc::UnboundedReceiver<Command>,
    reporter: Reporter,
) {
    let opening = reporter.clone();
    let opened = async {
        // Before anything wants a thread: there may be none.
        let place = room::place().map_err(|why| BranchEvent::Exhausted { why })?;
        // Before there is a thread of the branches': a file system that hangs must not take those.
        let servers = feed.ice.fresh().await.map_err(|error| BranchEvent::Error {
            why: error.to_string(),
        })?;
        let open = move || {
            Pipeline::open(id, certificate, &feed, servers, opening)
                .map(|pipeline| (pipeline, place))
                .map_err(|why| BranchEvent::Error { why })
        };
        on_branch_thread(open).await
    };
    match opened.await {
        Err(event) => {
            reporter.send(event);
            while !matches!(requests.recv().await, None | Some(Command::Close)) {}
        }
        Ok((mut pipeline, place)) => {
            let mut place = Some(place);
            while let Some(command) = requests.recv().await
                && !matches!(command, Command::Close)
            {
                if matches!(command, Command::Gathered) {
                    drop(place.take());
                    continue;
                }
                let reporter = reporter.clone();
                pipeline = on_branch_thread(move || {
                    pipeline.carry_out(command, reporter);
                    pipeline
                })
                .await;
            }
            on_branch_thread(move || pipeline.close()).await;
        }
    }
    reporter.send(BranchEvent::Closed);
}

#[derive(Debug)]
struct Pipeline {
    pipeline: gst::Pipeline,
    webrtcbin: gst::Element,
    gate: Gate,
    /// Of the picture.
    ssrc: u32,
    pace: Pace,
    meter: Meter,
    prober: Prober,
    retransmissions: Retransmissions,
    /// What the viewer says of numbered packets.
    arrivals: Arc<Mutex<Arrivals>>,
    /// Of the certificate that it was given.
    fingerprint: Option<String>,
    offered: bool,
    answer: Option<String>,
    /// RTCP of the viewer is being reported.
    listens: bool,
    /// The most packets that the viewer has said it missed.
    lost: Arc<AtomicU64>,
    /// What `webrtcbin`'s own thread was asked and has not done yet.
    work: Work,
}

impl Pipeline {
    fn open(
        id: BranchId,
        certificate: Certificate,
        feed: &Feed,
        servers: Vec<IceUri>,
        reporter: Reporter,
    ) -> Result<Self, String> {
        let pipeline = gst::Pipeline::with_name(&format!("branch-{}", id.0));
        feed.time.rule(&pipeline);
        watch_bus(&pipeline, reporter.clone());

        let webrtcbin = make("webrtcbin")?;
        webrtcbin.set_property_from_str("bundle-policy", "max-bundle");
        configure_ice(&webrtcbin, servers, feed.keyframe_wanted.clone(), &reporter)?;
        let identity = match certificate {
            Certificate::First => None,
            Certificate::Second => Some(certificate::second().map_err(|error| error.to_string())?),
        };
        if let Some(identity) = identity {
            show_certificate(&webrtcbin, identity.pem.clone())?;
        }
        add(&pipeline, &webrtcbin)?;

        let video = Track::video(&feed.profile_level_id)?;
        let retransmissions = Retransmissions::bound(&webrtcbin, video.ssrc)?;
        let prober = Prober::attach(&webrtcbin, video.ssrc, video.meter.clone())?;
        let arrivals = number_packets(&webrtcbin)?;
        let reports = reporter.clone();
        video.on_first_packet(move || reports.send(BranchEvent::FirstFrame));
        let audio = feed.audio.as_ref().map(|_| Track::audio()).transpose()?;
        let tracks = || std::iter::once(&video).chain(&audio);
        for track in tracks() {
            track.join(&pipeline, &webrtcbin)?;
        }
        let gate = Gate::closed(feed, &video, audio.as_ref());

        let opened = Self {
            pipeline,
            webrtcbin,
            gate,
            ssrc: video.ssrc,
            pace: video.pace.clone(),
            meter: video.meter.clone(),
            prober,
            retransmissions,
            arrivals,
            fingerprint: identity.map(|own| own.fingerprint.clone()),
            offered: false,
            answer: None,
            listens: false,
            lost: Arc::default(),
            work: Work::default(),
        };
        opened.connect(reporter);
        if let Err(error) = opened.pipeline.set_state(gst::State::Playing) {
            opened.close();
            return Err(format!("the branch does not start: {error}"));
        }
        Ok(opened)
    }

    /// Translates `webrtcbin`'s signals to events.
    fn connect(&self, reporter: Reporter) {
        let reports = reporter.clone();
        self.webrtcbin
            .connect("on-negotiation-needed", false, move |_| {
                reports.to_branch(Command::Negotiate);
                None
            });

        let reports = reporter.clone();
        self.webrtcbin
            .connect("on-ice-candidate", false, move |values| {
                if let (Ok(mline), Ok(candidate)) =
                    (values[1].get::<u32>(), values[2].get::<String>())
                    && !candidate.is_empty()
                {
                    reports.send(BranchEvent::Candidate(Some(Candidate {
                        candidate,
                        sdp_mid: None,
                        sdp_mline_index: u16::try_from(mline).ok(),
                        username_fragment: None,
                    })));
                }
                None
            });

        let reports = reporter.clone();
        self.webrtcbin
            .connect_notify(Some("ice-gathering-state"), move |webrtcbin, _| {
                if webrtcbin.property::<WebRTCICEGatheringState>("ice-gathering-state")
                    == WebRTCICEGatheringState::Complete
                {
                    reports.send(BranchEvent::Candidate(None));
                    reports.to_branch(Command::Gathered);
                }
            });

        self.webrtcbin
            .connect_notify(Some("connection-state"), move |webrtcbin, _| {
                let state = webrtcbin.property("connection-state");
                reporter.to_branch(Command::Follow(state));
            });
    }

    fn carry_out(&mut self, command: Command, reporter: Reporter) {
        match command {
            Command::Negotiate => self.negotiate(reporter),
            Command::SetAnswer(sdp) => self.set_answer(sdp, reporter),
            Command::AddCandidate(Some(candidate)) => self.add_candidate(&candidate),
            Command::Show(rendition, change) => {
                self.gate.show(rendition, change);
                if change == Change::AtOnce {
                    self.forget();
                }
            }
            Command::Thin(bitrate) => self.gate.thin(bitrate),
            Command::Pace(bitrate) => {
                self.pace.set(bitrate);
                if bitrate.is_some() {
                    self.arrivals().begin();
                }
            }
            Command::Probe(bitrate) => self.prober.set(bitrate),
            Command::Follow(state) => {
                if let Some(event) = self.follow(state) {
                    if event == BranchEvent::Connected
                        && !std::mem::replace(&mut self.listens, true)
                    {
                        listen_for_rtcp(
                            &self.webrtcbin,
                            self.ssrc,
                            self.meter.clone(),
                            self.prober.clone(),
                            self.retransmissions.clone(),
                            self.arrivals.clone(),
                            reporter.clone(),
                        );
                    }
                    reporter.send(event);
                }
            }
            Command::Tell(question) => self.tell(question),
            // 1.22 cannot be told the end of one side's candidates; the connecting deadline stands.
            Command::AddCandidate(None) | Command::Gathered | Command::Close => {}
        }
    }

    /// What has been sent so far is of no use to the viewer any more.
    fn forget(&self) {
        let now = Instant::now();
        self.retransmissions.forget(now);
        self.arrivals().forget(now);
    }

    fn arrivals(&self) -> MutexGuard<'_, Arrivals> {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Only now, with the state change behind it: the offer makes the transport, and where the two cross, `dtlsdec` has
    /// begun before it is given its certificate. 1.22 then listens to a connection that is no longer there, and the
    /// handshake ends with "certificate verify failed". Seen with rebuilt viewers on a busy machine.
    fn negotiate(&mut self, reporter: Reporter) {
        // It may be asked for again for the same need; a viewer's page takes one offer only.
        if !std::mem::replace(&mut self.offered, true) {
            let fingerprint = self.fingerprint.clone();
            create_offer(&self.webrtcbin, reporter, &self.work, fingerprint);
        }
    }

    fn set_answer(&mut self, sdp: String, reporter: Reporter) {
        let Ok(message) = gst_sdp::SDPMessage::parse_buffer(sdp.as_bytes()) else {
            return reporter.send(BranchEvent::AnswerRejected {
                why: "it does not parse".into(),
            });
        };
        let answer = WebRTCSessionDescription::new(WebRTCSDPType::Answer, message);
        let asked = self.work.begin();
        let promise = gst::Promise::with_change_func(move |reply| {
            if let Some(why) = fault(reply) {
                reporter.send(BranchEvent::AnswerRejected { why });
            }
            drop(asked);
        });
        self.webrtcbin
            .emit_by_name::<()>("set-remote-description", &[&answer, &promise]);
        self.answer = Some(sdp);
    }

    /// What a change of the connection means; with the first one that is up, media flows.
    fn follow(&mut self, state: WebRTCPeerConnectionState) -> Option<BranchEvent> {
        match state {
            WebRTCPeerConnectionState::Connected => Some(self.let_media_flow()),
            WebRTCPeerConnectionState::Disconnected => Some(BranchEvent::Disconnected),
            WebRTCPeerConnectionState::Failed => Some(BranchEvent::Failed),
            WebRTCPeerConnectionState::Closed => Some(BranchEvent::HungUp),
            _ => None,
        }
    }

    /// Opens the gate for the viewer that answered, and for nobody else.
    fn let_media_flow(&mut self) -> BranchEvent {
        let vouched_for = self
            .remote_certificate()
            .zip(self.answer.as_deref())
            .is_some_and(|(certificate, answer)| certificate::is_vouched_for(&certificate, answer));
        if !vouched_for {
            return BranchEvent::AnswerRejected {
                why: "the viewer's DTLS certificate is not the one that its answer names".into(),
            };
        }
        self.gate.open();
        BranchEvent::Connected
    }

    /// PEM; all m-lines are bundled, so the first has the only one.
    fn remote_certificate(&self) -> Option<String> {
        self.webrtcbin
            .emit_by_name::<Option<WebRTCRTPTransceiver>>("get-transceiver", &[&0i32])?
            .sender()?
            .transport()?
            .property("remote-certificate")
    }

    fn add_candidate(&self, candidate: &Candidate) {
        // All m-lines are bundled into the first, whatever a candidate says of itself.
        self.webrtcbin
            .emit_by_name::<()>("add-ice-candidate", &[&0u32, &candidate.candidate]);
    }

    fn tell(&self, question: Question) {
        let lost = self.lost.clone();
        let promise = gst::Promise::with_change_func(move |reply| {
            let Question { answer, asked } = question;
            if let Ok(Some(reply)) = reply {
                let _ = answer.send(BranchStatistics::read(reply).losing_no_less(&lost));
            }
            drop(asked);
        });
        self.webrtcbin
            .emit_by_name::<()>("get-stats", &[&None::<gst::Pad>, &promise]);
    }

    /// Blocks until every thread of the branch has ended.
    fn close(self) {
        drop(self.gate);
        self.work.finish();
        let _ = self.pipeline.set_state(gst::State::Null);
        if let Some(bus) = self.pipeline.bus() {
            bus.unset_sync_handler();
        }
    }
}

/// The offer is reported before it becomes the local description, because gathering starts with
/// that: no candidate can overtake it. But it is put in line for that before it is reported: a quick
/// viewer's answer would otherwise stand before it and fail with "not in the correct state".
fn create_offer(
    webrtcbin: &gst::Element,
    reporter: Reporter,
    work: &Work,
    fingerprint: Option<String>,
) {
    let weak = webrtcbin.downgrade();
    let asked = work.begin();
    let promise = gst::Promise::with_change_func(move |reply| {
        let Some(webrtcbin) = weak.upgrade() else {
            return;
        };
        let offer = match reply {
            Ok(Some(reply)) => reply.get::<WebRTCSessionDescription>("offer").ok(),
            _ => None,
        };
        let Some(offer) = offer else {
            let why = fault(reply).unwrap_or_else(|| "no reason given".into());
            return reporter.send(BranchEvent::Error {
                why: format!("webrtcbin makes no offer: {why}"),
            });
        };
        match offer.sdp().as_text() {
            Ok(text) => {
                let sdp = offer::for_viewers(&text, fingerprint.as_deref());
                // Only asked for here: it is carried out by this very thread, after the report.
                let applied = gst::Promise::with_change_func(move |_| drop(asked));
                webrtcbin.emit_by_name::<()>("set-local-description", &[&offer, &applied]);
                reporter.send(BranchEvent::Offer { sdp });
            }
            Err(error) => reporter.send(BranchEvent::Error {
                why: format!("webrtcbin's offer is no SDP: {error}"),
            }),
        }
    });
    webrtcbin.emit_by_name::<()>("create-offer", &[&None::<gst::Structure>, &promise]);
}

/// What a promise's reply complains of, if it does.
fn fault(reply: Result<Option<&gst::StructureRef>, gst::PromiseError>) -> Option<String> {
    match reply {
        Ok(None) => None,
        Ok(Some(reply)) => reply
            .get::<glib::Error>("error")
            .ok()
            .map(|error| error.to_string()),
        Err(error) => Some(format!("webrtcbin let it go: {error:?}")),
    }
}

fn watch_bus(pipeline: &gst::Pipeline, reporter: Reporter) {
    bus::watch(pipeline, move |verdict| match verdict {
        bus::Verdict::Failed { why, .. } => reporter.send(BranchEvent::Error { why }),
        bus::Verdict::Warned { why } => {
            tracing::debug!(branch = reporter.id.0, why, "branch warning");
        }
    });
}

fn make(factory: &str) -> Result<gst::Element, String> {
    gst::ElementFactory::make(factory)
        .build()
        .map_err(|error| error.to_string())
}

fn add(pipeline: &gst::Pipeline, element: &gst::Element) -> Result<(), String> {
    pipeline.add(element).map_err(|error| error.to_string())
}
