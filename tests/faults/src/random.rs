//! The faults in a random order, one after the other and sometimes two at a time, from a seed.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures_util::FutureExt as _;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use rustix::process::Signal;
use swarm::{crowd::Watching, viewer::Conduct};
use tokio::time::sleep;

use crate::{
    scenarios::Scenario,
    stage::{Outcome, Setting, Stage, World},
    watcher::Watcher,
};

/// Many losses of the line in a row make it wait a minute before it dials again.
const WELL_WITHIN: Duration = Duration::from_secs(150);
/// The longest that a fault of the sequence lasts, and the longest pause before one, in ms.
const LASTS: u64 = 4000;
const PAUSE: u64 = 1500;
/// In so many of a hundred cases the next fault comes before all is well again.
const HASTE: u32 = 25;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    LobbyKilled,
    LobbyFrozen,
    LineStranded,
    CameraError,
    CameraGone,
    SourceSilent,
    EncoderSilent,
    Loss,
    Outage,
    ViewerVanished,
    Hangup,
    Terminate,
    Kill,
}

const ALL: [Fault; 13] = [
    Fault::LobbyKilled,
    Fault::LobbyFrozen,
    Fault::LineStranded,
    Fault::CameraError,
    Fault::CameraGone,
    Fault::SourceSilent,
    Fault::EncoderSilent,
    Fault::Loss,
    Fault::Outage,
    Fault::ViewerVanished,
    Fault::Hangup,
    Fault::Terminate,
    Fault::Kill,
];

#[derive(Debug, Clone, Copy)]
struct Step {
    fault: Fault,
    pause: Duration,
    lasts: Duration,
    haste: bool,
}

fn steps(seed: u64, count: usize) -> Vec<Step> {
    let mut dice = StdRng::seed_from_u64(seed);
    let step = |_| Step {
        fault: ALL[dice.random_range(0..ALL.len())],
        pause: Duration::from_millis(dice.random_range(0..PAUSE)),
        lasts: Duration::from_millis(dice.random_range(100..LASTS)),
        haste: dice.random_range(0..100) < HASTE,
    };
    (0..count).map(step).collect()
}

pub fn scenario(seed: u64, count: usize) -> Scenario {
    Scenario {
        name: "random",
        fault: format!("{count} of these in a random order, seed {seed}"),
        most_gap: WELL_WITHIN,
        well_within: WELL_WITHIN,
        needs_root: true,
        patience: Duration::from_secs(120 + 60 * count as u64),
        run: Box::new(move |world| sequence(world, seed, count).boxed()),
    }
}

async fn sequence(world: &World, seed: u64, count: usize) -> Result<Outcome> {
    let setting = Setting {
        network: true,
        proxied: true,
        ..Setting::default()
    };
    let (mut stage, watcher) = Stage::watched(world, "random", setting).await?;
    let mut vanished = Vec::new();
    let mut slowest = Duration::ZERO;
    let mut last = None;
    for (number, step) in steps(seed, count).into_iter().enumerate() {
        let told = format!("-- step {}: {step:?}", number + 1);
        stage.program.journal.line(&told);
        sleep(step.pause).await;
        let begin = Instant::now();
        inject(&mut stage, step, &mut vanished)
            .await
            .with_context(|| told.clone())?;
        if step.haste && number + 1 < count {
            continue;
        }
        let injected = begin.elapsed();
        let recovered = stage
            .well(&watcher, WELL_WITHIN)
            .await
            .with_context(|| told.clone())?;
        eprintln!(
            "{told}: lasted {:.1} s, well again after {:.1} s",
            injected.as_secs_f64(),
            recovered.as_secs_f64()
        );
        if recovered >= slowest {
            (slowest, last) = (recovered, Some(step.fault));
        }
    }
    Ok(outcome(&stage, &watcher, slowest, last))
}

fn outcome(
    stage: &Stage<'_>,
    watcher: &Watcher,
    slowest: Duration,
    after: Option<Fault>,
) -> Outcome {
    Outcome {
        gap: watcher.gap(),
        recovered: slowest,
        line: format!(
            "-- {} starts, {} joins of the watcher, slowest after {after:?}",
            stage.program.starts(),
            watcher.joins(),
        ),
    }
}

async fn inject(stage: &mut Stage<'_>, step: Step, vanished: &mut Vec<Watching>) -> Result<()> {
    let lasts = step.lasts;
    match step.fault {
        Fault::LobbyKilled => {
            stage.lobby.kill().await?;
            sleep(lasts).await;
            stage.lobby.restart().await?;
        }
        Fault::LobbyFrozen => {
            stage.lobby.freeze()?;
            sleep(lasts).await;
            stage.lobby.thaw()?;
        }
        Fault::LineStranded => {
            if let Some(proxy) = &stage.proxy {
                proxy.strand();
            }
        }
        Fault::CameraError => gate(stage, "source", "error", lasts).await?,
        Fault::CameraGone => gate(stage, "source", "gone", lasts).await?,
        Fault::SourceSilent => gate(stage, "source", "drop", lasts).await?,
        Fault::EncoderSilent => gate(stage, "encoder", "drop", lasts).await?,
        Fault::Loss => lose(stage, 20, false, lasts).await?,
        Fault::Outage => lose(stage, 100, true, lasts).await?,
        Fault::ViewerVanished => {
            // It may find no stream just now; then there is nobody to vanish.
            if let Ok(door) = stage.door()
                && let Ok(Ok(viewer)) =
                    tokio::time::timeout(lasts, door.arrive(stage.number(), Conduct::Freezes)).await
            {
                vanished.push(Watching::start(viewer));
            }
        }
        Fault::Hangup => signal(stage, Signal::HUP),
        Fault::Terminate => signal(stage, Signal::TERM),
        Fault::Kill => signal(stage, Signal::KILL),
    }
    Ok(())
}

/// Between two starts there is nobody to hear it.
fn signal(stage: &Stage<'_>, signal: Signal) {
    let _ = stage.program.signal(signal);
}

async fn gate(stage: &Stage<'_>, gate: &str, does: &str, lasts: Duration) -> Result<()> {
    stage.gate(gate, does)?;
    sleep(lasts).await;
    stage.gate(gate, "pass")
}

async fn lose(stage: &Stage<'_>, percent: u8, everything: bool, lasts: Duration) -> Result<()> {
    let network = stage.network.as_ref().context("this stage has a network")?;
    network.lose(percent, everything)?;
    sleep(lasts).await;
    network.heal()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_its_sequence_and_all_faults_occur() {
        let draw = |seed| format!("{:?}", steps(seed, 300));
        assert_eq!(draw(5), draw(5));
        assert_ne!(draw(5), draw(6));
        let drawn = steps(5, 300);
        for fault in ALL {
            assert!(drawn.iter().any(|step| step.fault == fault), "{fault:?}");
        }
    }
}
