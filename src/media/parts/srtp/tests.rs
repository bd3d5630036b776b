use proptest::prelude::*;

use super::*;

/// RFC 3711, appendix B.3.
const MASTER: [u8; 30] = [
    0xe1, 0xf9, 0x7a, 0x0d, 0x3e, 0x01, 0x8b, 0xe0, 0xd6, 0x4f, 0xa3, 0x2c, 0x06, 0xde, 0x41,
    0x39, //
    0x0e, 0xc6, 0x75, 0xad, 0x49, 0x8a, 0xfe, 0xeb, 0xb6, 0x96, 0x0b, 0x3a, 0xab, 0xe6,
];

#[test]
fn keys_are_derived_as_the_rfc_says() {
    let (key, salt) = MASTER.split_at(KEY);
    let derived = |label, length| {
        let mut derived = vec![0xff; length];
        derive(key, salt, label, &mut derived).expect("derived");
        derived
    };
    let cipher = [
        0xc6, 0x1e, 0x7a, 0x93, 0x74, 0x4f, 0x39, 0xee, 0x10, 0x73, 0x4a, 0xfe, 0x3f, 0xf7, 0xa0,
        0x87,
    ];
    let auth = [
        0xce, 0xbe, 0x32, 0x1f, 0x6f, 0xf7, 0x71, 0x6b, 0x6f, 0xd4, 0xab, 0x49, 0xaf, 0x25, 0x6a,
        0x15, //
        0x6d, 0x38, 0xba, 0xa4,
    ];
    let session_salt = [
        0x30, 0xcb, 0xbc, 0x08, 0x86, 0x3d, 0x8c, 0x85, 0xd4, 0x9d, 0xb3, 0x4a, 0x9a, 0xe1,
    ];
    assert_eq!(derived(0, KEY), cipher);
    assert_eq!(derived(1, AUTH_KEY), auth);
    assert_eq!(derived(2, 14), session_salt);
}

#[test]
fn a_sequence_number_that_wraps_around_is_counted() {
    let mut stream = Stream {
        ssrc: 1,
        newest: None,
        rtcp_index: 0,
    };
    let mut wraps = |sequence| stream.wraps(sequence).expect("not exhausted");
    assert_eq!(wraps(65_534), 0);
    assert_eq!(wraps(65_535), 0);
    assert_eq!(wraps(0), 1);
    assert_eq!(wraps(65_535), 0, "one that comes late");
    assert_eq!(wraps(1), 1);
    assert_eq!(wraps(40_000), 0, "one that comes very late");
    assert_eq!(wraps(30_000), 1);
    assert_eq!(wraps(60_000), 1);
    assert_eq!(wraps(3), 2);
}

#[test]
fn a_key_is_not_used_for_more_than_it_may() {
    let mut sender = Sender::new(Profile::Aes128CmSha1_80, &MASTER).expect("a sender");
    let mut packet = [0x80, 201, 0, 1, 0, 0, 0, 7].to_vec();
    packet.resize(8 + OVERHEAD, 0);
    sender.stream(7).rtcp_index = LAST_RTCP_INDEX - 1;
    assert_eq!(sender.protect_rtcp(&mut packet.clone(), 8), Ok(8 + 4 + 10));
    assert_eq!(sender.protect_rtcp(&mut packet, 8), Err(Fault::Exhausted));
    sender.stream(7).newest = Some((u32::MAX, 65_535));
    assert_eq!(sender.stream(7).wraps(0), Err(Fault::Exhausted));
}

#[test]
fn a_key_of_another_length_is_refused() {
    for profile in [Profile::Aes128CmSha1_80, Profile::Aes128Gcm] {
        let short = Sender::new(profile, &MASTER[..profile.master() - 1]);
        assert!(matches!(short, Err(Fault::Master { .. })), "{profile:?}");
    }
}

proptest! {
    #[test]
    fn whatever_is_to_be_sent_is_a_packet_or_a_fault(mut packet: Vec<u8>, gcm: bool) {
        let profile = if gcm { Profile::Aes128Gcm } else { Profile::Aes128CmSha1_32 };
        let mut sender = Sender::new(profile, &MASTER[..profile.master()]).expect("a sender");
        let length = packet.len();
        packet.resize(length + OVERHEAD, 0);
        let before = packet.clone();
        if let Ok(protected) = sender.protect_rtp(&mut packet, length) {
            prop_assert!(protected > length && protected <= length + OVERHEAD);
            prop_assert_eq!(&packet[..RTP_HEADER], &before[..RTP_HEADER]);
        }
        let mut packet = before;
        if let Ok(protected) = sender.protect_rtcp(&mut packet, length) {
            prop_assert!(protected > length && protected <= length + OVERHEAD);
        }
    }
}
