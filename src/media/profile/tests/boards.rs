//! Which profile each board gets, and what its encoder is told. The boards are as their device trees and drivers
//! describe them; docs/boards.md says what was seen on real ones.

use super::*;

/// What the software profiles need; everything else is a board's own.
const EVERYWHERE: [&str; 12] = [
    "v4l2src",
    "videorate",
    "videoconvert",
    "videoscale",
    "jpegdec",
    "x264enc",
    "openh264enc",
    "alsasrc",
    "audioconvert",
    "audioresample",
    "opusenc",
    "videotestsrc",
];

const PI_4: [&str; 2] = ["raspberrypi,4-model-b", "brcm,bcm2711"];
const PI_5: [&str; 2] = ["raspberrypi,5-model-b", "brcm,bcm2712"];

/// A camera on a Raspberry Pi's ribbon, as libcamera's provider tells of it: sizes in ranges, no rates.
fn ribbon_camera() -> CameraDevice {
    CameraDevice {
        kind: "libcamera".to_owned(),
        device: "/base/soc/i2c0mux/i2c@1/imx708@1a".to_owned(),
        name: "/base/soc/i2c0mux/i2c@1/imx708@1a".to_owned(),
        modes: vec![Mode {
            media: "video/x-raw".to_owned(),
            formats: vec!["I420".to_owned(), "NV12".to_owned(), "RGB".to_owned()],
            width: Span { min: 32, max: 4608 },
            height: Span { min: 32, max: 2592 },
            rates: Vec::new(),
        }],
    }
}

/// A camera on USB as libcamera tells of it: nothing that its image processor made.
fn usb_camera_by_libcamera() -> CameraDevice {
    let mut camera = ribbon_camera();
    camera.device = "/base/scb/pcie@7d500000/pci@0,0/usb@0,0-1.2:1.0-046d:082d".to_owned();
    camera.modes[0].formats = vec!["YUY2".to_owned()];
    camera
}

fn board(compatible: &[&str], own: &[&str], cameras: Vec<CameraDevice>) -> Hardware {
    let elements = EVERYWHERE.iter().chain(own).map(|name| (*name).to_owned());
    Hardware {
        cameras,
        elements: elements.collect(),
        board: Board {
            model: compatible.first().unwrap_or(&"").to_string(),
            compatible: compatible.iter().map(|name| (*name).to_owned()).collect(),
        },
        ..Hardware::default()
    }
}

fn chosen(config_text: &str, hardware: &Hardware) -> Plan {
    let plan = built_in().plan(&config(config_text), hardware);
    plan.unwrap_or_else(|error| panic!("{:?}: {error}", hardware.board))
}

