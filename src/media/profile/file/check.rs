//! What can be wrong in a profile's file beyond its TOML.

use super::{Alternative, Auto, H264, JPEG, Profile, RAW};
use crate::config::shown;

/// What is in GStreamer's core, and need not be listed.
const EVERYWHERE: &[&str] = &["capsfilter", "fakesink", "identity", "queue", "tee"];

/// What an alternative is one of, by its key in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Source,
    Encoder,
    Audio,
}

impl Part {
    fn key(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Encoder => "encoder",
            Self::Audio => "audio",
        }
    }

    fn placeholders(self) -> &'static [&'static str] {
        match self {
            Self::Source => &["device", "capture", "width", "height", "framerate"],
            Self::Encoder => &[
                "bitrate",
                "bitrate_kbit",
                "keyframe_frames",
                "level",
                "width",
                "height",
                "framerate",
            ],
            Self::Audio => &["audio_device"],
        }
    }
}

const SCALE_PLACEHOLDERS: &[&str] = &["width", "height"];

impl Auto {
    pub(super) fn check(&self) -> Result<(), String> {
        for (key, names) in [("compatible", &self.compatible), ("except", &self.except)] {
            if let Some(name) = names
                .iter()
                .find(|name| name.is_empty() || !is_line(name) || name.contains(' '))
            {
                return Err(format!(
                    "{key}: found {name:?}, allowed: names of the device tree's list compatible, such as \"brcm,bcm2711\""
                ));
            }
        }
        Ok(())
    }
}

impl Profile {
    pub(super) fn check(&self) -> Result<(), String> {
        let plain = |character: char| {
            character.is_ascii_lowercase() || character.is_ascii_digit() || character == '-'
        };
        if self.name.is_empty() || self.name == "auto" || !self.name.chars().all(plain) {
            return Err(format!(
                "name: found {:?}, allowed: small letters, digits and -, but not \"auto\"",
                self.name
            ));
        }
        if let Some(kind) = &self.camera
            && !["v4l2", "libcamera"].contains(&kind.as_str())
        {
            return Err(format!(
                "camera: found {kind:?}, allowed: \"v4l2\" or \"libcamera\", or no such line where no camera is needed"
            ));
        }
        if !is_line(&self.description) {
            return Err(format!(
                "description: found {}, allowed: one line of text",
                shown(&self.description)
            ));
        }
        if let Some(auto) = &self.auto {
            auto.check().map_err(|why| format!("auto.{why}"))?;
        }
        for (part, alternatives) in [
            (Part::Source, &self.source),
            (Part::Encoder, &self.encoder),
            (Part::Audio, &self.audio),
        ] {
            for (index, alternative) in alternatives.iter().enumerate() {
                alternative
                    .check(part)
                    .map_err(|why| format!("{}[{index}].{why}", part.key()))?;
            }
        }
        for (index, encoder) in self.encoder.iter().enumerate() {
            let earlier = self.encoder[..index].iter();
            if earlier.clone().any(|other| other.name == encoder.name) {
                return Err(format!(
                    "encoder[{index}].name: found {:?}, which is another encoder's of this profile",
                    encoder.name
                ));
            }
        }
        Ok(())
    }
}

impl Alternative {
    fn check(&self, part: Part) -> Result<(), String> {
        self.has_only_keys_of(part)?;
        if !is_line(&self.name) {
            return Err(format!(
                "name: found {}, allowed: one line of text",
                shown(&self.name)
            ));
        }
        placeholders_are_known(&self.launch, part.placeholders())
            .map_err(|why| format!("launch: {why}"))?;
        placeholders_are_known(self.scale(), SCALE_PLACEHOLDERS)
            .map_err(|why| format!("scale: {why}"))?;
        if self.launch.trim().is_empty() {
            return Err("launch: is empty".to_owned());
        }
        match part {
            Part::Source => self.check_source()?,
            Part::Encoder => self.check_encoder()?,
            Part::Audio => {}
        }
        self.check_elements()
    }

    fn has_only_keys_of(&self, part: Part) -> Result<(), String> {
        for (key, owner, is_given) in [
            ("media", Part::Source, self.media.is_some()),
            ("format", Part::Source, self.format.is_some()),
            (
                "bitrate_property",
                Part::Encoder,
                self.bitrate_property.is_some(),
            ),
            ("bitrate_unit", Part::Encoder, self.bitrate_unit.is_some()),
            ("v4l2_controls", Part::Encoder, self.v4l2_controls),
            (
                "keyframe_signal",
                Part::Encoder,
                self.keyframe_signal.is_some(),
            ),
            (
                "longest_keyframe_interval",
                Part::Encoder,
                self.longest_keyframe_interval.is_some(),
            ),
            ("most", Part::Encoder, self.most.is_some()),
            ("scale", Part::Encoder, self.scale.is_some()),
        ] {
            if is_given && owner != part {
                return Err(format!("{key}: belongs in [[{}]]", owner.key()));
            }
        }
        Ok(())
    }

