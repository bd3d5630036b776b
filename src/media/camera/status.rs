//! How the camera is and what it has done so far, for whoever shows it. Pure.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// What is wrong with a camera, by what is done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fault {
    /// There is no camera, or not any more. It is waited for, for as long as it takes.
    NoCamera,
    /// Another program holds the camera. It is waited for, too.
    Busy,
    /// The source gives no frames and no reason.
    SourceSilent,
    /// The source gives frames, and nothing comes out of the encoder.
    EncoderSilent,
    /// An element reported an error, or the stream ended.
    Failed,
}

impl Fault {
    /// Every fault, in the order of [`CameraCounters`]' restarts.
    pub const ALL: [Self; 5] = [
        Self::NoCamera,
        Self::Busy,
        Self::SourceSilent,
        Self::EncoderSilent,
        Self::Failed,
    ];

    /// The stable name, for the journal's `REASON` field and for statistics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoCamera => "no-camera",
            Self::Busy => "busy",
            Self::SourceSilent => "source-silent",
            Self::EncoderSilent => "encoder-silent",
            Self::Failed => "error",
        }
    }

    /// What it is, as a technician would say it.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::NoCamera => "there is no camera",
            Self::Busy => "another program holds the camera",
            Self::SourceSilent => "the camera is silent",
            Self::EncoderSilent => "the encoder is silent",
            Self::Failed => "the camera failed",
        }
    }

    /// Whether a restart for this fault is taken from the budget. Waiting for hardware is not.
    pub const fn costs(self) -> bool {
        !matches!(self, Self::NoCamera | Self::Busy)
    }

    const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What is off while nobody watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Off {
    /// The encoder is given no frames.
    Encoder,
    /// Camera and microphone are closed.
    Camera,
}

impl Off {
    /// The stable name, for the journal and for statistics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Encoder => "encoder",
            Self::Camera => "camera",
        }
    }
}

/// What the slate says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caption {
    /// There was no picture yet.
    Waiting,
    /// The picture was lost.
    Lost,
}

/// Where the camera stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CameraState {
    /// Its first picture is awaited. `after` what went wrong before, and why, if anything did.
    Starting { after: Option<(Fault, String)> },
    /// Frames flow.
    Live,
    /// Frames have stopped to flow; it may be for a moment. Viewers see the slate.
    Silent { fault: Fault },
    /// It is being taken down; nothing but the fault that led to it can be known meanwhile.
    Stopping { fault: Option<Fault> },
    /// The next start comes at `retry_at`, `retry_in` after the last one failed.
    Waiting {
        fault: Fault,
        why: String,
        retry_in: Duration,
        retry_at: Instant,
    },
    /// Nobody watches, and this is off until somebody does.
    Idle { off: Off },
    /// It was stopped for good, or cannot be helped from within this process.
    Ended { why: Option<String> },
}

impl CameraState {
    /// Every state's stable name.
    pub const NAMES: [&str; 7] = [
        "starting", "live", "silent", "stopping", "waiting", "idle", "ended",
    ];

    /// The stable name, for statistics.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Starting { .. } => "starting",
            Self::Live => "live",
            Self::Silent { .. } => "silent",
            Self::Stopping { .. } => "stopping",
            Self::Waiting { .. } => "waiting",
            Self::Idle { .. } => "idle",
            Self::Ended { .. } => "ended",
        }
    }
}

/// Which picture is taken, and by what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    pub profile: String,
    /// The camera's device; nothing where the profile needs no camera.
    pub device: Option<String>,
    pub encoder: String,
    /// Whether its bitrate can be changed while it runs.
    pub adjustable: bool,
    /// Whether a second rendition can be encoded beside it.
    pub has_second: bool,
}

/// How the camera is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CameraStatus {
    pub state: CameraState,
    /// Since when it is in this state.
    pub since: Instant,
    /// Viewers are shown the slate. Also while frames flow already: it goes with the first keyframe.
    pub slate: bool,
    /// What it says, or said last.
    pub caption: Caption,
    /// Until when this state is as it should be. Past it nobody looks after the camera any more, and
    /// systemd's watchdog is not fed. Moves on without waking those who watch the status.
    pub good_until: Instant,
    /// What was last started, or tried to.
    pub picture: Option<Picture>,
    /// Restarts that the budget has paid for, and how many it holds.
    pub restarts: u32,
    pub budget: u32,
}

impl CameraStatus {
    /// A camera that is about to be started.
    pub fn starting(now: Instant, good_until: Instant, budget: u32) -> Self {
        Self {
            state: CameraState::Starting { after: None },
            since: now,
            slate: true,
            caption: Caption::Waiting,
            good_until,
            picture: None,
            restarts: 0,
            budget,
        }
    }

    /// Frames flow, or the reason for their absence is known and something is done about it in time.
    pub fn is_looked_after(&self, now: Instant) -> bool {
        !matches!(self.state, CameraState::Ended { .. }) && now <= self.good_until
    }
}

/// What the camera has done since the process began, over all of its restarts.
#[derive(Debug, Default)]
pub struct CameraCounters {
    /// Frames that left the source.
    pub source_frames: AtomicU64,
    /// Frames that left the encoder.
    pub encoded_frames: AtomicU64,
    /// Those of them that need no other.
    pub keyframes: AtomicU64,
    /// Bytes of the encoded frames.
    pub bytes: AtomicU64,
    /// Nanoseconds that frames spent in the encoder, in all, and of how many frames that is.
    pub encoder_latency_ns: AtomicU64,
    pub encoder_latency_frames: AtomicU64,
    restarts: [AtomicU64; Fault::ALL.len()],
}

impl CameraCounters {
    /// How often the camera was taken down for this fault, whether or not the budget paid for it.
    pub fn restarts(&self, fault: Fault) -> u64 {
        self.restarts[fault.index()].load(Ordering::Relaxed)
    }

    /// It was taken down for this fault.
    pub fn count_restart(&self, fault: Fault) {
        self.restarts[fault.index()].fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_has_a_name_and_a_count_of_its_own() {
        let counters = CameraCounters::default();
        for (number, fault) in Fault::ALL.into_iter().enumerate() {
            assert!(
                fault
                    .name()
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'-')
            );
            (0..=number).for_each(|_| counters.count_restart(fault));
        }
        let counts = Fault::ALL.map(|fault| counters.restarts(fault));
        assert_eq!(counts, [1, 2, 3, 4, 5]);
    }

    #[test]
    fn a_camera_that_ended_or_is_overdue_is_not_looked_after() {
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        let mut status = CameraStatus::starting(now, later, 10);
        assert!(status.is_looked_after(later));
        assert!(!status.is_looked_after(later + Duration::from_millis(1)));
        status.state = CameraState::Ended { why: None };
        assert!(!status.is_looked_after(now));
    }
}
