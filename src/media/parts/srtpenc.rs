//! `srtpenc`: protects RTP and RTCP on their way out. GStreamer's uses libsrtp2, which Debian builds on NSS, whose
//! ciphers are called through a PKCS #11 module that locks and allocates for every packet: a third of what a viewer cost.

use std::{
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use glib::subclass::prelude::*;
use gst::{prelude::*, subclass::prelude::*};

use super::{
    AUDIO_PAYLOAD_TYPE,
    srtp::{Fault, OVERHEAD, Profile, Sender},
};
use crate::media::{
    arrivals::Arrivals,
    stamp::{self, Stamp},
};

glib::wrapper! {
    pub struct SrtpEnc(ObjectSubclass<imp::SrtpEnc>) @extends gst::Element, gst::Object;
}

impl SrtpEnc {
    /// Counts the picture's packets, and gives those a number that are to have one.
    pub fn number(&self, arrivals: Arc<Mutex<Arrivals>>) {
        self.imp().state().arrivals = Some(arrivals);
    }
}

pub fn register() -> Result<(), glib::BoolError> {
    for name in ["GstSrtpCipherType", "GstSrtpAuthType"] {
        // `dtlssrtpenc` takes it for granted that its `srtpenc` has these in use, and waits for ever where nobody has.
        let class = glib::Type::from_name(name).and_then(glib::EnumClass::with_type);
        class
            .map(std::mem::forget)
            .ok_or_else(|| glib::bool_error!("the plugin has no {name}"))?;
    }
    gst::Element::register(None, "srtpenc", gst::Rank::NONE, SrtpEnc::static_type())
}

/// What packets a pad is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Rtp,
    Rtcp,
}

impl Kind {
    fn of(pad: &gst::Pad) -> Self {
        match pad.name().starts_with("rtcp_") {
            true => Self::Rtcp,
            false => Self::Rtp,
        }
    }

    /// Of what leaves.
    fn caps(self) -> gst::Caps {
        gst::Caps::new_empty_simple(match self {
            Self::Rtp => "application/x-srtp",
            Self::Rtcp => "application/x-srtcp",
        })
    }
}

/// As its DTLS element has set them, and what was made of them.
#[derive(Debug, Default)]
struct State {
    settings: Settings,
    /// Made for the first packet after a change.
    sender: Option<Sender>,
    arrivals: Option<Arc<Mutex<Arrivals>>>,
}

#[derive(Debug, Default)]
struct Settings {
    key: Option<gst::Buffer>,
    rtp_cipher: u32,
    rtp_auth: u32,
    rtcp_cipher: u32,
    rtcp_auth: u32,
    random_key: bool,
}

impl Settings {
    /// As GStreamer numbers them (`gstsrtpenums.h`).
    fn profile(&self) -> Option<Profile> {
        let both = (self.rtp_cipher, self.rtp_auth);
        if both != (self.rtcp_cipher, self.rtcp_auth) {
            return None;
        }
        match both {
            (1, 1) => Some(Profile::Aes128CmSha1_32),
            (1, 2) => Some(Profile::Aes128CmSha1_80),
            // The tag is the cipher's own, whatever is said of it.
            (3, _) => Some(Profile::Aes128Gcm),
            _ => None,
        }
    }

    fn sender(&self) -> Result<Sender, String> {
        let profile = self.profile().ok_or_else(|| {
            format!(
                "SRTP with cipher {} and authentication {} is not supported",
                self.rtp_cipher, self.rtp_auth
            )
        })?;
        let key = self.key.as_ref().and_then(|key| key.map_readable().ok());
        let key = key.ok_or("there is no SRTP key yet")?;
        Sender::new(profile, &key).map_err(|fault| fault.to_string())
    }
}

mod imp {
    use std::sync::LazyLock;

    use super::*;

    #[derive(Debug, Default)]
    pub struct SrtpEnc {
        state: Mutex<State>,
    }

    #[glib::object_subclass]
    impl ObjectSubclass for SrtpEnc {
        const NAME: &'static str = "PerchSrtpEnc";
        type Type = super::SrtpEnc;
        type ParentType = gst::Element;
    }

