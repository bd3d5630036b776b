//! `nicesink`: sends what a branch has to say to its viewer. libnice's hands the kernel each packet of a picture by
//! itself; where they go straight to the viewer's address, this one hands over all packets of one size as one train,
//! which the kernel cuts up behind most of what it does for a datagram (UDP_SEGMENT, udp(7), Linux 4.18).

use std::{
    io::IoSlice,
    net::SocketAddr,
    os::fd::{AsRawFd, OwnedFd},
    sync::{Mutex, MutexGuard, PoisonError},
};

use glib::subclass::prelude::*;
use gst::{prelude::*, subclass::prelude::*};
use gst_base::{prelude::*, subclass::prelude::*};
use nix::{
    errno::Errno,
    sys::socket::{ControlMessage, MsgFlags, SockaddrStorage, getsockname, sendmsg},
};

use super::nice::{self, Agent, Component};

glib::wrapper! {
    pub struct NiceSink(ObjectSubclass<imp::NiceSink>)
        @extends gst_base::BaseSink, gst::Element, gst::Object;
}

pub fn register() -> Result<(), glib::BoolError> {
    nice::load()?;
    gst::Element::register(None, "nicesink", gst::Rank::NONE, NiceSink::static_type())
}

/// A train has no more packets than this (`UDP_MAX_SEGMENTS` of older kernels), …
const PACKETS: usize = 64;
/// … nor more bytes: together they are one datagram of IP until they are cut up.
const BYTES: usize = 65_000;
/// A component's state when all ways to its peer are lost (`NiceComponentState` of libnice).
const FAILED: u32 = 5;

#[derive(Debug, Default)]
struct State {
    agent: Option<Agent>,
    stream: u32,
    component: u32,
    signals: Vec<glib::SignalHandlerId>,
    way: Option<Way>,
}

impl State {
    fn component(&self) -> Option<Component> {
        let agent = self.agent.clone()?;
        Some(Component::new(agent, self.stream, self.component))
    }
}

/// Straight to the viewer, past the agent.
#[derive(Debug)]
struct Way {
    socket: OwnedFd,
    to: SockaddrStorage,
    /// The kernel and the network's driver can do it.
    trains: bool,
    /// They have done it.
    tried: bool,
}

impl Way {
    /// To `remote` by the component's own socket, where that is bound to `base`.
    fn open(component: &Component, base: SocketAddr, remote: SocketAddr) -> Option<Self> {
        let socket = component.socket()?;
        let bound: SockaddrStorage = getsockname(socket.as_raw_fd()).ok()?;
        let port = bound
            .as_sockaddr_in()
            .map(|bound| bound.port())
            .or_else(|| bound.as_sockaddr_in6().map(|bound| bound.port()))?;
        (port == base.port()).then(|| Self {
            socket,
            to: remote.into(),
            trains: true,
            tried: false,
        })
    }

    /// Sends all of them, in order, or as many as the socket takes: what does not fit is lost, as it would be anywhere
    /// on the way.
    fn send(&mut self, packets: &[&[u8]]) {
        let mut rest = packets;
        while let Some(first) = rest.first() {
            let length = if self.trains { train(rest) } else { 1 };
            let (train, later) = rest.split_at(length);
            match self.hand_over(train, first.len()) {
                // A driver that computes no checksums (until Linux 6.11), or a path whose MTU they do not fit.
                Err(Errno::EIO | Errno::EINVAL | Errno::EMSGSIZE | Errno::EOPNOTSUPP)
                    if length > 1 =>
                {
                    self.trains = false;
                    continue;
                }
                Err(Errno::EAGAIN | Errno::ENOBUFS) => return,
                Ok(_) if length > 1 && !std::mem::replace(&mut self.tried, true) => {
                    tracing::debug!(train = length, "a viewer's packets leave together");
                }
                // What a router said of an earlier one, or a route that is gone for now: ICE looks after that.
                Ok(_) | Err(_) => {}
            }
            rest = later;
        }
    }

    fn hand_over(&self, train: &[&[u8]], size: usize) -> Result<usize, Errno> {
        let parts: Vec<_> = train.iter().map(|packet| IoSlice::new(packet)).collect();
        let size = u16::try_from(size).unwrap_or(u16::MAX);
        let segments = [ControlMessage::UdpGsoSegments(&size)];
        let control = if train.len() > 1 { &segments[..] } else { &[] };
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        sendmsg(
            self.socket.as_raw_fd(),
            &parts,
            control,
            flags,
            Some(&self.to),
        )
    }
}

/// How many of the first packets make a train: all of one size, but that the last may be shorter.
fn train(packets: &[&[u8]]) -> usize {
    let size = packets.first().map_or(0, |first| first.len());
    let mut bytes = 0;
    for (at, packet) in packets.iter().enumerate() {
        bytes += packet.len();
        if at == PACKETS || packet.len() > size || (at > 0 && bytes > BYTES) {
            return at;
        }
        if packet.len() < size {
            return at + 1;
        }
    }
    packets.len()
}

mod imp {
    use std::sync::LazyLock;

    use super::*;

    #[derive(Debug, Default)]
    pub struct NiceSink {
        state: Mutex<State>,
    }

    #[glib::object_subclass]
    impl ObjectSubclass for NiceSink {
        const NAME: &'static str = "PerchNiceSink";
        type Type = super::NiceSink;
        type ParentType = gst_base::BaseSink;
    }

