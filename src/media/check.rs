//! What `perch check` looks at: the profile and every GStreamer element that a stream needs. Nothing
//! is opened or started.

use std::{collections::BTreeSet, fmt};

use super::{
    devices,
    profile::{Plan, ProfileError},
};
use crate::config::Config;

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
            "webrtcbin",
        ],
    ),
    ("gstreamer1.0-plugins-ugly", &["x264enc"]),
    ("gstreamer1.0-nice", &["nicesink", "nicesrc"]),
    ("gstreamer1.0-x", &["clockoverlay", "timeoverlay"]),
    ("gstreamer1.0-alsa", &["alsasrc"]),
    ("gstreamer1.0-libcamera", &["libcamerasrc"]),
];

/// What was found out.
#[derive(Debug)]
pub struct Report {
    /// What would be done; nothing where it cannot be said.
    pub plan: Option<Plan>,
    /// What makes a stream impossible.
    pub faults: Vec<String>,
    /// What is worth knowing.
    pub remarks: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(plan) = &self.plan {
            writeln!(f, "{plan}")?;
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

/// Checks the media half. Whether the camera is there is not asked: it may come later, and
/// `perch devices` tells.
pub fn check(config: &Config) -> Report {
    let mut report = Report {
        plan: None,
        faults: Vec::new(),
        remarks: Vec::new(),
    };
    match plan_without_cameras(config, &mut report.remarks) {
        Ok(plan) => report.plan = Some(plan),
        Err(ProfileError::NotInstalled {
            profile,
            part,
            missing,
        }) => {
            let names: Vec<String> = missing.iter().map(|name| with_package(name)).collect();
            report.faults.push(format!(
                "profile {profile:?}: no {part} can be used; install {}",
                names.join(" or ")
            ));
        }
        Err(error) => report.faults.push(error.to_string()),
    }
    let mut needed: BTreeSet<&str> = CORE.iter().copied().collect();
    if config.audio.enabled {
        needed.extend(SOUND);
    }
    for element in needed {
        if gst::ElementFactory::find(element).is_none() {
            report.faults.push(format!(
                "GStreamer's element {} is missing",
                with_package(element)
            ));
        }
    }
    report
}

fn plan_without_cameras(config: &Config, remarks: &mut Vec<String>) -> Result<Plan, ProfileError> {
    let profiles = devices::profiles()?;
    let hardware = super::profile::Hardware {
        cameras: Vec::new(),
        elements: devices::installed(&profiles),
    };
    let mut config = config.clone();
    let any = config.camera.device.is_empty();
    if any {
        // A camera that is named is taken at its word.
        ANY_CAMERA.clone_into(&mut config.camera.device);
    }
    let mut plan = profiles.plan(&config, &hardware)?;
    if any && plan.device.take().is_some() {
        remarks.push("the camera is chosen at the start; `perch devices` tells which".to_owned());
    }
    let profile = profiles.iter().find(|profile| profile.name == plan.profile);
    let others: BTreeSet<&str> = profile
        .into_iter()
        .flat_map(|profile| profile.elements(config.audio.enabled))
        .filter(|element| !hardware.elements.contains(*element))
        .collect();
    for element in others {
        remarks.push(format!(
            "not installed: {}; a part of the profile cannot be used",
            with_package(element)
        ));
    }
    Ok(plan)
}

/// Stands for whichever camera will be there.
const ANY_CAMERA: &str = "any";

/// The element's name, and the Debian package to install where it is known.
fn with_package(element: &str) -> String {
    format!("{element}{}", package_hint(element))
}

/// ` (Debian package …)`, or nothing where it is not known.
pub(super) fn package_hint(element: &str) -> String {
    PACKAGES
        .iter()
        .find(|(_, elements)| elements.contains(&element))
        .map_or_else(String::new, |(package, _)| {
            format!(" (Debian package {package})")
        })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

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
        assert_eq!(report.faults, Vec::<String>::new());
        let plan = report.plan.unwrap();
        assert_eq!(plan.profile, "test");
        for element in &plan.elements {
            assert!(gst::ElementFactory::find(element).is_some(), "{element}");
        }
    }

    #[test]
    fn a_camera_need_not_be_there() {
        gst::init().unwrap();
        let report = check(&config(""));
        assert_eq!(report.faults, Vec::<String>::new());
        assert_eq!(report.plan.unwrap().device, None);
        assert!(
            report
                .remarks
                .iter()
                .any(|remark| remark.contains("perch devices"))
        );
    }

    #[test]
    fn a_wrong_profile_is_a_fault() {
        gst::init().unwrap();
        let report = check(&config("[camera]\nprofile = 'tset'"));
        assert!(report.plan.is_none());
        assert!(
            report
                .to_string()
                .contains("fault: camera.profile: there is no profile")
        );
    }
}