    impl ObjectImpl for SrtpEnc {
        fn properties() -> &'static [glib::ParamSpec] {
            static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
                // Enumerations of a plugin's own there; a caller of g_object_set() sees no difference.
                let number = |name| glib::ParamSpecUInt::builder(name).build();
                vec![
                    glib::ParamSpecBoxed::builder::<gst::Buffer>("key").build(),
                    number("rtp-cipher"),
                    number("rtp-auth"),
                    number("rtcp-cipher"),
                    number("rtcp-auth"),
                    glib::ParamSpecBoolean::builder("random-key").build(),
                ]
            });
            &PROPERTIES
        }

        fn set_property(&self, _id: usize, value: &glib::Value, spec: &glib::ParamSpec) {
            let mut state = self.state();
            let settings = &mut state.settings;
            match spec.name() {
                "key" => settings.key = value.get().ok().flatten(),
                "random-key" => settings.random_key = value.get().unwrap_or_default(),
                name => {
                    let number = value.get().unwrap_or_default();
                    match name {
                        "rtp-cipher" => settings.rtp_cipher = number,
                        "rtp-auth" => settings.rtp_auth = number,
                        "rtcp-cipher" => settings.rtcp_cipher = number,
                        _ => settings.rtcp_auth = number,
                    }
                }
            }
            state.sender = None;
        }

        fn property(&self, _id: usize, spec: &glib::ParamSpec) -> glib::Value {
            let state = self.state();
            let settings = &state.settings;
            match spec.name() {
                "key" => settings.key.to_value(),
                "random-key" => settings.random_key.to_value(),
                "rtp-cipher" => settings.rtp_cipher.to_value(),
                "rtp-auth" => settings.rtp_auth.to_value(),
                "rtcp-cipher" => settings.rtcp_cipher.to_value(),
                _ => settings.rtcp_auth.to_value(),
            }
        }
    }

    impl GstObjectImpl for SrtpEnc {}

    impl ElementImpl for SrtpEnc {
        fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
            static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
                gst::subclass::ElementMetadata::new(
                    "SRTP encoder",
                    "Filter/Network/SRTP",
                    "Protects RTP and RTCP, whole lists of packets at a time",
                    "The Perch authors",
                )
            });
            Some(&METADATA)
        }

        fn pad_templates() -> &'static [gst::PadTemplate] {
            static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
                use gst::{PadDirection::*, PadPresence::*};
                [
                    ("rtp_sink_%u", Sink, Request, "application/x-rtp"),
                    ("rtp_src_%u", Src, Sometimes, "application/x-srtp"),
                    ("rtcp_sink_%u", Sink, Request, "application/x-rtcp"),
                    ("rtcp_src_%u", Src, Sometimes, "application/x-srtcp"),
                ]
                .into_iter()
                .map(|(name, direction, presence, caps)| {
                    let caps = gst::Caps::new_empty_simple(caps);
                    gst::PadTemplate::new(name, direction, presence, &caps)
                        .expect("the template is well-formed")
                })
                .collect()
            });
            &TEMPLATES
        }

        fn request_new_pad(
            &self,
            template: &gst::PadTemplate,
            name: Option<&str>,
            _caps: Option<&gst::Caps>,
        ) -> Option<gst::Pad> {
            let kind = template.name_template().split('_').next()?;
            let number = name.and_then(|name| name.rsplit('_').next()).unwrap_or("0");
            let source = self
                .obj()
                .pad_template(&format!("{kind}_src_%u"))
                .map(|template| source_pad(&template, &format!("{kind}_src_{number}")))?;
            let sink = self.sink_pad(template, &format!("{kind}_sink_{number}"), &source);
            for pad in [&source, &sink] {
                pad.set_active(true).ok()?;
                self.obj().add_pad(pad).ok()?;
            }
            Some(sink)
        }

        fn release_pad(&self, sink: &gst::Pad) {
            for pad in other(sink).iter().chain([sink]) {
                let _ = pad.set_active(false);
                let _ = self.obj().remove_pad(pad);
            }
        }

        fn change_state(
            &self,
            transition: gst::StateChange,
        ) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
            let changed = self.parent_change_state(transition)?;
            if transition == gst::StateChange::PausedToReady {
                self.state().sender = None;
            }
            Ok(changed)
        }
    }

    impl SrtpEnc {
        pub(super) fn state(&self) -> MutexGuard<'_, State> {
            self.state.lock().unwrap_or_else(PoisonError::into_inner)
        }

        fn sink_pad(&self, template: &gst::PadTemplate, name: &str, source: &gst::Pad) -> gst::Pad {
            let (one, many) = (source.clone(), source.clone());
            let kind = Kind::of(source);
            gst::Pad::builder_from_template(template)
                .name(name)
                .chain_function(move |_, parent, packet| {
                    Self::catch_panic_pad_function(
                        parent,
                        || Err(gst::FlowError::Error),
                        |this| one.push(this.protect(kind, [&*packet].into_iter())?.remove(0)),
                    )
                })
                .chain_list_function(move |_, parent, list| {
                    Self::catch_panic_pad_function(
                        parent,
                        || Err(gst::FlowError::Error),
                        |this| {
                            many.push_list(this.protect(kind, list.iter())?.into_iter().collect())
                        },
                    )
                })
                .event_function(move |pad, parent, event| {
                    let event = match event.view() {
                        gst::EventView::Caps(_) => gst::event::Caps::new(&kind.caps()),
                        _ => event,
                    };
                    gst::Pad::event_default(pad, parent, event)
                })
                .iterate_internal_links_function(|pad, _| gst::Iterator::from_vec(other(pad)))
                .build()
        }

        /// Returns as many packets as it takes.
        fn protect<'a>(
            &self,
            kind: Kind,
            packets: impl ExactSizeIterator<Item = &'a gst::BufferRef>,
        ) -> Result<Vec<gst::Buffer>, gst::FlowError> {
            let mut state = self.state();
            let State {
                settings,
                sender,
                arrivals,
            } = &mut *state;
            let sender = match sender {
                Some(sender) => sender,
                None => match settings.sender() {
                    Ok(made) => sender.insert(made),
                    Err(why) => {
                        drop(state);
                        gst::element_imp_error!(self, gst::LibraryError::Settings, ["{why}"]);
                        return Err(gst::FlowError::Error);
                    }
                },
            };
            let arrivals = arrivals.as_ref().filter(|_| kind == Kind::Rtp);
            let mut stamps = Stamps::new(arrivals, packets.len());
            let protected: Result<_, Fault> = packets
                .map(|packet| match kind {
                    Kind::Rtp => protected_rtp(sender, packet, &mut stamps),
                    Kind::Rtcp => protected_rtcp(sender, packet),
                })
                .collect();
            drop(stamps);
            drop(state);
            protected.map_err(|fault| {
                gst::element_imp_error!(self, gst::StreamError::Encode, ["not sent: {fault}"]);
                gst::FlowError::Error
            })
        }
    }
}

