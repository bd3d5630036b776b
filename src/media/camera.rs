//! The camera: the half that all viewers share. What it gives goes through outlets that never go away;
//! the pipelines behind them come and go as [`care`] says.
//!
//! ```text
//! source ! convert ! encoder ! h264parse ! appsink ─▶ outlet "video" ─▶ branches
//!                                        slate ─────┘
//! source ! opusenc ! appsink ─────────────────────▶ outlet "sound" ─┘
//! ```

mod avoidance;
pub mod care;
pub mod encoder;
mod keeper;
mod outlet;
pub(super) mod pipeline;
mod second;
mod slate;
pub(super) mod sound;
pub mod status;
mod valve;

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::{Notify, mpsc, oneshot, watch};

pub(super) use self::outlet::{Inlet, Outlet, Tap, TimeBase};
use self::{
    care::{BUDGET, Pace},
    keeper::Keeper,
    pipeline::Taps,
    second::{RawTap, Second},
    status::{CameraCounters, CameraState, CameraStatus},
};
use super::{
    BranchId, Certificate, MediaEvent, Rendition,
    branch::Branch,
    certificate, devices, h264,
    ice::IceServers,
    profile::{Encoder, LaunchText, Plan, ProfileError},
};
use crate::{
    config::{Config, Ice, Idle},
    news,
};

/// How the launch text is found, anew for each start: hardware changes. Asks drivers: may block.
/// It is told which encoders gave no picture.
pub type Planning = Arc<dyn Fn(&BTreeSet<Encoder>) -> Result<Plan, ProfileError> + Send + Sync>;

/// What went wrong with the camera, by what its caller can do about it.
#[derive(Debug, thiserror::Error)]
pub enum CameraError {
    /// The profile's text or the installation is at fault: trying again changes nothing.
    #[error("the camera pipeline cannot be built: {0}")]
    Unbuildable(String),
    /// The configuration or the installation is at fault; never [`ProfileError::NoCamera`].
    #[error(transparent)]
    Profile(ProfileError),
    /// A driver hangs: only a new process can try again.
    #[error("{0}")]
    Hangs(String),
}

/// What a camera is opened with.
#[derive(Clone)]
pub struct CameraSettings {
    pub planning: Planning,
    /// The same for whatever camera may come, without a look at any.
    pub rehearsal: Planning,
    pub idle: Idle,
    /// Frames per second that are wanted; how long a silence is too long depends on it.
    pub framerate: u32,
    /// The encoder's own, where it is known; how long a slate may be shown while frames come depends on it.
    pub keyframe_interval: Option<Duration>,
    /// Whether there is sound.
    pub sound: bool,
    /// What offers say before the encoder has: see [`h264::constrained_baseline`].
    pub profile_level_id: String,
    pub ice: IceServers,
}

impl CameraSettings {
    /// The same launch text at every start, at 30 frames per second, whatever hardware there is.
    pub fn fixed(text: LaunchText) -> Self {
        let sound = text.audio.is_some();
        let plan = Plan {
            profile: "fixed".to_owned(),
            why: "it is the only one".to_owned(),
            device: None,
            capture: None,
            encoder: String::new(),
            elements: Vec::new(),
            text,
        };
        let planning: Planning = Arc::new(move |_| Ok(plan.clone()));
        Self {
            rehearsal: planning.clone(),
            planning,
            idle: Idle::Warm,
            framerate: 30,
            keyframe_interval: None,
            sound,
            profile_level_id: h264::constrained_baseline(1280, 720, 30, 2_000_000),
            ice: IceServers::new(&Ice { servers: vec![] }),
        }
    }
}

impl fmt::Debug for CameraSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CameraSettings")
            .field("idle", &self.idle)
            .field("framerate", &self.framerate)
            .field("sound", &self.sound)
            .field("profile_level_id", &self.profile_level_id)
            .finish_non_exhaustive()
    }
}

