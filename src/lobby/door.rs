//! The door: every TCP connection to the lobby, counted, bounded in time, and closable from inside.
//!
//! The Socket.IO server offers no way to close one connection, and its own end of a session waits for
//! a write that may never finish when the peer's cable was pulled (engineioxide 0.17 holds the session's
//! queue during `flush`): such a viewer would stay in the list until TCP gives up, a quarter of an hour
//! later. Both are put right here, a layer below.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    extract::connect_info::Connected,
    serve::{IncomingStream, Listener},
};
use futures_util::task::AtomicWaker;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    time::{Instant, Sleep, sleep},
};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

use super::{http::network, tls::Stream};

/// How long the listener rests after an error of `accept` that will not pass by itself, such as a lack
/// of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Between two log lines about connections that were turned away.
const COMPLAINT_PAUSE: Duration = Duration::from_secs(60);

/// What a connection may cost.
#[derive(Debug, Clone, Copy)]
pub struct DoorLimits {
    /// Connections at a time. The last place is kept for this machine: the daemon's own host has to find one.
    pub connections: usize,
    /// Of these, connections that one address may have. This machine's own are not counted: behind a
    /// reverse proxy everybody comes from here.
    pub per_address: usize,
    /// How long a peer may take over a request, and over the next one after each piece of the reply. Whoever
    /// sends a byte now and then is never idle. Holds until the connection is trusted.
    pub entrance: Duration,
    /// Without a byte from the peer for this long, the connection is closed.
    pub read_idle: Duration,
    /// With a write that does not move for this long, the connection is closed.
    pub write_stall: Duration,
}

/// One connection, as the rest of the lobby knows it.
#[derive(Debug)]
pub struct Connection {
    id: u64,
    peer: SocketAddr,
    /// Whose places it counts against; `None` for this machine itself.
    network: Option<IpAddr>,
    trusted: AtomicBool,
    closed: AtomicBool,
    reader: AtomicWaker,
    writer: AtomicWaker,
}

impl Connection {
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Closes the connection; whoever reads or writes it gets an error at once.
    pub fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.reader.wake();
        self.writer.wake();
    }

    /// A valid token came: from now on the peer may take its time between two messages.
    pub fn trust(&self) {
        self.trusted.store(true, Ordering::SeqCst);
    }

    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// To be asked after the waker is registered, so that no `close` falls in between.
    fn check(&self) -> io::Result<()> {
        if self.is_closed() {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Ok(())
    }
}

/// What a request handler gets to know of its connection.
#[derive(Debug, Clone)]
pub struct Peer(pub Arc<Connection>);

impl Connected<IncomingStream<'_, Door>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Door>) -> Self {
        Self(stream.io().connection().clone())
    }
}

/// All open connections.
#[derive(Debug, Default)]
pub struct Connections {
    open: Mutex<HashMap<u64, Arc<Connection>>>,
    next: AtomicU64,
}

impl Connections {
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    pub fn close_all(&self) {
        for connection in self.lock().values() {
            connection.close();
        }
    }

    /// Takes in a connection that `peer` made to our address `local`, if there is room for it.
    fn admit(
        &self,
        peer: SocketAddr,
        local: IpAddr,
        limits: &DoorLimits,
    ) -> Result<Arc<Connection>, Full> {
        let network = (!is_this_machine(peer.ip(), local)).then(|| network(peer.ip()));
        let mut open = self.lock();
        let kept = usize::from(network.is_some());
        if open.len() + kept >= limits.connections {
            return Err(Full::House);
        }
        if network.is_some() {
            let theirs = open.values().filter(|other| other.network == network);
            if theirs.count() >= limits.per_address {
                return Err(Full::Address);
            }
        }
        let connection = Arc::new(Connection {
            id: self.next.fetch_add(1, Ordering::Relaxed),
            peer,
            network,
            trusted: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            reader: AtomicWaker::new(),
            writer: AtomicWaker::new(),
        });
        open.insert(connection.id, connection.clone());
        Ok(connection)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<Connection>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why somebody is turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Full {
    /// There are as many connections as there may be.
    House,
    /// There are as many of this address.
    Address,
}

/// Whether `peer` is us: the loopback, or whoever has the very address that was dialed.
fn is_this_machine(peer: IpAddr, local: IpAddr) -> bool {
    let peer = peer.to_canonical();
    peer.is_loopback() || peer == local.to_canonical()
}

/// What is behind a door, for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behind {
    Lobby,
    /// `/metrics` and `/healthz`.
    Metrics,
}

impl Behind {
    const fn name(self) -> &'static str {
        match self {
            Self::Lobby => "the lobby",
            Self::Metrics => "the metrics' listener",
        }
    }
}

