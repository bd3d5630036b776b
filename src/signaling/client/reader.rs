//! Reading the credentials' files where it may block: on a mount that is gone, or a pipe that nobody writes to,
//! opening or even looking takes for ever, and nothing can call it back.

use std::{sync::Arc, time::Duration};

use tokio::{sync::Semaphore, task::spawn_blocking, time::timeout};

/// One read at a time: one that hangs keeps its thread, and must not be given another with every dial.
#[derive(Debug, Clone)]
pub(super) struct Reader(Arc<Semaphore>);

impl Default for Reader {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

impl Reader {
    /// What `read` comes to on a thread of its own. `None` if that, or an earlier one, takes longer than `patience`
    /// or has panicked.
    pub(super) async fn read<T: Send + 'static>(
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
}
