//! The camera and its encoder: there, allowed, free, and a second really encoded.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::Path,
    time::{Duration, Instant},
};

use rustix::fs::{Access, access};
use tokio::task::spawn_blocking;

use super::{
    CHECK_ENDS_WITHIN, Finding,
    account::{Account, Holder, group_name, holders},
    daemon::Daemon,
    limited, within,
};
use crate::{
    config::Config,
    media::{
        self,
        check::{self, Obstacle},
        devices,
        profile::{Plan, ProfileError},
        trial::{self, Trial},
    },
    status::Status,
};

const CAMERA: &str = "camera";
const ENCODER: &str = "encoder";
/// For GStreamer's first look at its plugins: half a minute on a slow board.
const PLUGINS_SEEN_WITHIN: Duration = Duration::from_secs(60);
/// For taking the trial's pipeline down.
const TEARDOWN: Duration = Duration::from_millis(800);

pub(super) async fn examine(config: &Config, daemon: &Daemon) -> Vec<Finding> {
    if let Err(fault) = start_gstreamer().await {
        return vec![fault];
    }
    let deadline = Instant::now() + CHECK_ENDS_WITHIN;
    let wanted = config.clone();
    let checked = spawn_blocking(move || check::check(&wanted));
    let (plan, faults) = match limited(CAMERA, checked).await {
        Ok(Ok(report)) => (report.plan, report.faults),
        Ok(Err(error)) => return vec![Finding::note(CAMERA, error.to_string())],
        Err(late) => return vec![late],
    };
    let mut found = Vec::new();
    let plan = match plan {
        Ok(plan) => plan,
        Err(error) => {
            let said = error.to_string();
            found.extend(no_plan(&error));
            let others = faults.iter().filter(|fault| fault.to_string() != said);
            found.extend(others.map(impossible));
            return found;
        }
    };
    // What is wrong with the camera is no fault of the encoder's as well.
    let (no_camera, faults): (Vec<Obstacle>, Vec<Obstacle>) = faults
        .into_iter()
        .partition(|fault| matches!(fault, Obstacle::NoCamera(_)));
    let (camera, opens) = match (no_camera.first(), plan.device.as_deref()) {
        (Some(fault), _) => {
            let mend = "name the camera in [camera] device";
            (Finding::fault(CAMERA, fault.to_string(), mend), Opens::Gone)
        }
        (None, None) => {
            let what = format!("the profile {:?} needs none", plan.profile);
            (Finding::ok(CAMERA, what), Opens::Yes)
        }
        (None, Some(device)) => look_within(deadline, device, Whose::of(daemon)).await,
    };
    found.push(camera);
    if faults.is_empty() {
        found.push(encoder(config, plan, opens, daemon, deadline).await);
    } else {
        found.extend(faults.iter().map(impossible));
    }
    found
}

/// The first time that somebody starts GStreamer, it looks into all of its plugins: that says nothing of the camera.
async fn start_gstreamer() -> Result<(), Finding> {
    let started = within(PLUGINS_SEEN_WITHIN, ENCODER, spawn_blocking(media::init)).await?;
    match started {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => {
            let mend = "reinstall libgstreamer1.0-0";
            Err(Finding::fault(ENCODER, error.to_string(), mend))
        }
        Err(error) => Err(Finding::note(ENCODER, error.to_string())),
    }
}

fn no_plan(error: &ProfileError) -> Vec<Finding> {
    let what = error.to_string();
    match error {
        ProfileError::NoCamera { .. } => {
            let mend =
                "plug it in, see `dmesg` for what the kernel made of it, and its cable and power";
            vec![
                Finding::fault(CAMERA, what, mend),
                Finding::note(ENCODER, "not tried: there is no camera"),
            ]
        }
        // It is said with the packages' names.
        ProfileError::NotInstalled { .. } => Vec::new(),
        _ => {
            let mend = "mend it in the configuration; `perch check` asks again";
            vec![Finding::fault(ENCODER, what, mend)]
        }
    }
}

