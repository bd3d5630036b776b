//! What an H.264 stream says of itself. Pure.

/// NAL unit type of a sequence parameter set (ITU-T H.264, table 7-1).
const NAL_SPS: u8 = 7;

/// The first SPS is looked for in so many bytes of an access unit: picture data need not be searched.
const HEADER_BYTES: usize = 512;

/// `profile_idc`, constraint flags and `level_idc` of the first SPS in an Annex B stream, as SDP's
/// `profile-level-id` writes them (RFC 6184 §8.1): six hexadecimal digits. An offer that says
/// anything else than the SPS is a black picture in Safari.
pub fn profile_level_id(annex_b: &[u8]) -> Option<String> {
    let header = &annex_b[..annex_b.len().min(HEADER_BYTES)];
    header.windows(7).find_map(|window| match *window {
        [0, 0, 1, header, profile, constraints, level] if header & 0x1f == NAL_SPS => {
            Some(format!("{profile:02x}{constraints:02x}{level:02x}"))
        }
        _ => None,
    })
}

/// Rows of ITU-T H.264 table A-1: `level_idc`, macroblocks per second, macroblocks per picture, and
/// bits per second (in thousands) of the Baseline and Main profiles.
const LEVELS: [(u8, u64, u64, u64); 16] = [
    (10, 1_485, 99, 64),
    (11, 3_000, 396, 192),
    (12, 6_000, 396, 384),
    (13, 11_880, 396, 768),
    (20, 11_880, 396, 2_000),
    (21, 19_800, 792, 4_000),
    (22, 20_250, 1_620, 4_000),
    (30, 40_500, 1_620, 10_000),
    (31, 108_000, 3_600, 14_000),
    (32, 216_000, 5_120, 20_000),
    (40, 245_760, 8_192, 20_000),
    (41, 245_760, 8_192, 50_000),
    (42, 522_240, 8_704, 50_000),
    (50, 589_824, 22_080, 135_000),
    (51, 983_040, 36_864, 240_000),
    (52, 2_073_600, 36_864, 240_000),
];

/// The `profile-level-id` of a constrained baseline stream of this size (pixels), rate (frames per
/// second) and bitrate (bits per second): what an encoder that has never run is expected to say.
pub fn constrained_baseline(width: u32, height: u32, framerate: u32, bitrate: u32) -> String {
    let level = level_idc(width, height, framerate, bitrate);
    format!("42c0{level:02x}")
}

/// The lowest level that such a stream fits, as GStreamer's caps write it: `3.1`.
pub fn level(width: u32, height: u32, framerate: u32, bitrate: u32) -> String {
    let level = level_idc(width, height, framerate, bitrate);
    match level % 10 {
        0 => (level / 10).to_string(),
        tenth => format!("{}.{tenth}", level / 10),
    }
}

fn level_idc(width: u32, height: u32, framerate: u32, bitrate: u32) -> u8 {
    let picture = u64::from(width.div_ceil(16)) * u64::from(height.div_ceil(16));
    let second = picture * u64::from(framerate);
    LEVELS
        .iter()
        .find(|(_, most_second, most_picture, most_kbit)| {
            second <= *most_second
                && picture <= *most_picture
                && u64::from(bitrate) <= most_kbit * 1000
        })
        .map_or(52, |row| row.0)
}

/// Profile and constraints without the level, which a decoder need not care about.
pub fn profile(profile_level_id: &str) -> &str {
    profile_level_id.get(..4).unwrap_or(profile_level_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_holds_size_rate_and_bitrate() {
        // What x264 says of the same.
        assert_eq!(constrained_baseline(1280, 720, 30, 2_000_000), "42c01f");
        assert_eq!(constrained_baseline(640, 480, 30, 1_000_000), "42c01e");
        assert_eq!(constrained_baseline(320, 180, 15, 300_000), "42c00c");
        assert_eq!(constrained_baseline(1920, 1080, 30, 4_000_000), "42c028");
        assert_eq!(constrained_baseline(1920, 1080, 60, 4_000_000), "42c02a");
        assert_eq!(constrained_baseline(320, 180, 15, 15_000_000), "42c020");
        assert_eq!(constrained_baseline(4096, 4096, 120, 50_000_000), "42c034");
    }

    #[test]
    fn a_level_is_written_as_caps_want_it() {
        assert_eq!(level(1280, 720, 30, 2_000_000), "3.1");
        assert_eq!(level(640, 480, 30, 1_000_000), "3");
        assert_eq!(level(1920, 1080, 30, 4_000_000), "4");
    }

    #[test]
    fn a_profile_is_told_without_its_level() {
        assert_eq!(profile("42c01f"), "42c0");
        assert_eq!(profile("6"), "6");
    }

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
        let mut late = [1; HEADER_BYTES + 7];
        late[HEADER_BYTES..].copy_from_slice(&[0, 0, 1, 0x67, 0x42, 0xc0, 0x1f]);
        assert_eq!(profile_level_id(&late), None);
        assert_eq!(profile_level_id(&[]), None);
    }
}
