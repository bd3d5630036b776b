//! The lobby's two keys: made at the first run, kept in the state directory, the same ever after.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::random;
use crate::secret::Secret;

/// The file's name inside the state directory.
pub const FILE: &str = "lobby-keys.toml";

/// More than this is not a file of ours, in bytes.
const MAX_FILE: u64 = 4096;
/// Fewer characters are not a key of ours: 128 bits as base64.
const MIN_KEY: usize = 22;

/// What the embedded lobby signs with, and what its watch link carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    pub secret: Secret,
    pub watch_key: Secret,
}

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The state directory or the file cannot be read or written.
    #[error("cannot {what} the embedded lobby's keys in {}: {source}", path.display())]
    Io {
        what: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    /// The first start with a full disk. Nobody has a watch link yet, so nothing is lost by waiting for room:
    /// a key that is forgotten with the process would only have to be handed out twice.
    #[error(
        "there is no room for the embedded lobby's keys in {}: make room on that disk \
         (`journalctl --vacuum-size=50M`, `apt-get clean`); the next start makes them",
        dir.display()
    )]
    NoRoom { dir: PathBuf },
    /// No keys have been made yet, or not where this user's are.
    #[error(
        "there are no keys yet in {}: start perch with [embedded_lobby] enabled first, \
         or run this as the user that runs it",
        dir.display()
    )]
    Missing { dir: PathBuf },
    /// What is there is not what was written.
    #[error(
        "{} does not hold the embedded lobby's keys ({why}); delete it to have new ones made: \
         the watch link will be a new one too",
        path.display()
    )]
    Corrupt { path: PathBuf, why: String },
    /// Others than the owner may read the keys.
    #[error(
        "{} can be read by other users (mode {mode:03o}); run `chmod 600` on it, \
         or delete it if somebody may have seen it",
        path.display()
    )]
    Exposed { path: PathBuf, mode: u32 },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeysFile {
    secret: String,
    watch_key: String,
}

impl Keys {
    /// New keys, in memory only: 256 bits to sign with and 128 bits for the link.
    pub fn random() -> Self {
        Self {
            secret: Secret::new(random::text::<32>()),
            watch_key: Secret::new(random::text::<16>()),
        }
    }

    /// The keys in `state_dir`; at the first run they are made. The directory has to exist.
    pub fn load_or_create(state_dir: &Path) -> Result<Self, KeysError> {
        match Self::load(state_dir) {
            Err(KeysError::Missing { .. }) => {
                let keys = Self::random();
                keys.write(state_dir, &state_dir.join(FILE))?;
                Ok(keys)
            }
            other => other,
        }
    }

    /// The keys in `state_dir`, which an earlier run has made. Changes nothing.
    pub fn load(state_dir: &Path) -> Result<Self, KeysError> {
        let path = state_dir.join(FILE);
        match File::open(&path) {
            Ok(file) => Self::read(file, path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(KeysError::Missing {
                dir: state_dir.to_owned(),
            }),
            Err(source) => Err(KeysError::Io {
                what: "read",
                path,
                source,
            }),
        }
    }

    fn read(file: File, path: PathBuf) -> Result<Self, KeysError> {
        let failed = |source| KeysError::Io {
            what: "read",
            path: path.clone(),
            source,
        };
        let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(KeysError::Exposed { path, mode });
        }
        let mut bytes = Vec::new();
        file.take(MAX_FILE)
            .read_to_end(&mut bytes)
            .map_err(failed)?;
        parse(&bytes).map_err(|why| KeysError::Corrupt { path, why })
    }

