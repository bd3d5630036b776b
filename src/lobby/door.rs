//! The door: every TCP connection to the lobby, counted, bounded in time, and closable from inside.
//!
//! The Socket.IO server offers no way to close one connection, and its own end of a session waits for
//! a write that may never finish when the peer's cable was pulled (engineioxide 0.17 holds the session's
//! queue during `flush`): such a viewer would stay in the list until TCP gives up, a quarter of an hour
//! later. Both are put right here, a layer below.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
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
use tracing::{debug, warn};

/// How long the listener rests after an error of `accept` that will not pass by itself, such as a lack
/// of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Between two log lines about connections that were turned away.
const COMPLAINT_PAUSE: Duration = Duration::from_secs(60);

/// What a connection may cost.
#[derive(Debug, Clone, Copy)]
pub struct DoorLimits {
    /// Connections at a time.
    pub connections: usize,
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
        Self(stream.io().connection.clone())
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

    /// Takes a connection in, unless there are `max` already.
    fn admit(&self, peer: SocketAddr, max: usize) -> Option<Arc<Connection>> {
        let mut open = self.lock();
        if open.len() >= max {
            return None;
        }
        let connection = Arc::new(Connection {
            id: self.next.fetch_add(1, Ordering::Relaxed),
            peer,
            closed: AtomicBool::new(false),
            reader: AtomicWaker::new(),
            writer: AtomicWaker::new(),
        });
        open.insert(connection.id, connection.clone());
        Some(connection)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<Connection>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The listener.
#[derive(Debug)]
pub struct Door {
    listener: TcpListener,
    limits: DoorLimits,
    connections: Arc<Connections>,
    /// When somebody was last turned away with a line in the log.
    complained: Option<Instant>,
}

impl Door {
    pub fn new(listener: TcpListener, limits: DoorLimits, connections: Arc<Connections>) -> Self {
        Self {
            listener,
            limits,
            connections,
            complained: None,
        }
    }

    /// Says that the house is full, but not for everybody who knocks.
    fn turn_away(&mut self, peer: SocketAddr) {
        let lately = self
            .complained
            .is_some_and(|at| at.elapsed() < COMPLAINT_PAUSE);
        if !lately {
            let max = self.limits.connections;
            warn!(%peer, max, "the lobby has no room for more connections; new ones are turned away");
            self.complained = Some(Instant::now());
        }
    }
}

impl Listener for Door {
    type Io = Guarded;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Guarded, SocketAddr) {
        loop {
            let (stream, peer) = match self.listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    debug!(%error, "a connection to the lobby could not be accepted");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Some(connection) = self.connections.admit(peer, self.limits.connections) else {
                self.turn_away(peer);
                continue;
            };
            // Signaling is made of small messages that somebody waits for.
            if let Err(error) = stream.set_nodelay(true) {
                debug!(%error, %peer, "TCP_NODELAY was refused");
            }
            return (
                Guarded::new(stream, connection, self.limits, self.connections.clone()),
                peer,
            );
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection's stream with its two clocks.
#[derive(Debug)]
pub struct Guarded {
    stream: TcpStream,
    connection: Arc<Connection>,
    connections: Arc<Connections>,
    limits: DoorLimits,
    silent: Pin<Box<Sleep>>,
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
            stalled: None,
        }
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
        self.write_with(cx, |stream, cx| stream.poll_write(cx, bytes))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.write_with(cx, |stream, cx| stream.poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.write_with(cx, |stream, cx| stream.poll_shutdown(cx))
    }
}
