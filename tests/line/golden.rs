//! Replays tests/golden/session/*.txt against the sans-io session.
//!
//! One line is one step:
//! - `token TEXT` (first line, optional): what the CONNECT packet carries
//! - `<- FRAME`: the server's text frame; `<- binary`: its binary frame
//! - `time +SECONDS`: time passes, the session ticks
//! - `emit NAME JSON…`, `ask SECONDS NAME JSON…` (with acknowledgement), `acknowledge ID JSON…`, `close`
//! - `-> FRAME`, `= OUTPUT`: what the session must put out next, nothing less and nothing more
//! - `dropped NAME=COUNT…`: what it must have counted

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use perch::{
    secret::Secret,
    signaling::session::{Output, Session},
};
use serde_json::Value;

#[test]
fn every_transcript_is_followed_to_the_letter() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/session");
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        replay(&path.file_name().unwrap().to_string_lossy(), &text);
        count += 1;
    }
    assert!(count >= 7, "only {count} transcripts found");
}

struct Replay {
    now: Instant,
    session: Session,
}

fn replay(name: &str, text: &str) {
    let lines = || {
        text.lines()
            .enumerate()
            .map(|(i, line)| (i + 1, line.trim()))
            .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
    };
    let token = lines().find_map(|(_, line)| line.strip_prefix("token "));
    let now = Instant::now();
    let mut replay = Replay {
        now,
        session: Session::new(now, token.map(Secret::new)),
    };
    for (number, line) in lines() {
        let at = format!("{name}:{number}: {line}");
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        match verb {
            "token" => {}
            "->" => assert_eq!(replay.next_output(), line, "{at}"),
            "=" => assert_eq!(replay.next_output(), line, "{at}"),
            "dropped" => assert_eq!(replay.dropped(), line, "{at}"),
            _ => {
                assert_eq!(replay.next_output(), "nothing", "left over before {at}");
                replay.input(verb, rest, &at);
            }
        }
    }
    assert_eq!(replay.next_output(), "nothing", "left over in {name}");
}

impl Replay {
    fn input(&mut self, verb: &str, rest: &str, at: &str) {
        match verb {
            "<-" if rest == "binary" => self.session.binary(),
            "<-" => self.session.text(self.now, rest),
            "time" => {
                self.now += seconds(rest.trim_start_matches('+'));
                self.session.tick(self.now);
            }
            "emit" => {
                let (name, args) = event(rest);
                self.session.emit(name, args).unwrap();
            }
            "ask" => {
                let (timeout, rest) = rest.split_once(' ').unwrap();
                let (name, args) = event(rest);
                self.session
                    .emit_with_ack(self.now, name, args, seconds(timeout))
                    .unwrap();
            }
            "acknowledge" => {
                let (id, args) = event(rest);
                self.session.acknowledge(id.parse().unwrap(), args).unwrap();
            }
            "close" => self.session.close(),
            _ => panic!("unknown step at {at}"),
        }
    }

    fn next_output(&mut self) -> String {
        match self.session.poll() {
            None => "nothing".to_owned(),
            Some(Output::Send(frame)) => format!("-> {}", frame.as_str()),
            Some(Output::Connected) => "= connected".to_owned(),
            Some(Output::Event { name, args, ack }) => {
                let ack = ack.map(|id| format!(" wants {id}")).unwrap_or_default();
                format!("= event {name}{}{ack}", join(&args))
            }
            Some(Output::Ack { id, args }) => format!("= ack {id}{}", join(&args)),
            Some(Output::AckTimeout { id }) => format!("= ack-timeout {id}"),
            Some(Output::Ended(end)) => format!("= ended: {end}"),
        }
    }

    fn dropped(&self) -> String {
        let dropped = self.session.dropped();
        let counts = [
            ("garbage", dropped.garbage),
            ("binary", dropped.binary),
            ("attachments", dropped.attachments),
            ("foreign", dropped.foreign),
            ("acks", dropped.acks),
        ];
        let mut line = "dropped".to_owned();
        for (name, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
            line += &format!(" {name}={count}");
        }
        line
    }
}

fn seconds(text: &str) -> Duration {
    Duration::from_secs_f64(text.trim_end_matches('s').parse().unwrap())
}

/// `NAME JSON JSON…`, the JSON values without spaces between their tokens but one between values.
fn event(text: &str) -> (&str, Vec<Value>) {
    let (name, json) = text.split_once(' ').unwrap_or((text, ""));
    let args = serde_json::Deserializer::from_str(json)
        .into_iter()
        .map(Result::unwrap)
        .collect();
    (name, args)
}

fn join(args: &[Value]) -> String {
    args.iter().map(|arg| format!(" {arg}")).collect()
}