impl From<&Config> for CameraSettings {
    fn from(config: &Config) -> Self {
        let (wanted, rehearsed) = (config.clone(), config.clone());
        Self {
            planning: Arc::new(move |avoided| devices::plan(&wanted, avoided)),
            rehearsal: Arc::new(move |_| devices::plan_without_hardware(&rehearsed)),
            idle: config.camera.idle,
            framerate: config.camera.framerate,
            keyframe_interval: Some(config.encoder.keyframe_interval),
            sound: config.audio.enabled,
            profile_level_id: h264::constrained_baseline(
                config.camera.width,
                config.camera.height,
                config.camera.framerate,
                config.encoder.bitrate,
            ),
            ice: IceServers::new(&config.ice),
        }
    }
}

/// The camera, whether or not it gives a picture now. Clones are handles to the same one; with the last it
/// is stopped.
#[derive(Debug, Clone)]
pub struct Camera {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    video: Video,
    /// Bit/s, of either rendition; `None`: as its launch text says.
    bitrates: [watch::Sender<Option<u32>>; 2],
    second_wanted: watch::Sender<bool>,
    sound: Option<Arc<Outlet>>,
    profile_level_id: watch::Receiver<String>,
    time: TimeBase,
    ice: IceServers,
    keyframe_wanted: Arc<Notify>,
    counters: Arc<CameraCounters>,
    status: watch::Receiver<CameraStatus>,
    stop: Mutex<Option<oneshot::Sender<()>>>,
    wanted: watch::Sender<bool>,
    events: mpsc::UnboundedSender<MediaEvent>,
}

/// The picture's outlets.
#[derive(Debug, Clone)]
pub(super) struct Video {
    first: Arc<Outlet>,
    /// Silent while there is no second rendition.
    second: Arc<Outlet>,
}

impl Video {
    pub fn outlet(&self, rendition: Rendition) -> &Arc<Outlet> {
        match rendition {
            Rendition::First => &self.first,
            Rendition::Second => &self.second,
        }
    }
}

/// What a branch takes from the camera.
#[derive(Debug, Clone)]
pub(super) struct Feed {
    pub video: Video,
    pub audio: Option<Arc<Outlet>>,
    /// As the encoder's own SPS says it, or is expected to.
    pub profile_level_id: String,
    pub time: TimeBase,
    pub ice: IceServers,
    /// Notified, the camera asks its encoder for a keyframe; many notifications make one request.
    pub keyframe_wanted: Arc<Notify>,
}

