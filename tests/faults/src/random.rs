//! The faults in a random order, one after the other and sometimes two at a time, from a seed.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::FutureExt as _;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use rustix::process::Signal;
use swarm::{crowd::Watching, viewer::Conduct};
use tokio::time::{sleep, timeout};

use crate::{
    network::Network,
    program::{End, Program},
    scenarios::{Needs, Scenario},
    shortage::{Disk, FewDescriptors},
    stage::{Outcome, Setting, Stage, TOKEN, TOKEN_LIFE, World},
    watcher::Watcher,
};

pub const NAME: &str = "random";

/// Many losses of the line in a row make it wait a minute before it dials again.
const WELL_WITHIN: Duration = Duration::from_secs(150);
/// The longest that a fault of the sequence lasts, and the longest pause before one, in ms.
const LASTS: u64 = 4000;
const PAUSE: u64 = 1500;
/// In so many of a hundred cases the next fault comes before all is well again.
const HASTE: u32 = 25;
/// What the program keeps free, and not a viewer's more.
const FREE_DESCRIPTORS: u64 = 128;

/// All that has an injector, but for a wrong clock and a missing DNS: both are of the start, and each
/// needs a program that was started under it (libfaketime, a network's own /etc). And but for a lack of threads: what
/// other faults have started anew, GLib ends the process for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    LobbyKilled,
    LobbyFrozen,
    LineStranded,
    TokenExpired,
    CameraError,
    CameraGone,
    CameraBusy,
    SourceSilent,
    EncoderSilent,
    EncoderHangs,
    LightLoss,
    Loss,
    Outage,
    AddressChanged,
    ViewerVanished,
    ViewerStalled,
    Hangup,
    Terminate,
    Kill,
    DiskFull,
    NoDescriptors,
}

const ALL: [Fault; 21] = [
    Fault::LobbyKilled,
    Fault::LobbyFrozen,
    Fault::LineStranded,
    Fault::TokenExpired,
    Fault::CameraError,
    Fault::CameraGone,
    Fault::CameraBusy,
    Fault::SourceSilent,
    Fault::EncoderSilent,
    Fault::EncoderHangs,
    Fault::LightLoss,
    Fault::Loss,
    Fault::Outage,
    Fault::AddressChanged,
    Fault::ViewerVanished,
    Fault::ViewerStalled,
    Fault::Hangup,
    Fault::Terminate,
    Fault::Kill,
    Fault::DiskFull,
    Fault::NoDescriptors,
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
        name: NAME,
        fault: format!("{count} of these in a random order, seed {seed}"),
        most_gap: WELL_WITHIN,
        well_within: WELL_WITHIN,
        needs: Needs::Root,
        patience: Duration::from_secs(120 + 60 * count as u64),
        run: Box::new(move |world| sequence(world, seed, count).boxed()),
    }
}

async fn sequence(world: &World, seed: u64, count: usize) -> Result<Outcome> {
    let disk = Disk::new()?;
    let setting = Setting {
        network: true,
        proxied: true,
        token_file: Some(TOKEN),
        environment: disk.environment(),
        ..Setting::default()
    };
    let stage = Stage::set(world, NAME, setting).await?;
    stage.write_token(TOKEN_LIFE)?;
    let watcher = stage.watcher();
    stage.moves(&watcher, WELL_WITHIN).await?;
    watcher.mark();
    let mut scene = Scene {
        stage,
        disk,
        gone: Vec::new(),
        ends: Ends::default(),
    };
    let mut slowest = Duration::ZERO;
    let mut last = None;
    for (number, step) in steps(seed, count).into_iter().enumerate() {
        let told = format!("-- step {}: {step:?}", number + 1);
        let recovered = scene
            .step(&watcher, step, number + 1 == count, &told)
            .await
            .with_context(|| told.clone())?;
        if let Some(recovered) = recovered.filter(|recovered| *recovered >= slowest) {
            (slowest, last) = (recovered, Some(step.fault));
        }
    }
    let after = last.map_or_else(|| "none".to_owned(), |fault| format!("{fault:?}"));
    Ok(Outcome {
        gap: watcher.gap(),
        recovered: slowest,
        line: format!(
            "-- {} starts, {} of them after a spent budget, {} joins of the watcher, slowest after {after}",
            scene.stage.program.starts(),
            scene.ends.budgets,
            watcher.joins(),
        ),
    })
}

/// A stage, and what else faults need.
struct Scene<'a> {
    stage: Stage<'a>,
    // After the stage: what writes on it goes first.
    disk: Disk,
    /// Viewers who have gone without a word, and hold their sockets.
    gone: Vec<Watching>,
    ends: Ends,
}

