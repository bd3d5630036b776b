//! A lobby, the program live in it, and somebody who watches.

use std::{
    ffi::OsString,
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Result};
use jsonwebtoken::{EncodingKey, Header};
use serde_json::json;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use url::Url;

use crate::{
    journal::{Journal, Mark},
    lobby::Lobby,
    network::Network,
    program::{Launch, Program},
    proxy::Proxy,
    scenarios::PATIENCE,
    watcher::{Place, Watcher},
};

/// From a start to the first picture, on a machine that starts many programs at once.
const START_PATIENCE: Duration = Duration::from_secs(90);
/// The lobby's HS256 secret; nobody else meets this lobby.
pub const SECRET: &str = "known-to-the-suite-and-its-programs-alone";
/// Where a stage has its token, for [`Setting::token_file`].
pub const TOKEN: &str = "token";
/// Longer than any scenario.
pub const TOKEN_LIFE: Duration = Duration::from_secs(24 * 3600);

/// What all scenarios share.
pub struct World {
    pub perch: PathBuf,
    /// The repository.
    pub root: PathBuf,
    /// Where GStreamer finds the element that fails on command.
    pub plugins: PathBuf,
    /// Where logs are kept for people.
    pub artifacts: PathBuf,
    /// By the name of their scenario.
    pub journals: Mutex<Vec<(String, Journal)>>,
    pub certificate: str0m::config::DtlsCert,
    /// GStreamer's list of plugins: made once, not by every program.
    pub registry: PathBuf,
}

impl World {
    fn journal(&self, name: &str) -> Result<Journal> {
        let journal = Journal::new(&self.artifacts.join(format!("{name}.log")))?;
        let mut journals = self.journals.lock().expect("nothing panics under it");
        journals.push((name.to_owned(), journal.clone()));
        Ok(journal)
    }

    /// What a scenario's program has logged that no fault excuses.
    pub async fn complaint(&self, name: &str) -> Option<String> {
        let journal = {
            let journals = self.journals.lock().expect("nothing panics under it");
            let mut journals = journals.iter();
            journals.find(|(of, _)| of == name)?.1.clone()
        };
        journal.settled().await;
        journal.complaint()
    }
}

/// How a scenario wants its stage.
#[derive(Default)]
pub struct Setting {
    pub network: bool,
    /// A network that was prepared for it.
    pub given_network: Option<Network>,
    /// Where viewers have their sockets, if not beside the lobby.
    pub viewers_at: Option<IpAddr>,
    /// The program reaches the lobby through a proxy.
    pub proxied: bool,
    /// Further tables of the configuration; `{dir}` is the scenario's directory.
    pub config: String,
    /// Instead of a secret, the lobby's token is read from this file of the scenario's directory.
    pub token_file: Option<&'static str>,
    pub environment: Vec<(String, OsString)>,
    pub log_file: Option<PathBuf>,
    /// The lobby's address as the program is told it; `{port}` is the lobby's.
    pub lobby_url: Option<String>,
    /// The program is its own lobby, at this address.
    pub embedded: Option<SocketAddr>,
    /// What the camera's gates do at the start.
    pub source: &'static str,
}

pub struct Stage<'a> {
    pub world: &'a World,
    pub dir: TempDir,
    // Before the network: what runs in it goes first.
    pub program: Program,
    pub lobby: Lobby,
    pub proxy: Option<Proxy>,
    pub network: Option<Network>,
    /// Where viewers go instead of the suite's lobby, and its secret.
    pub elsewhere: Option<(Url, String)>,
    numbers: AtomicUsize,
    address: IpAddr,
}

/// What a scenario saw.
pub struct Outcome {
    pub gap: Duration,
    pub recovered: Duration,
    pub line: String,
}

