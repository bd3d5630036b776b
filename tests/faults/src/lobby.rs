//! The lobby that people run, npm's Socket.IO server, as a process that can be killed and frozen.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    time::timeout,
};
use url::Url;

/// A machine that starts many programs at once takes its time.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// Between pings, and for their answer, in ms: a dead line is noticed soon.
const PING: &str = "2000";
/// Twice that: so long may nothing be heard of the lobby.
pub const PING_DEADLINE: Duration = Duration::from_millis(4000);

pub struct Lobby {
    script: PathBuf,
    secret_file: PathBuf,
    host: IpAddr,
    child: Option<Child>,
    /// The same one across restarts.
    pub url: Url,
}

impl Lobby {
    pub async fn start(root: &Path, secret_file: &Path, host: IpAddr) -> Result<Self> {
        let mut lobby = Self {
            script: root.join("tests/interop/lobby.mjs"),
            secret_file: secret_file.to_owned(),
            host,
            child: None,
            url: Url::parse("http://127.0.0.1/")?,
        };
        lobby.launch(0).await?;
        Ok(lobby)
    }

    /// Ends the process as a power cut would.
    pub async fn kill(&mut self) -> Result<()> {
        let mut child = self.child.take().context("the lobby does not run")?;
        child.kill().await?;
        Ok(())
    }

    /// A new process on the same port.
    pub async fn restart(&mut self) -> Result<()> {
        let port = self.url.port().context("the lobby's port is known")?;
        self.launch(port).await
    }

    /// The process stays, and its sockets stay open, and nothing is read or said.
    pub fn freeze(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    pub fn thaw(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self.child.as_ref().and_then(Child::id);
        let pid = pid.and_then(|pid| Pid::from_raw(pid as i32));
        Ok(kill_process(
            pid.context("the lobby does not run")?,
            signal,
        )?)
    }

    async fn launch(&mut self, port: u16) -> Result<()> {
        let mut child = Command::new("node")
            .arg(&self.script)
            .arg("--secret-file")
            .arg(&self.secret_file)
            .args(["--host", &self.host.to_string()])
            .args(["--port", &port.to_string()])
            .args(["--ping-interval", PING, "--ping-timeout", PING])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("node cannot be started; the suite needs it for the lobby")?;
        let output = child.stdout.take().context("the lobby has an output")?;
        let mut line = String::new();
        let mut output = BufReader::new(output);
        timeout(START_PATIENCE, output.read_line(&mut line))
            .await
            .context("the lobby does not start")??;
        ensure!(!line.is_empty(), "the lobby ended at its start");
        let said: Value = serde_json::from_str(&line)?;
        self.url = Url::parse(
            said["url"]
                .as_str()
                .context("the lobby tells its address")?,
        )?;
        self.child = Some(child);
        Ok(())
    }
}
