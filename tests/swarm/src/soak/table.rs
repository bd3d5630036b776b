//! What the soak found, for people, and what it must not find.

use std::{collections::BTreeMap, fmt::Write as _};

use super::{Leaks, MOST_FROZEN, Plan, Soaked};
use crate::{
    host::Picture,
    log::Log,
    stats::{Spread, slope},
};

/// KiB per 1000 joins, between halts: fragments of the allocators, and the names of `webrtcbin`'s
/// statistics, which have each viewer's SSRC in them and which GLib keeps for ever (quarks). Less
/// than the smallest object that could be left of each viewer.
const MOST_GROWTH: f64 = 3000.0;
/// The length of a freeze that a person remembers; the machine that runs this is busy.
const MOST_GAP_MS: f64 = 2000.0;
/// With fewer joins than this between the halts, memory's slope says nothing.
const FIT: usize = 2000;
/// Ends that say that something is wrong with the device.
const AGAINST_THE_DEVICE: [&str; 3] = ["branch-error", "no-offer", "no-room"];
/// Halts that the allocator takes to reach its size.
const WARM_HALTS: usize = 2;
/// Descriptors and threads come and go by one or two with pools and timers.
const SWAY: usize = 2;

/// Resident memory over joins, in KiB per 1000 joins, after the warm-up.
fn growth(soaked: &Soaked) -> f64 {
    let points: Vec<(f64, f64)> = soaked
        .halts
        .iter()
        .skip(WARM_HALTS.min(soaked.halts.len().saturating_sub(2)))
        .map(|halt| (halt.joins as f64, halt.usage.rss as f64))
        .collect();
    slope(&points) * 1000.0
}

/// The bounds that were broken, each in a sentence.
pub fn broken_bounds(soaked: &Soaked, log: &Log, leaks: &Leaks) -> Vec<String> {
    let mut broken = Vec::new();
    let mut bound = |kept: bool, sentence: String| {
        if !kept {
            broken.push(sentence);
        }
    };
    let growth = growth(soaked);
    let joins = soaked.halts.last().map_or(0, |halt| halt.joins);
    bound(
        growth < MOST_GROWTH || joins < FIT,
        format!("memory grows by {growth:.0} KiB per 1000 joins, more than {MOST_GROWTH}"),
    );
    if let (Some(first), Some(last)) = (soaked.halts.first(), soaked.halts.last()) {
        let (before, after) = (first.usage, last.usage);
        bound(
            after.threads <= before.threads + SWAY,
            format!("threads grew from {} to {}", before.threads, after.threads),
        );
        bound(
            after.fds <= before.fds + SWAY,
            format!("descriptors grew from {} to {}", before.fds, after.fds),
        );
    }
    let gap = soaked.watcher.longest_gap_ms;
    bound(
        gap < MOST_GAP_MS,
        format!("the watcher's picture stood still for {gap} ms, more than {MOST_GAP_MS}"),
    );
    bound(
        soaked.watcher.error.is_none(),
        format!("the watcher lost its picture: {:?}", soaked.watcher.error),
    );
    bound(
        soaked.errors.is_empty(),
        format!(
            "{} viewers failed: {:?}",
            soaked.errors.len(),
            soaked.errors.first()
        ),
    );
    bound(
        log.criticals() == 0,
        format!(
            "GLib complained {} times: {:?}",
            log.criticals(),
            log.complaints()
        ),
    );
    let blamed: Vec<_> = log
        .ends()
        .into_iter()
        .filter(|(reason, _)| AGAINST_THE_DEVICE.contains(&reason.as_str()))
        .collect();
    bound(
        blamed.is_empty(),
        format!("the device was blamed for what viewers did: {blamed:?}"),
    );
    bound(
        leaks.grown.is_empty(),
        format!("objects outlive their viewers: {:?}", leaks.grown),
    );
    broken
}

pub fn table(soaked: &Soaked, log: &Log, leaks: &Leaks, picture: &Picture, plan: &Plan) -> String {
    let joins = soaked.halts.last().map_or(0, |halt| halt.joins);
    let minutes = soaked.took.as_secs_f64() / 60.0;
    let mut text = format!(
        "{joins} joins in {minutes:.0} minutes, seed {}, {} viewers coming or going at a time and up to \
         {MOST_FROZEN} that have vanished,\n`perch run` with its embedded lobby, {}x{} at {} fps; \
         one watcher stays throughout. The halts are when only it is there.\n\n\
         | | |\n|---|---:|\n",
        plan.seed, plan.in_flight, picture.width, picture.height, picture.framerate,
    );
    let mut row = |what: &str, how: String| {
        let _ = writeln!(text, "| {what} | {how} |");
    };
    row(
        "memory's slope after the warm-up, KiB per 1000 joins",
        format!("{:.0}", growth(soaked)),
    );
    row(
        "longest gap of the watcher, ms",
        format!("{:.0}", soaked.watcher.longest_gap_ms),
    );
    row(
        "frames that the watcher saw",
        soaked.watcher.frames.to_string(),
    );
    row("good viewers that failed", soaked.errors.len().to_string());
    row(
        "criticals and warnings of GLib and GStreamer",
        log.criticals().to_string(),
    );
    row("GStreamer's ERROR lines", listed(&log.errors()));
    row(
        &format!(
            "objects that {} joins left behind (leaks tracer, {} alive)",
            leaks.joins, leaks.alive
        ),
        listed(&leaks.grown),
    );
    let first = Spread::of(soaked.first_keyframe_ms.iter().copied());
    row(
        "join to first keyframe, median / 95 % / longest, ms",
        format!("{:.0} / {:.0} / {:.0}", first.median, first.p95, first.max),
    );
    text.push_str("\n| joins | RSS, KiB | threads | descriptors |\n|---:|---:|---:|---:|\n");
    for halt in &soaked.halts {
        let usage = halt.usage;
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} |",
            halt.joins, usage.rss, usage.threads, usage.fds
        );
    }
    text.push_str("\n| how they ended, as the journal says | viewers |\n|---|---:|\n");
    for (reason, count) in log.ends() {
        let _ = writeln!(text, "| {reason} | {count} |");
    }
    text.push_str("\n| how they behaved | viewers |\n|---|---:|\n");
    for (conduct, count) in &soaked.by_conduct {
        let _ = writeln!(text, "| {conduct:?} | {count} |");
    }
    text
}

fn listed<N: std::fmt::Display>(counts: &BTreeMap<String, N>) -> String {
    if counts.is_empty() {
        return "0".to_owned();
    }
    let each: Vec<String> = counts
        .iter()
        .map(|(what, count)| format!("{what}: {count}"))
        .collect();
    each.join(", ")
}