impl<'a> Stage<'a> {
    /// Starts lobby and program; neither need be live when this returns.
    pub async fn set(world: &'a World, name: &str, mut setting: Setting) -> Result<Self> {
        let dir = TempDir::with_prefix("perch-faults-")?;
        let secret_file = dir.path().join("secret");
        fs::write(&secret_file, SECRET)?;
        fs::write(dir.path().join("source"), setting.source)?;
        let network = match (setting.given_network.take(), setting.network) {
            (Some(given), _) => Some(given),
            (None, wanted) => wanted.then(Network::new).transpose()?,
        };
        let near = network.as_ref().map(|network| IpAddr::V4(network.near));
        let host = near.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let lobby = Lobby::start(&world.root, &secret_file, host).await?;
        let proxy = match setting.proxied {
            true => Some(Proxy::start(&lobby.url, host).await?),
            false => None,
        };
        let url = proxy.as_ref().map_or(&lobby.url, |proxy| &proxy.url);
        let journal = world.journal(name)?;
        let address = setting.viewers_at.or(near);
        let launch = launch(world, dir.path(), network.as_ref(), url, setting)?;
        Ok(Self {
            world,
            program: Program::start(launch, journal),
            lobby,
            proxy,
            network,
            elsewhere: None,
            numbers: AtomicUsize::new(0),
            address: address.unwrap_or_else(swarm::crowd::own_address),
            dir,
        })
    }

    /// A stage with somebody who watches and has a picture.
    pub async fn watched(
        world: &'a World,
        name: &str,
        setting: Setting,
    ) -> Result<(Self, Watcher)> {
        let stage = Self::set(world, name, setting).await?;
        let watcher = stage.watcher();
        stage.moves(&watcher, START_PATIENCE).await?;
        watcher.mark();
        Ok((stage, watcher))
    }

    /// One more viewer that wants the picture for ever.
    pub fn watcher(&self) -> Watcher {
        Watcher::start(self.place(), self.number())
    }

    pub fn place(&self) -> Place {
        let usual = || (self.lobby.url.clone(), SECRET.to_owned());
        let (lobby, secret) = self.elsewhere.clone().unwrap_or_else(usual);
        Place {
            lobby,
            secret,
            address: self.address,
            certificate: self.world.certificate.clone(),
        }
    }

    pub fn number(&self) -> usize {
        self.numbers.fetch_add(1, Ordering::SeqCst)
    }

    /// Lets well-behaved or strange viewers in.
    pub fn door(&self) -> Result<swarm::crowd::Door> {
        let tokens = swarm::tokens::Tokens::from_secret(SECRET.as_bytes());
        swarm::crowd::Door::new(self.lobby.url.clone(), tokens, Some(self.address))
    }

    pub async fn moves(&self, watcher: &Watcher, patience: Duration) -> Result<()> {
        let moves = watcher.moves(patience).await;
        moves.with_context(|| {
            format!(
                "the program's last lines:\n{}",
                self.program.journal.tail(15)
            )
        })
    }

    /// Waits until all is well: the watcher's picture moves, and a new viewer gets one. How long that took.
    pub async fn well(&self, watcher: &Watcher, patience: Duration) -> Result<Duration> {
        let start = Instant::now();
        let fresh = self.watcher();
        let (old, new) = tokio::join!(self.moves(watcher, patience), self.moves(&fresh, patience));
        old.context("the watcher")?;
        new.context("a new viewer")?;
        Ok(start.elapsed())
    }

    /// Makes a gate of the camera do something.
    pub fn gate(&self, gate: &str, what: &str) -> Result<()> {
        // In one step: the element reads it at every buffer.
        let next = self.dir.path().join(format!("{gate}.next"));
        fs::write(&next, what)?;
        Ok(fs::rename(next, self.dir.path().join(gate))?)
    }

    /// The program's token is another one from now on; see [`token`].
    pub fn write_token(&self, life: Duration) -> Result<()> {
        Ok(fs::write(self.dir.path().join(TOKEN), token(life)?)?)
    }

