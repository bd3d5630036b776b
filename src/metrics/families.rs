//! A picture as Prometheus' text format, version 0.0.4. Pure.
//!
//! What can be counted is exported as a counter, so that rates are Prometheus' own affair; docs/observe.md lists
//! every name.

use std::{fmt, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet, text::encode_registry},
    metrics::MetricType,
    registry::Registry,
};

use crate::{
    host::{tally::Histogram, viewer::State},
    media::{Rendition, camera::status::CameraState},
    status::{Status, ViewerStatus},
};

/// What a scraper is told that it gets.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The whole page.
pub fn page(status: Arc<Status>) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Families(status)));
    let mut text = String::new();
    encode_registry(&mut text, &registry)?;
    Ok(text)
}

#[derive(Debug)]
struct Families(Arc<Status>);

impl Collector for Families {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        let status = &*self.0;
        let mut page = Page(encoder);
        page.process(status)?;
        page.line(status)?;
        page.camera(status)?;
        page.totals(status)?;
        page.viewers(status)
    }
}

struct Page<'a>(DescriptorEncoder<'a>);

impl Page<'_> {
    /// A family of one sample.
    fn one(&mut self, kind: MetricType, name: &str, help: &str, value: f64) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, kind)?;
        family.encode_gauge(&value)
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        self.one(MetricType::Gauge, name, help, value)
    }

    /// A counter's name ends in `_total` in this format, in its descriptor too. The crate's counters are OpenMetrics',
    /// whose descriptors leave it out, so the sample is written as it is.
    fn counter(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        self.one(MetricType::Counter, name, help, value)
    }

    /// A family whose samples have labels; there may be none.
    fn labelled<L: EncodeLabelSet>(
        &mut self,
        kind: MetricType,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (L, f64)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, kind)?;
        for (labels, value) in samples {
            family.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    #[rustfmt::skip]
    fn process(&mut self, status: &Status) -> fmt::Result {
        let version = [([("version", status.version.as_str())], 1.0)];
        self.labelled(MetricType::Gauge, "perch_build_info", "The version that runs.", version)?;
        self.gauge("perch_uptime_seconds", "Since the start.", status.uptime_s)?;
        self.gauge("perch_serving", "Whether a viewer who comes now could be served.", flag(status.serving))?;
        let process = &status.process;
        self.gauge("process_resident_memory_bytes", "Resident set.", process.resident_bytes as f64)?;
        self.gauge("process_threads", "Threads.", process.threads as f64)?;
        self.gauge("process_open_fds", "Open file descriptors.", process.descriptors as f64)
    }

    #[rustfmt::skip]
    fn line(&mut self, status: &Status) -> fmt::Result {
        let (lobby, totals) = (&status.lobby, &status.totals);
        self.gauge("perch_lobby_up", "Whether the lobby has our stream.", flag(lobby.state == "live"))?;
        self.counter("perch_lobby_connects_total", "Times that the lobby took the stream.", totals.line_live as f64)?;
        self.counter("perch_lobby_losses_total", "Times that the line was lost after that.", totals.line_lost as f64)?;
        self.gauge("perch_lobby_failed_dials", "Dials in a row that came to nothing.", lobby.failures as f64)
    }

    #[rustfmt::skip]
    fn camera(&mut self, status: &Status) -> fmt::Result {
        let camera = &status.camera;
        let states = CameraState::NAMES.map(|name| ([("state", name)], flag(camera.state == name)));
        self.labelled(MetricType::Gauge, "perch_camera_state", "1 for the state that the camera is in.", states)?;
        self.counter("perch_camera_source_frames_total", "Frames that left the source.", camera.source_frames as f64)?;
        self.counter("perch_camera_encoded_frames_total", "Frames that left the encoder.", camera.encoded_frames as f64)?;
        self.counter("perch_camera_keyframes_total", "Those of them that need no other.", camera.keyframes as f64)?;
        self.counter("perch_camera_encoded_bytes_total", "Their size.", camera.encoded_bytes as f64)?;
        let targets = camera.target_bits_per_s.iter();
        let targets = targets.map(|(rendition, bits)| ([("rendition", rendition.as_str())], f64::from(*bits) / 8.0));
        self.labelled(MetricType::Gauge, "perch_encoder_target_bytes_per_second", "What the encoder is set to.", targets)?;
        let restarts = camera.restarts.iter().map(|(reason, count)| ([("reason", reason.as_str())], *count as f64));
        self.labelled(MetricType::Counter, "perch_camera_restarts_total", "Times that the camera was taken down.", restarts)?;
        self.histogram(
            "perch_encoder_latency_seconds",
            "Time that frames spent in the encoder: their sum and number, without buckets.",
            camera.encoder_latency_sum_s,
            &[(f64::INFINITY, camera.encoder_latency_frames)],
        )
    }

    #[rustfmt::skip]
    fn totals(&mut self, status: &Status) -> fmt::Result {
        let totals = &status.totals;
        self.counter("perch_viewer_joins_total", "Joins that were given a place.", totals.joined as f64)?;
        let refusals = totals.refusals.iter().map(|(reason, count)| ([("reason", reason.as_str())], *count as f64));
        self.labelled(MetricType::Counter, "perch_viewer_refusals_total", "Joins that were refused.", refusals)?;
        let ends = totals.ended.iter().map(|(reason, count)| ([("reason", reason.as_str())], *count as f64));
        self.labelled(MetricType::Counter, "perch_viewer_ends_total", "Viewers that ended.", ends)?;
        let rebuilds = totals.rebuilt.iter().map(|(reason, count)| ([("reason", reason.as_str())], *count as f64));
        self.labelled(MetricType::Counter, "perch_viewer_rebuilds_total", "Viewers' branches that were replaced.", rebuilds)?;
        self.counter("perch_viewer_disconnects_total", "Viewers that were lost, perhaps for a moment.", totals.disconnected as f64)?;
        self.counter("perch_viewer_recoveries_total", "Viewers that were lost and found again on the same connection.", totals.recovered as f64)?;
        self.counter("perch_ignored_messages_total", "Messages of viewers that nothing followed from.", totals.ignored as f64)?;
        self.gauge("perch_branches_closing", "Branches that are being taken down.", totals.closing as f64)?;
        self.times("perch_viewer_join_to_media_seconds", "From a viewer's join to the moment when media may flow to it.", &status.went_live)?;
        self.times("perch_viewer_join_to_frame_seconds", "From a viewer's join to the moment when its first picture is sent.", &status.first_frame)
    }

    fn times(&mut self, name: &'static str, help: &'static str, times: &Histogram) -> fmt::Result {
        let buckets: Vec<_> = times.buckets().collect();
        self.histogram(name, help, times.sum().as_secs_f64(), &buckets)
    }

    #[rustfmt::skip]
    fn viewers(&mut self, status: &Status) -> fmt::Result {
        let viewers = &status.viewers;
        self.gauge("perch_viewers_max", "How many may watch at once.", status.viewers_max as f64)?;
        let by_state = State::NAMES.map(|name| {
            let count = viewers.iter().filter(|viewer| viewer.state == name).count();
            ([("state", name)], count as f64)
        });
        self.labelled(MetricType::Gauge, "perch_viewers", "Viewers that hold a place, by state.", by_state)?;
        let by_rendition = [Rendition::First, Rendition::Second].map(|rendition| {
            let sent = |viewer: &&ViewerStatus| viewer.rendition.as_deref() == Some(rendition.name());
            ([("rendition", rendition.name())], viewers.iter().filter(sent).count() as f64)
        });
        self.labelled(MetricType::Gauge, "perch_viewers_by_rendition", "Viewers that are sent a picture, by what they are sent.", by_rendition)?;
        let mut each = |kind, name, help, value: fn(&ViewerStatus) -> Option<f64>| {
            let samples = viewers.iter().filter_map(|viewer| {
                Some(([("viewer", viewer.number.to_string())], value(viewer)?))
            });
            self.labelled(kind, name, help, samples)
        };
        let (counter, gauge) = (|| MetricType::Counter, || MetricType::Gauge);
        each(counter(), "perch_viewer_sent_bytes_total", "RTP payload handed to the network.", |viewer| viewer.sent_bytes.map(|count| count as f64))?;
        each(counter(), "perch_viewer_sent_packets_total", "RTP packets handed to the network.", |viewer| viewer.sent_packets.map(|count| count as f64))?;
        each(counter(), "perch_viewer_lost_packets_total", "Packets that the viewer has missed, of the stream that missed most.", |viewer| viewer.lost_packets.map(|count| count as f64))?;
        each(gauge(), "perch_viewer_loss_ratio", "Share of packets missed between the viewer's last two reports.", |viewer| viewer.loss)?;
        each(gauge(), "perch_viewer_round_trip_seconds", "Round trip, by the viewer's last report.", |viewer| viewer.round_trip_s)?;
        each(gauge(), "perch_viewer_relayed", "Whether a TURN server carries the media.", |viewer| viewer.path.as_ref().map(|path| flag(path == "relay")))
    }

    fn histogram(
        &mut self,
        name: &str,
        help: &str,
        sum: f64,
        buckets: &[(f64, u64)],
    ) -> fmt::Result {
        let count = buckets.iter().map(|(_, count)| count).sum();
        let mut family = self
            .0
            .encode_descriptor(name, help, None, MetricType::Histogram)?;
        family.encode_histogram::<NoLabelSet>(sum, count, buckets, None)
    }
}

