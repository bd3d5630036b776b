//! The one table of ends: every way in which a viewer's stay can end, and what follows from it.

use std::fmt;

use tracing::Level;

/// Why a viewer is no longer served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum End {
    /// The lobby said that the viewer left.
    Left,
    /// The viewer closed its peer connection.
    HungUp,
    /// The viewer joined anew; its former branch makes way.
    Rejoined,
    /// The line to the lobby went down before the viewer had answered: its answer cannot come any more.
    LineLost,
    /// The host goes down.
    Shutdown,
    /// Branches of former viewers took too long to close for this one's to be opened.
    NoRoom,
    /// The branch made no offer in time.
    NoOffer,
    /// The viewer did not answer in time.
    NoAnswer,
    /// The answer is broken, or says that nothing can be watched.
    BadAnswer,
    /// ICE and DTLS did not come up in time.
    NoConnection,
    /// ICE or DTLS gave up before media ever flowed.
    IceFailed,
    /// A connection that was up was lost and did not come back. Where a viewer goes without a word,
    /// its RTCP falls silent.
    Vanished,
    /// An address of this device went away, and with it the way to the viewer.
    NetworkChanged,
    /// The camera's picture has become another than the viewer was offered.
    PictureChanged,
    /// Too many viewers were on their way in before it.
    Crowded,
    /// The process has too few file descriptors or threads left for another branch.
    Exhausted,
    /// An element of the viewer's branch failed.
    BranchError,
}

/// Why a viewer that stays needs another branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rebuild {
    /// An address of this device went away that the viewer was reached from.
    AddressLost,
    /// The connection was lost; ICE cannot be restarted on a branch.
    Vanished,
    /// The camera's picture has become another than the viewer was offered.
    PictureChanged,
}

impl Rebuild {
    /// Every reason.
    pub const ALL: [Self; 3] = [Self::AddressLost, Self::Vanished, Self::PictureChanged];

    /// The stable name, for the journal's `REASON` field and for statistics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AddressLost => "address-lost",
            Self::Vanished => "vanished",
            Self::PictureChanged => "picture-changed",
        }
    }

    /// How the viewer ends where another branch cannot be, or comes to nothing.
    pub const fn end(self) -> End {
        match self {
            Self::AddressLost => End::NetworkChanged,
            Self::Vanished => End::Vanished,
            Self::PictureChanged => End::PictureChanged,
        }
    }
}

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// The stable name, for the journal's `REASON` field and for statistics.
    pub name: &'static str,
    /// What happened, and what to do where something can be done.
    pub sentence: &'static str,
    /// A leave is `INFO`; what somebody should look into on this device is `WARN`.
    pub level: Level,
    /// Whether this end speaks against the camera or its encoder rather than against the viewer or its network.
    pub against_camera: bool,
}

impl End {
    /// Every end, in the table's order.
    pub const ALL: [Self; 17] = [
        Self::Left,
        Self::HungUp,
        Self::Rejoined,
        Self::LineLost,
        Self::Shutdown,
        Self::NoRoom,
        Self::NoOffer,
        Self::NoAnswer,
        Self::BadAnswer,
        Self::NoConnection,
        Self::IceFailed,
        Self::Vanished,
        Self::NetworkChanged,
        Self::PictureChanged,
        Self::Crowded,
        Self::Exhausted,
        Self::BranchError,
    ];

    /// This end's row.
    #[rustfmt::skip]
    pub const fn row(self) -> Row {
        //                                  name             level        camera  sentence
        match self {
            Self::Left         => row("left",          Level::INFO, false, "the viewer left"),
            Self::HungUp       => row("hung-up",       Level::INFO, false, "the viewer closed its connection"),
            Self::Rejoined     => row("rejoined",      Level::INFO, false, "the viewer joined anew, its former branch is closed"),
            Self::LineLost     => row("line-lost",     Level::INFO, false, "the line to the lobby was lost before the viewer had answered"),
            Self::Shutdown     => row("shutdown",      Level::INFO, false, "the host goes down"),
            Self::NoRoom       => row("no-room",       Level::WARN, false, "former viewers' branches were too slow to close"),
            Self::NoOffer      => row("no-offer",      Level::WARN, true,  "the branch made no offer in time; is the device overloaded?"),
            Self::NoAnswer     => row("no-answer",     Level::INFO, false, "the viewer did not answer the offer"),
            Self::BadAnswer    => row("bad-answer",    Level::INFO, false, "the viewer's answer cannot be used"),
            Self::NoConnection => row("no-connection", Level::INFO, false, "no way to the viewer was found in time; behind a strict NAT or firewall a TURN server under [ice] is needed"),
            Self::IceFailed    => row("ice-failed",    Level::INFO, false, "the connection to the viewer failed; behind a strict NAT or firewall a TURN server under [ice] is needed"),
            Self::Vanished     => row("vanished",      Level::INFO, false, "the viewer was lost and did not come back"),
            Self::NetworkChanged => row("network-changed", Level::INFO, false, "an address of this device went away, and the viewer could not be reached from another"),
            Self::PictureChanged => row("picture-changed", Level::INFO, false, "the camera's picture has changed its kind, and the viewer could not be given a new connection"),
            Self::Crowded      => row("crowded",       Level::INFO, false, "too many viewers were connecting at once"),
            Self::Exhausted    => row("exhausted",     Level::WARN, false, "the process is out of file descriptors or threads for another viewer; a service's limits are LimitNOFILE= and TasksMax="),
            Self::BranchError  => row("branch-error",  Level::WARN, true,  "the viewer's branch failed"),
        }
    }
}

const fn row(
    name: &'static str,
    level: Level,
    against_camera: bool,
    sentence: &'static str,
) -> Row {
    Row {
        name,
        sentence,
        level,
        against_camera,
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.row().name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::assert_names_fit;

    #[test]
    fn names_are_unique_and_fit_for_fields() {
        assert_names_fit(End::ALL.iter().map(|end| end.row().name));
        assert_names_fit(Rebuild::ALL.iter().map(|why| why.name()));
    }

    #[test]
    fn a_viewers_own_fault_never_counts_against_the_camera() {
        for end in [
            End::Left,
            End::HungUp,
            End::NoAnswer,
            End::BadAnswer,
            End::NoConnection,
            End::IceFailed,
            End::Vanished,
            End::NetworkChanged,
            End::Crowded,
        ] {
            assert!(!end.row().against_camera, "{end}");
            assert_eq!(end.row().level, Level::INFO, "{end}");
        }
    }
}
