//! Wiring, start and stop order; the only file that knows everyone.

use std::{
    env, fs,
    io::{self, IsTerminal},
    net::SocketAddr,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::Context;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
    task::{JoinHandle, spawn_blocking},
    time::{sleep, timeout},
};
use tracing::{info, warn};
use url::Url;

use crate::{
    config::{Config, Lobby as LobbyConfig},
    files::{self, Reader},
    host::{self, HostError, HostStatus},
    lobby::{
        self, Lobby, LobbyError,
        keys::{self, Keys},
        link,
        tls::TlsFiles,
    },
    media::{
        self, MediaEvent,
        camera::{Camera, CameraSettings, status::CameraState},
        room,
    },
    metrics,
    network::{self, Network},
    say, sentence,
    signaling::{
        client::{self, ClientSettings, state::LineState},
        credentials::Credentials,
    },
    status::{
        observer::{Observer, Sources},
        socket::{self, StatusSocket},
    },
    systemd,
};

/// The life of a token for the embedded lobby; a new one is minted for every dial.
const EMBEDDED_TOKEN_TTL: Duration = Duration::from_secs(600);
/// Who the daemon is in its own lobby.
const EMBEDDED_SUBJECT: &str = "perch";
/// Messages between the line and the host that may wait on either side.
const LINE_QUEUE: usize = 256;
/// Who asks how the host is waits in a line of this length.
const QUESTIONS: usize = 4;
/// How long the embedded lobby's keys may take to be read or made.
const KEYS_WITHIN: Duration = Duration::from_secs(5);
/// How long the camera's driver may take to let go.
const CAMERA_STOPS_WITHIN: Duration = Duration::from_millis(500);
/// How long the line waits for the first picture: the first viewer gets the right offer then. A camera that
/// takes longer is waited for while the host is live.
const PICTURE_WITHIN: Duration = Duration::from_secs(3);
/// How long the last messages to the lobby may take once the host has let go of the line.
const LINE_ENDS_WITHIN: Duration = Duration::from_millis(500);

/// How long a thread for what may block lasts without work.
pub const IDLE_THREADS_LAST: Duration = Duration::from_secs(5);
/// Well before a thread ends for want of work, and too seldom for two to last that take turns.
const THREAD_WORKS_EVERY: Duration = Duration::from_secs(3);

/// How the process came to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// A device: keys are kept, the log is what one reads.
    Run,
    /// A try-out: the embedded lobby's keys are made for this run, the watch link is printed.
    Demo,
}

/// Goes live and stays so until SIGTERM or SIGINT.
pub async fn run(config: Config, mode: Mode) -> anyhow::Result<()> {
    // First: whoever reads that it starts may send it signals.
    let mut stop = Stop::listen()?;
    info!(
        event = "starting",
        version = env!("CARGO_PKG_VERSION"),
        gstreamer = media::devices::gstreamer_version(),
        "Perch starts"
    );
    let started = Instant::now();
    tokio::spawn(keep_a_thread());
    let metrics = bind_metrics(&config).await;
    let embedded = start_lobby(&config, mode).await?;

    let (media_events, media_reports) = mpsc::unbounded_channel();
    let camera = tokio::select! {
        camera = start_camera(&config, media_events) => camera?,
        () = stop.wait() => return Ok(()),
    };

    let (line, line_commands) = mpsc::channel(LINE_QUEUE);
    let (line_reports, line_events) = mpsc::channel(LINE_QUEUE);
    let (line_state, line_states) = watch::channel(LineState::default());
    let (network_shown, network) = watch::channel(Network::read().unwrap_or_default());
    tokio::spawn(network::follow(network_shown));
    let settings = line_settings(&config, embedded.as_ref())?;
    let line_task = tokio::spawn(client::run(
        settings,
        client::Links {
            commands: line_commands,
            events: line_reports,
            state: line_state,
            network: network.clone(),
        },
    ));

    let (status, statuses) = watch::channel(HostStatus::default());
    let title = config.stream.title.clone();
    let speaker = tokio::spawn(sentence::tell_systemd(
        title,
        statuses,
        line_states.clone(),
        camera.clone(),
    ));
    if let Some(embedded) = &embedded {
        embedded.announce(mode);
    }

    let (host, questions) = mpsc::channel(QUESTIONS);
    let observer = Observer::new(Sources {
        started,
        title: config.stream.title.clone(),
        lobby: shown_lobby(&config, embedded.as_ref()),
        embedded: embedded.is_some(),
        viewers_max: config.viewers.max,
        host,
        line: line_states,
        camera: camera.status(),
        counters: camera.counters(),
        room: room::for_another,
    });
    let status_socket = open_status_socket(observer.clone());
    let metrics = metrics.map(|bound| bound.serve(observer));
    let links = host::Links {
        camera: camera.clone(),
        media_events: media_reports,
        line,
        line_events,
        status,
        questions,
        watchdog: systemd::watchdog(),
        network,
    };
    let (spares, rates) = ((&config).into(), (&config).into());
    let outcome = host::run(&config.viewers, spares, rates, links, stop.wait()).await;
    systemd::stopping();
    speaker.abort();
    drop((status_socket, metrics));
    take_down(camera, line_task, embedded).await;
    if outcome.as_ref().is_err_and(HostError::is_hang) {
        // Whatever hangs may hang the process's end, too.
        systemd::trigger_watchdog();
    }
    outcome.context("the host had to stop")
}

