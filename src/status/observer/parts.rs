//! The parts of the picture, each from where its facts are.

use std::{
    collections::BTreeMap,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use tokio::time::timeout_at;

use crate::{
    host::{
        end::{End, Rebuild},
        snapshot::{HostSnapshot, Watching},
    },
    media::{
        camera::status::{CameraCounters, CameraState, CameraStatus as Camera, Fault},
        statistics::{BranchStatistics, NetworkPath},
    },
    signaling::client::state::LineState,
    status::{CameraStatus, LobbyStatus, Totals, ViewerStatus},
};

/// For the branches, all together; a busy one takes tens of milliseconds.
const BRANCHES_ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// Characters of a viewer's id that are shown: enough to find it in the log.
const SHORT_ID: usize = 8;

/// All but where it is.
pub(super) fn lobby(line: &LineState, now: Instant) -> LobbyStatus {
    let mut status = LobbyStatus::default();
    let since = |since: Instant| Some(seconds(now.saturating_duration_since(since)));
    match line {
        LineState::Dialing => "dialing".clone_into(&mut status.state),
        LineState::Live { since: at } => {
            "live".clone_into(&mut status.state);
            status.for_s = since(*at);
        }
        LineState::Down(outage) => {
            "down".clone_into(&mut status.state);
            status.for_s = since(outage.since);
            status.cause = Some(outage.cause.name().to_owned());
            status.why = Some(outage.why.clone());
            status.failures = outage.failures;
            status.next_dial_s = Some(seconds(outage.wait(now)));
        }
    }
    status
}

pub(super) fn camera(camera: &Camera, counters: &CameraCounters, now: Instant) -> CameraStatus {
    let picture = camera.picture.as_ref();
    let mut status = CameraStatus {
        state: camera.state.name().to_owned(),
        for_s: seconds(now.saturating_duration_since(camera.since)),
        slate: camera.slate,
        profile: picture.map(|picture| picture.profile.clone()),
        device: picture.and_then(|picture| picture.device.clone()),
        encoder: picture.map(|picture| picture.encoder.clone()),
        source_frames: counters.source_frames.load(Ordering::Relaxed),
        encoded_frames: counters.encoded_frames.load(Ordering::Relaxed),
        keyframes: counters.keyframes.load(Ordering::Relaxed),
        encoded_bytes: counters.bytes.load(Ordering::Relaxed),
        encoder_latency_sum_s: counters.encoder_latency_ns.load(Ordering::Relaxed) as f64 / 1e9,
        encoder_latency_frames: counters.encoder_latency_frames.load(Ordering::Relaxed),
        restarts: Fault::ALL
            .into_iter()
            .map(|fault| (fault.name().to_owned(), counters.restarts(fault)))
            .collect(),
        ..CameraStatus::default()
    };
    match &camera.state {
        CameraState::Starting { after: None } | CameraState::Live => {}
        CameraState::Idle { off } => status.off = Some(off.name().to_owned()),
        CameraState::Starting {
            after: Some((fault, why)),
        } => {
            blame(&mut status, *fault);
            status.why = Some(why.clone());
        }
        CameraState::Silent { fault } => blame(&mut status, *fault),
        CameraState::Stopping { fault } => {
            if let Some(fault) = fault {
                blame(&mut status, *fault);
            }
        }
        CameraState::Waiting {
            fault,
            why,
            retry_at,
            ..
        } => {
            blame(&mut status, *fault);
            status.why = Some(why.clone());
            status.next_start_s = Some(seconds(retry_at.saturating_duration_since(now)));
        }
        CameraState::Ended { why } => status.why.clone_from(why),
    }
    status
}

fn blame(status: &mut CameraStatus, fault: Fault) {
    status.fault = Some(fault.name().to_owned());
    status.why = Some(fault.sentence().to_owned());
}

pub(super) fn targets(host: &HostSnapshot) -> BTreeMap<String, u32> {
    let bitrates = host.bitrates.iter();
    bitrates
        .map(|(rendition, bitrate)| (rendition.name().to_owned(), *bitrate))
        .collect()
}

/// Waits for the branches' answers, all at the same time.
pub(super) async fn viewers(watching: Vec<Watching>) -> Vec<ViewerStatus> {
    let deadline = tokio::time::Instant::now() + BRANCHES_ANSWER_WITHIN;
    let mut viewers = Vec::with_capacity(watching.len());
    for viewer in watching {
        // Every branch has been asked already, so waiting for them one after the other costs no time.
        let figures = match viewer.statistics {
            Some(answer) => timeout_at(deadline, answer).await.ok().and_then(Result::ok),
            None => None,
        };
        let mut status = ViewerStatus {
            number: viewer.number,
            id: viewer.id.as_str().chars().take(SHORT_ID).collect(),
            branch: viewer.branch.0,
            state: viewer.state.to_owned(),
            for_s: seconds(viewer.age),
            rendition: viewer.rendition.map(|sent| sent.name().to_owned()),
            ..ViewerStatus::default()
        };
        if let Some(figures) = figures {
            add_figures(&mut status, &figures);
        }
        viewers.push(status);
    }
    viewers
}

fn add_figures(status: &mut ViewerStatus, figures: &BranchStatistics) {
    status.sent_bytes = Some(figures.sent_bytes);
    status.sent_packets = Some(figures.sent_packets);
    status.lost_packets = figures.lost_packets;
    status.loss = figures.loss;
    status.round_trip_s = figures.round_trip.map(|time| time.as_secs_f64());
    status.path = figures.path.map(|path| match path {
        NetworkPath::Direct => "direct".to_owned(),
        NetworkPath::Relay => "relay".to_owned(),
    });
}

pub(super) fn totals(host: &HostSnapshot) -> Totals {
    let live = &host.tally.went_live;
    Totals {
        joined: host.counts.joined,
        refused: host.counts.refused,
        refusals: host
            .tally
            .refusals()
            .map(|(reason, count)| (reason.to_owned(), count))
            .collect(),
        went_live: live.count(),
        join_to_media_s: (live.count() > 0).then(|| live.sum().as_secs_f64() / live.count() as f64),
        disconnected: host.tally.disconnected,
        recovered: host.tally.recovered,
        ignored: host.counts.ignored,
        rebuilt: Rebuild::ALL
            .into_iter()
            .map(|why| (why.name().to_owned(), host.tally.rebuilt(why)))
            .collect(),
        ended: End::ALL
            .into_iter()
            .map(|end| (end.row().name.to_owned(), host.tally.ended(end)))
            .collect(),
        closing: host.closing,
        line_live: host.tally.line_live,
        line_lost: host.tally.line_lost,
    }
}

/// To the millisecond: more would be noise.
pub(super) fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e3).round() / 1e3
}
