//! `webrtcbin`'s offer, made fit for every browser. Pure.

use super::stamp;

/// The one MediaStream that carries all tracks: a viewer's page uses `event.streams[0]`.
const STREAM: &str = "perch";

/// Puts every m-line into one MediaStream, names the certificate that the branch was given, and offers the picture's numbers.
///
/// 1.22 names stream and track only behind `a=ssrc`, each m-line with a stream of its own; browsers
/// read them from `a=msid` (RFC 8830), which wins where both stand. And it takes the fingerprint over
/// all of the PEM text that it was given, the key in it included; `fingerprint` is the right one. It is not told of the
/// numbers that some packets carry: the payloader and the RTP session would write their own, into every packet.
pub fn for_viewers(offer: &str, fingerprint: Option<&str>) -> String {
    let mut text = String::with_capacity(offer.len() + 64);
    let mut track = "";
    for line in offer.lines() {
        if is_stream_name(line) {
            continue;
        }
        if let (true, Some(fingerprint)) = (line.starts_with("a=fingerprint:"), fingerprint) {
            text.push_str(&format!("a=fingerprint:{fingerprint}\r\n"));
            continue;
        }
        text.push_str(line);
        text.push_str("\r\n");
        if let Some(media) = line.strip_prefix("m=") {
            track = media.split(' ').next().unwrap_or_default();
        } else if line.starts_with("a=mid:") {
            text.push_str(&format!("a=msid:{STREAM} {track}\r\n"));
        } else if line.starts_with("a=extmap:") && line.ends_with(stamp::TIME_URI) {
            let (id, uri) = (stamp::NUMBER_ID, stamp::NUMBER_URI);
            text.push_str(&format!("a=extmap:{id} {uri}\r\n"));
        }
    }
    text
}

fn is_stream_name(line: &str) -> bool {
    line.starts_with("a=msid:")
        || line
            .strip_prefix("a=ssrc:")
            .and_then(|rest| rest.split_once(' '))
            .is_some_and(|(_, attribute)| attribute.starts_with("msid:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_picture_is_offered_with_numbers_and_the_sound_is_not() {
        let offer = format!(
            "m=video 9 X 96\r\na=extmap:3 {}\r\nm=audio 9 X 111\r\na=extmap:1 urn:x\r\n",
            stamp::TIME_URI
        );
        let offered = for_viewers(&offer, None);
        assert_eq!(offered.matches("a=extmap:4 ").count(), 1, "{offered}");
        assert!(
            offered.contains("abs-send-time\r\na=extmap:4 "),
            "{offered}"
        );
    }

    #[test]
    fn all_tracks_come_in_one_stream_named_once() {
        let offer = "v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:video0\r\na=ssrc:7 msid:user7@host webrtctransceiver0\r\na=ssrc:7 cname:user7@host\r\na=fingerprint:sha-256 00\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:audio1\r\n";
        assert_eq!(
            for_viewers(offer, Some("sha-256 11")),
            "v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:video0\r\na=msid:perch video\r\na=ssrc:7 cname:user7@host\r\na=fingerprint:sha-256 11\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:audio1\r\na=msid:perch audio\r\n"
        );
    }
}
