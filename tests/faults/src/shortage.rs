//! What the system runs out of.

use std::{
    ffi::OsString,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use swarm::host::Usage;
use tempfile::TempDir;

use crate::network::run;

/// Where systemd's and the program's own variables let it write. Its log is apart.
const PLACES: [&str; 4] = [
    "STATE_DIRECTORY",
    "RUNTIME_DIRECTORY",
    "CACHE_DIRECTORY",
    "TMPDIR",
];

/// A small disk; it goes when this is dropped.
pub struct Disk {
    at: PathBuf,
    // What it is mounted in goes last.
    _around: TempDir,
}

impl Disk {
    pub fn new() -> Result<Self> {
        let around = TempDir::with_prefix("perch-faults-disk-")?;
        let at = around.path().join("disk");
        fs::create_dir(&at)?;
        let place = at.to_str().context("the path is text")?;
        run(
            "mount",
            &["-t", "tmpfs", "-o", "size=256k", "perch-faults", place],
            "",
        )?;
        Ok(Self {
            at,
            _around: around,
        })
    }

    pub fn path(&self) -> &Path {
        &self.at
    }

    /// Has a program write on it.
    pub fn environment(&self) -> Vec<(String, OsString)> {
        PLACES
            .map(|name| (name.to_owned(), self.at.clone().into()))
            .into()
    }

    /// Writes until nothing more fits.
    pub fn fill(&self) -> Result<()> {
        let mut file = fs::File::create(self.at.join("full"))?;
        for size in [4096, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
        Ok(())
    }

    /// Makes room again.
    pub fn empty(&self) -> Result<()> {
        Ok(fs::remove_file(self.at.join("full"))?)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = run("umount", &["-l", &self.at.display().to_string()], "");
    }
}

/// A process with few file descriptors left.
pub struct FewDescriptors {
    pid: Pid,
    before: Rlimit,
}

impl FewDescriptors {
    /// It may open so many more than it has open now.
    pub fn leave(pid: Pid, more: u64) -> Result<Self> {
        let usage = Usage::of(pid.as_raw_nonzero().get().cast_unsigned())?;
        let limit = Rlimit {
            current: Some(usage.fds as u64 + more),
            maximum: getrlimit(Resource::Nofile).maximum,
        };
        let before = prlimit(Some(pid), Resource::Nofile, limit)?;
        Ok(Self { pid, before })
    }

    /// As many as before.
    pub fn end(self) -> Result<()> {
        prlimit(Some(self.pid), Resource::Nofile, self.before)?;
        Ok(())
    }
}
