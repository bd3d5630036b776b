//! What a viewer shows the lobby.

use std::{
    fs,
    path::Path,
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result};
use jsonwebtoken::{EncodingKey, Header, encode};
use serde::Serialize;

/// Long enough for any run.
const LIFE: Duration = Duration::from_secs(7200);

/// Where the viewers' tokens come from.
pub enum Tokens {
    /// One token for all.
    Shared(String),
    /// A token of its own for every viewer, signed with the lobby's HS256 secret.
    Minted(EncodingKey),
}

#[derive(Serialize)]
struct Claims {
    sub: String,
    iat: u64,
    exp: u64,
}

impl Tokens {
    pub fn from_secret(secret: &[u8]) -> Self {
        Self::Minted(EncodingKey::from_secret(secret))
    }

    /// Reads the lobby's secret; white space around it does not belong to it.
    pub fn from_secret_file(path: &Path) -> Result<Self> {
        Ok(Self::from_secret(read(path)?.as_bytes()))
    }

    /// Reads one token for all.
    pub fn from_token_file(path: &Path) -> Result<Self> {
        Ok(Self::Shared(read(path)?))
    }

    /// The token of the viewer with this number.
    pub fn of(&self, viewer: usize) -> Result<String> {
        let key = match self {
            Self::Shared(token) => return Ok(token.clone()),
            Self::Minted(key) => key,
        };
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
        let claims = Claims {
            sub: format!("swarm-{viewer}"),
            iat: now.as_secs(),
            exp: (now + LIFE).as_secs(),
        };
        Ok(encode(&Header::default(), &claims, key)?)
    }
}

fn read(path: &Path) -> Result<String> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(text.trim().to_owned())
}
