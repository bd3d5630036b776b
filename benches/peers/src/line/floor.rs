//! The floor's line: `{"join":true}`, `{"offer":…}`, `{"answer":…}`, and hanging up.

use anyhow::Result;
use futures_util::{FutureExt, future::BoxFuture};
use serde_json::{Value, json};
use swarm::{line::Line, lobby::Said};

use super::Socket;

pub struct FloorLine(Socket);

impl FloorLine {
    pub async fn open(port: u16) -> Result<Self> {
        Ok(Self(Socket::connect(port, None).await?))
    }
}

impl Line for FloorLine {
    fn join(&mut self) -> BoxFuture<'_, Result<()>> {
        self.0.send(json!({ "join": true })).boxed()
    }

    fn answer<'a>(&'a mut self, sdp: &'a str) -> BoxFuture<'a, Result<()>> {
        self.0.send(json!({ "answer": sdp })).boxed()
    }

    fn next(&mut self) -> BoxFuture<'_, Result<Said>> {
        async {
            Ok(match self.0.next().await?["offer"].take() {
                Value::String(sdp) => Said::Offer { sdp },
                _ => Said::Other,
            })
        }
        .boxed()
    }

    fn leave(&mut self) -> BoxFuture<'_, Result<()>> {
        self.0.close().boxed()
    }
}
