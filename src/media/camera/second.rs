//! The second rendition: the camera's picture made smaller, for viewers whose connections do not carry the first.
//!
//! ```text
//! source ! convert ! encoder ! …                                  the camera's pipeline
//!                  └ raw pictures ─▶ appsrc ! videoscale ! encoder ! h264parse ! appsink ─▶ outlet
//! ```
//! It has a pipeline and an encoder of its own, which run only while somebody needs them; what goes wrong there takes
//! nothing of the first rendition along. It has no budget: it is only tried ever less often.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use gst::prelude::*;
use tokio::{
    sync::{Notify, mpsc, watch},
    time::sleep,
};
use tracing::{info, warn};

use super::{
    encoder, on_blocking_thread,
    outlet::{Outlet, TimeBase},
    pipeline::{self, Running, shut},
};
use crate::media::{CameraEvent, MediaEvent, bus, profile::Commands};

const LONGEST: Duration = Duration::from_secs(60);
/// So long it must run to be taken for one that works.
const STEADY: Duration = Duration::from_secs(60);

/// Where the camera's raw pictures go beside its own encoder, while they are wanted.
#[derive(Debug, Default)]
pub struct RawTap(Mutex<Option<gst_app::AppSrc>>);

impl RawTap {
    /// One raw picture on its way into the camera's encoder. The memory is shared, not copied.
    pub fn offer(
        &self,
        picture: &gst::BufferRef,
        time: gst::ClockTime,
        caps: impl FnOnce() -> Option<gst::Caps>,
    ) {
        // Held for a push, which never waits: the appsrc lets go of the oldest where it is full.
        let source = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(source) = &*source else { return };
        let Some(caps) = caps() else { return };
        if source.caps().as_ref() != Some(&caps) {
            source.set_caps(Some(&caps));
        }
        let mut picture = picture.to_owned();
        let writable = picture.make_mut();
        writable.set_pts(time);
        writable.set_dts(gst::ClockTime::NONE);
        // Fails only while it is being stopped.
        let _ = source.push_buffer(picture);
    }

    fn open(&self, to: Option<gst_app::AppSrc>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = to;
    }
}

/// How it is made, by the last plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// From raw pictures on.
    pub launch: String,
    pub commands: Commands,
}

/// What it is connected to.
pub struct Second {
    pub outlet: Arc<Outlet>,
    pub time: TimeBase,
    pub raw: Arc<RawTap>,
    pub keyframe_wanted: Arc<Notify>,
    pub recipe: watch::Receiver<Option<Recipe>>,
    /// Somebody needs it.
    pub wanted: watch::Receiver<bool>,
    pub events: mpsc::UnboundedSender<MediaEvent>,
    /// Bit/s; `None`: as its recipe says.
    pub bitrate: watch::Receiver<Option<u32>>,
}

/// Why a run ended.
enum Ended {
    /// Nobody needs it, or it is to be made another way.
    Wanted,
    Failed(String),
    /// The camera is gone for good.
    Over,
}

impl Second {
    /// Looks after it until the camera is gone.
    pub async fn keep(mut self) {
        let mut failures = 0u32;
        loop {
            let Some(recipe) = self.order().await else {
                return;
            };
            let began = Instant::now();
            let why = match self.run(recipe).await {
                Ended::Over => return,
                Ended::Wanted => continue,
                Ended::Failed(why) => why,
            };
            if began.elapsed() >= STEADY {
                failures = 0;
            }
            let wait = Duration::from_secs(2 << failures.min(5)).min(LONGEST);
            failures = failures.saturating_add(1);
            let retry_in_ms = crate::clock::milliseconds(wait);
            warn!(
                event = "second-rendition-failed",
                why, retry_in_ms, "there is no smaller picture for slow viewers"
            );
            let event = MediaEvent::Camera(CameraEvent::NoSecond);
            let _ = self.events.send(event);
            sleep(wait).await;
        }
    }

