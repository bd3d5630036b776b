//! The rules: raw values to a [`Config`], or everything that is wrong with them. The only question
//! asked of the system is whether a credential is there.

use std::{
    net::SocketAddr,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

use url::Url;

use super::{
    Audio, Camera, Config, EmbeddedLobby, Encoder, Ice, IceAuth, IceServer, Idle, Lobby, LobbyAuth,
    Metrics, Stream, Viewers, ice,
    problem::{Origins, Problem, shown},
    raw::{self, Raw},
    schema,
};
use crate::{lobby::tls::TlsFiles, media::sdp::CandidatePolicy};

const SHORTEST_TTL: i64 = 30;
const LONGEST_TTL: i64 = 30 * 24 * 60 * 60;
/// Of TURN credentials, where nothing else is said.
const ICE_TTL: i64 = 24 * 60 * 60;
/// The user name part of short-lived TURN credentials, where nothing else is said.
const ICE_USERNAME: &str = "perch";
/// Characters, of names that other systems gave.
const LONGEST_NAME: usize = 200;

/// Where relative paths start, and where credentials are.
#[derive(Debug, Clone, Default)]
pub(super) struct Bases {
    /// The configuration file's directory.
    pub directory: PathBuf,
    /// systemd's `$CREDENTIALS_DIRECTORY`.
    pub credentials: Option<PathBuf>,
}

/// Whether `text` may name a device in a pipeline: nothing in it can end a quoted value or begin
/// another element there.
pub fn is_device_name(text: &str) -> bool {
    text.chars()
        .all(|character| character.is_ascii_alphanumeric() || "/._:=,@+- ".contains(character))
}

/// Schemes may be written in capitals (RFC 3986); nobody further in should have to know.
fn with_small_scheme(url: &str) -> String {
    match url.split_once(':') {
        Some((scheme, rest)) => format!("{}:{rest}", scheme.to_ascii_lowercase()),
        None => url.to_owned(),
    }
}

/// Checks everything; what is wrong is added to `problems`.
pub(super) fn validate(
    raw: &Raw,
    bases: &Bases,
    origins: Origins,
    problems: Vec<Problem>,
) -> Result<Config, Vec<Problem>> {
    let mut check = Check {
        bases,
        origins,
        problems,
    };
    let mut config = Config {
        stream: Stream {
            title: check.title(&raw.stream.title),
        },
        camera: check.camera(&raw.camera),
        encoder: check.encoder(&raw.encoder),
        audio: Audio {
            enabled: raw.audio.enabled,
            device: check.device("audio.device", &raw.audio.device),
        },
        lobby: check.lobby(&raw.lobby),
        viewers: Viewers {
            max: check.integer("viewers.max", raw.viewers.max, 1..=500),
            spare: check.integer("viewers.spare", raw.viewers.spare, 0..=8),
            candidates: check.candidates(&raw.viewers.candidates),
        },
        ice: Ice {
            servers: check.ice_servers(&raw.ice.servers),
        },
        metrics: Metrics {
            enabled: raw.metrics.enabled,
            listen: check.listen("metrics.listen", &raw.metrics.listen),
        },
        embedded_lobby: EmbeddedLobby {
            enabled: raw.embedded_lobby.enabled,
            listen: check.listen("embedded_lobby.listen", &raw.embedded_lobby.listen),
            tls: check.tls(&raw.embedded_lobby),
        },
        origins: Origins::default(),
    };
    check.one_lobby(raw);
    if check.problems.is_empty() {
        config.origins = check.origins;
        Ok(config)
    } else {
        Err(check.problems)
    }
}

struct Check<'a> {
    bases: &'a Bases,
    origins: Origins,
    problems: Vec<Problem>,
}

