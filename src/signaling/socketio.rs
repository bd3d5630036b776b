//! Socket.IO, protocol 5: packets of the default namespace `/`. Sans-io.
//!
//! <https://github.com/socketio/socket.io-protocol>:
//! `<type>[<attachments>-][<namespace>,][<ack id>][JSON]`.

use std::fmt::Write as _;

use serde_json::Value;
use thiserror::Error;

/// An Engine.IO message that is no Socket.IO packet.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PacketError {
    #[error("an empty Socket.IO packet")]
    Empty,
    #[error("unknown Socket.IO packet type {0:?}")]
    UnknownType(char),
    #[error("a binary Socket.IO packet without a count of attachments")]
    Attachments,
    #[error("an acknowledgement id that is missing or too large")]
    AckId,
    #[error("broken JSON in a Socket.IO packet: {0}")]
    Json(String),
    #[error("a Socket.IO packet of type {kind} whose data is not {expected}")]
    Shape {
        kind: &'static str,
        expected: &'static str,
    },
}

/// One packet.
#[derive(Debug, Clone, PartialEq)]
pub enum Packet {
    /// From a client its credentials, from a server `{"sid":…}`.
    Connect {
        payload: Option<Value>,
    },
    Disconnect,
    Event {
        name: String,
        args: Vec<Value>,
        /// The sender wants an acknowledgement under this id.
        ack: Option<u64>,
    },
    Ack {
        id: u64,
        args: Vec<Value>,
    },
    ConnectError {
        message: String,
    },
    /// An event or acknowledgement with `attachments` binary frames to follow. Its JSON is not looked at:
    /// nothing of the lobby's vocabulary is binary.
    Binary {
        attachments: u32,
    },
    /// A packet for another namespace.
    Foreign {
        attachments: u32,
    },
}

impl Packet {
    /// Reads what follows Engine.IO's `4`. JSON deeper than serde_json's limit of 128 is refused.
    pub fn parse(text: &str) -> Result<Self, PacketError> {
        let kind = text.chars().next().ok_or(PacketError::Empty)?;
        if !('0'..='6').contains(&kind) {
            return Err(PacketError::UnknownType(kind));
        }
        let mut rest = &text[1..];
        let mut attachments = 0;
        if matches!(kind, '5' | '6') {
            let (count, after) = rest.split_once('-').ok_or(PacketError::Attachments)?;
            attachments = parse_digits(count).ok_or(PacketError::Attachments)?;
            rest = after;
        }
        if rest.starts_with('/') {
            let (namespace, after) = rest.split_once(',').unwrap_or((rest, ""));
            if namespace != "/" {
                return Ok(Self::Foreign { attachments });
            }
            rest = after;
        }
        if matches!(kind, '5' | '6') {
            return Ok(Self::Binary { attachments });
        }
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (id, json) = rest.split_at(digits);
        let id = match id {
            "" => None,
            id => Some(parse_digits(id).ok_or(PacketError::AckId)?),
        };
        match kind {
            '0' => Ok(Self::Connect {
                // Protocol 5 knows objects only.
                payload: parse_json(json)?.filter(Value::is_object),
            }),
            '1' => Ok(Self::Disconnect),
            '2' => parse_event(json, id),
            '3' => Ok(Self::Ack {
                id: id.ok_or(PacketError::AckId)?,
                args: parse_array(json, "ACK")?,
            }),
            _ => parse_connect_error(json),
        }
    }

    /// The text that follows Engine.IO's `4`. `Binary` and `Foreign` are for receiving only and
    /// are written as a packet without content.
    pub fn encode(&self) -> String {
        match self {
            Self::Connect { payload: None } => "0".to_owned(),
            Self::Connect {
                payload: Some(payload),
            } => format!("0{payload}"),
            Self::Disconnect => "1".to_owned(),
            Self::Event { name, args, ack } => {
                let mut text = "2".to_owned();
                if let Some(id) = ack {
                    push(&mut text, id);
                }
                text.push('[');
                push(&mut text, Value::from(name.as_str()));
                for arg in args {
                    text.push(',');
                    push(&mut text, arg);
                }
                text.push(']');
                text
            }
            Self::Ack { id, args } => {
                let mut text = format!("3{id}[");
                for (i, arg) in args.iter().enumerate() {
                    if i > 0 {
                        text.push(',');
                    }
                    push(&mut text, arg);
                }
                text.push(']');
                text
            }
            Self::ConnectError { message } => {
                format!("4{}", serde_json::json!({ "message": message }))
            }
            Self::Binary { attachments } => format!("5{attachments}-[]"),
            Self::Foreign { attachments } => format!("5{attachments}-/other,[]"),
        }
    }
}

fn push(text: &mut String, value: impl std::fmt::Display) {
    write!(text, "{value}").expect("a String takes whatever is written to it");
}

/// Digits only: `str::parse` alone would let a sign through.
fn parse_digits<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
}

fn parse_json(json: &str) -> Result<Option<Value>, PacketError> {
    if json.is_empty() {
        return Ok(None);
    }
    serde_json::from_str(json)
        .map(Some)
        .map_err(|e| PacketError::Json(e.to_string()))
}

fn parse_array(json: &str, kind: &'static str) -> Result<Vec<Value>, PacketError> {
    match parse_json(json)? {
        Some(Value::Array(items)) => Ok(items),
        _ => Err(PacketError::Shape {
            kind,
            expected: "an array",
        }),
    }
}

