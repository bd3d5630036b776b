//! Sockets that go, in every way that a socket can go, and the lobby that stops.

use std::time::Duration;

use perch::lobby::{Limits, Lobby, start};
use serde_json::{Value, json};
use tokio::{io::AsyncReadExt, net::TcpStream, time::timeout};

use crate::wire::{Line, SOON, lobby, pair, settings};

/// Waits until the lobby has forgotten everybody.
async fn emptied(lobby: &Lobby) {
    let empty = async {
        while lobby.census() != (0, 0) || lobby.connections() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, empty)
        .await
        .unwrap_or_else(|_| panic!("{:?} and {} stay", lobby.census(), lobby.connections()));
}

#[tokio::test]
async fn a_hosts_end_is_told_at_once_and_a_viewers_end_too() {
    let lobby = lobby(Limits::default()).await;
    let (host, mut viewer, stream) = pair(lobby.addr()).await;
    drop(host);
    assert_eq!(
        viewer.event("live:ended").await,
        json!({ "streamId": stream })
    );

    let (mut host, viewer, stream) = pair(lobby.addr()).await;
    let id = viewer.id.clone();
    drop(viewer);
    assert_eq!(
        host.event("live:viewer-left").await,
        json!({ "streamId": stream, "viewerSocketId": id })
    );
}

#[tokio::test]
async fn leaving_the_namespace_is_leaving() {
    let lobby = lobby(Limits::default()).await;
    let (mut host, mut viewer, stream) = pair(lobby.addr()).await;
    // And coming back over the same connection, in one breath, is not possible.
    let token = crate::wire::token(json!({ "id": "again" }), 600);
    viewer.write("41").await;
    let connect = format!("40{}", json!({ "token": token }));
    // Either may fail: the connection is being closed.
    let _ = viewer.try_write(&connect).await;
    let _ = viewer.try_write(r#"42["live:list"]"#).await;
    let left = host.event("live:viewer-left").await;
    assert_eq!(
        left,
        json!({ "streamId": stream, "viewerSocketId": viewer.id })
    );
    drop((host, viewer));
    emptied(&lobby).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_of_hundreds_of_sockets_that_went_half_way() {
    let lobby = lobby(Limits::default()).await;
    let (mut host, viewer, stream) = pair(lobby.addr()).await;
    let join = json!(["live:join", { "streamId": stream }]);
    for round in 0..200 {
        let addr = lobby.addr();
        match round % 5 {
            // Not even HTTP.
            0 => drop(TcpStream::connect(addr).await.unwrap()),
            // Gone before the token is looked at, or just after.
            1 | 2 => {
                let mut line = Line::open(addr).await;
                let token = crate::wire::token(json!({ "id": "hasty" }), 600);
                line.write(&format!("40{}", json!({ "token": token })))
                    .await;
                if round % 2 == 0 {
                    line.write(&format!("42{join}")).await;
                }
            }
            3 => drop(Line::viewer(addr, "quiet").await),
            _ => {
                let mut line = Line::member(addr, "busy").await;
                line.ask("live:start", json!({ "title": "short" })).await;
                line.ask("live:join", json!({ "streamId": stream })).await;
            }
        }
    }
    let alone = async {
        while lobby.census() != (2, 1) || lobby.connections() > 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, alone).await.expect("the others are gone");
    let list = host.ask("live:list", Value::Null).await;
    assert_eq!(list[0]["viewers"], 1);
    drop((host, viewer));
    emptied(&lobby).await;
}

#[tokio::test]
async fn a_viewer_that_answers_no_ping_is_gone() {
    let limits = Limits {
        ping_interval: Duration::from_millis(100),
        ping_timeout: Duration::from_secs(2),
        ..Limits::default()
    };
    let lobby = lobby(limits).await;
    let (mut host, viewer, stream) = pair(lobby.addr()).await;
    // `viewer` is not read, so it answers nothing; its TCP connection stays up.
    assert_eq!(
        host.event("live:viewer-left").await,
        json!({ "streamId": stream, "viewerSocketId": viewer.id })
    );
}

/// With data under way to a peer that takes none, the Socket.IO server alone would wait for TCP.
#[tokio::test]
async fn a_viewer_that_vanishes_in_the_middle_of_a_message_is_gone_in_time() {
    let limits = Limits {
        ping_interval: Duration::from_millis(500),
        ping_timeout: Duration::from_secs(2),
        ..Limits::default()
    };
    let lobby = lobby(limits).await;
    let (mut host, _viewer, stream) = pair(lobby.addr()).await;
    let mut stuck = Line::narrow_viewer(lobby.addr()).await;
    stuck.ask("live:join", json!({ "streamId": stream })).await;
    host.event("live:viewer-join").await;
    // More than the kernel keeps for both sides, less than the lobby's queue in messages.
    let offer = json!({ "type": "offer", "sdp": "x".repeat(60_000) });
    let offer = json!({ "streamId": stream, "to": stuck.id, "offer": offer });
    for _ in 0..15 {
        for _ in 0..10 {
            host.emit("live:signal-offer", offer.clone()).await;
        }
        // Reads, and so answers the pings that came meanwhile.
        host.ask("live:list", Value::Null).await;
    }
    let left = loop {
        let left = host.event("live:viewer-left").await;
        if left["viewerSocketId"] == stuck.id.as_str() {
            break left;
        }
    };
    assert_eq!(left["streamId"], stream.as_str());
}

#[tokio::test]
async fn the_lobby_stops_whoever_is_there_and_frees_its_port() {
    let lobby = lobby(Limits::default()).await;
    let addr = lobby.addr();
    let (mut host, mut viewer, stream) = pair(addr).await;
    let mut stuck = Line::narrow_viewer(addr).await;
    stuck.ask("live:join", json!({ "streamId": stream })).await;
    let offer = json!({ "type": "offer", "sdp": "x".repeat(60_000) });
    let offer = json!({ "streamId": stream, "to": stuck.id, "offer": offer });
    for _ in 0..150 {
        host.emit("live:signal-offer", offer.clone()).await;
    }
    host.ask("live:list", Value::Null).await;
    let mut idle = TcpStream::connect(addr).await.unwrap();

    timeout(SOON, lobby.shutdown()).await.expect("it stops");
    viewer.closed().await;
    host.closed().await;
    let mut nothing = [0; 1];
    let end = timeout(SOON, idle.read(&mut nothing)).await.unwrap();
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");

    let again = start(settings(addr, Limits::default())).await.unwrap();
    assert_eq!(again.addr(), addr);
}
