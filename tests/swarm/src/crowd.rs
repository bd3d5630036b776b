//! Many viewers at once.

use std::{
    net::{IpAddr, Ipv4Addr, UdpSocket},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use futures_util::{
    FutureExt,
    future::{BoxFuture, try_join_all},
};
use serde::Serialize;
use str0m::{
    config::DtlsCert,
    crypto::{CryptoProvider, from_feature_flags},
};
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
    time::sleep_until,
};
use url::Url;

use crate::{
    hmac::Sha1Hmac,
    line::{Line, LobbyLine},
    peer::Peer,
    stats::Spread,
    tokens::Tokens,
    viewer::{Conduct, Debris, Report, Viewer, Wish},
};

/// Sockets that are opened to the lobby at the same time.
const ARRIVALS_AT_ONCE: usize = 8;

/// Opens the line of the viewer with this number.
pub type OpenLine = Box<dyn Fn(usize) -> BoxFuture<'static, Result<Box<dyn Line>>> + Send + Sync>;

/// Where viewers go, and how they get in.
pub struct Door {
    open_line: OpenLine,
    /// The address that the viewers' sockets are bound to.
    address: IpAddr,
    certificate: DtlsCert,
}

impl Door {
    /// A lobby's. `address`: where the viewers' UDP sockets are bound, by default on the interface
    /// that has the default route, because hosts do not gather candidates on the loopback interface.
    pub fn new(lobby: Url, tokens: Tokens, address: Option<IpAddr>) -> Result<Self> {
        let way = Arc::new((lobby, tokens));
        let open_line: OpenLine = Box::new(move |number| {
            let way = Arc::clone(&way);
            async move {
                let (lobby, tokens) = &*way;
                let line = LobbyLine::open(lobby, &tokens.of(number)?).await?;
                Ok(Box::new(line) as Box<dyn Line>)
            }
            .boxed()
        });
        Self::behind(open_line, address)
    }

    /// That of a host with a line of another kind.
    pub fn behind(open_line: OpenLine, address: Option<IpAddr>) -> Result<Self> {
        Ok(Self {
            open_line,
            address: address.unwrap_or_else(own_address),
            certificate: certificate()?,
        })
    }

    /// Opens a line and drops it: an error says why no viewer gets in yet.
    pub async fn knock(&self) -> Result<()> {
        (self.open_line)(0).await.map(drop)
    }

    /// Brings one viewer so far that it can join.
    pub async fn arrive(&self, number: usize, conduct: Conduct) -> Result<Viewer> {
        let arrive = async {
            let line = (self.open_line)(number).await?;
            let peer = Peer::new(self.address, self.certificate.clone()).await?;
            anyhow::Ok(Viewer::new(number, conduct, line, peer))
        };
        arrive
            .await
            .with_context(|| format!("viewer {number} did not get as far as joining"))
    }
}

/// A viewer on a task of its own.
pub struct Watching {
    wish: watch::Sender<Wish>,
    picture: oneshot::Receiver<()>,
    task: JoinHandle<(Report, Debris)>,
}

impl Watching {
    pub fn start(viewer: Viewer) -> Self {
        let (wish, wishes) = watch::channel(Wish::Watch);
        let (pictured, picture) = oneshot::channel();
        let task = tokio::spawn(viewer.watch(wishes, pictured));
        Self {
            wish,
            picture,
            task,
        }
    }

    /// Waits for the first keyframe; false when the viewer ended without one.
    pub async fn picture(&mut self) -> bool {
        (&mut self.picture).await.is_ok()
    }

    /// Tells the viewer to go.
    pub fn stop(&self) {
        self.tell(Wish::Leave);
    }

    fn tell(&self, wish: Wish) {
        // A viewer that has ended by itself no longer listens.
        let _ = self.wish.send(wish);
    }

    /// Waits for the viewer's end.
    pub async fn end(self) -> Result<(Report, Debris)> {
        Ok(self.task.await?)
    }
}

/// Viewers that watch until they are told to stop.
pub struct Crowd {
    viewers: Vec<Watching>,
}

