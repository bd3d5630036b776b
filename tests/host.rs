//! The host on real parts: a camera, its branches, and viewers that are `webrtcbin`s of their own.
//! The test sits at the line's other end.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use gst::prelude::*;
use gst_webrtc::{WebRTCSDPType, WebRTCSessionDescription};
use perch::{
    config::{Idle, Viewers},
    host::{
        self, HostError, HostStatus, Links, adaptation::Rates, end::End, roster::SparePlan,
        snapshot::HostSnapshot,
    },
    media::{
        MediaEvent, Rendition,
        camera::{Camera, CameraSettings, status::CameraState},
        profile::{LaunchText, ProfileError},
        sdp::CandidatePolicy,
        statistics::{BranchStatistics, NetworkPath},
    },
    network::Network,
    signaling::{
        client::{LineCommand, LineEvent},
        message::{Candidate, Incoming, Outgoing, Refusal, StreamId, ViewerId},
    },
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
    time::{sleep, timeout},
};

const PATIENCE: Duration = Duration::from_secs(30);

const RATES: Rates = Rates {
    first: (600_000, 2_000_000),
    second: None,
};

fn launch() -> LaunchText {
    LaunchText {
        video: "videotestsrc is-live=true ! video/x-raw,format=I420,width=320,height=180,framerate=30/1 \
                ! x264enc tune=zerolatency speed-preset=ultrafast bframes=0 key-int-max=900 bitrate=500 \
                  min-force-key-unit-interval=250000000 \
                ! video/x-h264,profile=constrained-baseline"
            .into(),
        audio: Some("audiotestsrc is-live=true ! audioconvert ! opusenc".into()),
        ..Default::default()
    }
}

/// A running host and the test's ends of its links.
struct Stage {
    camera: Camera,
    line_events: mpsc::Sender<LineEvent>,
    commands: mpsc::Receiver<LineCommand>,
    media: mpsc::UnboundedSender<MediaEvent>,
    status: watch::Receiver<HostStatus>,
    ask: mpsc::Sender<oneshot::Sender<HostSnapshot>>,
    shutdown: oneshot::Sender<()>,
    host: JoinHandle<Result<(), HostError>>,
}

impl Stage {
    async fn set(max_viewers: usize) -> Self {
        Self::with(max_viewers, CameraSettings::fixed(launch())).await
    }

    async fn with(max_viewers: usize, settings: CameraSettings) -> Self {
        gst::init().expect("GStreamer starts");
        // Shown where a test fails: RUST_LOG=perch=debug.
        let _ = tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
            .with_test_writer()
            .try_init();
        let (media, media_events) = mpsc::unbounded_channel();
        let camera = Camera::open(settings, media.clone())
            .await
            .expect("the test picture runs");
        let (line, commands) = mpsc::channel(8);
        let (line_events, heard) = mpsc::channel(8);
        let (status, shown) = watch::channel(HostStatus::default());
        let (ask, questions) = mpsc::channel(1);
        let (shutdown, asked) = oneshot::channel::<()>();
        let links = Links {
            camera: camera.clone(),
            media_events,
            line,
            line_events: heard,
            status,
            questions,
            watchdog: None,
            network: watch::channel(Network::default()).1,
        };
        let host = tokio::spawn(async move {
            let viewers = Viewers {
                max: max_viewers,
                spare: 0,
                candidates: CandidatePolicy::Any,
            };
            host::run(&viewers, SparePlan::default(), RATES, links, async {
                let _ = asked.await;
            })
            .await
        });
        let stage = Self {
            camera,
            line_events,
            commands,
            media,
            status: shown,
            ask,
            shutdown,
            host,
        };
        stage.live("s1").await;
        stage
    }

    async fn live(&self, stream: &str) {
        let stream_id = StreamId::new(stream);
        self.event(LineEvent::Live { stream_id }).await;
    }

    async fn event(&self, event: LineEvent) {
        self.line_events.send(event).await.expect("the host runs");
    }

    async fn hear(&self, message: Incoming) {
        self.event(LineEvent::Message(message)).await;
    }

