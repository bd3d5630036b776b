//! Random conversations, checked step by step against the rules told in another way.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::UNIX_EPOCH,
};

use proptest::{collection::vec, prelude::*, sample::Index};
use serde_json::json;

use super::{
    tests::{identity, socket},
    *,
};

/// One step of a random conversation. Sockets and streams are picked by index.
#[derive(Debug, Clone)]
enum Step {
    Connect(usize, bool),
    Disconnect(usize),
    Start(usize),
    Join(usize, Index),
    Leave(usize, Index),
    Offer(usize, Index, usize),
    Answer(usize, Index),
    Candidate(usize, Index, Option<usize>),
    End(usize, Index),
    Refuse(usize, Index, usize),
    Camera(usize, Index, Shown),
    Rendition(usize, Index, usize),
}

const SOCKETS: usize = 5;

fn step() -> impl Strategy<Value = Step> {
    let who = 0..SOCKETS;
    let stream = any::<Index>();
    prop_oneof![
        3 => (who.clone(), any::<bool>()).prop_map(|(s, viewer)| Step::Connect(s, viewer)),
        1 => who.clone().prop_map(Step::Disconnect),
        2 => who.clone().prop_map(Step::Start),
        6 => (who.clone(), stream.clone()).prop_map(|(s, i)| Step::Join(s, i)),
        1 => (who.clone(), stream.clone()).prop_map(|(s, i)| Step::Leave(s, i)),
        4 => (who.clone(), stream.clone(), who.clone()).prop_map(|(s, i, to)| Step::Offer(s, i, to)),
        4 => (who.clone(), stream.clone()).prop_map(|(s, i)| Step::Answer(s, i)),
        4 => (who.clone(), stream.clone(), proptest::option::of(who.clone()))
            .prop_map(|(s, i, to)| Step::Candidate(s, i, to)),
        1 => (who.clone(), stream.clone()).prop_map(|(s, i)| Step::End(s, i)),
        1 => (who.clone(), stream.clone(), who.clone()).prop_map(|(s, i, to)| Step::Refuse(s, i, to)),
        2 => (who.clone(), stream.clone(), who.clone()).prop_map(|(s, i, to)| Step::Rendition(s, i, to)),
        2 => (who, stream, prop_oneof![Just(Shown::Live), Just(Shown::Lost)])
            .prop_map(|(s, i, camera)| Step::Camera(s, i, camera)),
    ]
}

/// What the rules say, told in another way: streams as plain sets.
#[derive(Default)]
struct Model {
    connected: BTreeMap<SocketId, Role>,
    streams: BTreeMap<StreamId, (SocketId, BTreeSet<SocketId>)>,
    /// Of streams whose host has said so.
    cameras: BTreeMap<StreamId, Shown>,
    issued: Vec<StreamId>,
}

impl Model {
    fn pick(&self, index: Index) -> StreamId {
        if self.issued.is_empty() {
            return StreamId::new("never issued");
        }
        // Mostly the newest ones, or hardly anything would be about a living stream.
        let recent = &self.issued[self.issued.len().saturating_sub(3)..];
        index.get(recent).clone()
    }

    fn is_host(&self, socket: &SocketId, stream: &StreamId) -> bool {
        self.streams.get(stream).is_some_and(|s| s.0 == *socket)
    }

    fn watches(&self, socket: &SocketId, stream: &StreamId) -> bool {
        self.streams
            .get(stream)
            .is_some_and(|s| s.1.contains(socket))
    }

    fn watched_by(&self, socket: &SocketId) -> usize {
        self.streams
            .values()
            .filter(|s| s.1.contains(socket))
            .count()
    }

    /// Removes a stream; what its viewers have to be told.
    fn end(&mut self, stream_id: &StreamId) -> Vec<Delivery> {
        let (_, viewers) = self.streams.remove(stream_id).unwrap();
        let ended = |to| Delivery {
            to,
            event: Event::Ended {
                stream_id: stream_id.clone(),
            },
        };
        viewers.into_iter().map(ended).collect()
    }

    fn end_hosted_by(&mut self, socket: &SocketId) -> Vec<Delivery> {
        let hosted = self.streams.iter().find(|(_, s)| s.0 == *socket);
        match hosted.map(|(id, _)| id.clone()) {
            Some(stream_id) => self.end(&stream_id),
            None => Vec::new(),
        }
    }

