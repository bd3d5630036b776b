//! The blocking threads of all branches.
//!
//! They are of the same pool as the camera's and the line's. `webrtcbin` may take seconds over a step of
//! one branch: a crowd that leaves at once would take every thread, and the camera, which has a few
//! seconds to stop, would be thought to hang.

use tokio::sync::Semaphore;

use crate::media::camera::on_blocking_thread;

/// As many steps of branches are taken at the same time; the process has more blocking threads.
pub const THREADS: usize = 12;

static FREE: Semaphore = Semaphore::const_new(THREADS);

/// Takes a step of a branch, as soon as there is a thread for it. In turn.
pub(super) async fn on_branch_thread<T: Send + 'static>(
    step: impl FnOnce() -> T + Send + 'static,
) -> T {
    let permit = FREE.acquire().await.expect("it is never closed");
    on_blocking_thread(move || {
        // Free with the thread, also where nobody waits for the step any more.
        let _permit = permit;
        step()
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Duration};

    use tokio::time::timeout;

    use super::*;

    #[test]
    fn a_crowd_of_slow_branches_leaves_threads_to_others() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .max_blocking_threads(THREADS + 1)
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let (started, starts) = mpsc::channel();
            let mut releases = Vec::new();
            let mut steps = Vec::new();
            for _ in 0..2 * THREADS {
                let (release, released) = mpsc::channel::<()>();
                let started = started.clone();
                releases.push(release);
                steps.push(tokio::spawn(on_branch_thread(move || {
                    let _ = started.send(());
                    let _ = released.recv();
                })));
            }
            tokio::task::yield_now().await;
            // Not before all threads that branches may have are taken.
            let patience = Duration::from_secs(30);
            for _ in 0..THREADS {
                starts.recv_timeout(patience).expect("as many at once");
            }
            let other = timeout(patience, on_blocking_thread(|| ()));
            other.await.expect("there is a thread for others");

            drop(releases);
            for step in steps {
                step.await.expect("each has its turn");
            }
            assert_eq!(starts.try_iter().count(), THREADS);
        });
    }
}
