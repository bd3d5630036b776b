//! Janus: its own API over WebSocket, and the words of its streaming plugin in it.

use anyhow::{Context, Result, bail};
use futures_util::{FutureExt, future::BoxFuture};
use serde_json::{Value, json};
use swarm::{line::Line, lobby::Said};

use super::Socket;

/// The mountpoint in `janus/janus.plugin.streaming.jcfg`.
const MOUNTPOINT: u64 = 1;

pub struct JanusLine {
    socket: Socket,
    session: u64,
    handle: u64,
}

impl JanusLine {
    /// Makes a session and attaches it to the plugin.
    pub async fn open(port: u16) -> Result<Self> {
        let mut socket = Socket::connect(port, Some("janus-protocol")).await?;
        let create = json!({ "janus": "create", "transaction": "create" });
        socket.send(create).await?;
        let session = new_id(&mut socket).await?;
        let attach = json!({
            "janus": "attach",
            "plugin": "janus.plugin.streaming",
            "session_id": session,
            "transaction": "attach",
        });
        socket.send(attach).await?;
        let handle = new_id(&mut socket).await?;
        Ok(Self {
            socket,
            session,
            handle,
        })
    }

    async fn ask(&mut self, body: Value, jsep: Option<Value>) -> Result<()> {
        let mut message = json!({
            "janus": "message",
            "session_id": self.session,
            "handle_id": self.handle,
            "transaction": "message",
            "body": body,
        });
        if let Some(jsep) = jsep {
            message["jsep"] = jsep;
        }
        self.socket.send(message).await
    }
}

impl Line for JanusLine {
    fn join(&mut self) -> BoxFuture<'_, Result<()>> {
        let watch = json!({ "request": "watch", "id": MOUNTPOINT });
        self.ask(watch, None).boxed()
    }

    fn answer<'a>(&'a mut self, sdp: &'a str) -> BoxFuture<'a, Result<()>> {
        let answer = json!({ "type": "answer", "sdp": sdp });
        self.ask(json!({ "request": "start" }), Some(answer))
            .boxed()
    }

    fn next(&mut self) -> BoxFuture<'_, Result<Said>> {
        async { said(&self.socket.next().await?) }.boxed()
    }

    fn leave(&mut self) -> BoxFuture<'_, Result<()>> {
        async {
            let destroy = json!({
                "janus": "destroy",
                "session_id": self.session,
                "transaction": "destroy",
            });
            self.socket.send(destroy).await?;
            self.socket.close().await
        }
        .boxed()
    }
}

async fn new_id(socket: &mut Socket) -> Result<u64> {
    let answer = socket.next().await?;
    answer["data"]["id"]
        .as_u64()
        .with_context(|| format!("Janus refused: {answer}"))
}

fn said(message: &Value) -> Result<Said> {
    let failed = &message["plugindata"]["data"]["error"];
    match message["janus"].as_str() {
        Some("event") if failed.is_string() => bail!("Janus refused: {failed}"),
        Some("event") => match &message["jsep"]["sdp"] {
            Value::String(sdp) => Ok(Said::Offer { sdp: sdp.clone() }),
            _ => Ok(Said::Other),
        },
        Some("hangup") => Ok(Said::Ended),
        Some("error") => bail!("Janus refused: {}", message["error"]["reason"]),
        _ => Ok(Said::Other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_concerns_a_viewer() {
        let offer = json!({
            "janus": "event", "sender": 2,
            "plugindata": { "plugin": "janus.plugin.streaming", "data": { "streaming": "event" } },
            "jsep": { "type": "offer", "sdp": "v=0" },
        });
        assert!(matches!(said(&offer).unwrap(), Said::Offer { sdp } if sdp == "v=0"));
        for other in [
            json!({ "janus": "ack" }),
            json!({ "janus": "webrtcup" }),
            json!(3),
        ] {
            assert!(matches!(said(&other).unwrap(), Said::Other), "{other}");
        }
        let hangup = json!({ "janus": "hangup", "reason": "ICE failed" });
        assert!(matches!(said(&hangup).unwrap(), Said::Ended));
    }

    #[test]
    fn a_refusal_says_why() {
        let plugin = json!({
            "janus": "event",
            "plugindata": { "data": { "error_code": 455, "error": "No such mountpoint/stream 1" } },
        });
        let core =
            json!({ "janus": "error", "error": { "code": 458, "reason": "No such session" } });
        for (message, why) in [(plugin, "No such mountpoint"), (core, "No such session")] {
            let error = said(&message).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
