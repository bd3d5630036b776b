//! The hosts that are compared: how each is started, with what settings, and how viewers get in.

use std::{
    env, fs,
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use swarm::{
    crowd::Door,
    host::{Host, Picture},
};
use tokio::time::sleep;

use crate::{
    feed::Feed,
    line::{FloorLine, JanusLine, WebrtcsinkLine, opener},
    rtp,
    source::{self, Clip},
};

/// From the start to the first line that opens.
const START_PATIENCE: Duration = Duration::from_secs(30);
/// What `janus/*.jcfg` say.
const JANUS_LINE: u16 = 18_188;
const JANUS_RTP: u16 = 15_004;
const JANUS_RTCP: u16 = 15_005;

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contender {
    Perch,
    Floor,
    Janus,
    /// The same with its threads shared by the viewers.
    JanusLoops,
    /// webrtcsink with an encoded input, without its congestion control.
    Webrtcsink,
    /// The same with it.
    WebrtcsinkGcc,
    /// The same with a raw input: an encoder per viewer.
    WebrtcsinkRaw,
}

/// The programs.
pub struct Programs {
    pub perch: PathBuf,
    pub floor: PathBuf,
    pub janus: PathBuf,
    pub webrtcsink: PathBuf,
}

/// A contender that runs until this is dropped.
pub struct Running {
    pub pid: u32,
    pub door: Door,
    _process: Process,
    _feed: Option<Feed>,
}

/// Kept so that it ends when it is dropped.
#[expect(dead_code, reason = "kept, not used")]
enum Process {
    Perch(Host),
    Other(Program),
}

impl Contender {
    pub const ALL: [Self; 7] = [
        Self::Perch,
        Self::Floor,
        Self::Janus,
        Self::JanusLoops,
        Self::Webrtcsink,
        Self::WebrtcsinkGcc,
        Self::WebrtcsinkRaw,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Perch => "Perch",
            Self::Floor => "str0m fan-out, the floor",
            Self::Janus => "Janus, streaming plugin",
            Self::JanusLoops => "Janus, streaming plugin, two event loops",
            Self::Webrtcsink => "webrtcsink, encoded input",
            Self::WebrtcsinkGcc => "webrtcsink, encoded input, congestion control",
            Self::WebrtcsinkRaw => "webrtcsink, raw input",
        }
    }

    /// More viewers than this are not tried: two cores do not carry them.
    pub fn most(self) -> usize {
        match self {
            Self::Perch | Self::Floor | Self::Janus | Self::JanusLoops => usize::MAX,
            Self::Webrtcsink | Self::WebrtcsinkGcc => 50,
            Self::WebrtcsinkRaw => 10,
        }
    }

    /// What is missing of it, and where it comes from.
    pub fn missing(self, programs: &Programs) -> Option<String> {
        let (program, remedy) = match self {
            Self::Perch => (&programs.perch, "`make release` builds it"),
            Self::Floor => (
                &programs.floor,
                "`cargo build --release -p peers` builds it",
            ),
            Self::Janus | Self::JanusLoops => {
                (&programs.janus, "`scripts/install-needs peers` installs it")
            }
            Self::Webrtcsink | Self::WebrtcsinkGcc | Self::WebrtcsinkRaw => {
                (&programs.webrtcsink, "`benches/peers/run.sh` builds it")
            }
        };
        (!program.is_file()).then(|| format!("there is no {}; {remedy}", program.display()))
    }

    /// Starts it and waits until it lets viewers in.
    pub async fn start(
        self,
        programs: &Programs,
        picture: &Picture,
        clip: &Arc<Clip>,
    ) -> Result<Running> {
        match self {
            Self::Perch => {
                let host = Host::start(&programs.perch, picture, None)?;
                Ok(Running {
                    pid: host.pid(),
                    door: Door::new(host.lobby().clone(), host.tokens(), None)?,
                    _process: Process::Perch(host),
                    _feed: None,
                })
            }
            Self::Floor => floor(programs, clip).await,
            Self::Janus => janus(programs, clip, "janus.jcfg").await,
            Self::JanusLoops => janus(programs, clip, "janus.event-loops.jcfg").await,
            Self::Webrtcsink => {
                webrtcsink_encoded(programs, clip, "congestion-control=disabled").await
            }
            Self::WebrtcsinkGcc => {
                let settings = format!("congestion-control=gcc {}", bitrates(picture));
                webrtcsink_encoded(programs, clip, &settings).await
            }
            Self::WebrtcsinkRaw => webrtcsink_raw(programs, picture).await,
        }
    }
}

async fn floor(programs: &Programs, clip: &Arc<Clip>) -> Result<Running> {
    let (line, rtp) = (free_port()?, free_udp_port()?);
    let mut command = Command::new(&programs.floor);
    command.args([line, rtp].map(|port| port.to_string()));
    let feed = Feed::start(Arc::clone(clip), local(rtp), None)?;
    let door = Door::behind(opener(line, FloorLine::open), None)?;
    running(command, door, Some(feed)).await
}

async fn janus(programs: &Programs, clip: &Arc<Clip>, core: &str) -> Result<Running> {
    let folder = janus_configuration();
    let mut command = Command::new(&programs.janus);
    command.arg("--config").arg(folder.join(core));
    command.arg("--configs-folder").arg(folder);
    let feed = Feed::start(Arc::clone(clip), local(JANUS_RTP), Some(local(JANUS_RTCP)))?;
    let door = Door::behind(opener(JANUS_LINE, JanusLine::open), None)?;
    running(command, door, Some(feed)).await
}

