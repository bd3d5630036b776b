//! What `systemctl status` says: one sentence that a technician understands.

use std::{
    collections::VecDeque,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval, sleep},
};

use crate::{
    clock::now,
    host::HostStatus,
    media::camera::{
        Camera,
        status::{CameraState, CameraStatus, Fault},
    },
    signaling::client::state::LineState,
    systemd,
};

/// At most so often systemd is told something.
const EVERY: Duration = Duration::from_secs(1);
/// Over how long a frame rate is measured, and after how long it is one.
const MEASURED_OVER: Duration = Duration::from_secs(5);
const MEASURED_FROM: Duration = Duration::from_secs(2);
/// Frames per second that the rate must be off the shown one before another one is shown.
const NOTICEABLE: f64 = 0.8;

/// READY with the first stream, then a sentence for each change.
pub async fn tell_systemd(
    title: String,
    mut hosts: watch::Receiver<HostStatus>,
    mut lines: watch::Receiver<LineState>,
    camera: Camera,
) {
    let mut cameras = camera.status();
    let counters = camera.counters();
    let mut rate = FrameRate::default();
    let mut told = String::new();
    let mut line_changed = now();
    let mut ready = false;
    let mut seconds = interval(EVERY);
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let changed = tokio::select! {
            changed = hosts.changed() => changed,
            changed = lines.changed() => {
                line_changed = now();
                changed
            }
            changed = cameras.changed() => changed,
            _ = seconds.tick() => Ok(()),
        };
        if changed.is_err() {
            return;
        }
        let host = hosts.borrow_and_update().clone();
        if host.line_up && !ready {
            ready = true;
            systemd::ready();
        }
        let frames = counters.encoded_frames.load(Ordering::Relaxed);
        let picture = cameras.borrow_and_update().clone();
        let fps = match picture.state {
            CameraState::Live => rate.of(frames, now()),
            _ => {
                rate = FrameRate::default();
                None
            }
        };
        let line = lines.borrow_and_update().clone();
        let sentence = sentence(&title, &host, (&line, line_changed), &picture, fps);
        if sentence != told {
            systemd::status(&sentence);
            told = sentence;
            sleep(EVERY).await;
        }
    }
}

/// The sentence. Pure. `line` is how the line is, and since when it is so: "in 20 s" is said once and not
/// counted down.
fn sentence(
    title: &str,
    host: &HostStatus,
    (line, line_changed): (&LineState, Instant),
    camera: &CameraStatus,
    fps: Option<u32>,
) -> String {
    let viewers = match host.viewers {
        1 => "1 viewer".to_owned(),
        n => format!("{n} viewers"),
    };
    let trouble = trouble(camera);
    if host.line_up {
        return match trouble {
            None if let CameraState::Idle { off } = camera.state => {
                let off = off.name();
                format!("live as '{title}', nobody watches, {off} off until somebody does")
            }
            None => {
                let fps = fps.map_or_else(String::new, |fps| format!(", {fps} fps"));
                format!("live as '{title}', {viewers}{fps}")
            }
            // Nobody can do anything about the rest before this is mended.
            Some(Trouble::Hardware(why)) => why,
            Some(Trouble::Other(why)) => format!("live as '{title}' without a picture: {why}"),
        };
    }
    let mut text = match line {
        LineState::Down(outage) => {
            let wait = outage.wait(line_changed).as_secs_f64().ceil();
            let next = if wait > 0.0 {
                format!("trying again in {wait} s")
            } else {
                "dialing".to_owned()
            };
            format!("no line to the lobby ({}), {next}", outage.cause.words())
        }
        _ => "no line to the lobby yet, dialing".to_owned(),
    };
    match host.viewers {
        0 => {}
        1 => text.push_str("; 1 viewer still watches"),
        _ => text.push_str(&format!("; {viewers} still watch")),
    }
    if let Some(Trouble::Hardware(why) | Trouble::Other(why)) = trouble {
        text.push_str("; ");
        text.push_str(&why);
    }
    text
}

/// Why there is no picture.
enum Trouble {
    Hardware(String),
    Other(String),
}

