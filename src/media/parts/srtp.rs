//! SRTP and SRTCP for a sender: RFC 3711 with the profiles of RFC 5764 §4.1.2 and RFC 7714 §14.2 that GStreamer's DTLS
//! offers. Pure: packets in, packets out. Receiving stays GStreamer's.

use aws_lc_rs::{
    aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    cipher::{AES_128, EncryptingKey, EncryptionContext, UnboundCipherKey},
    hmac,
    iv::FixedLength,
};

/// So much longer a packet may become: the tag of GCM, or that of HMAC-SHA1, and SRTCP's index.
pub const OVERHEAD: usize = 16 + 4;

/// Bytes of the fixed RTP header (RFC 3550 §5.1).
const RTP_HEADER: usize = 12;
/// What of an RTCP packet is never encrypted (RFC 3711 §3.4).
const RTCP_HEADER: usize = 8;
const KEY: usize = 16;
const AUTH_KEY: usize = 20;
/// An index of SRTCP has 31 bits, and must not come again (RFC 3711 §9.2).
const LAST_RTCP_INDEX: u32 = 0x7fff_ffff;
/// "This is encrypted", in front of the index (RFC 3711 §3.4).
const ENCRYPTED: u32 = 0x8000_0000;

/// A protection profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    Aes128CmSha1_80,
    /// The short tag is for RTP; RTCP keeps the long one (RFC 5764 §4.1.2).
    Aes128CmSha1_32,
    Aes128Gcm,
}

impl Profile {
    /// Bytes of master key and master salt together.
    pub const fn master(self) -> usize {
        KEY + self.salt()
    }

    const fn salt(self) -> usize {
        match self {
            Self::Aes128CmSha1_80 | Self::Aes128CmSha1_32 => 14,
            Self::Aes128Gcm => 12,
        }
    }
}

/// Why a packet is not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("the master key has {found} bytes, {expected} were expected")]
    Master { found: usize, expected: usize },
    #[error("it is no RTP packet")]
    NotRtp,
    #[error("it is no RTCP packet")]
    NotRtcp,
    #[error("the key has been used for as many packets as it may")]
    Exhausted,
    #[error("the cryptographic library refuses")]
    Refused,
}

/// One direction of one association.
#[derive(Debug)]
pub struct Sender {
    rtp: Keys,
    rtcp: Keys,
    // Two or three: the picture, what of it is sent again, the sound.
    streams: Vec<Stream>,
}

#[derive(Debug)]
struct Stream {
    ssrc: u32,
    /// The newest packet's index: how often the sequence number has wrapped around, and the number.
    newest: Option<(u32, u16)>,
    rtcp_index: u32,
}

impl Sender {
    /// `master` is the master key and then the master salt, as DTLS exports them.
    pub fn new(profile: Profile, master: &[u8]) -> Result<Self, Fault> {
        if master.len() != profile.master() {
            return Err(Fault::Master {
                found: master.len(),
                expected: profile.master(),
            });
        }
        let (key, salt) = master.split_at(KEY);
        let short = profile == Profile::Aes128CmSha1_32;
        Ok(Self {
            rtp: Keys::derive(profile, key, salt, 0, if short { 4 } else { 10 })?,
            rtcp: Keys::derive(profile, key, salt, 3, 10)?,
            streams: Vec::new(),
        })
    }

    /// Protects the RTP packet in the first `length` bytes; at least [`OVERHEAD`] more have to follow. Returns its new
    /// length.
    pub fn protect_rtp(&mut self, packet: &mut [u8], length: usize) -> Result<usize, Fault> {
        let header = rtp_header(&packet[..length]).ok_or(Fault::NotRtp)?;
        let sequence = u16::from_be_bytes([packet[2], packet[3]]);
        let ssrc = u32::from_be_bytes([packet[8], packet[9], packet[10], packet[11]]);
        let stream = self.stream(ssrc);
        let wraps = stream.wraps(sequence)?;
        self.rtp.protect_rtp(packet, header, length, ssrc, wraps)
    }

    /// Protects a compound RTCP packet, likewise.
    pub fn protect_rtcp(&mut self, packet: &mut [u8], length: usize) -> Result<usize, Fault> {
        if length < RTCP_HEADER || packet[0] >> 6 != 2 {
            return Err(Fault::NotRtcp);
        }
        let ssrc = u32::from_be_bytes([packet[4], packet[5], packet[6], packet[7]]);
        let stream = self.stream(ssrc);
        if stream.rtcp_index >= LAST_RTCP_INDEX {
            return Err(Fault::Exhausted);
        }
        stream.rtcp_index += 1;
        let index = stream.rtcp_index;
        self.rtcp.protect_rtcp(packet, length, ssrc, index)
    }

