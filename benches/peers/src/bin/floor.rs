//! The floor of a sender in user space: takes an encoded stream as RTP and sends every packet to every viewer with
//! str0m, one thread, one socket, one `sendto` a packet. It does nothing that a product would do besides.
//!
//!   floor LINE_PORT RTP_PORT        its line is JSON over WebSocket

use std::{
    collections::HashMap,
    env,
    io::ErrorKind,
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use async_tungstenite::{
    tokio::accept_async,
    tungstenite::{self, Message},
};
use futures_util::StreamExt;
use peers::rtp;
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_recv_buffer_size_force};
use serde_json::{Value, json};
use str0m::{
    Candidate, Event, IceConnectionState, Input, Output, Rtc,
    change::{SdpAnswer, SdpPendingOffer},
    config::DtlsCert,
    media::{Direction, MediaKind, Mid, Pt},
    net::{Protocol, Receive},
    rtp::{RtpWrite, SeqNo},
};
use swarm::crowd::{certificate, own_address};
use tokio::{
    net::{TcpListener, TcpStream, UdpSocket},
    sync::{mpsc, oneshot},
    time::sleep_until,
};

const RECEIVE_BUFFER: usize = 1 << 20;
/// Larger than any datagram that comes.
const DATAGRAM: usize = 2048;

/// What the viewers' lines ask for.
enum Ask {
    Offer(oneshot::Sender<(u64, String)>),
    Answer(u64, String),
    Gone(u64),
}

struct Viewer {
    rtc: Rtc,
    mid: Mid,
    pending: Option<SdpPendingOffer>,
    /// Where its packets come from, once some have.
    address: Option<SocketAddr>,
    wake: Instant,
    connected: bool,
    /// What it is sent under, and the number of the packet that began its first keyframe.
    sending: Option<(Pt, u64)>,
}

struct Floor {
    socket: UdpSocket,
    local: SocketAddr,
    feed: UdpSocket,
    feeder: Option<SocketAddr>,
    certificate: DtlsCert,
    viewers: HashMap<u64, Viewer>,
    addresses: HashMap<SocketAddr, u64>,
    next_viewer: u64,
    /// The feed's last sequence number, extended so that it never wraps.
    sequence: Option<u64>,
    wants_keyframe: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut ports = env::args().skip(1).map(|port| port.parse::<u16>());
    let (Some(Ok(line)), Some(Ok(rtp)), None) = (ports.next(), ports.next(), ports.next()) else {
        bail!("usage: floor LINE_PORT RTP_PORT");
    };
    let mut floor = Floor::open(rtp).await?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, line)).await?;
    let (ask, asks) = mpsc::channel(16);
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let ask = ask.clone();
            tokio::spawn(async move {
                if let Err(error) = serve(tcp, ask).await {
                    eprintln!("floor: a viewer's line: {error:#}");
                }
            });
        }
    });
    floor.run(asks).await
}

/// One viewer's line.
async fn serve(tcp: TcpStream, asks: mpsc::Sender<Ask>) -> Result<()> {
    tcp.set_nodelay(true)?;
    let mut line = accept_async(tcp).await?;
    let mut viewer = None;
    while let Some(Ok(message)) = line.next().await {
        let Message::Text(text) = message else {
            continue;
        };
        let message: Value = serde_json::from_str(text.as_str())?;
        if message["join"] == true {
            let (reply, offer) = oneshot::channel();
            asks.send(Ask::Offer(reply)).await?;
            let (id, offer) = offer.await?;
            viewer = Some(id);
            let offer = json!({ "offer": offer }).to_string();
            match line.send(Message::text(offer)).await {
                Ok(()) => {}
                Err(tungstenite::Error::ConnectionClosed) => break,
                Err(error) => bail!(error),
            }
        } else if let (Some(id), Some(sdp)) = (viewer, message["answer"].as_str()) {
            asks.send(Ask::Answer(id, sdp.to_owned())).await?;
        }
    }
    if let Some(id) = viewer {
        asks.send(Ask::Gone(id)).await?;
    }
    Ok(())
}

