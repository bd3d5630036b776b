//! The built-in profiles' launch text in real pipelines. No camera is needed: for `v4l2` a test
//! source stands where the camera would, giving exactly the caps that the camera would be asked for.

#![expect(
    clippy::unwrap_used,
    reason = "a test that panics has failed, helpers included"
)]

use std::{collections::HashSet, path::Path};

use gst::prelude::*;
use perch::{
    config::Config,
    media::{
        devices,
        profile::{CameraDevice, Hardware, LaunchText, Mode, Profiles, Span},
    },
};

/// For one buffer; the machine may be busy.
const PATIENCE: gst::ClockTime = gst::ClockTime::from_seconds(30);

fn config(more: &str) -> Config {
    let text = format!("[embedded_lobby]\nenabled = true\n{more}");
    Config::from_text(Path::new("perch.toml"), &text).expect("a valid configuration")
}

/// The pipeline, playing, with an appsink `video` behind the encoder.
fn play(video: &str) -> (gst::Pipeline, gst_app::AppSink) {
    let text = format!("{video} ! appsink name=video sync=false");
    let pipeline = gst::parse::launch(&text)
        .unwrap_or_else(|error| panic!("{error}: {text}"))
        .downcast::<gst::Pipeline>()
        .unwrap();
    let sink = pipeline.by_name("video").unwrap().downcast().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    (pipeline, sink)
}

fn pull(pipeline: &gst::Pipeline, sink: &gst_app::AppSink) -> gst::Sample {
    sink.try_pull_sample(PATIENCE).unwrap_or_else(|| {
        let bus = pipeline.bus().unwrap();
        let error = bus.pop_filtered(&[gst::MessageType::Error]);
        panic!("no picture: {error:?}");
    })
}

fn is_keyframe(sample: &gst::Sample) -> bool {
    let flags = sample.buffer().unwrap().flags();
    !flags.contains(gst::BufferFlags::DELTA_UNIT)
}

/// Plays `video` and looks at what comes out: caps, and one keyframe on demand.
fn check_video(video: &str, width: i32, height: i32) {
    let (pipeline, sink) = play(video);
    let first = pull(&pipeline, &sink);
    assert!(is_keyframe(&first), "the first picture is no keyframe");
    let caps = first.caps().unwrap().structure(0).unwrap();
    assert_eq!(caps.name(), "video/x-h264");
    assert_eq!(
        caps.get::<String>("profile").unwrap(),
        "constrained-baseline"
    );
    assert_eq!(caps.get::<String>("stream-format").unwrap(), "byte-stream");
    assert_eq!(caps.get::<String>("alignment").unwrap(), "au");
    assert_eq!(caps.get::<i32>("width").unwrap(), width);
    assert_eq!(caps.get::<i32>("height").unwrap(), height);

    assert!(!is_keyframe(&pull(&pipeline, &sink)));
    let request = gst_video::UpstreamForceKeyUnitEvent::builder()
        .all_headers(true)
        .build();
    assert!(sink.static_pad("sink").unwrap().push_event(request));
    let keyframe = (0..60).any(|_| is_keyframe(&pull(&pipeline, &sink)));
    pipeline.set_state(gst::State::Null).unwrap();
    assert!(keyframe, "no keyframe came on demand");
}

fn installed(profiles: &Profiles, without: &[&str]) -> HashSet<String> {
    let mut elements = devices::hardware(profiles).elements;
    elements.retain(|element| !without.contains(&element.as_str()));
    elements
}

fn test_picture(without: &[&str]) -> LaunchText {
    let profiles = Profiles::usable(&[]).faultless().unwrap();
    let hardware = Hardware {
        cameras: Vec::new(),
        elements: installed(&profiles, without),
        ..Hardware::default()
    };
    let wanted =
        config("[camera]\nprofile = 'test'\nwidth = 320\nheight = 180\n[audio]\nenabled = true");
    profiles.plan(&wanted, &hardware).unwrap().text
}

#[test]
fn the_test_picture_with_x264() {
    gst::init().unwrap();
    let text = test_picture(&["openh264enc"]).video;
    assert!(text.contains("x264enc"));
    check_video(&text, 320, 180);
}

#[test]
fn the_test_picture_with_openh264_and_without_a_clock() {
    gst::init().unwrap();
    let text = test_picture(&["x264enc", "timeoverlay"]).video;
    assert!(text.contains("openh264enc") && !text.contains("timeoverlay"));
    check_video(&text, 320, 180);
}

