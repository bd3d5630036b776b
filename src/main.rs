//! Arguments, log, configuration, run, exit code.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::{Parser, Subcommand};
use perch::{
    app::{self, Mode},
    config::{Config, DemoOptions},
    telemetry,
};

#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Goes live and stays so.
    Run {
        #[arg(long)]
        config: Option<PathBuf>,
    },
    /// Shows a test picture on a lobby of its own.
    Demo,
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Run { config } => Config::load(config.as_deref()).map(|c| (c, Mode::Run)),
        Command::Demo => Config::demo(&DemoOptions::default()).map(|c| (c, Mode::Demo)),
    };
    let result = telemetry::init()
        .map_err(anyhow::Error::msg)
        .and_then(|()| Ok(outcome?))
        .and_then(|(config, mode)| runtime()?.block_on(app::run(config, mode)));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Two threads carry messages; what waits for GStreamer has a bounded number of its own.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(16)
        .thread_keep_alive(Duration::from_secs(5))
        .enable_all()
        .build()?)
}
