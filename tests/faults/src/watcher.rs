//! A viewer that wants the picture for ever: it joins, watches, and joins anew when its picture is
//! gone for good, as a person would load the page again.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde_json::json;
use str0m::config::DtlsCert;
use swarm::{
    lobby::{Lobby, Said},
    peer::{Peer, Progress},
    tokens::Tokens,
};
use tokio::{
    sync::watch,
    task::AbortHandle,
    time::{sleep, sleep_until, timeout},
};
use url::Url;

/// After a join that came to nothing.
const BEFORE_ANOTHER_TRY: Duration = Duration::from_millis(200);
/// A lobby or a host that does not answer for so long is asked anew.
const ANSWER_PATIENCE: Duration = Duration::from_secs(4);
/// From the answer to the first frame.
const PICTURE_PATIENCE: Duration = Duration::from_secs(15);
/// When the lobby says that the stream has ended, or is gone itself, a picture that stands still
/// for so long is gone.
const STILL: Duration = Duration::from_secs(2);

/// So many frames within this time are a picture that moves: a quarter of the camera's rate, and
/// twice that of the slate that stands for a lost camera.
const MOVES: u64 = 8;
const MOVES_WITHIN: Duration = Duration::from_secs(2);

/// Where to watch.
#[derive(Clone)]
pub struct Place {
    pub lobby: Url,
    pub secret: String,
    /// Where the viewer's UDP socket is bound.
    pub address: IpAddr,
    pub certificate: DtlsCert,
}

/// A viewer at work; it goes when this is dropped.
pub struct Watcher {
    sight: Arc<Sight>,
    task: AbortHandle,
}

struct Sight {
    seen: Mutex<Seen>,
    frames: watch::Sender<u64>,
}

#[derive(Debug)]
struct Seen {
    joins: u32,
    last: Option<Instant>,
    marked: Instant,
    longest: Duration,
    trouble: String,
}

impl Watcher {
    pub fn start(place: Place, number: usize) -> Self {
        let sight = Arc::new(Sight {
            seen: Mutex::new(Seen {
                joins: 0,
                last: None,
                marked: Instant::now(),
                longest: Duration::ZERO,
                trouble: String::new(),
            }),
            frames: watch::Sender::new(0),
        });
        let task = tokio::spawn(watch_for_ever(place, number, sight.clone())).abort_handle();
        Self { sight, task }
    }

    /// Forgets the gaps so far.
    pub fn mark(&self) {
        let mut seen = self.sight.seen();
        seen.longest = Duration::ZERO;
        seen.marked = Instant::now();
    }

    /// The longest time without a new frame since the mark, until now.
    pub fn gap(&self) -> Duration {
        let seen = self.sight.seen();
        seen.longest.max(seen.still_for(Instant::now()))
    }

    /// How often it has joined.
    pub fn joins(&self) -> u32 {
        self.sight.seen().joins
    }

    pub fn frames(&self) -> u64 {
        *self.sight.frames.borrow()
    }

    /// Waits until the picture moves: the slate that stands for a lost camera does not.
    pub async fn moves(&self, patience: Duration) -> Result<()> {
        let mut frames = self.sight.frames.subscribe();
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            let wanted = *frames.borrow() + MOVES;
            if timeout(MOVES_WITHIN, frames.wait_for(|frames| *frames >= wanted))
                .await
                .is_ok()
            {
                return Ok(());
            }
        }
        bail!(
            "a viewer waited {} s in vain for a picture that moves; it last met: {}",
            patience.as_secs(),
            self.sight.seen().trouble
        )
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Seen {
    fn still_for(&self, now: Instant) -> Duration {
        let since = self.last.map_or(self.marked, |last| last.max(self.marked));
        now.saturating_duration_since(since)
    }
}

impl Sight {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("nothing panics under it")
    }

    fn frame(&self, at: Instant) {
        let mut seen = self.seen();
        seen.longest = seen.longest.max(seen.still_for(at));
        seen.last = Some(at);
        drop(seen);
        self.frames.send_modify(|frames| *frames += 1);
    }
}