fn parse_event(json: &str, ack: Option<u64>) -> Result<Packet, PacketError> {
    let mut items = parse_array(json, "EVENT")?.into_iter();
    match items.next() {
        Some(Value::String(name)) => Ok(Packet::Event {
            name,
            args: items.collect(),
            ack,
        }),
        _ => Err(PacketError::Shape {
            kind: "EVENT",
            expected: "an array that begins with the event's name",
        }),
    }
}

/// `{"message":…}` today, a bare string from servers of older protocols.
fn parse_connect_error(json: &str) -> Result<Packet, PacketError> {
    let message = match parse_json(json)? {
        Some(Value::String(message)) => message,
        Some(Value::Object(fields)) => match fields.get("message") {
            Some(Value::String(message)) => message.clone(),
            _ => String::new(),
        },
        _ => String::new(),
    };
    Ok(Packet::ConnectError { message })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn event(name: &str, args: Vec<Value>, ack: Option<u64>) -> Packet {
        Packet::Event {
            name: name.into(),
            args,
            ack,
        }
    }

    #[test]
    fn reads_the_protocols_own_examples() {
        let cases = [
            ("0", Packet::Connect { payload: None }),
            (
                r#"0{"sid":"oSO0OpakMV_3jnilAAAA"}"#,
                Packet::Connect {
                    payload: Some(json!({"sid": "oSO0OpakMV_3jnilAAAA"})),
                },
            ),
            (
                r#"0/,{"token":"1"}"#,
                Packet::Connect {
                    payload: Some(json!({"token": "1"})),
                },
            ),
            ("1", Packet::Disconnect),
            (r#"2["foo"]"#, event("foo", vec![], None)),
            (
                r#"212["foo",{"a":1},null]"#,
                event("foo", vec![json!({"a": 1}), Value::Null], Some(12)),
            ),
            (
                r#"313["bar"]"#,
                Packet::Ack {
                    id: 13,
                    args: vec![json!("bar")],
                },
            ),
            (
                r#"4{"message":"Not authorized","data":{"x":1}}"#,
                Packet::ConnectError {
                    message: "Not authorized".into(),
                },
            ),
            (
                r#"51-["baz",{"_placeholder":true,"num":0}]"#,
                Packet::Binary { attachments: 1 },
            ),
            (
                r#"62-15["bar",{"_placeholder":true,"num":0}]"#,
                Packet::Binary { attachments: 2 },
            ),
            (r#"0/admin,{"sid":"x"}"#, Packet::Foreign { attachments: 0 }),
            ("1/admin", Packet::Foreign { attachments: 0 }),
            (r#"53-/admin,["x"]"#, Packet::Foreign { attachments: 3 }),
        ];
        for (text, packet) in cases {
            assert_eq!(Packet::parse(text), Ok(packet), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_packet() {
        let shape = |text| matches!(Packet::parse(text), Err(PacketError::Shape { .. }));
        assert_eq!(Packet::parse(""), Err(PacketError::Empty));
        assert_eq!(Packet::parse("7"), Err(PacketError::UnknownType('7')));
        assert_eq!(Packet::parse("ü"), Err(PacketError::UnknownType('ü')));
        assert_eq!(Packet::parse("5[1]"), Err(PacketError::Attachments));
        assert_eq!(Packet::parse("5+1-[1]"), Err(PacketError::Attachments));
        assert_eq!(
            Packet::parse("599999999999-[1]"),
            Err(PacketError::Attachments)
        );
        assert_eq!(Packet::parse("3[]"), Err(PacketError::AckId));
        assert_eq!(
            Packet::parse("399999999999999999999[]"),
            Err(PacketError::AckId)
        );
        for text in ["2", "2{}", "2[]", "2[1]", "2null", "31{}"] {
            assert!(shape(text), "{text}");
        }
        for text in ["2[", "2[\"a\"]]", "0{", "4{\"message\"", "21-[\"a\"]"] {
            assert!(
                matches!(Packet::parse(text), Err(PacketError::Json(_))),
                "{text}"
            );
        }
    }

    #[test]
    fn depth_is_refused_before_the_stack_ends() {
        let deep = format!("2[\"a\",{}{}]", "[".repeat(100_000), "]".repeat(100_000));
        assert!(matches!(Packet::parse(&deep), Err(PacketError::Json(_))));
    }

    fn json_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "\\PC{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("\\PC{0,6}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    fn packet() -> impl Strategy<Value = Packet> {
        let args = || prop::collection::vec(json_value(), 0..4);
        prop_oneof![
            json_value().prop_map(|payload| Packet::Connect {
                payload: Some(json!({ "payload": payload })),
            }),
            Just(Packet::Disconnect),
            ("\\PC{0,12}", args(), any::<Option<u64>>())
                .prop_map(|(name, args, ack)| Packet::Event { name, args, ack }),
            (any::<u64>(), args()).prop_map(|(id, args)| Packet::Ack { id, args }),
            "\\PC{0,20}".prop_map(|message| Packet::ConnectError { message }),
            any::<u32>().prop_map(|attachments| Packet::Binary { attachments }),
            any::<u32>().prop_map(|attachments| Packet::Foreign { attachments }),
        ]
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_parsed_back(packet in packet()) {
            prop_assert_eq!(Packet::parse(&packet.encode()), Ok(packet));
        }

        #[test]
        fn any_text_is_parsed_or_refused_without_a_panic(text in "[0-6]?[0-9-]{0,3}\\PC*") {
            let _ = Packet::parse(&text);
        }
    }
}
