//! The directories that are written to.

use std::{
    env,
    path::{Path, PathBuf},
};

use rustix::fs::{Access, access, statvfs};
use tokio::task::spawn_blocking;

use super::{Finding, account::Account};
use crate::app;

const CHECK: &str = "disk";
/// Keys and the plugins' registry are a few hundred kilobytes.
const TOO_LITTLE: u64 = 16 << 20;
const LITTLE: u64 = 128 << 20;

pub(super) async fn examine() -> Vec<Finding> {
    let account = Account::of_service().await;
    let looked = spawn_blocking(move || {
        let state = app::state_dir().ok();
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
    let what = format!("{shown}: {:.0} MB free", free as f64 / 1e6);
    if free < TOO_LITTLE {
        return Finding::fault(
            CHECK,
            what,
            "make room: `journalctl --vacuum-size=50M`, `apt-get clean`",
        );
    }
    if existing != directory {
        return Finding::ok(CHECK, format!("{what}; it is made at the start"));
    }
    let writable = if account.is_us {
        access(existing, Access::WRITE_OK | Access::EXEC_OK).is_ok()
    } else {
        std::fs::metadata(existing).is_ok_and(|found| account.may_use(&found))
    };
    if !writable {
        let what = format!("{shown}: {} may not write there", account.name);
        let mend = format!(
            "`chown -R {0}: {shown}`, and see that it is not mounted read-only",
            account.name
        );
        return Finding::fault(CHECK, what, mend);
    }
    if free < LITTLE {
        return Finding::note(CHECK, what);
    }
    Finding::ok(CHECK, format!("{what}, writable"))
}
