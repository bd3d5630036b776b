//! The camera and its encoder.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use futures_util::FutureExt as _;
use swarm::log::field;

use super::{Needs, PATIENCE, SCENARIO_PATIENCE, Scenario, UNTOUCHED, seconds};
use crate::stage::{Outcome, Setting, Stage, World};

/// Ten restarts with up to half a minute between two, on a busy machine.
const BUDGET_WITHIN: Duration = Duration::from_secs(300);

/// What one of the gates does to the picture.
struct Fault {
    name: &'static str,
    fault: &'static str,
    gate: &'static str,
    does: &'static str,
    /// What the journal says of it.
    words: &'static [&'static str],
    most_gap: u64,
    /// The process ends with an error, and whoever looks after it starts it again.
    ends_process: bool,
}

const FAULTS: [Fault; 5] = [
    Fault {
        name: "camera-error",
        fault: "camera breaks with an error",
        gate: "source",
        does: "error",
        words: &["camera-lost", "error"],
        most_gap: 60,
        ends_process: false,
    },
    Fault {
        name: "camera-gone",
        fault: "camera unplugged, and plugged in later",
        gate: "source",
        does: "gone",
        words: &["camera-lost", "no-camera"],
        most_gap: 60,
        ends_process: false,
    },
    Fault {
        name: "source-silent",
        fault: "camera gives no frames and no error",
        gate: "source",
        does: "drop",
        words: &["camera-lost", "source-silent"],
        most_gap: 90,
        ends_process: false,
    },
    Fault {
        name: "encoder-silent",
        fault: "camera alive, encoder silent",
        gate: "encoder",
        does: "drop",
        words: &["camera-lost", "encoder-silent"],
        most_gap: 90,
        ends_process: false,
    },
    Fault {
        name: "encoder-hangs",
        fault: "encoder hangs and cannot be stopped",
        gate: "encoder",
        does: "hang",
        words: &["camera-gave-up"],
        most_gap: 120,
        ends_process: true,
    },
];

pub fn scenarios() -> Vec<Scenario> {
    let mut scenarios: Vec<Scenario> = FAULTS
        .iter()
        .map(|fault| Scenario {
            name: fault.name,
            fault: fault.fault.into(),
            most_gap: seconds(fault.most_gap),
            // Sooner than the next keyframe in turn.
            well_within: seconds(if fault.ends_process { 60 } else { 25 }),
            needs: Needs::Nothing,
            patience: SCENARIO_PATIENCE,
            run: Box::new(|world| show(world, fault).boxed()),
        })
        .collect();
    scenarios.push(Scenario {
        name: "camera-busy",
        fault: "camera busy at the start, free later".into(),
        most_gap: seconds(60),
        well_within: seconds(60),
        needs: Needs::Nothing,
        patience: SCENARIO_PATIENCE,
        run: Box::new(|world| busy(world).boxed()),
    });
    scenarios
}

async fn show(world: &World, fault: &Fault) -> Result<Outcome> {
    let (stage, watcher) = Stage::watched(world, fault.name, Setting::default()).await?;
    let mark = stage.mark();
    stage.gate(fault.gate, fault.does)?;
    let line = stage.line(mark, fault.words, PATIENCE).await?;
    if fault.ends_process {
        let end = stage.program.ended(1, PATIENCE).await?;
        ensure!(
            end == "exit code 1",
            "it should end with an error, not with {end}"
        );
    }
    // Somebody who comes while there is no picture sees the slate, and asks for a keyframe that
    // nobody can give.
    let late = (!fault.ends_process).then(|| stage.watcher());
    if late.is_some() {
        stage.line(mark, &["viewer-live"], PATIENCE).await?;
    }
    let mended = Instant::now();
    stage.gate(fault.gate, "pass")?;
    if !fault.ends_process {
        stage.line(mark, &["camera-back"], PATIENCE).await?;
        // The same branches go on: nobody has to join anew.
        ensure!(watcher.joins() == 1, "the watcher had to join anew");
    }
    stage.well(&watcher, PATIENCE).await?;
    let recovered = mended.elapsed();
    let lived = stage.program.exits().is_empty();
    ensure!(
        lived != fault.ends_process,
        "the process should {}: {:?}",
        if fault.ends_process {
            "have ended"
        } else {
            "live on"
        },
        stage.program.exits()
    );
    Ok(Outcome {
        gap: watcher.gap(),
        recovered,
        line,
    })
}

/// Its back-off alone takes three minutes.
pub fn long_scenarios() -> Vec<Scenario> {
    vec![Scenario {
        name: "budget-spent",
        fault: "encoder fails at every start until the budget is spent, works later".into(),
        most_gap: seconds(60),
        well_within: seconds(60),
        needs: Needs::Nothing,
        patience: BUDGET_WITHIN + SCENARIO_PATIENCE,
        run: Box::new(|world| budget(world).boxed()),
    }]
}

async fn budget(world: &World) -> Result<Outcome> {
    let (stage, watcher) = Stage::watched(world, "budget-spent", Setting::default()).await?;
    let mark = stage.mark();
    stage.gate("encoder", "error")?;
    let words = ["camera-gave-up", "it was restarted 10 times in 10 min"];
    let line = stage.line(mark, &words, BUDGET_WITHIN).await?;
    // Three minutes of the slate, and not one without it.
    ensure!(watcher.joins() == 1, "the watcher had to join anew");
    let gap = watcher.gap();
    ensure!(gap < UNTOUCHED, "the slate stood still for {gap:?}");
    let end = stage.program.ended(1, PATIENCE).await?;
    ensure!(
        end == "exit code 1",
        "it should end with an error, not with {end}"
    );
    let said = stage.program.ends_after(0).swap_remove(0).lines;
    let told = said.iter().filter(|line| line.contains("camera-restart"));
    let told: Vec<Option<&str>> = told.map(|line| field(line, "number")).collect();
    let numbers: Vec<String> = (1..=10).map(|number| number.to_string()).collect();
    let due: Vec<Option<&str>> = numbers.iter().map(|number| Some(number.as_str())).collect();
    ensure!(told == due, "the journal counts the restarts: {told:?}");

    let mended = Instant::now();
    stage.gate("encoder", "pass")?;
    stage.well(&watcher, PATIENCE).await?;
    Ok(Outcome {
        gap: watcher.gap(),
        recovered: mended.elapsed(),
        line,
    })
}

async fn busy(world: &World) -> Result<Outcome> {
    let setting = Setting {
        source: "busy",
        ..Setting::default()
    };
    let stage = Stage::set(world, "camera-busy", setting).await?;
    let mark = crate::journal::Mark::START;
    let line = stage
        .line(mark, &["camera-waiting", "busy"], PATIENCE)
        .await?;
    let watcher = stage.watcher();
    stage.gate("source", "pass")?;
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