#[test]
fn each_board_gets_its_own_encoder() {
    let pi = ["libcamerasrc", "v4l2h264enc"];
    for (compatible, own, cameras, profile, encoder) in [
        (
            &PI_4[..],
            &pi[..],
            vec![ribbon_camera(), usb_camera()],
            "raspberry-pi",
            "v4l2h264enc",
        ),
        (
            &["raspberrypi,model-zero-2-w", "brcm,bcm2837"],
            &pi,
            vec![ribbon_camera()],
            "raspberry-pi",
            "v4l2h264enc",
        ),
        (
            &["raspberrypi,4-compute-module", "brcm,bcm2711"],
            &pi,
            vec![usb_camera()],
            "raspberry-pi-usb",
            "v4l2h264enc",
        ),
        // What libcamera sees of a USB camera is left to V4L2.
        (
            &PI_4,
            &pi,
            vec![usb_camera_by_libcamera(), usb_camera()],
            "raspberry-pi-usb",
            "v4l2h264enc",
        ),
        // The driver is not there, or the plugin.
        (
            &PI_4,
            &["libcamerasrc"],
            vec![ribbon_camera()],
            "libcamera",
            "x264",
        ),
        (&PI_4, &[], vec![usb_camera()], "v4l2", "x264"),
        (
            &PI_5,
            &["libcamerasrc"],
            vec![ribbon_camera()],
            "libcamera",
            "x264",
        ),
        (&PI_5, &["libcamerasrc"], vec![usb_camera()], "v4l2", "x264"),
        (
            &["radxa,rock-5b", "rockchip,rk3588"],
            &["mpph264enc"],
            vec![usb_camera()],
            "rockchip",
            "mpph264enc",
        ),
        (
            &["fsl,imx8mp-evk", "fsl,imx8mp"],
            &["vpuenc_h264"],
            vec![usb_camera()],
            "imx8",
            "vpuenc_h264",
        ),
        (
            &["fsl,imx8qxp-mek", "fsl,imx8qxp"],
            &["v4l2h264enc"],
            vec![usb_camera()],
            "imx8",
            "v4l2h264enc",
        ),
        (
            &["fsl,imx8mq-evk", "fsl,imx8mq"],
            &[],
            vec![usb_camera()],
            "v4l2",
            "x264",
        ),
        (
            &["nvidia,p3737-0000+p3701-0000", "nvidia,tegra234"],
            &["nvvidconv", "nvv4l2h264enc"],
            vec![usb_camera()],
            "jetson",
            "nvv4l2h264enc",
        ),
        (
            &[
                "nvidia,p3768-0000+p3767-0005-super",
                "nvidia,p3767-0005",
                "nvidia,tegra234",
            ],
            &["nvvidconv", "nvv4l2h264enc"],
            vec![usb_camera()],
            "v4l2",
            "x264",
        ),
        // No device tree.
        (&[], &["vah264enc"], vec![usb_camera()], "va", "vah264enc"),
        (
            &[],
            &["vah264lpenc"],
            vec![usb_camera()],
            "va",
            "vah264lpenc",
        ),
        (&[], &[], vec![usb_camera()], "v4l2", "x264"),
    ] {
        let hardware = board(compatible, own, cameras);
        let plan = chosen("", &hardware);
        assert_eq!(
            (plan.profile.as_str(), plan.encoder.as_str()),
            (profile, encoder),
            "{compatible:?}"
        );
        let commands = plan.text.commands;
        assert!(
            commands.bitrate.is_some(),
            "{profile}: its bitrate cannot be changed"
        );
        assert!(plan.text.second.is_some(), "{profile}: no second rendition");
        let audible = chosen("[audio]\nenabled = true", &hardware);
        assert!(audible.text.audio.is_some(), "{profile}: no sound");
    }
}

#[test]
fn a_raspberry_pis_encoder_is_told_what_it_needs() {
    let hardware = board(
        &PI_4,
        &["libcamerasrc", "v4l2h264enc"],
        vec![ribbon_camera()],
    );
    let plan = chosen("[encoder]\nkeyframe_interval = 20", &hardware);
    let video = &plan.text.video;
    let camera = "libcamerasrc camera-name=\"/base/soc/i2c0mux/i2c@1/imx708@1a\" \
        ! video/x-raw,format=NV12,width=1280,height=720,framerate=30/1,interlace-mode=progressive,colorimetry=bt709 !";
    assert!(video.starts_with(camera), "{video}");
    assert!(
        video.contains(
            "extra-controls=\"controls,video_bitrate_mode=1,video_bitrate=2000000,\
             video_gop_size=600,h264_i_frame_period=600,repeat_sequence_header=1\" "
        ),
        "{video}"
    );
    assert!(
        video.contains("profile=constrained-baseline,level=(string)3.1,"),
        "{video}"
    );
    assert_eq!(plan.text.commands.bitrate, Some(BitrateControl::V4l2));
    assert_eq!(plan.text.commands.keyframes, KeyframeControl::V4l2);
    let second = plan.text.second.unwrap();
    assert!(
        second.starts_with("videoscale ! video/x-raw,width=640,height=360,"),
        "{second}"
    );
    assert!(second.contains("level=(string)3,"), "{second}");
}

