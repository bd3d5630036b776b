//! The configuration and the files that it names.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rustls::RootCertStore;
use tokio::task::JoinSet;

use super::Finding;
use crate::{
    config::{self, Config, ConfigError, IceAuth, LobbyAuth},
    files::{self, Reader},
    lobby::keys::{self, Keys, KeysError},
    media::{devices, ice, profile::ProfileError},
    signaling::{credentials::Credentials, dial},
};

const CHECK: &str = "configuration";
/// For one of the files that are named.
pub(super) const READ_WITHIN: Duration = Duration::from_secs(3);
/// For telling which of two files it is that hangs.
const ENDS_WITHIN: Duration = Duration::from_millis(500);
/// As much of it is read for that, in bytes.
const PROBED: u64 = 1 << 20;

/// `profile` and `files`: what is wrong with those that are asked for. `sees_all`: whether a file that cannot be read cannot be
/// read by the service either.
pub(super) fn findings(
    file: Option<&Path>,
    config: &Result<Config, ConfigError>,
    profile: Option<Finding>,
    files: Vec<String>,
    sees_all: bool,
) -> Vec<Finding> {
    let path = file.unwrap_or(Path::new(config::DEFAULT_FILE));
    match config {
        Ok(_) => {
            let files = files.into_iter().map(|fault| unusable(fault, sees_all));
            let faults: Vec<_> = profile.into_iter().chain(files).collect();
            if !faults.is_empty() {
                return faults;
            }
            vec![Finding::ok(
                CHECK,
                format!("{} and the files that it names can be used", path.display()),
            )]
        }
        Err(ConfigError::Missing { path }) => vec![Finding::fault(
            CHECK,
            format!(
                "{} does not exist; the rest is looked at with the defaults",
                path.display()
            ),
            "write it (`perch check` shows the smallest one that works) or name another with --config",
        )],
        Err(error) => {
            let mend = match error {
                ConfigError::Unreadable { .. } => {
                    "see that it is there and that you may read it; root reads everything"
                }
                _ => "mend that line; `perch check` asks again",
            };
            let text = error.to_string();
            text.lines()
                .map(|line| Finding::fault(CHECK, line, mend))
                .collect()
        }
    }
}

/// That checks which depend on the configuration are not made: by anything else they would judge what nobody wants.
pub(super) fn postponed(checks: &str) -> Finding {
    Finding::note(
        CHECK,
        format!("{checks} are looked at once the configuration can be used"),
    )
}

/// A profile that no camera and no plugin makes usable: `run` ends at once.
pub(super) fn wrong_profile(config: &Config) -> Option<Finding> {
    let error = devices::profiles()
        .and_then(|profiles| profiles.suits(config))
        .err()?;
    let mend = match error {
        ProfileError::Invalid { .. } => {
            "mend what is named, or take it away; `perch check` asks again"
        }
        ProfileError::Unknown { .. } => {
            "name one that there is in [camera] profile; `perch devices` describes them"
        }
        _ => "mend it in the configuration; `perch check` asks again",
    };
    Some(Finding::fault(CHECK, error.to_string(), mend))
}

fn unusable(fault: String, sees_all: bool) -> Finding {
    let denied = io::Error::from(io::ErrorKind::PermissionDenied).to_string();
    if !sees_all && fault.to_lowercase().contains(&denied) {
        return Finding::note(CHECK, format!("not seen: {fault} (root sees it)"));
    }
    let mend = "see to that file: that it is the right one, and that perch's user may read it; `perch check` asks again";
    Finding::fault(CHECK, fault, mend)
}

