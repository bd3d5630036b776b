//! Whether the STUN and TURN servers answer, and whether TURN takes our credentials.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::{Duration, SystemTime},
};

use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpStream, UdpSocket, lookup_host},
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::{
    Finding, limited,
    settings::READ_WITHIN,
    stun::{self, Reply, Terms, Transaction},
};
use crate::{
    config::{Config, IceAuth, IceServer},
    files::{self, Reader},
    media::ice::login,
    signaling::dial,
};

const CHECK: &str = "ice";
/// Between two sendings of the same question over UDP.
const SENT_AGAIN_AFTER: Duration = Duration::from_millis(500);
/// Of one of a server's addresses, for one answer.
const ANSWER_WITHIN: Duration = Duration::from_millis(1800);
/// Longest message that is read.
const LONGEST: usize = 2048;
const UNAUTHORIZED: u16 = 401;
const STALE_NONCE: u16 = 438;

pub(super) async fn examine(config: &Config) -> Vec<Finding> {
    let mut tasks = JoinSet::new();
    for (index, server) in config.ice.servers.iter().cloned().enumerate() {
        tasks.spawn(async move {
            let url = server.url.clone();
            let found = limited(CHECK, ask(server))
                .await
                .unwrap_or_else(|late| Finding {
                    what: format!("{url}: {}", late.what),
                    ..late
                });
            (index, found)
        });
    }
    let mut found = tasks.join_all().await;
    found.sort_by_key(|(index, _)| *index);
    found.into_iter().map(|(_, found)| found).collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transport {
    Udp,
    Tcp,
    Tls,
}

/// Host, port and transport of a `stun:`, `turn:` or `turns:` URL that the configuration has checked.
fn target(url: &str) -> Option<(String, u16, Transport)> {
    let (scheme, rest) = url.split_once(':')?;
    let (address, query) = rest.split_once('?').unwrap_or((rest, ""));
    let scheme = scheme.to_ascii_lowercase();
    let (transport, default) = match (scheme.as_str(), query) {
        ("turns", _) => (Transport::Tls, 5349),
        (_, "transport=tcp") => (Transport::Tcp, 3478),
        _ => (Transport::Udp, 3478),
    };
    let (host, port) = match address.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => address.split_once(':').unwrap_or((address, "")),
    };
    let port = match port.trim_start_matches(':') {
        "" => default,
        port => port.parse().ok()?,
    };
    Some((host.to_owned(), port, transport))
}

async fn ask(server: IceServer) -> Finding {
    let url = server.url.clone();
    let fault = |what: String, mend: &str| Finding::fault(CHECK, format!("{url}: {what}"), mend);
    let Some((host, port, transport)) = target(&url) else {
        return fault("is not understood".into(), "check [ice] servers");
    };
    let addresses: Vec<SocketAddr> = match lookup_host((host.as_str(), port)).await {
        Ok(addresses) => addresses.collect(),
        Err(error) => {
            let mend = "check the spelling in [ice] servers, and the name server";
            return fault(format!("its name is not found: {error}"), mend);
        }
    };
    let reach = "see that the server runs, and that no firewall is between; viewers behind strict NATs depend on it";
    let mut failure = "its name has no address".to_owned();
    for address in addresses {
        let mut channel = match connect(&host, address, transport).await {
            Ok(channel) => channel,
            Err(error) => {
                failure = format!("{address} cannot be reached: {error}");
                continue;
            }
        };
        let answer = match &server.auth {
            IceAuth::None => binding(&mut channel).await,
            IceAuth::Static { .. } | IceAuth::SharedSecret { .. } => {
                allocate(&mut channel, &server).await
            }
        };
        match answer {
            Ok(Answer::Serves(how)) => return Finding::ok(CHECK, format!("{url}: {how}")),
            Ok(Answer::Refuses(why, mend)) => return fault(why, mend),
            Err(error) => failure = format!("{address} does not answer: {error}"),
        }
    }
    fault(failure, reach)
}

