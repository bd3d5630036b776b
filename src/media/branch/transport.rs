//! What is set at a branch's `webrtcbin` below the media: ICE.

use std::time::SystemTime;

use gst::prelude::*;

use crate::media::{camera::Feed, ice::IceUri};

pub(super) fn configure_ice(webrtcbin: &gst::Element, feed: &Feed) -> Result<(), String> {
    // Through libnice's own object: 1.22's webrtcbin has no properties for these. ICE-TCP costs
    // thirteen file descriptors per viewer and browsers do not need it; UPnP asks the router.
    let agent = webrtcbin
        .property::<glib::Object>("ice-agent")
        .property::<glib::Object>("agent");
    agent.set_property("ice-tcp", false);
    agent.set_property("upnp", false);
    // A viewer that vanishes without a word (power, radio, a killed browser) is noticed by its
    // silence: libnice before 0.1.22 has no usable consent freshness (RFC 7675), but checks like it.
    agent.set_property("keepalive-conncheck", true);
    for uri in feed
        .ice
        .uris(SystemTime::now())
        .map_err(|error| error.to_string())?
    {
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
