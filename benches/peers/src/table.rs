//! What was measured, as Markdown.

use std::fmt::Write as _;

use swarm::{
    host::{Picture, Usage},
    measure::{Cost, Run},
    stats::median,
};

/// One host's runs.
pub struct Row {
    pub name: &'static str,
    pub runs: Vec<Run>,
}

/// The table of what viewers cost, and that of how long they wait.
pub fn tables(rows: &[Row], picture: &Picture, seconds: f64, runs: usize) -> String {
    let mut text = format!(
        "{}x{} at {} fps and {:.1} Mbit/s of H.264 to every viewer, each figure the median of {runs} runs of {seconds} s, in which the hosts took\n\
         turns. CPU, memory and threads are those of the host's process alone; a viewer's CPU is what it adds to the same host without\n\
         viewers, with its range over the runs. [peers/README.md](peers/README.md) says how each is set up.\n\n\
         | host | viewers | core-ms per second and viewer | RSS, MB | threads | frames/s | to the worst off | Mbit/s to each | packets lost |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|---:|\n",
        picture.width,
        picture.height,
        picture.framerate,
        f64::from(picture.bitrate) / 1e6,
    );
    for row in rows {
        costs(&mut text, row);
    }
    text.push_str(
        "\n| host | join to first keyframe, alone, median / p95, ms | 10, one every 100 ms | at once |\n|---|---:|---:|---:|\n",
    );
    for row in rows {
        let _ = write!(text, "| {} |", row.name);
        let waits = row.runs.first().map_or(&[][..], |run| &run.waits);
        for (index, wait) in waits.iter().enumerate() {
            let of =
                |figure: fn(&Run, usize) -> f64| median(row.runs.iter().map(|r| figure(r, index)));
            let _ = write!(
                text,
                " {}{:.0} / {:.0} |",
                wait.crowd
                    .strip_suffix(" at once")
                    .map_or(String::new(), |size| format!("{size}: ")),
                of(|run, index| run.waits[index].times.median),
                of(|run, index| run.waits[index].times.p95),
            );
        }
        text.push('\n');
    }
    faults(&mut text, rows);
    text
}

fn costs(text: &mut String, row: &Row) {
    let of_runs = |figure: &dyn Fn(&Run) -> f64| median(row.runs.iter().map(figure));
    let mb = |usage: &Usage| usage.rss as f64 / 1024.0;
    let _ = writeln!(
        text,
        "| {} | 0 | (all of it: {:.0}) | {:.0} | {} | | | | |",
        row.name,
        of_runs(&|run| run.idle_ms),
        of_runs(&|run| mb(&run.idle)),
        of_runs(&|run| run.idle.threads as f64),
    );
    let sizes = row.runs.first().map_or(&[][..], |run| &run.costs);
    for (index, Cost { size, .. }) in sizes.iter().enumerate() {
        let cost = |figure: fn(&Cost) -> f64| of_runs(&|run| figure(&run.costs[index]));
        let core_ms = || row.runs.iter().map(|run| run.costs[index].core_ms);
        let _ = writeln!(
            text,
            "| | {size} | {:.1} ({:.1} to {:.1}) | {:.0} | {} | {:.1} | {:.1} | {:.2} | {} |",
            cost(|c| c.core_ms),
            core_ms().fold(f64::INFINITY, f64::min),
            core_ms().fold(f64::NEG_INFINITY, f64::max),
            of_runs(&|run| mb(&run.costs[index].usage)),
            cost(|c| c.usage.threads as f64),
            cost(|c| c.fps),
            cost(|c| c.worst_fps),
            cost(|c| c.mbit),
            cost(|c| c.lost as f64),
        );
    }
}

/// Viewers who got no picture, and what hosts kept of those who had left.
fn faults(text: &mut String, rows: &[Row]) {
    let faults = rows.iter().flat_map(|row| {
        row.runs
            .iter()
            .flat_map(|run| &run.faults)
            .map(|f| (row.name, f))
    });
    for (index, (name, fault)) in faults.enumerate() {
        text.push_str(if index == 0 { "\n" } else { "" });
        let _ = writeln!(text, "- {name}: {fault}");
    }
}
