//! Lets cargo notice when the lobby's page is built anew (rust-embed alone notices changed files, not
//! new ones), and tells the program a time that no clock that is right can show any more.

use std::{env, fs, path::Path, process::Command};

/// Where neither the environment nor git knows better: 2026-01-01.
const EARLIEST: u64 = 1_767_225_600;

fn main() {
    let root = env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it for build scripts");
    // A path that does not exist would count as changed at every build: make it, if it may be made.
    let page = Path::new(&root).join("web/dist");
    let watched = if page.is_dir() || fs::create_dir_all(&page).is_ok() {
        "web/dist"
    } else {
        "build.rs"
    };
    println!("cargo::rerun-if-changed={watched}");
    println!("cargo::rerun-if-env-changed=SOURCE_DATE_EPOCH");
    println!("cargo::rustc-env=PERCH_BUILD_EPOCH={}", epoch());
}

/// Seconds since 1970: what the packager says (reproducible-builds.org/specs/source-date-epoch), else the last
/// commit's time, so that the same sources give the same program. It need not be the newest: a clock that was
/// never set is years off.
fn epoch() -> u64 {
    let told = env::var("SOURCE_DATE_EPOCH").ok();
    let committed = || {
        let output = Command::new("git")
            .args(["log", "-1", "--format=%ct"])
            .output()
            .ok()?;
        String::from_utf8(output.stdout).ok()
    };
    told.or_else(committed)
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(EARLIEST)
}
