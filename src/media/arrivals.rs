//! What a viewer's link carries, from when packets arrive there. Pure: the time is an argument.
//!
//! Of packets that are numbered a receiver says some fifteen times a second when they arrived
//! (draft-holmer-rmcat-transport-wide-cc-extensions-01). Those that waited in a queue come out of it one after the other, as fast
//! as the link behind it carries: what was sent between two of them, and how much later the one arrived than the other, is its
//! bitrate. A queue in front of a link that was cut short tells of it that way while it still fills; packets that are missed
//! ([`super::flight`]) do when it is full, and at its end.
//!
//! Nothing is numbered before a viewer was short of something once: each of its words goes through three of `webrtcbin`'s threads,
//! and so many of them cost as much as all that is sent to it. From then on two fifths of what is sent are numbered. libwebrtc's
//! receivers leave those out of the estimates that they make themselves (`ReceiveSideCongestionController::OnReceivedPacket`), which
//! are of the rest then, and are taken for all of it here. Of packets that are sent at once, the last is always among the rest: how
//! much later it arrives than that of the picture before is what such an estimate follows from.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::{
    flight::{QUEUED, REMEMBERS, is_after},
    rtcp::{Arrived, fell},
    shortest::Shortest,
};

/// The share of what is sent that is numbered, and how far a picture may be behind it for the sake of its last packet, in bytes.
const NUMBERED: f64 = 0.4;
const BEHIND: f64 = 2400.0;
/// The share is measured over some so many bytes.
const MEASURED: f64 = 1_000_000.0;
/// As far back as it is looked for what is sent.
const WINDOW: Duration = Duration::from_secs(1);
/// A packet that was under way for so much longer than the fastest of late has waited.
const WAITED: Duration = Duration::from_millis(30);
/// So many in a row have to have waited; of more than that, those that came out of the queue within this time.
const WAITED_LEAST: usize = 4;
const WAITED_MOST: usize = 10;
const OF_LATE: Duration = Duration::from_millis(150);
/// For so long they have to come out of it.
const COMES_OUT: Duration = Duration::from_millis(60);
/// Of what is sent, a share that is carried tells something up to here: what encoders are off by is less.
const PLAINLY_LESS: f64 = 0.75;

/// For so long after the first numbers an estimate may still be of all packets.
const OF_BEFORE: Duration = Duration::from_secs(2);

/// When a numbered packet arrived, by its receiver's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    pub number: u16,
    /// Microseconds since a moment that only the receiver knows.
    pub at: i64,
}

/// One branch's packets: of the picture, and what of it is sent again.
#[derive(Debug, Default)]
pub struct Arrivals {
    /// Bytes of all packets so far.
    sent: u64,
    /// Bytes that are to be numbered.
    due: f64,
    /// The share of them that was numbered of late; `None`: none is to be.
    numbered: Option<f64>,
    next: u16,
    /// Numbered packets of late.
    marks: VecDeque<Mark>,
    /// When the viewer first said of some when they arrived.
    understood: Option<Instant>,
    /// Its latest estimate, and whether that is of the rest.
    estimate: Option<u64>,
    is_of_rest: bool,
    /// Up to this one their arrival is known.
    known: Option<u16>,
    /// Which piece of feedback comes next.
    expected: Option<u8>,
    /// When the first was sent; delays are differences to that.
    epoch: Option<Instant>,
    shortest: Shortest<i64>,
    /// The latest that waited, without one between them that did not.
    waited: VecDeque<Waited>,
    /// What was sent before is not looked at any more.
    since: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Mark {
    number: u16,
    at: Instant,
    /// Bytes that had been sent before it.
    before: u64,
}

#[derive(Debug, Clone, Copy)]
struct Waited {
    mark: Mark,
    arrived: i64,
    /// Microseconds longer under way than the fastest of late.
    queued: i64,
}

impl Waited {
    /// Microseconds until the next one came, and bytes that came meanwhile: of what is missing there, as much as of the marks.
    fn until(&self, next: &Self) -> (i64, f64) {
        let marks = next.mark.number.wrapping_sub(self.mark.number).max(1);
        let bytes = next.mark.before - self.mark.before;
        let time = next.arrived.saturating_sub(self.arrived);
        (time, bytes as f64 / f64::from(marks))
    }
}

impl Arrivals {
    /// From now on packets are numbered.
    pub fn begin(&mut self) {
        self.numbered.get_or_insert(NUMBERED);
    }

    /// A packet of so many bytes is sent, maybe as the last of several. The number that it is to carry, if any.
    pub fn sends(&mut self, bytes: usize, is_last: bool, now: Instant) -> Option<u16> {
        let before = self.sent;
        self.sent += bytes as u64;
        let numbered = self.numbered.as_mut()?;
        let bytes = bytes as f64;
        self.due = (self.due + bytes * NUMBERED).min(BEHIND);
        let is_numbered = !is_last && self.due * 2.0 >= bytes;
        let share = if is_numbered { 1.0 } else { 0.0 };
        *numbered += (share - *numbered) * (bytes / MEASURED).min(1.0);
        if !is_numbered {
            return None;
        }
        self.due -= bytes;
        self.epoch.get_or_insert(now);
        let is_old = |at: Instant| now.saturating_duration_since(at) > REMEMBERS;
        while self.marks.front().is_some_and(|mark| is_old(mark.at)) {
            self.marks.pop_front();
        }
        let number = self.next;
        self.next = number.wrapping_add(1);
        self.marks.push_back(Mark {
            number,
            at: now,
            before,
        });
        Some(number)
    }

