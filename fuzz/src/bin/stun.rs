//! A STUN or TURN server's answer. What is made of a challenge is a STUN message again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use perch::{
    doctor::stun::{ALLOCATE, BINDING, HEADER, Terms, Transaction, length, parse, request},
    secret::Secret,
};

const ID: Transaction = *b"transaction!";

fuzz_target!(|message: &[u8]| {
    // As it comes, and as the answer to our own request, which few inputs would guess to be.
    let mut answer = message.to_vec();
    if let Some(id) = answer.get_mut(8..HEADER) {
        id.copy_from_slice(&ID);
    }
    for message in [message, &answer] {
        for method in [BINDING, ALLOCATE] {
            let Some(reply) = parse(message, method, &ID) else {
                continue;
            };
            let terms = Terms::new("user", &Secret::new("password"), &reply);
            let next = request(ALLOCATE, ID, Some(&terms));
            let header = next.first_chunk().expect("a message has a header");
            let said = length(header).expect("a request of ours is STUN's");
            assert!(said == next.len() || next.len() > usize::from(u16::MAX));
        }
    }
});
