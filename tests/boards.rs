//! docs/boards.md, held against the profiles and their format.

#![expect(
    clippy::unwrap_used,
    reason = "a test that panics has failed, helpers included"
)]

use std::{collections::BTreeSet, fs, path::Path};

use perch::{
    config::Config,
    media::profile::{BUILT_IN, Board, CameraDevice, Hardware, Mode, Profile, Profiles, Span},
};

fn document() -> String {
    fs::read_to_string("docs/boards.md").unwrap()
}

/// The cells of every row whose table begins with this heading.
fn rows(heading: &str) -> Vec<Vec<String>> {
    let document = document();
    let table = document
        .lines()
        .skip_while(|line| !line.starts_with(heading));
    let rows = table.skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|row| {
        row.trim_matches('|')
            .split('|')
            .map(|cell| cell.trim().to_owned())
            .collect()
    })
    .collect()
}

/// What stands between backticks.
fn quoted(cell: &str) -> BTreeSet<String> {
    cell.split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

/// The names that an error says are allowed, between these quotes.
fn allowed(text: &str, quote: char) -> BTreeSet<String> {
    let error = Profile::parse("x.toml", text).unwrap_err().to_string();
    let (_, names) = error
        .rsplit_once("expected ")
        .or_else(|| error.rsplit_once("allowed: "))
        .unwrap_or_else(|| panic!("{error}"));
    match quote {
        '{' => names
            .split(", ")
            .map(|name| name.trim().to_owned())
            .collect(),
        _ => quoted(names),
    }
}

const PROFILE: &str = "name = 'x'\ndescription = 'x'\n";

#[test]
fn every_profile_has_a_row() {
    let documented: BTreeSet<String> = rows("| profile | for")
        .iter()
        .flat_map(|row| quoted(&row[0]))
        .collect();
    let built_in: BTreeSet<String> = BUILT_IN
        .iter()
        .map(|(file, text)| Profile::parse(file, text).unwrap().name)
        .collect();
    assert_eq!(documented, built_in);
}

#[test]
fn every_key_of_a_profile_is_explained() {
    let of = |parts: &[&str]| -> BTreeSet<String> {
        let rows = rows("| key | of");
        let rows = rows.iter().filter(|row| parts.contains(&row[1].as_str()));
        rows.flat_map(|row| quoted(&row[0])).collect()
    };
    assert_eq!(of(&["profile"]), allowed("nosuch = 1", '`'));
    assert_eq!(
        of(&["`auto`"]),
        allowed(&format!("{PROFILE}[auto]\nnosuch = 1"), '`')
    );
    assert_eq!(
        of(&["each part", "`source`", "`encoder`"]),
        allowed(&format!("{PROFILE}[[source]]\nnosuch = 1"), '`')
    );
}

#[test]
fn every_placeholder_is_explained() {
    let of = |part: &str| -> BTreeSet<String> {
        let rows = rows("| placeholder | in");
        let rows = rows.iter().filter(|row| quoted(&row[1]).contains(part));
        rows.flat_map(|row| quoted(&row[0])).collect()
    };
    for part in ["source", "encoder", "audio"] {
        let text = format!("{PROFILE}[[{part}]]\nname = 'x'\nelements = []\nlaunch = '{{nosuch}}'");
        assert_eq!(of(part), allowed(&text, '{'), "{part}");
    }
}

#[test]
fn the_example_is_a_profile_that_its_board_takes() {
    let document = document();
    let (_, rest) = document.split_once("```toml\n").unwrap();
    let (example, _) = rest.split_once("```").unwrap();
    let files = [("example.toml".into(), example.into())];
    let profiles = Profiles::usable(&files).faultless().unwrap();
    let names = profiles.iter().flat_map(|profile| profile.elements(true));
    let hardware = Hardware {
        elements: names.map(str::to_owned).collect(),
        cameras: vec![CameraDevice {
            kind: "libcamera".into(),
            device: "/base/soc/i2c0mux/i2c@1/imx708@1a".into(),
            name: "imx708".into(),
            modes: vec![Mode {
                media: "video/x-raw".into(),
                formats: vec!["NV12".into()],
                width: Span { min: 32, max: 4608 },
                height: Span { min: 32, max: 2592 },
                rates: Vec::new(),
            }],
        }],
        board: Board {
            model: "Raspberry Pi 4 Model B Rev 1.4".into(),
            compatible: vec!["raspberrypi,4-model-b".into(), "brcm,bcm2711".into()],
        },
        ..Hardware::default()
    };
    let text = "[embedded_lobby]\nenabled = true\n[audio]\nenabled = true";
    let config = Config::from_text(Path::new("perch.toml"), text).unwrap();
    let plan = profiles.plan(&config, &hardware).unwrap();
    assert_eq!(plan.encoder, "v4l2h264enc-dmabuf");
    assert!(
        plan.why.ends_with("for Raspberry Pi 4 Model B Rev 1.4"),
        "{}",
        plan.why
    );
}
