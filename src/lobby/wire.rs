//! The lobby's events as JSON: what a socket sends into requests, what it is told out of events.
//!
//! Anything that is not understood becomes `None` and is ignored: the same socket may carry the
//! events of an application that this lobby knows nothing about.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};

use super::relay::{Ack, Event, Listing, Request, SocketId};
use crate::signaling::message::{Shown, StreamId};

/// Longest stream or socket id that is looked at, in bytes; ours are much shorter.
const MAX_ID: usize = 64;

/// Reads one event of a socket. `payload` is its first argument, or null.
pub fn request(event: &str, payload: &Value) -> Option<Request> {
    let stream_id = || Some(StreamId::new(id(payload, "streamId")?));
    let to = || Some(SocketId(Arc::from(id(payload, "to")?)));
    Some(match event {
        "live:start" => Request::Start {
            title: text(payload, "title"),
        },
        "live:list" => Request::List,
        "live:join" => Request::Join {
            stream_id: stream_id()?,
        },
        "live:leave" => Request::Leave {
            stream_id: stream_id()?,
        },
        "live:signal-offer" => Request::Offer {
            stream_id: stream_id()?,
            to: to()?,
            offer: object(payload, "offer")?,
        },
        "live:signal-answer" => Request::Answer {
            stream_id: stream_id()?,
            answer: object(payload, "answer")?,
        },
        "live:signal-ice" => Request::Candidate {
            stream_id: stream_id()?,
            to: to(),
            candidate: candidate(payload)?,
        },
        "live:end" => Request::End {
            stream_id: stream_id()?,
        },
        "live:viewer-refused" => Request::RefuseViewer {
            stream_id: stream_id()?,
            to: to()?,
            reason: text(payload, "reason"),
            max: payload.get("max").and_then(Value::as_u64),
        },
        "live:camera" => Request::Camera {
            stream_id: stream_id()?,
            camera: Shown::named(payload.get("camera")?.as_str()?)?,
        },
        "live:rendition" => Request::Rendition {
            stream_id: stream_id()?,
            to: to()?,
            rendition: payload.get("rendition")?.as_str()?.to_owned(),
            reason: text(payload, "reason"),
        },
        _ => return None,
    })
}

/// An event's name and its one argument.
pub fn event(event: Event) -> (&'static str, Value) {
    match event {
        Event::ViewerJoin { stream_id, viewer } => (
            "live:viewer-join",
            json!({ "streamId": stream_id.as_str(), "viewerSocketId": *viewer.0 }),
        ),
        Event::ViewerLeft { stream_id, viewer } => (
            "live:viewer-left",
            json!({ "streamId": stream_id.as_str(), "viewerSocketId": *viewer.0 }),
        ),
        Event::Offer { stream_id, offer } => (
            "live:signal-offer",
            json!({ "streamId": stream_id.as_str(), "offer": offer }),
        ),
        Event::Answer {
            stream_id,
            from,
            answer,
        } => (
            "live:signal-answer",
            json!({ "streamId": stream_id.as_str(), "from": *from.0, "answer": answer }),
        ),
        Event::Candidate {
            stream_id,
            from,
            candidate,
        } => (
            "live:signal-ice",
            json!({ "streamId": stream_id.as_str(), "from": *from.0, "candidate": candidate }),
        ),
        Event::Ended { stream_id } => ("live:ended", json!({ "streamId": stream_id.as_str() })),
        Event::Rendition {
            stream_id,
            rendition,
            reason,
        } => (
            "live:rendition",
            json!({ "streamId": stream_id.as_str(), "rendition": rendition, "reason": reason }),
        ),
        Event::Refused {
            stream_id,
            reason,
            max,
        } => {
            let mut body = json!({ "streamId": stream_id.as_str(), "reason": reason });
            if let Some(max) = max {
                body["max"] = max.into();
            }
            ("live:refused", body)
        }
    }
}

/// An acknowledgement's one argument.
pub fn ack(ack: Ack) -> Value {
    match ack {
        Ack::Started(stream_id) => json!({ "ok": true, "streamId": stream_id.as_str() }),
        Ack::NotStarted(why) => json!({ "ok": false, "error": why }),
        Ack::List(list) => self::list(&list),
        Ack::Done(done) => done.into(),
    }
}

/// The lobby's list, as in `live:update` and the acknowledgement of `live:list`.
pub fn list(list: &[Listing]) -> Value {
    list.iter()
        .map(|stream| {
            let mut line = json!({
                "streamId": stream.stream_id.as_str(),
                "title": stream.title,
                "hostUserId": *stream.host_user,
                "startedAt": iso_8601(stream.started_at),
                "viewers": stream.viewers,
            });
            if stream.camera != Shown::Live {
                line["camera"] = stream.camera.name().into();
            }
            line
        })
        .collect()
}

fn id<'a>(payload: &'a Value, key: &str) -> Option<&'a str> {
    let id = payload.get(key)?.as_str()?;
    (!id.is_empty() && id.len() <= MAX_ID).then_some(id)
}

fn text(payload: &Value, key: &str) -> String {
    let text = payload.get(key).and_then(Value::as_str);
    text.unwrap_or_default().to_owned()
}

fn object(payload: &Value, key: &str) -> Option<Value> {
    payload.get(key).filter(|value| value.is_object()).cloned()
}

