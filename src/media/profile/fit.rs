//! Whether a profile fits a machine and a configuration, and with which of its alternatives. Pure.

use super::{
    CameraDevice, Capture, Encoder, Hardware, LaunchText, Plan, ProfileError,
    capture::{self, Wanted},
    file::{Alternative, Profile},
    launch,
};
use crate::config::{Config, is_device_name};

/// What a plan says of the encoder where the camera needs none.
pub const CAMERAS_OWN: &str = "the camera's own";

impl Profile {
    /// This profile's launch text, if `auto` may take it on this board.
    pub fn plan_for_auto(
        &self,
        config: &Config,
        hardware: &Hardware,
    ) -> Result<Plan, ProfileError> {
        let auto = self.auto.as_ref().ok_or_else(|| ProfileError::OnlyByName {
            profile: self.name.clone(),
        })?;
        if !auto.suits(&hardware.board.compatible) {
            return Err(ProfileError::OtherBoard {
                profile: self.name.clone(),
                compatible: auto.compatible.join(" or "),
            });
        }
        let board = if auto.compatible.is_empty() {
            String::new()
        } else {
            format!(", for {}", hardware.board)
        };
        let why = format!(
            "the first that fits, by priority ({}){board}",
            auto.priority
        );
        self.plan_because(why, config, hardware)
    }

    /// This profile's launch text. What is not installed is told before that there is no camera: without its plugin, one may
    /// not even be seen.
    pub fn plan(&self, config: &Config, hardware: &Hardware) -> Result<Plan, ProfileError> {
        for (part, alternatives) in self.needed() {
            self.first_installed(part, alternatives, hardware)?;
        }
        self.plan_because("camera.profile names it".to_owned(), config, hardware)
    }

    /// What `auto` makes of it, for `perch devices`.
    pub fn verdict(&self, config: &Config, hardware: &Hardware) -> String {
        let lacks = self.lacks(hardware);
        match self.plan_for_auto(config, hardware) {
            Ok(_) => format!("fits (priority {})", self.priority()),
            Err(ProfileError::OnlyByName { .. }) => "only where camera.profile names it".to_owned(),
            Err(ProfileError::OtherBoard { compatible, .. }) => {
                format!("for another board ({compatible})")
            }
            // Cameras of a kind may not even be seen without its plugin.
            Err(ProfileError::NoCamera { .. } | ProfileError::NotInstalled { .. })
                if !lacks.is_empty() =>
            {
                format!("not installed: {}", lacks.join(", "))
            }
            Err(ProfileError::NoCamera { .. }) => "no camera for it".to_owned(),
            Err(ProfileError::Unfit { why, .. }) => why,
            Err(other) => other.to_string(),
        }
    }

    /// Whether it is made for this very board, which others do not ask for.
    pub fn is_for(&self, hardware: &Hardware) -> bool {
        let auto = self.auto.as_ref();
        self.may_be_for(hardware) && auto.is_some_and(|auto| !auto.compatible.is_empty())
    }

    /// Whether `auto` may take it on this board, as far as that goes by the board.
    pub fn may_be_for(&self, hardware: &Hardware) -> bool {
        let auto = self.auto.as_ref();
        auto.is_some_and(|auto| auto.suits(&hardware.board.compatible))
    }

    fn needed(&self) -> impl Iterator<Item = (&'static str, &[Alternative])> {
        let parts = [("source", &self.source[..]), ("encoder", &self.encoder[..])];
        parts
            .into_iter()
            .filter(|(_, alternatives)| !alternatives.is_empty())
    }

    /// The elements that it can do nothing without, of those that are not installed.
    pub fn lacks(&self, hardware: &Hardware) -> Vec<String> {
        self.needed()
            .filter_map(|(part, alternatives)| {
                match self.first_installed(part, alternatives, hardware) {
                    Err(ProfileError::NotInstalled { missing, .. }) => Some(missing),
                    _ => None,
                }
            })
            .flatten()
            .collect()
    }

