use std::{
    sync::mpsc,
    time::{Duration, Instant},
};

use super::*;
use crate::media::camera::pipeline::Running;

const PATIENCE: Duration = Duration::from_secs(30);
/// Milliseconds between frames.
const STEP: u64 = 33;

/// A branch as far as an outlet knows it.
struct Branch {
    inlet: Arc<Inlet>,
    _running: Running,
    frames: mpsc::Receiver<u64>,
}

impl Branch {
    fn new() -> Self {
        let source = gst_app::AppSrc::builder()
            .is_live(true)
            .format(gst::Format::Time)
            .max_bytes(0)
            .build();
        let sink = gst::ElementFactory::make("fakesink")
            .property("sync", false)
            .property("async", false)
            .build()
            .expect("a fakesink");
        let pipeline = gst::Pipeline::new();
        let parts = [source.upcast_ref(), &sink];
        pipeline.add_many(parts).expect("added");
        source.link(&sink).expect("linked");
        let (sees, frames) = mpsc::channel();
        let pad = sink.static_pad("sink").expect("a sink pad");
        pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
            let time = info.buffer().and_then(|frame| frame.pts());
            let _ = sees.send(time.expect("a timestamp").mseconds());
            gst::PadProbeReturn::Ok
        });
        pipeline.set_state(gst::State::Playing).expect("it runs");
        Self {
            inlet: Inlet::new(source),
            _running: Running(pipeline),
            frames,
        }
    }

    /// The next frame's number, from its timestamp.
    fn next(&self) -> u64 {
        self.frames.recv_timeout(PATIENCE).expect("a frame") / STEP
    }

    /// Nothing more leaves its source until what this returns is dropped.
    fn stall(&self) -> Stalled {
        let pad = self.inlet.source.static_pad("src").expect("a source pad");
        let kind = gst::PadProbeType::BLOCK_DOWNSTREAM;
        let probe = pad.add_probe(kind, |_, _| gst::PadProbeReturn::Ok);
        Stalled(pad, probe)
    }
}

struct Stalled(gst::Pad, Option<gst::PadProbeId>);

impl Drop for Stalled {
    fn drop(&mut self) {
        if let Some(probe) = self.1.take() {
            self.0.remove_probe(probe);
        }
    }
}

/// A camera whose frames are numbered, and its bell.
struct Camera {
    outlet: Arc<Outlet>,
    wanted: Arc<Notify>,
    next: u64,
}

impl Camera {
    fn new() -> Self {
        crate::media::init().expect("GStreamer starts");
        let wanted = Arc::new(Notify::new());
        let outlet = Outlet::for_video(&TimeBase::now(), wanted.clone());
        Self {
            outlet: Arc::new(outlet),
            wanted,
            next: 0,
        }
    }

    fn gives(&mut self, keys: &[bool]) {
        let mut segment = gst::FormattedSegment::<gst::ClockTime>::new();
        segment.set_start(gst::ClockTime::ZERO);
        for &is_key in keys {
            let mut frame = gst::Buffer::from_slice([0; 16]);
            let writable = frame.get_mut().expect("nobody else holds it");
            writable.set_pts(gst::ClockTime::from_mseconds(self.next * STEP));
            if !is_key {
                writable.set_flags(gst::BufferFlags::DELTA_UNIT);
            }
            let sample = gst::Sample::builder().buffer(&frame).segment(&segment);
            self.outlet.camera_frame(&sample.build());
            self.next += 1;
        }
    }

    /// Whether somebody rang for a keyframe since the last look.
    async fn was_asked(&self) -> bool {
        let bell = self.wanted.notified();
        tokio::time::timeout(Duration::ZERO, bell).await.is_ok()
    }
}

#[tokio::test]
async fn who_comes_right_after_a_keyframe_is_given_the_group_so_far() {
    let mut camera = Camera::new();
    camera.gives(&[true, false, false, true, false]);
    let branch = Branch::new();
    let _tap = camera.outlet.tap(&branch.inlet);
    camera.gives(&[false]);
    assert_eq!([3, 4, 5], [(); 3].map(|()| branch.next()));
    assert!(!camera.was_asked().await, "it needs no keyframe of its own");
}

