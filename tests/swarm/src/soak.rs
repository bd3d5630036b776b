//! Thousands of viewers, good, slow, broken and half-way, beside one that stays: what does the host
//! keep of them?

mod leaks;
mod table;

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::{task::JoinSet, time::sleep};

use self::leaks::Leaks;
use crate::{
    crowd::{Door, Watching},
    host::{Host, Picture, Usage},
    viewer::{Conduct, Debris, Report},
};

/// How often each conduct occurs, of a hundred joins.
const MIX: [(Conduct, u32); 9] = [
    (Conduct::LeavesAtKeyframe, 45),
    (Conduct::Stays, 15),
    (Conduct::AnswersLate, 8),
    (Conduct::AnswersBadly, 10),
    (Conduct::LeavesBeforeOffer, 6),
    (Conduct::NeverAnswers, 5),
    (Conduct::HangsUpAfterAnswer, 5),
    (Conduct::BreaksOff, 4),
    (Conduct::Freezes, 2),
];
/// Viewers that have vanished without a word, at the same time; they take no turn from the others.
const MOST_FROZEN: usize = 8;
/// Seconds that one that has vanished leaves its sockets open: the host notices some by their
/// silence, some by their sockets' end.
const FROZEN_FOR: (f64, f64) = (5.0, 60.0);
/// Seconds that the others stay or think.
const LINGER: (f64, f64) = (0.1, 3.0);
/// What is made once is made for these.
const WARM_UP: usize = 60;
/// How long the host may take to let go of its last viewers.
const DRAIN_PATIENCE: Duration = Duration::from_secs(120);

/// What to do.
#[derive(Debug, Clone)]
pub struct Plan {
    pub joins: usize,
    /// Ends the run at the next halt even if joins are left.
    pub at_most: Duration,
    /// The same seed gives the same mix.
    pub seed: u64,
    /// How many viewers come or go at the same time.
    pub in_flight: usize,
    /// Joins from one halt to the next; at a halt only the watcher is there.
    pub every: usize,
}

/// How the host is at a halt.
#[derive(Debug, Clone, Copy)]
struct Halt {
    joins: usize,
    usage: Usage,
}

/// What came of it.
struct Soaked {
    halts: Vec<Halt>,
    by_conduct: BTreeMap<Conduct, usize>,
    first_keyframe_ms: Vec<f64>,
    errors: Vec<String>,
    watcher: Report,
    took: Duration,
}

/// Runs the soak on `perch`: its table as Markdown, and the bounds that were broken.
pub async fn soak(perch: &Path, picture: &Picture, plan: &Plan) -> Result<(String, Vec<String>)> {
    let environment = [
        ("GST_DEBUG", "1"),
        ("GST_DEBUG_NO_COLOR", "1"),
        // GLib's complaints are counted, not died of.
        ("G_DEBUG", ""),
    ];
    let environment = environment.map(|(name, value)| (name, OsStr::new(value)));
    let host = Host::start_in(perch, picture, environment)?;
    let door = Door::new(host.lobby().clone(), host.tokens(), None)?;
    let soaked = run(&host, &door, plan).await?;
    let log = host.log().clone();
    drop(host);
    let leaks = leaks::look(perch, picture, plan).await?;
    let table = table::table(&soaked, &log, &leaks, picture, plan);
    Ok((table, table::broken_bounds(&soaked, &log, &leaks)))
}

async fn run(host: &Host, door: &Door, plan: &Plan) -> Result<Soaked> {
    let mut crowd = Crowd::new(plan.seed);
    let warm = crowd.come_and_go(door, WARM_UP, plan.in_flight).await?;
    host.settled(None, DRAIN_PATIENCE).await?;
    let start = Instant::now();
    let mut watcher = Watching::start(door.arrive(0, Conduct::Stays).await?);
    ensure!(watcher.picture().await, "the watcher got no picture");
    let watched = host.settled(None, DRAIN_PATIENCE).await?;

    let mut reports = warm;
    let mut halts = vec![Halt {
        joins: 0,
        usage: watched,
    }];
    let mut joins = 0;
    while joins < plan.joins && start.elapsed() < plan.at_most {
        let some = plan.every.min(plan.joins - joins);
        reports.extend(crowd.come_and_go(door, some, plan.in_flight).await?);
        joins += some;
        let usage = host.settled(Some(watched), DRAIN_PATIENCE).await?;
        eprintln!(
            "{joins} joins after {:.0} s: {usage:?}",
            start.elapsed().as_secs_f64()
        );
        halts.push(Halt { joins, usage });
    }
    watcher.stop();
    let (watcher, _) = watcher.end().await?;
    Ok(sum_up(reports, halts, watcher, start.elapsed()))
}

