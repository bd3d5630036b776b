//! One run of the camera: its pipeline from being built to being shut.
//!
//! ```text
//! source ! convert ! encoder ! h264parse ! appsink ─▶ outlet
//!   └ counted           └ timed              └ counted
//! ```

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

use gst::prelude::*;
use tokio::sync::mpsc;

use super::{
    CameraError, Planning,
    outlet::{Outlet, TimeBase},
    second::{RawTap, Recipe},
    status::{CameraCounters, Picture},
    valve::Valve,
};
use crate::media::{
    bus,
    devices::{is_node, other_than_a_camera},
    h264,
    profile::{CAMERAS_OWN, Commands, Encoder, ProfileError},
};

/// What a profile calls its encoder.
pub const ENCODER: &str = "encoder";

/// A pipeline that is shut when nobody holds it any more, also where its start is given up half-way:
/// GStreamer does not forgive a pipeline that is dropped while it plays.
#[derive(Debug)]
pub struct Running(pub gst::Pipeline);

impl Drop for Running {
    fn drop(&mut self) {
        let pipeline = self.0.clone();
        // Not on the loop, which must not wait, and not of it, which may be at its end. Where there is no thread
        // left, a wait is better than a pipeline that plays on.
        let elsewhere = std::thread::Builder::new().spawn(move || shut(&pipeline));
        if elsewhere.is_err() {
            shut(&self.0);
        }
    }
}

/// Blocks until the streaming threads have ended.
pub fn shut(pipeline: &gst::Pipeline) {
    let _ = pipeline.set_state(gst::State::Null);
    if let Some(bus) = pipeline.bus() {
        bus.unset_sync_handler();
    }
}

/// What a run's own threads have to say.
#[derive(Debug)]
pub enum Said {
    Failed {
        why: String,
        about: bus::About,
    },
    /// An element is not content and goes on.
    Warned(String),
    /// The first SPS came by, and says this `profile-level-id`.
    Sps(String),
}

/// One run of the camera, tagged so that a late word of a former one is not taken for its own.
#[derive(Debug)]
pub struct Run {
    pub number: u64,
    /// Pictures that had been encoded before it.
    began_at: u64,
    pub pipeline: Running,
    pub picture: Picture,
    /// Before the encoder; nothing where the profile does not name it.
    pub valve: Option<Valve>,
    /// What is to be started beside it, where sound is wanted.
    pub sound: Option<String>,
    /// How the second rendition is made, where there may be one.
    pub second: Option<Recipe>,
    pub commands: Commands,
}

impl Run {
    /// Nothing where the camera encodes by itself.
    pub fn encoder(&self) -> Option<Encoder> {
        (self.picture.encoder != CAMERAS_OWN).then(|| Encoder {
            profile: self.picture.profile.clone(),
            name: self.picture.encoder.clone(),
        })
    }

    pub fn has_given_a_picture(&self, counters: &CameraCounters) -> bool {
        counters.encoded_frames.load(Ordering::Relaxed) > self.began_at
    }
}

/// Why there is nothing to run.
#[derive(Debug)]
pub enum Unprepared {
    /// It may come.
    NoCamera(String),
    /// A restart of the process is needed at least.
    Broken(CameraError),
}

/// What a run is connected to.
#[derive(Debug, Clone)]
pub struct Taps {
    pub time: TimeBase,
    pub outlet: Arc<Outlet>,
    pub raw: Arc<RawTap>,
    pub counters: Arc<CameraCounters>,
    pub said: mpsc::UnboundedSender<(u64, Said)>,
}