impl Crowd {
    /// Lets `size` viewers join, `spacing` apart, all with their sockets already open.
    pub async fn join(door: &Door, size: usize, spacing: Duration) -> Result<Self> {
        let mut arrived = Vec::with_capacity(size);
        for first in (0..size).step_by(ARRIVALS_AT_ONCE) {
            let some = first..size.min(first + ARRIVALS_AT_ONCE);
            let some = some.map(|number| door.arrive(number, Conduct::Stays));
            arrived.extend(try_join_all(some).await?);
        }
        let start = Instant::now();
        let mut viewers = Vec::with_capacity(size);
        for (turn, viewer) in (0u32..).zip(arrived) {
            if !spacing.is_zero() {
                sleep_until((start + spacing * turn).into()).await;
            }
            viewers.push(Watching::start(viewer));
        }
        Ok(Self { viewers })
    }

    /// Waits until every viewer has a picture or has ended.
    pub async fn pictures(&mut self) -> usize {
        let mut pictures = 0;
        for viewer in &mut self.viewers {
            pictures += usize::from(viewer.picture().await);
        }
        pictures
    }

    /// Lets all count from now on what they see.
    pub fn count(&self) {
        for viewer in &self.viewers {
            viewer.tell(Wish::Count);
        }
    }

    /// Lets all leave.
    pub async fn leave(self) -> Result<CrowdReport> {
        for viewer in &self.viewers {
            viewer.stop();
        }
        let mut viewers = Vec::with_capacity(self.viewers.len());
        for viewer in self.viewers {
            viewers.push(viewer.end().await?.0);
        }
        Ok(CrowdReport::new(viewers))
    }
}

/// What a crowd saw.
#[derive(Debug, Serialize)]
pub struct CrowdReport {
    pub failed: usize,
    pub offer_ms: Spread,
    pub connected_ms: Spread,
    pub first_keyframe_ms: Spread,
    pub longest_gap_ms: f64,
    pub frames: u64,
    pub lost_packets: u64,
    pub plis: u64,
    pub viewers: Vec<Report>,
}

impl CrowdReport {
    /// An error that tells how the first viewer failed that did.
    pub fn all_well(&self) -> Result<()> {
        let failed = self
            .viewers
            .iter()
            .find_map(|v| Some((v.viewer, v.error.as_ref()?)));
        match failed {
            None => Ok(()),
            Some((viewer, error)) => bail!(
                "{} of {} viewers failed; viewer {viewer}: {error}",
                self.failed,
                self.viewers.len()
            ),
        }
    }

    fn new(viewers: Vec<Report>) -> Self {
        let times = |of: fn(&Report) -> Option<f64>| Spread::of(viewers.iter().filter_map(of));
        Self {
            failed: viewers.iter().filter(|v| v.error.is_some()).count(),
            offer_ms: times(|v| v.offer_ms),
            connected_ms: times(|v| v.connected_ms),
            first_keyframe_ms: times(|v| v.first_keyframe_ms),
            longest_gap_ms: viewers.iter().map(|v| v.longest_gap_ms).fold(0.0, f64::max),
            frames: viewers.iter().map(|v| v.frames).sum(),
            lost_packets: viewers.iter().map(|v| v.lost_packets).sum(),
            plis: viewers.iter().map(|v| v.plis).sum(),
            viewers,
        }
    }
}

/// A certificate for viewers, with the cryptography that str0m is to use in this process.
pub fn certificate() -> Result<DtlsCert> {
    let crypto = CryptoProvider {
        sha1_hmac_provider: &Sha1Hmac,
        ..from_feature_flags()
    };
    let certificate = crypto.dtls_provider.generate_certificate();
    crypto.install_process_default();
    certificate.context("no DTLS certificate could be made")
}

/// The address that the default route starts from; nothing is sent to find it.
pub fn own_address() -> IpAddr {
    let route = || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        // TEST-NET-3 (RFC 5737): never a neighbour, so always the default route.
        socket.connect((Ipv4Addr::new(203, 0, 113, 1), 9))?;
        socket.local_addr()
    };
    route().map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |address| address.ip())
}