/// Lets one thread never end: where the system gives no other, all that may block has its turn on that one. Without
/// any, tokio panics, and a branch whose figures are asked for goes with its task.
async fn keep_a_thread() {
    loop {
        let _ = spawn_blocking(|| ()).await;
        sleep(THREAD_WORKS_EVERY).await;
    }
}

async fn start_camera(
    config: &Config,
    events: mpsc::UnboundedSender<MediaEvent>,
) -> anyhow::Result<Camera> {
    // Looks through all plugins where there is no registry yet.
    spawn_blocking(media::init).await??;
    let camera = Camera::open(CameraSettings::from(config), events).await?;
    let mut status = camera.status();
    let settled = status.wait_for(|status| !matches!(status.state, CameraState::Starting { .. }));
    let _ = timeout(PICTURE_WITHIN, settled).await;
    Ok(camera)
}

fn line_settings(config: &Config, embedded: Option<&Embedded>) -> anyhow::Result<ClientSettings> {
    let (url, ca_file, credentials) = match (embedded, &config.lobby) {
        (Some(embedded), _) => (embedded.url()?, None, embedded.credentials()),
        (None, Some(LobbyConfig { url, ca_file, auth })) => {
            (url.clone(), ca_file.clone(), Credentials::from(auth))
        }
        (None, None) => anyhow::bail!("no lobby is configured: set [lobby] url"),
    };
    Ok(ClientSettings {
        url,
        ca_file,
        credentials,
        title: config.stream.title.clone(),
    })
}

/// A daemon whose figures nobody can read streams all the same.
async fn bind_metrics(config: &Config) -> Option<metrics::Bound> {
    if !config.metrics.enabled {
        return None;
    }
    match metrics::bind(config.metrics.listen).await {
        Ok(bound) => {
            info!(event = "metrics-open", address = %bound.addr(), "metrics are served");
            Some(bound)
        }
        Err(error) => {
            warn!(event = "metrics-missing", %error, "there are no metrics; all else goes on");
            None
        }
    }
}

/// A daemon that cannot be asked streams all the same.
fn open_status_socket(observer: Observer) -> Option<StatusSocket> {
    let path = socket::path(is_root())?;
    socket::open(&path, observer)
        .inspect_err(|error| info!(event = "status-socket-missing", %error, "`perch status` cannot ask this process"))
        .ok()
}

/// Where the lobby is, without anything that may be secret.
fn shown_lobby(config: &Config, embedded: Option<&Embedded>) -> String {
    match (embedded, &config.lobby) {
        (Some(embedded), _) => embedded.lobby.addr().to_string(),
        (None, Some(lobby)) => lobby.url.origin().ascii_serialization(),
        (None, None) => String::new(),
    }
}

/// The other way round than up: nobody is left speaking to something that is gone.
async fn take_down(camera: Camera, line: JoinHandle<()>, embedded: Option<Embedded>) {
    if timeout(CAMERA_STOPS_WITHIN, camera.stop()).await.is_err() {
        warn!(
            event = "camera-left-open",
            "the camera does not stop; its device is freed with the process"
        );
    }
    let _ = timeout(LINE_ENDS_WITHIN, line).await;
    if let Some(embedded) = embedded {
        embedded.lobby.shutdown().await;
    }
    info!(event = "stopped", "stopped");
}

/// The lobby inside this process, with what it takes to dial it and to watch.
struct Embedded {
    lobby: Lobby,
    keys: Keys,
    tls: Option<TlsFiles>,
}

async fn start_lobby(config: &Config, mode: Mode) -> anyhow::Result<Option<Embedded>> {
    if !config.embedded_lobby.enabled {
        return Ok(None);
    }
    let keys = match mode {
        Mode::Demo => Keys::random(),
        Mode::Run => {
            let dir = state_dir()?;
            fs::create_dir_all(&dir)
                .with_context(|| format!("cannot make the state directory {}", dir.display()))?;
            let file = dir.join(keys::FILE);
            Reader::default()
                .read(KEYS_WITHIN, move || Keys::load_or_create(&dir))
                .await
                .with_context(|| files::late(&[file]))??
        }
    };
    let lobby = lobby::start(lobby::Settings {
        listen: config.embedded_lobby.listen,
        secret: keys.secret.clone(),
        watch_key: keys.watch_key.clone(),
        tls: config.embedded_lobby.tls.clone(),
        limits: lobby::Limits::default(),
    })
    .await
    .map_err(|error| match (mode, error) {
        // There is no configuration to change.
        (Mode::Demo, LobbyError::Listen { listen, source }) => {
            let mend = mend_of_listening(listen, &source);
            anyhow::anyhow!("the demo's lobby cannot listen on {listen}: {source}; {mend}")
        }
        (_, error) => error.into(),
    })?;
    info!(event = "lobby-open", address = %lobby.addr(), "embedded lobby is open");
    Ok(Some(Embedded {
        lobby,
        keys,
        tls: config.embedded_lobby.tls.clone(),
    }))
}