    async fn join(&self, viewer: &str) {
        let (stream_id, viewer) = (StreamId::new("s1"), ViewerId::new(viewer));
        self.hear(Incoming::ViewerJoin { stream_id, viewer }).await;
    }

    /// What the host says next.
    async fn said(&mut self) -> Outgoing {
        match timeout(PATIENCE, self.commands.recv()).await {
            Ok(Some(LineCommand::Send(message))) => message,
            other => panic!("the host should say something, not {other:?}"),
        }
    }

    /// The next offer; candidates before it are those of others.
    async fn offer(&mut self) -> String {
        loop {
            if let Outgoing::Offer { sdp, .. } = self.said().await {
                return sdp;
            }
        }
    }

    async fn until(&mut self, what: &str, reached: impl FnMut(&HostStatus) -> bool) {
        let waited = timeout(PATIENCE, self.status.wait_for(reached)).await;
        assert!(waited.is_ok_and(|found| found.is_ok()), "{what}");
    }

    async fn snapshot(&self) -> HostSnapshot {
        let (answer, answered) = oneshot::channel();
        self.ask.send(answer).await.expect("the host runs");
        let snapshot = timeout(PATIENCE, answered).await;
        snapshot.expect("in time").expect("the host answers")
    }

    /// Joins a viewer and relays until it has received frames.
    async fn watch(&mut self, name: &str) -> Viewer {
        self.join(name).await;
        let mut viewer = Viewer::new();
        let answer = viewer.answer(&self.offer().await).await;
        let (stream_id, from) = (StreamId::new("s1"), ViewerId::new(name));
        self.hear(Incoming::Answer {
            stream_id: stream_id.clone(),
            from: from.clone(),
            sdp: answer,
        })
        .await;
        let relay = async {
            while viewer.frames() < 10 {
                tokio::select! {
                    said = self.said() => {
                        if let Outgoing::Candidate { candidate: Some(candidate), .. } = said {
                            viewer.add(&candidate);
                        }
                    }
                    Some(candidate) = viewer.candidates.recv() => {
                        let (stream_id, from) = (stream_id.clone(), from.clone());
                        self.hear(Incoming::Candidate { stream_id, from, candidate: Some(candidate) }).await;
                    }
                    () = sleep(Duration::from_millis(20)) => {}
                }
            }
        };
        assert!(timeout(PATIENCE, relay).await.is_ok(), "frames should come");
        viewer
    }

    /// Ends the stage as the line does, and says whether the host ended well.
    async fn end(mut self) -> Result<(), HostError> {
        let _ = self.shutdown.send(());
        while !matches!(
            timeout(PATIENCE, self.commands.recv())
                .await
                .expect("the line is asked to close"),
            Some(LineCommand::Close) | None
        ) {}
        drop(self.line_events);
        let outcome = timeout(PATIENCE, self.host).await;
        self.camera.stop().await;
        outcome.expect("the host ends").expect("without a panic")
    }
}

/// A viewer as a peer connection of GStreamer's.
struct Viewer {
    pipeline: gst::Pipeline,
    webrtcbin: gst::Element,
    candidates: mpsc::UnboundedReceiver<Candidate>,
    frames: Arc<AtomicU64>,
}

impl Viewer {
    fn new() -> Self {
        let pipeline = gst::Pipeline::new();
        let webrtcbin = gst::ElementFactory::make("webrtcbin")
            .property_from_str("bundle-policy", "max-bundle")
            .build()
            .expect("webrtcbin is installed");
        pipeline
            .add(&webrtcbin)
            .expect("an empty pipeline takes it");

        let (found, candidates) = mpsc::unbounded_channel();
        webrtcbin.connect("on-ice-candidate", false, move |values| {
            let index: u32 = values[1].get().expect("an index");
            let _ = found.send(Candidate {
                candidate: values[2].get().expect("a text"),
                sdp_mid: None,
                sdp_mline_index: Some(index.try_into().expect("a small index")),
                username_fragment: None,
            });
            None
        });
        let frames = Arc::new(AtomicU64::new(0));
        let (counter, bin) = (frames.clone(), pipeline.clone());
        webrtcbin.connect_pad_added(move |_, pad| {
            if pad.direction() == gst::PadDirection::Src {
                count_frames(&bin, pad, counter.clone());
            }
        });
        pipeline
            .set_state(gst::State::Playing)
            .expect("an idle viewer starts");
        Self {
            pipeline,
            webrtcbin,
            candidates,
            frames,
        }
    }

