//! Viewers' answers: read strictly, written anew.
//!
//! `webrtcbin` before 1.24.8 aborts the process on SDP that it does not expect; two direction attributes
//! in one m-line are enough (1.22: "_get_final_direction: code should not be reached"). So it never sees
//! what a viewer wrote: what is understood here is checked against the offer and written out
//! afresh, and the rest stays behind.

use std::net::Ipv4Addr;

use sdp_types::{Attribute, Connection, Media, Origin, Session};

use super::{
    CandidatePolicy, OfferFacts,
    candidate::check_candidate_value,
    offer::{Codec, OfferedMedia, parse_extmap, parse_rtpmap, values},
    transport::{Transport, flag, single},
};
use crate::media::stamp;

/// Browsers' answers are 2 to 6 KiB.
pub const ANSWER_BYTES_MAX: usize = 32 * 1024;
/// Browsers' answers are 40 to 150 lines.
pub const ANSWER_LINES_MAX: usize = 1000;
/// Candidates in an answer beyond this are left out.
pub const ANSWER_CANDIDATES_MAX: usize = 64;

const PROTOCOL: &str = "UDP/TLS/RTP/SAVPF";
/// Of which transport the m-line speaks depends on the default candidate (RFC 8829 §5.1.2), none of it matters with ICE.
const PROTOCOLS: [&str; 4] = [
    PROTOCOL,
    "TCP/TLS/RTP/SAVPF",
    "TCP/DTLS/RTP/SAVPF",
    "RTP/SAVPF",
];
/// What a viewer may ask of our payloader.
const FEEDBACK: [&str; 5] = ["nack", "nack pli", "ccm fir", "goog-remb", "transport-cc"];

/// An answer that may be handed to `webrtcbin`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedAnswer {
    sdp: String,
    ufrags: Vec<String>,
}

impl CheckedAnswer {
    /// The answer as `webrtcbin` shall see it.
    pub fn sdp(&self) -> &str {
        &self.sdp
    }

    pub fn into_sdp(self) -> String {
        self.sdp
    }

    /// The viewer's ICE user name fragments, which its later candidates may name.
    pub fn ufrags(&self) -> &[String] {
        &self.ufrags
    }
}

/// Why an answer cannot be used. All of them end the viewer; what it wrote is quoted only in part.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnswerFault {
    #[error("it is longer than {ANSWER_BYTES_MAX} bytes or {ANSWER_LINES_MAX} lines")]
    TooLong,
    #[error("it has characters that are not printable ASCII")]
    Unprintable,
    #[error("it is not SDP: {0}")]
    Unreadable(String),
    #[error("it does not fit the offer: {0}")]
    Misfit(&'static str),
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error("{0} is there more than once")]
    Repeated(&'static str),
    #[error("{what} cannot be {value:?}")]
    Malformed { what: &'static str, value: String },
    #[error("the viewer cannot decode {0}")]
    CannotDecode(String),
    #[error("the viewer does not want to receive video")]
    NothingWanted,
}

pub(super) fn malformed(what: &'static str, value: &str) -> AnswerFault {
    AnswerFault::Malformed {
        what,
        value: value.chars().take(64).collect(),
    }
}

/// Checks an answer against the offer that it answers.
pub fn check_answer(
    text: &str,
    offer: &OfferFacts,
    policy: CandidatePolicy,
) -> Result<CheckedAnswer, AnswerFault> {
    if text.len() > ANSWER_BYTES_MAX || text.lines().count() > ANSWER_LINES_MAX {
        return Err(AnswerFault::TooLong);
    }
    if !text
        .bytes()
        .all(|b| matches!(b, b' '..=b'~' | b'\r' | b'\n'))
    {
        return Err(AnswerFault::Unprintable);
    }
    let session = Session::parse(text.as_bytes())
        .map_err(|fault| AnswerFault::Unreadable(fault.to_string()))?;
    if session.medias.len() != offer.media.len() {
        return Err(AnswerFault::Misfit("another number of m-lines"));
    }

    let sections = session
        .medias
        .iter()
        .zip(&offer.media)
        .map(|(media, offered)| Section::read(&session, media, offered, policy))
        .collect::<Result<Vec<_>, _>>()?;
    check_bundle(&session, &sections)?;
    let transport = shared_transport(&sections)?;
    Ok(CheckedAnswer {
        sdp: write(&session, &sections, transport),
        ufrags: vec![transport.ufrag.clone()],
    })
}

/// One m-line of an answer, as far as it is understood.
struct Section<'a> {
    offered: &'a OfferedMedia,
    /// `None`: the viewer does without this medium.
    accepted: Option<Accepted>,
}

