//! From a URL to an open WebSocket.

use std::{
    io,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use async_tungstenite::{
    WebSocketStream,
    tokio::{ClientStream, client_async_tls_with_connector_and_config},
    tungstenite::{
        self,
        client::IntoClientRequest as _,
        error::CapacityError,
        handshake::client::Response,
        http::{HeaderValue, header},
        protocol::WebSocketConfig,
    },
};
use rustls::{
    CertificateError, ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use thiserror::Error;
use tokio::{net::TcpStream, time::timeout};
use url::{Host, Url};

use super::{engineio::MAX_FRAME, resolve::Resolver};
use crate::{
    clock,
    files::{self, Reader},
};

/// From the name's look-up to the open WebSocket.
pub const DIAL_TIMEOUT: Duration = Duration::from_secs(15);

/// For one of the lobby's addresses, so that a dead IPv6 route leaves time for IPv4.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);

/// For the certificates to be read. They are some hundred small files.
const READ_WITHIN: Duration = Duration::from_secs(5);

/// No bundle of certificates is larger, in bytes; the system's own has a quarter of a megabyte.
const LARGEST_CA_FILE: u64 = 4 << 20;

/// Messages of the lobby are small; the buffers start small as well.
const BUFFER: usize = 16 * 1024;

pub type Socket = WebSocketStream<ClientStream<TcpStream>>;

/// An open WebSocket.
#[derive(Debug)]
pub struct Dialed {
    pub socket: Socket,
    /// Our end's address.
    pub local: Option<IpAddr>,
}

/// Why the lobby cannot be reached.
#[derive(Debug, Error)]
pub enum DialError {
    #[error("{url} is no address of a lobby: {why}; check [lobby] url")]
    Address { url: String, why: String },
    #[error("cannot use the certificates in {}: {why}; check [lobby] ca_file", .file.display())]
    CaFile { file: PathBuf, why: String },
    #[error("cannot set up TLS: {0}")]
    TlsSetup(String),
    #[error("{at} has no address: {source}")]
    Unknown { at: String, source: io::Error },
    #[error("cannot connect to {at}: {source}")]
    Unreachable { at: String, source: io::Error },
    #[error(
        "the TLS handshake with {at} failed: {why}; check [lobby] ca_file and the device's clock"
    )]
    Tls { at: String, why: String },
    /// A wrong clock here looks the same as an old certificate there.
    #[error(
        "the certificate of {at} is not valid today, which is {today} by this device's clock: {why}; \
         check the clock, then the lobby's certificate"
    )]
    TlsDates {
        at: String,
        today: String,
        why: String,
    },
    #[error("{at} sends us to {location}; put that address into [lobby] url if it is right")]
    Redirected { at: String, location: String },
    /// A proxy or the lobby itself wants other credentials.
    #[error("{at} answered {status} to the WebSocket request; check [lobby.auth] and [lobby] url")]
    Forbidden { at: String, status: String },
    #[error("{at} answered {status} to the WebSocket request: {body}")]
    NoWebSocket {
        at: String,
        status: String,
        body: String,
    },
    #[error("the WebSocket handshake with {at} failed: {source}")]
    WebSocket {
        at: String,
        source: Box<tungstenite::Error>,
    },
    #[error("{at} did not answer within {} s", DIAL_TIMEOUT.as_secs())]
    Timeout { at: String },
}

/// Opens the WebSocket of the lobby at `url` within [`DIAL_TIMEOUT`]. Trusts the system's roots and, beside
/// them, the PEM certificates in `ca_file`; both are read again for every dial, by `reader`.
pub async fn dial(
    url: &Url,
    ca_file: Option<&Path>,
    reader: &Reader,
    resolver: &mut Resolver,
) -> Result<Dialed, DialError> {
    let address = address(url)?;
    let at = place(&address);
    timeout(DIAL_TIMEOUT, open(&address, &at, ca_file, reader, resolver))
        .await
        .unwrap_or(Err(DialError::Timeout { at }))
}

async fn open(
    address: &Url,
    at: &str,
    ca_file: Option<&Path>,
    reader: &Reader,
    resolver: &mut Resolver,
) -> Result<Dialed, DialError> {
    let connector = if address.scheme() == "wss" {
        Some(Arc::new(tls_config(ca_file, reader).await?).into())
    } else {
        None
    };
    let stream = connect(address, at, resolver).await?;
    let local = stream.local_addr().ok().map(|local| local.ip());
    let mut request =
        address
            .as_str()
            .into_client_request()
            .map_err(|error| DialError::Address {
                url: address.to_string(),
                why: error.to_string(),
            })?;
    request.headers_mut().insert(
        header::USER_AGENT,
        HeaderValue::from_static(concat!("perch/", env!("CARGO_PKG_VERSION"))),
    );
    let limits = WebSocketConfig::default()
        .read_buffer_size(BUFFER)
        .write_buffer_size(BUFFER)
        .max_message_size(Some(MAX_FRAME))
        .max_frame_size(Some(MAX_FRAME));
    client_async_tls_with_connector_and_config(request, stream, connector, Some(limits))
        .await
        .map(|(socket, _)| Dialed { socket, local })
        .map_err(|error| refused(error, at))
}