    impl ObjectImpl for NiceSink {
        fn properties() -> &'static [glib::ParamSpec] {
            static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
                vec![
                    glib::ParamSpecObject::builder::<glib::Object>("agent").build(),
                    glib::ParamSpecUInt::builder("stream").build(),
                    glib::ParamSpecUInt::builder("component").build(),
                ]
            });
            &PROPERTIES
        }

        fn set_property(&self, _id: usize, value: &glib::Value, spec: &glib::ParamSpec) {
            match spec.name() {
                "agent" => {
                    let object = value.get::<Option<glib::Object>>().ok().flatten();
                    self.follow(object.and_then(Agent::new));
                }
                "stream" => self.state().stream = value.get().unwrap_or_default(),
                _ => self.state().component = value.get().unwrap_or_default(),
            }
        }

        fn property(&self, _id: usize, spec: &glib::ParamSpec) -> glib::Value {
            let state = self.state();
            match spec.name() {
                "agent" => state.agent.as_ref().map(Agent::object).to_value(),
                "stream" => state.stream.to_value(),
                _ => state.component.to_value(),
            }
        }

        fn constructed(&self) {
            self.parent_constructed();
            self.obj().set_drop_out_of_segment(false);
        }

        fn dispose(&self) {
            self.follow(None);
        }
    }

    impl GstObjectImpl for NiceSink {}

    impl ElementImpl for NiceSink {
        fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
            static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
                gst::subclass::ElementMetadata::new(
                    "ICE sink",
                    "Sink/Network",
                    "Sends packets on a NiceAgent's selected pair, many at a time",
                    "The Perch authors",
                )
            });
            Some(&METADATA)
        }

        fn pad_templates() -> &'static [gst::PadTemplate] {
            static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
                use gst::{PadDirection::Sink, PadPresence::Always};
                let template = gst::PadTemplate::new("sink", Sink, Always, &gst::Caps::new_any());
                vec![template.expect("the template is well-formed")]
            });
            &TEMPLATES
        }
    }

    impl BaseSinkImpl for NiceSink {
        fn render(&self, packet: &gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
            self.send([&**packet])
        }

        fn render_list(&self, list: &gst::BufferList) -> Result<gst::FlowSuccess, gst::FlowError> {
            self.send(list.iter())
        }
    }

    impl NiceSink {
        fn state(&self) -> MutexGuard<'_, State> {
            self.state.lock().unwrap_or_else(PoisonError::into_inner)
        }

        fn send<'a>(
            &self,
            packets: impl IntoIterator<Item = &'a gst::BufferRef>,
        ) -> Result<gst::FlowSuccess, gst::FlowError> {
            let maps: Result<Vec<_>, _> = packets
                .into_iter()
                .map(gst::BufferRef::map_readable)
                .collect();
            let maps = maps.map_err(|_| gst::FlowError::Error)?;
            let packets: Vec<&[u8]> = maps.iter().map(|map| &map[..]).collect();
            let mut state = self.state();
            if let Some(way) = &mut state.way {
                way.send(&packets);
            } else if let Some(component) = state.component() {
                // Not under the lock: the agent has one of its own, and tells of new pairs.
                drop(state);
                for packet in packets {
                    component.send(packet);
                }
            }
            Ok(gst::FlowSuccess::Ok)
        }

        /// Listens to this agent alone from now on.
        fn follow(&self, agent: Option<Agent>) {
            let weak = self.obj().downgrade();
            let signals = agent.as_ref().map(Agent::object).map(|agent| {
                let selected = weak.clone();
                [
                    agent.connect("new-selected-pair-full", false, move |values| {
                        selected.upgrade()?.imp().select(values);
                        None
                    }),
                    agent.connect("component-state-changed", false, move |values| {
                        weak.upgrade()?.imp().notice(values);
                        None
                    }),
                ]
            });
            let mut state = self.state();
            let signals = signals.into_iter().flatten().collect();
            let former = std::mem::replace(&mut state.agent, agent);
            let signals = std::mem::replace(&mut state.signals, signals);
            state.way = None;
            drop(state);
            for signal in signals {
                if let Some(former) = &former {
                    former.object().disconnect(signal);
                }
            }
        }

        /// Whether a signal's values are of this sink's component.
        fn is_own(&self, values: &[glib::Value]) -> bool {
            let number = |at: usize| values.get(at).and_then(|value| value.get::<u32>().ok());
            let state = self.state();
            number(1) == Some(state.stream) && number(2) == Some(state.component)
        }

        fn select(&self, values: &[glib::Value]) {
            if !self.is_own(values) {
                return;
            }
            let candidate = |at: usize| values.get(at).and_then(nice::addresses);
            let component = self.state().component();
            let way = component.zip(candidate(3).zip(candidate(4))).and_then(
                |(component, ((_, base), (remote, _)))| Way::open(&component, base?, remote),
            );
            tracing::debug!(direct = way.is_some(), "a viewer's packets have a way");
            self.state().way = way;
        }

        /// Who has failed has not consented either (RFC 7675 §5.1): the agent decides from here on.
        fn notice(&self, values: &[glib::Value]) {
            let state = values.get(3).and_then(|value| value.get::<u32>().ok());
            if state == Some(FAILED) && self.is_own(values) {
                self.state().way = None;
            }
        }
    }
}

#[cfg(test)]
mod tests;
