//! What this machine has: profiles, cameras and elements. Asks GStreamer and the file system, decides
//! nothing; the choices are [`super::profile`]'s.

use std::{
    collections::{BTreeSet, HashSet},
    env, fmt, fs, io,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use gst::prelude::*;
use rustix::fs::major;
use tracing::warn;

use super::profile::{
    Board, CameraDevice, Encoder, Fps, Hardware, Mode, Plan, ProfileError, Profiles, Rate, Span,
    Usable,
};
use crate::config::Config;

/// Names a directory that is looked through instead of the one beside the binary.
const DATA_DIR: &str = "PERCH_DATA_DIR";

/// The major number of video devices (the kernel's Documentation/admin-guide/devices.txt).
const VIDEO4LINUX: u32 = 81;

/// The device tree's root; there is none on a PC. Not /proc/device-tree, which leads here: a service may be kept from
/// most of /proc.
const DEVICE_TREE: &str = "/sys/firmware/devicetree/base";

/// Drivers whose nodes look like cameras to GStreamer, and only process what a program gives them: the image processors
/// of Raspberry Pis.
const NO_CAMERAS: [&str; 3] = ["bcm2835-isp", "bcm2835-codec", "pispbe"];

/// What libcamera's provider calls its cameras' type. It gives them no path: the name is what its source wants.
const LIBCAMERA_DEVICE: &str = "GstLibcameraDevice";

/// Stands for whichever camera will be there.
pub(super) const ANY_CAMERA: &str = "any";

/// The launch text for this configuration on this machine, found anew at every call. Probes the
/// cameras: call it off the loop, after `gst::init`.
///
/// `avoided`: encoders that gave no picture.
pub fn plan(config: &Config, avoided: &BTreeSet<Encoder>) -> Result<Plan, ProfileError> {
    let usable = usable_profiles()?;
    let mut hardware = hardware(&usable.profiles);
    hardware.avoided.clone_from(avoided);
    usable.plan(&with_resolved_device(config), &hardware)
}

/// The same as if the camera were there, which is not looked for: nothing is opened.
pub fn plan_without_hardware(config: &Config) -> Result<Plan, ProfileError> {
    let usable = usable_profiles()?;
    for error in &usable.faults {
        warn!(
            event = "profile-faulty",
            %error, "a profile is left out: something is wrong in its file"
        );
    }
    let hardware = without_cameras(&usable.profiles);
    let mut config = config.clone();
    if config.camera.device.is_empty() {
        ANY_CAMERA.clone_into(&mut config.camera.device);
    }
    usable.plan(&config, &hardware)
}

/// GStreamer as it runs here, which need not be the one that was built against.
pub fn gstreamer_version() -> String {
    gst::version_string().to_string()
}

/// The built-in profiles and those of the data directory, where nothing is wrong with any of them.
pub fn profiles() -> Result<Profiles, ProfileError> {
    usable_profiles()?.faultless()
}

fn usable_profiles() -> Result<Usable, ProfileError> {
    let Some(data) = data_directory()? else {
        return Ok(Profiles::usable(&[]));
    };
    let directory = data.join("pipelines");
    let files = read_profiles(&directory).map_err(|error| unreadable(&directory, &error))?;
    // One that cannot be read takes nobody's picture but its own either.
    let (mut readable, mut faults) = (Vec::new(), Vec::new());
    for file in files {
        match file {
            Ok(file) => readable.push(file),
            Err(fault) => faults.push(fault),
        }
    }
    let mut usable = Profiles::usable(&readable);
    usable.faults.extend(faults);
    Ok(usable)
}

fn unreadable(path: &Path, error: &io::Error) -> ProfileError {
    ProfileError::Invalid {
        file: path.display().to_string(),
        why: format!("cannot be read: {error}"),
    }
}

/// `$PERCH_DATA_DIR`, or `../share/perch` from the binary's directory, which need not be there.
fn data_directory() -> Result<Option<PathBuf>, ProfileError> {
    if let Some(directory) = env::var_os(DATA_DIR).filter(|directory| !directory.is_empty()) {
        let directory = PathBuf::from(directory);
        let profiles = directory.join("pipelines");
        if !profiles.is_dir() {
            return Err(ProfileError::Invalid {
                file: DATA_DIR.to_owned(),
                why: format!(
                    "there is no directory {}; it names one that has a `pipelines` with profiles in it",
                    profiles.display()
                ),
            });
        }
        return Ok(Some(directory));
    }
    let beside = || {
        let binary = env::current_exe().ok()?;
        Some(binary.parent()?.parent()?.join("share/perch"))
    };
    Ok(beside())
}

/// Each file's name and text, or why there is none.
fn read_profiles(directory: &Path) -> io::Result<Vec<Result<(String, String), ProfileError>>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut paths = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<Vec<_>>>()?;
    paths.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "toml")
    });
    paths.sort();
    let read = paths.into_iter().map(|path| match read_profile(&path) {
        Ok(text) => Ok((path.display().to_string(), text)),
        Err(error) => Err(unreadable(&path, &error)),
    });
    Ok(read.collect())
}

