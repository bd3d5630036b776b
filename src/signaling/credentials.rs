//! A fresh token for every dial.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Map, Value};
use thiserror::Error;

use crate::{config::LobbyAuth, files, secret::Secret};

/// No token and no secret is larger; whatever is was named by mistake.
const LARGEST_FILE: u64 = 64 * 1024;

/// Where the line's token comes from. Tokens are read or minted for each dial: one that expired
/// during a session is noticed by the lobby only at the next connect.
#[derive(Debug, Clone)]
pub struct Credentials(Source);

#[derive(Debug, Clone)]
enum Source {
    TokenFile(PathBuf),
    SecretFile {
        file: PathBuf,
        subject: String,
        ttl: Duration,
    },
    Secret {
        secret: Secret,
        subject: String,
        ttl: Duration,
    },
}

/// Why there is no token to dial with. Nothing of a token or secret is in the text.
#[derive(Debug, Error)]
pub enum CredentialsError {
    #[error("cannot read {}: {source}; check the path and that perch's user may read it", .file.display())]
    Unreadable { file: PathBuf, source: io::Error },
    #[error("{} is empty", .file.display())]
    Empty { file: PathBuf },
    #[error("{} is larger than {LARGEST_FILE} bytes and cannot be what is meant", .file.display())]
    TooLarge { file: PathBuf },
    #[error("{} holds no JSON Web Token (three base64url parts with dots between): {why}", .file.display())]
    NotAToken { file: PathBuf, why: &'static str },
    #[error(
        "the token in {} expired {} ago; put a new one there or set [lobby.auth] secret_file",
        .file.display(), in_words(*.ago)
    )]
    Expired { file: PathBuf, ago: Duration },
    #[error("cannot mint a token: {0}")]
    Mint(#[from] MintError),
}

/// A token could not be made.
#[derive(Debug, Error)]
pub enum MintError {
    #[error("the time to live of {0:?} reaches beyond any calendar")]
    Ttl(Duration),
    #[error("the clock is before 1970")]
    Clock,
    #[error("signing failed: {0}")]
    Sign(jsonwebtoken::errors::Error),
}

impl From<&LobbyAuth> for Credentials {
    fn from(auth: &LobbyAuth) -> Self {
        Self(match auth {
            LobbyAuth::TokenFile(file) => Source::TokenFile(file.clone()),
            LobbyAuth::SecretFile {
                secret_file,
                subject,
                ttl,
            } => Source::SecretFile {
                file: secret_file.clone(),
                subject: subject.clone(),
                ttl: *ttl,
            },
        })
    }
}

impl Credentials {
    /// For a lobby whose secret is in this process: the embedded one.
    pub fn from_secret(secret: Secret, subject: impl Into<String>, ttl: Duration) -> Self {
        Self(Source::Secret {
            secret,
            subject: subject.into(),
            ttl,
        })
    }

    /// Whether what is minted here is judged by somebody else's clock. (A ready-made token is as good as it is; the
    /// embedded lobby's clock is our own.)
    pub fn need_the_time(&self) -> bool {
        matches!(self.0, Source::SecretFile { .. })
    }

    /// The file behind the credentials.
    pub fn file(&self) -> Option<&Path> {
        match &self.0 {
            Source::TokenFile(file) | Source::SecretFile { file, .. } => Some(file),
            Source::Secret { .. } => None,
        }
    }

    /// Changes when the file behind the credentials does. May block, as [`Credentials::fresh`] may.
    pub fn stamp(&self) -> Option<(SystemTime, u64)> {
        let metadata = fs::metadata(self.file()?).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    }

    /// The token for a dial at `now`. Reads a small file where the credentials are in one.
    pub fn fresh(&self, now: SystemTime) -> Result<Secret, CredentialsError> {
        match &self.0 {
            Source::TokenFile(file) => read_token(file, now),
            Source::SecretFile { file, subject, ttl } => {
                Ok(mint(&read_secret(file)?, subject, *ttl, now)?)
            }
            Source::Secret {
                secret,
                subject,
                ttl,
            } => Ok(mint(secret, subject, *ttl, now)?),
        }
    }
}

/// A lobby token for `subject` that lives from `now` for `ttl`: HS256 with the claims `id` and `sub`
/// (lobbies look in one or the other), `iat` and `exp`.
pub fn mint(
    secret: &Secret,
    subject: &str,
    ttl: Duration,
    now: SystemTime,
) -> Result<Secret, MintError> {
    mint_with(secret, subject, ttl, now, Map::new())
}