    fn stream(&mut self, ssrc: u32) -> &mut Stream {
        let known = self.streams.iter().position(|stream| stream.ssrc == ssrc);
        let at = known.unwrap_or_else(|| {
            self.streams.push(Stream {
                ssrc,
                newest: None,
                rtcp_index: 0,
            });
            self.streams.len() - 1
        });
        &mut self.streams[at]
    }
}

impl Stream {
    /// How often the sequence number had wrapped around when this packet was made (RFC 3711 §3.3.1): one may come a
    /// little late.
    fn wraps(&mut self, sequence: u16) -> Result<u32, Fault> {
        let Some((wraps, newest)) = self.newest else {
            self.newest = Some((0, sequence));
            return Ok(0);
        };
        if sequence.wrapping_sub(newest) >= 0x8000 {
            // Late, perhaps from before the latest wrap.
            return Ok(wraps.saturating_sub(u32::from(sequence > newest)));
        }
        let wraps = match sequence < newest {
            true => wraps.checked_add(1).ok_or(Fault::Exhausted)?,
            false => wraps,
        };
        self.newest = Some((wraps, sequence));
        Ok(wraps)
    }
}

/// The session's keys for either RTP or RTCP.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a viewer has two of them, for good"
)]
enum Keys {
    Cm {
        cipher: EncryptingKey,
        salt: [u8; 14],
        auth: hmac::Key,
        tag: usize,
    },
    Gcm {
        cipher: LessSafeKey,
        salt: [u8; 12],
    },
}

impl Keys {
    /// RFC 3711 §4.3, with a key derivation rate of 0. `label` is that of the encryption key; the others follow it.
    fn derive(
        profile: Profile,
        master: &[u8],
        master_salt: &[u8],
        label: u8,
        tag: usize,
    ) -> Result<Self, Fault> {
        let mut key = [0; KEY];
        derive(master, master_salt, label, &mut key)?;
        if profile == Profile::Aes128Gcm {
            let mut salt = [0; 12];
            derive(master, master_salt, label + 2, &mut salt)?;
            let key = UnboundKey::new(&AES_128_GCM, &key).map_err(|_| Fault::Refused)?;
            let cipher = LessSafeKey::new(key);
            return Ok(Self::Gcm { cipher, salt });
        }
        let mut auth = [0; AUTH_KEY];
        derive(master, master_salt, label + 1, &mut auth)?;
        let mut salt = [0; 14];
        derive(master, master_salt, label + 2, &mut salt)?;
        Ok(Self::Cm {
            cipher: counter_mode(&key)?,
            salt,
            auth: hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &auth),
            tag,
        })
    }

    fn protect_rtp(
        &self,
        packet: &mut [u8],
        header: usize,
        length: usize,
        ssrc: u32,
        wraps: u32,
    ) -> Result<usize, Fault> {
        let (wraps, ssrc) = (wraps.to_be_bytes(), ssrc.to_be_bytes());
        let sequence = [packet[2], packet[3]];
        match self {
            Self::Cm {
                cipher,
                salt,
                auth,
                tag,
            } => {
                // RFC 3711 §4.1.1.
                let mut iv = [0; 16];
                iv[..14].copy_from_slice(salt);
                mix(&mut iv[4..], &ssrc);
                mix(&mut iv[8..], &wraps);
                mix(&mut iv[12..], &sequence);
                encrypt(cipher, iv, &mut packet[header..length])?;
                let signature = sign(auth, [&packet[..length], &wraps]);
                packet[length..length + tag].copy_from_slice(&signature.as_ref()[..*tag]);
                Ok(length + tag)
            }
            Self::Gcm { cipher, salt } => {
                // RFC 7714 §8.1.
                let mut nonce = *salt;
                mix(&mut nonce[2..], &ssrc);
                mix(&mut nonce[6..], &wraps);
                mix(&mut nonce[10..], &sequence);
                let (open, rest) = packet.split_at_mut(header);
                let length = length - header;
                Ok(header + seal(cipher, nonce, open, rest, length)?)
            }
        }
    }

    fn protect_rtcp(
        &self,
        packet: &mut [u8],
        length: usize,
        ssrc: u32,
        index: u32,
    ) -> Result<usize, Fault> {
        let (word, ssrc) = ((ENCRYPTED | index).to_be_bytes(), ssrc.to_be_bytes());
        match self {
            Self::Cm {
                cipher,
                salt,
                auth,
                tag,
            } => {
                let mut iv = [0; 16];
                iv[..14].copy_from_slice(salt);
                mix(&mut iv[4..], &ssrc);
                mix(&mut iv[10..], &index.to_be_bytes());
                encrypt(cipher, iv, &mut packet[RTCP_HEADER..length])?;
                let signed = length + word.len();
                packet[length..signed].copy_from_slice(&word);
                let signature = sign(auth, [&packet[..signed]]);
                packet[signed..signed + tag].copy_from_slice(&signature.as_ref()[..*tag]);
                Ok(signed + tag)
            }
            Self::Gcm { cipher, salt } => {
                // RFC 7714 §9.1.
                let mut nonce = *salt;
                mix(&mut nonce[2..], &ssrc);
                mix(&mut nonce[8..], &index.to_be_bytes());
                let mut open = [0; RTCP_HEADER + 4];
                open[..RTCP_HEADER].copy_from_slice(&packet[..RTCP_HEADER]);
                open[RTCP_HEADER..].copy_from_slice(&word);
                let rest = &mut packet[RTCP_HEADER..];
                let sealed = RTCP_HEADER + seal(cipher, nonce, &open, rest, length - RTCP_HEADER)?;
                packet[sealed..sealed + word.len()].copy_from_slice(&word);
                Ok(sealed + word.len())
            }
        }
    }
}