fn trouble(camera: &CameraStatus) -> Option<Trouble> {
    let trouble = match &camera.state {
        CameraState::Live | CameraState::Idle { .. } => return None,
        CameraState::Starting { after: None } => Trouble::Other("the camera starts".to_owned()),
        CameraState::Starting {
            after: Some((fault, why)),
        } => missing(camera, *fault, why, "trying again"),
        CameraState::Silent { fault } => Trouble::Other(fault.sentence().to_owned()),
        CameraState::Stopping { fault: Some(fault) } => {
            Trouble::Other(format!("{}, stopping it", fault.sentence()))
        }
        CameraState::Stopping { fault: None } => Trouble::Other("the camera stops".to_owned()),
        CameraState::Waiting {
            fault,
            why,
            retry_in,
            ..
        } => {
            let again = format!("trying again in {} s", retry_in.as_secs());
            missing(camera, *fault, why, &again)
        }
        CameraState::Ended { why } => Trouble::Other(
            why.clone()
                .unwrap_or_else(|| "the camera is stopped".to_owned()),
        ),
    };
    Some(trouble)
}

/// Between two starts: what is amiss, and what is done about it.
fn missing(camera: &CameraStatus, fault: Fault, why: &str, again: &str) -> Trouble {
    match fault {
        Fault::NoCamera => {
            // The rest is what to do about it, which stands in the log.
            let what = why.split(';').next().unwrap_or(why);
            Trouble::Hardware(format!("{what}, {again}"))
        }
        Fault::Busy => {
            let picture = camera.picture.as_ref();
            let device = picture.and_then(|picture| picture.device.as_deref());
            let device = device.map_or_else(String::new, |device| format!(" {device}"));
            Trouble::Hardware(format!("{}{device}, {again}", fault.sentence()))
        }
        Fault::SourceSilent | Fault::EncoderSilent | Fault::Failed => Trouble::Other(format!(
            "{}, restarting it ({} of {})",
            fault.sentence(),
            camera.restarts,
            camera.budget
        )),
    }
}

/// Frames per second as they are shown: rounded, and not flickering between two numbers.
#[derive(Debug, Default)]
struct FrameRate {
    samples: VecDeque<(Instant, u64)>,
    shown: Option<u32>,
}

impl FrameRate {
    /// `frames` is a count that only grows.
    fn of(&mut self, frames: u64, now: Instant) -> Option<u32> {
        self.samples.push_back((now, frames));
        while let Some((at, _)) = self.samples.get(1)
            && now.saturating_duration_since(*at) >= MEASURED_OVER
        {
            self.samples.pop_front();
        }
        let (began, before) = *self.samples.front()?;
        let time = now.saturating_duration_since(began);
        if time >= MEASURED_FROM {
            // A count of frames is far from where an f64 loses whole numbers.
            let rate = frames.saturating_sub(before) as f64 / time.as_secs_f64();
            let close = |shown: u32| (rate - f64::from(shown)).abs() <= NOTICEABLE;
            if !self.shown.is_some_and(close) {
                self.shown = Some(rate.round() as u32);
            }
        }
        self.shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        media::camera::status::{Off, Picture},
        signaling::{
            client::state::{Cause, Outage},
            message::StreamId,
        },
    };

    struct Scene {
        host: HostStatus,
        line: LineState,
        camera: CameraStatus,
        now: Instant,
    }

    impl Scene {
        fn live(viewers: usize) -> Self {
            let now = Instant::now();
            let mut camera = CameraStatus::starting(now, now, 10);
            camera.state = CameraState::Live;
            camera.picture = Some(Picture {
                adjustable: true,
                has_second: true,
                profile: "v4l2".into(),
                device: Some("/dev/video0".into()),
                encoder: "x264".into(),
            });
            Self {
                host: HostStatus {
                    stream_id: Some(StreamId::new("s")),
                    viewers,
                    line_up: true,
                },
                line: LineState::Live { since: now },
                camera,
                now,
            }
        }

        fn says(&self, fps: Option<u32>) -> String {
            sentence(
                "Porch",
                &self.host,
                (&self.line, self.now),
                &self.camera,
                fps,
            )
        }

