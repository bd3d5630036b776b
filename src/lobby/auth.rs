//! Who may come in: HS256 tokens, checked and, for the watch link, made.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde_json::{Map, Value, json};
use subtle::ConstantTimeEq;

use super::{
    random,
    relay::{Identity, Role},
};
use crate::secret::Secret;

/// A viewer token's life.
pub const VIEWER_TOKEN_LIFE: Duration = Duration::from_secs(4 * 3600);
/// Clocks that disagree by this much still understand each other.
const LEEWAY: Duration = Duration::from_secs(30);
/// The claims that may name the user, the first one found counts.
const USER_CLAIMS: [&str; 4] = ["id", "userId", "_id", "sub"];
/// The longest user id, in bytes.
const MAX_USER: usize = 128;

/// Checks tokens, and the watch key that is exchanged for one.
pub struct Gate {
    decode: DecodingKey,
    encode: EncodingKey,
    validation: Validation,
    watch_key: Secret,
}

impl Gate {
    pub fn new(secret: &Secret, watch_key: Secret) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = LEEWAY.as_secs();
        validation.validate_nbf = true;
        // The lobby is no party to whom a web application addresses its tokens.
        validation.validate_aud = false;
        Self {
            decode: DecodingKey::from_secret(secret.expose().as_bytes()),
            encode: EncodingKey::from_secret(secret.expose().as_bytes()),
            validation,
            watch_key,
        }
    }

    /// Who a token speaks for; `None` if it is not one of ours, has expired or names nobody.
    pub fn identify(&self, token: &str) -> Option<Identity> {
        let claims =
            jsonwebtoken::decode::<Map<String, Value>>(token, &self.decode, &self.validation)
                .ok()?
                .claims;
        let user = USER_CLAIMS
            .iter()
            .find_map(|name| user_id(claims.get(*name)?))?;
        let role = match claims.get("role").and_then(Value::as_str) {
            Some("viewer") => Role::Viewer,
            _ => Role::Member,
        };
        Some(Identity {
            user: Arc::from(user),
            role,
        })
    }

    /// Compared in constant time: how long it takes says nothing about how much was right.
    pub fn is_watch_key(&self, offered: &str) -> bool {
        let ours = self.watch_key.expose().as_bytes();
        bool::from(offered.as_bytes().ct_eq(ours))
    }

    /// A token that lets somebody watch, and nothing else, for `VIEWER_TOKEN_LIFE` from `now`.
    pub fn viewer_token(&self, now: SystemTime) -> Secret {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let claims = json!({
            "id": format!("viewer-{}", random::text::<9>()),
            "role": "viewer",
            "iat": now.as_secs(),
            "exp": (now + VIEWER_TOKEN_LIFE).as_secs(),
        });
        let token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.encode)
            .expect("a flat JSON object can be signed with any HS256 secret");
        Secret::new(token)
    }
}

/// A claim as a user id: a text, or a number as some databases have it.
fn user_id(claim: &Value) -> Option<String> {
    let id = match claim {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let fits = !id.is_empty() && id.len() <= MAX_USER && !id.chars().any(char::is_control);
    fits.then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "a secret for tests only, of good length";

    fn gate() -> Gate {
        Gate::new(&Secret::new(SECRET), Secret::new("the watch key"))
    }

    fn now() -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        now.unwrap().as_secs()
    }

    fn token(secret: &str, algorithm: Algorithm, claims: &Value) -> String {
        let key = EncodingKey::from_secret(secret.as_bytes());
        jsonwebtoken::encode(&Header::new(algorithm), claims, &key).unwrap()
    }

    fn identify(claims: &Value) -> Option<Identity> {
        gate().identify(&token(SECRET, Algorithm::HS256, claims))
    }

    #[test]
    fn the_first_claim_that_names_a_user_counts() {
        let exp = now() + 60;
        for (claims, user) in [
            (json!({ "exp": exp, "sub": "d" }), "d"),
            (json!({ "exp": exp, "sub": "d", "_id": "c" }), "c"),
            (json!({ "exp": exp, "_id": "c", "userId": "b" }), "b"),
            (json!({ "exp": exp, "userId": "b", "id": "a" }), "a"),
            (
                json!({ "exp": exp, "id": "", "userId": null, "sub": 42 }),
                "42",
            ),
        ] {
            assert_eq!(&*identify(&claims).unwrap().user, user, "{claims}");
        }
        for claims in [
            json!({ "exp": exp }),
            json!({ "exp": exp, "id": ["a"] }),
            json!({ "exp": exp, "id": "a\nb" }),
            json!({ "exp": exp, "id": "x".repeat(200) }),
        ] {
            assert_eq!(identify(&claims), None, "{claims}");
        }
    }

    #[test]
    fn a_token_must_be_ours_and_alive() {
        let good = json!({ "id": "a", "exp": now() + 60 });
        assert!(identify(&good).is_some());
        assert_eq!(identify(&json!({ "id": "a" })), None, "no expiry");
        assert_eq!(identify(&json!({ "id": "a", "exp": now() - 60 })), None);
        assert!(identify(&json!({ "id": "a", "exp": now() - 5 })).is_some());
        assert_eq!(
            identify(&json!({ "id": "a", "exp": now() + 600, "nbf": now() + 300 })),
            None
        );
        assert!(identify(&json!({ "id": "a", "exp": now() + 60, "aud": "the app" })).is_some());

        let gate = gate();
        let foreign = token(
            "another secret of the same length!!",
            Algorithm::HS256,
            &good,
        );
        assert_eq!(gate.identify(&foreign), None);
        let other_algorithm = token(SECRET, Algorithm::HS512, &good);
        assert_eq!(gate.identify(&other_algorithm), None);
        // {"alg":"none"} . {"id":"a","exp":9999999999} . no signature
        let unsigned = "eyJhbGciOiJub25lIn0.eyJpZCI6ImEiLCJleHAiOjk5OTk5OTk5OTl9.";
        assert_eq!(gate.identify(unsigned), None);
        for garbage in ["", ".", "..", "a.b.c", "\u{0}"] {
            assert_eq!(gate.identify(garbage), None);
        }
    }

    #[test]
    fn the_watch_key_buys_a_token_that_may_only_watch() {
        let gate = gate();
        assert!(gate.is_watch_key("the watch key"));
        for wrong in ["", "the watch ke", "the watch key ", "THE WATCH KEY"] {
            assert!(!gate.is_watch_key(wrong));
        }
        let token = gate.viewer_token(SystemTime::now());
        let viewer = gate.identify(token.expose()).unwrap();
        assert_eq!(viewer.role, Role::Viewer);
        assert!(viewer.user.starts_with("viewer-"));
        let another = gate.identify(gate.viewer_token(SystemTime::now()).expose());
        assert_ne!(another.unwrap().user, viewer.user);

        let stale = SystemTime::now() - VIEWER_TOKEN_LIFE - Duration::from_secs(60);
        assert_eq!(gate.identify(gate.viewer_token(stale).expose()), None);
    }
}
