use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, UNIX_EPOCH},
};

use proptest::{collection::vec, prelude::*, sample::Index};
use serde_json::json;

use super::*;

fn socket(name: &str) -> SocketId {
    SocketId(name.into())
}

fn identity(user: &str, role: Role) -> Identity {
    Identity {
        user: user.into(),
        role,
    }
}

/// A relay with its sockets, and names for streams in the order of their making.
struct Lobby {
    relay: Relay,
    made: usize,
}

impl Lobby {
    fn with(members: &[&str]) -> Self {
        let mut relay = Relay::new(2);
        for name in members {
            relay.connect(socket(name), identity(name, Role::Member));
        }
        Self { relay, made: 0 }
    }

    fn ask(&mut self, from: &str, request: Request) -> Outcome {
        let now = UNIX_EPOCH + Duration::from_secs(1_000);
        let made = &mut self.made;
        self.relay.handle(&socket(from), request, now, || {
            *made += 1;
            StreamId::new(format!("stream-{made}"))
        })
    }

    fn start(&mut self, host: &str) -> StreamId {
        let title = format!("{host}'s");
        match self.ask(host, Request::Start { title }).ack {
            Some(Ack::Started(stream_id)) => stream_id,
            other => panic!("not started: {other:?}"),
        }
    }

    fn join(&mut self, viewer: &str, stream_id: &StreamId) -> Outcome {
        let stream_id = stream_id.clone();
        self.ask(viewer, Request::Join { stream_id })
    }

    fn viewers(&self) -> Vec<usize> {
        self.relay.list().iter().map(|s| s.viewers).collect()
    }
}

fn told(to: &str, event: Event) -> Vec<Delivery> {
    vec![Delivery {
        to: socket(to),
        event,
    }]
}

#[test]
fn a_viewer_joins_talks_and_leaves() {
    let mut lobby = Lobby::with(&["host", "viewer"]);
    let stream_id = lobby.start("host");
    assert_eq!(
        lobby.join("viewer", &stream_id),
        Outcome {
            ack: Some(Ack::Done(true)),
            deliveries: told(
                "host",
                Event::ViewerJoin {
                    stream_id: stream_id.clone(),
                    viewer: socket("viewer"),
                }
            ),
        }
    );
    assert_eq!(lobby.viewers(), [1]);

    let offer = json!({ "type": "offer", "sdp": "o" });
    let offered = lobby.ask(
        "host",
        Request::Offer {
            stream_id: stream_id.clone(),
            to: socket("viewer"),
            offer: offer.clone(),
        },
    );
    assert_eq!(
        offered.deliveries,
        told(
            "viewer",
            Event::Offer {
                stream_id: stream_id.clone(),
                offer
            }
        )
    );

    let answer = json!({ "type": "answer", "sdp": "a" });
    let answered = lobby.ask(
        "viewer",
        Request::Answer {
            stream_id: stream_id.clone(),
            answer: answer.clone(),
        },
    );
    assert_eq!(
        answered.deliveries,
        told(
            "host",
            Event::Answer {
                stream_id: stream_id.clone(),
                from: socket("viewer"),
                answer,
            }
        )
    );

    let left = lobby.ask(
        "viewer",
        Request::Leave {
            stream_id: stream_id.clone(),
        },
    );
    assert_eq!(left.ack, Some(Ack::Done(true)));
    assert_eq!(
        left.deliveries,
        told(
            "host",
            Event::ViewerLeft {
                stream_id,
                viewer: socket("viewer"),
            }
        )
    );
    assert_eq!(lobby.viewers(), [0]);
}

