//! Whether there is room in the process for another branch: file descriptors and threads.
//!
//! GLib ends the process where it cannot make the pipe that wakes a main loop ("Creating pipes for
//! GWakeup: Too many open files") or the thread that runs one ("creating thread: Resource temporarily
//! unavailable"), and each branch has main loops: one viewer too many would take the picture from all. So a
//! branch is not opened near a limit.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

/// What a branch takes, and what is left alone of it.
#[derive(Debug)]
struct Kind {
    name: &'static str,
    branch: usize,
    reserve: usize,
}

/// Sockets of ICE, and what wakes a branch's main loops. Measured with one network interface. The rest is for the
/// line to the lobby, the log, the camera when it starts anew, and branches that have sockets on more interfaces.
const DESCRIPTORS: Kind = Kind {
    name: "file descriptors",
    branch: 10,
    reserve: 128,
};

/// Main loops and streaming threads, as measured. The rest is for the camera and the sound when they start anew, and
/// for what may wait on a thread of its own.
const THREADS: Kind = Kind {
    name: "threads",
    branch: 8,
    reserve: 40,
};

/// What is in use of a kind, and how much of it there may be.
#[derive(Debug, Clone, Copy)]
struct Usage {
    used: usize,
    limit: usize,
}

impl Kind {
    /// Whether as many branches as `taking` may still take theirs.
    fn suffices(&self, usage: Option<Usage>, taking: usize) -> Result<(), String> {
        let Some(Usage { used, limit }) = usage else {
            return Ok(());
        };
        let soon = taking * self.branch;
        if used + soon + self.reserve <= limit {
            return Ok(());
        }
        Err(format!(
            "{used} of {limit} {} are in use, {soon} are for viewers who are joining, and {} are kept free",
            self.name, self.reserve
        ))
    }
}

static ROOM: Room = Room(Mutex::new(0));

/// How many branches are still taking what they need.
#[derive(Debug)]
struct Room(Mutex<usize>);

