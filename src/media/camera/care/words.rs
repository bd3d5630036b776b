//! What goes into the rule and what comes out of it.

use std::time::Duration;

use crate::media::camera::status::{Caption, Fault, Off};

/// What was seen of the camera so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Seen {
    /// Frames that left the source.
    pub source: u64,
    /// Frames that left the encoder.
    pub encoded: u64,
    /// Whether viewers are shown the slate: a keyframe of the camera's ends it.
    pub slate: bool,
}

/// To be carried out in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Plan, build and start.
    Start,
    /// Take down what was started; [`super::Care::stopped`] is awaited, also where nothing was.
    Stop,
    ShowSlate(Caption),
    /// Nobody watches: let this rest, and keep nothing of the picture for whoever comes. A [`Action::Stop`] comes by
    /// itself.
    Rest(Off),
    /// Somebody does: the other way round.
    Wake,
    /// Ask the encoder for a keyframe.
    WantKeyframe,
    /// For the log; nothing follows from it.
    Report(Report),
    /// The process has to end.
    GiveUp {
        why: String,
    },
}

/// What happened, for the log: one for each change, none for each try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// The first picture.
    Live {
        took: Duration,
    },
    Lost {
        fault: Fault,
        why: String,
    },
    Back {
        after: Duration,
    },
    /// The camera is waited for.
    Waiting {
        fault: Fault,
        why: String,
        retry_in: Duration,
    },
    /// Nobody watches.
    Idle {
        off: Off,
    },
    /// Somebody does again.
    Wanted {
        after: Duration,
    },
    /// A restart that the budget pays for.
    Restarting {
        fault: Fault,
        why: String,
        retry_in: Duration,
        spent: u32,
    },
}
