//! A conversation in the embedded lobby. Each line is a socket's digit and what it sends: an event's name, a
//! blank and its payload as JSON. `+` alone connects the socket, `*` with a token that may only watch, `-` takes
//! it away. The n-th stream to begin is called `stream-n`, a socket `socket-` and its digit.
#![no_main]

use std::{
    collections::BTreeSet,
    time::{Duration, UNIX_EPOCH},
};

use libfuzzer_sys::fuzz_target;
use perch::{
    lobby::{
        relay::{Ack, Delivery, Event, Identity, MAX_TITLE, Relay, Role, SocketId},
        wire,
    },
    signaling::message::{Incoming, StreamId, parse_started},
};
use serde_json::Value;

const JOINS: usize = 2;

fuzz_target!(|script: &str| {
    let mut relay = Relay::new(JOINS);
    let mut connected = BTreeSet::new();
    let mut started = 0;
    for line in script.split('\n') {
        let Some((digit @ '0'..='9', said)) = first(line) else {
            continue;
        };
        let socket = SocketId(format!("socket-{digit}").into());
        let deliveries = match said {
            "+" | "*" => {
                let role = if said == "*" {
                    Role::Viewer
                } else {
                    Role::Member
                };
                let user = "user".into();
                relay.connect(socket.clone(), Identity { user, role });
                connected.insert(socket.clone());
                Vec::new()
            }
            "-" => {
                connected.remove(&socket);
                relay.disconnect(&socket)
            }
            _ => {
                let (name, json) = said.split_once(' ').unwrap_or((said, "null"));
                let Ok(payload) = serde_json::from_str::<Value>(json) else {
                    continue;
                };
                let Some(request) = wire::request(name, &payload) else {
                    continue;
                };
                let now = UNIX_EPOCH + Duration::from_secs(started);
                let outcome = relay.handle(&socket, request, now, || {
                    started += 1;
                    StreamId::new(format!("stream-{started}"))
                });
                if let Some(ack) = outcome.ack {
                    answered(ack);
                }
                outcome.deliveries
            }
        };
        for delivery in deliveries {
            delivered(&socket, delivery, &connected);
        }
        let list = relay.list();
        assert!(list.len() <= connected.len(), "a stream without a host");
        for stream in &list {
            assert!(stream.viewers < connected.len(), "a viewer who is gone");
            assert!((1..=MAX_TITLE).contains(&stream.title.chars().count()));
            assert!(!stream.title.chars().any(char::is_control));
        }
        assert_eq!(wire::list(&list).as_array().map(Vec::len), Some(list.len()));
    }
    for socket in &connected {
        relay.disconnect(socket);
    }
    assert!(relay.list().is_empty(), "something is kept of who is gone");
});

fn first(line: &str) -> Option<(char, &str)> {
    let mut characters = line.chars();
    Some((characters.next()?, characters.as_str()))
}

/// Nobody speaks for another, and the host of this program takes what the lobby says of viewers.
fn delivered(from: &SocketId, delivery: Delivery, connected: &BTreeSet<SocketId>) {
    let Delivery { to, event } = delivery;
    assert!(connected.contains(&to), "told to somebody who is gone");
    match &event {
        Event::ViewerJoin { viewer, .. } | Event::ViewerLeft { viewer, .. } => {
            assert_eq!(viewer, from);
        }
        Event::Answer { from: named, .. } | Event::Candidate { from: named, .. } => {
            assert_eq!(named, from);
        }
        Event::Offer { .. } | Event::Ended { .. } => {}
        Event::Refused { reason, .. } => assert!(is_clean(reason)),
        Event::Rendition {
            rendition, reason, ..
        } => assert!(is_clean(rendition) && is_clean(reason)),
    }
    assert_ne!(&to, from, "nobody is told what they did themselves");
    let of_a_viewer = matches!(event, Event::ViewerJoin { .. } | Event::ViewerLeft { .. });
    let (name, payload) = wire::event(event);
    let understood = Incoming::parse(name, vec![payload]);
    if of_a_viewer {
        assert!(matches!(understood, Ok(Some(_))), "{understood:?}");
    }
}

/// As it may be shown.
fn is_clean(text: &str) -> bool {
    !text.chars().any(char::is_control) && text.trim() == text
}

fn answered(ack: Ack) {
    let expected = match &ack {
        Ack::Started(stream_id) => Some(Ok(stream_id.clone())),
        Ack::NotStarted(_) => Some(Err(())),
        Ack::List(_) | Ack::Done(_) => None,
    };
    let payload = wire::ack(ack);
    if let Some(expected) = expected {
        assert_eq!(parse_started(vec![payload]).map_err(drop), expected);
    }
}
