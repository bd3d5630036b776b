//! One medium on its way into `webrtcbin`, and what the offer says of it.

use std::sync::Arc;

use gst::prelude::*;
use gst_webrtc::{WebRTCRTPTransceiver, WebRTCRTPTransceiverDirection};

use super::{Change, add, meter::Meter, pacing::Pace};
use crate::media::{
    Rendition,
    camera::{Feed, Inlet, Outlet, Tap, TimeBase, Video},
    parts::AUDIO_PAYLOAD_TYPE,
    playout_delay, stamp,
};

/// Dynamic payload types (RFC 3551 §6), as browsers number them.
const VIDEO_PAYLOAD_TYPE: u32 = 96;
/// The local identifier of the playout-delay extension in the SDP.
const PLAYOUT_DELAY_ID: u8 = 5;
/// Bytes of an RTP packet before SRTP and UDP: fits every path that carries IPv6.
const MTU: u32 = 1200 - playout_delay::SIZE - stamp::ELEMENTS as u32;

/// One m-line: appsrc, payloader, and what the offer says of them.
pub(super) struct Track {
    pub ssrc: u32,
    pub pace: Pace,
    pub meter: Meter,
    source: gst_app::AppSrc,
    payloader: gst::Element,
    preferences: gst::Caps,
    /// The preferences without what the stream says of itself, where it may come to say something else.
    any_profile: Option<gst::Caps>,
    retransmits: bool,
}

impl Track {
    pub fn video(profile_level_id: &str) -> Result<Self, String> {
        let ssrc = random_ssrc();
        let payloader = gst::ElementFactory::make("rtph264pay")
            .property("pt", VIDEO_PAYLOAD_TYPE)
            .property("ssrc", ssrc)
            .property("mtu", MTU)
            .property_from_str("aggregate-mode", "zero-latency")
            .build()
            .map_err(|error| error.to_string())?;
        if let Some(packets) = payloader.static_pad("src") {
            playout_delay::write(&packets, PLAYOUT_DELAY_ID);
        }
        let meter = Meter::default();
        if let Some(pictures) = payloader.static_pad("sink") {
            meter.watch(&pictures);
        }
        // Without the SSRC here 1.22 leaves a=ssrc out of the offer. The profile is the SPS's own:
        // an offer that says another one is a black picture in Safari. (level-asymmetry-allowed
        // lets a viewer answer with the level of its own encoder, which nobody will use.)
        let preferences = gst::Caps::builder("application/x-rtp")
            .field("media", "video")
            .field("encoding-name", "H264")
            .field("clock-rate", 90_000i32)
            .field("payload", VIDEO_PAYLOAD_TYPE as i32)
            .field("packetization-mode", "1")
            .field("profile-level-id", profile_level_id)
            .field("level-asymmetry-allowed", "1")
            .field("ssrc", ssrc)
            .field("rtcp-fb-nack", true)
            .field("rtcp-fb-goog-remb", true)
            .field("rtcp-fb-nack-pli", true)
            .field("rtcp-fb-ccm-fir", true)
            .field(format!("extmap-{PLAYOUT_DELAY_ID}"), playout_delay::URI)
            .field(format!("extmap-{}", stamp::TIME_ID), stamp::TIME_URI)
            .build();
        let mut any_profile = preferences.clone();
        for structure in any_profile.make_mut().iter_mut() {
            structure.remove_field("profile-level-id");
        }
        Ok(Self {
            ssrc,
            pace: Pace::default(),
            meter,
            source: source("video-source"),
            payloader,
            preferences,
            any_profile: Some(any_profile),
            retransmits: true,
        })
    }

    pub fn audio() -> Result<Self, String> {
        let ssrc = random_ssrc();
        let payloader = gst::ElementFactory::make("rtpopuspay")
            .property("pt", u32::from(AUDIO_PAYLOAD_TYPE))
            .property("ssrc", ssrc)
            .build()
            .map_err(|error| error.to_string())?;
        let preferences = gst::Caps::builder("application/x-rtp")
            .field("media", "audio")
            .field("encoding-name", "OPUS")
            .field("clock-rate", 48_000i32)
            .field("payload", i32::from(AUDIO_PAYLOAD_TYPE))
            .field("encoding-params", "2")
            .field("ssrc", ssrc)
            .build();
        Ok(Self {
            ssrc,
            pace: Pace::default(),
            meter: Meter::default(),
            source: source("audio-source"),
            payloader,
            preferences,
            any_profile: None,
            retransmits: false,
        })
    }

    /// Calls `tell` once, with the first packet.
    pub fn on_first_packet(&self, tell: impl Fn() + Send + Sync + 'static) {
        let Some(pad) = self.payloader.static_pad("src") else {
            return;
        };
        let kind = gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST;
        pad.add_probe(kind, move |_, _| {
            tell();
            gst::PadProbeReturn::Remove
        });
    }

