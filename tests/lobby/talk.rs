//! Hosts and viewers that behave.

use std::time::{Duration, Instant};

use perch::lobby::{Limits, Rate};
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::timeout};

use crate::wire::{Line, SOON, lobby, pair};

#[tokio::test]
async fn a_host_and_its_viewer_talk() {
    let lobby = lobby(Limits::default()).await;
    let (mut host, mut viewer, stream) = pair(lobby.addr()).await;

    let offer = json!({ "type": "offer", "sdp": "v=0\r\no=ä \u{1F426}\r\n" });
    host.emit(
        "live:signal-offer",
        json!({ "streamId": stream, "to": viewer.id, "offer": offer }),
    )
    .await;
    assert_eq!(
        viewer.event("live:signal-offer").await,
        json!({ "streamId": stream, "offer": offer })
    );

    let answer = json!({ "type": "answer", "sdp": "v=0\r\n" });
    viewer
        .emit(
            "live:signal-answer",
            json!({ "streamId": stream, "answer": answer }),
        )
        .await;
    assert_eq!(
        host.event("live:signal-answer").await,
        json!({ "streamId": stream, "from": viewer.id, "answer": answer })
    );

    let candidate = json!({ "candidate": "candidate:1 1 udp 1 192.0.2.1 9 typ host",
        "sdpMid": "0", "sdpMLineIndex": 0, "usernameFragment": null });
    viewer
        .emit(
            "live:signal-ice",
            json!({ "streamId": stream, "candidate": candidate }),
        )
        .await;
    assert_eq!(
        host.event("live:signal-ice").await,
        json!({ "streamId": stream, "from": viewer.id, "candidate": candidate })
    );
    host.emit(
        "live:signal-ice",
        json!({ "streamId": stream, "to": viewer.id, "candidate": null }),
    )
    .await;
    assert_eq!(
        viewer.event("live:signal-ice").await,
        json!({ "streamId": stream, "from": host.id, "candidate": null })
    );

    viewer
        .ask("live:leave", json!({ "streamId": stream }))
        .await;
    assert_eq!(
        host.event("live:viewer-left").await,
        json!({ "streamId": stream, "viewerSocketId": viewer.id })
    );
}

