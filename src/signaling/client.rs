//! Dial, go live, reconnect: the one task that owns the line to the lobby.

mod connection;
mod failure;
mod mailbox;
mod record;
pub mod state;

use std::{
    future::Future,
    mem,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use tokio::sync::{mpsc, watch};
use tracing::{debug, info, warn};
use url::Url;

use self::{
    connection::{Connection, Ending},
    failure::Failure,
    mailbox::Mailbox,
    record::{News, Record},
    state::{Cause, LineState, Outage},
};
use super::{
    backoff::Backoff,
    credentials::Credentials,
    dial::{self, DIAL_TIMEOUT, Dialed},
    message::{Incoming, Outgoing, StreamId},
    resolve::Resolver,
    session::Session,
};
use crate::{
    clock::{self, Jumps, now},
    files::Reader,
    network::{self, Change, Network},
    secret::Secret,
};

/// While the clock cannot be right, so long between two dials.
const CLOCK_PATIENCE: Duration = Duration::from_secs(60);
/// How often the clock and the token's file are looked at during a wait.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A network that flaps shortens no wait below this.
const LEAST_WAIT: Duration = Duration::from_secs(2);

/// What tells one content of the token's file from another, where it can be looked at.
type Stamp = Option<(SystemTime, u64)>;

/// What was seen before a dial.
struct Before {
    stamp: Stamp,
    jumps: Jumps,
}

/// What the line needs to know.
#[derive(Debug, Clone)]
pub struct ClientSettings {
    /// `http`, `https`, `ws` or `wss`; a path before `/socket.io/` is kept.
    pub url: Url,
    /// PEM certificates trusted beside the system's roots.
    pub ca_file: Option<PathBuf>,
    pub credentials: Credentials,
    /// The stream's title for `live:start`.
    pub title: String,
}

impl ClientSettings {
    /// Whether a dial can come to something only once the device knows the time.
    fn need_the_time(&self) -> bool {
        matches!(self.url.scheme(), "https" | "wss") || self.credentials.need_the_time()
    }
}

/// What happens on the line, in order.
#[derive(Debug)]
pub enum LineEvent {
    /// Connected and live under a new stream id.
    Live {
        stream_id: StreamId,
    },
    Message(Incoming),
    /// The line is down, told once; the client is already on its way to dial again.
    Lost {
        why: String,
    },
}

/// What the host asks of the line.
#[derive(Debug)]
pub enum LineCommand {
    /// Dropped with a debug line when the line is down: nobody is there to hear it.
    Send(Outgoing),
    /// End the stream (`live:end`), close the socket and finish the task.
    Close,
}

/// What the line is connected to.
#[derive(Debug)]
pub struct Links {
    pub commands: mpsc::Receiver<LineCommand>,
    pub events: mpsc::Sender<LineEvent>,
    /// Where the line shows how it is to whoever looks.
    pub state: watch::Sender<LineState>,
    /// The device's addresses and routes.
    pub network: watch::Receiver<Network>,
}

/// Runs until `LineCommand::Close` is carried out, or the other ends of `commands` or `events` are dropped.
///
/// Events wait for the host as long as it takes; meanwhile commands are still taken, so a host that waits
/// to send a command cannot be waited for by the line in turn.
pub async fn run(settings: ClientSettings, links: Links) {
    let mut line = Line::new(links);
    // `None` once the host has said Close or is gone.
    while line.once(&settings).await.is_some() {}
    debug!("the line to the lobby is closed");
}

/// The host is done with the line.
struct Done;

struct Line {
    commands: mpsc::Receiver<LineCommand>,
    mail: Mailbox,
    backoff: Backoff,
    record: Record,
    state: watch::Sender<LineState>,
    network: watch::Receiver<Network>,
    known_network: Network,
    /// The network has changed for the better, perhaps, since the last dial began.
    way_opened: bool,
    /// Of the credentials.
    reader: Reader,
    /// Of the certificates: where theirs hang, the credentials' do not.
    roots: Reader,
    resolver: Resolver,
    /// A dial was put off because of the clock, and not made up for yet.
    clock_waited: bool,
    /// `Lost` has been told since the line was last live.
    down: bool,
}

impl Line {
    fn new(mut links: Links) -> Self {
        let known_network = links.network.borrow_and_update().clone();
        Self {
            commands: links.commands,
            mail: Mailbox::new(links.events),
            backoff: Backoff::default(),
            record: Record::default(),
            state: links.state,
            known_network,
            network: links.network,
            way_opened: false,
            reader: Reader::default(),
            roots: Reader::default(),
            resolver: Resolver::default(),
            clock_waited: false,
            down: false,
        }
    }

    /// One dial, the life of the line that follows, and the wait after it.
    async fn once(&mut self, settings: &ClientSettings) -> Option<()> {
        let before = self.look(settings).await?;
        let failure = match self.clock_failure(settings) {
            Some(failure) => failure,
            None => match self.attempt(settings).await? {
                Ending::Done(Done) => return None,
                Ending::Failed(failure) => failure,
            },
        };
        let (cause, wait) = self.verdict(&failure, settings);
        let why = failure.to_string();
        self.tell(cause, &why, wait);
        if !self.down {
            self.down = true;
            self.mail.push(LineEvent::Lost { why });
        }
        self.rest(wait, &failure, before, settings).await
    }

    /// How clock and token are before a dial: what changes during it is as good as what changes after.
    async fn look(&mut self, settings: &ClientSettings) -> Option<Before> {
        Some(Before {
            stamp: self.stamp(settings).await?,
            jumps: Jumps::new(Instant::now(), SystemTime::now()),
        })
    }

    /// Dials, and lives with what comes of it.
    async fn attempt(&mut self, settings: &ClientSettings) -> Option<Ending> {
        // Out of the way of what serves the host meanwhile; put back before anything else can want it.
        let mut resolver = mem::take(&mut self.resolver);
        let readers = (self.reader.clone(), self.roots.clone());
        self.way_opened = false;
        let opened = self
            .while_down(open(settings, &readers, &mut resolver))
            .await;
        self.resolver = resolver;
        let (dialed, token) = match opened? {
            Ok(opened) => opened,
            Err(failure) => return Some(Ending::Failed(failure)),
        };
        let session = Session::new(Instant::now(), Some(token));
        let connection = Connection::new(dialed, session, &settings.title);
        Some(connection.run(self).await)
    }

    /// While the clock cannot be right, every second turn is a dial: the clock may stay as it is for ever.
    fn clock_failure(&mut self, settings: &ClientSettings) -> Option<Failure> {
        let now = SystemTime::now();
        let waits = settings.need_the_time() && !clock::is_plausible(now) && !self.clock_waited;
        self.clock_waited = waits;
        waits.then(|| Failure::Clock {
            today: clock::date(now),
        })
    }

    /// What to look at, and how long to wait.
    fn verdict(&mut self, failure: &Failure, settings: &ClientSettings) -> (Cause, Duration) {
        if matches!(failure, Failure::Clock { .. }) {
            return (Cause::Clock, CLOCK_PATIENCE);
        }
        if matches!(failure, Failure::AddressLost) {
            // Whatever is left of the network may do; if not, the next failure waits as usual.
            return (failure.cause(), Duration::ZERO);
        }
        let suspect = settings.need_the_time()
            && failure.may_be_the_clock()
            && (!clock::is_plausible(SystemTime::now()) || clock::is_known_unsynchronised());
        let cause = if suspect {
            Cause::Clock
        } else {
            failure.cause()
        };
        (cause, self.backoff.next(failure.pace(), rand::random()))
    }

    /// Waits before the next dial, and no longer than there is a reason to.
    async fn rest(
        &mut self,
        wait: Duration,
        failure: &Failure,
        before: Before,
        settings: &ClientSettings,
    ) -> Option<()> {
        let began = tokio::time::Instant::now();
        let Before { stamp, mut jumps } = before;
        let by_token = failure.cause() == Cause::Token;
        let mut network = self.network.clone();
        while let left = wait.saturating_sub(began.elapsed())
            && !left.is_zero()
        {
            let look = tokio::time::sleep(left.min(LOOK_EVERY));
            let changed = async {
                tokio::select! {
                    () = look => None,
                    later = network::next(&mut network) => Some(later),
                }
            };
            if let Some(later) = self.while_down(changed).await? {
                self.note_network(&later);
            }
            let way = self.way_opened;
            let set = jumps.look(Instant::now(), SystemTime::now());
            let renewed = if by_token {
                self.stamp(settings).await?
            } else {
                None
            };
            let renewed = renewed.is_some() && renewed != stamp;
            let early = (way && began.elapsed() >= LEAST_WAIT.min(wait))
                || (set && failure.may_be_the_clock())
                || renewed;
            if set && failure.may_be_the_clock() {
                // What failed by a wrong clock says nothing of the lobby.
                self.backoff = Backoff::default();
            }
            if early {
                debug!(way, set, renewed, "dialing before the time");
                break;
            }
        }
        self.network = network;
        Some(())
    }

    /// Changes when there may be another token. Where the file cannot be looked at in time, there is none.
    async fn stamp(&mut self, settings: &ClientSettings) -> Option<Stamp> {
        if settings.credentials.file().is_none() {
            return Some(None);
        }
        let (reader, credentials) = (self.reader.clone(), settings.credentials.clone());
        let stamp = reader.read(LOOK_EVERY, move || credentials.stamp());
        self.while_down(stamp).await.map(Option::flatten)
    }

    /// What has changed since the last look. A way that opens is remembered until it is tried: the wait that
    /// could be cut short may not have begun, or not be long enough yet.
    fn note_network(&mut self, later: &Network) -> Change {
        let change = mem::replace(&mut self.known_network, later.clone()).change(later);
        // Told, and nothing is different: it went and came back between two looks.
        self.way_opened |= change.opens_a_way() || change == Change::default();
        change
    }

    /// For the log and for whoever looks.
    fn tell(&mut self, cause: Cause, why: &str, wait: Duration) {
        let now = now();
        let news = self.record.failed(cause, now);
        let since = self.record.down_since().unwrap_or(now);
        let reason = cause.name();
        let retry_in_s = (wait.as_secs_f64() * 10.0).round() / 10.0;
        match news {
            News::Cause => warn!(
                event = "line-lost",
                reason, retry_in_s, "the line to the lobby is down: {why}"
            ),
            News::Lasting => {
                let minutes = now.saturating_duration_since(since).as_secs() / 60;
                warn!(
                    event = "line-still-lost",
                    reason,
                    retry_in_s,
                    "the line to the lobby has been down for {minutes} minutes: {why}"
                );
            }
            News::Again => warn!(
                event = "line-still-lost",
                reason,
                retry_in_s,
                "the line to the lobby comes and goes, and is lost again: {why}"
            ),
            News::Known => debug!(
                reason,
                retry_in_s, "the line to the lobby is still down: {why}"
            ),
        }
        self.state.send_replace(LineState::Down(Outage {
            cause,
            why: why.to_owned(),
            since,
            failures: self.record.failures(),
            next_dial: now + wait,
        }));
    }

    fn live(&mut self, stream_id: StreamId) {
        self.down = false;
        let now = now();
        let failures = self.record.failures();
        // The host says for the log that it is live; here it is known what it took.
        match self.record.live(now) {
            Some(took) => info!(
                event = "line-back",
                took_s = took.as_secs(),
                failures,
                "the line to the lobby is back after {} s",
                took.as_secs()
            ),
            None => debug!(%stream_id, failures, "the lobby has taken the stream"),
        }
        self.state.send_replace(LineState::Live { since: now });
        self.mail.push(LineEvent::Live { stream_id });
    }

    /// Does `work` and serves the host meanwhile. `None` when the host is done.
    async fn while_down<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::pin!(work);
        loop {
            tokio::select! {
                command = self.commands.recv() => match command {
                    Some(LineCommand::Send(message)) => {
                        debug!(event = message.to_event().0, "not sent: the line is down");
                    }
                    Some(LineCommand::Close) | None => return None,
                },
                delivered = self.mail.deliver() => if let Err(Done) = delivered {
                    return None;
                },
                result = &mut work => return Some(result),
            }
        }
    }
}

async fn open(
    settings: &ClientSettings,
    (reader, roots): &(Reader, Reader),
    resolver: &mut Resolver,
) -> Result<(Dialed, Secret), Failure> {
    let credentials = settings.credentials.clone();
    let token = reader
        .read(DIAL_TIMEOUT, move || credentials.fresh(SystemTime::now()))
        .await
        .ok_or_else(|| Failure::CredentialsHang {
            file: settings.credentials.file().map(Path::to_owned),
        })??;
    let dialed = dial::dial(&settings.url, settings.ca_file.as_deref(), roots, resolver).await?;
    Ok((dialed, token))
}

#[cfg(test)]
mod tests;
