//! Carries out what [`Care`] says: the task that owns the camera's pipeline. Everything that may wait for
//! GStreamer or a driver runs on blocking threads and comes back as a [`Done`].

use std::sync::{Arc, atomic::Ordering};

use tokio::{
    sync::{Notify, mpsc, oneshot, watch},
    task::{AbortHandle, JoinSet},
    time::{MissedTickBehavior, interval},
};
use tracing::{info, warn};

use super::{
    CameraError, Planning,
    avoidance::Avoidance,
    care::{Action, BUDGET, Care, Pace, Report, Seen, TICK},
    encoder,
    outlet::Outlet,
    pipeline::{self, Run, Said, Taps, Unprepared},
    second::Recipe,
    slate::{self, Slate},
    status::{CameraState, CameraStatus, Fault, Off, Picture},
    valve::Valve,
};
use crate::{
    clock::{milliseconds, now},
    config::Idle,
    media::{CameraEvent, MediaEvent, bus::About, h264, profile::Encoder},
    news,
};

/// More different warnings than these are not told.
const WARNINGS: usize = 16;

/// What the keeper is given.
pub struct Keeper {
    pub planning: Planning,
    /// The same without a look at the hardware: for a camera that is not to be opened yet.
    pub rehearsal: Planning,
    pub taps: Taps,
    pub said: mpsc::UnboundedReceiver<(u64, Said)>,
    pub keyframe_wanted: Arc<Notify>,
    /// Whether anybody watches.
    pub wanted: watch::Receiver<bool>,
    pub status: watch::Sender<CameraStatus>,
    /// What offers say of the picture.
    pub profile_level_id: watch::Sender<String>,
    /// What is to be heard, for the sound's own task.
    pub sound: watch::Sender<Option<String>>,
    /// The same for the second rendition's.
    pub second: watch::Sender<Option<Recipe>>,
    /// Where viewers of the second rendition take their pictures from: they are shown the slate as well.
    pub second_outlet: Arc<Outlet>,
    pub second_keyframe_wanted: Arc<Notify>,
    /// What the first rendition is to be encoded at, in bit/s; `None`: as its launch text says.
    pub bitrate: watch::Receiver<Option<u32>>,
    pub events: mpsc::UnboundedSender<MediaEvent>,
    /// Dropped or used, it is asked to stop.
    pub stop: oneshot::Receiver<()>,
    /// Told once: the first start can be tried, or a restart would not help.
    pub opened: Option<oneshot::Sender<Result<(), CameraError>>>,
}

/// Work that has come back from a blocking thread.
enum Done {
    /// Nothing was started, because nobody watches; whether it could have been.
    Rehearsed(Result<(), CameraError>),
    Prepared(Result<Run, Unprepared>),
    /// The encoder has been asked for a keyframe, and may be given frames again.
    Asked {
        number: u64,
    },
    Playing {
        number: u64,
        started: bool,
    },
    Stopped,
}

/// The task's own state.
struct Keeping {
    it: Keeper,
    care: Care,
    run: Option<Run>,
    picture: Option<Picture>,
    number: u64,
    /// A run is being prepared; it is not wanted any more where `unwanted`.
    preparing: bool,
    unwanted: bool,
    /// Tasks that serve the present run.
    attendants: Vec<AbortHandle>,
    work: JoinSet<Done>,
    slate: Slate,
    hangs: bool,
    /// What elements have warned of since the start.
    warned: Vec<String>,
    /// What this run's source has said of itself is why it ends.
    source_failed: bool,
    avoidance: Avoidance,
}

impl Keeper {
    /// Looks after the camera until it is stopped or given up.
    pub async fn keep(self, pace: Pace, idle: Idle) {
        let mut keeping = Keeping {
            it: self,
            care: Care::new(pace, idle, now()),
            run: None,
            picture: None,
            number: 0,
            preparing: false,
            unwanted: false,
            attendants: Vec::new(),
            work: JoinSet::new(),
            slate: Slate::default(),
            hangs: false,
            warned: Vec::new(),
            source_failed: false,
            avoidance: Avoidance::default(),
        };
        keeping.keep().await;
    }
}

