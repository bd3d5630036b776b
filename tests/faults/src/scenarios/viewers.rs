//! Viewers that go without a word.

use anyhow::{Result, ensure};
use futures_util::FutureExt as _;
use swarm::{crowd::Watching, viewer::Conduct};

use super::{Needs, PATIENCE, SCENARIO_PATIENCE, Scenario, UNTOUCHED, seconds};
use crate::stage::{Outcome, Setting, Stage, World};

pub fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario {
            name: "viewer-vanished",
            fault: "viewer vanished without a word".into(),
            most_gap: UNTOUCHED,
            well_within: seconds(30),
            needs: Needs::Root,
            patience: SCENARIO_PATIENCE,
            run: Box::new(|world| go(world, "viewer-vanished", Conduct::Freezes, "left").boxed()),
        },
        Scenario {
            name: "viewer-stalled",
            fault: "viewer stalled: on the line, but reads no media".into(),
            most_gap: UNTOUCHED,
            well_within: seconds(30),
            needs: Needs::Root,
            patience: SCENARIO_PATIENCE,
            run: Box::new(|world| go(world, "viewer-stalled", Conduct::Stalls, "vanished").boxed()),
        },
    ]
}

/// The host notices, from the lobby or by itself, and the others keep their picture. In a network apart:
/// elsewhere the networks of other scenarios come and go under it.
async fn go(world: &World, name: &'static str, conduct: Conduct, reason: &str) -> Result<Outcome> {
    let apart = Setting {
        network: true,
        ..Setting::default()
    };
    let (stage, watcher) = Stage::watched(world, name, apart).await?;
    let viewer = stage.door()?.arrive(stage.number(), conduct).await?;
    let mut viewer = Watching::start(viewer);
    ensure!(
        viewer.picture().await,
        "the viewer that is to go had no picture"
    );
    let mark = stage.mark();
    let reason = format!("reason=\"{reason}\"");
    let words = ["viewer-ended", reason.as_str()];
    let line = stage.line(mark, &words, 2 * PATIENCE).await?;
    let recovered = stage.well(&watcher, PATIENCE).await?;
    ensure!(watcher.joins() == 1, "the watcher had to join anew");
    viewer.stop();
    Ok(Outcome {
        gap: watcher.gap(),
        recovered,
        line,
    })
}
