//! A viewer's half of the WebRTC connection: str0m in RTP mode on a UDP socket of its own.
//!
//! Nothing is decoded and nothing is copied that str0m does not copy itself, so that fifty viewers
//! fit beside the host on a small machine and do not measure themselves.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_recv_buffer_size_force};
use str0m::{
    Candidate, Event, IceConnectionState, Input, Output, Rtc,
    change::SdpOffer,
    config::DtlsCert,
    media::{KeyframeRequestKind, MediaKind},
    net::{Protocol, Receive},
    rtp::{RtpPacket, Ssrc},
};
use tokio::{net::UdpSocket, time::sleep_until};

use crate::frames::{Frame, FrameTracker};

/// A browser asks for a keyframe when it could show nothing for this long.
const BLIND_PATIENCE: Duration = Duration::from_millis(200);
/// And asks again after this long.
const PLI_INTERVAL: Duration = Duration::from_millis(500);
/// Seconds of 2 Mbit/s: a viewer that is itself late must not look like a host that loses packets.
const RECEIVE_BUFFER: usize = 1 << 20;
/// Larger than any datagram that the host sends.
const DATAGRAM: usize = 2048;

/// What has happened on the connection so far.
#[derive(Debug, Default, Clone)]
pub struct Seen {
    pub connected: Option<Instant>,
    pub first_packet: Option<Instant>,
    pub first_keyframe: Option<Instant>,
    pub last_frame: Option<Instant>,
    pub longest_gap: Duration,
    pub frames: u64,
    pub keyframes: u64,
    pub video_packets: u64,
    pub audio_packets: u64,
    pub bytes: u64,
    pub lost_packets: u64,
    pub plis: u64,
}

/// A connection that has reached a new stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    Connected,
    FirstKeyframe,
    /// ICE lost the host, or the host closed its side.
    Lost,
}

/// Hears of every frame that a decoder could have shown.
pub type OnFrame = Box<dyn FnMut(Frame) + Send>;

pub struct Peer {
    rtc: Rtc,
    socket: UdpSocket,
    local: SocketAddr,
    tracker: FrameTracker,
    video: Option<Ssrc>,
    last_pli: Option<Instant>,
    seen: Seen,
    news: Vec<Progress>,
    on_frame: Option<OnFrame>,
    datagram: Box<[u8; DATAGRAM]>,
}

