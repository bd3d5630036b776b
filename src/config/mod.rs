//! The TOML's structs, layers and validation. The reference of all keys is [`REFERENCE`].

#[cfg(test)]
mod documented;
pub mod duration;
mod ice;
mod layers;
mod problem;
mod raw;
mod schema;
#[cfg(test)]
mod tests;
mod validate;

use std::{
    collections::HashMap,
    env,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use url::Url;

use crate::{lobby::tls::TlsFiles, media::sdp::CandidatePolicy};

pub use problem::{ConfigError, Origin, Origins, Problem};
pub(crate) use problem::{position, shown};
pub(crate) use schema::nearest;
pub use validate::is_device_name;

use layers::{Layers, Place};
use validate::Bases;

/// The file that is read when no other is named.
pub const DEFAULT_FILE: &str = "/etc/perch/perch.toml";

/// Where systemd keeps what `LoadCredential=` has loaded for the unit as it is shipped.
const SERVICE_CREDENTIALS: &str = "/run/credentials/perch.service";

/// The defaults and, in its comments, the meaning of every key.
pub const REFERENCE: &str = include_str!("default.toml");

/// The whole configuration, validated.
#[derive(Debug, Clone)]
pub struct Config {
    pub stream: Stream,
    pub camera: Camera,
    pub encoder: Encoder,
    pub audio: Audio,
    pub lobby: Option<Lobby>,
    pub viewers: Viewers,
    pub ice: Ice,
    pub metrics: Metrics,
    pub embedded_lobby: EmbeddedLobby,
    /// Where all that was said: which cameras, profiles and files there are is known only later.
    pub origins: Origins,
}

#[derive(Debug, Clone)]
pub struct Stream {
    /// What the lobby's list shows; 1 to 120 characters.
    pub title: String,
}

#[derive(Debug, Clone)]
pub struct Camera {
    /// A profile's name, or `auto`.
    pub profile: String,
    /// A device path such as `/dev/video0`, or empty for the profile's own choice.
    pub device: String,
    /// Pixels.
    pub width: u32,
    pub height: u32,
    /// Frames per second.
    pub framerate: u32,
    pub idle: Idle,
}

/// What the device does while nobody watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Idle {
    /// Source and encoder run.
    #[default]
    Warm,
    /// The source runs, and the encoder is given no frames.
    EncoderOff,
    /// Camera and microphone are closed, from the start on until somebody watches.
    CameraOff,
}

#[derive(Debug, Clone)]
pub struct Encoder {
    /// Bit/s, at most.
    pub bitrate: u32,
    /// Bit/s, at least: what the picture may be lowered to for viewers who cannot take more.
    pub min_bitrate: u32,
    /// Longest distance between two keyframes.
    pub keyframe_interval: Duration,
    /// Whether viewers who cannot take even that are sent a smaller picture.
    pub second_rendition: bool,
}

impl Encoder {
    /// The least that any picture is encoded at, in bit/s.
    const LEAST: u32 = 50_000;

    /// The least and the most for the smaller picture, in bit/s: less than the other's least, or it would be of no use.
    pub fn second_bitrates(&self) -> Option<(u32, u32)> {
        let most = (self.min_bitrate / 5 * 4).max(Self::LEAST);
        let least = (most / 4).max(Self::LEAST);
        self.second_rendition.then_some((least, most))
    }
}

#[derive(Debug, Clone)]
pub struct Audio {
    pub enabled: bool,
    /// An ALSA device such as `hw:1,0`, or empty for the profile's own choice.
    pub device: String,
}

#[derive(Debug, Clone)]
pub struct Lobby {
    pub url: Url,
    pub ca_file: Option<PathBuf>,
    pub auth: LobbyAuth,
}

#[derive(Debug, Clone)]
pub enum LobbyAuth {
    /// A JWT in a file, read again for every dial.
    TokenFile(PathBuf),
    /// The lobby's HS256 secret in a file; a token for `subject` is minted for every dial.
    SecretFile {
        secret_file: PathBuf,
        subject: String,
        ttl: Duration,
    },
}

