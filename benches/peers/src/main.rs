//! Measures Perch and its peers, one after the other in every run, and prints the tables as Markdown. Progress goes
//! to standard error.

use std::{env, path::PathBuf, sync::Arc};

use anyhow::{Context, Result};
use clap::Parser;
use peers::{
    hosts::{Contender, Programs, on_path},
    source::Clip,
    table::{Row, tables},
};
use swarm::{host::Picture, measure};

/// How many join at once, where the host carries that many.
const AT_ONCE: usize = 25;

#[derive(Parser)]
#[command(about = "Measures Perch and its peers in one run")]
struct Cli {
    /// The program, by default the `perch` beside this one
    #[arg(long, env = "PERCH_BIN")]
    perch: Option<PathBuf>,
    /// webrtcsink's host, by default the `webrtcsink-host` beside this one
    #[arg(long, env = "WEBRTCSINK_BIN")]
    webrtcsink: Option<PathBuf>,
    #[arg(long, value_delimiter = ',', default_value = "10,25,50,100")]
    sizes: Vec<usize>,
    /// How long each crowd is watched
    #[arg(long, default_value_t = 8.0)]
    seconds: f64,
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Only the hosts with this text in their names; may be given more than once
    #[arg(long)]
    only: Vec<String>,
}

// One thread for all viewers, as in the swarm: they shall take little from the host that they measure.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let cli = Cli::parse();
    let beside = env::current_exe()?;
    let programs = Programs {
        perch: cli.perch.unwrap_or_else(|| beside.with_file_name("perch")),
        floor: beside.with_file_name("floor"),
        janus: on_path("janus"),
        webrtcsink: cli
            .webrtcsink
            .unwrap_or_else(|| beside.with_file_name("webrtcsink-host")),
    };
    let picture = Picture {
        profile: "test".into(),
        width: 1280,
        height: 720,
        framerate: 30,
        bitrate: 2_000_000,
    };
    let wanted = |contender: &Contender| {
        let name = contender.name().to_lowercase();
        cli.only.is_empty()
            || cli
                .only
                .iter()
                .any(|text| name.contains(&text.to_lowercase()))
    };
    let wanted = Contender::ALL.into_iter().filter(wanted);
    let mut rows: Vec<(Contender, Row)> = wanted
        .map(|contender| (contender, row(contender, &programs)))
        .collect();
    eprintln!("recording the stream");
    let clip = Arc::new(Clip::record(&picture)?);
    for run in 1..=cli.runs {
        for (contender, row) in rows.iter_mut().filter(|(_, row)| row.failed.is_none()) {
            eprintln!("run {run} of {}: {}", cli.runs, row.name);
            let sizes = cli.sizes.iter().copied();
            let plan = measure::Plan {
                sizes: sizes.filter(|size| *size <= contender.most()).collect(),
                seconds: cli.seconds,
                at_once: AT_ONCE.min(contender.most()),
            };
            match one_run(*contender, &programs, &picture, &clip, &plan).await {
                Ok(measured) => row.runs.push(measured),
                // A peer that fails takes only its own row along.
                Err(error) if *contender != Contender::Perch => {
                    eprintln!("{}: {error:#}", row.name);
                    row.failed = Some(format!("failed in run {run}: {error:#}"));
                }
                Err(error) => return Err(error).context(row.name),
            }
        }
    }
    let rows: Vec<Row> = rows.into_iter().map(|(_, row)| row).collect();
    print!("{}", tables(&rows, &picture, cli.seconds, cli.runs));
    Ok(())
}

fn row(contender: Contender, programs: &Programs) -> Row {
    let missing = contender.missing(programs);
    Row {
        name: contender.name(),
        runs: Vec::new(),
        failed: missing.map(|missing| format!("not measured, {missing}")),
    }
}

async fn one_run(
    contender: Contender,
    programs: &Programs,
    picture: &Picture,
    clip: &Arc<Clip>,
    plan: &measure::Plan,
) -> Result<measure::Run> {
    let host = contender.start(programs, picture, clip).await?;
    measure::run(host.pid, &host.door, plan).await
}
