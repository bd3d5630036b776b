//! Where branches take their frames from. An outlet outlives every camera pipeline, so that a branch
//! notices nothing of a camera's restart but a gap.
//!
//! ```text
//! camera pipeline's appsink ─┐
//!                    slate ──┴▶ appsrc ! appsink ─▶ StreamProducer ─▶ branches
//! ```
//! All pipelines run on one clock and one base time, and what comes in carries running time: an
//! encoder's own idea of a segment (x264enc begins at 1000 hours) ends here.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gst::prelude::*;
use gst_utils::{StreamProducer, streamproducer::ProducerSettings};
use tokio::sync::Notify;

use super::pipeline::Running;

/// Frames that may wait for the outlet's thread. It never waits itself, so this is for bursts.
const QUEUED_FRAMES: u64 = 32;
/// How old a slate is said to be: a camera's first frame after it was captured before it was sent.
const SLATE_AGE: gst::ClockTime = gst::ClockTime::from_mseconds(200);
const MOMENT: gst::ClockTime = gst::ClockTime::from_mseconds(1);
/// The same whatever the encoder is: a payloader reads the rest from the stream.
const VIDEO_CAPS: &str = "video/x-h264,stream-format=byte-stream,alignment=au";

/// The clock and base time of every pipeline there is, from the first start to the end.
#[derive(Debug, Clone)]
pub struct TimeBase {
    pub clock: gst::Clock,
    pub base_time: gst::ClockTime,
}

impl TimeBase {
    /// From now on, on the system's monotonic clock.
    pub fn now() -> Self {
        let clock = gst::SystemClock::obtain();
        let base_time = clock.time();
        Self { clock, base_time }
    }

    pub fn rule(&self, pipeline: &gst::Pipeline) {
        pipeline.use_clock(Some(&self.clock));
        pipeline.set_start_time(gst::ClockTime::NONE);
        pipeline.set_base_time(self.base_time);
    }

    pub fn running_time(&self) -> gst::ClockTime {
        self.clock.time().saturating_sub(self.base_time)
    }
}

/// One medium's outlet.
#[derive(Debug)]
pub struct Outlet {
    pub producer: StreamProducer,
    source: gst_app::AppSrc,
    time: TimeBase,
    // Held for one push, which never waits: of the camera's thread and the slate's, one comes first.
    gate: Mutex<Gate>,
    _running: Running,
}

#[derive(Debug, Default)]
struct Gate {
    /// The slate is shown, until a keyframe of the camera's ends it.
    slate: bool,
    /// The newest timestamp of a camera's frame.
    newest: gst::ClockTime,
    /// No frame may be stamped this old or older: the slate was shown.
    floor: Option<gst::ClockTime>,
}

impl Outlet {
    /// For pictures. Requests for a keyframe that branches make notify `keyframe_wanted`. Blocks for a
    /// moment.
    pub fn for_video(time: &TimeBase, keyframe_wanted: Arc<Notify>) -> Result<Self, String> {
        let outlet = Self::open("video-outlet", time)?;
        let caps: gst::Caps = VIDEO_CAPS.parse().expect("the caps are well-formed");
        outlet.source.set_caps(Some(&caps));
        let pad = outlet.source.static_pad("src");
        pad.expect("an appsrc has a source pad").add_probe(
            gst::PadProbeType::EVENT_UPSTREAM,
            move |_, info| {
                if info
                    .event()
                    .is_some_and(|event| gst_video::ForceKeyUnitEvent::is(event))
                {
                    keyframe_wanted.notify_one();
                }
                gst::PadProbeReturn::Ok
            },
        );
        Ok(outlet)
    }

    /// For sound. Blocks for a moment.
    pub fn for_sound(time: &TimeBase) -> Result<Self, String> {
        Self::open("sound-outlet", time)
    }

