//! Whether there are file descriptors left for another branch.
//!
//! GLib ends the process where it cannot make the pipe that wakes a main loop ("Creating pipes for
//! GWakeup: Too many open files"), and each branch has main loops: one viewer too many would take the
//! picture from all. So a branch is not opened near the limit.

use std::{
    fs,
    sync::{Mutex, PoisonError},
};

/// What a branch takes: sockets of ICE, and what wakes its main loops. Measured with one network interface.
const BRANCH: usize = 10;
/// Left alone: for the line to the lobby, the log, the camera when it starts anew, and branches that have
/// sockets on more interfaces.
const RESERVE: usize = 128;

static ROOM: Room = Room(Mutex::new(0));

/// How many branches are still taking their descriptors.
#[derive(Debug)]
struct Room(Mutex<usize>);

/// Room for a branch's descriptors. To be held until it has taken them: before that nobody else sees
/// that they are spoken for.
#[derive(Debug)]
pub(super) struct Place(&'static Room);

impl Drop for Place {
    fn drop(&mut self) {
        let mut taking = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        *taking = taking.saturating_sub(1);
    }
}

impl Room {
    /// Looks and takes in one step. `look` tells how many descriptors are in use, and the limit if there is one.
    fn place(
        &'static self,
        look: impl FnOnce() -> Result<Option<(usize, usize)>, String>,
    ) -> Result<Place, String> {
        let mut taking = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        another(*taking, look()?)?;
        *taking += 1;
        Ok(Place(self))
    }

    /// Looks and takes nothing.
    fn another(
        &self,
        look: impl FnOnce() -> Result<Option<(usize, usize)>, String>,
    ) -> Result<(), String> {
        let taking = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        another(taking, look()?)
    }
}

/// Whether another branch fits while `taking` of them are taking their descriptors.
fn another(taking: usize, seen: Option<(usize, usize)>) -> Result<(), String> {
    let soon = (taking + 1) * BRANCH;
    match seen {
        Some((open, limit)) if open + soon + RESERVE > limit => Err(format!(
            "{open} of {limit} file descriptors are in use, {soon} are for viewers who are joining, and {RESERVE} \
             are kept free"
        )),
        _ => Ok(()),
    }
}

/// A place for another branch, or how many descriptors are in use where it might be one too many. What
/// `/proc` does not tell is no reason to refuse anybody.
pub(super) fn place() -> Result<Place, String> {
    ROOM.place(look)
}

/// Whether there would be a place for another branch now, for whoever watches over the process.
pub fn room_for_another() -> Result<(), String> {
    ROOM.another(look)
}

/// How many are in use, and the limit.
fn look() -> Result<Option<(usize, usize)>, String> {
    let limits = match fs::read_to_string("/proc/self/limits") {
        // Not even one for the look itself.
        Err(error) if error.raw_os_error() == Some(TOO_MANY_OPEN) => {
            return Err(error.to_string());
        }
        limits => limits.unwrap_or_default(),
    };
    let open = fs::read_dir("/proc/self/fd").map(Iterator::count);
    Ok(open.ok().zip(soft_limit(&limits)))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branches_that_open_at_the_same_moment_do_not_share_a_place() {
        static ROOM: Room = Room(Mutex::new(0));
        // Nobody has taken a descriptor yet.
        let look = || Ok(Some((24, 24 + RESERVE + 2 * BRANCH)));
        let one = ROOM.place(look).expect("there is room for two");
        let _two = ROOM.place(look).expect("there is room for two");
        let why = ROOM.place(look).expect_err("there is no room for a third");
        assert!(why.starts_with("24 of 172 file descriptors"), "{why}");
        assert_eq!(ROOM.another(look), Err(why));
        drop(one);
        assert_eq!(ROOM.another(look), Ok(()));
        let _three = ROOM.place(look).expect("looking takes nothing");

        assert!(ROOM.place(|| Err("no look".to_owned())).is_err());
        ROOM.place(|| Ok(None)).expect("there is no limit");
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