#[test]
fn the_test_sound() {
    gst::init().unwrap();
    let (pipeline, sink) = play(&test_picture(&[]).audio.unwrap());
    // The first frame is shorter by the encoder's look-ahead, which is cut off its start.
    let first = pull(&pipeline, &sink).buffer().unwrap().duration();
    assert!(first.is_some_and(|first| first < gst::ClockTime::from_mseconds(20)));
    for _ in 0..5 {
        let sample = pull(&pipeline, &sink);
        assert_eq!(
            sample.caps().unwrap().structure(0).unwrap().name(),
            "audio/x-opus"
        );
        let duration = sample.buffer().unwrap().duration();
        assert_eq!(duration, Some(gst::ClockTime::from_mseconds(20)));
    }
    pipeline.set_state(gst::State::Null).unwrap();
}

/// The `v4l2` profile for a camera that offers one mode, the camera itself replaced by `stand_in`.
fn camera_picture(media: &str, size: (u32, u32), rate: (i32, i32), stand_in: &str) -> String {
    let profiles = Profiles::usable(&[]).faultless().unwrap();
    let span = |value| Span {
        min: value,
        max: value,
    };
    let camera = CameraDevice {
        kind: "v4l2".into(),
        device: "/dev/video0".into(),
        name: "A camera".into(),
        modes: vec![Mode {
            media: media.into(),
            formats: Vec::new(),
            width: span(size.0),
            height: span(size.1),
            rates: vec![Span {
                min: rate,
                max: rate,
            }],
        }],
    };
    let mut elements = installed(&profiles, &[]);
    elements.insert("v4l2src".into());
    let hardware = Hardware {
        cameras: vec![camera],
        elements,
        ..Hardware::default()
    };
    let wanted = config("[camera]\nprofile = 'v4l2'\nwidth = 320\nheight = 180");
    let video = profiles.plan(&wanted, &hardware).unwrap().text.video;
    let (source, rest) = video.split_once(" ! ").unwrap();
    assert_eq!(source, "v4l2src device=\"/dev/video0\"");
    format!("{stand_in} ! {rest}")
}

#[test]
fn a_raw_camera_of_another_shape_and_rate() {
    gst::init().unwrap();
    let source = "videotestsrc is-live=true ! capsfilter caps=video/x-raw,format=YUY2";
    let video = camera_picture("video/x-raw", (640, 480), (60, 1), source);
    assert!(
        video.contains("video/x-raw,width=640,height=480,framerate=60/1"),
        "{video}"
    );
    check_video(&video, 320, 180);
}

#[test]
fn a_slow_mjpeg_camera() {
    gst::init().unwrap();
    let source = "videotestsrc is-live=true ! jpegenc";
    let video = camera_picture("image/jpeg", (640, 360), (15, 1), source);
    assert!(video.contains("jpegdec"), "{video}");
    check_video(&video, 320, 180);
}

#[test]
fn a_camera_faster_than_wanted_is_slowed_down() {
    gst::init().unwrap();
    let source = "videotestsrc is-live=true ! capsfilter caps=video/x-raw,format=I420";
    let video = camera_picture("video/x-raw", (320, 180), (120, 1), source);
    let (pipeline, sink) = play(&video);
    let first = pull(&pipeline, &sink).buffer().unwrap().pts().unwrap();
    let mut last = first;
    for _ in 0..20 {
        last = pull(&pipeline, &sink).buffer().unwrap().pts().unwrap();
    }
    pipeline.set_state(gst::State::Null).unwrap();
    // 20 frames at 30 fps or less take 667 ms or more; at 120 fps they would take 167.
    let took = (last - first).mseconds();
    assert!(took >= 600, "20 frames in {took} ms");
}

/// Elements that are on boards only are missing here, and nothing else is wrong.
#[test]
fn every_launch_text_can_be_read() {
    gst::init().unwrap();
    let profiles = Profiles::usable(&[]).faultless().unwrap();
    for profile in profiles.iter() {
        let hardware = Hardware {
            elements: profile.elements(true).map(str::to_owned).collect(),
            ..Hardware::default()
        };
        let wanted = format!(
            "[camera]\nprofile = '{}'\ndevice = 'any'\n[audio]\nenabled = true",
            profile.name
        );
        let plan = profiles.plan(&config(&wanted), &hardware).unwrap();
        let second = plan.text.second.map(|second| format!("appsrc ! {second}"));
        let texts = [Some(plan.text.video), plan.text.audio, second];
        for text in texts.into_iter().flatten() {
            let text = format!("{text} ! fakesink");
            let mut context = gst::ParseContext::new();
            let flags = gst::ParseFlags::empty();
            let Err(error) = gst::parse::launch_full(&text, Some(&mut context), flags) else {
                continue;
            };
            let missing = context.missing_elements();
            assert!(
                error.matches(gst::ParseError::NoSuchElement) && !missing.is_empty(),
                "{error}: {text}"
            );
            for element in missing {
                assert!(
                    plan.elements.contains(&element.to_string()),
                    "{element}: {text}"
                );
            }
        }
    }
}