    fn open(name: &str, time: &TimeBase) -> Result<Self, String> {
        let pipeline = gst::Pipeline::with_name(name);
        time.rule(&pipeline);
        let source = gst_app::AppSrc::builder()
            .name(format!("{name}-in"))
            .is_live(true)
            .format(gst::Format::Time)
            .max_buffers(QUEUED_FRAMES)
            .leaky_type(gst_app::AppLeakyType::Downstream)
            .build();
        let sink = gst_app::AppSink::builder()
            .name(format!("{name}-out"))
            .async_(false)
            .build();
        let linked = pipeline
            .add_many([source.upcast_ref::<gst::Element>(), sink.upcast_ref()])
            .and_then(|()| source.link(&sink));
        linked.map_err(|error| error.to_string())?;
        let producer = StreamProducer::with(&sink, ProducerSettings { sync: false });
        pipeline
            .set_state(gst::State::Playing)
            .map_err(|error| format!("{name} does not start: {error}"))?;
        Ok(Self {
            producer,
            source,
            time: time.clone(),
            gate: Mutex::default(),
            _running: Running(pipeline),
        })
    }

    /// From now on, until a keyframe of the camera's comes.
    pub fn show_slate(&self) {
        self.gate().slate = true;
    }

    pub fn shows_slate(&self) -> bool {
        self.gate().slate
    }

    /// A frame of the camera's. What needs another frame is held back while the slate is shown.
    pub fn camera_frame(&self, sample: &gst::Sample) {
        let Some((mut frame, time)) = self.on_running_time(sample) else {
            return;
        };
        let mut gate = self.gate();
        if gate.slate && frame.flags().contains(gst::BufferFlags::DELTA_UNIT) {
            return;
        }
        gate.slate = false;
        let time = gate.after_slate(time);
        gate.newest = gate.newest.max(time);
        frame.make_mut().set_pts(time);
        self.push(frame);
    }

    /// A picture of the slate; lets it fall where the slate is not shown.
    pub fn slate_picture(&self, mut picture: gst::Buffer) {
        let mut gate = self.gate();
        if !gate.slate {
            return;
        }
        let now = self.time.running_time().saturating_sub(SLATE_AGE);
        let earliest = now.max(gate.newest + MOMENT);
        let time = gate.after_slate(earliest);
        gate.floor = Some(time);
        picture.make_mut().set_pts(time);
        self.push(picture);
    }

    /// A piece of sound.
    pub fn sound(&self, sample: &gst::Sample) {
        if let Some((mut piece, time)) = self.on_running_time(sample) {
            if let Some(caps) = sample.caps() {
                // Compared before it is sent on.
                self.source.set_caps(Some(&caps.to_owned()));
            }
            piece.make_mut().set_pts(time);
            self.push(piece);
        }
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, buffer: gst::Buffer) {
        // Fails only while the outlet is shut, which is the end of everything.
        let _ = self.source.push_buffer(buffer);
    }

    /// The sample's buffer, and when it was captured. Memory is shared, not copied.
    fn on_running_time(&self, sample: &gst::Sample) -> Option<(gst::Buffer, gst::ClockTime)> {
        let mut buffer = sample.buffer_owned()?;
        let segment = sample.segment()?.downcast_ref::<gst::ClockTime>();
        let captured = segment
            .zip(buffer.pts())
            .and_then(|(segment, pts)| segment.to_running_time(pts));
        // Without B-frames the order of decoding is that of capture.
        buffer.make_mut().set_dts(gst::ClockTime::NONE);
        Some((buffer, captured.unwrap_or_else(|| self.time.running_time())))
    }
}

impl Gate {
    /// RTP's time must not run backwards where a frame was captured before the last slate was sent.
    fn after_slate(&mut self, time: gst::ClockTime) -> gst::ClockTime {
        match self.floor {
            Some(floor) if time <= floor => {
                let time = floor + MOMENT;
                self.floor = Some(time);
                time
            }
            _ => time,
        }
    }
}
