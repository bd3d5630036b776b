//! Why the line is down, and what that means for the next dial.

use std::{
    io,
    path::{Path, PathBuf},
};

use async_tungstenite::tungstenite;
use thiserror::Error;

use super::{connection, state::Cause};
use crate::signaling::{
    backoff::Pace,
    credentials::CredentialsError,
    dial::{DIAL_TIMEOUT, DialError},
    engineio::MAX_FRAME,
    message::StartError,
    session::{EmitError, End},
};

/// Why the line is down.
#[derive(Debug, Error)]
pub(super) enum Failure {
    #[error("no token to dial with: {0}")]
    Credentials(#[from] CredentialsError),
    #[error(
        "reading the credentials{} has not ended within {} s; is [lobby.auth] a plain file on a disk that answers?",
        in_file(.file.as_deref()), DIAL_TIMEOUT.as_secs()
    )]
    CredentialsHang { file: Option<PathBuf> },
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("{0}; check [lobby.auth] and the device's clock")]
    Refused(End),
    #[error(
        "the clock says {today}, which is before this program was built; waiting for the time to be set \
         (NTP, or a battery for the clock)"
    )]
    Clock { today: String },
    #[error("the address that the line went out from is gone from this device")]
    AddressLost,
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
    #[error("the lobby sent a frame of more than {MAX_FRAME} bytes")]
    Oversize,
    #[error("the connection broke: {0}")]
    Broken(Box<tungstenite::Error>),
    #[error("the lobby has taken nothing from us for {} s", connection::WRITE_TIMEOUT.as_secs())]
    Stalled,
}

impl Failure {
    pub(super) fn pace(&self) -> Pace {
        match self {
            Self::Credentials(_)
            | Self::Refused(_)
            | Self::PutOut
            | Self::Start(StartError::Refused(_))
            | Self::Dial(DialError::Forbidden { .. }) => Pace::Refused,
            _ => Pace::Usual,
        }
    }

    /// Whether a wrong clock of ours could be behind it.
    pub(super) fn may_be_the_clock(&self) -> bool {
        matches!(
            self,
            Self::Credentials(_)
                | Self::Refused(_)
                | Self::PutOut
                | Self::Clock { .. }
                | Self::Dial(DialError::TlsDates { .. } | DialError::Forbidden { .. })
        )
    }

    pub(super) fn cause(&self) -> Cause {
        match self {
            Self::Credentials(_)
            | Self::CredentialsHang { .. }
            | Self::Refused(_)
            | Self::PutOut => Cause::Token,
            Self::Dial(error) => dial_cause(error),
            Self::Start(_) | Self::StartTimeout | Self::StartUnsendable(_) | Self::Oversize => {
                Cause::Lobby
            }
            Self::Ended(end) => match end {
                End::PingTimeout { .. } | End::HandshakeTimeout { .. } => Cause::Silent,
                End::NotSocketIo(_) => Cause::Lobby,
                _ => Cause::BrokeOff,
            },
            Self::Clock { .. } => Cause::Clock,
            Self::AddressLost => Cause::Route,
            Self::Closed(_) | Self::BrokeOff | Self::Broken(_) => Cause::BrokeOff,
            Self::Stalled => Cause::Silent,
        }
    }
}

fn in_file(file: Option<&Path>) -> String {
    file.map_or_else(String::new, |file| format!(" in {}", file.display()))
}

fn dial_cause(error: &DialError) -> Cause {
    match error {
        DialError::Address { .. } | DialError::CaFile { .. } | DialError::TlsSetup(_) => {
            Cause::Settings
        }
        DialError::Unknown { .. } => Cause::Dns,
        DialError::Unreachable { source, .. } => match source.kind() {
            io::ErrorKind::ConnectionRefused => Cause::Refused,
            io::ErrorKind::TimedOut => Cause::Silent,
            _ => Cause::Route,
        },
        DialError::Tls { .. } | DialError::TlsDates { .. } => Cause::Tls,
        DialError::Forbidden { .. } => Cause::Token,
        DialError::Redirected { .. }
        | DialError::NoWebSocket { .. }
        | DialError::WebSocket { .. } => Cause::Lobby,
        DialError::Timeout { .. } => Cause::Silent,
    }
}