/// What is no plain file is not read: a pipe would be waited for.
fn read_profile(path: &Path) -> io::Result<String> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is no plain file"));
    }
    fs::read_to_string(path)
}

/// Cameras and elements, as far as the profiles may ask.
pub fn hardware(profiles: &Profiles) -> Hardware {
    Hardware {
        cameras: cameras(),
        ..without_cameras(profiles)
    }
}

fn without_cameras(profiles: &Profiles) -> Hardware {
    Hardware {
        elements: installed(profiles),
        board: board(Path::new(DEVICE_TREE)),
        ..Hardware::default()
    }
}

/// What a device tree's root says.
fn board(device_tree: &Path) -> Board {
    let strings = |property: &str| {
        let bytes = fs::read(device_tree.join(property)).unwrap_or_default();
        let texts = bytes
            .split(|byte| *byte == 0)
            .filter(|text| !text.is_empty());
        texts
            .map(|text| String::from_utf8_lossy(text).into_owned())
            .collect::<Vec<_>>()
    };
    Board {
        model: strings("model").join(" "),
        compatible: strings("compatible"),
    }
}

/// Those of the profiles' elements that are installed.
fn installed(profiles: &Profiles) -> HashSet<String> {
    profiles
        .iter()
        .flat_map(|profile| profile.elements(true))
        .filter(|element| gst::ElementFactory::find(element).is_some())
        .map(str::to_owned)
        .collect()
}

/// Whether this names a node. Other names look like paths as well: libcamera's
/// (`/base/soc/i2c0mux/i2c@1/imx708@1a`) are from the device tree.
pub fn is_node(device: &Path) -> bool {
    device.starts_with("/dev")
}

/// What is wrong with a device that is there and is of another kind than cameras. (What is a video device may still be
/// none: that shows when it is opened.)
pub fn other_than_a_camera(device: &Path) -> Option<String> {
    let node = device.metadata().ok().filter(|_| is_node(device))?;
    let is_other = node.file_type().is_char_device() && major(node.rdev()) != VIDEO4LINUX;
    is_other.then(|| is_no_camera(device, "not a video device"))
}

/// The same, and of what is no device, but a file or a directory.
pub fn no_camera(device: &Path) -> Option<String> {
    let node = device.metadata().ok()?;
    match node.file_type().is_char_device() {
        true => other_than_a_camera(device),
        false => Some(is_no_camera(device, "no device at all")),
    }
}

fn is_no_camera(device: &Path, is: &str) -> String {
    format!(
        "{} is no camera: {is}; `perch devices` tells what is there",
        device.display()
    )
}

/// Udev's stable names (`/dev/v4l/by-id/…`) are links to the nodes that are found here.
pub(super) fn with_resolved_device(config: &Config) -> Config {
    let mut config = config.clone();
    let device = Path::new(&config.camera.device);
    if device.is_absolute()
        && let Ok(node) = device.canonicalize()
        && let Some(node) = node.to_str()
    {
        config.camera.device = node.to_owned();
    }
    config
}

