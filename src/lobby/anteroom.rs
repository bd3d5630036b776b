//! Where what a socket says waits until the Socket.IO server calls the socket connected.
//!
//! The server writes its acceptance first and lets events out to the socket only a moment later (socketioxide
//! 0.18.9, `Namespace::connect`): on a busy machine a viewer can have joined, and be owed an offer, in between. What
//! is emitted to it then is lost. So nothing that it says is acted upon before the server's connect handler has run.

use std::collections::HashMap;

use super::relay::SocketId;

/// What has been said too early, in order, by socket.
pub struct Anteroom<T> {
    waiting: HashMap<SocketId, Vec<T>>,
}

impl<T> Default for Anteroom<T> {
    fn default() -> Self {
        Self {
            waiting: HashMap::new(),
        }
    }
}

impl<T> Anteroom<T> {
    /// Gives back what may be acted upon now: all that a connected socket says, unless something of it waits still.
    pub fn pass(&mut self, socket: &SocketId, connected: bool, said: T) -> Option<T> {
        if let Some(waiting) = self.waiting.get_mut(socket) {
            waiting.push(said);
        } else if connected {
            return Some(said);
        } else {
            self.waiting.insert(socket.clone(), vec![said]);
        }
        None
    }

    /// The socket is connected, or gone: what it has said.
    pub fn leave(&mut self, socket: &SocketId) -> Vec<T> {
        self.waiting.remove(socket).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(name: &str) -> SocketId {
        SocketId(name.into())
    }

    #[test]
    fn what_comes_too_early_waits_and_nothing_overtakes_it() {
        let mut room = Anteroom::default();
        let (early, other) = (socket("early"), socket("other"));
        assert_eq!(room.pass(&early, false, 1), None);
        assert_eq!(room.pass(&other, true, 10), Some(10));
        // Connected by now, but the connect handler has still to run.
        assert_eq!(room.pass(&early, true, 2), None);
        assert_eq!(room.leave(&early), [1, 2]);
        assert_eq!(room.pass(&early, true, 3), Some(3));
        assert!(room.leave(&early).is_empty());
    }

    #[test]
    fn a_socket_that_goes_leaves_nothing() {
        let mut room = Anteroom::default();
        assert_eq!(room.pass(&socket("gone"), false, 1), None);
        room.leave(&socket("gone"));
        assert!(room.waiting.is_empty());
    }
}
