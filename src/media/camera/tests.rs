use std::{path::Path, time::Duration};

use gst::prelude::*;
use tokio::time::timeout;

use super::*;
use crate::{config::Config, media::CameraEvent};

mod idle;

const PATIENCE: Duration = Duration::from_secs(30);
/// Four times the shipped profiles' `min-force-key-unit-interval`, in frames.
const WATCHED_FRAMES: usize = 30;

fn settings() -> CameraSettings {
    let text = r#"
        camera = { profile = "test", width = 320, height = 180, framerate = 30 }
        embedded_lobby = { enabled = true }
    "#;
    let config = Config::from_text(Path::new("test.toml"), text).expect("a valid configuration");
    CameraSettings::from(&config)
}

/// A camera that is there where this file is.
fn behind(device: &Path) -> CameraSettings {
    let named = device.to_str().expect("a name").to_owned();
    CameraSettings {
        planning: Arc::new(move |_| {
            Ok(Plan {
                device: Some(named.clone()),
                ..planned(&format!("{SOURCE} ! {ENCODER}"))
            })
        }),
        ..settings()
    }
}

async fn until(camera: &Camera, reached: impl FnMut(&CameraStatus) -> bool) -> CameraStatus {
    let mut status = camera.status();
    let waited = timeout(PATIENCE, status.wait_for(reached)).await;
    waited
        .expect("in time")
        .expect("somebody looks after the camera")
        .clone()
}

fn is_live(status: &CameraStatus) -> bool {
    status.state == CameraState::Live
}

/// What comes out of the outlet: whether it is a keyframe, its timestamp, and its size if it says so.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Frame {
    key: bool,
    time: gst::ClockTime,
    profile: Option<String>,
    bytes: usize,
}

fn watch_outlet(camera: &Camera) -> mpsc::UnboundedReceiver<Frame> {
    let (sees, seen) = mpsc::unbounded_channel();
    watch(&camera.shared.video.first, move |frame| {
        let bytes = frame.map_readable().expect("memory");
        let _ = sees.send(Frame {
            key: !frame.flags().contains(gst::BufferFlags::DELTA_UNIT),
            time: frame.pts().expect("a timestamp"),
            profile: h264::profile_level_id(&bytes),
            bytes: bytes.len(),
        });
    });
    seen
}

/// Takes what a branch would be given, until the end of the test.
fn watch(outlet: &Arc<Outlet>, see: impl Fn(&gst::BufferRef) + Send + Sync + 'static) {
    let pipeline = gst::parse::launch(
        "appsrc name=source is-live=true format=time ! fakesink name=sink sync=false async=false",
    );
    let pipeline = pipeline.expect("it is built").downcast::<gst::Pipeline>();
    let pipeline = pipeline.expect("two elements make a pipeline");
    let source = pipeline.by_name("source").expect("it is there");
    let source = source.downcast::<gst_app::AppSrc>().expect("an appsrc");
    let pad = source.static_pad("src").expect("a source pad");
    let tap = outlet.tap(&Inlet::new(source.clone()));
    let running = pipeline::Running(pipeline);
    running.0.set_state(gst::State::Playing).expect("it runs");
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let _held = (&tap, &running);
        if let Some(frame) = info.buffer() {
            see(frame);
        }
        gst::PadProbeReturn::Ok
    });
}

/// Without `min-force-key-unit-interval` every request is a keyframe: a crowd that joins would
/// get the bitrate of an intra-only stream.
#[tokio::test]
async fn a_crowd_of_requests_makes_few_keyframes() {
    crate::media::init().expect("GStreamer starts");
    let (events, _reports) = mpsc::unbounded_channel();
    let camera = Camera::open(settings(), events)
        .await
        .expect("the test picture runs");
    until(&camera, is_live).await;

    let mut frames = watch_outlet(&camera);
    let mut keyframes = 0;
    for _ in 0..WATCHED_FRAMES {
        for _ in 0..5 {
            camera.shared.keyframe_wanted.notify_one();
        }
        keyframes += usize::from(frames.recv().await.expect("frames flow").key);
    }
    camera.stop().await;

    assert!(keyframes > 0, "nobody's request was heard");
    assert!(
        keyframes <= 6,
        "{keyframes} keyframes in {WATCHED_FRAMES} frames"
    );
}