/// Every camera that GStreamer's device providers know, in the order of their devices.
fn cameras() -> Vec<CameraDevice> {
    let monitor = gst::DeviceMonitor::new();
    // libcamera's provider hides V4L2's, and with it every camera that libcamera cannot drive.
    monitor.set_show_all_devices(true);
    if monitor.add_filter(Some("Video/Source"), None).is_none() {
        return Vec::new();
    }
    // Not started, it probes once and leaves no thread behind.
    let mut cameras: Vec<CameraDevice> = monitor.devices().iter().filter_map(camera).collect();
    cameras.sort_by(|one, other| one.device.cmp(&other.device));
    cameras.dedup_by(|one, other| one.kind == other.kind && one.device == other.device);
    cameras
}

fn camera(device: &gst::Device) -> Option<CameraDevice> {
    let properties = device.properties();
    let property = |name: &str| properties.as_ref()?.get::<String>(name).ok();
    let is_libcamera = device.type_().name() == LIBCAMERA_DEVICE;
    if property("v4l2.device.driver").is_some_and(|driver| NO_CAMERAS.contains(&driver.as_str())) {
        return None;
    }
    let name = device.display_name().to_string();
    let (kind, path) = if is_libcamera {
        ("libcamera".to_owned(), name.clone())
    } else {
        // `device.path` to 1.24, `api.v4l2.path` since.
        let path = ["device.path", "api.v4l2.path"]
            .into_iter()
            .find_map(property);
        (property("device.api")?, path?)
    };
    Some(CameraDevice {
        kind,
        device: path,
        name,
        modes: device.caps().map(|caps| modes(&caps)).unwrap_or_default(),
    })
}

/// Caps as a camera gives them: single values, ranges or lists of sizes and rates.
fn modes(caps: &gst::CapsRef) -> Vec<Mode> {
    let mut modes: Vec<Mode> = Vec::new();
    for structure in caps.iter() {
        let rates: Vec<Span<Rate>> = structure
            .value("framerate")
            .map(|value| each(value, rate))
            .unwrap_or_default();
        let size = |field| {
            structure
                .value(field)
                .map(|value| each(value, pixels))
                .unwrap_or_default()
        };
        let heights: Vec<Span<u32>> = size("height");
        let formats = structure
            .value("format")
            .map(|value| each(value, |value| value.get::<String>().ok()))
            .unwrap_or_default();
        for width in size("width") {
            for height in &heights {
                let mode = Mode {
                    media: structure.name().to_string(),
                    formats: formats.clone(),
                    width,
                    height: *height,
                    rates: rates.clone(),
                };
                add(&mut modes, mode);
            }
        }
    }
    modes
}

/// Raw pictures are listed once for each of their formats.
fn add(modes: &mut Vec<Mode>, mode: Mode) {
    let same = |other: &&mut Mode| {
        (&other.media, other.width, other.height, &other.rates)
            == (&mode.media, mode.width, mode.height, &mode.rates)
    };
    match modes.iter_mut().find(same) {
        Some(other) => {
            let more = mode.formats.into_iter();
            let more: Vec<_> = more
                .filter(|format| !other.formats.contains(format))
                .collect();
            other.formats.extend(more);
        }
        None => modes.push(mode),
    }
}

fn each<T>(value: &glib::SendValue, read: impl Fn(&glib::Value) -> Option<T>) -> Vec<T> {
    match value.get::<gst::List>() {
        Ok(list) => list.iter().filter_map(|value| read(value)).collect(),
        Err(_) => read(value).into_iter().collect(),
    }
}

fn pixels(value: &glib::Value) -> Option<Span<u32>> {
    let (min, max) = match value.get::<gst::IntRange<i32>>() {
        Ok(range) => (range.min(), range.max()),
        Err(_) => {
            let single: i32 = value.get().ok()?;
            (single, single)
        }
    };
    Some(Span {
        min: u32::try_from(min).ok()?,
        max: u32::try_from(max).ok()?,
    })
}

fn rate(value: &glib::Value) -> Option<Span<Rate>> {
    let (min, max) = match value.get::<gst::FractionRange>() {
        Ok(range) => (range.min(), range.max()),
        Err(_) => {
            let single: gst::Fraction = value.get().ok()?;
            (single, single)
        }
    };
    Some(Span {
        min: (min.numer(), min.denom()),
        max: (max.numer(), max.denom()),
    })
}

