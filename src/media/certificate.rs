//! DTLS certificates: the process's second one, and whether the viewer that shook hands is the one that answered.
//!
//! SDP's `a=fingerprint` binds the DTLS certificate to the signaling (RFC 8122 §6.2, RFC 8827 §6.5):
//! without the comparison anybody on the path could take a viewer's place. `webrtcbin` (seen with 1.22)
//! does not make it.

use std::{
    sync::{Condvar, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use aws_lc_rs::digest;
use gst::prelude::*;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_RSA_SHA256, RsaKeySize};
use rustls::pki_types::{CertificateDer, pem::PemObject};

use crate::secret::Secret;

/// Whether `certificate` (PEM, as the DTLS element shows it) has one of the answer's fingerprints.
pub fn is_vouched_for(certificate: &str, answer: &str) -> bool {
    let Ok(certificate) = CertificateDer::from_pem_slice(certificate.as_bytes()) else {
        return false;
    };
    answer
        .lines()
        .filter_map(|line| line.strip_prefix("a=fingerprint:")?.split_once(' '))
        .any(|(hash, wanted)| {
            fingerprint(hash, &certificate)
                .is_some_and(|found| found.eq_ignore_ascii_case(wanted.trim()))
        })
}

/// `None` for a hash that is too weak or unknown.
fn fingerprint(hash: &str, certificate: &[u8]) -> Option<String> {
    let algorithm = match hash.to_ascii_lowercase().as_str() {
        "sha-256" => &digest::SHA256,
        "sha-384" => &digest::SHA384,
        "sha-512" => &digest::SHA512,
        _ => return None,
    };
    Some(hex(digest::digest(algorithm, certificate).as_ref()))
}

/// No certificate could be made.
#[derive(Debug, thiserror::Error)]
#[error("no DTLS certificate can be made: {0}")]
pub struct GenerateError(#[from] rcgen::Error);

/// A DTLS certificate of our own.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The certificate and its key.
    pub pem: Secret,
    /// As it stands behind `a=fingerprint:` (RFC 8122 §5).
    pub fingerprint: String,
}

static SECOND: Made<Identity> = Made::not_yet();

/// The process's second certificate. Blocks while it is made.
pub fn second() -> Result<&'static Identity, GenerateError> {
    SECOND.get_or(generate)
}

/// Whether GStreamer is about to make its certificate.
static IN_THE_MAKING: (Mutex<bool>, Condvar) = (Mutex::new(false), Condvar::new());

/// Makes both of the process's certificates on threads of their own, one after the other. Each takes an RSA key: let
/// that be neither what going live waits for, nor the first viewer. A branch that comes sooner waits for it itself.
pub fn make_in_advance() {
    let making = Making::begin();
    // A runtime that ends waits for such a task, or drops it before it begins; see also `settle`.
    tokio::task::spawn_blocking(move || {
        make_gstreamers();
        drop(making);
        make_second_in_advance();
    });
}

/// While it is there, [`settle`] waits.
struct Making;

impl Making {
    fn begin() -> Self {
        Self::tell(true);
        Self
    }

    fn tell(is_making: bool) {
        let (making, made) = &IN_THE_MAKING;
        *making.lock().unwrap_or_else(PoisonError::into_inner) = is_making;
        made.notify_all();
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        Self::tell(false);
    }
}

/// GStreamer makes the first one, for all of the process, with the first element that needs it.
fn make_gstreamers() {
    if let Ok(decoder) = gst::ElementFactory::make("dtlsdec").build() {
        let _ = decoder.property::<Option<String>>("pem");
    }
}

/// Waits while GStreamer makes its certificate: OpenSSL, which makes it, takes itself apart at the process's end, and what
/// still runs in it then crashes (seen as SIGSEGV).
pub fn settle(patience: Duration) {
    let (making, made) = &IN_THE_MAKING;
    let making = making.lock().unwrap_or_else(PoisonError::into_inner);
    let _ = made.wait_timeout_while(making, patience, |making| *making);
}

/// Makes the second certificate on a thread of its own, which nobody waits for: the branch that needs it first
/// has only a few seconds until its offer.
fn make_second_in_advance() {
    let making = std::thread::Builder::new().name("certificate".to_owned());
    let made = making.spawn(|| {
        // Whoever needs it tries again, and tells.
        if let Err(why) = second() {
            tracing::debug!(%why, "no second certificate in advance");
        }
    });
    if let Err(why) = made {
        tracing::debug!(%why, "no thread for the second certificate");
    }
}

/// What is made once, by whoever comes first; others wait meanwhile. A failure is not kept.
#[derive(Debug)]
struct Made<T> {
    made: OnceLock<T>,
    making: Mutex<()>,
}

impl<T> Made<T> {
    const fn not_yet() -> Self {
        Self {
            made: OnceLock::new(),
            making: Mutex::new(()),
        }
    }

    fn get_or<E>(&self, make: impl FnOnce() -> Result<T, E>) -> Result<&T, E> {
        if let Some(made) = self.made.get() {
            return Ok(made);
        }
        let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        match self.made.get() {
            Some(made) => Ok(made),
            None => make().map(|made| self.made.get_or_init(|| made)),
        }
    }
}

