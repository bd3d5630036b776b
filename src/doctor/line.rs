//! The way to the lobby: its name, the machine, and whether it takes our token.

use std::{
    io,
    path::Path,
    time::{Duration, SystemTime},
};

use tokio::{net::lookup_host, time::timeout};
use url::Host;

use super::{CHECK_ENDS_WITHIN, Finding, daemon::Daemon, limited, settings::READ_WITHIN};
use crate::{
    clock::utc,
    config::{Config, Lobby, LobbyAuth},
    files::{self, Reader},
    signaling::{
        credentials::{self, Credentials},
        probe::{self, ProbeError},
    },
    status::span,
};

const CHECK: &str = "lobby";
/// A ready-made token that expires sooner than this is worth a word.
const SOON: Duration = Duration::from_secs(24 * 60 * 60);
/// A certificate, too: certbot and its like renew a month before.
const CERTIFICATE_SOON: Duration = Duration::from_secs(14 * 24 * 60 * 60);

pub(super) async fn examine(config: &Config, configured: bool, daemon: &Daemon) -> Vec<Finding> {
    match &config.lobby {
        Some(lobby) => dialed(lobby).await,
        None if configured => {
            let mut found = vec![embedded(config, daemon)];
            found.extend(certificate(config).await);
            found
        }
        None => vec![Finding::note(
            CHECK,
            "not looked at: there is no configuration that names one",
        )],
    }
}

fn embedded(config: &Config, daemon: &Daemon) -> Finding {
    let listen = config.embedded_lobby.listen;
    match daemon {
        Daemon::Tells(status) if status.lobby.state == "live" => Finding::ok(
            CHECK,
            format!(
                "embedded, on {}, and the stream is live in it",
                status.lobby.address
            ),
        ),
        Daemon::Tells(status) => Finding::fault(
            CHECK,
            format!(
                "embedded, on {}, but the stream is not live in it",
                status.lobby.address
            ),
            "`journalctl -u perch` says why",
        ),
        Daemon::Mute => Finding::note(
            CHECK,
            format!(
                "embedded, on {listen}; the daemon does not tell whether the stream is live in it"
            ),
        ),
        Daemon::Absent | Daemon::Another(_) => Finding::ok(
            CHECK,
            format!("embedded: it listens on {listen} while perch runs"),
        ),
    }
}

/// The embedded lobby's certificate, where it is worth a word. What cannot be read the configuration's check says.
async fn certificate(config: &Config) -> Option<Finding> {
    let files = config.embedded_lobby.tls.clone()?;
    let shown = files.certificate.display().to_string();
    let reader = Reader::default();
    let read = reader.read(READ_WITHIN, move || files.expires());
    expiring(&shown, read.await??, SystemTime::now())
}

fn expiring(certificate: &str, expires: SystemTime, now: SystemTime) -> Option<Finding> {
    let at = utc(expires);
    let Ok(left) = expires.duration_since(now) else {
        let what = format!("{certificate} has expired at {at}: browsers refuse the lobby");
        let mend = "renew it; the daemon takes a new one over by itself";
        return Some(Finding::fault(CHECK, what, mend));
    };
    (left < CERTIFICATE_SOON).then(|| {
        let left = span(left.as_secs_f64());
        let what = format!("{certificate} is valid for {left} more only ({at}); renew it");
        Finding::note(CHECK, what)
    })
}

/// All of it within one check's time.
async fn dialed(lobby: &Lobby) -> Vec<Finding> {
    let mut found = Vec::new();
    let place = lobby.url.origin().ascii_serialization();
    let started = tokio::time::Instant::now();
    if let Some(Host::Domain(name)) = lobby.url.host() {
        match limited("dns", resolve(name)).await {
            Ok(Ok(addresses)) => found.push(Finding::ok("dns", format!("{name} is {addresses}"))),
            Ok(Err(error)) => {
                found.push(Finding::fault(
                    "dns",
                    format!("{name} is not found: {error}"),
                    "check the spelling in [lobby] url, the network, and the name server (`resolvectl query`, /etc/resolv.conf)",
                ));
                found.push(Finding::note(
                    CHECK,
                    format!("{place} was not dialed: its name is not found"),
                ));
                return found;
            }
            Err(late) => {
                found.push(late);
                return found;
            }
        }
    }
    let left = CHECK_ENDS_WITHIN.saturating_sub(started.elapsed());
    let signed_in = timeout(left, sign_in(lobby)).await;
    found.push(signed_in.unwrap_or_else(|_| {
        let what = format!("{place} does not answer within {} s", left.as_secs());
        Finding::fault(
            CHECK,
            what,
            "see that the lobby runs, and that no firewall is between",
        )
    }));
    found
}

