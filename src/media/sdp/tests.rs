//! Real answers of real viewers, and what must not get through.
//!
//! `offer*.sdp` are what a branch offers (GStreamer 1.22); the others are the answers to them, as
//! Chromium 156, Firefox 153 and str0m 0.24 wrote them. (Debian's Firefox has no H.264: its full
//! answer is to the same offer with VP8 in its place.)

use proptest::prelude::*;
use sdp_types::Session;

use super::*;
use crate::media::stamp;

mod candidates;

const OFFER: &str = include_str!("fixtures/offer.sdp");
const OFFER_VIDEO: &str = include_str!("fixtures/offer-video.sdp");
const CHROMIUM: &str = include_str!("fixtures/chromium.sdp");
const CHROMIUM_VIDEO: &str = include_str!("fixtures/chromium-video.sdp");
const CHROMIUM_GATHERED: &str = include_str!("fixtures/chromium-gathered.sdp");
const CHROMIUM_INACTIVE_AUDIO: &str = include_str!("fixtures/chromium-inactive-audio.sdp");
const CHROMIUM_NO_H264: &str = include_str!("fixtures/chromium-no-h264.sdp");
const FIREFOX_VP8: &str = include_str!("fixtures/firefox-vp8.sdp");
const FIREFOX_NO_H264: &str = include_str!("fixtures/firefox-no-h264.sdp");
const STR0M: &str = include_str!("fixtures/str0m.sdp");
const STR0M_VIDEO: &str = include_str!("fixtures/str0m-video.sdp");

fn facts(offer: &str) -> OfferFacts {
    OfferFacts::read(offer).expect("our own offer is good")
}

fn check(answer: &str) -> Result<CheckedAnswer, AnswerFault> {
    check_answer(answer, &facts(OFFER), CandidatePolicy::Any)
}

/// What becomes of Chromium's answer when something in it is replaced.
fn check_with(old: &str, new: &str) -> Result<CheckedAnswer, AnswerFault> {
    assert!(CHROMIUM.contains(old), "{old:?} is not in the fixture");
    check(&CHROMIUM.replace(old, new))
}

/// The fault that follows when something in Chromium's answer is replaced.
fn fault_with(old: &str, new: &str) -> AnswerFault {
    match check_with(old, new) {
        Err(fault) => fault,
        Ok(answer) => panic!("{new:?} passed as\n{}", answer.sdp()),
    }
}

/// What must hold of everything that reaches `webrtcbin`.
fn assert_fit_for_webrtcbin(answer: &CheckedAnswer, offer: &OfferFacts) {
    let session = Session::parse(answer.sdp().as_bytes()).expect("it parses");
    assert_eq!(session.medias.len(), offer.media.len());
    for (index, media) in session.medias.iter().enumerate() {
        let count = |names: &[&str]| {
            let named =
                |attribute: &&sdp_types::Attribute| names.contains(&attribute.attribute.as_str());
            media.attributes.iter().filter(named).count()
        };
        assert_eq!(
            count(&["sendrecv", "sendonly", "recvonly", "inactive"]),
            1,
            "more than one direction aborts webrtcbin 1.22"
        );
        assert_eq!(count(&["mid"]), 1);
        let accepted = usize::from(media.port != 0);
        for name in ["setup", "ice-ufrag", "ice-pwd", "rtcp-mux"] {
            assert_eq!(count(&[name]), accepted, "{name}");
        }
        assert_eq!(
            media.get_first_attribute_value("mid"),
            Some(offer.mid(index))
        );
    }
    let again = check_answer(answer.sdp(), offer, CandidatePolicy::Any)
        .expect("what was written can be read again");
    assert_eq!(again, *answer);
}

#[test]
fn real_answers_pass() {
    let offer_vp8 = OFFER.replace("H264/90000", "VP8/90000");
    for (name, offer, answer) in [
        ("Firefox", offer_vp8.as_str(), FIREFOX_VP8),
        ("Chromium", OFFER, CHROMIUM),
        ("Chromium, video alone", OFFER_VIDEO, CHROMIUM_VIDEO),
        ("Chromium after gathering", OFFER, CHROMIUM_GATHERED),
        ("Chromium without audio", OFFER, CHROMIUM_INACTIVE_AUDIO),
        ("str0m", OFFER, STR0M),
        ("str0m, video alone", OFFER_VIDEO, STR0M_VIDEO),
    ] {
        let offer = facts(offer);
        match check_answer(answer, &offer, CandidatePolicy::Any) {
            Ok(checked) => assert_fit_for_webrtcbin(&checked, &offer),
            Err(fault) => panic!("{name}: {fault}"),
        }
    }
}

