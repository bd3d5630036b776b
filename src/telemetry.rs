//! Where log lines go: to the journal with their fields when systemd reads standard error, else as
//! text to standard error.

use std::{
    env, fs,
    io::{self, IsTerminal},
    os::{linux::fs::MetadataExt, unix::ffi::OsStrExt},
    panic,
};

use tracing::{Metadata, error};
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::{FilterExt as _, FilterFn, LevelFilter},
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

/// A quiet device logs nothing but joins, leaves and changes of state.
const DEFAULT_FILTER: &str = "warn,perch=info";

/// These crates log whole packets at finer levels, and the first packet of a connection holds a token.
/// Most of them are not among our own dependencies: what they log follows from those that are.
const NO_FINER: [(&str, LevelFilter); 7] = [
    ("async_tungstenite", LevelFilter::DEBUG),
    ("engineioxide", LevelFilter::INFO),
    ("hyper", LevelFilter::DEBUG),
    ("socketioxide", LevelFilter::INFO),
    ("socketioxide_core", LevelFilter::INFO),
    ("tokio_tungstenite", LevelFilter::DEBUG),
    ("tungstenite", LevelFilter::DEBUG),
];

/// Starts logging for the whole process, and turns panics into log lines. `PERCH_LOG`, or else
/// `RUST_LOG`, filters as in tracing's `EnvFilter` (`debug`, `perch::signaling=trace`).
pub fn init() -> Result<(), String> {
    let journal = is_journal(
        env::var_os("JOURNAL_STREAM")
            .as_deref()
            .map(OsStrExt::as_bytes),
        standard_error_identity(),
    )
    .then(tracing_journald::layer)
    .and_then(Result::ok);
    let output = match journal {
        Some(journal) => journal
            .with_syslog_identifier("perch".to_owned())
            // EVENT=viewer-live, not F_EVENT=: what the documentation calls them.
            .with_field_prefix(None)
            .boxed(),
        None => tracing_subscriber::fmt::layer()
            .with_writer(io::stderr)
            .with_ansi(io::stderr().is_terminal() && env::var_os("NO_COLOR").is_none())
            .with_target(false)
            .boxed(),
    };
    tracing_subscriber::registry()
        .with(output.with_filter(filter()?.and(without_packets())))
        .try_init()
        .map_err(|error| error.to_string())?;
    log_panics();
    Ok(())
}

fn filter() -> Result<EnvFilter, String> {
    for name in ["PERCH_LOG", "RUST_LOG"] {
        if let Some(text) = env::var(name).ok().filter(|text| !text.is_empty()) {
            return EnvFilter::try_new(&text).map_err(|error| {
                format!(
                    "environment variable {name}: found {text:?} ({error}), allowed: a filter such \
                     as \"debug\" or \"warn,perch=debug\""
                )
            });
        }
    }
    Ok(EnvFilter::new(DEFAULT_FILTER))
}

/// What no directive can lift, however precise: tokens stay out of the log.
fn without_packets() -> FilterFn<fn(&Metadata<'_>) -> bool> {
    let passes: fn(&Metadata<'_>) -> bool = |metadata| {
        // The crate, or any module of it.
        let name = metadata.target().split("::").next();
        NO_FINER
            .iter()
            .find(|(capped, _)| Some(*capped) == name)
            .is_none_or(|(_, finest)| metadata.level() <= finest)
    };
    // Without a hint, every `trace!` of every crate would be asked about.
    FilterFn::new(passes).with_max_level_hint(LevelFilter::TRACE)
}

/// Whether standard error is the stream to the journal that systemd set up, and not one that it was
/// redirected to later (systemd.exec(5), `$JOURNAL_STREAM`).
fn is_journal(journal_stream: Option<&[u8]>, standard_error: Option<(u64, u64)>) -> bool {
    let parse = |stream: &[u8]| -> Option<(u64, u64)> {
        let (device, inode) = str::from_utf8(stream).ok()?.split_once(':')?;
        Some((device.parse().ok()?, inode.parse().ok()?))
    };
    let journal = journal_stream.and_then(parse);
    journal.is_some() && journal == standard_error
}

/// Device and inode of what standard error is connected to.
fn standard_error_identity() -> Option<(u64, u64)> {
    let metadata = fs::metadata("/proc/self/fd/2").ok()?;
    Some((metadata.st_dev(), metadata.st_ino()))
}

fn log_panics() {
    panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string);
        let message = info.payload_as_str().unwrap_or("no message");
        let backtrace = std::backtrace::Backtrace::capture();
        error!(
            event = "panic",
            place,
            backtrace = (backtrace.status() == std::backtrace::BacktraceStatus::Captured)
                .then(|| backtrace.to_string()),
            "panic: {message}"
        );
    }));
}

/// Names that stand in the journal's fields and in statistics are told apart, and need no quotes.
#[cfg(test)]
pub fn assert_names_fit(names: impl Iterator<Item = &'static str>) {
    let mut known = std::collections::BTreeSet::new();
    for name in names {
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte == b'-';
        assert!(!name.is_empty() && name.bytes().all(fits), "{name:?}");
        assert!(known.insert(name), "{name} is there twice");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_is_known_by_device_and_inode() {
        assert!(is_journal(Some(b"9:1234"), Some((9, 1234))));
        assert!(!is_journal(Some(b"9:1234"), Some((9, 1235))));
        assert!(!is_journal(Some(b"9:1234"), None));
        assert!(!is_journal(None, Some((9, 1234))));
        assert!(!is_journal(None, None));
        for odd in [&b""[..], b":", b"9", b"9:x", b"\xff:1"] {
            assert!(!is_journal(Some(odd), None), "{odd:?}");
        }
    }

    /// Of an output under this filter: whether it takes what carries tokens, and what does not.
    fn takes(asked: &str) -> ([bool; 6], [bool; 2]) {
        use tracing::Level;
        let filter = EnvFilter::try_new(asked).unwrap().and(without_packets());
        let output = tracing_subscriber::fmt::layer().with_writer(io::sink);
        let subscriber = tracing_subscriber::registry().with(output.with_filter(filter));
        tracing::subscriber::with_default(subscriber, || {
            (
                [
                    tracing::enabled!(target: "async_tungstenite", Level::TRACE),
                    tracing::enabled!(target: "tokio_tungstenite::compat", Level::TRACE),
                    tracing::enabled!(target: "tungstenite", Level::TRACE),
                    tracing::enabled!(target: "tungstenite::protocol", Level::TRACE),
                    tracing::enabled!(target: "engineioxide::socket", Level::DEBUG),
                    tracing::enabled!(target: "socketioxide::client", Level::DEBUG),
                ],
                [
                    tracing::enabled!(target: "tungstenite::protocol", Level::WARN),
                    tracing::enabled!(target: "tungstenites", Level::TRACE),
                ],
            )
        })
    }

    #[test]
    fn no_filter_lets_whole_packets_into_the_log() {
        for asked in [
            "trace",
            "trace,tungstenite=trace,async_tungstenite=trace",
            "trace,tungstenite::protocol=trace,socketioxide::client=trace",
            "trace,engineioxide::socket=debug,tokio_tungstenite::compat=trace",
        ] {
            let (packets, others) = takes(asked);
            assert_eq!(packets, [false; 6], "{asked}");
            assert_eq!(others, [true; 2], "{asked}");
        }
    }

    #[test]
    fn the_default_filter_is_one() {
        assert!(EnvFilter::try_new(DEFAULT_FILTER).is_ok());
    }
}
