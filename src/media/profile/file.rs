//! The format of `pipelines/*.toml`.

use serde::Deserialize;

use super::{BitrateControl, ProfileError};

/// The profiles that are compiled in: file name and text.
pub const BUILT_IN: &[(&str, &str)] = &[
    ("test.toml", include_str!("../../../pipelines/test.toml")),
    ("v4l2.toml", include_str!("../../../pipelines/v4l2.toml")),
];

/// A board's or camera's way to an encoded picture.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// What `camera.profile` says to get it: small letters, digits and `-`.
    pub name: String,
    /// One line for `perch devices`.
    pub description: String,
    /// The kind of camera that it drives, such as `v4l2`; absent where it needs none.
    #[serde(default)]
    pub camera: Option<String>,
    /// When `auto` takes it; absent where it has to be asked for by name.
    #[serde(default)]
    pub auto: Option<Auto>,
    /// Camera to raw picture, best first. Placeholders: `{device}`, `{capture}`, `{width}`,
    /// `{height}`, `{framerate}`.
    pub(super) source: Vec<Alternative>,
    /// Raw picture to H.264, best first; the encoder is named `encoder`. Placeholders: `{bitrate}`
    /// in bit/s, `{bitrate_kbit}`, `{keyframe_frames}`, `{width}`, `{height}`, `{framerate}`.
    pub(super) encoder: Vec<Alternative>,
    /// Microphone to Opus, best first. Placeholder: `{audio_device}`.
    #[serde(default)]
    pub(super) audio: Vec<Alternative>,
}

/// Conditions for `auto`, beside that the profile's camera and elements are there.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auto {
    /// The highest wins.
    pub priority: i64,
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
    pub media: Option<String>,
    /// Every element that the text uses.
    pub elements: Vec<String>,
    /// Launch text; its line breaks do not matter.
    pub launch: String,
    /// Of an encoder: the property of the element `encoder` that its bitrate can be changed by while it runs; absent
    /// where it cannot.
    #[serde(default)]
    pub bitrate_property: Option<String>,
    /// Bit/s in one step of that property.
    #[serde(default = "one")]
    pub bitrate_unit: u32,
}

fn one() -> u32 {
    1
}

const SOURCE_PLACEHOLDERS: &[&str] = &["device", "capture", "width", "height", "framerate"];
const ENCODER_PLACEHOLDERS: &[&str] = &[
    "bitrate",
    "bitrate_kbit",
    "keyframe_frames",
    "width",
    "height",
    "framerate",
];
const AUDIO_PLACEHOLDERS: &[&str] = &["audio_device"];

impl Profile {
    /// Reads a profile; `file` is its name for messages.
    pub fn parse(file: &str, text: &str) -> Result<Self, ProfileError> {
        let invalid = |why: String| ProfileError::Invalid {
            file: file.to_owned(),
            why,
        };
        let profile: Self = toml::from_str(text).map_err(|error| invalid(error.to_string()))?;
        profile.check().map_err(invalid)?;
        Ok(profile)
    }

    fn check(&self) -> Result<(), String> {
        let plain = |character: char| {
            character.is_ascii_lowercase() || character.is_ascii_digit() || character == '-'
        };
        if self.name.is_empty() || self.name == "auto" || !self.name.chars().all(plain) {
            return Err(format!(
                "name: found {:?}, allowed: small letters, digits and -, but not \"auto\"",
                self.name
            ));
        }
        for (part, alternatives, placeholders) in [
            ("source", &self.source, SOURCE_PLACEHOLDERS),
            ("encoder", &self.encoder, ENCODER_PLACEHOLDERS),
            ("audio", &self.audio, AUDIO_PLACEHOLDERS),
        ] {
            if alternatives.is_empty() && part != "audio" {
                return Err(format!(
                    "{part}: found none, allowed: one or more [[{part}]]"
                ));
            }
            for (index, alternative) in alternatives.iter().enumerate() {
                alternative
                    .check(placeholders)
                    .map_err(|why| format!("{part}[{index}].{why}"))?;
            }
        }
        for (index, encoder) in self.encoder.iter().enumerate() {
            if encoder.name.is_empty() {
                return Err(format!("encoder[{index}].name: is missing"));
            }
            if !words(&encoder.launch).any(|word| word == "name=encoder") {
                return Err(format!(
                    "encoder[{index}].launch: no element is named `name=encoder`"
                ));
            }
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

impl Alternative {
    pub fn bitrate_control(&self) -> Option<BitrateControl> {
        self.bitrate_property
            .clone()
            .map(|property| BitrateControl {
                property,
                unit: self.bitrate_unit,
            })
    }

    fn check(&self, placeholders: &[&str]) -> Result<(), String> {
        let mut rest = self.launch.as_str();
        while let Some((_, after)) = rest.split_once('{') {
            let Some((name, after)) = after.split_once('}') else {
                return Err("launch: a { is never closed".to_owned());
            };
            if !placeholders.contains(&name) {
                return Err(format!(
                    "launch: unknown placeholder {{{name}}}, allowed: {}",
                    placeholders
                        .iter()
                        .map(|name| format!("{{{name}}}"))
                        .collect::<Vec<_>>()
                        .join(", ")
                ));
            }
            rest = after;
        }
        if self.bitrate_unit == 0 {
            return Err("bitrate_unit: found 0, allowed: an integer from 1".to_owned());
        }
        if self.launch.trim().is_empty() {
            return Err("launch: is empty".to_owned());
        }
        for element in &self.elements {
            if !words(&self.launch).any(|word| word == element) {
                return Err(format!("elements: {element:?} does not occur in launch"));
            }
        }
        Ok(())
    }
}

fn words(launch: &str) -> impl Iterator<Item = &str> {
    launch
        .split(|character: char| character.is_whitespace() || character == '!')
        .filter(|word| !word.is_empty())
}
