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
    atomic::{AtomicBool, AtomicU64, Ordering},
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
/// Marks the first frame of an outlet's turn at a branch.
const BEGINS: gst::BufferFlags = gst::BufferFlags::DISCONT;
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
    inlet: Arc<Inlet>,
    /// Its place among the outlets that the branch has been tapped to.
    turn: u64,
    state: Taking,
}

/// Where a branch takes its frames in: from one outlet at a time, the latest that it was tapped to. The one before
/// goes on until the first frame of the next, so that nothing is missing and nothing is mixed.
#[derive(Debug)]
pub struct Inlet {
    source: gst_app::AppSrc,
    /// What waits in the source is to be let fall, up to the first frame of the next turn.
    skips: AtomicBool,
    // Held for one push, which never waits: while outlets are changed, two threads may come at once.
    turns: Mutex<Turns>,
}

#[derive(Debug, Default)]
struct Turns {
    given: u64,
    current: u64,
    newest: Option<gst::ClockTime>,
    /// Of the latest outlet: what the viewer misses, that one has to make good.
    keyframe_wanted: Option<Arc<Notify>>,
    allowance: Option<Allowance>,
}

/// How much of the pictures a branch may take, where it may not take all: a token bucket of one second.
#[derive(Debug)]
struct Allowance {
    /// Bit/s.
    bitrate: u32,
    /// Bits that it may still take; what the last picture took beyond that is owed.
    left: f64,
    filled: gst::ClockTime,
}

impl Allowance {
    fn fill(&mut self, now: gst::ClockTime) {
        let elapsed = now.saturating_sub(self.filled).nseconds() as f64 / 1e9;
        let bitrate = f64::from(self.bitrate);
        // A keyframe is owed for two seconds at most.
        self.left = (self.left.max(-2.0 * bitrate) + elapsed * bitrate).min(bitrate);
        self.filled = now;
    }
}