fn impossible(fault: &Obstacle) -> Finding {
    let mend = match fault {
        Obstacle::Missing(_) => "install the package that is named",
        Obstacle::NoCamera(_) | Obstacle::Wrong(_) => {
            "mend it in the profile or the configuration; `perch check` asks again"
        }
    };
    Finding::fault(ENCODER, fault.to_string(), mend)
}

/// Whether whoever asks could open the camera now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opens {
    Yes,
    /// It is not there.
    Gone,
    No,
}

impl Opens {
    fn by(allowed: bool) -> Self {
        if allowed { Self::Yes } else { Self::No }
    }
}

/// Whose the device is, if anybody has it open.
#[derive(Debug, Clone, Copy)]
enum Whose {
    /// The daemon with this pid may.
    Daemons(u32),
    /// It may well be the daemon that does not tell.
    Unknown,
    Others,
}

impl Whose {
    fn of(daemon: &Daemon) -> Self {
        match daemon {
            Daemon::Tells(status) => Self::Daemons(status.pid),
            Daemon::Mute | Daemon::Another(_) => Self::Unknown,
            Daemon::Absent => Self::Others,
        }
    }
}

/// [`look`], and asking who the service runs as, in the time that is left.
async fn look_within(deadline: Instant, device: &str, whose: Whose) -> (Finding, Opens) {
    let device = device.to_owned();
    let looked = async {
        let account = Account::of_service().await;
        spawn_blocking(move || look(Path::new(&device), &account, whose)).await
    };
    let left = deadline.saturating_duration_since(Instant::now());
    match within(left, CAMERA, looked).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => (Finding::note(CAMERA, error.to_string()), Opens::No),
        Err(late) => (late, Opens::No),
    }
}

/// The device's node; whether we can open it now.
fn look(device: &Path, account: &Account, whose: Whose) -> (Finding, Opens) {
    let shown = device.display();
    if !devices::is_node(device) {
        return (
            Finding::ok(CAMERA, format!("{shown} (not a device node)")),
            Opens::Yes,
        );
    }
    let node = match fs::metadata(device) {
        Ok(node) => node,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mend = "plug it in; `perch devices` lists what is there, `dmesg` what the kernel made of it";
            return (
                Finding::fault(CAMERA, format!("there is no {shown}"), mend),
                Opens::Gone,
            );
        }
        Err(error) => {
            let finding =
                Finding::fault(CAMERA, format!("{shown}: {error}"), "check its permissions");
            return (finding, Opens::No);
        }
    };
    let opens = Opens::by(access(device, Access::READ_OK | Access::WRITE_OK).is_ok());
    let allowed = if account.is_us {
        opens == Opens::Yes
    } else {
        account.may_use(&node)
    };
    if !allowed {
        let (user, group) = (&account.name, group_name(node.gid()));
        let what = format!(
            "{user} may not open {shown} (group {group}, mode {:o})",
            node.mode() & 0o777
        );
        let mend = format!("`usermod -aG {group} {user}`, then `systemctl restart perch`");
        return (Finding::fault(CAMERA, what, mend), Opens::No);
    }
    let (who, saw_all) = holders(device);
    let others: Vec<&Holder> = who
        .iter()
        .filter(|holder| !matches!(whose, Whose::Daemons(pid) if pid == holder.pid))
        .collect();
    if let Some(holder) = others.first() {
        let what = format!("{shown} is in use by {} (pid {})", holder.name, holder.pid);
        // Whoever only asks for its controls, such as a sound server, is no harm.
        let mend = format!(
            "if it streams, stop it: `kill {}`, or disable its service",
            holder.pid
        );
        let finding = match whose {
            Whose::Daemons(_) => Finding::note(CAMERA, what),
            Whose::Unknown => Finding::note(CAMERA, format!("{what}, which may be the daemon")),
            Whose::Others => Finding::new(CAMERA, super::Level::Note, what, Some(mend)),
        };
        return (finding, opens);
    }
    let held = if who.is_empty() {
        "free"
    } else {
        "in use by perch itself"
    };
    let doubt = if saw_all {
        ""
    } else {
        " as far as can be seen without root"
    };
    let may = format!("{} may open it", account.name);
    (
        Finding::ok(CAMERA, format!("{shown} is there, {may}, {held}{doubt}")),
        opens,
    )
}

