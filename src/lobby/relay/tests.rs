use std::time::{Duration, UNIX_EPOCH};

use serde_json::json;

use super::*;

pub(super) fn socket(name: &str) -> SocketId {
    SocketId(name.into())
}

pub(super) fn identity(user: &str, role: Role) -> Identity {
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

#[test]
fn only_its_host_says_what_a_streams_viewers_are_shown() {
    let mut lobby = Lobby::with(&["host", "viewer", "other"]);
    let stream_id = lobby.start("host");
    lobby.start("other");
    lobby.join("viewer", &stream_id);
    lobby.relay.take_change();
    let mut say = |from: &str, camera| {
        let stream_id = stream_id.clone();
        let outcome = lobby.ask(from, Request::Camera { stream_id, camera });
        assert_eq!(outcome, Outcome::default(), "the list is what tells it");
        let list = lobby.relay.take_change()?;
        let shown = |user: &str| {
            let mut lines = list.iter();
            lines.find(|line| &*line.host_user == user).unwrap().camera
        };
        Some((shown("host"), shown("other")))
    };
    for stranger in ["viewer", "other", "nobody"] {
        assert_eq!(say(stranger, Shown::Lost), None, "{stranger}");
    }
    assert_eq!(say("host", Shown::Lost), Some((Shown::Lost, Shown::Live)));
    assert_eq!(say("host", Shown::Lost), None, "it is no news");
    assert_eq!(say("other", Shown::Live), None);
    assert_eq!(say("host", Shown::Live), Some((Shown::Live, Shown::Live)));
}

#[test]
fn only_its_host_tells_a_viewer_which_rendition_it_is_sent() {
    let mut lobby = Lobby::with(&["host", "viewer", "other", "stranger"]);
    let stream_id = lobby.start("host");
    let others = lobby.start("other");
    lobby.join("viewer", &stream_id);
    lobby.relay.take_change();
    let mut tell = |from: &str, stream_id: &StreamId, to: &str| {
        let request = Request::Rendition {
            stream_id: stream_id.clone(),
            to: socket(to),
            rendition: " second\u{7}\n".into(),
            reason: "ä\u{1b}".repeat(500),
        };
        let outcome = lobby.ask(from, request);
        assert_eq!(outcome.ack, None);
        outcome.deliveries
    };
    let rendition = Event::Rendition {
        stream_id: stream_id.clone(),
        rendition: "second".into(),
        reason: "ä".repeat(MAX_REASON),
    };
    assert_eq!(
        tell("host", &stream_id, "viewer"),
        told("viewer", rendition)
    );
    for from in ["viewer", "other", "stranger"] {
        assert_eq!(
            tell(from, &stream_id, "viewer"),
            [],
            "{from} is not its host"
        );
    }
    assert_eq!(tell("other", &others, "viewer"), [], "it watches another");
    for to in ["host", "stranger", "nobody"] {
        assert_eq!(tell("host", &stream_id, to), [], "{to} does not watch");
    }
    let none = StreamId::new("none");
    assert_eq!(tell("host", &none, "viewer"), []);
    assert_eq!(
        lobby.relay.take_change(),
        None,
        "it is nobody else's concern"
    );
}
