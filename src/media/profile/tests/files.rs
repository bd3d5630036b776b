//! Files of the owner's, and what is said of faults in them.

use super::*;

#[test]
fn files_replace_and_add() {
    let (_, test) = BUILT_IN
        .iter()
        .find(|(name, _)| *name == "test.toml")
        .unwrap();
    let mine = test.replace("pattern=smpte", "pattern=snow");
    let other = test.replace("name = \"test\"", "name = \"bench\"");
    let profiles = Profiles::new(&[
        ("/data/test.toml".into(), mine),
        ("/data/bench.toml".into(), other),
    ])
    .unwrap();
    let names: Vec<_> = profiles
        .iter()
        .map(|profile| profile.name.as_str())
        .collect();
    assert_eq!(names.len(), BUILT_IN.len() + 1);
    assert!(names.is_sorted() && names.contains(&"bench"), "{names:?}");
    let plan = profiles
        .plan(&config("[camera]\nprofile = 'test'"), &machine(vec![], &[]))
        .unwrap();
    assert!(plan.text.video.contains("pattern=snow"));
}

#[test]
fn a_faulty_file_takes_no_other_profile_along() {
    let (_, test) = BUILT_IN
        .iter()
        .find(|(file, _)| *file == "test.toml")
        .unwrap();
    let file = |file: &str, name: &str, text: &str| {
        let text = text.replace("name = \"test\"", &format!("name = \"{name}\""));
        (file.to_owned(), text)
    };
    let like_none = test.replace("like = \"v4l2\"", "like = \"v4l3\"");
    let files = [
        file("a.toml", "mine", test),
        file("b.toml", "broken", "nmae = 1"),
        file("c.toml", "mine", test),
        file("d.toml", "alone", &like_none),
    ];
    let Usable { profiles, faults } = Profiles::usable(&files);
    let names: Vec<&str> = profiles
        .iter()
        .map(|profile| profile.name.as_str())
        .collect();
    assert_eq!(names.len(), BUILT_IN.len() + 1, "{names:?}");
    assert!(names.contains(&"mine"));
    let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
    assert_eq!(faults.len(), 3, "{faults:?}");
    assert!(
        faults[0].starts_with("b.toml:1:1: unknown field `nmae`"),
        "{faults:?}"
    );
    assert_eq!(
        faults[1],
        "c.toml: name: found \"mine\", which a.toml has as well: only one of them can be taken"
    );
    assert!(
        faults[2].starts_with("d.toml: like: found \"v4l3\", allowed: another"),
        "{faults:?}"
    );
    assert!(!faults[2].contains("alone"), "not itself: {faults:?}");
}

#[test]
fn an_unknown_profile_is_told_with_those_that_there_are() {
    let error = built_in()
        .plan(&config("[camera]\nprofile = 'tset'"), &machine(vec![], &[]))
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "perch.toml:4:1: camera.profile: there is no profile \"tset\"; did you mean \"test\"; there are: auto, h264, imx8, jetson, \
         libcamera, raspberry-pi, raspberry-pi-usb, rockchip, test, v4l2, va"
    );
}

