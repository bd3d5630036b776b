//! The viewer's line to the lobby: Engine.IO 4 and Socket.IO 5 over one WebSocket.
//!
//! Deliberately its own small reading of the protocol and not the daemon's: a mistake in the
//! daemon's would otherwise agree with itself.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use async_tungstenite::{
    WebSocketStream,
    tokio::{TokioAdapter, client_async_with_config},
    tungstenite::{Message, protocol::WebSocketConfig},
};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::{net::TcpStream, time::timeout};
use url::Url;

/// The lobby must accept, list and acknowledge within this time.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes read from the socket at a time; an offer is about this long.
const READ_BUFFER: usize = 4096;

/// What the lobby tells a viewer.
#[derive(Debug)]
pub enum Said {
    Offer {
        sdp: String,
    },
    /// `None` ends the host's candidates.
    Candidate(Option<String>),
    /// The stream is over.
    Ended,
    /// The host has no place left.
    Refused,
    /// The list of streams, from `live:update`.
    Streams(Vec<String>),
    /// The acknowledgement of an earlier message.
    Ack {
        id: u64,
        args: Value,
    },
    /// Something that does not concern a viewer.
    Other,
}

/// One viewer's socket.
pub struct Lobby {
    socket: WebSocketStream<TokioAdapter<TcpStream>>,
    next_ack: u64,
    /// What came while something else was waited for.
    streams: Vec<String>,
}

impl Lobby {
    /// Connects (`http` or `ws` only) and authenticates.
    pub async fn connect(url: &Url, token: &str) -> Result<Self> {
        timeout(PATIENCE, Self::dial(url, token))
            .await
            .context("the lobby did not accept the connection in time")?
    }

    async fn dial(url: &Url, token: &str) -> Result<Self> {
        let host = url.host_str().context("the lobby's address has no host")?;
        let port = url
            .port_or_known_default()
            .context("the lobby's address has no port")?;
        let tcp = TcpStream::connect((host.trim_matches(['[', ']']), port)).await?;
        // Small messages wait for acknowledgements otherwise, and joins are timed.
        tcp.set_nodelay(true)?;
        let address = format!("ws://{host}:{port}/socket.io/?EIO=4&transport=websocket");
        // The buffer is cleared at every look at the socket; the default is 128 KiB.
        let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER);
        let (socket, _) = client_async_with_config(address, tcp, Some(config)).await?;
        let mut lobby = Self {
            socket,
            next_ack: 0,
            streams: Vec::new(),
        };
        let open = lobby.packet().await?;
        if !open.starts_with('0') {
            bail!("the lobby did not open an Engine.IO session");
        }
        lobby
            .write(format!("40{}", json!({ "token": token })))
            .await?;
        loop {
            let packet = lobby.packet().await?;
            match packet.get(..2) {
                Some("40") => return Ok(lobby),
                Some("44") => bail!("the lobby refused the viewer: {}", &packet[2..]),
                _ => {}
            }
        }
    }

    /// The stream that is last in the lobby's list, which is the latest; waits for one to begin.
    pub async fn find_stream(&mut self) -> Result<String> {
        timeout(PATIENCE, self.latest_stream())
            .await
            .context("no stream began in time")?
    }

    async fn latest_stream(&mut self) -> Result<String> {
        self.emit_with_ack("live:list", None).await?;
        loop {
            if let Some(stream) = self.streams.last() {
                return Ok(stream.clone());
            }
            match self.next().await? {
                Said::Ack { args, .. } => self.streams = stream_ids(&args[0]),
                Said::Streams(streams) => self.streams = streams,
                _ => {}
            }
        }
    }

    /// Sends an event without asking for an acknowledgement.
    pub async fn emit(&mut self, event: &str, payload: Value) -> Result<()> {
        self.write(format!("42{}", json!([event, payload]))).await
    }

    /// Sends an event; its acknowledgement comes as [`Said::Ack`] with the id returned.
    pub async fn emit_with_ack(&mut self, event: &str, payload: Option<Value>) -> Result<u64> {
        let id = self.next_ack;
        self.next_ack += 1;
        let args = match payload {
            Some(payload) => json!([event, payload]),
            None => json!([event]),
        };
        self.write(format!("42{id}{args}")).await?;
        Ok(id)
    }

    /// The next thing that the lobby says. Safe to drop at any await and to call again.
    pub async fn next(&mut self) -> Result<Said> {
        let packet = self.packet().await?;
        if packet.starts_with("41") {
            bail!("the lobby hung up");
        }
        Ok(read(&packet))
    }

    /// Says good-bye and closes the socket.
    pub async fn close(&mut self) -> Result<()> {
        self.write("41".into()).await?;
        Ok(self.socket.close(None).await?)
    }

    /// The next packet that is not a ping.
    async fn packet(&mut self) -> Result<String> {
        loop {
            let message = self
                .socket
                .next()
                .await
                .context("the lobby closed the socket")??;
            match message {
                Message::Text(text) if text.as_str() == "2" => self.write("3".into()).await?,
                Message::Text(text) => return Ok(text.as_str().to_owned()),
                Message::Close(_) => bail!("the lobby closed the socket"),
                _ => {}
            }
        }
    }

    async fn write(&mut self, packet: String) -> Result<()> {
        Ok(self.socket.send(Message::text(packet)).await?)
    }
}