/// The listener.
pub struct Door {
    behind: Behind,
    listener: TcpListener,
    /// Nothing: the door of a lobby without TLS.
    tls: Option<TlsAcceptor>,
    limits: DoorLimits,
    connections: Arc<Connections>,
    /// When somebody was last turned away with a line in the log.
    complained: Option<Instant>,
}

impl Door {
    pub fn new(
        behind: Behind,
        listener: TcpListener,
        tls: Option<TlsAcceptor>,
        limits: DoorLimits,
        connections: Arc<Connections>,
    ) -> Self {
        Self {
            behind,
            listener,
            tls,
            limits,
            connections,
            complained: None,
        }
    }

    /// Says that there is no room, but not for everybody who knocks.
    fn turn_away(&mut self, peer: SocketAddr, full: Full) {
        let lately = self
            .complained
            .is_some_and(|at| at.elapsed() < COMPLAINT_PAUSE);
        if !lately {
            let (max, who) = match full {
                Full::House => (self.limits.connections, self.behind.name()),
                Full::Address => (self.limits.per_address, "this address"),
            };
            match self.behind {
                Behind::Lobby => {
                    warn!(event = "lobby-full", %peer, max, "{who} has as many connections as it may; new ones are turned away");
                }
                Behind::Metrics => {
                    warn!(event = "metrics-full", %peer, max, "{who} has as many connections as it may; new ones to the metrics are turned away");
                }
            }
            self.complained = Some(Instant::now());
        }
    }
}