enum Answer {
    Serves(String),
    /// What, and what to do about it.
    Refuses(String, &'static str),
}

async fn binding(channel: &mut Channel) -> io::Result<Answer> {
    let reply = channel.exchange(stun::BINDING, None).await?;
    Ok(match (reply.error, reply.mapped) {
        (None, Some(address)) => Answer::Serves(format!("answers, and sees us at {address}")),
        (None, None) => Answer::Serves("answers".to_owned()),
        (Some((code, phrase)), _) => Answer::Refuses(
            format!("refuses a binding: {code} {phrase}"),
            "is it a STUN server that serves everybody?",
        ),
    })
}

/// Asks for a relay, as a branch does for a viewer, and gives it back.
async fn allocate(channel: &mut Channel, server: &IceServer) -> io::Result<Answer> {
    let asked = server.clone();
    let reader = Reader::default();
    let login = reader.read(READ_WITHIN, move || login(&asked, SystemTime::now()));
    let unread = |why| Ok(Answer::Refuses(why, "check the path and its permissions"));
    let (username, password) = match login.await {
        Some(Ok(Some(login))) => login,
        Some(Ok(None)) => return binding(channel).await,
        Some(Err(error)) => return unread(error.to_string()),
        None => return unread(files::late(server.auth.file().as_slice())),
    };
    let mut reply = channel.exchange(stun::ALLOCATE, None).await?;
    // The first refusal is the challenge; a second one may only say that the nonce was out of date.
    for _ in 0..2 {
        let challenged = matches!(reply.error, Some((UNAUTHORIZED | STALE_NONCE, _)));
        if !challenged || reply.realm.is_empty() {
            break;
        }
        let terms = Terms::new(&username, &password, &reply);
        reply = channel.exchange(stun::ALLOCATE, Some(&terms)).await?;
        if reply.error.is_none() {
            channel.send(stun::REFRESH, Some(&terms)).await?;
        }
        if !matches!(reply.error, Some((STALE_NONCE, _))) {
            break;
        }
    }
    Ok(match reply.error {
        None => Answer::Serves("takes our credentials and gives a relay".to_owned()),
        Some((UNAUTHORIZED, phrase)) => Answer::Refuses(
            format!("refuses our credentials: {UNAUTHORIZED} {phrase}"),
            "check username and password or shared secret, and the device's clock",
        ),
        Some((code, phrase)) => Answer::Refuses(
            format!("gives no relay: {code} {phrase}"),
            "see the TURN server's own log",
        ),
    })
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

enum Channel {
    Datagrams(UdpSocket),
    Bytes(Box<dyn Stream>),
}

async fn connect(host: &str, address: SocketAddr, transport: Transport) -> io::Result<Channel> {
    if transport == Transport::Udp {
        let any: SocketAddr = match address {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(any).await?;
        socket.connect(address).await?;
        return Ok(Channel::Datagrams(socket));
    }
    let connected = timeout(ANSWER_WITHIN, async {
        let stream = TcpStream::connect(address).await?;
        if transport == Transport::Tcp {
            return Ok(Channel::Bytes(Box::new(stream)));
        }
        let mut config = dial::tls_config(None, &Reader::default())
            .await
            .map_err(io::Error::other)?;
        config.alpn_protocols.clear();
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let stream = TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await?;
        Ok(Channel::Bytes(Box::new(stream)))
    });
    connected
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

impl Channel {
    /// Asks and waits for the answer.
    async fn exchange(&mut self, method: u16, terms: Option<&Terms>) -> io::Result<Reply> {
        let id: Transaction = rand::random();
        let request = stun::request(method, id, terms);
        let answered = async {
            match self {
                Self::Datagrams(socket) => ask_by_datagram(socket, &request, method, &id).await,
                Self::Bytes(stream) => ask_by_stream(stream, &request, method, &id).await,
            }
        };
        let answered = timeout(ANSWER_WITHIN, answered).await;
        answered.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Says something whose answer does not matter.
    async fn send(&mut self, method: u16, terms: Option<&Terms>) -> io::Result<()> {
        let request = stun::request(method, rand::random(), terms);
        match self {
            Self::Datagrams(socket) => socket.send(&request).await.map(drop),
            Self::Bytes(stream) => stream.write_all(&request).await,
        }
    }
}

async fn ask_by_datagram(
    socket: &UdpSocket,
    request: &[u8],
    method: u16,
    id: &Transaction,
) -> io::Result<Reply> {
    let mut buffer = [0; LONGEST];
    loop {
        socket.send(request).await?;
        let answer = async {
            loop {
                let length = socket.recv(&mut buffer).await?;
                if let Some(reply) = stun::parse(&buffer[..length], method, id) {
                    return Ok(reply);
                }
            }
        };
        if let Ok(answer) = timeout(SENT_AGAIN_AFTER, answer).await {
            return answer;
        }
    }
}

/// Messages follow each other without anything between (RFC 8489 §6.2.2).
async fn ask_by_stream(
    stream: &mut Box<dyn Stream>,
    request: &[u8],
    method: u16,
    id: &Transaction,
) -> io::Result<Reply> {
    let strange = || io::Error::new(io::ErrorKind::InvalidData, "what answers is no STUN");
    stream.write_all(request).await?;
    stream.flush().await?;
    loop {
        let mut header = [0; stun::HEADER];
        stream.read_exact(&mut header).await?;
        let length = stun::length(&header).filter(|length| *length <= LONGEST);
        let mut message = header.to_vec();
        message.resize(length.ok_or_else(strange)?, 0);
        stream.read_exact(&mut message[stun::HEADER..]).await?;
        if let Some(reply) = stun::parse(&message, method, id) {
            return Ok(reply);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    #[test]
    fn an_address_is_taken_apart() {
        for (url, host, port, transport) in [
            ("stun:a.example", "a.example", 3478, Transport::Udp),
            (
                "turn:a.example:99?transport=tcp",
                "a.example",
                99,
                Transport::Tcp,
            ),
            ("turn:[2001:db8::1]:99", "2001:db8::1", 99, Transport::Udp),
            ("turn:[::1]?transport=udp", "::1", 3478, Transport::Udp),
            ("turns:192.0.2.1", "192.0.2.1", 5349, Transport::Tls),
        ] {
            assert_eq!(
                target(url),
                Some((host.to_owned(), port, transport)),
                "{url}"
            );
        }
    }

    #[tokio::test]
    async fn nobody_and_somebody_else_are_faults() {
        // Bound, and silent.
        let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let server = |address: SocketAddr| IceServer {
            url: format!("stun:{address}"),
            auth: IceAuth::None,
        };
        let found = ask(server(silent.local_addr().unwrap())).await;
        assert_eq!(found.level, Level::Fault);
        assert!(found.what.contains("does not answer"), "{found:?}");
    }
}