    /// What was sent so far is not waited for any more.
    pub fn forget(&mut self, now: Instant) {
        self.waited.clear();
        self.since = Some(now);
    }

    /// The viewer has said when packets arrived. What comes out of a queue on the way at this moment, in bit/s, where plainly more
    /// is sent; `None`: nothing speaks of one.
    pub fn hears(&mut self, arrived: &Arrived, now: Instant) -> Option<u64> {
        // What one that was lost spoke of is not known to be missing.
        if self.expected.is_some_and(|count| count != arrived.count) {
            self.waited.clear();
        }
        self.expected = Some(arrived.count.wrapping_add(1));
        // Of a number that is no longer known nothing can be said any more: they come around again.
        self.known = self.known.filter(|number| self.mark(*number).is_some());
        let mut is_news = false;
        for arrival in &arrived.arrivals {
            let is_new = self
                .known
                .is_none_or(|known| is_after(arrival.number, known));
            if let Some(mark) = self.mark(arrival.number).filter(|_| is_new) {
                is_news = true;
                self.known = Some(arrival.number);
                self.arrives(mark, arrival.at, now);
            }
        }
        if !is_news {
            return None;
        }
        self.understood.get_or_insert(now);
        let carried = self.carried()?;
        // A keyframe is more than what is sent on the whole; and of less than before, less comes out, whatever the way is like.
        let sent = self.bitrate(now)?.min(self.sent_meanwhile()?);
        (carried <= sent * PLAINLY_LESS).then_some(carried as u64)
    }

    /// A viewer's estimate of what arrives, in bit/s, taken for all that is sent. One that falls is of what has just arrived;
    /// until then it may be of before.
    pub fn of_all(&mut self, bandwidth: u64, now: Instant) -> u64 {
        let before = self.estimate.replace(bandwidth);
        let Some((understood, numbered)) = self.understood.zip(self.numbered) else {
            return bandwidth;
        };
        let falls = before.is_some_and(|before| fell(bandwidth, before));
        self.is_of_rest |= falls || now.saturating_duration_since(understood) >= OF_BEFORE;
        match self.is_of_rest {
            true => (bandwidth as f64 / (1.0 - numbered)) as u64,
            false => bandwidth,
        }
    }

    fn arrives(&mut self, mark: Mark, at: i64, now: Instant) {
        let Some(epoch) = self.epoch else { return };
        let sent = mark.at.saturating_duration_since(epoch).as_micros() as i64;
        let delay = at.saturating_sub(sent);
        self.shortest.sees(delay, now);
        let shortest = self.shortest.known().unwrap_or(delay);
        let queued = delay.saturating_sub(shortest);
        let is_past = self.since.is_some_and(|since| mark.at < since);
        if queued < WAITED.as_micros() as i64 || is_past {
            return self.waited.clear();
        }
        // What comes behind what was sent later took another way.
        if self.waited.back().is_some_and(|last| at < last.arrived) {
            return;
        }
        self.waited.push_back(Waited {
            mark,
            arrived: at,
            queued,
        });
        let is_old = |it: &Waited| {
            at.saturating_sub(it.arrived) > OF_LATE.as_micros() as i64
                || mark.at.saturating_duration_since(it.mark.at) > WINDOW
        };
        while self.waited.len() > WAITED_MOST && self.waited.front().is_some_and(is_old) {
            self.waited.pop_front();
        }
    }

    /// What comes out of a queue that matters, in bit/s. Without the longest time between two: a radio or a receiver that stands
    /// still for a moment is no short link.
    fn carried(&self) -> Option<f64> {
        let latest = self.waited.back()?;
        if self.waited.len() < WAITED_LEAST || latest.queued < QUEUED.as_micros() as i64 {
            return None;
        }
        let pairs = self.waited.iter().zip(self.waited.iter().skip(1));
        let mut steps: Vec<(i64, f64)> = pairs.map(|(one, next)| one.until(next)).collect();
        steps.sort_by_key(|(time, _)| *time);
        steps.pop();
        let time: i64 = steps.iter().map(|(time, _)| *time).sum();
        let bytes: f64 = steps.iter().map(|(_, bytes)| *bytes).sum();
        (time >= COMES_OUT.as_micros() as i64).then(|| bytes * 8.0 / (time as f64 / 1e6))
    }

    /// What was sent in the time in which those were that waited, in bit/s.
    fn sent_meanwhile(&self) -> Option<f64> {
        let (first, last) = (self.waited.front()?.mark, self.waited.back()?.mark);
        let time = last.at.saturating_duration_since(first.at).as_secs_f64();
        Some((last.before - first.before) as f64 * 8.0 / time)
    }

    /// What is sent, in bit/s; nothing for as long as that is not a second since the first packet, or since a change: whoever
    /// joins is sent a third of a second of pictures at once.
    fn bitrate(&self, now: Instant) -> Option<f64> {
        let began = self.since.max(self.epoch)?;
        if now.saturating_duration_since(began) < WINDOW {
            return None;
        }
        let is_lately = |at: Instant| now.saturating_duration_since(at) <= WINDOW;
        let first = self.marks.iter().find(|mark| is_lately(mark.at))?;
        let time = now.saturating_duration_since(first.at).as_secs_f64();
        Some((self.sent - first.before) as f64 * 8.0 / time)
    }

    fn mark(&self, number: u16) -> Option<Mark> {
        let oldest = self.marks.front()?.number;
        let place = number.wrapping_sub(oldest);
        self.marks.get(usize::from(place)).copied()
    }
}

#[cfg(test)]
mod tests;