/// Where an RTP packet's payload begins (RFC 3550 §5.1, §5.3.1).
fn rtp_header(packet: &[u8]) -> Option<usize> {
    let first = *packet.first()?;
    if first >> 6 != 2 {
        return None;
    }
    let mut header = RTP_HEADER + usize::from(first & 0x0f) * 4;
    if first & 0x10 != 0 {
        let words = packet.get(header + 2..header + 4)?;
        header += 4 + usize::from(u16::from_be_bytes([words[0], words[1]])) * 4;
    }
    (packet.len() >= header).then_some(header)
}

fn counter_mode(key: &[u8]) -> Result<EncryptingKey, Fault> {
    UnboundCipherKey::new(&AES_128, key)
        .and_then(EncryptingKey::ctr)
        .map_err(|_| Fault::Refused)
}

fn encrypt(cipher: &EncryptingKey, iv: [u8; 16], text: &mut [u8]) -> Result<(), Fault> {
    let context = EncryptionContext::Iv128(FixedLength::from(iv));
    cipher
        .less_safe_encrypt(text, context)
        .map(drop)
        .map_err(|_| Fault::Refused)
}

fn sign<const N: usize>(key: &hmac::Key, parts: [&[u8]; N]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(key);
    for part in parts {
        context.update(part);
    }
    context.sign()
}

/// Encrypts the first `length` bytes and puts the tag behind them; returns the length of both.
fn seal(
    cipher: &LessSafeKey,
    nonce: [u8; 12],
    open: &[u8],
    text: &mut [u8],
    length: usize,
) -> Result<usize, Fault> {
    let nonce = Nonce::assume_unique_for_key(nonce);
    let (text, rest) = text.split_at_mut(length);
    let tag = cipher
        .seal_in_place_separate_tag(nonce, Aad::from(open), text)
        .map_err(|_| Fault::Refused)?;
    rest[..tag.as_ref().len()].copy_from_slice(tag.as_ref());
    Ok(length + tag.as_ref().len())
}

/// RFC 3711 §4.3.3: as many bytes of AES in counter mode as `derived` has.
fn derive(master: &[u8], salt: &[u8], label: u8, derived: &mut [u8]) -> Result<(), Fault> {
    let mut iv = [0; 16];
    iv[..salt.len()].copy_from_slice(salt);
    iv[7] ^= label;
    derived.fill(0);
    encrypt(&counter_mode(master)?, iv, derived)
}

fn mix(into: &mut [u8], bytes: &[u8]) {
    for (into, byte) in into.iter_mut().zip(bytes) {
        *into ^= byte;
    }
}

#[cfg(test)]
mod tests;
