//! The local socket that `perch status` asks. It only answers: nothing that comes in is read.
//!
//! A connection gets one JSON object and is closed. File permissions say who may ask: the daemon's user, its group,
//! and root.

use std::{
    env, fs, io,
    io::Read as _,
    os::{
        fd::AsRawFd as _,
        unix::{fs::PermissionsExt as _, net::UnixStream as BlockingStream},
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use nix::sys::{
    socket::{self as sys, AddressFamily, SockFlag, SockType, UnixAddr, sockopt::SendTimeout},
    time::{TimeVal, TimeValLike as _},
};
use serde_json::json;
use tokio::{
    io::AsyncWriteExt as _,
    net::{UnixListener, UnixStream},
    sync::Semaphore,
    task::JoinHandle,
    time::{sleep, timeout},
};
use tracing::debug;

use super::{Status, observer::Observer};

const NAME: &str = "status.sock";
/// Where the service's runtime directory is.
const SYSTEM_DIRECTORY: &str = "/run/perch";
/// Who asks at the same time as so many others is hung up on.
const AT_ONCE: usize = 4;
/// For a picture and for the one who asked to take it.
const ANSWER_WITHIN: Duration = Duration::from_secs(8);
/// How long the listener rests after an error of `accept` that will not pass by itself.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// No daemon says more than this.
const LONGEST: u64 = 4 << 20;
/// How long `perch status` waits for a daemon: longer than `ANSWER_WITHIN`, after which a daemon that is well
/// hangs up.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// Where there is a socket already: how long whoever is behind it may take to let somebody in.
const TAKEN_WITHIN: Duration = Duration::from_secs(1);

/// Why there is no socket. The daemon does without.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("another perch answers at {}", .0.display())]
    Taken(PathBuf),
    #[error("{}: {source}", .path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// Why there is no status. One line each, for the person who asked.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error("perch does not run: nobody answers at {}; start it, or see `journalctl -u perch`", .0.display())]
    NotRunning(PathBuf),
    #[error("you may not ask {}: only root, perch's user and its group may; try sudo", .0.display())]
    Forbidden(PathBuf),
    #[error(
        "perch runs but does not answer at {} within {} s: it hangs; see `journalctl -u perch`", .0.display(), .1.as_secs()
    )]
    Hung(PathBuf, Duration),
    /// It says itself why it cannot.
    #[error("perch runs but cannot tell how it is: {0}")]
    Refused(String),
    #[error("what answers at {} is no perch, or another version of it: {why}", .path.display())]
    Garbage { path: PathBuf, why: String },
    #[error("cannot ask {}: {source}", .path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// Where the socket is: in `$RUNTIME_DIRECTORY` (systemd's `RuntimeDirectory=`), else in `/run/perch` for root and in
/// `$XDG_RUNTIME_DIR/perch` for others. `None` where there is no place for it.
pub fn path(is_root: bool) -> Option<PathBuf> {
    let given = env::var_os("RUNTIME_DIRECTORY").filter(|directory| !directory.is_empty());
    if let Some(given) = given {
        return env::split_paths(&given)
            .next()
            .map(|directory| directory.join(NAME));
    }
    if is_root {
        return Some(Path::new(SYSTEM_DIRECTORY).join(NAME));
    }
    let own = env::var_os("XDG_RUNTIME_DIR").filter(|directory| !directory.is_empty())?;
    Some(PathBuf::from(own).join("perch").join(NAME))
}

/// Where a person's question goes: to their own daemon if there is one, else to the service's.
pub fn path_to_ask(is_root: bool) -> PathBuf {
    path(is_root)
        .filter(|path| path.exists() || env::var_os("RUNTIME_DIRECTORY").is_some())
        .unwrap_or_else(|| Path::new(SYSTEM_DIRECTORY).join(NAME))
}

/// An open socket; gone when this is dropped.
#[derive(Debug)]
pub struct StatusSocket {
    path: PathBuf,
    task: JoinHandle<()>,
}

impl Drop for StatusSocket {
    fn drop(&mut self) {
        self.task.abort();
        let _ = fs::remove_file(&self.path);
    }
}

