//! The other two ends of the line, played from a transcript: the lobby and the host.
//!
//! - `token NAME`: puts a token for NAME into the token file (`expired` is one that has expired)
//! - `dial`: the client's next dial is accepted; `answer STATUS REASON[, HEADER]`: it is answered by HTTP
//! - `<- FRAME`, `<- binary`, `<- oversize`, `<- websocket close`, `hang up`: the server's side
//! - `-> FRAME`, `-> websocket close`: what the client must send next (JSON compared by value)
//! - `= EVENT`: what the host must be told next
//! - `send …`, `close`, `forget` (drops the commands): the host's side
//! - `warned COUNT`: how many warnings must have been logged by then, neither more nor, soon, less
//! - `done`: the client's task has ended and told nothing more
//!
//! `$TOKEN` is the token in the file, `$TOKEN_FILE` its path, `$AT` the server's address.

use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use async_tungstenite::{
    WebSocketStream,
    tokio::{TokioAdapter, accept_hdr_async},
    tungstenite::{
        Message,
        handshake::server::{Request, Response},
        protocol::{CloseFrame, frame::coding::CloseCode},
    },
};
use futures_util::StreamExt as _;
use perch::{
    config::LobbyAuth,
    network::Network,
    secret::Secret,
    signaling::{
        client::{self, ClientSettings, LineCommand, LineEvent, Links, state::LineState},
        credentials::{Credentials, mint},
        message::{Candidate, Outgoing, Refusal, StreamId, ViewerId},
    },
};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    task::JoinHandle,
    time::timeout,
};

/// Refusals wait up to ten seconds before the next dial; the rest is for a loaded machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// What is logged, as text.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

struct Stage {
    folder: tempfile::TempDir,
    token: String,
    tokens: Vec<String>,
    listener: TcpListener,
    at: SocketAddr,
    socket: Option<WebSocketStream<TokioAdapter<TcpStream>>>,
    client: Option<JoinHandle<()>>,
    commands: Option<mpsc::Sender<LineCommand>>,
    events: mpsc::Receiver<LineEvent>,
    log: Log,
}

pub async fn follow(name: &str, text: &str) {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    // The test's runtime has one thread, so this catches the client's lines as well.
    let _guard = tracing::subscriber::set_default(subscriber);
    let mut stage = Stage::set(log.clone()).await;
    for (number, line) in text.lines().enumerate() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let at = format!("{name}:{}: {line}", number + 1);
        if timeout(DEADLINE, stage.step(line, &at)).await.is_err() {
            panic!("nothing came at {at}\n{}", log.text());
        }
    }
    let log = log.text();
    for token in &stage.tokens {
        assert!(!log.contains(token.as_str()), "a token was logged:\n{log}");
    }
}

