//! The lobby behind TLS.

use std::{fs, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use perch::{
    files::Reader,
    lobby::{
        Limits, Lobby, LobbyError, link, start,
        tls::{self, TlsError, TlsFiles},
    },
    secret::Secret,
    signaling::{
        dial::{DialError, dial},
        resolve::Resolver,
    },
};
use rcgen::{CertificateParams, KeyPair};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use serde_json::json;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use url::Url;

use crate::wire::{Line, SOON, WATCH_KEY, http, settings};

/// A certificate of its own authority for `names`, as files.
struct Files {
    directory: TempDir,
    tls: TlsFiles,
}

impl Files {
    fn new(names: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let tls = TlsFiles {
            certificate: directory.path().join("certificate.pem"),
            key: directory.path().join("key.pem"),
        };
        let files = Self { directory, tls };
        files.renew(names);
        files
    }

    fn renew(&self, names: &[&str]) {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let certificate = CertificateParams::new(names).unwrap();
        let certificate = certificate.self_signed(&key).unwrap();
        self.put(&self.tls.key, &key.serialize_pem());
        self.put(&self.tls.certificate, &certificate.pem());
    }

    /// Whole or not at all, as whoever renews certificates does it.
    fn put(&self, path: &Path, text: &str) {
        let draft = self.directory.path().join("draft");
        fs::write(&draft, text).unwrap();
        fs::rename(draft, path).unwrap();
    }

    async fn lobby(&self, limits: Limits) -> Lobby {
        let mut settings = settings("127.0.0.1:0".parse().unwrap(), limits);
        settings.tls = Some(self.tls.clone());
        start(settings).await.unwrap()
    }

    /// A client that trusts the certificate as it is now.
    fn connector(&self) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        let certificate = CertificateDer::from_pem_file(&self.tls.certificate).unwrap();
        roots.add(certificate).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        TlsConnector::from(Arc::new(config))
    }
}

/// What is done to a good pair of files.
type Damage<'a> = &'a dyn Fn(&Files);

async fn connect(
    connector: &TlsConnector,
    addr: SocketAddr,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(addr).await?;
    let name = ServerName::try_from("localhost").unwrap();
    timeout(SOON, connector.connect(name, stream))
        .await
        .expect("a handshake in time")
}

async fn get(stream: &mut TlsStream<TcpStream>) -> String {
    let request = b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut reply = Vec::new();
    let read = timeout(SOON, stream.read_to_end(&mut reply));
    read.await.expect("a reply in time").unwrap();
    String::from_utf8_lossy(&reply).into_owned()
}

#[tokio::test]
async fn page_and_socket_go_over_tls() {
    let files = Files::new(&["localhost"]);
    let lobby = files.lobby(Limits::default()).await;
    let mut stream = connect(&files.connector(), lobby.addr()).await.unwrap();
    let reply = get(&mut stream).await;
    assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");

    let url = Url::parse(&format!("https://localhost:{}", lobby.addr().port())).unwrap();
    let (reader, mut resolver) = (Reader::default(), Resolver::default());
    dial(&url, Some(&files.tls.certificate), &reader, &mut resolver)
        .await
        .unwrap();
    let stranger = Files::new(&["localhost"]);
    let ca = &stranger.tls.certificate;
    let refused = dial(&url, Some(ca), &reader, &mut resolver).await;
    assert!(matches!(refused, Err(DialError::Tls { .. })), "{refused:?}");
}

#[tokio::test]
async fn without_tls_only_this_machine_is_served() {
    let files = Files::new(&["cam.example"]);
    let lobby = files.lobby(Limits::default()).await;
    let own = lobby.own_addr();
    assert!(own.ip().is_loopback());
    assert_ne!(own, lobby.addr());
    let mut host = Line::member(own, "camera").await;
    let started = host.ask("live:start", json!({ "title": "Nest" })).await;
    assert_eq!(started["ok"], true);
    assert_eq!(http(own, "GET /", &[], "").await.status, 200);

    let mut plain = TcpStream::connect(lobby.addr()).await.unwrap();
    plain
        .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let mut reply = Vec::new();
    let _ = timeout(SOON, plain.read_to_end(&mut reply)).await.unwrap();
    assert!(!reply.starts_with(b"HTTP"), "answered in the clear");
}