/// What `perch devices` shows.
#[derive(Debug)]
pub struct Inventory {
    profiles: Profiles,
    /// What is wrong with others.
    faults: Vec<ProfileError>,
    hardware: Hardware,
    /// What `auto` comes to with the given configuration.
    auto: Result<Plan, ProfileError>,
    /// Why it takes a profile, or leaves it alone, in the profiles' order.
    verdicts: Vec<String>,
}

/// Looks at everything; `config` gives the size and rate that the choice is made for.
pub fn inventory(config: &Config) -> Result<Inventory, ProfileError> {
    let Usable {
        profiles,
        mut faults,
    } = usable_profiles()?;
    faults.extend(profiles.suits(config).err());
    let hardware = hardware(&profiles);
    let mut config = with_resolved_device(config);
    config.camera.profile = "auto".to_owned();
    let auto = profiles.plan(&config, &hardware);
    let verdicts = profiles
        .iter()
        .map(|profile| profile.verdict(&config, &hardware))
        .collect();
    Ok(Inventory {
        profiles,
        faults,
        hardware,
        auto,
        verdicts,
    })
}

impl fmt::Display for Inventory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Board")?;
        if self.hardware.board == Board::default() {
            writeln!(f, "  no device tree: not one that a profile is made for")?;
        } else {
            let Board { model, compatible } = &self.hardware.board;
            writeln!(f, "  {model} ({})", compatible.join(", "))?;
        }
        writeln!(f, "Cameras")?;
        if self.hardware.cameras.is_empty() {
            writeln!(f, "  none found")?;
        }
        for camera in &self.hardware.cameras {
            writeln!(f, "  {}  {} ({})", camera.device, camera.name, camera.kind)?;
            for mode in &camera.modes {
                writeln!(f, "    {}", ModeLine(mode))?;
            }
        }
        writeln!(f, "Encoders")?;
        let mut told = HashSet::new();
        for (name, elements) in self.profiles.iter().flat_map(|profile| profile.encoders()) {
            if !told.insert(name) {
                continue;
            }
            let missing = elements
                .iter()
                .filter(|element| !self.hardware.elements.contains(*element));
            let missing: Vec<String> = missing
                .map(|element| super::check::with_package(element))
                .collect();
            if missing.is_empty() {
                writeln!(f, "  {name}: installed")?;
            } else {
                writeln!(f, "  {name}: not installed: {}", missing.join(", "))?;
            }
        }
        writeln!(f, "Profiles")?;
        for (profile, verdict) in self.profiles.iter().zip(&self.verdicts) {
            write!(f, "  {}  {}", profile.name, profile.description)?;
            match profile.owners_file() {
                Some(file) => writeln!(f, " ({file})")?,
                None => writeln!(f)?,
            }
            writeln!(f, "    {verdict}")?;
        }
        for fault in &self.faults {
            writeln!(f, "  fault: {fault}")?;
        }
        writeln!(f, "With camera.profile = \"auto\"")?;
        match &self.auto {
            Ok(plan) => write!(f, "  {plan}"),
            Err(error @ ProfileError::Ambiguous { .. }) => write!(f, "  {error}"),
            Err(error) => write!(f, "  none fits: {error}"),
        }
    }
}

/// One mode on one line.
struct ModeLine<'a>(&'a Mode);

