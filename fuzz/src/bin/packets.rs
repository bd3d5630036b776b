//! One text frame through both packet layers. What is understood can be written and understood again.
#![no_main]

use std::mem::discriminant;

use libfuzzer_sys::fuzz_target;
use perch::signaling::{engineio, socketio};

fuzz_target!(|frame: &str| {
    let Ok(packet) = engineio::Packet::parse(frame) else {
        return;
    };
    let encoded = packet.encode();
    assert_eq!(engineio::Packet::parse(&encoded).as_ref(), Ok(&packet));
    let engineio::Packet::Message(message) = packet else {
        return;
    };
    let Ok(packet) = socketio::Packet::parse(message) else {
        return;
    };
    let encoded = packet.encode();
    let again = socketio::Packet::parse(&encoded).expect("what is written can be read");
    // By kind only: serde_json may read the last digit of a fraction differently.
    assert_eq!(discriminant(&again), discriminant(&packet));
});