    /// What the program answers on its address for metrics, which `Setting::config` has to enable.
    pub async fn ask(&self, path: &str) -> Result<String> {
        let words = ["event=\"metrics-open\""];
        let line = self.line(Mark::default(), &words, PATIENCE).await?;
        let (_, address) = line
            .split_once("address=")
            .context("it names its address")?;
        let mut stream = TcpStream::connect(address.trim()).await?;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut reply = String::new();
        timeout(PATIENCE, stream.read_to_string(&mut reply))
            .await
            .with_context(|| format!("no answer to {path}"))??;
        Ok(reply)
    }

    pub fn mark(&self) -> Mark {
        self.program.journal.mark()
    }

    pub async fn line(&self, mark: Mark, words: &[&str], patience: Duration) -> Result<String> {
        self.program.journal.wait(mark, words, patience).await
    }
}

fn launch(
    world: &World,
    dir: &Path,
    network: Option<&Network>,
    lobby: &Url,
    setting: Setting,
) -> Result<Launch> {
    let config = dir.join("perch.toml");
    let lobby = match setting.embedded {
        Some(listen) => format!("[embedded_lobby]\nenabled = true\nlisten = \"{listen}\"\n"),
        None => lobby_table(dir, lobby, &setting)?,
    };
    let text = format!(
        "[stream]\ntitle = \"Faults\"\n\
         [camera]\nprofile = \"faulty-device\"\ndevice = \"{}\"\nwidth = 320\nheight = 180\nframerate = 15\n\
         [encoder]\nbitrate = 300000\n\
         {lobby}{}",
        dir.join("source").display(),
        setting.config.replace("{dir}", &dir.display().to_string())
    );
    fs::write(&config, text)?;
    let mut words: Vec<OsString> = Vec::new();
    if let Some(network) = network {
        words.extend(["ip", "netns", "exec", &network.name].map(OsString::from));
    }
    words.push(world.perch.clone().into());
    words.extend(["run", "--config"].map(OsString::from));
    words.push(config.into());
    let mut environment: Vec<(String, OsString)> = [
        ("GST_PLUGIN_PATH", world.plugins.as_os_str()),
        ("GST_REGISTRY", world.registry.as_os_str()),
        (
            "PERCH_DATA_DIR",
            world.root.join("tests/faults").as_os_str(),
        ),
        ("FAULTGATE_DIR", dir.as_os_str()),
        ("STATE_DIRECTORY", dir.as_os_str()),
        ("RUNTIME_DIRECTORY", dir.as_os_str()),
        ("NO_COLOR", "1".as_ref()),
        ("PERCH_LOG", "warn,perch=info".as_ref()),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    environment.extend(setting.environment);
    Ok(Launch {
        words,
        environment,
        log_file: setting.log_file,
    })
}

fn lobby_table(dir: &Path, lobby: &Url, setting: &Setting) -> Result<String> {
    let auth = match setting.token_file {
        Some(file) => format!("token_file = \"{}\"", dir.join(file).display()),
        None => format!(
            "secret_file = \"{}\"\nsubject = \"camera\"",
            dir.join("secret").display()
        ),
    };
    let port = lobby.port().context("the lobby's port is known")?;
    let url = setting.lobby_url.as_ref().map_or_else(
        || lobby.to_string(),
        |url| url.replace("{port}", &port.to_string()),
    );
    Ok(format!("[lobby]\nurl = \"{url}\"\n[lobby.auth]\n{auth}\n"))
}

/// A token that ends after `life`; with none, it ended a minute ago.
fn token(life: Duration) -> Result<String> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let minute = Duration::from_secs(60);
    let end = if life.is_zero() {
        now - minute
    } else {
        now + life
    };
    let claims = json!({
        "sub": "camera",
        "iat": (now - 2 * minute).as_secs(),
        "exp": end.as_secs(),
    });
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    Ok(jsonwebtoken::encode(&Header::default(), &claims, &key)?)
}
