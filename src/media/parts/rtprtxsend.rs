//! `rtprtxsend`: keeps what was sent of a stream, and sends it again when it is asked for (RFC 4588). GStreamer's looks
//! into every packet, keeps each in a tree of its own, and has a thread that waits for requests; this one keeps a
//! picture's packets in the list that they came in, and answers from the thread that the request comes on.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use glib::subclass::prelude::*;
use gst::{prelude::*, subclass::prelude::*};

glib::wrapper! {
    pub struct RtxSend(ObjectSubclass<imp::RtxSend>) @extends gst::Element, gst::Object;
}

pub fn register() -> Result<(), glib::BoolError> {
    gst::Element::register(None, "rtprtxsend", gst::Rank::NONE, RtxSend::static_type())
}

/// How it is asked, and what it is told when a peer uses one of the session's SSRCs (`gstrtpsession.c`).
const REQUEST: &str = "GstRTPRetransmissionRequest";
const COLLISION: &str = "GstRTPCollision";
/// What is asked for later than this comes too late to be of use: by then there is a newer keyframe.
const KEPT_FOR: gst::ClockTime = gst::ClockTime::from_seconds(1);
/// Bytes of the fixed RTP header (RFC 3550 §5.1).
const HEADER: usize = 12;
/// "This is a retransmission" (`GST_RTP_BUFFER_FLAG_RETRANSMISSION`).
const RETRANSMISSION: gst::BufferFlags =
    gst::BufferFlags::from_bits_retain(gst::ffi::GST_BUFFER_FLAG_LAST);

/// What of an RTP packet's fixed header is needed here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Head {
    payload_type: u8,
    sequence: u16,
    ssrc: u32,
}

impl Head {
    fn of(packet: &gst::BufferRef) -> Option<Self> {
        let mut head = [0; HEADER];
        if packet.size() < head.len() {
            return None;
        }
        packet.copy_to_slice(0, &mut head).ok()?;
        (head[0] >> 6 == 2).then(|| Self {
            payload_type: head[1] & 0x7f,
            sequence: u16::from_be_bytes([head[2], head[3]]),
            ssrc: u32::from_be_bytes([head[8], head[9], head[10], head[11]]),
        })
    }
}

/// Packets with consecutive sequence numbers, as they came.
#[derive(Debug)]
struct Kept {
    first: u16,
    time: Option<gst::ClockTime>,
    packets: gst::BufferList,
}

/// What was sent of one stream of late, and how it is sent again.
#[derive(Debug)]
struct Stream {
    kept: VecDeque<Kept>,
    packets: usize,
    ssrc: u32,
    next: u16,
    /// The sequence number that it began with.
    offset: u16,
}

impl Stream {
    fn new(ssrc: u32) -> Self {
        let offset = rand::random();
        Self {
            kept: VecDeque::new(),
            packets: 0,
            ssrc,
            next: offset,
            offset,
        }
    }

    /// Keeps these, and no more than so many packets in all.
    fn keep(&mut self, first: u16, packets: gst::BufferList, most: usize) {
        let time = packets.get(0).and_then(gst::BufferRef::pts);
        self.packets += packets.len();
        self.kept.push_back(Kept {
            first,
            time,
            packets,
        });
        let is_old = |kept: &Kept| {
            let times = time.zip(kept.time);
            times.is_some_and(|(now, then)| now.saturating_sub(then) > KEPT_FOR)
        };
        while let Some(oldest) = self.kept.front()
            && (self.packets > most || is_old(oldest))
        {
            self.packets -= oldest.packets.len();
            self.kept.pop_front();
        }
    }

    fn find(&self, sequence: u16) -> Option<&gst::BufferRef> {
        self.kept.iter().rev().find_map(|kept| {
            let at = sequence.wrapping_sub(kept.first);
            kept.packets.get(at.into())
        })
    }

