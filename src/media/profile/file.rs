//! The format of `pipelines/*.toml`.

mod check;

use serde::Deserialize;

use super::{BitrateControl, Commands, KeyframeControl, ProfileError, capture::Kind};
use crate::config::{Config, position};

macro_rules! built_in {
    ($($name:literal),+ $(,)?) => {
        &[$(($name, include_str!(concat!("../../../pipelines/", $name)))),+]
    };
}

/// The profiles that are compiled in: file name and text.
pub const BUILT_IN: &[(&str, &str)] = built_in![
    "h264.toml",
    "imx8.toml",
    "jetson.toml",
    "libcamera.toml",
    "raspberry-pi.toml",
    "raspberry-pi-usb.toml",
    "rockchip.toml",
    "test.toml",
    "v4l2.toml",
    "va.toml",
];

/// What cameras offer: pictures as they are, each one encoded, or a stream that the camera itself encodes.
const RAW: &str = "video/x-raw";
const JPEG: &str = "image/jpeg";
const H264: &str = "video/x-h264";

/// What a second rendition of half the width and height adds to the first one's pixels.
const SECOND_SHARE: u64 = 4;

/// A board's or camera's way to an encoded picture.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// What `camera.profile` says to get it: small letters, digits and `-`.
    pub name: String,
    /// One line for `perch devices`.
    pub description: String,
    /// The kind of camera that it drives, `v4l2` or `libcamera`; absent where it needs none.
    #[serde(default)]
    pub camera: Option<String>,
    /// When `auto` takes it; absent where it has to be asked for by name.
    #[serde(default)]
    pub auto: Option<Auto>,
    /// Another profile, whose sources, encoders and sound it has where it lists none of its own.
    #[serde(default)]
    pub(super) like: Option<String>,
    /// Camera to raw picture, best first, or to H.264 where `media` says so. Placeholders: `{device}`, `{capture}`,
    /// `{width}`, `{height}`, `{framerate}`.
    #[serde(default)]
    pub(super) source: Vec<Alternative>,
    /// Raw picture to H.264, best first; the encoder is named `encoder`. Placeholders: `{bitrate}`
    /// in bit/s, `{bitrate_kbit}`, `{keyframe_frames}`, `{level}` such as `3.1`, `{width}`, `{height}`, `{framerate}`.
    #[serde(default)]
    pub(super) encoder: Vec<Alternative>,
    /// Microphone to Opus, best first. Placeholder: `{audio_device}`.
    #[serde(default)]
    pub(super) audio: Vec<Alternative>,
    /// Where it was read from.
    #[serde(skip)]
    pub(super) file: String,
    /// Whether it is one that is compiled in, or a copy that was installed with the program.
    #[serde(skip)]
    pub(super) is_built_in: bool,
}

/// Conditions for `auto`, beside that the profile's camera and elements are there.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auto {
    /// The highest wins.
    pub priority: i64,
    /// One of these is in the device tree's list `compatible` (Devicetree Specification 0.4, §2.3.1), or begins one up
    /// to a `-`; absent where any machine will do.
    #[serde(default)]
    pub compatible: Vec<String>,
    /// None of these is there: boards of the same kind that lack what it needs.
    #[serde(default)]
    pub except: Vec<String>,
}

impl Auto {
    /// Whether it is for a board that says this of itself.
    pub fn suits(&self, compatible: &[String]) -> bool {
        let is_one = |name: &String| {
            compatible.iter().any(|own| {
                let rest = own.strip_prefix(name.as_str());
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
            })
        };
        let suits = self.compatible.is_empty() || self.compatible.iter().any(is_one);
        suits && !self.except.iter().any(is_one)
    }
}