#[test]
fn what_is_too_much_for_an_encoder_is_left_to_the_next() {
    let hardware = board(&PI_4, &["v4l2h264enc"], vec![usb_camera()]);
    let at = |width: u32, height: u32, framerate: u32, profile: &str| {
        let text = format!(
            "[camera]\nprofile = '{profile}'\nwidth = {width}\nheight = {height}\nframerate = {framerate}"
        );
        built_in().plan(&config(&text), &hardware)
    };
    let full = at(1920, 1080, 30, "auto").unwrap();
    assert_eq!(full.profile, "raspberry-pi-usb");
    assert_eq!(full.text.second, None, "there is no room for it");
    let fast = at(1280, 720, 60, "auto").unwrap();
    assert_eq!(fast.profile, "raspberry-pi-usb");
    assert_eq!(at(1920, 1080, 60, "auto").unwrap().profile, "v4l2");
    let error = at(2560, 1440, 15, "raspberry-pi-usb").unwrap_err();
    assert_eq!(
        error.to_string(),
        "profile \"raspberry-pi-usb\": the encoder v4l2h264enc takes at most 1920×1920; [camera] asks for 2560×1440 at 15"
    );
}

#[test]
fn an_encoder_that_gave_no_picture_is_left_to_the_next() {
    let mut hardware = board(&PI_4, &["v4l2h264enc"], vec![usb_camera()]);
    let avoided = |profile: &str, name: &str| Encoder {
        profile: profile.to_owned(),
        name: name.to_owned(),
    };
    hardware
        .avoided
        .insert(avoided("raspberry-pi-usb", "v4l2h264enc"));
    assert_eq!(chosen("", &hardware).encoder, "x264");
    // By name there is no other encoder: it is tried again.
    let named = chosen("[camera]\nprofile = 'raspberry-pi-usb'", &hardware);
    assert_eq!(named.encoder, "v4l2h264enc");
    hardware.avoided.insert(avoided("v4l2", "x264"));
    assert_eq!(chosen("", &hardware).encoder, "openh264");
    hardware.avoided.insert(avoided("v4l2", "openh264"));
    assert_eq!(chosen("", &hardware).profile, "h264");
    let mut no_h264 = hardware.cameras[0].clone();
    no_h264.modes.retain(|mode| mode.media != "video/x-h264");
    hardware.cameras = vec![no_h264];
    assert_eq!(chosen("", &hardware).profile, "raspberry-pi-usb");
}

#[test]
fn a_camera_that_encodes_is_taken_by_name_or_where_nothing_else_can() {
    let with = |own: &[&str]| Hardware {
        elements: own.iter().map(|name| (*name).to_owned()).collect(),
        ..board(&PI_5, &[], vec![usb_camera()])
    };
    let poor = chosen("", &with(&["v4l2src"]));
    assert_eq!(
        (poor.profile.as_str(), poor.encoder.as_str()),
        ("h264", "the camera's own")
    );
    assert_eq!(
        poor.text.video,
        "v4l2src device=\"/dev/video0\" ! video/x-h264,width=1280,height=720,framerate=30/1"
    );
    assert_eq!(poor.text.second, None);
    assert_eq!(poor.text.commands, Commands::default());
    // It lacks nobody's encoders.
    let profiles = built_in();
    let h264 = profiles.iter().find(|profile| profile.name == "h264");
    assert_eq!(
        h264.unwrap().lacks(&with(&["v4l2src"])),
        Vec::<String>::new()
    );
    let able = board(&PI_5, &[], vec![usb_camera()]);
    assert_eq!(chosen("", &able).profile, "v4l2");
    assert_eq!(
        chosen("[camera]\nprofile = 'h264'", &able).encoder,
        "the camera's own"
    );
}

#[test]
fn a_keyframe_that_cannot_be_asked_for_comes_soon_by_itself() {
    let hardware = board(
        &["rockchip,rk3588s-evb", "rockchip,rk3588s"],
        &["mpph264enc"],
        vec![usb_camera()],
    );
    let gop = |interval: &str| {
        let plan = chosen(
            &format!("[encoder]\nkeyframe_interval = {interval}"),
            &hardware,
        );
        let gop = plan.text.video.split_once(" gop=").unwrap().1;
        gop.split_once(' ').unwrap().0.to_owned()
    };
    assert_eq!((gop("30").as_str(), gop("1").as_str()), ("60", "30"));
}