/// A self-signed certificate with an RSA key of 2048 bits, as GStreamer makes its own. (With keys on P-256
/// one in ten handshakes of str0m viewers failed.) Nobody looks at its name and dates: it is known by its
/// fingerprint. Takes some hundred milliseconds, on a small board seconds.
pub fn generate() -> Result<Identity, GenerateError> {
    let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "perch");
    let certificate = params.self_signed(&key)?;
    let digest = hex(digest::digest(&digest::SHA256, certificate.der()).as_ref());
    Ok(Identity {
        pem: Secret::new(certificate.pem() + &key.serialize_pem()),
        fingerprint: format!("sha-256 {}", digest.to_ascii_uppercase()),
    })
}

fn hex(digest: &[u8]) -> String {
    let bytes: Vec<String> = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    bytes.join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=viewer`
    const CERTIFICATE: &str = "\
-----BEGIN CERTIFICATE-----
MIIBeDCCAR2gAwIBAgIUW41eIM59Q9+O/oOpBg7am52sskEwCgYIKoZIzj0EAwIw
ETEPMA0GA1UEAwwGdmlld2VyMB4XDTI2MTEyMjE4NTYwM1oXDTI2MTIyMjE4NTYw
M1owETEPMA0GA1UEAwwGdmlld2VyMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE
3BY9kXCPMMGZh9Ph3mEqJhAKs4xpgmiPOfYAMHQd87nRhbo0iyW4/LscIj10Vdcq
QDk5ZjY0QqZr3LSzr5/9xqNTMFEwHQYDVR0OBBYEFAIyTp6lLOGMCnL6II8xOXcs
M29bMB8GA1UdIwQYMBaAFAIyTp6lLOGMCnL6II8xOXcsM29bMA8GA1UdEwEB/wQF
MAMBAf8wCgYIKoZIzj0EAwIDSQAwRgIhALkyavYqMM2ck8sKwq/TW4r0LNgLPjZO
2iZfqGTITNfoAiEAqNR4Nw30qOiyLoo5DUbLeeb3kR94SyTV3WgIZF7Zufo=
-----END CERTIFICATE-----
";
    /// `openssl x509 -fingerprint -sha256`
    const SHA256: &str = "02:4F:F2:D1:26:B7:A4:DE:08:03:06:7E:16:1F:0D:D0:52:B0:56:DE:F8:41:15:A8:44:54:FE:D1:25:B3:47:3E";

    #[test]
    fn the_certificate_that_the_answer_names_is_vouched_for() {
        for answer in [
            format!("v=0\r\na=fingerprint:sha-256 {SHA256}\r\n"),
            format!("v=0\r\na=fingerprint:SHA-256 {}\r\n", SHA256.to_lowercase()),
            format!("v=0\r\na=fingerprint:sha-512 00\r\na=fingerprint:sha-256 {SHA256}\r\n"),
        ] {
            assert!(is_vouched_for(CERTIFICATE, &answer), "{answer}");
        }
    }

    #[test]
    fn each_generated_certificate_is_another_one_and_comes_with_its_key() {
        let (one, two) = (generate().unwrap(), generate().unwrap());
        assert_ne!(one.fingerprint, two.fingerprint);
        for identity in [one, two] {
            let pem = identity.pem.expose();
            let answer = format!("a=fingerprint:{}", identity.fingerprint);
            assert!(is_vouched_for(pem, &answer));
            rustls::pki_types::PrivateKeyDer::from_pem_slice(pem.as_bytes()).unwrap();
        }
    }

    #[test]
    fn what_failed_is_made_at_the_next_try_and_then_once() {
        let made = Made::not_yet();
        assert_eq!(made.get_or(|| Err("no entropy")), Err("no entropy"));
        assert_eq!(made.get_or(|| Ok::<_, &str>(1)), Ok(&1));
        assert_eq!(made.get_or(|| Err("not asked")), Ok(&1));
    }

    #[tokio::test]
    async fn the_first_one_is_made_beside_whoever_asked_and_can_be_waited_for() {
        gst::init().unwrap();
        settle(Duration::ZERO);
        make_in_advance();
        assert!(*IN_THE_MAKING.0.lock().unwrap());
        settle(Duration::from_secs(60));
        assert!(!*IN_THE_MAKING.0.lock().unwrap());
    }

    #[test]
    fn the_second_one_comes_without_being_asked_for() {
        make_second_in_advance();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while SECOND.made.get().is_none() {
            assert!(std::time::Instant::now() < deadline, "nobody makes it");
            std::thread::yield_now();
        }
    }

    #[test]
    fn any_other_is_not() {
        let other = format!("00{}", &SHA256[2..]);
        for answer in [
            format!("v=0\r\na=fingerprint:sha-256 {other}\r\n"),
            format!("v=0\r\na=fingerprint:sha-1 {SHA256}\r\n"),
            "v=0\r\n".to_owned(),
        ] {
            assert!(!is_vouched_for(CERTIFICATE, &answer), "{answer}");
        }
        let answer = format!("a=fingerprint:sha-256 {SHA256}\r\n");
        assert!(!is_vouched_for("no certificate", &answer));
    }
}