#[tokio::test]
async fn who_dawdles_over_the_handshake_is_put_out_and_holds_up_nobody() {
    let files = Files::new(&["localhost"]);
    let limits = Limits {
        entrance: Duration::from_millis(300),
        ..Limits::default()
    };
    let lobby = files.lobby(limits).await;
    let mut mute = TcpStream::connect(lobby.addr()).await.unwrap();
    // A handshake that begins and does not go on.
    let mut half = TcpStream::connect(lobby.addr()).await.unwrap();
    half.write_all(&[22, 3, 1, 2, 0, 1]).await.unwrap();
    connect(&files.connector(), lobby.addr()).await.unwrap();
    for stream in [&mut mute, &mut half] {
        let end = timeout(SOON, stream.read(&mut [0; 64])).await;
        assert!(matches!(end.expect("put out in time"), Ok(0) | Err(_)));
    }
}

#[tokio::test]
async fn a_renewed_certificate_is_taken_over_without_a_restart() {
    let files = Files::new(&["localhost"]);
    let (acceptor, keep_fresh) = tls::serve(files.tls.clone(), Duration::from_millis(10)).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(keep_fresh);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                if let Ok(mut stream) = acceptor.accept(stream).await {
                    let _ = stream.read(&mut [0; 1]).await;
                }
            });
        }
    });
    let before = files.connector();
    let held = connect(&before, addr).await.unwrap();

    // Half of a renewal: the former pair stays.
    let former = fs::read_to_string(&files.tls.key).unwrap();
    files.put(
        &files.tls.key,
        &KeyPair::generate().unwrap().serialize_pem(),
    );
    connect(&before, addr).await.unwrap();
    files.put(&files.tls.key, &former);

    files.renew(&["localhost"]);
    let after = files.connector();
    let taken_over = async {
        while connect(&after, addr).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, taken_over).await.expect("taken over in time");
    let refused = connect(&before, addr).await;
    assert!(refused.is_err(), "the former certificate is still shown");
    drop(held);
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named_and_not_quoted() {
    let good = Files::new(&["localhost"]);
    let other = Files::new(&["localhost"]);
    let key = fs::read_to_string(&good.tls.key).unwrap();
    let body: String = key.lines().filter(|line| !line.starts_with('-')).collect();
    let cases: [(&str, Damage<'_>); 5] = [
        ("key.pem", &|files| fs::remove_file(&files.tls.key).unwrap()),
        ("key.pem", &|files| files.put(&files.tls.key, &key[30..])),
        ("key.pem", &|files| {
            files.put(&files.tls.key, &"x".repeat(300_000))
        }),
        ("certificate.pem", &|files| {
            files.put(&files.tls.certificate, &key)
        }),
        ("does not belong", &|files| {
            fs::copy(&other.tls.key, &files.tls.key).unwrap();
        }),
    ];
    for (named, damage) in cases {
        let files = Files::new(&["localhost"]);
        damage(&files);
        let mut settings = settings("127.0.0.1:0".parse().unwrap(), Limits::default());
        settings.tls = Some(files.tls.clone());
        let error = start(settings).await.expect_err("no lobby with that");
        assert!(matches!(error, LobbyError::Tls(_)), "{error}");
        let text = format!("{error} {error:?}");
        assert!(text.contains(named), "{named}: {text}");
        assert!(text.contains("certificate_file"), "{text}");
        assert!(!text.contains(&body[8..40]), "{text}");
    }
    let loaded = good.tls.load();
    assert!(!matches!(loaded, Err(TlsError::NotAPair { .. })));
}

#[test]
fn the_watch_link_names_what_the_certificate_is_for() {
    let key = Secret::new(WATCH_KEY);
    let links = |names: &[&str]| {
        let files = Files::new(names);
        link::watch_links("127.0.0.1:8443".parse().unwrap(), Some(&files.tls), &key)
    };
    let expected = |host: &str| vec![format!("https://{host}:8443/#{WATCH_KEY}")];
    assert_eq!(
        links(&["cam.example", "other.example"]),
        expected("cam.example")
    );
    assert_eq!(
        links(&["*.example", "cam.example"]),
        expected("cam.example")
    );
    // For an address only: that is what a browser is sent to.
    assert_eq!(links(&["127.0.0.1"]), expected("127.0.0.1"));
}