/// One way to build a part of the pipeline.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Alternative {
    /// For messages; an encoder must have one.
    #[serde(default)]
    pub name: String,
    /// Of a source: the kind of picture that the camera must offer, such as `image/jpeg`.
    #[serde(default)]
    media: Option<String>,
    /// Of a source: the pixels' format that the camera must offer, such as `NV12`; any, where it is absent.
    #[serde(default)]
    format: Option<String>,
    /// Every element that the text uses.
    pub elements: Vec<String>,
    /// Launch text; its line breaks do not matter.
    pub launch: String,
    /// Of an encoder: the property of the element `encoder` that its bitrate can be changed by while it runs; absent
    /// where it cannot.
    #[serde(default)]
    bitrate_property: Option<String>,
    /// Bit/s in one step of that property; 1 where it is absent.
    #[serde(default)]
    bitrate_unit: Option<u32>,
    /// Of an encoder: that bitrate and keyframes are commanded by V4L2 controls on the descriptor that the element
    /// `encoder` has open, instead of by a property and GStreamer's event.
    #[serde(default)]
    v4l2_controls: bool,
    /// Of an encoder: the signal of the element `encoder` that asks for a keyframe, for one that does not obey GStreamer's
    /// event.
    #[serde(default)]
    keyframe_signal: Option<String>,
    /// Of an encoder: seconds, for one that cannot be relied upon to give a keyframe when it is asked: who joins waits for
    /// the next in turn.
    #[serde(default)]
    pub longest_keyframe_interval: Option<f64>,
    /// Of an encoder: what it can do in real time.
    #[serde(default)]
    most: Option<Most>,
    /// Of an encoder: launch text that makes what the element `encoder` is given smaller, for the second rendition;
    /// `videoscale` where it is absent. Placeholders: `{width}`, `{height}`.
    #[serde(default)]
    scale: Option<String>,
}

/// What an encoder can do in real time.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Most {
    /// Pixels.
    width: u32,
    height: u32,
    /// Pixels per second, of all that is encoded at the same time.
    pixel_rate: u64,
}

impl Most {
    fn holds(&self, config: &Config) -> bool {
        let camera = &config.camera;
        camera.width <= self.width
            && camera.height <= self.height
            && pixel_rate(config) <= self.pixel_rate
    }
}

fn pixel_rate(config: &Config) -> u64 {
    let camera = &config.camera;
    u64::from(camera.width) * u64::from(camera.height) * u64::from(camera.framerate)
}

const VIDEOSCALE: &str =
    "videoscale ! video/x-raw,width={width},height={height},pixel-aspect-ratio=1/1";

impl Profile {
    /// Reads a profile; `file` is its name for messages. One that is `like` another has yet to take from it.
    pub fn parse(file: &str, text: &str) -> Result<Self, ProfileError> {
        let mut profile: Self =
            toml::from_str(text).map_err(|error| not_understood(file, text, &error))?;
        file.clone_into(&mut profile.file);
        profile.is_built_in = BUILT_IN.iter().any(|(_, built_in)| *built_in == text);
        profile.check().map_err(|why| invalid(file, why))?;
        if profile.like.is_none() {
            profile.is_whole().map_err(|why| invalid(file, why))?;
        }
        Ok(profile)
    }

    /// What is to be said where another of the owner's files has the same name.
    pub(super) fn has_name_of(&self, other: &Self) -> ProfileError {
        let why = format!(
            "name: found {:?}, which {} has as well: only one of them can be taken",
            self.name, other.file
        );
        invalid(&self.file, why)
    }

    /// What is to be said where what it is like is wrong.
    pub(super) fn is_like_wrong(&self, allowed: &str) -> ProfileError {
        let like = self.like.as_deref().unwrap_or_default();
        invalid(
            &self.file,
            format!("like: found {like:?}, allowed: {allowed}"),
        )
    }

    /// Takes what it does not list itself from the one that it is like, which lacks nothing.
    pub(super) fn take_over(&mut self, base: &Self) -> Result<(), ProfileError> {
        let nobody_elses = Vec::new();
        let encoders = if self.needs_no_encoder() {
            &nobody_elses
        } else {
            &base.encoder
        };
        for (own, theirs) in [
            (&mut self.source, &base.source),
            (&mut self.encoder, encoders),
            (&mut self.audio, &base.audio),
        ] {
            if own.is_empty() {
                own.clone_from(theirs);
            }
        }
        self.is_whole().map_err(|why| invalid(&self.file, why))
    }

