//! The program under test, started as an owner would, and started again when it ends, as systemd would.

use std::{
    ffi::OsString,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    process::Command,
    sync::watch,
    task::AbortHandle,
    time::{sleep, timeout},
};

use crate::journal::{Journal, Mark};

/// `RestartSec=`, shorter than a device's: the suite has no time.
const RESTART_AFTER: Duration = Duration::from_millis(300);

/// How to start it.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The program and its arguments, with whatever it runs under before it.
    pub words: Vec<OsString>,
    pub environment: Vec<(String, OsString)>,
    /// Where standard error goes instead of the journal.
    pub log_file: Option<PathBuf>,
}

/// A program that is kept running until this is dropped.
pub struct Program {
    pub journal: Journal,
    state: watch::Receiver<State>,
    /// Whether it is not started again.
    held: watch::Sender<bool>,
    task: AbortHandle,
}

#[derive(Debug, Clone, Default)]
struct State {
    pid: Option<Pid>,
    starts: u32,
    /// Where the journal of the last start begins.
    begin: Mark,
    ends: Vec<End>,
}

/// The end of a process.
#[derive(Debug, Clone)]
pub struct End {
    pub how: String,
    /// What it had said.
    pub lines: Vec<String>,
}

impl Program {
    pub fn start(launch: Launch, journal: Journal) -> Self {
        let (shown, state) = watch::channel(State::default());
        let (held, hold) = watch::channel(false);
        let task = tokio::spawn(keep_running(launch, journal.clone(), shown, hold));
        Self {
            journal,
            state,
            held,
            task: task.abort_handle(),
        }
    }

    /// Once it has ended, it is not started again before this is over.
    pub fn hold(&self, held: bool) {
        self.held.send_replace(held);
    }

    /// Sends a signal to the process that runs now.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill_process(self.pid()?, signal)?)
    }

    pub fn pid(&self) -> Result<Pid> {
        self.state.borrow().pid.context("the program does not run")
    }

    /// How often it was started.
    pub fn starts(&self) -> u32 {
        self.state.borrow().starts
    }

    /// How it ended, each time.
    pub fn exits(&self) -> Vec<String> {
        let state = self.state.borrow();
        state.ends.iter().map(|end| end.how.clone()).collect()
    }

    /// The ends after the first `known`.
    pub fn ends_after(&self, known: usize) -> Vec<End> {
        let state = self.state.borrow();
        state.ends.iter().skip(known).cloned().collect()
    }

    /// Waits until it runs and hears signals.
    pub async fn hears(&self, patience: Duration) -> Result<()> {
        let mut state = self.state.clone();
        let runs = state.wait_for(|state| state.pid.is_some());
        let begin = timeout(patience, runs)
            .await
            .context("it is not started")??
            .begin;
        let words = ["event=\"starting\""];
        self.journal.wait(begin, &words, patience).await?;
        Ok(())
    }

    /// Waits until it has ended `count` times; how it ended the last time.
    pub async fn ended(&self, count: usize, patience: Duration) -> Result<String> {
        let mut state = self.state.clone();
        let ended = state.wait_for(|state| state.ends.len() >= count);
        match timeout(patience, ended).await {
            Ok(Ok(state)) => Ok(state.ends[count - 1].how.clone()),
            _ => bail!(
                "the program did not end within {} s; its last lines are:\n{}",
                patience.as_secs(),
                self.journal.tail(12)
            ),
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn keep_running(
    launch: Launch,
    journal: Journal,
    shown: watch::Sender<State>,
    mut hold: watch::Receiver<bool>,
) {
    loop {
        let begin = journal.mark();
        shown.send_modify(|state| state.begin = begin);
        let how = match run_once(&launch, &journal, &shown).await {
            Ok(status) => describe(status),
            Err(error) => format!("it could not be started: {error:#}"),
        };
        journal.settled().await;
        let lines = journal.between(begin, journal.mark());
        journal.line(&format!("-- the program ended: {how}"));
        shown.send_modify(|state| {
            state.pid = None;
            state.ends.push(End { how, lines });
        });
        sleep(RESTART_AFTER).await;
        if hold.wait_for(|held| !held).await.is_err() {
            return;
        }
    }
}

async fn run_once(
    launch: &Launch,
    journal: &Journal,
    shown: &watch::Sender<State>,
) -> Result<ExitStatus> {
    let (program, arguments) = launch.words.split_first().context("nothing to start")?;
    let log = match &launch.log_file {
        Some(file) => std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(file)?
            .into(),
        None => Stdio::piped(),
    };
    let mut child = Command::new(program)
        .args(arguments)
        .envs(launch.environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| program.display().to_string())?;
    if let Some(output) = child.stderr.take() {
        journal.follow(output);
    }
    let pid = child.id().and_then(|pid| Pid::from_raw(pid as i32));
    shown.send_modify(|state| {
        state.pid = pid;
        state.starts += 1;
    });
    Ok(child.wait().await?)
}

fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "unknown".to_owned(),
    }
}
