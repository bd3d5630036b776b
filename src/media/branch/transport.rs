//! What is set at a branch's `webrtcbin` below the media: ICE, DTLS, and who listens for RTCP.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

use gst::prelude::*;
use tokio::sync::Notify;

use super::Reporter;
use crate::{
    media::{BranchEvent, ice::IceUri},
    secret::Secret,
};

pub(super) fn configure_ice(
    webrtcbin: &gst::Element,
    servers: Vec<IceUri>,
    keyframe_wanted: Arc<Notify>,
    reporter: &Reporter,
) -> Result<(), String> {
    // Through libnice's own object: 1.22's webrtcbin has no properties for these. ICE-TCP costs
    // thirteen file descriptors per viewer and browsers do not need it; UPnP asks the router.
    let agent = webrtcbin
        .property::<glib::Object>("ice-agent")
        .property::<glib::Object>("agent");
    agent.set_property("ice-tcp", false);
    agent.set_property("upnp", false);
    // Between two checks while a way is looked for: RFC 8445 §14.2 allows 5 ms; libnice's 20 ms are a fifth of a join.
    agent.set_property("stun-pacing-timer", 5u32);
    // A viewer that vanishes without a word (power, radio, a killed browser) is noticed by its
    // silence: libnice before 0.1.22 has no usable consent freshness (RFC 7675), but checks like it.
    agent.set_property("keepalive-conncheck", true);
    let reports = reporter.clone();
    let began = AtomicBool::new(false);
    agent.connect("new-selected-pair", false, move |values| {
        // The DTLS handshake comes next: by its end there will be a keyframe to begin with.
        if !began.swap(true, Ordering::Relaxed) {
            keyframe_wanted.notify_one();
        }
        if let Some(foundation) = values.get(3).and_then(|value| value.get::<String>().ok()) {
            reports.send(BranchEvent::Settled { foundation });
        }
        None
    });
    for uri in servers {
        match uri {
            IceUri::Stun(uri) => webrtcbin.set_property("stun-server", uri),
            IceUri::Turn(uri) => {
                let accepted = webrtcbin.emit_by_name::<bool>("add-turn-server", &[&uri.expose()]);
                if !accepted {
                    return Err("webrtcbin refuses a TURN server of [ice] servers".into());
                }
            }
        }
    }
    Ok(())
}

/// Shows this DTLS certificate instead of GStreamer's own. Before `webrtcbin` makes its transport.
pub(super) fn show_certificate(webrtcbin: &gst::Element, pem: Secret) -> Result<(), String> {
    webrtcbin
        .downcast_ref::<gst::Bin>()
        .ok_or("webrtcbin is no bin")?
        .connect_deep_element_added(move |_, _, element| {
            if element
                .factory()
                .is_some_and(|factory| factory.name() == "dtlssrtpdec")
            {
                element.set_property("pem", pem.expose());
            }
        });
    Ok(())
}

/// Reports that the viewer is there whenever RTCP comes from it, once a second at most. Any RTCP: a receiver has
/// nothing to say of our packets while none come to it, but it says so.
pub(super) fn listen_for_rtcp(webrtcbin: &gst::Element, reporter: Reporter) {
    let session = webrtcbin
        .downcast_ref::<gst::Bin>()
        .and_then(|bin| bin.by_name("rtpbin"))
        .and_then(|rtpbin| {
            rtpbin.emit_by_name::<Option<glib::Object>>("get-internal-session", &[&0u32])
        });
    let Some(session) = session else {
        tracing::debug!(branch = reporter.id.0, "no RTP session to listen to");
        return;
    };
    let began = Instant::now();
    // Seconds since then at which the last report falls due.
    let next = AtomicU64::new(0);
    session.connect("on-receiving-rtcp", false, move |_| {
        let now = began.elapsed().as_secs();
        if now >= next.load(Ordering::Relaxed) {
            next.store(now + 1, Ordering::Relaxed);
            reporter.send(BranchEvent::Heard);
        }
        None
    });
}
