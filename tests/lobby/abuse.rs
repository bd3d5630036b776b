//! Sockets that do not behave, and everybody else's peace.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use async_tungstenite::tungstenite::Message;
use perch::lobby::{Limits, Rate};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::wire::{Line, SOON, lobby, pair};

/// A round trip between host and viewer.
async fn still_talk(host: &mut Line, viewer: &mut Line, stream: &str) {
    let answer = json!({ "streamId": stream, "answer": { "type": "answer", "sdp": "still here" } });
    viewer.emit("live:signal-answer", answer).await;
    let heard = host.event("live:signal-answer").await;
    assert_eq!(heard["answer"]["sdp"], "still here");
    assert_eq!(heard["from"], viewer.id.as_str());
}

#[tokio::test]
async fn strangers_reach_nobody() {
    let lobby = lobby(Limits::default()).await;
    let (mut host, mut viewer, stream) = pair(lobby.addr()).await;
    let mut stranger = Line::member(lobby.addr(), "stranger").await;
    // Somebody with a stream of their own has no more rights in another's.
    stranger.ask("live:start", json!({ "title": "mine" })).await;
    let sdp = json!({ "type": "offer", "sdp": "evil" });
    for (event, payload) in [
        (
            "live:signal-offer",
            json!({ "streamId": stream, "to": viewer.id, "offer": sdp }),
        ),
        (
            "live:signal-answer",
            json!({ "streamId": stream, "answer": sdp, "from": viewer.id }),
        ),
        (
            "live:signal-answer",
            json!({ "streamId": stream, "answer": sdp, "to": viewer.id }),
        ),
        (
            "live:signal-ice",
            json!({ "streamId": stream, "to": viewer.id, "candidate": null }),
        ),
        (
            "live:signal-ice",
            json!({ "streamId": stream, "candidate": null, "from": viewer.id }),
        ),
        (
            "live:viewer-refused",
            json!({ "streamId": stream, "to": viewer.id, "reason": "full" }),
        ),
        ("live:leave", json!({ "streamId": stream })),
        ("live:end", json!({ "streamId": stream })),
        (
            "live:viewer-join",
            json!({ "streamId": stream, "viewerSocketId": viewer.id }),
        ),
        ("live:ended", json!({ "streamId": stream })),
        ("live:update", json!([])),
    ] {
        stranger.emit(event, payload).await;
    }
    assert_eq!(stranger.heard().await, []);
    assert_eq!(host.heard().await, []);
    assert_eq!(viewer.heard().await, []);

    // A viewer neither ends the stream nor talks to its fellow.
    let mut fellow = Line::viewer(lobby.addr(), "fellow").await;
    fellow.ask("live:join", json!({ "streamId": stream })).await;
    host.event("live:viewer-join").await;
    fellow.emit("live:end", json!({ "streamId": stream })).await;
    let offer = json!({ "streamId": stream, "to": viewer.id, "offer": sdp });
    fellow.emit("live:signal-offer", offer).await;
    assert_eq!(fellow.heard().await, []);
    assert_eq!(viewer.heard().await, []);
    still_talk(&mut host, &mut viewer, &stream).await;
}

#[tokio::test]
async fn garbage_harms_at_most_its_sender() {
    let panics = count_panics();
    let lobby = lobby(Limits::default()).await;
    let (mut host, mut viewer, stream) = pair(lobby.addr()).await;
    let deep = format!("42{}{}", r#"["live:join","#, "[".repeat(30_000));
    let nested = format!(
        r#"42["live:join",{}{}]"#,
        r#"{"streamId":"#.repeat(1000),
        format_args!("1{}", "}".repeat(1000))
    );
    for garbage in [
        "",
        "9",
        "4",
        "42",
        "42[",
        "42[]",
        "42[1]",
        "42{}",
        "42null",
        "42[null,{}]",
        r#"42["live:join"]"#,
        r#"42["live:join",null]"#,
        r#"42["live:join","s"]"#,
        r#"42["live:join",{"streamId":{}}]"#,
        r#"42["live:start",7]"#,
        r#"42["live:start",{"title":{}}]"#,
        r#"42["\u006cive:list"]"#,
        r#"42/other,["live:list"]"#,
        r#"40/other,{}"#,
        "41/other,",
        "43",
        "431[]",
        "43-1[]",
        r#"4299999999999999999999["live:list"]"#,
        "44",
        r#"44{"message":"no"}"#,
        r#"451-["live:join",{"_placeholder":true,"num":0}]"#,
        r#"45999999-["live:join",{"_placeholder":true,"num":0}]"#,
        "46",
        "5",
        "6",
        "1",
        "0{}",
        "\u{0}",
        &deep,
        &nested,
    ] {
        let mut line = Line::viewer(lobby.addr(), "garbler").await;
        line.write(garbage).await;
        // Whether it is thrown out or borne is the lobby's choice; that it lives on is not.
        let _ = line.try_write(r#"42["live:list"]"#).await;
        drop(line);
    }
    let mut line = Line::viewer(lobby.addr(), "binary").await;
    for bytes in [vec![], vec![0; 10], vec![0xff; 1000]] {
        let _ = line.frames.send(Message::binary(bytes)).await;
    }
    still_talk(&mut host, &mut viewer, &stream).await;
    assert_eq!(host.heard().await, []);
    assert_eq!(panics.load(Ordering::SeqCst), 0);
}

/// Panics from now on, in whatever task: the runtime would hide them.
fn count_panics() -> &'static AtomicUsize {
    static PANICS: AtomicUsize = AtomicUsize::new(0);
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        PANICS.fetch_add(1, Ordering::SeqCst);
        report(info);
    }));
    &PANICS
}

