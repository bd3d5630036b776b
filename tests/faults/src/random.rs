//! The faults in a random order, one after the other and sometimes two at a time, from a seed.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::FutureExt as _;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use rustix::process::Signal;
use swarm::{crowd::Watching, viewer::Conduct};
use tokio::time::sleep;

use crate::{
    program::{End, Program},
    scenarios::Scenario,
    stage::{Outcome, Setting, Stage, World},
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

/// The process may end as it was told to, and when the camera's budget is spent; each other end is a
/// failure, whoever starts it again.
#[derive(Debug, Default)]
struct Ends {
    known: usize,
    budgets: usize,
}

impl Ends {
    /// Nobody has told it to end since the last look.
    fn unasked(&mut self, program: &Program) -> Result<()> {
        for end in program.ends_after(self.known) {
            ensure!(
                budget_is_spent(&end),
                "the process ended by itself with {}; its last lines are:\n{}",
                end.how,
                end.lines[end.lines.len().saturating_sub(12)..].join("\n")
            );
            self.known += 1;
            self.budgets += 1;
        }
        Ok(())
    }

    /// It was told to end like this.
    async fn asked(&mut self, program: &Program, how: &str) -> Result<()> {
        program.ended(self.known + 1, WELL_WITHIN).await?;
        let end = program.ends_after(self.known).swap_remove(0);
        if end.how == how {
            self.known += 1;
            return Ok(());
        }
        // It may have come to its own end in the same moment.
        self.unasked(program)
            .with_context(|| format!("it should end with {how}"))
    }
}

/// The budget is there to be spent: past it the process ends in order.
fn budget_is_spent(end: &End) -> bool {
    let says = |words: &str| end.lines.iter().any(|line| line.contains(words));
    end.how == "exit code 1" && says("camera-gave-up") && says("it was restarted 10 times")
}

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
    let mut ends = Ends::default();
    let mut slowest = Duration::ZERO;
    let mut last = None;
    for (number, step) in steps(seed, count).into_iter().enumerate() {
        let told = format!("-- step {}: {step:?}", number + 1);
        stage.program.journal.line(&told);
        sleep(step.pause).await;
        let begin = Instant::now();
        inject(&mut stage, step, &mut vanished, &mut ends)
            .await
            .with_context(|| told.clone())?;
        ends.unasked(&stage.program).with_context(|| told.clone())?;
        if step.haste && number + 1 < count {
            continue;
        }
        let injected = begin.elapsed();
        let recovered = stage
            .well(&watcher, WELL_WITHIN)
            .await
            .with_context(|| told.clone())?;
        ends.unasked(&stage.program).with_context(|| told.clone())?;
        eprintln!(
            "{told}: lasted {:.1} s, well again after {:.1} s",
            injected.as_secs_f64(),
            recovered.as_secs_f64()
        );
        if recovered >= slowest {
            (slowest, last) = (recovered, Some(step.fault));
        }
    }
    let after = last.map_or_else(|| "none".to_owned(), |fault| format!("{fault:?}"));
    Ok(Outcome {
        gap: watcher.gap(),
        recovered: slowest,
        line: format!(
            "-- {} starts, {} of them after a spent budget, {} joins of the watcher, slowest after {after}",
            stage.program.starts(),
            ends.budgets,
            watcher.joins(),
        ),
    })
}

async fn inject(
    stage: &mut Stage<'_>,
    step: Step,
    vanished: &mut Vec<Watching>,
    ends: &mut Ends,
) -> Result<()> {
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
        Fault::Hangup => signal(stage, Signal::HUP).await?,
        Fault::Terminate => {
            signal(stage, Signal::TERM).await?;
            ends.asked(&stage.program, "exit code 0").await?;
        }
        Fault::Kill => {
            signal(stage, Signal::KILL).await?;
            ends.asked(&stage.program, "signal 9").await?;
        }
    }
    Ok(())
}

/// To a process that has come so far that it does with it what it is meant to do.
async fn signal(stage: &Stage<'_>, signal: Signal) -> Result<()> {
    stage.program.hears(WELL_WITHIN).await?;
    stage.program.signal(signal)
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