#[test]
fn a_faulty_profile_is_told_with_file_and_key() {
    let text = |name: &str| {
        let found = BUILT_IN.iter().find(|(file, _)| *file == name);
        found.unwrap().1
    };
    let (_, encoders) = text("v4l2.toml").split_once("[[encoder]]").unwrap();
    let own = text("test.toml")
        .lines()
        .filter(|line| !line.starts_with("like"));
    let own = own.collect::<Vec<_>>().join("\n");
    let good = format!("{own}\n[[encoder]]{encoders}");
    Profile::parse("my.toml", &good).unwrap();
    for (from, to, told) in [
        (
            "description",
            "descripton",
            "unknown field `descripton`, expected one of",
        ),
        (
            "{bitrate_kbit}",
            "{bitrate_mbit}",
            "encoder[0].launch: unknown placeholder {bitrate_mbit}, allowed: {bitrate},",
        ),
        ("{width}", "{width", "unknown placeholder"),
        (
            "{width}",
            "{bitrate}",
            "source[0].launch: unknown placeholder {bitrate}",
        ),
        (
            "name=encoder",
            "name=enc",
            "encoder[0].launch: no element is named",
        ),
        (
            "name = \"test\"",
            "name = \"Test!\"",
            "name: found \"Test!\"",
        ),
        ("name = \"test\"", "name = \"auto\"", "not \"auto\""),
        (
            "name = \"test\"",
            "name = \"test\"\ncamera = \"usb\"",
            "camera: found \"usb\", allowed: \"v4l2\" or",
        ),
        (
            "bitrate_property = \"bitrate\"\nbitrate_unit = 1000",
            "bitrate_property = \"bitrate\"\nv4l2_controls = true",
            "encoder[0].bitrate_property: is given beside v4l2_controls",
        ),
        (
            "bitrate_property = \"bitrate\"\n",
            "",
            "encoder[0].bitrate_unit: is given without bitrate_property",
        ),
        (
            "bitrate_unit = 1000",
            "bitrate_unit = \"1000\"",
            "expected an integer from 0",
        ),
        (
            "bitrate_unit = 1000",
            "media = \"image/jpeg\"",
            "encoder[0].media: belongs in [[source]]",
        ),
        (
            "[[source]]\n",
            "[[source]]\nkeyframe_signal = \"now\"\n",
            "source[0].keyframe_signal: belongs in [[encoder]]",
        ),
        (
            "name = \"openh264\"",
            "name = \"x264\"",
            "encoder[1].name: found \"x264\", which is another encoder's",
        ),
        (
            "name = \"x264\"",
            "name = \"x264\\n\"",
            "encoder[0].name: found \"x264\\n\", allowed: one line",
        ),
        (
            "description = \"",
            "description = \"\\u001b[2J",
            "description: found \"\\u{1b}[2J",
        ),
        (
            "name = \"test\"",
            "auto = { priority = 1, compatible = [\"\"] }\nname = \"test\"",
            "auto.compatible: found \"\", allowed: names",
        ),
        (
            "[\"videotestsrc\", \"timeoverlay\"]",
            "[\"videotestsrc\"]",
            "source[0].elements: \"timeoverlay\" is missing, which launch uses",
        ),
        (
            "bitrate_unit = 1000",
            "scale = \"nosuch ! video/x-raw\"",
            "encoder[0].elements: \"nosuch\" is missing",
        ),
        (
            "bitrate_unit = 1000",
            "longest_keyframe_interval = 0.0",
            "longest_keyframe_interval: found 0, allowed: seconds",
        ),
        (
            "bitrate_unit = 1000",
            "most = { width = 1 }",
            "missing field `height`",
        ),
        (
            "bitrate_unit = 1000",
            "scale = \"videoscale ! {level}\"",
            "encoder[0].scale: unknown placeholder {level}",
        ),
        (
            "name=encoder",
            "name=encoder ! identity name=encoder",
            "encoder[0].launch: more than one element is named",
        ),
        (
            "[[source]]\n",
            "[[source]]\nmedia = \"video/x-rwa\"\n",
            "source[0].media: found \"video/x-rwa\", allowed: \"video/x-raw\", \"image/jpeg\" or \"video/x-h264\"",
        ),
        (
            "[[source]]\n",
            "[[source]]\nformat = \"NV12\"\n",
            "source[0].format: is given without media",
        ),
        (
            "[\"videotestsrc\", \"timeoverlay\"]",
            "[\"nosuch\"]",
            "source[0].elements: \"nosuch\"",
        ),
        ("name = \"x264\"", "", "encoder[0].name: is missing"),
        ("pattern=smpte", "x={device}", "camera: is missing"),
        ("[[source]]", "[source]", "my.toml:"),
        ("[[source]]", "[[source]", "my.toml:"),
    ] {
        assert!(good.contains(from), "{from}");
        let error = Profile::parse("my.toml", &good.replace(from, to)).unwrap_err();
        let text = error.to_string();
        assert!(
            text.starts_with("my.toml:") && text.contains(told) && !text.contains('\n'),
            "{text}"
        );
    }
    let unclosed = good.replace("framerate={framerate}/1\n", "framerate={framerate");
    let error = Profile::parse("my.toml", &unclosed).unwrap_err();
    assert!(
        error.to_string().contains("no } closes \"{framerate"),
        "{error}"
    );
}