fn flag(set: bool) -> f64 {
    f64::from(u8::from(set))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two viewers, one of them without figures yet.
    fn status() -> Status {
        let viewer = |number, state: &str, sent_bytes| ViewerStatus {
            number,
            state: state.to_owned(),
            sent_bytes,
            ..ViewerStatus::default()
        };
        let mut status = Status {
            version: "0.1.0".into(),
            viewers: vec![viewer(2, "live", Some(7)), viewer(1, "opening", None)],
            ..Status::default()
        };
        status.viewers[0].rendition = Some("second".into());
        status.camera.state = "live".into();
        status
            .camera
            .target_bits_per_s
            .insert("second".into(), 250_000);
        status.totals.ended.insert("left".into(), 3);
        status
    }

    #[test]
    fn viewers_are_numbered_and_what_is_not_known_is_left_out() {
        let page = page(Arc::new(status())).unwrap();
        for line in [
            "# TYPE perch_viewer_sent_bytes_total counter",
            "perch_viewer_sent_bytes_total{viewer=\"2\"} 7.0",
            "perch_viewers{state=\"live\"} 1.0",
            "perch_viewers_by_rendition{rendition=\"first\"} 0.0",
            "perch_viewers_by_rendition{rendition=\"second\"} 1.0",
            "perch_encoder_target_bytes_per_second{rendition=\"second\"} 31250.0",
            "perch_viewers{state=\"disconnected\"} 0.0",
            "perch_camera_state{state=\"live\"} 1.0",
            "perch_viewer_ends_total{reason=\"left\"} 3.0",
            "perch_viewer_join_to_media_seconds_bucket{le=\"+Inf\"} 0",
            "# TYPE perch_viewer_round_trip_seconds gauge",
        ] {
            assert!(page.lines().any(|found| found == line), "{line}:\n{page}");
        }
        assert!(!page.contains("viewer=\"1\""), "{page}");
    }

    /// What Prometheus' linter would object to, as far as it can be said without it; the tests of the program ask
    /// `promtool` where it is installed.
    #[test]
    fn names_follow_the_conventions() {
        let page = page(Arc::new(status())).unwrap();
        let mut described = Vec::new();
        for line in page.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert_eq!(name.ends_with("_total"), kind == "counter", "{line}");
                assert!(!described.contains(&name), "{name} twice");
                described.push(name);
            } else if let Some(rest) = line.strip_prefix("# HELP ") {
                let (_, help) = rest.split_once(' ').unwrap();
                assert!(help.ends_with('.'), "{line}");
            } else {
                let (name, value) = line.rsplit_once(' ').unwrap();
                let name = name.split('{').next().unwrap();
                let last = described.last().unwrap();
                assert!(name.starts_with(last), "{line} under {last}");
                assert!(value.parse::<f64>().is_ok(), "{line}");
            }
        }
    }
}
