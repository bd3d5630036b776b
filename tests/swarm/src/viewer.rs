//! One viewer, from joining to leaving, well behaved or not.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use serde::Serialize;
use tokio::{
    sync::{oneshot, watch},
    time::timeout,
};

use crate::{
    broken::broken,
    line::Line,
    lobby::Said,
    peer::{Peer, Progress, Seen},
};

/// A good viewer that has no picture by then gives up.
const PICTURE_PATIENCE: Duration = Duration::from_secs(30);

/// How a viewer behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Conduct {
    /// Watches until it is told to stop, then leaves.
    Stays,
    /// Leaves as soon as it has a picture.
    LeavesAtKeyframe,
    /// Leaves before the offer can have come.
    LeavesBeforeOffer,
    /// Takes its time over the answer, watches, and leaves.
    AnswersLate,
    /// Sends an answer that is wrong, and goes after a while.
    AnswersBadly,
    /// Takes the offer and says nothing for as long as it may, then goes.
    NeverAnswers,
    /// Closes its socket right after the answer and never opens the connection.
    HangsUpAfterAnswer,
    /// Breaks off in mid-picture: the socket closes, the UDP port falls silent.
    BreaksOff,
    /// Stops receiving in mid-picture, and stays on the line to the lobby for as long as it may.
    Stalls,
    /// Freezes in mid-picture for as long as it may: socket and port stay open, and nobody reads.
    Freezes,
}

/// What a viewer is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    Watch,
    /// Counts anew from here on; what was seen before stays in the report beside it.
    Count,
    /// Ends a viewer that stays and one that lingers.
    Leave,
}

/// What a viewer saw since it was told to count.
#[derive(Debug, Serialize)]
pub struct Counted {
    pub seconds: f64,
    pub frames: u64,
    pub packets: u64,
    pub bytes: u64,
    pub lost_packets: u64,
}

/// What became of a viewer. Times are in milliseconds from the moment it joined.
#[derive(Debug, Serialize)]
pub struct Report {
    pub viewer: usize,
    pub conduct: Conduct,
    pub offer_ms: Option<f64>,
    pub connected_ms: Option<f64>,
    pub first_packet_ms: Option<f64>,
    pub first_keyframe_ms: Option<f64>,
    pub frames: u64,
    pub keyframes: u64,
    pub longest_gap_ms: f64,
    pub video_packets: u64,
    pub audio_packets: u64,
    pub lost_packets: u64,
    pub bytes: u64,
    pub plis: u64,
    /// How long the viewer was there.
    pub seconds: f64,
    pub counted: Option<Counted>,
    pub error: Option<String>,
}

