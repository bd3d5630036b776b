//! A second of the camera, really encoded, for `perch doctor`.

use std::time::{Duration, Instant};

use gst::prelude::*;

use super::{bus, camera::pipeline, h264, profile::LaunchText};

/// What came out of the encoder.
#[derive(Debug, Clone, PartialEq)]
pub struct Trial {
    pub frames: u32,
    pub bytes: u64,
    /// From the start to the first frame.
    pub first_after: Duration,
    /// From the first frame to the last.
    pub span: Duration,
    pub width: i32,
    pub height: i32,
    /// What the first SPS says, which is what an offer says.
    pub profile_level_id: String,
    /// What the parser made of its profile, in GStreamer's words.
    pub profile: String,
    /// A later SPS that says something else.
    pub contradiction: Option<String>,
}

impl Trial {
    /// Frames per second.
    pub fn fps(&self) -> f64 {
        f64::from(self.frames.saturating_sub(1)) / self.span.as_secs_f64().max(1e-3)
    }

    /// Bit/s.
    pub fn bitrate(&self) -> f64 {
        self.bytes as f64 * 8.0 / self.span.as_secs_f64().max(1e-3)
    }
}

/// Why there is no picture.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    #[error("{0}")]
    Unbuildable(String),
    #[error("{0}")]
    Failed(String),
    #[error("no frame within {} s", .0.as_secs_f32())]
    Silent(Duration),
    #[error("frames without an SPS: no browser could decode them")]
    NoSps,
}

/// Encodes `frames` frames with the planned pipeline, or as many as come within `patience`. Blocks; the camera is free
/// again when this returns.
pub fn encode(launch: &LaunchText, frames: u32, patience: Duration) -> Result<Trial, TrialError> {
    let pipeline = pipeline::build(&launch.video).map_err(TrialError::Unbuildable)?;
    let outcome = run(&pipeline, frames, patience);
    let _ = pipeline.set_state(gst::State::Null);
    outcome
}

fn run(pipeline: &gst::Pipeline, frames: u32, patience: Duration) -> Result<Trial, TrialError> {
    let sink = pipeline
        .by_name("video")
        .and_then(|element| element.downcast::<gst_app::AppSink>().ok())
        .ok_or_else(|| TrialError::Unbuildable("the pipeline has no appsink".into()))?;
    let start = Instant::now();
    if pipeline.set_state(gst::State::Playing).is_err() {
        return Err(failure(pipeline).unwrap_or(TrialError::Failed(
            "it does not start, and does not say why".into(),
        )));
    }
    let mut found = Found::default();
    while found.frames < frames && start.elapsed() < patience {
        if let Some(sample) = sink.try_pull_sample(gst::ClockTime::from_mseconds(100)) {
            found.add(&sample);
        } else if let Some(error) = failure(pipeline) {
            return Err(error);
        }
    }
    found.trial(start, patience)
}

fn failure(pipeline: &gst::Pipeline) -> Option<TrialError> {
    let messages = pipeline.bus()?;
    while let Some(message) = messages.pop() {
        if let Some(bus::Verdict::Failed { why, .. }) = bus::verdict(&message) {
            return Some(TrialError::Failed(why));
        }
    }
    None
}

#[derive(Default)]
struct Found {
    frames: u32,
    bytes: u64,
    times: Option<(Instant, Instant)>,
    caps: Option<gst::Caps>,
    profile_level_id: Option<String>,
    contradiction: Option<String>,
}

impl Found {
    fn add(&mut self, sample: &gst::Sample) {
        let now = Instant::now();
        let first = self.times.map_or(now, |(first, _)| first);
        self.times = Some((first, now));
        self.frames += 1;
        self.caps = sample.caps_owned().or(self.caps.take());
        let Some(buffer) = sample.buffer() else {
            return;
        };
        // The first frame's bytes took no time of the span.
        if self.frames > 1 {
            self.bytes += buffer.size() as u64;
        }
        let Ok(bytes) = buffer.map_readable() else {
            return;
        };
        let Some(id) = h264::profile_level_id(&bytes) else {
            return;
        };
        let known = self.profile_level_id.get_or_insert_with(|| id.clone());
        if *known != id {
            self.contradiction = Some(id);
        }
    }