impl Camera {
    /// Opens the camera and returns as soon as its first start is under way, or waits for hardware or a viewer. From
    /// then on it is looked after: what viewers see, [`Camera::status`] tells. An error is one that no
    /// restart of the camera mends.
    pub async fn open(
        settings: CameraSettings,
        events: mpsc::UnboundedSender<MediaEvent>,
    ) -> Result<Self, CameraError> {
        let time = TimeBase::now();
        let keyframe_wanted = Arc::new(Notify::new());
        certificate::make_in_advance();
        let second_keyframe_wanted = Arc::new(Notify::new());
        let video = Video {
            first: Arc::new(Outlet::for_video(&time, keyframe_wanted.clone())),
            second: Arc::new(Outlet::for_video(&time, second_keyframe_wanted.clone())),
        };
        let sound = settings.sound.then(|| Arc::new(Outlet::for_sound(&time)));

        let counters = Arc::<CameraCounters>::default();
        let (profile_level_id, offered) = watch::channel(settings.profile_level_id);
        let now = std::time::Instant::now();
        let (status, shown) = watch::channel(CameraStatus::starting(now, now, BUDGET));
        let (stop, asked_to_stop) = oneshot::channel();
        let (wanted, hears_wanted) = watch::channel(false);
        let (opened, outcome) = oneshot::channel();
        let (says, said) = mpsc::unbounded_channel();
        let (launch, text) = watch::channel(None);
        if let Some(sound) = &sound {
            tokio::spawn(sound::keep(text, sound.clone(), time.clone()));
        }
        let raw = Arc::<RawTap>::default();
        let (bitrate, wanted_bitrate) = watch::channel(None);
        let (second_bitrate, wanted_second_bitrate) = watch::channel(None);
        let (second_wanted, second_is_wanted) = watch::channel(false);
        let (second, recipe) = watch::channel(None);
        let second_rendition = Second {
            outlet: video.second.clone(),
            time: time.clone(),
            raw: raw.clone(),
            keyframe_wanted: second_keyframe_wanted.clone(),
            recipe,
            wanted: second_is_wanted,
            events: events.clone(),
            bitrate: wanted_second_bitrate,
        };
        tokio::spawn(second_rendition.keep());
        let keeper = Keeper {
            planning: settings.planning,
            rehearsal: settings.rehearsal,
            taps: Taps {
                time: time.clone(),
                outlet: video.first.clone(),
                raw,
                counters: counters.clone(),
                said: says,
            },
            said,
            keyframe_wanted: keyframe_wanted.clone(),
            wanted: hears_wanted,
            status,
            profile_level_id,
            sound: launch,
            second,
            second_outlet: video.second.clone(),
            second_keyframe_wanted,
            bitrate: wanted_bitrate,
            events: events.clone(),
            stop: asked_to_stop,
            opened: Some(opened),
        };
        let pace = Pace::of(settings.framerate, settings.keyframe_interval);
        tokio::spawn(keeper.keep(pace, settings.idle));
        let camera = Self {
            shared: Arc::new(Shared {
                video,
                bitrates: [bitrate, second_bitrate],
                second_wanted,
                sound,
                profile_level_id: offered,
                time,
                ice: settings.ice,
                keyframe_wanted,
                counters,
                status: shown,
                stop: Mutex::new(Some(stop)),
                wanted,
                events,
            }),
        };
        match outcome.await {
            Ok(Ok(())) => Ok(camera),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(CameraError::Hangs("the camera's task is gone".into())),
        }
    }

    /// Opens a branch on this camera; its offer follows as an event.
    pub fn open_branch(&self, branch: BranchId, certificate: Certificate) -> Branch {
        let shared = &self.shared;
        let feed = Feed {
            video: shared.video.clone(),
            audio: shared.sound.clone(),
            profile_level_id: shared.profile_level_id.borrow().clone(),
            time: shared.time.clone(),
            ice: shared.ice.clone(),
            keyframe_wanted: shared.keyframe_wanted.clone(),
        };
        Branch::open(branch, certificate, feed, shared.events.clone())
    }

    /// Encodes this rendition at so many bit/s from now on, where its encoder can be told while it runs.
    pub fn encode(&self, rendition: Rendition, bitrate: u32) {
        let [first, second] = &self.shared.bitrates;
        let sender = match rendition {
            Rendition::First => first,
            Rendition::Second => second,
        };
        sender.send_replace(Some(bitrate));
    }

    /// Whether the second rendition is needed by anybody. It is encoded only then.
    pub fn want_second(&self, wanted: bool) {
        news::show(&self.shared.second_wanted, wanted);
    }

    /// Whether anybody wants to watch; nobody does before this is said. What follows is [`CameraSettings::idle`]'s.
    pub fn want(&self, wanted: bool) {
        news::show(&self.shared.wanted, wanted);
    }

    /// How the camera is, from now on.
    pub fn status(&self) -> watch::Receiver<CameraStatus> {
        self.shared.status.clone()
    }

    /// What it has done so far; the same counters for as long as the process lives.
    pub fn counters(&self) -> Arc<CameraCounters> {
        self.shared.counters.clone()
    }

    /// Stops source and encoder and closes the device. Branches still open fall silent.
    pub async fn stop(&self) {
        let stop = self
            .shared
            .stop
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(stop) = stop {
            let _ = stop.send(());
        }
        let ended = |status: &CameraStatus| matches!(status.state, CameraState::Ended { .. });
        let _ = self.status().wait_for(ended).await;
    }
}

/// GStreamer's calls may wait for its streaming threads; the loop may not.
pub(super) async fn on_blocking_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    tokio::task::spawn_blocking(work)
        .await
        .expect("work on a blocking thread does not panic")
}

#[cfg(test)]
mod tests;
