//! One WebSocket's life: pump frames between socket, session and host until something ends it.

use std::{
    collections::VecDeque,
    io,
    net::IpAddr,
    time::{Duration, Instant},
};

use async_tungstenite::tungstenite::{self, Message, error::ProtocolError};
use futures_util::{
    SinkExt as _, StreamExt as _,
    future::poll_fn,
    stream::{SplitSink, SplitStream},
};
use serde_json::Value;
use tokio::time::timeout;
use tracing::{debug, error};

use super::{Done, Line, LineCommand, failure::Failure};
use crate::clock::until;
use crate::network::{self, Network};
use crate::signaling::{
    client::LineEvent,
    dial::{Dialed, Socket, is_oversize},
    message::{self, Incoming, LIVE_END, LIVE_START, StreamId},
    session::{EmitError, End, Output, Session},
};

/// For the lobby to answer `live:start`.
pub(super) const START_TIMEOUT: Duration = Duration::from_secs(10);
/// For the lobby to take what we have written.
pub(super) const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// For `live:end`, the farewell and the WebSocket's closing, all together.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(1);
/// With so many frames waiting for the socket, no commands are taken and nothing is read that could
/// make more of them.
const ENOUGH_WRITTEN: usize = 256;
/// Messages for the host that may come before the answer to `live:start`.
const MOST_HELD: usize = 256;

/// How a connection ended.
pub(super) enum Ending {
    /// The host is done with the line, and the lobby has been told.
    Done(Done),
    Failed(Failure),
}

enum Phase {
    Connecting,
    /// `live:start` is out. What the lobby says before it answers waits: the host does not know the
    /// stream's id yet.
    Starting {
        ack: u64,
        held: Vec<Incoming>,
    },
    Live {
        stream_id: StreamId,
        since: Instant,
    },
}

pub(super) struct Connection<'a> {
    title: &'a str,
    session: Session,
    phase: Phase,
    reader: SplitStream<Socket>,
    writer: Writer,
    /// Our end's address.
    local: Option<IpAddr>,
    /// Messages of the lobby that could not be acted upon.
    unusable: u64,
}

/// What the loop has to deal with next.
enum Turn {
    Command(Option<LineCommand>),
    Frame(Option<Result<Message, tungstenite::Error>>),
    Written(Result<(), tungstenite::Error>),
    Delivered(Result<(), Done>),
    Network(Network),
    Stalled,
    Tick,
}

impl<'a> Connection<'a> {
    pub(super) fn new(dialed: Dialed, session: Session, title: &'a str) -> Self {
        let (sink, reader) = futures_util::StreamExt::split(dialed.socket);
        Self {
            title,
            session,
            phase: Phase::Connecting,
            reader,
            writer: Writer::new(sink),
            local: dialed.local,
            unusable: 0,
        }
    }

    pub(super) async fn run(mut self, line: &mut Line) -> Ending {
        let ending = self.pump(line).await;
        if let Phase::Live { since, .. } = &self.phase {
            let lived = since.elapsed();
            line.backoff.lived(lived);
            line.record.lived(lived);
        }
        debug!(dropped = ?self.session.dropped(), unusable = self.unusable, "the socket to the lobby ends");
        match &ending {
            Ending::Done(Done) => self.leave(true).await,
            // We give up on a lobby that is still there: it hears so, and ends what it may have begun.
            Ending::Failed(Failure::Start(_) | Failure::StartTimeout) => self.leave(false).await,
            Ending::Failed(_) => {}
        }
        ending
    }

    async fn pump(&mut self, line: &mut Line) -> Ending {
        loop {
            if let Err(failure) = self.obey_session(line) {
                return Ending::Failed(failure);
            }
            let result = match self.turn(line).await {
                Turn::Command(Some(LineCommand::Send(message))) => {
                    let (event, payload) = message.to_event();
                    self.send(event, payload);
                    Ok(())
                }
                Turn::Command(Some(LineCommand::Close) | None) => return Ending::Done(Done),
                Turn::Delivered(Err(done)) => return Ending::Done(done),
                Turn::Delivered(Ok(())) => Ok(()),
                Turn::Frame(frame) => self.frame(frame),
                Turn::Written(result) => result.map_err(broken),
                Turn::Network(later) => self.network(line, &later),
                Turn::Stalled => Err(Failure::Stalled),
                Turn::Tick => {
                    self.session.tick(Instant::now());
                    Ok(())
                }
            };
            if let Err(failure) = result {
                // What was said before the end still counts.
                return match self.obey_session(line) {
                    Ok(()) => Ending::Failed(failure),
                    Err(earlier) => Ending::Failed(earlier),
                };
            }
        }
    }