fn sum_up(reports: Vec<Report>, halts: Vec<Halt>, watcher: Report, took: Duration) -> Soaked {
    let mut by_conduct = BTreeMap::new();
    let mut errors = Vec::new();
    let mut first_keyframe_ms = Vec::new();
    for report in reports {
        *by_conduct.entry(report.conduct).or_default() += 1;
        if report.conduct == Conduct::LeavesAtKeyframe {
            first_keyframe_ms.extend(report.first_keyframe_ms);
        }
        if let Some(error) = report.error {
            errors.push(format!(
                "viewer {} ({:?}): {error}",
                report.viewer, report.conduct
            ));
        }
    }
    Soaked {
        halts,
        by_conduct,
        first_keyframe_ms,
        errors,
        watcher,
        took,
    }
}

/// Draws who comes, and lets them come.
struct Crowd {
    dice: StdRng,
    number: usize,
    /// The ports of those who broke off, of this stretch and the one before: a port that closes
    /// would tell the host of it.
    debris: [Vec<Debris>; 2],
}

#[derive(Debug, Clone, Copy)]
struct Turn {
    number: usize,
    conduct: Conduct,
    linger: Duration,
}

type Turns = JoinSet<Result<(Report, Debris)>>;

impl Crowd {
    fn new(seed: u64) -> Self {
        Self {
            dice: StdRng::seed_from_u64(seed),
            number: 0,
            debris: Default::default(),
        }
    }

    fn turn(&mut self) -> Turn {
        self.number += 1;
        let mut lot = self
            .dice
            .random_range(0..MIX.iter().map(|(_, part)| part).sum());
        let chosen = MIX.iter().find(|(_, part)| {
            let hit = lot < *part;
            lot = lot.saturating_sub(*part);
            hit
        });
        let (conduct, _) = *chosen.expect("the lot is below the sum of the parts");
        let (least, most) = match conduct {
            Conduct::Freezes => FROZEN_FOR,
            _ => LINGER,
        };
        Turn {
            number: self.number,
            conduct,
            linger: Duration::from_secs_f64(self.dice.random_range(least..most)),
        }
    }

    /// Lets `count` viewers come and go, `in_flight` at the same time, and waits for the last.
    async fn come_and_go(
        &mut self,
        door: &Door,
        count: usize,
        in_flight: usize,
    ) -> Result<Vec<Report>> {
        let (mut turns, mut frozen) = (Turns::new(), Turns::new());
        let mut gone = Vec::with_capacity(count);
        for _ in 0..count {
            let turn = self.turn();
            while turns.len() >= in_flight || frozen.len() >= MOST_FROZEN {
                tokio::select! {
                    Some(end) = turns.join_next() => gone.push(end??),
                    Some(end) = frozen.join_next() => gone.push(end??),
                }
            }
            let watching = Watching::start(door.arrive(turn.number, turn.conduct).await?);
            match turn.conduct {
                Conduct::Freezes => frozen.spawn(take_turn(turn, watching)),
                _ => turns.spawn(take_turn(turn, watching)),
            };
        }
        for mut rest in [turns, frozen] {
            while let Some(end) = rest.join_next().await {
                gone.push(end??);
            }
        }
        let (reports, debris) = gone.into_iter().unzip();
        self.debris.rotate_left(1);
        self.debris[1] = debris;
        Ok(reports)
    }
}

async fn take_turn(turn: Turn, watching: Watching) -> Result<(Report, Debris)> {
    // Those who need no word to go on do not hear this one.
    if matches!(
        turn.conduct,
        Conduct::Stays
            | Conduct::AnswersLate
            | Conduct::AnswersBadly
            | Conduct::NeverAnswers
            | Conduct::Freezes
    ) {
        sleep(turn.linger).await;
        watching.stop();
    }
    watching.end().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_one_mix_with_everybody_in_it() {
        let draw = |seed| {
            let mut crowd = Crowd::new(seed);
            (0..2000)
                .map(|_| crowd.turn())
                .map(|turn| (turn.conduct, turn.linger))
                .collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        let drawn = draw(7);
        for (conduct, part) in MIX {
            let count = drawn.iter().filter(|(drawn, _)| *drawn == conduct).count();
            let due = 2000 * part as usize / 100;
            assert!(
                (due / 2..due * 2).contains(&count),
                "{conduct:?}: {count} of {due}"
            );
        }
    }
}
