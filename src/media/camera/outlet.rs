//! Where branches take their frames from. An outlet outlives every camera pipeline, so that a branch
//! notices nothing of a camera's restart but a gap.
//!
//! ```text
//! camera pipeline's appsink ─┐
//!                    slate ──┴▶ outlet ─▶ one appsrc per branch
//! ```
//! All pipelines run on one clock and one base time, and what comes in carries running time: an
//! encoder's own idea of a segment (x264enc begins at 1000 hours) ends here.
//!
//! Pictures reach a branch in whole groups: it begins with a keyframe, and where it falls behind it gets nothing
//! until the next one. Whoever comes shortly after a keyframe is given the group so far, and needs none of its own.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use gst::prelude::*;
use tokio::sync::Notify;

/// A branch that has so much waiting in it is too slow.
const QUEUED: gst::ClockTime = gst::ClockTime::from_mseconds(500);
/// A group that has gone on for longer is not kept for newcomers: by then the encoder obeys another request, see
/// `min-force-key-unit-interval` in the profiles.
const KEPT: gst::ClockTime = gst::ClockTime::from_mseconds(300);
/// A branch that still waits for a keyframe asks again after so long.
const ASK_AGAIN: gst::ClockTime = gst::ClockTime::from_mseconds(500);
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
    time: TimeBase,
    /// For pictures: the camera's bell.
    keyframe_wanted: Option<Arc<Notify>>,
    // Held for a push to each branch, which never waits: of the camera's thread and the slate's, one comes first.
    gate: Mutex<Gate>,
    taps: AtomicU64,
}

#[derive(Debug, Default)]
struct Gate {
    /// Nobody watches: what still comes is not for whoever will.
    resting: bool,
    /// The slate is shown, until a keyframe of the camera's ends it.
    slate: bool,
    /// The newest timestamp of a camera's frame.
    newest: gst::ClockTime,
    /// No frame may be stamped this old or older: the slate was shown.
    floor: Option<gst::ClockTime>,
    caps: Option<gst::Caps>,
    /// The newest keyframe and what came after it; empty once it has gone on for too long.
    group: Vec<gst::Buffer>,
    takers: Vec<Taker>,
}

/// A branch that takes frames.
#[derive(Debug)]
struct Taker {
    tap: u64,
    source: gst_app::AppSrc,
    state: Taking,
}

#[derive(Debug, Clone, Copy)]
enum Taking {
    All,
    /// Nothing until the next keyframe, which was asked for at this time.
    FromKeyframe {
        asked: gst::ClockTime,
    },
}

/// A branch's hold on an outlet: dropped, it takes nothing more.
#[derive(Debug)]
pub struct Tap {
    outlet: Arc<Outlet>,
    number: u64,
}

impl Drop for Tap {
    fn drop(&mut self) {
        let mut gate = self.outlet.gate();
        gate.takers.retain(|taker| taker.tap != self.number);
    }
}

impl Outlet {
    /// For pictures. Who needs a keyframe notifies `keyframe_wanted`.
    pub fn for_video(time: &TimeBase, keyframe_wanted: Arc<Notify>) -> Self {
        let caps = VIDEO_CAPS.parse().expect("the caps are well-formed");
        Self::open(time, Some(keyframe_wanted), Some(caps))
    }

    /// For sound.
    pub fn for_sound(time: &TimeBase) -> Self {
        Self::open(time, None, None)
    }

    fn open(
        time: &TimeBase,
        keyframe_wanted: Option<Arc<Notify>>,
        caps: Option<gst::Caps>,
    ) -> Self {
        Self {
            time: time.clone(),
            keyframe_wanted,
            gate: Mutex::new(Gate {
                caps,
                ..Gate::default()
            }),
            taps: AtomicU64::new(0),
        }
    }

    /// From now on `source` is given every frame, beginning with a keyframe where frames are pictures; one is asked for
    /// unless there was one just now.
    pub fn tap(self: &Arc<Self>, source: &gst_app::AppSrc) -> Tap {
        self.hear_requests(source);
        let number = self.taps.fetch_add(1, Ordering::Relaxed);
        let mut gate = self.gate();
        source.set_caps(gate.caps.as_ref());
        let mut taker = Taker {
            tap: number,
            source: source.clone(),
            state: Taking::All,
        };
        for frame in &gate.group {
            taker.push(frame);
        }
        if let (Some(wanted), true) = (&self.keyframe_wanted, gate.group.is_empty()) {
            wanted.notify_one();
            taker.state = Taking::FromKeyframe {
                asked: self.time.running_time(),
            };
        }
        gate.takers.push(taker);
        Tap {
            outlet: self.clone(),
            number,
        }
    }

