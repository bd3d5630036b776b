//! The page's files, built in.

use axum::{
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use rust_embed::{Embed, EmbeddedFile};

/// What Vite left in `web/dist`; nothing if it was not run. Builds without optimisation read the
/// folder at run time instead.
#[derive(Embed)]
#[folder = "web/dist"]
#[allow_missing = true]
struct Files;

const INDEX: &str = "index.html";

/// Vite puts a hash of the content into the names of the files in this folder.
const HASHED: &str = "assets/";

const NOT_INCLUDED: &str = "<!doctype html>
<html lang=\"en\">
<meta charset=\"utf-8\">
<meta name=\"viewport\" content=\"width=device-width\">
<title>Perch</title>
<h1>The page is not included in this build</h1>
<p>The lobby is running, but this binary was built without its web page. To include it, with Node 20 or later:
<pre>npm --prefix web ci
npm --prefix web run build
cargo build --release</pre>
</html>
";

/// Answers a GET for one of the page's files.
pub async fn serve(uri: Uri, headers: HeaderMap) -> Response {
    let path = match uri.path().trim_start_matches('/') {
        "" => INDEX,
        path => path,
    };
    match Files::get(path) {
        Some(file) => reply(path, file, &headers),
        None if path == INDEX => not_included(),
        None => (StatusCode::NOT_FOUND, "not found\n").into_response(),
    }
}

/// Whether the page is part of this build.
pub fn is_included() -> bool {
    Files::get(INDEX).is_some()
}

fn reply(path: &str, file: EmbeddedFile, headers: &HeaderMap) -> Response {
    let tag = entity_tag(&file);
    let cache = if path.starts_with(HASHED) {
        HeaderValue::from_static("public, max-age=31536000, immutable")
    } else {
        HeaderValue::from_static("no-cache")
    };
    let caching = [(header::CACHE_CONTROL, cache), (header::ETAG, tag.clone())];
    if headers.get(header::IF_NONE_MATCH) == Some(&tag) {
        return (StatusCode::NOT_MODIFIED, caching).into_response();
    }
    let content_type = [(header::CONTENT_TYPE, content_type(&file))];
    (caching, content_type, file.data).into_response()
}

fn entity_tag(file: &EmbeddedFile) -> HeaderValue {
    let mut tag = String::from("\"");
    for byte in &file.metadata.sha256_hash()[..16] {
        tag.push_str(&format!("{byte:02x}"));
    }
    tag.push('"');
    HeaderValue::from_str(&tag).expect("hexadecimal digits in quotes")
}

fn content_type(file: &EmbeddedFile) -> HeaderValue {
    let mime = file.metadata.mimetype();
    let text = mime.starts_with("text/") || mime == "image/svg+xml";
    let full = if text {
        format!("{mime}; charset=utf-8")
    } else {
        mime.to_owned()
    };
    HeaderValue::from_str(&full)
        .unwrap_or_else(|_| HeaderValue::from_static("application/octet-stream"))
}

fn not_included() -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, NOT_INCLUDED).into_response()
}
