//! Commands to a V4L2 encoder, on a kernel's own: vicodec, in the guest of `make test-qemu`. It encodes FWHT, whose frames
//! say themselves whether they are keyframes.

#![expect(
    clippy::unwrap_used,
    reason = "a test that panics has failed, helpers included"
)]

use std::sync::Arc;

use gst::prelude::*;
use perch::media::{
    camera::encoder,
    profile::{BitrateControl, Commands, KeyframeControl},
    v4l2::Control,
};
use tokio::sync::{Notify, watch};

/// As its own header says (`struct fwht_cframe_hdr`): 32 bits, the highest byte first.
const FLAGS_AT: usize = 20;
/// `V4L2_FWHT_FL_I_FRAME` of linux/v4l2-controls.h.
const I_FRAME: u32 = 1 << 10;

/// The longest that vicodec knows.
const GOP: i32 = 16;
const PATIENCE: gst::ClockTime = gst::ClockTime::from_seconds(60);

struct Encoded {
    is_key: bool,
    bytes: usize,
}

struct Stream {
    pipeline: gst::Pipeline,
    encoder: gst::Element,
    sink: gst_app::AppSink,
}

impl Stream {
    fn new() -> Self {
        gst::init().unwrap();
        let text = "videotestsrc is-live=true horizontal-speed=3 \
             ! video/x-raw,format=I420,width=640,height=360,framerate=10/1 \
             ! v4l2fwhtenc name=encoder ! appsink name=video sync=false max-buffers=200";
        let pipeline = gst::parse::launch(text).unwrap();
        let pipeline: gst::Pipeline = pipeline.downcast().unwrap();
        Self {
            encoder: pipeline.by_name("encoder").unwrap(),
            sink: pipeline.by_name("video").unwrap().downcast().unwrap(),
            pipeline,
        }
    }

    fn play(&self) {
        self.pipeline.set_state(gst::State::Playing).unwrap();
    }

    /// The next frame, off the loop, which has the commands to send.
    async fn frame(&self) -> Encoded {
        let sink = self.sink.clone();
        let sample = tokio::task::spawn_blocking(move || sink.try_pull_sample(PATIENCE));
        let sample = sample.await.unwrap().expect("a frame");
        let buffer = sample.buffer().unwrap();
        let bytes = buffer.map_readable().unwrap();
        let flags = bytes[FLAGS_AT..FLAGS_AT + 4].try_into().unwrap();
        Encoded {
            is_key: u32::from_be_bytes(flags) & I_FRAME != 0,
            bytes: buffer.size(),
        }
    }

    /// Frames up to and with the next keyframe.
    async fn to_keyframe(&self) -> usize {
        let mut frames = 1;
        while !self.frame().await.is_key {
            frames += 1;
            assert!(frames < 100, "no keyframe at all");
        }
        frames
    }

    /// The median of those that are no keyframes.
    async fn usual_size(&self) -> usize {
        let mut sizes = Vec::new();
        for _ in 0..12 {
            let frame = self.frame().await;
            if !frame.is_key {
                sizes.push(frame.bytes);
            }
        }
        sizes.sort_unstable();
        sizes[sizes.len() / 2]
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

fn by_controls() -> Commands {
    Commands {
        bitrate: Some(BitrateControl::V4l2),
        keyframes: KeyframeControl::V4l2,
    }
}

#[tokio::test]
#[ignore = "needs vicodec: `make test-qemu` runs it in its guest"]
async fn a_keyframe_is_asked_of_the_driver() {
    let stream = Stream::new();
    let wanted = Arc::new(Notify::new());
    let requests = encoder::request_keyframes(wanted.clone(), &by_controls(), &stream.pipeline);
    let requests = tokio::spawn(requests);
    stream.play();
    stream.to_keyframe().await;
    encoder::command(&stream.encoder, Control::GopSize, GOP).unwrap();
    stream.to_keyframe().await;
    assert_eq!(stream.to_keyframe().await, GOP as usize, "left alone");

    // What GStreamer 1.22.0 makes of its own event. Where it passes it on, this is not needed, and does no harm.
    let event = KeyframeControl::Event;
    encoder::request_keyframe(&stream.pipeline, &event).unwrap();
    let after_event = stream.to_keyframe().await;
    println!("frames to the keyframe after GStreamer's event: {after_event} of {GOP}");

    for _ in 0..3 {
        wanted.notify_one();
        let after_request = stream.to_keyframe().await;
        assert!(after_request <= 4, "{after_request} frames");
        for _ in 0..5 {
            assert!(!stream.frame().await.is_key, "one is enough");
        }
    }
    // Many at once are few.
    let mut keyframes = 0;
    for _ in 0..20 {
        for _ in 0..10 {
            wanted.notify_one();
        }
        keyframes += usize::from(stream.frame().await.is_key);
    }
    assert!((4..=9).contains(&keyframes), "{keyframes} keyframes in 2 s");
    requests.abort();
}

#[tokio::test]
#[ignore = "needs vicodec: `make test-qemu` runs it in its guest"]
async fn a_bitrate_is_set_while_it_encodes_and_again_after_a_restart() {
    let stream = Stream::new();
    let (wants, wanted) = watch::channel(Some(200_000));
    // It begins to ask before the device is open.
    let rates = encoder::follow_bitrate(wanted, &by_controls(), &stream.pipeline);
    let rates = tokio::spawn(rates);
    tokio::task::yield_now().await;
    stream.play();
    stream.to_keyframe().await;
    stream.to_keyframe().await;
    let low = stream.usual_size().await;
    wants.send(Some(3_000_000)).unwrap();
    stream.to_keyframe().await;
    stream.to_keyframe().await;
    let high = stream.usual_size().await;
    println!("bytes of a frame at 0.2 and at 3 Mbit/s: {low}, {high}");
    // Of most of the quantiser's range; what it cannot touch is the same at any bitrate.
    assert!(high > low * 6 / 5, "{low}, then {high} bytes");
    rates.abort();
}

#[tokio::test]
#[ignore = "needs vicodec: `make test-qemu` runs it in its guest"]
async fn what_the_driver_does_not_have_is_refused_with_its_reason() {
    let stream = Stream::new();
    let error = encoder::command(&stream.encoder, Control::Bitrate, 1).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::NotConnected);
    stream.play();
    stream.frame().await;
    // It has a range, and takes the nearest.
    encoder::command(&stream.encoder, Control::GopSize, 1000).unwrap();
    stream.to_keyframe().await;
    assert_eq!(stream.to_keyframe().await, GOP as usize);
    let error = encoder::command(&stream.encoder, Control::BFrames, 1).unwrap_err();
    assert!(
        error.to_string().starts_with("VIDIOC_S_CTRL(BFrames): "),
        "{error}"
    );
}