/// An RTCIceCandidateInit, or null for the end of candidates; a browser that sends `undefined`
/// leaves the key out, which means the same.
fn candidate(payload: &Value) -> Option<Value> {
    match payload.as_object()?.get("candidate") {
        None | Some(Value::Null) => Some(Value::Null),
        Some(candidate) if candidate.is_object() => Some(candidate.clone()),
        Some(_) => None,
    }
}

/// `2026-01-31T23:59:59.123Z`, as JavaScript's `toISOString` writes it. Times before 1970 become 1970.
fn iso_8601(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil_from_days(days);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
        second / 3600,
        second / 60 % 60,
        second % 60,
        since.subsec_millis()
    )
}

/// The Gregorian date of a day counted from 1970-01-01 (Howard Hinnant, "chrono-Compatible Low-Level
/// Date Algorithms", `civil_from_days`, for days that are not negative).
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let era = z / 146_097;
    let day_of_era = z % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn dates_are_written_as_javascript_does() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00.007Z"),
            (951_782_400, "2000-02-29T00:00:00.007Z"),
            (1_767_225_599, "2025-12-31T23:59:59.007Z"),
            (4_107_542_400, "2100-03-01T00:00:00.007Z"),
        ] {
            let time = UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_millis(7);
            assert_eq!(iso_8601(time), expected);
        }
    }

    #[test]
    fn what_is_not_understood_is_ignored() {
        for (event, payload) in [
            ("message:receive", json!({ "streamId": "s" })),
            ("live:join", Value::Null),
            ("live:join", json!("s")),
            ("live:join", json!([{ "streamId": "s" }])),
            ("live:join", json!({ "streamId": 7 })),
            ("live:join", json!({ "streamId": "" })),
            ("live:join", json!({ "streamId": "x".repeat(65) })),
            ("live:signal-offer", json!({ "streamId": "s", "offer": {} })),
            (
                "live:signal-offer",
                json!({ "streamId": "s", "to": "v", "offer": "sdp" }),
            ),
            (
                "live:signal-answer",
                json!({ "streamId": "s", "answer": [1] }),
            ),
            (
                "live:signal-ice",
                json!({ "streamId": "s", "candidate": "candidate:1" }),
            ),
            ("live:end", json!({})),
            ("live:camera", json!({ "streamId": "s" })),
            (
                "live:camera",
                json!({ "streamId": "s", "camera": "stolen" }),
            ),
            (
                "live:rendition",
                json!({ "streamId": "s", "rendition": "second" }),
            ),
            (
                "live:rendition",
                json!({ "streamId": "s", "to": 7, "rendition": "second" }),
            ),
            ("live:rendition", json!({ "to": "v", "rendition": "first" })),
            (
                "live:rendition",
                json!({ "streamId": "s", "to": "v", "reason": "loss" }),
            ),
            (
                "live:rendition",
                json!({ "streamId": "s", "to": "v", "rendition": 2 }),
            ),
        ] {
            assert_eq!(request(event, &payload), None, "{event} {payload}");
        }
    }

    #[test]
    fn an_end_of_candidates_may_be_null_or_left_out() {
        for payload in [
            json!({ "streamId": "s" }),
            json!({ "streamId": "s", "candidate": null }),
        ] {
            assert_eq!(
                request("live:signal-ice", &payload),
                Some(Request::Candidate {
                    stream_id: StreamId::new("s"),
                    to: None,
                    candidate: Value::Null,
                })
            );
        }
    }

    #[test]
    fn a_refusal_carries_the_number_of_places() {
        let refusal = json!({ "streamId": "s", "to": "v", "reason": "full", "max": 10 });
        assert_eq!(
            request("live:viewer-refused", &refusal),
            Some(Request::RefuseViewer {
                stream_id: StreamId::new("s"),
                to: SocketId("v".into()),
                reason: "full".to_owned(),
                max: Some(10),
            })
        );
        let (name, body) = event(Event::Refused {
            stream_id: StreamId::new("s"),
            reason: "full".to_owned(),
            max: Some(10),
        });
        assert_eq!(name, "live:refused");
        assert_eq!(
            body,
            json!({ "streamId": "s", "reason": "full", "max": 10 })
        );
    }
    #[test]
    fn a_viewer_is_told_its_rendition_and_why() {
        let said = json!({ "streamId": "s", "to": "v", "rendition": "second", "reason": "loss" });
        assert_eq!(
            request("live:rendition", &said),
            Some(Request::Rendition {
                stream_id: StreamId::new("s"),
                to: SocketId("v".into()),
                rendition: "second".to_owned(),
                reason: "loss".to_owned(),
            })
        );
        let (name, body) = event(Event::Rendition {
            stream_id: StreamId::new("s"),
            rendition: "second".to_owned(),
            reason: "loss".to_owned(),
        });
        assert_eq!(name, "live:rendition");
        assert_eq!(
            body,
            json!({ "streamId": "s", "rendition": "second", "reason": "loss" })
        );
    }

    #[test]
    fn a_rendition_may_come_without_a_reason() {
        let said = json!({ "streamId": "s", "to": "v", "rendition": "first" });
        let request = request("live:rendition", &said);
        assert!(
            matches!(&request, Some(Request::Rendition { reason, .. }) if reason.is_empty()),
            "{request:?}"
        );
    }
}
