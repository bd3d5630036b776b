//! The process itself: signals, and what the system runs out of.

use std::{fs, time::Duration};

use anyhow::{Context, Result, ensure};
use futures_util::FutureExt as _;
use rustix::process::Signal;
use swarm::{crowd::Watching, viewer::Conduct};

use super::{PATIENCE, SCENARIO_PATIENCE, Scenario, UNTOUCHED, seconds};
use crate::{
    shortage::{Disk, FewDescriptors},
    stage::{Outcome, Setting, Stage, World},
};

pub fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario {
            name: "sigterm",
            fault: "SIGTERM, started again".into(),
            most_gap: seconds(40),
            well_within: seconds(40),
            needs_root: false,
            patience: SCENARIO_PATIENCE,
            run: Box::new(|world| ended(world, "sigterm", Signal::TERM, "exit code 0").boxed()),
        },
        Scenario {
            name: "sigkill",
            fault: "SIGKILL, started again".into(),
            most_gap: seconds(40),
            well_within: seconds(40),
            needs_root: false,
            patience: SCENARIO_PATIENCE,
            run: Box::new(|world| ended(world, "sigkill", Signal::KILL, "signal 9").boxed()),
        },
        Scenario {
            name: "sighup",
            fault: "SIGHUP".into(),
            most_gap: UNTOUCHED,
            well_within: seconds(20),
            needs_root: false,
            patience: SCENARIO_PATIENCE,
            run: Box::new(|world| hangup(world).boxed()),
        },
        Scenario {
            name: "disk-full",
            fault: "disk full, state and log on it".into(),
            most_gap: UNTOUCHED,
            well_within: seconds(20),
            needs_root: true,
            patience: SCENARIO_PATIENCE,
            run: Box::new(|world| disk_full(world).boxed()),
        },
        Scenario {
            name: "no-descriptors",
            fault: "out of file descriptors".into(),
            most_gap: UNTOUCHED,
            well_within: seconds(40),
            needs_root: false,
            patience: SCENARIO_PATIENCE,
            run: Box::new(|world| no_descriptors(world).boxed()),
        },
    ]
}

async fn ended(world: &World, name: &str, signal: Signal, how: &str) -> Result<Outcome> {
    let (stage, watcher) = Stage::watched(world, name, Setting::default()).await?;
    let mark = stage.mark();
    stage.program.signal(signal)?;
    let end = stage.program.ended(1, PATIENCE).await?;
    ensure!(end == how, "it should end with {how}, not with {end}");
    let recovered = stage.well(&watcher, PATIENCE).await?;
    let words: &[&str] = match signal {
        Signal::TERM => &["SIGTERM"],
        _ => &["line-live"],
    };
    Ok(Outcome {
        gap: watcher.gap(),
        recovered,
        line: stage.line(mark, words, PATIENCE).await?,
    })
}

async fn hangup(world: &World) -> Result<Outcome> {
    let (stage, watcher) = Stage::watched(world, "sighup", Setting::default()).await?;
    let mark = stage.mark();
    stage.program.signal(Signal::HUP)?;
    let line = stage.line(mark, &["SIGHUP"], PATIENCE).await?;
    let recovered = stage.well(&watcher, PATIENCE).await?;
    lives(&stage)?;
    Ok(Outcome {
        gap: watcher.gap(),
        recovered,
        line,
    })
}

fn lives(stage: &Stage<'_>) -> Result<()> {
    let exits = stage.program.exits();
    ensure!(
        exits.is_empty(),
        "the process should live on, but ended: {exits:?}"
    );
    Ok(())
}

async fn disk_full(world: &World) -> Result<Outcome> {
    let disk = Disk::new()?;
    let log = disk.path().join("log");
    let setting = Setting {
        log_file: Some(log.clone()),
        environment: disk.environment(),
        ..Setting::default()
    };
    let (stage, watcher) = Stage::watched(world, "disk-full", setting).await?;
    disk.fill()?;
    // Viewers who come and go have themselves logged: what was left of the last page fills up, too.
    let mut during = Duration::ZERO;
    let mut written = 0;
    while written < fs::metadata(&log)?.len() {
        written = fs::metadata(&log)?.len();
        during = during.max(stage.well(&watcher, PATIENCE).await?);
    }
    lives(&stage)?;
    disk.empty()?;
    let recovered = during.max(stage.well(&watcher, PATIENCE).await?);
    lives(&stage)?;
    let text = fs::read_to_string(&log)?;
    for line in text.lines() {
        stage.program.journal.line(line);
    }
    let line = text.lines().rev().find(|line| line.contains("viewer-live"));
    let line = line.context("after the fault the log has lines again")?;
    ensure!(text.len() as u64 > written, "the log has no new lines");
    Ok(Outcome {
        gap: watcher.gap(),
        recovered,
        line: line.to_owned(),
    })
}

async fn no_descriptors(world: &World) -> Result<Outcome> {
    let (stage, watcher) = Stage::watched(world, "no-descriptors", Setting::default()).await?;
    let pid = stage.program.pid()?;
    let mark = stage.mark();
    // Enough for a part of a viewer.
    let few = FewDescriptors::leave(pid, 4)?;
    let crowd = crowd(&stage, 4).await?;
    let line = stage
        .line(mark, &["viewer-ended", "exhausted"], PATIENCE)
        .await?;
    stage.moves(&watcher, PATIENCE).await?;
    drop(crowd);
    few.end()?;
    let recovered = stage.well(&watcher, PATIENCE).await?;
    ensure!(watcher.joins() == 1, "the watcher had to join anew");
    lives(&stage)?;
    Ok(Outcome {
        gap: watcher.gap(),
        recovered,
        line,
    })
}

async fn crowd(stage: &Stage<'_>, size: usize) -> Result<Vec<Watching>> {
    let door = stage.door()?;
    let mut crowd = Vec::new();
    for _ in 0..size {
        let viewer = door.arrive(stage.number(), Conduct::Stays).await?;
        crowd.push(Watching::start(viewer));
    }
    Ok(crowd)
}