async fn resolve(name: &str) -> io::Result<String> {
    let found: Vec<_> = lookup_host((name, 0)).await?.collect();
    let mut shown: Vec<String> = found
        .iter()
        .map(|address| address.ip().to_string())
        .collect();
    shown.dedup();
    if shown.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            "the name has no addresses",
        ));
    }
    Ok(shown.join(", "))
}

async fn sign_in(lobby: &Lobby) -> Finding {
    let place = lobby.url.origin().ascii_serialization();
    let now = SystemTime::now();
    let source = Credentials::from(&lobby.auth);
    let file = source.file().map(Path::to_owned);
    let reader = Reader::default();
    let read = reader.read(READ_WITHIN, move || source.fresh(now));
    // The configuration's check has said it already, with what to do.
    let undialed = |why: String| Finding::note(CHECK, format!("{place} was not dialed: {why}"));
    let token = match read.await {
        Some(Ok(token)) => token,
        Some(Err(error)) => return undialed(error.to_string()),
        None => return undialed(files::late(file.as_slice())),
    };
    let expires = credentials::expires(&token);
    match probe::knock(&lobby.url, lobby.ca_file.as_deref(), token).await {
        Ok(()) => accepted(&place, &lobby.auth, expires, now),
        Err(error) => {
            let mend = match &error {
                ProbeError::Refused(_) | ProbeError::PutOut => {
                    "check [lobby.auth]: is it this lobby's secret or token, and is the device's clock right?"
                }
                ProbeError::Dial(_) => {
                    "see that the lobby runs, that the network is up, and that no firewall is between"
                }
                ProbeError::Ended(_) | ProbeError::Broken(_) | ProbeError::Closed => {
                    "see the lobby's own log, and whether a proxy between lets WebSockets through"
                }
            };
            Finding::fault(CHECK, format!("{place}: {error}"), mend)
        }
    }
}

fn accepted(
    place: &str,
    auth: &LobbyAuth,
    expires: Option<SystemTime>,
    now: SystemTime,
) -> Finding {
    let left = expires.map(|at| at.duration_since(now).unwrap_or_default());
    let until = |left: Duration| format!("{} ({})", span(left.as_secs_f64()), utc(now + left));
    match (auth, left) {
        (LobbyAuth::SecretFile { subject, ttl, .. }, _) => Finding::ok(
            CHECK,
            format!(
                "{place} takes tokens for {subject:?}; each is valid for {}",
                span(ttl.as_secs_f64())
            ),
        ),
        (LobbyAuth::TokenFile(_), None) => Finding::ok(
            CHECK,
            format!("{place} takes the token, which does not say when it expires"),
        ),
        (LobbyAuth::TokenFile(file), Some(left)) if left < SOON => Finding::note(
            CHECK,
            format!(
                "{place} takes the token, but only for {} more; put a new one into {}",
                until(left),
                file.display()
            ),
        ),
        (LobbyAuth::TokenFile(_), Some(left)) => Finding::ok(
            CHECK,
            format!("{place} takes the token, for {} more", until(left)),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{doctor::Level, lobby::tls::TlsFiles};

    #[test]
    fn a_certificate_that_expires_soon_is_worth_a_word() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name| directory.path().join(name);
        let files = TlsFiles {
            certificate: path("certificate.pem"),
            key: path("key.pem"),
        };
        assert_eq!(files.expires(), None);
        let key = rcgen::KeyPair::generate().unwrap();
        let mut wanted = rcgen::CertificateParams::new(vec!["porch.example.org".into()]).unwrap();
        wanted.not_after = rcgen::date_time_ymd(2026, 12, 1);
        let made = wanted.self_signed(&key).unwrap();
        std::fs::write(&files.certificate, made.pem()).unwrap();

        let expires = files.expires().unwrap();
        assert_eq!(utc(expires), "2026-12-01T00:00:00Z");
        let second = Duration::from_secs(1);
        let at = |now| expiring("c.pem", expires, now).map(|found| found.level);
        assert_eq!(at(expires - CERTIFICATE_SOON), None);
        assert_eq!(at(expires - CERTIFICATE_SOON + second), Some(Level::Note));
        assert_eq!(at(expires), Some(Level::Note));
        assert_eq!(at(expires + second), Some(Level::Fault));
    }

    #[test]
    fn a_token_that_expires_soon_is_worth_a_word() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_382_445);
        let file = LobbyAuth::TokenFile("/etc/perch/token".into());
        let level = |expires| accepted("https://l", &file, expires, now).level;
        assert_eq!(level(None), Level::Ok);
        assert_eq!(level(Some(now + SOON)), Level::Ok);
        assert_eq!(level(Some(now + SOON / 2)), Level::Note);
        let soon = accepted(
            "https://l",
            &file,
            Some(now + Duration::from_secs(7200)),
            now,
        );
        assert!(
            soon.what.contains("2 h 0 min (2026-11-22T23:20:45Z)"),
            "{soon:?}"
        );
    }
}
