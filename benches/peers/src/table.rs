//! What was measured, as Markdown.

use std::fmt::Write as _;

use swarm::{
    host::{Picture, Usage},
    measure::{Cost, Run},
    stats::{Spread, median},
};

/// One host's runs.
pub struct Row {
    pub name: &'static str,
    pub runs: Vec<Run>,
    /// Why it is not measured, or not any more.
    pub failed: Option<String>,
}

/// The table of what viewers cost, and that of how long they wait.
pub fn tables(rows: &[Row], picture: &Picture, seconds: f64, runs: usize) -> String {
    let mut text = format!(
        "{}x{} at {} fps and {:.1} Mbit/s of H.264 to every viewer, each figure the median of {runs} runs of {seconds} s, in which the hosts took\n\
         turns. CPU, memory and threads are those of the host's process alone; a viewer's CPU is what it adds to the same host without\n\
         viewers, with its range over the runs; per packet it says something even where a busy machine lets frames fall out. [peers/README.md](peers/README.md) says how each is set up.\n\n\
         | host | viewers | core-ms per second and viewer | µs per packet | RSS, MB | threads | frames/s | to the worst off | Mbit/s to each | packets lost |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n",
        picture.width,
        picture.height,
        picture.framerate,
        f64::from(picture.bitrate) / 1e6,
    );
    let measured = || rows.iter().filter(|row| !row.runs.is_empty());
    for row in measured() {
        costs(&mut text, row);
    }
    text.push_str(
        "\n| host | join to first keyframe, alone, median / p95, ms | 10, one every 100 ms | at once |\n|---|---:|---:|---:|\n",
    );
    for row in measured() {
        waits(&mut text, row);
    }
    faults(&mut text, rows);
    text
}

fn costs(text: &mut String, row: &Row) {
    let of_runs = |figure: &dyn Fn(&Run) -> f64| median(row.runs.iter().map(figure));
    let mb = |usage: &Usage| usage.rss as f64 / 1024.0;
    let _ = writeln!(
        text,
        "| {} | 0 | (all of it: {:.0}) | | {:.0} | {} | | | | |",
        row.name,
        of_runs(&|run| run.idle_ms),
        of_runs(&|run| mb(&run.idle)),
        of_runs(&|run| run.idle.threads as f64),
    );
    for (index, Cost { size, .. }) in row.runs[0].costs.iter().enumerate() {
        let cost = |figure: fn(&Cost) -> f64| of_runs(&|run| figure(&run.costs[index]));
        let core_ms = || row.runs.iter().map(|run| run.costs[index].core_ms);
        let _ = writeln!(
            text,
            "| | {size} | {:.1} ({:.1} to {:.1}) | {:.0} | {:.0} | {} | {:.1} | {:.1} | {:.2} | {} |",
            cost(|c| c.core_ms),
            core_ms().fold(f64::INFINITY, f64::min),
            core_ms().fold(f64::NEG_INFINITY, f64::max),
            cost(micros_per_packet),
            of_runs(&|run| mb(&run.costs[index].usage)),
            cost(|c| c.usage.threads as f64),
            cost(|c| c.fps),
            cost(|c| c.worst_fps),
            cost(|c| c.mbit),
            cost(|c| c.lost as f64),
        );
    }
}

fn micros_per_packet(cost: &Cost) -> f64 {
    match cost.packets > 0.0 {
        true => cost.core_ms * 1000.0 / cost.packets,
        false => 0.0,
    }
}

fn waits(text: &mut String, row: &Row) {
    let _ = write!(text, "| {} |", row.name);
    for (index, wait) in row.runs[0].waits.iter().enumerate() {
        let size = match wait.crowd.strip_suffix(" at once") {
            Some(size) => format!("{size}: "),
            None => String::new(),
        };
        let middle = |of: fn(&Spread) -> f64| {
            let times = row.runs.iter().map(|run| of(&run.waits[index].times));
            median(times)
        };
        let _ = write!(
            text,
            " {size}{:.0} / {:.0} |",
            middle(|times| times.median),
            middle(|times| times.p95)
        );
    }
    text.push('\n');
}

/// Hosts that are missing or failed, viewers who got no picture, and what hosts kept of those who had left.
fn faults(text: &mut String, rows: &[Row]) {
    let mut lines = Vec::new();
    for row in rows {
        let faults = row.runs.iter().flat_map(|run| &run.faults);
        lines.extend(
            faults
                .chain(&row.failed)
                .map(|fault| format!("- {}: {fault}\n", row.name)),
        );
    }
    if !lines.is_empty() {
        text.push('\n');
        text.extend(lines);
    }
}

#[cfg(test)]
mod tests {
    use swarm::measure::Wait;

    use super::*;

    fn run(core_ms: f64, median: f64) -> Run {
        let usage = Usage::of(std::process::id()).unwrap();
        Run {
            idle: usage,
            idle_ms: 7.0,
            costs: vec![Cost {
                size: 10,
                core_ms,
                usage,
                mbit: 2.0,
                packets: 240.0,
                worst_fps: 29.0,
                fps: 30.0,
                lost: 4,
                longest_gap_ms: 50.0,
                swarm_ms: 30.0,
            }],
            waits: vec![Wait {
                crowd: "25 at once".into(),
                times: Spread {
                    count: 25,
                    median,
                    p95: 90.0,
                    max: 91.0,
                },
            }],
            faults: vec![],
        }
    }

    #[test]
    fn figures_are_the_middle_of_the_runs_with_their_range() {
        let row = Row {
            name: "host",
            runs: vec![run(5.0, 40.0), run(9.0, 60.0), run(6.0, 50.0)],
            failed: None,
        };
        let text = tables(&[row], &Picture::small(), 8.0, 3);
        assert!(text.contains("| | 10 | 6.0 (5.0 to 9.0) | 25 |"), "{text}");
        assert!(text.contains("| 30.0 | 29.0 | 2.00 | 4 |"), "{text}");
        assert!(text.contains("| host | 25: 50 / 90 |"), "{text}");
        assert!(!text.contains("- host"), "{text}");
    }

    #[test]
    fn who_is_missing_or_fails_is_named_below() {
        let mut lame = run(5.0, 40.0);
        lame.faults.push("10 viewers: 1 of 10 failed".into());
        let rows = [
            Row {
                name: "absent",
                runs: vec![],
                failed: Some("not measured, there is no janus".into()),
            },
            Row {
                name: "lame",
                runs: vec![lame],
                failed: None,
            },
        ];
        let text = tables(&rows, &Picture::small(), 8.0, 1);
        assert!(!text.contains("| absent |"), "{text}");
        let end =
            "\n\n- absent: not measured, there is no janus\n- lame: 10 viewers: 1 of 10 failed\n";
        assert!(text.ends_with(end), "{text}");
    }
}
