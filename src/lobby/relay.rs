//! Who may say what to whom: the lobby's rules, without a socket or a clock.
//!
//! One request of one socket goes in; the acknowledgement and the list of what is to be sent come out.
//! The relay owns the streams and knows who watches which. Its one promise is that nobody speaks for
//! another: the sender of every relayed message is the socket that it came from, and it reaches only
//! the other end of a host–viewer pair that the relay itself has joined.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::SystemTime,
};

use serde_json::Value;

use crate::signaling::message::{Shown, StreamId};

#[cfg(test)]
mod property;
#[cfg(test)]
mod tests;

/// The longest title that is kept, in characters.
pub const MAX_TITLE: usize = 120;
/// The longest reason of a refusal that is passed on, in characters.
const MAX_REASON: usize = 64;

/// One connected, authenticated socket. Viewers are known to hosts by this name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketId(pub Arc<str>);

/// What a socket's token lets it do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// May go live and watch.
    Member,
    /// May only watch.
    Viewer,
}

/// Who is behind a socket, as its token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub user: Arc<str>,
    pub role: Role,
}

/// What a socket asks for. Offers, answers and candidates are carried unread.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    Start {
        title: String,
    },
    List,
    Join {
        stream_id: StreamId,
    },
    Leave {
        stream_id: StreamId,
    },
    Offer {
        stream_id: StreamId,
        to: SocketId,
        offer: Value,
    },
    Answer {
        stream_id: StreamId,
        answer: Value,
    },
    /// A host names the viewer; a viewer's candidate goes to the host, whatever it names.
    Candidate {
        stream_id: StreamId,
        to: Option<SocketId>,
        candidate: Value,
    },
    End {
        stream_id: StreamId,
    },
    RefuseViewer {
        stream_id: StreamId,
        to: SocketId,
        reason: String,
        max: Option<u64>,
    },
    /// What the stream's viewers are shown.
    Camera {
        stream_id: StreamId,
        camera: Shown,
    },
    /// Which rendition one of them is sent, and why.
    Rendition {
        stream_id: StreamId,
        to: SocketId,
        rendition: String,
        reason: String,
    },
}

/// What a socket is told.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    ViewerJoin {
        stream_id: StreamId,
        viewer: SocketId,
    },
    ViewerLeft {
        stream_id: StreamId,
        viewer: SocketId,
    },
    Offer {
        stream_id: StreamId,
        offer: Value,
    },
    Answer {
        stream_id: StreamId,
        from: SocketId,
        answer: Value,
    },
    Candidate {
        stream_id: StreamId,
        from: SocketId,
        candidate: Value,
    },
    Ended {
        stream_id: StreamId,
    },
    Refused {
        stream_id: StreamId,
        reason: String,
        max: Option<u64>,
    },
    Rendition {
        stream_id: StreamId,
        rendition: String,
        reason: String,
    },
}

/// One message to one socket.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery {
    pub to: SocketId,
    pub event: Event,
}

/// The acknowledgement of a request that has one.
#[derive(Debug, Clone, PartialEq)]
pub enum Ack {
    Started(StreamId),
    NotStarted(&'static str),
    List(Vec<Listing>),
    Done(bool),
}

/// One line of the lobby's list.
#[derive(Debug, Clone, PartialEq)]
pub struct Listing {
    pub stream_id: StreamId,
    pub title: String,
    pub host_user: Arc<str>,
    pub started_at: SystemTime,
    pub viewers: usize,
    pub camera: Shown,
}

/// What comes of one request.
#[derive(Debug, Default, PartialEq)]
pub struct Outcome {
    pub ack: Option<Ack>,
    pub deliveries: Vec<Delivery>,
}

impl Outcome {
    fn ack(ack: Ack) -> Self {
        Self {
            ack: Some(ack),
            deliveries: Vec::new(),
        }
    }

    fn deliver(to: SocketId, event: Event) -> Self {
        Self {
            ack: None,
            deliveries: vec![Delivery { to, event }],
        }
    }
}

#[derive(Debug)]
struct Member {
    identity: Identity,
    hosts: Option<StreamId>,
    watches: BTreeSet<StreamId>,
}

#[derive(Debug)]
struct Stream {
    title: String,
    host: SocketId,
    host_user: Arc<str>,
    started_at: SystemTime,
    viewers: BTreeSet<SocketId>,
    camera: Shown,
}

/// The streams, and who hosts and watches them.
#[derive(Debug)]
pub struct Relay {
    /// How many streams one socket may watch at a time.
    max_joins: usize,
    members: BTreeMap<SocketId, Member>,
    streams: BTreeMap<StreamId, Stream>,
    changed: bool,
}

impl Relay {
    pub fn new(max_joins: usize) -> Self {
        Self {
            max_joins,
            members: BTreeMap::new(),
            streams: BTreeMap::new(),
            changed: false,
        }
    }

    /// A socket is there; nothing is known of it yet but who it is.
    pub fn connect(&mut self, socket: SocketId, identity: Identity) {
        self.members.entry(socket).or_insert(Member {
            identity,
            hosts: None,
            watches: BTreeSet::new(),
        });
    }

