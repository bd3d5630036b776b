//! The command line: what can be asked of the program, and with which exit code it answers.

mod arguments;

use std::{
    fmt::Write as _,
    path::Path,
    process::ExitCode,
    time::{Duration, SystemTime},
};

use clap::{CommandFactory as _, FromArgMatches as _};

use self::arguments::{Arguments, Ask, Command, Demo, Examine, Token};

use crate::{
    app::{self, Mode},
    config::{Config, ConfigError, DemoOptions, Lobby, LobbyAuth, duration},
    doctor::{
        self,
        settings::{unusable_files, unusable_keys},
    },
    files,
    lobby::{self, LobbyError, keys::KeysError},
    media::{self, branch, camera::CameraError, check, devices},
    say,
    signaling::credentials,
    status::socket,
    telemetry,
};

/// `EX_CONFIG` of sysexits(3): nothing changes by starting again. The systemd unit does not restart
/// after it (`RestartPreventExitStatus=`).
const EX_CONFIG: u8 = 78;

/// Does what the command line asks for.
pub fn main() -> ExitCode {
    match arguments().command {
        Command::Run(file) => serve(Mode::Run, || Config::load(file.config.as_deref())),
        Command::Demo(demo) => serve(Mode::Demo, || Config::demo(&demo.into())),
        Command::Check(file) => check(file.config.as_deref()),
        Command::Devices(file) => answer(list_devices(file.config.as_deref())),
        Command::Doctor(examine) => see_doctor(&examine),
        Command::Status(ask) => answer(show_status(&ask)),
        Command::Link(file) => answer(show_link(file.config.as_deref())),
        Command::Token(token) => answer(print_token(&token)),
    }
}

/// clap's version is a constant, but GStreamer's is known only here.
fn arguments() -> Arguments {
    let version = format!(
        "{} ({})",
        env!("CARGO_PKG_VERSION"),
        devices::gstreamer_version()
    );
    let matches = Arguments::command().version(version).get_matches();
    Arguments::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}

impl From<Demo> for DemoOptions {
    fn from(demo: Demo) -> Self {
        Self {
            listen: demo.listen,
            audio: demo.audio,
            profile: demo.profile,
        }
    }
}

/// How long work on blocking threads may still take once everything has been taken down.
const LEFTOVERS_END_WITHIN: Duration = Duration::from_millis(300);
/// How long a certificate that is being made is waited for: within the next.
const CERTIFICATE_WITHIN: Duration = Duration::from_secs(2);
/// How long the process may take to end once everything has been taken down.
const EXIT_WITHIN: Duration = Duration::from_secs(3);

/// `run` and `demo`: everything that is said goes to the log.
fn serve(mode: Mode, config: impl FnOnce() -> Result<Config, ConfigError>) -> ExitCode {
    if let Err(why) = telemetry::init() {
        say::complaint(format_args!("perch: {why}"));
        return EX_CONFIG.into();
    }
    let outcome = config().map_err(anyhow::Error::from).and_then(|config| {
        let runtime = runtime()?;
        let outcome = runtime.block_on(app::run(config, mode));
        end_for_certain();
        // A call into GStreamer that hangs would be waited for, and only our end can end it.
        runtime.shutdown_timeout(LEFTOVERS_END_WITHIN);
        media::certificate::settle(CERTIFICATE_WITHIN);
        outcome
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One event for each line: a journal shows events.
            for line in for_the_journal(&error) {
                tracing::error!(event = "failed", "{line}");
            }
            exit_code(&error)
        }
    }
}

/// libc's exit(3) runs what libraries left to be done at the end; a driver's or an encoder's stuck thread may
/// hold a lock that one of them needs. Then the process aborts instead.
fn end_for_certain() {
    // Without a thread for it, systemd's TimeoutStopSec= does the same.
    let _ = std::thread::Builder::new().spawn(|| {
        std::thread::sleep(EXIT_WITHIN);
        std::process::abort();
    });
}

fn exit_code(error: &anyhow::Error) -> ExitCode {
    // A file whose place has yet to be mounted is waited for by the unit (RequiresMountsFor=).
    let of_configuration = error.is::<ConfigError>()
        || matches!(error.downcast_ref(), Some(LobbyError::Tls(_)))
        // Somebody has to see to the file. (Room on a disk may come by itself.)
        || matches!(
            error.downcast_ref(),
            Some(KeysError::Exposed { .. } | KeysError::Corrupt { .. })
        )
        // Plugins and profiles do not come by themselves. (A camera may: that is waited for.)
        || matches!(
            error.downcast_ref(),
            Some(CameraError::Unbuildable(_) | CameraError::Profile(_))
        );
    if of_configuration {
        EX_CONFIG.into()
    } else {
        ExitCode::FAILURE
    }
}

