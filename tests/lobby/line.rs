//! The daemon's own line to the daemon's own lobby: what one adds to the protocol, the other understands.

use std::time::Duration;

use perch::{
    lobby::Limits,
    network::Network,
    secret::Secret,
    signaling::{
        client::{self, ClientSettings, LineCommand, LineEvent, Links, state::LineState},
        credentials::Credentials,
        message::{Incoming, Outgoing, Refusal, ViewerId},
    },
};
use serde_json::{Value, json};
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};
use url::Url;

use crate::wire::{Line, SECRET, SOON, lobby, settings};

fn dial(url: Url) -> (mpsc::Sender<LineCommand>, mpsc::Receiver<LineEvent>) {
    let (commands, command_receiver) = mpsc::channel(16);
    let (event_sender, events) = mpsc::channel(16);
    let settings = ClientSettings {
        url,
        ca_file: None,
        credentials: Credentials::from_secret(
            Secret::new(SECRET),
            "camera",
            Duration::from_secs(60),
        ),
        title: "Nest".to_owned(),
    };
    tokio::spawn(client::run(
        settings,
        Links {
            commands: command_receiver,
            events: event_sender,
            state: watch::Sender::new(LineState::default()),
            network: watch::channel(Network::default()).1,
        },
    ));
    (commands, events)
}

async fn next(events: &mut mpsc::Receiver<LineEvent>) -> LineEvent {
    let event = timeout(SOON, events.recv()).await;
    event.expect("an event in time").expect("the line is up")
}

#[tokio::test]
async fn the_host_goes_live_refuses_a_viewer_and_ends() {
    let lobby = lobby(Limits::default()).await;
    let url = Url::parse(&format!("http://{}/", lobby.addr())).unwrap();
    let (commands, mut events) = dial(url);
    let LineEvent::Live { stream_id } = next(&mut events).await else {
        panic!("not live");
    };

    let mut viewer = Line::viewer(lobby.addr(), "viewer").await;
    let list = viewer.ask("live:list", Value::Null).await;
    assert_eq!(list[0]["hostUserId"], "camera");
    assert_eq!(list[0]["title"], "Nest");
    let join = json!({ "streamId": stream_id.as_str() });
    assert_eq!(viewer.ask("live:join", join.clone()).await, true);
    let LineEvent::Message(Incoming::ViewerJoin { viewer: id, .. }) = next(&mut events).await
    else {
        panic!("no join");
    };
    assert_eq!(id, ViewerId::new(viewer.id.clone()));

    let refused = Outgoing::ViewerRefused {
        stream_id: stream_id.clone(),
        to: id,
        reason: Refusal::Full { max: 3 },
    };
    commands.send(LineCommand::Send(refused)).await.unwrap();
    assert_eq!(
        viewer.event("live:refused").await,
        json!({ "streamId": stream_id.as_str(), "reason": "full", "max": 3 })
    );

    assert_eq!(viewer.ask("live:join", join.clone()).await, true);
    commands.send(LineCommand::Close).await.unwrap();
    assert_eq!(viewer.event("live:ended").await, join);
}

#[tokio::test]
async fn the_host_is_back_after_the_lobby_was_away() {
    let first = lobby(Limits::default()).await;
    let addr = first.addr();
    let (_commands, mut events) = dial(Url::parse(&format!("ws://{addr}")).unwrap());
    let LineEvent::Live { stream_id: before } = next(&mut events).await else {
        panic!("not live");
    };
    first.shutdown().await;
    assert!(matches!(next(&mut events).await, LineEvent::Lost { .. }));

    let again = perch::lobby::start(settings(addr, Limits::default())).await;
    let _lobby = again.unwrap();
    let LineEvent::Live { stream_id: after } = next(&mut events).await else {
        panic!("not live again");
    };
    assert_ne!(before, after);
}
