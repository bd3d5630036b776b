use std::path::Path;

use proptest::prelude::*;

use super::{
    capture::{Kind, Wanted},
    launch::quoted,
    *,
};

mod boards;
mod files;

impl Profiles {
    /// The first fault is all.
    fn new(files: &[(String, String)]) -> Result<Self, ProfileError> {
        Self::usable(files).faultless()
    }
}

fn of(media: &str) -> Kind<'_> {
    Kind {
        media,
        format: None,
    }
}

fn config(more: &str) -> Config {
    let text = format!("[embedded_lobby]\nenabled = true\n{more}");
    Config::from_text(Path::new("perch.toml"), &text).unwrap()
}

fn built_in() -> Profiles {
    Profiles::new(&[]).unwrap()
}

fn mode(media: &str, width: u32, height: u32, fps: i32) -> Mode {
    Mode {
        media: media.to_owned(),
        formats: Vec::new(),
        width: Span {
            min: width,
            max: width,
        },
        height: Span {
            min: height,
            max: height,
        },
        rates: vec![Span {
            min: (fps, 1),
            max: (fps, 1),
        }],
    }
}

fn camera(device: &str, modes: Vec<Mode>) -> CameraDevice {
    CameraDevice {
        kind: "v4l2".to_owned(),
        device: device.to_owned(),
        name: "A camera".to_owned(),
        modes,
    }
}

/// Elements that only a board with an encoder has.
const OF_BOARDS: [&str; 7] = [
    "libcamerasrc",
    "mpph264enc",
    "nvv4l2h264enc",
    "v4l2h264enc",
    "vah264enc",
    "vah264lpenc",
    "vpuenc_h264",
];