    /// A viewer's own request for a keyframe (PLI, FIR) comes up to the branch's source.
    fn hear_requests(&self, source: &gst_app::AppSrc) {
        let (Some(wanted), Some(pad)) = (self.keyframe_wanted.clone(), source.static_pad("src"))
        else {
            return;
        };
        pad.add_probe(gst::PadProbeType::EVENT_UPSTREAM, move |_, info| {
            if info
                .event()
                .is_some_and(|event| gst_video::ForceKeyUnitEvent::is(event))
            {
                wanted.notify_one();
            }
            gst::PadProbeReturn::Ok
        });
    }

    /// From now on, until a keyframe of the camera's comes.
    pub fn show_slate(&self) {
        self.gate().slate = true;
    }

    pub fn shows_slate(&self) -> bool {
        self.gate().slate
    }

    /// Nobody watches: from now on there is nothing to see, nor anything left of what there was.
    pub fn rest(&self) {
        let mut gate = self.gate();
        let asked = self.time.running_time();
        gate.resting = true;
        gate.slate = false;
        gate.group.clear();
        for taker in &mut gate.takers {
            taker.state = Taking::FromKeyframe { asked };
        }
    }

    /// Somebody does: from the next keyframe on.
    pub fn wake(&self) {
        self.gate().resting = false;
    }

    /// A frame of the camera's. What needs another frame is held back while the slate is shown.
    pub fn camera_frame(&self, sample: &gst::Sample) {
        let Some((mut frame, time)) = self.on_running_time(sample) else {
            return;
        };
        let mut gate = self.gate();
        if gate.resting {
            return;
        }
        if gate.slate && frame.flags().contains(gst::BufferFlags::DELTA_UNIT) {
            return;
        }
        gate.slate = false;
        let time = gate.after_slate(time);
        gate.newest = gate.newest.max(time);
        frame.make_mut().set_pts(time);
        self.push(&mut gate, frame);
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
        self.push(&mut gate, picture);
    }

    /// A piece of sound.
    pub fn sound(&self, sample: &gst::Sample) {
        if let Some((mut piece, time)) = self.on_running_time(sample) {
            piece.make_mut().set_pts(time);
            let mut gate = self.gate();
            gate.follow_caps(sample.caps());
            gate.takers.iter().for_each(|taker| taker.push(&piece));
        }
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands a picture to every branch that can use it, and asks for a keyframe where one cannot for long.
    fn push(&self, gate: &mut Gate, frame: gst::Buffer) {
        let is_key = !frame.flags().contains(gst::BufferFlags::DELTA_UNIT);
        let now = self.time.running_time();
        let mut wanted = false;
        for taker in &mut gate.takers {
            wanted |= taker.take(&frame, is_key, now);
        }
        if let (Some(bell), true) = (&self.keyframe_wanted, wanted) {
            bell.notify_one();
        }
        gate.keep(frame, is_key);
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

impl Taker {
    /// One picture; whether a keyframe is to be asked for.
    fn take(&mut self, frame: &gst::Buffer, is_key: bool, now: gst::ClockTime) -> bool {
        let is_behind = self.source.current_level_time() > QUEUED;
        match &mut self.state {
            // The rest of the group is of no use without what is left out here.
            Taking::All if is_behind => {
                self.state = Taking::FromKeyframe { asked: now };
                true
            }
            Taking::FromKeyframe { .. } if is_behind => false,
            _ if is_key => {
                self.state = Taking::All;
                self.push(frame);
                false
            }
            Taking::All => {
                self.push(frame);
                false
            }
            Taking::FromKeyframe { asked } => {
                let again = now.saturating_sub(*asked) > ASK_AGAIN;
                if again {
                    *asked = now;
                }
                again
            }
        }
    }

    fn push(&self, buffer: &gst::Buffer) {
        // Fails only while the branch is being closed.
        let _ = self.source.push_buffer(buffer.clone());
    }
}

impl Gate {
    /// For whoever comes now.
    fn keep(&mut self, frame: gst::Buffer, is_key: bool) {
        if is_key {
            self.group.clear();
        }
        let began = self.group.first().and_then(|first| first.pts());
        let age = began
            .zip(frame.pts())
            .map(|(began, now)| now.saturating_sub(began));
        if age.is_some_and(|age| age > KEPT) {
            self.group.clear();
        } else if is_key || !self.group.is_empty() {
            self.group.push(frame);
        }
    }

    fn follow_caps(&mut self, caps: Option<&gst::CapsRef>) {
        let Some(caps) = caps else { return };
        if self.caps.as_deref() == Some(caps) {
            return;
        }
        self.caps = Some(caps.to_owned());
        for taker in &self.takers {
            taker.source.set_caps(self.caps.as_ref());
        }
    }

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

#[cfg(test)]
mod tests;
