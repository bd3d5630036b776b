//! TLS for the lobby: certificate and key from files, read again when they change.

use std::{
    fs, io,
    path::{Path, PathBuf},
    pin::Pin,
    sync::{Arc, PoisonError, RwLock},
    task::{Context, Poll, ready},
    time::{Duration, SystemTime},
};

use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem::PemObject as _},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{MissedTickBehavior, interval},
};
use tokio_rustls::{Accept, TlsAcceptor, server::TlsStream};
use tracing::{info, warn};

use super::door::{Connection, Guarded};
use crate::files::{self, Reader};

/// How often the files are looked at. Certificates are renewed weeks before they expire.
pub const LOOK_EVERY: Duration = Duration::from_secs(30);

/// For a look at the files. They may be on a mount that is gone.
const LOOK_WITHIN: Duration = Duration::from_secs(10);

/// No certificate chain and no key is larger, in bytes.
const MAX_FILE: u64 = 256 * 1024;

/// Where certificate and key are: PEM, the chain with the server's own certificate first, and its
/// private key (PKCS #8, PKCS #1 or SEC1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// Why there is no TLS. The files have to be mended.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{} {why}", path.display())]
    Unusable { path: PathBuf, why: String },
    #[error("the key in {} does not belong to the certificate in {}", key.display(), certificate.display())]
    NotAPair { certificate: PathBuf, key: PathBuf },
}

impl TlsFiles {
    /// Reads both and sees to it that they belong together.
    pub fn load(&self) -> Result<CertifiedKey, TlsError> {
        let chain = self.chain()?;
        let key = PrivateKeyDer::from_pem_slice(&read(&self.key)?).map_err(|_| {
            // rustls' error may quote what it found.
            unusable(&self.key, "holds no private key in PEM")
        })?;
        CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).map_err(|error| {
            match error {
                rustls::Error::InconsistentKeys(_) => TlsError::NotAPair {
                    certificate: self.certificate.clone(),
                    key: self.key.clone(),
                },
                rustls::Error::InvalidCertificate(_) => {
                    unusable(&self.certificate, "holds a certificate that cannot be read")
                }
                _ => unusable(&self.key, "holds a key of a kind that cannot be used"),
            }
        })
    }

    /// The first name that the certificate is for and that a browser could be sent to.
    pub fn name(&self) -> Option<String> {
        let chain = self.chain().ok()?;
        let certificate = webpki::EndEntityCert::try_from(chain.first()?).ok()?;
        certificate
            .valid_dns_names()
            .find(|name| !name.starts_with('*'))
            .map(str::to_owned)
    }

    /// Until when the server's own certificate is valid.
    pub fn expires(&self) -> Option<SystemTime> {
        let chain = self.chain().ok()?;
        let certificate = webpki::EndEntityCert::try_from(chain.first()?).ok()?;
        // Nobody issues for so long, and whoever refuses says what it goes by. Validity is looked at first, so
        // that nothing needs to be trusted here.
        let never = UnixTime::since_unix_epoch(Duration::from_secs(u64::MAX));
        let usage = webpki::KeyUsage::server_auth();
        let verified = certificate.verify_for_usage(&[], &[], &[], never, usage, None, None);
        match verified.err()? {
            webpki::Error::CertExpired { not_after, .. } => {
                SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(not_after.as_secs()))
            }
            _ => None,
        }
    }

    fn chain(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&read(&self.certificate)?)
            .collect::<Result<_, _>>()
            .map_err(|error| unusable(&self.certificate, format!("is no PEM: {error}")))?;
        if chain.is_empty() {
            return Err(unusable(&self.certificate, "holds no certificate in PEM"));
        }
        Ok(chain)
    }

    /// What tells one version of the files from the next without reading them.
    fn version(&self) -> [Option<(u64, SystemTime)>; 2] {
        [&self.certificate, &self.key].map(|path| {
            // Followed through links: that is how certbot renews.
            let file = fs::metadata(path).ok()?;
            Some((file.len(), file.modified().ok()?))
        })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    files::bounded(path, MAX_FILE).map_err(|source| match source.kind() {
        io::ErrorKind::FileTooLarge => unusable(path, "is too large for a certificate or a key"),
        _ => TlsError::Unreadable {
            path: path.to_owned(),
            source,
        },
    })
}

fn unusable(path: &Path, why: impl Into<String>) -> TlsError {
    TlsError::Unusable {
        path: path.to_owned(),
        why: why.into(),
    }
}

/// The certificate in use, for the next handshake.
#[derive(Debug)]
pub struct Current(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.get())
    }
}

impl Current {
    fn get(&self) -> Arc<CertifiedKey> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn replace(&self, key: CertifiedKey) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(key);
    }
}

/// What accepts TLS, and what keeps its certificate fresh: a task to be spawned, which never ends.
///
/// TLS 1.2 and 1.3, without client certificates: viewers are known by their tokens.
pub fn serve(
    files: TlsFiles,
    look_every: Duration,
) -> Result<(TlsAcceptor, impl Future<Output = ()>), TlsError> {
    // Before the files are read: a change in between is seen at the first look.
    let version = files.version();
    let current = Arc::new(Current(RwLock::new(Arc::new(files.load()?))));
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider has suites for both versions")
        .with_no_client_auth()
        .with_cert_resolver(current.clone());
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let keep_fresh = keep_fresh(files, version, current, look_every);
    Ok((TlsAcceptor::from(Arc::new(config)), keep_fresh))
}

