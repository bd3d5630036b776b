//! Names to addresses, whatever the system's resolver does.
//!
//! `getaddrinfo` can stand still for minutes where DNS servers do not answer, and cannot be interrupted. It gets
//! a thread of its own, one at a time: dials that come meanwhile wait for that one's answer, and a process that
//! ends does not wait for it at all.

use std::{io, net::SocketAddr, thread};

use tokio::sync::oneshot;

type Answer = io::Result<Vec<SocketAddr>>;

/// Looks names up, one at a time.
#[derive(Debug, Default)]
pub struct Resolver {
    pending: Option<(String, u16, oneshot::Receiver<Answer>)>,
}

impl Resolver {
    /// The addresses of a name. May be dropped at any time: the next call for the same name goes on with it.
    pub async fn resolve(&mut self, name: &str, port: u16) -> Answer {
        self.resolve_with(name, port, look_up).await
    }

    async fn resolve_with(
        &mut self,
        name: &str,
        port: u16,
        look_up: fn(&str, u16) -> Answer,
    ) -> Answer {
        let same = |pending: &(String, u16, _)| (pending.0.as_str(), pending.1) == (name, port);
        if !self.pending.as_ref().is_some_and(same) {
            let (answer, answered) = oneshot::channel();
            let wanted = name.to_owned();
            thread::Builder::new()
                .name("resolver".to_owned())
                .spawn(move || {
                    // Nobody may be waiting any more.
                    let _ = answer.send(look_up(&wanted, port));
                })?;
            self.pending = Some((name.to_owned(), port, answered));
        }
        let Some((_, _, answered)) = &mut self.pending else {
            unreachable!("it was just put there")
        };
        let answer = answered.await;
        self.pending = None;
        answer.unwrap_or_else(|_| Err(io::Error::other("the look-up broke off")))
    }
}

fn look_up(name: &str, port: u16) -> Answer {
    use std::net::ToSocketAddrs as _;
    Ok((name, port).to_socket_addrs()?.collect())
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Condvar, Mutex,
            atomic::{AtomicUsize, Ordering},
        },
        time::Duration,
    };

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn localhost_is_found_and_nonsense_is_not() {
        let mut resolver = Resolver::default();
        let found = resolver.resolve("localhost", 80).await.unwrap();
        assert!(found.iter().all(|address| address.ip().is_loopback()));
        assert!(!found.is_empty());
        assert!(resolver.resolve("no such name", 80).await.is_err());
    }

    #[tokio::test]
    async fn a_resolver_that_hangs_holds_one_thread_and_its_answer_is_not_lost() {
        static RUNNING: AtomicUsize = AtomicUsize::new(0);
        static STARTED: AtomicUsize = AtomicUsize::new(0);
        static OPEN: Mutex<bool> = Mutex::new(false);
        static OPENED: Condvar = Condvar::new();
        fn stuck(_: &str, port: u16) -> Answer {
            STARTED.fetch_add(1, Ordering::SeqCst);
            RUNNING.fetch_add(1, Ordering::SeqCst);
            drop(
                OPENED
                    .wait_while(OPEN.lock().unwrap(), |open| !*open)
                    .unwrap(),
            );
            RUNNING.fetch_sub(1, Ordering::SeqCst);
            Ok(vec![([192, 0, 2, 1], port).into()])
        }
        let mut resolver = Resolver::default();
        for _ in 0..50 {
            let tried = resolver.resolve_with("lobby.example", 443, stuck);
            assert!(timeout(Duration::from_millis(1), tried).await.is_err());
        }
        assert!(STARTED.load(Ordering::SeqCst) <= 1);
        *OPEN.lock().unwrap() = true;
        OPENED.notify_all();
        let found = resolver.resolve_with("lobby.example", 443, stuck).await;
        assert_eq!(found.unwrap(), [([192, 0, 2, 1], 443).into()]);
        assert_eq!(RUNNING.load(Ordering::SeqCst), 0);
        assert_eq!(STARTED.load(Ordering::SeqCst), 1);
    }
}