impl Listener for Door {
    type Io = Stream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Stream, SocketAddr) {
        loop {
            let (stream, peer) = match self.listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    debug!(%error, "a connection to {} could not be accepted", self.behind.name());
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            // Without an address of ours, the peer is gone already.
            let Ok(local) = stream.local_addr() else {
                continue;
            };
            let admitted = self.connections.admit(peer, local.ip(), &self.limits);
            let connection = match admitted {
                Ok(connection) => connection,
                Err(full) => {
                    self.turn_away(peer, full);
                    continue;
                }
            };
            // Signaling is made of small messages that somebody waits for.
            if let Err(error) = stream.set_nodelay(true) {
                debug!(%error, %peer, "TCP_NODELAY was refused");
            }
            let stream = Guarded::new(stream, connection, self.limits, self.connections.clone());
            return (Stream::new(stream, self.tls.as_ref()), peer);
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection's stream with its clocks.
#[derive(Debug)]
pub struct Guarded {
    stream: TcpStream,
    connection: Arc<Connection>,
    connections: Arc<Connections>,
    limits: DoorLimits,
    silent: Pin<Box<Sleep>>,
    /// Until the connection is trusted.
    entrance: Option<Pin<Box<Sleep>>>,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Guarded {
    fn new(
        stream: TcpStream,
        connection: Arc<Connection>,
        limits: DoorLimits,
        connections: Arc<Connections>,
    ) -> Self {
        Self {
            stream,
            connection,
            connections,
            limits,
            silent: Box::pin(sleep(limits.read_idle)),
            entrance: Some(Box::pin(sleep(limits.entrance))),
            stalled: None,
        }
    }

    pub fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// Whether the peer has taken too long to say what it wants.
    fn dawdles(&mut self, cx: &mut Context<'_>) -> bool {
        if self.connection.trusted.load(Ordering::SeqCst) {
            self.entrance = None;
        }
        let entrance = self.entrance.as_mut();
        entrance.is_some_and(|entrance| entrance.as_mut().poll(cx).is_ready())
    }

    /// One attempt to write, flush or shut down, under the writer's clock.
    fn write_with<T>(
        &mut self,
        cx: &mut Context<'_>,
        attempt: impl FnOnce(Pin<&mut TcpStream>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        self.connection.writer.register(cx.waker());
        self.connection.check()?;
        if let Poll::Ready(done) = attempt(Pin::new(&mut self.stream), cx) {
            self.stalled = None;
            return Poll::Ready(done);
        }
        let limit = self.limits.write_stall;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(limit)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.connection.close();
        self.connections.lock().remove(&self.connection.id);
    }
}

impl AsyncRead for Guarded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.connection.reader.register(cx.waker());
        this.connection.check()?;
        if this.dawdles(cx) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        if let Poll::Ready(done) = Pin::new(&mut this.stream).poll_read(cx, buffer) {
            let deadline = Instant::now() + this.limits.read_idle;
            this.silent.as_mut().reset(deadline);
            return Poll::Ready(done);
        }
        ready!(this.silent.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(self.write_with(cx, |stream, cx| stream.poll_write(cx, bytes)));
        // Not at a flush, which comes with every attempt to read.
        let deadline = Instant::now() + self.limits.entrance;
        if let Some(entrance) = &mut self.entrance {
            entrance.as_mut().reset(deadline);
        }
        Poll::Ready(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.write_with(cx, |stream, cx| stream.poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.write_with(cx, |stream, cx| stream.poll_shutdown(cx))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: DoorLimits = DoorLimits {
        connections: 8,
        per_address: 3,
        entrance: Duration::from_secs(1),
        read_idle: Duration::from_secs(1),
        write_stall: Duration::from_secs(1),
    };

    /// How many of `wanted` connections from `peer` find a place, and what the next is told.
    fn arrivals(connections: &Connections, peer: &str, wanted: usize) -> (usize, Option<Full>) {
        let peer = SocketAddr::new(peer.parse().unwrap(), 40_000);
        let local = "192.0.2.1".parse().unwrap();
        for found in 0..wanted {
            if let Err(full) = connections.admit(peer, local, &LIMITS) {
                return (found, Some(full));
            }
        }
        (wanted, None)
    }

    #[test]
    fn one_address_leaves_places_to_others_and_all_leave_one_to_this_machine() {
        let house = Connections::default();
        assert_eq!(
            arrivals(&house, "198.51.100.7", 9),
            (3, Some(Full::Address))
        );
        // The same address as a socket on `::` sees it.
        assert_eq!(
            arrivals(&house, "::ffff:198.51.100.7", 1),
            (0, Some(Full::Address))
        );
        assert_eq!(
            arrivals(&house, "2001:db8:1:2:a::1", 2),
            (2, None),
            "another network"
        );
        assert_eq!(
            arrivals(&house, "2001:db8:1:2:b::9", 2),
            (1, Some(Full::Address))
        );
        assert_eq!(
            arrivals(&house, "203.0.113.5", 2),
            (1, Some(Full::House)),
            "the last place is kept"
        );
        assert_eq!(arrivals(&house, "127.0.0.1", 2), (1, Some(Full::House)));
    }

    #[test]
    fn this_machine_is_not_counted_by_address() {
        for own in ["127.0.0.1", "::1", "::ffff:127.0.0.1", "192.0.2.1"] {
            let house = Connections::default();
            assert_eq!(
                arrivals(&house, own, 9),
                (LIMITS.connections, Some(Full::House)),
                "{own}"
            );
        }
    }
}
