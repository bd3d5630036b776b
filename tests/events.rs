//! What the journal may say, compared with what docs/events.md says of it.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use perch::{
    host::{
        adaptation::Why,
        end::{End, Rebuild},
    },
    media::camera::status::Fault,
    signaling::{client::state::Cause, message::Refusal},
};

/// Lines below `info` are for developers: their names are promised to nobody.
const LEVELS: [&str; 3] = ["info", "warn", "error"];

/// What the journal knows of an event, or the document says of it.
#[derive(Debug, Default, PartialEq)]
struct Facts {
    levels: Vec<String>,
    fields: BTreeSet<String>,
}

/// Each event that the program logs.
fn logged() -> BTreeMap<String, Facts> {
    let mut events: BTreeMap<String, Facts> = BTreeMap::new();
    for file in sources(Path::new("src")) {
        let text = fs::read_to_string(&file).unwrap();
        for (level, call) in calls(&text) {
            let name = name(call);
            let name = name.unwrap_or_else(|| {
                panic!("{}: a line without an event's name: {call}", file.display())
            });
            let facts = events.entry(name.to_owned()).or_default();
            if !facts.levels.iter().any(|known| known == level) {
                facts.levels.push(level.to_owned());
            }
            facts.fields.extend(fields(call).map(str::to_owned));
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

/// The names of a call's fields: `name`, `name = value`, `%name` or `?name`, up to the sentence.
fn fields(call: &str) -> impl Iterator<Item = &str> {
    split(call)
        .into_iter()
        .map(str::trim)
        .take_while(|part| !part.starts_with('"'))
        .map(|part| part.split('=').next().unwrap().trim())
        .map(|name| name.trim_start_matches(['%', '?']))
        .filter(|name| *name != "event")
}

/// At the commas that stand in no bracket and in no text.
fn split(call: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut depth, mut in_text, mut from) = (0, false, 0);
    for (at, character) in call.char_indices() {
        match character {
            '"' => in_text = !in_text,
            _ if in_text => {}
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&call[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&call[from..]);
    parts
}

fn document() -> String {
    fs::read_to_string("docs/events.md").unwrap()
}

/// The rows of the document's tables: `| `name` | levels | fields | …`.
fn documented() -> BTreeMap<String, Facts> {
    let list = |cell: &str| -> Vec<String> {
        let words = cell.split(',').map(str::trim);
        words
            .filter(|word| !word.is_empty())
            .map(str::to_owned)
            .collect()
    };
    document()
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .map(|row| {
            let cells: Vec<&str> = row.split('|').collect();
            let name = cells[0].trim().trim_end_matches('`');
            let facts = Facts {
                levels: list(cells[1]),
                fields: list(cells[2]).into_iter().collect(),
            };
            (name.to_owned(), facts)
        })
        .collect()
}

/// What the document lists in the paragraph `Of `event`, …: name, name.`
fn reasons_of(event: &str) -> Vec<String> {
    let text = document();
    let paragraph = text
        .lines()
        .filter(|line| line.starts_with("Of `"))
        .filter_map(|line| line.split_once(": "))
        .find(|(events, _)| events.contains(&format!("`{event}`")));
    let (_, names) = paragraph.unwrap_or_else(|| panic!("docs/events.md: no reasons of {event}"));
    let names = names.trim_end_matches('.').split(", ");
    names.map(str::to_owned).collect()
}

#[test]
fn every_line_of_the_journal_has_a_name_that_is_explained_with_its_fields() {
    let (logged, documented) = (logged(), documented());
    for (name, facts) in &logged {
        assert_eq!(documented.get(name), Some(facts), "docs/events.md: {name}");
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
    let text = document();
    let table = text.split_once("| reason | sentence |\n|---|---|\n");
    let (_, table) = table.expect("the table of reasons");
    let rows: Vec<&str> = table
        .lines()
        .take_while(|line| line.starts_with('|'))
        .collect();
    let expected: Vec<String> = End::ALL
        .iter()
        .map(|end| format!("| {} | {} |", end.row().name, end.row().sentence))
        .collect();
    assert_eq!(rows, expected, "docs/events.md");
}

#[test]
fn every_other_reason_is_listed() {
    let cause = Cause::ALL.map(Cause::name).to_vec();
    let fault = Fault::ALL.map(Fault::name).to_vec();
    let expected = [
        ("camera-lost", fault.clone()),
        ("camera-waiting", fault.clone()),
        ("camera-restart", fault),
        ("line-lost", cause.clone()),
        ("line-still-lost", cause),
        ("viewer-rebuilt", Rebuild::ALL.map(Rebuild::name).to_vec()),
        ("viewer-refused", Refusal::NAMES.to_vec()),
        ("viewer-rendition", Why::ALL.map(Why::name).to_vec()),
    ];
    for (event, names) in &expected {
        assert_eq!(&reasons_of(event), names, "docs/events.md: {event}");
    }
    for (name, facts) in logged() {
        let known = name == "viewer-ended" || expected.iter().any(|(event, _)| *event == name);
        assert!(
            known || !facts.fields.contains("reason"),
            "docs/events.md must list the reasons of {name}"
        );
    }
}

#[test]
fn names_are_fit_for_filters() {
    for name in logged().keys() {
        let fit = |byte: u8| byte.is_ascii_lowercase() || byte == b'-';
        assert!(name.bytes().all(fit), "{name}");
    }
}
