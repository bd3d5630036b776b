//! A shorter run under GStreamer's leaks tracer: which objects live on after their viewers.
//!
//! `GST_LEAKS_TRACER_SIG` makes the tracer list what is alive at SIGUSR1, so that two lists of the
//! same running process can be compared, without an end that frees everything.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use rustix::process::Signal;
use tokio::time::sleep;

use super::{Crowd, DRAIN_PATIENCE, Plan, WARM_UP};
use crate::{
    crowd::Door,
    host::{Host, Picture},
};

/// Joins between the two lists.
const JOINS: usize = 400;
/// The list has thousands of lines.
const LIST_PATIENCE: Duration = Duration::from_secs(60);
/// Objects that are alive now and then by nature, such as frames under way, come and go in this number.
const SWAY: i64 = 12;

/// What lives longer than its viewers.
pub struct Leaks {
    pub joins: usize,
    /// Objects that were alive in the end.
    pub alive: u64,
    /// Types of which there are more than before, by more than frames under way account for.
    pub grown: BTreeMap<String, i64>,
}

pub async fn look(perch: &Path, picture: &Picture, plan: &Plan) -> Result<Leaks> {
    let environment = [
        ("GST_TRACERS", "leaks"),
        ("GST_LEAKS_TRACER_SIG", "1"),
        ("GST_DEBUG", "GST_TRACER:7,leaks:7"),
        ("GST_DEBUG_NO_COLOR", "1"),
    ];
    let environment = environment.map(|(name, value)| (name, OsStr::new(value)));
    let host = Host::start_in(perch, picture, environment)?;
    let door = Door::new(host.lobby().clone(), host.tokens(), None)?;
    let mut crowd = Crowd::new(plan.seed);
    crowd.come_and_go(&door, WARM_UP, plan.in_flight).await?;
    host.settled(None, DRAIN_PATIENCE).await?;
    let before = census(&host).await?;
    let idle = host.usage()?;
    crowd.come_and_go(&door, JOINS, plan.in_flight).await?;
    host.settled(Some(idle), DRAIN_PATIENCE).await?;
    let after = census(&host).await?;
    let grown = after.iter().filter_map(|(kind, &count)| {
        let more = count as i64 - before.get(kind).copied().unwrap_or_default() as i64;
        (more > SWAY).then(|| (kind.clone(), more))
    });
    Ok(Leaks {
        joins: JOINS,
        alive: after.values().sum(),
        grown: grown.collect(),
    })
}

async fn census(host: &Host) -> Result<BTreeMap<String, u64>> {
    let (before, _) = host.log().census();
    host.signal(Signal::USR1)?;
    let deadline = Instant::now() + LIST_PATIENCE;
    loop {
        let (lists, census) = host.log().census();
        if lists > before {
            ensure!(
                !census.is_empty(),
                "the leaks tracer lists nothing: is it installed?"
            );
            return Ok(census);
        }
        ensure!(
            Instant::now() < deadline,
            "the leaks tracer does not answer its signal"
        );
        sleep(Duration::from_millis(50)).await;
    }
}