    /// Waits until it is needed and known how to be made; `None` where neither can be any more.
    async fn order(&mut self) -> Option<Recipe> {
        self.wanted.wait_for(|wanted| *wanted).await.ok()?;
        let recipe = self.recipe.wait_for(Option::is_some).await.ok()?;
        recipe.clone()
    }

    async fn run(&mut self, recipe: Recipe) -> Ended {
        let (outlet, time) = (self.outlet.clone(), self.time.clone());
        let (says, mut faults) = mpsc::channel(4);
        let (order, bitrate) = (recipe.clone(), *self.bitrate.borrow());
        let started =
            on_blocking_thread(move || start(&order, bitrate, &outlet, &time, says)).await;
        let (running, source) = match started {
            Ok(started) => started,
            Err(why) => return Ended::Failed(faults.try_recv().unwrap_or(why)),
        };
        info!(
            event = "second-rendition-started",
            "a smaller picture is encoded for slow viewers"
        );
        let requests =
            encoder::request_keyframes(self.keyframe_wanted.clone(), &recipe.commands, &running.0);
        let rates = encoder::follow_bitrate(self.bitrate.clone(), &recipe.commands, &running.0);
        let attendants = [tokio::spawn(requests), tokio::spawn(rates)];
        self.raw.open(Some(source));
        let ended = self.attend(&recipe.launch, &mut faults).await;
        self.raw.open(None);
        for attendant in attendants {
            attendant.abort();
        }
        on_blocking_thread(move || shut(&running.0)).await;
        if matches!(ended, Ended::Wanted) {
            info!(
                event = "second-rendition-stopped",
                "no viewer needs the smaller picture any more"
            );
        }
        ended
    }

    async fn attend(&mut self, launch: &str, faults: &mut mpsc::Receiver<String>) -> Ended {
        loop {
            tokio::select! {
                Some(why) = faults.recv() => return Ended::Failed(why),
                changed = self.wanted.changed() => match changed {
                    Err(_) => return Ended::Over,
                    Ok(()) if !*self.wanted.borrow_and_update() => return Ended::Wanted,
                    Ok(()) => {}
                },
                changed = self.recipe.changed() => match changed {
                    Err(_) => return Ended::Over,
                    Ok(()) => {
                        let recipe = self.recipe.borrow_and_update();
                        if recipe.as_ref().is_none_or(|other| other.launch != launch) {
                            return Ended::Wanted;
                        }
                    }
                },
            }
        }
    }
}

fn start(
    recipe: &Recipe,
    bitrate: Option<u32>,
    outlet: &Arc<Outlet>,
    time: &TimeBase,
    says: mpsc::Sender<String>,
) -> Result<(Running, gst_app::AppSrc), String> {
    let text = format!(
        "appsrc name=raw is-live=true format=time max-buffers=2 max-bytes=0 leaky-type=downstream ! {}",
        recipe.launch
    );
    let built = pipeline::build(&text)?;
    built.set_property("name", "second");
    time.rule(&built);
    let source = built
        .by_name("raw")
        .and_then(|element| element.downcast::<gst_app::AppSrc>().ok());
    let source = source.ok_or("the pipeline has no appsrc \"raw\"")?;
    let outlet = outlet.clone();
    pipeline::on_frame(&built, move |sample| outlet.camera_frame(sample))
        .map_err(|error| error.to_string())?;
    bus::watch(&built, move |verdict| {
        if let bus::Verdict::Failed { why, .. } = verdict {
            // One is enough.
            let _ = says.try_send(why);
        }
    });
    let running = Running(built);
    // Its first picture is a keyframe: at the bitrate of the recipe it would be far too large for whom it is made for.
    if let (Some(control), Some(bitrate)) = (&recipe.commands.bitrate, bitrate) {
        // A device is open then.
        let _ = running.0.set_state(gst::State::Ready);
        // What cannot be set is told of by who follows the bitrate from here on.
        let _ = encoder::set_bitrate(&running.0, control, bitrate);
    }
    match running.0.set_state(gst::State::Playing) {
        Ok(_) => Ok((running, source)),
        Err(error) => Err(format!("it does not start: {error}")),
    }
}
