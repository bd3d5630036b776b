//! webrtcsink's own signalling server (gst-plugin-webrtc-signalling), as a consumer speaks to it.

use std::collections::VecDeque;

use anyhow::{Context, Result, bail};
use futures_util::{FutureExt, future::BoxFuture};
use serde_json::{Value, json};
use swarm::{line::Line, lobby::Said};

use super::Socket;

pub struct WebrtcsinkLine {
    socket: Socket,
    producer: String,
    /// There once the session has started, which is before the offer.
    session: Option<String>,
    inbox: Inbox,
}

/// Brings what is said in the order that viewers need: webrtcsink's candidates may overtake its offer.
#[derive(Debug, Default)]
struct Inbox {
    offered: bool,
    early: VecDeque<Said>,
}

impl WebrtcsinkLine {
    /// Connects and finds the producer.
    pub async fn open(port: u16) -> Result<Self> {
        let mut socket = Socket::connect(port, None).await?;
        socket.send(json!({ "type": "list" })).await?;
        let list = loop {
            let message = socket.next().await?;
            if message["type"] == "list" {
                break message;
            }
        };
        let producer = list["producers"][0]["id"]
            .as_str()
            .context("webrtcsink is not there yet")?;
        Ok(Self {
            producer: producer.to_owned(),
            socket,
            session: None,
            inbox: Inbox::default(),
        })
    }

    fn session(&self) -> Result<&str> {
        self.session.as_deref().context("no session has started")
    }
}

impl Line for WebrtcsinkLine {
    fn join(&mut self) -> BoxFuture<'_, Result<()>> {
        let start = json!({ "type": "startSession", "peerId": self.producer });
        self.socket.send(start).boxed()
    }

    fn answer<'a>(&'a mut self, sdp: &'a str) -> BoxFuture<'a, Result<()>> {
        async move {
            let answer = json!({
                "type": "peer",
                "sessionId": self.session()?,
                "sdp": { "type": "answer", "sdp": sdp },
            });
            self.socket.send(answer).await
        }
        .boxed()
    }

    fn next(&mut self) -> BoxFuture<'_, Result<Said>> {
        async {
            loop {
                if let Some(said) = self.inbox.kept() {
                    return Ok(said);
                }
                let message = self.socket.next().await?;
                if message["type"] == "sessionStarted" {
                    self.session = message["sessionId"].as_str().map(str::to_owned);
                }
                if let Some(said) = self.inbox.pass(said(&message)?) {
                    return Ok(said);
                }
            }
        }
        .boxed()
    }

    fn leave(&mut self) -> BoxFuture<'_, Result<()>> {
        async {
            let end = json!({ "type": "endSession", "sessionId": self.session()? });
            self.socket.send(end).await?;
            self.socket.close().await
        }
        .boxed()
    }
}

impl Inbox {
    /// What came early and may be said now.
    fn kept(&mut self) -> Option<Said> {
        self.offered.then(|| self.early.pop_front())?
    }

    /// Keeps what comes too early.
    fn pass(&mut self, said: Said) -> Option<Said> {
        self.offered |= matches!(said, Said::Offer { .. });
        if self.offered || !matches!(said, Said::Candidate(_)) {
            return Some(said);
        }
        self.early.push_back(said);
        None
    }
}

fn said(message: &Value) -> Result<Said> {
    match message["type"].as_str() {
        Some("peer") => match (&message["sdp"]["sdp"], &message["ice"]["candidate"]) {
            (Value::String(sdp), _) => Ok(Said::Offer { sdp: sdp.clone() }),
            (_, Value::String(text)) => {
                Ok(Said::Candidate((!text.is_empty()).then(|| text.clone())))
            }
            _ => Ok(Said::Other),
        },
        Some("endSession") => Ok(Said::Ended),
        Some("error") => bail!("webrtcsink refused: {}", message["details"]),
        _ => Ok(Said::Other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_that_overtake_the_offer_come_after_it() {
        let mut inbox = Inbox::default();
        let candidate = |text: &str| Said::Candidate(Some(text.into()));
        assert!(inbox.pass(candidate("one")).is_none());
        assert!(inbox.pass(candidate("two")).is_none());
        assert!(inbox.kept().is_none());
        let offer = Said::Offer { sdp: "v=0".into() };
        assert!(matches!(inbox.pass(offer), Some(Said::Offer { .. })));
        for expected in ["one", "two"] {
            assert!(matches!(inbox.kept(), Some(Said::Candidate(Some(text))) if text == expected));
        }
        assert!(inbox.kept().is_none());
        assert!(matches!(
            inbox.pass(candidate("three")),
            Some(Said::Candidate(_))
        ));
    }

    #[test]
    fn reads_what_concerns_a_viewer() {
        let offer =
            json!({ "type": "peer", "sessionId": "s", "sdp": { "type": "offer", "sdp": "v=0" } });
        assert!(matches!(said(&offer).unwrap(), Said::Offer { sdp } if sdp == "v=0"));
        let ice = |text: &str| json!({ "type": "peer", "sessionId": "s", "ice": { "candidate": text, "sdpMLineIndex": 0 } });
        assert!(
            matches!(said(&ice("candidate:1")).unwrap(), Said::Candidate(Some(text)) if text == "candidate:1")
        );
        assert!(matches!(said(&ice("")).unwrap(), Said::Candidate(None)));
        assert!(matches!(
            said(&json!({ "type": "endSession" })).unwrap(),
            Said::Ended
        ));
        for other in [
            json!({ "type": "welcome", "peerId": "p" }),
            json!({ "type": "peer" }),
            json!([]),
        ] {
            assert!(matches!(said(&other).unwrap(), Said::Other), "{other}");
        }
        let error = said(&json!({ "type": "error", "details": "no such peer" })).unwrap_err();
        assert!(error.to_string().contains("no such peer"));
    }
}
