//! What `webrtcbin`'s own thread was asked to do and has not done yet.
//!
//! A description that is still being applied adds transports to a bin that is already on its way to
//! NULL; in 1.22 the receiving half of such a transport holds itself and is never freed, with three
//! sockets and three eventfds. Seen with viewers that leave before the offer or right after their
//! answer. So a branch goes to NULL only when its promises are kept.

use std::{
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::Duration,
};

/// How long a description may take to be applied while its branch is being closed.
const ENDS_WITHIN: Duration = Duration::from_secs(2);

/// Clones count together.
#[derive(Debug, Clone, Default)]
pub(super) struct Work(Arc<Counted>);

#[derive(Debug, Default)]
struct Counted {
    open: Mutex<usize>,
    done: Condvar,
}

/// A piece of work; done when it is dropped, which a promise does with its function.
#[derive(Debug)]
pub(super) struct Asked(Arc<Counted>);

impl Work {
    pub fn begin(&self) -> Asked {
        *self.0.open.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        Asked(self.0.clone())
    }

    /// Blocks until all is done, or for as long as it may take.
    pub fn finish(&self) {
        let open = self.0.open.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = self
            .0
            .done
            .wait_timeout_while(open, ENDS_WITHIN, |open| *open > 0);
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        let mut open = self.0.open.lock().unwrap_or_else(PoisonError::into_inner);
        *open = open.saturating_sub(1);
        self.0.done.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::{thread, time::Instant};

    use super::*;

    #[test]
    fn it_is_finished_with_the_last_piece_or_when_that_takes_too_long() {
        let work = Work::default();
        work.finish();
        let (first, second) = (work.begin(), work.begin());
        drop(first);
        let began = Instant::now();
        let other = work.clone();
        let waiting = thread::spawn(move || other.finish());
        drop(second);
        waiting.join().expect("it does not panic");
        assert!(began.elapsed() < ENDS_WITHIN, "it was done before");

        let _never = work.begin();
        let began = Instant::now();
        work.finish();
        assert!(began.elapsed() >= ENDS_WITHIN);
    }
}
