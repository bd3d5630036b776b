//! Files and environment to one set of raw values, each with the place where it was set.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use config::{Map, Value, ValueKind};
use toml::{
    Spanned,
    de::{DeArray, DeTable, DeValue},
};

use crate::files;

use super::{
    duration,
    problem::{ConfigError, Origin, Origins, Problem, cut, position, shown},
    schema::{self, Entry, Kind},
};

/// One file's errors of syntax that are told. What follows the first few mostly follows from them.
const MOST_SYNTAX_ERRORS: usize = 20;

/// Variables that begin so are configuration.
const ENVIRONMENT_PREFIX: &str = "PERCH__";

/// Whether a variable of the environment is meant for the configuration.
pub(super) fn is_configuration(name: &str) -> bool {
    name.starts_with(ENVIRONMENT_PREFIX)
}

/// Everything read so far. Values that are wrong are left out, so that the layer below shows
/// through and the remaining checks can still be made.
#[derive(Debug, Default)]
pub(super) struct Layers {
    layers: Vec<Layer>,
    pub origins: Origins,
    pub problems: Vec<Problem>,
}

/// One source of values for the `config` crate, which lays the later over the earlier.
#[derive(Debug, Clone, Default)]
struct Layer(Map<String, Value>);

impl config::Source for Layer {
    fn clone_into_box(&self) -> Box<dyn config::Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, config::ConfigError> {
        Ok(self.0.clone())
    }
}

