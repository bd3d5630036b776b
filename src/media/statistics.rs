//! What `webrtcbin` knows of one branch's connection, read from its reply to `get-stats`. Pure.
//!
//! 1.22's reply is not quite the W3C's: the types of local and remote candidates are swapped (their ids are
//! right), `kind` and `codec-id` of a bundled stream may be its neighbour's, and of the receiver's reports
//! only the latest is kept, which may be that of the sound. Bytes and packets are therefore summed over all
//! streams, and loss and round trip are taken from whichever report there is.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use gst_webrtc::WebRTCStatsType;

/// One branch's connection, as far as it is known yet.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct BranchStatistics {
    /// RTP payload handed to the network since the branch was opened.
    pub sent_bytes: u64,
    pub sent_packets: u64,
    /// Packets that the viewer has missed in all, of the stream that missed most; retransmission may have brought
    /// them later.
    pub lost_packets: Option<u64>,
    /// Share of packets missed between the viewer's last two reports, 0 to 1 (RFC 3550 §6.4.1).
    pub loss: Option<f64>,
    pub round_trip: Option<Duration>,
    pub path: Option<NetworkPath>,
}

/// How the media reaches the viewer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetworkPath {
    Direct,
    /// Through a TURN server, ours or the viewer's.
    Relay,
}

impl BranchStatistics {
    pub(super) fn read(reply: &gst::StructureRef) -> Self {
        let mut found = Self::default();
        for (_, value) in reply.iter() {
            let Ok(entry) = value.get::<gst::Structure>() else {
                continue;
            };
            match entry.get::<WebRTCStatsType>("type") {
                Ok(WebRTCStatsType::OutboundRtp) => found.add_sent(&entry),
                Ok(WebRTCStatsType::RemoteInboundRtp) => found.add_report(&entry),
                Ok(WebRTCStatsType::CandidatePair) => found.path = path(reply, &entry),
                _ => {}
            }
        }
        found
    }

    /// The latest report may be of the stream that lost less, and duplicates take from the count: it is never
    /// less than `most`, the highest that was told before.
    pub(super) fn losing_no_less(mut self, most: &AtomicU64) -> Self {
        if let Some(lost) = &mut self.lost_packets {
            *lost = most.fetch_max(*lost, Ordering::Relaxed).max(*lost);
        }
        self
    }

    fn add_sent(&mut self, outbound: &gst::StructureRef) {
        self.sent_bytes += outbound.get::<u64>("bytes-sent").unwrap_or_default();
        self.sent_packets += outbound.get::<u64>("packets-sent").unwrap_or_default();
    }

    /// The worst of the streams. Duplicates make the count of lost packets negative (RFC 3550 §6.4.1).
    fn add_report(&mut self, report: &gst::StructureRef) {
        if let Ok(lost) = report.get::<i64>("packets-lost") {
            let lost = u64::try_from(lost).unwrap_or_default();
            self.lost_packets = self.lost_packets.max(Some(lost));
        }
        if let Ok(share) = report.get::<f64>("fraction-lost") {
            self.loss = Some(self.loss.unwrap_or_default().max(share.clamp(0.0, 1.0)));
        }
        let round_trip = report.get::<f64>("round-trip-time").ok();
        // Zero until the viewer has answered the first report.
        let round_trip = round_trip.filter(|seconds| *seconds > 0.0);
        let round_trip = round_trip.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        self.round_trip = self.round_trip.max(round_trip);
    }
}

fn path(reply: &gst::StructureRef, pair: &gst::StructureRef) -> Option<NetworkPath> {
    let kind = |end: &str| {
        let id = pair.get::<String>(end).ok()?;
        let candidate = reply.get::<gst::Structure>(&id).ok()?;
        candidate.get::<String>("candidate-type").ok()
    };
    let kinds = [kind("local-candidate-id"), kind("remote-candidate-id")];
    if kinds.iter().flatten().any(|kind| kind.starts_with("relay")) {
        Some(NetworkPath::Relay)
    } else {
        kinds
            .iter()
            .any(Option::is_some)
            .then_some(NetworkPath::Direct)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(kind: &str) -> gst::Structure {
        gst::Structure::builder("local-candidate")
            .field("type", WebRTCStatsType::LocalCandidate)
            .field("candidate-type", kind)
            .build()
    }

    /// The fields of a reply of 1.22 that matter.
    fn reply(local: &str, remote: &str) -> gst::Structure {
        gst::init().unwrap();
        let outbound = |bytes: u64, packets: u64| {
            gst::Structure::builder("outbound-rtp")
                .field("type", WebRTCStatsType::OutboundRtp)
                .field("kind", "audio")
                .field("bytes-sent", bytes)
                .field("packets-sent", packets)
                .build()
        };
        let report = |lost: i64, share: f64, round_trip: f64| {
            gst::Structure::builder("remote-inbound-rtp")
                .field("type", WebRTCStatsType::RemoteInboundRtp)
                .field("packets-lost", lost)
                .field("fraction-lost", share)
                .field("round-trip-time", round_trip)
                .build()
        };
        let pair = gst::Structure::builder("candidate-pair")
            .field("type", WebRTCStatsType::CandidatePair)
            .field("local-candidate-id", "ice-candidate-local_1_192.0.2.1_5")
            .field("remote-candidate-id", "ice-candidate-remote_1_192.0.2.2_6")
            .build();
        gst::Structure::builder("application/x-webrtc-stats")
            .field("rtp-outbound-stream-stats_1", outbound(442_887, 644))
            .field("rtp-outbound-stream-stats_2", outbound(56_350, 350))
            .field("rtp-remote-inbound-stream-stats_1", report(7, 0.05, 0.04))
            .field("rtp-remote-inbound-stream-stats_2", report(-1, 0.0, 0.0))
            .field("ice-candidate-local_1_192.0.2.1_5", candidate(local))
            .field("ice-candidate-remote_1_192.0.2.2_6", candidate(remote))
            .field("ice-candidate-pair_x", pair)
            .build()
    }

    #[test]
    fn streams_are_summed_and_the_worst_report_counts() {
        let found = BranchStatistics::read(&reply("host", "prflx"));
        assert_eq!(
            found,
            BranchStatistics {
                sent_bytes: 499_237,
                sent_packets: 994,
                lost_packets: Some(7),
                loss: Some(0.05),
                round_trip: Some(Duration::from_millis(40)),
                path: Some(NetworkPath::Direct),
            }
        );
    }

    #[test]
    fn the_count_of_lost_packets_only_grows() {
        let most = AtomicU64::new(0);
        let told = |lost| {
            let lost_packets = lost;
            let found = BranchStatistics {
                lost_packets,
                ..BranchStatistics::default()
            };
            found.losing_no_less(&most).lost_packets
        };
        assert_eq!(told(None), None);
        // Video, sound, video, a duplicate.
        let reports = [7, 1, 9, 8].map(|lost| told(Some(lost)));
        assert_eq!(reports, [Some(7), Some(7), Some(9), Some(9)]);
        assert_eq!(told(None), None);
    }

    #[test]
    fn a_relay_on_either_side_is_one() {
        for (local, remote) in [("relay", "host"), ("srflx", "relay")] {
            let found = BranchStatistics::read(&reply(local, remote));
            assert_eq!(found.path, Some(NetworkPath::Relay), "{local} {remote}");
        }
    }

    #[test]
    fn what_is_not_said_is_not_known() {
        gst::init().unwrap();
        let empty = gst::Structure::new_empty("application/x-webrtc-stats");
        assert_eq!(BranchStatistics::read(&empty), BranchStatistics::default());
    }
}
