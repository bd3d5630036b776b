//! A profile's launch text for one configuration. Pure.

use super::{Capture, file::Alternative};
use crate::{
    config::{Config, is_device_name},
    media::h264,
};

/// The ALSA device that is taken where none is named.
const DEFAULT_AUDIO_DEVICE: &str = "default";

/// Camera to encoder; to what the camera itself encodes, where there is no encoder.
pub(super) fn video(
    config: &Config,
    device: &str,
    capture: Option<&Capture>,
    source: &Alternative,
    encoder: Option<&Alternative>,
) -> String {
    let source = fill(&source.launch, &|name| {
        picture_value(config, device, capture, name)
    });
    match encoder {
        Some(encoder) => {
            let encoder = fill(&encoder.launch, &|name| {
                encoder_value(config, encoder, name)
            });
            format!("{source} ! {encoder}")
        }
        None => source,
    }
}

pub(super) fn audio(config: &Config, audio: &Alternative) -> String {
    fill(&audio.launch, &|name| audio_value(config, name))
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

/// Half as wide and half as high, at a bitrate of its own; nothing where it is not wanted or the encoder cannot do both.
pub(super) fn second(config: &Config, encoder: &Alternative) -> Option<String> {
    let (_, bitrate) = config.encoder.second_bitrates()?;
    if !encoder.has_room_for_second(config) {
        return None;
    }
    let mut smaller = config.clone();
    smaller.encoder.bitrate = bitrate;
    // Even, as 4:2:0 wants it.
    smaller.camera.width = (config.camera.width / 4) * 2;
    smaller.camera.height = (config.camera.height / 4) * 2;
    let value = |name: &str| encoder_value(&smaller, encoder, name);
    Some(format!(
        "{} ! {}",
        fill(encoder.scale(), &value),
        fill(&encoder.launch, &value)
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

fn encoder_value(config: &Config, encoder: &Alternative, name: &str) -> String {
    match name {
        "bitrate" => config.encoder.bitrate.to_string(),
        "bitrate_kbit" => config.encoder.bitrate.div_ceil(1000).to_string(),
        "keyframe_frames" => {
            let interval = config.encoder.keyframe_interval.as_secs_f64();
            let frames = interval.min(encoder.longest_keyframe_interval.unwrap_or(interval))
                * f64::from(config.camera.framerate);
            // At most 60 s of 120 frames, so nothing is cut off. Of keyframes alone a Raspberry Pi's encoder hangs.
            (frames.round().max(2.0) as u32).to_string()
        }
        "level" => {
            let camera = &config.camera;
            let bitrate = config.encoder.bitrate;
            h264::level(camera.width, camera.height, camera.framerate, bitrate)
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
pub(super) fn quoted(device: &str) -> String {
    let harmless: String = device
        .chars()
        .filter(|character| is_device_name(character.encode_utf8(&mut [0; 4])))
        .collect();
    format!("\"{harmless}\"")
}
