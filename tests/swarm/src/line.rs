//! A viewer's line to a host: what carries offer, answer and candidates.

use anyhow::Result;
use futures_util::{FutureExt, future::BoxFuture};
use serde_json::json;
use url::Url;

use crate::lobby::{Lobby, Said};

/// The host offers on every line.
pub trait Line: Send {
    /// Asks for the offer.
    fn join(&mut self) -> BoxFuture<'_, Result<()>>;
    fn answer<'a>(&'a mut self, sdp: &'a str) -> BoxFuture<'a, Result<()>>;
    /// The next thing that is said. Safe to drop at any await and to call again.
    fn next(&mut self) -> BoxFuture<'_, Result<Said>>;
    /// Says good-bye.
    fn leave(&mut self) -> BoxFuture<'_, Result<()>>;
}

/// The line to Perch: a lobby, and a stream in it.
pub struct LobbyLine {
    lobby: Lobby,
    stream: String,
}

impl LobbyLine {
    /// Authenticates and finds the stream.
    pub async fn open(lobby: &Url, token: &str) -> Result<Self> {
        let mut lobby = Lobby::connect(lobby, token).await?;
        let stream = lobby.find_stream().await?;
        Ok(Self { lobby, stream })
    }
}

impl Line for LobbyLine {
    fn join(&mut self) -> BoxFuture<'_, Result<()>> {
        async {
            let payload = json!({ "streamId": self.stream });
            self.lobby.emit_with_ack("live:join", Some(payload)).await?;
            Ok(())
        }
        .boxed()
    }

    fn answer<'a>(&'a mut self, sdp: &'a str) -> BoxFuture<'a, Result<()>> {
        let answer = json!({
            "streamId": self.stream,
            "answer": { "type": "answer", "sdp": sdp },
        });
        self.lobby.emit("live:signal-answer", answer).boxed()
    }

    fn next(&mut self) -> BoxFuture<'_, Result<Said>> {
        self.lobby.next().boxed()
    }

    fn leave(&mut self) -> BoxFuture<'_, Result<()>> {
        async {
            let payload = json!({ "streamId": self.stream });
            self.lobby.emit("live:leave", payload).await?;
            self.lobby.close().await
        }
        .boxed()
    }
}
