//! Which keys there are, of which type, and what is said about a key that is none of them.

/// The type of a key's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Integer,
    /// An integer or a fraction.
    Number,
    Boolean,
    /// Integer seconds, or a text with a unit (`"2h"`).
    Duration,
    /// A list of tables, whose keys are listed as `path[].key`.
    Tables,
}

/// One key, and what it may hold in the operator's words.
#[derive(Debug)]
pub(super) struct Key {
    pub path: &'static str,
    pub kind: Kind,
    pub allowed: &'static str,
}

const fn key(path: &'static str, kind: Kind, allowed: &'static str) -> Key {
    Key {
        path,
        kind,
        allowed,
    }
}

const A_FILE: &str = "the path of a file, as a text";
const A_BOOLEAN: &str = "true or false";
const A_TTL: &str = "30 seconds to 30 days, as integer seconds or a text such as \"90s\", \"30min\", \"2h\", \"7d\"";
const A_SIZE: &str = "an even number from 16 to 4096 (pixels)";
const A_DEVICE: &str = "a text of letters, digits, spaces and / . _ : = , @ + -";

/// Every key there is.
pub(super) static KEYS: &[Key] = &[
    key("stream.title", Kind::Text, "a text of 1 to 120 characters"),
    key(
        "camera.profile",
        Kind::Text,
        "\"auto\" or the name of a profile",
    ),
    key("camera.device", Kind::Text, A_DEVICE),
    key("camera.width", Kind::Integer, A_SIZE),
    key("camera.height", Kind::Integer, A_SIZE),
    key(
        "camera.framerate",
        Kind::Integer,
        "an integer from 1 to 120 (frames per second)",
    ),
    key(
        "camera.idle",
        Kind::Text,
        "\"warm\", \"encoder-off\" or \"camera-off\"",
    ),
    key(
        "encoder.bitrate",
        Kind::Integer,
        "an integer from 50000 to 50000000 (bits per second)",
    ),
    key(
        "encoder.min_bitrate",
        Kind::Integer,
        "0, or an integer from 50000 up to encoder.bitrate (bits per second)",
    ),
    key(
        "encoder.keyframe_interval",
        Kind::Number,
        "a number from 0.5 to 60 (seconds)",
    ),
    key("encoder.second_rendition", Kind::Boolean, A_BOOLEAN),
    key("audio.enabled", Kind::Boolean, A_BOOLEAN),
    key("audio.device", Kind::Text, A_DEVICE),
    key(
        "lobby.url",
        Kind::Text,
        "an address with http, https, ws or wss, a host, and no user name, password, query or fragment",
    ),
    key("lobby.ca_file", Kind::Text, A_FILE),
    key("lobby.auth.token_file", Kind::Text, A_FILE),
    key("lobby.auth.secret_file", Kind::Text, A_FILE),
    key(
        "lobby.auth.subject",
        Kind::Text,
        "a user id of up to 200 characters, as a text",
    ),
    key("lobby.auth.ttl", Kind::Duration, A_TTL),
    key("viewers.max", Kind::Integer, "an integer from 1 to 500"),
    key("viewers.spare", Kind::Integer, "an integer from 0 to 8"),
    key("viewers.candidates", Kind::Text, "\"any\" or \"local\""),
    key(
        "ice.servers",
        Kind::Tables,
        "a list of tables such as { url = \"stun:stun.example.org\" }",
    ),
    key(
        "ice.servers[].url",
        Kind::Text,
        "stun:HOST[:PORT], turn:HOST[:PORT][?transport=udp|tcp] or turns:HOST[:PORT][?transport=tcp]",
    ),
    key(
        "ice.servers[].username",
        Kind::Text,
        "a text of up to 200 characters",
    ),
    key("ice.servers[].credential_file", Kind::Text, A_FILE),
    key("ice.servers[].secret_file", Kind::Text, A_FILE),
    key("ice.servers[].ttl", Kind::Duration, A_TTL),
    key("metrics.enabled", Kind::Boolean, A_BOOLEAN),
    key(
        "metrics.listen",
        Kind::Text,
        "an address and a port, such as \"127.0.0.1:9100\" or \"[::]:9100\"",
    ),
    key("embedded_lobby.enabled", Kind::Boolean, A_BOOLEAN),
    key(
        "embedded_lobby.listen",
        Kind::Text,
        "an address and a port, such as \"127.0.0.1:8080\" or \"[::]:8080\"",
    ),
    key("embedded_lobby.certificate_file", Kind::Text, A_FILE),
    key("embedded_lobby.key_file", Kind::Text, A_FILE),
];

