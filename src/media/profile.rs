//! `pipelines/*.toml` to launch text. Pure.