/// The UDP port that a viewer left open when it broke off: closed, it would tell the host
/// with an ICMP error what a viewer out of reach does not tell.
pub struct Debris(#[expect(dead_code, reason = "kept open, not used")] Option<Peer>);

/// A viewer with its line open, ready to join.
pub struct Viewer {
    number: usize,
    conduct: Conduct,
    line: Box<dyn Line>,
    peer: Peer,
    joined: Instant,
    offer: Option<Instant>,
    counted_from: Option<(Instant, Seen)>,
    counted: Option<Counted>,
}

impl Viewer {
    pub fn new(number: usize, conduct: Conduct, line: Box<dyn Line>, peer: Peer) -> Self {
        Self {
            number,
            conduct,
            line,
            peer,
            joined: Instant::now(),
            offer: None,
            counted_from: None,
            counted: None,
        }
    }

    /// Joins, behaves, and goes. `picture` hears of the first keyframe.
    pub async fn watch(
        mut self,
        wishes: watch::Receiver<Wish>,
        picture: oneshot::Sender<()>,
    ) -> (Report, Debris) {
        self.joined = Instant::now();
        let end = self.behave(wishes, picture).await;
        let report = self.report(end.err());
        let port = (self.conduct == Conduct::BreaksOff).then_some(self.peer);
        (report, Debris(port))
    }

    async fn behave(
        &mut self,
        mut wishes: watch::Receiver<Wish>,
        picture: oneshot::Sender<()>,
    ) -> Result<()> {
        self.line.join().await?;
        if self.conduct == Conduct::LeavesBeforeOffer {
            return self.line.leave().await;
        }
        let offer = timeout(PICTURE_PATIENCE, self.offer())
            .await
            .context("no offer came in time")??;
        if self.conduct == Conduct::NeverAnswers {
            return self.linger(&mut wishes).await;
        }
        if self.conduct == Conduct::AnswersLate {
            self.linger(&mut wishes).await?;
        }
        let sdp = self.peer.answer(&offer)?;
        if self.conduct == Conduct::AnswersBadly {
            let answer = broken(&sdp, self.number);
            self.line.answer(&answer).await?;
            tokio::select! {
                () = told_to_leave(&mut wishes) => {}
                // Whatever the host does about it is right, but for going down.
                _ = self.stay() => {}
            }
            return self.line.leave().await;
        }
        self.line.answer(&sdp).await?;
        if self.conduct == Conduct::HangsUpAfterAnswer {
            return Ok(());
        }
        timeout(PICTURE_PATIENCE, self.picture())
            .await
            .context("no picture came in time")??;
        // Nobody need be interested.
        let _ = picture.send(());
        match self.conduct {
            Conduct::Stays => {
                self.stay_until_told(&mut wishes).await?;
                self.line.leave().await
            }
            Conduct::BreaksOff => Ok(()),
            Conduct::Stalls => self.linger(&mut wishes).await,
            Conduct::Freezes => {
                told_to_leave(&mut wishes).await;
                Ok(())
            }
            _ => self.line.leave().await,
        }
    }

    /// The host's offer; candidates that come before it are a mistake that the page would not survive.
    async fn offer(&mut self) -> Result<String> {
        loop {
            match self.line.next().await? {
                Said::Offer { sdp } => {
                    self.offer = Some(Instant::now());
                    return Ok(sdp);
                }
                Said::Candidate(_) => bail!("a candidate came before the offer"),
                said => self.heed(said)?,
            }
        }
    }

    /// Runs until the first complete keyframe.
    async fn picture(&mut self) -> Result<()> {
        loop {
            if self.step().await? == Some(Progress::FirstKeyframe) {
                return Ok(());
            }
        }
    }

    /// Runs until something ends it.
    async fn stay(&mut self) -> Result<()> {
        loop {
            self.step().await?;
        }
    }

    /// Stays until it is told to leave, and counts if it is told to.
    async fn stay_until_told(&mut self, wishes: &mut watch::Receiver<Wish>) -> Result<()> {
        loop {
            tokio::select! {
                end = self.stay() => return end,
                // An error says that nobody is left to tell it anything.
                changed = wishes.changed() => if changed.is_err() { return Ok(()) },
            }
            match *wishes.borrow_and_update() {
                Wish::Watch => {}
                Wish::Count => self.counted_from = Some((Instant::now(), self.peer.seen())),
                Wish::Leave => {
                    self.counted = self.count();
                    return Ok(());
                }
            }
        }
    }

    fn count(&self) -> Option<Counted> {
        let (start, before) = self.counted_from.as_ref()?;
        let seen = self.peer.seen();
        Some(Counted {
            seconds: start.elapsed().as_secs_f64(),
            frames: seen.frames - before.frames,
            packets: seen.video_packets - before.video_packets,
            bytes: seen.bytes - before.bytes,
            lost_packets: seen.lost_packets - before.lost_packets,
        })
    }

    async fn step(&mut self) -> Result<Option<Progress>> {
        tokio::select! {
            progress = self.peer.run() => match progress? {
                Progress::Lost => bail!("the connection to the host was lost"),
                progress => Ok(Some(progress)),
            },
            said = self.line.next() => {
                match said? {
                    Said::Candidate(Some(candidate)) => self.peer.add_candidate(&candidate),
                    said => self.heed(said)?,
                }
                Ok(None)
            }
        }
    }

    fn heed(&self, said: Said) -> Result<()> {
        match said {
            Said::Ended => bail!("the stream ended"),
            Said::Refused => bail!("the host is full"),
            Said::Ack { args, .. } if args[0] == false => bail!("the lobby knows no such stream"),
            _ => Ok(()),
        }
    }

    /// Stays on the line and says nothing.
    async fn linger(&mut self, wishes: &mut watch::Receiver<Wish>) -> Result<()> {
        let (line, peer) = (&mut self.line, &mut self.peer);
        tokio::select! {
            () = told_to_leave(wishes) => {}
            _ = async {
                while let Ok(said) = line.next().await {
                    if let Said::Candidate(Some(candidate)) = said {
                        peer.add_candidate(&candidate);
                    }
                }
            } => {}
        }
        Ok(())
    }

    fn report(&mut self, error: Option<anyhow::Error>) -> Report {
        let now = Instant::now();
        let seen: Seen = self.peer.seen();
        let since_join = |at: Option<Instant>| at.map(|at| ms(at.duration_since(self.joined)));
        let silence = seen.last_frame.map(|last| now.duration_since(last));
        Report {
            viewer: self.number,
            conduct: self.conduct,
            offer_ms: since_join(self.offer),
            connected_ms: since_join(seen.connected),
            first_packet_ms: since_join(seen.first_packet),
            first_keyframe_ms: since_join(seen.first_keyframe),
            frames: seen.frames,
            keyframes: seen.keyframes,
            longest_gap_ms: ms(seen.longest_gap.max(silence.unwrap_or_default())),
            video_packets: seen.video_packets,
            audio_packets: seen.audio_packets,
            lost_packets: seen.lost_packets,
            bytes: seen.bytes,
            plis: seen.plis,
            seconds: now.duration_since(self.joined).as_secs_f64(),
            counted: self.counted.take(),
            error: error.map(|error| format!("{error:#}")),
        }
    }
}

async fn told_to_leave(wishes: &mut watch::Receiver<Wish>) {
    // An error says that nobody is left to tell it.
    let _ = wishes.wait_for(|wish| *wish == Wish::Leave).await;
}

fn ms(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e4).round() / 10.0
}
