//! What a host costs while nobody watches, and how long the first viewer waits, by `[camera] idle`.

use std::{
    ffi::OsStr,
    fmt::Write as _,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use tokio::time::sleep;

use crate::{
    crowd::{Crowd, Door},
    host::{Host, Picture},
    stats::{Spread, median},
};

/// What can be configured.
const MODES: [&str; 3] = ["warm", "encoder-off", "camera-off"];
/// From the last viewer's leave, or the start, until the host is surely idle: it gives up the camera after ten seconds.
const RESTS_WITHIN: Duration = Duration::from_secs(15);
/// Before the first measurement, for what is done once.
const CALM: Duration = Duration::from_secs(5);

/// What to measure.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How long CPU time is measured.
    pub seconds: f64,
    /// How many first viewers there are for each mode.
    pub viewers: usize,
}

/// Runs the measurement on `perch` and returns its table as Markdown. Progress goes to standard error.
pub async fn measure(perch: &Path, picture: &Picture, plan: &Plan) -> Result<String> {
    let mut table = format!(
        "| `idle` | CPU seconds in {:.0} s without viewers | memory, MB | threads | join to first keyframe, ms: median | most |\n\
         |---|---:|---:|---:|---:|---:|\n",
        plan.seconds
    );
    for mode in MODES {
        eprintln!("{mode}");
        let host = Host::start_in(perch, picture, [("PERCH__CAMERA__IDLE", OsStr::new(mode))])?;
        let door = Door::new(host.lobby().clone(), host.tokens(), None)?;
        sleep(CALM).await;
        let before = host.usage()?;
        let began = Instant::now();
        sleep(Duration::from_secs_f64(plan.seconds)).await;
        let after = host.usage()?;
        let cpu = (after.cpu() - before.cpu()).as_secs_f64() * plan.seconds
            / began.elapsed().as_secs_f64();
        let mut waits = Vec::with_capacity(plan.viewers);
        // The first one makes what is made once, and is not counted.
        for number in 0..=plan.viewers {
            let mut crowd = Crowd::join(&door, 1, Duration::ZERO).await?;
            ensure!(crowd.pictures().await == 1, "a viewer got no picture");
            let report = crowd.leave().await?;
            let viewer = report.viewers.first().context("there was a viewer")?;
            let wait = viewer.first_keyframe_ms.context("it had a picture")?;
            eprintln!("{wait:.0} ms");
            if number > 0 {
                waits.push(wait);
            }
            sleep(RESTS_WITHIN).await;
        }
        let spread = Spread::of(waits.iter().copied());
        writeln!(
            table,
            "| `{mode}` | {cpu:.2} | {:.0} | {} | {:.0} | {:.0} |",
            after.rss as f64 / 1024.0,
            after.threads,
            median(waits),
            spread.max,
        )?;
    }
    Ok(table)
}
