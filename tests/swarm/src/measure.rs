//! What a crowd of viewers costs a host's process, and how long each waits for a picture, whoever the host is.

use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::time::sleep;

use crate::{
    crowd::{Crowd, CrowdReport, Door},
    host::Usage,
    stats::Spread,
    viewer::Counted,
};

/// From one join to the next while a crowd gathers whose cost is measured.
const GATHER: Duration = Duration::from_millis(100);
/// Between the last picture and the measurement: joins are not part of a viewer's upkeep, nor are the five seconds in which libnice,
/// whoever uses it, goes on looking for ways.
const CALM: Duration = Duration::from_secs(6);
/// The host is as it was before the viewers came, or the measurement is void.
const DRAIN_PATIENCE: Duration = Duration::from_secs(60);

/// What to measure on one host.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How many viewers, one column after the other; each at least 1.
    pub sizes: Vec<usize>,
    /// How long a crowd is watched.
    pub seconds: f64,
    /// How many join at once when waits are measured.
    pub at_once: usize,
}

/// How often one crowd is measured.
#[derive(Debug, Clone, clap::Args)]
pub struct Repeats {
    #[arg(long, default_value_t = 25)]
    pub viewers: usize,
    /// How long they are watched
    #[arg(long, default_value_t = 8.0)]
    pub seconds: f64,
    /// Every figure is the median of this many hosts
    #[arg(long, default_value_t = 3)]
    pub runs: usize,
}

/// What one host showed.
#[derive(Debug)]
pub struct Run {
    pub idle: Usage,
    /// Core milliseconds per second without viewers.
    pub idle_ms: f64,
    pub costs: Vec<Cost>,
    pub waits: Vec<Wait>,
    /// What went wrong, in order.
    pub faults: Vec<String>,
}

/// One crowd on one host.
#[derive(Debug)]
pub struct Cost {
    pub size: usize,
    /// Core milliseconds per second and viewer, beyond what the host takes without viewers.
    pub core_ms: f64,
    pub usage: Usage,
    /// What a viewer received, in Mbit/s of RTP payload and in packets per second.
    pub mbit: f64,
    pub packets: f64,
    /// Whole frames per second: of the viewer who had the fewest, and of the middle one.
    pub worst_fps: f64,
    pub fps: f64,
    pub lost: u64,
    pub longest_gap_ms: f64,
    /// Core milliseconds per second that the viewers themselves took.
    pub swarm_ms: f64,
}

/// Join to first complete keyframe, in milliseconds.
#[derive(Debug)]
pub struct Wait {
    pub crowd: String,
    pub times: Spread,
}

/// Measures the process `host`, whose viewers come through `door`. Progress goes to standard error.
pub async fn run(host: u32, door: &Door, plan: &Plan) -> Result<Run> {
    let mut faults = Vec::new();
    let (idle, idle_ms) = idle(host, door, plan.seconds).await?;

    let mut waits = Vec::new();
    let mut alone = Vec::new();
    for _ in 0..5 {
        let report = gone(Crowd::join(door, 1, Duration::ZERO).await?).await?;
        alone.extend(report.viewers.iter().filter_map(|v| v.first_keyframe_ms));
        note(&mut faults, "1 alone", &report);
        drained(host, idle, &mut faults).await?;
    }
    waits.push(Wait {
        crowd: "1 alone".into(),
        times: Spread::of(alone),
    });
    let crowds = [
        ("10, one every 100 ms".into(), 10, GATHER),
        (
            format!("{} at once", plan.at_once),
            plan.at_once,
            Duration::ZERO,
        ),
    ];
    for (crowd, size, spacing) in crowds {
        let report = gone(Crowd::join(door, size, spacing).await?).await?;
        note(&mut faults, &crowd, &report);
        waits.push(Wait {
            crowd,
            times: report.first_keyframe_ms,
        });
        drained(host, idle, &mut faults).await?;
    }

    let mut costs = Vec::new();
    for &size in &plan.sizes {
        costs.push(cost(host, door, size, plan.seconds, idle_ms, &mut faults).await?);
        drained(host, idle, &mut faults).await?;
    }
    Ok(Run {
        idle,
        idle_ms,
        costs,
        waits,
        faults,
    })
}

/// What viewers cost, and nothing else.
#[derive(Debug)]
pub struct Upkeep {
    pub idle: Usage,
    pub cost: Cost,
    pub faults: Vec<String>,
}

/// Measures one crowd on the process `host`.
pub async fn upkeep(host: u32, door: &Door, size: usize, seconds: f64) -> Result<Upkeep> {
    let mut faults = Vec::new();
    let (idle, idle_ms) = idle(host, door, seconds).await?;
    let cost = cost(host, door, size, seconds, idle_ms, &mut faults).await?;
    Ok(Upkeep { idle, cost, faults })
}