#[test]
fn candidates_go_both_ways_and_a_viewer_cannot_choose_where() {
    let mut lobby = Lobby::with(&["host", "viewer", "other"]);
    let stream_id = lobby.start("host");
    lobby.join("viewer", &stream_id);
    lobby.join("other", &stream_id);
    let mut send = |from: &str, to: Option<&str>| {
        let request = Request::Candidate {
            stream_id: stream_id.clone(),
            to: to.map(socket),
            candidate: Value::Null,
        };
        let deliveries = lobby.ask(from, request).deliveries;
        deliveries
            .into_iter()
            .map(|d| match d.event {
                Event::Candidate { from, .. } => (d.to.0.to_string(), from.0.to_string()),
                other => panic!("{other:?}"),
            })
            .collect::<Vec<_>>()
    };
    let pair = |to: &str, from: &str| vec![(to.to_owned(), from.to_owned())];
    assert_eq!(send("host", Some("viewer")), pair("viewer", "host"));
    assert_eq!(send("viewer", None), pair("host", "viewer"));
    assert_eq!(send("viewer", Some("other")), pair("host", "viewer"));
    assert_eq!(send("host", None), []);
    assert_eq!(send("host", Some("host")), []);
    assert_eq!(send("host", Some("nobody")), []);
}

#[test]
fn a_viewers_token_lets_nobody_go_live() {
    let mut lobby = Lobby::with(&[]);
    lobby
        .relay
        .connect(socket("v"), identity("viewer-1", Role::Viewer));
    let outcome = lobby.ask(
        "v",
        Request::Start {
            title: "mine".into(),
        },
    );
    assert!(matches!(outcome.ack, Some(Ack::NotStarted(_))));
    assert_eq!(lobby.relay.list(), []);
}

#[test]
fn a_second_start_ends_the_first_stream() {
    let mut lobby = Lobby::with(&["host", "viewer"]);
    let first = lobby.start("host");
    lobby.join("viewer", &first);
    let outcome = lobby.ask(
        "host",
        Request::Start {
            title: "again".into(),
        },
    );
    assert_eq!(
        outcome.deliveries,
        told(
            "viewer",
            Event::Ended {
                stream_id: first.clone()
            }
        )
    );
    let list = lobby.relay.list();
    assert_eq!(list.len(), 1);
    assert_ne!(list[0].stream_id, first);
    assert_eq!(list[0].title, "again");
    assert_eq!(list[0].viewers, 0);
    assert_eq!(lobby.join("viewer", &first).ack, Some(Ack::Done(false)));
}

#[test]
fn a_second_join_reaches_the_host_again_and_counts_once() {
    let mut lobby = Lobby::with(&["host", "viewer"]);
    let stream_id = lobby.start("host");
    lobby.join("viewer", &stream_id);
    let again = lobby.join("viewer", &stream_id);
    assert_eq!(again.ack, Some(Ack::Done(true)));
    assert_eq!(again.deliveries.len(), 1);
    assert_eq!(lobby.viewers(), [1]);
}

#[test]
fn nobody_watches_itself_nothing_or_too_much() {
    let mut lobby = Lobby::with(&["a", "b", "c", "viewer"]);
    let streams: Vec<_> = ["a", "b", "c"].map(|host| lobby.start(host)).into();
    assert_eq!(lobby.join("a", &streams[0]).ack, Some(Ack::Done(false)));
    let none = StreamId::new("none");
    assert_eq!(lobby.join("viewer", &none).ack, Some(Ack::Done(false)));
    assert_eq!(lobby.join("viewer", &streams[0]).ack, Some(Ack::Done(true)));
    assert_eq!(lobby.join("viewer", &streams[1]).ack, Some(Ack::Done(true)));
    assert_eq!(
        lobby.join("viewer", &streams[2]).ack,
        Some(Ack::Done(false))
    );
    // Asking for a new offer of what is already watched is no further join.
    assert_eq!(lobby.join("viewer", &streams[0]).ack, Some(Ack::Done(true)));
    assert_eq!(lobby.viewers(), [1, 1, 0]);
}

