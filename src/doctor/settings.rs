//! The configuration and the files that it names.

use std::{io, path::Path, time::SystemTime};

use rustls::RootCertStore;

use super::Finding;
use crate::{
    config::{self, Config, ConfigError},
    media::{devices, ice::IceServers, profile::ProfileError},
    signaling::{credentials::Credentials, dial},
};

const CHECK: &str = "configuration";

/// `profile`: what is wrong with the one that is asked for. `sees_all`: whether a file that cannot be read cannot be
/// read by the service either.
pub(super) fn findings(
    file: Option<&Path>,
    config: &Result<Config, ConfigError>,
    profile: Option<Finding>,
    sees_all: bool,
) -> Vec<Finding> {
    let path = file.unwrap_or(Path::new(config::DEFAULT_FILE));
    match config {
        Ok(config) => {
            let files = unusable_files(config)
                .into_iter()
                .map(|fault| unusable(fault, sees_all));
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
        ProfileError::Invalid { .. } => "mend that file, or take it away; `perch check` asks again",
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
    let mend = "check the path and that perch's user may read it; `perch check` asks again";
    Finding::fault(CHECK, fault, mend)
}

/// What the configuration's files lack. Read as the daemon would, so the user matters.
pub fn unusable_files(config: &Config) -> Vec<String> {
    let now = SystemTime::now();
    let mut faults = Vec::new();
    if let Some(lobby) = &config.lobby {
        if let Err(error) = Credentials::from(&lobby.auth).fresh(now) {
            faults.push(format!("lobby.auth: {error}"));
        }
        if let Some(file) = &lobby.ca_file
            && let Err(error) = dial::add_ca_file(&mut RootCertStore::empty(), file)
        {
            faults.push(format!("lobby.ca_file: {error}"));
        }
    }
    if config.embedded_lobby.enabled
        && let Some(files) = &config.embedded_lobby.tls
        && let Err(error) = files.load()
    {
        faults.push(format!(
            "embedded_lobby.certificate_file, key_file: {error}"
        ));
    }
    if let Err(error) = IceServers::new(&config.ice).uris(now) {
        faults.push(format!("ice.servers: {error}"));
    }
    faults
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
