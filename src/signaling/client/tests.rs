//! Credentials that cannot be read.

use std::{fs::OpenOptions, io::Write as _, process::Command};

use super::*;
use crate::config::LobbyAuth;

/// A line and the other ends of what it is connected to.
struct Bench {
    line: Line,
    settings: ClientSettings,
    _commands: mpsc::Sender<LineCommand>,
    _events: mpsc::Receiver<LineEvent>,
}

impl Bench {
    fn new(token_file: PathBuf) -> Self {
        let (commands, their_commands) = mpsc::channel(1);
        let (their_events, events) = mpsc::channel(1);
        let (their_state, _) = watch::channel(LineState::default());
        let line = Line::new(Links {
            commands: their_commands,
            events: their_events,
            state: their_state,
        });
        let settings = ClientSettings {
            url: "ws://127.0.0.1:9".parse().unwrap(),
            ca_file: None,
            credentials: Credentials::from(&LobbyAuth::TokenFile(token_file)),
            title: "Front door".to_owned(),
        };
        Self {
            line,
            settings,
            _commands: commands,
            _events: events,
        }
    }
}

#[tokio::test]
async fn credentials_that_hang_are_one_clear_failure() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("token");
    let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success(), "{made}");
    let mut bench = Bench::new(pipe.clone());
    tokio::time::pause();
    let attempt = async {
        let ending = bench.line.attempt(&bench.settings).await;
        match ending {
            Some(Ending::Failed(failure)) => failure,
            _ => panic!("there is no token"),
        }
    };
    // The paused clock waits for threads; what hangs is waited for by hand.
    let hand = async {
        for _ in 0..DIAL_TIMEOUT.as_secs() * 4 {
            tokio::time::advance(Duration::from_secs(1)).await;
            tokio::task::yield_now().await;
        }
    };
    let failure = tokio::select! {
        failure = attempt => failure,
        () = hand => panic!("waited for without end"),
    };
    let why = failure.to_string();
    assert!(matches!(failure, Failure::CredentialsHang { .. }), "{why}");
    assert!(
        why.contains(&*pipe.to_string_lossy()) && why.contains("15 s"),
        "{why}"
    );
    assert_eq!(failure.cause(), Cause::Token);
    // Lets the thread go.
    let mut writer = OpenOptions::new().write(true).open(&pipe).unwrap();
    writer.write_all(b"late").unwrap();
}