    pub fn join(&self, pipeline: &gst::Pipeline, webrtcbin: &gst::Element) -> Result<(), String> {
        add(pipeline, self.source.upcast_ref())?;
        add(pipeline, &self.payloader)?;
        self.source
            .link(&self.payloader)
            .map_err(|error| error.to_string())?;
        let sink = webrtcbin
            .request_pad_simple("sink_%u")
            .ok_or("webrtcbin gives no sink pad")?;
        let transceiver = sink.property::<WebRTCRTPTransceiver>("transceiver");
        if let Some(any_profile) = &self.any_profile {
            take_any_profile(&sink, any_profile.clone());
        }
        transceiver.set_property("direction", WebRTCRTPTransceiverDirection::Sendonly);
        transceiver.set_property("codec-preferences", &self.preferences);
        transceiver.set_property("do-nack", self.retransmits);
        let packets = self
            .payloader
            .static_pad("src")
            .ok_or("the payloader has no source pad")?;
        self.pace.govern(&packets);
        packets.link(&sink).map_err(|error| error.to_string())?;
        Ok(())
    }
}

/// Lets the payloader's caps follow the stream's parameter sets. `webrtcbin` would hold them against the offer's
/// `profile-level-id` and end the branch with "not negotiated" when a slate of another level comes, or a
/// camera that came back with one; decoders take what the stream says.
fn take_any_profile(sink: &gst::Pad, any_profile: gst::Caps) {
    let kind = gst::PadProbeType::QUERY_DOWNSTREAM | gst::PadProbeType::PUSH;
    sink.add_probe(kind, move |_, info| {
        let Some(query) = info.query_mut() else {
            return gst::PadProbeReturn::Ok;
        };
        match query.view_mut() {
            gst::QueryViewMut::Caps(query) => {
                let caps = match query.filter_owned() {
                    Some(filter) => filter.intersect(&any_profile),
                    None => any_profile.clone(),
                };
                query.set_result(&caps);
            }
            gst::QueryViewMut::AcceptCaps(query) => {
                let fits = query.caps().can_intersect(&any_profile);
                query.set_result(fits);
            }
            _ => return gst::PadProbeReturn::Ok,
        }
        gst::PadProbeReturn::Handled
    });
}

/// SSRCs are random (RFC 3550 §8); zero is left out because some receivers take it for none.
fn random_ssrc() -> u32 {
    rand::random_range(1..=u32::MAX)
}

fn source(name: &str) -> gst_app::AppSrc {
    gst_app::AppSrc::builder()
        .name(name)
        .is_live(true)
        .format(gst::Format::Time)
        // The outlet sees to it that not too much waits.
        .max_bytes(0)
        .build()
}

/// What stands between camera and branch: closed until DTLS is up, because what is pushed before that is
/// lost, and the keyframe first. Dropped, it cuts the branch off.
#[derive(Debug)]
pub(super) struct Gate {
    time: TimeBase,
    video: Video,
    picture: Arc<Inlet>,
    sound: Option<(Arc<Outlet>, Arc<Inlet>)>,
    shown: Rendition,
    /// The latest of the pictures is the last one.
    pictures: Vec<Tap>,
    _sound: Option<Tap>,
}

impl Gate {
    pub fn closed(feed: &Feed, video: &Track, audio: Option<&Track>) -> Self {
        let sound = feed.audio.clone().zip(audio);
        Self {
            time: feed.time.clone(),
            video: feed.video.clone(),
            picture: Inlet::new(video.source.clone()),
            sound: sound.map(|(outlet, track)| (outlet, Inlet::new(track.source.clone()))),
            shown: Rendition::default(),
            pictures: Vec::new(),
            _sound: None,
        }
    }

    /// Again does nothing.
    pub fn open(&mut self) {
        if self.pictures.is_empty() {
            self.pictures.push(self.outlet().tap(&self.picture));
            self._sound = self.sound.as_ref().map(|(outlet, inlet)| outlet.tap(inlet));
        }
    }

    /// This rendition from its next keyframe on.
    pub fn show(&mut self, rendition: Rendition, change: Change) {
        let open = !self.pictures.is_empty();
        if std::mem::replace(&mut self.shown, rendition) == rendition || !open {
            return;
        }
        // Of two that there may be the older has been taken over from, or waits for its keyframe in vain.
        let keep = match change {
            Change::Seamless => self.pictures.pop(),
            Change::AtOnce => {
                self.picture.skip();
                None
            }
        };
        self.pictures.clear();
        self.pictures.extend(keep);
        self.pictures.push(self.outlet().tap(&self.picture));
    }

    /// No more than so many bit/s of pictures; `None`: all.
    pub fn thin(&self, bitrate: Option<u32>) {
        self.picture.limit(bitrate, self.time.running_time());
    }

    fn outlet(&self) -> &Arc<Outlet> {
        self.video.outlet(self.shown)
    }
}
