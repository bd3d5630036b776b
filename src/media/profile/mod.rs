//! `pipelines/*.toml` to launch text. Pure: what the machine has is an argument.
//!
//! A profile lists alternatives for the source, the encoder and the sound, best first; the first
//! whose elements are installed (and whose kind of picture the camera gives) is taken.

mod capture;
mod file;
#[cfg(test)]
mod tests;

use std::fmt;

use crate::config::{Config, is_device_name};

pub use capture::{Capture, Fps, Mode, Rate, Span};
pub use file::{BUILT_IN, Profile};

use capture::Wanted;
use file::Alternative;

/// The ALSA device that is taken where none is named.
const DEFAULT_AUDIO_DEVICE: &str = "default";

/// What `gst_parse_launch` is given.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LaunchText {
    /// Source to encoder.
    pub video: String,
    /// Source to `opusenc`.
    pub audio: Option<String>,
    /// The encoder's raw picture, made smaller, to an encoder of its own.
    pub second: Option<String>,
    /// How an encoder's bitrate is changed while it runs, where it can be.
    pub bitrate: Option<BitrateControl>,
}

/// The property of the element `encoder` that holds its bitrate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BitrateControl {
    pub property: String,
    /// Bit/s in one step of the property.
    pub unit: u32,
}

/// What the machine has, as far as a profile may ask.
#[derive(Debug, Clone, Default)]
pub struct Hardware {
    pub cameras: Vec<CameraDevice>,
    /// The names of the GStreamer elements that are installed.
    pub elements: std::collections::HashSet<String>,
}

/// One camera that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct CameraDevice {
    /// The interface that it is reached by, such as `v4l2`.
    pub kind: String,
    /// What its source element calls it, such as `/dev/video0`.
    pub device: String,
    /// What its maker calls it.
    pub name: String,
    pub modes: Vec<Mode>,
}

/// A profile's choices for this configuration and machine.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    pub profile: String,
    /// Why this profile, in words.
    pub why: String,
    /// The camera's device; nothing where the profile needs no camera.
    pub device: Option<String>,
    /// What the camera is asked for; nothing where it is not known what it offers.
    pub capture: Option<Capture>,
    /// The name of the encoder alternative.
    pub encoder: String,
    /// Every element that the launch text needs.
    pub elements: Vec<String>,
    pub text: LaunchText,
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "profile {}: {}; encoder {}",
            self.profile, self.why, self.encoder
        )?;
        if let Some(device) = &self.device {
            write!(f, "; camera {device}")?;
        }
        if let Some(capture) = &self.capture {
            write!(f, ", {capture}")?;
        }
        Ok(())
    }
}

/// Why there is no launch text, by what the operator can do about it.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// A profile's file is at fault.
    #[error("{file}: {why}")]
    Invalid { file: String, why: String },
    /// The configuration asks for a profile that does not exist.
    #[error("camera.profile: there is no profile {name:?}{hint}; there are: auto, {known}")]
    Unknown {
        name: String,
        hint: String,
        known: String,
    },
    /// The configuration asks for what the profile does not have.
    #[error("profile {profile:?}: {why}")]
    Unfit { profile: String, why: String },
    /// Plugins are missing.
    #[error("profile {profile:?}: no {part} can be used; not installed: {}", .missing.join(", "))]
    NotInstalled {
        profile: String,
        part: &'static str,
        missing: Vec<String>,
    },
    /// A camera may come later.
    #[error(
        "no camera was found{why}; `perch devices` tells what is there, and the profile \"test\" needs none"
    )]
    NoCamera { why: String },
}

/// All profiles that there are, in the order of their names.
#[derive(Debug, Clone)]
pub struct Profiles(Vec<Profile>);

