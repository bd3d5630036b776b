//! A whole conversation: each line is a frame or, with a `!` in front, something that the caller does.
#![no_main]

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use libfuzzer_sys::fuzz_target;
use perch::{
    secret::Secret,
    signaling::session::{Output, Session},
};

fuzz_target!(|script: &str| {
    let mut now = Instant::now();
    let mut session = Session::new(now, Some(Secret::new("token")));
    let mut asked = BTreeSet::new();
    let mut ended = false;
    for line in script.split('\n') {
        match line.strip_prefix('!').map(str::as_bytes) {
            None => session.text(now, line),
            Some([b'b', ..]) => session.binary(),
            Some([b'e', name @ ..]) => {
                let name = String::from_utf8_lossy(name);
                let _ = session.emit(&name, vec![name.as_ref().into()]);
            }
            Some([b'a', seconds, ..]) => {
                let timeout = Duration::from_secs((*seconds).into());
                if let Ok(id) = session.emit_with_ack(now, "ask", vec![], timeout) {
                    assert!(asked.insert(id), "the id {id} is given twice");
                }
            }
            Some([b't', seconds, ..]) => {
                now += Duration::from_secs((*seconds).into());
                session.tick(now);
                assert!(session.deadline().is_none_or(|deadline| deadline > now));
            }
            Some([b'c', ..]) => session.close(),
            Some(_) => {}
        }
        while let Some(output) = session.poll() {
            assert!(!ended, "{output:?} after the end");
            match output {
                Output::Ack { id, .. } | Output::AckTimeout { id } => {
                    assert!(asked.remove(&id), "{id} is answered and was not asked");
                }
                Output::Ended(_) => ended = true,
                _ => {}
            }
        }
        assert_eq!(session.deadline().is_none(), ended);
    }
});
