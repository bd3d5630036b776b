//! The ICE and DTLS half of an answer.

use sdp_types::{Attribute, Media, Session};

use super::{
    answer::{AnswerFault, malformed},
    candidate::{is_pwd, is_ufrag},
    offer::values,
};

/// How to reach the viewer and how to know it.
#[derive(PartialEq, Eq)]
pub struct Transport {
    pub ufrag: String,
    pwd: String,
    fingerprints: Vec<String>,
    setup: String,
    pub ice_lite: bool,
}

impl Transport {
    /// Reads the ICE and DTLS attributes; they may stand with the m-line or with the session.
    pub fn read(session: &Session, media: &Media) -> Result<Option<Self>, AnswerFault> {
        let inherited = |name| match single(&media.attributes, name) {
            Ok(None) => single(&session.attributes, name),
            found => found,
        };
        let Some(ufrag) = inherited("ice-ufrag")? else {
            return Ok(None);
        };
        let pwd = inherited("ice-pwd")?.ok_or(AnswerFault::Missing("the ICE password"))?;
        let setup = inherited("setup")?.ok_or(AnswerFault::Missing("the DTLS setup"))?;
        if !is_ufrag(ufrag) {
            return Err(malformed("the ICE user name fragment", ufrag));
        }
        if !is_pwd(pwd) {
            // A password is not quoted, not even a malformed one.
            return Err(malformed("the ICE password", ""));
        }
        if !matches!(setup, "active" | "passive") {
            return Err(malformed("the DTLS setup", setup));
        }
        let mut fingerprints: Vec<_> = values(&media.attributes, "fingerprint").collect();
        if fingerprints.is_empty() {
            fingerprints = values(&session.attributes, "fingerprint").collect();
        }
        if fingerprints.is_empty() {
            return Err(AnswerFault::Missing("the DTLS fingerprint"));
        }
        if let Some(broken) = fingerprints.iter().find(|text| !is_fingerprint(text)) {
            return Err(malformed("the DTLS fingerprint", broken));
        }
        Ok(Some(Self {
            ufrag: ufrag.to_owned(),
            pwd: pwd.to_owned(),
            fingerprints: fingerprints.into_iter().map(str::to_owned).collect(),
            setup: setup.to_owned(),
            ice_lite: flag(&session.attributes, "ice-lite")?,
        }))
    }

    pub fn attributes(&self) -> impl Iterator<Item = Attribute> {
        let fixed = [
            ("ice-ufrag", &self.ufrag),
            ("ice-pwd", &self.pwd),
            ("setup", &self.setup),
        ];
        let fingerprints = self.fingerprints.iter().map(|text| ("fingerprint", text));
        fixed
            .into_iter()
            .chain(fingerprints)
            .map(|(name, value)| Attribute::with_value(name, value))
            .chain([Attribute::with_value("ice-options", "trickle")])
    }
}

/// `<hash> <hex>:<hex>…` (RFC 8122 §5); SHA-1 and MD5 are not strong enough to know a viewer by.
fn is_fingerprint(text: &str) -> bool {
    let Some((hash, digest)) = text.split_once(' ') else {
        return false;
    };
    let length = match hash.to_ascii_lowercase().as_str() {
        "sha-256" => 32,
        "sha-384" => 48,
        "sha-512" => 64,
        _ => return false,
    };
    let is_byte = |text: &str| text.len() == 2 && text.bytes().all(|b| b.is_ascii_hexdigit());
    digest.split(':').count() == length && digest.split(':').all(is_byte)
}

/// The value of an attribute that may be there once.
pub fn single<'a>(
    attributes: &'a [Attribute],
    name: &'static str,
) -> Result<Option<&'a str>, AnswerFault> {
    let mut found = attributes
        .iter()
        .filter(|attribute| attribute.attribute == name);
    match (found.next(), found.next()) {
        (Some(_), Some(_)) => Err(AnswerFault::Repeated(name)),
        (Some(attribute), None) => attribute
            .value
            .as_deref()
            .map(Some)
            .ok_or_else(|| malformed(name, "")),
        (None, _) => Ok(None),
    }
}

/// Whether an attribute without a value is there.
pub fn flag(attributes: &[Attribute], name: &'static str) -> Result<bool, AnswerFault> {
    let mut found = attributes
        .iter()
        .filter(|attribute| attribute.attribute == name);
    match (found.next(), found.next()) {
        (Some(_), Some(_)) => Err(AnswerFault::Repeated(name)),
        (found, _) => Ok(found.is_some()),
    }
}
