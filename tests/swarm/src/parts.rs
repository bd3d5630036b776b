//! What each part of `webrtcbin` that Perch replaces saves of a viewer's cost.

use std::{ffi::OsStr, fmt::Write as _, path::Path};

use anyhow::{Result, bail};

use crate::{
    crowd::Door,
    host::{Host, Picture},
    measure::{self, Repeats, Upkeep},
    stats::median,
};

/// Each step has the parts of those before as well; the last is what is shipped.
const STEPS: [(&str, &str); 5] = [
    ("GStreamer's own parts", ""),
    (
        "a picture's packets stay together (`rtpulpfecenc`, `rtpredenc`)",
        "rtpulpfecenc,rtpredenc",
    ),
    (
        "and are encrypted together, by aws-lc (`srtpenc`)",
        "srtpenc",
    ),
    (
        "and are handed to the kernel together (`nicesink`)",
        "nicesink",
    ),
    (
        "and are kept together for who misses one (`rtprtxsend`)",
        "rtprtxsend",
    ),
];

/// Measures `perch` with more and more of its parts, and returns a table as Markdown. Progress goes to standard error.
pub async fn parts(perch: &Path, picture: &Picture, plan: &Repeats) -> Result<String> {
    let mut upkeeps: Vec<Vec<Upkeep>> = STEPS.iter().map(|_| Vec::new()).collect();
    for run in 1..=plan.runs {
        let mut replaced = Vec::new();
        for ((step, parts), upkeeps) in STEPS.iter().zip(&mut upkeeps) {
            eprintln!("run {run} of {}: {step}", plan.runs);
            replaced.push(*parts);
            let parts = replaced.join(",");
            let variables = [("PERCH_PARTS", OsStr::new(&parts))];
            let host = Host::start_in(perch, picture, variables)?;
            let door = Door::new(host.lobby().clone(), host.tokens(), None)?;
            let (size, seconds) = (plan.viewers, plan.seconds);
            let upkeep = measure::upkeep(host.pid(), &door, size, seconds).await?;
            if let Some(fault) = upkeep.faults.first() {
                bail!("{step}: {fault}");
            }
            upkeeps.push(upkeep);
        }
    }
    Ok(table(&upkeeps, plan))
}

fn table(upkeeps: &[Vec<Upkeep>], plan: &Repeats) -> String {
    let Repeats {
        viewers,
        seconds,
        runs,
    } = plan;
    let mut text = format!(
        "{viewers} viewers; medians of {runs} runs of {seconds} s, taken in turn. Each line has what the one before has.\n\n\
         | | core-ms per second and viewer | of the first | threads per viewer | MB per viewer | packets lost |\n\
         |---|---:|---:|---:|---:|---:|\n",
    );
    let of = |upkeeps: &[Upkeep], figure: fn(&Upkeep) -> f64| median(upkeeps.iter().map(figure));
    let first = of(&upkeeps[0], |it| it.cost.core_ms);
    for ((step, _), upkeeps) in STEPS.iter().zip(upkeeps) {
        let core_ms = of(upkeeps, |it| it.cost.core_ms);
        let each = |more: f64| more / *viewers as f64;
        let threads = of(upkeeps, |it| {
            it.cost.usage.threads as f64 - it.idle.threads as f64
        });
        let kilobytes = of(upkeeps, |it| it.cost.usage.rss as f64 - it.idle.rss as f64);
        let _ = writeln!(
            text,
            "| {step} | {core_ms:.1} | {:.0} % | {:.1} | {:.1} | {:.0} |",
            100.0 * core_ms / first,
            each(threads),
            each(kilobytes) / 1024.0,
            of(upkeeps, |it| it.cost.lost as f64),
        );
    }
    text
}
