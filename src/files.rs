//! Reading files that the configuration names, where it may block: on a mount that is gone, or a pipe that nobody
//! writes to, opening or even looking takes for ever, and nothing can call it back.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use tokio::{sync::Semaphore, task::spawn_blocking, time::timeout};

/// How long a command waits for a file.
const COMMANDS_WAIT: Duration = Duration::from_secs(3);

/// One read at a time: one that hangs keeps its thread, and must not be given another with every dial.
#[derive(Debug, Clone)]
pub struct Reader(Arc<Semaphore>);

impl Default for Reader {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

impl Reader {
    /// What `read` comes to on a thread of its own. `None` if that, or an earlier one, takes longer than `patience`
    /// or has panicked.
    pub async fn read<T: Send + 'static>(
        &self,
        patience: Duration,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let turn = Arc::clone(&self.0);
        let result = async move {
            let turn = turn.acquire_owned().await.ok()?;
            let task = spawn_blocking(move || {
                let result = read();
                drop(turn);
                result
            });
            task.await.ok()
        };
        timeout(patience, result).await.ok().flatten()
    }
}

/// What `read` comes to, for a command, which has nothing else to do meanwhile. A read of `file` that hangs is an error,
/// and ends with the process.
pub fn in_time<T: Send + 'static>(
    file: &Path,
    read: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let (tell, told) = mpsc::channel();
    thread::Builder::new().spawn(move || tell.send(read()))?;
    told.recv_timeout(COMMANDS_WAIT)
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, late(&[file])))
}

/// What is said of files whose reading has been given up.
pub fn late(files: &[impl AsRef<Path>]) -> String {
    let names: Vec<String> = files
        .iter()
        .map(|file| file.as_ref().display().to_string())
        .collect();
    format!(
        "{} cannot be read in time; is it a plain file on a disk that answers?",
        names.join(" or ")
    )
}

/// The whole of a file of `largest` bytes at the most. Bounded while it is read: a device or a pipe has no size to
/// look at beforehand.
pub fn bounded(file: &Path, largest: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut open = File::open(file)?.take(largest.saturating_add(1));
    if open.read_to_end(&mut bytes)? as u64 > largest {
        let why = format!("it is larger than {largest} bytes and cannot be what is meant");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    };

    use super::*;

    /// For a read that would succeed: the machine may be loaded.
    const AMPLE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_read_that_hangs_is_given_up_and_holds_one_thread_only() {
        let reader = Reader::default();
        let (release, hangs) = mpsc::channel::<()>();
        let short = Duration::from_millis(20);
        let hung = reader.read(short, move || hangs.recv().is_err()).await;
        assert_eq!(hung, None);
        let begun = Arc::new(AtomicUsize::new(0));
        for _ in 0..5 {
            let begun = Arc::clone(&begun);
            let later = reader
                .read(short, move || begun.fetch_add(1, Ordering::SeqCst))
                .await;
            assert_eq!(later, None);
        }
        assert_eq!(begun.load(Ordering::SeqCst), 0);
        drop(release);
        assert_eq!(reader.read(AMPLE, || 7).await, Some(7), "it goes on");
    }

    #[test]
    fn a_file_without_an_end_is_not_read_to_its_end() {
        let error = bounded(Path::new("/dev/zero"), 1000).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "12345").unwrap();
        assert_eq!(bounded(file.path(), 5).unwrap(), b"12345");
        assert!(bounded(file.path(), 4).is_err());
    }
}
