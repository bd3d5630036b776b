//! What the journal may say, compared with what docs/events.md says of it.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use perch::host::end::End;

/// Lines below `info` are for developers: their names are promised to nobody.
const LEVELS: [&str; 3] = ["info", "warn", "error"];

/// Each event that the program logs, with its levels.
fn logged() -> BTreeMap<String, Vec<&'static str>> {
    let mut events: BTreeMap<String, Vec<&'static str>> = BTreeMap::new();
    for file in sources(Path::new("src")) {
        let text = fs::read_to_string(&file).unwrap();
        for (level, call) in calls(&text) {
            let name = name(call);
            let name = name.unwrap_or_else(|| {
                panic!("{}: a line without an event's name: {call}", file.display())
            });
            let levels = events.entry(name.to_owned()).or_default();
            if !levels.contains(&level) {
                levels.push(level);
            }
        }
    }
    events
}

fn sources(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// The arguments of every `info!`, `warn!` and `error!`.
fn calls(text: &str) -> Vec<(&'static str, &str)> {
    let mut calls = Vec::new();
    for level in LEVELS {
        let macro_call = format!("{level}!(");
        for (at, _) in text.match_indices(&macro_call) {
            let alone =
                !text[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_');
            if alone {
                calls.push((level, arguments(&text[at + macro_call.len()..])));
            }
        }
    }
    calls
}

/// Up to the parenthesis that closes the call. Parentheses in texts come in pairs.
fn arguments(text: &str) -> &str {
    let mut depth = 1;
    for (at, character) in text.char_indices() {
        match character {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return &text[..at];
        }
    }
    text
}

fn name(call: &str) -> Option<&str> {
    call.split_once("event = \"")?.1.split('"').next()
}

/// The rows of the document's tables: `| `name` | level | …`.
fn documented() -> BTreeMap<String, String> {
    let text = fs::read_to_string("docs/events.md").unwrap();
    text.lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .map(|row| {
            let (name, rest) = row.split_once("` | ").expect("a name and a level");
            let level = rest.split(" |").next().unwrap();
            (name.to_owned(), level.to_owned())
        })
        .collect()
}

#[test]
fn every_line_of_the_journal_has_a_name_that_is_explained() {
    let logged: BTreeMap<String, String> = logged()
        .into_iter()
        .map(|(name, levels)| (name, levels.join(", ")))
        .collect();
    let documented = documented();
    for (name, level) in &logged {
        assert_eq!(documented.get(name), Some(level), "docs/events.md: {name}");
    }
    for name in documented.keys() {
        assert!(
            logged.contains_key(name),
            "docs/events.md: {name} is never logged"
        );
    }
}

#[test]
fn every_reason_of_a_viewers_end_is_listed_in_the_words_of_the_log() {
    let text = fs::read_to_string("docs/events.md").unwrap();
    for end in End::ALL {
        let row = end.row();
        let line = format!("\n| {} | {} |\n", row.name, row.sentence);
        assert!(text.contains(&line), "docs/events.md: {line}");
    }
}

#[test]
fn names_are_fit_for_filters() {
    for name in logged().keys() {
        let fit = |byte: u8| byte.is_ascii_lowercase() || byte == b'-';
        assert!(name.bytes().all(fit), "{name}");
    }
}