fn planned(video: &str) -> Plan {
    Plan {
        profile: "of-the-test".into(),
        why: String::new(),
        device: None,
        capture: None,
        encoder: "x264".into(),
        elements: Vec::new(),
        text: crate::media::profile::LaunchText {
            video: video.into(),
            audio: None,
            ..Default::default()
        },
    }
}

const SOURCE: &str =
    "videotestsrc is-live=true ! video/x-raw,format=I420,width=320,height=180,framerate=30/1";
const ENCODER: &str = "x264enc name=encoder tune=zerolatency speed-preset=ultrafast bframes=0 key-int-max=900 \
     bitrate=500 min-force-key-unit-interval=250000000";

/// Runs `first`, which fails in some way, and then a camera that works; what came out of the outlet until frames
/// that need others had followed on the slate.
async fn fails_and_comes_back(first: String, second: String) -> (Camera, Vec<Frame>, CameraStatus) {
    crate::media::init().expect("GStreamer starts");
    let (events, mut reports) = mpsc::unbounded_channel();
    let starts = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let planning: Planning = Arc::new(move |_| {
        let number = starts.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        Ok(planned(if number == 0 { &first } else { &second }))
    });
    let settings = CameraSettings {
        planning,
        ..settings()
    };
    let camera = Camera::open(settings, events).await.expect("it is built");
    let mut seen = watch_outlet(&camera);
    let trouble = until(&camera, |status| {
        matches!(status.state, CameraState::Waiting { .. })
    })
    .await;
    until(&camera, is_live).await;
    let mut frames = Vec::new();
    let (mut slate, mut after) = (false, 0);
    while after < 30 {
        let frame = timeout(PATIENCE, seen.recv()).await.expect("frames flow");
        let frame = frame.expect("the outlet stays");
        slate |= of_slate(&frame);
        after += usize::from(slate && !frame.key);
        frames.push(frame);
    }
    assert!(reports.try_recv().is_err(), "nothing here ends the process");
    (camera, frames, trouble)
}

fn of_slate(frame: &Frame) -> bool {
    frame.key && slate::SIZES.contains(&frame.bytes)
}

fn assert_watchable(frames: &[Frame]) {
    for pair in frames.windows(2) {
        assert!(pair[0].time < pair[1].time, "time runs on: {pair:?}");
    }
    // A frame that needs another one comes only after one of its own encoder's.
    for pair in frames.windows(2) {
        assert!(
            pair[1].key || !of_slate(&pair[0]),
            "after the slate comes a keyframe: {pair:?}"
        );
    }
    let last = frames.last().expect("frames");
    assert!(!last.key, "and then the camera: {last:?}");
}

/// As on a board whose driver is there and whose firmware has crashed.
#[tokio::test]
async fn an_encoder_that_never_gives_a_picture_is_passed_over() {
    crate::media::init().expect("GStreamer starts");
    let (events, _reports) = mpsc::unbounded_channel();
    let crashed = format!("{ENCODER} ! identity error-after=1");
    let planning: Planning = Arc::new(move |avoided| {
        let is_avoided = avoided.iter().any(|encoder| encoder.name == "hard");
        let (encoder, launch) = if is_avoided {
            ("soft", ENCODER)
        } else {
            ("hard", crashed.as_str())
        };
        Ok(Plan {
            encoder: encoder.to_owned(),
            ..planned(&format!("{SOURCE} ! {launch}"))
        })
    });
    let settings = CameraSettings {
        planning,
        ..settings()
    };
    let camera = Camera::open(settings, events).await.expect("it is built");
    let status = until(&camera, is_live).await;
    assert_eq!(status.picture.expect("a picture").encoder, "soft");
    camera.stop().await;
}