    /// Waits for the next thing. Everything in here may be interrupted without loss.
    async fn turn(&mut self, line: &mut Line) -> Turn {
        // Whoever pings and does not read gets no more of our memory than this. A lobby that is not
        // listened to cannot be blamed for silence.
        let listening = line.mail.has_room() && self.writer.has_room();
        let tick = self.session.deadline().filter(|_| listening);
        let stalled = self.writer.stalled_at();
        tokio::select! {
            biased;
            command = line.commands.recv(), if self.writer.has_room() => Turn::Command(command),
            result = self.writer.write(), if self.writer.is_busy() => Turn::Written(result),
            result = line.mail.deliver() => Turn::Delivered(result),
            // Before the tick: a ping that has come and was not read yet is no silence.
            frame = self.reader.next(), if listening => Turn::Frame(frame),
            later = network::next(&mut line.network) => Turn::Network(later),
            () = until(stalled) => Turn::Stalled,
            () = until(tick) => Turn::Tick,
        }
    }

    /// A socket whose address is gone hears nothing any more, and says so only after minutes.
    fn network(&self, line: &mut Line, later: &Network) -> Result<(), Failure> {
        let change = line.note_network(later);
        match self.local {
            Some(local) if change.lost.contains(&local) => Err(Failure::AddressLost),
            _ => Ok(()),
        }
    }

    fn frame(&mut self, frame: Option<Result<Message, tungstenite::Error>>) -> Result<(), Failure> {
        match frame {
            Some(Ok(Message::Text(text))) => self.session.text(Instant::now(), text.as_str()),
            Some(Ok(Message::Binary(_))) => self.session.binary(),
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
            Some(Ok(Message::Close(frame))) => {
                let detail = frame.map(|frame| format!(" (code {})", u16::from(frame.code)));
                return Err(Failure::Closed(detail.unwrap_or_default()));
            }
            Some(Err(error)) => return Err(broken(error)),
            None => return Err(Failure::Closed(String::new())),
        }
        Ok(())
    }

    fn obey_session(&mut self, line: &mut Line) -> Result<(), Failure> {
        while let Some(output) = self.session.poll() {
            match output {
                Output::Send(frame) => self.writer.push(frame.into_text()),
                Output::Connected => self.start()?,
                Output::Event { name, args, .. } => self.event(line, &name, args),
                Output::Ack { id, args } if self.awaits(id) => {
                    let stream_id = message::parse_started(args)?;
                    self.live(line, stream_id);
                }
                Output::AckTimeout { id } if self.awaits(id) => return Err(Failure::StartTimeout),
                Output::Ack { .. } | Output::AckTimeout { .. } => {}
                Output::Ended(end) => return Err(self.ended(end)),
            }
        }
        Ok(())
    }

    fn start(&mut self) -> Result<(), Failure> {
        let ack = self.session.emit_with_ack(
            Instant::now(),
            LIVE_START,
            vec![message::start_payload(self.title)],
            START_TIMEOUT,
        )?;
        self.phase = Phase::Starting {
            ack,
            held: Vec::new(),
        };
        Ok(())
    }

    fn awaits(&self, id: u64) -> bool {
        matches!(self.phase, Phase::Starting { ack, .. } if ack == id)
    }

    fn live(&mut self, line: &mut Line, stream_id: StreamId) {
        let live = Phase::Live {
            stream_id: stream_id.clone(),
            since: Instant::now(),
        };
        let before = std::mem::replace(&mut self.phase, live);
        line.live(stream_id);
        if let Phase::Starting { held, .. } = before {
            for message in held {
                line.mail.push(LineEvent::Message(message));
            }
        }
    }

