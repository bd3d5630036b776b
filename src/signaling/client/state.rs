//! How the line is, for whoever shows it: STATUS, metrics, the doctor.

use std::time::{Duration, Instant};

/// What stands between us and the lobby, as a technician would look for it. The order is that of the way
/// there: whatever comes later shows that all before it works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The device's own settings: a URL or a file that cannot be used.
    Settings,
    /// The lobby's name has no address.
    Dns,
    /// There is no way to the address.
    Route,
    /// The machine is there, and nobody listens at the port.
    Refused,
    /// Nothing comes back, or nothing any more.
    Silent,
    /// The certificate or the handshake.
    Tls,
    /// The device's own time: certificates and tokens cannot be judged or made by it.
    Clock,
    /// The token is missing, expired or not accepted.
    Token,
    /// It answers, and not as a lobby that takes our stream does.
    Lobby,
    /// A line that was up ended: a restart of the lobby, a network that went away.
    BrokeOff,
}

impl Cause {
    /// Every cause, in the order of the way to the lobby.
    pub const ALL: [Self; 10] = [
        Self::Settings,
        Self::Dns,
        Self::Route,
        Self::Refused,
        Self::Silent,
        Self::Tls,
        Self::Clock,
        Self::Token,
        Self::Lobby,
        Self::BrokeOff,
    ];

    /// The stable name, for the journal's `REASON` field and for statistics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Settings => "settings",
            Self::Dns => "dns",
            Self::Route => "route",
            Self::Refused => "refused",
            Self::Silent => "silent",
            Self::Tls => "tls",
            Self::Clock => "clock",
            Self::Token => "token",
            Self::Lobby => "lobby",
            Self::BrokeOff => "broke-off",
        }
    }

    /// A few words, to stand in brackets behind "no line to the lobby".
    pub const fn words(self) -> &'static str {
        match self {
            Self::Settings => "the settings cannot be used",
            Self::Dns => "its name is not found by DNS",
            Self::Route => "no network route",
            Self::Refused => "connection refused",
            Self::Silent => "no answer",
            Self::Tls => "TLS failed",
            Self::Clock => "the clock is not set",
            Self::Token => "the token is not accepted",
            Self::Lobby => "the lobby does not take the stream",
            Self::BrokeOff => "the connection broke off",
        }
    }
}

/// How the line is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum LineState {
    /// On the way to the lobby for the first time.
    #[default]
    Dialing,
    /// The lobby has our stream.
    Live {
        since: Instant,
    },
    Down(Outage),
}

/// Why there is no line, since when, and what is done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outage {
    pub cause: Cause,
    /// A sentence for a technician; no secret is in it.
    pub why: String,
    /// Since the line was last live, or since the first dial.
    pub since: Instant,
    /// Dials in a row that came to nothing.
    pub failures: u64,
    /// Once this has passed, a dial is under way.
    pub next_dial: Instant,
}

impl Outage {
    /// Until the next dial; zero while one is under way.
    pub fn wait(&self, now: Instant) -> Duration {
        self.next_dial.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::assert_names_fit;

    #[test]
    fn names_are_unique_and_fit_for_fields() {
        assert_names_fit(Cause::ALL.iter().map(|cause| cause.name()));
    }

    #[test]
    fn a_dial_that_is_due_is_not_waited_for() {
        let now = Instant::now();
        let outage = Outage {
            cause: Cause::Refused,
            why: String::new(),
            since: now,
            failures: 1,
            next_dial: now + Duration::from_secs(2),
        };
        assert_eq!(outage.wait(now).as_secs(), 2);
        assert_eq!(outage.wait(now + Duration::from_secs(3)), Duration::ZERO);
    }
}