#[tokio::test]
async fn a_camera_that_fails_comes_back_through_the_same_outlet() {
    let broken = format!("{SOURCE} ! identity error-after=40 ! {ENCODER}");
    let (camera, frames, trouble) =
        fails_and_comes_back(broken, format!("{SOURCE} ! {ENCODER}")).await;
    let CameraState::Waiting { fault, why, .. } = &trouble.state else {
        panic!("it waits, not {trouble:?}");
    };
    assert_eq!(*fault, status::Fault::Failed, "{why}");
    assert_eq!(trouble.restarts, 1);
    assert_watchable(&frames);
    assert_eq!(camera.counters().restarts(status::Fault::Failed), 1);
    let counters = camera.counters();
    let latency = counters
        .encoder_latency_frames
        .load(std::sync::atomic::Ordering::Relaxed);
    assert!(latency > 20, "{latency} frames were timed");
    camera.stop().await;
}

#[tokio::test]
async fn an_encoder_that_falls_silent_is_told_from_a_source_that_does() {
    let silent = "identity drop-probability=1";
    let before = format!("{SOURCE} ! {silent} ! {ENCODER}");
    let (camera, frames, trouble) =
        fails_and_comes_back(before, format!("{SOURCE} ! {ENCODER}")).await;
    let CameraState::Waiting { fault, .. } = &trouble.state else {
        panic!("it waits, not {trouble:?}");
    };
    assert_eq!(*fault, status::Fault::EncoderSilent);
    assert_watchable(&frames);
    camera.stop().await;
}

#[tokio::test]
async fn a_camera_of_another_profile_is_told_of() {
    crate::media::init().expect("GStreamer starts");
    let (events, mut reports) = mpsc::unbounded_channel();
    let encoder = ENCODER.replace("ultrafast", "superfast");
    let main = format!("{SOURCE} ! {encoder} ! video/x-h264,profile=main");
    let settings = CameraSettings {
        planning: Arc::new(move |_| Ok(planned(&main))),
        ..settings()
    };
    let camera = Camera::open(settings, events).await.expect("it is built");
    let branch = camera.open_branch(BranchId(1), Certificate::First);
    let told = loop {
        match timeout(PATIENCE, reports.recv()).await.expect("in time") {
            Some(MediaEvent::Camera(CameraEvent::Profile { profile_level_id })) => {
                break profile_level_id;
            }
            Some(_) => {}
            None => panic!("the camera is there"),
        }
    };
    assert!(told.starts_with("4d"), "{told}");
    assert!(!branch.offers(&told), "the branch was opened before");
    let second = camera.open_branch(BranchId(2), Certificate::First);
    assert!(second.offers(&told));
    let mut closed = 0;
    branch.close();
    second.close();
    while closed < 2 {
        let report = timeout(PATIENCE, reports.recv()).await.expect("in time");
        closed += usize::from(matches!(
            report,
            Some(MediaEvent::Branch {
                event: crate::media::BranchEvent::Closed,
                ..
            })
        ));
    }
    camera.stop().await;
}

#[tokio::test]
async fn a_camera_that_is_not_there_is_waited_for() {
    crate::media::init().expect("GStreamer starts");
    let directory = tempfile::tempdir_in("/dev/shm").expect("a directory");
    let device = directory.path().join("video0");
    let (events, _reports) = mpsc::unbounded_channel();
    let settings = behind(&device);
    let camera = Camera::open(settings, events).await.expect("it may come");
    let mut frames = watch_outlet(&camera);
    let status = until(&camera, |status| {
        matches!(status.state, CameraState::Waiting { .. })
    })
    .await;
    assert_eq!(status.restarts, 0, "waiting is free");
    let slate = timeout(PATIENCE, frames.recv()).await.expect("in time");
    assert!(
        slate.expect("the outlet is there").key,
        "viewers see the slate"
    );

    std::fs::write(&device, "").expect("it is plugged in");
    until(&camera, is_live).await;
    camera.stop().await;
    assert_eq!(
        camera.status().borrow().state,
        CameraState::Ended { why: None }
    );
}

