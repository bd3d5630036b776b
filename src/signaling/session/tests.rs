//! What transcripts do not show: properties, limits and secrets. Whole conversations are in tests/golden/session/.

use proptest::prelude::*;

use super::*;

const OPEN: &str =
    r#"0{"sid":"e1","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":200}"#;

fn outputs(session: &mut Session) -> Vec<Output> {
    std::iter::from_fn(|| session.poll()).collect()
}

fn connected(now: Instant) -> Session {
    let mut session = Session::new(now, Some(Secret::new("a.b.c")));
    session.text(now, OPEN);
    session.text(now, r#"40{"sid":"s1"}"#);
    outputs(&mut session);
    session
}

#[test]
fn the_token_is_in_the_frame_and_in_no_debug_text() {
    let now = Instant::now();
    let mut session = Session::new(now, Some(Secret::new("very-secret")));
    assert!(!format!("{session:?}").contains("very-secret"));
    session.text(now, OPEN);
    assert!(!format!("{session:?}").contains("very-secret"));
    let Some(Output::Send(frame)) = session.poll() else {
        panic!("no CONNECT");
    };
    assert_eq!(frame.as_str(), r#"40{"token":"very-secret"}"#);
}

#[test]
fn a_refusal_that_quotes_the_token_or_breaks_the_line_is_cleaned() {
    let now = Instant::now();
    let mut session = Session::new(now, None);
    session.text(now, OPEN);
    outputs(&mut session);
    let long = "x".repeat(1000);
    session.text(
        now,
        &format!(r#"44{{"message":"bad token eyJhbGciOi.J9.x\n{long}"}}"#),
    );
    let [Output::Ended(End::Refused { message })] = &outputs(&mut session)[..] else {
        panic!("not refused");
    };
    assert!(message.starts_with("bad token (token) xxx"), "{message}");
    assert_eq!(message.chars().count(), 200);
}

#[test]
fn frames_larger_than_the_servers_limit_are_not_sent() {
    let now = Instant::now();
    let mut session = connected(now);
    let fits = "x".repeat(200 - r#"42["e",""]"#.len());
    assert_eq!(session.emit("e", vec![json!(fits)]), Ok(()));
    assert_eq!(
        session.emit("e", vec![json!(fits + "x")]),
        Err(EmitError::TooLarge {
            size: 201,
            max: 200
        })
    );
    let sent = outputs(&mut session);
    assert!(matches!(&sent[..], [Output::Send(frame)] if frame.as_str().len() == 200));
}

#[test]
fn an_emit_that_failed_takes_no_acknowledgement_id() {
    let now = Instant::now();
    let mut session = connected(now);
    let timeout = Duration::from_secs(1);
    let long = vec![json!("x".repeat(300))];
    assert!(session.emit_with_ack(now, "e", long, timeout).is_err());
    assert_eq!(session.emit_with_ack(now, "e", vec![], timeout), Ok(0));
    assert_eq!(session.deadline(), Some(now + timeout));
}

#[test]
fn awaited_acknowledgements_are_bounded() {
    let now = Instant::now();
    let mut session = connected(now);
    let timeout = Duration::from_secs(1);
    for _ in 0..MAX_PENDING_ACKS {
        session.emit_with_ack(now, "e", vec![], timeout).unwrap();
    }
    assert_eq!(
        session.emit_with_ack(now, "e", vec![], timeout),
        Err(EmitError::TooManyAcks)
    );
    outputs(&mut session);
    session.tick(now + timeout);
    assert_eq!(outputs(&mut session).len(), MAX_PENDING_ACKS);
    assert!(session.emit_with_ack(now, "e", vec![], timeout).is_ok());
}

#[test]
fn nothing_is_emitted_before_and_after_the_connection() {
    let now = Instant::now();
    let mut session = Session::new(now, None);
    assert_eq!(session.emit("e", vec![]), Err(EmitError::NotConnected));
    session.text(now, OPEN);
    assert_eq!(session.emit("e", vec![]), Err(EmitError::NotConnected));
    session.text(now, "40");
    assert_eq!(session.emit("e", vec![]), Ok(()));
    session.text(now, "41");
    assert_eq!(session.emit("e", vec![]), Err(EmitError::NotConnected));
}

#[derive(Debug, Clone)]
enum Step {
    Text(String),
    Binary,
    Wait(u64),
    Emit,
    EmitWithAck(u64),
    Close,
}

fn step() -> impl Strategy<Value = Step> {
    let frame = prop_oneof![
        4 => prop::sample::select(vec![
            OPEN, "2", "3", "6", "5", "40", r#"40{"sid":"x"}"#, r#"42["e",{"a":1}]"#, r#"427["e"]"#,
            "430[]", "431[true]", "439[]", r#"451-["b",{"_placeholder":true,"num":0}]"#,
            r#"42/other,["x"]"#, "42[", "42{}", "0{", "9", "",
        ]).prop_map(str::to_owned),
        1 => prop::sample::select(vec!["1", "41", r#"44{"message":"no"}"#]).prop_map(str::to_owned),
        1 => "[0-6][0-6]?\\PC{0,20}",
    ];
    prop_oneof![
        6 => frame.prop_map(Step::Text),
        1 => Just(Step::Binary),
        2 => (0..50_000u64).prop_map(Step::Wait),
        1 => Just(Step::Emit),
        2 => (1..20_000u64).prop_map(Step::EmitWithAck),
        1 => Just(Step::Close),
    ]
}

proptest! {
    /// Whatever comes, in whatever order: the end is announced once and is the last output, every
    /// acknowledgement that was asked for is answered at most once, and the deadline is never one that
    /// a tick has just dealt with.
    #[test]
    fn any_sequence_keeps_the_promises(steps in prop::collection::vec(step(), 0..60), opened: bool) {
        let mut now = Instant::now();
        let mut session = if opened { connected(now) } else { Session::new(now, None) };
        let mut asked = std::collections::BTreeSet::new();
        let mut ended = false;
        for step in steps {
            match step {
                Step::Text(frame) => session.text(now, &frame),
                Step::Binary => session.binary(),
                Step::Wait(millis) => {
                    now += Duration::from_millis(millis);
                    session.tick(now);
                    prop_assert!(session.deadline().is_none_or(|deadline| deadline > now));
                }
                Step::Emit => drop(session.emit("e", vec![])),
                Step::EmitWithAck(millis) => {
                    let timeout = Duration::from_millis(millis);
                    if let Ok(id) = session.emit_with_ack(now, "e", vec![], timeout) {
                        prop_assert!(asked.insert(id));
                    }
                }
                Step::Close => session.close(),
            }
            for output in outputs(&mut session) {
                prop_assert!(!ended, "{output:?} after the end");
                match output {
                    Output::Ack { id, .. } | Output::AckTimeout { id } => {
                        prop_assert!(asked.remove(&id));
                    }
                    Output::Ended(_) => ended = true,
                    _ => {}
                }
            }
            prop_assert_eq!(session.deadline().is_none(), ended);
        }
    }
}