/// Room for a branch. To be held until it has taken what it needs: before that nobody else sees that it is
/// spoken for.
#[derive(Debug)]
pub(super) struct Place(&'static Room);

impl Drop for Place {
    fn drop(&mut self) {
        let mut taking = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        *taking = taking.saturating_sub(1);
    }
}

/// Of descriptors and threads, where there are limits; or why nobody could look.
type Looked = Result<[Option<Usage>; 2], String>;

impl Room {
    /// Looks and takes in one step.
    fn place(&'static self, look: impl FnOnce() -> Looked) -> Result<Place, String> {
        let mut taking = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        suffices(look()?, *taking + 1)?;
        *taking += 1;
        Ok(Place(self))
    }

    /// Looks and takes nothing.
    fn another(&self, look: impl FnOnce() -> Looked) -> Result<(), String> {
        let taking = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        suffices(look()?, taking + 1)
    }
}

fn suffices([descriptors, threads]: [Option<Usage>; 2], taking: usize) -> Result<(), String> {
    DESCRIPTORS.suffices(descriptors, taking)?;
    THREADS.suffices(threads, taking)
}

/// A place for another branch, or what is in use where it might be one too many. What the kernel does not tell
/// is no reason to refuse anybody.
pub(super) fn place() -> Result<Place, String> {
    ROOM.place(look)
}

/// Whether there would be a place for another branch now, for whoever watches over the process.
pub fn for_another() -> Result<(), String> {
    ROOM.another(look)
}

fn look() -> Looked {
    let limits = match fs::read_to_string("/proc/self/limits") {
        // Not even one for the look itself.
        Err(error) if error.raw_os_error() == Some(TOO_MANY_OPEN) => {
            return Err(error.to_string());
        }
        limits => limits.unwrap_or_default(),
    };
    let open = fs::read_dir("/proc/self/fd").map(Iterator::count);
    let descriptors = open.ok().zip(soft_limit(&limits));
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    Ok([
        descriptors.map(|(used, limit)| Usage { used, limit }),
        tasks(Path::new("/sys/fs/cgroup"), &groups),
    ])
}

/// `EMFILE` (errno(3)).
const TOO_MANY_OPEN: i32 = 24;

/// The first number of the line `Max open files` (proc_pid_limits(5)); nothing where it is `unlimited`.
fn soft_limit(limits: &str) -> Option<usize> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The threads of our control group, or of the one above it that has the least left. `groups` is as in
/// `/proc/self/cgroup` (cgroups(7)). A service's `TasksMax=` is in the one hierarchy of version 2, or in that of the
/// controller `pids` where the system was started with version 1.
fn tasks(root: &Path, groups: &str) -> Option<Usage> {
    let number = |file: &Path| -> Option<usize> {
        // `max` is no number, and no limit.
        fs::read_to_string(file).ok()?.trim().parse().ok()
    };
    let own: Vec<PathBuf> = groups
        .lines()
        .filter_map(|line| {
            let (_, named) = line.split_once(':')?;
            match named.split_once(":/")? {
                ("", group) => Some(root.join(group)),
                ("pids", group) => Some(root.join("pids").join(group)),
                _ => None,
            }
        })
        .collect();
    own.iter()
        .flat_map(|own| own.ancestors())
        .filter(|group| group.starts_with(root))
        .filter_map(|group| {
            let limit = number(&group.join("pids.max"))?;
            let used = number(&group.join("pids.current"))?;
            Some(Usage { used, limit })
        })
        .min_by_key(|usage| usage.limit.saturating_sub(usage.used))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn usage(used: usize, limit: usize) -> Option<Usage> {
        Some(Usage { used, limit })
    }

    #[test]
    fn branches_that_open_at_the_same_moment_do_not_share_a_place() {
        static ROOM: Room = Room(Mutex::new(0));
        // Nobody has taken a descriptor yet.
        let limit = 24 + DESCRIPTORS.reserve + 2 * DESCRIPTORS.branch;
        let look = || Ok([usage(24, limit), None]);
        let one = ROOM.place(look).expect("there is room for two");
        let _two = ROOM.place(look).expect("there is room for two");
        let why = ROOM.place(look).expect_err("there is no room for a third");
        assert!(why.starts_with("24 of 172 file descriptors"), "{why}");
        assert_eq!(ROOM.another(look), Err(why));
        drop(one);
        assert_eq!(ROOM.another(look), Ok(()));
        let _three = ROOM.place(look).expect("looking takes nothing");

        assert!(ROOM.place(|| Err("no look".to_owned())).is_err());
        ROOM.place(|| Ok([None, None])).expect("there is no limit");
    }

    #[test]
    fn there_is_no_room_near_the_limit_of_threads() {
        static ROOM: Room = Room(Mutex::new(0));
        let limit = 20 + THREADS.reserve + THREADS.branch;
        let look = || Ok([None, usage(20, limit)]);
        let _one = ROOM.place(look).expect("there is room for one");
        let why = ROOM.place(look).expect_err("there is no room for two");
        assert!(why.starts_with("20 of 68 threads are in use"), "{why}");
    }

    #[test]
    fn the_group_with_the_least_left_counts() {
        let root = tempfile::tempdir().expect("a directory");
        let group = root.path().join("system.slice/perch.service");
        fs::create_dir_all(&group).expect("it is ours");
        let write = |group: &Path, used: &str, limit: &str| {
            fs::write(group.join("pids.current"), used).expect("it is ours");
            fs::write(group.join("pids.max"), limit).expect("it is ours");
        };
        let groups = "1:name=systemd:/\n0::/system.slice/perch.service\n";
        let left = || tasks(root.path(), groups).map(|usage| (usage.used, usage.limit));
        assert_eq!(left(), None, "nothing is told");
        write(&group, "31\n", "1024\n");
        assert_eq!(left(), Some((31, 1024)));
        write(&root.path().join("system.slice"), "900\n", "1000\n");
        assert_eq!(left(), Some((900, 1000)));
        write(&root.path().join("system.slice"), "900\n", "max\n");
        assert_eq!(left(), Some((31, 1024)));

        // The controllers apart, as version 1 has them.
        let groups = "4:pids:/x/y\n3:cpu,cpuacct:/system.slice\n0::/nothing\n";
        assert!(tasks(root.path(), groups).is_none());
        let group = root.path().join("pids/x");
        fs::create_dir_all(group.join("y")).expect("it is ours");
        write(&group, "60\n", "64\n");
        write(&group.join("y"), "12\n", "max\n");
        let left = tasks(root.path(), groups).map(|usage| (usage.used, usage.limit));
        assert_eq!(left, Some((60, 64)));
    }

    #[test]
    fn the_limit_is_the_soft_one() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units\n\
                      Max processes             95000                95000                processes\n\
                      Max open files            1024                 524288               files\n";
        assert_eq!(soft_limit(limits), Some(1024));
        let unlimited = limits.replace("1024  ", "unlimited");
        assert_eq!(soft_limit(&unlimited), None);
        assert_eq!(soft_limit(""), None);
    }
}
