//! webrtcsink as a host: runs one pipeline until it is killed.
//!
//!   webrtcsink-host LAUNCH [FEEDER]
//!
//! Where LAUNCH has an element "feed", keyframes that webrtcsink asks for are asked of FEEDER, by a picture loss
//! indication (RFC 4585 §6.3.1), as rtpbin would do it.

use std::{
    env,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
};

use anyhow::{Context, Result, bail};
use gst::prelude::*;

const PICTURE_LOSS: [u8; 12] = [0x81, 206, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1];

fn main() -> Result<()> {
    let mut arguments = env::args().skip(1);
    let launch = arguments
        .next()
        .context("usage: webrtcsink-host LAUNCH [FEEDER]")?;
    gst::init()?;
    gstrswebrtc::plugin_register_static()?;
    gstrsrtp::plugin_register_static()?;
    let pipeline = gst::parse::launch(&launch)?
        .downcast::<gst::Pipeline>()
        .ok()
        .context("LAUNCH is no pipeline")?;
    if let Some(feed) = pipeline.by_name("feed") {
        let feeder = arguments.next().context("a feed needs its FEEDER")?;
        ask_for_keyframes(&feed, feeder.parse()?)?;
    }
    pipeline.set_state(gst::State::Playing)?;
    let bus = pipeline.bus().context("a pipeline has a bus")?;
    for message in bus.iter_timed(gst::ClockTime::NONE) {
        if let gst::MessageView::Error(error) = message.view() {
            bail!("{} ({:?})", error.error(), error.debug());
        }
    }
    Ok(())
}

fn ask_for_keyframes(feed: &gst::Element, feeder: SocketAddr) -> Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let pad = feed.static_pad("src").context("the feed has no pad")?;
    pad.add_probe(gst::PadProbeType::EVENT_UPSTREAM, move |_, info| {
        if let Some(event) = info.event()
            && gst_video::ForceKeyUnitEvent::is(event)
        {
            // Asked for again if it is lost.
            let _ = socket.send_to(&PICTURE_LOSS, feeder);
        }
        gst::PadProbeReturn::Ok
    });
    Ok(())
}
