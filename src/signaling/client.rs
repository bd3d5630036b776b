//! Dial, go live, reconnect: the one task that owns the line to the lobby.

mod connection;
mod mailbox;
mod record;

use std::{
    future::Future,
    path::PathBuf,
    time::{Instant, SystemTime},
};

use async_tungstenite::tungstenite;
use thiserror::Error;
use tokio::sync::mpsc;
use tracing::{debug, warn};
use url::Url;

use self::{
    connection::{Connection, Ending},
    mailbox::Mailbox,
    record::{Record, Severity},
};
use super::{
    backoff::{Backoff, Pace},
    credentials::{Credentials, CredentialsError},
    dial::{self, DialError, Socket},
    message::{Incoming, Outgoing, StartError, StreamId},
    session::{EmitError, End, Session},
};
use crate::secret::Secret;

/// What the line needs to know.
#[derive(Debug, Clone)]
pub struct ClientSettings {
    /// `http`, `https`, `ws` or `wss`; a path before `/socket.io/` is kept.
    pub url: Url,
    /// PEM certificates trusted beside the system's roots.
    pub ca_file: Option<PathBuf>,
    pub credentials: Credentials,
    /// The stream's title for `live:start`.
    pub title: String,
}

/// What happens on the line, in order.
#[derive(Debug)]
pub enum LineEvent {
    /// Connected and live under a new stream id.
    Live {
        stream_id: StreamId,
    },
    Message(Incoming),
    /// The line is down, told once; the client is already on its way to dial again.
    Lost {
        why: String,
    },
}

/// What the host asks of the line.
#[derive(Debug)]
pub enum LineCommand {
    /// Dropped with a debug line when the line is down: nobody is there to hear it.
    Send(Outgoing),
    /// End the stream (`live:end`), close the socket and finish the task.
    Close,
}

/// Why the line is down.
#[derive(Debug, Error)]
enum Failure {
    #[error("no token to dial with: {0}")]
    Credentials(#[from] CredentialsError),
    #[error("reading the credentials failed: {0}")]
    CredentialsTask(tokio::task::JoinError),
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("{0}; check [lobby.auth] and the device's clock")]
    Refused(End),
    /// Some lobbies refuse a token only after CONNECT.
    #[error("the lobby disconnected us before the stream was live; check [lobby.auth]")]
    PutOut,
    #[error("{0}")]
    Ended(End),
    #[error("{0}")]
    Start(#[from] StartError),
    #[error("the lobby did not answer live:start within {} s", connection::START_TIMEOUT.as_secs())]
    StartTimeout,
    #[error("live:start cannot be sent: {0}")]
    StartUnsendable(#[from] EmitError),
    #[error("the lobby closed the WebSocket{0}")]
    Closed(String),
    /// Without a goodbye: a crash, a restart, a network that is gone.
    #[error("the connection to the lobby broke off")]
    BrokeOff,
    #[error(
        "the lobby sent a frame of more than {} bytes",
        super::engineio::MAX_FRAME
    )]
    Oversize,
    #[error("the connection broke: {0}")]
    Broken(Box<tungstenite::Error>),
    #[error("the lobby has taken nothing from us for {} s", connection::WRITE_TIMEOUT.as_secs())]
    Stalled,
}

impl Failure {
    fn pace(&self) -> Pace {
        match self {
            Self::Credentials(_)
            | Self::Refused(_)
            | Self::PutOut
            | Self::Start(StartError::Refused(_))
            | Self::Dial(DialError::Forbidden { .. }) => Pace::Refused,
            _ => Pace::Usual,
        }
    }
}

/// Runs until `LineCommand::Close` is carried out, or `commands` or `events` are dropped.
///
/// Events wait for the host as long as it takes; meanwhile commands are still taken, so a host that waits
/// to send a command cannot be waited for by the line in turn.
pub async fn run(
    settings: ClientSettings,
    commands: mpsc::Receiver<LineCommand>,
    events: mpsc::Sender<LineEvent>,
) {
    let mut line = Line {
        commands,
        mail: Mailbox::new(events),
        backoff: Backoff::default(),
        record: Record::default(),
        down: false,
    };
    // `None` once the host has said Close or is gone.
    while line.once(&settings).await.is_some() {}
    debug!("the line to the lobby is closed");
}

/// The host is done with the line.
struct Done;

struct Line {
    commands: mpsc::Receiver<LineCommand>,
    mail: Mailbox,
    backoff: Backoff,
    record: Record,
    /// `Lost` has been told since the line was last live.
    down: bool,
}

impl Line {
    /// One dial, the life of the line that follows, and the wait after it.
    async fn once(&mut self, settings: &ClientSettings) -> Option<()> {
        let failure = match self.while_down(open(settings)).await? {
            Ok((socket, token)) => {
                let session = Session::new(Instant::now(), Some(token));
                let connection = Connection::new(socket, session, &settings.title);
                match connection.run(self).await {
                    Ending::Done(Done) => return None,
                    Ending::Failed(failure) => failure,
                }
            }
            Err(failure) => failure,
        };
        let wait = self.backoff.next(failure.pace(), rand::random());
        let why = failure.to_string();
        let retry_in_s = wait.as_secs_f32();
        match self.record.failed(&why) {
            Severity::News => warn!(
                event = "line-lost",
                retry_in_s, "the line to the lobby is down: {why}"
            ),
            Severity::Known => debug!(retry_in_s, "the line to the lobby is still down: {why}"),
        }
        if !self.down {
            self.down = true;
            self.mail.push(LineEvent::Lost { why });
        }
        self.while_down(tokio::time::sleep(wait)).await
    }

    fn live(&mut self, stream_id: StreamId) {
        self.down = false;
        let failures = self.record.failures();
        // The host says it for the log; here it is only known what it took.
        debug!(%stream_id, failures, "the lobby has taken the stream");
        self.mail.push(LineEvent::Live { stream_id });
    }

    /// Does `work` and serves the host meanwhile. `None` when the host is done.
    async fn while_down<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::pin!(work);
        loop {
            tokio::select! {
                command = self.commands.recv() => match command {
                    Some(LineCommand::Send(message)) => {
                        debug!(event = message.to_event().0, "not sent: the line is down");
                    }
                    Some(LineCommand::Close) | None => return None,
                },
                delivered = self.mail.deliver() => if let Err(Done) = delivered {
                    return None;
                },
                result = &mut work => return Some(result),
            }
        }
    }
}

async fn open(settings: &ClientSettings) -> Result<(Socket, Secret), Failure> {
    let credentials = settings.credentials.clone();
    let token = tokio::task::spawn_blocking(move || credentials.fresh(SystemTime::now()))
        .await
        .map_err(Failure::CredentialsTask)??;
    let socket = dial::dial(&settings.url, settings.ca_file.as_deref()).await?;
    Ok((socket, token))
}