/// What the configuration's files lack. Read as the daemon would, so the user matters; one that hangs is given up and
/// named.
pub async fn unusable_files(config: &Config) -> Vec<String> {
    let now = SystemTime::now();
    let mut looks = Looks::default();
    let at = |key: &str| format!("{}: {key}", config.origins.of(key));
    if let Some(lobby) = &config.lobby {
        let credentials = Credentials::from(&lobby.auth);
        let file = credentials.file().map(Path::to_owned);
        let key = match &lobby.auth {
            LobbyAuth::TokenFile(_) => "lobby.auth.token_file",
            LobbyAuth::SecretFile { .. } => "lobby.auth.secret_file",
        };
        looks.look(at(key), file, move || credentials.fresh(now));
        if let Some(file) = lobby.ca_file.clone() {
            looks.look(at("lobby.ca_file"), [file.clone()], move || {
                dial::add_ca_file(&mut RootCertStore::empty(), &file)
            });
        }
    }
    if config.embedded_lobby.enabled
        && let Some(files) = config.embedded_lobby.tls.clone()
    {
        let both = [files.certificate.clone(), files.key.clone()];
        // Which of the two it is stands in the error.
        let [certificate, key] =
            ["certificate_file", "key_file"].map(|it| at(&format!("embedded_lobby.{it}")));
        let pair = format!("{certificate}, {key}");
        looks.look(pair, both, move || files.load());
    }
    for (index, server) in config.ice.servers.iter().cloned().enumerate() {
        let file = server.auth.file().map(Path::to_owned);
        let key = match &server.auth {
            IceAuth::None => continue,
            IceAuth::Static { .. } => "credential_file",
            IceAuth::SharedSecret { .. } => "secret_file",
        };
        let place = at(&format!("ice.servers[{index}].{key}"));
        looks.look(place, file, move || ice::login(&server, now));
    }
    looks.faults().await
}

/// What is wrong with the embedded lobby's keys, as it would read them at its start. That makes them where there are
/// none.
pub async fn unusable_keys(config: &Config, state_dir: Option<&Path>) -> Vec<String> {
    let mut looks = Looks::default();
    if config.embedded_lobby.enabled
        && let Some(state_dir) = state_dir.map(Path::to_owned)
    {
        let file = state_dir.join(keys::FILE);
        looks.look(
            "embedded_lobby".to_owned(),
            [file],
            move || match Keys::load(&state_dir) {
                Err(KeysError::Missing { .. }) => Ok(()),
                other => other.map(drop),
            },
        );
    }
    looks.faults().await
}

/// Files that are read beside each other.
#[derive(Default)]
struct Looks(JoinSet<(usize, Option<String>)>);

impl Looks {
    /// Has `read` look at `files`, which the configuration names at this place.
    fn look<T: Send + 'static, E: fmt::Display + Send + 'static>(
        &mut self,
        place: String,
        files: impl IntoIterator<Item = PathBuf>,
        read: impl FnOnce() -> Result<T, E> + Send + 'static,
    ) {
        let files: Vec<PathBuf> = files.into_iter().collect();
        let index = self.0.len();
        self.0.spawn(async move {
            let fault = match Reader::default().read(READ_WITHIN, read).await {
                Some(Ok(_)) => None,
                Some(Err(error)) => Some(format!("{place}: {error}")),
                None => Some(format!("{place}: {}", files::late(&hanging(files).await))),
            };
            (index, fault)
        });
    }

    /// In the order of the looks.
    async fn faults(self) -> Vec<String> {
        let mut faults = self.0.join_all().await;
        faults.sort_by_key(|(index, _)| *index);
        faults.into_iter().filter_map(|(_, fault)| fault).collect()
    }
}

/// Those of the files whose reading does not end; all of them where none can be blamed.
async fn hanging(files: Vec<PathBuf>) -> Vec<PathBuf> {
    if files.len() < 2 {
        return files;
    }
    let mut late = Vec::new();
    for file in &files {
        let (reader, read) = (Reader::default(), file.clone());
        let ends = reader.read(ENDS_WITHIN, move || files::bounded(&read, PROBED));
        if ends.await.is_none() {
            late.push(file.clone());
        }
    }
    if late.is_empty() { files } else { late }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    #[test]
    fn what_only_others_may_read_is_no_fault() {
        let directory = tempfile::tempdir().unwrap();
        // Where there is no directory, there is nothing to be denied.
        let missing = std::fs::read(directory.path().join("x"))
            .unwrap_err()
            .to_string();
        let denied = io::Error::from_raw_os_error(13).to_string();
        assert_eq!(unusable(denied.clone(), false).level, Level::Note);
        assert_eq!(unusable(denied, true).level, Level::Fault);
        assert_eq!(unusable(missing, false).level, Level::Fault);
    }
}
