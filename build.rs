//! Lets cargo notice when the lobby's page is built anew. (rust-embed alone notices changed files, not
//! new ones.)

use std::{env, fs, path::Path};

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
}
