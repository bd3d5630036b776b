//! A token, as it comes and signed: the first line is its header, the rest its claims, as JSON.
#![no_main]

use std::{
    sync::LazyLock,
    time::{Duration, SystemTime},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, crypto::sign};
use libfuzzer_sys::fuzz_target;
use perch::{
    lobby::{auth::Gate, relay::Role},
    secret::Secret,
    signaling::credentials::expires,
};
use serde_json::Value;

const SECRET: &str = "a secret for the fuzzer, of good length";
/// More than the lobby forgives clocks.
const LEEWAY: Duration = Duration::from_secs(60);

static GATE: LazyLock<Gate> =
    LazyLock::new(|| Gate::new(&Secret::new(SECRET), Secret::new("watch")));
static STRANGERS: LazyLock<Gate> =
    LazyLock::new(|| Gate::new(&Secret::new("another secret"), Secret::new("watch")));

fuzz_target!(|text: &str| {
    // Nobody comes in without a signature, however it is written.
    assert_eq!(GATE.identify(text), None);
    expires(&Secret::new(text));

    let Some((header, claims)) = text.split_once('\n') else {
        return;
    };
    let message = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part));
    let message = message.join(".");
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let signature =
        sign(message.as_bytes(), &key, Algorithm::HS256).expect("any bytes can be signed");
    let token = format!("{message}.{signature}");
    let said = expires(&Secret::new(token.as_str()));
    let Some(identity) = GATE.identify(&token) else {
        return;
    };
    assert_eq!(STRANGERS.identify(&token), None);
    assert_eq!(GATE.identify(&format!("{message}.")), None);
    assert!((1..=128).contains(&identity.user.len()));
    assert!(!identity.user.chars().any(char::is_control));
    let json = |text| serde_json::from_str::<Value>(text).expect("what was understood is JSON");
    assert_eq!(json(header)["alg"], "HS256");
    let claims = json(claims);
    assert!(!claims["exp"].is_null(), "a token without an end");
    assert_eq!(identity.role == Role::Viewer, claims["role"] == "viewer");
    // What our own end reads of its age is what the lobby goes by.
    assert!(said.is_none_or(|end| end + LEEWAY > SystemTime::now()));
});
