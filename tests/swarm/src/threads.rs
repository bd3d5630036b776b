//! Which threads a viewer has, what each is for, and where its time goes.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ffi::OsString,
    fmt::Write as _,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use tokio::time::sleep;

use crate::{
    crowd::Door,
    host::{Host, Picture},
    measure::{self, Repeats},
    stats::median,
};

/// What is known of threads, by their names without numbers: who starts them, and what for.
const KNOWN: [(&str, &str); 8] = [
    (
        "video-source:sr",
        "Perch's `appsrc`: payloads, counts, paces, encrypts and sends the picture",
    ),
    (
        "audio-source:sr",
        "Perch's `appsrc`: the same for the sound",
    ),
    (
        "webrtcbin:pc",
        "`webrtcbin`'s own loop: offer, answer, statistics",
    ),
    (
        "webrtcbin:ice",
        "`webrtcbin`'s loop for libnice: STUN, consent",
    ),
    ("nicesrc:src", "`webrtcbin`'s `nicesrc`: reads the socket"),
    (
        "queue:src",
        "`webrtcbin`'s queue behind it: decrypts and reads RTCP",
    ),
    (
        "dtlsenc:src",
        "`webrtcbin`'s DTLS: the handshake, then nothing until the end",
    ),
    (
        "rtpsession-rtcp",
        "`webrtcbin`'s RTP session: sends reports",
    ),
];

/// One thread so far.
#[derive(Debug, Clone)]
struct Thread {
    /// Without its numbers.
    name: String,
    /// Nanoseconds on a core.
    spent: u64,
    /// How often it was given one.
    runs: u64,
}

/// What the threads of one name come to, for each viewer.
#[derive(Debug, Clone, Copy, Default)]
struct Share {
    threads: f64,
    core_ms: f64,
    runs: f64,
}

/// Measures `perch`, and returns a table as Markdown. Progress goes to standard error.
pub async fn threads(perch: &Path, picture: &Picture, plan: &Repeats) -> Result<String> {
    let mut runs = Vec::new();
    for run in 1..=plan.runs {
        eprintln!("run {run} of {}", plan.runs);
        let host = Host::start(perch, picture, None)?;
        let door = Door::new(host.lobby().clone(), host.tokens(), None)?;
        runs.push(shares(&host, &door, plan).await?);
    }
    Ok(table(&runs, plan))
}

/// By their names.
type Shares = BTreeMap<String, Share>;

async fn shares(host: &Host, door: &Door, plan: &Repeats) -> Result<Shares> {
    // What is there without viewers is the camera's, or everybody's.
    let others = threads_of(host.pid())?;
    let measured = async {
        let (start, first) = (Instant::now(), threads_of(host.pid())?);
        sleep(Duration::from_secs_f64(plan.seconds)).await;
        Ok((
            start.elapsed().as_secs_f64(),
            first,
            threads_of(host.pid())?,
        ))
    };
    let ((seconds, first, last), report) = measure::watched(door, plan.viewers, measured).await?;
    report.all_well()?;
    let each = 1.0 / plan.viewers as f64;
    let mut shares = Shares::new();
    for (number, last) in last {
        let Some(first) = first.get(&number).filter(|_| !others.contains_key(&number)) else {
            continue;
        };
        let share = shares.entry(last.name.clone()).or_default();
        share.threads += each;
        share.core_ms += each * (last.spent - first.spent) as f64 / 1e6 / seconds;
        share.runs += each * (last.runs - first.runs) as f64 / seconds;
    }
    Ok(shares)
}

/// The threads of the process `pid`, by their numbers.
fn threads_of(pid: u32) -> Result<HashMap<OsString, Thread>> {
    let mut threads = HashMap::new();
    for task in fs::read_dir(format!("/proc/{pid}/task")).context("the host is gone")? {
        let task = task?;
        let read = |file: &str| fs::read_to_string(task.path().join(file));
        // It may have ended meanwhile.
        let (Ok(name), Ok(times)) = (read("comm"), read("schedstat")) else {
            continue;
        };
        // Time on a core, time in line for one, and how often it was given one (Documentation/scheduler/sched-stats.rst).
        let times: Vec<u64> = times
            .split_whitespace()
            .filter_map(|it| it.parse().ok())
            .collect();
        let &[spent, _, runs] = &times[..] else {
            bail!("{}/schedstat is odd: {times:?}", task.path().display());
        };
        let name = name.trim().replace(|it: char| it.is_ascii_digit(), "");
        threads.insert(task.file_name(), Thread { name, spent, runs });
    }
    Ok(threads)
}

fn table(runs: &[Shares], plan: &Repeats) -> String {
    let Repeats {
        viewers,
        seconds,
        runs: number,
    } = plan;
    let mut text = format!(
        "{viewers} viewers; medians of {number} runs of {seconds} s. The camera's own threads and what all viewers share are left out.\n\n\
         | thread | of each viewer | core-ms per second and viewer | times it runs, per second and viewer |\n\
         |---|---:|---:|---:|\n",
    );
    let of = |name: &str, figure: fn(&Share) -> f64| {
        median(runs.iter().map(|run| run.get(name).map_or(0.0, figure)))
    };
    // One that nobody knows is not to go unseen.
    let is_known = |name: &str| KNOWN.iter().any(|(known, _)| *known == name);
    let names: BTreeSet<&str> = runs
        .iter()
        .flat_map(|run| run.keys().map(String::as_str))
        .collect();
    let unknown = names.into_iter().filter(|name| !is_known(name));
    let mut all = Share::default();
    for (name, what) in KNOWN.into_iter().chain(unknown.map(|name| (name, "?"))) {
        let share = Share {
            threads: of(name, |it| it.threads),
            core_ms: of(name, |it| it.core_ms),
            runs: of(name, |it| it.runs),
        };
        // Not one of each viewer's, but that of the one who comes next, or of nobody (no sound).
        if share.threads < 0.5 {
            continue;
        }
        all.threads += share.threads;
        all.core_ms += share.core_ms;
        all.runs += share.runs;
        let _ = writeln!(text, "| {what} (`{name}`) | {} |", figures(share));
    }
    let _ = writeln!(text, "| all of them | {} |", figures(all));
    text
}

fn figures(share: Share) -> String {
    let Share {
        threads,
        core_ms,
        runs,
    } = share;
    format!("{threads:.1} | {core_ms:.2} | {runs:.0}")
}
