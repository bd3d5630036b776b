//! Names and keys that nobody can guess.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

/// `BYTES` random bytes from the operating system's seeded generator, as URL-safe text without padding.
pub fn text<const BYTES: usize>() -> String {
    BASE64_URL_SAFE_NO_PAD.encode(rand::random::<[u8; BYTES]>())
}