#[test]
fn what_matters_in_an_answer_is_kept() {
    let answer = check(CHROMIUM_GATHERED).expect("it is good");
    for line in CHROMIUM_GATHERED.lines().filter(|line| {
        let kept = [
            "m=",
            "c=",
            "a=group:",
            "a=mid:",
            "a=ice-",
            "a=fingerprint:",
            "a=setup:",
            "a=extmap:",
            "a=recvonly",
            "a=rtcp-mux",
            "a=rtcp-rsize",
            "a=rtpmap:",
            "a=rtcp-fb:",
            "a=fmtp:",
            "a=candidate:",
        ];
        kept.iter().any(|start| line.starts_with(start))
    }) {
        let count = |text: &str| text.lines().filter(|other| *other == line).count();
        assert_eq!(count(answer.sdp()), count(CHROMIUM_GATHERED), "{line}");
    }
    assert_eq!(answer.ufrags().len(), 1);
}

#[test]
fn what_is_not_understood_stays_behind() {
    let answer = check_with(
        "a=rtcp-rsize\r\n",
        "a=rtcp-rsize\r\na=x-surprise:1\r\na=ssrc:1 cname:x\r\na=candidate:bad\r\nb=AS:1\r\na=rtcp-fb:96 x-odd\r\na=extmap:9 urn:not-offered\r\n",
    )
    .expect("it is good but for the extras");
    assert_eq!(answer, check(CHROMIUM).expect("it is good"));
}

#[test]
fn webrtcbin_is_not_told_of_the_numbers_that_it_did_not_offer() {
    let extension = format!("a=extmap:{} {}\r\n", stamp::NUMBER_ID, stamp::NUMBER_URI);
    let (line, more) = ("a=rtcp-mux\r\n", format!("a=rtcp-mux\r\n{extension}"));
    let offer = facts(&OFFER.replacen(line, &more, 1));
    let answer = CHROMIUM.replacen(line, &more, 1);
    let checked = check_answer(&answer, &offer, CandidatePolicy::Any).expect("it is good");
    assert_eq!(checked, check(CHROMIUM).expect("it is good"));
}

#[test]
fn a_viewer_without_h264_is_named_as_such() {
    for answer in [CHROMIUM_NO_H264, FIREFOX_NO_H264] {
        let fault = check(answer).expect_err("the video is rejected");
        assert_eq!(fault.to_string(), "the viewer cannot decode H264");
    }
    let fault = fault_with("SAVPF 96 97\r\n", "SAVPF 97\r\n");
    assert_eq!(fault, AnswerFault::CannotDecode("H264".to_owned()));
}

#[test]
fn audio_may_be_rejected_but_video_must_be_wanted() {
    let offer = facts(OFFER);
    let without_audio = CHROMIUM
        .replace("BUNDLE video0 audio1", "BUNDLE video0")
        .replace("m=audio 9", "m=audio 0");
    let answer = check(&without_audio).expect("video is enough");
    assert_fit_for_webrtcbin(&answer, &offer);
    assert!(answer.sdp().contains("a=group:BUNDLE video0\r\n"));
    assert!(answer.sdp().contains("m=audio 0 "));
    let unbundled = without_audio.replace("a=group:BUNDLE video0\r\n", "");
    assert_eq!(check(&unbundled), Ok(answer), "one m-line bundles itself");

    assert_eq!(
        fault_with("a=recvonly", "a=inactive"),
        AnswerFault::NothingWanted
    );
}

#[test]
fn an_answer_must_have_the_offers_shape() {
    let only_video = &CHROMIUM[..CHROMIUM.find("m=audio").expect("it has audio")];
    assert!(matches!(check(only_video), Err(AnswerFault::Misfit(_))));
    assert!(matches!(check(CHROMIUM_VIDEO), Err(AnswerFault::Misfit(_))));
    let none = &CHROMIUM[..CHROMIUM.find("m=video").expect("it has video")];
    assert!(matches!(check(none), Err(AnswerFault::Misfit(_))));

    for (old, new) in [
        ("m=audio", "m=video"),
        ("m=video 9 ", "m=video 9/2 "),
        ("a=rtpmap:96 H264/90000", "a=rtpmap:96 VP8/90000"),
        ("BUNDLE video0 audio1", "BUNDLE video0"),
    ] {
        assert!(
            matches!(fault_with(old, new), AnswerFault::Misfit(_)),
            "{new}"
        );
    }
    for (old, new) in [
        ("a=mid:audio1", "a=mid:audio2"),
        ("BUNDLE video0 audio1", "BUNDLE video0 audio1 x"),
        ("m=video 9 UDP/TLS/RTP/SAVPF", "m=video 9 RTP/AVP"),
        ("a=recvonly", "a=sendonly"),
        ("a=recvonly", "a=sendrecv"),
        ("a=recvonly", "a=x-nothing"),
        ("SAVPF 96", "SAVPF x96"),
        ("SAVPF 96", "SAVPF 960"),
        ("a=rtpmap:96 H264/90000", "a=rtpmap:96"),
        ("a=fmtp:97 apt=96", "a=fmtp:97 a\"b=96"),
    ] {
        assert!(
            matches!(fault_with(old, new), AnswerFault::Malformed { .. }),
            "{new}"
        );
    }
}