/// As [`mint`], with claims of the caller's own; they cannot replace the usual ones.
pub fn mint_with(
    secret: &Secret,
    subject: &str,
    ttl: Duration,
    now: SystemTime,
    mut claims: Map<String, Value>,
) -> Result<Secret, MintError> {
    let issued = now
        .duration_since(UNIX_EPOCH)
        .map_err(|_| MintError::Clock)?;
    let expires = issued.checked_add(ttl).ok_or(MintError::Ttl(ttl))?;
    claims.insert("id".to_owned(), subject.into());
    claims.insert("sub".to_owned(), subject.into());
    claims.insert("iat".to_owned(), issued.as_secs().into());
    claims.insert("exp".to_owned(), expires.as_secs().into());
    let key = EncodingKey::from_secret(secret.expose().as_bytes());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key)
        .map(Secret::new)
        .map_err(MintError::Sign)
}

/// Reads a shared secret; white space around it is not part of it.
pub fn read_secret(file: &Path) -> Result<Secret, CredentialsError> {
    read_trimmed(file).map(Secret::new)
}

fn read_token(file: &Path, now: SystemTime) -> Result<Secret, CredentialsError> {
    let token = read_trimmed(file)?;
    let expires = expiry(&token).map_err(|why| CredentialsError::NotAToken {
        file: file.to_owned(),
        why,
    })?;
    if let Some(expires) = expires
        && let Ok(ago) = now.duration_since(expires)
    {
        return Err(CredentialsError::Expired {
            file: file.to_owned(),
            ago,
        });
    }
    Ok(Secret::new(token))
}

fn read_trimmed(file: &Path) -> Result<String, CredentialsError> {
    let unreadable = |source| CredentialsError::Unreadable {
        file: file.to_owned(),
        source,
    };
    let bytes = match files::bounded(file, LARGEST_FILE) {
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
            return Err(CredentialsError::TooLarge {
                file: file.to_owned(),
            });
        }
        read => read.map_err(unreadable)?,
    };
    // Without the bytes, which may be most of a secret.
    let no_text = |_| unreadable(io::Error::new(io::ErrorKind::InvalidData, "it is no text"));
    let text = String::from_utf8(bytes).map_err(no_text)?;
    let text = text.trim();
    if text.is_empty() {
        return Err(CredentialsError::Empty {
            file: file.to_owned(),
        });
    }
    Ok(text.to_owned())
}

/// When a token expires, by its own words; `None` where it does not say.
pub fn expires(token: &Secret) -> Option<SystemTime> {
    expiry(token.expose()).ok().flatten()
}

/// When a token expires, by its own words; whether they are true is for the lobby to check.
fn expiry(token: &str) -> Result<Option<SystemTime>, &'static str> {
    let parts: Vec<&str> = token.split('.').collect();
    let &[header, claims, signature] = &parts[..] else {
        return Err("it has not three parts");
    };
    let object = |part| {
        let bytes = URL_SAFE_NO_PAD.decode(part).ok()?;
        serde_json::from_slice::<Map<String, Value>>(&bytes).ok()
    };
    object(header).ok_or("its header is not base64url of a JSON object")?;
    let claims = object(claims).ok_or("its claims are not base64url of a JSON object")?;
    URL_SAFE_NO_PAD
        .decode(signature)
        .map_err(|_| "its signature is not base64url")?;
    // RFC 7519 §2: a NumericDate may have a fraction.
    let seconds = claims.get("exp").and_then(Value::as_f64);
    Ok(seconds
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .and_then(|since| UNIX_EPOCH.checked_add(since)))
}