impl Stage {
    async fn set(log: Log) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (_, events) = mpsc::channel(1);
        Self {
            folder: tempfile::tempdir().unwrap(),
            token: String::new(),
            tokens: Vec::new(),
            at: listener.local_addr().unwrap(),
            listener,
            socket: None,
            client: None,
            commands: None,
            events,
            log,
        }
    }

    async fn step(&mut self, line: &str, at: &str) {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        let rest = self.fill_in(rest);
        match verb {
            "token" => self.put_token(&rest),
            "dial" => self.accept().await,
            "answer" => self.answer(&rest).await,
            "<-" => self.server_sends(&rest).await,
            "->" => self.client_sends(&rest, at).await,
            "hang" => drop(self.socket.take()),
            "=" => {
                let event = self.events.recv().await.expect("the client is there");
                assert_eq!(format!("{event:?}"), rest, "{at}\n{}", self.log.text());
            }
            "send" => self.command(LineCommand::Send(outgoing(&rest))).await,
            "close" => self.command(LineCommand::Close).await,
            "forget" => self.commands = None,
            "warned" => self.warned(rest.parse().unwrap(), at).await,
            "done" => {
                self.client.take().unwrap().await.unwrap();
                assert!(self.events.recv().await.is_none(), "left over at {at}");
            }
            _ => panic!("unknown step at {at}"),
        }
    }

    fn fill_in(&self, text: &str) -> String {
        text.replace("$TOKEN_FILE", &self.token_file().to_string_lossy())
            .replace("$TOKEN", &self.token)
            .replace("$AT", &self.at.to_string())
            .replace("$LONG", &"x".repeat(1000))
    }

    fn token_file(&self) -> PathBuf {
        self.folder.path().join("token")
    }

    /// The first token starts the client.
    fn put_token(&mut self, subject: &str) {
        let ttl = Duration::from_secs(7200);
        let mut now = SystemTime::now();
        if subject == "expired" {
            now -= 2 * ttl + Duration::from_secs(60);
        }
        let token = mint(&Secret::new("s"), subject, ttl, now).unwrap();
        token.expose().clone_into(&mut self.token);
        self.tokens.push(self.token.clone());
        fs::write(self.token_file(), &self.token).unwrap();
        if self.client.is_none() {
            let (commands, their_commands) = mpsc::channel(8);
            let (their_events, events) = mpsc::channel(8);
            let settings = ClientSettings {
                url: format!("http://{}", self.at).parse().unwrap(),
                ca_file: None,
                credentials: Credentials::from(&LobbyAuth::TokenFile(self.token_file())),
                title: "Front door".to_owned(),
            };
            self.client = Some(tokio::spawn(client::run(
                settings,
                Links {
                    commands: their_commands,
                    events: their_events,
                    state: watch::Sender::new(LineState::default()),
                    network: watch::channel(Network::default()).1,
                },
            )));
            self.commands = Some(commands);
            self.events = events;
        }
    }

    async fn accept(&mut self) {
        let (stream, _) = self.listener.accept().await.unwrap();
        #[allow(clippy::result_large_err, reason = "the signature is the library's")]
        let check = |request: &Request, response: Response| {
            assert_eq!(request.uri(), "/socket.io/?EIO=4&transport=websocket");
            Ok(response)
        };
        self.socket = Some(accept_hdr_async(stream, check).await.unwrap());
    }

    async fn answer(&mut self, status: &str) {
        let (mut stream, _) = self.listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await.unwrap());
        }
        let head = status.replace(", ", "\r\n");
        let answer = format!("HTTP/1.1 {head}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
    }

    async fn server_sends(&mut self, what: &str) {
        let socket = self.socket.as_mut().unwrap();
        let message = match what {
            "binary" => Message::binary(vec![0, 159, 146, 150]),
            "oversize" => Message::text("x".repeat(1_000_001)),
            "websocket close" => Message::Close(Some(CloseFrame {
                code: CloseCode::Away,
                reason: "".into(),
            })),
            text => Message::text(text),
        };
        // The client may hang up while it is being sent too much.
        let sent = socket.send(message).await;
        assert!(sent.is_ok() || what == "oversize", "{sent:?}");
    }

    async fn client_sends(&mut self, expected: &str, at: &str) {
        let socket = self.socket.as_mut().unwrap();
        let frame = socket.next().await.expect("the client is there").unwrap();
        match frame {
            Message::Text(text) => {
                assert_eq!(parts(text.as_str()), parts(expected), "{at}");
            }
            Message::Close(_) => {
                assert_eq!(expected, "websocket close", "{at}");
                // Completes the closing handshake.
                assert!(socket.next().await.is_none());
            }
            other => panic!("{other:?} at {at}"),
        }
    }

    async fn command(&mut self, command: LineCommand) {
        let commands = self.commands.as_ref().unwrap();
        commands.send(command).await.unwrap();
    }

    async fn warned(&self, expected: usize, at: &str) {
        loop {
            let log = self.log.text();
            let warnings = log.lines().filter(|line| line.contains(" WARN ")).count();
            assert!(warnings <= expected, "{at}\n{log}");
            if warnings == expected {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// A frame's type and id, and its JSON by value.
fn parts(frame: &str) -> (&str, Option<Value>) {
    let start = frame.find(['[', '{']).unwrap_or(frame.len());
    let (head, json) = frame.split_at(start);
    (head, serde_json::from_str(json).ok())
}

fn outgoing(text: &str) -> Outgoing {
    let words: Vec<&str> = text.split(' ').collect();
    let stream_id = StreamId::new(words[1]);
    let to = ViewerId::new(words[2]);
    match words[0] {
        "offer" => Outgoing::Offer {
            stream_id,
            to,
            sdp: words[3].to_owned(),
        },
        "candidate" => Outgoing::Candidate {
            stream_id,
            to,
            candidate: Some(Candidate {
                candidate: words[3].to_owned(),
                sdp_mid: Some("video0".to_owned()),
                sdp_mline_index: Some(0),
                username_fragment: None,
            }),
        },
        "end-of-candidates" => Outgoing::Candidate {
            stream_id,
            to,
            candidate: None,
        },
        "full" => Outgoing::ViewerRefused {
            stream_id,
            to,
            reason: Refusal::Full {
                max: words[3].parse().unwrap(),
            },
        },
        other => panic!("unknown message {other}"),
    }
}
