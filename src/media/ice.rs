//! The ICE servers as `webrtcbin` wants them, with credentials read afresh for every branch.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use url::form_urlencoded;

use crate::{
    config::{Ice, IceAuth, IceServer},
    secret::Secret,
};

/// The configured servers; cheap to clone.
#[derive(Debug, Clone)]
pub struct IceServers {
    servers: Arc<Vec<IceServer>>,
}

/// One server in the form of `webrtcbin`'s properties.
#[derive(Debug)]
pub enum IceUri {
    /// `stun://host:port`
    Stun(String),
    /// `turn(s)://user:password@host:port?transport=…`; holds a password.
    Turn(Secret),
}

/// A credential that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {file} for ICE server {url}: {source}")]
pub struct CredentialError {
    url: String,
    file: PathBuf,
    source: std::io::Error,
}

impl IceServers {
    pub fn new(ice: &Ice) -> Self {
        Self {
            servers: Arc::new(ice.servers.clone()),
        }
    }

    /// Reads the credential files; blocks for as long as the file system does.
    pub fn uris(&self, now: SystemTime) -> Result<Vec<IceUri>, CredentialError> {
        self.servers.iter().map(|server| uri(server, now)).collect()
    }
}

/// User name and password for a server that asks for them. Blocks for as long as the file system does.
pub fn login(
    server: &IceServer,
    now: SystemTime,
) -> Result<Option<(String, Secret)>, CredentialError> {
    Ok(match &server.auth {
        IceAuth::None => None,
        IceAuth::Static {
            username,
            credential_file,
        } => Some((username.clone(), read(server, credential_file)?)),
        IceAuth::SharedSecret {
            username,
            secret_file,
            ttl,
        } => {
            let secret = read(server, secret_file)?;
            Some(short_lived(&secret, username, now, *ttl))
        }
    })
}

fn uri(server: &IceServer, now: SystemTime) -> Result<IceUri, CredentialError> {
    let (scheme, rest) = server.url.split_once(':').unwrap_or(("stun", &server.url));
    let Some((username, password)) = login(server, now)? else {
        return Ok(IceUri::Stun(format!("{scheme}://{rest}")));
    };
    Ok(IceUri::Turn(Secret::new(format!(
        "{scheme}://{}:{}@{rest}",
        escape(&username),
        escape(password.expose())
    ))))
}

fn read(server: &IceServer, file: &Path) -> Result<Secret, CredentialError> {
    match std::fs::read_to_string(file) {
        Ok(text) => Ok(Secret::new(text.trim())),
        Err(source) => Err(CredentialError {
            url: server.url.clone(),
            file: file.to_owned(),
            source,
        }),
    }
}

/// User name and password from the secret shared with the TURN server
/// (draft-uberti-behave-turn-rest-00 §2.2): `expiry:name` and its HMAC-SHA1.
fn short_lived(
    secret: &Secret,
    username: &str,
    now: SystemTime,
    ttl: Duration,
) -> (String, Secret) {
    let expiry = (now + ttl)
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let username = format!("{expiry}:{username}");
    let key = hmac::Key::new(
        hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        secret.expose().as_bytes(),
    );
    let password = STANDARD.encode(hmac::sign(&key, username.as_bytes()));
    (username, Secret::new(password))
}

/// Percent-encodes what would end the user part of a URI early (RFC 3986 §3.2.1).
fn escape(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes())
        .collect::<String>()
        .replace('+', "%20")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(url: &str, auth: IceAuth) -> IceServers {
        IceServers::new(&Ice {
            servers: vec![IceServer {
                url: url.into(),
                auth,
            }],
        })
    }

    fn only(servers: &IceServers, now: SystemTime) -> IceUri {
        servers.uris(now).expect("readable").pop().expect("one")
    }

    #[test]
    fn a_stun_server_needs_no_credentials() {
        let servers = server("stun:stun.example.org:3478", IceAuth::None);
        assert!(matches!(only(&servers, UNIX_EPOCH),
            IceUri::Stun(uri) if uri == "stun://stun.example.org:3478"));
    }

    #[test]
    fn short_lived_credentials_carry_their_expiry_and_are_escaped() {
        let dir = tempfile::tempdir().expect("a directory");
        let secret_file = dir.path().join("turn-secret");
        std::fs::write(&secret_file, "north\n").expect("written");
        let servers = server(
            "turns:turn.example.org:5349?transport=tcp",
            IceAuth::SharedSecret {
                username: "porch".into(),
                secret_file,
                ttl: Duration::from_secs(3600),
            },
        );
        let now = UNIX_EPOCH + Duration::from_secs(1_000_000);
        let IceUri::Turn(uri) = only(&servers, now) else {
            panic!("a TURN server");
        };
        // echo -n 1003600:porch | openssl dgst -sha1 -hmac north -binary | base64
        assert_eq!(
            uri.expose(),
            "turns://1003600%3Aporch:icy1AgjsyPsHjOgL3NxGdpOmMn4%3D@turn.example.org:5349?transport=tcp"
        );
    }

    #[test]
    fn a_missing_credential_names_file_and_server() {
        let servers = server(
            "turn:turn.example.org",
            IceAuth::Static {
                username: "porch".into(),
                credential_file: "/nonexistent/turn-password".into(),
            },
        );
        let error = servers.uris(UNIX_EPOCH).expect_err("no such file");
        let text = error.to_string();
        assert!(text.contains("/nonexistent/turn-password") && text.contains("turn.example.org"));
    }
}