/// Answers at `path` from now on.
pub fn open(path: &Path, observer: Observer) -> Result<StatusSocket, OpenError> {
    let failed = |source| OpenError::Io {
        path: path.to_owned(),
        source,
    };
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).map_err(failed)?;
    }
    let listener = match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            match connect(path, TAKEN_WITHIN) {
                Ok(_) => return Err(OpenError::Taken(path.to_owned())),
                // So many wait for its answer that there is no place for one more.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(OpenError::Taken(path.to_owned()));
                }
                Err(_) => {}
            }
            // A daemon that was killed left it behind.
            fs::remove_file(path).map_err(failed)?;
            UnixListener::bind(path).map_err(failed)?
        }
        other => other.map_err(failed)?,
    };
    fs::set_permissions(path, fs::Permissions::from_mode(0o660)).map_err(failed)?;
    Ok(StatusSocket {
        path: path.to_owned(),
        task: tokio::spawn(serve(listener, observer)),
    })
}

async fn serve(listener: UnixListener, observer: Observer) {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                debug!(%error, "the status socket cannot accept");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(place) = places.clone().try_acquire_owned() else {
            continue;
        };
        let observer = observer.clone();
        tokio::spawn(async move {
            let _ = timeout(ANSWER_WITHIN, answer(stream, observer)).await;
            drop(place);
        });
    }
}

async fn answer(mut stream: UnixStream, observer: Observer) -> io::Result<()> {
    let text = match observer.picture_with_rates().await {
        Ok(picture) => serde_json::to_string(&*picture)?,
        Err(error) => json!({ "error": error.to_string() }).to_string(),
    };
    stream.write_all(text.as_bytes()).await?;
    stream.shutdown().await
}

/// Asks the daemon at `path`. Blocks for `patience` at most.
pub fn ask(path: &Path, patience: Duration) -> Result<Status, AskError> {
    let text = read(path, patience)?;
    let garbage = |error: serde_json::Error| AskError::Garbage {
        path: path.to_owned(),
        why: error.to_string(),
    };
    let value: serde_json::Value = serde_json::from_slice(&text).map_err(garbage)?;
    if let Some(why) = value.get("error").and_then(serde_json::Value::as_str) {
        return Err(AskError::Refused(why.to_owned()));
    }
    serde_json::from_value(value).map_err(garbage)
}

/// As [`BlockingStream::connect`], which waits for ever where the other end lets nobody in: `WouldBlock` after `patience`.
fn connect(path: &Path, patience: Duration) -> io::Result<BlockingStream> {
    let socket = sys::socket(
        AddressFamily::Unix,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    let patience = TimeVal::milliseconds(i64::try_from(patience.as_millis()).unwrap_or(i64::MAX));
    // It bounds connect(2) as well (unix(7) has no other way).
    sys::setsockopt(&socket, SendTimeout, &patience)?;
    sys::connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(socket.into())
}

fn read(path: &Path, patience: Duration) -> Result<Vec<u8>, AskError> {
    let deadline = Instant::now() + patience;
    let owned = || path.to_owned();
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => AskError::NotRunning(owned()),
        io::ErrorKind::PermissionDenied => AskError::Forbidden(owned()),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => AskError::Hung(owned(), patience),
        _ => AskError::Io {
            path: owned(),
            source,
        },
    };
    let mut stream = connect(path, patience).map_err(failed)?;
    let mut text = Vec::new();
    let mut piece = [0; 16 * 1024];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(AskError::Hung(owned(), patience));
        }
        stream.set_read_timeout(Some(left)).map_err(failed)?;
        match stream.read(&mut piece) {
            Ok(0) if text.is_empty() => {
                return Err(AskError::Refused("it hung up; ask again".to_owned()));
            }
            Ok(0) => return Ok(text),
            Ok(length) => text.extend_from_slice(&piece[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error)),
        }
        if text.len() as u64 > LONGEST {
            return Err(AskError::Garbage {
                path: owned(),
                why: format!("it says more than {LONGEST} bytes"),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener as BlockingListener;

    use super::*;

    #[test]
    fn a_daemon_that_lets_nobody_in_is_not_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(NAME);
        let listener = BlockingListener::bind(&path).unwrap();
        // Fills the queue of those who wait to be let in.
        let short = Duration::from_millis(50);
        let waiting: Vec<_> = std::iter::from_fn(|| connect(&path, short).ok())
            .take(10_000)
            .collect();
        assert!(waiting.len() < 10_000, "the queue has an end");
        let asked = ask(&path, short);
        assert!(matches!(asked, Err(AskError::Hung(..))), "{asked:?}");
        drop((listener, waiting));
        let asked = ask(&path, short);
        assert!(matches!(asked, Err(AskError::NotRunning(_))), "{asked:?}");
    }

    #[test]
    fn a_daemon_has_time_to_say_that_it_cannot_tell() {
        assert!(PATIENCE > ANSWER_WITHIN);
    }
}
