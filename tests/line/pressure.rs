//! A host that listens late, and a host that waits to speak while the lobby talks.

use std::time::Duration;

use async_tungstenite::{tokio::accept_async, tungstenite::Message};
use futures_util::StreamExt as _;
use perch::{
    network::Network,
    secret::Secret,
    signaling::{
        client::{self, ClientSettings, LineCommand, LineEvent, Links, state::LineState},
        credentials::Credentials,
        message::{Incoming, Outgoing, StreamId, ViewerId},
    },
};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    time::timeout,
};

const JOINS: usize = 3000;
const OFFERS: usize = 300;

/// The lobby announces 3000 viewers and the host reads none of them before all its own 300 offers are
/// taken. Both queues hold one. Were either side to wait for the other, this would stand still.
#[tokio::test]
async fn nothing_is_lost_and_nobody_waits_for_the_other() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let (commands, their_commands) = mpsc::channel(1);
    let (their_events, mut events) = mpsc::channel(1);
    let settings = ClientSettings {
        url: format!("ws://{at}").parse().unwrap(),
        ca_file: None,
        credentials: Credentials::from_secret(Secret::new("s"), "camera", Duration::from_secs(60)),
        title: "Front door".to_owned(),
    };
    let client = tokio::spawn(client::run(
        settings,
        Links {
            commands: their_commands,
            events: their_events,
            state: watch::Sender::new(LineState::default()),
            network: watch::channel(Network::default()).1,
        },
    ));
    let lobby = tokio::spawn(lobby(listener));
    let host = async {
        let Some(LineEvent::Live { stream_id }) = events.recv().await else {
            panic!("not live");
        };
        for number in 0..OFFERS {
            let offer = Outgoing::Offer {
                stream_id: stream_id.clone(),
                to: ViewerId::new(number.to_string()),
                sdp: "v=0".to_owned(),
            };
            commands.send(LineCommand::Send(offer)).await.unwrap();
        }
        for number in 0..JOINS {
            let Some(LineEvent::Message(message)) = events.recv().await else {
                panic!("join {number} is missing");
            };
            let expected = Incoming::ViewerJoin {
                stream_id: StreamId::new("st1"),
                viewer: ViewerId::new(number.to_string()),
            };
            assert_eq!(message, expected);
        }
        commands.send(LineCommand::Close).await.unwrap();
        client.await.unwrap();
        assert_eq!(lobby.await.unwrap(), OFFERS);
    };
    timeout(Duration::from_secs(60), host).await.unwrap();
}

/// Talks first, listens then. Returns how many offers came, in order.
async fn lobby(listener: TcpListener) -> usize {
    let (stream, _) = listener.accept().await.unwrap();
    let mut socket = accept_async(stream).await.unwrap();
    let open = r#"0{"sid":"e1","pingInterval":25000,"pingTimeout":20000}"#;
    socket.send(Message::text(open)).await.unwrap();
    socket.next().await.unwrap().unwrap();
    socket.send(Message::text("40")).await.unwrap();
    socket.next().await.unwrap().unwrap();
    let started = r#"430[{"ok":true,"streamId":"st1"}]"#;
    socket.send(Message::text(started)).await.unwrap();
    for number in 0..JOINS {
        let join = format!(
            r#"42["live:viewer-join",{{"streamId":"st1","viewerSocketId":"{number}","name":"{}"}}]"#,
            "x".repeat(2000)
        );
        socket.send(Message::text(join)).await.unwrap();
    }
    let mut offers = 0;
    while let Some(Ok(message)) = socket.next().await {
        if let Message::Text(text) = message
            && text.contains("live:signal-offer")
        {
            assert!(text.contains(&format!(r#""to":"{offers}""#)), "{text}");
            offers += 1;
        }
    }
    offers
}