impl Inlet {
    /// A viewer's own requests for a keyframe (PLI, FIR) come up to the branch's `source`.
    pub fn new(source: gst_app::AppSrc) -> Arc<Self> {
        let inlet = Arc::new(Self {
            source,
            skips: AtomicBool::new(false),
            turns: Mutex::default(),
        });
        if let Some(pad) = inlet.source.static_pad("src") {
            let weak = Arc::downgrade(&inlet);
            pad.add_probe(gst::PadProbeType::EVENT_UPSTREAM, move |_, info| {
                let asks = info
                    .event()
                    .is_some_and(|event| gst_video::ForceKeyUnitEvent::is(event));
                if let (true, Some(inlet)) = (asks, weak.upgrade())
                    && let Some(wanted) = &inlet.turns().keyframe_wanted
                {
                    wanted.notify_one();
                }
                gst::PadProbeReturn::Ok
            });
            let weak = Arc::downgrade(&inlet);
            pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
                let begins = info
                    .buffer()
                    .is_some_and(|frame| frame.flags().contains(BEGINS));
                match weak.upgrade() {
                    Some(inlet) if inlet.skips.load(Ordering::Acquire) && !begins => {
                        gst::PadProbeReturn::Drop
                    }
                    Some(inlet) if begins => {
                        inlet.skips.store(false, Ordering::Release);
                        gst::PadProbeReturn::Ok
                    }
                    _ => gst::PadProbeReturn::Ok,
                }
            });
        }
        inlet
    }

    /// Lets fall what was taken in and is still waiting: the viewer is better off with the next turn's first frame.
    pub fn skip(&self) {
        self.skips.store(true, Ordering::Release);
    }

    /// From now on no more than so many bit/s of pictures are taken, in whole groups or what fits of their beginning;
    /// `None`: all.
    pub fn limit(&self, bitrate: Option<u32>, now: gst::ClockTime) {
        let mut turns = self.turns();
        let left = turns.allowance.as_ref().map_or(0.0, |before| before.left);
        turns.allowance = bitrate.map(|bitrate| Allowance {
            bitrate,
            left,
            filled: now,
        });
    }

    /// Whether it can take no picture at present, nor any that needs this one.
    fn is_behind(&self, now: gst::ClockTime) -> bool {
        if self.source.current_level_time() > QUEUED {
            return true;
        }
        let mut turns = self.turns();
        turns.allowance.as_mut().is_some_and(|allowance| {
            allowance.fill(now);
            allowance.left < 0.0
        })
    }

    fn turns(&self) -> MutexGuard<'_, Turns> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next outlet's turn; the first is 1.
    fn next_turn(&self, keyframe_wanted: Option<Arc<Notify>>) -> u64 {
        let mut turns = self.turns();
        turns.given += 1;
        turns.keyframe_wanted = keyframe_wanted;
        turns.given
    }

    /// A frame of the outlet whose turn this is; false where a later one has taken over.
    fn push(&self, turn: u64, frame: &gst::Buffer) -> bool {
        let mut turns = self.turns();
        if turn < turns.current {
            return false;
        }
        let begins = std::mem::replace(&mut turns.current, turn) != turn;
        let mut frame = frame.clone();
        if begins {
            frame.make_mut().set_flags(BEGINS);
        }
        // Two encoders are not equally quick, and RTP's time must not run backwards.
        if let (Some(newest), Some(time)) = (turns.newest, frame.pts())
            && time <= newest
        {
            frame.make_mut().set_pts(newest + MOMENT);
        }
        turns.newest = frame.pts().or(turns.newest);
        if let Some(allowance) = &mut turns.allowance {
            allowance.left -= frame.size() as f64 * 8.0;
        }
        // Fails only while the branch is being closed.
        let _ = self.source.push_buffer(frame);
        true
    }
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

    /// From now on `inlet` is given every frame, beginning with a keyframe where frames are pictures; one is asked for
    /// unless there was one just now and the branch has had nothing else yet.
    pub fn tap(self: &Arc<Self>, inlet: &Arc<Inlet>) -> Tap {
        let number = self.taps.fetch_add(1, Ordering::Relaxed);
        let turn = inlet.next_turn(self.keyframe_wanted.clone());
        let mut gate = self.gate();
        inlet.source.set_caps(gate.caps.as_ref());
        let mut taker = Taker {
            tap: number,
            inlet: inlet.clone(),
            turn,
            state: Taking::All,
        };
        // To who has had later ones, these are of no use.
        let group = if turn == 1 { &gate.group[..] } else { &[] };
        for frame in group {
            taker.push(frame);
        }
        if let (Some(wanted), true) = (&self.keyframe_wanted, group.is_empty()) {
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

    /// From now on, until a keyframe of the camera's comes.
    pub fn show_slate(&self) {
        self.gate().slate = true;
    }

    /// From now on no more: whoever saw it gets nothing until the next keyframe, which is asked for.
    pub fn hide_slate(&self) {
        let now = self.time.running_time();
        let mut gate = self.gate();
        if !std::mem::take(&mut gate.slate) {
            return;
        }
        for taker in &mut gate.takers {
            taker.state = Taking::FromKeyframe { asked: now };
        }
        if let (Some(wanted), false) = (&self.keyframe_wanted, gate.takers.is_empty()) {
            wanted.notify_one();
        }
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
            gate.takers.retain(|taker| taker.push(&piece));
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
        gate.takers.retain_mut(|taker| {
            let taken = taker.take(&frame, is_key, now);
            wanted |= taken == Taken::WantsKeyframe;
            taken != Taken::HasGone
        });
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
        let writable = buffer.make_mut();
        writable.set_dts(gst::ClockTime::NONE);
        // An encoder's own word for "something was left out", which is ours for something else.
        writable.unset_flags(BEGINS);
        Some((buffer, captured.unwrap_or_else(|| self.time.running_time())))
    }
}

/// What came of one picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Taken {
    Fine,
    WantsKeyframe,
    /// The branch takes another outlet's by now.
    HasGone,
}

impl Taker {
    fn take(&mut self, frame: &gst::Buffer, is_key: bool, now: gst::ClockTime) -> Taken {
        let is_behind = self.inlet.is_behind(now);
        match &mut self.state {
            // The rest of the group is of no use without what is left out here.
            Taking::All if is_behind => {
                self.state = Taking::FromKeyframe { asked: now };
                Taken::WantsKeyframe
            }
            Taking::FromKeyframe { .. } if is_behind => Taken::Fine,
            Taking::FromKeyframe { asked } if !is_key => {
                if now.saturating_sub(*asked) <= ASK_AGAIN {
                    return Taken::Fine;
                }
                *asked = now;
                Taken::WantsKeyframe
            }
            Taking::All | Taking::FromKeyframe { .. } => {
                self.state = Taking::All;
                match self.push(frame) {
                    true => Taken::Fine,
                    false => Taken::HasGone,
                }
            }
        }
    }

    /// False where the branch takes another outlet's frames by now.
    fn push(&self, buffer: &gst::Buffer) -> bool {
        self.inlet.push(self.turn, buffer)
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
            taker.inlet.source.set_caps(self.caps.as_ref());
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
