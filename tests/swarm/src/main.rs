//! Viewers for tests and benchmarks, on the command line. Reports are JSON on standard output.

use std::{env, net::IpAddr, path::PathBuf, time::Duration};

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};
use serde_json::json;
use swarm::{
    bench,
    churn::{BROKEN, Plan, churn},
    clock,
    crowd::{Crowd, Door, Watching},
    host::{Picture, perch_beside},
    idle,
    measure::Repeats,
    parts, soak, threads,
    tokens::Tokens,
    viewer::Conduct,
};
use tokio::time::sleep;
use url::Url;

#[derive(Parser)]
#[command(about = "Cheap WebRTC viewers for tests and benchmarks")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Let viewers join and watch, then report what they saw
    Watch {
        #[command(flatten)]
        door: DoorArgs,
        #[arg(long, default_value_t = 1)]
        viewers: usize,
        /// How long to watch once everybody has a picture
        #[arg(long, default_value_t = 10.0)]
        seconds: f64,
        /// Milliseconds from one join to the next
        #[arg(long, default_value_t = 0)]
        spacing: u64,
    },
    /// Let viewers come and go, a third of them broken off half-way, beside one that stays
    Churn {
        #[command(flatten)]
        door: DoorArgs,
        #[arg(long, default_value_t = 300)]
        joins: usize,
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Mean time from one join to the next, in milliseconds
        #[arg(long, default_value_t = 150)]
        spacing: u64,
        /// How those behave who break off; all ways without it
        #[arg(long)]
        broken: Vec<Conduct>,
    },
    /// Measure what viewers cost a host that is started for it, as Markdown
    Bench {
        /// The program to measure, by default the `perch` beside this one
        #[arg(long, env = "PERCH_BIN")]
        perch: Option<PathBuf>,
        #[arg(long, value_delimiter = ',', default_value = "1,10,25,50")]
        sizes: Vec<usize>,
        /// How long each crowd is watched
        #[arg(long, default_value_t = 10.0)]
        seconds: f64,
        #[arg(long, default_value_t = 3)]
        runs: usize,
    },
    /// Measure what each part of webrtcbin that is replaced saves, as Markdown
    Parts {
        /// The program to measure, by default the `perch` beside this one
        #[arg(long, env = "PERCH_BIN")]
        perch: Option<PathBuf>,
        #[command(flatten)]
        repeats: Repeats,
    },
    /// Measure which threads a viewer has and what each takes, as Markdown
    Threads {
        /// The program to measure, by default the `perch` beside this one
        #[arg(long, env = "PERCH_BIN")]
        perch: Option<PathBuf>,
        #[command(flatten)]
        repeats: Repeats,
    },
    /// Measure what a host takes while nobody watches and how long the first viewer waits, by `[camera] idle`, as
    /// Markdown
    Idle {
        /// The program to measure, by default the `perch` beside this one
        #[arg(long, env = "PERCH_BIN")]
        perch: Option<PathBuf>,
        /// How long nobody watches
        #[arg(long, default_value_t = 30.0)]
        seconds: f64,
        /// How many first viewers
        #[arg(long, default_value_t = 7)]
        viewers: usize,
    },
    /// Let thousands come and go on a host that is started for it, and see what it keeps of them
    Soak {
        /// The program to soak, by default the `perch` beside this one
        #[arg(long, env = "PERCH_BIN")]
        perch: Option<PathBuf>,
        #[arg(long, env = "SOAK_JOINS", default_value_t = 10_000)]
        joins: usize,
        /// End at the next halt after this time, whatever is left of the joins
        #[arg(long, env = "SOAK_HOURS", default_value_t = 24.0)]
        hours: f64,
        /// A fresh one without it; it is printed
        #[arg(long, env = "SOAK_SEED")]
        seed: Option<u64>,
        #[arg(long, default_value_t = 10)]
        in_flight: usize,
        /// Joins from one halt to the next
        #[arg(long, default_value_t = 1000)]
        every: usize,
    },
    /// Serve a picture that tells the time, for measuring latency
    ClockCamera {
        /// Where GStreamer's shmsrc shall look for it
        #[arg(long)]
        socket: PathBuf,
        #[arg(long, default_value_t = 1280)]
        width: usize,
        #[arg(long, default_value_t = 720)]
        height: usize,
    },
}

#[derive(Args)]
struct DoorArgs {
    /// The lobby's address (http or ws)
    #[arg(long)]
    lobby: Url,
    /// A token for all viewers, in a file; without this and --secret-file, from SWARM_TOKEN
    #[arg(long, conflicts_with = "secret_file")]
    token_file: Option<PathBuf>,
    /// The lobby's HS256 secret, in a file: every viewer gets a token of its own
    #[arg(long)]
    secret_file: Option<PathBuf>,
    /// The local address to receive on, by default that of the default route's interface
    #[arg(long)]
    address: Option<IpAddr>,
}