struct Accepted {
    direction: &'static str,
    codecs: Vec<Codec>,
    /// fmtp, rtcp-fb, extmap, rtcp-rsize.
    details: Vec<Attribute>,
    /// May be left to another m-line of the bundle (RFC 9143 §7.3).
    transport: Option<Transport>,
    candidates: Vec<String>,
}

impl<'a> Section<'a> {
    fn read(
        session: &Session,
        media: &Media,
        offered: &'a OfferedMedia,
        policy: CandidatePolicy,
    ) -> Result<Self, AnswerFault> {
        if media.media != offered.kind {
            return Err(AnswerFault::Misfit("its m-lines are of other kinds"));
        }
        if !PROTOCOLS.contains(&media.proto.as_str()) {
            return Err(malformed("the protocol", &media.proto));
        }
        if media.num_ports.is_some() {
            return Err(AnswerFault::Misfit("a range of ports"));
        }
        match single(&media.attributes, "mid")? {
            Some(mid) if mid == offered.mid => {}
            Some(mid) => return Err(malformed("the mid", mid)),
            None => return Err(AnswerFault::Missing("the mid")),
        }
        let wanted = offered.kind == "video";
        let direction = direction(&session.attributes, &media.attributes)?;
        let accepted = match direction {
            _ if media.port == 0 && wanted => {
                return Err(AnswerFault::CannotDecode(offered.main_encoding()));
            }
            "inactive" if wanted => return Err(AnswerFault::NothingWanted),
            _ if media.port == 0 => None,
            "recvonly" | "inactive" => {
                Some(Accepted::read(session, media, offered, direction, policy)?)
            }
            // We only send, so there is nothing that the viewer could send (RFC 3264 §6.1).
            other => return Err(malformed("the direction", other)),
        };
        Ok(Self { offered, accepted })
    }
}

impl OfferedMedia {
    /// `H264` or `opus`.
    fn main_encoding(&self) -> String {
        let main = self.codecs.iter().find(|codec| !codec.is_repair());
        let name = main.and_then(|codec| codec.encoding.split('/').next());
        name.unwrap_or_default().to_owned()
    }
}

impl Accepted {
    fn read(
        session: &Session,
        media: &Media,
        offered: &OfferedMedia,
        direction: &'static str,
        policy: CandidatePolicy,
    ) -> Result<Self, AnswerFault> {
        let codecs = common_codecs(media, offered)?;
        if codecs.iter().all(Codec::is_repair) {
            return Err(AnswerFault::CannotDecode(offered.main_encoding()));
        }
        if !flag(&media.attributes, "rtcp-mux")? {
            return Err(AnswerFault::Missing("rtcp-mux"));
        }
        let mut details = Vec::new();
        for attribute in &media.attributes {
            if let Some(kept) = keep_detail(attribute, &codecs, offered)? {
                details.push(kept);
            }
        }
        if flag(&media.attributes, "rtcp-rsize")? {
            details.push(Attribute::new("rtcp-rsize"));
        }
        let candidates = values(&media.attributes, "candidate")
            .filter(|value| check_candidate_value(value, policy).is_ok())
            .take(ANSWER_CANDIDATES_MAX)
            .map(str::to_owned)
            .collect();
        Ok(Self {
            direction,
            codecs,
            details,
            transport: Transport::read(session, media)?,
            candidates,
        })
    }
}

