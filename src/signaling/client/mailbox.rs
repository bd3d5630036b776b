//! What the host is still to be told, in order.

use std::collections::VecDeque;

use tokio::sync::mpsc;

use super::{Done, LineEvent};

/// With so much waiting for the host, nothing more is read from the lobby.
const ENOUGH: usize = 256;

pub(super) struct Mailbox {
    waiting: VecDeque<LineEvent>,
    host: mpsc::Sender<LineEvent>,
}

impl Mailbox {
    pub(super) fn new(host: mpsc::Sender<LineEvent>) -> Self {
        Self {
            waiting: VecDeque::new(),
            host,
        }
    }

    pub(super) fn push(&mut self, event: LineEvent) {
        self.waiting.push_back(event);
    }

    pub(super) fn has_room(&self) -> bool {
        self.waiting.len() < ENOUGH
    }

    /// Hands one event on, as soon as there is one and the host takes it; an error is that the host is gone.
    /// May be dropped at any time: an event is either handed on or still waiting.
    ///
    /// One at a time, so that whoever stopped because the mailbox was full looks again.
    pub(super) async fn deliver(&mut self) -> Result<(), Done> {
        if self.waiting.is_empty() {
            self.host.closed().await;
            return Err(Done);
        }
        let permit = self.host.reserve().await.map_err(|_| Done)?;
        if let Some(event) = self.waiting.pop_front() {
            permit.send(event);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    fn lost(why: usize) -> LineEvent {
        LineEvent::Lost {
            why: why.to_string(),
        }
    }

    #[tokio::test]
    async fn interrupted_deliveries_lose_and_reorder_nothing() {
        let (sender, mut receiver) = mpsc::channel(1);
        let mut mail = Mailbox::new(sender);
        for number in 0..100 {
            mail.push(lost(number));
        }
        for number in 0..100 {
            // The channel takes one event; the delivery of the next is interrupted.
            assert!(mail.deliver().await.is_ok());
            assert!(timeout(Duration::ZERO, mail.deliver()).await.is_err());
            let Some(LineEvent::Lost { why }) = receiver.recv().await else {
                panic!("event {number} is missing");
            };
            assert_eq!(why, number.to_string());
        }
        assert!(receiver.try_recv().is_err());
    }

    #[tokio::test]
    async fn a_host_that_goes_is_noticed_with_and_without_mail() {
        for events in [0, 3] {
            let (sender, receiver) = mpsc::channel(1);
            let mut mail = Mailbox::new(sender);
            for number in 0..events {
                mail.push(lost(number));
            }
            drop(receiver);
            assert!(mail.deliver().await.is_err());
        }
    }

    #[test]
    fn the_mailbox_says_when_it_is_full() {
        let (sender, _receiver) = mpsc::channel(1);
        let mut mail = Mailbox::new(sender);
        for number in 0..ENOUGH {
            assert!(mail.has_room());
            mail.push(lost(number));
        }
        assert!(!mail.has_room());
    }
}
