//! The sound has a pipeline of its own: a microphone that is unplugged takes no picture along, and no
//! encoder in hardware is rebuilt for it. It has no budget for that reason; it is only tried ever less often.

use std::{pin::pin, sync::Arc, time::Duration};

use gst::prelude::*;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, timeout},
};
use tracing::{info, warn};

use super::{
    on_blocking_thread,
    outlet::{Outlet, TimeBase},
    pipeline::{Running, shut},
};
use crate::media::bus;

/// Without a piece of sound for so long it is restarted.
const SILENCE: Duration = Duration::from_secs(10);
/// For its device to be opened. A driver that hangs does not say so.
const START_WITHIN: Duration = Duration::from_secs(5);
/// For the pipeline to let go of its device.
const STOP_WITHIN: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(30);
/// So long it must run to be taken for one that works.
const STEADY: Duration = Duration::from_secs(60);

#[derive(Debug)]
enum Heard {
    Piece,
    Failed(String),
}

/// Why a run ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Failed(String),
    /// It is not to be heard: its device is closed.
    Unwanted,
    /// Nobody is there to want it, or it hangs.
    ForGood,
}

/// Looks after the sound until nobody gives the `text` any more. The text is the last plan's; without one the device is
/// closed.
pub async fn keep(mut text: watch::Receiver<Option<String>>, outlet: Arc<Outlet>, time: TimeBase) {
    let mut failures = 0u32;
    let mut lost = false;
    loop {
        let launch = match text.wait_for(Option::is_some).await {
            Ok(found) => found.clone().unwrap_or_default(),
            Err(_) => return,
        };
        let began = Instant::now();
        let why = match run(launch, &mut text, &outlet, &time, &mut lost).await {
            End::Failed(why) => why,
            End::Unwanted => {
                (failures, lost) = (0, false);
                continue;
            }
            End::ForGood => return,
        };
        if began.elapsed() >= STEADY {
            failures = 0;
        }
        if !std::mem::replace(&mut lost, true) {
            warn!(
                event = "sound-lost",
                why, "sound lost: {why}; the picture goes on"
            );
        }
        let wait = Duration::from_secs(1 << failures.min(5)).min(LONGEST);
        failures = failures.saturating_add(1);
        sleep(wait).await;
    }
}

/// One run.
async fn run(
    launch: String,
    text: &mut watch::Receiver<Option<String>>,
    outlet: &Arc<Outlet>,
    time: &TimeBase,
    lost: &mut bool,
) -> End {
    let (heard, mut hears) = mpsc::channel(8);
    let (taker, clock) = (outlet.clone(), time.clone());
    let starting = on_blocking_thread(move || start(&launch, &taker, &clock, heard));
    let (running, outcome) = match started(starting).await {
        Err(why) => return End::Failed(said(&mut hears).unwrap_or(why)),
        Ok(running) => {
            let outcome = listen(&mut hears, text, lost).await;
            (running, outcome)
        }
    };
    let pipeline = running.0.clone();
    let stopped = on_blocking_thread(move || shut(&pipeline));
    if timeout(STOP_WITHIN, stopped).await.is_err() {
        warn_of_hang();
        return End::ForGood;
    }
    outcome
}

/// What the start came to. Whatever time it takes: another one would hang as well, and take another thread.
async fn started<T>(starting: impl Future<Output = T>) -> T {
    let mut starting = pin!(starting);
    match timeout(START_WITHIN, &mut starting).await {
        Ok(outcome) => outcome,
        Err(_) => {
            warn_of_hang();
            starting.await
        }
    }
}

/// What an element has said of its fault. GStreamer itself only says that a state was not reached.
fn said(hears: &mut mpsc::Receiver<Heard>) -> Option<String> {
    std::iter::from_fn(|| hears.try_recv().ok()).find_map(|heard| match heard {
        Heard::Failed(why) => Some(why),
        Heard::Piece => None,
    })
}

fn warn_of_hang() {
    warn!(
        event = "sound-hangs",
        "the sound's device hangs; the picture goes on without sound"
    );
}

async fn listen(
    hears: &mut mpsc::Receiver<Heard>,
    text: &mut watch::Receiver<Option<String>>,
    lost: &mut bool,
) -> End {
    loop {
        tokio::select! {
            heard = timeout(SILENCE, hears.recv()) => match heard {
                Ok(Some(Heard::Piece)) => {
                    if std::mem::take(lost) {
                        info!(event = "sound-back", "sound is back");
                    }
                }
                Ok(Some(Heard::Failed(why))) => return End::Failed(why),
                Ok(None) => return End::Failed("it ended by itself".to_owned()),
                Err(_) => return End::Failed(format!("no sound for {} s", SILENCE.as_secs())),
            },
            changed = text.changed() => match changed {
                Ok(()) if text.borrow_and_update().is_none() => return End::Unwanted,
                Ok(()) => {}
                Err(_) => return End::ForGood,
            },
        }
    }
}

