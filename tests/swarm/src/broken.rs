//! Answers that are wrong, each in its own way.

/// How many ways there are.
pub const WAYS: usize = 8;

/// The answer `sdp`, broken in the way `number` (taken modulo [`WAYS`]).
pub fn broken(sdp: &str, number: usize) -> String {
    let lines = |keep: &dyn Fn(&str) -> bool| -> String {
        sdp.lines()
            .filter(|line| keep(line))
            .map(|line| format!("{line}\r\n"))
            .collect()
    };
    match number % WAYS {
        0 => String::new(),
        1 => sdp.chars().take(sdp.chars().count() / 2).collect(),
        2 => sdp.split("m=").next().unwrap_or_default().to_owned(),
        3 => sdp
            .replace("H264/90000", "VP8/90000")
            .replace("a=fmtp", "a=x-fmtp"),
        4 => lines(&|line| !line.starts_with("a=fingerprint")),
        5 => lines(&|line| !line.starts_with("a=ice-")),
        6 => sdp.replace("m=video 9", "m=video 0"),
        // A certificate that nobody will show.
        _ => sdp
            .lines()
            .map(|line| match line.split_once("sha-256 ") {
                Some((before, _)) => format!("{before}sha-256 {}\r\n", ["AB"; 32].join(":")),
                None => format!("{line}\r\n"),
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_is_another_one() {
        let sdp = "v=0\r\na=fingerprint:sha-256 01:02\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\n\
                   a=ice-ufrag:u\r\na=rtpmap:96 H264/90000\r\n";
        let mut answers: Vec<String> = (0..WAYS).map(|way| broken(sdp, way)).collect();
        assert!(!answers.contains(&sdp.to_owned()));
        answers.sort();
        answers.dedup();
        assert_eq!(answers.len(), WAYS);
    }
}
