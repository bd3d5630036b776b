//! Puts the picture together when it is asked for: the host's facts, the branches' statistics, the camera's
//! counters. Whoever asks at the same time gets the same picture.

mod parts;

use std::{
    collections::HashMap,
    process,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::{Mutex, mpsc, oneshot, watch},
    time::{sleep, timeout},
};

use super::{CameraStatus, LobbyStatus, Process, SHAPE, Status};
use crate::{
    host::snapshot::HostSnapshot,
    media::camera::status::{CameraCounters, CameraStatus as Camera},
    signaling::client::state::LineState,
};

/// A picture that is no older than this is good enough for the next one who asks.
const FRESH: Duration = Duration::from_secs(1);
/// For the host to answer; its loop never waits.
const HOST_ANSWERS_WITHIN: Duration = Duration::from_secs(2);
/// What rates are measured over.
const RATE_SPAN: Duration = Duration::from_secs(1);
/// Where the picture comes from.
#[derive(Debug)]
pub struct Sources {
    pub started: Instant,
    pub title: String,
    /// Where the lobby is, as it may be shown.
    pub lobby: String,
    pub embedded: bool,
    pub viewers_max: usize,
    pub host: mpsc::Sender<oneshot::Sender<HostSnapshot>>,
    pub line: watch::Receiver<LineState>,
    pub camera: watch::Receiver<Camera>,
    pub counters: Arc<CameraCounters>,
    /// Whether the process could open another branch, or why not.
    pub room: fn() -> Result<(), String>,
}

/// There is no picture.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the host does not answer within {} s; it hangs, or is going down", HOST_ANSWERS_WITHIN.as_secs())]
pub struct HostSilent;

/// Whom to ask. Clones ask the same.
#[derive(Debug, Clone)]
pub struct Observer {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    sources: Sources,
    /// Held by whoever gathers: a branch answers one question at a time, so two who asked at once would each have
    /// some of the figures.
    gathering: Mutex<()>,
    latest: Mutex<Option<(Instant, Arc<Status>)>>,
    with_rates: Mutex<Option<(Instant, Arc<Status>)>>,
}

impl Observer {
    pub fn new(sources: Sources) -> Self {
        Self {
            shared: Arc::new(Shared {
                sources,
                gathering: Mutex::default(),
                latest: Mutex::default(),
                with_rates: Mutex::default(),
            }),
        }
    }

    /// The picture of now, or of a second ago at most. Without rates: they take two pictures.
    pub async fn picture(&self) -> Result<Arc<Status>, HostSilent> {
        let mut latest = self.shared.latest.lock().await;
        if let Some((at, picture)) = &*latest
            && at.elapsed() < FRESH
        {
            return Ok(picture.clone());
        }
        let picture = Arc::new(self.shared.gather().await?);
        *latest = Some((Instant::now(), picture.clone()));
        Ok(picture)
    }

    /// The picture with the rates of the last second, which is how long it takes.
    pub async fn picture_with_rates(&self) -> Result<Arc<Status>, HostSilent> {
        let mut latest = self.shared.with_rates.lock().await;
        if let Some((at, picture)) = &*latest
            && at.elapsed() < FRESH
        {
            return Ok(picture.clone());
        }
        let (before, since) = (self.shared.gather().await?, Instant::now());
        sleep(RATE_SPAN).await;
        let mut picture = self.shared.gather().await?;
        add_rates(&mut picture, &before, since.elapsed());
        let picture = Arc::new(picture);
        *latest = Some((Instant::now(), picture.clone()));
        Ok(picture)
    }
}

impl Shared {
    async fn gather(&self) -> Result<Status, HostSilent> {
        let _turn = self.gathering.lock().await;
        self.sources.gather().await
    }
}