/// A microphone that is unplugged takes no picture along, and comes back by itself.
#[tokio::test]
async fn sound_that_fails_is_no_fault_of_the_picture() {
    crate::media::init().expect("GStreamer starts");
    let (events, _reports) = mpsc::unbounded_channel();
    let mut plan = planned(&format!("{SOURCE} ! {ENCODER}"));
    plan.text.audio = Some(
        "audiotestsrc is-live=true samplesperbuffer=960 ! audio/x-raw,rate=48000 \
         ! identity error-after=50 ! audioconvert ! opusenc"
            .into(),
    );
    let settings = CameraSettings {
        planning: Arc::new(move |_| Ok(plan.clone())),
        sound: true,
        ..settings()
    };
    let camera = Camera::open(settings, events).await.expect("it is built");
    until(&camera, is_live).await;
    let sound = camera.shared.sound.as_ref().expect("there is sound");
    let (hears, mut heard) = mpsc::unbounded_channel();
    watch(sound, move |piece| {
        let _ = hears.send(piece.pts().expect("a timestamp"));
    });
    // One second and then the restart, twice.
    let mut last = gst::ClockTime::ZERO;
    let mut gaps = 0;
    while gaps < 2 {
        let time = timeout(PATIENCE, heard.recv()).await.expect("sound comes");
        let time = time.expect("the outlet stays");
        assert!(time >= last, "time runs on");
        gaps += usize::from(time > last + gst::ClockTime::from_mseconds(500) && !last.is_zero());
        last = time;
        assert!(is_live(&camera.status().borrow()), "the picture stays");
    }
    assert_eq!(camera.status().borrow().restarts, 0);
    camera.stop().await;
}

/// An encoder that is restarted a hundred times a day must not cost a descriptor or a thread each time.
#[tokio::test]
async fn runs_leave_no_descriptors_and_no_threads() {
    crate::media::init().expect("GStreamer starts");
    let counters = Arc::<CameraCounters>::default();
    let time = TimeBase::now();
    let outlet = Outlet::for_video(&time, Arc::default());
    let (says, mut said) = mpsc::unbounded_channel();
    let taps = Taps {
        raw: Arc::default(),
        time,
        outlet: Arc::new(outlet),
        counters,
        said: says,
    };
    let planning: Planning = Arc::new(|_| Ok(planned(&format!("{SOURCE} ! {ENCODER}"))));
    let count = |what: &str| std::fs::read_dir(format!("/proc/self/{what}")).map(Iterator::count);
    let mut before = None;
    for number in 0..20 {
        let run =
            pipeline::prepare(&planning, &BTreeSet::new(), number, &taps).expect("it is built");
        assert!(pipeline::play(&run.pipeline.0));
        let heard = timeout(PATIENCE, said.recv()).await.expect("in time");
        assert!(
            matches!(heard, Some((of, pipeline::Said::Sps(_))) if of == number),
            "{heard:?}"
        );
        let pipeline = run.pipeline.0.clone();
        pipeline::shut(&pipeline);
        let now = (count("fd").expect("Linux"), count("task").expect("Linux"));
        // What is made once is there after a few rounds; threads may still be on their way out.
        if number == 5 {
            before = Some(now);
        }
        if let Some((descriptors, threads)) = before {
            assert!(now.0 <= descriptors + 2, "{now:?} > {before:?}");
            assert!(now.1 <= threads + 6, "{now:?} > {before:?}");
        }
    }
}
