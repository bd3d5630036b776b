use proptest::prelude::*;

use super::*;

fn parse(event: &str, payload: Value) -> Result<Option<Incoming>, MessageError> {
    Incoming::parse(event, vec![payload])
}

fn stream() -> StreamId {
    StreamId::new("s1")
}

fn viewer() -> ViewerId {
    ViewerId::new("v1")
}

fn candidate_of(payload: Value) -> Option<Candidate> {
    let message = json!({"streamId": "s1", "from": "v1", "candidate": payload});
    match parse(SIGNAL_ICE, message).unwrap().unwrap() {
        Incoming::Candidate { candidate, .. } => candidate,
        other => panic!("not a candidate: {other:?}"),
    }
}

#[test]
fn reads_joins_and_leaves_with_fields_that_it_does_not_know() {
    let payload = json!({"streamId": "s1", "viewerSocketId": "v1", "name": "Ann", "x": [1]});
    assert_eq!(
        parse(VIEWER_JOIN, payload.clone()),
        Ok(Some(Incoming::ViewerJoin {
            stream_id: stream(),
            viewer: viewer()
        }))
    );
    assert_eq!(
        parse(VIEWER_LEFT, payload),
        Ok(Some(Incoming::ViewerLeft {
            stream_id: stream(),
            viewer: viewer()
        }))
    );
}

#[test]
fn a_join_without_a_viewer_is_an_error_that_names_the_field() {
    let error = parse(VIEWER_JOIN, json!({"streamId": "s1"})).unwrap_err();
    assert!(error.to_string().contains("viewerSocketId"), "{error}");
    assert_eq!(
        Incoming::parse(VIEWER_JOIN, vec![]),
        Err(MessageError::NoPayload { event: VIEWER_JOIN })
    );
}

#[test]
fn ids_are_bounded_and_printable() {
    let join = |id: &str| parse(VIEWER_JOIN, json!({"streamId": "s1", "viewerSocketId": id}));
    for bad in ["", "a\nb", "\u{7f}", &"x".repeat(LONGEST_ID + 1)] {
        assert_eq!(
            join(bad),
            Err(MessageError::Id {
                event: VIEWER_JOIN,
                field: "viewerSocketId"
            }),
            "{bad:?}"
        );
    }
    assert!(join(&"é".repeat(LONGEST_ID)).is_ok());
}

#[test]
fn reads_answers_with_and_without_a_type_and_refuses_other_types() {
    let answer = |description| {
        parse(
            SIGNAL_ANSWER,
            json!({"streamId": "s1", "from": "v1", "answer": description}),
        )
    };
    let expected = Ok(Some(Incoming::Answer {
        stream_id: stream(),
        from: viewer(),
        sdp: "v=0".into(),
    }));
    assert_eq!(answer(json!({"type": "answer", "sdp": "v=0"})), expected);
    assert_eq!(answer(json!({"sdp": "v=0"})), expected);
    assert!(matches!(
        answer(json!({"type": "offer", "sdp": "v=0"})),
        Err(MessageError::NotAnAnswer { .. })
    ));
    assert!(matches!(
        answer(json!({"sdp": "x".repeat(LONGEST_SDP + 1)})),
        Err(MessageError::TooLong { field: "sdp", .. })
    ));
    assert!(answer(json!("v=0")).is_err());
    assert!(answer(Value::Null).is_err());
}

#[test]
fn reads_a_browsers_candidate() {
    let got = candidate_of(json!({
        "candidate": "candidate:1 1 udp 2113937151 3f4.local 50000 typ host",
        "sdpMid": "0", "sdpMLineIndex": 0, "usernameFragment": "ab12",
    }));
    assert_eq!(
        got,
        Some(Candidate {
            candidate: "candidate:1 1 udp 2113937151 3f4.local 50000 typ host".into(),
            sdp_mid: Some("0".into()),
            sdp_mline_index: Some(0),
            username_fragment: Some("ab12".into()),
        })
    );
}

#[test]
fn reads_a_candidate_of_which_only_the_line_makes_sense() {
    let bare = Some(Candidate {
        candidate: "candidate:x".into(),
        sdp_mid: None,
        sdp_mline_index: None,
        username_fragment: None,
    });
    assert_eq!(candidate_of(json!({"candidate": "candidate:x"})), bare);
    assert_eq!(
        candidate_of(
            json!({"candidate": "a=candidate:x\r\n", "sdpMid": null, "sdpMLineIndex": -1, "usernameFragment": null})
        ),
        bare
    );
}