impl Profiles {
    /// The built-in profiles, replaced and added to by `files`: name of the file and its text.
    pub fn new(files: &[(String, String)]) -> Result<Self, ProfileError> {
        let mut profiles: Vec<Profile> = Vec::new();
        let built_in = BUILT_IN
            .iter()
            .map(|(name, text)| (format!("built-in pipelines/{name}"), (*text).to_owned()));
        for (name, text) in built_in.chain(files.iter().cloned()) {
            let profile = Profile::parse(&name, &text)?;
            profiles.retain(|other| other.name != profile.name);
            profiles.push(profile);
        }
        profiles.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(Self(profiles))
    }

    pub fn iter(&self) -> impl Iterator<Item = &Profile> {
        self.0.iter()
    }

    /// The launch text for this configuration on this machine. `auto` takes the profile of the
    /// highest priority that fits.
    pub fn plan(&self, config: &Config, hardware: &Hardware) -> Result<Plan, ProfileError> {
        let name = config.camera.profile.as_str();
        if name != "auto" {
            return self.named(name)?.plan(config, hardware);
        }
        let mut candidates: Vec<_> = self
            .iter()
            .filter(|profile| profile.auto.is_some())
            .collect();
        candidates.sort_by_key(|profile| std::cmp::Reverse(profile.priority()));
        let mut reasons = Vec::new();
        for profile in candidates {
            match profile.plan(config, hardware) {
                Ok(plan) => return Ok(plan),
                Err(ProfileError::NoCamera { .. }) => {}
                Err(error) => reasons.push(error),
            }
        }
        // A missing plugin is nearer to the solution than a missing camera.
        Err(reasons
            .into_iter()
            .next()
            .unwrap_or(ProfileError::NoCamera {
                why: " that a profile could drive".to_owned(),
            }))
    }

    /// Whether the profile that is asked for exists and has what is asked of it, whatever the machine has.
    pub fn suits(&self, config: &Config) -> Result<(), ProfileError> {
        match config.camera.profile.as_str() {
            "auto" => Ok(()),
            name => self.named(name)?.has_sound_for(config),
        }
    }

    fn named(&self, name: &str) -> Result<&Profile, ProfileError> {
        self.iter()
            .find(|profile| profile.name == name)
            .ok_or_else(|| {
                let known: Vec<&str> = self.iter().map(|profile| profile.name.as_str()).collect();
                let near = crate::config::nearest(name, &known);
                ProfileError::Unknown {
                    name: name.to_owned(),
                    hint: near.map_or_else(String::new, |near| format!("; did you mean {near:?}?")),
                    known: known.join(", "),
                }
            })
    }
}

impl Profile {
    /// This profile's launch text.
    pub fn plan(&self, config: &Config, hardware: &Hardware) -> Result<Plan, ProfileError> {
        let (device, camera) = self.camera(config, hardware)?;
        let (source, capture) = self.source(config, hardware, camera)?;
        let encoder = self.first_installed("encoder", &self.encoder, hardware)?;
        let audio = self.audio(config, hardware)?;

        let device = device.unwrap_or_default();
        let video = format!(
            "{} ! {}",
            fill(&source.launch, &|name| picture_value(
                config,
                &device,
                capture.as_ref(),
                name
            )),
            fill(&encoder.launch, &|name| encoder_value(config, name)),
        );
        let sound = audio.map(|audio| fill(&audio.launch, &|name| audio_value(config, name)));
        let mut elements: Vec<String> = Vec::new();
        for alternative in [Some(source), Some(encoder), audio].into_iter().flatten() {
            elements.extend(alternative.elements.iter().cloned());
        }
        let why = match &self.auto {
            Some(auto) if config.camera.profile == "auto" => {
                format!("the first that fits, by priority ({})", auto.priority)
            }
            _ => "camera.profile names it".to_owned(),
        };
        Ok(Plan {
            profile: self.name.clone(),
            why,
            device: (!device.is_empty()).then_some(device),
            capture,
            encoder: encoder.name.clone(),
            elements,
            text: LaunchText {
                video,
                audio: sound,
                second: second_launch(config, encoder),
                bitrate: encoder.bitrate_control(),
            },
        })
    }

