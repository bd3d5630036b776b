//! Candidates as viewers write them, and as they must not.

use proptest::prelude::*;

use super::{OFFER, facts};
use crate::{
    media::sdp::{
        CANDIDATE_BYTES_MAX, CandidateFault, CandidatePolicy, CheckedCandidate, check_candidate,
    },
    signaling::message::Candidate,
};

fn candidate(text: &str) -> Candidate {
    Candidate {
        candidate: text.to_owned(),
        sdp_mid: Some("video0".to_owned()),
        sdp_mline_index: Some(0),
        username_fragment: None,
    }
}

fn check_text(text: &str) -> Result<CheckedCandidate, CandidateFault> {
    check_candidate(&candidate(text), &facts(OFFER), CandidatePolicy::Any)
}

#[test]
fn real_candidates_pass_as_they_are() {
    for text in [
        // Chromium: mDNS, IPv4, IPv6, reflexive, relayed.
        "candidate:991404184 1 udp 2113937151 dfc218b3-2a23-4647-a6a4-ebc3c6a0d8f5.local 48254 typ host generation 0 ufrag 5Uw2 network-cost 999",
        "candidate:842163049 1 udp 1677729535 203.0.113.9 46154 typ srflx raddr 0.0.0.0 rport 0 generation 0 ufrag 5Uw2 network-cost 999",
        "candidate:2245 1 udp 2122262783 2001:db8::17 50021 typ host generation 0 ufrag 5Uw2 network-id 2",
        "candidate:3 1 udp 41885695 198.51.100.3 3478 typ relay raddr 203.0.113.9 rport 46154 generation 0",
        // Firefox.
        "candidate:0 1 UDP 2122252543 192.0.2.4 49203 typ host",
        "candidate:1 1 UDP 1685987327 203.0.113.9 49203 typ srflx raddr 192.0.2.4 rport 49203",
        // Safari.
        "candidate:1467250027 1 udp 2122260223 192.0.2.66 57064 typ host generation 0 network-id 1 network-cost 50",
        // str0m.
        "candidate:fffeff7edd9d90aa7066864f 1 udp 2130706175 192.168.1.30 50000 typ host ufrag jz0mLZtOif2jiCYj",
        // libnice.
        "candidate:1 1 UDP 2015363327 10.0.0.2 51000 typ prflx raddr 10.0.0.2 rport 51000",
    ] {
        match check_text(text) {
            Ok(checked) => assert_eq!(checked.candidate().candidate, text),
            Err(fault) => panic!("{text}: {fault}"),
        }
    }
    let attribute = check_text("a=candidate:1 1 udp 1 192.0.2.4 9 typ host").expect("it is good");
    assert!(attribute.candidate().candidate.starts_with("candidate:"));
}

