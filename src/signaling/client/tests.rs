//! The waits between dials, in invented time, and credentials that cannot be read.

use std::{collections::BTreeSet, fs::OpenOptions, io::Write as _, process::Command};

use super::*;
use crate::config::LobbyAuth;

const LONG: Duration = Duration::from_secs(60);

/// A line and the other ends of what it is connected to.
struct Bench {
    line: Line,
    settings: ClientSettings,
    network: watch::Sender<Network>,
    _commands: mpsc::Sender<LineCommand>,
    _events: mpsc::Receiver<LineEvent>,
}

fn network(addresses: &[&str]) -> Network {
    Network {
        addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        routes: BTreeSet::new(),
    }
}

impl Bench {
    fn new(token_file: PathBuf) -> Self {
        let (commands, their_commands) = mpsc::channel(1);
        let (their_events, events) = mpsc::channel(1);
        let (their_state, _) = watch::channel(LineState::default());
        let (shown, their_network) = watch::channel(network(&["192.0.2.1"]));
        let line = Line::new(Links {
            commands: their_commands,
            events: their_events,
            state: their_state,
            network: their_network,
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
            network: shown,
            _commands: commands,
            _events: events,
        }
    }

    async fn rest(&mut self) -> Duration {
        let before = self.look().await;
        self.rest_after(&Failure::BrokeOff, before).await
    }

    async fn look(&mut self) -> Before {
        let look = self.line.look(&self.settings).await;
        look.expect("the host is there")
    }

    async fn rest_after(&mut self, failure: &Failure, before: Before) -> Duration {
        let began = tokio::time::Instant::now();
        let rest = self.line.rest(LONG, failure, before, &self.settings);
        rest.await.expect("the host is there");
        began.elapsed()
    }

    /// A dial that comes to nothing.
    async fn fail(&mut self) -> Failure {
        match self.line.attempt(&self.settings).await {
            Some(Ending::Failed(failure)) => failure,
            _ => panic!("there is no token to dial with"),
        }
    }
}

fn is_cut_short(rest: Duration) -> bool {
    (LEAST_WAIT..=LEAST_WAIT + LOOK_EVERY).contains(&rest)
}

#[tokio::test(start_paused = true)]
async fn a_change_at_any_time_since_the_dial_began_cuts_the_wait_short() {
    let mut bench = Bench::new("/nonexistent/token".into());
    assert!(bench.rest().await >= LONG, "nothing has changed");

    // During the dial.
    let later = network(&["192.0.2.1", "192.0.2.2"]);
    bench.network.send_replace(later.clone());
    assert!(is_cut_short(bench.rest().await));

    // The dial that follows has had its chance: the change is used up.
    bench.line.attempt(&bench.settings).await.unwrap();
    assert!(bench.rest().await >= LONG);

    // While the connection came up, which then failed.
    bench.line.note_network(&network(&["192.0.2.3"]));
    assert!(is_cut_short(bench.rest().await));
    bench.line.attempt(&bench.settings).await.unwrap();

    // Gone and back between two looks.
    bench.network.send_replace(network(&[]));
    bench.network.send_replace(network(&["192.0.2.3"]));
    assert!(is_cut_short(bench.rest().await));
    bench.line.attempt(&bench.settings).await.unwrap();

    // Nothing has come.
    bench.network.send_replace(network(&[]));
    assert!(bench.rest().await >= LONG);
}

#[tokio::test(start_paused = true)]
async fn a_change_at_the_beginning_of_the_wait_is_not_forgotten() {
    let mut bench = Bench::new("/nonexistent/token".into());
    let shown = bench.network.clone();
    let change = async move {
        tokio::time::sleep(LEAST_WAIT / 4).await;
        shown.send_replace(network(&["192.0.2.1", "192.0.2.2"]));
    };
    let (rested, ()) = tokio::join!(bench.rest(), change);
    assert!(is_cut_short(rested), "{rested:?}");
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_renewed_during_the_dial_is_not_waited_with() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "no token").unwrap();
    let mut bench = Bench::new(file.path().to_owned());
    let before = bench.look().await;
    let failure = bench.fail().await;
    assert_eq!(failure.cause(), Cause::Token);
    std::fs::write(file.path(), "none either, but another one").unwrap();
    let rested = bench.rest_after(&failure, before).await;
    assert!(rested <= LOOK_EVERY, "{rested:?}");

    let before = bench.look().await;
    let failure = bench.fail().await;
    let rested = bench.rest_after(&failure, before).await;
    assert!(rested >= LONG, "it is the same: {rested:?}");
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_during_the_dial_is_not_waited_with() {
    let mut bench = Bench::new("/nonexistent/token".into());
    let set = SystemTime::now() - Duration::from_secs(3600);
    let before = Before {
        stamp: None,
        jumps: Jumps::new(Instant::now(), set),
    };
    let failure = bench.fail().await;
    assert!(failure.may_be_the_clock());
    let rested = bench.rest_after(&failure, before).await;
    assert!(rested <= LOOK_EVERY, "{rested:?}");
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