    /// The camera's device, and what is known of it. A camera that is named but was not found is
    /// taken at its word: whether it opens is seen when it is opened.
    fn camera<'a>(
        &self,
        config: &Config,
        hardware: &'a Hardware,
    ) -> Result<(Option<String>, Option<&'a CameraDevice>), ProfileError> {
        let wanted = config.camera.device.as_str();
        let Some(kind) = &self.camera else {
            return Ok((None, None));
        };
        let mut cameras = hardware.cameras.iter().filter(|camera| {
            camera.kind == *kind
                && !camera.device.is_empty()
                && is_device_name(&camera.device)
                && (wanted.is_empty() || camera.device == wanted)
        });
        match cameras.find(|camera| self.capture(config, hardware, camera).is_some()) {
            Some(camera) => Ok((Some(camera.device.clone()), Some(camera))),
            None if !wanted.is_empty() && is_device_name(wanted) => {
                let known = hardware
                    .cameras
                    .iter()
                    .find(|camera| camera.device == wanted);
                match known {
                    None => Ok((Some(wanted.to_owned()), None)),
                    Some(camera) => Err(ProfileError::NoCamera {
                        why: format!(
                            ": {} gives no picture that the profile {:?} can take",
                            camera.device, self.name
                        ),
                    }),
                }
            }
            None => Err(ProfileError::NoCamera {
                why: format!(" that the profile {:?} could drive", self.name),
            }),
        }
    }

    /// The source alternative, with what the camera is to be asked for.
    fn source(
        &self,
        config: &Config,
        hardware: &Hardware,
        camera: Option<&CameraDevice>,
    ) -> Result<(&Alternative, Option<Capture>), ProfileError> {
        let capture = camera.and_then(|camera| self.capture(config, hardware, camera));
        let source = match &capture {
            Some(capture) => self
                .installed(&self.source, hardware)
                .find(|source| source.media.as_deref() == Some(capture.media.as_str())),
            None => None,
        };
        match source {
            Some(source) => Ok((source, capture)),
            None => Ok((
                self.first_installed("source", &self.source, hardware)?,
                None,
            )),
        }
    }

    /// The best of what a camera offers to the sources that are installed.
    fn capture(
        &self,
        config: &Config,
        hardware: &Hardware,
        camera: &CameraDevice,
    ) -> Option<Capture> {
        let media: Vec<&str> = self
            .installed(&self.source, hardware)
            .filter_map(|source| source.media.as_deref())
            .collect();
        let wanted = Wanted {
            width: config.camera.width,
            height: config.camera.height,
            framerate: config.camera.framerate,
        };
        capture::choose(&camera.modes, &media, wanted)
    }

    fn audio(
        &self,
        config: &Config,
        hardware: &Hardware,
    ) -> Result<Option<&Alternative>, ProfileError> {
        if !config.audio.enabled {
            return Ok(None);
        }
        self.has_sound_for(config)?;
        self.first_installed("sound", &self.audio, hardware)
            .map(Some)
    }

    fn has_sound_for(&self, config: &Config) -> Result<(), ProfileError> {
        if config.audio.enabled && self.audio.is_empty() {
            return Err(ProfileError::Unfit {
                profile: self.name.clone(),
                why: "audio.enabled is true, but this profile has no sound".to_owned(),
            });
        }
        Ok(())
    }

    fn installed<'a>(
        &self,
        alternatives: &'a [Alternative],
        hardware: &Hardware,
    ) -> impl Iterator<Item = &'a Alternative> {
        alternatives
            .iter()
            .filter(|alternative| missing(alternative, hardware).next().is_none())
    }

    fn first_installed<'a>(
        &self,
        part: &'static str,
        alternatives: &'a [Alternative],
        hardware: &Hardware,
    ) -> Result<&'a Alternative, ProfileError> {
        let first = alternatives
            .iter()
            .find(|alternative| missing(alternative, hardware).next().is_none());
        first.ok_or_else(|| ProfileError::NotInstalled {
            profile: self.name.clone(),
            part,
            missing: alternatives
                .iter()
                .flat_map(|alternative| missing(alternative, hardware).cloned())
                .fold(Vec::new(), |mut names, name| {
                    if !names.contains(&name) {
                        names.push(name);
                    }
                    names
                }),
        })
    }

    /// Every element that any alternative names; those of the sound only where it is wanted.
    pub fn elements(&self, with_sound: bool) -> impl Iterator<Item = &str> {
        let sound: &[Alternative] = if with_sound { &self.audio } else { &[] };
        [&self.source, &self.encoder, sound]
            .into_iter()
            .flatten()
            .flat_map(|alternative| alternative.elements.iter().map(String::as_str))
    }

    /// Name and first element of every encoder alternative.
    pub fn encoders(&self) -> impl Iterator<Item = (&str, &str)> {
        self.encoder.iter().filter_map(|encoder| {
            let element = encoder.elements.first()?;
            Some((encoder.name.as_str(), element.as_str()))
        })
    }

    fn priority(&self) -> i64 {
        self.auto.as_ref().map_or(i64::MIN, |auto| auto.priority)
    }
}

