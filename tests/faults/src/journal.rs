//! What a program has logged so far, with the means to wait for a line.

use std::{
    fs::File,
    io::Write as _,
    path::Path,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use swarm::log::is_critical;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, BufReader},
    sync::watch,
    time::timeout,
};

/// For the last lines of a process that has ended.
const READ_WITHIN: Duration = Duration::from_secs(5);

/// Lines in the order of their coming. Clones show the same journal.
#[derive(Debug, Clone)]
pub struct Journal {
    inner: Arc<Mutex<Inner>>,
    count: watch::Sender<usize>,
    /// Outputs that are still read.
    followed: watch::Sender<usize>,
}

#[derive(Debug)]
struct Inner {
    lines: Vec<String>,
    kept: File,
}

/// A place in the journal: lines before it are old.
#[derive(Debug, Clone, Copy, Default)]
pub struct Mark(usize);

impl Mark {
    /// Before every line.
    pub const START: Self = Self(0);
}

impl Journal {
    /// `file` keeps the lines for people.
    pub fn new(file: &Path) -> Result<Self> {
        let kept =
            File::create(file).with_context(|| format!("cannot write {}", file.display()))?;
        Ok(Self {
            inner: Arc::new(Mutex::new(Inner {
                lines: Vec::new(),
                kept,
            })),
            count: watch::Sender::new(0),
            followed: watch::Sender::new(0),
        })
    }

    pub fn line(&self, line: &str) {
        let count = {
            let mut inner = self.inner();
            inner.lines.push(line.to_owned());
            // For people only: the lines themselves are held.
            let _ = writeln!(inner.kept, "{line}");
            inner.lines.len()
        };
        self.count.send_replace(count);
    }

    /// Takes every line of `output` until its end.
    pub fn follow(&self, output: impl AsyncRead + Unpin + Send + 'static) {
        let journal = self.clone();
        self.followed.send_modify(|outputs| *outputs += 1);
        tokio::spawn(async move {
            let mut output = BufReader::new(output);
            let mut line = Vec::new();
            while output.read_until(b'\n', &mut line).await.unwrap_or(0) > 0 {
                journal.line(String::from_utf8_lossy(&line).trim_end());
                line.clear();
            }
            journal.followed.send_modify(|outputs| *outputs -= 1);
        });
    }

    /// Waits until every output has been read to its end.
    pub async fn settled(&self) {
        let mut followed = self.followed.subscribe();
        // An output that somebody else holds open as well has no end.
        let _ = timeout(READ_WITHIN, followed.wait_for(|outputs| *outputs == 0)).await;
    }

    /// The first line that no fault excuses: a bug of the program's, or of how it uses a library.
    pub fn complaint(&self) -> Option<String> {
        let inner = self.inner();
        inner.lines.iter().find(|line| is_complaint(line)).cloned()
    }

    pub fn mark(&self) -> Mark {
        Mark(*self.count.borrow())
    }

    /// The first line after `mark` that has all of `words`.
    pub fn find(&self, mark: Mark, words: &[&str]) -> Option<String> {
        let inner = self.inner();
        let mut new = inner.lines.iter().skip(mark.0);
        new.find(|line| words.iter().all(|word| line.contains(word)))
            .cloned()
    }

    /// Waits for the first line after `mark` that has all of `words`.
    pub async fn wait(&self, mark: Mark, words: &[&str], patience: Duration) -> Result<String> {
        let mut count = self.count.subscribe();
        let found = timeout(patience, async {
            loop {
                count.borrow_and_update();
                if let Some(line) = self.find(mark, words) {
                    return Ok(line);
                }
                if count.changed().await.is_err() {
                    bail!("the journal is closed");
                }
            }
        });
        found.await.unwrap_or_else(|_| {
            bail!(
                "no line with {words:?} within {} s; the last lines are:\n{}",
                patience.as_secs(),
                self.tail(12)
            )
        })
    }

    /// The lines between two places.
    pub fn between(&self, from: Mark, until: Mark) -> Vec<String> {
        let inner = self.inner();
        let lines = inner.lines.get(from.0..until.0);
        lines.map(<[String]>::to_vec).unwrap_or_default()
    }

    /// The last `count` lines.
    pub fn tail(&self, count: usize) -> String {
        let inner = self.inner();
        inner.lines[inner.lines.len().saturating_sub(count)..].join("\n")
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("nothing panics under it")
    }
}

/// A panic, or a critical or warning of GLib and its kin.
fn is_complaint(line: &str) -> bool {
    line.contains("event=\"panic\"") || line.contains("panicked") || is_critical(line)
}

#[cfg(test)]
mod tests {
    use super::is_complaint;

    #[test]
    fn a_fault_is_no_excuse_for_a_bug() {
        for line in [
            r#"2026-01-01T00:00:00Z ERROR panic: odd event="panic" place="src/x.rs:1:1""#,
            "thread 'main' panicked at src/x.rs:1:1:",
            "(perch:7): GStreamer-CRITICAL **: 12:00:00.0: gst_pad_push: assertion failed",
        ] {
            assert!(is_complaint(line), "{line}");
        }
        let line = r#"2026-01-01T00:00:00Z  WARN camera lost event="camera-lost" reason="error""#;
        assert!(!is_complaint(line));
    }
}