#[test]
fn the_device_tree_is_compared_as_a_whole_word() {
    let suits = |wanted: &str, has: &str| {
        let auto: file::Auto =
            toml::from_str(&format!("priority = 1\ncompatible = ['{wanted}']")).unwrap();
        auto.suits(&[has.to_owned()])
    };
    assert!(suits("fsl,imx8mm", "fsl,imx8mm"));
    assert!(suits("fsl,imx8mm", "fsl,imx8mm-evk"));
    assert!(!suits("rockchip,rk3588", "rockchip,rk3588s"));
    assert!(!suits("brcm,bcm2711", "brcm,bcm271"));
    assert!(!suits("brcm,bcm2711", ""));
}

#[test]
fn no_two_built_in_profiles_are_equal() {
    let profiles = built_in();
    for one in profiles.iter() {
        for other in profiles.iter().filter(|other| other.name != one.name) {
            let (Some(a), Some(b)) = (&one.auto, &other.auto) else {
                continue;
            };
            let meet = a.compatible.is_empty()
                || b.compatible.is_empty()
                || a.compatible.iter().any(|name| b.compatible.contains(name));
            let rivals = meet && one.camera == other.camera;
            assert!(
                !rivals || a.priority != b.priority,
                "{} and {}",
                one.name,
                other.name
            );
        }
    }
}

/// An owner's profile for any V4L2 camera.
fn owners(file: &str, name: &str, priority: i64) -> (String, String) {
    let text = format!(
        "name = '{name}'\ndescription = 'x'\ncamera = 'v4l2'\nlike = 'v4l2'\n[auto]\npriority = {priority}"
    );
    (file.to_owned(), text)
}

#[test]
fn of_two_that_fit_equally_the_owners_is_taken_and_of_two_owners_none() {
    let hardware = board(&[], &[], vec![usb_camera()]);
    let plan =
        |files: &[(String, String)]| Profiles::new(files).unwrap().plan(&config(""), &hardware);
    let one = owners("/usr/share/perch/pipelines/mine.toml", "mine", 10);
    assert_eq!(plan(std::slice::from_ref(&one)).unwrap().profile, "mine");
    let other = owners("/usr/share/perch/pipelines/yours.toml", "yours", 10);
    let error = plan(&[one.clone(), other]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "camera.profile: \"auto\" fits both \"mine\" (/usr/share/perch/pipelines/mine.toml) and \"yours\" \
         (/usr/share/perch/pipelines/yours.toml), of the same priority (10): name one in camera.profile, or change a priority"
    );
    // What is installed beside the program is nobody's own.
    let (_, v4l2) = BUILT_IN
        .iter()
        .find(|(name, _)| *name == "v4l2.toml")
        .unwrap();
    let installed = (
        "/usr/share/perch/pipelines/v4l2.toml".to_owned(),
        (*v4l2).to_owned(),
    );
    assert_eq!(plan(&[installed, one.clone()]).unwrap().profile, "mine");
    let lesser = owners("/usr/share/perch/pipelines/yours.toml", "yours", 9);
    assert_eq!(plan(&[one, lesser]).unwrap().profile, "mine");
}