impl Floor {
    async fn open(port: u16) -> Result<Self> {
        let socket = roomy(UdpSocket::bind((own_address(), 0)).await?)?;
        Ok(Self {
            local: socket.local_addr()?,
            socket,
            feed: roomy(UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).await?)?,
            feeder: None,
            certificate: certificate()?,
            viewers: HashMap::new(),
            addresses: HashMap::new(),
            next_viewer: 0,
            sequence: None,
            wants_keyframe: false,
        })
    }

    async fn run(&mut self, mut asks: mpsc::Receiver<Ask>) -> Result<()> {
        loop {
            let wake = self.viewers.values().map(|viewer| viewer.wake).min();
            let wake = wake.unwrap_or_else(|| Instant::now() + Duration::from_secs(60));
            tokio::select! {
                ready = self.feed.readable() => {
                    ready?;
                    self.fan_out()?;
                }
                ready = self.socket.readable() => {
                    ready?;
                    self.receive()?;
                }
                ask = asks.recv() => self.heed(ask.context("nobody listens any more")?)?,
                () = sleep_until(wake.into()) => self.wake()?,
            }
            if self.wants_keyframe
                && let Some(feeder) = self.feeder
            {
                self.wants_keyframe = false;
                self.feed.try_send_to(&rtp::picture_loss(), feeder)?;
            }
        }
    }

    /// Takes all that the feed has sent, and sends it on.
    fn fan_out(&mut self) -> Result<()> {
        let mut datagram = [0; DATAGRAM];
        loop {
            let (length, source) = match self.feed.try_recv_from(&mut datagram) {
                Ok(received) => received,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error).context("the feed's socket failed"),
            };
            self.feeder = Some(source);
            let Some((header, payload)) = rtp::read(&datagram[..length]) else {
                continue;
            };
            let sequence = extended(self.sequence, header.sequence);
            self.sequence = Some(sequence);
            let keyframe = rtp::begins_keyframe(payload);
            let now = Instant::now();
            let payload: std::sync::Arc<[u8]> = payload.into();
            for viewer in self.viewers.values_mut().filter(|v| v.connected) {
                if keyframe && viewer.sending.is_none() {
                    viewer.sending = viewer.payload_type().map(|pt| (pt, sequence));
                }
                let Some((pt, first)) = viewer.sending else {
                    continue;
                };
                let number = SeqNo::from(sequence - first);
                let packet = RtpWrite::new(pt, number, header.timestamp, now, payload.clone())
                    .marker(header.marker)
                    .nackable(true);
                if let Some(stream) = viewer.rtc.direct_api().stream_tx_by_mid(viewer.mid, None) {
                    stream.write_rtp(packet);
                }
            }
        }
        let now = Instant::now();
        let sending = self.viewers.iter_mut().filter(|(_, v)| v.sending.is_some());
        for (_, viewer) in sending {
            viewer.rtc.handle_input(Input::Timeout(now))?;
            viewer.flush(&self.socket, &mut self.wants_keyframe)?;
        }
        self.sweep();
        Ok(())
    }

    fn receive(&mut self) -> Result<()> {
        let mut datagram = [0; DATAGRAM];
        loop {
            let (length, source) = match self.socket.try_recv_from(&mut datagram) {
                Ok(received) => received,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => continue,
            };
            let Ok(contents) = datagram[..length].try_into() else {
                continue;
            };
            let receive = Receive {
                proto: Protocol::Udp,
                source,
                destination: self.local,
                contents,
            };
            let input = Input::Receive(Instant::now(), receive);
            // A port may come again with another viewer behind it.
            let known = self.addresses.get(&source).copied();
            let known = known.filter(|id| self.viewers.contains_key(id));
            let id = known.or_else(|| {
                let mut viewers = self.viewers.iter();
                viewers.find_map(|(id, viewer)| viewer.rtc.accepts(&input).then_some(*id))
            });
            let Some((id, viewer)) = id.and_then(|id| Some((id, self.viewers.get_mut(&id)?)))
            else {
                continue;
            };
            if known.is_none() {
                viewer.address = Some(source);
                self.addresses.insert(source, id);
            }
            viewer.rtc.handle_input(input)?;
            viewer.flush(&self.socket, &mut self.wants_keyframe)?;
        }
        self.sweep();
        Ok(())
    }

    fn wake(&mut self) -> Result<()> {
        let now = Instant::now();
        for viewer in self
            .viewers
            .values_mut()
            .filter(|viewer| viewer.wake <= now)
        {
            viewer.rtc.handle_input(Input::Timeout(now))?;
            viewer.flush(&self.socket, &mut self.wants_keyframe)?;
        }
        self.sweep();
        Ok(())
    }

    fn heed(&mut self, ask: Ask) -> Result<()> {
        match ask {
            Ask::Offer(reply) => {
                let (viewer, offer) = Viewer::offer(self.local, self.certificate.clone())?;
                self.next_viewer += 1;
                self.viewers.insert(self.next_viewer, viewer);
                // Whoever asked may have hung up, and is gone next.
                let _ = reply.send((self.next_viewer, offer));
            }
            Ask::Answer(id, sdp) => {
                if let Some(viewer) = self.viewers.get_mut(&id)
                    && let Some(pending) = viewer.pending.take()
                {
                    let answer = SdpAnswer::from_sdp_string(&sdp)?;
                    viewer.rtc.sdp_api().accept_answer(pending, answer)?;
                    viewer.rtc.handle_input(Input::Timeout(Instant::now()))?;
                    viewer.flush(&self.socket, &mut self.wants_keyframe)?;
                }
            }
            Ask::Gone(id) => {
                if let Some(viewer) = self.viewers.get_mut(&id) {
                    viewer.rtc.disconnect();
                }
                self.sweep();
            }
        }
        Ok(())
    }

    /// Lets go of those whose connection is over.
    fn sweep(&mut self) {
        let addresses = &mut self.addresses;
        self.viewers.retain(|_, viewer| {
            let alive = viewer.rtc.is_alive();
            if !alive && let Some(address) = viewer.address {
                addresses.remove(&address);
            }
            alive
        });
    }
}

