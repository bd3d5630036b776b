//! `docs/configure.md` has every key, with its default and with what it may hold, and no other.

use super::{
    REFERENCE,
    layers::{Layers, Place},
    problem::Origin,
    schema,
};

const PAGE: &str = include_str!("../../docs/configure.md");

/// A row of the page's tables of keys.
struct Row {
    key: String,
    default: String,
    allowed: String,
}

fn rows() -> Vec<Row> {
    let is_row = |line: &&str| line.starts_with("| `") && line.contains('.');
    let part = PAGE
        .split("\n## ")
        .find(|part| part.starts_with("Every key"));
    let rows = part.unwrap().lines().filter(is_row).map(|line| {
        // A bar within a cell is written as `\|`.
        let line = line.trim_matches('|').replace("\\|", "\u{1}");
        let cells: Vec<String> = line
            .split('|')
            .map(|cell| cell.trim().replace('\u{1}', "|"))
            .collect();
        let [key, default, allowed, means] = &cells[..] else {
            panic!("{} cells: {line}", cells.len());
        };
        assert!(means.len() > 5, "{line}");
        Row {
            key: key.trim_matches('`').to_owned(),
            default: default.trim_matches('`').to_owned(),
            allowed: allowed.clone(),
        }
    });
    rows.collect()
}

#[test]
fn the_page_has_every_key_once_and_no_other() {
    let there: Vec<_> = rows().into_iter().map(|row| row.key).collect();
    let wanted: Vec<_> = schema::KEYS.iter().map(|key| key.path).collect();
    assert_eq!(there, wanted);
}

#[test]
fn the_page_says_what_each_key_may_hold() {
    for (row, key) in rows().iter().zip(schema::KEYS) {
        assert_eq!(row.allowed, key.allowed, "{}", row.key);
    }
}

#[test]
fn the_page_has_the_defaults() {
    let mut section = String::new();
    let mut defaults = Vec::new();
    for line in REFERENCE.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']').to_owned();
        } else if let Some((name, value)) = line.split_once(" = ")
            && !line.starts_with('#')
        {
            defaults.push((format!("{section}.{name}"), value));
        }
    }
    // That these lines are what is read as defaults.
    let mut layers = Layers::default();
    layers.add_text(REFERENCE, &Place::Whole(Origin::Default));
    assert_eq!(layers.origins.len(), defaults.len());

    let rows = rows();
    for (key, value) in &defaults {
        let row = rows.iter().find(|row| row.key == *key).unwrap();
        assert_eq!(row.default, *value, "{key}");
    }
    for row in &rows {
        let has_one = defaults.iter().any(|(key, _)| *key == row.key);
        assert_eq!(has_one, !row.default.is_empty(), "{}", row.key);
    }
}
