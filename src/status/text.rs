//! The picture for people.

use std::fmt;

use super::{CameraStatus, LobbyStatus, Status, ViewerStatus};
use crate::media::Rendition;

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = match &self.reason {
            None if self.serving => "serving".to_owned(),
            None => "not serving".to_owned(),
            Some(reason) => format!("NOT SERVING: {reason}"),
        };
        writeln!(
            f,
            "{:?}: perch {}, pid {}, up {}, {how}",
            self.title,
            self.version,
            self.pid,
            span(self.uptime_s)
        )?;
        writeln!(f, "lobby    {}", LobbyLine(&self.lobby))?;
        writeln!(f, "camera   {}", CameraLine(&self.camera))?;
        let totals = &self.totals;
        write!(
            f,
            "viewers  {} of {}; since the start {} joined, {} saw media",
            self.viewers.len(),
            self.viewers_max,
            totals.joined,
            totals.went_live
        )?;
        if let Some(mean) = totals.join_to_media_s {
            write!(f, " after {mean:.1} s on average")?;
        }
        let ended: Vec<String> = totals
            .ended
            .iter()
            .filter(|(_, count)| **count > 0)
            .map(|(name, count)| format!("{name} {count}"))
            .collect();
        if !ended.is_empty() {
            write!(f, "; ended: {}", ended.join(", "))?;
        }
        if totals.refused > 0 {
            write!(f, "; refused {}", totals.refused)?;
        }
        writeln!(f)?;
        if !self.viewers.is_empty() {
            writeln!(f, "  {}", ROW_NAMES)?;
        }
        for viewer in &self.viewers {
            writeln!(f, "  {}", ViewerLine(viewer))?;
        }
        let process = &self.process;
        writeln!(
            f,
            "process  {:.0} MB resident, {}, {}",
            process.resident_bytes as f64 / 1e6,
            many(process.threads, "thread"),
            many(process.descriptors, "descriptor")
        )
    }
}

/// A count with its noun.
pub(crate) fn many(count: u64, noun: &str) -> String {
    match count {
        1 => format!("1 {noun}"),
        count => format!("{count} {noun}s"),
    }
}

struct LobbyLine<'a>(&'a LobbyStatus);

impl fmt::Display for LobbyLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lobby = self.0;
        f.write_str(&lobby.state)?;
        if let Some(time) = lobby.for_s {
            write!(f, " for {}", span(time))?;
        }
        let which = if lobby.embedded { "embedded, " } else { "" };
        write!(f, ", {which}{}", lobby.address)?;
        if let Some(why) = &lobby.why {
            write!(f, "; {why}")?;
        }
        match lobby.next_dial_s {
            Some(0.0) => f.write_str("; dialing now")?,
            Some(time) => write!(f, "; dials again in {}", span(time))?,
            None => {}
        }
        if lobby.failures > 1 {
            write!(f, " (failed {} times)", lobby.failures)?;
        }
        Ok(())
    }
}

struct CameraLine<'a>(&'a CameraStatus);

impl fmt::Display for CameraLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let camera = self.0;
        write!(f, "{} for {}", camera.state, span(camera.for_s))?;
        for what in [&camera.profile, &camera.device, &camera.encoder]
            .into_iter()
            .flatten()
        {
            write!(f, ", {what}")?;
        }
        if let Some(off) = &camera.off {
            write!(f, "; nobody watches, {off} off until somebody does")?;
        }
        if let Some(why) = &camera.why {
            write!(f, "; {why}")?;
        }
        if let Some(time) = camera.next_start_s {
            write!(f, "; starts again in {}", span(time))?;
        }
        if let (Some(fps), Some(bits)) = (camera.fps, camera.bits_per_s) {
            write!(f, "; {fps:.1} fps, {}", rate(bits))?;
        }
        if let Some(time) = camera.encoder_latency_s {
            write!(f, ", {:.1} ms in the encoder", time * 1e3)?;
        }
        if camera.state == "live" {
            let target = |rendition| camera.target_bits_per_s.get(rendition);
            if let Some(bits) = target(Rendition::First.name()) {
                write!(f, "; set to {}", rate(f64::from(*bits)))?;
            }
            if let Some(bits) = target(Rendition::Second.name()) {
                write!(f, ", the second rendition to {}", rate(f64::from(*bits)))?;
            }
        }
        write!(
            f,
            "; {}, {}",
            many(camera.encoded_frames, "frame"),
            many(camera.keyframes, "keyframe")
        )?;
        let restarts: Vec<String> = camera
            .restarts
            .iter()
            .filter(|(_, count)| **count > 0)
            .map(|(name, count)| format!("{name} {count}"))
            .collect();
        if restarts.is_empty() {
            f.write_str(", no restarts")
        } else {
            write!(f, ", restarts: {}", restarts.join(", "))
        }
    }
}

