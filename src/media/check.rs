//! What `perch check` looks at: the profile and every GStreamer element that a stream needs. Nothing
//! is opened or started.

use std::{collections::BTreeSet, fmt, path::Path};

use super::{
    camera::{encoder, pipeline, sound},
    devices::{self, ANY_CAMERA},
    profile::{Hardware, LaunchText, Plan, ProfileError, Profiles},
};
use crate::config::{Config, Problem};

/// Elements that every stream needs, whatever the profile. webrtcbin makes some of them itself, and
/// where one is missing says so only once a viewer is there.
const CORE: &[&str] = &[
    "appsink",
    "appsrc",
    "capsfilter",
    "dtlssrtpdec",
    "dtlssrtpenc",
    "h264parse",
    "nicesink",
    "nicesrc",
    "queue",
    "rtpbin",
    "rtph264pay",
    "rtprtxsend",
    "srtpdec",
    "srtpenc",
    "videoscale",
    "webrtcbin",
];

/// Elements that sound needs beside those of the profile.
const SOUND: &[&str] = &["opusenc", "rtpopuspay"];

/// Which Debian package has an element.
const PACKAGES: &[(&str, &[&str])] = &[
    ("libgstreamer1.0-0", &["capsfilter", "queue"]),
    (
        "gstreamer1.0-plugins-base",
        &[
            "appsink",
            "appsrc",
            "audioconvert",
            "audioresample",
            "audiotestsrc",
            "opusenc",
            "videoconvert",
            "videorate",
            "videoscale",
            "videotestsrc",
        ],
    ),
    (
        "gstreamer1.0-plugins-good",
        &[
            "jpegdec",
            "rtpbin",
            "rtph264pay",
            "rtpopuspay",
            "rtprtxsend",
            "v4l2h264enc",
            "v4l2src",
        ],
    ),
    (
        "gstreamer1.0-plugins-bad",
        &[
            "dtlssrtpdec",
            "dtlssrtpenc",
            "h264parse",
            "openh264enc",
            "srtpdec",
            "srtpenc",
            "vah264enc",
            "vah264lpenc",
            "webrtcbin",
        ],
    ),
    ("gstreamer1.0-plugins-ugly", &["x264enc"]),
    ("gstreamer1.0-nice", &["nicesink", "nicesrc"]),
    ("gstreamer1.0-x", &["timeoverlay"]),
    ("gstreamer1.0-alsa", &["alsasrc"]),
    ("gstreamer1.0-libcamera", &["libcamerasrc"]),
];

/// Who has an element that no Debian package has.
const MAKERS: &[(&str, &[&str])] = &[
    ("gstreamer-rockchip, of the board's maker", &["mpph264enc"]),
    (
        "nvidia-l4t-gstreamer, of the board's maker",
        &["nvv4l2h264enc", "nvvidconv"],
    ),
    ("imx-gst1.0-plugin, of the board's maker", &["vpuenc_h264"]),
];

/// Elements that are there only where a driver has an encoder for them, whatever is installed.
const OF_HARDWARE: &[&str] = &["v4l2h264enc", "vah264enc", "vah264lpenc"];

/// What makes a stream impossible, by what mends it.
#[derive(Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// Something that is named has to be installed.
    Missing(String),
    /// The device that is named is something else.
    NoCamera(Problem),
    Wrong(String),
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(what) | Self::Wrong(what) => f.write_str(what),
            Self::NoCamera(problem) => problem.fmt(f),
        }
    }
}

/// What was found out.
#[derive(Debug)]
pub struct Report {
    /// What would be done, as `perch devices` and the daemon choose.
    pub plan: Result<Plan, ProfileError>,
    pub faults: Vec<Obstacle>,
    /// What is worth knowing.
    pub remarks: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(picture) = self.picture() {
            writeln!(f, "{picture}")?;
        }
        for remark in &self.remarks {
            writeln!(f, "note: {remark}")?;
        }
        for fault in &self.faults {
            writeln!(f, "fault: {fault}")?;
        }
        Ok(())
    }
}

impl Report {
    /// The picture in words; nothing where one of the faults tells why there is none.
    pub fn picture(&self) -> Option<String> {
        match &self.plan {
            Ok(plan) => Some(plan.to_string()),
            Err(error @ ProfileError::NoCamera { .. }) => Some(format!("none fits: {error}")),
            Err(_) => None,
        }
    }
}