#[test]
fn ice_and_dtls_must_be_there_once_and_well_formed() {
    for (line, replaced) in [
        ("a=ice-ufrag:5Uw2", "a=ice-ufrag:5Uw"),
        ("a=ice-ufrag:5Uw2", "a=ice-ufrag:5U 2"),
        ("a=ice-ufrag:5Uw2", "a=ice-ufrag"),
        (
            "a=ice-pwd:a7A+jrzu3w5DUXQSWZX9axh9",
            "a=ice-pwd:a7A+jrzu3w5DUXQSWZX9",
        ),
        (
            "a=ice-pwd:a7A+jrzu3w5DUXQSWZX9axh9",
            "a=ice-pwd:a7A+jrzu3w5DUXQSWZX9axh!",
        ),
        ("a=setup:active", "a=setup:actpass"),
        ("a=setup:active", "a=setup:holdconn"),
        ("a=fingerprint:sha-256 73:", "a=fingerprint:sha-256 "),
        ("a=fingerprint:sha-256 73:", "a=fingerprint:sha-256 G3:"),
        ("a=fingerprint:sha-256 73:", "a=fingerprint:md5 73:"),
        ("a=fingerprint:sha-256 73:", "a=fingerprint:73:"),
    ] {
        assert!(
            matches!(fault_with(line, replaced), AnswerFault::Malformed { .. }),
            "{replaced}"
        );
    }
    for line in [
        "a=ice-ufrag:",
        "a=ice-pwd:",
        "a=setup:",
        "a=fingerprint:",
        "a=rtcp-mux",
        "a=mid:",
        "a=group:",
    ] {
        assert!(
            matches!(fault_with(line, "a=x-gone:"), AnswerFault::Missing(_)),
            "{line}"
        );
    }
    for line in [
        "a=setup:active\r\n",
        "a=recvonly\r\n",
        "a=mid:video0\r\n",
        "a=rtcp-mux\r\n",
        "a=ice-ufrag:5Uw2\r\n",
    ] {
        let twice = line.repeat(2);
        assert!(
            matches!(fault_with(line, &twice), AnswerFault::Repeated(_)),
            "{line}"
        );
    }
    assert!(matches!(
        fault_with("a=recvonly\r\n", "a=recvonly\r\na=inactive\r\n"),
        AnswerFault::Repeated(_)
    ));
}

#[test]
fn one_bundle_has_one_transport() {
    let audio = CHROMIUM.find("m=audio").expect("it has audio");
    let (video, audio) = CHROMIUM.split_at(audio);
    let other = format!("{video}{}", audio.replace("5Uw2", "5Uw3"));
    assert!(matches!(check(&other), Err(AnswerFault::Misfit(_))));

    // RFC 9143 lets the later m-lines be silent about it.
    let mut silent = video.to_owned();
    for line in audio.split_inclusive("\r\n") {
        if !["a=ice-", "a=setup", "a=fingerprint"]
            .iter()
            .any(|start| line.starts_with(start))
        {
            silent.push_str(line);
        }
    }
    assert_eq!(check(&silent), check(CHROMIUM));
}

#[test]
fn transport_may_stand_with_the_session() {
    // As Firefox writes its fingerprint, beside a direction that the m-lines overrule.
    let (fingerprint, rest) = {
        let start = CHROMIUM.find("a=fingerprint").expect("it has one");
        let end = start + CHROMIUM[start..].find("\r\n").expect("lines end") + 2;
        (
            &CHROMIUM[start..end],
            CHROMIUM.replace(&CHROMIUM[start..end], ""),
        )
    };
    let moved = rest.replace(
        "a=msid-semantic: WMS\r\n",
        &format!("a=sendrecv\r\n{fingerprint}"),
    );
    assert_eq!(check(&moved), check(CHROMIUM));
}