async fn encoder(
    config: &Config,
    plan: Plan,
    opens: Opens,
    daemon: &Daemon,
    deadline: Instant,
) -> Finding {
    match daemon {
        // It has closed its camera, which is free to be tried.
        Daemon::Tells(status) if status.camera.off.as_deref() == Some("camera") => {}
        Daemon::Tells(status) => return by_the_daemon(status, config),
        // It may use the camera, or be about to.
        Daemon::Mute if plan.device.is_some() => {
            return Finding::note(
                ENCODER,
                "not tried: the camera may be the daemon's, which does not tell",
            );
        }
        Daemon::Another(status) if may_have(status, &plan) => {
            return Finding::note(ENCODER, "not tried: the camera is the running daemon's");
        }
        Daemon::Mute | Daemon::Another(_) | Daemon::Absent => {}
    }
    match opens {
        Opens::Yes => {}
        Opens::Gone => return Finding::note(ENCODER, "not tried: there is no camera"),
        Opens::No => {
            let what = "not tried: the camera cannot be opened by whoever asks";
            return Finding::note(ENCODER, what);
        }
    }
    let launch = plan.text.clone();
    let frames = config.camera.framerate + 1;
    let left = deadline.saturating_duration_since(Instant::now());
    let patience = left.saturating_sub(TEARDOWN);
    let encoded = spawn_blocking(move || trial::encode(&launch, frames, patience));
    match within(left, ENCODER, encoded).await {
        Ok(Ok(Ok(trial))) => judge(&trial, config, &plan),
        Ok(Ok(Err(error))) => Finding::fault(
            ENCODER,
            format!("{plan}: {error}"),
            "see `perch devices` for what camera and encoder can do, and `dmesg`",
        ),
        Ok(Err(error)) => Finding::note(ENCODER, error.to_string()),
        Err(late) => late,
    }
}

/// Whether another daemon has the camera, or is about to choose one.
fn may_have(status: &Status, plan: &Plan) -> bool {
    plan.device.is_some()
        && (status.camera.profile.is_none() || status.camera.device == plan.device)
}

/// The device is busy with the daemon itself, so it is asked instead.
fn by_the_daemon(status: &Status, config: &Config) -> Finding {
    let camera = &status.camera;
    let wanted = f64::from(config.camera.framerate);
    match (camera.fps, &camera.why) {
        (Some(fps), _) if camera.state == "live" => {
            let what = format!(
                "the daemon encodes {fps:.1} of {wanted} frames per second, {:.1} Mbit/s",
                camera.bits_per_s.unwrap_or_default() / 1e6
            );
            slow(fps, wanted).unwrap_or_else(|| Finding::ok(ENCODER, what))
        }
        _ if camera.state == "idle" => Finding::note(
            ENCODER,
            "not tried: nobody watches, and the daemon lets its encoder rest until somebody does",
        ),
        (_, why) => Finding::fault(
            ENCODER,
            format!(
                "the daemon's camera is {}: {}",
                camera.state,
                why.as_deref().unwrap_or("no reason given")
            ),
            "mend what is said of the camera; the daemon tries again by itself",
        ),
    }
}

fn slow(fps: f64, wanted: f64) -> Option<Finding> {
    (fps < wanted * 0.8).then(|| {
        Finding::note(
            ENCODER,
            format!(
                "only {fps:.1} of {wanted} frames per second: too dark for the camera, or too much for the encoder \
                 (try a smaller [camera] width and height)"
            ),
        )
    })
}

