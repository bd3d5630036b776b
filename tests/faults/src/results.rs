//! `RESULTS.md`, in which the suite keeps its rows between two comments each, and people the rest.

use anyhow::{Context, Result};

use crate::table::HEAD;

/// The rows of the faults one by one, and that of their random order.
pub const FAULTS: &str = "faults";
pub const RANDOM: &str = "random";

/// The row of a fault, or nothing where it was not run this time: then the former row stays.
pub struct Kept {
    pub fault: String,
    pub row: Option<String>,
}

/// The text with other rows in one of its sections.
pub fn with_rows(text: &str, section: &str, rows: &[Kept]) -> Result<String> {
    let begin = format!("<!-- {section}, written by the suite -->\n");
    let end = format!("<!-- end of {section} -->\n");
    let absent = |what: &str| format!("the results have no line {:?}", what.trim());
    let (before, rest) = text.split_once(&begin).with_context(|| absent(&begin))?;
    let (former, after) = rest.split_once(&end).with_context(|| absent(&end))?;
    let mut table = HEAD.to_owned();
    for Kept { fault, row } in rows {
        let start = format!("| {fault} | ");
        let former = || former.lines().find(|line| line.starts_with(&start));
        if let Some(row) = row.as_deref().or_else(former) {
            table.push_str(row.trim_end());
            table.push('\n');
        }
    }
    Ok(format!("{before}{begin}\n{table}\n{end}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "by hand\n<!-- faults, written by the suite -->\nold\n| one | 1 s |\n| two | 2 s |\n| gone | 3 s |\n\
                        <!-- end of faults -->\nby hand, too\n";

    fn kept(fault: &str, row: Option<&str>) -> Kept {
        Kept {
            fault: fault.to_owned(),
            row: row.map(str::to_owned),
        }
    }

    #[test]
    fn only_what_was_run_is_written_anew() {
        let rows = [
            kept("two", Some("| two | 9 s |")),
            kept("one", None),
            kept("never", None),
        ];
        let text = with_rows(TEXT, FAULTS, &rows).expect("there is such a section");
        let table = format!("{HEAD}| two | 9 s |\n| one | 1 s |\n");
        assert_eq!(
            text,
            format!(
                "by hand\n<!-- faults, written by the suite -->\n\n{table}\n<!-- end of faults -->\nby hand, too\n"
            )
        );
        let rows = [kept("one", None), kept("two", None)];
        let again = with_rows(&text, FAULTS, &rows).expect("it can be written again");
        assert_eq!(again.matches(HEAD).count(), 1);
        assert!(with_rows(TEXT, RANDOM, &rows).is_err());
    }
}
