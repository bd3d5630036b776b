//! What an H.264 stream says of itself. Pure.

/// NAL unit type of a sequence parameter set (ITU-T H.264, table 7-1).
const NAL_SPS: u8 = 7;

/// `profile_idc`, constraint flags and `level_idc` of the first SPS in an Annex B stream, as SDP's
/// `profile-level-id` writes them (RFC 6184 §8.1): six hexadecimal digits. An offer that says
/// anything else than the SPS is a black picture in Safari.
pub fn profile_level_id(annex_b: &[u8]) -> Option<String> {
    annex_b.windows(7).find_map(|window| match *window {
        [0, 0, 1, header, profile, constraints, level] if header & 0x1f == NAL_SPS => {
            Some(format!("{profile:02x}{constraints:02x}{level:02x}"))
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sps_is_found_behind_an_access_unit_delimiter() {
        let stream = [
            0, 0, 0, 1, 0x09, 0x10, 0, 0, 0, 1, 0x67, 0x42, 0xc0, 0x1f, 0xd9, 0, 0, 1, 0x68,
        ];
        assert_eq!(profile_level_id(&stream).as_deref(), Some("42c01f"));
    }

    #[test]
    fn a_stream_without_sps_has_none() {
        assert_eq!(
            profile_level_id(&[0, 0, 1, 0x65, 0x88, 0x84, 0, 0, 3]),
            None
        );
        assert_eq!(profile_level_id(&[0, 0, 1, 0x67]), None);
        assert_eq!(profile_level_id(&[]), None);
    }
}
