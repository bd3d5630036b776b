//! The embedded lobby: a Socket.IO server where one host and its viewers meet, and the page to watch
//! with. docs/protocol.md is its reference.
//!
//! The daemon's own host dials it like any other lobby. Nobody comes in without a token; the page gets
//! one in exchange for the key in the device's watch link.

mod anteroom;
pub mod auth;
mod desk;
pub(crate) mod door;
mod http;
pub mod keys;
pub mod link;
mod page;
mod random;
pub mod relay;
mod throttle;
pub mod tls;
pub mod wire;

use std::{
    fmt, io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use socketioxide::{ParserConfig, SocketIo, TransportType};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_rustls::TlsAcceptor;

use self::{
    auth::Gate,
    desk::Desk,
    door::{Behind, Connections, Door, DoorLimits, Peer},
    tls::{TlsError, TlsFiles},
};
pub use self::{page::is_included as page_is_included, throttle::Rate};
use crate::secret::Secret;

/// How long sockets are given to say goodbye before their connections are closed.
const GOODBYE: Duration = Duration::from_millis(500);

/// Shorter keys than this could be tried out, in bytes.
const MIN_KEY: usize = 16;

/// What an embedded lobby needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Port 0 lets the system choose; `Lobby::addr` tells.
    pub listen: SocketAddr,
    /// Signs and checks tokens (HS256).
    pub secret: Secret,
    /// What the watch link carries; buys a token that may only watch.
    pub watch_key: Secret,
    /// Nothing: plain HTTP.
    pub tls: Option<TlsFiles>,
    pub limits: Limits,
}

/// What the lobby bears.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// TCP connections at a time, whatever they are used for. The last one is kept for this machine.
    pub connections: usize,
    /// TCP connections that one address, or one IPv6 network of 64 bits, may have. Those of this machine
    /// itself are not counted.
    pub per_address: usize,
    /// How long a peer without a valid token may take over a request, and over the next one after
    /// each piece of the reply.
    pub entrance: Duration,
    /// Bytes in one message.
    pub payload: usize,
    /// Messages that may wait to be read by one socket.
    pub queue: usize,
    /// Streams that one socket may watch at a time.
    pub joins: usize,
    /// Events of a socket that may go live. One host answers for all its viewers.
    pub member_rate: Rate,
    /// Events of a socket that may only watch.
    pub viewer_rate: Rate,
    /// Between two Engine.IO pings.
    pub ping_interval: Duration,
    /// How long the answer to a ping may take.
    pub ping_timeout: Duration,
    /// How long a connection may stay without being accepted by its token.
    pub connect_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 512,
            per_address: 64,
            entrance: Duration::from_secs(15),
            payload: 64 * 1024,
            queue: 1024,
            joins: 8,
            member_rate: Rate {
                burst: 4096.0,
                per_second: 1024.0,
            },
            viewer_rate: Rate {
                burst: 200.0,
                per_second: 20.0,
            },
            ping_interval: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(20),
            connect_timeout: Duration::from_secs(10),
        }
    }
}

