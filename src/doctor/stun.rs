//! As much of STUN (RFC 8489) and TURN (RFC 8656) as it takes to ask a server whether it would serve us. Pure.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use aws_lc_rs::hmac;
use md5::{Digest as _, Md5};

use crate::secret::Secret;

pub const BINDING: u16 = 0x001;
pub const ALLOCATE: u16 = 0x003;
pub const REFRESH: u16 = 0x004;

const SUCCESS: u16 = 0x100;
const ERROR: u16 = 0x110;
const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
pub const HEADER: usize = 20;

const MAPPED_ADDRESS: u16 = 0x0001;
const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const ERROR_CODE: u16 = 0x0009;
const LIFETIME: u16 = 0x000d;
const REALM: u16 = 0x0014;
const NONCE: u16 = 0x0015;
const REQUESTED_TRANSPORT: u16 = 0x0019;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
/// UDP's protocol number: what is relayed to viewers.
const UDP: u8 = 17;

/// Names one question, so that its answer is known.
pub type Transaction = [u8; 12];

/// What a server wants to see with every request after its first refusal (RFC 8489 §9.2).
pub struct Terms {
    pub username: String,
    pub realm: Vec<u8>,
    pub nonce: Vec<u8>,
    /// As good as the password.
    key: [u8; 16],
}

impl fmt::Debug for Terms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Terms");
        shown.field("username", &self.username);
        shown.finish_non_exhaustive()
    }
}

impl Terms {
    pub fn new(username: &str, password: &Secret, challenge: &Reply) -> Self {
        let realm = challenge.realm.clone();
        let mut digest = Md5::new();
        digest.update(username);
        digest.update(":");
        digest.update(&realm);
        digest.update(":");
        digest.update(password.expose());
        Self {
            username: username.to_owned(),
            realm,
            nonce: challenge.nonce.clone(),
            key: digest.finalize().into(),
        }
    }
}

/// `method` as a request; an ALLOCATE asks for UDP, a REFRESH gives back what was allocated.
pub fn request(method: u16, id: Transaction, terms: Option<&Terms>) -> Vec<u8> {
    let mut message = Vec::with_capacity(160);
    message.extend(method.to_be_bytes());
    message.extend([0, 0]);
    message.extend(COOKIE);
    message.extend(id);
    match method {
        ALLOCATE => attribute(&mut message, REQUESTED_TRANSPORT, &[UDP, 0, 0, 0]),
        REFRESH => attribute(&mut message, LIFETIME, &[0; 4]),
        _ => {}
    }
    if let Some(terms) = terms {
        attribute(&mut message, USERNAME, terms.username.as_bytes());
        attribute(&mut message, NONCE, &terms.nonce);
        attribute(&mut message, REALM, &terms.realm);
        // The length that is signed counts the signature in (RFC 8489 §14.5).
        set_length(&mut message, 24);
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &terms.key);
        let signature = hmac::sign(&key, &message);
        attribute(&mut message, MESSAGE_INTEGRITY, signature.as_ref());
    }
    set_length(&mut message, 0);
    message
}

fn attribute(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
    message.extend(kind.to_be_bytes());
    message.extend(length.to_be_bytes());
    message.extend(value);
    message.resize(message.len().next_multiple_of(4), 0);
}

fn set_length(message: &mut [u8], more: usize) {
    let length = u16::try_from(message.len() - HEADER + more).unwrap_or(u16::MAX);
    message[2..4].copy_from_slice(&length.to_be_bytes());
}

/// How long the whole message is, by its header; nothing where that is not one of STUN's.
pub fn length(header: &[u8; HEADER]) -> Option<usize> {
    let is_stun = header[0] & 0xc0 == 0 && header[4..8] == COOKIE;
    is_stun.then(|| HEADER + usize::from(u16::from_be_bytes([header[2], header[3]])))
}

/// A server's answer.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// Code and phrase of a refusal; nothing for a success.
    pub error: Option<(u16, String)>,
    /// Where the server sees us.
    pub mapped: Option<SocketAddr>,
    pub realm: Vec<u8>,
    pub nonce: Vec<u8>,
}

/// Reads the answer to the request `method` with this `id`; nothing where it is something else.
pub fn parse(message: &[u8], method: u16, id: &Transaction) -> Option<Reply> {
    let header: &[u8; HEADER] = message.first_chunk()?;
    let end = length(header)?;
    if header[8..] != id[..] || message.len() < end {
        return None;
    }
    let kind = u16::from_be_bytes([header[0], header[1]]);
    let is_error = match kind ^ method {
        SUCCESS => false,
        ERROR => true,
        _ => return None,
    };
    let mut reply = Reply::default();
    let mut rest = &message[HEADER..end];
    while let Some((&[k1, k2, l1, l2], after)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes([l1, l2]));
        let value = after.get(..length)?;
        match u16::from_be_bytes([k1, k2]) {
            XOR_MAPPED_ADDRESS => reply.mapped = address(value, Some(id)),
            MAPPED_ADDRESS if reply.mapped.is_none() => reply.mapped = address(value, None),
            REALM => reply.realm = value.to_vec(),
            NONCE => reply.nonce = value.to_vec(),
            ERROR_CODE if is_error => reply.error = error_code(value),
            _ => {}
        }
        rest = after.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    if is_error && reply.error.is_none() {
        reply.error = Some((0, "no reason given".to_owned()));
    }
    Some(reply)
}