/// What may wait besides branches: for the camera and its encoder, the sound, names and credentials.
const OTHER_THREADS: usize = 8;

/// Two threads carry messages; what waits for GStreamer has a bounded number of its own.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(branch::THREADS + OTHER_THREADS)
        .thread_keep_alive(app::IDLE_THREADS_LAST)
        .enable_all()
        .build()?)
}

/// An error with its causes, except for those that it names in its own words.
fn told(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// One line for each thing that is wrong. What a person at a terminal is shown of how to write a
/// configuration stays with `perch check`.
fn for_the_journal(error: &anyhow::Error) -> Vec<String> {
    let text = told(error);
    let lines = text.lines().filter(|line| !line.is_empty());
    match error.downcast_ref() {
        Some(ConfigError::Missing { .. }) => lines
            .take(1)
            .map(|line| format!("{line} `perch check` shows how to write one."))
            .collect(),
        _ => lines.map(str::to_owned).collect(),
    }
}

/// The result of a command that is asked by a person: to standard output, or why there is none.
fn answer(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say::complaint(format_args!("perch: {}", told(&error)));
            ExitCode::FAILURE
        }
    }
}

fn check(file: Option<&Path>) -> ExitCode {
    let config = match Config::load(file) {
        Ok(config) => config,
        Err(error) => {
            say::complaint(error);
            return ExitCode::FAILURE;
        }
    };
    say::text(summary(&config));
    let mut faults = match look_at_files(&config) {
        Ok(faults) => faults,
        Err(error) => return answer(Err(error)),
    };
    match media::init() {
        Ok(()) => {
            let report = check::check(&config);
            if let Some(picture) = report.picture() {
                say::line(format_args!("picture  {picture}"));
            }
            for remark in &report.remarks {
                say::line(format_args!("note: {remark}"));
            }
            faults.extend(report.faults.iter().map(ToString::to_string));
        }
        Err(error) => faults.push(error.to_string()),
    }
    for fault in &faults {
        say::complaint(format_args!("fault: {fault}"));
    }
    if faults.is_empty() {
        say::line("ok");
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// What hangs is left behind: its thread ends with the process.
fn look_at_files(config: &Config) -> anyhow::Result<Vec<String>> {
    let runtime = runtime()?;
    let faults = runtime.block_on(async {
        let mut faults = unusable_files(config).await;
        let state_dir = app::state_dir().ok();
        faults.extend(unusable_keys(config, state_dir.as_deref()).await);
        faults
    });
    runtime.shutdown_timeout(Duration::ZERO);
    Ok(faults)
}

/// What `run` would do, in a few lines.
fn summary(config: &Config) -> String {
    let mut text = String::new();
    let mut line = |what: &str, how: String| {
        let _ = writeln!(text, "{what:<8} {how}");
    };
    line("stream", format!("{:?}", config.stream.title));
    line(
        "camera",
        format!(
            "{}×{} at {} fps, {} kbit/s, a keyframe at least every {} s, {}",
            config.camera.width,
            config.camera.height,
            config.camera.framerate,
            config.encoder.bitrate / 1000,
            config.encoder.keyframe_interval.as_secs_f64(),
            if config.audio.enabled {
                "with sound"
            } else {
                "without sound"
            },
        ),
    );
    match &config.lobby {
        Some(Lobby { url, auth, .. }) => {
            let how = match auth {
                LobbyAuth::TokenFile(file) => format!("the token in {}", file.display()),
                LobbyAuth::SecretFile {
                    secret_file,
                    subject,
                    ttl,
                } => format!(
                    "tokens for {subject:?}, valid for {} s, minted with {}",
                    ttl.as_secs(),
                    secret_file.display()
                ),
            };
            line("lobby", format!("{url}, signing in with {how}"));
        }
        None => {
            let page = if lobby::page_is_included() {
                "with its page"
            } else {
                "without a page (not included in this build)"
            };
            line(
                "lobby",
                format!("embedded, on {}, {page}", config.embedded_lobby.listen),
            );
        }
    }
    line("viewers", format!("at most {}", config.viewers.max));
    for server in &config.ice.servers {
        line("ice", server.url.clone());
    }
    text
}

fn list_devices(file: Option<&Path>) -> anyhow::Result<()> {
    let config = Config::load_for_devices(file)?;
    media::init()?;
    say::line(devices::inventory(&config)?);
    Ok(())
}

fn show_link(file: Option<&Path>) -> anyhow::Result<()> {
    app::show_link(&Config::load(file)?)
}

/// What hangs is left behind: its thread ends with the process.
fn see_doctor(examine: &Examine) -> ExitCode {
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => return answer(Err(error)),
    };
    let report = runtime.block_on(doctor::examine(examine.file.config.as_deref()));
    runtime.shutdown_timeout(LEFTOVERS_END_WITHIN);
    if examine.json {
        match serde_json::to_string_pretty(&report) {
            Ok(text) => say::line(text),
            Err(error) => return answer(Err(error.into())),
        }
    } else {
        say::text(&report);
    }
    if report.faults == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn show_status(ask: &Ask) -> anyhow::Result<()> {
    let path = socket::path_to_ask(app::is_root());
    let status = socket::ask(&path, socket::PATIENCE)?;
    if ask.json {
        say::line(serde_json::to_string_pretty(&status)?);
    } else {
        say::text(&status);
    }
    Ok(())
}

fn print_token(token: &Token) -> anyhow::Result<()> {
    let file = token.secret_file.clone();
    let secret = files::in_time(&token.secret_file, move || credentials::read_secret(&file))??;
    let minted = credentials::mint(&secret, &token.subject, token.ttl, SystemTime::now())?;
    say::line(minted.expose());
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{io, path::PathBuf};

    use super::*;
    use crate::{lobby::tls::TlsError, media::profile::ProfileError};

    #[test]
    fn a_cause_that_an_error_names_itself_is_not_said_again() {
        let taken = io::Error::from(io::ErrorKind::AddrInUse);
        let said = format!("cannot listen: {taken}");
        let error = anyhow::Error::from(taken).context(said.clone());
        assert_eq!(told(&error), said);
        let error = error.context("no lobby");
        assert_eq!(told(&error), format!("no lobby: {said}"));
    }

    #[test]
    fn the_journal_is_spared_the_lesson_for_the_terminal() {
        let path = PathBuf::from("perch.toml");
        let lines = for_the_journal(&ConfigError::Missing { path }.into());
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains("perch.toml"), "{lines:?}");
        let wrong = Config::from_text(Path::new("perch.toml"), "[camera]\nwidth = 3\nheight = 3");
        let lines = for_the_journal(&wrong.expect_err("3 is odd").into());
        assert!(lines.len() >= 2, "{lines:?}");
    }

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_help_names_the_file_that_is_read_by_default() {
        let mut command = Arguments::command();
        let run = command.find_subcommand_mut("run").expect("it is there");
        let help = run.render_help().to_string();
        assert!(help.contains(crate::config::DEFAULT_FILE), "{help}");
    }

    #[test]
    fn only_what_a_restart_cannot_mend_is_a_configuration_error() {
        let text = |text: &str| Config::from_text(Path::new("perch.toml"), text);
        let wrong = text("[camera]\nwidth = 3").expect_err("3 is odd");
        assert_eq!(exit_code(&wrong.into()), EX_CONFIG.into());
        let missing = ConfigError::Missing {
            path: "perch.toml".into(),
        };
        assert_eq!(exit_code(&missing.into()), EX_CONFIG.into());
        let unreadable = ConfigError::Unreadable {
            path: "perch.toml".into(),
            source: io::ErrorKind::PermissionDenied.into(),
        };
        assert_eq!(exit_code(&unreadable.into()), EX_CONFIG.into());
        let pair = TlsError::NotAPair {
            certificate: "lobby.pem".into(),
            key: "lobby.key".into(),
        };
        let no_tls = anyhow::Error::from(LobbyError::from(pair));
        assert_eq!(exit_code(&no_tls), EX_CONFIG.into());
        let exposed = KeysError::Exposed {
            path: "lobby-keys.toml".into(),
            mode: 0o644,
        };
        assert_eq!(exit_code(&exposed.into()), EX_CONFIG.into());
        let full = KeysError::NoRoom {
            dir: "/var/lib/perch".into(),
        };
        assert_eq!(exit_code(&full.into()), ExitCode::FAILURE);
        let hangs = CameraError::Hangs(String::new());
        assert_eq!(exit_code(&hangs.into()), ExitCode::FAILURE);
        let unknown = CameraError::Profile(ProfileError::Unknown {
            origin: crate::config::Origin::Default,
            name: "x".into(),
            hint: String::new(),
            known: String::new(),
        });
        let wrapped = anyhow::Error::from(unknown).context("the camera cannot start");
        assert_eq!(exit_code(&wrapped), EX_CONFIG.into());
        let broken = CameraError::Unbuildable(String::new());
        assert_eq!(exit_code(&broken.into()), EX_CONFIG.into());
        assert_eq!(exit_code(&anyhow::anyhow!("other")), ExitCode::FAILURE);
    }
}