impl fmt::Display for ModeLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = self.0;
        let span = |span: Span<u32>| {
            if span.min == span.max {
                span.min.to_string()
            } else {
                format!("{}–{}", span.min, span.max)
            }
        };
        let rates: Vec<String> = mode
            .rates
            .iter()
            .map(|rate| {
                if rate.min == rate.max {
                    Fps(rate.max).to_string()
                } else {
                    format!("{}–{}", Fps(rate.min), Fps(rate.max))
                }
            })
            .collect();
        f.write_str(&mode.media)?;
        if !mode.formats.is_empty() {
            write!(f, " ({})", mode.formats.join(", "))?;
        }
        write!(f, " {}×{}", span(mode.width), span(mode.height))?;
        if !rates.is_empty() {
            write!(f, " at {} fps", rates.join(", "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_camera_says_of_itself_is_understood() {
        gst::init().unwrap();
        let caps: gst::Caps = "video/x-raw,format=YUY2,width=640,height=480,framerate={15/1,30/1};\
             video/x-raw,format=NV12,width=640,height=480,framerate={15/1,30/1};\
             image/jpeg,width={1280,1920},height=720,framerate=[1/1,30/1];\
             video/x-raw,width=[16,4096],height=[16,2160],framerate=30000/1001;\
             video/x-raw,width=5,height=5;\
             image/jpeg,framerate=30/1"
            .parse()
            .unwrap();
        let lines: Vec<String> = modes(&caps)
            .iter()
            .map(|mode| ModeLine(mode).to_string())
            .collect();
        assert_eq!(
            lines,
            [
                "video/x-raw (YUY2, NV12) 640×480 at 15, 30 fps",
                "image/jpeg 1280×720 at 1–30 fps",
                "image/jpeg 1920×720 at 1–30 fps",
                "video/x-raw 16–4096×16–2160 at 29.97 fps",
                "video/x-raw 5×5",
            ]
        );
    }

    #[test]
    fn profiles_are_read_from_a_directory_in_order() {
        let directory = tempfile::tempdir().unwrap();
        let nothing = read_profiles(&directory.path().join("none")).unwrap();
        assert!(nothing.is_empty());
        for (name, text) in [("b.toml", "b"), ("a.toml", "a"), ("c.txt", "c")] {
            fs::write(directory.path().join(name), text).unwrap();
        }
        let texts = || -> Vec<String> {
            let files = read_profiles(directory.path()).unwrap().into_iter();
            files.flatten().map(|(_, text)| text).collect()
        };
        assert_eq!(texts(), ["a", "b"]);
        for (name, make) in [
            (
                "d.toml",
                (|path| fs::create_dir(path)) as fn(&Path) -> io::Result<()>,
            ),
            ("e.toml", |path| {
                std::os::unix::fs::symlink("/nonexistent", path)
            }),
            ("f.toml", |path| fs::write(path, [0xff])),
        ] {
            let path = directory.path().join(name);
            make(&path).unwrap();
            let files = read_profiles(directory.path()).unwrap();
            let faults: Vec<String> = files
                .iter()
                .filter_map(|file| Some(file.as_ref().err()?.to_string()))
                .collect();
            assert_eq!((faults.len(), texts().len()), (1, 2), "{name}");
            assert!(faults[0].contains(name), "{faults:?}");
            let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir(&path));
        }
    }

    #[test]
    fn what_can_be_no_camera_is_known_without_opening_it() {
        let null = no_camera(Path::new("/dev/null")).unwrap();
        assert!(null.starts_with("/dev/null is no camera: "), "{null}");
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(other_than_a_camera(file.path()), None);
        let plain = no_camera(file.path()).unwrap();
        assert!(plain.contains("no device at all"), "{plain}");
        assert_eq!(no_camera(Path::new("/dev/nosuch")), None);
        assert_eq!(no_camera(Path::new("/base/soc/imx708@1a")), None);
    }

    #[test]
    fn a_board_is_what_its_device_tree_says() {
        let tree = tempfile::tempdir().unwrap();
        assert_eq!(board(tree.path()), Board::default());
        fs::write(
            tree.path().join("model"),
            "Raspberry Pi 4 Model B Rev 1.4\0",
        )
        .unwrap();
        fs::write(
            tree.path().join("compatible"),
            "raspberrypi,4-model-b\0brcm,bcm2711\0",
        )
        .unwrap();
        let board = board(tree.path());
        assert_eq!(board.to_string(), "Raspberry Pi 4 Model B Rev 1.4");
        assert_eq!(board.compatible, ["raspberrypi,4-model-b", "brcm,bcm2711"]);
    }

    #[test]
    fn a_stable_name_leads_to_its_node() {
        let directory = tempfile::tempdir().unwrap();
        let node = directory.path().canonicalize().unwrap().join("video7");
        fs::write(&node, "").unwrap();
        let link = directory.path().join("by-id");
        std::os::unix::fs::symlink(&node, &link).unwrap();
        let text = format!(
            "[embedded_lobby]\nenabled = true\n[camera]\ndevice = '{}'",
            link.display()
        );
        let config = Config::from_text(Path::new("perch.toml"), &text).unwrap();
        assert_eq!(
            with_resolved_device(&config).camera.device,
            node.to_str().unwrap()
        );
    }
}