async fn watch_for_ever(place: Place, number: usize, sight: Arc<Sight>) {
    loop {
        if let Err(trouble) = watch_once(&place, number, &sight).await {
            sight.seen().trouble = format!("{trouble:#}");
        }
        sleep(BEFORE_ANOTHER_TRY).await;
    }
}

async fn watch_once(place: &Place, number: usize, sight: &Arc<Sight>) -> Result<()> {
    let token = Tokens::from_secret(place.secret.as_bytes()).of(number)?;
    let mut lobby = timeout(ANSWER_PATIENCE, Lobby::connect(&place.lobby, &token))
        .await
        .context("the lobby does not answer")??;
    let stream = lobby.find_stream().await?;
    let payload = json!({ "streamId": stream });
    lobby.emit_with_ack("live:join", Some(payload)).await?;
    sight.seen().joins += 1;
    let offer = timeout(ANSWER_PATIENCE, offer(&mut lobby))
        .await
        .context("no offer came")??;
    let mut viewing = Viewing {
        peer: answer(place, &mut lobby, &stream, &offer, sight).await?,
        lobby: Some(lobby),
        stream,
    };
    viewing.last(place, sight).await
}

async fn offer(lobby: &mut Lobby) -> Result<String> {
    loop {
        match lobby.next().await? {
            Said::Offer { sdp } => return Ok(sdp),
            Said::Ended => bail!("the stream ended before its offer"),
            Said::Refused => bail!("the host is full"),
            _ => {}
        }
    }
}

async fn answer(
    place: &Place,
    lobby: &mut Lobby,
    stream: &str,
    offer: &str,
    sight: &Arc<Sight>,
) -> Result<Peer> {
    let mut peer = Peer::new(place.address, place.certificate.clone()).await?;
    let sight = sight.clone();
    peer.on_frame(Box::new(move |frame| sight.frame(frame.at)));
    let sdp = peer.answer(offer)?;
    let answer = json!({ "streamId": stream, "answer": { "type": "answer", "sdp": sdp } });
    lobby.emit("live:signal-answer", answer).await?;
    Ok(peer)
}

struct Viewing {
    peer: Peer,
    /// Gone when it broke off: the picture does not need it.
    lobby: Option<Lobby>,
    stream: String,
}

impl Viewing {
    /// Until the picture is gone for good.
    async fn last(&mut self, place: &Place, sight: &Arc<Sight>) -> Result<()> {
        let mut alone = None;
        let mut frameless = Some(Instant::now() + PICTURE_PATIENCE);
        loop {
            let last = sight.seen().last;
            let give_up = alone
                .map(|since: Instant| since.max(last.unwrap_or(since)) + STILL)
                .or(frameless);
            tokio::select! {
                progress = self.peer.run() => match progress? {
                    Progress::Lost => bail!("the connection to the host was lost"),
                    Progress::FirstKeyframe => frameless = None,
                    Progress::Connected => {}
                },
                said = next(&mut self.lobby) => match said {
                    Ok(Said::Candidate(Some(candidate))) => self.peer.add_candidate(&candidate),
                    Ok(Said::Offer { sdp }) => {
                        let lobby = self.lobby.as_mut().context("it has just said something")?;
                        self.peer = answer(place, lobby, &self.stream, &sdp, sight).await?;
                        frameless = Some(Instant::now() + PICTURE_PATIENCE);
                    }
                    Ok(Said::Ended) => alone = Some(Instant::now()),
                    Ok(_) => {}
                    Err(_) => {
                        self.lobby = None;
                        alone = Some(Instant::now());
                    }
                },
                () = until(give_up) => {
                    // Frames may have come since this was reckoned.
                    let still = sight.seen().still_for(Instant::now());
                    if frameless.is_some() || still >= STILL {
                        bail!("the picture is gone");
                    }
                }
            }
        }
    }
}

async fn next(lobby: &mut Option<Lobby>) -> Result<Said> {
    match lobby {
        Some(lobby) => lobby.next().await,
        None => std::future::pending().await,
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
