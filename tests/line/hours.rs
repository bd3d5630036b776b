//! A lobby that is down for a day, in invented time.

use std::time::Duration;

use perch::{
    network::Network,
    secret::Secret,
    signaling::{
        backoff::CAP,
        client::{
            self, ClientSettings, LineCommand, LineEvent, Links,
            state::{Cause, LineState},
        },
        credentials::Credentials,
        dial::DIAL_TIMEOUT,
    },
};
use tokio::{
    net::TcpSocket,
    sync::{mpsc, watch},
    time::Instant,
};

const DAY: Duration = Duration::from_secs(86_400);

/// Where nobody listens, and nobody else can for as long as this is held.
fn deaf_port() -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    socket
}

#[tokio::test(start_paused = true)]
async fn a_day_without_a_lobby_is_waited_out_with_jitter_and_without_haste() {
    let deaf = deaf_port();
    let settings = ClientSettings {
        url: format!("ws://{}", deaf.local_addr().unwrap())
            .parse()
            .unwrap(),
        ca_file: None,
        credentials: Credentials::from_secret(Secret::new("s"), "camera", Duration::from_secs(60)),
        title: "Front door".to_owned(),
    };
    let (commands, their_commands) = mpsc::channel(1);
    let (their_events, mut events) = mpsc::channel(1);
    let (state, mut states) = watch::channel(LineState::default());
    let (_network, network) = watch::channel(Network::default());
    let links = Links {
        commands: their_commands,
        events: their_events,
        state,
        network,
    };
    let began = Instant::now();
    let client = tokio::spawn(client::run(settings, links));

    let mut waits = Vec::new();
    let mut last = 0;
    while began.elapsed() < DAY {
        states.changed().await.unwrap();
        let LineState::Down(outage) = states.borrow_and_update().clone() else {
            panic!("there is no lobby");
        };
        // Invented time does not wait for the kernel: its refusal may come after our patience has ended.
        let (cause, why) = (outage.cause, &outage.why);
        assert!(matches!(cause, Cause::Refused | Cause::Silent), "{why}");
        assert_eq!(outage.failures, last + 1);
        assert!(outage.since <= began.into_std() + DIAL_TIMEOUT);
        last = outage.failures;
        waits.push(outage.wait(Instant::now().into_std()));
    }
    // Full jitter below a minute is half a minute in the mean: 2880 dials a day. Chance would need
    // to conspire to leave these bounds, even if every dial took its 4 s.
    let dials = waits.len();
    assert!((2350..3300).contains(&dials), "{dials} dials");
    assert!(waits.iter().all(|wait| *wait <= CAP));
    let late = &waits[10..];
    let (short, long) = (CAP / 4, CAP * 3 / 4);
    assert!(late.iter().filter(|wait| **wait < short).count() > dials / 8);
    assert!(late.iter().filter(|wait| **wait > long).count() > dials / 8);

    assert!(matches!(events.recv().await, Some(LineEvent::Lost { .. })));
    assert!(events.try_recv().is_err(), "the loss is told once");
    commands.send(LineCommand::Close).await.unwrap();
    client.await.unwrap();
}