#[test]
fn a_refused_viewer_is_told_why_and_is_off_the_stream() {
    let mut lobby = Lobby::with(&["host", "viewer", "stranger"]);
    let stream_id = lobby.start("host");
    lobby.join("viewer", &stream_id);
    let refuse = |reason: &str| Request::RefuseViewer {
        stream_id: stream_id.clone(),
        to: socket("viewer"),
        reason: reason.to_owned(),
        max: Some(3),
    };
    assert_eq!(
        lobby.ask("stranger", refuse("full")).deliveries,
        [],
        "only the host may"
    );
    assert_eq!(lobby.viewers(), [1]);
    let refused = lobby.ask("host", refuse("full\u{7}"));
    assert_eq!(
        refused.deliveries,
        told(
            "viewer",
            Event::Refused {
                stream_id: stream_id.clone(),
                reason: "full".into(),
                max: Some(3),
            }
        )
    );
    assert_eq!(lobby.viewers(), [0]);
    let answer = Request::Answer {
        stream_id: stream_id.clone(),
        answer: json!({}),
    };
    assert_eq!(lobby.ask("viewer", answer).deliveries, []);
    assert_eq!(lobby.ask("host", refuse("full")).deliveries, []);
    assert_eq!(lobby.join("viewer", &stream_id).ack, Some(Ack::Done(true)));
}

#[test]
fn the_end_is_told_to_the_viewers_whoever_brings_it_about() {
    let mut lobby = Lobby::with(&["host", "viewer", "other"]);
    let stream_id = lobby.start("host");
    lobby.join("viewer", &stream_id);
    let end = Request::End {
        stream_id: stream_id.clone(),
    };
    assert_eq!(lobby.ask("viewer", end.clone()), Outcome::default());
    assert_eq!(lobby.ask("other", end.clone()), Outcome::default());
    let ended = told(
        "viewer",
        Event::Ended {
            stream_id: stream_id.clone(),
        },
    );
    assert_eq!(lobby.ask("host", end.clone()).deliveries, ended);
    assert_eq!(lobby.ask("host", end).deliveries, []);

    let stream_id = lobby.start("host");
    lobby.join("viewer", &stream_id);
    let ended = told("viewer", Event::Ended { stream_id });
    assert_eq!(lobby.relay.disconnect(&socket("host")), ended);
    assert_eq!(lobby.relay.list(), []);
}

#[test]
fn the_list_is_taken_once_for_every_change() {
    let mut lobby = Lobby::with(&["host", "viewer"]);
    assert_eq!(lobby.relay.take_change(), None);
    let stream_id = lobby.start("host");
    lobby.join("viewer", &stream_id);
    let list = lobby.relay.take_change().unwrap();
    assert_eq!((list.len(), list[0].viewers), (1, 1));
    assert_eq!(&*list[0].host_user, "host");
    lobby.join("viewer", &stream_id);
    assert_eq!(lobby.relay.take_change(), None);
    lobby.relay.disconnect(&socket("viewer"));
    assert_eq!(lobby.relay.take_change().unwrap()[0].viewers, 0);
}

#[test]
fn titles_are_shown_as_they_can_be() {
    for (given, shown) in [
        ("  Front door ", "Front door".to_owned()),
        ("a\u{0}b\nc\u{1b}[31m", "abc[31m".to_owned()),
        ("", "Untitled".to_owned()),
        ("\n \t", "Untitled".to_owned()),
        (&"ä".repeat(500), "ä".repeat(MAX_TITLE)),
    ] {
        let mut lobby = Lobby::with(&["host"]);
        let title = given.to_owned();
        lobby.ask("host", Request::Start { title });
        assert_eq!(lobby.relay.list()[0].title, shown);
    }
}

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
        1 => (who.clone(), stream, who).prop_map(|(s, i, to)| Step::Refuse(s, i, to)),
    ]
}

/// What the rules say, told in another way: streams as plain sets.
#[derive(Default)]
struct Model {
    connected: BTreeMap<SocketId, Role>,
    streams: BTreeMap<StreamId, (SocketId, BTreeSet<SocketId>)>,
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
                .map(|listing| (listing.stream_id, listing.viewers))
                .collect();
            let model_counts: BTreeMap<_, _> = model
                .streams
                .iter()
                .map(|(id, (_, viewers))| (id.clone(), viewers.len()))
                .collect();
            prop_assert_eq!(counts, model_counts);
        }
        for index in 0..SOCKETS {
            relay.disconnect(&name(index));
        }
        prop_assert!(relay.members.is_empty() && relay.streams.is_empty());
    }
}