/// A PC with every element but those named.
fn machine(cameras: Vec<CameraDevice>, without: &[&str]) -> Hardware {
    let elements = built_in()
        .iter()
        .flat_map(|profile| {
            profile
                .elements(true)
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .filter(|element| !without.contains(&element.as_str()))
        .filter(|element| !OF_BOARDS.contains(&element.as_str()))
        .collect();
    Hardware {
        cameras,
        elements,
        ..Hardware::default()
    }
}

/// What a usual USB 2 camera offers.
fn usb_camera() -> CameraDevice {
    camera(
        "/dev/video0",
        vec![
            mode("video/x-raw", 640, 480, 30),
            mode("video/x-raw", 1280, 720, 10),
            mode("image/jpeg", 1280, 720, 30),
            mode("image/jpeg", 1920, 1080, 30),
            mode("video/x-h264", 1280, 720, 30),
        ],
    )
}

#[test]
fn the_test_picture_needs_no_camera() {
    let plan = built_in()
        .plan(&config("[camera]\nprofile = 'test'"), &machine(vec![], &[]))
        .unwrap();
    assert_eq!(plan.device, None);
    assert_eq!(plan.encoder, "x264");
    assert_eq!(plan.text.audio, None);
    let video = &plan.text.video;
    assert!(video.starts_with("videotestsrc is-live=true"), "{video}");
    assert!(
        video.contains("width=1280,height=720,framerate=30/1"),
        "{video}"
    );
    assert!(video.contains("key-int-max=900 bitrate=2000 "), "{video}");
    assert!(!video.contains(['{', '\n']), "{video}");
}

#[test]
fn what_is_not_installed_is_fallen_back_from() {
    let test =
        config("[camera]\nprofile = 'test'\n[encoder]\nbitrate = 300001\nkeyframe_interval = 0.5");
    let plan = built_in()
        .plan(&test, &machine(vec![], &["x264enc", "timeoverlay"]))
        .unwrap();
    assert_eq!(plan.encoder, "openh264");
    assert!(!plan.text.video.contains("timeoverlay"));
    assert!(
        plan.text.video.contains("gop-size=15 bitrate=300001"),
        "{}",
        plan.text.video
    );

    let error = built_in()
        .plan(&test, &machine(vec![], &["x264enc", "openh264enc"]))
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "profile \"test\": no encoder can be used; not installed: x264enc, openh264enc"
    );
}

#[test]
fn sound_comes_where_it_is_wanted() {
    let wanted = config("[camera]\nprofile = 'test'\n[audio]\nenabled = true");
    let plan = built_in().plan(&wanted, &machine(vec![], &[])).unwrap();
    assert!(plan.text.audio.unwrap().contains("! opusenc"));
    assert!(plan.elements.contains(&"opusenc".to_owned()));

    let named = config("[audio]\nenabled = true\ndevice = 'hw:1,0'");
    let plan = built_in()
        .plan(&named, &machine(vec![usb_camera()], &[]))
        .unwrap();
    assert!(
        plan.text
            .audio
            .unwrap()
            .starts_with("alsasrc device=\"hw:1,0\" ")
    );
    let unnamed = config("[audio]\nenabled = true");
    let plan = built_in()
        .plan(&unnamed, &machine(vec![usb_camera()], &[]))
        .unwrap();
    assert!(
        plan.text
            .audio
            .unwrap()
            .starts_with("alsasrc device=\"default\" ")
    );

    let silent = "name = 'x'\ndescription = 'x'\n[[source]]\nelements = ['videotestsrc']\nlaunch = 'videotestsrc'\n\
                  [[encoder]]\nname = 'x'\nelements = ['x264enc']\nlaunch = 'x264enc name=encoder'";
    let profiles = Profiles::new(&[("x.toml".into(), silent.into())]).unwrap();
    let wanted = config("[camera]\nprofile = 'x'\n[audio]\nenabled = true");
    let error = profiles.plan(&wanted, &machine(vec![], &[])).unwrap_err();
    assert!(error.to_string().contains("has no sound"), "{error}");
}

#[test]
fn auto_takes_a_camera_and_never_the_test_picture() {
    let auto = config("");
    let error = built_in().plan(&auto, &machine(vec![], &[])).unwrap_err();
    assert!(matches!(error, ProfileError::NoCamera { .. }), "{error}");

    let plan = built_in()
        .plan(&auto, &machine(vec![usb_camera()], &[]))
        .unwrap();
    assert_eq!(plan.profile, "v4l2");
    assert_eq!(plan.device.as_deref(), Some("/dev/video0"));
    let video = plan.text.video;
    assert!(
        video.starts_with(
            "v4l2src device=\"/dev/video0\" ! image/jpeg,width=1280,height=720,framerate=30/1 !"
        ),
        "{video}"
    );

    // Plugins can be installed at once, a camera has to be bought.
    let mut camera = usb_camera();
    camera.modes.retain(|mode| mode.media != "video/x-h264");
    let error = built_in()
        .plan(&auto, &machine(vec![camera], &["x264enc", "openh264enc"]))
        .unwrap_err();
    assert!(
        matches!(
            error,
            ProfileError::NotInstalled {
                part: "encoder",
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn the_highest_priority_that_fits_wins() {
    let board = |priority: i64| {
        format!(
            "name = 'board'\ndescription = 'x'\ncamera = 'v4l2'\n[auto]\npriority = {priority}\n\
             [[source]]\nmedia = 'video/x-raw'\nelements = ['v4l2src']\nlaunch = 'v4l2src device={{device}}'\n\
             [[encoder]]\nname = 'hard'\nelements = ['v4l2h264enc']\nlaunch = 'v4l2h264enc name=encoder'"
        )
    };
    let taken = |priority: i64, element: bool| {
        let profiles = Profiles::new(&[("board.toml".into(), board(priority))]).unwrap();
        let mut machine = machine(vec![usb_camera()], &[]);
        if element {
            machine.elements.insert("v4l2h264enc".into());
        }
        profiles.plan(&config(""), &machine).unwrap().profile
    };
    assert_eq!(taken(20, true), "board");
    assert_eq!(taken(5, true), "v4l2");
    assert_eq!(taken(20, false), "v4l2");
}

#[test]
fn a_camera_that_is_named_is_the_one_that_is_taken() {
    let second = camera("/dev/video2", vec![mode("video/x-raw", 1280, 720, 30)]);
    let machine = machine(vec![usb_camera(), second], &[]);
    let plan = |device: &str| {
        let wanted = config(&format!("[camera]\ndevice = '{device}'"));
        built_in().plan(&wanted, &machine)
    };
    let taken = plan("/dev/video2").unwrap();
    assert_eq!(taken.device.as_deref(), Some("/dev/video2"));
    assert_eq!(taken.capture.unwrap().media, "video/x-raw");

    // Not found, but it may be there when it is opened: nothing is asked of it.
    let unknown = plan("/dev/video9").unwrap();
    assert_eq!(unknown.capture, None);
    assert!(
        unknown
            .text
            .video
            .starts_with("v4l2src device=\"/dev/video9\" ! video/x-raw !"),
        "{}",
        unknown.text.video
    );
}

#[test]
fn a_camera_without_a_usable_picture_is_passed_over() {
    let odd = camera("/dev/video0", vec![mode("video/x-bayer", 1280, 720, 30)]);
    let good = camera("/dev/video1", vec![mode("image/jpeg", 640, 480, 15)]);
    let cameras = vec![odd, good];
    let plan = built_in()
        .plan(&config(""), &machine(cameras.clone(), &[]))
        .unwrap();
    assert_eq!(plan.device.as_deref(), Some("/dev/video1"));
    let named = config("[camera]\nprofile = 'v4l2'\ndevice = '/dev/video0'");
    let error = built_in().plan(&named, &machine(cameras, &[])).unwrap_err();
    assert!(
        error.to_string().contains("/dev/video0 gives no picture"),
        "{error}"
    );
    // Without a JPEG decoder, MJPEG is no offer.
    let machine = machine(vec![usb_camera()], &["jpegdec"]);
    let capture = built_in()
        .plan(&config(""), &machine)
        .unwrap()
        .capture
        .unwrap();
    assert_eq!(capture.to_string(), "video/x-raw 640×480 at 30 fps");
}

#[test]
fn the_mode_that_comes_nearest_is_chosen() {
    let choice = |modes: &[Mode], width, height, framerate| {
        let wanted = Wanted {
            width,
            height,
            framerate,
        };
        let kinds = ["video/x-raw", "image/jpeg"].map(of);
        capture::choose(modes, &kinds, wanted).map(|(_, one)| one.to_string())
    };
    let modes = usb_camera().modes;
    for ((width, height, framerate), expected) in [
        ((1280, 720, 30), "image/jpeg 1280×720 at 30 fps"),
        ((1280, 720, 10), "video/x-raw 1280×720 at 10 fps"),
        ((640, 480, 30), "video/x-raw 640×480 at 30 fps"),
        ((1920, 1080, 30), "image/jpeg 1920×1080 at 30 fps"),
        ((3840, 2160, 30), "image/jpeg 1920×1080 at 30 fps"),
        // The same shape before fewer pixels.
        ((640, 360, 30), "image/jpeg 1280×720 at 30 fps"),
        ((320, 240, 30), "video/x-raw 640×480 at 30 fps"),
    ] {
        assert_eq!(
            choice(&modes, width, height, framerate).as_deref(),
            Some(expected),
            "{width}×{height}@{framerate}"
        );
    }
    assert_eq!(choice(&[], 640, 480, 30), None);
    assert_eq!(
        choice(&[mode("video/x-bayer", 640, 480, 30)], 640, 480, 30),
        None
    );
    assert_eq!(
        choice(&[mode("video/x-raw", 640, 480, 0)], 640, 480, 30),
        None
    );
}

#[test]
fn ranges_and_fractions_of_rates_are_understood() {
    fn span<T>(min: T, max: T) -> Span<T> {
        Span { min, max }
    }
    let ranged = Mode {
        media: "video/x-raw".into(),
        formats: Vec::new(),
        width: span(16, 4096),
        height: span(16, 2160),
        rates: vec![span((1, 1), (60, 1))],
    };
    let wanted = Wanted {
        width: 1280,
        height: 720,
        framerate: 25,
    };
    let (_, taken) = capture::choose(&[ranged], &[of("video/x-raw")], wanted).unwrap();
    assert_eq!(taken.caps(), ",width=1280,height=720,framerate=25/1");

    let ntsc = Mode {
        rates: vec![
            span((15, 1), (15, 1)),
            span((30000, 1001), (30000, 1001)),
            span((60, 1), (60, 1)),
        ],
        ..mode("video/x-raw", 1280, 720, 1)
    };
    let wanted = Wanted {
        framerate: 30,
        ..wanted
    };
    let (_, taken) = capture::choose(&[ntsc], &[of("video/x-raw")], wanted).unwrap();
    assert_eq!(taken.rate, (30000, 1001));
    assert_eq!(taken.to_string(), "video/x-raw 1280×720 at 29.97 fps");
}

proptest! {
    #[test]
    fn no_device_reaches_beyond_its_quotes(device in any::<String>()) {
        let text = quoted(&device);
        let inner = &text[1..text.len() - 1];
        prop_assert!(text.starts_with('"') && text.ends_with('"'));
        prop_assert!(!inner.contains(['"', '\'', '!', '\\']) && !inner.chars().any(char::is_control));
    }

    #[test]
    fn any_profile_text_is_read_or_refused(text in any::<String>()) {
        let _ = Profile::parse("my.toml", &text);
    }

    #[test]
    fn whatever_a_camera_offers_the_choice_is_one_of_it(
        offers in prop::collection::vec((0u32..5000, 0u32..5000, -5i32..200), 0..8),
        width in 16u32..4096, height in 16u32..4096, framerate in 1u32..=120,
    ) {
        let modes: Vec<Mode> = offers.iter().map(|(w, h, f)| mode("video/x-raw", *w, *h, *f)).collect();
        let wanted = Wanted { width, height, framerate };
        match capture::choose(&modes, &[of("video/x-raw")], wanted) {
            Some((_, taken)) => prop_assert!(offers.contains(&(taken.width, taken.height, taken.rate.0))),
            None => prop_assert!(offers.iter().all(|(_, _, fps)| *fps <= 0)),
        }
    }
}