#[tokio::test]
async fn an_oversize_message_closes_its_sender_alone() {
    let limits = Limits::default();
    let lobby = lobby(limits).await;
    let (mut host, mut viewer, stream) = pair(lobby.addr()).await;
    let mut large = Line::viewer(lobby.addr(), "large").await;
    let answer = json!({ "sdp": "x".repeat(limits.payload) });
    let text = json!(["live:signal-answer", { "streamId": stream, "answer": answer }]);
    // The write may already meet the closed connection.
    let _ = large.try_write(&format!("42{text}")).await;
    large.closed().await;
    still_talk(&mut host, &mut viewer, &stream).await;
}

#[tokio::test]
async fn too_much_is_dropped_and_a_flood_is_closed() {
    let limits = Limits {
        viewer_rate: Rate {
            burst: 20.0,
            per_second: 0.01,
        },
        ..Limits::default()
    };
    let lobby = lobby(limits).await;
    let (mut host, mut viewer, stream) = pair(lobby.addr()).await;
    let candidate = json!(["live:signal-ice", { "streamId": stream, "candidate": null }]);
    let text = format!("42{candidate}");
    let mut sent = 0;
    while sent < 100_000 && viewer.try_write(&text).await.is_ok() {
        sent += 1;
    }
    host.event("live:viewer-left").await;
    let heard = host.heard().await;
    let relayed = heard.iter().filter(|(e, _)| e == "live:signal-ice").count();
    assert_eq!(relayed, 15, "twenty, of which the join took five");
    let mut next = Line::viewer(lobby.addr(), "next").await;
    let joined = next.ask("live:join", json!({ "streamId": stream })).await;
    assert_eq!(joined, true, "others are not held to account");
}

#[tokio::test]
async fn who_does_not_read_is_closed_and_holds_up_nobody() {
    let limits = Limits {
        queue: 16,
        ..Limits::default()
    };
    let lobby = lobby(limits).await;
    let (mut host, mut viewer, stream) = pair(lobby.addr()).await;
    let mut lazy = Line::narrow_viewer(lobby.addr()).await;
    lazy.ask("live:join", json!({ "streamId": stream })).await;
    host.event("live:viewer-join").await;
    let offer = json!({ "type": "offer", "sdp": "x".repeat(60_000) });
    let offer = json!({ "streamId": stream, "to": lazy.id, "offer": offer });
    for _ in 0..150 {
        host.emit("live:signal-offer", offer.clone()).await;
    }
    assert_eq!(
        host.event("live:viewer-left").await["viewerSocketId"],
        lazy.id.as_str()
    );
    still_talk(&mut host, &mut viewer, &stream).await;
}

#[tokio::test]
async fn connections_are_counted() {
    let limits = Limits {
        connections: 2,
        ..Limits::default()
    };
    let lobby = lobby(limits).await;
    let (mut host, viewer, stream) = pair(lobby.addr()).await;
    let mut third = TcpStream::connect(lobby.addr()).await.unwrap();
    let mut nothing = [0; 1];
    let end = timeout(SOON, third.read(&mut nothing)).await.unwrap();
    assert!(matches!(end, Ok(0) | Err(_)), "turned away: {end:?}");
    assert_eq!(lobby.connections(), 2);

    drop(viewer);
    host.event("live:viewer-left").await;
    let free = async {
        while lobby.connections() > 1 {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, free).await.expect("the place is free");
    let mut next = Line::viewer(lobby.addr(), "next").await;
    assert_eq!(
        next.ask("live:join", json!({ "streamId": stream })).await,
        Value::Bool(true)
    );
}

/// A byte now and then is no idleness, and still the request has to come to an end.
#[tokio::test]
async fn whoever_dawdles_at_the_door_is_put_out() {
    let limits = Limits {
        entrance: Duration::from_secs(1),
        ..Limits::default()
    };
    let lobby = lobby(limits).await;
    let slow_head = "GET / HTTP/1.1\r\nx-slow: ";
    let slow_body = "POST /api/token HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n\
                     content-length: 1000\r\n\r\n";
    for start in [slow_head, slow_body] {
        let (mut from, mut to) = TcpStream::connect(lobby.addr()).await.unwrap().into_split();
        let drip = async {
            let mut tick = tokio::time::interval(Duration::from_millis(50));
            let mut sent = to.write_all(start.as_bytes()).await;
            while sent.is_ok() {
                tick.tick().await;
                sent = to.write_all(b"x").await;
            }
        };
        let mut reply = Vec::new();
        let end = from.read_to_end(&mut reply);
        timeout(SOON, async {
            tokio::select! { () = drip => {}, _ = end => {} }
        })
        .await
        .expect("put out in time");
    }
    let empty = async {
        while lobby.connections() > 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, empty).await.expect("their places are free");
}

/// The clock at the door is for strangers.
#[tokio::test]
async fn whoever_has_a_token_may_be_silent() {
    let limits = Limits {
        entrance: Duration::from_secs(1),
        ..Limits::default()
    };
    let lobby = lobby(limits).await;
    let (mut host, mut viewer, stream) = pair(lobby.addr()).await;
    // A stranger that came later is put out: the clock of the two would have run out before.
    let mut stranger = TcpStream::connect(lobby.addr()).await.unwrap();
    let end = timeout(SOON, stranger.read(&mut [0; 1])).await.unwrap();
    assert!(matches!(end, Ok(0) | Err(_)), "put out: {end:?}");
    still_talk(&mut host, &mut viewer, &stream).await;
}