/// Looks at the hardware, which may be another one than last time, and builds what fits it. Asks drivers:
/// blocks. Nothing runs yet.
pub fn prepare(
    planning: &Planning,
    avoided: &BTreeSet<Encoder>,
    number: u64,
    taps: &Taps,
) -> Result<Run, Unprepared> {
    let plan = planning(avoided).map_err(|error| match error {
        ProfileError::NoCamera { .. } => Unprepared::NoCamera(error.to_string()),
        error => Unprepared::Broken(CameraError::Profile(error)),
    })?;
    if let Some(device) = &plan.device
        && is_missing(device)
    {
        return Err(Unprepared::NoCamera(format!("no camera at {device}")));
    }
    if let Some(why) = plan
        .device
        .as_ref()
        .and_then(|it| other_than_a_camera(Path::new(it)))
    {
        return Err(Unprepared::NoCamera(why));
    }
    let pipeline = build(&plan.text.video).map_err(|error| {
        Unprepared::Broken(CameraError::Unbuildable(format!(
            "profile {:?}: {error}",
            plan.profile
        )))
    })?;
    taps.time.rule(&pipeline);
    // Before whatever else looks at the frames that the encoder is given.
    let valve = pipeline.by_name(ENCODER).as_ref().and_then(Valve::before);
    let watch = Stopwatch::default();
    let watch = time_encoder(&pipeline, watch, taps.raw.clone());
    count_source(&pipeline, taps.counters.clone());
    take_frames(&pipeline, number, taps, watch).map_err(Unprepared::Broken)?;
    watch_bus(&pipeline, number, taps.said.clone());
    Ok(Run {
        number,
        began_at: taps.counters.encoded_frames.load(Ordering::Relaxed),
        pipeline: Running(pipeline),
        picture: Picture {
            profile: plan.profile,
            device: plan.device,
            encoder: plan.encoder,
            adjustable: plan.text.commands.bitrate.is_some(),
            has_second: plan.text.second.is_some(),
        },
        sound: plan.text.audio,
        second: plan.text.second.map(|launch| Recipe {
            launch,
            commands: plan.text.commands.clone(),
        }),
        commands: plan.text.commands,
        valve,
    })
}

/// What would be wrong with every start, found out without looking for a camera. Blocks.
pub fn rehearse(planning: &Planning) -> Result<(), CameraError> {
    match planning(&BTreeSet::new()) {
        Ok(_) | Err(ProfileError::NoCamera { .. }) => Ok(()),
        Err(error) => Err(CameraError::Profile(error)),
    }
}

/// A device that is a node and is not there.
pub fn is_missing(device: &str) -> bool {
    let path = Path::new(device);
    is_node(path) && !path.exists()
}

/// Opens the device and starts the threads. A driver may hang already here.
pub fn play(pipeline: &gst::Pipeline) -> bool {
    pipeline.set_state(gst::State::Playing).is_ok()
}

/// The launch text behind the encoder is the same for every profile.
pub(in crate::media) fn build(video: &str) -> Result<gst::Pipeline, String> {
    let text = format!(
        "{video} ! h264parse config-interval=-1 \
         ! video/x-h264,stream-format=byte-stream,alignment=au \
         ! appsink name=video sync=false async=false max-buffers=4 drop=true"
    );
    let pipeline = gst::parse::launch(&text)
        .map_err(|error| error.to_string())?
        .downcast::<gst::Pipeline>()
        .map_err(|_| "it is a single element".to_owned())?;
    pipeline.set_property("name", "camera");
    Ok(pipeline)
}

/// What the source gives, whatever becomes of it.
fn count_source(pipeline: &gst::Pipeline, counters: Arc<CameraCounters>) {
    let source = pipeline.iterate_sources().into_iter().find_map(Result::ok);
    let Some(pad) = source.and_then(|source| source.static_pad("src")) else {
        return;
    };
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
        counters.source_frames.fetch_add(1, Ordering::Relaxed);
        gst::PadProbeReturn::Ok
    });
}

fn take_frames(
    pipeline: &gst::Pipeline,
    number: u64,
    taps: &Taps,
    watch: Option<Arc<Stopwatch>>,
) -> Result<(), CameraError> {
    let taps = taps.clone();
    let found = AtomicBool::new(false);
    on_frame(pipeline, move |sample| {
        if let Some(frame) = sample.buffer() {
            count(&taps.counters, frame);
            if let Some(watch) = &watch {
                watch.stop(running_time(sample, frame), &taps.counters);
            }
            if !found.load(Ordering::Relaxed)
                && let Some(id) = buffer_profile_level_id(frame)
            {
                found.store(true, Ordering::Relaxed);
                let _ = taps.said.send((number, Said::Sps(id)));
            }
        }
        taps.outlet.camera_frame(sample);
    })
}

/// Calls `take` with each encoded picture, on the pipeline's own thread.
pub fn on_frame(
    pipeline: &gst::Pipeline,
    take: impl Fn(&gst::Sample) + Send + 'static,
) -> Result<(), CameraError> {
    let sink = pipeline
        .by_name("video")
        .and_then(|element| element.downcast::<gst_app::AppSink>().ok())
        .ok_or_else(|| CameraError::Unbuildable("the pipeline has no appsink \"video\"".into()))?;
    let callbacks = gst_app::AppSinkCallbacks::builder().new_sample(move |sink| {
        take(&sink.pull_sample().map_err(|_| gst::FlowError::Flushing)?);
        Ok(gst::FlowSuccess::Ok)
    });
    sink.set_callbacks(callbacks.build());
    Ok(())
}

