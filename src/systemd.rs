//! Readiness, status and the watchdog, told to systemd through `$NOTIFY_SOCKET` (sd_notify(3)).
//! Without that variable every call does nothing.

use std::time::Duration;

use sd_notify::NotifyState;

/// The service does what it is for.
pub fn ready() {
    notify(&[NotifyState::Ready]);
}

/// One line for `systemctl status`.
pub fn status(line: &str) {
    // The protocol is lines of KEY=VALUE: a line break would begin another one.
    let line: String = line
        .chars()
        .map(|character| {
            if character.is_control() {
                ' '
            } else {
                character
            }
        })
        .collect();
    notify(&[NotifyState::Status(&line)]);
}

/// How often the watchdog is to be fed where the unit has one (`WatchdogSec=`): at half its time, as
/// sd_watchdog_enabled(3) advises.
pub fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|time| time / 2)
}

/// The process is not stuck. Before it is ready, where systemd does not look at the watchdog yet, this holds
/// off the end of `TimeoutStartSec=` instead, for as long as the watchdog's own time.
pub fn feed_watchdog() {
    let Some(time) = sd_notify::watchdog_enabled() else {
        return;
    };
    let extension = u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
    notify(&[
        NotifyState::Watchdog,
        NotifyState::ExtendTimeoutUsec(extension),
    ]);
}

/// The process is stuck and knows it: systemd acts as if the watchdog had run out, and kills it.
pub fn trigger_watchdog() {
    if watchdog().is_some() {
        notify(&[NotifyState::WatchdogTrigger]);
    }
}

/// The service is on its way out; what takes longer than `TimeoutStopSec=` is killed.
pub fn stopping() {
    notify(&[NotifyState::Stopping]);
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd does not listen");
    }
}
