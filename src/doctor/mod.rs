//! `perch doctor`: what a technician needs on one screen, in order of what to mend first.
//!
//! Every check looks, and changes nothing. It has a time limit of its own and runs beside the others where it
//! can; what it cannot see it says. Nothing that it says holds a secret.

mod account;
mod board;
mod camera;
mod clock;
mod daemon;
mod disk;
mod ice;
mod line;
mod ports;
pub mod settings;
pub mod stun;

use std::{fmt, future::Future, path::Path, process::Stdio, time::Duration};

use serde::Serialize;
use tokio::{process::Command, task::spawn_blocking, time::timeout};

use self::{account::Account, daemon::Daemon};
use crate::{
    app,
    config::{Config, ConfigError, DemoOptions},
    status::many,
};

/// For one check.
const CHECK_ENDS_WITHIN: Duration = Duration::from_secs(5);
/// For a program that is asked.
const PROGRAM_ENDS_WITHIN: Duration = Duration::from_secs(3);

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Ok,
    /// Worth knowing; or something that could not be seen.
    Note,
    /// Something is to be done.
    Fault,
}

/// One line of the report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The check's stable name.
    pub check: &'static str,
    pub level: Level,
    pub what: String,
    /// What to do about it.
    pub mend: Option<String>,
}

impl Finding {
    fn ok(check: &'static str, what: impl Into<String>) -> Self {
        Self::new(check, Level::Ok, what, None)
    }

    fn note(check: &'static str, what: impl Into<String>) -> Self {
        Self::new(check, Level::Note, what, None)
    }

    fn fault(check: &'static str, what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self::new(check, Level::Fault, what, Some(mend.into()))
    }

    fn new(
        check: &'static str,
        level: Level,
        what: impl Into<String>,
        mend: Option<String>,
    ) -> Self {
        Self {
            check,
            level,
            what: what.into(),
            mend,
        }
    }
}

/// Everything that was found.
#[derive(Debug, Serialize)]
pub struct Report {
    pub version: &'static str,
    pub faults: usize,
    pub notes: usize,
    pub findings: Vec<Finding>,
}

