//! What our own offer says, for checking answers and candidates against.

use sdp_types::{Attribute, Media, Session};

/// The part of an offer that an answer is bound to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OfferFacts {
    pub(super) media: Vec<OfferedMedia>,
}

/// One m-line of the offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OfferedMedia {
    /// `video` or `audio`.
    pub kind: String,
    pub mid: String,
    pub codecs: Vec<Codec>,
    pub extensions: Vec<Extension>,
}

/// A payload type and what it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Codec {
    pub payload_type: u8,
    /// `H264/90000` or `opus/48000/2`.
    pub encoding: String,
}

impl Codec {
    /// Repair formats carry nothing that could be watched by itself.
    pub fn is_repair(&self) -> bool {
        let name = self.encoding.split('/').next().unwrap_or_default();
        ["rtx", "red", "ulpfec", "flexfec-03"]
            .iter()
            .any(|repair| name.eq_ignore_ascii_case(repair))
    }
}

/// An RTP header extension (RFC 8285).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Extension {
    pub id: u8,
    pub uri: String,
}

/// The branch's own offer is not what it should be: nothing a viewer could do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the branch's own offer cannot be used: {0}")]
pub struct OfferFault(String);

impl OfferFacts {
    /// Reads the facts from an offer that `webrtcbin` made.
    pub fn read(offer: &str) -> Result<Self, OfferFault> {
        let session =
            Session::parse(offer.as_bytes()).map_err(|fault| OfferFault(fault.to_string()))?;
        let media = session
            .medias
            .iter()
            .map(OfferedMedia::read)
            .collect::<Result<Vec<_>, _>>()?;
        if !media.iter().any(|media| media.kind == "video") {
            return Err(OfferFault("there is no video in it".to_owned()));
        }
        Ok(Self { media })
    }

    /// The mid of the m-line at an index.
    pub fn mid(&self, index: usize) -> Option<&str> {
        self.media.get(index).map(|media| media.mid.as_str())
    }

    /// The index of the m-line with a mid.
    pub fn index_of(&self, mid: &str) -> Option<usize> {
        self.media.iter().position(|media| media.mid == mid)
    }
}

impl OfferedMedia {
    fn read(media: &Media) -> Result<Self, OfferFault> {
        let mid = values(&media.attributes, "mid")
            .next()
            .ok_or_else(|| OfferFault(format!("no mid for {}", media.media)))?;
        let codecs: Vec<_> = values(&media.attributes, "rtpmap")
            .filter_map(parse_rtpmap)
            .collect();
        if codecs.iter().all(Codec::is_repair) {
            return Err(OfferFault(format!("no rtpmap for {}", media.media)));
        }
        Ok(Self {
            kind: media.media.clone(),
            mid: mid.to_owned(),
            codecs,
            extensions: values(&media.attributes, "extmap")
                .filter_map(parse_extmap)
                .collect(),
        })
    }
}

/// The values of all attributes of that name.
pub(super) fn values<'a>(
    attributes: &'a [Attribute],
    name: &'a str,
) -> impl Iterator<Item = &'a str> {
    attributes
        .iter()
        .filter(move |attribute| attribute.attribute == name)
        .filter_map(|attribute| attribute.value.as_deref())
}

/// `<payload type> <encoding>/<clock rate>[/<channels>]` (RFC 8866 §6.6).
pub(super) fn parse_rtpmap(value: &str) -> Option<Codec> {
    let (payload_type, encoding) = value.split_once(' ')?;
    Some(Codec {
        payload_type: payload_type.parse().ok().filter(|pt| *pt < 128)?,
        encoding: encoding.to_owned(),
    })
}

/// `<id>[/<direction>] <URI> [attributes]` (RFC 8285 §5).
pub(super) fn parse_extmap(value: &str) -> Option<Extension> {
    let mut words = value.split(' ');
    let id = words.next()?;
    let id = id.split_once('/').map_or(id, |(id, _)| id);
    Some(Extension {
        id: id.parse().ok()?,
        uri: words.next()?.to_owned(),
    })
}
