//! A fresh token for every dial.

/// Where the line's token comes from. Tokens are read or minted for each dial: one that expired
/// during a session is noticed by the lobby only at the next connect.
#[derive(Debug, Clone)]
pub struct Credentials {}
