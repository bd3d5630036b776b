//! The lobby's vocabulary: the first line is the event's name, the rest its arguments as a JSON array.
#![no_main]

use libfuzzer_sys::fuzz_target;
use perch::signaling::message::{Candidate, Incoming, Outgoing, parse_started};
use serde_json::Value;

fuzz_target!(|text: &str| {
    let Some((event, json)) = text.split_once('\n') else {
        return;
    };
    let Ok(args) = serde_json::from_str::<Vec<Value>>(json) else {
        return;
    };
    if let Err(error) = parse_started(args.clone()) {
        assert!(
            error.to_string().len() < 2000,
            "an error must fit a log line"
        );
    }
    match Incoming::parse(event, args) {
        Ok(Some(message)) => check(message),
        Ok(None) => {}
        Err(error) => assert!(
            error.to_string().len() < 2000,
            "an error must fit a log line"
        ),
    }
});

fn check(message: Incoming) {
    match message {
        Incoming::ViewerJoin { stream_id, viewer } | Incoming::ViewerLeft { stream_id, viewer } => {
            check_id(stream_id.as_str());
            check_id(viewer.as_str());
        }
        Incoming::Answer {
            stream_id,
            from,
            sdp,
        } => {
            check_id(stream_id.as_str());
            check_id(from.as_str());
            assert!(sdp.len() <= 64 * 1024);
        }
        Incoming::Candidate {
            stream_id,
            from,
            candidate,
        } => {
            check_id(stream_id.as_str());
            check_id(from.as_str());
            if let Some(candidate) = &candidate {
                check_candidate(candidate);
            }
            // What one end takes, the other end can send: the same candidate comes back.
            let sent = Outgoing::Candidate {
                stream_id: stream_id.clone(),
                to: from.clone(),
                candidate: candidate.clone(),
            };
            let (event, mut payload) = sent.to_event();
            payload["from"] = payload["to"].take();
            let expected = Incoming::Candidate {
                stream_id,
                from,
                candidate,
            };
            assert_eq!(Incoming::parse(event, vec![payload]), Ok(Some(expected)));
        }
    }
}

fn check_id(id: &str) {
    let length = id.chars().count();
    assert!((1..=128).contains(&length));
    assert!(!id.chars().any(char::is_control));
}

fn check_candidate(candidate: &Candidate) {
    assert!((1..=2048).contains(&candidate.candidate.len()));
    assert!(!candidate.candidate.starts_with("a="));
}
