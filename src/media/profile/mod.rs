//! `pipelines/*.toml` to launch text. Pure: what the machine has is an argument.
//!
//! A profile lists alternatives for the source, the encoder and the sound, best first; the first
//! whose elements are installed (and whose kind of picture the camera gives) is taken.

mod capture;
mod file;
mod fit;
mod launch;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeSet, HashSet},
    fmt,
};

use crate::config::{Config, Origin};

pub use capture::{Capture, Fps, Mode, Rate, Span};
pub use file::{BUILT_IN, Profile};
pub use fit::CAMERAS_OWN;

/// What `gst_parse_launch` is given.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LaunchText {
    /// Source to encoder.
    pub video: String,
    /// Source to `opusenc`.
    pub audio: Option<String>,
    /// The encoder's raw picture, made smaller, to an encoder of its own.
    pub second: Option<String>,
    pub commands: Commands,
}

/// How the element `encoder` is commanded while it runs, in either rendition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Commands {
    /// Nothing where its bitrate cannot be changed.
    pub bitrate: Option<BitrateControl>,
    pub keyframes: KeyframeControl,
}

/// What an encoder's bitrate is changed by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BitrateControl {
    Property {
        name: String,
        /// Bit/s in one step of the property.
        unit: u32,
    },
    /// `V4L2_CID_MPEG_VIDEO_BITRATE`.
    V4l2,
}

/// What an encoder is asked for a keyframe by.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum KeyframeControl {
    /// GStreamer's event for it.
    #[default]
    Event,
    /// A signal of the element's, without arguments.
    Signal(String),
    /// `V4L2_CID_MPEG_VIDEO_FORCE_KEY_FRAME`, for elements that do not pass the event on to the driver: `v4l2h264enc`
    /// before GStreamer 1.22.4.
    V4l2,
}

/// One profile's encoder, by their names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Encoder {
    pub profile: String,
    pub name: String,
}

/// What the machine has, as far as a profile may ask.
#[derive(Debug, Clone, Default)]
pub struct Hardware {
    pub cameras: Vec<CameraDevice>,
    /// The names of the GStreamer elements that are installed.
    pub elements: HashSet<String>,
    pub board: Board,
    /// Encoders that are there and gave no picture: taken only where there is no other.
    pub avoided: BTreeSet<Encoder>,
}

/// What the device tree says of the board; nothing where there is no device tree.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Board {
    /// For people.
    pub model: String,
    /// For programs, the most exact first.
    pub compatible: Vec<String>,
}

impl fmt::Display for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.model)
    }
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
    #[error(
        "{origin}: camera.profile: there is no profile {name:?}{hint}; there are: auto, {known}"
    )]
    Unknown {
        origin: Origin,
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
    /// Only somebody who knows the difference can choose.
    #[error(
        "camera.profile: \"auto\" fits both {one} and {other}, of the same priority ({priority}): name one in camera.profile, or \
         change a priority"
    )]
    Ambiguous {
        /// Name and file.
        one: String,
        other: String,
        priority: i64,
    },
    /// `auto` leaves it alone.
    #[error("profile {profile:?}: taken only where camera.profile names it")]
    OnlyByName { profile: String },
    /// `auto` leaves it alone here.
    #[error("profile {profile:?}: for another board ({compatible})")]
    OtherBoard { profile: String, compatible: String },
    /// A camera may come later.
    #[error(
        "no camera was found{why}; `perch devices` tells what is there, and the profile \"test\" needs none"
    )]
    NoCamera { why: String },
}

impl ProfileError {
    /// Whether the profile is simply for something else than what is there.
    fn is_another_case(&self) -> bool {
        matches!(
            self,
            Self::NoCamera { .. } | Self::OnlyByName { .. } | Self::OtherBoard { .. }
        )
    }
}

impl Profile {
    /// What `auto` goes by: the priority, and whether the file is the owner's.
    fn rank(&self) -> (i64, bool) {
        (self.priority(), !self.is_built_in)
    }

    /// The file that it is from, where it is none of those that come with Perch.
    pub fn owners_file(&self) -> Option<&str> {
        (!self.is_built_in).then_some(self.file.as_str())
    }

    fn with_file(&self) -> String {
        format!("{:?} ({})", self.name, self.file)
    }
}

/// `profile` with what it lacks of its own, which it takes from the one of `all` that it is like. `way` are those that
/// led here by being like the next.
fn made_whole(
    profile: &Profile,
    all: &[Profile],
    way: &[&Profile],
) -> Result<Profile, ProfileError> {
    let Some(like) = &profile.like else {
        return Ok(profile.clone());
    };
    let way = [way, &[profile]].concat();
    if let Some(start) = way.iter().position(|other| other.name == *like) {
        let circle: Vec<String> = way[start..].iter().map(|one| one.with_file()).collect();
        return Err(profile.is_like_wrong(&format!(
            "a profile that is not in the end like this one; the circle: {}",
            circle.join(", ")
        )));
    }
    let Some(base) = all.iter().find(|other| other.name == *like) else {
        let others = all.iter().filter(|other| other.name != profile.name);
        let known: Vec<&str> = others.map(|other| other.name.as_str()).collect();
        return Err(profile.is_like_wrong(&format!("another profile's name: {}", known.join(", "))));
    };
    let mut whole = profile.clone();
    whole.take_over(&made_whole(base, all, &way)?)?;
    Ok(whole)
}