impl Viewer {
    fn offer(local: SocketAddr, certificate: DtlsCert) -> Result<(Self, String)> {
        let now = Instant::now();
        let mut rtc = Rtc::builder()
            .set_rtp_mode(true)
            .set_dtls_cert(certificate)
            .clear_codecs()
            .enable_h264(true)
            .build(now);
        rtc.add_local_candidate(Candidate::host(local, "udp")?);
        let mut api = rtc.sdp_api();
        let mid = api.add_media(MediaKind::Video, Direction::SendOnly, None, None, None);
        let (offer, pending) = api.apply().context("there is nothing to offer")?;
        let viewer = Self {
            rtc,
            mid,
            pending: Some(pending),
            address: None,
            wake: now,
            connected: false,
            sending: None,
        };
        Ok((viewer, offer.to_sdp_string()))
    }

    fn payload_type(&self) -> Option<Pt> {
        self.rtc.media(self.mid)?.remote_pts().first().copied()
    }

    /// Sends what str0m has, and notes what it says.
    fn flush(&mut self, socket: &UdpSocket, wants_keyframe: &mut bool) -> Result<()> {
        loop {
            match self.rtc.poll_output()? {
                Output::Timeout(wake) => {
                    self.wake = wake;
                    return Ok(());
                }
                // A full socket and a viewer who is gone are for NACK and ICE to find out.
                Output::Transmit(datagram) => {
                    let _ = socket.try_send_to(&datagram.contents, datagram.destination);
                }
                Output::Event(Event::Connected) => {
                    self.connected = true;
                    *wants_keyframe = true;
                }
                Output::Event(Event::KeyframeRequest(_)) => *wants_keyframe = true,
                Output::Event(Event::IceConnectionStateChange(
                    IceConnectionState::Disconnected,
                )) => self.rtc.disconnect(),
                Output::Event(_) => {}
            }
        }
    }
}

/// With room for what comes while the thread is busy.
fn roomy(socket: UdpSocket) -> Result<UdpSocket> {
    // Beyond the system's bound only root may go.
    if set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER).is_err() {
        set_socket_recv_buffer_size(&socket, RECEIVE_BUFFER)?;
    }
    Ok(socket)
}

/// The number near the last one that ends in these 16 bits.
fn extended(last: Option<u64>, sequence: u16) -> u64 {
    let Some(last) = last else {
        return u64::from(sequence);
    };
    let ahead = sequence.wrapping_sub(last as u16);
    match ahead < 0x8000 {
        true => last + u64::from(ahead),
        false => last.saturating_sub(u64::from(0u16.wrapping_sub(ahead))),
    }
}

#[cfg(test)]
mod tests {
    use super::extended;

    #[test]
    fn numbers_go_on_beyond_sixteen_bits() {
        assert_eq!(extended(None, 65_535), 65_535);
        assert_eq!(extended(Some(65_535), 0), 65_536);
        assert_eq!(extended(Some(65_536), 65_535), 65_535);
        assert_eq!(
            extended(Some(200_000), (200_003u32 & 0xffff) as u16),
            200_003
        );
    }
}
