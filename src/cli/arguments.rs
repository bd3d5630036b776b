//! What can be asked of the program. `packaging/manual` compiles this file by itself, to write the manual and the
//! completions of it: it takes nothing from the rest of the program but what it says here.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Parser, Subcommand};

use super::duration;

#[derive(Debug, Parser)]
#[command(
    name = "perch",
    about = "Streams a camera to every browser that asks, over WebRTC",
    after_help = "Exit codes: 0 done; 1 failed, may work when tried again; 2 wrong arguments; \
                  78 (run, demo) wrong configuration.\n\
                  PERCH_LOG=debug in the environment makes the log tell more."
)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Go live on the configured lobby and stay so until SIGTERM.
    Run(ConfigFile),
    /// Show a test picture on a lobby of its own; needs no configuration.
    Demo(Demo),
    /// Say what is wrong with the configuration or the installation, or else what `run` would do.
    Check(ConfigFile),
    /// List cameras and encoders, and tell which profile "auto" takes and why.
    Devices(ConfigFile),
    /// Look for what is wrong with this device, in order of what to mend first.
    Doctor(Examine),
    /// Show how the daemon that runs is: line, camera, viewers.
    Status(Ask),
    /// Print the watch link of the embedded lobby. It is a key to the picture.
    Link(ConfigFile),
    /// Mint a lobby token (JWT, HS256) and print it.
    Token(Token),
}

#[derive(Debug, clap::Args)]
pub struct ConfigFile {
    /// Configuration file; conf.d beside it is read as well [default: /etc/perch/perch.toml]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub struct Examine {
    #[command(flatten)]
    pub file: ConfigFile,
    /// Print one JSON object; docs/observe.md describes it
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, clap::Args)]
pub struct Ask {
    /// Print one JSON object; docs/observe.md describes it
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, clap::Args)]
pub struct Demo {
    /// Address and port of the lobby, such as 0.0.0.0:8080 for the whole network
    /// [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<SocketAddr>,
    /// Send sound, too
    #[arg(long)]
    pub audio: bool,
    /// Another profile than the test picture; "auto" shows the camera
    #[arg(long)]
    pub profile: Option<String>,
}

#[derive(Debug, clap::Args)]
pub struct Token {
    /// File with the secret that the lobby checks tokens with
    #[arg(long, value_name = "FILE")]
    pub secret_file: PathBuf,
    /// User id that the token carries
    #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub subject: String,
    /// How long it is valid, such as 90s, 30min, 2h or 7d
    #[arg(long, default_value = "2h", value_parser = duration::parse)]
    pub ttl: Duration,
}
