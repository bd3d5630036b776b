//! When the camera is started, stopped and given up, and what viewers see meanwhile. Pure: the time is
//! an argument.
//!
//! ```text
//!    ┌──────────────── Waiting ◀───────┐
//!    ▼                                 │
//! Starting ──▶ Live ⇄ Silent ──▶ Stopping ──▶ Ended
//!    ▲          ⇅                      │
//!    └──────── Idle ◀──────────────────┘
//! ```
//! Idle is where nobody watches, unless the camera is to be kept warm: with its encoder off it comes from Live and
//! goes back there, with the whole camera off it comes out of every state and goes through a start.
//!
//! One input, then drain [`Care::next_action`]; [`Care::tick`] is called every [`TICK`].
//!
//! What always holds:
//! - nothing is started before the former run has stopped;
//! - every state has a deadline, Live by its frames: past it something happens. Only Idle has none;
//! - while nobody watches, a camera that is to be off is neither started nor missed: no fault, no slate;
//! - a camera that is not there is waited for, for ever; what a restart could break more than mend (an
//!   encoder, a driver: a Raspberry Pi's firmware dies of a hundred rebuilds) has a budget;
//! - no viewer is an input here, but whether there is any.

mod idle;
mod pace;
mod words;

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

pub use self::{
    pace::Pace,
    words::{Action, Report, Seen},
};
use super::status::{CameraState, CameraStatus, Caption, Fault, Off, Picture};
use crate::config::Idle;

/// How often the frames are counted.
pub const TICK: Duration = Duration::from_millis(200);
/// For source and encoder to give their first frame. USB cameras need a second or two to wake up;
/// emulated boards several.
pub const START_WITHIN: Duration = Duration::from_secs(15);
/// For a pipeline to let go of its device and its threads: tens of milliseconds. One that needs longer
/// than this hangs in a driver or an encoder.
pub const STOP_WITHIN: Duration = Duration::from_secs(5);
/// So long a camera must run to be taken for one that works.
pub const STEADY: Duration = Duration::from_secs(120);
/// How many restarts there are in [`BUDGET_WINDOW`], and how long that is.
pub const BUDGET: u32 = 10;
pub const BUDGET_WINDOW: Duration = Duration::from_secs(600);
/// How late this may act, on a machine under load, before nobody is taken to look after the camera.
const LENIENCE: Duration = Duration::from_secs(5);
/// The longest time between two tries.
const LONGEST_FOR_NO_CAMERA: Duration = Duration::from_secs(8);
const LONGEST: Duration = Duration::from_secs(30);
/// A camera that stays away is told of so often.
const SAID_AGAIN: Duration = Duration::from_secs(3600);
/// Requests for a keyframe while a camera that is back has not given one.
const ASKED_AGAIN: Duration = Duration::from_secs(1);

#[derive(Debug)]
enum State {
    Starting {
        deadline: Instant,
        /// What went wrong before, and still may be.
        after: Option<(Fault, String)>,
    },
    Live {
        since: Instant,
    },
    Silent {
        fault: Fault,
    },
    Stopping {
        deadline: Instant,
        then: Then,
    },
    Waiting(Wait),
    Idle {
        /// What went wrong the last time, and when it may be tried again: nobody gets round that by leaving.
        held: Option<Wait>,
    },
    Ended {
        why: Option<String>,
    },
}

/// The time between two tries.
#[derive(Debug, Clone)]
struct Wait {
    until: Instant,
    retry_in: Duration,
    fault: Fault,
    why: String,
}

#[derive(Debug)]
enum Then {
    Again { fault: Fault, why: String },
    Idle,
    End,
}

/// The time without a picture.
#[derive(Debug)]
struct Trouble {
    since: Instant,
    /// What was last said about waiting, and when.
    said: Option<(Fault, Instant)>,
}

/// The rule.
#[derive(Debug)]
pub struct Care {
    pace: Pace,
    idle: Idle,
    /// Whether anybody watches.
    wanted: bool,
    state: State,
    since: Instant,
    seen: Seen,
    last_source: Instant,
    last_encoded: Instant,
    last_tick: Instant,
    asked_for_keyframe: Option<Instant>,
    /// Since when frames of this run come, and viewers see the slate all the same.
    unkeyed_since: Option<Instant>,
    /// Since the camera was last off.
    had_picture: bool,
    caption: Caption,
    /// `None` while there is a picture.
    trouble: Option<Trouble>,
    /// There was a camera to build a pipeline for.
    built: bool,
    /// Runs that went wrong since the last steady one.
    failures: u32,
    /// Tries since then that found no camera, or found it busy.
    misses: u32,
    /// When the restarts were that the budget has paid for.
    spent: VecDeque<Instant>,
    actions: VecDeque<Action>,
}

