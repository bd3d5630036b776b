//! The faults, each with what a viewer may notice of it.

mod camera;
mod line;
mod network;
mod process;
mod viewers;

use std::{process::Command, time::Duration};

use anyhow::Result;
use futures_util::future::BoxFuture;

use crate::{
    shortage,
    stage::{Outcome, World},
};

/// For what a loaded machine does in its own time.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Longer than a scenario takes on a busy machine.
const SCENARIO_PATIENCE: Duration = Duration::from_secs(240);

/// A picture that no fault touches stands still for less than this, on a busy machine too.
const UNTOUCHED: Duration = Duration::from_millis(3000);

pub type Run = Box<dyn for<'a> Fn(&'a World) -> BoxFuture<'a, Result<Outcome>>>;

/// What a scenario asks of the machine, besides a lobby.
pub enum Needs {
    Nothing,
    /// For networks and disks of its own.
    Root,
    /// To limit a process' threads.
    ControlGroup,
}

/// A fault.
pub struct Scenario {
    /// Also the name of its log.
    pub name: &'static str,
    /// For the table.
    pub fault: String,
    /// The longest time without a new frame that a viewer may see.
    pub most_gap: Duration,
    /// From the fault's end until those who watch and those who come have a picture.
    pub well_within: Duration,
    pub needs: Needs,
    /// One that hangs is a failure like another.
    pub patience: Duration,
    pub run: Run,
}

impl Scenario {
    /// What this machine lacks for it.
    pub fn lacks(&self) -> Option<&'static str> {
        let works = |program: &str| Command::new(program).arg("--version").output().is_ok();
        if !works("node") {
            return Some("node");
        }
        let root = rustix::process::geteuid().is_root();
        match self.needs {
            Needs::Nothing => None,
            Needs::Root if !root => Some("root, for networks and disks of its own"),
            Needs::Root if !works("nft") => Some("nft (apt-get install nftables)"),
            Needs::Root => None,
            Needs::ControlGroup if !root || !shortage::can_limit_threads() => {
                Some("root, and control groups with the pids controller")
            }
            Needs::ControlGroup => None,
        }
    }
}

pub fn all() -> Vec<Scenario> {
    let mut all = line::scenarios();
    all.extend(camera::scenarios());
    all.extend(viewers::scenarios());
    all.extend(network::scenarios());
    all.extend(process::scenarios());
    all
}

/// Those that take minutes, whatever the machine.
pub fn long() -> Vec<Scenario> {
    camera::long_scenarios()
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
