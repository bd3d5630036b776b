//! Signs in to a lobby and leaves at once, without going live: `perch doctor` asks whether it would work.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use async_tungstenite::tungstenite::{self, Message};
use futures_util::StreamExt as _;
use thiserror::Error;
use tokio::time::sleep_until;
use url::Url;

use super::{
    dial::{self, DialError, Socket},
    resolve::Resolver,
    session::{End, Output, Session},
};
use crate::{files::Reader, secret::Secret};

/// Some lobbies refuse a token only after they have taken the CONNECT.
const SETTLES_WITHIN: Duration = Duration::from_millis(400);

/// Why the line would not come up.
#[derive(Debug, Error)]
pub enum ProbeError {
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The token, or the clock by which it is judged.
    #[error("{0}")]
    Refused(End),
    #[error("the lobby took the token and disconnected us at once")]
    PutOut,
    #[error("{0}")]
    Ended(End),
    #[error("the connection broke: {0}")]
    Broken(#[from] tungstenite::Error),
    #[error("the lobby closed the WebSocket before it took the token")]
    Closed,
}

/// Dials, signs in with `token`, and leaves.
pub async fn knock(url: &Url, ca_file: Option<&Path>, token: Secret) -> Result<(), ProbeError> {
    let mut socket = dial::dial(url, ca_file, &Reader::default(), &mut Resolver::default())
        .await?
        .socket;
    let mut session = Session::new(Instant::now(), Some(token));
    let mut settled = None;
    loop {
        if obey(&mut socket, &mut session).await? {
            settled = Some(Instant::now() + SETTLES_WITHIN);
        }
        let deadline = settled.or(session.deadline());
        let wake = deadline.unwrap_or_else(|| Instant::now() + SETTLES_WITHIN);
        tokio::select! {
            frame = socket.next() => match frame {
                Some(Ok(Message::Text(text))) => session.text(Instant::now(), text.as_str()),
                Some(Ok(Message::Close(_))) | None if settled.is_some() => return Err(ProbeError::PutOut),
                Some(Ok(Message::Close(_))) | None => return Err(ProbeError::Closed),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.into()),
            },
            () = sleep_until(wake.into()) => {
                if settled.is_some() {
                    break;
                }
                session.tick(Instant::now());
            }
        }
    }
    session.close();
    // What the lobby makes of our goodbye is its own affair.
    let _ = obey(&mut socket, &mut session).await;
    let _ = socket.close(None).await;
    Ok(())
}

/// Sends what is to be sent. Whether the lobby has just taken the token.
async fn obey(socket: &mut Socket, session: &mut Session) -> Result<bool, ProbeError> {
    let mut accepted = false;
    while let Some(output) = session.poll() {
        match output {
            Output::Send(frame) => socket.send(Message::text(frame.into_text())).await?,
            Output::Connected => accepted = true,
            Output::Ended(end @ End::Refused { .. }) => return Err(ProbeError::Refused(end)),
            Output::Ended(End::Disconnected) => return Err(ProbeError::PutOut),
            Output::Ended(End::Left) => {}
            Output::Ended(end) => return Err(ProbeError::Ended(end)),
            Output::Event { .. } | Output::Ack { .. } | Output::AckTimeout { .. } => {}
        }
    }
    Ok(accepted)
}
