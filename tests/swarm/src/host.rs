//! The host under test: the real `perch run` with its embedded lobby, in a process of its own, and
//! what `/proc` says of it.

use std::{
    env,
    ffi::OsStr,
    fs,
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::time::sleep;
use url::Url;

use crate::{log::Log, tokens::Tokens};

/// From the start to "live in the lobby".
const START_PATIENCE: Duration = Duration::from_secs(60);
/// How long a number of threads and descriptors has to stay to be called settled.
const SETTLED: Duration = Duration::from_secs(3);
/// The line that tells the lobby's address, and the one that tells that the host is live.
const ADDRESS: &str = "event=\"lobby-open\" address=";
const LIVE: &str = "live in the lobby";
const METRICS: &str = "event=\"metrics-open\" address=";
/// The lobby's secret, for this process and its child alone.
const SECRET: &str = "known-to-the-swarm-and-its-host-alone-0123456";

/// The picture that the host shows.
#[derive(Debug, Clone)]
pub struct Picture {
    pub profile: String,
    pub width: u32,
    pub height: u32,
    /// Frames per second.
    pub framerate: u32,
    /// Bit/s.
    pub bitrate: u32,
}

impl Picture {
    /// A moving test picture, small enough for a machine that has other work.
    pub fn small() -> Self {
        Self {
            profile: "test".into(),
            width: 320,
            height: 180,
            framerate: 30,
            bitrate: 300_000,
        }
    }
}

/// A running host; it is killed when this is dropped.
pub struct Host {
    child: Child,
    lobby: Url,
    metrics: SocketAddr,
    log: Log,
    state: TempDir,
}

impl Host {
    /// Starts `binary` and waits until it is live. `data` holds profiles (`pipelines/*.toml`)
    /// beside the built-in ones.
    pub fn start(binary: &Path, picture: &Picture, data: Option<&Path>) -> Result<Self> {
        let data = data.map(|data| ("PERCH_DATA_DIR", data.as_os_str()));
        Self::start_in(binary, picture, data)
    }

    /// The same with variables of the environment.
    pub fn start_in<'a>(
        binary: &Path,
        picture: &Picture,
        environment: impl IntoIterator<Item = (&'a str, &'a OsStr)>,
    ) -> Result<Self> {
        let state = TempDir::new()?;
        write_keys(state.path())?;
        let config = state.path().join("perch.toml");
        fs::write(&config, configuration(picture))?;
        let mut command = Command::new(binary);
        command
            .args(["run", "--config"])
            .arg(&config)
            .env("STATE_DIRECTORY", state.path())
            .env("RUNTIME_DIRECTORY", state.path())
            .env("PERCH_LOG", "warn,perch=info")
            .env("NO_COLOR", "1")
            .envs(environment)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot start {}", binary.display()))?;
        let log = Log::default();
        match wait_until_live(&mut child, log.clone()) {
            Ok((lobby, metrics)) => Ok(Self {
                child,
                lobby,
                metrics,
                log,
                state,
            }),
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    /// The embedded lobby's address.
    pub fn lobby(&self) -> &Url {
        &self.lobby
    }

    /// Where `/metrics` and `/healthz` are.
    pub fn metrics(&self) -> SocketAddr {
        self.metrics
    }

    /// The directory that holds all that is the host's, its status socket too.
    pub fn directory(&self) -> &Path {
        self.state.path()
    }

    /// What lets viewers in.
    pub fn tokens(&self) -> Tokens {
        Tokens::from_secret(SECRET.as_bytes())
    }

    /// What the host has logged.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Sends the host a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), signal)?)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The host's present use of the machine.
    pub fn usage(&self) -> Result<Usage> {
        Usage::of(self.pid())
    }

    /// Waits until threads and descriptors no longer change and, when there is a `limit`, are back at it or
    /// below; what is there when `patience` ends is for the caller to judge.
    pub async fn settled(&self, limit: Option<Usage>, patience: Duration) -> Result<Usage> {
        let deadline = Instant::now() + patience;
        let mut usage = self.usage()?;
        let mut since = Instant::now();
        loop {
            let reached = limit.is_none_or(|l| usage.threads <= l.threads && usage.fds <= l.fds);
            if (reached && since.elapsed() >= SETTLED) || Instant::now() >= deadline {
                return Ok(usage);
            }
            sleep(Duration::from_millis(100)).await;
            let now = self.usage()?;
            if (now.threads, now.fds) != (usage.threads, usage.fds) {
                since = Instant::now();
            }
            usage = now;
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The `perch` that was built together with the program at `beside`.
pub fn perch_beside(beside: &Path) -> Result<PathBuf> {
    let binary = match env::var_os("PERCH_BIN") {
        Some(binary) => PathBuf::from(binary),
        None => beside.with_file_name("perch"),
    };
    ensure!(
        binary.is_file(),
        "there is no {}: build the whole workspace first, or name the binary in PERCH_BIN",
        binary.display()
    );
    Ok(binary)
}

/// What a process uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// User and system time so far, in clock ticks of 10 ms.
    ticks: u64,
    pub threads: usize,
    pub fds: usize,
    /// Resident set, in KiB.
    pub rss: u64,
}

impl Usage {
    /// CPU time so far. The clock of `/proc` ticks at 100 Hz wherever Linux runs (proc_pid_stat(5)).
    pub fn cpu(&self) -> Duration {
        Duration::from_millis(self.ticks * 10)
    }

    /// What the process `pid` uses now.
    pub fn of(pid: u32) -> Result<Self> {
        let proc = PathBuf::from(format!("/proc/{pid}"));
        let stat = fs::read_to_string(proc.join("stat")).context("the host is gone")?;
        // The name in parentheses may hold anything; the state, field 3, follows it.
        let (_, fields) = stat.rsplit_once(')').context("/proc/PID/stat is odd")?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let ticks = |field: usize| {
            fields
                .get(field - 3)
                .and_then(|text| text.parse::<u64>().ok())
        };
        let (Some(user), Some(system)) = (ticks(14), ticks(15)) else {
            bail!("/proc/PID/stat is odd");
        };
        let status = fs::read_to_string(proc.join("status"))?;
        let rss = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|rest| rest.trim().strip_suffix(" kB")?.parse().ok())
            .context("/proc/PID/status has no VmRSS: the host is gone")?;
        Ok(Self {
            ticks: user + system,
            threads: fs::read_dir(proc.join("task"))?.count(),
            fds: fs::read_dir(proc.join("fd"))?.count(),
            rss,
        })
    }
}

fn configuration(picture: &Picture) -> String {
    let Picture {
        profile,
        width,
        height,
        framerate,
        bitrate,
    } = picture;
    format!(
        "[camera]\nprofile = \"{profile}\"\nwidth = {width}\nheight = {height}\nframerate = {framerate}\n\
         [encoder]\nbitrate = {bitrate}\n\
         [viewers]\nmax = 200\n\
         [metrics]\nenabled = true\nlisten = \"127.0.0.1:0\"\n\
         [embedded_lobby]\nenabled = true\nlisten = \"127.0.0.1:0\"\n"
    )
}

fn write_keys(state: &Path) -> Result<()> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(state.join("lobby-keys.toml"))?;
    writeln!(file, "secret = \"{SECRET}\"\nwatch_key = \"{SECRET}\"")?;
    Ok(())
}

/// Reads the host's log to its end on a thread; returns when the host is live.
fn wait_until_live(child: &mut Child, counts: Log) -> Result<(Url, SocketAddr)> {
    let log = child.stderr.take().context("the host has no log")?;
    let (live, news) = mpsc::channel();
    thread::spawn(move || {
        let mut address = None;
        let mut metrics = None;
        let mut early = String::new();
        for line in BufReader::new(log).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line);
            counts.line(&line);
            if let Some((_, rest)) = line.split_once(ADDRESS) {
                address = Some(rest.trim().to_owned());
            }
            if let Some((_, rest)) = line.split_once(METRICS) {
                metrics = rest.trim().parse().ok();
            }
            if line.contains(LIVE)
                && let Some(places) = address.take().zip(metrics.take())
            {
                let _ = live.send(Ok(places));
            }
            if line.contains(" WARN ") || line.contains(" ERROR ") {
                eprintln!("host: {line}");
            }
            if early.len() < 4096 {
                early.push_str(&line);
                early.push('\n');
            }
        }
        let _ = live.send(Err(early));
    });
    match news.recv_timeout(START_PATIENCE) {
        Ok(Ok((address, metrics))) => Ok((Url::parse(&format!("http://{address}"))?, metrics)),
        Ok(Err(log)) => bail!("the host ended before it was live:\n{log}"),
        Err(_) => bail!("the host was not live in time"),
    }
}