impl Care {
    /// A camera that is to be started now, or as soon as somebody watches. Nobody does yet.
    pub fn new(pace: Pace, idle: Idle, now: Instant) -> Self {
        let mut care = Self {
            pace,
            idle,
            wanted: false,
            state: State::Ended { why: None },
            since: now,
            seen: Seen::default(),
            last_source: now,
            last_encoded: now,
            last_tick: now,
            asked_for_keyframe: None,
            unkeyed_since: None,
            had_picture: false,
            caption: Caption::Waiting,
            trouble: Some(Trouble {
                since: now,
                said: None,
            }),
            built: false,
            failures: 0,
            misses: 0,
            spent: VecDeque::new(),
            actions: VecDeque::new(),
        };
        if care.is_closed_for_want_of_viewers() {
            care.let_rest(Off::Camera);
            care.idle(None, now);
        } else {
            care.show_slate(Caption::Waiting);
            care.start(None, now);
        }
        care
    }

    /// What to do next. To be drained after every input.
    pub fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Nothing follows any more.
    pub fn has_ended(&self) -> bool {
        matches!(self.state, State::Ended { .. })
    }

    /// Frames have ceased to flow, and no reason is known yet.
    pub fn is_silent(&self) -> bool {
        matches!(self.state, State::Silent { .. })
    }

    /// How the camera is, for others.
    pub fn status(&self, picture: Option<Picture>) -> CameraStatus {
        let (state, deadline) = match &self.state {
            State::Starting { deadline, after } => {
                let after = after.clone();
                (CameraState::Starting { after }, *deadline)
            }
            State::Live { .. } => (CameraState::Live, self.last_encoded + self.pace.slate_after),
            State::Silent { fault } => (
                CameraState::Silent { fault: *fault },
                self.last_encoded + self.pace.restart_after,
            ),
            State::Stopping { deadline, then } => {
                let fault = match then {
                    Then::Again { fault, .. } => Some(*fault),
                    Then::Idle | Then::End => None,
                };
                (CameraState::Stopping { fault }, *deadline)
            }
            State::Waiting(wait) => (
                CameraState::Waiting {
                    fault: wait.fault,
                    why: wait.why.clone(),
                    retry_in: wait.retry_in,
                    retry_at: wait.until,
                },
                wait.until,
            ),
            State::Idle { .. } => (
                CameraState::Idle { off: self.off() },
                self.last_tick + self.pace.slate_after,
            ),
            State::Ended { why } => (CameraState::Ended { why: why.clone() }, self.last_tick),
        };
        CameraStatus {
            state,
            since: self.since,
            slate: self.seen.slate,
            caption: self.caption,
            good_until: deadline + LENIENCE,
            picture,
            restarts: u32::try_from(self.spent.len()).unwrap_or(u32::MAX),
            budget: BUDGET,
        }
    }

    /// Time passes, and frames or none.
    pub fn tick(&mut self, seen: Seen, now: Instant) {
        self.forgive_blindness(now);
        let flows = seen.encoded != self.seen.encoded;
        if seen.source != self.seen.source {
            self.last_source = now;
        }
        if flows {
            self.last_encoded = now;
        }
        self.seen = seen;
        if !seen.slate {
            self.unkeyed_since = None;
        }
        let silence = now.saturating_duration_since(self.last_encoded);
        match &self.state {
            State::Starting { .. } if flows => self.live(now),
            State::Starting { deadline, .. } if now >= *deadline => {
                let fault = self.silent_part(now);
                self.fault(fault, no_frame(fault, START_WITHIN), now);
            }
            State::Starting { .. } if self.waits_for_start(now) => {
                self.show_slate(Caption::Waiting);
            }
            State::Live { .. } if silence >= self.pace.slate_after => self.silent(now),
            State::Live { .. } if self.waits_for_keyframe(now) => {
                let time = self.pace.keyframe_within.as_secs();
                let fault = Fault::EncoderSilent;
                let why = format!("{}: no keyframe for {time} s", fault.sentence());
                self.fault(fault, why, now);
            }
            State::Live { since } => {
                // Frames that viewers cannot be shown are no sign that it works.
                let steady = !seen.slate && now.saturating_duration_since(*since) >= STEADY;
                self.look_after_picture(steady, now);
                self.rest_encoder(now);
            }
            State::Silent { .. } if flows => self.live(now),
            State::Silent { .. } if silence >= self.pace.restart_after => {
                let fault = self.silent_part(now);
                self.fault(fault, no_frame(fault, self.pace.restart_after), now);
            }
            State::Stopping { deadline, .. } if now >= *deadline => self.hangs(now),
            State::Waiting(wait) if now >= wait.until => {
                let after = (wait.fault, wait.why.clone());
                self.start(Some(after), now);
            }
            _ => {}
        }
    }

