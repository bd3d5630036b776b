//! Bare ways to talk to a lobby: WebSocket frames as they are written on the wire, and one HTTP request.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_tungstenite::{
    WebSocketStream,
    tokio::{TokioAdapter, client_async},
    tungstenite::{Error, Message, client::IntoClientRequest, http::HeaderValue},
};
use futures_util::StreamExt;
use jsonwebtoken::{EncodingKey, Header};
use perch::{
    lobby::{Limits, Lobby, Settings, start},
    secret::Secret,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

pub const SECRET: &str = "known to the tests alone, 32 bytes";
pub const WATCH_KEY: &str = "the-watch-key-of-tests";

/// For what happens at once on an idle machine.
pub const SOON: Duration = Duration::from_secs(20);

pub async fn lobby(limits: Limits) -> Lobby {
    start(settings("127.0.0.1:0".parse().unwrap(), limits))
        .await
        .unwrap()
}

pub fn settings(listen: SocketAddr, limits: Limits) -> Settings {
    Settings {
        listen,
        secret: Secret::new(SECRET),
        watch_key: Secret::new(WATCH_KEY),
        tls: None,
        limits,
    }
}

/// A token with these claims and a life of `life` seconds, which may be over.
pub fn token(mut claims: Value, life: i64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    claims["exp"] = json!(i64::try_from(now.as_secs()).unwrap() + life);
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    jsonwebtoken::encode(&Header::default(), &claims, &key).unwrap()
}

/// One socket, frame by frame.
pub struct Line {
    pub frames: WebSocketStream<TokioAdapter<TcpStream>>,
    /// The open packet.
    pub handshake: Value,
    pub id: String,
    acks: u32,
    /// Events that came while something else was waited for.
    aside: VecDeque<(String, Value)>,
}

impl Line {
    /// A WebSocket to the lobby whose open packet has been read.
    pub async fn open(addr: SocketAddr) -> Self {
        Self::over(TcpStream::connect(addr).await.unwrap(), addr).await
    }

    pub async fn over(stream: TcpStream, addr: SocketAddr) -> Self {
        let url = format!("ws://{addr}/socket.io/?EIO=4&transport=websocket");
        let (frames, _) = client_async(url, stream).await.unwrap();
        let mut line = Self {
            frames,
            handshake: Value::Null,
            id: String::new(),
            acks: 0,
            aside: VecDeque::new(),
        };
        let open = line.frame().await.unwrap();
        line.handshake = serde_json::from_str(open.strip_prefix('0').unwrap()).unwrap();
        line
    }

    /// A socket that the lobby has accepted.
    pub async fn join(addr: SocketAddr, claims: Value) -> Self {
        let mut line = Self::open(addr).await;
        line.accept(claims).await;
        line
    }

    pub async fn member(addr: SocketAddr, name: &str) -> Self {
        Self::join(addr, json!({ "id": name })).await
    }

    pub async fn viewer(addr: SocketAddr, name: &str) -> Self {
        Self::join(addr, json!({ "id": name, "role": "viewer" })).await
    }

    /// A socket whose side of the TCP connection takes in little before it has to be read.
    pub async fn narrow_viewer(addr: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let stream = socket.connect(addr).await.unwrap();
        let mut line = Self::over(stream, addr).await;
        line.accept(json!({ "id": "narrow", "role": "viewer" }))
            .await;
        line
    }

    async fn accept(&mut self, claims: Value) {
        let token = token(claims, 600);
        self.write(&format!("40{}", json!({ "token": token })))
            .await;
        let accepted = loop {
            let frame = self.frame().await.expect("the lobby accepts the socket");
            if let Some(accepted) = frame.strip_prefix("40") {
                break serde_json::from_str::<Value>(accepted).unwrap();
            }
            // What the server tells everybody may come before: Socket.IO's own client keeps it for later.
            self.set_aside(&frame);
        };
        accepted["sid"].as_str().unwrap().clone_into(&mut self.id);
    }

    pub async fn write(&mut self, text: &str) {
        self.frames.send(Message::text(text)).await.unwrap();
    }

    /// Writes to somebody who may be gone.
    pub async fn try_write(&mut self, text: &str) -> Result<(), Error> {
        self.frames.send(Message::text(text)).await
    }

    pub async fn emit(&mut self, event: &str, payload: Value) {
        self.write(&format!("42{}", json!([event, payload]))).await;
    }

    /// Emits with an acknowledgement and returns its one argument.
    pub async fn ask(&mut self, event: &str, payload: Value) -> Value {
        self.acks += 1;
        let id = self.acks;
        self.write(&format!("42{id}{}", json!([event, payload])))
            .await;
        let prefix = format!("43{id}");
        loop {
            let frame = self.frame().await.expect("an acknowledgement");
            if let Some(args) = frame.strip_prefix(&prefix) {
                let args: Vec<Value> = serde_json::from_str(args).unwrap();
                assert_eq!(args.len(), 1, "{frame}");
                return args.into_iter().next().unwrap();
            }
            self.set_aside(&frame);
        }
    }

    /// Waits for the next event of this name; others are kept.
    pub async fn event(&mut self, name: &str) -> Value {
        if let Some(at) = self.aside.iter().position(|(event, _)| event == name) {
            return self.aside.remove(at).unwrap().1;
        }
        let waiting = async {
            loop {
                let frame = self.frame().await;
                let frame = frame.unwrap_or_else(|| panic!("closed before {name}"));
                self.set_aside(&frame);
                if self.aside.back().is_some_and(|(event, _)| event == name) {
                    return self.aside.pop_back().unwrap().1;
                }
            }
        };
        // Pings alone would go on for ever.
        let event = timeout(SOON, waiting).await;
        event.unwrap_or_else(|_| panic!("no {name} in time"))
    }

    /// All events so far, by name. Whatever the lobby sent before it answers is among them.
    pub async fn heard(&mut self) -> Vec<(String, Value)> {
        self.ask("live:list", Value::Null).await;
        let heard = self.aside.drain(..);
        heard.filter(|(event, _)| event != "live:update").collect()
    }

    /// The next text frame but pings, which are answered; `None` at the end.
    pub async fn frame(&mut self) -> Option<String> {
        loop {
            let next = timeout(SOON, self.frames.next()).await;
            match next.expect("a frame in time")? {
                Ok(Message::Text(text)) if text.as_str() == "2" => self.write("3").await,
                Ok(Message::Text(text)) => return Some(text.as_str().to_owned()),
                Ok(_) => {}
                Err(_) => return None,
            }
        }
    }

    /// Reads, and answers pings, until the lobby closes.
    pub async fn closed(&mut self) {
        let end = async { while self.frame().await.is_some() {} };
        timeout(SOON, end).await.expect("closed in time");
    }

    fn set_aside(&mut self, frame: &str) {
        if let Some(args) = frame.strip_prefix("42") {
            let args: Vec<Value> = serde_json::from_str(args).unwrap();
            let name = args[0].as_str().unwrap().to_owned();
            let payload = args.get(1).cloned().unwrap_or_default();
            self.aside.push_back((name, payload));
        }
    }
}

/// A host and a viewer that has joined its stream.
pub async fn pair(addr: SocketAddr) -> (Line, Line, String) {
    let mut host = Line::member(addr, "host").await;
    let started = host.ask("live:start", json!({ "title": "Nest" })).await;
    assert_eq!(started["ok"], true);
    let stream_id = started["streamId"].as_str().unwrap().to_owned();
    let mut viewer = Line::viewer(addr, "viewer").await;
    let joined = viewer
        .ask("live:join", json!({ "streamId": stream_id }))
        .await;
    assert_eq!(joined, true);
    let join = host.event("live:viewer-join").await;
    assert_eq!(
        join,
        json!({ "streamId": stream_id, "viewerSocketId": viewer.id })
    );
    (host, viewer, stream_id)
}

/// What comes of dialling with an `Origin`: the HTTP status.
pub async fn dial_from(addr: SocketAddr, origin: &str) -> u16 {
    let url = format!("ws://{addr}/socket.io/?EIO=4&transport=websocket");
    let mut request = url.into_client_request().unwrap();
    let origin = HeaderValue::from_str(origin).unwrap();
    request.headers_mut().insert("origin", origin);
    let stream = TcpStream::connect(addr).await.unwrap();
    match client_async(request, stream).await {
        Ok((_, response)) => response.status().as_u16(),
        Err(Error::Http(response)) => response.status().as_u16(),
        Err(error) => panic!("{error}"),
    }
}

/// A reply, head in lower case.
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// One HTTP request over its own connection. `headers` are whole lines.
pub async fn http(addr: SocketAddr, request: &str, headers: &[&str], body: &str) -> Reply {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let mut head = format!("{request} HTTP/1.1\r\nhost: {addr}\r\nconnection: close\r\n");
    for header in headers {
        head.push_str(header);
        head.push_str("\r\n");
    }
    let length = body.len();
    let text = format!("{head}content-length: {length}\r\n\r\n{body}");
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut reply = Vec::new();
    timeout(SOON, stream.read_to_end(&mut reply))
        .await
        .expect("a reply in time")
        .unwrap();
    let reply = String::from_utf8(reply).unwrap();
    let (head, body) = reply.split_once("\r\n\r\n").unwrap();
    Reply {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        head: head.to_lowercase(),
        body: body.to_owned(),
    }
}

/// The reply to a watch key.
pub async fn post_token(addr: SocketAddr, headers: &[&str], body: &str) -> Reply {
    let json = ["content-type: application/json"];
    let headers: Vec<&str> = json.iter().chain(headers).copied().collect();
    http(addr, "POST /api/token", &headers, body).await
}