/// What the packets say of their sending that are sent together.
struct Stamps<'a> {
    now: Instant,
    time: Stamp,
    arrivals: Option<MutexGuard<'a, Arrivals>>,
    /// Packets that are still to be stamped.
    left: usize,
    is_alone: bool,
}

impl<'a> Stamps<'a> {
    fn new(arrivals: Option<&'a Arc<Mutex<Arrivals>>>, packets: usize) -> Self {
        let now = Instant::now();
        Self {
            now,
            time: Stamp::at(now),
            arrivals: arrivals.map(|it| it.lock().unwrap_or_else(PoisonError::into_inner)),
            left: packets,
            is_alone: packets == 1,
        }
    }

    /// For a packet of so many bytes.
    fn next(&mut self, bytes: usize) -> Stamp {
        let arrivals = self.arrivals.as_mut();
        self.left = self.left.saturating_sub(1);
        let is_last = self.left == 0 && !self.is_alone;
        let number = arrivals.and_then(|it| it.sends(bytes, is_last, self.now));
        self.time.numbered(number)
    }
}

/// A picture's packets with their stamps: receivers leave sound out of what they estimate.
fn protected_rtp(
    sender: &mut Sender,
    packet: &gst::BufferRef,
    stamps: &mut Stamps,
) -> Result<gst::Buffer, Fault> {
    let before = stamp::SIZE;
    protected(packet, before, |bytes, length| {
        let end = before + length;
        let begin = match is_sound(&bytes[before..end]) {
            true => before,
            false => stamps.next(length).write(&mut bytes[..end]),
        };
        let protected = sender.protect_rtp(&mut bytes[begin..], end - begin)?;
        Ok(begin..begin + protected)
    })
}

/// Beside the marker is the payload type (RFC 3550 §5.1).
fn is_sound(packet: &[u8]) -> bool {
    packet
        .get(1)
        .is_some_and(|byte| byte & 0x7f == AUDIO_PAYLOAD_TYPE)
}

fn protected_rtcp(sender: &mut Sender, packet: &gst::BufferRef) -> Result<gst::Buffer, Fault> {
    protected(packet, 0, |bytes, length| {
        Ok(0..sender.protect_rtcp(bytes, length)?)
    })
}

/// A packet's copy, that `protect` is given with so many bytes before it, and the length of the packet; it returns where the
/// protected one is.
fn protected(
    packet: &gst::BufferRef,
    before: usize,
    protect: impl FnOnce(&mut [u8], usize) -> Result<Range<usize>, Fault>,
) -> Result<gst::Buffer, Fault> {
    let length = packet.size();
    let size = before + length + OVERHEAD;
    let mut made = gst::Buffer::with_size(size).map_err(|_| Fault::Refused)?;
    let writable = made.make_mut();
    let protected = {
        let mut bytes = writable.map_writable().map_err(|_| Fault::Refused)?;
        packet
            .copy_to_slice(0, &mut bytes[before..before + length])
            .map_err(|_| Fault::Refused)?;
        protect(&mut bytes, length)?
    };
    writable.resize(protected).map_err(|_| Fault::Refused)?;
    writable.set_flags(packet.flags());
    writable.set_pts(packet.pts());
    writable.set_dts(packet.dts());
    writable.set_duration(packet.duration());
    Ok(made)
}

fn source_pad(template: &gst::PadTemplate, name: &str) -> gst::Pad {
    gst::Pad::builder_from_template(template)
        .name(name)
        .iterate_internal_links_function(|pad, _| gst::Iterator::from_vec(other(pad)))
        .build()
}

/// The pad on the other side of the same packets; it may be gone.
fn other(pad: &gst::Pad) -> Vec<gst::Pad> {
    let name = pad.name();
    let other = match pad.direction() {
        gst::PadDirection::Sink => name.replace("_sink_", "_src_"),
        _ => name.replace("_src_", "_sink_"),
    };
    let parent = pad.parent_element();
    let other = parent.and_then(|parent| parent.static_pad(&other));
    other.into_iter().collect()
}

#[cfg(test)]
mod tests;
