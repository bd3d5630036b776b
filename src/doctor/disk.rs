//! The directories that are written to.

use std::{
    env,
    path::{Path, PathBuf},
};

use rustix::fs::{Access, access, statvfs};
use tokio::task::spawn_blocking;

use super::{Finding, account::Account};

const CHECK: &str = "disk";
/// Keys and the plugins' registry are a few hundred kilobytes.
const TOO_LITTLE: u64 = 16 << 20;
const LITTLE: u64 = 128 << 20;

pub(super) async fn examine() -> Vec<Finding> {
    let account = Account::of_service().await;
    let looked = spawn_blocking(move || {
        let state = account.state_dir();
        let cache =
            env::var_os("CACHE_DIRECTORY").map_or_else(|| "/var/cache/perch".into(), PathBuf::from);
        // Without systemd there is no cache of our own.
        let cache = Some(cache).filter(|cache| cache.exists());
        [state, cache]
            .into_iter()
            .flatten()
            .map(|directory| directory_finding(&directory, &account))
            .collect()
    });
    looked.await.unwrap_or_default()
}

/// Only of the service's own directories is it known whose they should be.
fn mend(directory: &Path, user: &str) -> String {
    let shown = directory.display();
    let of_service = ["/var/lib/perch", "/var/cache/perch"]
        .iter()
        .any(|own| directory.starts_with(own));
    if of_service {
        format!("`chown -R {user}: {shown}`, and see that it is not mounted read-only")
    } else {
        "see whose it is and that it is not mounted read-only, or set STATE_DIRECTORY to another"
            .to_owned()
    }
}

fn directory_finding(directory: &Path, account: &Account) -> Finding {
    let shown = directory.display();
    let existing = directory.ancestors().find(|path| path.exists());
    let Some(existing) = existing else {
        return Finding::note(CHECK, format!("{shown}: nothing of this path exists"));
    };
    let free = match statvfs(existing) {
        Ok(found) => found.f_bavail.saturating_mul(found.f_frsize),
        Err(error) => return Finding::note(CHECK, format!("{shown}: {error}")),
    };
    let writable = if existing != directory {
        None
    } else if account.is_us {
        Some(access(existing, Access::WRITE_OK | Access::EXEC_OK).is_ok())
    } else {
        Some(std::fs::metadata(existing).is_ok_and(|found| account.may_use(&found)))
    };
    judge(directory, free, writable, &account.name)
}

/// `writable` is nothing where the directory is still to be made.
fn judge(directory: &Path, free: u64, writable: Option<bool>, user: &str) -> Finding {
    let shown = directory.display();
    let what = format!("{shown}: {:.0} MB free", free as f64 / 1e6);
    if free < TOO_LITTLE {
        return Finding::fault(
            CHECK,
            what,
            "make room: `journalctl --vacuum-size=50M`, `apt-get clean`",
        );
    }
    match writable {
        None => Finding::ok(CHECK, format!("{what}; it is made at the start")),
        Some(false) => Finding::fault(
            CHECK,
            format!("{shown}: {user} may not write there"),
            mend(directory, user),
        ),
        Some(true) if free < LITTLE => Finding::note(CHECK, what),
        Some(true) => Finding::ok(CHECK, format!("{what}, writable")),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, Permissions},
        os::unix::fs::PermissionsExt as _,
    };

    use super::*;
    use crate::doctor::Level;

    fn judged(free: u64, writable: Option<bool>) -> Finding {
        judge(Path::new("/var/lib/perch"), free, writable, "perch")
    }

    #[test]
    fn too_little_room_is_a_fault_whatever_else_is_right() {
        for writable in [None, Some(true), Some(false)] {
            let found = judged(TOO_LITTLE - 1, writable);
            assert_eq!(found.level, Level::Fault, "{found:?}");
            assert_eq!(found.what, "/var/lib/perch: 17 MB free");
            assert!(found.mend.unwrap().contains("make room"));
        }
    }

    #[test]
    fn a_directory_that_is_closed_is_a_fault_with_its_remedy() {
        for free in [TOO_LITTLE, LITTLE] {
            let found = judged(free, Some(false));
            assert_eq!(found.level, Level::Fault, "{found:?}");
            assert!(found.what.contains("perch may not write there"));
            assert!(
                found
                    .mend
                    .unwrap()
                    .contains("`chown -R perch: /var/lib/perch`")
            );
        }
    }

    #[test]
    fn little_room_is_worth_a_note_and_the_rest_is_good() {
        assert_eq!(judged(LITTLE - 1, Some(true)).level, Level::Note);
        assert_eq!(judged(LITTLE, Some(true)).level, Level::Ok);
        let new = judged(LITTLE - 1, None);
        assert_eq!(new.level, Level::Ok);
        assert!(new.what.contains("made at the start"), "{new:?}");
    }

    #[test]
    fn a_real_directory_is_judged_by_its_mode() {
        let user = Account::from_files("perch:x:64999:64999::/:/bin/false\n", "", "perch", &[]);
        let user = user.unwrap();
        let directory = tempfile::tempdir().unwrap();
        let look = |mode| {
            fs::set_permissions(directory.path(), Permissions::from_mode(mode)).unwrap();
            directory_finding(directory.path(), &user)
        };
        assert!(look(0o700).what.contains("perch may not write there"));
        // How much room there is depends on where this runs.
        assert!(!look(0o777).what.contains("may not write"));
        let below = directory_finding(&directory.path().join("new/er"), &user);
        assert!(!below.what.contains("may not write"), "{below:?}");
    }

    #[test]
    fn nobodys_home_is_given_away() {
        let own = mend(Path::new("/var/lib/perch"), "perch");
        assert!(own.contains("`chown -R perch: /var/lib/perch`"), "{own}");
        let home = mend(Path::new("/home/ada/.local/state/perch"), "perch");
        assert!(!home.contains("chown"), "{home}");
    }
}
