//! Writes manual pages and shell completions of the command line's own definition:
//!
//! ```text
//! cargo run -p manual -- DIRECTORY
//! ```
//!
//! That definition is compiled in here by itself, without the program and so without GStreamer: these files
//! are made on the machine that builds, also where the program is built for another.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use clap::CommandFactory as _;
use clap_complete::Shell;

#[path = "../../../src/cli/arguments.rs"]
mod arguments;
#[path = "../../../src/config/duration.rs"]
mod duration;

const SHELLS: [Shell; 3] = [Shell::Bash, Shell::Zsh, Shell::Fish];

fn main() -> anyhow::Result<()> {
    let (Some(directory), None) = (env::args_os().nth(1), env::args_os().nth(2)) else {
        bail!("say into which directory");
    };
    let command = arguments::Arguments::command().version(env!("CARGO_PKG_VERSION"));
    let pages = made(&Path::new(&directory).join("man"))?;
    clap_mangen::generate_to(command.clone(), &pages)
        .with_context(|| format!("cannot write to {}", pages.display()))?;
    let completions = made(&Path::new(&directory).join("completions"))?;
    for shell in SHELLS {
        clap_complete::generate_to(shell, &mut command.clone(), "perch", &completions)
            .with_context(|| format!("cannot write to {}", completions.display()))?;
    }
    Ok(())
}

/// The directory, with nothing in it of an older command line.
fn made(path: &Path) -> anyhow::Result<PathBuf> {
    if path.exists() {
        fs::remove_dir_all(path).with_context(|| format!("cannot empty {}", path.display()))?;
    }
    fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))?;
    Ok(path.to_owned())
}