impl DoorArgs {
    fn open(self) -> Result<Door> {
        let tokens = match (&self.secret_file, &self.token_file) {
            (Some(path), _) => Tokens::from_secret_file(path)?,
            (None, Some(path)) => Tokens::from_token_file(path)?,
            (None, None) => Tokens::Shared(env::var("SWARM_TOKEN").context(
                "no token: give --secret-file, --token-file or the environment's SWARM_TOKEN",
            )?),
        };
        Door::new(self.lobby, tokens, self.address)
    }
}

// One thread for all viewers: they shall take little from the host that they measure.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Watch {
            door,
            viewers,
            seconds,
            spacing,
        } => {
            let mut crowd =
                Crowd::join(&door.open()?, viewers, Duration::from_millis(spacing)).await?;
            crowd.pictures().await;
            sleep(Duration::from_secs_f64(seconds)).await;
            let report = crowd.leave().await?;
            println!("{}", serde_json::to_string_pretty(&report)?);
            report.all_well()?;
        }
        Command::Churn {
            door,
            joins,
            seed,
            spacing,
            broken,
        } => {
            let plan = Plan {
                joins,
                seed,
                spacing: Duration::from_millis(spacing),
                linger: Duration::from_secs(10),
                broken: match broken.len() {
                    0 => BROKEN.to_vec(),
                    _ => broken,
                },
            };
            run_churn(&door.open()?, &plan).await?;
        }
        Command::Bench {
            perch,
            sizes,
            seconds,
            runs,
        } => {
            let perch = program(perch)?;
            let plan = bench::Plan {
                sizes,
                seconds,
                runs,
            };
            print!(
                "{}",
                bench::bench(&perch, &measured_picture(), &plan).await?
            );
        }
        Command::Parts { perch, repeats } => {
            let perch = program(perch)?;
            let table = parts::parts(&perch, &measured_picture(), &repeats).await?;
            print!("{table}");
        }
        Command::Threads { perch, repeats } => {
            let perch = program(perch)?;
            let table = threads::threads(&perch, &measured_picture(), &repeats).await?;
            print!("{table}");
        }
        Command::Idle {
            perch,
            seconds,
            viewers,
        } => {
            let perch = program(perch)?;
            let plan = idle::Plan { seconds, viewers };
            print!(
                "{}",
                idle::measure(&perch, &measured_picture(), &plan).await?
            );
        }
        Command::Soak {
            perch,
            joins,
            hours,
            seed,
            in_flight,
            every,
        } => {
            let plan = soak::Plan {
                joins,
                at_most: Duration::from_secs_f64(hours * 3600.0),
                seed: seed.unwrap_or_else(rand::random),
                in_flight,
                every,
            };
            run_soak(perch, &plan).await?;
        }
        Command::ClockCamera {
            socket,
            width,
            height,
        } => clock::run(&socket, width, height)?,
    }
    Ok(())
}

/// What figures are given for.
fn measured_picture() -> Picture {
    Picture {
        profile: "test".into(),
        width: 1280,
        height: 720,
        framerate: 30,
        bitrate: 2_000_000,
    }
}

fn program(given: Option<PathBuf>) -> Result<PathBuf> {
    match given {
        Some(perch) => Ok(perch),
        None => perch_beside(&env::current_exe()?),
    }
}

async fn run_soak(perch: Option<PathBuf>, plan: &soak::Plan) -> Result<()> {
    eprintln!("seed {}", plan.seed);
    let picture = Picture {
        framerate: 15,
        ..Picture::small()
    };
    let (table, broken) = soak::soak(&program(perch)?, &picture, plan).await?;
    print!("{table}");
    if !broken.is_empty() {
        bail!("seed {}: {}", plan.seed, broken.join("; "));
    }
    Ok(())
}

async fn run_churn(door: &Door, plan: &Plan) -> Result<()> {
    let mut watcher = Watching::start(door.arrive(0, Conduct::Stays).await?);
    if !watcher.picture().await {
        let (report, _) = watcher.end().await?;
        bail!(
            "the watcher got no picture: {}",
            report.error.unwrap_or_default()
        );
    }
    let churned = churn(door, plan, 1, |_| {}).await?;
    watcher.stop();
    let (watcher, _) = watcher.end().await?;
    println!(
        "{}",
        serde_json::to_string_pretty(&json!({ "churn": churned, "watcher": watcher }))?
    );
    if churned.failed > 0 || watcher.error.is_some() {
        bail!("{} of {} viewers failed", churned.failed, churned.joins);
    }
    Ok(())
}