#[tokio::test]
async fn who_comes_later_begins_with_a_keyframe_that_is_asked_for() {
    let mut camera = Camera::new();
    let mut group = vec![false; 1 + (KEPT.mseconds() / STEP) as usize];
    group[0] = true;
    camera.gives(&group);
    camera.gives(&[false]);
    let branch = Branch::new();
    let _tap = camera.outlet.tap(&branch.inlet);
    assert!(camera.was_asked().await);
    camera.gives(&[false, false]);
    assert!(!camera.was_asked().await, "once is enough at first");
    let key = camera.next;
    camera.gives(&[true, false]);
    assert_eq!([key, key + 1], [(); 2].map(|()| branch.next()));
}

#[tokio::test]
async fn a_branch_that_falls_behind_misses_whole_groups_and_no_other_branch_does() {
    let mut camera = Camera::new();
    let (slow, good) = (Branch::new(), Branch::new());
    let _taps = [&slow, &good].map(|branch| camera.outlet.tap(&branch.inlet));
    camera.gives(&[true]);
    assert_eq!((slow.next(), good.next()), (0, 0));
    assert!(camera.was_asked().await, "the taps did");

    let stalled = slow.stall();
    // One after the other: all at once, the good one would be behind as well.
    let gives = |camera: &mut Camera, is_key| {
        camera.gives(&[is_key]);
        assert_eq!(good.next(), camera.next - 1);
    };
    for _ in 0..2 * QUEUED.mseconds() / STEP {
        gives(&mut camera, false);
    }
    assert!(camera.was_asked().await, "it cannot go on without");
    let missed = camera.next;
    gives(&mut camera, true);
    gives(&mut camera, false);
    drop(stalled);
    let deadline = Instant::now() + PATIENCE;
    while slow.inlet.source.current_level_buffers() > 0 {
        assert!(Instant::now() < deadline, "what waited is taken");
        std::thread::yield_now();
    }
    camera.gives(&[false]);
    let key = camera.next;
    camera.gives(&[true, false]);
    let mut last = 0;
    let after_last = loop {
        match slow.next() {
            number if number == last + 1 => last = number,
            number => break number,
        }
    };
    assert!(last < missed - 1, "{last}: too much waited");
    assert_eq!([key, key + 1], [after_last, slow.next()]);
}

#[test]
fn a_tap_that_is_dropped_takes_nothing_more() {
    let mut camera = Camera::new();
    let branch = Branch::new();
    let tap = camera.outlet.tap(&branch.inlet);
    camera.gives(&[true]);
    assert_eq!(branch.next(), 0);
    drop(tap);
    camera.gives(&[true]);
    assert!(camera.outlet.gate().takers.is_empty());
    assert!(
        branch
            .frames
            .recv_timeout(Duration::from_millis(200))
            .is_err()
    );
}

#[tokio::test]
async fn after_a_rest_nothing_of_before_is_shown() {
    let mut camera = Camera::new();
    let stays = Branch::new();
    let _stays = camera.outlet.tap(&stays.inlet);
    camera.gives(&[true, false]);
    assert_eq!([0, 1], [(); 2].map(|()| stays.next()));
    camera.outlet.rest();
    // What the encoder still had in hand.
    camera.gives(&[true, false]);
    camera.outlet.wake();
    let comes = Branch::new();
    camera.was_asked().await;
    let _comes = camera.outlet.tap(&comes.inlet);
    assert!(camera.was_asked().await, "there is no group to begin with");
    camera.gives(&[false, true, false]);
    for branch in [&stays, &comes] {
        assert_eq!([5, 6], [(); 2].map(|()| branch.next()));
    }
}

#[test]
fn a_rest_ends_the_slate() {
    let camera = Camera::new();
    camera.outlet.show_slate();
    camera.outlet.rest();
    assert!(!camera.outlet.shows_slate());
    camera.outlet.show_slate();
    assert!(
        camera.outlet.shows_slate(),
        "a fault is told of all the same"
    );
}