/// The offered payload types that the viewer lists and means the same by.
fn common_codecs(media: &Media, offered: &OfferedMedia) -> Result<Vec<Codec>, AnswerFault> {
    let answered: Vec<_> = values(&media.attributes, "rtpmap")
        .map(|value| parse_rtpmap(value).ok_or_else(|| malformed("an rtpmap", value)))
        .collect::<Result<_, _>>()?;
    let mut common: Vec<Codec> = Vec::new();
    for word in media.fmt.split(' ').filter(|word| !word.is_empty()) {
        let payload_type: u8 = word
            .parse()
            .map_err(|_| malformed("a payload type", word))?;
        if common
            .iter()
            .any(|codec| codec.payload_type == payload_type)
        {
            return Err(AnswerFault::Repeated("a payload type"));
        }
        let is_this = |codec: &&Codec| codec.payload_type == payload_type;
        let Some(ours) = offered.codecs.iter().find(is_this) else {
            continue;
        };
        let mut theirs = answered.iter().filter(is_this);
        match (theirs.next(), theirs.next()) {
            (Some(_), Some(_)) => return Err(AnswerFault::Repeated("an rtpmap")),
            (Some(their), None) if their.encoding.eq_ignore_ascii_case(&ours.encoding) => {
                common.push(ours.clone());
            }
            (Some(_), None) => {
                return Err(AnswerFault::Misfit(
                    "a payload type stands for another codec",
                ));
            }
            (None, _) => return Err(AnswerFault::Missing("an rtpmap")),
        }
    }
    Ok(common)
}

/// Format parameters, feedback and extensions that `webrtcbin` has a use for; others are left out.
fn keep_detail(
    attribute: &Attribute,
    codecs: &[Codec],
    offered: &OfferedMedia,
) -> Result<Option<Attribute>, AnswerFault> {
    let Some(value) = attribute.value.as_deref() else {
        return Ok(None);
    };
    let about_common = |payload_type: &str| {
        let number = payload_type.parse::<u8>();
        codecs.iter().any(|codec| Ok(codec.payload_type) == number)
    };
    let keep = match attribute.attribute.as_str() {
        "fmtp" => {
            let (payload_type, parameters) = value.split_once(' ').unwrap_or((value, ""));
            if !parameters.split(';').all(is_parameter) {
                return Err(malformed("an fmtp", value));
            }
            about_common(payload_type)
        }
        "rtcp-fb" => {
            let (payload_type, feedback) = value.split_once(' ').unwrap_or((value, ""));
            (payload_type == "*" || about_common(payload_type)) && FEEDBACK.contains(&feedback)
        }
        "extmap" => {
            let extension = parse_extmap(value).ok_or_else(|| malformed("an extmap", value))?;
            // Written as offered: a viewer's direction and parameters of an extension say nothing to a sender. (`webrtcbin` did
            // not offer the numbers.)
            let is_known =
                extension.uri != stamp::NUMBER_URI && offered.extensions.contains(&extension);
            return Ok(is_known.then(|| {
                Attribute::with_value("extmap", format!("{} {}", extension.id, extension.uri))
            }));
        }
        _ => false,
    };
    Ok(keep.then(|| attribute.clone()))
}

/// `name=value` or a bare value; a name becomes the name of a caps field.
fn is_parameter(text: &str) -> bool {
    let text = text.trim_matches(' ');
    let Some((name, value)) = text.split_once('=') else {
        return text.bytes().all(|b| b.is_ascii_graphic());
    };
    name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        && value.bytes().all(|b| b.is_ascii_graphic() && b != b'"')
}

/// All accepted m-lines must be in one bundle: a branch has one transport (`max-bundle`).
fn check_bundle(session: &Session, sections: &[Section]) -> Result<(), AnswerFault> {
    let mut groups =
        values(&session.attributes, "group").filter_map(|value| value.strip_prefix("BUNDLE"));
    let Some(group) = groups.next() else {
        let alone = sections.iter().filter(|section| section.accepted.is_some());
        return match alone.count() {
            1 => Ok(()),
            _ => Err(AnswerFault::Missing("the bundle")),
        };
    };
    if groups.next().is_some() {
        return Err(AnswerFault::Repeated("the bundle"));
    }
    let mids: Vec<_> = group.split(' ').filter(|mid| !mid.is_empty()).collect();
    for (at, mid) in mids.iter().enumerate() {
        if mids[..at].contains(mid) {
            return Err(AnswerFault::Repeated("a mid in the bundle"));
        }
        if !sections.iter().any(|section| section.offered.mid == *mid) {
            return Err(malformed("a mid in the bundle", mid));
        }
    }
    let outside = |section: &Section| {
        section.accepted.is_some() && !mids.contains(&section.offered.mid.as_str())
    };
    if sections.iter().any(outside) {
        return Err(AnswerFault::Misfit("an m-line outside the bundle"));
    }
    Ok(())
}