    /// Whether all that it lists are cameras that encode by themselves.
    fn needs_no_encoder(&self) -> bool {
        !self.source.is_empty() && self.source.iter().all(Alternative::encodes)
    }

    /// Whether every part is there that it needs.
    fn is_whole(&self) -> Result<(), String> {
        if self.source.is_empty() {
            return Err("source: found none, allowed: one or more [[source]]".to_owned());
        }
        if self.encoder.is_empty() && !self.needs_no_encoder() {
            return Err("encoder: found none, allowed: one or more [[encoder]]".to_owned());
        }
        let asks_for_device = self
            .source
            .iter()
            .any(|source| source.launch.contains("{device}"));
        if asks_for_device && self.camera.is_none() {
            return Err(
                "camera: is missing, but a source asks for {device}; say which kind, \
                 such as camera = \"v4l2\""
                    .to_owned(),
            );
        }
        Ok(())
    }
}

/// What is to be said where a text is not TOML, or not a profile: on one line, without what it quotes.
fn not_understood(file: &str, text: &str, error: &toml::de::Error) -> ProfileError {
    let (line, column) = position(text, error.span().map_or(0, |span| span.start));
    // Numbers have Rust's names there.
    let why = error
        .message()
        .replace('\n', "; ")
        .replace("expected u32", "expected an integer from 0 to 4294967295")
        .replace("expected u64", "expected an integer from 0")
        .replace("expected i64", "expected an integer")
        .replace("expected f64", "expected a number");
    invalid(&format!("{file}:{line}:{column}"), why)
}

fn invalid(file: &str, why: String) -> ProfileError {
    ProfileError::Invalid {
        file: file.to_owned(),
        why,
    }
}

impl Alternative {
    /// Of a source: what it takes from a camera.
    pub fn kind(&self) -> Option<Kind<'_>> {
        Some(Kind {
            media: self.media.as_deref()?,
            format: self.format.as_deref(),
        })
    }

    /// Of a source: whether what it gives needs no encoder.
    pub fn encodes(&self) -> bool {
        self.media.as_deref() == Some(H264)
    }

    /// Of an encoder: how it is commanded while it runs.
    pub fn commands(&self) -> Commands {
        if self.v4l2_controls {
            return Commands {
                bitrate: Some(BitrateControl::V4l2),
                keyframes: KeyframeControl::V4l2,
            };
        }
        Commands {
            bitrate: self
                .bitrate_property
                .clone()
                .map(|name| BitrateControl::Property {
                    name,
                    unit: self.bitrate_unit.unwrap_or(1),
                }),
            keyframes: self
                .keyframe_signal
                .clone()
                .map_or(KeyframeControl::Event, KeyframeControl::Signal),
        }
    }

    /// Of an encoder: what is asked of it beyond what it can do.
    pub fn excess(&self, config: &Config) -> Option<String> {
        let most = self.most.filter(|most| !most.holds(config))?;
        let camera = &config.camera;
        let fps = most.pixel_rate / (u64::from(camera.width) * u64::from(camera.height)).max(1);
        let takes = if camera.width > most.width || camera.height > most.height {
            format!("{}×{}", most.width, most.height)
        } else {
            format!(
                "{fps} frames per second of {}×{}",
                camera.width, camera.height
            )
        };
        Some(format!(
            "the encoder {} takes at most {takes}; [camera] asks for {}×{} at {}",
            self.name, camera.width, camera.height, camera.framerate
        ))
    }

    /// Of an encoder: whether it can do a second rendition beside the first.
    pub fn has_room_for_second(&self, config: &Config) -> bool {
        let both = pixel_rate(config) + pixel_rate(config) / SECOND_SHARE;
        self.most.is_none_or(|most| both <= most.pixel_rate)
    }

    /// Of an encoder: launch text that makes its picture smaller.
    pub fn scale(&self) -> &str {
        self.scale.as_deref().unwrap_or(VIDEOSCALE)
    }
}
