//! The daemon itself, by its own word and by systemd's.

use std::{net::SocketAddr, path::Path, time::Duration};

use tokio::task::spawn_blocking;

use super::{Finding, account::UNIT, is_root, output_of};
use crate::{
    config::Config,
    status::{
        Status,
        socket::{self, AskError},
    },
};

const CHECK: &str = "daemon";
/// A daemon that is well answers in a second.
const PATIENCE: Duration = Duration::from_secs(3);

/// What is known of the daemon, for the checks of what it may hold.
#[derive(Debug)]
pub(super) enum Daemon {
    /// None runs: camera and ports are free to be tried.
    Absent,
    /// One runs, or may, and does not tell. What is taken may be its own, and what is free it may want.
    Mute,
    Tells(Box<Status>),
    /// As [`Daemon::Tells`], with another configuration than the one that is looked at.
    Another(Box<Status>),
}

impl Daemon {
    /// What it is to `config`, with what is to be said if it runs with another one.
    pub(super) fn beside(self, config: &Config) -> (Self, Option<Finding>) {
        match self {
            Self::Tells(status) if !runs_with(&status, config) => {
                let what = format!(
                    "the daemon that runs is another one (its lobby is {}, its stream {:?}, its pid {}), or this \
                     configuration is newer than its start; it is not judged, and nothing is judged by it",
                    status.lobby.address, status.title, status.pid
                );
                (Self::Another(status), Some(Finding::note(CHECK, what)))
            }
            other => (other, None),
        }
    }
}

/// As far as a daemon tells what it was started with.
fn runs_with(status: &Status, config: &Config) -> bool {
    let lobby = &status.lobby;
    let meets = match &config.lobby {
        Some(wanted) => {
            !lobby.embedded && lobby.address == wanted.url.origin().ascii_serialization()
        }
        None => lobby.embedded && listens_on(config.embedded_lobby.listen, &lobby.address),
    };
    meets && status.title == config.stream.title
}

/// Port 0 is whichever was free.
fn listens_on(wanted: SocketAddr, address: &str) -> bool {
    let same = |port| wanted.port() == 0 || wanted.port() == port;
    let address = address.parse::<SocketAddr>();
    address.is_ok_and(|address| address.ip() == wanted.ip() && same(address.port()))
}

/// What the daemon says, if one runs.
pub(super) async fn examine() -> (Vec<Finding>, Daemon) {
    let path = socket::path_to_ask(is_root());
    let asked = spawn_blocking(move || socket::ask(&path, PATIENCE)).await;
    let (found, daemon) = match asked {
        Ok(asked) => told(asked),
        Err(error) => (Finding::note(CHECK, error.to_string()), Daemon::Mute),
    };
    (vec![found], daemon)
}

fn told(asked: Result<Status, AskError>) -> (Finding, Daemon) {
    match asked {
        Ok(status) => (judge(&status), Daemon::Tells(Box::new(status))),
        Err(error @ AskError::NotRunning(_)) => {
            (Finding::note(CHECK, error.to_string()), Daemon::Absent)
        }
        Err(error @ AskError::Forbidden(_)) => {
            let what = format!("{error}; without that, its camera and ports cannot be judged");
            (Finding::note(CHECK, what), Daemon::Mute)
        }
        Err(error) => {
            let mend = "`systemctl restart perch`, and keep the journal of before";
            let finding = Finding::fault(CHECK, error.to_string(), mend);
            (finding, Daemon::Mute)
        }
    }
}

fn judge(status: &Status) -> Finding {
    let viewers = status.viewers.len();
    let pid = status.pid;
    match &status.reason {
        None => Finding::ok(
            CHECK,
            format!(
                "pid {pid} serves; {viewers} of {} viewers",
                status.viewers_max
            ),
        ),
        Some(reason) => Finding::fault(
            CHECK,
            format!("pid {pid} runs and cannot serve a viewer: {reason}"),
            "mend what is said above; it goes on by itself then",
        ),
    }
}

/// The unit, where there is systemd.
pub(super) async fn service() -> Vec<Finding> {
    if !Path::new("/run/systemd/system").exists() {
        return Vec::new();
    }
    let properties = "LoadState,ActiveState,SubState,Result,NRestarts,StatusText,UnitFileState";
    let shown = output_of("systemctl", &["show", UNIT, "-p", properties]).await;
    shown.map_or_else(
        || vec![Finding::note("service", "systemctl does not answer")],
        |shown| vec![unit(&shown)],
    )
}

