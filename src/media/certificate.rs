//! Whether the viewer that shook hands is the one that answered.
//!
//! SDP's `a=fingerprint` binds the DTLS certificate to the signaling (RFC 8122 §6.2, RFC 8827 §6.5):
//! without the comparison anybody on the path could take a viewer's place. `webrtcbin` (seen with 1.22)
//! does not make it. Pure.

use aws_lc_rs::digest;
use rustls::pki_types::{CertificateDer, pem::PemObject};

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
    let digest = digest::digest(algorithm, certificate);
    let bytes: Vec<String> = digest
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Some(bytes.join(":"))
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
