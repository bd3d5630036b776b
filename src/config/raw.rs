//! The merged layers as they were written, before anything is checked but the types.

use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    pub stream: Stream,
    pub camera: Camera,
    pub encoder: Encoder,
    pub audio: Audio,
    pub lobby: Lobby,
    pub viewers: Viewers,
    pub ice: Ice,
    pub metrics: Metrics,
    pub embedded_lobby: EmbeddedLobby,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stream {
    pub title: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Camera {
    pub profile: String,
    pub device: String,
    pub width: i64,
    pub height: i64,
    pub framerate: i64,
    pub idle: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Encoder {
    pub bitrate: i64,
    pub min_bitrate: i64,
    pub keyframe_interval: f64,
    pub second_rendition: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Audio {
    pub enabled: bool,
    pub device: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Lobby {
    pub url: String,
    pub ca_file: String,
    pub auth: LobbyAuth,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LobbyAuth {
    pub token_file: String,
    pub secret_file: String,
    pub subject: String,
    /// Seconds.
    pub ttl: i64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Viewers {
    pub max: i64,
    pub spare: i64,
    pub candidates: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ice {
    pub servers: Vec<IceServer>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct IceServer {
    #[serde(default)]
    pub url: String,
    #[serde(default)]
    pub username: String,
    #[serde(default)]
    pub credential_file: String,
    #[serde(default)]
    pub secret_file: String,
    /// Seconds.
    pub ttl: Option<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Metrics {
    pub enabled: bool,
    pub listen: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EmbeddedLobby {
    pub enabled: bool,
    pub listen: String,
    pub certificate_file: String,
    pub key_file: String,
}
