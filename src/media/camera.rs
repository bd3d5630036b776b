//! Source to encoder: the camera pipeline, one for all viewers.
//!
//! ```text
//! source ! convert ! encoder ! h264parse ! appsink "video"      source ! opusenc ! appsink "audio"
//!                                             └ StreamProducer: a reference to each frame per branch
//! ```

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use gst::prelude::*;
use gst_utils::{StreamProducer, streamproducer::ProducerSettings};
use tokio::{
    sync::{Notify, mpsc},
    task::AbortHandle,
    time::timeout,
};

use super::{
    BranchId, CameraEvent, MediaEvent, branch::Branch, bus, h264, ice::IceServers,
    profile::LaunchText,
};

/// How long the source and the encoder may take to the first keyframe. USB cameras need a second or
/// two to wake up; emulated boards several.
const FIRST_KEYFRAME: Duration = Duration::from_secs(15);

/// How long a running camera may give no frame. Longer than any exposure or hiccup of a USB bus.
const SILENCE: Duration = Duration::from_secs(10);

/// The first SPS is looked for in this much of an access unit.
const HEADER_BYTES: usize = 512;

/// What went wrong with the camera, by what its caller can do about it.
#[derive(Debug, thiserror::Error)]
pub enum CameraError {
    /// The profile's text or the installation is at fault: trying again changes nothing.
    #[error("the camera pipeline cannot be built: {0}")]
    Unbuildable(String),
    /// The camera or its encoder is at fault: it may work later.
    #[error("the camera gives no picture: {0}")]
    NoPicture(String),
}

/// The running camera. Clones are handles to the same one.
#[derive(Debug, Clone)]
pub struct Camera {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    running: Running,
    video: StreamProducer,
    audio: Option<StreamProducer>,
    profile_level_id: String,
    clock: gst::Clock,
    base_time: gst::ClockTime,
    ice: IceServers,
    keyframe_wanted: Arc<Notify>,
    tasks: [AbortHandle; 2],
    events: mpsc::UnboundedSender<MediaEvent>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// A pipeline that is shut when nobody holds it any more, also where its start is given up half-way:
/// GStreamer does not forgive a pipeline that is dropped while it plays.
#[derive(Debug)]
struct Running(gst::Pipeline);

impl Drop for Running {
    fn drop(&mut self) {
        let pipeline = self.0.clone();
        // Not on the loop, which must not wait, and not of it, which may be at its end.
        std::thread::spawn(move || shut(&pipeline));
    }
}

/// What a branch takes from the camera.
#[derive(Debug, Clone)]
pub(super) struct Feed {
    pub video: StreamProducer,
    pub audio: Option<StreamProducer>,
    /// As the encoder's own SPS says it.
    pub profile_level_id: String,
    pub clock: gst::Clock,
    pub base_time: gst::ClockTime,
    pub ice: IceServers,
    /// Notified, the camera asks its encoder for a keyframe; many notifications make one request.
    pub keyframe_wanted: Arc<Notify>,
}

impl Camera {
    /// Starts the camera and waits for its first keyframe, so that a camera that returns from here
    /// is one that gives a picture. Trouble from then on is a [`CameraEvent`].
    pub async fn start(
        launch: LaunchText,
        ice: IceServers,
        events: mpsc::UnboundedSender<MediaEvent>,
    ) -> Result<Self, CameraError> {
        let frames = Arc::new(AtomicU64::new(0));
        let (first_keyframe, keyframe) = mpsc::channel(1);
        let (failed, mut failures) = mpsc::unbounded_channel();
        let counter = frames.clone();
        let running = on_blocking_thread(move || -> Result<_, CameraError> {
            make_certificate();
            let pipeline = build(&launch)?;
            watch_frames(&appsink(&pipeline, "video")?, counter, first_keyframe);
            watch_bus(&pipeline, failed);
            Ok(Running(pipeline))
        })
        .await?;
        let pipeline = running.0.clone();
        let video = producer(&appsink(&pipeline, "video")?);
        let audio = appsink(&pipeline, "audio").ok().map(|sink| producer(&sink));
        let profile_level_id = first_picture(&pipeline, keyframe, &mut failures).await?;

        let keyframe_wanted = Arc::new(Notify::new());
        let watch = watch_over(failures, frames, SILENCE, events.clone());
        let requests = request_keyframes(keyframe_wanted.clone(), video.appsink().downgrade());
        let clock = pipeline.clock().ok_or_else(|| no_picture("no clock"))?;
        let base_time = pipeline.base_time().ok_or_else(|| no_picture("no time"))?;
        Ok(Self {
            shared: Arc::new(Shared {
                running,
                video,
                audio,
                profile_level_id,
                clock,
                base_time,
                ice,
                keyframe_wanted,
                tasks: [
                    tokio::spawn(watch).abort_handle(),
                    tokio::spawn(requests).abort_handle(),
                ],
                events,
            }),
        })
    }

