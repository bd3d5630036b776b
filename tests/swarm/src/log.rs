//! The host's log, read line by line: how viewers ended, what GLib and GStreamer complained of, and
//! which GStreamer objects its leaks tracer lists.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
};

/// Complaints that are kept word by word; the rest is counted.
const KEPT: usize = 20;

/// What has been read so far. Clones show the same log.
#[derive(Debug, Clone, Default)]
pub struct Log(Arc<Mutex<Counts>>);

#[derive(Debug, Default)]
struct Counts {
    ends: BTreeMap<String, u64>,
    ways: BTreeMap<String, u64>,
    trains: u64,
    criticals: u64,
    errors: BTreeMap<String, u64>,
    complaints: Vec<String>,
    census: BTreeMap<String, u64>,
    censuses: usize,
}

impl Log {
    /// Takes one line of the host's standard error.
    pub fn line(&self, line: &str) {
        let mut counts = self.counts();
        if let Some(end) = field(line, "event").filter(|event| *event == "viewer-ended") {
            let reason = field(line, "reason").unwrap_or(end);
            *counts.ends.entry(reason.to_owned()).or_default() += 1;
        } else if let Some(direct) = field(line, "direct") {
            *counts.ways.entry(direct.to_owned()).or_default() += 1;
        } else if field(line, "train").is_some() {
            counts.trains += 1;
        } else if let Some(kind) = alive(line) {
            *counts.census.entry(kind.to_owned()).or_default() += 1;
        } else if line.contains("start listing currently alive objects") {
            counts.census.clear();
        } else if line.contains(" listed ") && line.ends_with(" alive objects") {
            counts.censuses += 1;
        } else if is_critical(line) {
            counts.criticals += 1;
            counts.keep(line);
        } else if let Some(category) = gstreamer_error(line) {
            let count = counts.errors.entry(category.to_owned()).or_default();
            *count += 1;
            if *count == 1 {
                counts.keep(line);
            }
        }
    }

    /// Ends of viewers, by reason.
    pub fn ends(&self) -> BTreeMap<String, u64> {
        self.counts().ends.clone()
    }

    /// Ways that viewers' packets were given, by whether they are direct ones. Told at the level `debug`.
    pub fn ways(&self) -> BTreeMap<String, u64> {
        self.counts().ways.clone()
    }

    /// How many direct ways have carried several packets as one. Told at the level `debug`.
    pub fn trains(&self) -> u64 {
        self.counts().trains
    }

    /// Criticals and warnings of GLib and its kin. Each is a mistake of a program in this process.
    pub fn criticals(&self) -> u64 {
        self.counts().criticals
    }

    /// GStreamer's lines of the level ERROR, by category.
    pub fn errors(&self) -> BTreeMap<String, u64> {
        self.counts().errors.clone()
    }

    /// The first complaints, word by word.
    pub fn complaints(&self) -> Vec<String> {
        self.counts().complaints.clone()
    }

    /// How many lists of living objects have been read, and the last one, by type.
    pub fn census(&self) -> (usize, BTreeMap<String, u64>) {
        let counts = self.counts();
        (counts.censuses, counts.census.clone())
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().expect("nothing panics under it")
    }
}

impl Counts {
    fn keep(&mut self, line: &str) {
        if self.complaints.len() < KEPT {
            self.complaints.push(line.chars().take(400).collect());
        }
    }
}

/// The value of `name="value"` or `name=value`.
pub fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = line;
    loop {
        let at = rest.find(name)?;
        let before = rest[..at].chars().next_back();
        let after = &rest[at + name.len()..];
        rest = after;
        if before.is_some_and(|c| c != ' ') {
            continue;
        }
        let Some(value) = after.strip_prefix('=') else {
            continue;
        };
        return Some(match value.strip_prefix('"') {
            Some(quoted) => quoted.split('"').next().unwrap_or_default(),
            None => value.split(' ').next().unwrap_or_default(),
        });
    }
}

/// `(perch:123): GStreamer-CRITICAL **: …`, as GLib's default handler writes; `** (perch:123): CRITICAL **: …`
/// from code that has no name of its own.
pub fn is_critical(line: &str) -> bool {
    line.trim_start_matches("** ").starts_with('(')
        && ["CRITICAL **", "WARNING **", "ERROR **"]
            .iter()
            .any(|level| line.contains(level))
}

/// `0:00:01.2 123 0x55 ERROR category file.c:1:function: …`: the category.
fn gstreamer_error(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace();
    let clock = words.next()?;
    if clock.matches(':').count() != 2 || !clock.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let mut words = words.skip(2);
    (words.next()? == "ERROR").then(|| words.next())?
}

/// The type in the leaks tracer's `object-alive, type-name=(string)GstPad, …`.
fn alive(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once("object-alive, type-name=(string)")?;
    rest.split([',', ' ']).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_matters() {
        let log = Log::default();
        for line in [
            r#"2026-01-01T00:00:00Z  INFO viewer ended: left event="viewer-ended" viewer=v reason="left" after_ms=3"#,
            r#"2026-01-01T00:00:00Z  INFO viewer ended: left event="viewer-ended" viewer=v reason="left" after_ms=3"#,
            r#"2026-01-01T00:00:00Z  INFO viewer joined event="viewer-joined" viewer=v"#,
            "(perch:7): GStreamer-CRITICAL **: 12:00:00.0: gst_pad_push: assertion failed",
            "0:00:00.1 7 0x7f00 ERROR      dtlsconnection gstdtlsconnection.c:1:f:<c> fatal",
            "0:00:00.1 7 0x7f00 WARN       webrtcbin gstwebrtcbin.c:1:f:<c> odd",
            "0:00:00.1 7 0x7f00 TRACE leaks gstleaks.c:7:f:<l0> start listing currently alive objects",
            "0:00:00.1 7 0x7f00 TRACE GST_TRACER :0:: object-alive, type-name=(string)GstPad, address=(gpointer)0x1;",
            "0:00:00.1 7 0x7f00 TRACE leaks gstleaks.c:8:f:<l0> listed 1 alive objects",
        ] {
            log.line(line);
        }
        assert_eq!(log.ends(), BTreeMap::from([("left".to_owned(), 2)]));
        assert_eq!(log.criticals(), 1);
        assert_eq!(
            log.errors(),
            BTreeMap::from([("dtlsconnection".to_owned(), 1)])
        );
        assert_eq!(
            log.census(),
            (1, BTreeMap::from([("GstPad".to_owned(), 1)]))
        );
        assert_eq!(log.complaints().len(), 2);
    }

    #[test]
    fn a_complaint_is_known_by_its_form() {
        assert!(is_critical("** (perch:7): CRITICAL **: 12:00:00.0: odd"));
        assert!(is_critical("(perch:7): GLib-WARNING **: odd"));
        assert!(!is_critical("(perch:7): GLib-INFO: fine"));
        assert!(!is_critical("a CRITICAL ** in a sentence"));
    }

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let line = r#"x took_event=1 event="a b" stream=s1"#;
        assert_eq!(field(line, "event"), Some("a b"));
        assert_eq!(field(line, "stream"), Some("s1"));
        assert_eq!(field(line, "viewer"), None);
    }
}
