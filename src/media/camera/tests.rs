use std::{path::Path, time::Duration};

use tokio::time::timeout;

use super::*;
use crate::{config::Config, media::CameraEvent};

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
    let planning: Planning = Arc::new(move || {
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
        planning: Arc::new(move || Ok(planned(&main))),
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
    let named = device.to_str().expect("a name").to_owned();
    let planning: Planning = Arc::new(move || {
        Ok(Plan {
            device: Some(named.clone()),
            ..planned(&format!("{SOURCE} ! {ENCODER}"))
        })
    });
    let (events, _reports) = mpsc::unbounded_channel();
    let settings = CameraSettings {
        planning,
        ..settings()
    };
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

/// A file that stands for a device: whether it is open can be seen.
struct Device(std::path::PathBuf);

impl Device {
    fn new(directory: &Path, name: &str) -> Self {
        let path = directory.join(name);
        let file = std::fs::File::create(&path).expect("a file");
        // Nothing but zeros, and hours of them.
        file.set_len(1 << 34).expect("a sparse file");
        Self(path)
    }

    fn is_open(&self) -> bool {
        let entries = std::fs::read_dir("/proc/self/fd").expect("Linux");
        let mut targets = entries.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
        targets.any(|target| target == self.0)
    }
}

/// Looks again and again: what is waited for does not tell of itself.
async fn see(what: &str, mut seen: impl FnMut() -> bool) {
    let looks = async {
        let mut soon = tokio::time::interval(Duration::from_millis(20));
        while !seen() {
            soon.tick().await;
        }
    };
    let waited = timeout(PATIENCE, looks).await;
    waited.unwrap_or_else(|_| panic!("{what}: not in time"));
}

fn is_idle(status: &CameraStatus) -> bool {
    matches!(status.state, CameraState::Idle { .. })
}

/// The promise to those in front of it.
#[tokio::test]
async fn a_camera_that_is_off_is_closed_until_somebody_watches_and_its_microphone_too() {
    crate::media::init().expect("GStreamer starts");
    let directory = tempfile::tempdir().expect("a directory");
    let device = Device::new(directory.path(), "camera");
    let microphone = Device::new(directory.path(), "microphone");
    let mut plan = planned(&format!(
        "filesrc location={} ! rawvideoparse width=320 height=180 format=i420 framerate=30/1 ! identity sync=true \
         ! {ENCODER}",
        device.0.display()
    ));
    plan.text.audio = Some(format!(
        "filesrc location={} ! rawaudioparse pcm-format=s16le sample-rate=48000 num-channels=2 ! identity sync=true \
         ! opusenc",
        microphone.0.display()
    ));
    let starts = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let started = starts.clone();
    let (events, mut reports) = mpsc::unbounded_channel();
    let settings = CameraSettings {
        planning: Arc::new(move || {
            started.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            Ok(plan.clone())
        }),
        idle: Idle::CameraOff,
        sound: true,
        ..settings()
    };
    let camera = Camera::open(settings, events).await.expect("it may start");
    let status = camera.status().borrow().clone();
    let off = status::Off::Camera;
    assert_eq!(
        (status.state, status.slate),
        (CameraState::Idle { off }, false)
    );
    let mut frames = watch_outlet(&camera);
    for _ in 0..2 {
        let before = starts.load(std::sync::atomic::Ordering::SeqCst);
        let encoded = camera
            .counters()
            .encoded_frames
            .load(std::sync::atomic::Ordering::SeqCst);
        assert!(!device.is_open() && !microphone.is_open());

        camera.want(true);
        until(&camera, is_live).await;
        let first = timeout(PATIENCE, frames.recv()).await.expect("in time");
        let first = first.expect("the outlet stays");
        assert!(first.key && !of_slate(&first), "{first:?}");
        assert!(device.is_open());
        see("the microphone is opened", || microphone.is_open()).await;

        camera.want(false);
        until(&camera, is_idle).await;
        assert!(!device.is_open(), "idle is closed");
        see("the microphone is closed", || !microphone.is_open()).await;
        while frames.try_recv().is_ok() {}
        assert_eq!(starts.load(std::sync::atomic::Ordering::SeqCst), before + 1);
        let now = camera
            .counters()
            .encoded_frames
            .load(std::sync::atomic::Ordering::SeqCst);
        assert!(now > encoded);
    }
    camera.stop().await;
    assert!(!device.is_open());
    assert!(reports.try_recv().is_err(), "none of this is a fault");
}

#[tokio::test]
async fn a_profile_that_does_not_exist_is_known_without_a_camera() {
    crate::media::init().expect("GStreamer starts");
    let text = r#"
        camera = { profile = "no-such", idle = "camera-off" }
        embedded_lobby = { enabled = true }
    "#;
    let config = Config::from_text(Path::new("test.toml"), text).expect("well-formed");
    let (events, _reports) = mpsc::unbounded_channel();
    let error = Camera::open(CameraSettings::from(&config), events).await;
    let error = error.expect_err("it never could start").to_string();
    assert!(error.contains("no-such"), "{error}");
}

#[tokio::test]
async fn a_camera_that_is_missing_when_the_first_viewer_comes_is_waited_for() {
    crate::media::init().expect("GStreamer starts");
    let directory = tempfile::tempdir_in("/dev/shm").expect("a directory");
    let device = directory.path().join("video0");
    let named = device.to_str().expect("a name").to_owned();
    let (events, _reports) = mpsc::unbounded_channel();
    let settings = CameraSettings {
        planning: Arc::new(move || {
            Ok(Plan {
                device: Some(named.clone()),
                ..planned(&format!("{SOURCE} ! {ENCODER}"))
            })
        }),
        idle: Idle::CameraOff,
        ..settings()
    };
    let camera = Camera::open(settings, events).await.expect("it may come");
    let mut frames = watch_outlet(&camera);
    camera.want(true);
    let status = until(&camera, |status| {
        matches!(status.state, CameraState::Waiting { .. })
    })
    .await;
    assert_eq!(
        (status.slate, status.caption),
        (true, status::Caption::Waiting)
    );
    let slate = timeout(PATIENCE, frames.recv()).await.expect("in time");
    assert!(of_slate(&slate.expect("the outlet is there")));
    std::fs::write(&device, "").expect("it is plugged in");
    until(&camera, |status| is_live(status) && !status.slate).await;
    camera.stop().await;
}

#[tokio::test]
async fn an_encoder_that_rests_is_given_nothing_while_the_source_runs() {
    crate::media::init().expect("GStreamer starts");
    let (events, mut reports) = mpsc::unbounded_channel();
    let settings = CameraSettings {
        idle: Idle::EncoderOff,
        ..settings()
    };
    let camera = Camera::open(settings, events).await.expect("it runs");
    let counters = camera.counters();
    let count = |of: &std::sync::atomic::AtomicU64| of.load(std::sync::atomic::Ordering::SeqCst);
    let mut frames = watch_outlet(&camera);
    for _ in 0..2 {
        let status = until(&camera, is_idle).await;
        assert!(!status.slate);
        // What was in the encoder comes out of it yet.
        let source = count(&counters.source_frames);
        see("the source runs", || {
            count(&counters.source_frames) > source + 5
        })
        .await;
        let (source, encoded) = (
            count(&counters.source_frames),
            count(&counters.encoded_frames),
        );
        see("the source runs", || {
            count(&counters.source_frames) > source + 30
        })
        .await;
        assert_eq!(count(&counters.encoded_frames), encoded);
        while frames.try_recv().is_ok() {}

        camera.want(true);
        let first = timeout(PATIENCE, frames.recv()).await.expect("in time");
        assert!(first.expect("the outlet stays").key);
        until(&camera, is_live).await;
        camera.want(false);
    }
    camera.stop().await;
    assert!(reports.try_recv().is_err(), "none of this is a fault");
    assert_eq!(camera.status().borrow().restarts, 0);
}

#[tokio::test]
async fn a_camera_that_is_unplugged_while_its_encoder_rests_is_waited_for() {
    crate::media::init().expect("GStreamer starts");
    let directory = tempfile::tempdir_in("/dev/shm").expect("a directory");
    let device = directory.path().join("video0");
    std::fs::write(&device, "").expect("it is plugged in");
    let named = device.to_str().expect("a name").to_owned();
    let (events, _reports) = mpsc::unbounded_channel();
    let settings = CameraSettings {
        planning: Arc::new(move || {
            Ok(Plan {
                device: Some(named.clone()),
                ..planned(&format!("{SOURCE} ! {ENCODER}"))
            })
        }),
        idle: Idle::EncoderOff,
        ..settings()
    };
    let camera = Camera::open(settings, events).await.expect("it runs");
    until(&camera, is_idle).await;
    std::fs::remove_file(&device).expect("it was there");
    let gone = status::Fault::NoCamera;
    until(
        &camera,
        |status| matches!(status.state, CameraState::Waiting { fault, .. } if fault == gone),
    )
    .await;
    std::fs::write(&device, "").expect("it is plugged in again");
    let status = until(&camera, is_idle).await;
    assert_eq!((status.restarts, status.slate), (0, false));
    camera.stop().await;
}

/// What an outlet would hold back is not seen there: whatever comes out of the encoder after a rest is looked at.
#[tokio::test]
async fn the_first_frame_after_a_rest_is_a_keyframe() {
    crate::media::init().expect("GStreamer starts");
    let time = TimeBase::now();
    let (says, _said) = mpsc::unbounded_channel();
    let taps = Taps {
        raw: Arc::default(),
        outlet: Arc::new(Outlet::for_video(&time, Arc::default())),
        time,
        counters: Arc::default(),
        said: says,
    };
    let planning: Planning = Arc::new(|| Ok(planned(&format!("{SOURCE} ! {ENCODER}"))));
    let run = pipeline::prepare(&planning, 1, &taps).expect("it is built");
    let encoder = run.pipeline.0.by_name("encoder").expect("it is named");
    let (sees, mut seen) = mpsc::unbounded_channel();
    let pad = encoder.static_pad("src").expect("a source pad");
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let delta = gst::BufferFlags::DELTA_UNIT;
        let is_key = info
            .buffer()
            .is_some_and(|frame| !frame.flags().contains(delta));
        let _ = sees.send(is_key);
        gst::PadProbeReturn::Ok
    });
    let valve = run.valve.as_ref().expect("the encoder is named");
    assert!(pipeline::play(&run.pipeline.0));
    for _ in 0..5 {
        for _ in 0..15 {
            assert!(
                timeout(PATIENCE, seen.recv())
                    .await
                    .expect("in time")
                    .is_some()
            );
        }
        valve.close();
        let frames = |counters: &CameraCounters| {
            counters
                .source_frames
                .load(std::sync::atomic::Ordering::SeqCst)
        };
        let before = frames(&taps.counters);
        see("frames are dropped", || {
            frames(&taps.counters) > before + 15
        })
        .await;
        while seen.try_recv().is_ok() {}
        pipeline::request_keyframe(&run.pipeline.0);
        valve.open();
        let first = timeout(PATIENCE, seen.recv()).await.expect("in time");
        assert_eq!(first, Some(true), "a keyframe");
    }
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
        planning: Arc::new(move || Ok(plan.clone())),
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
    let planning: Planning = Arc::new(|| Ok(planned(&format!("{SOURCE} ! {ENCODER}"))));
    let count = |what: &str| std::fs::read_dir(format!("/proc/self/{what}")).map(Iterator::count);
    let mut before = None;
    for number in 0..20 {
        let run = pipeline::prepare(&planning, number, &taps).expect("it is built");
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