    /// Opens a branch on this camera; its offer follows as an event.
    pub fn open_branch(&self, branch: BranchId) -> Branch {
        let shared = &self.shared;
        let feed = Feed {
            video: shared.video.clone(),
            audio: shared.audio.clone(),
            profile_level_id: shared.profile_level_id.clone(),
            clock: shared.clock.clone(),
            base_time: shared.base_time,
            ice: shared.ice.clone(),
            keyframe_wanted: shared.keyframe_wanted.clone(),
        };
        Branch::open(branch, feed, shared.events.clone())
    }

    /// Stops source and encoder and closes the device. Branches still open fall silent.
    pub async fn stop(&self) {
        let pipeline = self.shared.running.0.clone();
        on_blocking_thread(move || shut(&pipeline)).await;
    }
}

fn no_picture(why: &str) -> CameraError {
    CameraError::NoPicture(why.to_owned())
}

/// Sets the pipeline in motion and waits for its first keyframe; what that says of itself. A driver may
/// hang already while its device is opened, so that counts too.
async fn first_picture(
    pipeline: &gst::Pipeline,
    mut keyframe: mpsc::Receiver<String>,
    failures: &mut mpsc::UnboundedReceiver<String>,
) -> Result<String, CameraError> {
    let starting = pipeline.clone();
    let picture = async {
        let started = on_blocking_thread(move || starting.set_state(gst::State::Playing)).await;
        tokio::select! {
            biased;
            Some(why) = failures.recv() => Err(CameraError::NoPicture(why)),
            Some(found) = keyframe.recv(), if started.is_ok() => Ok(found),
            else => Err(no_picture("it does not start, and does not say why")),
        }
    };
    timeout(FIRST_KEYFRAME, picture).await.unwrap_or_else(|_| {
        Err(CameraError::NoPicture(format!(
            "no keyframe within {} s; is the camera connected and free?",
            FIRST_KEYFRAME.as_secs()
        )))
    })
}

/// The launch text behind the encoder is the same for every profile.
fn build(launch: &LaunchText) -> Result<gst::Pipeline, CameraError> {
    let mut text = format!(
        "{} ! h264parse config-interval=-1 \
         ! video/x-h264,stream-format=byte-stream,alignment=au \
         ! appsink name=video sync=false async=false max-buffers=4 drop=true",
        launch.video
    );
    if let Some(audio) = &launch.audio {
        text.push_str(&format!(
            "  {audio} ! appsink name=audio sync=false async=false max-buffers=16 drop=true"
        ));
    }
    let pipeline = gst::parse::launch(&text)
        .map_err(|error| CameraError::Unbuildable(error.to_string()))?
        .downcast::<gst::Pipeline>()
        .map_err(|_| CameraError::Unbuildable("the profile is a single element".into()))?;
    pipeline.set_property("name", "camera");
    Ok(pipeline)
}

fn appsink(pipeline: &gst::Pipeline, name: &str) -> Result<gst_app::AppSink, CameraError> {
    pipeline
        .by_name(name)
        .and_then(|element| element.downcast().ok())
        .ok_or_else(|| CameraError::Unbuildable(format!("the pipeline has no appsink `{name}`")))
}

fn producer(appsink: &gst_app::AppSink) -> StreamProducer {
    StreamProducer::with(appsink, ProducerSettings { sync: false })
}

/// Counts frames, and tells what the first SPS says.
fn watch_frames(
    appsink: &gst_app::AppSink,
    frames: Arc<AtomicU64>,
    first_keyframe: mpsc::Sender<String>,
) {
    let found = AtomicBool::new(false);
    let pad = appsink
        .static_pad("sink")
        .expect("an appsink has a sink pad");
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        frames.fetch_add(1, Ordering::Relaxed);
        if !found.load(Ordering::Relaxed)
            && let Some(id) = info.buffer().and_then(buffer_profile_level_id)
        {
            found.store(true, Ordering::Relaxed);
            let _ = first_keyframe.try_send(id);
        }
        gst::PadProbeReturn::Ok
    });
}

fn buffer_profile_level_id(buffer: &gst::Buffer) -> Option<String> {
    let bytes = buffer.map_readable().ok()?;
    h264::profile_level_id(&bytes[..bytes.len().min(HEADER_BYTES)])
}

fn watch_bus(pipeline: &gst::Pipeline, failures: mpsc::UnboundedSender<String>) {
    let bus = pipeline.bus().expect("a pipeline has a bus");
    bus.set_sync_handler(move |_, message| {
        match bus::verdict(message) {
            Some(bus::Verdict::Failed { why }) => {
                let _ = failures.send(why);
            }
            Some(bus::Verdict::Warned { why }) => tracing::warn!(why, "camera warning"),
            None => {}
        }
        gst::BusSyncReply::Drop
    });
}

