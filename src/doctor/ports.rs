//! The addresses that the daemon listens on: free, or its own.

use std::{
    io,
    net::{SocketAddr, TcpListener},
};

use super::{Finding, daemon::Daemon};
use crate::config::Config;

const CHECK: &str = "ports";

pub(super) fn examine(config: &Config, daemon: &Daemon) -> Vec<Finding> {
    let lobby = config
        .embedded_lobby
        .enabled
        .then_some(("embedded_lobby.listen", config.embedded_lobby.listen));
    let metrics = config
        .metrics
        .enabled
        .then_some(("metrics.listen", config.metrics.listen));
    [lobby, metrics]
        .into_iter()
        .flatten()
        // Port 0 is whichever is free.
        .filter(|(_, address)| address.port() != 0)
        .map(|(key, address)| match daemon {
            // Not even tried: a daemon that is about to start would miss it.
            Daemon::Mute => Finding::note(
                CHECK,
                format!("{key}: {address} was not looked at: it may be the daemon's, which does not tell"),
            ),
            Daemon::Tells(_) => judge(key, address, Runs::It),
            Daemon::Another(_) => judge(key, address, Runs::Another),
            Daemon::Absent => judge(key, address, Runs::Nobody),
        })
        .collect()
}

/// Which daemon runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Runs {
    /// The one that should listen.
    It,
    /// One with another configuration.
    Another,
    Nobody,
}

fn judge(key: &str, address: SocketAddr, runs: Runs) -> Finding {
    let port = address.port();
    // Gone again at once; nobody is accepted meanwhile.
    match TcpListener::bind(address).map(drop) {
        Ok(()) if runs == Runs::It => Finding::note(
            CHECK,
            format!("{key}: nobody listens on {address}; was it changed since the daemon started?"),
        ),
        Ok(()) => Finding::ok(CHECK, format!("{key}: {address} is free")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => match runs {
            Runs::It => Finding::ok(
                CHECK,
                format!("{key}: {address} is taken, and the daemon runs"),
            ),
            Runs::Another => Finding::note(
                CHECK,
                format!("{key}: {address} is taken, perhaps by the daemon that runs"),
            ),
            Runs::Nobody => Finding::fault(
                CHECK,
                format!("{key}: another program has {address}"),
                format!("`ss -ltnp 'sport = :{port}'` names it; stop it, or choose another port"),
            ),
        },
        Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => Finding::fault(
            CHECK,
            format!("{key}: {} is no address of this device", address.ip()),
            "choose one that `ip address` shows, or 0.0.0.0 for all of them",
        ),
        Err(error) => Finding::note(CHECK, format!("{key}: {address}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    #[test]
    fn a_port_in_use_is_ours_only_while_the_daemon_runs() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let level = |runs| judge("k", address, runs).level;
        assert_eq!(level(Runs::Nobody), Level::Fault);
        assert_eq!(level(Runs::Another), Level::Note);
        assert_eq!(level(Runs::It), Level::Ok);
        drop(taken);
        assert_eq!(level(Runs::Nobody), Level::Ok);
        assert_eq!(level(Runs::Another), Level::Ok);
        assert_eq!(level(Runs::It), Level::Note);
    }

    #[test]
    fn an_address_of_another_machine_is_a_fault() {
        // TEST-NET-1 (RFC 5737).
        let elsewhere = "192.0.2.1:8080".parse().unwrap();
        assert_eq!(judge("k", elsewhere, Runs::Nobody).level, Level::Fault);
    }
}
