//! The clock: tokens and certificates are judged by it.

use std::{fs, time::SystemTime};

use super::{Finding, output_of};
use crate::clock::{self, utc};

const CHECK: &str = "clock";

pub(super) async fn examine() -> Vec<Finding> {
    let synchronised =
        output_of("timedatectl", &["show", "-p", "NTPSynchronized", "--value"]).await;
    let synchronised = match synchronised.as_deref().map(str::trim) {
        Some("yes") => Some(true),
        Some("no") => Some(false),
        // systemd-timesyncd leaves this behind when it has done its work.
        _ => fs::exists("/run/systemd/timesync/synchronized")
            .ok()
            .filter(|is| *is),
    };
    vec![judge(SystemTime::now(), synchronised)]
}

fn judge(now: SystemTime, synchronised: Option<bool>) -> Finding {
    let shown = utc(now);
    if !clock::is_plausible(now) {
        let what =
            format!("it says {shown}, which cannot be: certificates and tokens will be refused");
        let mend = "set it (`timedatectl set-time …`), let it be synchronised (`timedatectl set-ntp true`), \
                    or fit a battery to the board's clock";
        return Finding::fault(CHECK, what, mend);
    }
    match synchronised {
        Some(true) => Finding::ok(CHECK, format!("{shown}, synchronised")),
        Some(false) => Finding::note(
            CHECK,
            format!(
                "{shown}, plausible but not synchronised; `timedatectl set-ntp true` keeps it right"
            ),
        ),
        None => Finding::ok(
            CHECK,
            format!("{shown}, plausible; whether it is synchronised is not told here"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::doctor::Level;

    #[test]
    fn a_clock_that_was_never_set_is_a_fault() {
        let set = clock::built();
        // What the daemon does not believe is a fault here, too.
        for early in [UNIX_EPOCH, set - Duration::from_secs(1)] {
            assert_eq!(judge(early, Some(true)).level, Level::Fault);
        }
        assert_eq!(judge(set, Some(true)).level, Level::Ok);
        assert_eq!(judge(set, Some(false)).level, Level::Note);
        assert_eq!(judge(set, None).level, Level::Ok);
    }
}