    /// The packet once more, as a packet of the stream for retransmissions (RFC 4588 §4).
    fn again(&mut self, sequence: u16, payload_type: u8) -> Option<gst::Buffer> {
        let packet = self.find(sequence)?;
        let bytes = packet.map_readable().ok()?;
        let (header, payload) = parts(&bytes)?;
        let mut again = gst::Buffer::with_size(header.len() + 2 + payload.len()).ok()?;
        let writable = again.make_mut();
        writable.set_pts(packet.pts());
        writable.set_dts(packet.dts());
        writable.set_flags(RETRANSMISSION);
        {
            let mut written = writable.map_writable().ok()?;
            let (head, rest) = written.split_at_mut(header.len());
            head.copy_from_slice(header);
            // Padding is the encrypter's affair.
            head[0] &= !0x20;
            head[1] = head[1] & 0x80 | payload_type;
            head[2..4].copy_from_slice(&self.next.to_be_bytes());
            head[8..12].copy_from_slice(&self.ssrc.to_be_bytes());
            rest[..2].copy_from_slice(&sequence.to_be_bytes());
            rest[2..].copy_from_slice(payload);
        }
        drop(bytes);
        self.next = self.next.wrapping_add(1);
        Some(again)
    }
}

/// An RTP packet's header with its extensions, and its payload without padding.
fn parts(packet: &[u8]) -> Option<(&[u8], &[u8])> {
    let first = *packet.first()?;
    let mut header = HEADER + usize::from(first & 0x0f) * 4;
    if first & 0x10 != 0 {
        let words = packet.get(header + 2..header + 4)?;
        header += 4 + usize::from(u16::from_be_bytes([words[0], words[1]])) * 4;
    }
    let padding = match first & 0x20 {
        0 => 0,
        _ => usize::from(*packet.last()?),
    };
    let (header, payload) = packet.split_at_checked(header)?;
    Some((header, payload.get(..payload.len().checked_sub(padding)?)?))
}

#[derive(Debug, Default)]
struct State {
    /// The payload type of the retransmissions of another one; one that is not here is not kept.
    payload_types: HashMap<u8, u8>,
    /// The same for SSRCs, where somebody else chooses.
    ssrcs: HashMap<u32, u32>,
    streams: HashMap<u32, Stream>,
    most: usize,
    requests: u32,
    sent: u32,
}

impl State {
    fn stream(&mut self, ssrc: u32) -> &mut Stream {
        let Self { ssrcs, streams, .. } = self;
        streams
            .entry(ssrc)
            .or_insert_with(|| Stream::new(ssrcs.get(&ssrc).copied().unwrap_or_else(rand::random)))
    }

    fn keep(&mut self, packets: &gst::BufferList) {
        let ends = packets.get(0).zip(
            packets
                .len()
                .checked_sub(1)
                .and_then(|last| packets.get(last)),
        );
        let ends = ends.and_then(|(first, last)| Head::of(first).zip(Head::of(last)));
        let Some((first, last)) = ends else { return };
        if !self.payload_types.contains_key(&first.payload_type) {
            return;
        }
        let most = self.most;
        let stream = self.stream(first.ssrc);
        if usize::from(last.sequence.wrapping_sub(first.sequence)) + 1 == packets.len() {
            stream.keep(first.sequence, packets.clone(), most);
            return;
        }
        for packet in packets.iter_owned() {
            if let Some(head) = Head::of(&packet) {
                stream.keep(head.sequence, [packet].into_iter().collect(), most);
            }
        }
    }

    fn again(&mut self, ssrc: u32, sequence: u16) -> Option<gst::Buffer> {
        self.requests = self.requests.wrapping_add(1);
        let head = Head::of(self.streams.get(&ssrc)?.find(sequence)?)?;
        let payload_type = *self.payload_types.get(&head.payload_type)?;
        let again = self.stream(ssrc).again(sequence, payload_type)?;
        self.sent = self.sent.wrapping_add(1);
        Some(again)
    }