fn error_code(value: &[u8]) -> Option<(u16, String)> {
    const LONGEST: usize = 80;
    let (&[_, _, class, number], phrase) = value.split_first_chunk()?;
    let phrase = String::from_utf8_lossy(phrase);
    let phrase = phrase.chars().filter(|c| !c.is_control()).take(LONGEST);
    let code = u16::from(class & 0x07) * 100 + u16::from(number);
    Some((code, phrase.collect()))
}

/// `mask`: the transaction, where the address is hidden from meddling middle boxes (RFC 8489 §14.2).
fn address(value: &[u8], mask: Option<&Transaction>) -> Option<SocketAddr> {
    let (&[_, family, p1, p2], bytes) = value.split_first_chunk()?;
    let mut bytes = bytes.to_vec();
    let mut port = u16::from_be_bytes([p1, p2]);
    if let Some(id) = mask {
        port ^= u16::from_be_bytes([COOKIE[0], COOKIE[1]]);
        for (byte, mask) in bytes.iter_mut().zip(COOKIE.iter().chain(id)) {
            *byte ^= mask;
        }
    }
    let ip: IpAddr = match family {
        1 => Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into(),
        2 => Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into(),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: Transaction = [
        0x78, 0xad, 0x34, 0x33, 0xc6, 0xad, 0x72, 0xc0, 0x29, 0xda, 0x41, 0x2e,
    ];

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        let pair = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
        digits.chunks(2).map(pair).collect()
    }

    /// RFC 5769 §2.4: a request with long-term credentials.
    #[test]
    fn a_signed_request_is_that_of_the_rfc() {
        let challenge = Reply {
            realm: b"example.org".to_vec(),
            nonce: b"f//499k954d6OL34oL9FSTvy64sA".to_vec(),
            ..Reply::default()
        };
        let terms = Terms::new("マトリックス", &Secret::new("TheMatrIX"), &challenge);
        let expected = bytes(
            "00010060 2112a442 78ad3433c6ad72c029da412e \
             00060012 e3839ee38388e383aae38383e382afe382b90000 \
             0015001c 662f2f3439396b39353464364f4c33346f4c39465354767936347341 \
             0014000b 6578616d706c652e6f726700 \
             00080014 f67024656dd64a3e02b8e0712e85c9a28ca89666",
        );
        assert_eq!(request(BINDING, ID, Some(&terms)), expected);
        assert_eq!(
            format!("{terms:?}"),
            "Terms { username: \"マトリックス\", .. }",
            "the key is as good as the password"
        );
    }

    /// RFC 5769 §2.2 and §2.3, without their signatures: where the server sees us, hidden and not.
    #[test]
    fn the_mapped_address_is_read() {
        let id: Transaction = bytes("b7e7a701bc34d686fa87dfae").try_into().unwrap();
        let four = bytes("0101000c 2112a442 b7e7a701bc34d686fa87dfae 00200008 0001a147e112a643");
        let reply = parse(&four, BINDING, &id).unwrap();
        assert_eq!(reply.mapped, Some("192.0.2.1:32853".parse().unwrap()));
        let six = bytes(
            "01010018 2112a442 b7e7a701bc34d686fa87dfae \
             00200014 0002a147 0113a9faa5d3f179bc25f4b5bed2b9d9",
        );
        let reply = parse(&six, BINDING, &id).unwrap();
        let expected = "[2001:db8:1234:5678:11:2233:4455:6677]:32853";
        assert_eq!(reply.mapped, Some(expected.parse().unwrap()));
        assert_eq!(parse(&four, ALLOCATE, &id), None);
        assert_eq!(parse(&four, BINDING, &ID), None);
    }

    #[test]
    fn a_refusal_has_a_code_and_a_challenge() {
        let mut message = bytes("01130000 2112a442 78ad3433c6ad72c029da412e");
        attribute(&mut message, ERROR_CODE, b"\0\0\x04\x01Unauthorized");
        attribute(&mut message, REALM, b"here");
        attribute(&mut message, NONCE, b"n0nce");
        set_length(&mut message, 0);
        let reply = parse(&message, ALLOCATE, &ID).unwrap();
        assert_eq!(reply.error, Some((401, "Unauthorized".to_owned())));
        assert_eq!(
            (&reply.realm[..], &reply.nonce[..]),
            (&b"here"[..], &b"n0nce"[..])
        );
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_or_refused(mut message: Vec<u8>, lie: u8) {
            let _ = parse(&message, BINDING, &ID);
            if message.len() >= HEADER {
                message[..2].copy_from_slice(&0x0101_u16.to_be_bytes());
                message[4..8].copy_from_slice(&COOKIE);
                message[8..HEADER].copy_from_slice(&ID);
                set_length(&mut message, 0);
                message[3] = message[3].wrapping_sub(lie);
                let _ = parse(&message, BINDING, &ID);
            }
        }
    }
}