    async fn answer(&mut self, offer: &str) -> String {
        let sdp = gst_sdp::SDPMessage::parse_buffer(offer.as_bytes()).expect("an offer");
        let offer = WebRTCSessionDescription::new(WebRTCSDPType::Offer, sdp);
        self.ask("set-remote-description", Some(&offer)).await;
        let reply = self.ask("create-answer", None).await;
        let answer = reply
            .value("answer")
            .expect("an answer")
            .get::<WebRTCSessionDescription>()
            .expect("a description");
        self.ask("set-local-description", Some(&answer)).await;
        answer.sdp().as_text().expect("text")
    }

    async fn ask(&self, signal: &str, about: Option<&WebRTCSessionDescription>) -> gst::Structure {
        let (tell, told) = oneshot::channel();
        let promise = gst::Promise::with_change_func(move |reply| {
            let reply = reply.ok().flatten().map(|reply| reply.to_owned());
            let _ = tell.send(reply);
        });
        match about {
            Some(about) => self
                .webrtcbin
                .emit_by_name::<()>(signal, &[about, &promise]),
            None => self
                .webrtcbin
                .emit_by_name::<()>(signal, &[&None::<gst::Structure>, &promise]),
        }
        let reply = timeout(PATIENCE, told).await.expect("in time");
        let reply = reply.expect("webrtcbin replies");
        reply.unwrap_or_else(|| gst::Structure::new_empty("nothing"))
    }

    fn add(&self, candidate: &Candidate) {
        let index = u32::from(candidate.sdp_mline_index.expect("the host gives an index"));
        self.webrtcbin
            .emit_by_name::<()>("add-ice-candidate", &[&index, &candidate.candidate]);
    }

    fn frames(&self) -> u64 {
        self.frames.load(Ordering::Relaxed)
    }

    async fn sees_more(&self, why: &str) {
        let before = self.frames();
        let more = async {
            while self.frames() < before + 10 {
                sleep(Duration::from_millis(20)).await;
            }
        };
        assert!(timeout(PATIENCE, more).await.is_ok(), "{why}");
    }