async fn webrtcsink_encoded(
    programs: &Programs,
    clip: &Arc<Clip>,
    settings: &str,
) -> Result<Running> {
    let rtp = free_udp_port()?;
    let feed = Feed::start(Arc::clone(clip), local(rtp), None)?;
    let input = format!(
        "udpsrc name=feed address=127.0.0.1 port={rtp} buffer-size=1048576 \
         caps=\"application/x-rtp,media=video,encoding-name=H264,clock-rate={},payload={}\" \
         ! rtph264depay ! h264parse",
        rtp::CLOCK_RATE,
        rtp::PAYLOAD_TYPE
    );
    webrtcsink(programs, &input, settings, Some(feed)).await
}

async fn webrtcsink_raw(programs: &Programs, picture: &Picture) -> Result<Running> {
    let settings = format!("video-caps=video/x-h264 {}", bitrates(picture));
    webrtcsink(programs, &source::source(picture)?, &settings, None).await
}

async fn webrtcsink(
    programs: &Programs,
    input: &str,
    settings: &str,
    feed: Option<Feed>,
) -> Result<Running> {
    let line = free_port()?;
    let launch = format!(
        "{input} ! webrtcsink stun-server=\"\" {settings} \
         run-signalling-server=true signalling-server-host=127.0.0.1 signalling-server-port={line} \
         signaller::uri=ws://127.0.0.1:{line}"
    );
    let mut command = Command::new(&programs.webrtcsink);
    command.arg(launch);
    if let Some(feed) = &feed {
        command.arg(feed.address().to_string());
    }
    let door = Door::behind(opener(line, WebrtcsinkLine::open), None)?;
    running(command, door, feed).await
}

/// The encoders make what the encoded inputs have; nothing holds the estimate back on the way there.
fn bitrates(picture: &Picture) -> String {
    let bitrate = picture.bitrate;
    format!("start-bitrate={bitrate} max-bitrate={bitrate}")
}

async fn running(command: Command, door: Door, feed: Option<Feed>) -> Result<Running> {
    let mut program = Program::start(command)?;
    let deadline = Instant::now() + START_PATIENCE;
    while let Err(error) = door.knock().await {
        program.ensure_alive()?;
        if Instant::now() >= deadline {
            bail!("it let nobody in: {error:#}\n{}", program.log());
        }
        sleep(Duration::from_millis(50)).await;
    }
    Ok(Running {
        pid: program.child.id(),
        door,
        _process: Process::Other(program),
        _feed: feed,
    })
}

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(local(0))?.local_addr()?.port())
}

fn free_udp_port() -> Result<u16> {
    Ok(UdpSocket::bind(local(0))?.local_addr()?.port())
}

fn janus_configuration() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("janus")
}

/// A process whose words are kept for when it fails; it is killed when this is dropped.
struct Program {
    child: Child,
    words: tempfile::NamedTempFile,
}

impl Program {
    fn start(mut command: Command) -> Result<Self> {
        let words = tempfile::NamedTempFile::new()?;
        let child = command
            .stdin(Stdio::null())
            .stdout(words.reopen()?)
            .stderr(words.reopen()?)
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        Ok(Self { child, words })
    }

    fn ensure_alive(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            Some(status) => bail!("it ended at once, {status}\n{}", self.log()),
            None => Ok(()),
        }
    }

    /// The last of what it said.
    fn log(&self) -> String {
        let words = fs::read(self.words.path()).unwrap_or_default();
        let words = String::from_utf8_lossy(&words);
        let lines: Vec<&str> = words.lines().rev().take(20).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where `name` is on the PATH, or the bare name.
pub fn on_path(name: &str) -> PathBuf {
    let paths = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&paths)
        .map(|directory| directory.join(name))
        .find(|program| program.is_file())
        .unwrap_or_else(|| name.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn janus_is_configured_for_the_ports_that_are_used() {
        let read = |name| fs::read_to_string(janus_configuration().join(name)).unwrap();
        let streaming = read("janus.plugin.streaming.jcfg");
        assert!(streaming.contains(&format!("videoport = {JANUS_RTP}\n")));
        assert!(streaming.contains(&format!("videortcpport = {JANUS_RTCP}\n")));
        assert!(streaming.contains(&format!("videopt = {}\n", rtp::PAYLOAD_TYPE)));
        assert!(
            read("janus.transport.websockets.jcfg").contains(&format!("ws_port = {JANUS_LINE}\n"))
        );
    }

    #[test]
    fn what_is_missing_is_named_with_its_remedy() {
        let programs = Programs {
            perch: "/bin/sh".into(),
            floor: "/bin/sh".into(),
            janus: "/nowhere/janus".into(),
            webrtcsink: "/nowhere/webrtcsink-host".into(),
        };
        assert_eq!(Contender::Perch.missing(&programs), None);
        let janus = Contender::Janus.missing(&programs).unwrap();
        assert!(janus.contains("/nowhere/janus") && janus.contains("install-needs peers"));
        assert!(Contender::WebrtcsinkRaw.missing(&programs).is_some());
    }
}