#[test]
fn a_profile_takes_from_another_what_it_does_not_list() {
    let profiles = Profiles::new(&[owners("mine.toml", "mine", 99)]).unwrap();
    let find = |name: &str| {
        profiles
            .iter()
            .find(|profile| profile.name == name)
            .unwrap()
    };
    let (mine, v4l2) = (find("mine"), find("v4l2"));
    assert!(mine.elements(true).eq(v4l2.elements(true)));
    for (like, told) in [("nosuch", "\"nosuch\""), ("mine", "\"mine\"")] {
        let (file, text) = owners("mine.toml", "mine", 99);
        let error = Profiles::new(&[(
            file,
            text.replace("like = 'v4l2'", &format!("like = '{like}'")),
        )]);
        let error = error.unwrap_err().to_string();
        assert!(
            error.starts_with("mine.toml: like: found ") && error.contains(told),
            "{error}"
        );
    }
    // Who is like somebody in a circle is not in it.
    let like = |name: &str, other: &str| {
        let (file, text) = owners(&format!("{name}.toml"), name, 99);
        (
            file,
            text.replace("like = 'v4l2'", &format!("like = '{other}'")),
        )
    };
    let circle = [like("a", "b"), like("b", "c"), like("c", "b")];
    let error = Profiles::new(&circle).unwrap_err().to_string();
    assert_eq!(
        error,
        "c.toml: like: found \"b\", allowed: a profile that is not in the end like this one; the circle: \"b\" (b.toml), \"c\" (c.toml)"
    );
    // One that is like another which is like a third.
    let (file, text) = owners("mine.toml", "mine", 99);
    let profiles = Profiles::new(&[(file, text.replace("like = 'v4l2'", "like = 'va'"))]).unwrap();
    let mine = profiles
        .iter()
        .find(|profile| profile.name == "mine")
        .unwrap();
    let elements: Vec<&str> = mine.elements(false).collect();
    assert!(
        elements.contains(&"vah264enc") && elements.contains(&"v4l2src"),
        "{elements:?}"
    );
}

#[test]
fn each_profile_says_why_it_is_taken_or_not() {
    let hardware = board(&PI_4, &["v4l2h264enc"], vec![usb_camera()]);
    let verdicts: Vec<String> = built_in()
        .iter()
        .map(|profile| {
            format!(
                "{}: {}",
                profile.name,
                profile.verdict(&config(""), &hardware)
            )
        })
        .collect();
    for expected in [
        "h264: fits (priority 1)",
        "imx8: for another board (fsl,imx8mm or fsl,imx8mp or fsl,imx8qm or fsl,imx8qxp)",
        "libcamera: not installed: libcamerasrc",
        "raspberry-pi: not installed: libcamerasrc",
        "raspberry-pi-usb: fits (priority 50)",
        "test: only where camera.profile names it",
        "v4l2: fits (priority 10)",
        "va: not installed: vah264enc, vah264lpenc",
    ] {
        assert!(
            verdicts.iter().any(|verdict| verdict == expected),
            "{expected}: {verdicts:#?}"
        );
    }
    let names: Vec<Vec<String>> = built_in()
        .iter()
        .filter(|profile| profile.is_for(&hardware))
        .map(|profile| profile.lacks(&hardware))
        .collect();
    assert_eq!(names, [vec!["libcamerasrc".to_owned()], vec![]]);
}

#[test]
fn a_profile_whose_plugins_are_missing_says_so_before_it_waits_for_a_camera() {
    let hardware = board(&PI_5, &[], vec![]);
    let named = |name: &str| {
        let text = format!("[camera]\nprofile = '{name}'");
        built_in().plan(&config(&text), &hardware).unwrap_err()
    };
    for name in ["raspberry-pi", "imx8", "jetson", "va"] {
        let error = named(name);
        assert!(
            matches!(error, ProfileError::NotInstalled { .. }),
            "{error}"
        );
    }
    let error = named("v4l2");
    assert!(matches!(error, ProfileError::NoCamera { .. }), "{error}");
}

#[test]
fn a_name_says_which_kind_of_camera_it_is_of() {
    let hardware = board(&PI_4, &["libcamerasrc", "v4l2h264enc"], vec![]);
    let profile = |device: &str| {
        let text = format!("[camera]\ndevice = '{device}'");
        built_in()
            .plan(&config(&text), &hardware)
            .map(|plan| plan.profile)
    };
    assert_eq!(profile("/dev/video9").unwrap(), "raspberry-pi-usb");
    assert_eq!(
        profile("/base/soc/i2c0mux/i2c@1/imx708@1a").unwrap(),
        "raspberry-pi"
    );
}
