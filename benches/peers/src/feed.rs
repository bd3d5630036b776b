//! Sends a clip as RTP over UDP at its pace, and heeds requests for keyframes.

use std::{
    io::ErrorKind,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::Result;

use crate::{
    rtp::{self, CLOCK_RATE, Header},
    source::Clip,
};

const SSRC: u32 = 0x5045_4552;
/// Requests closer together get one keyframe, as Perch's encoder does it (`min-force-key-unit-interval`).
const KEYFRAME_SPACING: Duration = Duration::from_millis(250);
/// From one receiver report to the next; it tells the host where requests are heard.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// One without any report in it (RFC 3550 §6.4.2).
const RECEIVER_REPORT: [u8; 8] = [0x80, 201, 0, 1, 0x50, 0x45, 0x45, 0x52];

/// A feed that runs until it is dropped.
pub struct Feed {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    address: SocketAddr,
}

impl Feed {
    /// Feeds `rtp`, and tells `rtcp`, if there is one, where it is.
    pub fn start(clip: Arc<Clip>, rtp: SocketAddr, rtcp: Option<SocketAddr>) -> Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = socket.local_addr()?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || play(&clip, &socket, rtp, rtcp, &stopped));
        Ok(Self {
            stop,
            thread: Some(thread),
            address,
        })
    }

    /// Where requests for keyframes are heard.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It only ends in a panic that has been printed.
            let _ = thread.join();
        }
    }
}

fn play(
    clip: &Clip,
    socket: &UdpSocket,
    to: SocketAddr,
    rtcp: Option<SocketAddr>,
    stop: &AtomicBool,
) {
    let mut player = clip.player();
    let mut packet = Vec::new();
    let mut header = Header {
        marker: false,
        sequence: 0,
        timestamp: 0,
    };
    let mut next = Instant::now();
    let mut report = next;
    let mut last_keyframe: Option<Instant> = None;
    let mut wanted = false;
    while !stop.load(Ordering::Relaxed) {
        if wanted && last_keyframe.is_none_or(|last| next - last >= KEYFRAME_SPACING) {
            player.skip_to_keyframe();
        }
        let (frame, keyframe) = player.frame();
        if keyframe {
            last_keyframe = Some(next);
            wanted = false;
        }
        for (index, payload) in frame.iter().enumerate() {
            header.marker = index + 1 == frame.len();
            rtp::write(&mut packet, header, SSRC, payload);
            // A host that is not there yet, or no longer.
            let _ = socket.send_to(&packet, to);
            header.sequence = header.sequence.wrapping_add(1);
        }
        if let Some(rtcp) = rtcp
            && next >= report
        {
            let _ = socket.send_to(&RECEIVER_REPORT, rtcp);
            report = next + REPORT_INTERVAL;
        }
        header.timestamp = header.timestamp.wrapping_add(CLOCK_RATE / clip.framerate());
        next += Duration::from_secs(1) / clip.framerate();
        wanted |= listen_until(socket, next);
    }
}

/// Whether somebody asks for a keyframe before `end`.
fn listen_until(socket: &UdpSocket, end: Instant) -> bool {
    let mut asked = false;
    let mut datagram = [0; 1500];
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return asked;
        }
        socket
            .set_read_timeout(Some(left))
            .expect("the time left is not zero");
        match socket.recv_from(&mut datagram) {
            Ok((length, _)) => asked |= rtp::asks_for_keyframe(&datagram[..length]),
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut => return asked,
                // What was sent to a port that is closed comes back as an error.
                _ => {}
            },
        }
    }
}