#[test]
fn size_and_characters_are_bounded() {
    let padding = "a=x-padding:0123456789\r\n";
    let long = format!(
        "{CHROMIUM}{}",
        padding.repeat(ANSWER_BYTES_MAX / padding.len())
    );
    assert_eq!(check(&long), Err(AnswerFault::TooLong));
    let many = format!("{CHROMIUM}{}", "a=x\r\n".repeat(ANSWER_LINES_MAX));
    assert_eq!(check(&many), Err(AnswerFault::TooLong));
    for bad in ["\0", "\t", "\u{7f}", "é"] {
        assert_eq!(
            fault_with("s=-", &format!("s={bad}")),
            AnswerFault::Unprintable
        );
    }
    for text in ["", "v=0", "hello", "m=video 9 UDP/TLS/RTP/SAVPF 96\r\n"] {
        assert!(check(text).is_err(), "{text:?}");
    }
    let crowded = format!(
        "{CHROMIUM}{}",
        "a=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\n".repeat(ANSWER_CANDIDATES_MAX + 9)
    );
    let answer = check(&crowded).expect("the excess is left out");
    assert_eq!(
        answer.sdp().matches("a=candidate:").count(),
        ANSWER_CANDIDATES_MAX
    );
}

#[test]
fn a_fault_quotes_little_and_no_password() {
    let long = "x".repeat(5000);
    let fault = fault_with("a=mid:video0", &format!("a=mid:{long}"));
    assert!(fault.to_string().len() < 200);
    let fault = fault_with("a=ice-pwd:a7A+jrzu3w5DUXQSWZX9axh9", "a=ice-pwd:se-cret");
    assert!(!fault.to_string().contains("se-cret"));
}

#[test]
fn our_own_offer_is_looked_at_too() {
    for broken in [
        "",
        "v=0\r\n",
        "m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:0\r\n",
    ] {
        assert!(OfferFacts::read(broken).is_err(), "{broken:?}");
    }
    let offer = facts(OFFER);
    assert_eq!(offer.mid(0), Some("video0"));
    assert_eq!(offer.index_of("audio1"), Some(1));
    assert_eq!(offer.mid(2), None);
}

/// One way to spoil a text.
#[derive(Debug, Clone)]
enum Damage {
    Drop(prop::sample::Index),
    Double(prop::sample::Index),
    Swap(prop::sample::Index, prop::sample::Index),
    Cut(prop::sample::Index, prop::sample::Index),
    Byte(prop::sample::Index, prop::sample::Index, char),
    Line(prop::sample::Index, String),
}

fn damage() -> impl Strategy<Value = Damage> {
    use prop::sample::Index;
    let index = any::<Index>;
    prop_oneof![
        index().prop_map(Damage::Drop),
        index().prop_map(Damage::Double),
        (index(), index()).prop_map(|(a, b)| Damage::Swap(a, b)),
        (index(), index()).prop_map(|(a, b)| Damage::Cut(a, b)),
        (index(), index(), prop::char::range(' ', '~'))
            .prop_map(|(a, b, c)| Damage::Byte(a, b, c)),
        (index(), "[a-z]=[ -~]{0,40}").prop_map(|(a, line)| Damage::Line(a, line)),
        (
            index(),
            "a=(mid|setup|group|fmtp|rtpmap|extmap|fingerprint|candidate|ice-ufrag|ice-pwd|rtcp-fb|recvonly|inactive)(:[ -~]{0,30})?"
        )
            .prop_map(|(a, line)| Damage::Line(a, line)),
    ]
}

fn spoil(text: &str, damages: &[Damage]) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for damage in damages {
        let count = lines.len();
        if count == 0 {
            break;
        }
        match damage {
            Damage::Drop(at) => drop(lines.remove(at.index(count))),
            Damage::Double(at) => lines.insert(at.index(count), lines[at.index(count)].clone()),
            Damage::Swap(a, b) => lines.swap(a.index(count), b.index(count)),
            Damage::Cut(at, to) => {
                let line = &mut lines[at.index(count)];
                line.truncate(to.index(line.len() + 1));
            }
            Damage::Byte(at, to, c) => {
                let line = &mut lines[at.index(count)];
                line.insert(to.index(line.len() + 1), *c);
            }
            Damage::Line(at, line) => lines.insert(at.index(count), line.clone()),
        }
    }
    lines.join("\r\n") + "\r\n"
}

proptest! {
    #[test]
    fn spoiled_answers_are_refused_or_made_fit(
        which in prop::sample::select(vec![CHROMIUM, CHROMIUM_GATHERED, CHROMIUM_INACTIVE_AUDIO, STR0M]),
        damages in prop::collection::vec(damage(), 1..6),
    ) {
        let offer = facts(OFFER);
        if let Ok(answer) = check_answer(&spoil(which, &damages), &offer, CandidatePolicy::Any) {
            assert_fit_for_webrtcbin(&answer, &offer);
        }
    }

    #[test]
    fn no_text_is_a_panic(text in ".{0,200}") {
        let _ = check(&text);
        let _ = OfferFacts::read(&text);
    }
}
