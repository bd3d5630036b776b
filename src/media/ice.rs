//! The ICE servers as `webrtcbin` wants them, with credentials read afresh for every branch.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use url::form_urlencoded;

use crate::{
    config::{Ice, IceAuth, IceServer},
    files::{self, Reader},
    secret::Secret,
};

/// For all of the credential files, and for others to have read theirs. Whoever joins is told why there is no offer
/// while it can still be told.
const READ_WITHIN: Duration = Duration::from_secs(3);

/// No credential is larger, in bytes; whatever is was named by mistake.
const LARGEST_FILE: u64 = 64 * 1024;

/// The configured servers; cheap to clone.
#[derive(Debug, Clone)]
pub struct IceServers {
    servers: Arc<Vec<IceServer>>,
    /// Of all branches: a file that hangs takes one thread, and not one for each viewer.
    reader: Reader,
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
pub enum CredentialError {
    #[error("cannot read {file} for ICE server {url}: {source}")]
    Unreadable {
        url: String,
        file: PathBuf,
        source: io::Error,
    },
    #[error(
        "reading the credential files of [ice] servers has not ended within {} s; are they plain files on a disk \
         that answers?",
        READ_WITHIN.as_secs()
    )]
    Late,
}

impl IceServers {
    pub fn new(ice: &Ice) -> Self {
        Self {
            servers: Arc::new(ice.servers.clone()),
            reader: Reader::default(),
        }
    }

    /// The servers with the credentials of now. Off the loop where there are files to read, and never for long.
    pub async fn fresh(&self) -> Result<Vec<IceUri>, CredentialError> {
        let needs_none = |server: &IceServer| matches!(server.auth, IceAuth::None);
        if self.servers.iter().all(needs_none) {
            return self.uris(SystemTime::now());
        }
        let servers = self.clone();
        let uris = self
            .reader
            .read(READ_WITHIN, move || servers.uris(SystemTime::now()));
        uris.await.unwrap_or(Err(CredentialError::Late))
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
    let text = files::bounded(file, LARGEST_FILE).and_then(|bytes| {
        // Not with the bytes: they may be most of a secret.
        String::from_utf8(bytes)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is no text"))
    });
    match text {
        Ok(text) => Ok(Secret::new(text.trim())),
        Err(source) => Err(CredentialError::Unreadable {
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

    /// A pipe that nobody writes to, and a device without an end.
    #[tokio::test]
    async fn a_credential_that_hangs_or_never_ends_is_an_error_in_time() {
        let dir = tempfile::tempdir().expect("a directory");
        let pipe = dir.path().join("turn-password");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.expect("mkfifo is there").success());
        let asks = |credential_file: PathBuf| IceAuth::Static {
            username: "porch".into(),
            credential_file,
        };
        let endless = server("turn:turn.example.org", asks("/dev/zero".into()));
        let error = endless.fresh().await.expect_err("no end");
        assert!(error.to_string().contains("larger than"), "{error}");

        let servers = server("turn:turn.example.org", asks(pipe.clone()));
        let error = servers.fresh().await.expect_err("nobody writes");
        assert!(matches!(error, CredentialError::Late), "{error}");

        // Whoever hangs there would outlive the test.
        let release = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(&pipe);
        release.expect("a pipe opens both ways");
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