const ROW_NAMES: &str = " #  viewer    branch  state         for         rendition  rate           loss    rtt      path";

struct ViewerLine<'a>(&'a ViewerStatus);

impl fmt::Display for ViewerLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let viewer = self.0;
        let unknown = || "-".to_owned();
        write!(
            f,
            "{:>2}  {:<8}  {:>6}  {:<12}  {:<10}  {:<9}  {:<13}  {:<6}  {:<7}  {}",
            viewer.number,
            viewer.id,
            viewer.branch,
            viewer.state,
            span(viewer.for_s),
            viewer.rendition.as_deref().unwrap_or("-"),
            viewer.bits_per_s.map_or_else(unknown, rate),
            viewer
                .loss
                .map_or_else(unknown, |share| format!("{:.1} %", share * 100.0)),
            viewer
                .round_trip_s
                .map_or_else(unknown, |time| format!("{:.0} ms", time * 1e3)),
            viewer.path.as_deref().unwrap_or("-")
        )
    }
}

fn rate(bits_per_s: f64) -> String {
    if bits_per_s >= 1e6 {
        format!("{:.1} Mbit/s", bits_per_s / 1e6)
    } else {
        format!("{:.0} kbit/s", bits_per_s / 1e3)
    }
}

/// A length of time in its two largest units.
pub(crate) fn span(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    let (days, hours, minutes) = (whole / 86_400, whole / 3600 % 24, whole / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{whole} s"),
        (0, 0, minutes) => format!("{minutes} min {} s", whole % 60),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_two_units() {
        for (seconds, text) in [
            (0.4, "0 s"),
            (59.6, "1 min 0 s"),
            (3_725.0, "1 h 2 min"),
            (200_000.0, "2 d 7 h"),
        ] {
            assert_eq!(span(seconds), text);
        }
    }

    #[test]
    fn one_is_not_spoken_of_as_many() {
        let camera = CameraStatus {
            encoded_frames: 31,
            keyframes: 1,
            ..CameraStatus::default()
        };
        let line = CameraLine(&camera).to_string();
        assert!(line.contains("; 31 frames, 1 keyframe, "), "{line}");
    }

    #[test]
    fn what_the_encoders_are_set_to_is_told_while_they_run() {
        let camera = |state: &str, targets: &[(&str, u32)]| {
            let targets = targets.iter();
            let camera = CameraStatus {
                state: state.into(),
                target_bits_per_s: targets
                    .map(|(name, bits)| ((*name).into(), *bits))
                    .collect(),
                ..CameraStatus::default()
            };
            CameraLine(&camera).to_string()
        };
        let one = camera("live", &[("first", 1_500_000)]);
        assert!(one.contains("; set to 1.5 Mbit/s; "), "{one}");
        let both = camera("live", &[("first", 1_500_000), ("second", 250_000)]);
        let expected = "; set to 1.5 Mbit/s, the second rendition to 250 kbit/s; ";
        assert!(both.contains(expected), "{both}");
        let idle = camera("idle", &[("first", 1_500_000)]);
        assert!(!idle.contains("set to"), "{idle}");
    }

    #[test]
    fn an_outage_says_why_and_when_it_is_tried_again() {
        let lobby = LobbyStatus {
            address: "https://lobby.example.org".into(),
            state: "down".into(),
            for_s: Some(65.0),
            cause: Some("refused".into()),
            why: Some("cannot connect".into()),
            failures: 3,
            next_dial_s: Some(8.2),
            ..LobbyStatus::default()
        };
        assert_eq!(
            LobbyLine(&lobby).to_string(),
            "down for 1 min 5 s, https://lobby.example.org; cannot connect; dials again in 8 s (failed 3 times)"
        );
    }

    #[test]
    fn what_is_not_known_of_a_viewer_is_a_dash() {
        let text = ViewerLine(&ViewerStatus::default()).to_string();
        assert_eq!(text.matches('-').count(), 5, "{text}");
    }
}
