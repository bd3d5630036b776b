//! A camera that rests while nobody watches.

use super::*;

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
        planning: Arc::new(move |_| {
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
    let (events, _reports) = mpsc::unbounded_channel();
    let settings = CameraSettings {
        idle: Idle::CameraOff,
        ..behind(&device)
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
    let (events, _reports) = mpsc::unbounded_channel();
    let settings = CameraSettings {
        idle: Idle::EncoderOff,
        ..behind(&device)
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
    let planning: Planning = Arc::new(|_| Ok(planned(&format!("{SOURCE} ! {ENCODER}"))));
    let run = pipeline::prepare(&planning, &BTreeSet::new(), 1, &taps).expect("it is built");
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
        encoder::request_keyframe(&run.pipeline.0, &run.commands.keyframes).expect("it obeys");
        valve.open();
        let first = timeout(PATIENCE, seen.recv()).await.expect("in time");
        assert_eq!(first, Some(true), "a keyframe");
    }
}