#[test]
fn broken_candidates_are_refused_by_name() {
    use CandidateFault::{Address, Component, Grammar, HostName, NotUdp, TooLong};
    let ip = |text: &str| text.parse().expect("an address");
    let padding = "x".repeat(CANDIDATE_BYTES_MAX);
    for (text, fault) in [
        ("", Grammar("the word \"candidate:\"")),
        (
            "1 1 udp 1 192.0.2.4 9 typ host",
            Grammar("the word \"candidate:\""),
        ),
        ("candidate:", Grammar("the foundation")),
        (
            "candidate:é 1 udp 1 192.0.2.4 9 typ host",
            Grammar("the foundation"),
        ),
        ("candidate:1", Grammar("the component")),
        (
            "candidate:1 +1 udp 1 192.0.2.4 9 typ host",
            Grammar("the component"),
        ),
        (
            "candidate:1 1 udp 0 192.0.2.4 9 typ host",
            Grammar("the priority"),
        ),
        (
            "candidate:1 1 udp 2147483648 192.0.2.4 9 typ host",
            Grammar("the priority"),
        ),
        (
            "candidate:1 1 udp 99999999999 192.0.2.4 9 typ host",
            Grammar("the priority"),
        ),
        (
            "candidate:1 1 udp 1 192.0.2.400 9 typ host",
            Grammar("the address"),
        ),
        (
            "candidate:1 1 udp 1 fe80::1%eth0 9 typ host",
            Grammar("the address"),
        ),
        (
            "candidate:1 1 udp 1 192.0.2.4 0 typ host",
            Grammar("the port"),
        ),
        (
            "candidate:1 1 udp 1 192.0.2.4 65536 typ host",
            Grammar("the port"),
        ),
        ("candidate:1 1 udp 1 192.0.2.4 9", Grammar("\"typ\"")),
        ("candidate:1 1 udp 1 192.0.2.4 9 typ", Grammar("the type")),
        (
            "candidate:1 1 udp 1 192.0.2.4 9 typ guest",
            Grammar("the type"),
        ),
        (
            "candidate:1 1 udp 1 192.0.2.4 9 typ host ufrag",
            Grammar("an extension's value"),
        ),
        (
            "candidate:1 1 udp 1 192.0.2.4 9 typ host  x",
            Grammar("an extension"),
        ),
        (
            "candidate:1 1 udp 1 192.0.2.4 9 typ host\r\na=x y",
            Grammar("the type"),
        ),
        (
            "candidate:1 1 udp 1 192.0.2.4 9 typ host x y\r\n",
            Grammar("an extension"),
        ),
        (
            "candidate:1 1 udp 1 192.0.2.4 9 typ srflx raddr nobody rport 9",
            Grammar("the related address"),
        ),
        (
            "candidate:1 1 udp 1 192.0.2.4 9 typ srflx raddr ::1 rport 70000",
            Grammar("the related port"),
        ),
        (
            "candidate:1 1 udp 1 192.0.2.4 9 typ host ufrag x",
            Grammar("the user name fragment"),
        ),
        ("candidate:1 2 udp 1 192.0.2.4 9 typ host", Component(2)),
        (
            "candidate:1 1 tcp 1 192.0.2.4 9 typ host tcptype active",
            NotUdp,
        ),
        (
            "candidate:1 1 udp 1 0.0.0.0 9 typ host",
            Address(ip("0.0.0.0")),
        ),
        (
            "candidate:1 1 udp 1 224.0.0.251 9 typ host",
            Address(ip("224.0.0.251")),
        ),
        (
            "candidate:1 1 udp 1 255.255.255.255 9 typ host",
            Address(ip("255.255.255.255")),
        ),
        (
            "candidate:1 1 udp 1 ff02::fb 9 typ host",
            Address(ip("ff02::fb")),
        ),
        (
            "candidate:1 1 udp 1 intranet.example.com 9 typ host",
            HostName,
        ),
        ("candidate:1 1 udp 1 a.b.local 9 typ host", HostName),
        ("candidate:1 1 udp 1 .local 9 typ host", HostName),
        (
            format!("candidate:1 1 udp 1 192.0.2.4 9 typ host x {padding}").as_str(),
            TooLong,
        ),
    ] {
        assert_eq!(check_text(text), Err(fault), "{text}");
    }
}

#[test]
fn a_candidate_finds_its_m_line() {
    let text = "candidate:1 1 udp 1 192.0.2.4 9 typ host";
    let place = |mid: Option<&str>, index| {
        let candidate = Candidate {
            sdp_mid: mid.map(str::to_owned),
            sdp_mline_index: index,
            ..candidate(text)
        };
        let checked = check_candidate(&candidate, &facts(OFFER), CandidatePolicy::Any).ok()?;
        let placed = checked.into_candidate();
        Some((placed.sdp_mid?, placed.sdp_mline_index?))
    };
    let video = Some(("video0".to_owned(), 0));
    let audio = Some(("audio1".to_owned(), 1));
    assert_eq!(place(Some("video0"), None), video);
    assert_eq!(place(None, Some(1)), audio);
    assert_eq!(place(Some(""), Some(0)), video);
    assert_eq!(
        place(Some("audio1"), Some(0)),
        audio,
        "a mid outweighs an index"
    );
    assert_eq!(place(None, None), None);
    assert_eq!(place(None, Some(2)), None);
    assert_eq!(place(Some("video9"), Some(0)), None);
}

#[test]
fn a_candidates_own_words_name_its_session() {
    let checked = check_text("candidate:1 1 udp 1 192.0.2.4 9 typ host ufrag 5Uw2").expect("good");
    assert_eq!(
        checked.candidate().username_fragment.as_deref(),
        Some("5Uw2")
    );
}

proptest! {
    #[test]
    fn no_text_is_a_panic(text in ".{0,200}") {
        let _ = check_text(&text);
        let _ = check_text(&format!("candidate:{text}"));
    }

    #[test]
    fn spoiled_candidates_are_refused_or_stay_one_line(
        at in any::<prop::sample::Index>(),
        junk in "[ -~\r\n\té]{0,8}",
    ) {
        let mut text = "candidate:1 1 udp 2122260223 192.0.2.66 57064 typ srflx raddr 192.0.2.4 rport 9 ufrag abcd".to_owned();
        let at = at.index(text.len());
        text.insert_str(at, &junk);
        if let Ok(checked) = check_text(&text) {
            let checked = checked.into_candidate();
            prop_assert!(checked.candidate.bytes().all(|b| matches!(b, b' '..=b'~')));
            prop_assert!(checked.candidate.starts_with("candidate:"));
            prop_assert!(check_text(&checked.candidate).is_ok());
        }
    }
}
