//! Readiness, status and the watchdog, told to systemd through `$NOTIFY_SOCKET` (sd_notify(3)).
//! Without that variable every call does nothing.

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

/// The service is on its way out; what takes longer than `TimeoutStopSec=` is killed.
pub fn stopping() {
    notify(&[NotifyState::Stopping]);
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd does not listen");
    }
}
