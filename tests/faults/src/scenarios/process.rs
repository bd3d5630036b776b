//! The process itself: signals, and what the system runs out of.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use futures_util::FutureExt as _;
use rustix::process::Signal;
use swarm::{crowd::Watching, viewer::Conduct};
use tokio::time::sleep;
use url::Url;

use super::{Needs, PATIENCE, SCENARIO_PATIENCE, Scenario, UNTOUCHED, seconds};
use crate::{
    shortage::{Disk, FewDescriptors, NoThreads},
    stage::{Outcome, Setting, Stage, World},
};

/// The program's threads without work last for 5 s. It is the fault itself, not a wait for something.
const IDLE_THREADS_END: Duration = Duration::from_secs(7);
/// Between two looks at what cannot be waited for.
const ASKS_AGAIN: Duration = Duration::from_millis(100);
/// Frames between the encoder and a viewer, on a busy machine.
const ON_THEIR_WAY: f64 = 15.0;

pub fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario {
            name: "sigterm",
            fault: "SIGTERM, started again".into(),
            most_gap: seconds(40),
            well_within: seconds(40),
            needs: Needs::Nothing,
            patience: SCENARIO_PATIENCE,
            run: Box::new(|world| ended(world, "sigterm", Signal::TERM, "exit code 0").boxed()),
        },
        Scenario {
            name: "sigkill",
            fault: "SIGKILL, started again".into(),
            most_gap: seconds(40),
            well_within: seconds(40),
            needs: Needs::Nothing,
            patience: SCENARIO_PATIENCE,
            run: Box::new(|world| ended(world, "sigkill", Signal::KILL, "signal 9").boxed()),
        },
        Scenario {
            name: "sighup",
            fault: "SIGHUP".into(),
            most_gap: UNTOUCHED,
            well_within: seconds(20),
            needs: Needs::Nothing,
            patience: SCENARIO_PATIENCE,
            run: Box::new(|world| hangup(world).boxed()),
        },
        Scenario {
            name: "disk-full",
            fault: "disk full, state and log on it".into(),
            most_gap: UNTOUCHED,
            well_within: seconds(20),
            needs: Needs::Root,
            patience: SCENARIO_PATIENCE,
            run: Box::new(|world| disk_full(world).boxed()),
        },
        Scenario {
            name: "full-at-start",
            fault: "disk full at the start: state, status socket, GStreamer's registry".into(),
            most_gap: seconds(60),
            well_within: seconds(60),
            needs: Needs::Root,
            patience: SCENARIO_PATIENCE,
            run: Box::new(|world| full_at_start(world).boxed()),
        },
        Scenario {
            name: "no-descriptors",
            fault: "out of file descriptors".into(),
            most_gap: UNTOUCHED,
            well_within: seconds(40),
            needs: Needs::Nothing,
            patience: SCENARIO_PATIENCE,
            run: Box::new(|world| no_descriptors(world).boxed()),
        },
        Scenario {
            name: "no-threads",
            fault: "out of threads".into(),
            most_gap: UNTOUCHED,
            well_within: seconds(40),
            needs: Needs::ControlGroup,
            patience: SCENARIO_PATIENCE,
            run: Box::new(|world| no_threads(world).boxed()),
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

/// Without the embedded lobby's keys there is no stream, and the line that says so tells what to do; with them
/// a full disk costs only what need not be.
async fn full_at_start(world: &World) -> Result<Outcome> {
    let disk = Disk::new()?;
    let registry = disk.path().join("registry.bin");
    let mut environment = disk.environment();
    environment.push(("GST_REGISTRY".to_owned(), registry.clone().into()));
    let listen = free_address()?;
    let setting = Setting {
        embedded: Some(listen),
        environment,
        ..Setting::default()
    };
    disk.fill()?;
    let mut stage = Stage::set(world, "full-at-start", setting).await?;
    let end = stage.program.ended(1, PATIENCE).await?;
    ensure!(end == "exit code 1", "it should be tried again: {end}");
    let said = stage.program.ends_after(0).swap_remove(0).lines;
    let failed: Vec<&String> = said
        .iter()
        .filter(|line| line.contains("event=\"failed\""))
        .collect();
    ensure!(
        failed.len() == 1 && failed[0].contains("make room"),
        "one line should say what to do: {said:?}"
    );
    let line = failed[0].clone();

    let mark = stage.mark();
    let mended = Instant::now();
    disk.empty()?;
    stage.line(mark, &["line-live"], PATIENCE).await?;
    stage.elsewhere = Some((
        Url::parse(&format!("http://{listen}/"))?,
        embedded_secret(disk.path())?,
    ));
    let watcher = stage.watcher();
    stage.well(&watcher, PATIENCE).await?;
    let mended = mended.elapsed();
    watcher.mark();

    let mark = stage.mark();
    let ends = stage.program.exits().len();
    stage.program.hold(true);
    stage.program.signal(Signal::TERM)?;
    let end = stage.program.ended(ends + 1, PATIENCE).await?;
    ensure!(end == "exit code 0", "it should end in order: {end}");
    // The next start finds nothing of this one's but the keys, and has room for nothing else.
    fs::remove_file(&registry)?;
    disk.fill()?;
    stage.program.hold(false);
    let recovered = stage.well(&watcher, PATIENCE).await?;
    let missing = ["status-socket-missing", "No space left"];
    stage.line(mark, &missing, PATIENCE).await?;
    ensure!(!registry.exists(), "the registry had room");
    ensure!(
        stage.program.exits().len() == ends + 1,
        "it should live on: {:?}",
        stage.program.exits()
    );
    Ok(Outcome {
        gap: watcher.gap(),
        recovered: recovered.max(mended),
        line,
    })
}

/// Where nobody listens. It stays the same over a restart.
fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// What the embedded lobby checks tokens with.
fn embedded_secret(state: &Path) -> Result<String> {
    let keys = fs::read_to_string(state.join("lobby-keys.toml"))?;
    let secret = keys.lines().find_map(|line| line.strip_prefix("secret = "));
    let secret = secret.context("the file of keys has a secret")?;
    Ok(secret.trim_matches('"').to_owned())
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

/// Whatever else wants a thread has to do without, too.
async fn no_threads(world: &World) -> Result<Outcome> {
    let setting = Setting {
        config: "[metrics]\nenabled = true\nlisten = \"127.0.0.1:0\"\n".to_owned(),
        ..Setting::default()
    };
    let (stage, watcher) = Stage::watched(world, "no-threads", setting).await?;
    let leaver = stage.watcher();
    stage.moves(&leaver, PATIENCE).await?;
    healthz(&stage, &["200 OK"]).await?;
    let (came, made) = (watcher.frames(), encoded(&stage).await?);
    let mark = stage.mark();
    let none = NoThreads::begin(stage.program.pid()?)?;
    sleep(IDLE_THREADS_END).await;
    drop(leaver);
    let left = ["viewer-ended", "reason=\"left\""];
    stage.line(mark, &left, PATIENCE).await?;
    let crowd = crowd(&stage, 4).await?;
    let line = stage
        .line(
            mark,
            &["viewer-ended", "exhausted", "threads are in use"],
            PATIENCE,
        )
        .await?;
    healthz(&stage, &["503 ", "threads are in use"]).await?;
    stage.moves(&watcher, PATIENCE).await?;
    let made = encoded(&stage).await? - made;
    let came = (watcher.frames() - came) as f64;
    ensure!(came + ON_THEIR_WAY >= made, "{came} frames came of {made}");
    drop(crowd);
    none.end()?;
    let recovered = stage.well(&watcher, PATIENCE).await?;
    healthz(&stage, &["200 OK"]).await?;
    ensure!(watcher.joins() == 1, "the watcher had to join anew");
    lives(&stage)?;
    Ok(Outcome {
        gap: watcher.gap(),
        recovered,
        line,
    })
}

/// Waits until it answers with all of `words`: it does not look anew each time.
async fn healthz(stage: &Stage<'_>, words: &[&str]) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = stage.ask("/healthz").await?;
        if words.iter().all(|word| answer.contains(word)) {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "no {words:?} in {answer}");
        sleep(ASKS_AGAIN).await;
    }
}

/// How many frames the camera has given.
async fn encoded(stage: &Stage<'_>) -> Result<f64> {
    let page = stage.ask("/metrics").await?;
    let count = page
        .lines()
        .find_map(|line| line.strip_prefix("perch_camera_encoded_frames_total "));
    Ok(count.context("the camera's frames are counted")?.parse()?)
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