/// Profiles that can be used, and what is wrong with others: a fault in a file takes nobody's picture but its own.
#[derive(Debug)]
pub struct Usable {
    pub profiles: Profiles,
    pub faults: Vec<ProfileError>,
}

impl Usable {
    /// The profiles, where nothing is wrong with any of them.
    pub fn faultless(self) -> Result<Profiles, ProfileError> {
        let first = self.faults.into_iter().next();
        first.map_or(Ok(self.profiles), Err)
    }

    /// As [`Profiles::plan`].
    pub fn plan(mut self, config: &Config, hardware: &Hardware) -> Result<Plan, ProfileError> {
        match self.profiles.plan(config, hardware) {
            // It may be in a file that cannot be read for what is wrong in it.
            Err(ProfileError::Unknown { .. }) if !self.faults.is_empty() => {
                Err(self.faults.swap_remove(0))
            }
            outcome => outcome,
        }
    }
}

/// All profiles that there are, in the order of their names.
#[derive(Debug, Clone)]
pub struct Profiles(Vec<Profile>);

impl Profiles {
    /// The built-in profiles, replaced and added to by `files`: name of the file and its text.
    pub fn usable(files: &[(String, String)]) -> Usable {
        let mut faults = Vec::new();
        let mut profiles: Vec<Profile> = Vec::new();
        let built_in = BUILT_IN
            .iter()
            .map(|(name, text)| (format!("built-in pipelines/{name}"), (*text).to_owned()));
        for (name, text) in built_in.chain(files.iter().cloned()) {
            let profile = match Profile::parse(&name, &text) {
                Ok(profile) => profile,
                Err(fault) => {
                    faults.push(fault);
                    continue;
                }
            };
            match profiles.iter_mut().find(|it| it.name == profile.name) {
                Some(earlier) if !earlier.is_built_in && !profile.is_built_in => {
                    faults.push(profile.has_name_of(earlier));
                }
                Some(earlier) => *earlier = profile,
                None => profiles.push(profile),
            }
        }
        profiles.sort_by(|one, other| one.name.cmp(&other.name));
        let mut whole = Vec::new();
        for profile in &profiles {
            match made_whole(profile, &profiles, &[]) {
                Ok(profile) => whole.push(profile),
                Err(fault) => faults.push(fault),
            }
        }
        Usable {
            profiles: Self(whole),
            faults,
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Profile> {
        self.0.iter()
    }

    /// The launch text for this configuration on this machine. `auto` takes the profile of the
    /// highest priority that fits; of two with the same, the owner's before a built-in one.
    pub fn plan(&self, config: &Config, hardware: &Hardware) -> Result<Plan, ProfileError> {
        let plan = self.plan_with_all(config, hardware);
        if plan.is_ok() || hardware.avoided.is_empty() {
            return plan;
        }
        let mut hardware = hardware.clone();
        hardware.avoided.clear();
        self.plan_with_all(config, &hardware)
    }

    fn plan_with_all(&self, config: &Config, hardware: &Hardware) -> Result<Plan, ProfileError> {
        if config.camera.profile != "auto" {
            return self.named(config)?.plan(config, hardware);
        }
        let mut candidates: Vec<_> = self
            .iter()
            .map(|profile| (profile.rank(), profile))
            .collect();
        candidates.sort_by_key(|(rank, _)| std::cmp::Reverse(*rank));
        let mut reason = None;
        let mut rest = candidates.into_iter();
        while let Some((rank, profile)) = rest.next() {
            match profile.plan_for_auto(config, hardware) {
                Ok(plan) => {
                    let mut equals = rest.take_while(|(other, _)| *other == rank);
                    let other = equals.find(|(_, it)| it.plan_for_auto(config, hardware).is_ok());
                    return match other {
                        None => Ok(plan),
                        Some((_, other)) => Err(ProfileError::Ambiguous {
                            one: profile.with_file(),
                            other: other.with_file(),
                            priority: rank.0,
                        }),
                    };
                }
                // A missing plugin is nearer to the solution than a missing camera. That of the last profile, which
                // has the fewest conditions, is the likeliest to be mended.
                Err(error) => {
                    if !error.is_another_case() {
                        reason = Some(error);
                    }
                }
            }
        }
        Err(reason.unwrap_or(ProfileError::NoCamera {
            why: " that a profile could drive".to_owned(),
        }))
    }

    /// Whether the profile that is asked for exists and has what is asked of it, whatever the machine has.
    pub fn suits(&self, config: &Config) -> Result<(), ProfileError> {
        match config.camera.profile.as_str() {
            "auto" => Ok(()),
            _ => self.named(config)?.has_sound_for(config),
        }
    }

    fn named(&self, config: &Config) -> Result<&Profile, ProfileError> {
        let name = config.camera.profile.as_str();
        self.iter()
            .find(|profile| profile.name == name)
            .ok_or_else(|| {
                let known: Vec<&str> = self.iter().map(|profile| profile.name.as_str()).collect();
                let near = crate::config::nearest(name, &known);
                ProfileError::Unknown {
                    origin: config.origins.of("camera.profile"),
                    name: name.to_owned(),
                    hint: near.map_or_else(String::new, |near| format!("; did you mean {near:?}")),
                    known: known.join(", "),
                }
            })
    }
}
