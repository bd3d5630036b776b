//! The candidate grammar of RFC 8839 §5.1, strictly.

use std::net::IpAddr;

use super::{CandidatePolicy, OfferFacts};
use crate::signaling::message::Candidate;

/// Browsers write about 150 characters; RFC 8839 sets no bound.
pub const CANDIDATE_BYTES_MAX: usize = 512;

/// A candidate that may be handed to `webrtcbin`: well-formed, and its m-line's index and mid agree with the offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedCandidate(Candidate);

impl CheckedCandidate {
    pub fn candidate(&self) -> &Candidate {
        &self.0
    }

    pub fn into_candidate(self) -> Candidate {
        self.0
    }
}

/// Why a viewer's candidate is dropped. The viewer goes on with its others.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CandidateFault {
    #[error("longer than {CANDIDATE_BYTES_MAX} bytes")]
    TooLong,
    #[error("{0} is missing or malformed (RFC 8839 §5.1)")]
    Grammar(&'static str),
    /// Not a fault of the viewer: ICE over TCP is off.
    #[error("it is not for UDP")]
    NotUdp,
    #[error("component {0}; with rtcp-mux there is only 1")]
    Component(u16),
    #[error("no packets are sent to {0}")]
    Address(IpAddr),
    /// A foreign host name would make the device ask its DNS for whatever a viewer likes.
    #[error("a host name outside .local")]
    HostName,
    #[error("it names no m-line of the offer")]
    Place,
}

/// Checks a viewer's candidate before `webrtcbin` sees it.
///
/// `*.local` names (mDNS, as browsers without camera permission send them) pass: libnice resolves them
/// where the system can and drops them where it cannot.
pub fn check_candidate(
    candidate: &Candidate,
    offer: &OfferFacts,
    policy: CandidatePolicy,
) -> Result<CheckedCandidate, CandidateFault> {
    let text = candidate.candidate.as_str();
    let text = text.strip_prefix("a=").unwrap_or(text);
    let value = text
        .strip_prefix("candidate:")
        .ok_or(CandidateFault::Grammar("the word \"candidate:\""))?;
    let named_ufrag = check_candidate_value(value, policy)?;

    let ufrag = candidate.username_fragment.as_deref().or(named_ufrag);
    if ufrag.is_some_and(|ufrag| !is_ufrag(ufrag)) {
        return Err(CandidateFault::Grammar("the user name fragment"));
    }
    let index = place(candidate, offer).ok_or(CandidateFault::Place)?;
    Ok(CheckedCandidate(Candidate {
        candidate: text.to_owned(),
        sdp_mid: offer.mid(index).map(str::to_owned),
        sdp_mline_index: u16::try_from(index).ok(),
        username_fragment: ufrag.map(str::to_owned),
    }))
}

/// The m-line that a candidate is for; a mid outweighs an index (W3C WebRTC §4.4.1.9).
fn place(candidate: &Candidate, offer: &OfferFacts) -> Option<usize> {
    match candidate.sdp_mid.as_deref().filter(|mid| !mid.is_empty()) {
        Some(mid) => offer.index_of(mid),
        None => {
            let index = usize::from(candidate.sdp_mline_index?);
            offer.mid(index).map(|_| index)
        }
    }
}

/// Checks what follows `candidate:`; says which user name fragment it names, if it does.
pub(super) fn check_candidate_value(
    value: &str,
    policy: CandidatePolicy,
) -> Result<Option<&str>, CandidateFault> {
    if value.len() > CANDIDATE_BYTES_MAX {
        return Err(CandidateFault::TooLong);
    }
    let mut words = value.split(' ');
    let mut next = |what| words.next().ok_or(CandidateFault::Grammar(what));

    let foundation = next("the foundation")?;
    if !(1..=32).contains(&foundation.len()) || !foundation.bytes().all(is_ice_char) {
        return Err(CandidateFault::Grammar("the foundation"));
    }
    let component = number(next("the component")?, 3, "the component")?;
    let transport = next("the transport")?;
    let priority = number(next("the priority")?, 10, "the priority")?;
    if !(1..=0x7fff_ffff).contains(&priority) {
        return Err(CandidateFault::Grammar("the priority"));
    }
    let address = next("the address")?;
    let port = number(next("the port")?, 5, "the port")?;
    if next("\"typ\"")? != "typ" {
        return Err(CandidateFault::Grammar("\"typ\""));
    }
    if !matches!(next("the type")?, "host" | "srflx" | "prflx" | "relay") {
        return Err(CandidateFault::Grammar("the type"));
    }
    let ufrag = extensions(words)?;

    if !transport.eq_ignore_ascii_case("udp") {
        return Err(CandidateFault::NotUdp);
    }
    if component != 1 {
        let component = u16::try_from(component).unwrap_or(u16::MAX);
        return Err(CandidateFault::Component(component));
    }
    if !(1..=65535).contains(&port) {
        return Err(CandidateFault::Grammar("the port"));
    }
    check_address(address, policy)?;
    Ok(ufrag)
}

/// `raddr`, `rport` and extensions: pairs of a name and a value.
fn extensions<'a>(
    mut words: impl Iterator<Item = &'a str>,
) -> Result<Option<&'a str>, CandidateFault> {
    let mut ufrag = None;
    while let Some(name) = words.next() {
        let value = words
            .next()
            .ok_or(CandidateFault::Grammar("an extension's value"))?;
        let visible = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
        if !visible(name) || !visible(value) {
            return Err(CandidateFault::Grammar("an extension"));
        }
        match name {
            "raddr" if value.parse::<IpAddr>().is_err() && !is_mdns_name(value) => {
                return Err(CandidateFault::Grammar("the related address"));
            }
            "rport" if number(value, 5, "the related port")? > 65535 => {
                return Err(CandidateFault::Grammar("the related port"));
            }
            "ufrag" => ufrag = Some(value),
            _ => {}
        }
    }
    Ok(ufrag)
}

fn number(text: &str, digits: usize, what: &'static str) -> Result<u64, CandidateFault> {
    let fits = (1..=digits).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    match text.parse() {
        Ok(number) if fits => Ok(number),
        _ => Err(CandidateFault::Grammar(what)),
    }
}

fn check_address(text: &str, policy: CandidatePolicy) -> Result<(), CandidateFault> {
    match text.parse::<IpAddr>() {
        Ok(ip) if policy.allows(ip) => Ok(()),
        Ok(ip) => Err(CandidateFault::Address(ip)),
        Err(_) if is_mdns_name(text) => Ok(()),
        Err(_) if text.bytes().any(|b| b.is_ascii_alphabetic()) && !text.contains(':') => {
            Err(CandidateFault::HostName)
        }
        Err(_) => Err(CandidateFault::Grammar("the address")),
    }
}

/// One label and `.local` (draft-ietf-mmusic-mdns-ice-candidates §3.1).
fn is_mdns_name(text: &str) -> bool {
    text.strip_suffix(".local").is_some_and(|label| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
    })
}

/// RFC 8839 §5.4: 4 to 256 ice-chars.
pub(super) fn is_ufrag(text: &str) -> bool {
    (4..=256).contains(&text.len()) && text.bytes().all(is_ice_char)
}

/// RFC 8839 §5.4: 22 to 256 ice-chars.
pub(super) fn is_pwd(text: &str) -> bool {
    (22..=256).contains(&text.len()) && text.bytes().all(is_ice_char)
}

fn is_ice_char(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'+' || b == b'/'
}