#[tokio::test]
async fn the_list_names_the_stream_and_counts_its_viewers() {
    let lobby = lobby(Limits::default()).await;
    let (mut host, mut viewer, stream) = pair(lobby.addr()).await;
    let list = viewer.ask("live:list", Value::Null).await;
    assert_eq!(list.as_array().unwrap().len(), 1);
    assert_eq!(list[0]["streamId"], stream.as_str());
    assert_eq!(list[0]["title"], "Nest");
    assert_eq!(list[0]["hostUserId"], "host");
    assert_eq!(list[0]["viewers"], 1);
    let started = list[0]["startedAt"].as_str().unwrap();
    assert_eq!((started.len(), &started[10..11]), (24, "T"), "{started}");

    // Without an argument at all, as a page asks.
    viewer.write(r#"42700["live:list"]"#).await;
    while !viewer.frame().await.unwrap().starts_with("43700[[{") {}

    host.emit("live:end", json!({ "streamId": stream })).await;
    assert_eq!(
        viewer.event("live:ended").await,
        json!({ "streamId": stream })
    );
    assert_eq!(viewer.ask("live:list", Value::Null).await, json!([]));
}

#[tokio::test]
async fn everybody_hears_the_last_state_and_not_every_step_to_it() {
    const CROWD: usize = 40;
    let lobby = lobby(Limits::default()).await;
    let mut idle = Line::viewer(lobby.addr(), "idle").await;
    let (_host, _viewer, stream) = pair(lobby.addr()).await;
    let begun = Instant::now();
    let mut crowd = Vec::new();
    for n in 0..CROWD {
        let mut line = Line::viewer(lobby.addr(), &format!("viewer {n}")).await;
        line.ask("live:join", json!({ "streamId": stream })).await;
        crowd.push(line);
    }
    let mut updates = 0;
    timeout(SOON, async {
        loop {
            let list = idle.event("live:update").await;
            updates += 1;
            if list[0]["viewers"] == CROWD + 1 {
                break;
            }
        }
    })
    .await
    .expect("the last state arrives");
    // At most five in a second, and two before the crowd came.
    let bound = begun.elapsed().as_millis() / 200 + 4;
    assert!(updates <= bound, "{updates} updates, at most {bound}");

    // One more change, after a pause and alone, arrives as well.
    drop(crowd.pop());
    timeout(SOON, async {
        while idle.event("live:update").await[0]["viewers"] != CROWD {}
    })
    .await
    .expect("a single change arrives");
}

#[tokio::test]
async fn a_host_that_is_full_tells_the_viewer() {
    let lobby = lobby(Limits::default()).await;
    let (mut host, mut viewer, stream) = pair(lobby.addr()).await;
    host.emit(
        "live:viewer-refused",
        json!({ "streamId": stream, "to": viewer.id, "reason": "full", "max": 10 }),
    )
    .await;
    assert_eq!(
        viewer.event("live:refused").await,
        json!({ "streamId": stream, "reason": "full", "max": 10 })
    );
    let list = viewer.ask("live:list", Value::Null).await;
    assert_eq!(list[0]["viewers"], 0);
}

#[tokio::test]
async fn a_host_tells_of_its_camera_and_nobody_else_does() {
    let lobby = lobby(Limits::default()).await;
    let (mut host, mut viewer, stream) = pair(lobby.addr()).await;
    let said = |camera: &str| json!({ "streamId": stream, "camera": camera });
    assert_eq!(
        viewer.ask("live:list", Value::Null).await[0].get("camera"),
        None
    );
    viewer.emit("live:camera", said("lost")).await;
    let list = viewer.ask("live:list", Value::Null).await;
    assert_eq!(list[0].get("camera"), None, "a viewer cannot say it");

    host.emit("live:camera", said("lost")).await;
    timeout(SOON, async {
        while viewer.event("live:update").await[0]["camera"] != "lost" {}
    })
    .await
    .expect("who watches hears of it");
    let mut late = Line::viewer(lobby.addr(), "late").await;
    let list = late.ask("live:list", Value::Null).await;
    assert_eq!(list[0]["camera"], "lost");
    host.emit("live:camera", said("live")).await;
    timeout(SOON, async {
        while viewer.event("live:update").await[0].get("camera").is_some() {}
    })
    .await
    .expect("and of its return");
}

#[tokio::test]
async fn a_host_tells_one_viewer_which_rendition_it_is_sent() {
    let lobby = lobby(Limits::default()).await;
    let (mut host, mut viewer, stream) = pair(lobby.addr()).await;
    let mut other = Line::viewer(lobby.addr(), "other").await;
    other.ask("live:join", json!({ "streamId": stream })).await;
    let said = |to: &str, rendition: &str| json!({ "streamId": stream, "to": to, "rendition": rendition, "reason": "bandwidth" });
    let heard = |rendition: &str| json!({ "streamId": stream, "rendition": rendition, "reason": "bandwidth" });

    // One viewer cannot say it to another, and what the host says to one the other does not hear.
    viewer
        .emit("live:rendition", said(&other.id, "forged"))
        .await;
    viewer.ask("live:list", Value::Null).await;
    host.emit("live:rendition", said(&viewer.id, "second"))
        .await;
    assert_eq!(viewer.event("live:rendition").await, heard("second"));
    host.emit("live:rendition", said(&other.id, "first")).await;
    assert_eq!(other.event("live:rendition").await, heard("first"));
}

#[tokio::test]
async fn pings_keep_a_quiet_socket_alive() {
    let limits = Limits {
        ping_interval: Duration::from_millis(50),
        ping_timeout: SOON,
        ..Limits::default()
    };
    let lobby = lobby(limits).await;
    let (mut host, mut viewer, stream) = pair(lobby.addr()).await;
    // `frame` answers pings; the host's leaving ends the wait.
    let waiting = tokio::spawn(async move { viewer.event("live:ended").await });
    for _ in 0..5 {
        // A ping is the clock: five of them are more than the interval.
        loop {
            use async_tungstenite::tungstenite::Message;
            use futures_util::StreamExt;
            let next = timeout(SOON, host.frames.next()).await.unwrap();
            if matches!(next.unwrap().unwrap(), Message::Text(text) if text.as_str() == "2") {
                host.write("3").await;
                break;
            }
        }
    }
    drop(host);
    assert_eq!(waiting.await.unwrap(), json!({ "streamId": stream }));
}

/// The server lets events out to a socket only some instructions after it has accepted it; between the two, a thread
/// may be put aside, and the more threads there are, the oftener.
#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn whoever_joins_at_the_very_moment_of_its_acceptance_gets_its_offer() {
    const AT_A_TIME: usize = 24;
    const EACH: usize = 100;
    let limits = Limits {
        member_rate: Rate {
            burst: 1e6,
            per_second: 1e6,
        },
        ..Limits::default()
    };
    let lobby = lobby(limits).await;
    let addr = lobby.addr();
    let (mut host, _viewer, stream) = pair(addr).await;
    let hosting = {
        let stream = stream.clone();
        tokio::spawn(async move {
            for _ in 0..AT_A_TIME * EACH {
                let join = host.event("live:viewer-join").await;
                let offer = json!({ "streamId": stream, "to": join["viewerSocketId"],
                    "offer": { "type": "offer", "sdp": "v=0\r\n" } });
                host.emit("live:signal-offer", offer).await;
            }
            host
        })
    };
    let mut crowd = JoinSet::new();
    for n in 0..AT_A_TIME {
        let stream = stream.clone();
        crowd.spawn(async move {
            for _ in 0..EACH {
                let mut viewer = Line::viewer(addr, &format!("viewer {n}")).await;
                viewer
                    .emit("live:join", json!({ "streamId": stream }))
                    .await;
                viewer.event("live:signal-offer").await;
            }
        });
    }
    while let Some(end) = crowd.join_next().await {
        end.expect("each has got its offer");
    }
    hosting.await.expect("the host has heard of each");
}
