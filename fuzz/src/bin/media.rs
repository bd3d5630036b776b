//! What comes from a camera that encodes by itself, and from a viewer's DTLS handshake.
#![no_main]

use libfuzzer_sys::fuzz_target;
use perch::media::{certificate::is_vouched_for, h264};

fuzz_target!(|bytes: &[u8]| {
    if let Some(id) = h264::profile_level_id(bytes) {
        assert!(id.len() == 6 && id.bytes().all(|digit| digit.is_ascii_hexdigit()));
        assert_eq!(h264::profile(&id).len(), 4);
    }
    if let Ok(text) = str::from_utf8(bytes)
        && let Some((certificate, answer)) = text.split_once('\0')
    {
        // Nobody is vouched for by an answer that names no fingerprint.
        assert!(!is_vouched_for(certificate, answer) || answer.contains("fingerprint"));
    }
});