/// Why there is no lobby.
#[derive(Debug, thiserror::Error)]
pub enum LobbyError {
    /// Another address has to be chosen, or the one that has it stopped.
    #[error(
        "the embedded lobby cannot listen on {listen}: {source}; \
         set another address in `[embedded_lobby] listen`, or stop the program that uses this one"
    )]
    Listen {
        listen: SocketAddr,
        source: io::Error,
    },
    /// The files have to be mended.
    #[error(
        "the embedded lobby has no TLS: {0}; check [embedded_lobby] certificate_file and key_file"
    )]
    Tls(#[from] TlsError),
    /// The key has to be made anew.
    #[error("the embedded lobby's {which} is too short: at least {MIN_KEY} bytes are needed")]
    ShortKey { which: &'static str },
}

/// A running lobby. It stops when it is dropped, without a goodbye.
pub struct Lobby {
    addr: SocketAddr,
    own_addr: SocketAddr,
    io: SocketIo,
    desk: Arc<Desk>,
    connections: Arc<Connections>,
    /// Servers and what keeps their state.
    tasks: JoinSet<()>,
}

/// Starts the lobby. It listens when this returns.
pub async fn start(settings: Settings) -> Result<Lobby, LobbyError> {
    let Settings {
        listen,
        secret,
        watch_key,
        tls,
        limits,
    } = settings;
    for (which, key) in [("secret", &secret), ("watch key", &watch_key)] {
        if key.expose().len() < MIN_KEY {
            return Err(LobbyError::ShortKey { which });
        }
    }
    let (listener, addr) = listen_on(listen).await?;
    let mut tasks = JoinSet::new();

    let gate = Arc::new(Gate::new(&secret, watch_key));
    let (sockets, io) = socket_io(&limits);
    let desk = desk::open(&io, gate.clone(), limits);
    let router = http::guarded(http::routes(gate).layer(sockets));

    let connections = Arc::new(Connections::default());
    let mut serve = |listener, tls: Option<TlsAcceptor>| {
        let door = Door::new(
            Behind::Lobby,
            listener,
            tls,
            door_limits(&limits),
            connections.clone(),
        );
        let service = router.clone().into_make_service_with_connect_info::<Peer>();
        tasks.spawn(async move {
            // Never returns: errors of single connections are dealt with inside.
            let _ = axum::serve(door, service).await;
        });
    };
    let own_addr = match tls {
        None => {
            serve(listener, None);
            on_this_machine(addr)
        }
        Some(files) => {
            let (acceptor, keep_fresh) = tls::serve(files, tls::LOOK_EVERY)?;
            serve(listener, Some(acceptor));
            // The certificate is for a name that others know us by, not for the loopback.
            let (own, own_addr) = listen_on((Ipv4Addr::LOCALHOST, 0).into()).await?;
            serve(own, None);
            tasks.spawn(keep_fresh);
            own_addr
        }
    };
    tasks.spawn({
        let (desk, io) = (desk.clone(), io.clone());
        async move { desk.announce(io).await }
    });
    Ok(Lobby {
        addr,
        own_addr,
        io,
        desk,
        connections,
        tasks,
    })
}

async fn listen_on(listen: SocketAddr) -> Result<(TcpListener, SocketAddr), LobbyError> {
    let failed = |source| LobbyError::Listen { listen, source };
    let listener = TcpListener::bind(listen).await.map_err(failed)?;
    let addr = listener.local_addr().map_err(failed)?;
    Ok((listener, addr))
}

/// How this machine itself reaches a listener.
fn on_this_machine(addr: SocketAddr) -> SocketAddr {
    let ip = match addr {
        _ if !addr.ip().is_unspecified() => addr.ip(),
        SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::new(ip, addr.port())
}

impl Lobby {
    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Where the daemon's own host dials: without TLS, and from outside only if the lobby has none.
    pub fn own_addr(&self) -> SocketAddr {
        self.own_addr
    }

    /// Sockets that have said something, and streams alive.
    pub fn census(&self) -> (usize, usize) {
        self.desk.census()
    }

    /// Open TCP connections.
    pub fn connections(&self) -> usize {
        self.connections.count()
    }

    /// Stops listening, says goodbye to every socket and closes what is left: within a second.
    pub async fn shutdown(mut self) {
        // The ports are free when this is done.
        self.tasks.shutdown().await;
        if tokio::time::timeout(GOODBYE, self.io.close())
            .await
            .is_err()
        {
            tracing::debug!("somebody did not take the lobby's goodbye in time");
        }
        self.connections.close_all();
    }
}

impl Drop for Lobby {
    fn drop(&mut self) {
        // The tasks end with their set.
        self.connections.close_all();
    }
}

impl fmt::Debug for Lobby {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lobby = f.debug_struct("Lobby");
        lobby.field("addr", &self.addr).finish_non_exhaustive()
    }
}

fn socket_io(limits: &Limits) -> (socketioxide::layer::SocketIoLayer, SocketIo) {
    // Nothing of the lobby's is binary; what comes is read past, in small amounts.
    let parser = ParserConfig::common()
        .max_incoming_binaries(4)
        .max_incoming_binary_buf_size(limits.payload)
        .packet_completion_timeout(limits.connect_timeout);
    SocketIo::builder()
        .transports([TransportType::Websocket])
        .ping_interval(limits.ping_interval)
        .ping_timeout(limits.ping_timeout)
        .connect_timeout(limits.connect_timeout)
        .max_payload(limits.payload as u64)
        .ws_max_message_size(limits.payload)
        .ws_max_frame_size(limits.payload)
        .ws_read_buffer_size(16 * 1024)
        .max_buffer_size(limits.queue)
        .with_parser(parser)
        .build_layer()
}

/// A living peer answers every ping, so it is never silent for longer than both clocks together.
fn door_limits(limits: &Limits) -> DoorLimits {
    DoorLimits {
        connections: limits.connections,
        per_address: limits.per_address,
        entrance: limits.entrance,
        read_idle: limits.ping_interval + limits.ping_timeout + Duration::from_secs(5),
        write_stall: limits.ping_timeout,
    }
}
