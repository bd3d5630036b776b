//! A way to the lobby that can die without telling: connections stay open, and nothing comes through.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use anyhow::Result;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, tcp},
    sync::watch,
    task::AbortHandle,
    time::sleep,
};
use url::Url;

/// A real router forgets its old connections.
const FORGETS_AFTER: Duration = Duration::from_secs(600);

pub struct Proxy {
    /// The lobby's address as it is seen through the proxy.
    pub url: Url,
    /// Connections with a number below this are dead.
    dead_below: watch::Sender<u64>,
    made: watch::Receiver<u64>,
    task: AbortHandle,
}

impl Proxy {
    pub async fn start(lobby: &Url, host: IpAddr) -> Result<Self> {
        let to = lobby.socket_addrs(|| None)?[0];
        let listener = TcpListener::bind((host, 0)).await?;
        let url = Url::parse(&format!("http://{}/", listener.local_addr()?))?;
        let (dead_below, dead) = watch::channel(0);
        let (count, made) = watch::channel(0);
        let task = tokio::spawn(serve(listener, to, dead, count)).abort_handle();
        Ok(Self {
            url,
            dead_below,
            made,
            task,
        })
    }

    /// From now on nothing comes through the connections that there are.
    pub fn strand(&self) {
        self.dead_below.send_replace(*self.made.borrow());
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    listener: TcpListener,
    to: SocketAddr,
    dead: watch::Receiver<u64>,
    count: watch::Sender<u64>,
) {
    let mut number = 0;
    while let Ok((near, _)) = listener.accept().await {
        let Ok(far) = TcpStream::connect(to).await else {
            continue;
        };
        let alive = {
            let dead = dead.clone();
            move || number >= *dead.borrow()
        };
        number += 1;
        count.send_replace(number);
        let (near_in, near_out) = near.into_split();
        let (far_in, far_out) = far.into_split();
        tokio::spawn(carry(near_in, far_out, alive.clone()));
        tokio::spawn(carry(far_in, near_out, alive));
    }
}

async fn carry(
    mut from: tcp::OwnedReadHalf,
    mut to: tcp::OwnedWriteHalf,
    alive: impl Fn() -> bool,
) {
    let mut bytes = vec![0; 16 * 1024];
    loop {
        let read = from.read(&mut bytes).await.unwrap_or(0);
        if !alive() {
            // Held open: neither side hears of the other's end.
            sleep(FORGETS_AFTER).await;
            return;
        }
        if read == 0 || to.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
}