fn judge(trial: &Trial, config: &Config, plan: &Plan) -> Finding {
    let offered = &trial.profile_level_id;
    if let Some(other) = &trial.contradiction {
        let what =
            format!("the encoder's SPS says {offered} first and {other} later: offers would lie");
        return Finding::fault(ENCODER, what, "choose another encoder or profile");
    }
    let Some((profile, level)) = in_words(offered) else {
        let what =
            format!("no browser decodes what the encoder gives (profile-level-id {offered})");
        return Finding::fault(
            ENCODER,
            what,
            "let the profile ask for constrained-baseline",
        );
    };
    // Where the parser disagrees, the offer would be wrong: it is made from the same bytes.
    if !trial.profile.is_empty() && trial.profile.replace('-', " ") != profile {
        let what = format!(
            "the SPS says {offered} ({profile}), and GStreamer reads {}",
            trial.profile
        );
        return Finding::fault(ENCODER, what, "choose another encoder or profile");
    }
    let wanted = f64::from(config.camera.framerate);
    if let Some(slow) = slow(trial.fps(), wanted) {
        return slow;
    }
    let camera = &config.camera;
    let size = [trial.width, trial.height].map(|size| u32::try_from(size).unwrap_or_default());
    if size != [camera.width, camera.height] {
        let what = format!(
            "the picture is {}×{}, and [camera] asks for {}×{}",
            trial.width, trial.height, camera.width, camera.height
        );
        return Finding::note(ENCODER, what);
    }
    if trial.fps() > wanted * 1.5 {
        let what = format!(
            "{:.1} of {wanted} frames per second: the profile's source gives what nobody asked for (is it live?)",
            trial.fps()
        );
        return Finding::note(ENCODER, what);
    }
    let what = format!(
        "{}: {}×{} at {:.1} fps, {:.0} kbit/s, first frame after {:.1} s; SPS and offer say {offered} ({profile}, level {level})",
        plan.encoder,
        trial.width,
        trial.height,
        trial.fps(),
        trial.bitrate() / 1e3,
        trial.first_after.as_secs_f64()
    );
    Finding::ok(ENCODER, what)
}