/// What stands at a path.
#[derive(Debug)]
pub(super) enum Entry {
    Section,
    Key(&'static Key),
    Unknown,
}

/// Looks a path up; indices of lists may be written as `[3]` or `[]`.
pub(super) fn lookup(path: &str) -> Entry {
    let path = without_indices(path);
    if let Some(key) = KEYS.iter().find(|key| key.path == path) {
        return Entry::Key(key);
    }
    let is_section = KEYS.iter().any(|key| {
        key.path
            .strip_prefix(&path)
            .is_some_and(|rest| rest.starts_with('.'))
    });
    if is_section {
        Entry::Section
    } else {
        Entry::Unknown
    }
}

/// What a key may hold. Only for paths that are in [`KEYS`].
pub(super) fn allowed(path: &str) -> &'static str {
    match lookup(path) {
        Entry::Key(key) => key.allowed,
        Entry::Section | Entry::Unknown => "nothing",
    }
}

fn without_indices(path: &str) -> String {
    let mut plain = String::with_capacity(path.len());
    let mut inside = false;
    for character in path.chars() {
        match character {
            '[' => {
                inside = true;
                plain.push('[');
            }
            ']' => {
                inside = false;
                plain.push(']');
            }
            _ if inside => {}
            other => plain.push(other),
        }
    }
    plain
}

/// What is said about a key that does not exist, with the likeliest way to mend it.
pub(super) fn about_unknown(parent: &str, name: &str) -> String {
    let siblings = children(parent);
    if let Some(hint) = secret_hint(name, &siblings) {
        return hint;
    }
    if let Some(near) = nearest(name, &siblings) {
        return format!("unknown key; did you mean `{near}`?");
    }
    let elsewhere = KEYS.iter().find_map(|key| match key.path.rsplit_once('.') {
        Some((section, last)) if last == name => Some(section.trim_end_matches("[]")),
        _ => None,
    });
    if let Some(section) = elsewhere {
        return format!("unknown key; `{name}` belongs under [{section}]");
    }
    format!("unknown key; allowed here: {}", siblings.join(", "))
}

/// A value under such a name is a secret that was pasted in: say where it belongs, never show it.
fn secret_hint(name: &str, siblings: &[&str]) -> Option<String> {
    let lower = name.to_ascii_lowercase();
    let looks_secret = ["token", "secret", "password", "passwd", "credential", "jwt"]
        .iter()
        .any(|word| lower.contains(word));
    if !looks_secret || lower.ends_with("_file") {
        return None;
    }
    let files: Vec<_> = siblings
        .iter()
        .filter(|sibling| sibling.ends_with("_file") && **sibling != "ca_file")
        .map(|sibling| format!("`{sibling}`"))
        .collect();
    let by = if files.is_empty() {
        "the *_file keys of [lobby.auth] and [ice]".to_owned()
    } else {
        files.join(" or ")
    };
    Some(format!(
        "secrets do not stand in the configuration; put it into a file of its own and name that with {by}"
    ))
}

fn children(parent: &str) -> Vec<&'static str> {
    let parent = without_indices(parent);
    let mut names: Vec<&'static str> = Vec::new();
    for key in KEYS {
        let rest = if parent.is_empty() {
            Some(key.path)
        } else {
            key.path
                .strip_prefix(parent.as_str())
                .and_then(|rest| rest.strip_prefix('.'))
        };
        if let Some(name) = rest.and_then(|rest| rest.split(['.', '[']).next())
            && !names.contains(&name)
        {
            names.push(name);
        }
    }
    names
}

/// The candidate that is a slip of the finger away from `name`, if there is one.
pub(crate) fn nearest<'a>(name: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let name = name.to_ascii_lowercase();
    candidates
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(&name, candidate), *candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}