impl Check<'_> {
    fn problem(&mut self, key: &str, message: impl Into<String>) {
        self.problems.push(self.origins.problem(key, message));
    }

    /// Whether every file was read to its end. Where one was not, what seems to be missing may be in it.
    fn saw_all(&self) -> bool {
        // Only a file as a whole has a problem without a key.
        self.problems.iter().all(|problem| !problem.key.is_empty())
    }

    fn refuse(&mut self, key: &str, found: impl std::fmt::Display) {
        self.problem(
            key,
            format!("found {found}, allowed: {}", schema::allowed(key)),
        );
    }

    /// The value within the range, or the range's start together with a problem.
    fn integer<T: TryFrom<i64>>(&mut self, key: &str, value: i64, range: RangeInclusive<i64>) -> T {
        let within = if range.contains(&value) {
            value
        } else {
            self.refuse(key, value);
            *range.start()
        };
        T::try_from(within)
            .ok()
            .expect("every range fits the type that holds it")
    }

    fn ttl(&mut self, key: &str, seconds: i64) -> Duration {
        let seconds = if (SHORTEST_TTL..=LONGEST_TTL).contains(&seconds) {
            seconds
        } else {
            self.refuse(key, format!("{seconds} seconds"));
            SHORTEST_TTL
        };
        Duration::from_secs(seconds.unsigned_abs())
    }

    fn title(&mut self, title: &str) -> String {
        let title = title.trim();
        let length = title.chars().count();
        if !(1..=120).contains(&length) {
            self.refuse("stream.title", format!("{length} characters"));
        } else if title.chars().any(char::is_control) {
            self.refuse("stream.title", "a control character");
        }
        title.to_owned()
    }

    fn camera(&mut self, raw: &raw::Camera) -> Camera {
        if raw.profile.is_empty() {
            self.refuse("camera.profile", "an empty text");
        }
        Camera {
            profile: raw.profile.clone(),
            device: self.device("camera.device", &raw.device),
            width: self.size("camera.width", raw.width),
            height: self.size("camera.height", raw.height),
            framerate: self.integer("camera.framerate", raw.framerate, 1..=120),
            idle: self.idle(&raw.idle),
        }
    }

    fn idle(&mut self, text: &str) -> Idle {
        match text {
            "warm" => Idle::Warm,
            "encoder-off" => Idle::EncoderOff,
            "camera-off" => Idle::CameraOff,
            other => {
                self.refuse("camera.idle", shown(other));
                Idle::CameraOff
            }
        }
    }

    fn size(&mut self, key: &str, value: i64) -> u32 {
        if value % 2 != 0 {
            self.refuse(key, value);
            return 16;
        }
        self.integer(key, value, 16..=4096)
    }

    fn device(&mut self, key: &str, device: &str) -> String {
        if !is_device_name(device) {
            self.refuse(key, shown(device));
        }
        device.to_owned()
    }

    fn encoder(&mut self, raw: &raw::Encoder) -> Encoder {
        let bitrate: u32 = self.integer("encoder.bitrate", raw.bitrate, 50_000..=50_000_000);
        let keyframe_interval = if (0.5..=60.0).contains(&raw.keyframe_interval) {
            Duration::from_secs_f64(raw.keyframe_interval)
        } else {
            self.refuse("encoder.keyframe_interval", raw.keyframe_interval);
            Duration::from_secs(1)
        };
        let min_bitrate = match raw.min_bitrate {
            // Three tenths, and not less than is allowed.
            0 => (bitrate / 10 * 3).max(50_000),
            found => self.integer("encoder.min_bitrate", found, 50_000..=i64::from(bitrate)),
        };
        Encoder {
            bitrate,
            min_bitrate,
            keyframe_interval,
            second_rendition: raw.second_rendition,
        }
    }

    fn lobby(&mut self, raw: &raw::Lobby) -> Option<Lobby> {
        if raw.url.is_empty() {
            if self.saw_all() {
                self.no_leftovers(raw);
            }
            return None;
        }
        let url = self.lobby_url(&raw.url);
        let auth = self.lobby_auth(&raw.auth);
        Some(Lobby {
            url: url?,
            ca_file: self.file(&raw.ca_file),
            auth: auth?,
        })
    }

    /// Half a `[lobby]` is more likely a slip than a wish.
    fn no_leftovers(&mut self, raw: &raw::Lobby) {
        for (key, value) in [
            ("lobby.ca_file", &raw.ca_file),
            ("lobby.auth.token_file", &raw.auth.token_file),
            ("lobby.auth.secret_file", &raw.auth.secret_file),
            ("lobby.auth.subject", &raw.auth.subject),
        ] {
            if !value.is_empty() {
                self.problem(key, "is set, but lobby.url is not");
            }
        }
    }

    fn lobby_url(&mut self, text: &str) -> Option<Url> {
        const KEY: &str = "lobby.url";
        let url = match Url::parse(text) {
            Ok(url) => url,
            Err(error) => {
                self.refuse(KEY, format!("{} ({error})", shown(text)));
                return None;
            }
        };
        if !url.username().is_empty() || url.password().is_some() {
            self.refuse(KEY, "an address with a user name or password in it");
        } else if !["http", "https", "ws", "wss"].contains(&url.scheme()) {
            self.refuse(KEY, format!("the scheme {}", shown(url.scheme())));
        } else if url.query().is_some() || url.fragment().is_some() {
            self.refuse(KEY, "an address with a query or fragment");
        }
        Some(url)
    }

    fn lobby_auth(&mut self, raw: &raw::LobbyAuth) -> Option<LobbyAuth> {
        const KEY: &str = "lobby.auth";
        let ttl = self.ttl("lobby.auth.ttl", raw.ttl);
        if raw.subject.chars().count() > LONGEST_NAME {
            self.refuse("lobby.auth.subject", "a longer text");
        }
        match (self.file(&raw.token_file), self.file(&raw.secret_file)) {
            (Some(token_file), None) => {
                if !raw.subject.is_empty() {
                    self.problem(
                        "lobby.auth.subject",
                        "goes with secret_file only; a token names its subject itself",
                    );
                }
                Some(LobbyAuth::TokenFile(token_file))
            }
            (None, Some(secret_file)) => {
                if raw.subject.is_empty() && self.saw_all() {
                    self.problem(
                        "lobby.auth.secret_file",
                        "needs lobby.auth.subject beside it: the user id that the minted tokens carry",
                    );
                }
                Some(LobbyAuth::SecretFile {
                    secret_file,
                    subject: raw.subject.clone(),
                    ttl,
                })
            }
            (Some(_), Some(_)) => {
                let at = self.origins.get("lobby.auth.token_file");
                let at = at.map_or_else(String::new, |origin| format!(" ({origin})"));
                self.problem(
                    "lobby.auth.secret_file",
                    format!(
                        "found beside lobby.auth.token_file{at}, allowed: exactly one of the two"
                    ),
                );
                None
            }
            (None, None) if !self.saw_all() => None,
            (None, None) => {
                self.problem(
                    KEY,
                    "found neither token_file nor secret_file, allowed: exactly one of token_file, \
                     or secret_file with subject",
                );
                None
            }
        }
    }

    fn candidates(&mut self, text: &str) -> CandidatePolicy {
        match text {
            "any" => CandidatePolicy::Any,
            "local" => CandidatePolicy::Local,
            other => {
                self.refuse("viewers.candidates", shown(other));
                CandidatePolicy::Local
            }
        }
    }

    fn ice_servers(&mut self, raw: &[raw::IceServer]) -> Vec<IceServer> {
        let mut servers = Vec::with_capacity(raw.len());
        let mut stun_seen = false;
        for (index, server) in raw.iter().enumerate() {
            let at = format!("ice.servers[{index}]");
            let url_key = format!("{at}.url");
            let service = match ice::check_url(&server.url) {
                Ok(service) => service,
                Err(reason) => {
                    let allowed = schema::allowed(&url_key);
                    self.problem(&url_key, format!("{reason}; allowed: {allowed}"));
                    continue;
                }
            };
            if service == ice::Service::Stun && stun_seen {
                self.problem(
                    &url_key,
                    "a second STUN server; one is enough, and one can be used".to_owned(),
                );
                continue;
            }
            stun_seen |= service == ice::Service::Stun;
            let auth = match service {
                ice::Service::Stun => self.stun_auth(&at, server),
                ice::Service::Turn => self.turn_auth(&at, server),
            };
            if let Some(auth) = auth {
                servers.push(IceServer {
                    url: with_small_scheme(&server.url),
                    auth,
                });
            }
        }
        servers
    }

    fn stun_auth(&mut self, at: &str, server: &raw::IceServer) -> Option<IceAuth> {
        let asks_for_some = server.ttl.is_some()
            || [
                &server.username,
                &server.credential_file,
                &server.secret_file,
            ]
            .iter()
            .any(|value| !value.is_empty());
        if asks_for_some {
            self.problem(
                at,
                "a stun: server takes no credentials; allowed: url alone",
            );
            return None;
        }
        Some(IceAuth::None)
    }

    fn turn_auth(&mut self, at: &str, server: &raw::IceServer) -> Option<IceAuth> {
        if server.username.chars().count() > LONGEST_NAME {
            self.refuse(&format!("{at}.username"), "a longer text");
        }
        let ttl = self.ttl(&format!("{at}.ttl"), server.ttl.unwrap_or(ICE_TTL));
        let credential_file = self.file(&server.credential_file);
        let secret_file = self.file(&server.secret_file);
        match (credential_file, secret_file) {
            (Some(credential_file), None)
                if !server.username.is_empty() && server.ttl.is_none() =>
            {
                Some(IceAuth::Static {
                    username: server.username.clone(),
                    credential_file,
                })
            }
            (None, Some(secret_file)) => Some(IceAuth::SharedSecret {
                username: if server.username.is_empty() {
                    ICE_USERNAME.to_owned()
                } else {
                    server.username.clone()
                },
                secret_file,
                ttl,
            }),
            _ => {
                self.problem(
                    at,
                    "a turn: or turns: server needs credentials; allowed: username and \
                     credential_file, or secret_file (with username and ttl where wanted)",
                );
                None
            }
        }
    }

    fn listen(&mut self, key: &str, text: &str) -> SocketAddr {
        match text.parse() {
            Ok(address) => address,
            Err(_) => {
                self.refuse(key, shown(text));
                SocketAddr::from(([127, 0, 0, 1], 0))
            }
        }
    }

    fn tls(&mut self, raw: &raw::EmbeddedLobby) -> Option<TlsFiles> {
        let certificate = self.file(&raw.certificate_file);
        let key = self.file(&raw.key_file);
        let (alone, other) = match (certificate, key) {
            (Some(certificate), Some(key)) => return Some(TlsFiles { certificate, key }),
            (None, None) => return None,
            (Some(_), None) => ("certificate_file", "key_file"),
            (None, Some(_)) => ("key_file", "certificate_file"),
        };
        self.problem(
            &format!("embedded_lobby.{alone}"),
            format!("stands alone; TLS needs {other} as well"),
        );
        None
    }

    /// The host has one line, to one lobby.
    fn one_lobby(&mut self, raw: &Raw) {
        match (raw.lobby.url.is_empty(), raw.embedded_lobby.enabled) {
            (true, true) | (false, false) => {}
            (false, true) => self.problem(
                "embedded_lobby.enabled",
                "found true beside lobby.url, allowed: exactly one lobby; the host meets its \
                 viewers in the embedded one or in the one at lobby.url",
            ),
            (true, false) => {
                // With a problem of its own, one of the two was most likely meant to be there.
                let is_wrong = self.problems.iter().any(|problem| {
                    ["lobby.url", "embedded_lobby.enabled"].contains(&problem.key.as_str())
                });
                if !is_wrong && self.saw_all() {
                    self.problem(
                        "lobby.url",
                        "is not set, and the embedded lobby is off: nobody could watch; set \
                         lobby.url, or embedded_lobby.enabled = true",
                    );
                }
            }
        }
    }

    /// A file's path as the configuration means it; nothing for an empty text.
    fn file(&self, text: &str) -> Option<PathBuf> {
        if text.is_empty() {
            return None;
        }
        if let (false, Some(credentials)) = (text.contains('/'), &self.bases.credentials) {
            let credential = credentials.join(text);
            if credential.exists() {
                return Some(credential);
            }
        }
        Some(self.bases.directory.join(Path::new(text)))
    }
}
