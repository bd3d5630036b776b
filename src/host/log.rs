//! The host's words: what the roster reports, as log lines with fields.
//!
//! The fields `event`, `viewer`, `stream`, `branch` and `reason` are stable; the sentences are not.

use tracing::{Level, debug, info, warn};

use super::action::Report;
use crate::{
    clock::milliseconds,
    signaling::message::{Refusal, ViewerId},
};

/// Writes one report. Joins, ends and changes of state are `info`; what nothing follows from is `debug`.
pub fn report(report: &Report) {
    match report {
        Report::LineLive { stream } => {
            info!(event = "line-live", %stream, "live in the lobby");
        }
        Report::LineLost { why } => {
            // The line itself has said it, with what it does about it.
            debug!(
                why,
                "line to the lobby lost; connected viewers keep their picture"
            );
        }
        Report::Joined {
            viewer,
            stream,
            branch,
        } => {
            info!(event = "viewer-joined", %viewer, %stream, branch = branch.0, "viewer joined");
        }
        Report::Refused {
            viewer,
            reason,
            first,
        } => refused(viewer, *reason, *first),
        Report::Rebuilt {
            viewer,
            from,
            branch,
            why,
        } => {
            let reason = why.name();
            info!(event = "viewer-rebuilt", %viewer, from = from.0, branch = branch.0, reason, "viewer gets a new connection");
        }
        Report::NetworkChanged { lost } => {
            info!(
                event = "network-changed",
                lost, "the device's addresses or routes have changed"
            );
        }
        Report::Live {
            viewer,
            branch,
            took,
        } => {
            let took_ms = milliseconds(*took);
            info!(event = "viewer-live", %viewer, branch = branch.0, took_ms, "media flows to the viewer");
        }
        Report::SpareLost { branch, why } => {
            debug!(
                branch = branch.0,
                why, "a branch that was kept ready is lost"
            );
        }
        Report::FirstFrame { branch, took } => {
            let took_ms = milliseconds(*took);
            debug!(branch = branch.0, took_ms, "first picture on its way");
        }
        Report::Rendition {
            viewer,
            branch,
            rendition,
            why,
        } => {
            let (rendition, reason) = (rendition.name(), why.name());
            info!(event = "viewer-rendition", %viewer, branch = branch.0, rendition, reason, "viewer is sent another rendition");
        }
        Report::Disconnected { viewer, branch } => {
            info!(event = "viewer-disconnected", %viewer, branch = branch.0, "viewer lost, perhaps for a moment");
        }
        Report::Recovered { viewer, branch } => {
            info!(event = "viewer-recovered", %viewer, branch = branch.0, "viewer is back");
        }
        Report::Ended { .. } => ended(report),
        Report::Ignored { viewer, what } => {
            debug!(event = "message-ignored", %viewer, %what, "message ignored");
        }
    }
}

fn refused(viewer: &ViewerId, reason: Refusal, first: bool) {
    let why = in_words(reason);
    let reason = reason.name();
    if first {
        info!(event = "viewer-refused", %viewer, reason, "viewer refused: {why}");
    } else {
        debug!(event = "viewer-refused", %viewer, reason, "viewer refused: {why}, still");
    }
}

fn in_words(reason: Refusal) -> String {
    match reason {
        Refusal::Full { max: 1 } => "the only place is taken".to_owned(),
        Refusal::Full { max } => format!("all {max} places are taken"),
        Refusal::Busy => "too many joins at once".to_owned(),
    }
}

fn ended(report: &Report) {
    let Report::Ended {
        viewer,
        stream,
        branch,
        end,
        detail,
        after,
    } = report
    else {
        return;
    };
    let row = end.row();
    let (reason, sentence) = (row.name, row.sentence);
    let detail = detail.as_deref();
    let after_ms = milliseconds(*after);
    if row.level == Level::WARN {
        let against_camera = row.against_camera;
        warn!(
            event = "viewer-ended", %viewer, %stream, branch = branch.0, reason, detail, after_ms,
            against_camera, "viewer ended: {sentence}"
        );
    } else {
        info!(
            event = "viewer-ended", %viewer, %stream, branch = branch.0, reason, detail, after_ms,
            "viewer ended: {sentence}"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_place_is_not_spoken_of_as_many() {
        let full = |max| in_words(Refusal::Full { max });
        assert_eq!(full(1), "the only place is taken");
        assert_eq!(full(2), "all 2 places are taken");
    }
}