    /// A socket is gone: its stream ends, and it leaves what it watched.
    pub fn disconnect(&mut self, socket: &SocketId) -> Vec<Delivery> {
        let mut deliveries = Vec::new();
        let Some(member) = self.members.get(socket) else {
            return deliveries;
        };
        let watched: Vec<StreamId> = member.watches.iter().cloned().collect();
        if let Some(stream_id) = member.hosts.clone() {
            deliveries.extend(self.end(&stream_id));
        }
        for stream_id in watched {
            deliveries.extend(self.leave(socket, stream_id).deliveries);
        }
        self.members.remove(socket);
        deliveries
    }

    /// Carries out one request of a connected socket. `now` and `fresh` serve `live:start`:
    /// the stream's start and its unguessable name.
    pub fn handle(
        &mut self,
        from: &SocketId,
        request: Request,
        now: SystemTime,
        fresh: impl FnOnce() -> StreamId,
    ) -> Outcome {
        if !self.members.contains_key(from) {
            return Outcome::default();
        }
        match request {
            Request::Start { title } => self.start(from, &title, now, fresh()),
            Request::List => Outcome::ack(Ack::List(self.list())),
            Request::Join { stream_id } => self.join(from, stream_id),
            Request::Leave { stream_id } => self.leave(from, stream_id),
            Request::Offer {
                stream_id,
                to,
                offer,
            } => self.to_viewer(from, &stream_id, to, |stream_id| Event::Offer {
                stream_id,
                offer,
            }),
            Request::Answer { stream_id, answer } => {
                self.to_host(from, &stream_id, |stream_id, from| Event::Answer {
                    stream_id,
                    from,
                    answer,
                })
            }
            Request::Candidate {
                stream_id,
                to,
                candidate,
            } => self.candidate(from, &stream_id, to, candidate),
            Request::End { stream_id } if self.is_host(from, &stream_id) => Outcome {
                ack: None,
                deliveries: self.end(&stream_id),
            },
            Request::End { .. } => Outcome::default(),
            Request::RefuseViewer {
                stream_id,
                to,
                reason,
                max,
            } => self.refuse(from, &stream_id, to, &reason, max),
            Request::Camera { stream_id, camera } => self.camera(from, &stream_id, camera),
            Request::Rendition {
                stream_id,
                to,
                rendition,
                reason,
            } => self.to_viewer(from, &stream_id, to, |stream_id| Event::Rendition {
                stream_id,
                rendition: clean(&rendition, MAX_REASON),
                reason: clean(&reason, MAX_REASON),
            }),
        }
    }

    /// The lobby's list.
    pub fn list(&self) -> Vec<Listing> {
        self.streams
            .iter()
            .map(|(stream_id, stream)| Listing {
                stream_id: stream_id.clone(),
                title: stream.title.clone(),
                host_user: stream.host_user.clone(),
                started_at: stream.started_at,
                viewers: stream.viewers.len(),
                camera: stream.camera,
            })
            .collect()
    }

    /// Whether the list differs from the one last taken.
    pub fn has_changed(&self) -> bool {
        self.changed
    }

    /// The list, if it has changed since it was last taken.
    pub fn take_change(&mut self) -> Option<Vec<Listing>> {
        std::mem::take(&mut self.changed).then(|| self.list())
    }

    fn start(
        &mut self,
        from: &SocketId,
        title: &str,
        now: SystemTime,
        stream_id: StreamId,
    ) -> Outcome {
        let Some(member) = self.members.get(from) else {
            return Outcome::default();
        };
        if member.identity.role == Role::Viewer {
            return Outcome::ack(Ack::NotStarted("this token may only watch"));
        }
        let host_user = member.identity.user.clone();
        let deliveries = match member.hosts.clone() {
            Some(previous) => self.end(&previous),
            None => Vec::new(),
        };
        self.streams.insert(
            stream_id.clone(),
            Stream {
                title: clean_title(title),
                host: from.clone(),
                host_user,
                started_at: now,
                viewers: BTreeSet::new(),
                camera: Shown::default(),
            },
        );
        if let Some(member) = self.members.get_mut(from) {
            member.hosts = Some(stream_id.clone());
        }
        self.changed = true;
        Outcome {
            ack: Some(Ack::Started(stream_id)),
            deliveries,
        }
    }

    /// A second join of the same viewer reaches the host again: it is how a viewer asks for a new offer.
    fn join(&mut self, from: &SocketId, stream_id: StreamId) -> Outcome {
        let (Some(stream), Some(member)) =
            (self.streams.get_mut(&stream_id), self.members.get_mut(from))
        else {
            return Outcome::ack(Ack::Done(false));
        };
        let known = stream.viewers.contains(from);
        if stream.host == *from || (!known && member.watches.len() >= self.max_joins) {
            return Outcome::ack(Ack::Done(false));
        }
        if !known {
            stream.viewers.insert(from.clone());
            member.watches.insert(stream_id.clone());
            self.changed = true;
        }
        Outcome {
            ack: Some(Ack::Done(true)),
            deliveries: vec![Delivery {
                to: stream.host.clone(),
                event: Event::ViewerJoin {
                    stream_id,
                    viewer: from.clone(),
                },
            }],
        }
    }