/// Profile and level of a `profile-level-id` (RFC 6184 §8.1), as far as browsers decode them.
fn in_words(id: &str) -> Option<(&'static str, String)> {
    let byte = |at: usize| u8::from_str_radix(id.get(at..at + 2)?, 16).ok();
    let (profile, constraints, level) = (byte(0)?, byte(2)?, byte(4)?);
    let profile = match profile {
        0x42 if constraints & 0x40 != 0 => "constrained baseline",
        0x42 => "baseline",
        0x4d => "main",
        0x64 if constraints & 0x0c == 0x0c => "constrained high",
        0x64 => "high",
        _ => return None,
    };
    Some((profile, format!("{}.{}", level / 10, level % 10)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    #[test]
    fn what_browsers_decode_has_a_name() {
        assert_eq!(
            in_words("42c01f"),
            Some(("constrained baseline", "3.1".into()))
        );
        assert_eq!(in_words("64001f"), Some(("high", "3.1".into())));
        assert_eq!(in_words("f4001f"), None);
        assert_eq!(in_words("42"), None);
    }

    /// A second that went well, as x264 gives it.
    fn good() -> Trial {
        Trial {
            frames: 31,
            bytes: 250_000,
            first_after: Duration::from_millis(200),
            span: Duration::from_secs(1),
            width: 1280,
            height: 720,
            profile_level_id: "42c01f".into(),
            profile: "constrained-baseline".into(),
            contradiction: None,
        }
    }

    fn a_plan() -> Plan {
        Plan {
            profile: "v4l2".into(),
            why: "asked for".into(),
            device: None,
            capture: None,
            encoder: "x264".into(),
            elements: Vec::new(),
            text: media::profile::LaunchText {
                video: String::new(),
                audio: None,
                ..Default::default()
            },
        }
    }

    #[test]
    fn the_camera_of_another_daemon_is_left_alone() {
        let mut plan = a_plan();
        let mut status = Status::default();
        assert!(!may_have(&status, &plan), "none is needed");
        plan.device = Some("/dev/video0".into());
        assert!(may_have(&status, &plan), "it may choose that one");
        status.camera.profile = Some("v4l2".into());
        status.camera.device = Some("/dev/video1".into());
        assert!(!may_have(&status, &plan));
        status.camera.device = plan.device.clone();
        assert!(may_have(&status, &plan));
    }

    #[test]
    fn an_encoder_that_rests_for_want_of_viewers_is_no_fault() {
        let mut status = Status::default();
        status.camera.state = "idle".into();
        status.camera.off = Some("encoder".into());
        status.camera.fps = Some(0.0);
        let text = "[embedded_lobby]\nenabled = true\n";
        let config = Config::from_text(Path::new("perch.toml"), text).unwrap();
        let found = by_the_daemon(&status, &config);
        assert_eq!(found.level, Level::Note);
        assert!(found.what.contains("nobody watches"), "{}", found.what);
    }

    fn judged(trial: &Trial) -> Finding {
        let plan = a_plan();
        let config = Config::from_text(
            Path::new("perch.toml"),
            "[embedded_lobby]\nenabled = true\n[camera]\nframerate = 30\n",
        );
        judge(trial, &config.unwrap(), &plan)
    }

    #[test]
    fn an_encoder_that_does_as_it_says_is_good() {
        let found = judged(&good());
        assert_eq!((found.level, found.mend), (Level::Ok, None));
        for part in ["x264: 1280×720 at 30.0 fps", "2000 kbit/s", "level 3.1"] {
            assert!(found.what.contains(part), "{part}: {}", found.what);
        }
    }

    #[test]
    fn an_encoder_whose_offers_would_be_wrong_is_a_fault() {
        let contradicts = Trial {
            contradiction: Some("64001f".into()),
            ..good()
        };
        let undecodable = Trial {
            profile_level_id: "f4001f".into(),
            ..good()
        };
        let disputed = Trial {
            profile: "main".into(),
            ..good()
        };
        for (trial, what, mend) in [
            (
                contradicts,
                "says 42c01f first and 64001f later",
                "another encoder",
            ),
            (undecodable, "f4001f", "constrained-baseline"),
            (
                disputed,
                "42c01f (constrained baseline), and GStreamer reads main",
                "another encoder",
            ),
        ] {
            let found = judged(&trial);
            assert_eq!(found.level, Level::Fault, "{found:?}");
            assert!(found.what.contains(what), "{found:?}");
            assert!(found.mend.unwrap().contains(mend), "{}", found.what);
        }
        // A parser that says nothing disputes nothing.
        let silent = Trial {
            profile: String::new(),
            ..good()
        };
        assert_eq!(judged(&silent).level, Level::Ok);
    }

    #[test]
    fn an_encoder_that_is_slow_is_worth_a_note() {
        let slow = Trial {
            span: Duration::from_secs(2),
            ..good()
        };
        let found = judged(&slow);
        assert_eq!(found.level, Level::Note);
        assert!(found.what.contains("only 15.0 of 30"), "{found:?}");
    }

    #[test]
    fn without_a_camera_the_encoder_is_not_tried() {
        let why = String::new();
        let [camera, encoder] = &no_plan(&ProfileError::NoCamera { why })[..] else {
            panic!("one finding each");
        };
        assert_eq!((camera.check, camera.level), (CAMERA, Level::Fault));
        let not_tried = Finding::note(ENCODER, "not tried: there is no camera");
        assert_eq!(*encoder, not_tried);
    }

    #[tokio::test]
    async fn a_look_that_comes_too_late_is_given_up() {
        let past = Instant::now();
        let (found, opens) = look_within(past, "/dev/full", Whose::Others).await;
        assert_eq!((found.level, opens), (Level::Fault, Opens::No));
        assert!(found.what.contains("did not come to an end"), "{found:?}");
    }

    #[test]
    fn a_node_that_is_not_there_is_a_fault_and_other_names_are_no_nodes() {
        // Below /dev, where nodes are.
        let directory = tempfile::tempdir_in("/dev/shm").unwrap();
        let account = || async { Account::of_service().await };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let account = runtime.block_on(account());
        let (gone, opens) = look(&directory.path().join("video9"), &account, Whose::Others);
        assert_eq!((gone.level, opens), (Level::Fault, Opens::Gone));
        let libcamera = Path::new("/base/soc/i2c0mux/i2c@1/imx708@1a");
        let (named, opens) = look(libcamera, &account, Whose::Others);
        assert_eq!((named.level, opens), (Level::Ok, Opens::Yes), "{named:?}");
    }
}
