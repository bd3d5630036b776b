//! What a viewer costs the host, and how long a viewer waits for its picture.

use std::{
    fmt::Write as _,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use tokio::time::sleep;

use crate::{
    crowd::{Crowd, CrowdReport, Door},
    host::{Host, Picture, Usage},
    stats::{Spread, median},
    viewer::Report,
};

/// From one join to the next while a crowd gathers whose cost is measured.
const GATHER: Duration = Duration::from_millis(100);
/// Between the last picture and the measurement: joins are not part of a viewer's upkeep.
const CALM: Duration = Duration::from_secs(2);
/// The host is as it was before the viewers came, or the measurement is void.
const DRAIN_PATIENCE: Duration = Duration::from_secs(60);

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

/// One crowd on one host.
#[derive(Debug)]
struct Cost {
    size: usize,
    /// Core milliseconds per second and viewer, beyond what the host takes without viewers.
    core_ms: f64,
    usage: Usage,
    /// What a viewer received, in Mbit/s of RTP payload and in packets per second.
    mbit: f64,
    packets: f64,
    lost: u64,
    longest_gap_ms: f64,
    /// Core milliseconds per second that the viewers themselves took.
    swarm_ms: f64,
}

/// Join to first complete keyframe, in milliseconds.
#[derive(Debug)]
struct Wait {
    crowd: &'static str,
    times: Spread,
}

#[derive(Debug)]
struct Run {
    idle: Usage,
    idle_ms: f64,
    costs: Vec<Cost>,
    waits: Vec<Wait>,
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
    // What is made once is made for the first viewer.
    gone(Crowd::join(&door, 1, Duration::ZERO).await?).await?;
    sleep(CALM).await;
    let idle = host.usage()?;
    let idle_ms = Meter::start(&host)?.run(plan.seconds, &host).await?.host_ms;

    let mut waits = Vec::new();
    let mut alone = Vec::new();
    for _ in 0..5 {
        let report = gone(Crowd::join(&door, 1, Duration::ZERO).await?).await?;
        alone.push(report.first_keyframe_ms.median);
        drained(&host, idle).await?;
    }
    waits.push(Wait {
        crowd: "1 alone",
        times: Spread::of(alone),
    });
    for (crowd, size, spacing) in [("10, one every 100 ms", 10, 100), ("25 at once", 25, 0)] {
        let crowd_of = Crowd::join(&door, size, Duration::from_millis(spacing)).await?;
        let report = gone(crowd_of).await?;
        waits.push(Wait {
            crowd,
            times: report.first_keyframe_ms,
        });
        drained(&host, idle).await?;
    }

    let mut costs = Vec::new();
    for &size in &plan.sizes {
        costs.push(cost(&host, &door, size, plan.seconds, idle_ms).await?);
        drained(&host, idle).await?;
    }
    Ok(Run {
        idle,
        idle_ms,
        costs,
        waits,
    })
}

async fn cost(host: &Host, door: &Door, size: usize, seconds: f64, idle_ms: f64) -> Result<Cost> {
    let mut crowd = Crowd::join(door, size, GATHER).await?;
    let pictures = crowd.pictures().await;
    ensure!(
        pictures == size,
        "{pictures} of {size} viewers got a picture"
    );
    sleep(CALM).await;
    let measured = Meter::start(host)?.run(seconds, host).await?;
    let report = crowd.leave().await?;
    ensure!(
        report.failed == 0,
        "{} of {size} viewers failed",
        report.failed
    );
    let core_ms = (measured.host_ms - idle_ms) / size as f64;
    eprintln!("{size} viewers: {core_ms:.1} core-ms/s each");
    let watched: f64 = report.viewers.iter().map(|v| v.seconds).sum();
    let total = |of: fn(&Report) -> u64| report.viewers.iter().map(of).sum::<u64>() as f64;
    Ok(Cost {
        size,
        core_ms,
        usage: measured.usage,
        mbit: total(|v| v.bytes) * 8e-6 / watched,
        packets: total(|v| v.video_packets) / watched,
        lost: report.lost_packets,
        longest_gap_ms: report.longest_gap_ms,
        swarm_ms: measured.swarm_ms,
    })
}

/// Waits for everybody's picture and lets all leave.
async fn gone(mut crowd: Crowd) -> Result<CrowdReport> {
    crowd.pictures().await;
    let report = crowd.leave().await?;
    report.all_well()?;
    Ok(report)
}

/// Waits until the host has let go of its viewers.
async fn drained(host: &Host, idle: Usage) -> Result<()> {
    let deadline = Instant::now() + DRAIN_PATIENCE;
    while host.usage()?.fds > idle.fds {
        ensure!(
            Instant::now() < deadline,
            "the host keeps what viewers left"
        );
        sleep(Duration::from_millis(100)).await;
    }
    // A keyframe forced for the last joiner must not be the next one's.
    sleep(Duration::from_secs(1)).await;
    Ok(())
}

/// CPU time over a stretch of time.
struct Meter {
    start: Instant,
    host: Usage,
    swarm: Usage,
}

struct Measured {
    /// Core milliseconds per second of the host's process, and of this one.
    host_ms: f64,
    swarm_ms: f64,
    usage: Usage,
}

impl Meter {
    fn start(host: &Host) -> Result<Self> {
        Ok(Self {
            start: Instant::now(),
            host: host.usage()?,
            swarm: Usage::of(std::process::id())?,
        })
    }

    async fn run(self, seconds: f64, host: &Host) -> Result<Measured> {
        sleep(Duration::from_secs_f64(seconds)).await;
        let usage = host.usage()?;
        let swarm = Usage::of(std::process::id())?;
        let elapsed = self.start.elapsed().as_secs_f64();
        let per_second = |spent: Duration| spent.as_secs_f64() * 1000.0 / elapsed;
        Ok(Measured {
            host_ms: per_second(usage.cpu() - self.host.cpu()),
            swarm_ms: per_second(swarm.cpu() - self.swarm.cpu()),
            usage,
        })
    }
}

fn tables(runs: &[Run], picture: &Picture, plan: &Plan) -> String {
    let of_runs = |figure: &dyn Fn(&Run) -> f64| median(runs.iter().map(figure));
    let mut text = format!(
        "`perch run` with its embedded lobby, {}x{} at {} fps and {:.1} Mbit/s; medians of {} runs of {} s.\n\
         CPU and threads are those of the host's process; a viewer's CPU is what it adds to the host without viewers,\n\
         with its range over the runs: the encoder's own variation is of the order of a few viewers.\n\n\
         | viewers | core-ms per second and viewer | RSS, MB | threads | descriptors | Mbit/s to each | packets/s to each | packets lost | longest gap, ms | the viewers' own core-ms per second |\n\
         |---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n",
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
        "| 0 | (all of it: {:.0}) | {:.0} | {} | {} | | | | | |",
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
            "| {size} | {:.1} ({:.0} to {:.0}) | {:.0} | {} | {} | {:.2} | {:.0} | {} | {:.0} | {:.0} |",
            cost(|c| c.core_ms),
            core_ms().fold(f64::INFINITY, f64::min),
            core_ms().fold(f64::NEG_INFINITY, f64::max),
            of_runs(&|run| mb(&run.costs[index].usage)),
            cost(|c| c.usage.threads as f64),
            cost(|c| c.usage.fds as f64),
            cost(|c| c.mbit),
            cost(|c| c.packets),
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
