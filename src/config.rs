//! The TOML's structs, layers and validation.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use url::Url;

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
    pub embedded_lobby: EmbeddedLobby,
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
}

#[derive(Debug, Clone)]
pub struct Encoder {
    /// Bit/s.
    pub bitrate: u32,
    /// Longest distance between two keyframes.
    pub keyframe_interval: Duration,
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

#[derive(Debug, Clone)]
pub struct EmbeddedLobby {
    pub enabled: bool,
    pub listen: SocketAddr,
}