/// Checks the media half. A camera that is not there is no fault: it may come later.
pub fn check(config: &Config) -> Report {
    let mut report = Report {
        plan: Err(ProfileError::NoCamera { why: String::new() }),
        faults: Vec::new(),
        remarks: Vec::new(),
    };
    match devices::profiles() {
        Ok(profiles) => report.choose(&profiles, config),
        Err(error) => {
            report.faults.push(Obstacle::Wrong(error.to_string()));
            report.plan = Err(error);
        }
    }
    let mut needed: BTreeSet<&str> = CORE.iter().copied().collect();
    if config.audio.enabled {
        needed.extend(SOUND);
    }
    for element in needed {
        if gst::ElementFactory::find(element).is_none() {
            report.faults.push(Obstacle::Missing(format!(
                "GStreamer's element {} is missing",
                with_package(element)
            )));
        }
    }
    report
}

impl Report {
    fn choose(&mut self, profiles: &Profiles, config: &Config) {
        let mut hardware = devices::hardware(profiles);
        self.plan = profiles.plan(&devices::with_resolved_device(config), &hardware);
        let profile = match &self.plan {
            Err(ProfileError::NoCamera { .. }) => {
                self.remarks
                    .push("`perch run` waits for a camera that fits".to_owned());
                // Whether there is anything else that it would lack.
                hardware.cameras.clear();
                let mut config = config.clone();
                ANY_CAMERA.clone_into(&mut config.camera.device);
                let plan = profiles.plan(&config, &hardware);
                plan.map(|plan| plan.profile)
                    .map_err(|error| in_packages(&error))
            }
            Err(error) => Err(in_packages(error)),
            Ok(plan) => {
                let device = Path::new(&config.camera.device);
                if plan.device.is_some() && devices::is_node(device) && !device.exists() {
                    self.remarks.push(format!(
                        "{} is not there: `perch run` waits for it",
                        device.display()
                    ));
                }
                if let Err(why) = can_be_built(&plan.text) {
                    let why = format!("profile {:?}: {why}", plan.profile);
                    self.faults.push(Obstacle::Wrong(why));
                }
                if let Some(why) = no_camera(plan) {
                    let problem = config.origins.problem("camera.device", why);
                    self.faults.push(Obstacle::NoCamera(problem));
                }
                Ok(plan.profile.clone())
            }
        };
        if config.camera.profile == "auto" {
            self.compare(profiles, &hardware);
        }
        let profile = match profile {
            Ok(name) => profiles.iter().find(|profile| profile.name == name),
            Err(fault) => return self.faults.push(fault),
        };
        let others: BTreeSet<&str> = profile
            .into_iter()
            .flat_map(|profile| profile.elements(config.audio.enabled))
            .filter(|element| !hardware.elements.contains(*element))
            .collect();
        for element in others {
            self.remarks.push(format!(
                "not installed: {}; a part of the profile cannot be used",
                with_package(element)
            ));
        }
    }

    /// A profile that is made for this board, or is the owner's, and lacks something.
    fn compare(&mut self, profiles: &Profiles, hardware: &Hardware) {
        for profile in profiles.iter() {
            let what = match profile.owners_file() {
                Some(file) if profile.may_be_for(hardware) => {
                    format!("of {file} is left alone, it")
                }
                _ if profile.is_for(hardware) => "is made for this board, and".to_owned(),
                _ => continue,
            };
            let lacks = profile.lacks(hardware);
            if !lacks.is_empty() {
                let lacks: Vec<String> = lacks.iter().map(|name| with_package(name)).collect();
                let lacks = lacks.join(", ");
                self.remarks
                    .push(format!("profile {:?} {what} lacks {lacks}", profile.name));
            }
        }
    }
}

/// Why what is named as the camera can never be one. A node that is not there may come.
fn no_camera(plan: &Plan) -> Option<String> {
    let device = Path::new(plan.device.as_deref()?);
    let is_v4l2 = plan.elements.iter().any(|element| element == "v4l2src");
    if is_v4l2 && !devices::is_node(device) && !device.exists() {
        return Some(format!(
            "there is no {}, and cameras are below /dev; `perch devices` tells what is there",
            device.display()
        ));
    }
    devices::no_camera(device)
}

