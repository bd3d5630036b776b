//! A lobby behind TLS with a certificate authority of its own.

use std::{sync::Arc, time::Duration};

use async_tungstenite::tokio::accept_async;
use base64::Engine as _;
use perch::signaling::{
    dial::{DialError, dial},
    resolve::Resolver,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tokio::{net::TcpListener, time::timeout};
use tokio_rustls::TlsAcceptor;
use url::Url;

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    fn pem(&self) -> String {
        let base64 = base64::engine::general_purpose::STANDARD.encode(self.0.der());
        format!("-----BEGIN CERTIFICATE-----\n{base64}\n-----END CERTIFICATE-----\n")
    }

    fn server_for(&self, name: &str) -> ServerConfig {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap()
    }
}

/// Serves TLS WebSockets for `name` until the test ends and returns the port.
async fn serve(authority: &Authority, name: &str) -> u16 {
    let acceptor = TlsAcceptor::from(Arc::new(authority.server_for(name)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            if let Ok(stream) = acceptor.accept(stream).await {
                let _ = accept_async(stream).await;
            }
        }
    });
    port
}

async fn try_dial(url: String, ca: Option<&str>) -> Result<(), DialError> {
    let file = tempfile::NamedTempFile::new().unwrap();
    if let Some(ca) = ca {
        std::fs::write(file.path(), ca).unwrap();
    }
    let url = Url::parse(&url).unwrap();
    let mut resolver = Resolver::default();
    let dial = dial(&url, ca.is_some().then(|| file.path()), &mut resolver);
    let result = timeout(Duration::from_secs(60), dial).await.unwrap();
    result.map(drop)
}

#[tokio::test]
async fn a_lobby_with_its_own_authority_is_trusted_through_ca_file_only() {
    let authority = Authority::new();
    let port = serve(&authority, "localhost").await;
    let url = || format!("https://localhost:{port}/prefix");
    let ca = authority.pem();
    try_dial(url(), Some(&ca)).await.unwrap();
    let stranger = Authority::new().pem();
    let untrusted = try_dial(url(), Some(&stranger)).await.unwrap_err();
    assert!(matches!(untrusted, DialError::Tls { .. }), "{untrusted:?}");
    let text = untrusted.to_string();
    assert!(text.contains("ca_file"), "{text}");
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    let authority = Authority::new();
    let port = serve(&authority, "elsewhere.example").await;
    let ca = authority.pem();
    let error = try_dial(format!("wss://localhost:{port}"), Some(&ca))
        .await
        .unwrap_err();
    assert!(matches!(error, DialError::Tls { .. }), "{error:?}");
}

#[tokio::test]
async fn an_unusable_ca_file_is_named() {
    for content in [
        "",
        "not PEM",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ] {
        let error = try_dial("https://localhost:1".to_owned(), Some(content))
            .await
            .unwrap_err();
        assert!(
            matches!(error, DialError::CaFile { .. }),
            "{content}: {error:?}"
        );
    }
}