/// Tells of the camera's end: an error of an element, or a silence that no element owns up to. A driver
/// or an encoder that hangs posts nothing; viewers would be left with a frozen picture.
async fn watch_over(
    mut failures: mpsc::UnboundedReceiver<String>,
    frames: Arc<AtomicU64>,
    patience: Duration,
    events: mpsc::UnboundedSender<MediaEvent>,
) {
    let mut seen = frames.load(Ordering::Relaxed);
    let why = loop {
        match timeout(patience, failures.recv()).await {
            // One failure is the camera's end; what its elements say after that is its echo.
            Ok(Some(why)) => break why,
            Ok(None) => return,
            Err(_) => {
                let now = frames.load(Ordering::Relaxed);
                if now == seen {
                    break format!("no frame for {patience:?}: source or encoder hangs");
                }
                seen = now;
            }
        }
    };
    let _ = events.send(MediaEvent::Camera(CameraEvent::Failed { why }));
}

/// Hands requests to the encoder one at a time, off the threads that made them.
/// `min-force-key-unit-interval` on the encoder bounds how often it obeys.
async fn request_keyframes(wanted: Arc<Notify>, appsink: glib::WeakRef<gst_app::AppSink>) {
    loop {
        wanted.notified().await;
        let Some(pad) = appsink
            .upgrade()
            .and_then(|appsink| appsink.static_pad("sink"))
        else {
            return;
        };
        on_blocking_thread(move || {
            let event = gst_video::UpstreamForceKeyUnitEvent::builder()
                .all_headers(true)
                .build();
            pad.push_event(event)
        })
        .await;
    }
}

/// GStreamer makes its process-wide DTLS certificate with the first element that needs it, which
/// takes an RSA key: let that not be the first viewer's wait.
fn make_certificate() {
    if let Ok(decoder) = gst::ElementFactory::make("dtlsdec").build() {
        let _ = decoder.property::<Option<String>>("pem");
    }
}

/// Blocks until the streaming threads have ended.
fn shut(pipeline: &gst::Pipeline) {
    let _ = pipeline.set_state(gst::State::Null);
    if let Some(bus) = pipeline.bus() {
        bus.unset_sync_handler();
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
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{
        config::{Config, Ice},
        media::devices,
    };

    /// Four times the shipped profiles' `min-force-key-unit-interval`, in frames.
    const WATCHED_FRAMES: usize = 30;

    fn config() -> Config {
        let text = r#"
            camera = { profile = "test", width = 320, height = 180, framerate = 30 }
            embedded_lobby = { enabled = true }
        "#;
        Config::from_text(Path::new("test.toml"), text).expect("a valid configuration")
    }

    #[tokio::test]
    async fn a_silence_and_an_error_are_both_the_cameras_end() {
        for error in [None, Some("cable")] {
            let (failed, failures) = mpsc::unbounded_channel();
            let (events, mut reports) = mpsc::unbounded_channel();
            if let Some(error) = error {
                failed.send(error.to_owned()).expect("it is heard");
            }
            let frames = Arc::new(AtomicU64::new(7));
            watch_over(failures, frames, Duration::from_millis(20), events).await;
            let Some(MediaEvent::Camera(CameraEvent::Failed { why })) = reports.recv().await else {
                panic!("the camera's end is told");
            };
            assert!(why.contains(error.unwrap_or("no frame for 20ms")), "{why}");
        }
    }

    /// Without `min-force-key-unit-interval` every request is a keyframe: a crowd that joins would
    /// get the bitrate of an intra-only stream.
    #[tokio::test]
    async fn a_crowd_of_requests_makes_few_keyframes() {
        crate::media::init().expect("GStreamer starts");
        let launch = devices::plan(&config())
            .expect("the test profile fits")
            .text;
        let (events, _reports) = mpsc::unbounded_channel();
        let ice = IceServers::new(&Ice { servers: vec![] });
        let camera = Camera::start(launch, ice, events)
            .await
            .expect("the test picture runs");

        let (kinds, mut frames) = mpsc::unbounded_channel();
        let sink = camera.shared.video.appsink().static_pad("sink");
        sink.expect("an appsink has a sink pad").add_probe(
            gst::PadProbeType::BUFFER,
            move |_, info| {
                let key = info
                    .buffer()
                    .is_some_and(|frame| !frame.flags().contains(gst::BufferFlags::DELTA_UNIT));
                let _ = kinds.send(key);
                gst::PadProbeReturn::Ok
            },
        );
        let mut keyframes = 0;
        for _ in 0..WATCHED_FRAMES {
            for _ in 0..5 {
                camera.shared.keyframe_wanted.notify_one();
            }
            keyframes += usize::from(frames.recv().await.expect("frames flow"));
        }
        camera.stop().await;

        assert!(keyframes > 0, "nobody's request was heard");
        assert!(
            keyframes <= 6,
            "{keyframes} keyframes in {WATCHED_FRAMES} frames"
        );
    }
}
