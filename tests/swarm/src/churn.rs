//! Viewers who come and go, a third of them without manners.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::Result;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde::Serialize;
use tokio::{task::JoinSet, time::sleep_until};

use crate::{
    crowd::{Door, Watching},
    stats::Spread,
    viewer::{Conduct, Debris, Report},
};

/// Those who break off half-way, in equal parts.
pub const BROKEN: [Conduct; 5] = [
    Conduct::LeavesBeforeOffer,
    Conduct::NeverAnswers,
    Conduct::HangsUpAfterAnswer,
    Conduct::BreaksOff,
    Conduct::Freezes,
];

/// What to do.
#[derive(Debug, Clone)]
pub struct Plan {
    pub joins: usize,
    /// The same seed gives the same mix at the same times.
    pub seed: u64,
    /// Mean time from one join to the next.
    pub spacing: Duration,
    /// How long a viewer that never answers or freezes stays at most.
    pub linger: Duration,
    /// How those behave who break off half-way; at least one.
    pub broken: Vec<Conduct>,
}

/// What came of it.
#[derive(Debug, Serialize)]
pub struct Churned {
    pub joins: usize,
    pub broken: usize,
    /// Good viewers that got no picture, or more than a picture's worth of trouble.
    pub failed: usize,
    pub by_conduct: BTreeMap<Conduct, usize>,
    pub first_keyframe_ms: Spread,
    pub errors: Vec<String>,
    pub seconds: f64,
}

struct Turn {
    conduct: Conduct,
    wait: Duration,
    linger: Duration,
}

impl Plan {
    fn turns(&self) -> Vec<Turn> {
        let mut dice = StdRng::seed_from_u64(self.seed);
        let turn = |number: usize| Turn {
            conduct: match number % 3 {
                2 => self.broken[dice.random_range(0..self.broken.len())],
                _ => Conduct::LeavesAtKeyframe,
            },
            wait: self.spacing.mul_f64(dice.random_range(0.1..1.9)),
            linger: self.linger.mul_f64(dice.random_range(0.1..1.0)),
        };
        (0..self.joins).map(turn).collect()
    }
}

/// Carries out `plan`. `ended` is called for every viewer that has gone, in the order of going;
/// numbers begin at `first`. The ports of those who broke off are kept until all have gone.
pub async fn churn(
    door: &Door,
    plan: &Plan,
    first: usize,
    mut ended: impl FnMut(&Report),
) -> Result<Churned> {
    let start = Instant::now();
    let mut due = start;
    let mut gone = Gone::default();
    let mut viewers = JoinSet::new();
    for (number, turn) in plan.turns().into_iter().enumerate() {
        due += turn.wait;
        loop {
            tokio::select! {
                () = sleep_until(due.into()) => break,
                Some(end) = viewers.join_next() => gone.take(end??, &mut ended),
            }
        }
        let watching = Watching::start(door.arrive(first + number, turn.conduct).await?);
        viewers.spawn(async move {
            if matches!(turn.conduct, Conduct::NeverAnswers | Conduct::Freezes) {
                sleep_until((Instant::now() + turn.linger).into()).await;
                watching.stop();
            }
            watching.end().await
        });
    }
    while let Some(end) = viewers.join_next().await {
        gone.take(end??, &mut ended);
    }
    Ok(gone.sum_up(start.elapsed()))
}

#[derive(Default)]
struct Gone {
    reports: Vec<Report>,
    debris: Vec<Debris>,
}

impl Gone {
    fn take(&mut self, (report, debris): (Report, Debris), ended: &mut impl FnMut(&Report)) {
        ended(&report);
        self.reports.push(report);
        self.debris.push(debris);
    }

    fn sum_up(self, took: Duration) -> Churned {
        let mut by_conduct = BTreeMap::new();
        for report in &self.reports {
            *by_conduct.entry(report.conduct).or_default() += 1;
        }
        let good = |report: &&Report| report.conduct == Conduct::LeavesAtKeyframe;
        let errors: Vec<String> = self
            .reports
            .iter()
            .filter_map(|report| {
                let error = report.error.as_ref()?;
                Some(format!(
                    "viewer {} ({:?}): {error}",
                    report.viewer, report.conduct
                ))
            })
            .collect();
        Churned {
            joins: self.reports.len(),
            broken: self.reports.iter().filter(|r| !good(r)).count(),
            failed: errors.len(),
            by_conduct,
            first_keyframe_ms: Spread::of(
                self.reports
                    .iter()
                    .filter(good)
                    .filter_map(|report| report.first_keyframe_ms),
            ),
            errors,
            seconds: took.as_secs_f64(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_one_mix_with_a_third_broken() {
        let plan = Plan {
            joins: 300,
            seed: 7,
            spacing: Duration::from_millis(100),
            linger: Duration::from_secs(1),
            broken: BROKEN.to_vec(),
        };
        let conducts = |plan: &Plan| -> Vec<Conduct> {
            plan.turns().iter().map(|turn| turn.conduct).collect()
        };
        let mix = conducts(&plan);
        assert_eq!(mix, conducts(&plan));
        let good = mix
            .iter()
            .filter(|c| **c == Conduct::LeavesAtKeyframe)
            .count();
        assert_eq!(good, 200);
        for conduct in BROKEN {
            assert!(mix.contains(&conduct), "{conduct:?}");
        }
    }
}
