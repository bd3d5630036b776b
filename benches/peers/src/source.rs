//! The H.264 stream that all get who take an encoded one, recorded once from Perch's own test profile.

use anyhow::{Context, Result, bail, ensure};
use gst::prelude::*;
use serde::Deserialize;
use swarm::host::Picture;

use crate::rtp;

/// From one keyframe to the next that nobody asked for, in seconds.
const KEYFRAME_INTERVAL: u32 = 2;
/// What is recorded, and played in a loop.
const SECONDS: u32 = 10;

/// Perch's profile of the test picture, so that everybody shows the same, encoded in the same way.
const PICTURE: &str = include_str!("../../../pipelines/test.toml");
/// Whose encoders the test picture has.
const ENCODERS: &str = include_str!("../../../pipelines/v4l2.toml");

#[derive(Deserialize)]
struct Profile {
    source: Vec<Part>,
    #[serde(default)]
    encoder: Vec<Part>,
}

#[derive(Deserialize)]
struct Part {
    launch: String,
}

/// One frame as RTP payloads.
pub type Frame = Vec<Vec<u8>>;

/// A recording that begins with a keyframe and can be played on from every keyframe in it.
pub struct Clip {
    frames: Vec<Frame>,
    framerate: u32,
}

impl Clip {
    /// Records it, in the time that it lasts.
    pub fn record(picture: &Picture) -> Result<Self> {
        gst::init()?;
        let launch = format!(
            "{} ! {} ! rtph264pay config-interval=-1 aggregate-mode=zero-latency mtu=1200 ! appsink name=sink sync=false",
            source(picture)?,
            encoder(picture)?
        );
        let pipeline = gst::parse::launch(&launch)?
            .downcast::<gst::Pipeline>()
            .ok()
            .context("the recording is no pipeline")?;
        let sink = pipeline
            .by_name("sink")
            .and_downcast::<gst_app::AppSink>()
            .context("the recording has no end")?;
        pipeline.set_state(gst::State::Playing)?;
        let frames = collect(&sink, (SECONDS * picture.framerate) as usize);
        pipeline.set_state(gst::State::Null)?;
        let frames = frames?;
        ensure!(
            is_keyframe(&frames[0]),
            "the recording begins without a keyframe"
        );
        Ok(Self {
            frames,
            framerate: picture.framerate,
        })
    }

    pub fn framerate(&self) -> u32 {
        self.framerate
    }

    pub fn player(&self) -> Player<'_> {
        Player {
            clip: self,
            next: 0,
        }
    }
}

/// Plays a clip in a loop.
pub struct Player<'a> {
    clip: &'a Clip,
    next: usize,
}

impl<'a> Player<'a> {
    /// The next frame, and whether it is a keyframe.
    pub fn frame(&mut self) -> (&'a Frame, bool) {
        let frame = &self.clip.frames[self.next];
        self.next = (self.next + 1) % self.clip.frames.len();
        (frame, is_keyframe(frame))
    }

    /// Goes on with the next keyframe, as an encoder does that is asked for one.
    pub fn skip_to_keyframe(&mut self) {
        while !is_keyframe(&self.clip.frames[self.next]) {
            self.next = (self.next + 1) % self.clip.frames.len();
        }
    }
}

/// The launch text of the raw picture.
pub fn source(picture: &Picture) -> Result<String> {
    let source = profile(PICTURE)?.source.into_iter().next();
    Ok(filled(
        &source.context("the profile has no source")?.launch,
        picture,
    ))
}

fn encoder(picture: &Picture) -> Result<String> {
    let encoder = profile(ENCODERS)?.encoder.into_iter().next();
    Ok(filled(
        &encoder.context("the profile has no encoder")?.launch,
        picture,
    ))
}

fn profile(text: &str) -> Result<Profile> {
    toml::from_str(text).context("the profile cannot be read")
}

fn filled(launch: &str, picture: &Picture) -> String {
    let keyframe_frames = KEYFRAME_INTERVAL * picture.framerate;
    let values = [
        ("{width}", picture.width),
        ("{height}", picture.height),
        ("{framerate}", picture.framerate),
        ("{bitrate_kbit}", picture.bitrate / 1000),
        ("{keyframe_frames}", keyframe_frames),
    ];
    values
        .iter()
        .fold(launch.trim().to_owned(), |text, (name, value)| {
            text.replace(name, &value.to_string())
        })
}

fn collect(sink: &gst_app::AppSink, count: usize) -> Result<Vec<Frame>> {
    let mut frames = Vec::with_capacity(count);
    let mut frame = Frame::new();
    while frames.len() < count {
        let Some(sample) = sink.try_pull_sample(gst::ClockTime::from_seconds(10)) else {
            bail!("the test picture does not come: is x264enc there (scripts/install-needs run)?");
        };
        let buffer = sample.buffer().context("a sample without a packet")?;
        let packet = buffer.map_readable()?;
        let (header, payload) = rtp::read(&packet).context("an odd RTP packet")?;
        frame.push(payload.to_vec());
        if header.marker {
            frames.push(std::mem::take(&mut frame));
        }
    }
    Ok(frames)
}

fn is_keyframe(frame: &Frame) -> bool {
    frame.iter().any(|payload| rtp::begins_keyframe(payload))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture() -> Picture {
        Picture {
            width: 160,
            height: 90,
            ..Picture::small()
        }
    }

    #[test]
    fn leaves_no_placeholder_open() {
        for launch in [source(&picture()).unwrap(), encoder(&picture()).unwrap()] {
            assert!(!launch.contains('{'), "{launch}");
        }
        assert!(
            source(&picture())
                .unwrap()
                .contains("width=160,height=90,framerate=30/1")
        );
        assert!(
            encoder(&picture())
                .unwrap()
                .contains("key-int-max=60 bitrate=300 ")
        );
    }

    #[test]
    fn goes_on_with_a_keyframe_when_asked() {
        let key = vec![vec![0x67]];
        let delta = vec![vec![0x41]];
        let clip = Clip {
            frames: vec![key.clone(), delta.clone(), delta.clone(), key, delta],
            framerate: 30,
        };
        let mut player = clip.player();
        assert!(player.frame().1);
        assert!(!player.frame().1);
        player.skip_to_keyframe();
        assert!(player.frame().1);
        // Over the end: the clip begins with one.
        player.skip_to_keyframe();
        assert!(player.frame().1);
        assert!(!player.frame().1);
    }
}
