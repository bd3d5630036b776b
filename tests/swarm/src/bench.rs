//! What a viewer costs Perch, and how long a viewer waits for its picture.

use std::{fmt::Write as _, path::Path};

use anyhow::{Result, bail};

use crate::{
    crowd::Door,
    host::{Host, Picture, Usage},
    measure::{self, Cost, Run},
    stats::median,
};

/// How many join at once.
const AT_ONCE: usize = 25;

/// What to measure.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How many viewers, one column after the other; each at least 1.
    pub sizes: Vec<usize>,
    /// How long a crowd is watched.
    pub seconds: f64,
    /// Every figure is the median of this many hosts.
    pub runs: usize,
}

/// Runs the benchmark on `perch` and returns its tables as Markdown. Progress goes to standard error.
pub async fn bench(perch: &Path, picture: &Picture, plan: &Plan) -> Result<String> {
    let mut runs = Vec::with_capacity(plan.runs);
    for run in 1..=plan.runs {
        eprintln!("run {run} of {}", plan.runs);
        runs.push(one_run(perch, picture, plan).await?);
    }
    Ok(tables(&runs, picture, plan))
}

async fn one_run(perch: &Path, picture: &Picture, plan: &Plan) -> Result<Run> {
    let host = Host::start(perch, picture, None)?;
    let door = Door::new(host.lobby().clone(), host.tokens(), None)?;
    let plan = measure::Plan {
        sizes: plan.sizes.clone(),
        seconds: plan.seconds,
        at_once: AT_ONCE,
    };
    let run = measure::run(host.pid(), &door, &plan).await?;
    match run.faults.first() {
        Some(fault) => bail!("{fault}"),
        None => Ok(run),
    }
}

fn tables(runs: &[Run], picture: &Picture, plan: &Plan) -> String {
    let of_runs = |figure: &dyn Fn(&Run) -> f64| median(runs.iter().map(figure));
    let mut text = format!(
        "`perch run` with its embedded lobby, {}x{} at {} fps and {:.1} Mbit/s; medians of {} runs of {} s.\n\
         CPU and threads are those of the host's process; a viewer's CPU is what it adds to the host without viewers,\n\
         with its range over the runs: the encoder's own variation is of the order of a few viewers.\n\n\
         | viewers | core-ms per second and viewer | RSS, MB | threads | descriptors | Mbit/s to each | packets/s to each | frames/s to the worst | packets lost | longest gap, ms | the viewers' own core-ms per second |\n\
         |---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n",
        picture.width,
        picture.height,
        picture.framerate,
        f64::from(picture.bitrate) / 1e6,
        plan.runs,
        plan.seconds,
    );
    let mb = |usage: &Usage| usage.rss as f64 / 1024.0;
    let _ = writeln!(
        text,
        "| 0 | (all of it: {:.0}) | {:.0} | {} | {} | | | | | | |",
        of_runs(&|run| run.idle_ms),
        of_runs(&|run| mb(&run.idle)),
        of_runs(&|run| run.idle.threads as f64),
        of_runs(&|run| run.idle.fds as f64),
    );
    for (index, &size) in plan.sizes.iter().enumerate() {
        let cost = |figure: fn(&Cost) -> f64| of_runs(&|run| figure(&run.costs[index]));
        let core_ms = || runs.iter().map(|run| run.costs[index].core_ms);
        debug_assert!(runs.iter().all(|run| run.costs[index].size == size));
        let _ = writeln!(
            text,
            "| {size} | {:.1} ({:.0} to {:.0}) | {:.0} | {} | {} | {:.2} | {:.0} | {:.1} | {} | {:.0} | {:.0} |",
            cost(|c| c.core_ms),
            core_ms().fold(f64::INFINITY, f64::min),
            core_ms().fold(f64::NEG_INFINITY, f64::max),
            of_runs(&|run| mb(&run.costs[index].usage)),
            cost(|c| c.usage.threads as f64),
            cost(|c| c.usage.fds as f64),
            cost(|c| c.mbit),
            cost(|c| c.packets),
            cost(|c| c.worst_fps),
            cost(|c| c.lost as f64),
            cost(|c| c.longest_gap_ms),
            cost(|c| c.swarm_ms),
        );
    }
    text.push_str(
        "\n| joining | join to first keyframe, median, ms | p95, ms |\n|---|---:|---:|\n",
    );
    for (index, wait) in runs[0].waits.iter().enumerate() {
        let _ = writeln!(
            text,
            "| {} | {:.0} | {:.0} |",
            wait.crowd,
            of_runs(&|run| run.waits[index].times.median),
            of_runs(&|run| run.waits[index].times.p95),
        );
    }
    text
}