    /// A camera is there, and a pipeline for it.
    pub fn built(&mut self) {
        self.built = true;
    }

    /// The camera cannot be started, or an element of it failed. What follows in the same run is its echo.
    pub fn failed(&mut self, fault: Fault, why: String, now: Instant) {
        match self.state {
            State::Starting { .. } | State::Live { .. } | State::Silent { .. } => {
                self.fault(fault, why, now);
            }
            // Only the encoder rests; a source that fails is mended before anybody comes.
            State::Idle { .. } if self.off() == Off::Encoder => {
                self.actions.push_back(Action::Wake);
                self.fault(fault, why, now);
            }
            _ => {}
        }
    }

    /// What was started is gone: every thread of it.
    pub fn stopped(&mut self, now: Instant) {
        if !matches!(self.state, State::Stopping { .. }) {
            return;
        }
        match std::mem::replace(&mut self.state, State::Ended { why: None }) {
            State::Stopping {
                then: Then::Again { fault, why },
                ..
            } => self.wait(fault, why, now),
            State::Stopping {
                then: Then::Idle, ..
            } => self.idle(None, now),
            _ => self.since = now,
        }
    }

    /// Stops for good.
    pub fn shut_down(&mut self, now: Instant) {
        let off = self.off();
        match &mut self.state {
            State::Starting { .. } | State::Live { .. } | State::Silent { .. } => {
                self.stop(Then::End, now);
            }
            State::Stopping { then, .. } => *then = Then::End,
            State::Idle { .. } if off == Off::Encoder => self.stop(Then::End, now),
            State::Idle { .. } | State::Waiting(_) => {
                self.enter(State::Ended { why: None }, now);
            }
            State::Ended { .. } => {}
        }
    }