impl Sources {
    async fn gather(&self) -> Result<Status, HostSilent> {
        let (answer, answered) = oneshot::channel();
        let asked = async {
            self.host.send(answer).await.ok()?;
            answered.await.ok()
        };
        let host = timeout(HOST_ANSWERS_WITHIN, asked).await;
        let mut host = host.ok().flatten().ok_or(HostSilent)?;
        let viewers = parts::viewers(std::mem::take(&mut host.viewers)).await;
        let now = Instant::now();
        let lobby = LobbyStatus {
            address: self.lobby.clone(),
            embedded: self.embedded,
            ..parts::lobby(&self.line.borrow(), now)
        };
        let camera = CameraStatus {
            target_bits_per_s: parts::targets(&host),
            ..parts::camera(&self.camera.borrow(), &self.counters, now)
        };
        // Who has no place to give away needs nothing for another viewer.
        let has_place = viewers.len() < self.viewers_max;
        let room = if has_place { (self.room)() } else { Ok(()) };
        let reason = unfit(&lobby, &camera, room);
        Ok(Status {
            shape: SHAPE,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: process::id(),
            uptime_s: parts::seconds(now.saturating_duration_since(self.started)),
            title: self.title.clone(),
            serving: reason.is_none(),
            reason,
            lobby,
            camera,
            viewers_max: self.viewers_max,
            viewers,
            totals: parts::totals(&host),
            process: Process::own(),
            went_live: host.tally.went_live,
            first_frame: host.tally.first_frame,
        })
    }
}

/// Why nobody could be served, if nobody could. Places do not count: a host that is full is at its work.
fn unfit(lobby: &LobbyStatus, camera: &CameraStatus, room: Result<(), String>) -> Option<String> {
    let because = |what: &str, why: &Option<String>| match why {
        Some(why) => format!("{what}: {why}"),
        None => what.to_owned(),
    };
    // Off for want of viewers, it starts for the first; on its way it is missed only once viewers see the slate for it.
    let on_the_way = matches!(camera.state.as_str(), "starting" | "stopping");
    let starts_for_viewers = on_the_way && camera.fault.is_none() && !camera.slate;
    let serves = matches!(camera.state.as_str(), "live" | "idle") || starts_for_viewers;
    if !serves {
        let what = format!("the camera gives no picture ({})", camera.state);
        return Some(because(&what, &camera.why));
    }
    if camera.slate {
        return Some("viewers see the slate until the camera's next keyframe".to_owned());
    }
    if lobby.state != "live" {
        return Some(because("there is no line to the lobby", &lobby.why));
    }
    let why = room.err()?;
    Some(format!("there is no room for another viewer: {why}"))
}