fn unit(shown: &str) -> Finding {
    const CHECK: &str = "service";
    let property = |name: &str| {
        let line = shown.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.strip_prefix('='))
            .unwrap_or_default()
    };
    let (state, result) = (property("ActiveState"), property("Result"));
    let mut what = format!("{UNIT} is {state} ({})", property("SubState"));
    // systemd keeps what a service said last, after its end too.
    match property("StatusText") {
        "" => {}
        text if matches!(state, "inactive" | "failed") => {
            what.push_str(&format!("; the last it said: {text}"));
        }
        text => what.push_str(&format!(": {text}")),
    }
    match property("NRestarts") {
        "" | "0" => {}
        "1" => what.push_str("; restarted once"),
        count => what.push_str(&format!("; restarted {count} times")),
    }
    let journal = "`journalctl -u perch -n 50` says why; then `systemctl restart perch`";
    match (property("LoadState"), state) {
        ("loaded", "active" | "activating" | "reloading") => Finding::ok(CHECK, what),
        ("loaded", "failed") => Finding::fault(CHECK, format!("{what}, {result}"), journal),
        ("loaded", _) => Finding::fault(
            CHECK,
            what,
            "`systemctl enable --now perch` starts it, now and at boot",
        ),
        _ => Finding::note(CHECK, format!("{UNIT} is not installed")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    #[test]
    fn only_where_nobody_answers_no_daemon_runs() {
        let path = || "/run/perch/status.sock".into();
        let told_of = |error| told(Err(error));
        let (found, daemon) = told_of(AskError::NotRunning(path()));
        assert!(matches!(daemon, Daemon::Absent), "{daemon:?}");
        assert_eq!(found.level, Level::Note);
        let (found, daemon) = told_of(AskError::Forbidden(path()));
        assert!(matches!(daemon, Daemon::Mute), "{daemon:?}");
        assert_eq!(found.level, Level::Note);
        for error in [
            AskError::Hung(path(), PATIENCE),
            AskError::Refused("it hangs".into()),
        ] {
            let (found, daemon) = told_of(error);
            assert!(matches!(daemon, Daemon::Mute), "{daemon:?}");
            assert_eq!(found.level, Level::Fault);
        }
    }

    #[test]
    fn a_daemon_is_known_by_its_stream_and_its_lobby() {
        let config = |text: &str| {
            let text = format!("{text}\n[stream]\ntitle = 'Porch'");
            Config::from_text(Path::new("perch.toml"), &text).unwrap()
        };
        let status = |title: &str, embedded, address: &str| {
            let mut status = Status {
                title: title.into(),
                ..Status::default()
            };
            status.lobby.embedded = embedded;
            status.lobby.address = address.into();
            status
        };
        let own = config("[embedded_lobby]\nenabled = true\nlisten = '0.0.0.0:8080'");
        let any = config("[embedded_lobby]\nenabled = true\nlisten = '0.0.0.0:0'");
        let far = config(
            "[lobby]\nurl = 'https://lobby.example.org/x'\n[lobby.auth]\ntoken_file = '/token'",
        );
        let there = "https://lobby.example.org";
        for (config, status, expected) in [
            (&own, status("Porch", true, "0.0.0.0:8080"), true),
            (&own, status("Porch", true, "0.0.0.0:8081"), false),
            (&own, status("Porch", true, "127.0.0.1:8080"), false),
            (&own, status("Barn", true, "0.0.0.0:8080"), false),
            (&own, status("Porch", false, there), false),
            (&any, status("Porch", true, "0.0.0.0:34807"), true),
            (&far, status("Porch", false, there), true),
            (
                &far,
                status("Porch", false, "https://other.example.org"),
                false,
            ),
            (&far, status("Porch", true, "0.0.0.0:8080"), false),
        ] {
            assert_eq!(runs_with(&status, config), expected, "{status:?}");
        }
    }

    #[test]
    fn the_unit_is_judged_by_what_systemd_shows() {
        let shown = |load: &str, active: &str, more: &str| {
            unit(&format!(
                "LoadState={load}\nActiveState={active}\nSubState=x\n{more}"
            ))
        };
        let running = shown(
            "loaded",
            "active",
            "NRestarts=3\nStatusText=live as 'Porch'\n",
        );
        assert_eq!(running.level, Level::Ok);
        assert_eq!(
            running.what,
            "perch.service is active (x): live as 'Porch'; restarted 3 times"
        );
        let once = shown("loaded", "active", "NRestarts=1\n");
        assert!(once.what.ends_with("; restarted once"), "{once:?}");
        let failed = shown("loaded", "failed", "Result=exit-code\n");
        assert_eq!(failed.level, Level::Fault);
        assert!(failed.what.ends_with(", exit-code"), "{failed:?}");
        let stopped = shown("loaded", "inactive", "StatusText=live as 'Porch'\n");
        assert_eq!(stopped.level, Level::Fault);
        assert_eq!(
            stopped.what,
            "perch.service is inactive (x); the last it said: live as 'Porch'"
        );
        assert_eq!(shown("not-found", "inactive", "").level, Level::Note);
    }
}