impl Layers {
    /// Lays a file over what there is.
    pub fn add_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let file = path.to_owned();
        let text = files::in_time(path, move || fs::read_to_string(file))
            .flatten()
            .map_err(|source| ConfigError::Unreadable {
                path: path.to_owned(),
                source,
            })?;
        self.add_text(&text, &Place::File { path, text: &text });
        Ok(())
    }

    /// Lays every `*.toml` of a directory over what there is, in the order of their names. A
    /// directory that does not exist is empty. Tells whether there was any.
    pub fn add_directory(&mut self, directory: &Path) -> Result<bool, ConfigError> {
        let unreadable = |source: io::Error| ConfigError::Unreadable {
            path: directory.to_owned(),
            source,
        };
        let entries = match fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(unreadable(error)),
        };
        let mut files: Vec<PathBuf> = Vec::new();
        for entry in entries {
            let path = entry.map_err(unreadable)?.path();
            let hidden = path
                .file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with('.'));
            if !hidden
                && path
                    .extension()
                    .is_some_and(|extension| extension == "toml")
            {
                files.push(path);
            }
        }
        files.sort();
        for file in &files {
            self.add_file(file)?;
        }
        Ok(!files.is_empty())
    }

    /// Lays TOML over what there is.
    pub fn add_text(&mut self, text: &str, place: &Place<'_>) {
        // The parser's own rendering quotes the faulty line, which may hold a secret: only its
        // message and position are passed on.
        let (table, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            for error in errors.into_iter().take(MOST_SYNTAX_ERRORS) {
                self.problems.push(Problem {
                    origin: place.origin(error.span().map_or(0, |span| span.start)),
                    key: String::new(),
                    message: format!("not TOML: {}", error.message().replace('\n', "; ")),
                });
            }
            return;
        }
        let layer = Layer(self.table(table.get_ref(), "", place));
        self.layers.push(layer);
    }

    /// Lays the `PERCH__SECTION__KEY` variables over what there is. Tells whether there was any.
    pub fn add_environment<'a>(
        &mut self,
        variables: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> bool {
        let mut variables: Vec<_> = variables
            .into_iter()
            .filter(|(name, _)| is_configuration(name))
            .collect();
        variables.sort_unstable();
        let any = !variables.is_empty();
        for (name, text) in variables {
            self.add_variable(name, text);
        }
        any
    }

    fn add_variable(&mut self, name: &str, text: &str) {
        let place = Place::Whole(Origin::Environment(name.to_owned()));
        let path = name[ENVIRONMENT_PREFIX.len()..]
            .to_ascii_lowercase()
            .replace("__", ".");
        match schema::lookup(&path) {
            Entry::Key(key) if !path.contains('[') => {
                let parsed = match key.kind {
                    Kind::Text => None,
                    _ => DeValue::parse(text).ok(),
                };
                let value = parsed
                    .unwrap_or_else(|| Spanned::new(0..text.len(), DeValue::String(text.into())));
                if let Some(value) = self.value(&value, 0, &path, key, &place) {
                    self.add_value(&path, value);
                }
            }
            Entry::Section => self.problem(
                &place,
                0,
                &path,
                format!("is a section; name a key in it: {name}__KEY"),
            ),
            Entry::Key(_) | Entry::Unknown => {
                let (parent, last) = path.rsplit_once('.').unwrap_or(("", &path));
                let message = schema::about_unknown(parent, last);
                self.problem(&place, 0, &path, message);
            }
        }
    }

    /// Lays one argument of the command line over what there is.
    pub fn add_argument(
        &mut self,
        argument: &'static str,
        path: &str,
        value: impl Into<ValueKind>,
    ) {
        self.origins
            .insert(path.to_owned(), Origin::Argument(argument));
        self.add_value(path, Value::new(None, value));
    }

    fn add_value(&mut self, path: &str, value: Value) {
        let mut layer = Layer::default();
        let nested = path.rsplit('.').fold(value, |inner, name| {
            Value::new(None, Map::from_iter([(name.to_owned(), inner)]))
        });
        if let ValueKind::Table(table) = nested.kind {
            layer.0 = table;
        }
        self.layers.push(layer);
    }

    /// All layers, the last on top.
    pub fn merged<T: serde::de::DeserializeOwned>(&self) -> Result<T, config::ConfigError> {
        let mut builder = config::Config::builder();
        for layer in &self.layers {
            builder = builder.add_source(layer.clone());
        }
        builder.build()?.try_deserialize()
    }

    fn table(&mut self, table: &DeTable<'_>, path: &str, place: &Place<'_>) -> Map<String, Value> {
        let mut values = Map::new();
        for (name, value) in table {
            let at = name.span().start;
            let name: &str = name.get_ref();
            let full = if path.is_empty() {
                name.to_owned()
            } else {
                format!("{path}.{name}")
            };
            let known = if is_bare(name) {
                schema::lookup(&full)
            } else {
                Entry::Unknown
            };
            let value = match known {
                Entry::Key(key) => self.value(value, at, &full, key, place),
                Entry::Section => match value.get_ref() {
                    DeValue::Table(inner) => {
                        Some(Value::new(None, self.table(inner, &full, place)))
                    }
                    other => {
                        let message = format!("found {}, allowed: a section", found(other));
                        self.problem(place, at, &full, message);
                        None
                    }
                },
                Entry::Unknown => {
                    let message = schema::about_unknown(path, name);
                    self.problem(place, at, &full, message);
                    None
                }
            };
            if let Some(value) = value {
                values.insert(name.to_owned(), value);
            }
        }
        values
    }

    /// A key's value in the type that the schema asks for.
    fn value(
        &mut self,
        value: &Spanned<DeValue<'_>>,
        at: usize,
        path: &str,
        key: &'static schema::Key,
        place: &Place<'_>,
    ) -> Option<Value> {
        let kind: Option<ValueKind> = match (key.kind, value.get_ref()) {
            (Kind::Text, DeValue::String(text)) => Some(text.to_string().into()),
            (Kind::Boolean, DeValue::Boolean(boolean)) => Some((*boolean).into()),
            (Kind::Integer | Kind::Duration, DeValue::Integer(integer)) => {
                i64::from_str_radix(integer.as_str(), integer.radix())
                    .ok()
                    .map(Into::into)
            }
            (Kind::Duration, DeValue::String(text)) => duration::seconds(text).map(Into::into),
            (Kind::Number, DeValue::Integer(integer)) => {
                i64::from_str_radix(integer.as_str(), integer.radix())
                    .ok()
                    .map(|integer| (integer as f64).into())
            }
            (Kind::Number, DeValue::Float(float)) => float
                .as_str()
                .parse::<f64>()
                .ok()
                .filter(|float| float.is_finite())
                .map(Into::into),
            (Kind::Tables, DeValue::Array(tables)) => {
                self.origins.insert(path.to_owned(), place.origin(at));
                return self.tables(tables, path, key, place);
            }
            _ => None,
        };
        match kind {
            Some(kind) => {
                self.origins.insert(path.to_owned(), place.origin(at));
                Some(Value::new(None, kind))
            }
            None => {
                let message = format!("found {}, allowed: {}", found(value.get_ref()), key.allowed);
                self.problem(place, at, path, message);
                None
            }
        }
    }

    fn tables(
        &mut self,
        tables: &DeArray<'_>,
        path: &str,
        key: &'static schema::Key,
        place: &Place<'_>,
    ) -> Option<Value> {
        let mut values: Vec<Value> = Vec::new();
        for (index, table) in tables.iter().enumerate() {
            let full = format!("{path}[{index}]");
            let at = table.span().start;
            let DeValue::Table(inner) = table.get_ref() else {
                let message = format!("found {}, allowed: {}", found(table.get_ref()), key.allowed);
                self.problem(place, at, &full, message);
                return None;
            };
            self.origins.insert(full.clone(), place.origin(at));
            values.push(Value::new(None, self.table(inner, &full, place)));
        }
        Some(Value::new(None, values))
    }

    fn problem(&mut self, place: &Place<'_>, at: usize, path: &str, message: String) {
        self.problems.push(Problem {
            origin: place.origin(at),
            key: path.to_owned(),
            message,
        });
    }
}

/// Where a text comes from, to turn byte offsets in it into lines and columns.
#[derive(Debug)]
pub(super) enum Place<'a> {
    File {
        path: &'a Path,
        text: &'a str,
    },
    /// Too small for lines: a variable, or the compiled-in file.
    Whole(Origin),
}

impl Place<'_> {
    fn origin(&self, at: usize) -> Origin {
        match self {
            Self::Whole(origin) => origin.clone(),
            Self::File { path, text } => {
                let (line, column) = position(text, at);
                Origin::File {
                    path: path.to_path_buf(),
                    line,
                    column,
                }
            }
        }
    }
}

/// Names with dots or brackets could be mistaken for paths; no key has any.
fn is_bare(name: &str) -> bool {
    name.chars()
        .all(|character| character.is_ascii_alphanumeric() || "_-".contains(character))
}

fn found(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("the text {}", shown(text)),
        // Both as they are written, with as many digits as somebody cares to write.
        DeValue::Integer(integer) => format!("the integer {}", cut(&integer.to_string())),
        DeValue::Float(float) => format!("the number {}", cut(&float.to_string())),
        DeValue::Boolean(boolean) => boolean.to_string(),
        DeValue::Datetime(_) => "a date".to_owned(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}