fn count(counters: &CameraCounters, frame: &gst::BufferRef) {
    let is_key = !frame.flags().contains(gst::BufferFlags::DELTA_UNIT);
    counters.encoded_frames.fetch_add(1, Ordering::Relaxed);
    counters
        .bytes
        .fetch_add(frame.size() as u64, Ordering::Relaxed);
    counters
        .keyframes
        .fetch_add(u64::from(is_key), Ordering::Relaxed);
}

fn buffer_profile_level_id(buffer: &gst::BufferRef) -> Option<String> {
    let bytes = buffer.map_readable().ok()?;
    h264::profile_level_id(&bytes)
}

fn running_time(sample: &gst::Sample, frame: &gst::BufferRef) -> Option<gst::ClockTime> {
    let segment = sample.segment()?.downcast_ref::<gst::ClockTime>()?;
    segment.to_running_time(frame.pts()?)
}

/// How long frames are in the encoder: from its sink pad to the pipeline's end, which has nothing but a
/// parser in between. Frames are known again by their running time. A frame whose place another one has
/// taken meanwhile is not measured.
#[derive(Debug)]
struct Stopwatch {
    epoch: Instant,
    places: [Place; 64],
}

#[derive(Debug, Default)]
struct Place {
    frame: AtomicU64,
    began: AtomicU64,
}

impl Default for Stopwatch {
    fn default() -> Self {
        Self {
            epoch: Instant::now(),
            places: std::array::from_fn(|_| Place::default()),
        }
    }
}

impl Stopwatch {
    fn place(&self, frame: gst::ClockTime) -> &Place {
        // 60 frames per second are 16 ms apart.
        &self.places[(frame.mseconds() / 4) as usize % self.places.len()]
    }

    fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn start(&self, frame: gst::ClockTime) {
        let place = self.place(frame);
        place.began.store(self.now(), Ordering::Relaxed);
        place.frame.store(frame.nseconds(), Ordering::Release);
    }

    fn stop(&self, frame: Option<gst::ClockTime>, counters: &CameraCounters) {
        let Some(frame) = frame else { return };
        let place = self.place(frame);
        // Encoders count in steps of their own: to the nearest microsecond, then.
        let known = place.frame.load(Ordering::Acquire);
        if known.abs_diff(frame.nseconds()) < 1_000 {
            let took = self
                .now()
                .saturating_sub(place.began.load(Ordering::Relaxed));
            counters
                .encoder_latency_ns
                .fetch_add(took, Ordering::Relaxed);
            counters
                .encoder_latency_frames
                .fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// What goes into the encoder: timed, and offered to the second rendition. `None` where the profile does not name its
/// encoder.
fn time_encoder(
    pipeline: &gst::Pipeline,
    watch: Stopwatch,
    raw: Arc<RawTap>,
) -> Option<Arc<Stopwatch>> {
    let pad = pipeline.by_name(ENCODER)?.static_pad("sink")?;
    let watch = Arc::new(watch);
    let started = watch.clone();
    pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        let segment = pad.sticky_event::<gst::event::Segment>(0);
        let frame = segment.as_ref().and_then(|event| {
            let segment = event.segment().downcast_ref::<gst::ClockTime>()?;
            segment.to_running_time(info.buffer()?.pts()?)
        });
        if let Some(frame) = frame {
            started.start(frame);
            if let Some(picture) = info.buffer() {
                raw.offer(picture, frame, || pad.current_caps());
            }
        }
        gst::PadProbeReturn::Ok
    });
    Some(watch)
}

fn watch_bus(pipeline: &gst::Pipeline, number: u64, said: mpsc::UnboundedSender<(u64, Said)>) {
    bus::watch(pipeline, move |verdict| {
        let says = match verdict {
            bus::Verdict::Failed { why, about } => Said::Failed { why, about },
            bus::Verdict::Warned { why } => Said::Warned(why),
        };
        let _ = said.send((number, says));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_nodes_can_be_missing() {
        assert!(is_missing("/dev/nosuchcamera"));
        assert!(!is_missing("/dev/null"));
        assert!(!is_missing("/base/soc/i2c0mux/i2c@1/imx708@1a"));
        assert!(!is_missing("/devices/camera"));
        assert!(!is_missing("camera0"));
    }
}
