//! What follows from nobody watching, and from somebody coming.

use std::{mem, time::Instant};

use super::{Action, Care, Report, State, Then, Trouble, Wait};
use crate::{
    config::Idle,
    media::camera::status::{Caption, Off},
};

impl Care {
    /// Somebody wants a picture, or nobody does any more.
    pub fn want(&mut self, wanted: bool, now: Instant) {
        if mem::replace(&mut self.wanted, wanted) == wanted {
            return;
        }
        match (self.idle, wanted) {
            (Idle::Warm, _) => {}
            (Idle::EncoderOff, false) => self.rest_encoder(now),
            (Idle::CameraOff, false) => self.close(now),
            (Idle::EncoderOff | Idle::CameraOff, true) => self.wake(now),
        }
    }

    /// Nobody watches, and something is off for that.
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle { .. })
    }

    pub(super) fn off(&self) -> Off {
        match self.idle {
            Idle::CameraOff => Off::Camera,
            Idle::EncoderOff | Idle::Warm => Off::Encoder,
        }
    }

    pub(super) fn is_closed_for_want_of_viewers(&self) -> bool {
        self.idle == Idle::CameraOff && !self.wanted
    }

    /// Once it has shown what it can: at the start the first picture is awaited, so that an encoder that is broken is
    /// known before anybody comes, and offers say what it says.
    pub(super) fn rest_encoder(&mut self, now: Instant) {
        let rests = self.idle == Idle::EncoderOff && !self.wanted;
        if rests && matches!(self.state, State::Live { .. }) && !self.seen.slate {
            self.let_rest(Off::Encoder);
            self.idle(None, now);
        }
    }

    pub(super) fn close(&mut self, now: Instant) {
        match &self.state {
            State::Starting { .. } | State::Live { .. } | State::Silent { .. } => {
                self.let_rest(Off::Camera);
                self.stop(Then::Idle, now);
            }
            State::Waiting(wait) => {
                let held = wait.clone();
                self.let_rest(Off::Camera);
                self.idle(Some(held), now);
            }
            // What is being stopped comes here when it has.
            State::Stopping { .. } | State::Idle { .. } | State::Ended { .. } => {}
        }
    }

    /// There is no slate any more.
    pub(super) fn let_rest(&mut self, off: Off) {
        self.seen.slate = false;
        self.unkeyed_since = None;
        self.actions.push_back(Action::Rest(off));
    }

    pub(super) fn idle(&mut self, held: Option<Wait>, now: Instant) {
        self.enter(State::Idle { held }, now);
        self.report(Report::Idle { off: self.off() });
        if self.wanted {
            // It came while the camera was being stopped.
            self.wake(now);
        }
    }

    fn wake(&mut self, now: Instant) {
        let State::Idle { held } = &mut self.state else {
            return;
        };
        let held = held.take();
        let after = now.saturating_duration_since(self.since);
        self.report(Report::Wanted { after });
        self.actions.push_back(Action::Wake);
        match self.off() {
            Off::Encoder => {
                self.last_source = now;
                self.last_encoded = now;
                self.asked_for_keyframe = Some(now);
                self.enter(State::Live { since: now }, now);
            }
            Off::Camera => self.start_as_at_boot(held, now),
        }
    }

    /// Nothing was lost, and the slate is shown only if it takes long.
    fn start_as_at_boot(&mut self, held: Option<Wait>, now: Instant) {
        self.had_picture = false;
        self.caption = Caption::Waiting;
        let said = match &held {
            Some(_) => self.trouble.as_ref().and_then(|trouble| trouble.said),
            None => None,
        };
        self.trouble = Some(Trouble { since: now, said });
        match held {
            Some(wait) if wait.until > now => {
                self.show_slate(Caption::Waiting);
                self.enter(State::Waiting(wait), now);
            }
            held => self.start(held.map(|wait| (wait.fault, wait.why)), now),
        }
    }
}