fn in_words(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ 0..=119 => format!("{seconds} s"),
        seconds @ 120..=7199 => format!("{} minutes", seconds / 60),
        seconds @ 7200..=172_799 => format!("{} hours", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{DecodingKey, Validation};
    use serde_json::json;

    use super::*;

    const NOW: Duration = Duration::from_secs(1_800_000_000);

    fn now() -> SystemTime {
        UNIX_EPOCH + NOW
    }

    fn claims(token: &Secret, secret: &str) -> Map<String, Value> {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.validate_exp = false;
        jsonwebtoken::decode(
            token.expose(),
            &DecodingKey::from_secret(secret.as_bytes()),
            &validation,
        )
        .unwrap()
        .claims
    }

    fn file_with(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        file
    }

    fn fresh_from_file(text: &str) -> Result<Secret, CredentialsError> {
        let file = file_with(text);
        Credentials::from(&LobbyAuth::TokenFile(file.path().to_owned())).fresh(now())
    }

    fn token_with_exp(exp: Value) -> String {
        let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        format!(
            "{}.{}.c2ln",
            part(json!({"alg": "HS256"})),
            part(json!({"exp": exp}))
        )
    }

    #[test]
    fn a_minted_token_verifies_and_names_its_subject_twice() {
        let token = mint(
            &Secret::new("s3"),
            "cam-1",
            Duration::from_secs(7200),
            now(),
        )
        .unwrap();
        assert_eq!(
            Value::Object(claims(&token, "s3")),
            json!({"id": "cam-1", "sub": "cam-1", "iat": 1_800_000_000, "exp": 1_800_007_200})
        );
    }

    #[test]
    fn own_claims_are_added_and_replace_nothing() {
        let own = json!({"role": "viewer", "sub": "somebody else"});
        let Value::Object(own) = own else {
            unreachable!("an object was written")
        };
        let token = mint_with(&Secret::new("s3"), "v", Duration::from_secs(1), now(), own).unwrap();
        let claims = claims(&token, "s3");
        assert_eq!(claims["role"], "viewer");
        assert_eq!(claims["sub"], "v");
    }

    #[test]
    fn a_secret_file_is_trimmed_and_minted_from_for_every_dial() {
        let file = file_with("s3\n");
        let credentials = Credentials::from(&LobbyAuth::SecretFile {
            secret_file: file.path().to_owned(),
            subject: "cam".into(),
            ttl: Duration::from_secs(60),
        });
        let first = credentials.fresh(now()).unwrap();
        assert_eq!(claims(&first, "s3")["exp"], 1_800_000_060);
        fs::write(file.path(), "  changed \n").unwrap();
        let later = credentials.fresh(now() + Duration::from_secs(10)).unwrap();
        assert_eq!(claims(&later, "changed")["exp"], 1_800_000_070);
    }

    #[test]
    fn a_token_file_is_read_for_every_dial() {
        let file = file_with(&format!("\n {} \n", token_with_exp(json!(1_900_000_000))));
        let credentials = Credentials::from(&LobbyAuth::TokenFile(file.path().to_owned()));
        let first = credentials.fresh(now()).unwrap();
        assert_eq!(first.expose(), token_with_exp(json!(1_900_000_000)));
        fs::write(file.path(), token_with_exp(json!(1_950_000_000.5))).unwrap();
        let later = credentials.fresh(now()).unwrap();
        assert_eq!(later.expose(), token_with_exp(json!(1_950_000_000.5)));
    }

    #[test]
    fn an_expired_token_is_not_dialed_with() {
        let error = fresh_from_file(&token_with_exp(json!(1_800_000_000 - 7300))).unwrap_err();
        assert!(
            matches!(&error, CredentialsError::Expired { ago, .. } if ago.as_secs() == 7300),
            "{error}"
        );
        assert!(error.to_string().contains("expired 2 hours ago"), "{error}");
        assert!(fresh_from_file(&token_with_exp(json!("never"))).is_ok());
        assert!(fresh_from_file(&token_with_exp(json!(1e300))).is_ok());
    }

    #[test]
    fn what_is_no_token_is_named_without_being_quoted() {
        for text in [
            "hunter2",
            "hunter2.x",
            "hunter2.x.y",
            "hunter2.e30.!",
            "e30.e30.!",
            "e30.hunter2.e30",
        ] {
            let error = fresh_from_file(text).unwrap_err();
            assert!(
                matches!(error, CredentialsError::NotAToken { .. }),
                "{text}"
            );
            assert!(!format!("{error} {error:?}").contains("hunter2"));
        }
    }

    #[test]
    fn file_errors_name_the_file() {
        assert!(matches!(
            fresh_from_file(" \n"),
            Err(CredentialsError::Empty { .. })
        ));
        assert!(matches!(
            fresh_from_file(&"x".repeat(70_000)),
            Err(CredentialsError::TooLarge { .. })
        ));
        let missing = Credentials::from(&LobbyAuth::TokenFile("/nonexistent/token".into()));
        let error = missing.fresh(now()).unwrap_err().to_string();
        assert!(error.contains("/nonexistent/token"), "{error}");
    }

    #[test]
    fn an_impossible_time_is_an_error() {
        let secret = Secret::new("s");
        assert!(matches!(
            mint(&secret, "x", Duration::MAX, now()),
            Err(MintError::Ttl(_))
        ));
        let before = UNIX_EPOCH - Duration::from_secs(1);
        assert!(matches!(
            mint(&secret, "x", Duration::from_secs(1), before),
            Err(MintError::Clock)
        ));
    }
}
