//! The desk: where the Socket.IO server's sockets meet the relay's rules.
//!
//! Handlers run one after the other under one lock that is never held across an await, so what
//! a socket is told comes in the order in which things happened. (An async handler of socketioxide runs
//! in a task of its own, where two messages of one socket could overtake each other: ours do
//! their work in the plain function that makes the future.)

use std::{
    collections::HashMap,
    future::{Ready, ready},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use axum::extract::ConnectInfo;
use serde::Deserialize;
use serde_json::Value;
use socketioxide::{
    SendError, SocketError, SocketIo,
    extract::{AckSender, Event, SocketRef, TryData},
    handler::ConnectHandler,
};
use tokio::sync::Notify;
use tracing::{debug, warn};

use super::{
    Limits,
    anteroom::Anteroom,
    auth::Gate,
    door::{Connection, Peer},
    random,
    relay::{Delivery, Identity, Relay, Request, Role, SocketId},
    throttle::{Throttle, Verdict},
    wire,
};
use crate::signaling::message::StreamId;

/// Between two `live:update`s: a crowd that joins makes a few of them, not one each.
const UPDATE_PAUSE: Duration = Duration::from_millis(200);

/// What a join or a new stream costs, in events: it makes work for others.
const COSTLY_EVENT: f64 = 5.0;

/// The only text that a refused socket gets, whatever the reason.
#[derive(Debug, thiserror::Error)]
#[error("Authentication error")]
pub struct Refused;

#[derive(Debug, Deserialize)]
struct Handshake {
    token: Option<String>,
}

/// One authenticated socket; not the socket itself, which holds this in its handlers.
#[derive(Debug)]
struct Seat {
    id: SocketId,
    identity: Identity,
    connection: Arc<Connection>,
    throttle: Mutex<Throttle>,
}

#[derive(Debug)]
struct Member {
    socket: SocketRef,
    connection: Arc<Connection>,
}

/// One event of one socket, on its way to the relay.
struct Said {
    seat: Arc<Seat>,
    socket: SocketRef,
    request: Request,
    ack: AckSender,
}

struct Room {
    relay: Relay,
    members: HashMap<SocketId, Member>,
    anteroom: Anteroom<Said>,
}

/// All members, and the relay between them.
pub struct Desk {
    room: Mutex<Room>,
    changed: Notify,
    limits: Limits,
}

/// Makes the root namespace of `io` the lobby.
pub fn open(io: &SocketIo, gate: Arc<Gate>, limits: Limits) -> Arc<Desk> {
    let desk = Arc::new(Desk {
        room: Mutex::new(Room {
            relay: Relay::new(limits.joins),
            members: HashMap::new(),
            anteroom: Anteroom::default(),
        }),
        changed: Notify::new(),
        limits,
    });
    let admit = {
        let desk = desk.clone();
        move |socket: SocketRef,
              TryData(handshake): TryData<Handshake>|
              -> Ready<Result<(), Refused>> {
            ready(desk.admit(&gate, &socket, handshake.ok()))
        }
    };
    let welcome = {
        let desk = desk.clone();
        move |socket: SocketRef| {
            desk.welcome(&socket);
            ready(())
        }
    };
    io.ns("/", welcome.with(admit));
    desk
}

impl Desk {
    /// Tells everybody the list whenever it has changed. Never returns.
    pub async fn announce(&self, io: SocketIo) {
        loop {
            self.changed.notified().await;
            let change = self.room().relay.take_change();
            if let Some(list) = change {
                // A socket whose queue is full misses this one; it is dealt with by whatever is sent
                // to it next, at the latest by the ping that finds no room either.
                if let Err(error) = io.emit("live:update", &wire::list(&list)).await {
                    debug!(%error, "not everybody heard of the change");
                }
                tokio::time::sleep(UPDATE_PAUSE).await;
            }
        }
    }

    /// Members known at the desk and streams alive.
    pub fn census(&self) -> (usize, usize) {
        let room = self.room();
        (room.members.len(), room.relay.list().len())
    }

    /// Before a socket is accepted: its token, and the handlers of its events. They are set here because
    /// after the acceptance the socket's first message may already be there.
    fn admit(
        self: &Arc<Self>,
        gate: &Gate,
        socket: &SocketRef,
        handshake: Option<Handshake>,
    ) -> Result<(), Refused> {
        let extensions = &socket.req_parts().extensions;
        let connection = extensions.get::<ConnectInfo<Peer>>().ok_or(Refused)?;
        let connection = connection.0.0.clone();
        let token = handshake.and_then(|handshake| handshake.token);
        let identity = token.and_then(|token| gate.identify(&token));
        let Some(identity) = identity.filter(|_| !connection.is_closed()) else {
            debug!(peer = %connection.peer(), "refused: no valid token");
            return Err(Refused);
        };
        connection.trust();
        debug!(peer = %connection.peer(), user = &*identity.user, socket = %socket.id, "connected");
        let rate = match identity.role {
            Role::Member => self.limits.member_rate,
            Role::Viewer => self.limits.viewer_rate,
        };
        let seat = Arc::new(Seat {
            id: SocketId(socket.id.as_str().into()),
            identity,
            connection,
            throttle: Mutex::new(Throttle::new(rate, Instant::now())),
        });
        let (desk, sitting) = (self.clone(), seat.clone());
        socket.on_fallback(
            move |socket: SocketRef,
                  Event(event): Event,
                  TryData(payload): TryData<Value>,
                  ack: AckSender| {
                desk.hear(&sitting, socket, &event, &payload.unwrap_or_default(), ack);
                ready(())
            },
        );
        let desk = self.clone();
        socket.on_disconnect(move || {
            desk.part(&seat);
            ready(())
        });
        Ok(())
    }

    /// One event of one socket.
    fn hear(
        &self,
        seat: &Arc<Seat>,
        socket: SocketRef,
        event: &str,
        payload: &Value,
        ack: AckSender,
    ) {
        if !self.affords(seat, event) {
            return;
        }
        let Some(request) = wire::request(event, payload) else {
            return;
        };
        let mut room = self.room();
        // Nothing waits for a socket that is gone: nobody would come for it.
        if seat.connection.is_closed() {
            return;
        }
        let connected = socket.connected();
        let said = Said {
            seat: seat.clone(),
            socket,
            request,
            ack,
        };
        if let Some(said) = room.anteroom.pass(&seat.id, connected, said) {
            room.act(said);
        }
        self.note_change(&room);
    }

    /// The server has accepted the socket and lets events out to it from now on.
    fn welcome(&self, socket: &SocketRef) {
        let mut room = self.room();
        for said in room.anteroom.leave(&SocketId(socket.id.as_str().into())) {
            room.act(said);
        }
        self.note_change(&room);
    }

    /// A socket is gone. Its connection served it alone and goes with it.
    fn part(&self, seat: &Seat) {
        let mut room = self.room();
        seat.connection.close();
        room.anteroom.leave(&seat.id);
        room.members.remove(&seat.id);
        let deliveries = room.relay.disconnect(&seat.id);
        room.deliver(deliveries);
        self.note_change(&room);
        debug!(user = &*seat.identity.user, socket = &*seat.id.0, "gone");
    }

    /// Whether the socket's allowance covers this event. One that floods on is closed.
    fn affords(&self, seat: &Seat, event: &str) -> bool {
        let cost = match event {
            "live:join" | "live:start" => COSTLY_EVENT,
            _ => 1.0,
        };
        let mut throttle = seat.throttle.lock().unwrap_or_else(PoisonError::into_inner);
        match throttle.event(cost, Instant::now()) {
            Verdict::Pass => true,
            Verdict::Drop => {
                if throttle.dropped() == 1 {
                    warn!(event = "lobby-throttled", user = &*seat.identity.user,
                        peer = %seat.connection.peer(), "sends more than the lobby takes; the surplus is dropped");
                }
                false
            }
            Verdict::Abuse => {
                if !seat.connection.is_closed() {
                    warn!(event = "lobby-flooded", user = &*seat.identity.user,
                        peer = %seat.connection.peer(), dropped = throttle.dropped(), "floods the lobby; connection closed");
                }
                seat.connection.close();
                false
            }
        }
    }

    fn note_change(&self, room: &Room) {
        if room.relay.has_changed() {
            self.changed.notify_one();
        }
    }

    fn room(&self) -> MutexGuard<'_, Room> {
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Room {
    /// Lets the relay do what a socket asks for, and tells whom it concerns.
    fn act(&mut self, said: Said) {
        let Said {
            seat,
            socket,
            request,
            ack,
        } = said;
        if seat.connection.is_closed() {
            return;
        }
        let starts = matches!(request, Request::Start { .. });
        self.seat(&seat, socket);
        let outcome = self
            .relay
            .handle(&seat.id, request, SystemTime::now(), stream_id);
        // The old stream's end before the new one's name.
        self.deliver(outcome.deliveries);
        let Some(answer) = outcome.ack else {
            return;
        };
        if starts {
            debug!(user = &*seat.identity.user, ?answer, "asked to go live");
        }
        // Fails only if the socket is gone or its queue is full; the next delivery deals with that.
        if ack.send(&wire::ack(answer)).is_err() {
            debug!(socket = &*seat.id.0, "an acknowledgement found no way");
        }
    }

    /// Makes the socket a member at its first event; who says nothing needs no entry.
    fn seat(&mut self, seat: &Seat, socket: SocketRef) {
        if self.members.contains_key(&seat.id) {
            return;
        }
        self.relay.connect(seat.id.clone(), seat.identity.clone());
        self.members.insert(
            seat.id.clone(),
            Member {
                socket,
                connection: seat.connection.clone(),
            },
        );
    }

    /// Who does not read what it is sent is closed: it will come back, ask again and find out what is
    /// true, while a message left out would leave it wrong for good.
    fn deliver(&self, deliveries: Vec<Delivery>) {
        for Delivery { to, event } in deliveries {
            let Some(member) = self.members.get(&to) else {
                continue;
            };
            let (name, payload) = wire::event(event);
            match member.socket.emit(name, &payload) {
                Err(SendError::Socket(SocketError::InternalChannelFull)) => {
                    warn!(event = "lobby-reader-stalled", peer = %member.connection.peer(),
                        "does not read what the lobby sends; connection closed");
                    member.connection.close();
                }
                Err(error) => debug!(%error, socket = &*to.0, event = name, "not delivered"),
                Ok(()) => {}
            }
        }
    }
}

/// 128 random bits: a stream's name cannot be guessed.
fn stream_id() -> StreamId {
    StreamId::new(random::text::<16>())
}