    fn leave(&mut self, viewer: &SocketId, stream_id: &StreamId) -> Vec<Delivery> {
        let Some((host, viewers)) = self.streams.get_mut(stream_id) else {
            return Vec::new();
        };
        if !viewers.remove(viewer) {
            return Vec::new();
        }
        vec![Delivery {
            to: host.clone(),
            event: Event::ViewerLeft {
                stream_id: stream_id.clone(),
                viewer: viewer.clone(),
            },
        }]
    }
}

fn name(index: usize) -> SocketId {
    socket(&format!("socket-{index}"))
}

/// Carries out one step on both and returns (what was sent, what should have been sent). `mark` makes
/// every payload one of its kind, so that nothing can be mistaken for something else.
fn take(relay: &mut Relay, model: &mut Model, step: Step, mark: usize) -> [Vec<Delivery>; 2] {
    let payload = json!({ "mark": mark });
    let fresh = StreamId::new(format!("stream-{mark}"));
    let mut ask = |from: &SocketId, request| {
        relay
            .handle(from, request, UNIX_EPOCH, || fresh.clone())
            .deliveries
    };
    let one = |to: SocketId, event| vec![Delivery { to, event }];
    match step {
        Step::Connect(s, viewer) => {
            let role = if viewer { Role::Viewer } else { Role::Member };
            relay.connect(name(s), identity("user", role));
            model.connected.entry(name(s)).or_insert(role);
            [vec![], vec![]]
        }
        Step::Disconnect(s) => {
            let got = relay.disconnect(&name(s));
            let mut expected = model.end_hosted_by(&name(s));
            let ids: Vec<_> = model.streams.keys().cloned().collect();
            for stream_id in ids {
                expected.extend(model.leave(&name(s), &stream_id));
            }
            model.connected.remove(&name(s));
            [got, expected]
        }
        Step::Start(s) => {
            let title = "title".to_owned();
            let got = ask(&name(s), Request::Start { title });
            if model.connected.get(&name(s)) != Some(&Role::Member) {
                return [got, vec![]];
            }
            let expected = model.end_hosted_by(&name(s));
            model.issued.push(fresh.clone());
            model.streams.insert(fresh, (name(s), BTreeSet::new()));
            [got, expected]
        }
        Step::Join(s, index) => {
            let stream_id = model.pick(index);
            let request = Request::Join {
                stream_id: stream_id.clone(),
            };
            let got = ask(&name(s), request);
            let again = model.watches(&name(s), &stream_id);
            let room = again || model.watched_by(&name(s)) < 2;
            let known = model.connected.contains_key(&name(s));
            match model.streams.get_mut(&stream_id) {
                Some((host, viewers)) if *host != name(s) && room && known => {
                    viewers.insert(name(s));
                    let viewer = name(s);
                    let joined = Event::ViewerJoin { stream_id, viewer };
                    [got, one(host.clone(), joined)]
                }
                _ => [got, vec![]],
            }
        }
        Step::Leave(s, index) => {
            let stream_id = model.pick(index);
            let request = Request::Leave {
                stream_id: stream_id.clone(),
            };
            [ask(&name(s), request), model.leave(&name(s), &stream_id)]
        }
        Step::Offer(s, index, to) => {
            let (stream_id, to) = (model.pick(index), name(to));
            let request = Request::Offer {
                stream_id: stream_id.clone(),
                to: to.clone(),
                offer: payload.clone(),
            };
            let got = ask(&name(s), request);
            if !model.is_host(&name(s), &stream_id) || !model.watches(&to, &stream_id) {
                return [got, vec![]];
            }
            let offer = payload;
            [got, one(to, Event::Offer { stream_id, offer })]
        }
        Step::Answer(s, index) => {
            let stream_id = model.pick(index);
            let request = Request::Answer {
                stream_id: stream_id.clone(),
                answer: payload.clone(),
            };
            let got = ask(&name(s), request);
            if !model.watches(&name(s), &stream_id) {
                return [got, vec![]];
            }
            let host = model.streams[&stream_id].0.clone();
            let answer = Event::Answer {
                stream_id,
                from: name(s),
                answer: payload,
            };
            [got, one(host, answer)]
        }
        Step::Candidate(s, index, to) => {
            let (stream_id, to) = (model.pick(index), to.map(name));
            let request = Request::Candidate {
                stream_id: stream_id.clone(),
                to: to.clone(),
                candidate: payload.clone(),
            };
            let got = ask(&name(s), request);
            let receiver = if model.is_host(&name(s), &stream_id) {
                to.filter(|to| model.watches(to, &stream_id))
            } else if model.watches(&name(s), &stream_id) {
                Some(model.streams[&stream_id].0.clone())
            } else {
                None
            };
            let event = Event::Candidate {
                stream_id,
                from: name(s),
                candidate: payload,
            };
            [got, receiver.map_or(vec![], |to| one(to, event))]
        }
        Step::End(s, index) => {
            let stream_id = model.pick(index);
            let request = Request::End {
                stream_id: stream_id.clone(),
            };
            let got = ask(&name(s), request);
            if !model.is_host(&name(s), &stream_id) {
                return [got, vec![]];
            }
            [got, model.end(&stream_id)]
        }
        Step::Refuse(s, index, to) => {
            let (stream_id, to) = (model.pick(index), name(to));
            let request = Request::RefuseViewer {
                stream_id: stream_id.clone(),
                to: to.clone(),
                reason: "full".to_owned(),
                max: None,
            };
            let got = ask(&name(s), request);
            if !model.is_host(&name(s), &stream_id) || model.leave(&to, &stream_id).is_empty() {
                return [got, vec![]];
            }
            let refused = Event::Refused {
                stream_id,
                reason: "full".to_owned(),
                max: None,
            };
            [got, one(to, refused)]
        }
        Step::Camera(s, index, camera) => {
            let stream_id = model.pick(index);
            let request = Request::Camera {
                stream_id: stream_id.clone(),
                camera,
            };
            if model.is_host(&name(s), &stream_id) {
                model.cameras.insert(stream_id, camera);
            }
            [ask(&name(s), request), vec![]]
        }
        Step::Rendition(s, index, to) => {
            let (stream_id, to) = (model.pick(index), name(to));
            let request = Request::Rendition {
                stream_id: stream_id.clone(),
                to: to.clone(),
                rendition: format!("\u{8}rendition {mark}\n"),
                reason: format!("reason {mark}") + &" ".repeat(MAX_REASON) + "cut",
            };
            let got = ask(&name(s), request);
            if !model.is_host(&name(s), &stream_id) || !model.watches(&to, &stream_id) {
                return [got, vec![]];
            }
            let rendition = Event::Rendition {
                stream_id,
                rendition: format!("rendition {mark}"),
                reason: format!("reason {mark}"),
            };
            [got, one(to, rendition)]
        }
    }
}

