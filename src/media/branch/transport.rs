//! What is set at a branch's `webrtcbin` below the media: ICE, DTLS, and who listens for RTCP.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use gst::prelude::*;
use tokio::sync::Notify;

use super::{Reporter, meter::Meter, probing::Prober, retransmission::Retransmissions};
use crate::{
    media::{
        BranchEvent,
        arrivals::Arrivals,
        ice::IceUri,
        parts::SrtpEnc,
        rtcp::{Feedback, Way, fell},
    },
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
            if let Some(agent) = values.first().and_then(|it| it.get::<glib::Object>().ok()) {
                take_time(&agent);
            }
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

/// Whoever has found a way is in no hurry any more. libnice wakes up for its checks until there has been none to make for five
/// seconds, that there may be a way yet where there was none: two hundred times a second, at the pace of a join. (Checks
/// that are under way come to their end before.)
fn take_time(agent: &glib::Object) {
    // The least that it takes, and its own pace, for ways that come up later. On libnice's thread nothing may panic.
    for (property, ms) in [("idle-timeout", 50u32), ("stun-pacing-timer", 20)] {
        if agent.find_property(property).is_some() {
            agent.set_property(property, ms);
        }
    }
}

/// Shows this DTLS certificate instead of GStreamer's own. Before `webrtcbin` makes its transport.
pub(super) fn show_certificate(webrtcbin: &gst::Element, pem: Secret) -> Result<(), String> {
    when_made(webrtcbin, "dtlssrtpdec", move |element| {
        element.set_property("pem", pem.expose());
    })
}

/// Does this with each element of that factory that `webrtcbin` makes from now on.
pub(super) fn when_made(
    webrtcbin: &gst::Element,
    factory: &'static str,
    act: impl Fn(&gst::Element) + Send + Sync + 'static,
) -> Result<(), String> {
    webrtcbin
        .downcast_ref::<gst::Bin>()
        .ok_or("webrtcbin is no bin")?
        .connect_deep_element_added(move |_, _, element| {
            if element.factory().is_some_and(|made| made.name() == factory) {
                act(element);
            }
        });
    Ok(())
}

/// Counts the picture's packets as they are encrypted, and numbers some of them once that has begun. Before `webrtcbin` makes its transport. (Where
/// GStreamer's own element encrypts, none is numbered.)
pub(super) fn number_packets(webrtcbin: &gst::Element) -> Result<Arc<Mutex<Arrivals>>, String> {
    let arrivals = Arc::<Mutex<Arrivals>>::default();
    let numbering = arrivals.clone();
    when_made(webrtcbin, "srtpenc", move |element| {
        if let Some(encrypts) = element.downcast_ref::<SrtpEnc>() {
            encrypts.number(numbering.clone());
        }
    })?;
    Ok(arrivals)
}

/// How often a viewer is said to be there.
const HEARD_EVERY: Duration = Duration::from_secs(1);
/// How often its estimate is told while it does not fall, and while it is probed: that it grows is what is waited for then.
const WAY_EVERY: Duration = Duration::from_millis(500);
const PROBED_EVERY: Duration = Duration::from_millis(100);

/// What was told of a viewer's RTCP, and when.
#[derive(Debug, Default)]
struct Told {
    heard: Option<Instant>,
    way: Option<Instant>,
    bandwidth: Option<u64>,
}

impl Told {
    fn heard(&mut self, now: Instant) -> bool {
        let due = self.heard.is_none_or(|at| now >= at + HEARD_EVERY);
        if due {
            self.heard = Some(now);
        }
        due
    }

    /// Losses and falls are told at once; what rises is not that urgent, and comes with every packet that is missed.
    fn way(&mut self, way: &Way, every: Duration, now: Instant) -> bool {
        let falls = way
            .bandwidth
            .is_some_and(|bandwidth| fell(bandwidth, self.bandwidth.unwrap_or(u64::MAX)));
        let later = self.way.is_none_or(|at| now >= at + every);
        let short = way.carries.is_some() || way.excess.is_some();
        let urgent = way.loss.is_some() || short || falls;
        let due = urgent || (later && way.bandwidth.is_some());
        if due {
            self.way = Some(now);
            self.bandwidth = way.bandwidth.or(self.bandwidth);
        }
        due
    }
}

/// Reports what comes from the viewer as RTCP: that it is there, whatever it is (a receiver has nothing to say of our
/// packets while none come to it, but it says so), and what it says of its connection. `media` is the picture's SSRC.
pub(super) fn listen_for_rtcp(
    webrtcbin: &gst::Element,
    media: u32,
    meter: Meter,
    prober: Prober,
    retransmissions: Retransmissions,
    arrivals: Arc<Mutex<Arrivals>>,
    reporter: Reporter,
) {
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
    // Taken by the one thread that RTCP comes on.
    let told = Mutex::new(Told::default());
    session.connect("on-receiving-rtcp", false, move |values| {
        let packet = values.get(1)?.get::<gst::Buffer>().ok()?;
        let feedback = packet
            .map_readable()
            .map(|bytes| Feedback::read(&bytes, media))
            .unwrap_or_default();
        let now = Instant::now();
        let (bandwidth, carries) = {
            let mut arrivals = arrivals.lock().unwrap_or_else(PoisonError::into_inner);
            let arrived = feedback.arrived.as_ref();
            let carries = arrived.and_then(|arrived| arrivals.hears(arrived, now));
            let of_all = |bandwidth| arrivals.of_all(bandwidth, now);
            (feedback.bandwidth.map(of_all), carries)
        };
        let way = Way {
            bandwidth,
            loss: feedback.loss,
            carries,
            excess: retransmissions.dropped(&feedback, now),
            ..Way::default()
        };
        if way.carries.is_some() || way.excess.is_some() {
            retransmissions.hold(now);
            tracing::debug!(
                event = "viewer-short",
                branch = reporter.id.0,
                carries = way.carries,
                drops = way.excess,
                "the way does not carry all that is sent"
            );
        }
        let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.heard(now) {
            reporter.send(BranchEvent::Heard);
        }
        let every = match prober.is_on() {
            true => PROBED_EVERY,
            false => WAY_EVERY,
        };
        if told.way(&way, every, now) {
            let (picture, beside) = meter.bitrates(now);
            let sent = picture.map(|picture| picture + beside);
            reporter.send(BranchEvent::Way(Way {
                sent,
                beside,
                ..way
            }));
        }
        None
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_urgent_is_told_at_once_and_the_rest_now_and_then() {
        let mut told = Told::default();
        let now = Instant::now();
        let estimate = |bandwidth| Way {
            bandwidth: Some(bandwidth),
            ..Way::default()
        };
        assert!(told.way(&estimate(2_000_000), WAY_EVERY, now));
        assert!(!told.way(&estimate(2_100_000), WAY_EVERY, now), "it rises");
        let nothing = Way::default();
        assert!(!told.way(&nothing, WAY_EVERY, now + WAY_EVERY));
        let loss = Way {
            loss: Some(0.0),
            ..Way::default()
        };
        let excess = Way {
            excess: Some(0.5),
            ..Way::default()
        };
        let carries = Way {
            carries: Some(500_000),
            ..Way::default()
        };
        for urgent in [loss, excess, carries, estimate(1_000_000)] {
            assert!(told.way(&urgent, WAY_EVERY, now), "{urgent:?}");
        }
        assert!(told.way(&estimate(1_000_000), WAY_EVERY, now + WAY_EVERY));
    }
}