    fn check_source(&self) -> Result<(), String> {
        // One without any is for a camera that [camera] names.
        if let Some(media) = &self.media
            && ![RAW, JPEG, H264].contains(&media.as_str())
        {
            return Err(format!(
                "media: found {media:?}, allowed: {RAW:?}, {JPEG:?} or {H264:?}"
            ));
        }
        if self.format.is_some() && self.media.is_none() {
            return Err(
                "format: is given without media: say which kind of picture it is of".to_owned(),
            );
        }
        Ok(())
    }

    fn check_encoder(&self) -> Result<(), String> {
        if self.name.is_empty() {
            return Err("name: is missing".to_owned());
        }
        let named = words(&self.launch).filter(|word| *word == "name=encoder");
        match named.count() {
            0 => return Err("launch: no element is named `name=encoder`".to_owned()),
            1 => {}
            _ => return Err("launch: more than one element is named `name=encoder`".to_owned()),
        }
        for (key, is_given) in [
            ("bitrate_property", self.bitrate_property.is_some()),
            ("keyframe_signal", self.keyframe_signal.is_some()),
        ] {
            if self.v4l2_controls && is_given {
                return Err(format!(
                    "{key}: is given beside v4l2_controls = true, which does the same: leave one out"
                ));
            }
        }
        match (self.bitrate_unit, &self.bitrate_property) {
            (Some(0), _) => {
                return Err("bitrate_unit: found 0, allowed: an integer from 1".to_owned());
            }
            (Some(_), None) => {
                return Err("bitrate_unit: is given without bitrate_property".to_owned());
            }
            _ => {}
        }
        if let Some(seconds) = self.longest_keyframe_interval
            && !(0.1..=60.0).contains(&seconds)
        {
            return Err(format!(
                "longest_keyframe_interval: found {seconds}, allowed: seconds from 0.1 to 60"
            ));
        }
        Ok(())
    }

    /// `auto` goes by the list of elements: it has to be that of the text.
    fn check_elements(&self) -> Result<(), String> {
        let scale = self.scale.as_deref().unwrap_or_default();
        for element in &self.elements {
            let mut words = words(&self.launch).chain(words(scale));
            if !words.any(|word| word == element) {
                return Err(format!(
                    "elements: {element:?} occurs neither in launch nor in scale"
                ));
            }
        }
        for (key, text) in [("launch", self.launch.as_str()), ("scale", scale)] {
            let missing = elements_in(text).find(|made| {
                let is_listed = self.elements.iter().any(|element| element == made);
                !is_listed && !EVERYWHERE.contains(made)
            });
            if let Some(missing) = missing {
                return Err(format!(
                    "elements: {missing:?} is missing, which {key} uses"
                ));
            }
        }
        Ok(())
    }
}

fn placeholders_are_known(launch: &str, known: &[&str]) -> Result<(), String> {
    let mut rest = launch;
    while let Some((_, after)) = rest.split_once('{') {
        let Some((name, after)) = after.split_once('}') else {
            return Err(format!("no }} closes {}", shown(&format!("{{{after}"))));
        };
        if !known.contains(&name) {
            let known: Vec<String> = known.iter().map(|name| format!("{{{name}}}")).collect();
            return Err(format!(
                "unknown placeholder {{{name}}}, allowed: {}",
                known.join(", ")
            ));
        }
        rest = after;
    }
    Ok(())
}

/// The elements that a launch text makes: the first word of every link, unless that is caps or somebody's pad.
fn elements_in(launch: &str) -> impl Iterator<Item = &str> {
    let mut is_quoted = false;
    let links = launch.split(move |character| {
        is_quoted ^= character == '"';
        character == '!' && !is_quoted
    });
    links
        .filter_map(|link| link.split_whitespace().next())
        .filter(|word| {
            word.chars()
                .all(|character| character.is_ascii_alphanumeric() || "_-".contains(character))
        })
}

/// Whether a text can stand in a line of others.
fn is_line(text: &str) -> bool {
    !text.chars().any(char::is_control)
}

fn words(launch: &str) -> impl Iterator<Item = &str> {
    launch
        .split(|character: char| character.is_whitespace() || character == '!')
        .filter(|word| !word.is_empty())
}