#[derive(Debug, Clone)]
pub struct Viewers {
    pub max: usize,
    /// How many branches are kept ready for whoever comes next.
    pub spare: usize,
    pub candidates: CandidatePolicy,
}

#[derive(Debug, Clone)]
pub struct Ice {
    pub servers: Vec<IceServer>,
}

#[derive(Debug, Clone)]
pub struct IceServer {
    /// `stun:host:port`, `turn:host:port?transport=udp|tcp` or `turns:host:port` (RFC 7064, RFC 7065).
    pub url: String,
    pub auth: IceAuth,
}

#[derive(Debug, Clone)]
pub enum IceAuth {
    /// A STUN server asks for nothing.
    None,
    /// A fixed user name and the file that holds its password.
    Static {
        username: String,
        credential_file: PathBuf,
    },
    /// Short-lived credentials from a shared secret (draft-uberti-behave-turn-rest-00).
    SharedSecret {
        username: String,
        secret_file: PathBuf,
        ttl: Duration,
    },
}

impl IceAuth {
    /// The file that is read for it.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::None => None,
            Self::Static {
                credential_file: file,
                ..
            }
            | Self::SharedSecret {
                secret_file: file, ..
            } => Some(file),
        }
    }
}

#[derive(Debug, Clone)]
pub struct Metrics {
    pub enabled: bool,
    pub listen: SocketAddr,
}

#[derive(Debug, Clone)]
pub struct EmbeddedLobby {
    pub enabled: bool,
    pub listen: SocketAddr,
    /// Nothing: plain HTTP.
    pub tls: Option<TlsFiles>,
}

/// What `perch demo` is told on the command line.
#[derive(Debug, Clone, Default)]
pub struct DemoOptions {
    pub listen: Option<SocketAddr>,
    pub audio: bool,
    pub profile: Option<String>,
}

impl Config {
    /// The configuration of `run` and `check`: the defaults, `file` (or [`DEFAULT_FILE`]), the
    /// `conf.d` beside it, and the environment.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        Self::from_layers(file, Path::new(DEFAULT_FILE), &environment()?)
    }

    /// As [`Config::load`], for whoever asks in the service's stead: the credentials that systemd has loaded for
    /// it are found while it runs, by those who may read them.
    pub fn load_for_service(file: Option<&Path>) -> Result<Self, ConfigError> {
        let mut environment = environment()?;
        if Path::new(SERVICE_CREDENTIALS).exists() {
            let variable = environment.0.entry("CREDENTIALS_DIRECTORY".to_owned());
            variable.or_insert_with(|| SERVICE_CREDENTIALS.to_owned());
        }
        Self::from_layers(file, Path::new(DEFAULT_FILE), &environment)
    }

    /// The configuration of `demo`: the defaults with the embedded lobby and the test picture, the
    /// environment, and the command line. No file is read.
    pub fn demo(options: &DemoOptions) -> Result<Self, ConfigError> {
        Self::demo_with(options, &environment()?)
    }

    /// As [`Config::load`], for whoever asks about the cameras alone. That is asked before there is a lobby, or any
    /// configuration: with the file that comes with the package, all of it commented.
    pub fn load_for_devices(file: Option<&Path>) -> Result<Self, ConfigError> {
        Self::for_devices(file, Path::new(DEFAULT_FILE), &environment()?)
    }

    /// A configuration that is one text and the defaults. `name` stands for the file in messages.
    pub fn from_text(name: &Path, text: &str) -> Result<Self, ConfigError> {
        let mut layers = with_defaults();
        layers.add_text(text, &Place::File { path: name, text });
        finish(layers, &Bases::default())
    }

    fn from_layers(
        file: Option<&Path>,
        default_file: &Path,
        environment: &Environment,
    ) -> Result<Self, ConfigError> {
        let path = file.unwrap_or(default_file);
        match layers(file, path, environment)? {
            Some(layers) => finish(layers, &environment.beside(path)),
            None => Err(ConfigError::Missing {
                path: path.to_owned(),
            }),
        }
    }

    fn for_devices(
        file: Option<&Path>,
        default_file: &Path,
        environment: &Environment,
    ) -> Result<Self, ConfigError> {
        let path = file.unwrap_or(default_file);
        let mut layers = layers(file, path, environment)?.unwrap_or_else(with_defaults);
        // Any lobby will do: nobody is going to open it.
        for key in [
            "url",
            "ca_file",
            "auth.token_file",
            "auth.secret_file",
            "auth.subject",
        ] {
            layers.add_argument("devices", &format!("lobby.{key}"), "");
        }
        layers.add_argument("devices", "embedded_lobby.enabled", true);
        finish(layers, &environment.beside(path))
    }

    fn demo_with(options: &DemoOptions, environment: &Environment) -> Result<Self, ConfigError> {
        let mut layers = with_defaults();
        layers.add_argument("demo", "camera.profile", "test");
        layers.add_argument("demo", "stream.title", "Perch demo");
        layers.add_environment(environment.pairs());
        layers.add_argument("demo", "embedded_lobby.enabled", true);
        if let Some(listen) = options.listen {
            layers.add_argument("--listen", "embedded_lobby.listen", listen.to_string());
        }
        if options.audio {
            layers.add_argument("--audio", "audio.enabled", true);
        }
        if let Some(profile) = &options.profile {
            layers.add_argument("--profile", "camera.profile", profile.clone());
        }
        finish(layers, &environment.bases(PathBuf::new()))
    }
}