    /// Somebody else uses this SSRC. True where it is one that was chosen here, and another one was chosen now.
    fn collided(&mut self, ssrc: u32) -> bool {
        if let Some(stream) = self.streams.values_mut().find(|stream| stream.ssrc == ssrc) {
            stream.ssrc = rand::random();
            return true;
        }
        self.streams.remove(&ssrc);
        false
    }
}

/// Numbers by numbers, of a structure whose fields' names are numbers.
fn numbers<K, V>(structure: Option<&gst::Structure>) -> HashMap<K, V>
where
    K: std::str::FromStr + Eq + std::hash::Hash,
    V: TryFrom<u32>,
{
    let fields = structure.into_iter().flat_map(|fields| fields.iter());
    fields
        .filter_map(|(name, value)| {
            let value = V::try_from(value.get::<u32>().ok()?).ok()?;
            Some((name.parse().ok()?, value))
        })
        .collect()
}

mod imp {
    use std::sync::LazyLock;

    use super::*;

    #[derive(Debug)]
    pub struct RtxSend {
        state: Mutex<State>,
        sink: gst::Pad,
        source: gst::Pad,
    }

    #[glib::object_subclass]
    impl ObjectSubclass for RtxSend {
        const NAME: &'static str = "PerchRtxSend";
        type Type = super::RtxSend;
        type ParentType = gst::Element;

        fn with_class(class: &Self::Class) -> Self {
            let template = |name| class.pad_template(name).expect("there is such a template");
            let sink = gst::Pad::builder_from_template(&template("sink"))
                .flags(gst::PadFlags::PROXY_CAPS | gst::PadFlags::PROXY_ALLOCATION)
                .chain_function(|_, parent, packet| {
                    Self::catch_panic_pad_function(
                        parent,
                        || Err(gst::FlowError::Error),
                        |this| {
                            this.state().keep(&[packet.clone()].into_iter().collect());
                            this.source.push(packet)
                        },
                    )
                })
                .chain_list_function(|_, parent, packets| {
                    Self::catch_panic_pad_function(
                        parent,
                        || Err(gst::FlowError::Error),
                        |this| {
                            this.state().keep(&packets);
                            this.source.push_list(packets)
                        },
                    )
                })
                .event_function(|pad, parent, event| {
                    Self::catch_panic_pad_function(
                        parent,
                        || false,
                        |this| this.sink_event(pad, event),
                    )
                })
                .build();
            let source = gst::Pad::builder_from_template(&template("src"))
                .flags(gst::PadFlags::PROXY_CAPS | gst::PadFlags::PROXY_ALLOCATION)
                .event_function(|pad, parent, event| {
                    Self::catch_panic_pad_function(
                        parent,
                        || false,
                        |this| this.source_event(pad, event),
                    )
                })
                .build();
            Self {
                state: Mutex::new(State {
                    most: 100,
                    ..State::default()
                }),
                sink,
                source,
            }
        }
    }

