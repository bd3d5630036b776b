//! The viewers' lines to the hosts that are no Perch: JSON over a WebSocket, each in its own words.

mod floor;
mod janus;
mod webrtcsink;

use std::time::Duration;

use anyhow::{Context, Result, bail};
use async_tungstenite::{
    WebSocketStream,
    tokio::{TokioAdapter, client_async_with_config},
    tungstenite::{
        Message, client::IntoClientRequest, http::HeaderValue, protocol::WebSocketConfig,
    },
};
use futures_util::{FutureExt, StreamExt};
use serde_json::Value;
use swarm::{crowd::OpenLine, line::Line};
use tokio::{net::TcpStream, time::timeout};

pub use self::{floor::FloorLine, janus::JanusLine, webrtcsink::WebrtcsinkLine};

/// A host must open its line within this time.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes read from the socket at a time; an offer is about this long.
const READ_BUFFER: usize = 4096;

/// Opens lines with `open` at the port `port` of this machine.
pub fn opener<L, F>(port: u16, open: fn(u16) -> F) -> OpenLine
where
    L: Line + 'static,
    F: Future<Output = Result<L>> + Send + 'static,
{
    Box::new(move |_| {
        async move {
            let line = timeout(PATIENCE, open(port))
                .await
                .context("the host did not open its line in time")??;
            Ok(Box::new(line) as Box<dyn Line>)
        }
        .boxed()
    })
}

/// One viewer's socket.
pub struct Socket(WebSocketStream<TokioAdapter<TcpStream>>);

impl Socket {
    async fn connect(port: u16, protocol: Option<&'static str>) -> Result<Self> {
        let tcp = TcpStream::connect(("127.0.0.1", port)).await?;
        // Small messages wait for acknowledgements otherwise, and joins are timed.
        tcp.set_nodelay(true)?;
        let mut request = format!("ws://127.0.0.1:{port}/").into_client_request()?;
        if let Some(protocol) = protocol {
            let protocol = HeaderValue::from_static(protocol);
            request
                .headers_mut()
                .insert("Sec-WebSocket-Protocol", protocol);
        }
        // The buffer is cleared at every look at the socket; the default is 128 KiB.
        let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER);
        let (socket, _) = client_async_with_config(request, tcp, Some(config)).await?;
        Ok(Self(socket))
    }

    async fn send(&mut self, message: Value) -> Result<()> {
        Ok(self.0.send(Message::text(message.to_string())).await?)
    }

    /// The next message. Safe to drop at any await and to call again.
    async fn next(&mut self) -> Result<Value> {
        loop {
            match self.0.next().await.context("the host hung up")?? {
                Message::Text(text) => return Ok(serde_json::from_str(text.as_str())?),
                Message::Close(_) => bail!("the host hung up"),
                _ => {}
            }
        }
    }

    async fn close(&mut self) -> Result<()> {
        Ok(self.0.close(None).await?)
    }
}