impl Keeping {
    async fn keep(&mut self) {
        let mut ticks = interval(TICK);
        let mut pictures = interval(slate::EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        pictures.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut stopping = false;
        if self.care.is_idle() {
            self.rehearse();
        }
        loop {
            self.carry_out();
            self.show_status();
            if self.care.has_ended() {
                return;
            }
            tokio::select! {
                // What a run says of itself comes before what its start came to.
                biased;
                Some((number, said)) = self.it.said.recv() => self.hear(number, said),
                Some(done) = self.work.join_next() => {
                    self.done(done.expect("work on a blocking thread does not panic"));
                }
                _ = &mut self.it.stop, if !stopping => {
                    stopping = true;
                    self.care.shut_down(now());
                }
                Ok(()) = self.it.wanted.changed() => {
                    let wanted = *self.it.wanted.borrow_and_update();
                    self.care.want(wanted, now());
                }
                _ = ticks.tick() => self.look(),
                _ = pictures.tick() => {
                    self.show_slate();
                }
            }
        }
    }

    /// The slate's next picture, to whoever is shown it.
    fn show_slate(&mut self) {
        if let Some(picture) = self.slate.next() {
            self.it.second_outlet.slate_picture(picture.copy());
            self.it.taps.outlet.slate_picture(picture);
        }
    }

    fn look(&mut self) {
        // The second rendition's encoder seldom runs: its viewers do not wait for it to say that the camera is back.
        if !self.it.taps.outlet.shows_slate() {
            self.it.second_outlet.hide_slate();
        }
        let counters = &self.it.taps.counters;
        let seen = Seen {
            source: counters.source_frames.load(Ordering::Relaxed),
            encoded: counters.encoded_frames.load(Ordering::Relaxed),
            slate: self.it.taps.outlet.shows_slate(),
        };
        self.care.tick(seen, now());
        // Not every driver says that its camera was unplugged.
        let device = self
            .picture
            .as_ref()
            .and_then(|picture| picture.device.as_deref());
        if (self.care.is_silent() || self.care.is_idle())
            && let Some(device) = device
            && pipeline::is_missing(device)
        {
            let why = format!("no camera at {device} any more");
            self.care.failed(Fault::NoCamera, why, now());
        }
    }

    fn hear(&mut self, number: u64, said: Said) {
        if number != self.number {
            return;
        }
        match said {
            Said::Failed { why, about } => {
                let fault = self.fault(about);
                self.source_failed |= about == About::Source;
                self.care.failed(fault, why, now());
            }
            Said::Warned(why) => self.warn_once(why),
            Said::Sps(id) => self.compare_offers(id),
        }
    }

    /// Some elements warn of each frame.
    fn warn_once(&mut self, why: String) {
        if self.warned.len() < WARNINGS && !self.warned.contains(&why) {
            warn!(event = "camera-warning", why, "camera warning");
            self.warned.push(why);
        }
    }

    /// Only where there is a device at all is an error about a device one about the camera.
    fn fault(&self, about: About) -> Fault {
        let device = self
            .picture
            .as_ref()
            .and_then(|picture| picture.device.as_deref());
        match (about, device) {
            (_, Some(device)) if pipeline::is_missing(device) => Fault::NoCamera,
            (About::NoDevice, Some(_)) => Fault::NoCamera,
            (About::Busy, Some(_)) => Fault::Busy,
            _ => Fault::Failed,
        }
    }

    /// Offers say what the encoder says; where that is another profile, open branches lie.
    fn compare_offers(&mut self, id: String) {
        let mut changed = false;
        self.it.profile_level_id.send_if_modified(|offered| {
            changed = h264::profile(offered) != h264::profile(&id);
            let differs = *offered != id;
            offered.clone_from(&id);
            differs
        });
        if changed {
            let event = CameraEvent::Profile {
                profile_level_id: id,
            };
            let _ = self.it.events.send(MediaEvent::Camera(event));
        }
    }

    fn carry_out(&mut self) {
        while let Some(action) = self.care.next_action() {
            match action {
                Action::Start => self.prepare(),
                Action::Stop => self.stop(),
                Action::ShowSlate(caption) => {
                    self.slate = Slate::new(caption, &self.it.profile_level_id.borrow());
                    self.it.taps.outlet.show_slate();
                    self.it.second_outlet.show_slate();
                    self.show_slate();
                }
                Action::WantKeyframe => {
                    self.it.keyframe_wanted.notify_one();
                    self.it.second_keyframe_wanted.notify_one();
                }
                Action::Rest(off) => self.rest(off),
                Action::Wake => self.wake(),
                Action::Report(report) => self.report(&report),
                Action::GiveUp { why } => self.give_up(why),
            }
        }
    }

    /// The sound goes with the camera: who is not seen is not heard either.
    fn rest(&mut self, off: Off) {
        self.it.taps.outlet.rest();
        match off {
            Off::Encoder => {
                if let Some(valve) = self.valve() {
                    valve.close();
                }
            }
            Off::Camera => news::show(&self.it.sound, None),
        }
    }

    /// An encoder that has run before gives a keyframe first: it is asked for one before it is given a frame.
    fn wake(&mut self) {
        self.it.taps.outlet.wake();
        let Some(run) = self.run.as_ref().filter(|run| run.valve.is_some()) else {
            return;
        };
        let (number, pipeline) = (run.number, run.pipeline.0.clone());
        let how = run.commands.keyframes.clone();
        self.work.spawn_blocking(move || {
            // A fault is told when the next is asked for.
            let _ = encoder::request_keyframe(&pipeline, &how);
            Done::Asked { number }
        });
    }

    fn valve(&self) -> Option<&Valve> {
        self.run.as_ref()?.valve.as_ref()
    }

    fn rehearse(&mut self) {
        let planning = self.it.rehearsal.clone();
        self.work
            .spawn_blocking(move || Done::Rehearsed(pipeline::rehearse(&planning)));
    }

    fn prepare(&mut self) {
        self.number += 1;
        self.preparing = true;
        self.unwanted = false;
        let (planning, avoided) = (self.it.planning.clone(), self.avoidance.avoided().clone());
        let (number, taps) = (self.number, self.it.taps.clone());
        self.work.spawn_blocking(move || {
            Done::Prepared(pipeline::prepare(&planning, &avoided, number, &taps))
        });
    }

    fn stop(&mut self) {
        for attendant in self.attendants.drain(..) {
            attendant.abort();
        }
        if let Some(run) = self.run.take() {
            let state = self.care.status(None).state;
            if let CameraState::Stopping { fault: Some(fault) } = state {
                self.it.taps.counters.count_restart(fault);
                self.suspect(&run, fault);
            }
            self.hangs = true;
            self.work.spawn_blocking(move || {
                pipeline::shut(&run.pipeline.0);
                Done::Stopped
            });
        } else if self.preparing {
            self.hangs = true;
            self.unwanted = true;
        } else {
            self.care.stopped(now());
        }
    }

    /// Whether this run's end says something of its encoder.
    fn suspect(&mut self, run: &Run, fault: Fault) {
        if run.has_given_a_picture(&self.it.taps.counters) {
            return self.avoidance.gave_a_picture();
        }
        let Some(encoder) = run.encoder() else {
            return;
        };
        let may_be_its_fault = match fault {
            Fault::EncoderSilent => true,
            Fault::Failed => !self.source_failed,
            Fault::NoCamera | Fault::Busy | Fault::SourceSilent => false,
        };
        if may_be_its_fault && self.avoidance.gave_nothing(&encoder) {
            let Encoder { profile, name } = encoder;
            warn!(
                event = "encoder-avoided",
                profile,
                encoder = name,
                "the encoder gives no picture: the next that fits is tried, if there is one, until Perch is started anew"
            );
        }
    }

    fn done(&mut self, done: Done) {
        match done {
            Done::Rehearsed(outcome) => {
                if outcome.is_err() {
                    self.care.shut_down(now());
                }
                self.tell_opened(outcome);
            }
            Done::Asked { number } => {
                let wanted = number == self.number && !self.care.is_idle();
                if let Some(valve) = self.valve().filter(|_| wanted) {
                    valve.open();
                }
            }
            Done::Prepared(outcome) => {
                self.preparing = false;
                self.prepared(outcome);
            }
            Done::Playing { number, started } => {
                if number == self.number && !started {
                    let why = "it does not start, and does not say why".to_owned();
                    self.care.failed(Fault::Failed, why, now());
                }
            }
            Done::Stopped => {
                self.hangs = false;
                self.care.stopped(now());
            }
        }
    }

    fn prepared(&mut self, outcome: Result<Run, Unprepared>) {
        if std::mem::take(&mut self.unwanted) {
            self.hangs = false;
            drop(outcome);
            return self.care.stopped(now());
        }
        match outcome {
            Ok(run) => {
                self.care.built();
                if let Some(encoder) = run.encoder() {
                    self.avoidance.planned(&encoder);
                }
                self.tell_opened(Ok(()));
                self.picture = Some(run.picture.clone());
                news::show(&self.it.sound, run.sound.clone());
                news::show(&self.it.second, run.second.clone());
                self.play(run);
            }
            Err(Unprepared::NoCamera(why)) => {
                self.tell_opened(Ok(()));
                self.care.failed(Fault::NoCamera, why, now());
            }
            Err(Unprepared::Broken(error)) => {
                let why = error.to_string();
                if self.it.opened.is_some() {
                    self.tell_opened(Err(error));
                    self.care.shut_down(now());
                } else {
                    self.care.failed(Fault::Failed, why, now());
                }
            }
        }
    }

    fn play(&mut self, run: Run) {
        let pipeline = &run.pipeline.0;
        let requests =
            encoder::request_keyframes(self.it.keyframe_wanted.clone(), &run.commands, pipeline);
        let rates = encoder::follow_bitrate(self.it.bitrate.clone(), &run.commands, pipeline);
        self.attendants = vec![
            tokio::spawn(requests).abort_handle(),
            tokio::spawn(rates).abort_handle(),
        ];
        self.source_failed = false;
        let (number, starting) = (run.number, run.pipeline.0.clone());
        self.run = Some(run);
        self.work.spawn_blocking(move || Done::Playing {
            number,
            started: pipeline::play(&starting),
        });
    }

    fn tell_opened(&mut self, outcome: Result<(), CameraError>) {
        if let Some(opened) = self.it.opened.take() {
            let _ = opened.send(outcome);
        }
    }

    fn give_up(&mut self, why: String) {
        warn!(event = "camera-gave-up", why, "camera given up: {why}");
        self.tell_opened(Err(CameraError::Hangs(why.clone())));
        let event = CameraEvent::Failed {
            why,
            hangs: self.hangs,
        };
        let _ = self.it.events.send(MediaEvent::Camera(event));
    }

    fn report(&self, report: &Report) {
        let device = self
            .picture
            .as_ref()
            .and_then(|picture| picture.device.as_deref());
        match report {
            Report::Live { took } => {
                let picture = self.picture.as_ref();
                let profile = picture.map(|picture| picture.profile.as_str());
                let encoder = picture.map(|picture| picture.encoder.as_str());
                let took_ms = milliseconds(*took);
                info!(
                    event = "camera-live",
                    profile, device, encoder, took_ms, "camera gives its picture"
                );
            }
            Report::Lost { fault, why } => {
                let reason = fault.name();
                warn!(
                    event = "camera-lost",
                    reason, why, device, "camera lost: {why}"
                );
            }
            Report::Back { after } => {
                let after_ms = milliseconds(*after);
                info!(event = "camera-back", after_ms, device, "camera is back");
            }
            Report::Idle { off } => {
                let off = off.name();
                info!(
                    event = "camera-idle",
                    off, device, "nobody watches: off until somebody does"
                );
            }
            Report::Wanted { after } => {
                let after_ms = milliseconds(*after);
                info!(
                    event = "camera-wanted",
                    after_ms, device, "somebody watches again"
                );
            }
            Report::Waiting {
                fault,
                why,
                retry_in,
            } => {
                let reason = fault.name();
                let retry_in_ms = milliseconds(*retry_in);
                warn!(
                    event = "camera-waiting",
                    reason, why, retry_in_ms, "waiting for the camera: {why}"
                );
            }
            Report::Restarting {
                fault,
                why,
                retry_in,
                spent,
            } => {
                let reason = fault.name();
                let retry_in_ms = milliseconds(*retry_in);
                warn!(
                    event = "camera-restart",
                    reason,
                    why,
                    retry_in_ms,
                    number = spent,
                    budget = BUDGET,
                    "camera restarts: {why}"
                );
            }
        }
    }

    /// A deadline that moves on wakes nobody.
    fn show_status(&self) {
        let status = self.care.status(self.picture.clone());
        self.it.status.send_if_modified(|shown| {
            let good_until = status.good_until;
            let changed = CameraStatus {
                good_until,
                ..shown.clone()
            } != status;
            *shown = status;
            changed
        });
    }
}
