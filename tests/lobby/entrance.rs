//! Who comes in, and what the lobby serves to those outside.

use perch::lobby::{Limits, LobbyError, page_is_included, start};
use serde_json::{Value, json};

use crate::wire::{Line, WATCH_KEY, dial_from, http, lobby, post_token, settings, token};

#[tokio::test]
async fn without_a_good_token_the_socket_is_refused_in_the_words_of_the_protocol() {
    let lobby = lobby(Limits::default()).await;
    let good = token(json!({ "id": "somebody" }), 600);
    for connect in [
        "40".to_owned(),
        "40{}".to_owned(),
        "40null".to_owned(),
        "40[]".to_owned(),
        r#"40{"token":null}"#.to_owned(),
        r#"40{"token":7}"#.to_owned(),
        r#"40{"token":"a.b.c"}"#.to_owned(),
        format!(
            "40{}",
            json!({ "token": token(json!({ "id": "late" }), -600) })
        ),
        format!(
            "40{}",
            json!({ "token": token(json!({ "name": "nobody" }), 600) })
        ),
        format!("40{}", json!({ "token": format!("{good}x") })),
    ] {
        let mut line = Line::open(lobby.addr()).await;
        line.write(&connect).await;
        assert_eq!(
            line.frame().await.as_deref(),
            Some(r#"44{"message":"Authentication error"}"#),
            "{connect}"
        );
        // A better token is heard over the same connection.
        line.write(&format!("40{}", json!({ "token": good }))).await;
        let next = line.frame().await.unwrap();
        assert!(next.starts_with(r#"40{"sid":"#), "{next}");
    }
}

#[tokio::test]
async fn who_is_not_in_is_not_answered() {
    let lobby = lobby(Limits::default()).await;
    for connect in [None, Some("40{}")] {
        let mut line = Line::open(lobby.addr()).await;
        if let Some(connect) = connect {
            line.write(connect).await;
            line.frame().await.unwrap();
        }
        line.write(r#"421["live:list"]"#).await;
        while let Some(frame) = line.frame().await {
            assert_eq!(frame, "1", "Engine.IO's close and nothing else");
        }
    }
    assert_eq!(lobby.census(), (0, 0));
}

#[tokio::test]
async fn a_socket_that_never_shows_a_token_is_closed() {
    let limits = Limits {
        connect_timeout: std::time::Duration::from_millis(50),
        ..Limits::default()
    };
    let lobby = lobby(limits).await;
    let mut silent = Line::open(lobby.addr()).await;
    silent.closed().await;
    let mut refused = Line::open(lobby.addr()).await;
    refused.write("40{}").await;
    refused.closed().await;
}

#[tokio::test]
async fn only_engine_io_4_over_websocket_is_spoken() {
    let lobby = lobby(Limits::default()).await;
    let open = Line::open(lobby.addr()).await.handshake;
    assert_eq!(open["upgrades"], json!([]));
    assert_eq!(open["pingInterval"], 25_000);
    assert_eq!(open["pingTimeout"], 20_000);
    assert_eq!(open["maxPayload"], 64 * 1024);
    assert!(open["sid"].as_str().unwrap().len() >= 16);
    let polling = http(
        lobby.addr(),
        "GET /socket.io/?EIO=4&transport=polling",
        &[],
        "",
    );
    assert_eq!(polling.await.status, 400);
    let old = http(
        lobby.addr(),
        "GET /socket.io/?EIO=3&transport=websocket",
        &[
            "connection: upgrade",
            "upgrade: websocket",
            "sec-websocket-version: 13",
            "sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==",
        ],
        "",
    );
    assert_eq!(old.await.status, 400);
}

#[tokio::test]
async fn the_watch_key_is_exchanged_for_a_token_that_may_only_watch() {
    let lobby = lobby(Limits::default()).await;
    let body = json!({ "watch": WATCH_KEY }).to_string();
    let reply = post_token(lobby.addr(), &[], &body).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    assert!(reply.head.contains("cache-control: no-store"));
    let reply = reply.json();
    assert_eq!(reply["expiresIn"], 4 * 3600);

    let mut line = Line::open(lobby.addr()).await;
    line.write(&format!("40{}", json!({ "token": reply["token"] })))
        .await;
    assert!(line.frame().await.unwrap().starts_with(r#"40{"sid":"#));
    let started = line.ask("live:start", json!({ "title": "mine" })).await;
    assert_eq!(started["ok"], false);
    assert_eq!(line.ask("live:list", Value::Null).await, json!([]));
}

#[tokio::test]
async fn a_wrong_watch_key_gets_nothing() {
    let lobby = lobby(Limits::default()).await;
    let wrong = json!({ "watch": "not the key" }).to_string();
    let reply = post_token(lobby.addr(), &[], &wrong).await;
    assert_eq!(reply.status, 403);
    assert!(reply.json()["error"].is_string());
    for (body, status) in [
        ("", 400),
        ("{", 400),
        ("{}", 422),
        (r#"{"watch":null}"#, 422),
        (r#"{"watch":""}"#, 403),
    ] {
        let reply = post_token(lobby.addr(), &[], body).await;
        assert_eq!(reply.status, status, "{body}");
        assert!(!reply.body.contains("token\":"), "{}", reply.body);
    }
    let long = json!({ "watch": "x".repeat(5000) }).to_string();
    assert_eq!(post_token(lobby.addr(), &[], &long).await.status, 413);
    // A form of another site's page cannot say that it is JSON.
    let body = json!({ "watch": WATCH_KEY }).to_string();
    let plain = ["content-type: text/plain"];
    let reply = http(lobby.addr(), "POST /api/token", &plain, &body).await;
    assert_eq!(reply.status, 415);

    let mut last = 0;
    for _ in 0..30 {
        last = post_token(lobby.addr(), &[], &wrong).await.status;
    }
    assert_eq!(last, 429, "guesses are slowed down");
    let right = post_token(lobby.addr(), &[], &body).await;
    assert_eq!(right.status, 200, "and do not lock out who has the link");
}

#[tokio::test]
async fn pages_of_other_sites_are_refused() {
    let lobby = lobby(Limits::default()).await;
    let own = format!("http://{}", lobby.addr());
    assert_eq!(dial_from(lobby.addr(), &own).await, 101);
    let body = json!({ "watch": WATCH_KEY }).to_string();
    let origin = format!("origin: {own}");
    assert_eq!(
        post_token(lobby.addr(), &[&origin], &body).await.status,
        200
    );
    for foreign in ["http://evil.example", "null", "http://127.0.0.1:1"] {
        assert_eq!(dial_from(lobby.addr(), foreign).await, 403, "{foreign}");
        let origin = format!("origin: {foreign}");
        let reply = post_token(lobby.addr(), &[&origin], &body).await;
        assert_eq!(reply.status, 403, "{foreign}");
        assert!(!reply.head.contains("access-control-allow"));
    }
}

#[tokio::test]
async fn the_page_or_the_word_that_there_is_none_comes_with_the_security_headers() {
    let lobby = lobby(Limits::default()).await;
    let index = http(lobby.addr(), "GET /", &[], "").await;
    assert_eq!(index.status, 200);
    assert!(
        index
            .head
            .contains("content-type: text/html; charset=utf-8")
    );
    for header in [
        "content-security-policy: default-src 'self'",
        "frame-ancestors 'self'",
        "x-content-type-options: nosniff",
        "referrer-policy: no-referrer",
    ] {
        assert!(index.head.contains(header), "{header}: {}", index.head);
    }
    if page_is_included() {
        assert!(index.head.contains("cache-control: no-cache"));
        let tag = index
            .head
            .lines()
            .find(|l| l.starts_with("etag: "))
            .unwrap();
        let again = tag.replace("etag", "if-none-match");
        let again = http(lobby.addr(), "GET /", &[&again], "").await;
        assert_eq!((again.status, again.body.as_str()), (304, ""));
    } else {
        assert!(index.body.contains("not included in this build"));
    }
    for missing in [
        "/nothing.js",
        "/../Cargo.toml",
        "/%2e%2e/Cargo.toml",
        "//etc/passwd",
    ] {
        let reply = http(lobby.addr(), &format!("GET {missing}"), &[], "").await;
        assert_eq!(reply.status, 404, "{missing}");
    }
}

#[tokio::test]
async fn a_port_in_use_is_one_clear_error() {
    let first = lobby(Limits::default()).await;
    let error = start(settings(first.addr(), Limits::default()))
        .await
        .unwrap_err();
    assert!(matches!(error, LobbyError::Listen { .. }));
    let text = error.to_string();
    assert!(text.contains(&first.addr().to_string()), "{text}");
    assert!(text.contains("[embedded_lobby] listen"), "{text}");
}

#[tokio::test]
async fn a_key_that_could_be_guessed_is_refused() {
    let mut settings = settings("127.0.0.1:0".parse().unwrap(), Limits::default());
    settings.watch_key = perch::secret::Secret::new("");
    let error = start(settings).await.unwrap_err();
    assert!(matches!(error, LobbyError::ShortKey { which: "watch key" }));
}