    fn event(&mut self, line: &mut Line, name: &str, args: Vec<Value>) {
        let message = match Incoming::parse(name, args) {
            Ok(Some(message)) => message,
            Ok(None) => return,
            Err(error) => {
                self.unusable += 1;
                debug!(
                    unusable = self.unusable,
                    "dropped a message of the lobby: {error}"
                );
                return;
            }
        };
        match &mut self.phase {
            Phase::Live { .. } => line.mail.push(LineEvent::Message(message)),
            Phase::Starting { held, .. } if held.len() < MOST_HELD => held.push(message),
            Phase::Starting { .. } | Phase::Connecting => {
                self.unusable += 1;
                debug!("dropped a message of the lobby: the stream is not live yet");
            }
        }
    }

    fn send(&mut self, event: &str, payload: Value) {
        match self.session.emit(event, vec![payload]) {
            Ok(()) => {}
            Err(EmitError::NotConnected) => debug!(event, "not sent: the line is not up yet"),
            Err(problem) => error!(
                event = "message-unsendable",
                name = event,
                "not sent: {problem}"
            ),
        }
    }

    fn ended(&self, end: End) -> Failure {
        let live = matches!(self.phase, Phase::Live { .. });
        match end {
            End::Refused { .. } => Failure::Refused(end),
            End::Disconnected if !live => Failure::PutOut,
            _ => Failure::Ended(end),
        }
    }

    /// Says goodbye and waits until the lobby has heard it, for [`LEAVE_TIMEOUT`] in all. The wait matters:
    /// a socket dropped with unread data resets the connection and takes the goodbye with it.
    async fn leave(&mut self, end_stream: bool) {
        if let (true, Phase::Live { stream_id, .. }) = (end_stream, &self.phase) {
            let payload = message::end_payload(stream_id);
            self.send(LIVE_END, payload);
        }
        self.session.close();
        while let Some(output) = self.session.poll() {
            if let Output::Send(frame) = output {
                self.writer.push(frame.into_text());
            }
        }
        let farewell = async {
            self.writer.write().await?;
            self.writer.sink.close().await?;
            while let Some(frame) = self.reader.next().await {
                frame?;
            }
            Ok::<(), tungstenite::Error>(())
        };
        match timeout(LEAVE_TIMEOUT, farewell).await {
            Ok(Ok(())) => {}
            Ok(Err(problem)) => debug!("the lobby may not have heard the goodbye: {problem}"),
            Err(_) => debug!("the lobby did not close the socket in time"),
        }
    }
}

fn broken(error: tungstenite::Error) -> Failure {
    match error {
        tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed => {
            Failure::Closed(String::new())
        }
        tungstenite::Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
            Failure::BrokeOff
        }
        tungstenite::Error::Io(error) if is_break(error.kind()) => Failure::BrokeOff,
        error if is_oversize(&error) => Failure::Oversize,
        error => Failure::Broken(Box::new(error)),
    }
}

fn is_break(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof
    )
}

/// Frames on their way out.
struct Writer {
    sink: SplitSink<Socket, Message>,
    queue: VecDeque<String>,
    /// While something waits to leave, in the queue or unflushed: when the socket last took anything.
    busy_since: Option<Instant>,
}

impl Writer {
    fn new(sink: SplitSink<Socket, Message>) -> Self {
        Self {
            sink,
            queue: VecDeque::new(),
            busy_since: None,
        }
    }

    fn push(&mut self, frame: String) {
        self.queue.push_back(frame);
        self.busy_since.get_or_insert_with(Instant::now);
    }

    fn has_room(&self) -> bool {
        self.queue.len() < ENOUGH_WRITTEN
    }

    fn is_busy(&self) -> bool {
        self.busy_since.is_some()
    }

    fn stalled_at(&self) -> Option<Instant> {
        self.busy_since.map(|since| since + WRITE_TIMEOUT)
    }

    /// Writes and flushes everything. May be dropped at any time: a frame is in the queue or in the socket.
    async fn write(&mut self) -> Result<(), tungstenite::Error> {
        while !self.queue.is_empty() {
            poll_fn(|context| self.sink.poll_ready_unpin(context)).await?;
            if let Some(frame) = self.queue.pop_front() {
                self.sink.start_send_unpin(Message::text(frame))?;
                self.busy_since = Some(Instant::now());
            }
        }
        self.sink.flush().await?;
        self.busy_since = None;
        Ok(())
    }
}
