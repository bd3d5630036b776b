//! A lobby behind TLS with a certificate authority of its own.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use async_tungstenite::tokio::accept_async;
use base64::Engine as _;
use perch::{
    clock,
    files::Reader,
    network::Network,
    secret::Secret,
    signaling::{
        client::{
            self, ClientSettings, LineCommand, Links,
            state::{Cause, LineState, Outage},
        },
        credentials::Credentials,
        dial::{DialError, dial},
        resolve::Resolver,
    },
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    time::timeout,
};
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

    fn server_for(&self, name: &str, years: (i32, i32)) -> ServerConfig {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = date_time_ymd(years.0, 1, 1);
        params.not_after = date_time_ymd(years.1, 1, 1);
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
    serve_within(authority, name, (1975, 4096)).await
}

/// With a certificate that is valid from the one year to the other.
async fn serve_within(authority: &Authority, name: &str, years: (i32, i32)) -> u16 {
    let acceptor = TlsAcceptor::from(Arc::new(authority.server_for(name, years)));
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
    let reader = Reader::default();
    let ca = ca.is_some().then(|| file.path());
    let dial = dial(&url, ca, &reader, &mut resolver);
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

/// The first outage of a line to the lobby at `port`.
async fn first_outage(port: u16, authority: &Authority) -> Outage {
    let ca_file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(ca_file.path(), authority.pem()).unwrap();
    let settings = ClientSettings {
        url: Url::parse(&format!("wss://localhost:{port}")).unwrap(),
        ca_file: Some(ca_file.path().to_owned()),
        credentials: Credentials::from_secret(Secret::new("s"), "camera", Duration::from_secs(60)),
        title: "Front door".to_owned(),
    };
    let (commands, their_commands) = mpsc::channel(1);
    let (their_events, _events) = mpsc::channel(1);
    let (state, mut states) = watch::channel(LineState::default());
    let links = Links {
        commands: their_commands,
        events: their_events,
        state,
        network: watch::channel(Network::default()).1,
    };
    let client = tokio::spawn(client::run(settings, links));
    let down = states.wait_for(|state| matches!(state, LineState::Down(_)));
    let down = timeout(Duration::from_secs(60), down).await;
    let LineState::Down(outage) = down.unwrap().unwrap().clone() else {
        unreachable!("it was waited for")
    };
    commands.send(LineCommand::Close).await.unwrap();
    client.await.unwrap();
    outage
}

#[tokio::test]
async fn a_certificate_that_is_not_valid_today_is_said_to_be_a_matter_of_dates() {
    let authority = Authority::new();
    let ca = authority.pem();
    for (years, why) in [((3000, 3001), "not valid yet"), ((2000, 2001), "expired")] {
        let port = serve_within(&authority, "localhost", years).await;
        let error = try_dial(format!("wss://localhost:{port}"), Some(&ca))
            .await
            .unwrap_err();
        assert!(matches!(error, DialError::TlsDates { .. }), "{error:?}");

        let outage = first_outage(port, &authority).await;
        // Where the time is known not to be set yet, the certificate cannot be blamed.
        let expected = if clock::is_known_unsynchronised() {
            Cause::Clock
        } else {
            Cause::Tls
        };
        assert_eq!(outage.cause, expected, "{}", outage.why);
        let today = clock::date(SystemTime::now());
        for part in [
            "not valid today",
            &today,
            why,
            "check the clock, then the lobby's certificate",
        ] {
            assert!(outage.why.contains(part), "{part}: {}", outage.why);
        }
    }
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