/// The variables that configure, and systemd's directory of credentials.
#[derive(Debug, Clone, Default)]
struct Environment(HashMap<String, String>);

impl Environment {
    fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// For the file at `path`.
    fn beside(&self, path: &Path) -> Bases {
        self.bases(path.parent().unwrap_or(Path::new("")).to_owned())
    }

    fn bases(&self, directory: PathBuf) -> Bases {
        Bases {
            directory,
            credentials: self.0.get("CREDENTIALS_DIRECTORY").map(PathBuf::from),
        }
    }
}

fn environment() -> Result<Environment, ConfigError> {
    let mut variables = HashMap::new();
    let mut problems = Vec::new();
    for (name, value) in env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if !layers::is_configuration(&name) && name != "CREDENTIALS_DIRECTORY" {
            continue;
        }
        match value.into_string() {
            Ok(value) => {
                variables.insert(name, value);
            }
            Err(_) => problems.push(Problem {
                origin: Origin::Environment(name),
                key: String::new(),
                message: "its value is not UTF-8".to_owned(),
            }),
        }
    }
    if problems.is_empty() {
        Ok(Environment(variables))
    } else {
        Err(ConfigError::Problems(problems))
    }
}

fn with_defaults() -> Layers {
    let mut layers = Layers::default();
    layers.add_text(REFERENCE, &Place::Whole(Origin::Default));
    layers
}

/// The defaults, the file at `path`, the `conf.d` beside it, and the environment; nothing where there is but the
/// first of them. `asked` is the file that somebody asked for: that one has to be there.
fn layers(
    asked: Option<&Path>,
    path: &Path,
    environment: &Environment,
) -> Result<Option<Layers>, ConfigError> {
    let directory = path.parent().unwrap_or(Path::new(""));
    let mut layers = with_defaults();
    let present = asked.is_some() || path.exists();
    if present {
        layers.add_file(path)?;
    }
    let more = layers.add_directory(&directory.join("conf.d"))?;
    let variables = layers.add_environment(environment.pairs());
    Ok((present || more || variables).then_some(layers))
}

fn finish(layers: Layers, bases: &Bases) -> Result<Config, ConfigError> {
    let raw = match layers.merged() {
        Ok(raw) => raw,
        // Every value has its type by now, so this is only a second line of defence.
        Err(error) => {
            let mut problems = layers.problems;
            problems.push(Problem {
                origin: Origin::Default,
                key: String::new(),
                message: error.to_string(),
            });
            return Err(ConfigError::Problems(problems));
        }
    };
    validate::validate(&raw, bases, layers.origins, layers.problems).map_err(ConfigError::Problems)
}