fn read(packet: &str) -> Said {
    let (kind, rest) = packet.split_at_checked(2).unwrap_or_default();
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let id = rest[..digits].parse().ok();
    let Ok(args) = serde_json::from_str::<Value>(&rest[digits..]) else {
        return Said::Other;
    };
    match (kind, id) {
        ("43", Some(id)) => Said::Ack { id, args },
        ("42", _) => event(&args),
        _ => Said::Other,
    }
}

fn event(args: &Value) -> Said {
    let payload = &args[1];
    match args[0].as_str() {
        Some("live:signal-offer") => match payload["offer"]["sdp"].as_str() {
            Some(sdp) => Said::Offer { sdp: sdp.into() },
            None => Said::Other,
        },
        Some("live:signal-ice") => {
            let text = payload["candidate"]["candidate"]
                .as_str()
                .unwrap_or_default();
            Said::Candidate((!text.is_empty()).then(|| text.to_owned()))
        }
        Some("live:ended") => Said::Ended,
        Some("live:viewer-refused") => Said::Refused,
        Some("live:update") => Said::Streams(stream_ids(payload)),
        _ => Said::Other,
    }
}

fn stream_ids(list: &Value) -> Vec<String> {
    let entries = list.as_array().map(Vec::as_slice).unwrap_or_default();
    entries
        .iter()
        .filter_map(|entry| entry["streamId"].as_str().map(str::to_owned))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_concerns_a_viewer() {
        let offer =
            r#"42["live:signal-offer",{"streamId":"s","offer":{"type":"offer","sdp":"v=0"}}]"#;
        assert!(matches!(read(offer), Said::Offer { sdp } if sdp == "v=0"));
        let candidate =
            r#"42["live:signal-ice",{"from":"h","candidate":{"candidate":"candidate:1"}}]"#;
        assert!(matches!(read(candidate), Said::Candidate(Some(text)) if text == "candidate:1"));
        for end in ["null", r#"{"candidate":""}"#] {
            let packet = format!(r#"42["live:signal-ice",{{"candidate":{end}}}]"#);
            assert!(matches!(read(&packet), Said::Candidate(None)));
        }
        assert!(matches!(read("4312[true]"), Said::Ack { id: 12, args } if args[0] == true));
        let update = r#"42["live:update",[{"streamId":"a"},{"streamId":"b"}]]"#;
        assert!(matches!(read(update), Said::Streams(ids) if ids == ["a", "b"]));
    }

    #[test]
    fn ignores_the_rest_of_the_app() {
        for packet in [
            "",
            "4",
            "6",
            "42",
            "42{",
            "43[]",
            "451-[\"x\",{}]",
            "42[\"typing:start\",1]",
        ] {
            assert!(matches!(read(packet), Said::Other), "{packet}");
        }
    }
}