fn add_rates(picture: &mut Status, before: &Status, span: Duration) {
    let rate = |now: u64, then: u64| now.saturating_sub(then) as f64 / span.as_secs_f64();
    let (camera, former) = (&mut picture.camera, &before.camera);
    camera.fps = Some(rate(camera.encoded_frames, former.encoded_frames));
    camera.bits_per_s = Some(rate(camera.encoded_bytes, former.encoded_bytes) * 8.0);
    let frames = camera
        .encoder_latency_frames
        .saturating_sub(former.encoder_latency_frames);
    let spent = camera.encoder_latency_sum_s - former.encoder_latency_sum_s;
    camera.encoder_latency_s = (frames > 0).then(|| spent / frames as f64);
    let former: HashMap<_, _> = before
        .viewers
        .iter()
        .map(|viewer| (viewer.branch, viewer.sent_bytes))
        .collect();
    for viewer in &mut picture.viewers {
        if let (Some(now), Some(Some(then))) = (viewer.sent_bytes, former.get(&viewer.branch)) {
            viewer.bits_per_s = Some(rate(now, *then) * 8.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::{
        host::{roster::Counts, snapshot::Watching, tally::Tally},
        media::{
            BranchId, Rendition,
            camera::status::{CameraState, Fault},
            statistics::BranchStatistics,
        },
        signaling::message::ViewerId,
        status::ViewerStatus,
    };

    /// An observer of a host that is the other end of this channel.
    fn observer() -> (Observer, mpsc::Receiver<oneshot::Sender<HostSnapshot>>) {
        let (host, questions) = mpsc::channel(4);
        let now = Instant::now();
        let observer = Observer::new(Sources {
            started: now,
            title: "Porch".into(),
            lobby: "https://lobby.example.org".into(),
            embedded: false,
            viewers_max: 2,
            host,
            line: watch::channel(LineState::default()).1,
            camera: watch::channel(Camera::starting(now, now, 1)).1,
            counters: Arc::default(),
            room: || Ok(()),
        });
        (observer, questions)
    }

    fn snapshot(statistics: Option<oneshot::Receiver<BranchStatistics>>) -> HostSnapshot {
        HostSnapshot {
            viewers: vec![Watching {
                number: 1,
                id: ViewerId::new("0123456789"),
                branch: BranchId(7),
                state: "live",
                age: Duration::from_secs(3),
                rendition: Some(Rendition::Second),
                statistics,
            }],
            bitrates: vec![(Rendition::First, 1_500_000), (Rendition::Second, 250_000)],
            closing: 0,
            counts: Counts::default(),
            tally: Tally::default(),
        }
    }

    #[tokio::test]
    async fn who_asks_at_the_same_time_shares_one_question() {
        let (observer, mut questions) = observer();
        let host = tokio::spawn(async move {
            let mut asked = 0;
            while let Some(answer) = questions.recv().await {
                asked += 1;
                answer.send(snapshot(None)).unwrap();
            }
            asked
        });
        let asking: Vec<_> = (0..8)
            .map(|_| {
                let observer = observer.clone();
                tokio::spawn(async move { observer.picture().await.unwrap() })
            })
            .collect();
        for answer in asking {
            let picture = answer.await.unwrap();
            assert_eq!(picture.viewers[0].id, "01234567");
        }
        drop(observer);
        assert_eq!(host.await.unwrap(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_for_rates_at_the_same_time_takes_nobodys_figures() {
        let (observer, mut questions) = observer();
        let host = tokio::spawn(async move {
            // As a branch: busy for a moment, and not asked a second time meanwhile.
            let open = Arc::new(AtomicBool::new(false));
            while let Some(answer) = questions.recv().await {
                let figures = (!open.swap(true, Ordering::Relaxed)).then(|| {
                    let (tell, told) = oneshot::channel();
                    let open = open.clone();
                    tokio::spawn(async move {
                        sleep(Duration::from_millis(50)).await;
                        open.store(false, Ordering::Relaxed);
                        let _ = tell.send(BranchStatistics::default());
                    });
                    told
                });
                answer.send(snapshot(figures)).unwrap();
            }
        });
        let (one, two) = tokio::join!(observer.picture(), observer.picture_with_rates());
        assert_eq!(one.unwrap().viewers[0].sent_bytes, Some(0));
        // It takes two answers.
        assert_eq!(two.unwrap().viewers[0].bits_per_s, Some(0.0));
        host.abort();
    }

    #[tokio::test]
    async fn a_camera_that_is_started_again_is_said_to_have_its_fault() {
        let (mut observer, mut questions) = observer();
        let now = Instant::now();
        let mut camera = Camera::starting(now, now, 1);
        camera.state = CameraState::Starting {
            after: Some((Fault::NoCamera, "no camera at /dev/video0".into())),
        };
        let shared = Arc::get_mut(&mut observer.shared).unwrap();
        shared.sources.camera = watch::channel(camera).1;
        tokio::spawn(async move {
            while let Some(answer) = questions.recv().await {
                answer.send(snapshot(None)).unwrap();
            }
        });
        let picture = observer.picture().await.unwrap();
        assert_eq!(picture.camera.fault.as_deref(), Some("no-camera"));
        let reason = picture.reason.as_deref().unwrap();
        assert!(
            reason.ends_with("(starting): no camera at /dev/video0"),
            "{reason}"
        );
    }

    #[tokio::test]
    async fn a_branch_that_hangs_is_shown_without_figures() {
        let (observer, mut questions) = observer();
        let (never_answered, statistics) = oneshot::channel();
        let host = tokio::spawn(async move {
            let answer = questions.recv().await.unwrap();
            answer.send(snapshot(Some(statistics))).unwrap();
        });
        let picture = observer.picture().await.unwrap();
        assert_eq!(picture.viewers[0].branch, 7);
        assert_eq!(picture.viewers[0].rendition.as_deref(), Some("second"));
        let targets: Vec<_> = picture.camera.target_bits_per_s.iter().collect();
        assert_eq!(
            targets,
            [
                (&"first".to_owned(), &1_500_000),
                (&"second".to_owned(), &250_000)
            ]
        );
        assert_eq!(picture.viewers[0].sent_bytes, None);
        host.await.unwrap();
        drop(never_answered);
    }

    #[tokio::test]
    async fn a_host_that_hangs_is_an_error() {
        let (observer, questions) = observer();
        let error = observer.picture().await.unwrap_err();
        assert!(error.to_string().contains("does not answer"), "{error}");
        drop(questions);
        assert!(observer.picture().await.is_err());
    }

    #[test]
    fn rates_are_of_the_same_branch_only() {
        let viewer = |branch, sent| ViewerStatus {
            branch,
            sent_bytes: sent,
            ..ViewerStatus::default()
        };
        let before = Status {
            viewers: vec![viewer(1, Some(1000)), viewer(2, None)],
            ..Status::default()
        };
        let mut now = Status {
            viewers: vec![
                viewer(1, Some(3000)),
                viewer(2, Some(9000)),
                viewer(3, Some(9000)),
            ],
            ..Status::default()
        };
        now.camera.encoded_frames = 60;
        now.camera.encoder_latency_sum_s = 0.3;
        now.camera.encoder_latency_frames = 30;
        add_rates(&mut now, &before, Duration::from_secs(2));
        let rates: Vec<_> = now.viewers.iter().map(|viewer| viewer.bits_per_s).collect();
        assert_eq!(rates, [Some(8000.0), None, None]);
        assert_eq!(now.camera.fps, Some(30.0));
        assert_eq!(now.camera.encoder_latency_s, Some(0.01));
    }

    #[test]
    fn a_viewer_needs_a_line_a_picture_and_room() {
        let lobby = |state: &str, why: Option<&str>| LobbyStatus {
            state: state.to_owned(),
            why: why.map(str::to_owned),
            ..LobbyStatus::default()
        };
        let camera = |state: &str| CameraStatus {
            state: state.to_owned(),
            ..CameraStatus::default()
        };
        let unfit = |lobby: &LobbyStatus, camera: &CameraStatus| unfit(lobby, camera, Ok(()));
        assert_eq!(unfit(&lobby("live", None), &camera("live")), None);
        assert_eq!(
            unfit(&lobby("down", Some("nobody listens")), &camera("live")).as_deref(),
            Some("there is no line to the lobby: nobody listens")
        );
        for state in ["starting", "silent", "waiting", "stopping", "ended"] {
            let covered = CameraStatus {
                slate: true,
                ..camera(state)
            };
            let why = unfit(&lobby("live", None), &covered).expect(state);
            assert!(why.contains(state), "{why}");
        }
        for state in ["idle", "starting"] {
            let served = unfit(&lobby("live", None), &camera(state));
            assert_eq!(
                served, None,
                "a camera that is off starts for the first viewer"
            );
        }
        let covered = CameraStatus {
            slate: true,
            ..camera("live")
        };
        let why = unfit(&lobby("live", None), &covered).expect("it is not the camera's picture");
        assert!(why.contains("the slate"), "{why}");
        let full = Err("190 of 256 file descriptors are in use".to_owned());
        assert_eq!(
            super::unfit(&lobby("live", None), &camera("live"), full).as_deref(),
            Some("there is no room for another viewer: 190 of 256 file descriptors are in use")
        );
    }

    #[tokio::test]
    async fn a_host_that_is_full_serves_and_needs_no_room() {
        let full = serving_one(1).await;
        assert_eq!(full.viewers.len(), full.viewers_max);
        assert_eq!((full.serving, &full.reason), (true, &None));

        let spacious = serving_one(2).await;
        let why = spacious.reason.as_deref().expect("it cannot take another");
        assert!(!spacious.serving && why.contains("no descriptors"), "{why}");
    }

    /// Of a host that serves one viewer and has no descriptors for another.
    async fn serving_one(viewers_max: usize) -> Arc<Status> {
        let (questions, mut asked) = mpsc::channel(1);
        let now = Instant::now();
        let camera = Camera {
            state: CameraState::Live,
            slate: false,
            ..Camera::starting(now, now, 1)
        };
        let observer = Observer::new(Sources {
            started: now,
            title: "Porch".into(),
            lobby: "https://lobby.example.org".into(),
            embedded: false,
            viewers_max,
            host: questions,
            line: watch::channel(LineState::Live { since: now }).1,
            camera: watch::channel(camera).1,
            counters: Arc::default(),
            room: || Err("no descriptors".to_owned()),
        });
        let host = tokio::spawn(async move {
            let answer = asked.recv().await.unwrap();
            answer.send(snapshot(None)).unwrap();
        });
        let picture = observer.picture().await.unwrap();
        host.await.unwrap();
        picture
    }
}
