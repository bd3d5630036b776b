//! What the device does while nobody watches, with the real program and real viewers.
#![expect(
    clippy::unwrap_used,
    reason = "a test that panics has failed, helpers included"
)]

mod asking;

use std::{
    ffi::OsStr,
    fs::{self, File},
    path::{Path, PathBuf},
};

use serde_json::Value;
use swarm::{
    crowd::{Door, Watching},
    host::{Host, Picture, perch_beside},
    viewer::Conduct,
};
use tempfile::TempDir;

use asking::{ask, get, sample, until};

/// Files that stand for a camera and a microphone, and the profile that drives them: whether they are open is seen in
/// `/proc`.
struct Devices(TempDir);

impl Devices {
    fn new() -> Self {
        let devices = Self(TempDir::new().unwrap());
        for device in [devices.camera(), devices.microphone()] {
            // Nothing but zeros, and hours of them.
            File::create(&device).unwrap().set_len(1 << 34).unwrap();
        }
        fs::create_dir(devices.at("pipelines")).unwrap();
        let profile = format!(
            "name = 'files'\ndescription = 'of a test'\n\
             [[source]]\nelements = ['filesrc', 'rawvideoparse']\nlaunch = \"\"\"\n\
             filesrc location={camera} ! rawvideoparse format=i420 width={{width}} height={{height}}\n\
             framerate={{framerate}}/1 ! identity sync=true\"\"\"\n\
             [[encoder]]\nname = 'x264'\nelements = ['x264enc']\nlaunch = \"\"\"\n\
             x264enc name=encoder tune=zerolatency speed-preset=ultrafast bframes=0 bitrate={{bitrate_kbit}}\n\
             min-force-key-unit-interval=250000000 ! video/x-h264,profile=constrained-baseline\"\"\"\n\
             [[audio]]\nelements = ['filesrc', 'rawaudioparse', 'opusenc']\nlaunch = \"\"\"\n\
             filesrc location={microphone} ! rawaudioparse pcm-format=s16le sample-rate=48000 num-channels=2\n\
             ! identity sync=true ! opusenc\"\"\"\n",
            camera = devices.camera().display(),
            microphone = devices.microphone().display(),
        );
        fs::write(devices.at("pipelines/files.toml"), profile).unwrap();
        devices
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn camera(&self) -> PathBuf {
        self.at("camera")
    }

    fn microphone(&self) -> PathBuf {
        self.at("microphone")
    }

    /// A host that is live with them, and the program that it is.
    fn host(&self, idle: &str) -> (Host, PathBuf) {
        let perch = perch_beside(Path::new(env!("CARGO_BIN_EXE_swarm"))).unwrap();
        let picture = Picture {
            profile: "files".into(),
            width: 320,
            height: 180,
            framerate: 30,
            bitrate: 300_000,
        };
        let environment = [
            ("PERCH_DATA_DIR", self.0.path().as_os_str()),
            ("PERCH__CAMERA__IDLE", OsStr::new(idle)),
            ("PERCH__AUDIO__ENABLED", OsStr::new("true")),
        ];
        (
            Host::start_in(&perch, &picture, environment).unwrap(),
            perch,
        )
    }
}

/// Whether the process has this file open.
fn is_open(status: &Value, file: &Path) -> bool {
    let entries = fs::read_dir(format!("/proc/{}/fd", status["pid"])).unwrap();
    let mut targets = entries.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    targets.any(|target| target == file)
}

fn is_idle(status: &Value) -> bool {
    status["camera"]["state"] == "idle"
}

fn frames(status: &Value, of: &str) -> u64 {
    status["camera"][of].as_u64().unwrap()
}

/// One viewer comes, sees and hears something, and leaves.
async fn visit(door: &Door, host: &Host, perch: &Path, number: usize) -> Value {
    let mut viewer = Watching::start(door.arrive(number, Conduct::Stays).await.unwrap());
    assert!(viewer.picture().await, "viewer {number} has a picture");
    let status = until(host, perch, |status| {
        status["camera"]["state"] == "live" && status["viewers"][0]["state"] == "live"
    })
    .await;
    viewer.stop();
    let (report, _) = viewer.end().await.unwrap();
    assert_eq!(report.error, None);
    status
}

/// The promise to those in front of the camera.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_camera_that_is_off_is_opened_for_viewers_only() {
    let devices = Devices::new();
    let (host, perch) = devices.host("camera-off");
    let door = Door::new(host.lobby().clone(), host.tokens(), None).unwrap();
    let status = until(&host, &perch, is_idle).await;
    assert_eq!(frames(&status, "source_frames"), 0, "{status}");
    for number in 0..2 {
        let before = until(&host, &perch, is_idle).await;
        assert!(!is_open(&before, &devices.camera()), "{before}");
        assert!(!is_open(&before, &devices.microphone()), "{before}");
        assert_eq!(before["camera"]["off"], "camera");
        assert_eq!(before["serving"], true, "{before}");
        assert!(get(host.metrics(), "/healthz").contains("ok"));
        let page = get(host.metrics(), "/metrics");
        assert_eq!(sample(&page, "perch_camera_state{state=\"idle\"}"), 1.0);
        let text = ask(&host, &perch, &[]);
        assert!(text.contains("camera off until somebody does"), "{text}");
        // It took seconds to ask all this.
        let after = until(&host, &perch, is_idle).await;
        for of in ["source_frames", "encoded_frames"] {
            assert_eq!(frames(&before, of), frames(&after, of));
        }

        let watched = visit(&door, &host, &perch, number).await;
        // After the grace.
        until(&host, &perch, is_idle).await;
        assert!(frames(&watched, "source_frames") > frames(&before, "source_frames"));
    }
    let status = until(&host, &perch, is_idle).await;
    assert!(!is_open(&status, &devices.camera()), "{status}");
    assert!(!is_open(&status, &devices.microphone()), "{status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_encoder_that_is_off_is_given_frames_for_viewers_only() {
    let devices = Devices::new();
    let (host, perch) = devices.host("encoder-off");
    let door = Door::new(host.lobby().clone(), host.tokens(), None).unwrap();
    for number in 0..2 {
        let before = until(&host, &perch, is_idle).await;
        assert_eq!(before["camera"]["off"], "encoder");
        assert_eq!(before["serving"], true, "{before}");
        // Each question takes a second.
        let after = until(&host, &perch, |status| {
            frames(status, "source_frames") > frames(&before, "source_frames") + 15
        })
        .await;
        let encoded = |status: &Value| frames(status, "encoded_frames");
        assert!(encoded(&after) <= encoded(&before) + 2, "{before} {after}");
        assert!(is_open(&after, &devices.camera()), "{after}");

        let watched = visit(&door, &host, &perch, number).await;
        assert!(encoded(&watched) > encoded(&after));
    }
    until(&host, &perch, is_idle).await;
}