/// The process without viewers, and its core milliseconds per second.
async fn idle(host: u32, door: &Door, seconds: f64) -> Result<(Usage, f64)> {
    // What is made once is made for the first viewer.
    gone(Crowd::join(door, 1, Duration::ZERO).await?)
        .await?
        .all_well()?;
    sleep(CALM).await;
    let idle = Usage::of(host)?;
    let idle_ms = Meter::start(host)?.run(seconds).await?.host_ms;
    Ok((idle, idle_ms))
}

/// Lets a crowd watch until `measured` is done, which begins once the joins are past.
pub async fn watched<T>(
    door: &Door,
    size: usize,
    measured: impl Future<Output = Result<T>>,
) -> Result<(T, CrowdReport)> {
    let mut crowd = Crowd::join(door, size, GATHER).await?;
    crowd.pictures().await;
    sleep(CALM).await;
    crowd.count();
    let measured = measured.await?;
    Ok((measured, crowd.leave().await?))
}

async fn cost(
    host: u32,
    door: &Door,
    size: usize,
    seconds: f64,
    idle_ms: f64,
    faults: &mut Vec<String>,
) -> Result<Cost> {
    let measured = async { Meter::start(host)?.run(seconds).await };
    let (measured, report) = watched(door, size, measured).await?;
    note(faults, &format!("{size} viewers"), &report);
    let core_ms = (measured.host_ms - idle_ms) / size as f64;
    eprintln!("{size} viewers: {core_ms:.1} core-ms/s each");
    let counted: Vec<&Counted> = report
        .viewers
        .iter()
        .filter_map(|viewer| viewer.counted.as_ref())
        .collect();
    let total = |of: fn(&Counted) -> u64| counted.iter().map(|c| of(c)).sum::<u64>();
    let watched: f64 = counted.iter().map(|c| c.seconds).sum();
    let each = |sum: u64| match counted.is_empty() {
        true => 0.0,
        false => sum as f64 / watched,
    };
    let fps = || counted.iter().map(|c| c.frames as f64 / c.seconds);
    Ok(Cost {
        size,
        core_ms,
        usage: measured.usage,
        mbit: each(total(|c| c.bytes)) * 8e-6,
        packets: each(total(|c| c.packets)),
        // Who saw nothing counts, too.
        worst_fps: match counted.len() == size {
            true => fps().fold(f64::INFINITY, f64::min),
            false => 0.0,
        },
        fps: Spread::of(fps()).median,
        lost: total(|c| c.lost_packets),
        longest_gap_ms: report.longest_gap_ms,
        swarm_ms: measured.swarm_ms,
    })
}

fn note(faults: &mut Vec<String>, crowd: &str, report: &CrowdReport) {
    if let Err(error) = report.all_well() {
        eprintln!("{crowd}: {error:#}");
        faults.push(format!("{crowd}: {error:#}"));
    }
}

/// Waits for everybody's picture and lets all leave.
async fn gone(mut crowd: Crowd) -> Result<CrowdReport> {
    crowd.pictures().await;
    crowd.leave().await
}

/// Waits until the host has let go of its viewers.
async fn drained(host: u32, idle: Usage, faults: &mut Vec<String>) -> Result<()> {
    let deadline = Instant::now() + DRAIN_PATIENCE;
    loop {
        let fds = Usage::of(host)?.fds;
        if fds <= idle.fds {
            break;
        }
        if Instant::now() >= deadline {
            let left = fds - idle.fds;
            faults.push(format!(
                "the host keeps {left} descriptors of viewers who left"
            ));
            break;
        }
        sleep(Duration::from_millis(100)).await;
    }
    // A keyframe forced for the last joiner must not be the next one's.
    sleep(Duration::from_secs(1)).await;
    Ok(())
}

/// CPU time over a stretch of time.
struct Meter {
    pid: u32,
    start: Instant,
    host: Usage,
    swarm: Usage,
}

struct Metered {
    /// Core milliseconds per second of the host's process, and of this one.
    host_ms: f64,
    swarm_ms: f64,
    usage: Usage,
}

impl Meter {
    fn start(pid: u32) -> Result<Self> {
        Ok(Self {
            pid,
            start: Instant::now(),
            host: Usage::of(pid)?,
            swarm: Usage::of(std::process::id())?,
        })
    }

    async fn run(self, seconds: f64) -> Result<Metered> {
        sleep(Duration::from_secs_f64(seconds)).await;
        let usage = Usage::of(self.pid)?;
        let swarm = Usage::of(std::process::id())?;
        let elapsed = self.start.elapsed().as_secs_f64();
        let per_second = |spent: Duration| spent.as_secs_f64() * 1000.0 / elapsed;
        Ok(Metered {
            host_ms: per_second(usage.cpu() - self.host.cpu()),
            swarm_ms: per_second(swarm.cpu() - self.swarm.cpu()),
            usage,
        })
    }
}