pub(in crate::media) fn build(launch: &str) -> Result<gst::Pipeline, String> {
    let text =
        format!("{launch} ! appsink name=audio sync=false async=false max-buffers=16 drop=true");
    let pipeline = gst::parse::launch(&text)
        .map_err(|error| error.to_string())?
        .downcast::<gst::Pipeline>()
        .map_err(|_| "the profile's sound is a single element".to_owned())?;
    pipeline.set_property("name", "sound");
    Ok(pipeline)
}

fn start(
    launch: &str,
    outlet: &Arc<Outlet>,
    time: &TimeBase,
    heard: mpsc::Sender<Heard>,
) -> Result<Running, String> {
    let pipeline = build(launch)?;
    time.rule(&pipeline);
    let sink = pipeline
        .by_name("audio")
        .and_then(|element| element.downcast::<gst_app::AppSink>().ok())
        .ok_or("the pipeline has no appsink \"audio\"")?;
    let (outlet, pieces) = (outlet.clone(), heard.clone());
    let callbacks = gst_app::AppSinkCallbacks::builder().new_sample(move |sink| {
        let sample = sink.pull_sample().map_err(|_| gst::FlowError::Flushing)?;
        outlet.sound(&sample);
        // Where the task has not looked yet, it finds the sign of life that lies there.
        let _ = pieces.try_send(Heard::Piece);
        Ok(gst::FlowSuccess::Ok)
    });
    sink.set_callbacks(callbacks.build());
    bus::watch(&pipeline, move |verdict| {
        if let bus::Verdict::Failed { why, .. } = verdict {
            // Dropped where the queue is full; silence, which follows, is noticed then.
            let _ = heard.try_send(Heard::Failed(why));
        }
    });
    let running = Running(pipeline);
    match running.0.set_state(gst::State::Playing) {
        Ok(_) => Ok(running),
        Err(error) => Err(format!("the sound does not start: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::OpenOptions, io, path::PathBuf, process::Command};

    use super::*;

    /// Shows each event as it is logged.
    #[derive(Clone)]
    struct Log(mpsc::UnboundedSender<String>);

    impl io::Write for Log {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            let _ = self.0.send(String::from_utf8_lossy(line).into_owned());
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Lets go whoever hangs at the pipe, who would outlive the test.
    struct Release(PathBuf);

    impl Drop for Release {
        fn drop(&mut self) {
            let _ = OpenOptions::new().read(true).write(true).open(&self.0);
        }
    }

    async fn next(log: &mut mpsc::UnboundedReceiver<String>, event: &str) {
        let line = timeout(Duration::from_secs(30), log.recv()).await;
        let line = line.expect("in time").expect("it is logged");
        assert!(line.contains(event), "not {event}: {line}");
    }

    /// A pipe that nobody writes to hangs whoever opens it, as a driver does.
    #[tokio::test]
    async fn a_device_that_hangs_while_it_is_opened_is_told_of_and_waited_for() {
        crate::media::init().expect("GStreamer starts");
        let directory = tempfile::tempdir().expect("a directory");
        let pipe = directory.path().join("device");
        let made = Command::new("mkfifo").arg(&pipe).status();
        assert!(made.expect("mkfifo is there").success());
        let _release = Release(pipe.clone());

        let (says, mut log) = mpsc::unbounded_channel();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || Log(says.clone()))
            .finish();
        let _guard = tracing::subscriber::set_default(subscriber);
        let time = TimeBase::now();
        let outlet = Arc::new(Outlet::for_sound(&time));
        let launch = format!("filesrc location={} ! identity", pipe.display());
        let (_text, wanted) = watch::channel(Some(launch));
        let keeping = tokio::spawn(keep(wanted, outlet, time));
        next(&mut log, "sound-hangs").await;

        // It opens, and has nothing to give.
        let writer = OpenOptions::new().write(true).open(&pipe);
        std::fs::remove_file(&pipe).expect("it is there");
        drop(writer.expect("somebody reads"));
        next(&mut log, "sound-lost").await;
        keeping.abort();
    }

    #[tokio::test]
    async fn a_device_that_cannot_be_opened_says_why() {
        crate::media::init().expect("GStreamer starts");
        let time = TimeBase::now();
        let outlet = Arc::new(Outlet::for_sound(&time));
        let launch = "filesrc location=/nonexistent/microphone ! identity".to_owned();
        let (_wanted, mut text) = watch::channel(None);
        let end = run(launch, &mut text, &outlet, &time, &mut false).await;
        let End::Failed(why) = end else {
            panic!("it does not start, not {end:?}");
        };
        assert!(why.contains("/nonexistent/microphone"), "{why}");
    }
}
