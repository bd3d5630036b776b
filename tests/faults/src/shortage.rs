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

/// Room for GStreamer's list of plugins and little else.
const SIZE: &str = "8m";
const FILES: &str = "64";
/// What fills it.
const FULL: &str = "full";

/// A small disk; it goes when this is dropped.
///
/// It is full when it has room for no byte and for no further file: each alone stops something else.
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
        let options = format!("size={SIZE},nr_inodes={FILES}");
        run(
            "mount",
            &["-t", "tmpfs", "-o", &options, "perch-faults", place],
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
        let full = self.at.join(FULL);
        fs::create_dir(&full)?;
        let mut file = fs::File::create(full.join("bytes"))?;
        for size in [4096, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
        let mut names = (0..).map(|number| full.join(format!("file{number}")));
        while names
            .next()
            .is_some_and(|name| fs::File::create(name).is_ok())
        {}
        Ok(())
    }

    /// Makes room again.
    pub fn empty(&self) -> Result<()> {
        Ok(fs::remove_dir_all(self.at.join(FULL))?)
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

/// Where control groups limit threads: with the controllers apart (version 1), or in one hierarchy (version 2).
const GROUPS: [&str; 2] = ["/sys/fs/cgroup/pids", "/sys/fs/cgroup"];

/// The topmost control group whose children can limit threads.
fn topmost() -> Option<&'static Path> {
    GROUPS.map(Path::new).into_iter().find(|group| {
        let controllers = fs::read_to_string(group.join("cgroup.subtree_control"));
        match controllers {
            Ok(controllers) => controllers.split_whitespace().any(|name| name == "pids"),
            Err(_) => group.ends_with("pids") && group.join("cgroup.procs").exists(),
        }
    })
}

pub fn can_limit_threads() -> bool {
    topmost().is_some()
}

/// A process that gets no thread any more, nor one for another that ends, by its control group: as where whoever
/// shares a service's slice has taken all.
pub struct NoThreads {
    group: PathBuf,
    /// Where the process was, and is again once this is dropped.
    former: PathBuf,
}

impl NoThreads {
    pub fn begin(pid: Pid) -> Result<Self> {
        let top = topmost().context("no control group can limit threads")?;
        let pid = pid.as_raw_nonzero();
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
        let former = group_below(top, &groups).context("the process is in no such group")?;
        let group = top.join(format!("perch-faults-{pid}"));
        fs::create_dir(&group)?;
        let none = Self { group, former };
        fs::write(none.group.join("cgroup.procs"), pid.to_string())?;
        fs::write(none.group.join("pids.max"), "0")?;
        Ok(none)
    }

    /// As many as before.
    pub fn end(self) -> Result<()> {
        Ok(fs::write(self.group.join("pids.max"), "max")?)
    }
}

impl Drop for NoThreads {
    fn drop(&mut self) {
        // A process that has ended is in no group any more.
        let members = fs::read_to_string(self.group.join("cgroup.procs")).unwrap_or_default();
        for member in members.lines() {
            let _ = fs::write(self.former.join("cgroup.procs"), member);
        }
        let _ = fs::remove_dir(&self.group);
    }
}

/// The directory of the group that `groups`, as in `/proc/self/cgroup` (cgroups(7)), names of this hierarchy.
fn group_below(top: &Path, groups: &str) -> Option<PathBuf> {
    let controllers = if top.ends_with("pids") {
        ":pids:/"
    } else {
        "0::/"
    };
    let named = groups.lines().find_map(|line| line.split_once(controllers));
    named.map(|(_, group)| top.join(group))
}