    fn trial(self, start: Instant, patience: Duration) -> Result<Trial, TrialError> {
        let (first, last) = self.times.ok_or(TrialError::Silent(patience))?;
        let profile_level_id = self.profile_level_id.ok_or(TrialError::NoSps)?;
        let caps = self.caps.as_ref().and_then(|caps| caps.structure(0));
        let number = |name| {
            caps.and_then(|caps| caps.get::<i32>(name).ok())
                .unwrap_or_default()
        };
        Ok(Trial {
            frames: self.frames,
            bytes: self.bytes,
            first_after: first.saturating_duration_since(start),
            span: last.saturating_duration_since(first),
            width: number("width"),
            height: number("height"),
            profile: caps
                .and_then(|caps| caps.get("profile").ok())
                .unwrap_or_default(),
            profile_level_id,
            contradiction: self.contradiction,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launch(video: &str) -> LaunchText {
        gst::init().unwrap();
        LaunchText {
            video: video.to_owned(),
            audio: None,
            ..Default::default()
        }
    }

    const PATIENCE: Duration = Duration::from_secs(20);

    #[test]
    fn frames_are_counted_and_the_sps_is_read() {
        let video = "videotestsrc is-live=true ! video/x-raw,format=I420,width=160,height=90,framerate=30/1 \
                     ! x264enc tune=zerolatency speed-preset=ultrafast bitrate=200 \
                     ! video/x-h264,profile=constrained-baseline";
        let trial = encode(&launch(video), 15, PATIENCE).unwrap();
        assert_eq!((trial.frames, trial.width, trial.height), (15, 160, 90));
        assert_eq!(trial.profile, "constrained-baseline");
        assert!(trial.profile_level_id.starts_with("42c0"), "{trial:?}");
        assert_eq!(trial.contradiction, None);
        assert!(trial.bytes > 0 && trial.fps() > 1.0, "{trial:?}");
    }

    #[test]
    fn an_sps_that_says_something_else_later_is_kept() {
        gst::init().unwrap();
        let sample = |level: u8| {
            let frame = gst::Buffer::from_slice([0, 0, 0, 1, 0x67, 0x42, 0xc0, level]);
            gst::Sample::builder().buffer(&frame).build()
        };
        let mut found = Found::default();
        found.add(&sample(31));
        found.add(&sample(31));
        assert_eq!(found.contradiction, None);
        found.add(&sample(40));
        let trial = found.trial(Instant::now(), PATIENCE).unwrap();
        assert_eq!(trial.profile_level_id, "42c01f");
        assert_eq!(trial.contradiction.as_deref(), Some("42c028"));
    }

    #[test]
    fn a_source_that_fails_says_why() {
        let video = "videotestsrc is-live=true ! identity error-after=1 ! x264enc tune=zerolatency";
        let error = encode(&launch(video), 15, PATIENCE).unwrap_err();
        assert!(
            matches!(&error, TrialError::Failed(why) if why.contains("identity")),
            "{error}"
        );
        let error = encode(&launch("nosuchelement"), 15, PATIENCE).unwrap_err();
        assert!(matches!(error, TrialError::Unbuildable(_)), "{error}");
    }

    #[test]
    fn silence_is_not_waited_for() {
        let video =
            "videotestsrc is-live=true ! identity drop-probability=1 ! x264enc tune=zerolatency";
        let error = encode(&launch(video), 15, Duration::from_millis(600)).unwrap_err();
        assert!(matches!(error, TrialError::Silent(_)), "{error}");
    }
}