    /// A process that stood still, or a machine that did not let it run, has seen nothing: that was no
    /// silence of the camera's.
    fn forgive_blindness(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.last_tick);
        self.last_tick = now;
        let Some(blind) = passed.checked_sub(2 * TICK) else {
            return;
        };
        self.last_source += blind;
        self.last_encoded += blind;
        if let Some(since) = &mut self.unkeyed_since {
            *since += blind;
        }
        if let State::Starting { deadline, .. } | State::Stopping { deadline, .. } = &mut self.state
        {
            *deadline += blind;
        }
    }

    fn enter(&mut self, state: State, now: Instant) {
        self.state = state;
        self.since = now;
    }

    fn start(&mut self, after: Option<(Fault, String)>, now: Instant) {
        self.built = false;
        self.unkeyed_since = None;
        self.last_source = now;
        self.last_encoded = now;
        let deadline = now + START_WITHIN;
        self.enter(State::Starting { deadline, after }, now);
        self.actions.push_back(Action::Start);
    }

    fn live(&mut self, now: Instant) {
        self.enter(State::Live { since: now }, now);
        if let Some(trouble) = self.trouble.take() {
            let time = now.saturating_duration_since(trouble.since);
            self.report(if self.had_picture {
                Report::Back { after: time }
            } else {
                Report::Live { took: time }
            });
        }
        self.had_picture = true;
        self.asked_for_keyframe = None;
        if self.seen.slate {
            // Kept where the frames stop and go on: those of before needed a keyframe as well.
            self.unkeyed_since.get_or_insert(now);
        }
        self.look_after_picture(false, now);
        self.rest_encoder(now);
    }

    /// Whether a start takes so long that viewers would take nothing at all for an answer.
    fn waits_for_start(&self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.since);
        !self.seen.slate && passed >= self.pace.slate_after
    }

    /// Whether frames have come for too long without one that ends the slate.
    fn waits_for_keyframe(&self, now: Instant) -> bool {
        self.unkeyed_since
            .is_some_and(|since| now.saturating_duration_since(since) >= self.pace.keyframe_within)
    }

    fn look_after_picture(&mut self, steady: bool, now: Instant) {
        if steady {
            self.failures = 0;
            self.misses = 0;
            self.spent.clear();
        }
        let due = self
            .asked_for_keyframe
            .is_none_or(|asked| now.saturating_duration_since(asked) >= ASKED_AGAIN);
        if self.seen.slate && due {
            self.asked_for_keyframe = Some(now);
            self.actions.push_back(Action::WantKeyframe);
        }
    }

    fn silent(&mut self, now: Instant) {
        let fault = self.silent_part(now);
        self.lose_picture(fault, no_frame(fault, self.pace.slate_after), now);
        self.enter(State::Silent { fault }, now);
    }

    /// Which half gives nothing.
    fn silent_part(&self, now: Instant) -> Fault {
        let alive = now.saturating_duration_since(self.last_source) < self.pace.alive_within;
        if alive && self.seen.source > 0 {
            Fault::EncoderSilent
        } else {
            Fault::SourceSilent
        }
    }

    fn lose_picture(&mut self, fault: Fault, why: String, now: Instant) {
        if self.trouble.is_none() {
            self.trouble = Some(Trouble {
                since: now,
                said: None,
            });
            self.report(Report::Lost { fault, why });
            self.show_slate(Caption::Lost);
        } else if !self.seen.slate {
            self.show_slate(Caption::Waiting);
        }
    }

    fn show_slate(&mut self, caption: Caption) {
        self.caption = caption;
        self.seen.slate = true;
        self.actions.push_back(Action::ShowSlate(caption));
    }

    fn fault(&mut self, fault: Fault, why: String, now: Instant) {
        self.lose_picture(fault, why.clone(), now);
        self.stop(Then::Again { fault, why }, now);
    }

    fn stop(&mut self, then: Then, now: Instant) {
        let deadline = now + STOP_WITHIN;
        self.enter(State::Stopping { deadline, then }, now);
        self.actions.push_back(Action::Stop);
    }

    fn hangs(&mut self, now: Instant) {
        let State::Stopping { then, .. } = &self.state else {
            return;
        };
        let reason = match then {
            Then::Again { why, .. } => format!("{why}; and "),
            Then::Idle | Then::End => String::new(),
        };
        let why = format!(
            "{reason}the camera does not stop within {} s: a driver or an encoder hangs, and only a new process frees it",
            STOP_WITHIN.as_secs()
        );
        self.give_up(why, now);
    }

    fn give_up(&mut self, why: String, now: Instant) {
        self.enter(
            State::Ended {
                why: Some(why.clone()),
            },
            now,
        );
        self.actions.push_back(Action::GiveUp { why });
    }

    /// After a run that went wrong, or found nothing to run.
    fn wait(&mut self, fault: Fault, why: String, now: Instant) {
        let retry_in = self.back_off(fault);
        if fault.costs() {
            while self
                .spent
                .front()
                .is_some_and(|paid| now >= *paid + BUDGET_WINDOW)
            {
                self.spent.pop_front();
            }
            if self.spent.len() >= BUDGET as usize {
                let why = format!(
                    "{why}; it was restarted {BUDGET} times in {} min already",
                    BUDGET_WINDOW.as_secs() / 60
                );
                return self.give_up(why, now);
            }
            self.spent.push_back(now);
            let spent = u32::try_from(self.spent.len()).unwrap_or(BUDGET);
            self.report(Report::Restarting {
                fault,
                why: why.clone(),
                retry_in,
                spent,
            });
        } else {
            self.say_waiting(fault, &why, retry_in, now);
        }
        let wait = Wait {
            until: now + retry_in,
            retry_in,
            fault,
            why,
        };
        self.enter(State::Waiting(wait), now);
        if self.is_closed_for_want_of_viewers() {
            self.close(now);
        }
    }

    /// What was built, or costs, is restarted ever more slowly until it has run steadily: a plug with a
    /// loose contact must not become a storm. A mere look whether a camera is there is cheap.
    fn back_off(&mut self, fault: Fault) -> Duration {
        let (count, longest) = if self.built || fault.costs() {
            (&mut self.failures, LONGEST)
        } else if fault == Fault::NoCamera {
            (&mut self.misses, LONGEST_FOR_NO_CAMERA)
        } else {
            (&mut self.misses, LONGEST)
        };
        let wait = Duration::from_secs(1 << (*count).min(5)).min(longest);
        *count = count.saturating_add(1);
        wait
    }

    fn say_waiting(&mut self, fault: Fault, why: &str, retry_in: Duration, now: Instant) {
        let Some(trouble) = &mut self.trouble else {
            return;
        };
        let known = trouble.said.is_some_and(|(said, at)| {
            said == fault && now.saturating_duration_since(at) < SAID_AGAIN
        });
        if !known {
            trouble.said = Some((fault, now));
            let why = why.to_owned();
            self.report(Report::Waiting {
                fault,
                why,
                retry_in,
            });
        }
    }

    fn report(&mut self, report: Report) {
        self.actions.push_back(Action::Report(report));
    }
}

fn no_frame(fault: Fault, time: Duration) -> String {
    format!("{}: no frame for {} s", fault.sentence(), time.as_secs())
}

#[cfg(test)]
mod tests;