    fn leave(&self) {
        self.pipeline
            .set_state(gst::State::Null)
            .expect("a viewer can always go");
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Counts the ends of video frames: RTP packets with the marker bit.
fn count_frames(bin: &gst::Pipeline, pad: &gst::Pad, counter: Arc<AtomicU64>) {
    let sink = gst::ElementFactory::make("fakesink")
        .property("sync", false)
        .build()
        .expect("fakesink is installed");
    bin.add(&sink).expect("it is new");
    sink.sync_state_with_parent().expect("it starts");
    let sink_pad = sink.static_pad("sink").expect("a sink has one");
    sink_pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        let media = |caps: gst::Caps| caps.structure(0)?.get::<String>("media").ok();
        let is_video = pad.current_caps().and_then(media).as_deref() == Some("video");
        // RFC 3550 §5.1: the marker is the second byte's highest bit.
        let ends_frame = |buffer: &gst::Buffer| {
            let packet = buffer.map_readable();
            packet.is_ok_and(|packet| packet.get(1).is_some_and(|byte| byte & 0x80 != 0))
        };
        if is_video && info.buffer().is_some_and(ends_frame) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        gst::PadProbeReturn::Ok
    });
    pad.link(&sink_pad).expect("a fakesink takes everything");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_viewer_keeps_its_picture_whatever_others_do() {
    let mut stage = Stage::set(2).await;
    let good = stage.watch("good").await;

    // A second viewer whose answer is broken: it ends, alone.
    stage.join("bad").await;
    stage.offer().await;
    stage
        .until("both hold a place", |status| status.viewers == 2)
        .await;

    // Meanwhile the host is full.
    stage.join("third").await;
    let refused = loop {
        if let Outgoing::ViewerRefused { to, reason, .. } = stage.said().await {
            break (to, reason);
        }
    };
    assert_eq!(refused, (ViewerId::new("third"), Refusal::Full { max: 2 }));

    for (from, sdp) in [
        ("stranger", "v=0"),
        ("bad", "v=0\r\na=recvonly\r\na=sendonly\r\n"),
    ] {
        stage
            .hear(Incoming::Answer {
                stream_id: StreamId::new("s1"),
                from: ViewerId::new(from),
                sdp: sdp.to_owned(),
            })
            .await;
    }
    stage
        .until("the broken one ends", |status| status.viewers == 1)
        .await;
    good.sees_more("a broken answer is its viewer's affair")
        .await;

    // The line goes and comes back under another stream id.
    let why = "test".to_owned();
    stage.event(LineEvent::Lost { why }).await;
    stage
        .until("the line is down", |status| !status.line_up)
        .await;
    good.sees_more("media does not need the line").await;
    stage.live("s2").await;
    stage
        .until("live again", |status| {
            status.stream_id == Some(StreamId::new("s2"))
        })
        .await;
    good.sees_more("the former stream's viewers stay").await;

    // It leaves the stream that it had joined.
    stage
        .hear(Incoming::ViewerLeft {
            stream_id: StreamId::new("s1"),
            viewer: ViewerId::new("good"),
        })
        .await;
    stage
        .until("it frees its place", |status| status.viewers == 0)
        .await;
    stage.end().await.expect("a clean end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_is_told_before_the_branches_close() {
    let mut stage = Stage::set(3).await;
    let viewer = stage.watch("v").await;
    stage.join("w").await;
    stage.offer().await;

    let _ = stage.shutdown.send(());
    // Until the line has closed, and for no longer than the host grants it, the picture goes on.
    while !matches!(
        timeout(PATIENCE, stage.commands.recv())
            .await
            .expect("the line is asked to close"),
        Some(LineCommand::Close)
    ) {}
    assert_eq!(stage.status.borrow().viewers, 2);
    drop(stage.line_events);
    let outcome = timeout(PATIENCE, stage.host).await.expect("the host ends");
    outcome.expect("without a panic").expect("a clean end");
    assert_eq!(stage.status.borrow().viewers, 0);
    drop(viewer);
    stage.camera.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_camera_that_fails_ends_the_host_and_names_the_camera() {
    let stage = Stage::set(1).await;
    let why = "unplugged".to_owned();
    stage
        .media
        .send(MediaEvent::Camera(perch::media::CameraEvent::Failed {
            why,
            hangs: false,
        }))
        .expect("the host runs");
    let outcome = timeout(PATIENCE, stage.host).await.expect("the host ends");
    let failed = outcome
        .expect("without a panic")
        .expect_err("the camera is gone");
    assert_eq!(failed.to_string(), "the camera failed: unplugged");
    stage.camera.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_camera_whose_task_panics_ends_the_host() {
    let mut settings = CameraSettings::fixed(launch());
    let starts = AtomicU64::new(0);
    settings.planning = Arc::new(move |_| match starts.fetch_add(1, Ordering::SeqCst) {
        0 => Err(ProfileError::NoCamera { why: String::new() }),
        _ => panic!("on purpose"),
    });
    let stage = Stage::with(1, settings).await;
    let outcome = timeout(PATIENCE, stage.host).await.expect("the host ends");
    let failed = outcome
        .expect("without a panic")
        .expect_err("nobody looks after the camera");
    assert!(matches!(failed, HostError::TaskGone("camera")), "{failed}");
}

/// To the first viewer it is a camera like another: nothing is lost, and nobody is told so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_camera_that_is_off_starts_with_the_first_join_and_without_a_word_to_the_lobby() {
    let mut settings = CameraSettings::fixed(launch());
    settings.idle = Idle::CameraOff;
    let mut stage = Stage::with(2, settings).await;
    let mut camera = stage.camera.status();
    let is_off = matches!(camera.borrow().state, CameraState::Idle { .. });
    assert!(is_off, "{:?}", *camera.borrow());
    stage.join("v").await;
    // Before anything was answered.
    let live = camera.wait_for(|status| status.state == CameraState::Live);
    let waited = timeout(PATIENCE, live).await;
    assert!(waited.is_ok_and(|found| found.is_ok()), "it starts");
    let mut offered = false;
    while !offered {
        let message = stage.said().await;
        offered = matches!(message, Outgoing::Offer { .. });
        assert!(!matches!(message, Outgoing::Camera { .. }), "{message:?}");
    }
    let _viewer = stage.watch("w").await;
    stage.end().await.expect("the host ends well");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_that_ends_by_itself_ends_the_host() {
    let stage = Stage::set(1).await;
    drop((stage.line_events, stage.commands));
    let outcome = timeout(PATIENCE, stage.host).await.expect("the host ends");
    let failed = outcome
        .expect("without a panic")
        .expect_err("the line is gone");
    assert!(matches!(failed, HostError::TaskGone("line")), "{failed}");
    stage.camera.stop().await;
}

/// The figures of the one viewer that is live, once its branch has any.
async fn figures(stage: &Stage) -> BranchStatistics {
    let told = async {
        loop {
            let mut snapshot = stage.snapshot().await;
            let statistics = snapshot.viewers[0].statistics.take();
            let statistics = statistics.expect("nobody else asks");
            let figures = statistics.await.expect("an open branch answers");
            // The first report of the receiver comes after some seconds (RFC 3550 §6.2).
            if figures.round_trip.is_some() {
                return figures;
            }
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(PATIENCE, told).await.expect("a report comes")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_is_told_who_watches_and_how_well() {
    let mut stage = Stage::set(2).await;
    let viewer = stage.watch("v").await;
    let first = figures(&stage).await;
    assert_eq!(first.path, Some(NetworkPath::Direct));
    assert!(first.sent_bytes > 0 && first.sent_packets > 0, "{first:?}");
    assert!(first.loss.is_some(), "{first:?}");
    viewer.sees_more("it watches").await;
    let later = figures(&stage).await;
    assert!(later.sent_bytes > first.sent_bytes, "{later:?} {first:?}");

    stage.join("w").await;
    stage
        .until("both hold a place", |status| status.viewers == 2)
        .await;
    let snapshot = stage.snapshot().await;
    let rows: Vec<_> = snapshot
        .viewers
        .iter()
        .map(|viewer| (viewer.number, viewer.id.to_string(), viewer.rendition))
        .collect();
    let sent = Some(Rendition::First);
    assert_eq!(rows, [(1, "v".into(), sent), (2, "w".into(), None)]);
    let states: Vec<_> = snapshot.viewers.iter().map(|it| it.state).collect();
    assert!(states[0] == "live" && states[1] != "live", "{states:?}");
    let told: Vec<_> = snapshot.bitrates.iter().map(|(sent, _)| *sent).collect();
    assert_eq!(told, [Rendition::First], "nobody needs the second");
    assert_eq!(snapshot.tally.went_live.count(), 1);
    assert_eq!(snapshot.counts.joined, 2);

    // Its number is free again, and who comes next gets it.
    let (stream_id, viewer) = (StreamId::new("s1"), ViewerId::new("v"));
    stage.hear(Incoming::ViewerLeft { stream_id, viewer }).await;
    stage.until("one left", |status| status.viewers == 1).await;
    stage.join("x").await;
    stage
        .until("both hold a place", |status| status.viewers == 2)
        .await;
    let snapshot = stage.snapshot().await;
    let rows: Vec<_> = snapshot
        .viewers
        .iter()
        .map(|viewer| (viewer.number, viewer.id.to_string()))
        .collect();
    assert_eq!(rows, [(2, "w".into()), (1, "x".into())]);
    assert_eq!(snapshot.tally.ended(End::Left), 1);
    stage.end().await.expect("a clean end");
}