fn missing<'a>(
    alternative: &'a Alternative,
    hardware: &'a Hardware,
) -> impl Iterator<Item = &'a String> {
    alternative
        .elements
        .iter()
        .filter(|element| !hardware.elements.contains(*element))
}

/// Launch text with its placeholders filled in and its line breaks gone. Which placeholders there
/// are was checked when the profile was read.
fn fill(launch: &str, value: &dyn Fn(&str) -> String) -> String {
    let mut text = String::with_capacity(launch.len());
    let mut rest = launch;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').unwrap_or((after, ""));
        text.push_str(before);
        text.push_str(&value(name));
        rest = after;
    }
    text.push_str(rest);
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Half as wide and half as high, at a bitrate of its own.
fn second_launch(config: &Config, encoder: &Alternative) -> Option<String> {
    let (_, bitrate) = config.encoder.second_bitrates()?;
    let mut smaller = config.clone();
    smaller.encoder.bitrate = bitrate;
    // Even, as 4:2:0 wants it.
    smaller.camera.width = (config.camera.width / 4) * 2;
    smaller.camera.height = (config.camera.height / 4) * 2;
    Some(format!(
        "videoscale ! video/x-raw,width={},height={},pixel-aspect-ratio=1/1 ! {}",
        smaller.camera.width,
        smaller.camera.height,
        fill(&encoder.launch, &|name| encoder_value(&smaller, name))
    ))
}

fn picture_value(config: &Config, device: &str, capture: Option<&Capture>, name: &str) -> String {
    match name {
        "device" => quoted(device),
        "capture" => capture.map_or_else(String::new, Capture::caps),
        "width" => config.camera.width.to_string(),
        "height" => config.camera.height.to_string(),
        "framerate" => config.camera.framerate.to_string(),
        _ => String::new(),
    }
}

fn encoder_value(config: &Config, name: &str) -> String {
    match name {
        "bitrate" => config.encoder.bitrate.to_string(),
        "bitrate_kbit" => config.encoder.bitrate.div_ceil(1000).to_string(),
        "keyframe_frames" => {
            let frames =
                config.encoder.keyframe_interval.as_secs_f64() * f64::from(config.camera.framerate);
            // At most 60 s of 120 frames, so nothing is cut off.
            (frames.round().max(1.0) as u32).to_string()
        }
        _ => picture_value(config, "", None, name),
    }
}

fn audio_value(config: &Config, name: &str) -> String {
    match name {
        "audio_device" if config.audio.device.is_empty() => quoted(DEFAULT_AUDIO_DEVICE),
        "audio_device" => quoted(&config.audio.device),
        _ => String::new(),
    }
}

/// A device's name as a value in launch text. What could end the quotes is left out; the
/// configuration refuses it with a reason before it comes here.
fn quoted(device: &str) -> String {
    let harmless: String = device
        .chars()
        .filter(|character| is_device_name(character.encode_utf8(&mut [0; 4])))
        .collect();
    format!("\"{harmless}\"")
}
