//! The lobby's plain HTTP: the page, the exchange of the watch key for a token, and what holds for
//! every request.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError},
    time::{Instant, SystemTime},
};

use axum::{
    Json, Router,
    extract::{ConnectInfo, DefaultBodyLimit, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing,
};
use serde::Deserialize;
use serde_json::json;
use tracing::{debug, warn};

use super::{
    auth::{Gate, VIEWER_TOKEN_LIFE},
    door::Peer,
    page,
    throttle::{Bucket, Rate},
};

/// Wrong watch keys that one address may try.
const WRONG_KEYS: Rate = Rate {
    burst: 10.0,
    per_second: 0.2,
};
/// Addresses remembered for that.
const MAX_ADDRESSES: usize = 1024;
/// Longest body of a request, in bytes.
const MAX_BODY: usize = 1024;

/// The page needs its own files, the lobby's socket and the media that comes over WebRTC.
const HEADERS: [(HeaderName, HeaderValue); 3] = [
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'self'; connect-src 'self' ws: wss:; media-src 'self' blob: mediastream:; \
             img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; form-action 'none'; \
             frame-ancestors 'self'",
        ),
    ),
    (
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    ),
    (
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    ),
];

struct Counter {
    gate: Arc<Gate>,
    wrong: Mutex<HashMap<IpAddr, Bucket>>,
}

/// The routes without the Socket.IO server, which is a layer on top.
pub fn routes(gate: Arc<Gate>) -> Router {
    let counter = Arc::new(Counter {
        gate,
        wrong: Mutex::new(HashMap::new()),
    });
    Router::new()
        .route("/api/token", routing::post(token))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(counter)
        .fallback(routing::get(page::serve))
}

/// Outermost: other sites' pages are refused, and every reply carries the security headers.
pub fn guarded(router: Router) -> Router {
    router.layer(middleware::from_fn(guard))
}

async fn guard(request: Request, next: Next) -> Response {
    let mut response = if is_protected(request.uri().path()) && is_foreign(request.headers()) {
        debug!(
            path = request.uri().path(),
            "refused: asked for by another site's page"
        );
        let error = "this lobby answers only its own page (Origin and Host differ)";
        (StatusCode::FORBIDDEN, Json(json!({ "error": error }))).into_response()
    } else {
        next.run(request).await
    };
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, value);
    }
    response
}

fn is_protected(path: &str) -> bool {
    path.starts_with("/socket.io") || path.starts_with("/api/")
}

/// Whether a browser says that the request comes from a page of another site. Programs send no
/// `Origin`; a reverse proxy in front of the lobby has to pass `Host` on as it was.
fn is_foreign(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else {
        return false;
    };
    let host = headers.get(header::HOST).map(HeaderValue::as_bytes);
    let authority = origin
        .to_str()
        .ok()
        .and_then(|origin| origin.split_once("://"))
        .map(|(_, authority)| authority.as_bytes());
    match (authority, host) {
        (Some(authority), Some(host)) => !authority.eq_ignore_ascii_case(host),
        _ => true,
    }
}

#[derive(Deserialize)]
struct WatchLink {
    watch: String,
}

/// The watch link's key for a token that lets its holder watch for some hours.
async fn token(
    State(counter): State<Arc<Counter>>,
    ConnectInfo(Peer(connection)): ConnectInfo<Peer>,
    Json(link): Json<WatchLink>,
) -> Response {
    let address = network(connection.peer().ip());
    if counter.gate.is_watch_key(&link.watch) {
        let token = counter.gate.viewer_token(SystemTime::now());
        let body = json!({ "token": token.expose(), "expiresIn": VIEWER_TOKEN_LIFE.as_secs() });
        return ([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response();
    }
    if counter.may_err(address, Instant::now()) {
        debug!(peer = %connection.peer(), "refused: not the watch key");
        let error = "this watch link is not valid";
        return (StatusCode::FORBIDDEN, Json(json!({ "error": error }))).into_response();
    }
    let error = "too many wrong watch links, try again in a minute";
    let headers = [(header::RETRY_AFTER, "60")];
    (
        StatusCode::TOO_MANY_REQUESTS,
        headers,
        Json(json!({ "error": error })),
    )
        .into_response()
}

impl Counter {
    /// Counts a wrong key. A right one is never held up: with 128 random bits there is nothing to
    /// gain by guessing, so this only keeps the noise down.
    fn may_err(&self, address: IpAddr, now: Instant) -> bool {
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        if wrong.len() >= MAX_ADDRESSES && !wrong.contains_key(&address) {
            wrong.retain(|_, bucket| !bucket.is_full(now));
            if wrong.len() >= MAX_ADDRESSES {
                return false;
            }
        }
        let bucket = wrong
            .entry(address)
            .or_insert_with(|| Bucket::new(WRONG_KEYS, now));
        let was_full = bucket.is_full(now);
        let may = bucket.take(1.0, now);
        if was_full {
            warn!(event = "watch-link-invalid", %address, "somebody opened a watch link that is not valid");
        }
        may
    }
}

/// One subscriber's address: an IPv6 host has a whole /64 to itself.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect()
    }

    #[test]
    fn only_pages_of_the_same_host_and_programs_are_let_in() {
        for same in [
            &[("host", "cam:8080")][..],
            &[("host", "cam:8080"), ("origin", "http://cam:8080")],
            &[("host", "CAM.example"), ("origin", "https://cam.example")],
            &[("host", "[::1]:80"), ("origin", "http://[::1]:80")],
        ] {
            assert!(!is_foreign(&headers(same)), "{same:?}");
        }
        for foreign in [
            &[("host", "cam:8080"), ("origin", "http://evil.example")][..],
            &[("host", "cam:8080"), ("origin", "http://cam:8081")],
            &[
                ("host", "cam:8080"),
                ("origin", "http://cam:8080.evil.example"),
            ],
            &[("host", "cam:8080"), ("origin", "null")],
            &[("host", "cam:8080"), ("origin", "")],
            &[("origin", "http://cam:8080")],
        ] {
            assert!(is_foreign(&headers(foreign)), "{foreign:?}");
        }
    }

    #[test]
    fn wrong_keys_are_counted_by_address_and_the_memory_is_bounded() {
        let counter = Counter {
            gate: Arc::new(Gate::new(
                &crate::secret::Secret::new("secret"),
                crate::secret::Secret::new("key"),
            )),
            wrong: Mutex::new(HashMap::new()),
        };
        let now = Instant::now();
        let somebody = IpAddr::from([192, 0, 2, 1]);
        let passed = (0..50).filter(|_| counter.may_err(somebody, now)).count();
        assert_eq!(passed, 10);
        assert!(counter.may_err(IpAddr::from([192, 0, 2, 2]), now));
        assert!(counter.may_err(somebody, now + Duration::from_secs(6)));

        for n in 0..3000_u32 {
            counter.may_err(IpAddr::from((n + 1).to_be_bytes()), now);
        }
        assert!(counter.wrong.lock().unwrap().len() <= MAX_ADDRESSES);
        let later = now + Duration::from_secs(3600);
        assert!(counter.may_err(IpAddr::from([198, 51, 100, 1]), later));
    }

    #[test]
    fn an_ipv6_subscriber_is_one_address() {
        let one = network("2001:db8:1:2:3:4:5:6".parse().unwrap());
        let other = network("2001:db8:1:2:ffff::1".parse().unwrap());
        assert_eq!(one, other);
        assert_eq!(
            network("::ffff:192.0.2.1".parse().unwrap()),
            IpAddr::from([192, 0, 2, 1])
        );
    }
}
