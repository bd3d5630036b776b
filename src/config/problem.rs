//! What can be wrong with a configuration, told so that it can be mended.

use std::{collections::HashMap, fmt, io, path::PathBuf};

/// Why there is no configuration. Its text is meant for the operator's eyes, as it is.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The default file is not there and nothing else configures a lobby.
    #[error(
        "there is no configuration: {path} does not exist.\n\
         Write one such as\n\n{example}\n\
         or name another file with --config; `perch demo` needs none.",
        path = path.display(),
        example = EXAMPLE
    )]
    Missing { path: PathBuf },
    /// A file that was named, or that is there, cannot be read.
    #[error("{path}: cannot be read: {source}", path = path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    /// Everything that is wrong with what was read, one line each.
    #[error("{}", Lines(.0))]
    Problems(Vec<Problem>),
}

/// The smallest file that works, shown where there is none.
const EXAMPLE: &str = r#"    [lobby]
    url = "https://lobby.example.org"

    [lobby.auth]
    token_file = "lobby-token"
"#;

/// One thing wrong: where, which key, what was found, what is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub origin: Origin,
    /// Dotted path such as `camera.width`; empty when the whole file is meant.
    pub key: String,
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.origin)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

struct Lines<'a>(&'a [Problem]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

/// Where a value was set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The compiled-in default file.
    Default,
    /// Line and column count from 1, the column in characters.
    File {
        path: PathBuf,
        line: usize,
        column: usize,
    },
    /// A variable of the environment.
    Environment(String),
    /// An argument of the command line.
    Argument(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("configuration"),
            Self::File { path, line, column } => {
                write!(f, "{}:{line}:{column}", path.display())
            }
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::Argument(name) => write!(f, "argument {name}"),
        }
    }
}

/// Where each value was set.
#[derive(Debug, Clone, Default)]
pub struct Origins(HashMap<String, Origin>);

impl Origins {
    pub(super) fn insert(&mut self, key: String, origin: Origin) {
        self.0.insert(key, origin);
    }

    pub(super) fn get(&self, key: &str) -> Option<&Origin> {
        self.0.get(key)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// A key that is not set is told of at the nearest thing around it that is.
    pub fn of(&self, key: &str) -> Origin {
        let mut path = key;
        loop {
            if let Some(origin) = self.get(path) {
                return origin.clone();
            }
            match path.rfind(['.', '[']) {
                Some(end) => path = &path[..end],
                None => return Origin::Default,
            }
        }
    }

    /// What is wrong with a key whose value is fit for use by itself.
    pub fn problem(&self, key: &str, message: impl Into<String>) -> Problem {
        Problem {
            origin: self.of(key),
            key: key.to_owned(),
            message: message.into(),
        }
    }
}

/// A value as it is shown in a message: quoted, cut to a length that fits a line, control
/// characters escaped.
pub(crate) fn shown(text: &str) -> String {
    format!("{:?}", cut(text))
}

/// The beginning of `text`, as much as fits a line.
pub(super) fn cut(text: &str) -> String {
    const LONGEST: usize = 60;
    let mut short: String = text.chars().take(LONGEST).collect();
    if text.chars().nth(LONGEST).is_some() {
        short.push('…');
    }
    short
}

/// Line and column of the byte offset `at` in `text`, both from 1, the column in characters.
pub(crate) fn position(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (
        before.matches('\n').count() + 1,
        before[line_start..].chars().count() + 1,
    )
}
