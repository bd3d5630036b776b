//! `pipelines/*.toml` to launch text. Pure.

/// What `gst_parse_launch` is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaunchText {
    /// Source to encoder.
    pub video: String,
    /// Source to `opusenc`.
    pub audio: Option<String>,
}