fn shared_transport<'s>(sections: &'s [Section]) -> Result<&'s Transport, AnswerFault> {
    let accepted = sections
        .iter()
        .filter_map(|section| section.accepted.as_ref());
    let mut transports = accepted.filter_map(|accepted| accepted.transport.as_ref());
    let first = transports
        .next()
        .ok_or(AnswerFault::Missing("the ICE user name fragment"))?;
    if transports.any(|other| other != first) {
        return Err(AnswerFault::Misfit(
            "m-lines of one bundle have different transports",
        ));
    }
    Ok(first)
}

/// The direction of an m-line: its own, else the session's, else `sendrecv` (RFC 8866 §6.7).
fn direction(session: &[Attribute], media: &[Attribute]) -> Result<&'static str, AnswerFault> {
    const DIRECTIONS: [&str; 4] = ["recvonly", "inactive", "sendonly", "sendrecv"];
    for level in [media, session] {
        let mut found = level.iter().filter_map(|attribute| {
            DIRECTIONS
                .into_iter()
                .find(|direction| attribute.attribute == *direction)
        });
        match (found.next(), found.next()) {
            (Some(direction), None) => return Ok(direction),
            (Some(_), Some(_)) => return Err(AnswerFault::Repeated("the direction")),
            (None, _) => {}
        }
    }
    Ok("sendrecv")
}

/// Writes the answer afresh from what was understood.
fn write(session: &Session, sections: &[Section], transport: &Transport) -> String {
    let id = &session.origin.sess_id;
    let numeric = !id.is_empty() && id.len() <= 20 && id.bytes().all(|b| b.is_ascii_digit());
    let id = if numeric { id.as_str() } else { "0" };
    let origin = Origin::with_ip_addr(id, session.origin.sess_version, Ipv4Addr::UNSPECIFIED);
    let mut answer = Session::new(origin, "-");
    let mut bundle = String::from("BUNDLE");
    for section in sections {
        if section.accepted.is_some() {
            bundle.push(' ');
            bundle.push_str(&section.offered.mid);
        }
        answer.medias.push(write_section(section, transport));
    }
    answer.attributes = vec![Attribute::with_value("group", bundle)];
    if transport.ice_lite {
        answer.attributes.push(Attribute::new("ice-lite"));
    }
    let mut sdp = Vec::new();
    answer
        .write(&mut sdp)
        .expect("a Vec takes whatever is written");
    String::from_utf8(sdp).expect("only ASCII was let in, and an offer's mids and codecs are text")
}

fn write_section(section: &Section, transport: &Transport) -> Media {
    let offered = section.offered;
    let mut attributes = vec![Attribute::with_value("mid", &offered.mid)];
    let (port, codecs) = match &section.accepted {
        Some(accepted) => {
            attributes.extend(transport.attributes());
            attributes.push(Attribute::new(accepted.direction));
            attributes.push(Attribute::new("rtcp-mux"));
            for codec in &accepted.codecs {
                let rtpmap = format!("{} {}", codec.payload_type, codec.encoding);
                attributes.push(Attribute::with_value("rtpmap", rtpmap));
            }
            attributes.extend(accepted.details.iter().cloned());
            let candidates = accepted.candidates.iter();
            attributes.extend(candidates.map(|value| Attribute::with_value("candidate", value)));
            (9, &accepted.codecs)
        }
        None => {
            attributes.push(Attribute::new("inactive"));
            (0, &offered.codecs)
        }
    };
    let formats: Vec<_> = codecs
        .iter()
        .map(|codec| codec.payload_type.to_string())
        .collect();
    Media {
        media: offered.kind.clone(),
        port,
        num_ports: None,
        proto: PROTOCOL.to_owned(),
        fmt: formats.join(" "),
        media_title: None,
        connections: vec![Connection::from_ip_addr(Ipv4Addr::UNSPECIFIED)],
        bandwidths: Vec::new(),
        key: None,
        attributes,
    }
}