/// `http://host/prefix` → `ws://host/prefix/socket.io/?EIO=4&transport=websocket`.
fn address(url: &Url) -> Result<Url, DialError> {
    let refuse = |why: &str| DialError::Address {
        url: place(url),
        why: why.to_owned(),
    };
    let scheme = match url.scheme() {
        "http" | "ws" => "ws",
        "https" | "wss" => "wss",
        _ => return Err(refuse("it is neither http, https, ws nor wss")),
    };
    if url.host().is_none() {
        return Err(refuse("it has no host"));
    }
    let mut address = url.clone();
    // Credentials in a URL end in logs; the token goes into the CONNECT packet.
    let _ = address.set_username("");
    let _ = address.set_password(None);
    address
        .set_scheme(scheme)
        .map_err(|()| refuse("its scheme cannot be changed"))?;
    let prefix = url.path().trim_end_matches('/');
    let prefix = prefix.strip_suffix("/socket.io").unwrap_or(prefix);
    address.set_path(&format!("{prefix}/socket.io/"));
    address.set_query(Some("EIO=4&transport=websocket"));
    address.set_fragment(None);
    Ok(address)
}

/// The lobby's name in messages: scheme, host and port, nothing that may be secret.
fn place(url: &Url) -> String {
    let host = url.host_str().unwrap_or("?");
    match url.port() {
        Some(port) => format!("{}://{host}:{port}", url.scheme()),
        None => format!("{}://{host}", url.scheme()),
    }
}

async fn connect(address: &Url, at: &str, resolver: &mut Resolver) -> Result<TcpStream, DialError> {
    let unknown = |source| DialError::Unknown {
        at: at.to_owned(),
        source,
    };
    let port = address.port_or_known_default().unwrap_or(80);
    let candidates: Vec<_> = match address.host() {
        Some(Host::Ipv4(ip)) => vec![(ip, port).into()],
        Some(Host::Ipv6(ip)) => vec![(ip, port).into()],
        Some(Host::Domain(name)) => resolver.resolve(name, port).await.map_err(unknown)?,
        None => Vec::new(),
    };
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no addresses");
    for candidate in candidates {
        match timeout(CONNECT_TIMEOUT, TcpStream::connect(candidate)).await {
            Ok(Ok(stream)) => {
                // Signaling is small messages that somebody waits for.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "TCP_NODELAY cannot be set");
                }
                return Ok(stream);
            }
            Ok(Err(error)) => failure = error,
            Err(_) => failure = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(DialError::Unreachable {
        at: at.to_owned(),
        source: failure,
    })
}

/// The system's roots and `ca_file`. Reading a hundred certificates is work for a thread that may block, and a file
/// that hangs keeps the thread that it has.
pub(crate) async fn tls_config(
    ca_file: Option<&Path>,
    reader: &Reader,
) -> Result<ClientConfig, DialError> {
    let file = ca_file.map(Path::to_owned);
    let read = reader.read(READ_WITHIN, move || read_roots(file.as_deref()));
    let roots = read.await.unwrap_or_else(|| {
        let why = format!(
            "reading them has not ended within {} s; are they on a disk that answers?",
            READ_WITHIN.as_secs()
        );
        Err(match ca_file {
            Some(file) => ca_file_error(file, why),
            None => DialError::TlsSetup(format!("the system's root certificates: {why}")),
        })
    })?;
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| DialError::TlsSetup(error.to_string()))?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn read_roots(ca_file: Option<&Path>) -> Result<RootCertStore, DialError> {
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    for error in &system.errors {
        tracing::debug!(%error, "a root certificate of the system cannot be read");
    }
    roots.add_parsable_certificates(system.certs);
    if let Some(file) = ca_file {
        add_ca_file(&mut roots, file)?;
    }
    if roots.is_empty() {
        return Err(DialError::TlsSetup(
            "there are no root certificates; install the system's (ca-certificates) or set [lobby] ca_file"
                .to_owned(),
        ));
    }
    Ok(roots)
}

fn ca_file_error(file: &Path, why: String) -> DialError {
    DialError::CaFile {
        file: file.to_owned(),
        why,
    }
}

/// Adds what is in `[lobby] ca_file`. Blocks for as long as the file system does.
pub(crate) fn add_ca_file(roots: &mut RootCertStore, file: &Path) -> Result<(), DialError> {
    let refuse = |why: String| ca_file_error(file, why);
    let pem = files::bounded(file, LARGEST_CA_FILE).map_err(|error| refuse(error.to_string()))?;
    let mut found = 0;
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| refuse(error.to_string()))?;
        roots
            .add(certificate)
            .map_err(|error| refuse(error.to_string()))?;
        found += 1;
    }
    if found == 0 {
        return Err(refuse("no PEM certificate is in it".to_owned()));
    }
    Ok(())
}