#[test]
fn every_way_to_end_the_candidates_is_none() {
    assert_eq!(candidate_of(Value::Null), None);
    assert_eq!(candidate_of(json!({"candidate": ""})), None);
    assert_eq!(
        candidate_of(json!({"candidate": null, "sdpMid": "0"})),
        None
    );
    let absent = parse(SIGNAL_ICE, json!({"streamId": "s1", "from": "v1"}));
    assert!(matches!(
        absent,
        Ok(Some(Incoming::Candidate {
            candidate: None,
            ..
        }))
    ));
}

#[test]
fn long_candidates_are_refused() {
    let payload =
        json!({"streamId": "s", "from": "v", "candidate": {"candidate": "x".repeat(3000)}});
    assert!(matches!(
        parse(SIGNAL_ICE, payload),
        Err(MessageError::TooLong {
            field: "candidate",
            ..
        })
    ));
}

#[test]
fn chatter_is_ignored() {
    for event in ["live:update", "user:online", "live:ended", ""] {
        assert_eq!(Incoming::parse(event, vec![json!([{}])]), Ok(None));
        assert_eq!(Incoming::parse(event, vec![]), Ok(None));
    }
}

#[test]
fn an_error_does_not_carry_the_whole_payload() {
    let error = parse(VIEWER_JOIN, Value::from("x".repeat(100_000))).unwrap_err();
    assert!(error.to_string().len() < 400);
}

#[test]
fn reads_the_answers_to_live_start() {
    let started = |reply| parse_started(vec![reply]);
    let fine = Ok(stream());
    assert_eq!(started(json!({"ok": true, "streamId": "s1"})), fine);
    assert_eq!(started(json!({"streamId": "s1", "extra": 1})), fine);
    assert_eq!(
        started(json!({"ok": false, "error": "banned"})),
        Err(StartError::Refused("banned".into()))
    );
    assert_eq!(
        started(json!({"error": "banned"})),
        Err(StartError::Refused("banned".into()))
    );
    assert!(matches!(
        started(Value::Bool(false)),
        Err(StartError::Refused(_))
    ));
    for unusable in [json!(null), json!({"ok": true}), json!({"streamId": ""})] {
        assert!(matches!(started(unusable), Err(StartError::Unusable(_))));
    }
    assert!(matches!(
        parse_started(vec![]),
        Err(StartError::Unusable(_))
    ));
}

#[test]
fn sends_exactly_what_the_protocol_names() {
    let offer = Outgoing::Offer {
        stream_id: stream(),
        to: viewer(),
        sdp: "v=0\r\n".into(),
    };
    assert_eq!(
        offer.to_event(),
        (
            "live:signal-offer",
            json!({"streamId": "s1", "to": "v1", "offer": {"type": "offer", "sdp": "v=0\r\n"}})
        )
    );
    let refused = Outgoing::ViewerRefused {
        stream_id: stream(),
        to: viewer(),
        reason: Refusal::Full { max: 4 },
    };
    assert_eq!(
        refused.to_event(),
        (
            "live:viewer-refused",
            json!({"streamId": "s1", "to": "v1", "reason": "full", "max": 4})
        )
    );
    let camera = Outgoing::Camera {
        stream_id: stream(),
        camera: Shown::Lost,
    };
    assert_eq!(
        camera.to_event(),
        ("live:camera", json!({"streamId": "s1", "camera": "lost"}))
    );
    let rendition = Outgoing::Rendition {
        stream_id: stream(),
        to: viewer(),
        rendition: "second",
        reason: "loss",
    };
    assert_eq!(
        rendition.to_event(),
        (
            "live:rendition",
            json!({"streamId": "s1", "to": "v1", "rendition": "second", "reason": "loss"})
        )
    );
    let end = Outgoing::Candidate {
        stream_id: stream(),
        to: viewer(),
        candidate: None,
    };
    assert_eq!(
        end.to_event(),
        (
            "live:signal-ice",
            json!({"streamId": "s1", "to": "v1",
                "candidate": {"candidate": "", "sdpMid": null, "sdpMLineIndex": 0}})
        )
    );
}

proptest! {
    #[test]
    fn a_candidate_that_is_sent_is_read_back(
        line in "candidate:[ -~]{0,80}[!-~]", mid in proptest::option::of("[a-z0-9]{0,8}"),
        index in any::<Option<u16>>(), fragment in proptest::option::of("[a-zA-Z0-9+/]{4,30}"),
    ) {
        let candidate = Candidate {
            candidate: line,
            sdp_mid: mid,
            sdp_mline_index: index,
            username_fragment: fragment,
        };
        let (_, payload) = Outgoing::Candidate {
            stream_id: stream(),
            to: viewer(),
            candidate: Some(candidate.clone()),
        }
        .to_event();
        prop_assert_eq!(candidate_of(payload["candidate"].clone()), Some(candidate));
    }
}