/// Whether the elements know their properties, and their caps have something in common. Nothing is opened.
fn can_be_built(text: &LaunchText) -> Result<(), String> {
    let LaunchText {
        video,
        audio,
        second,
        commands,
    } = text;
    let whose = |part: &str, error: String| format!("{part} cannot be built: {error}");
    let pipeline = pipeline::build(video).map_err(|error| whose("the camera pipeline", error))?;
    encoder::can_be_commanded(&pipeline, commands).map_err(|error| error.to_string())?;
    if let Some(second) = second {
        let second = format!("appsrc ! {second}");
        pipeline::build(&second).map_err(|error| whose("the second rendition", error))?;
    }
    if let Some(audio) = audio {
        sound::build(audio).map_err(|error| whose("the sound", error))?;
    }
    Ok(())
}

/// The error with the packages that mend it.
fn in_packages(error: &ProfileError) -> Obstacle {
    let ProfileError::NotInstalled {
        profile,
        part,
        missing,
    } = error
    else {
        return Obstacle::Wrong(error.to_string());
    };
    let names: Vec<String> = missing.iter().map(|name| with_package(name)).collect();
    Obstacle::Missing(format!(
        "profile {profile:?}: no {part} can be used; install {}",
        names.join(" or ")
    ))
}

/// The element's name, and the Debian package to install where it is known.
pub(super) fn with_package(element: &str) -> String {
    format!("{element}{}", package_hint(element))
}

/// ` (Debian package …)` or who else has it, or nothing where it is not known.
fn package_hint(element: &str) -> String {
    let having = |list: &[(&'static str, &[&str])]| {
        let has = |(_, elements): &&(&str, &[&str])| elements.contains(&element);
        list.iter().find(has).map(|(name, _)| *name)
    };
    let with_hardware = if OF_HARDWARE.contains(&element) {
        ", and a driver that encodes"
    } else {
        ""
    };
    match (having(PACKAGES), having(MAKERS)) {
        (Some(package), _) => format!(" (Debian package {package}{with_hardware})"),
        (None, Some(maker)) => format!(" ({maker})"),
        (None, None) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(more: &str) -> Config {
        let text = format!("[embedded_lobby]\nenabled = true\n{more}");
        Config::from_text(Path::new("perch.toml"), &text).unwrap()
    }

    #[test]
    fn every_element_has_a_package() {
        let profiles = devices::profiles().unwrap();
        let of_profiles = profiles.iter().flat_map(|profile| profile.elements(true));
        for element in CORE.iter().chain(SOUND).copied().chain(of_profiles) {
            assert!(!package_hint(element).is_empty(), "{element}");
        }
    }

    #[test]
    fn the_test_picture_passes() {
        gst::init().unwrap();
        let report = check(&config(
            "[camera]\nprofile = 'test'\n[audio]\nenabled = true",
        ));
        assert_eq!(report.faults, Vec::<Obstacle>::new());
        let plan = report.plan.unwrap();
        assert_eq!(plan.profile, "test");
        for element in &plan.elements {
            assert!(gst::ElementFactory::find(element).is_some(), "{element}");
        }
    }

    #[test]
    fn a_camera_need_not_be_there() {
        gst::init().unwrap();
        let auto = config("");
        let report = check(&auto);
        assert_eq!(report.faults, Vec::<Obstacle>::new());
        let said = devices::inventory(&auto).unwrap().to_string();
        let picture = report.picture().unwrap();
        assert_eq!(said.lines().last().unwrap().trim(), picture);
        let waits = |remark: &String| remark.contains("waits for a camera");
        let waiting = report.remarks.iter().any(waits);
        assert_eq!(waiting, picture.starts_with("none fits: "), "{picture}");
    }

    #[test]
    fn a_wrong_profile_is_a_fault() {
        gst::init().unwrap();
        let report = check(&config("[camera]\nprofile = 'tset'"));
        assert!(report.plan.is_err());
        assert_eq!(report.picture(), None);
        assert!(
            report
                .to_string()
                .contains(":4:1: camera.profile: there is no profile")
        );
    }
}
