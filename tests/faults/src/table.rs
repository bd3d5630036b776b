//! The suite's table.

use std::time::Duration;

use crate::{scenarios::Scenario, stage::Outcome};

/// Above the rows.
pub const HEAD: &str = "| fault | longest gap (bound) | all well again after (bound) | the journal |\n\
                        |---|---:|---:|---|\n";
/// Longer lines of the journal are cut.
const LINE: usize = 150;

/// One fault and what was seen of it.
pub struct Row {
    pub name: &'static str,
    outcome: Option<Outcome>,
    /// Which bound was broken, or what else went wrong.
    pub error: Option<String>,
}

impl Row {
    pub fn new(scenario: &Scenario, outcome: Outcome) -> Self {
        let mut broken = Vec::new();
        for (what, seen, most) in [
            ("the longest gap was", outcome.gap, scenario.most_gap),
            (
                "all was well after",
                outcome.recovered,
                scenario.well_within,
            ),
        ] {
            if seen > most {
                broken.push(format!(
                    "{what} {}, more than {}",
                    seconds(seen),
                    seconds(most)
                ));
            }
        }
        Self {
            name: scenario.name,
            outcome: Some(outcome),
            error: (!broken.is_empty()).then(|| broken.join("; ")),
        }
    }

    pub fn failed(scenario: &Scenario, error: String) -> Self {
        Self {
            name: scenario.name,
            outcome: None,
            error: Some(error),
        }
    }

    /// Its line of the table.
    pub fn line(&self, scenario: &Scenario) -> String {
        let (gap, recovered, line) = match &self.outcome {
            Some(outcome) => (
                seconds(outcome.gap),
                seconds(outcome.recovered),
                shortened(&outcome.line),
            ),
            None => ("failed".to_owned(), "failed".to_owned(), String::new()),
        };
        format!(
            "| {} | {gap} ({}) | {recovered} ({}) | {line} |\n",
            scenario.fault,
            seconds(scenario.most_gap),
            seconds(scenario.well_within),
        )
    }

    /// The same with something more that went wrong.
    pub fn but(self, more: String) -> Self {
        let error = match self.error {
            Some(error) => format!("{error}; {more}"),
            None => more,
        };
        Self {
            error: Some(error),
            ..self
        }
    }
}

/// Markdown, in the order of `scenarios`.
pub fn table<'a>(rows: impl Iterator<Item = &'a Row> + Clone, scenarios: &[Scenario]) -> String {
    let lines = scenarios.iter().filter_map(|scenario| {
        let row = rows.clone().find(|row| row.name == scenario.name)?;
        Some(row.line(scenario))
    });
    HEAD.to_owned() + &lines.collect::<String>()
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

/// A line without the names of the stage's directories, which are others in each run.
fn without_stage(line: &str) -> String {
    let stage = std::env::temp_dir().join("perch-faults");
    let stage = stage.to_string_lossy();
    let mut parts = line.split(&*stage);
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        text.push('…');
        text.push_str(part.find('/').map_or("", |at| &part[at..]));
    }
    text
}

/// A line without its date, and without what would break the table.
fn shortened(line: &str) -> String {
    let text = line.split_once('Z').filter(|(date, _)| date.len() < 32);
    let text = text.map_or(line, |(_, rest)| rest).trim();
    let text = without_stage(text).replace('|', "/").replace('`', "'");
    match text.char_indices().nth(LINE) {
        Some((cut, _)) => format!("`{}…`", &text[..cut]),
        None if text.is_empty() => String::new(),
        None => format!("`{text}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_of_the_stage_are_left_out() {
        let stage = std::env::temp_dir().join("perch-faults-Ab12");
        let line = format!("the token in {}/token expired", stage.display());
        assert_eq!(without_stage(&line), "the token in …/token expired");
        assert_eq!(without_stage("as it was"), "as it was");
    }
}