    /// Writes beside the file and renames: there is never half a file under its name.
    fn write(&self, state_dir: &Path, path: &Path) -> Result<(), KeysError> {
        let draft = state_dir.join(format!(".{FILE}.{}", random::text::<6>()));
        let written = self
            .write_draft(&draft)
            .and_then(|()| fs::rename(&draft, path))
            .and_then(|()| File::open(state_dir)?.sync_all());
        written.map_err(|source| {
            // Best effort: the error that led here says more than one of the tidying.
            let _ = fs::remove_file(&draft);
            match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => KeysError::NoRoom {
                    dir: state_dir.to_owned(),
                },
                _ => KeysError::Io {
                    what: "write",
                    path: path.to_owned(),
                    source,
                },
            }
        })
    }

    fn write_draft(&self, draft: &Path) -> io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(draft)?;
        // Whatever the umask left of it.
        file.set_permissions(Permissions::from_mode(0o600))?;
        writeln!(
            file,
            "# Keys of the embedded lobby, made at its first run. Whoever has `secret` can go live here;\n\
             # whoever has `watch_key` can watch. Delete the file to have new ones made.\n\
             secret = \"{}\"\n\
             watch_key = \"{}\"",
            self.secret.expose(),
            self.watch_key.expose()
        )?;
        file.sync_all()
    }
}

/// Says what is wrong without quoting: the file holds secrets.
fn parse(bytes: &[u8]) -> Result<Keys, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not text".to_owned())?;
    let file: KeysFile = toml::from_str(text).map_err(|error| error.message().to_owned())?;
    for (name, key) in [("secret", &file.secret), ("watch_key", &file.watch_key)] {
        let url_safe = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if key.len() < MIN_KEY || !key.bytes().all(url_safe) {
            return Err(format!(
                "`{name}` is not at least {MIN_KEY} letters, digits, `-` or `_`"
            ));
        }
    }
    Ok(Keys {
        secret: Secret::new(file.secret),
        watch_key: Secret::new(file.watch_key),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_made_once_and_only_for_their_owner() {
        let state = tempfile::tempdir().unwrap();
        let made = Keys::load_or_create(state.path()).unwrap();
        let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(state.path().join(FILE)), 0o600);
        assert_eq!(fs::read_dir(state.path()).unwrap().count(), 1);
        assert_eq!(Keys::load_or_create(state.path()).unwrap(), made);
        assert_eq!(Keys::load(state.path()).unwrap(), made);

        let elsewhere = tempfile::tempdir().unwrap();
        let other = Keys::load_or_create(elsewhere.path()).unwrap();
        assert_ne!(other.secret, made.secret);
        assert_ne!(other.watch_key, made.watch_key);
        assert_ne!(made.secret, made.watch_key);
    }

    #[test]
    fn a_damaged_file_is_one_clear_error_that_tells_no_secret() {
        let state = tempfile::tempdir().unwrap();
        let keys = Keys::load_or_create(state.path()).unwrap();
        let path = state.path().join(FILE);
        let good = fs::read_to_string(&path).unwrap();
        let half = good[..good.len() - 20].to_owned();
        for damaged in [
            String::new(),
            half,
            good.replace("secret =", "secrets ="),
            good.replace("watch_key = \"", "watch_key = \"?"),
            "secret = \"short\"\nwatch_key = \"short\"\n".to_owned(),
            format!("{good}extra = 1\n"),
        ] {
            fs::write(&path, &damaged).unwrap();
            let error = Keys::load_or_create(state.path()).unwrap_err();
            assert!(matches!(error, KeysError::Corrupt { .. }), "{error}");
            let text = format!("{error} {error:?}");
            assert!(text.contains(FILE), "{text}");
            assert!(!text.contains(keys.secret.expose()), "{text}");
            assert_eq!(fs::read_to_string(&path).unwrap(), damaged, "left alone");
        }
        fs::write(&path, [0xff, 0xfe, 0x00]).unwrap();
        let error = Keys::load_or_create(state.path()).unwrap_err();
        assert!(matches!(error, KeysError::Corrupt { .. }), "{error}");
    }

    #[test]
    fn keys_that_others_can_read_are_not_used() {
        let state = tempfile::tempdir().unwrap();
        Keys::load_or_create(state.path()).unwrap();
        let path = state.path().join(FILE);
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let error = Keys::load_or_create(state.path()).unwrap_err();
        assert!(matches!(error, KeysError::Exposed { mode: 0o644, .. }));
        assert!(error.to_string().contains("chmod 600"));
    }

    #[test]
    fn a_missing_directory_is_named() {
        let state = tempfile::tempdir().unwrap();
        let error = Keys::load_or_create(&state.path().join("none")).unwrap_err();
        assert!(matches!(error, KeysError::Io { what: "write", .. }));
        assert!(error.to_string().contains("none"), "{error}");
    }
}