impl Scene<'_> {
    /// How long it took until all was well again, if that is waited for.
    async fn step(
        &mut self,
        watcher: &Watcher,
        step: Step,
        last: bool,
        told: &str,
    ) -> Result<Option<Duration>> {
        self.stage.program.journal.line(told);
        sleep(step.pause).await;
        let begin = Instant::now();
        self.inject(step).await?;
        self.ends.unasked(&self.stage.program)?;
        if step.haste && !last {
            return Ok(None);
        }
        let injected = begin.elapsed();
        let recovered = self.stage.well(watcher, WELL_WITHIN).await?;
        self.ends.unasked(&self.stage.program)?;
        eprintln!(
            "{told}: lasted {:.1} s, well again after {:.1} s",
            injected.as_secs_f64(),
            recovered.as_secs_f64()
        );
        Ok(Some(recovered))
    }

    async fn inject(&mut self, step: Step) -> Result<()> {
        let lasts = step.lasts;
        match step.fault {
            Fault::LobbyKilled => {
                self.stage.lobby.kill().await?;
                sleep(lasts).await;
                self.stage.lobby.restart().await
            }
            Fault::LobbyFrozen => {
                self.stage.lobby.freeze()?;
                sleep(lasts).await;
                self.stage.lobby.thaw()
            }
            Fault::LineStranded => {
                let proxy = self.stage.proxy.as_ref();
                proxy.context("this stage has a proxy")?.strand();
                Ok(())
            }
            Fault::TokenExpired => self.expire_token(lasts).await,
            Fault::CameraError => self.gate("source", "error", lasts).await,
            Fault::CameraGone => self.gate("source", "gone", lasts).await,
            Fault::CameraBusy => self.gate("source", "busy", lasts).await,
            Fault::SourceSilent => self.gate("source", "drop", lasts).await,
            Fault::EncoderSilent => self.gate("encoder", "drop", lasts).await,
            Fault::EncoderHangs => self.hang_encoder().await,
            Fault::LightLoss => self.lose(5, false, lasts).await,
            Fault::Loss => self.lose(20, false, lasts).await,
            Fault::Outage => self.lose(100, true, lasts).await,
            Fault::AddressChanged => self.network()?.renumber(),
            Fault::ViewerVanished => self.lose_viewer(Conduct::Freezes, lasts).await,
            Fault::ViewerStalled => self.lose_viewer(Conduct::Stalls, lasts).await,
            Fault::Hangup => self.signal(Signal::HUP).await,
            Fault::Terminate => {
                self.signal(Signal::TERM).await?;
                self.ends.asked(&self.stage.program, "exit code 0").await
            }
            Fault::Kill => {
                self.signal(Signal::KILL).await?;
                self.ends.asked(&self.stage.program, "signal 9").await
            }
            Fault::DiskFull => {
                self.disk.fill()?;
                sleep(lasts).await;
                self.disk.empty()
            }
            Fault::NoDescriptors => self.take_descriptors(lasts).await,
        }
    }

    fn network(&self) -> Result<&Network> {
        let network = self.stage.network.as_ref();
        network.context("this stage has a network")
    }

    async fn gate(&self, gate: &str, does: &str, lasts: Duration) -> Result<()> {
        self.stage.gate(gate, does)?;
        sleep(lasts).await;
        self.stage.gate(gate, "pass")
    }

    /// It lasts until the process has given it up: it is not the same fault if it is over sooner.
    async fn hang_encoder(&mut self) -> Result<()> {
        self.stage.gate("encoder", "hang")?;
        self.ends.asked(&self.stage.program, "exit code 1").await?;
        self.stage.gate("encoder", "pass")
    }

    async fn lose(&self, percent: u8, everything: bool, lasts: Duration) -> Result<()> {
        let network = self.network()?;
        network.lose(percent, everything)?;
        sleep(lasts).await;
        network.heal()
    }

    /// The lobby takes nobody back whose token has ended.
    async fn expire_token(&mut self, lasts: Duration) -> Result<()> {
        self.stage.write_token(Duration::ZERO)?;
        self.stage.lobby.kill().await?;
        self.stage.lobby.restart().await?;
        sleep(lasts).await;
        self.stage.write_token(TOKEN_LIFE)
    }

    async fn lose_viewer(&mut self, conduct: Conduct, within: Duration) -> Result<()> {
        let door = self.stage.door()?;
        // It may find no stream just now; then there is nobody to go.
        let arrives = timeout(within, door.arrive(self.stage.number(), conduct));
        if let Ok(Ok(viewer)) = arrives.await {
            self.gone.push(Watching::start(viewer));
        }
        Ok(())
    }

    /// To a process that has come so far that it does with it what it is meant to do.
    async fn signal(&self, signal: Signal) -> Result<()> {
        self.stage.program.hears(WELL_WITHIN).await?;
        self.stage.program.signal(signal)
    }

    /// Viewers are refused, and what is kept free for all else is there: it may be needed, as another fault
    /// may not be over yet.
    async fn take_descriptors(&self, lasts: Duration) -> Result<()> {
        let Ok(pid) = self.stage.program.pid() else {
            return Ok(());
        };
        let few = FewDescriptors::leave(pid, FREE_DESCRIPTORS)?;
        let door = self.stage.door()?;
        let arrives = timeout(lasts, door.arrive(self.stage.number(), Conduct::Stays));
        // Nobody lets it in; it goes with the fault.
        let viewer = arrives.await.ok().and_then(Result::ok).map(Watching::start);
        sleep(lasts).await;
        drop(viewer);
        // A process that has ended took its limit along.
        if self.stage.program.pid().is_ok_and(|now| now == pid) {
            few.end()?;
        }
        Ok(())
    }
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