fn refused(error: tungstenite::Error, at: &str) -> DialError {
    let at = at.to_owned();
    match error {
        tungstenite::Error::Http(response) => answered(&response, at),
        tungstenite::Error::Tls(error) => DialError::Tls {
            at,
            why: error.to_string(),
        },
        // rustls' own errors come as I/O errors of this kind.
        tungstenite::Error::Io(error) if error.kind() == io::ErrorKind::InvalidData => {
            let why = error.to_string();
            if speaks_of_dates(&error) {
                let today = clock::date(SystemTime::now());
                DialError::TlsDates { at, today, why }
            } else {
                DialError::Tls { at, why }
            }
        }
        source => DialError::WebSocket {
            at,
            source: Box::new(source),
        },
    }
}

fn speaks_of_dates(error: &io::Error) -> bool {
    let tls = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(
        tls,
        Some(rustls::Error::InvalidCertificate(
            CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. }
                | CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
        ))
    )
}

fn answered(response: &Response, at: String) -> DialError {
    let status = response.status();
    let location = response
        .headers()
        .get(header::LOCATION)
        .and_then(|location| location.to_str().ok());
    if let (true, Some(location)) = (status.is_redirection(), location) {
        // Only as far as the query: what comes there is the server's own business.
        let location = location.split('?').next().unwrap_or_default();
        return DialError::Redirected {
            at,
            location: location.chars().take(200).collect(),
        };
    }
    let status_text = status.to_string();
    if matches!(status.as_u16(), 401 | 403) {
        return DialError::Forbidden {
            at,
            status: status_text,
        };
    }
    let body = response.body().as_deref().unwrap_or_default();
    let body: String = String::from_utf8_lossy(body)
        .chars()
        .filter(|c| !c.is_control())
        .take(200)
        .collect();
    DialError::NoWebSocket {
        at,
        status: status_text,
        body: if body.is_empty() {
            "is there a Socket.IO 4 server at this path?".to_owned()
        } else {
            body
        },
    }
}

/// Whether a running connection broke on a frame beyond [`MAX_FRAME`].
pub fn is_oversize(error: &tungstenite::Error) -> bool {
    matches!(
        error,
        tungstenite::Error::Capacity(CapacityError::MessageTooLong { .. })
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address_of(url: &str) -> String {
        address(&Url::parse(url).unwrap()).unwrap().to_string()
    }

    #[test]
    fn the_address_keeps_a_prefix_and_changes_the_scheme() {
        for (url, expected) in [
            ("http://h", "ws://h/socket.io/?EIO=4&transport=websocket"),
            (
                "https://h:8443/app/",
                "wss://h:8443/app/socket.io/?EIO=4&transport=websocket",
            ),
            (
                "ws://[::1]:90/a/b",
                "ws://[::1]:90/a/b/socket.io/?EIO=4&transport=websocket",
            ),
            (
                "wss://u:p@h/socket.io/?x=1#y",
                "wss://h/socket.io/?EIO=4&transport=websocket",
            ),
        ] {
            assert_eq!(address_of(url), expected);
        }
    }

    #[test]
    fn other_schemes_are_refused_without_showing_credentials() {
        let error = address(&Url::parse("ftp://user:pass@host/x").unwrap()).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("ftp://host"), "{text}");
        assert!(!text.contains("pass"), "{text}");
    }

    /// A pipe that nobody writes to, as a mount that is gone.
    #[tokio::test]
    async fn a_ca_file_that_hangs_is_an_error_in_time() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("ca.pem");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        let tried = tls_config(Some(&pipe), &Reader::default()).await;
        let error = tried.unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("ca.pem") && text.contains("has not ended"),
            "{text}"
        );
        // Whoever hangs there would outlive the test.
        let release = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(&pipe);
        release.unwrap();
    }
}