impl Report {
    fn new(findings: Vec<Finding>) -> Self {
        let count = |level| findings.iter().filter(|found| found.level == level).count();
        Self {
            version: env!("CARGO_PKG_VERSION"),
            faults: count(Level::Fault),
            notes: count(Level::Note),
            findings,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for found in &self.findings {
            let level = match found.level {
                Level::Ok => "ok",
                Level::Note => "note",
                Level::Fault => "FAULT",
            };
            writeln!(f, "{level:<6} {:<14} {}", found.check, found.what)?;
            if let Some(mend) = &found.mend {
                writeln!(f, "{:<21} → {mend}", "")?;
            }
        }
        writeln!(
            f,
            "{}, {}",
            many(self.faults as u64, "fault"),
            many(self.notes as u64, "note")
        )
    }
}

/// Looks at everything. Ten seconds at the most, whatever hangs.
pub async fn examine(file: Option<&Path>) -> Report {
    let (settings, daemon, service) = tokio::join!(
        settings(file),
        limited("daemon", daemon::examine()),
        checked("service", daemon::service()),
    );
    let (mut findings, basis) = settings;
    let (mut daemon, mut running) = daemon.unwrap_or_else(|late| (vec![late], Daemon::Mute));
    if let Basis::Configured(config) | Basis::WithoutProfile(config) = &basis {
        let (judged, another) = running.beside(config);
        running = judged;
        if let Some(another) = another {
            daemon = vec![another];
        }
    }
    let board = checked("board", async {
        // Some of it is asked of the firmware, which may be gone.
        let looked = spawn_blocking(|| board::examine(Path::new("/sys")));
        looked.await.unwrap_or_default()
    });
    let clock = checked("clock", clock::examine());
    let disk = checked("disk", disk::examine());
    let (configured, board, clock, disk) =
        tokio::join!(configured(&basis, &running), board, clock, disk);
    let [camera, lobby, ice, ports] = configured;
    for found in [
        camera, board, clock, lobby, ice, ports, disk, service, daemon,
    ] {
        findings.extend(found);
    }
    Report::new(findings)
}

/// What the configuration's part of the checks goes by.
#[derive(Debug)]
enum Basis {
    Configured(Box<Config>),
    /// One that asks for a profile which cannot be had: camera and encoder are not looked at.
    WithoutProfile(Box<Config>),
    /// There is no configuration.
    Defaults(Box<Config>),
    /// There is one, and it cannot be used: what depends on it is not looked at.
    Unusable,
}

/// What depends on the configuration: camera and encoder, lobby, ICE servers, ports.
async fn configured(basis: &Basis, running: &Daemon) -> [Vec<Finding>; 4] {
    let (config, configured) = match basis {
        Basis::Configured(config) | Basis::WithoutProfile(config) => (config, true),
        Basis::Defaults(config) => (config, false),
        Basis::Unusable => return Default::default(),
    };
    let ports = checked("ports", async {
        // Defaults are nobody's wish.
        let listeners = configured.then(|| ports::examine(config, running));
        listeners.unwrap_or_default()
    });
    let camera = async {
        match basis {
            Basis::WithoutProfile(_) => Vec::new(),
            _ => camera::examine(config, running).await,
        }
    };
    tokio::join!(
        camera,
        line::examine(config, configured, running),
        ice::examine(config),
        ports,
    )
    .into()
}

/// What is to be said of the configuration, and what the rest goes by.
async fn settings(file: Option<&Path>) -> (Vec<Finding>, Basis) {
    let file = file.map(Path::to_owned);
    let read = async {
        let path = file.clone();
        let read = async {
            let load = spawn_blocking(move || {
                let config = Config::load_for_service(path.as_deref());
                let profile = config.as_ref().ok().and_then(settings::wrong_profile);
                (config, profile)
            });
            let (config, profile) = load.await.ok()?;
            let files = match &config {
                Ok(config) => settings::unusable_files(config).await,
                Err(_) => Vec::new(),
            };
            Some((config, profile, files))
        };
        let (account, read) = tokio::join!(Account::of_service(), read);
        let (config, profile, mut files) = read?;
        if let Ok(config) = &config {
            let state_dir = account.state_dir();
            files.extend(settings::unusable_keys(config, state_dir.as_deref()).await);
        }
        // Root reads everything, the service's user what the service reads.
        let sees_all = is_root() || account.is_us;
        let has_profile = profile.is_none();
        let found = settings::findings(file.as_deref(), &config, profile, files, sees_all);
        Some((found, config, has_profile))
    };
    let (mut found, basis) = match timeout(CHECK_ENDS_WITHIN, read).await {
        Ok(Some((found, Ok(config), true))) => (found, Basis::Configured(Box::new(config))),
        Ok(Some((found, Ok(config), false))) => (found, Basis::WithoutProfile(Box::new(config))),
        Ok(Some((found, Err(ConfigError::Missing { .. }), _))) => {
            (found, Basis::Defaults(Box::new(defaults())))
        }
        Ok(Some((found, Err(_), _))) => (found, Basis::Unusable),
        Ok(None) | Err(_) => (vec![late("configuration")], Basis::Unusable),
    };
    match basis {
        Basis::Unusable => found.push(settings::postponed(
            "camera, encoder, dns, lobby, ice and ports",
        )),
        Basis::WithoutProfile(_) => found.push(settings::postponed("camera and encoder")),
        Basis::Configured(_) | Basis::Defaults(_) => {}
    }
    (found, basis)
}

/// A configuration of nothing but defaults, save that it needs no lobby.
fn defaults() -> Config {
    let profile = Some("auto".to_owned());
    let options = DemoOptions {
        profile,
        ..DemoOptions::default()
    };
    // Variables of the environment are laid over it, and may be what is wrong.
    Config::demo(&options).unwrap_or_else(|_: ConfigError| {
        let text = "[embedded_lobby]\nenabled = true";
        Config::from_text(Path::new("default"), text).expect("the defaults are valid")
    })
}

/// A check within its limit.
async fn limited<T>(check: &'static str, work: impl Future<Output = T>) -> Result<T, Finding> {
    within(CHECK_ENDS_WITHIN, check, work).await
}

async fn within<T>(
    limit: Duration,
    check: &'static str,
    work: impl Future<Output = T>,
) -> Result<T, Finding> {
    timeout(limit, work).await.map_err(|_| late(check))
}

async fn checked(check: &'static str, work: impl Future<Output = Vec<Finding>>) -> Vec<Finding> {
    limited(check, work).await.unwrap_or_else(|late| vec![late])
}

fn late(check: &'static str) -> Finding {
    Finding::fault(
        check,
        format!(
            "did not come to an end within {} s",
            CHECK_ENDS_WITHIN.as_secs()
        ),
        "something below it hangs: see the kernel's log (dmesg) and the load (top)",
    )
}

/// What a program prints, if it is there, ends well and in time.
async fn output_of(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = timeout(PROGRAM_ENDS_WITHIN, output).await.ok()?.ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

fn is_root() -> bool {
    app::is_root()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_counts_and_tells_what_to_do() {
        let report = Report::new(vec![
            Finding::ok("camera", "there"),
            Finding::fault("lobby", "gone", "start it"),
            Finding::note("disk", "small"),
        ]);
        assert_eq!((report.faults, report.notes), (1, 1));
        assert_eq!(
            report.to_string(),
            "ok     camera         there\n\
             FAULT  lobby          gone\n                      → start it\n\
             note   disk           small\n\
             1 fault, 1 note\n"
        );
    }

    #[tokio::test]
    async fn a_check_that_hangs_is_a_fault() {
        let hangs = std::future::pending::<()>();
        let found = within(Duration::from_millis(10), "board", hangs).await;
        let found = found.expect_err("it never ends");
        assert_eq!((found.check, found.level), ("board", Level::Fault));
    }
}