/// What whoever starts the demo may do where it cannot listen.
fn mend_of_listening(listen: SocketAddr, error: &io::Error) -> String {
    if error.kind() != io::ErrorKind::AddrInUse {
        return "name an address of this machine, and a port that you may have, with `--listen`"
            .to_owned();
    }
    let port = listen.port().checked_add(1).unwrap_or(8080);
    let other = SocketAddr::new(listen.ip(), port);
    format!(
        "choose another port with `--listen {other}` (`make demo DEMO=\"--listen {other}\"`), \
         or stop the program that uses this one"
    )
}

impl Embedded {
    fn url(&self) -> anyhow::Result<Url> {
        Url::parse(&format!("http://{}/", self.lobby.own_addr()))
            .context("the embedded lobby's address is no URL")
    }

    fn credentials(&self) -> Credentials {
        Credentials::from_secret(
            self.keys.secret.clone(),
            EMBEDDED_SUBJECT,
            EMBEDDED_TOKEN_TTL,
        )
    }

    /// Shows the watch link to a person at a terminal. It is a key: it never goes to a log.
    fn announce(&self, mode: Mode) {
        if mode == Mode::Demo || io::stdout().is_terminal() {
            let links =
                link::watch_links(self.lobby.addr(), self.tls.as_ref(), &self.keys.watch_key);
            print_watch_link(&links);
        }
    }
}

/// `perch link`: the watch link of the device's embedded lobby, whose keys it only reads: made by another
/// user than the one that runs it, they would lock that one out.
pub fn show_link(config: &Config) -> anyhow::Result<()> {
    anyhow::ensure!(
        config.embedded_lobby.enabled,
        "there is no watch link: [embedded_lobby] enabled is false"
    );
    let listen = config.embedded_lobby.listen;
    anyhow::ensure!(
        listen.port() != 0,
        "with port 0 in [embedded_lobby] listen the port is another one at each start: set a port"
    );
    let dir = state_dir()?;
    let keys = files::in_time(&dir.join(keys::FILE), move || Keys::load(&dir))??;
    let links = match config.embedded_lobby.tls.clone() {
        None => link::watch_links(listen, None, &keys.watch_key),
        Some(tls) => {
            let certificate = tls.certificate.clone();
            let links = move || link::watch_links(listen, Some(&tls), &keys.watch_key);
            files::in_time(&certificate, links)?
        }
    };
    print_watch_link(&links);
    Ok(())
}

fn print_watch_link(links: &[String]) {
    say::line("\nWatch here:");
    for link in links {
        say::line(format_args!("  {link}"));
    }
    if let Some(code) = links.first().and_then(|link| link::qr_code(link)) {
        say::line(format_args!("\n{code}"));
    }
}

/// systemd's `StateDirectory=perch`.
pub(crate) const SYSTEM_STATE_DIR: &str = "/var/lib/perch";

/// Where keys live: systemd's StateDirectory, the system's place for root, else the user's own.
pub(crate) fn state_dir() -> anyhow::Result<PathBuf> {
    let dir = if let Some(dir) = env::var_os("STATE_DIRECTORY") {
        PathBuf::from(dir)
    } else if is_root() {
        PathBuf::from(SYSTEM_STATE_DIR)
    } else {
        env::var_os("XDG_STATE_HOME")
            .map(PathBuf::from)
            .or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state")))
            .context("no place for the embedded lobby's keys: set STATE_DIRECTORY")?
            .join("perch")
    };
    Ok(dir)
}

/// The owner of our own `/proc` entry is who we run as.
pub(crate) fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").is_ok_and(|entry| entry.uid() == 0)
}

/// SIGTERM and SIGINT, and SIGHUP from a terminal that goes away. Elsewhere SIGHUP does nothing: it asks
/// daemons to read their configuration again, which here takes a restart, and must not take the
/// picture from those who watch.
struct Stop {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    hang_up: tokio::signal::unix::Signal,
    by_terminal: bool,
}

impl Stop {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            by_terminal: io::stdin().is_terminal(),
        })
    }

    async fn wait(&mut self) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return info!(event = "stopping", "SIGTERM: stopping"),
                _ = self.interrupt.recv() => return info!(event = "stopping", "SIGINT: stopping"),
                _ = self.hang_up.recv() => {
                    if self.by_terminal {
                        return info!(event = "stopping", "SIGHUP: the terminal is gone, stopping");
                    }
                    info!(
                        event = "hangup-ignored",
                        "SIGHUP does nothing; the configuration is read at the start, so restart to change it"
                    );
                }
            }
        }
    }
}