    impl ObjectImpl for RtxSend {
        fn properties() -> &'static [glib::ParamSpec] {
            static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
                let map = |name| {
                    glib::ParamSpecBoxed::builder::<gst::Structure>(name)
                        .write_only()
                        .build()
                };
                let count = |name| glib::ParamSpecUInt::builder(name).read_only().build();
                vec![
                    map("payload-type-map"),
                    map("ssrc-map"),
                    glib::ParamSpecUInt::builder("max-size-packets").build(),
                    count("num-rtx-requests"),
                    count("num-rtx-packets"),
                ]
            });
            &PROPERTIES
        }

        fn set_property(&self, _id: usize, value: &glib::Value, spec: &glib::ParamSpec) {
            let mut state = self.state();
            let map = || value.get::<Option<gst::Structure>>().ok().flatten();
            match spec.name() {
                "payload-type-map" => state.payload_types = numbers(map().as_ref()),
                "ssrc-map" => state.ssrcs = numbers(map().as_ref()),
                _ => {
                    let most = value.get::<u32>().unwrap_or_default();
                    state.most = usize::try_from(most).unwrap_or(usize::MAX);
                }
            }
        }

        fn property(&self, _id: usize, spec: &glib::ParamSpec) -> glib::Value {
            let state = self.state();
            match spec.name() {
                "num-rtx-requests" => state.requests.to_value(),
                "num-rtx-packets" => state.sent.to_value(),
                _ => u32::try_from(state.most).unwrap_or(u32::MAX).to_value(),
            }
        }

        fn constructed(&self) {
            self.parent_constructed();
            for pad in [&self.sink, &self.source] {
                self.obj().add_pad(pad).expect("there is no other yet");
            }
        }
    }

    impl GstObjectImpl for RtxSend {}

    impl ElementImpl for RtxSend {
        fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
            static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
                gst::subclass::ElementMetadata::new(
                    "RTP retransmission sender",
                    "Codec",
                    "Keeps lists of RTP packets and sends single ones again",
                    "The Perch authors",
                )
            });
            Some(&METADATA)
        }

        fn pad_templates() -> &'static [gst::PadTemplate] {
            static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
                use gst::{PadDirection::*, PadPresence::Always};
                let caps = gst::Caps::new_empty_simple("application/x-rtp");
                [("sink", Sink), ("src", Src)]
                    .into_iter()
                    .map(|(name, direction)| {
                        gst::PadTemplate::new(name, direction, Always, &caps)
                            .expect("the template is well-formed")
                    })
                    .collect()
            });
            &TEMPLATES
        }

        fn change_state(
            &self,
            transition: gst::StateChange,
        ) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
            let changed = self.parent_change_state(transition)?;
            if transition == gst::StateChange::PausedToReady {
                self.state().streams.clear();
            }
            Ok(changed)
        }
    }

    impl RtxSend {
        fn state(&self) -> MutexGuard<'_, State> {
            self.state.lock().unwrap_or_else(PoisonError::into_inner)
        }

        fn sink_event(&self, pad: &gst::Pad, event: gst::Event) -> bool {
            let event = match event.view() {
                gst::EventView::Caps(caps) => match self.announced(caps.caps()) {
                    Some(caps) => gst::event::Caps::new(&caps),
                    None => event,
                },
                _ => event,
            };
            gst::Pad::event_default(pad, Some(&*self.obj()), event)
        }

        /// The session wants to know what else belongs to a stream.
        fn announced(&self, caps: &gst::CapsRef) -> Option<gst::Caps> {
            let structure = caps.structure(0)?;
            let ssrc = structure.get::<u32>("ssrc").ok()?;
            let payload_type = u8::try_from(structure.get::<i32>("payload").ok()?).ok()?;
            let mut state = self.state();
            let again = *state.payload_types.get(&payload_type)?;
            let stream = state.stream(ssrc);
            let mut caps = caps.to_owned();
            for structure in caps.make_mut().iter_mut() {
                structure.set("rtx-ssrc", stream.ssrc);
                structure.set("rtx-seqnum-offset", u32::from(stream.offset));
                structure.set("rtx-payload", i32::from(again));
            }
            Some(caps)
        }

        fn source_event(&self, pad: &gst::Pad, event: gst::Event) -> bool {
            let number = |field| {
                let structure = event.structure()?;
                structure.get::<u32>(field).ok()
            };
            match event.structure().map(|structure| structure.name().as_str()) {
                Some(REQUEST) => {
                    let asked = number("ssrc").zip(number("seqnum"));
                    let asked = asked.and_then(|(ssrc, n)| Some((ssrc, u16::try_from(n).ok()?)));
                    let again = asked.and_then(|(ssrc, n)| self.state().again(ssrc, n));
                    if let Some(packet) = again {
                        // What comes of it is told to whoever sends the stream itself.
                        let _ = self.source.push(packet);
                    }
                    true
                }
                Some(COLLISION)
                    if number("ssrc").is_some_and(|ssrc| self.state().collided(ssrc)) =>
                {
                    true
                }
                _ => gst::Pad::event_default(pad, Some(&*self.obj()), event),
            }
        }
    }
}

#[cfg(test)]
mod tests;