    fn leave(&mut self, from: &SocketId, stream_id: StreamId) -> Outcome {
        let Some(host) = self.remove_viewer(from, &stream_id) else {
            return Outcome::ack(Ack::Done(false));
        };
        Outcome {
            ack: Some(Ack::Done(true)),
            deliveries: vec![Delivery {
                to: host,
                event: Event::ViewerLeft {
                    stream_id,
                    viewer: from.clone(),
                },
            }],
        }
    }

    fn candidate(
        &self,
        from: &SocketId,
        stream_id: &StreamId,
        to: Option<SocketId>,
        candidate: Value,
    ) -> Outcome {
        let event = |stream_id, from| Event::Candidate {
            stream_id,
            from,
            candidate,
        };
        match to {
            Some(to) if self.is_host(from, stream_id) => {
                self.to_viewer(from, stream_id, to, |stream_id| {
                    event(stream_id, from.clone())
                })
            }
            _ => self.to_host(from, stream_id, event),
        }
    }

    fn refuse(
        &mut self,
        from: &SocketId,
        stream_id: &StreamId,
        to: SocketId,
        reason: &str,
        max: Option<u64>,
    ) -> Outcome {
        if !self.is_host(from, stream_id) || self.remove_viewer(&to, stream_id).is_none() {
            return Outcome::default();
        }
        Outcome::deliver(
            to,
            Event::Refused {
                stream_id: stream_id.clone(),
                reason: clean(reason, MAX_REASON),
                max,
            },
        )
    }

    /// It goes into the list: whoever watches has that, and whoever comes gets it.
    fn camera(&mut self, from: &SocketId, stream_id: &StreamId, camera: Shown) -> Outcome {
        if let Some(stream) = self.streams.get_mut(stream_id)
            && stream.host == *from
        {
            self.changed |= stream.camera != camera;
            stream.camera = camera;
        }
        Outcome::default()
    }

    /// From the stream's host to one of its viewers, or nowhere.
    fn to_viewer(
        &self,
        from: &SocketId,
        stream_id: &StreamId,
        to: SocketId,
        event: impl FnOnce(StreamId) -> Event,
    ) -> Outcome {
        match self.streams.get(stream_id) {
            Some(stream) if stream.host == *from && stream.viewers.contains(&to) => {
                Outcome::deliver(to, event(stream_id.clone()))
            }
            _ => Outcome::default(),
        }
    }

    /// From one of the stream's viewers to its host, or nowhere.
    fn to_host(
        &self,
        from: &SocketId,
        stream_id: &StreamId,
        event: impl FnOnce(StreamId, SocketId) -> Event,
    ) -> Outcome {
        match self.streams.get(stream_id) {
            Some(stream) if stream.viewers.contains(from) => {
                Outcome::deliver(stream.host.clone(), event(stream_id.clone(), from.clone()))
            }
            _ => Outcome::default(),
        }
    }

    fn is_host(&self, socket: &SocketId, stream_id: &StreamId) -> bool {
        self.streams
            .get(stream_id)
            .is_some_and(|stream| stream.host == *socket)
    }

    /// The only place that takes a viewer off a living stream. Returns the stream's host.
    fn remove_viewer(&mut self, viewer: &SocketId, stream_id: &StreamId) -> Option<SocketId> {
        let stream = self.streams.get_mut(stream_id)?;
        if !stream.viewers.remove(viewer) {
            return None;
        }
        if let Some(member) = self.members.get_mut(viewer) {
            member.watches.remove(stream_id);
        }
        self.changed = true;
        Some(stream.host.clone())
    }

    /// The only place that takes a stream down.
    fn end(&mut self, stream_id: &StreamId) -> Vec<Delivery> {
        let Some(stream) = self.streams.remove(stream_id) else {
            return Vec::new();
        };
        self.changed = true;
        if let Some(host) = self.members.get_mut(&stream.host) {
            host.hosts = None;
        }
        let mut deliveries = Vec::with_capacity(stream.viewers.len());
        for viewer in stream.viewers {
            if let Some(member) = self.members.get_mut(&viewer) {
                member.watches.remove(stream_id);
            }
            deliveries.push(Delivery {
                to: viewer,
                event: Event::Ended {
                    stream_id: stream_id.clone(),
                },
            });
        }
        deliveries
    }
}

fn clean_title(title: &str) -> String {
    match clean(title, MAX_TITLE) {
        title if title.is_empty() => "Untitled".to_owned(),
        title => title,
    }
}

/// Text from the network as it may be shown: no control characters, no blanks around it, not too long.
fn clean(text: &str, max_chars: usize) -> String {
    let printable: String = text.chars().filter(|c| !c.is_control()).collect();
    let cut: String = printable.trim().chars().take(max_chars).collect();
    cut.trim_end().to_owned()
}