/// Takes renewed files over. Connections that stand keep what they have. Files that do not fit
/// together, as in the middle of a renewal, change nothing and are tried again at the next look.
async fn keep_fresh(
    files: TlsFiles,
    mut version: [Option<(u64, SystemTime)>; 2],
    current: Arc<Current>,
    look_every: Duration,
) {
    let mut looks = interval(look_every);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let reader = Reader::default();
    let mut complained = None;
    let mut late = false;
    loop {
        looks.tick().await;
        let certificate = files.certificate.display();
        let (known, again) = (version, files.clone());
        let look = reader.read(LOOK_WITHIN, move || {
            let found = again.version();
            (found, (found != known).then(|| again.load()))
        });
        let Some((found, loaded)) = look.await else {
            if !std::mem::replace(&mut late, true) {
                let seconds = LOOK_WITHIN.as_secs();
                warn!(
                    event = "certificate-unusable", %certificate,
                    "a look at the lobby's certificate has not ended within {seconds} s, the former one stays"
                );
            }
            continue;
        };
        late = false;
        match loaded {
            None => {}
            Some(Ok(key)) => {
                current.replace(key);
                version = found;
                complained = None;
                info!(event = "certificate-renewed", %certificate, "the lobby's certificate was renewed");
            }
            Some(Err(error)) if complained != Some(found) => {
                complained = Some(found);
                warn!(
                    event = "certificate-unusable", %certificate,
                    "the lobby's renewed certificate cannot be used, the former one stays: {error}"
                );
            }
            Some(Err(_)) => {}
        }
    }
}

/// A connection with TLS or without. The handshake is made by whoever reads first, under the clocks of
/// the connection, so a peer that dawdles over it holds up nobody else's.
pub struct Stream {
    connection: Arc<Connection>,
    state: State,
}

enum State {
    Plain(Guarded),
    // Boxed: TLS takes a kilobyte, which a lobby without TLS need not pay.
    Handshake(Box<Accept<Guarded>>),
    Tls(Box<TlsStream<Guarded>>),
}

impl Stream {
    pub fn new(stream: Guarded, acceptor: Option<&TlsAcceptor>) -> Self {
        Self {
            connection: stream.connection().clone(),
            state: match acceptor {
                Some(acceptor) => State::Handshake(Box::new(acceptor.accept(stream))),
                None => State::Plain(stream),
            },
        }
    }

    pub fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// The stream that HTTP goes over, once the handshake is done.
    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Pin<&mut dyn Duplex>>> {
        if let State::Handshake(accept) = &mut self.state {
            let stream = ready!(Pin::new(accept.as_mut()).poll(cx))?;
            self.state = State::Tls(Box::new(stream));
        }
        Poll::Ready(
            self.open()
                .ok_or_else(|| io::ErrorKind::NotConnected.into()),
        )
    }

    fn open(&mut self) -> Option<Pin<&mut dyn Duplex>> {
        match &mut self.state {
            State::Plain(stream) => Some(Pin::new(stream as &mut dyn Duplex)),
            State::Tls(stream) => Some(Pin::new(stream.as_mut() as &mut dyn Duplex)),
            State::Handshake(_) => None,
        }
    }
}

trait Duplex: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Duplex for T {}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_open(cx))?.poll_read(cx, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_open(cx))?.poll_write(cx, bytes)
    }

    // Before the handshake is done, nothing has been written.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.open()
            .map_or(Poll::Ready(Ok(())), |stream| stream.poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.open()
            .map_or(Poll::Ready(Ok(())), |stream| stream.poll_shutdown(cx))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A renewal onto a mount that is gone: a pipe that nobody writes to.
    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_renewal_that_hangs_holds_up_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let files = TlsFiles {
            certificate: folder.path().join("lobby.pem"),
            key: folder.path().join("lobby.key"),
        };
        let made = rcgen::generate_simple_self_signed(["lobby.test".to_owned()]).unwrap();
        fs::write(&files.certificate, made.cert.pem()).unwrap();
        fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
        let (_acceptor, keep_fresh) = serve(files.clone(), Duration::from_millis(10)).unwrap();
        let fresh = tokio::spawn(keep_fresh);

        fs::remove_file(&files.certificate).unwrap();
        let pipe = std::process::Command::new("mkfifo")
            .arg(&files.certificate)
            .status();
        assert!(pipe.unwrap().success());
        // Somebody looks, and waits for what is never written.
        let opened = fs::OpenOptions::new().write(true).open(&files.certificate);
        let writer = opened.unwrap();
        // Nobody else is to wait there, and nobody for longer than this test.
        fs::remove_file(&files.certificate).unwrap();
        let (says, said) = std::sync::mpsc::channel();
        tokio::spawn(async move { says.send(()) });
        said.recv_timeout(Duration::from_secs(30))
            .expect("others have their turn");
        assert!(!fresh.is_finished());
        fresh.abort();
        drop(writer);
    }
}