        fn waits(&mut self, fault: Fault, why: &str) {
            self.camera.state = CameraState::Waiting {
                fault,
                why: why.to_owned(),
                retry_in: Duration::from_secs(8),
                retry_at: self.now,
            };
        }
    }

    #[test]
    fn a_technician_reads_how_it_is() {
        let mut scene = Scene::live(1);
        assert_eq!(scene.says(None), "live as 'Porch', 1 viewer");
        scene.host.viewers = 3;
        assert_eq!(scene.says(Some(30)), "live as 'Porch', 3 viewers, 30 fps");
        scene.waits(Fault::NoCamera, "no camera at /dev/video0");
        assert_eq!(
            scene.says(None),
            "no camera at /dev/video0, trying again in 8 s"
        );
        scene.waits(
            Fault::NoCamera,
            "no camera was found; `perch devices` tells",
        );
        assert_eq!(scene.says(None), "no camera was found, trying again in 8 s");
        scene.waits(Fault::Busy, "v4l2src0: Device '/dev/video0' is busy");
        assert_eq!(
            scene.says(None),
            "another program holds the camera /dev/video0, trying again in 8 s"
        );
        let after = Some((Fault::NoCamera, "no camera at /dev/video0".to_owned()));
        scene.camera.state = CameraState::Starting { after };
        assert_eq!(
            scene.says(None),
            "no camera at /dev/video0, trying again",
            "a start that is tried does not hide what it is tried for"
        );
        scene.waits(Fault::EncoderSilent, "");
        scene.camera.restarts = 2;
        assert_eq!(
            scene.says(None),
            "live as 'Porch' without a picture: the encoder is silent, restarting it (2 of 10)"
        );
    }

    #[test]
    fn a_camera_that_is_off_for_want_of_viewers_is_no_trouble() {
        let mut scene = Scene::live(0);
        scene.camera.state = CameraState::Idle { off: Off::Camera };
        let off = "live as 'Porch', nobody watches, camera off until somebody does";
        assert_eq!(scene.says(None), off);
        scene.camera.state = CameraState::Idle { off: Off::Encoder };
        let off = "live as 'Porch', nobody watches, encoder off until somebody does";
        assert_eq!(scene.says(None), off);
        scene.host.line_up = false;
        scene.line = LineState::Dialing;
        assert_eq!(scene.says(None), "no line to the lobby yet, dialing");
    }

    #[test]
    fn without_a_line_its_reason_comes_first() {
        let mut scene = Scene::live(3);
        scene.host.line_up = false;
        scene.line = LineState::Dialing;
        scene.host.viewers = 0;
        assert_eq!(scene.says(Some(30)), "no line to the lobby yet, dialing");
        scene.host.viewers = 3;
        scene.line = LineState::Down(Outage {
            cause: Cause::Refused,
            why: String::new(),
            since: scene.now,
            failures: 4,
            next_dial: scene.now + Duration::from_millis(19_500),
        });
        assert_eq!(
            scene.says(Some(30)),
            "no line to the lobby (connection refused), trying again in 20 s; 3 viewers still watch"
        );
        scene.waits(Fault::NoCamera, "no camera at /dev/video0");
        scene.host.viewers = 1;
        assert_eq!(
            scene.says(None),
            "no line to the lobby (connection refused), trying again in 20 s; 1 viewer still watches; \
             no camera at /dev/video0, trying again in 8 s"
        );
    }

    #[test]
    fn a_rate_between_two_numbers_does_not_flicker() {
        let mut rate = FrameRate::default();
        let start = Instant::now();
        let at = |second: u64| start + Duration::from_secs(second);
        assert_eq!(rate.of(0, at(0)), None);
        assert_eq!(rate.of(30, at(1)), None);
        assert_eq!(rate.of(59, at(2)), Some(30));
        // 29.5 on average, with a frame more or less in each second.
        let mut frames = 59;
        for second in 3..20 {
            frames += if second % 2 == 0 { 30 } else { 29 };
            assert_eq!(rate.of(frames, at(second)), Some(30), "second {second}");
        }
        for second in 20..30 {
            frames += 15;
            rate.of(frames, at(second));
        }
        assert_eq!(rate.shown, Some(15));
    }
}
