//! How long a camera is waited for.

use std::time::Duration;

/// For an encoder that gives frames to give a keyframe, at the least.
const KEYFRAME_WITHIN: Duration = Duration::from_secs(60);

/// How much patience there is with a camera of this frame rate.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Without a frame for so long, viewers see the slate.
    pub(super) slate_after: Duration,
    /// Without a frame for so long, the camera is restarted.
    pub(super) restart_after: Duration,
    /// A source that gave a frame within this time is alive.
    pub(super) alive_within: Duration,
    /// An encoder that gives frames and no keyframe for so long is restarted.
    pub(super) keyframe_within: Duration,
}

impl Pace {
    /// Two and five seconds; more where frames come less than twice a second. A keyframe is asked for every second,
    /// and comes by itself after the encoder's own interval: twice that, where it is known, or a minute.
    pub fn of(framerate: u32, keyframe_interval: Option<Duration>) -> Self {
        let frame = Duration::from_secs(1) / framerate.max(1);
        Self {
            slate_after: (frame * 4).max(Duration::from_secs(2)),
            restart_after: (frame * 10).max(Duration::from_secs(5)),
            alive_within: (frame * 3).max(Duration::from_secs(1)),
            keyframe_within: (keyframe_interval.unwrap_or_default() * 2).max(KEYFRAME_WITHIN),
        }
    }
}