    fn plan_because(
        &self,
        why: String,
        config: &Config,
        hardware: &Hardware,
    ) -> Result<Plan, ProfileError> {
        let (device, camera) = self.camera(config, hardware)?;
        let (source, capture) = self.source(config, hardware, camera)?;
        let encoder = if source.encodes() {
            None
        } else {
            Some(self.encoder(config, hardware)?)
        };
        let audio = self.audio(config, hardware)?;

        let device = device.unwrap_or_default();
        let parts = [Some(source), encoder, audio].into_iter().flatten();
        Ok(Plan {
            profile: self.name.clone(),
            why,
            encoder: encoder.map_or_else(|| CAMERAS_OWN.to_owned(), |encoder| encoder.name.clone()),
            elements: parts.flat_map(|part| part.elements.clone()).collect(),
            text: LaunchText {
                video: launch::video(config, &device, capture.as_ref(), source, encoder),
                audio: audio.map(|audio| launch::audio(config, audio)),
                second: encoder.and_then(|encoder| launch::second(config, encoder)),
                commands: encoder.map(Alternative::commands).unwrap_or_default(),
            },
            device: (!device.is_empty()).then_some(device),
            capture,
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
                    None if is_name_of(kind, wanted) => Ok((Some(wanted.to_owned()), None)),
                    None => Err(ProfileError::NoCamera {
                        why: format!(
                            " called {wanted}, as the profile {:?} could drive",
                            self.name
                        ),
                    }),
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
        match camera.and_then(|camera| self.capture(config, hardware, camera)) {
            Some((source, capture)) => Ok((source, Some(capture))),
            None => {
                let first = self.first_installed("source", &self.source, hardware)?;
                Ok((first, None))
            }
        }
    }

    /// The best of what a camera offers to the sources that are installed.
    fn capture(
        &self,
        config: &Config,
        hardware: &Hardware,
        camera: &CameraDevice,
    ) -> Option<(&Alternative, Capture)> {
        let (sources, kinds): (Vec<_>, Vec<_>) = self
            .installed(&self.source, hardware)
            .filter_map(|source| Some((source, source.kind()?)))
            .unzip();
        let wanted = Wanted {
            width: config.camera.width,
            height: config.camera.height,
            framerate: config.camera.framerate,
        };
        let (rank, capture) = capture::choose(&camera.modes, &kinds, wanted)?;
        Some((sources.get(rank)?, capture))
    }

    /// The first that is installed and can do what is wanted.
    fn encoder(&self, config: &Config, hardware: &Hardware) -> Result<&Alternative, ProfileError> {
        let first = self.first_installed("encoder", &self.encoder, hardware)?;
        let is_avoided = |encoder: &Alternative| {
            hardware.avoided.contains(&Encoder {
                profile: self.name.clone(),
                name: encoder.name.clone(),
            })
        };
        let able = self
            .installed(&self.encoder, hardware)
            .find(|encoder| encoder.excess(config).is_none() && !is_avoided(encoder));
        able.ok_or_else(|| ProfileError::Unfit {
            profile: self.name.clone(),
            why: first
                .excess(config)
                .unwrap_or_else(|| format!("the encoder {} gave no picture", first.name)),
        })
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

    pub(super) fn has_sound_for(&self, config: &Config) -> Result<(), ProfileError> {
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
        let first = self.installed(alternatives, hardware).next();
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

    /// Name and elements of every encoder alternative.
    pub fn encoders(&self) -> impl Iterator<Item = (&str, &[String])> {
        let encoders = self.encoder.iter();
        encoders.map(|encoder| (encoder.name.as_str(), &encoder.elements[..]))
    }

    pub(super) fn priority(&self) -> i64 {
        self.auto.as_ref().map_or(i64::MIN, |auto| auto.priority)
    }
}

/// Whether a camera of this kind may have this name. V4L2's are nodes, or links to them; libcamera's look like paths of
/// the device tree. Who looks for any camera looks for either.
fn is_name_of(kind: &str, device: &str) -> bool {
    match kind {
        "libcamera" => !device.starts_with("/dev/"),
        _ => !device.starts_with("/base/"),
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