impl Peer {
    /// `certificate` is shared by all viewers: making one costs more than a viewer may.
    pub async fn new(address: IpAddr, certificate: DtlsCert) -> Result<Self> {
        let socket = UdpSocket::bind((address, 0)).await?;
        // Beyond the system's bound only root may go.
        if set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER).is_err() {
            set_socket_recv_buffer_size(&socket, RECEIVE_BUFFER)?;
        }
        let local = socket.local_addr()?;
        let mut rtc = Rtc::builder()
            .set_rtp_mode(true)
            .set_dtls_cert(certificate)
            .clear_codecs()
            .enable_h264(true)
            .enable_opus(true, false)
            .build(Instant::now());
        rtc.add_local_candidate(Candidate::host(local, "udp")?);
        Ok(Self {
            rtc,
            socket,
            local,
            tracker: FrameTracker::default(),
            video: None,
            last_pli: None,
            seen: Seen::default(),
            news: Vec::new(),
            on_frame: None,
            datagram: Box::new([0; DATAGRAM]),
        })
    }

    /// Takes the host's offer; the answer carries this viewer's only candidate.
    pub fn answer(&mut self, offer: &str) -> Result<String> {
        let offer = SdpOffer::from_sdp_string(offer).context("the host's offer cannot be read")?;
        let answer = self.rtc.sdp_api().accept_offer(offer)?;
        Ok(answer.to_sdp_string())
    }

    /// A candidate of the host's. What cannot be used (mDNS names, TCP) is passed over.
    pub fn add_candidate(&mut self, candidate: &str) {
        if let Ok(candidate) = Candidate::from_sdp_string(candidate) {
            self.rtc.add_remote_candidate(candidate);
        }
    }

    /// Lets somebody hear of every frame from now on.
    pub fn on_frame(&mut self, listener: OnFrame) {
        self.on_frame = Some(listener);
    }

    pub fn seen(&self) -> Seen {
        Seen {
            lost_packets: self.tracker.lost(),
            ..self.seen.clone()
        }
    }

    /// Runs the connection until it reaches its next stage. Safe to drop at any await.
    pub async fn run(&mut self) -> Result<Progress> {
        loop {
            let wake = self.flush()?;
            if let Some(news) = self.news.pop() {
                return Ok(news);
            }
            if !self.rtc.is_alive() {
                return Ok(Progress::Lost);
            }
            tokio::select! {
                ready = self.socket.readable() => {
                    ready?;
                    self.receive()?;
                }
                () = sleep_until(wake.into()) => {
                    self.rtc.handle_input(Input::Timeout(Instant::now()))?;
                }
            }
        }
    }

    /// Sends and notes all that str0m has; says when it wants to be woken.
    fn flush(&mut self) -> Result<Instant> {
        loop {
            match self.rtc.poll_output()? {
                Output::Timeout(wake) => return Ok(wake),
                Output::Transmit(datagram) => {
                    let sent = self
                        .socket
                        .try_send_to(&datagram.contents, datagram.destination);
                    pass_over_transient(sent.map(drop))?;
                }
                Output::Event(event) => self.note(event),
            }
        }
    }

    fn receive(&mut self) -> Result<()> {
        loop {
            let (length, source) = match self.socket.try_recv_from(&mut self.datagram[..]) {
                Ok(received) => received,
                Err(error) => return pass_over_transient(Err(error)),
            };
            let Ok(contents) = self.datagram[..length].try_into() else {
                continue;
            };
            let received = Receive {
                proto: Protocol::Udp,
                source,
                destination: self.local,
                contents,
            };
            self.rtc
                .handle_input(Input::Receive(Instant::now(), received))?;
            // In RTP mode str0m holds one packet at a time.
            self.flush()?;
        }
    }

    fn note(&mut self, event: Event) {
        match event {
            Event::Connected => {
                self.seen.connected.get_or_insert_with(Instant::now);
                self.news.push(Progress::Connected);
            }
            Event::IceConnectionStateChange(IceConnectionState::Disconnected) => {
                self.news.push(Progress::Lost);
            }
            Event::RtpPacket(packet) => self.packet(&packet),
            _ => {}
        }
    }

    fn packet(&mut self, packet: &RtpPacket) {
        let seen = &mut self.seen;
        seen.bytes += packet.payload.len() as u64;
        if !is_video(&mut self.rtc, &mut self.video, packet) {
            seen.audio_packets += 1;
            return;
        }
        seen.video_packets += 1;
        seen.first_packet.get_or_insert(packet.timestamp);
        let news = &mut self.news;
        let on_frame = &mut self.on_frame;
        self.tracker.packet(
            packet.timestamp,
            *packet.seq_no,
            packet.header.marker,
            &packet.payload,
            |frame| {
                if let Some(on_frame) = on_frame {
                    on_frame(frame);
                }
                seen.frames += 1;
                seen.keyframes += u64::from(frame.keyframe);
                if seen.first_keyframe.is_none() {
                    seen.first_keyframe = Some(frame.at);
                    news.push(Progress::FirstKeyframe);
                }
                if let Some(last) = seen.last_frame.replace(frame.at) {
                    seen.longest_gap = seen.longest_gap.max(frame.at.duration_since(last));
                }
            },
        );
        self.ask_for_keyframe(packet.timestamp);
    }

    fn ask_for_keyframe(&mut self, now: Instant) {
        let blind = self
            .tracker
            .blind_since()
            .is_some_and(|since| now.duration_since(since) >= BLIND_PATIENCE);
        let asked = self
            .last_pli
            .is_some_and(|last| now.duration_since(last) < PLI_INTERVAL);
        if !blind || asked {
            return;
        }
        let Some(ssrc) = self.video else { return };
        if let Some(stream) = self.rtc.direct_api().stream_rx(&ssrc) {
            stream.request_keyframe(KeyframeRequestKind::Pli);
            self.last_pli = Some(now);
            self.seen.plis += 1;
        }
    }
}

/// Whether a packet belongs to the picture; the stream's number is looked up once.
fn is_video(rtc: &mut Rtc, video: &mut Option<Ssrc>, packet: &RtpPacket) -> bool {
    let ssrc = packet.header.ssrc;
    if let Some(video) = *video {
        return video == ssrc;
    }
    let mid = rtc.direct_api().stream_rx(&ssrc).map(|stream| stream.mid());
    let media = mid.and_then(|mid| rtc.media(mid));
    if media.is_some_and(|media| media.kind() == MediaKind::Video) {
        *video = Some(ssrc);
    }
    video.is_some()
}

/// A socket that is full, or a host that is no longer there, is for ICE to find out.
fn pass_over_transient(result: io::Result<()>) -> Result<()> {
    match result {
        Ok(_) => Ok(()),
        Err(error) => match error.kind() {
            io::ErrorKind::WouldBlock
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::HostUnreachable => Ok(()),
            _ => bail!("the viewer's UDP socket failed: {error}"),
        },
    }
}
