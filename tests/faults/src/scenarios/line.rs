//! The line to the lobby.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context, Result, ensure};
use futures_util::FutureExt as _;

use super::{Needs, PATIENCE, SCENARIO_PATIENCE, Scenario, UNTOUCHED, seconds};
use crate::{
    journal::Mark,
    lobby::PING_DEADLINE,
    stage::{Outcome, Setting, Stage, TOKEN, TOKEN_LIFE, World},
};

pub fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario {
            name: "lobby-killed",
            fault: "lobby killed and restarted".into(),
            most_gap: UNTOUCHED,
            well_within: seconds(40),
            needs: Needs::Nothing,
            patience: SCENARIO_PATIENCE,
            run: Box::new(|world| killed(world).boxed()),
        },
        Scenario {
            name: "lobby-frozen",
            fault: "lobby frozen and thawed (SIGSTOP)".into(),
            most_gap: UNTOUCHED,
            well_within: seconds(60),
            needs: Needs::Nothing,
            patience: SCENARIO_PATIENCE,
            run: Box::new(|world| frozen(world).boxed()),
        },
        Scenario {
            name: "line-half-open",
            fault: "TCP half-open: nothing comes through, nobody closes".into(),
            most_gap: UNTOUCHED,
            well_within: seconds(40),
            needs: Needs::Nothing,
            patience: SCENARIO_PATIENCE,
            run: Box::new(|world| half_open(world).boxed()),
        },
        Scenario {
            name: "token-expired",
            fault: "token expired mid-life, renewed later".into(),
            most_gap: UNTOUCHED,
            well_within: seconds(60),
            needs: Needs::Nothing,
            patience: SCENARIO_PATIENCE,
            run: Box::new(|world| token_expired(world).boxed()),
        },
        Scenario {
            name: "clock-wrong",
            fault: "clock in 1970 at the start, set later".into(),
            most_gap: UNTOUCHED,
            well_within: seconds(60),
            needs: Needs::Nothing,
            patience: SCENARIO_PATIENCE,
            run: Box::new(|world| clock_wrong(world).boxed()),
        },
    ]
}

async fn killed(world: &World) -> Result<Outcome> {
    let (mut stage, watcher) = Stage::watched(world, "lobby-killed", Setting::default()).await?;
    let mark = stage.mark();
    stage.lobby.kill().await?;
    let line = stage.line(mark, &["line-lost"], PATIENCE).await?;
    stage.moves(&watcher, PATIENCE).await?;
    stage.lobby.restart().await?;
    let recovered = stage.well(&watcher, PATIENCE).await?;
    stage.line(mark, &["line-back"], PATIENCE).await?;
    ensure!(watcher.joins() == 1, "the watcher had to join anew");
    Ok(Outcome {
        gap: watcher.gap(),
        recovered,
        line,
    })
}

/// Nobody says that the line is dead: only the ping that does not come tells it, and in time.
async fn noticed(stage: &Stage<'_>, mark: Mark) -> Result<String> {
    let line = stage.line(mark, &["line-lost"], PING_DEADLINE + seconds(5));
    let line = line.await?;
    ensure!(line.contains("reason=\"silent\""), "another reason: {line}");
    Ok(line)
}

async fn frozen(world: &World) -> Result<Outcome> {
    let (stage, watcher) = Stage::watched(world, "lobby-frozen", Setting::default()).await?;
    let mark = stage.mark();
    stage.lobby.freeze()?;
    let line = noticed(&stage, mark).await?;
    stage.moves(&watcher, PATIENCE).await?;
    stage.lobby.thaw()?;
    let recovered = stage.well(&watcher, PATIENCE).await?;
    stage.line(mark, &["line-back"], PATIENCE).await?;
    Ok(Outcome {
        gap: watcher.gap(),
        recovered,
        line,
    })
}

async fn half_open(world: &World) -> Result<Outcome> {
    let setting = Setting {
        proxied: true,
        ..Setting::default()
    };
    let (stage, watcher) = Stage::watched(world, "line-half-open", setting).await?;
    let proxy = stage.proxy.as_ref().context("this stage has a proxy")?;
    let mark = stage.mark();
    proxy.strand();
    let line = noticed(&stage, mark).await?;
    let recovered = stage.well(&watcher, PATIENCE).await?;
    stage.line(mark, &["line-back"], PATIENCE).await?;
    Ok(Outcome {
        gap: watcher.gap(),
        recovered,
        line,
    })
}

async fn token_expired(world: &World) -> Result<Outcome> {
    let setting = Setting {
        token_file: Some(TOKEN),
        ..Setting::default()
    };
    let mut stage = Stage::set(world, "token-expired", setting).await?;
    stage.write_token(TOKEN_LIFE)?;
    let watcher = stage.watcher();
    stage.moves(&watcher, PATIENCE).await?;
    watcher.mark();

    // What the lobby refuses from now on, as if the hour had passed.
    stage.write_token(Duration::ZERO)?;
    let mark = stage.mark();
    stage.lobby.kill().await?;
    stage.lobby.restart().await?;
    let line = stage
        .line(mark, &["line-lost", "expired"], PATIENCE)
        .await?;
    stage.moves(&watcher, PATIENCE).await?;
    stage.write_token(TOKEN_LIFE)?;
    let recovered = stage.well(&watcher, PATIENCE).await?;
    Ok(Outcome {
        gap: watcher.gap(),
        recovered,
        line,
    })
}

/// A device without a battery for its clock wakes up in 1970; libfaketime shows that to one process.
async fn clock_wrong(world: &World) -> Result<Outcome> {
    let library = faketime()?;
    let time = tempfile::NamedTempFile::new()?;
    fs::write(time.path(), "@1970-01-01 00:10:00")?;
    let environment = [
        ("LD_PRELOAD", library.as_os_str()),
        ("FAKETIME_TIMESTAMP_FILE", time.path().as_os_str()),
        ("FAKETIME_NO_CACHE", "1".as_ref()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".as_ref()),
    ];
    let setting = Setting {
        environment: environment
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        ..Setting::default()
    };
    let stage = Stage::set(world, "clock-wrong", setting).await?;
    let words = ["line-lost", "clock", "1970"];
    let line = stage.line(Mark::START, &words, PATIENCE).await?;
    fs::write(time.path(), "+0")?;
    let watcher = stage.watcher();
    let recovered = stage.well(&watcher, PATIENCE).await?;
    watcher.mark();
    stage.moves(&watcher, PATIENCE).await?;
    ensure!(
        stage.program.exits().is_empty(),
        "the process should live on: {:?}",
        stage.program.exits()
    );
    Ok(Outcome {
        gap: watcher.gap(),
        recovered,
        line,
    })
}

fn faketime() -> Result<PathBuf> {
    let libraries = fs::read_dir("/usr/lib")?.filter_map(Result::ok);
    let mut found = libraries
        .map(|directory| directory.path().join("faketime/libfaketimeMT.so.1"))
        .filter(|library| library.is_file());
    found
        .next()
        .context("libfaketime is missing (apt-get install faketime)")
}