/// Every name is on both sides of every pair, or on none.
fn assert_sound(relay: &Relay) {
    for (stream_id, stream) in &relay.streams {
        assert_eq!(
            relay.members[&stream.host].hosts.as_ref(),
            Some(stream_id),
            "a stream's host hosts it"
        );
        assert!(!stream.viewers.contains(&stream.host));
        for viewer in &stream.viewers {
            assert!(relay.members[viewer].watches.contains(stream_id));
        }
    }
    for (socket, member) in &relay.members {
        if let Some(stream_id) = &member.hosts {
            assert_eq!(relay.streams[stream_id].host, *socket);
        }
        for stream_id in &member.watches {
            assert!(relay.streams[stream_id].viewers.contains(socket));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn nobody_speaks_for_another(steps in vec(step(), 1..120)) {
        let mut relay = Relay::new(2);
        let mut model = Model::default();
        for (mark, step) in steps.into_iter().enumerate() {
            let [got, expected] = take(&mut relay, &mut model, step.clone(), mark);
            prop_assert_eq!(got, expected, "{:?}", step);
            assert_sound(&relay);
            let counts: BTreeMap<_, _> = relay
                .list()
                .into_iter()
                .map(|listing| (listing.stream_id, (listing.viewers, listing.camera)))
                .collect();
            let model_counts: BTreeMap<_, _> = model
                .streams
                .iter()
                .map(|(id, (_, viewers))| {
                    let camera = model.cameras.get(id).copied().unwrap_or_default();
                    (id.clone(), (viewers.len(), camera))
                })
                .collect();
            prop_assert_eq!(counts, model_counts);
        }
        for index in 0..SOCKETS {
            relay.disconnect(&name(index));
        }
        prop_assert!(relay.members.is_empty() && relay.streams.is_empty());
    }
}
