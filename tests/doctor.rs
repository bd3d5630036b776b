//! `perch doctor` as it is called: what it finds, what it shows, and what it never shows.
#![expect(
    clippy::unwrap_used,
    reason = "a test that panics has failed, helpers included"
)]

use std::{
    fs,
    net::{TcpListener, UdpSocket},
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant, SystemTime},
};

use perch::{
    lobby::{self, Limits},
    secret::Secret,
    signaling::credentials,
};
use serde_json::Value;

const SECRET: &str = "the-lobbys-secret-is-nobodys-business";
/// The promise is ten seconds; the machine that runs the tests is busy.
const BOUNDED: Duration = Duration::from_secs(20);
const PATIENCE: Duration = Duration::from_secs(60);

/// A device's files.
struct Device(tempfile::TempDir);

impl Device {
    fn new(config: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let device = Self(directory);
        device.write("secret", SECRET);
        device.write("perch.toml", config);
        device
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path().join(name), text).unwrap();
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// `perch` with this device's directories and nothing of the caller's configuration.
    fn perch(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_perch"));
        command.args(arguments);
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("PERCH_") || text == "RUST_LOG" || text == "CREDENTIALS_DIRECTORY" {
                command.env_remove(name);
            }
        }
        command
            .env("RUNTIME_DIRECTORY", self.path())
            .env("STATE_DIRECTORY", self.path())
            .stdin(Stdio::null());
        command
    }

    fn config(&self) -> String {
        self.path().join("perch.toml").to_str().unwrap().to_owned()
    }

    /// Exit code and the report.
    fn examined(&self) -> (i32, Value) {
        let (code, text) = self.run(&["doctor", "--json", "--config", &self.config()]);
        (code, serde_json::from_str(&text).unwrap())
    }

    fn run(&self, arguments: &[&str]) -> (i32, String) {
        let Output {
            status,
            stdout,
            stderr,
        } = self.perch(arguments).output().unwrap();
        assert_eq!(String::from_utf8(stderr).unwrap(), "");
        (status.code().unwrap(), String::from_utf8(stdout).unwrap())
    }
}

/// The findings of one check: level and text.
fn of<'a>(report: &'a Value, check: &str) -> Vec<(&'a str, &'a str)> {
    let findings = report["findings"].as_array().unwrap();
    let of_check = findings.iter().filter(|found| found["check"] == check);
    of_check
        .map(|found| {
            (
                found["level"].as_str().unwrap(),
                found["what"].as_str().unwrap(),
            )
        })
        .collect()
}

/// The one finding of a check.
fn only<'a>(report: &'a Value, check: &str) -> (&'a str, &'a str) {
    let found = of(report, check);
    assert_eq!(found.len(), 1, "{check}: {report:#}");
    found[0]
}

const PICTURE: &str = "[camera]\nprofile = 'test'\nwidth = 320\nheight = 180\n";
const EMBEDDED: &str = "[embedded_lobby]\nenabled = true\nlisten = '127.0.0.1:0'\n";

#[test]
fn a_device_without_faults_passes() {
    let device = Device::new(&format!("{PICTURE}{EMBEDDED}"));
    let (code, report) = device.examined();
    assert_eq!(code, 0, "{report:#}");
    assert_eq!(report["faults"], 0);
    for check in ["configuration", "camera", "clock", "lobby", "disk"] {
        assert!(
            of(&report, check).iter().all(|(level, _)| *level == "ok"),
            "{report:#}"
        );
    }
    // On a busy machine it may note that frames are missing.
    let (_, encoder) = only(&report, "encoder");
    assert!(
        encoder.contains("42c0") || encoder.contains("frames per second"),
        "{encoder}"
    );
    let (code, text) = device.run(&["doctor", "--config", &device.config()]);
    assert_eq!(code, 0);
    assert!(text.starts_with("ok     configuration  "), "{text}");
    assert!(
        text.lines().last().unwrap().starts_with("0 faults, "),
        "{text}"
    );
}

#[test]
fn what_depends_on_a_configuration_that_is_wrong_is_not_judged() {
    let device = Device::new(&format!("{EMBEDDED}[camera]\nwidth = 3\nheigth = 4\n"));
    let (code, report) = device.examined();
    assert_eq!(code, 1);
    let found = of(&report, "configuration");
    let [faults @ .., (last, why)] = &found[..] else {
        panic!("{report:#}");
    };
    assert_eq!(faults.len(), 2, "{report:#}");
    assert!(
        faults.iter().all(|(level, _)| *level == "fault"),
        "{report:#}"
    );
    assert!(
        *last == "note" && why.contains("are looked at once the configuration can be used"),
        "{report:#}"
    );
    for check in ["camera", "encoder", "dns", "lobby", "ice", "ports"] {
        assert_eq!(of(&report, check), [], "{report:#}");
    }
    for check in ["clock", "disk", "daemon"] {
        assert!(!of(&report, check).is_empty(), "{report:#}");
    }

    let default = Path::new(perch::config::DEFAULT_FILE);
    if !default.exists() {
        let (code, text) = device.run(&["doctor"]);
        assert_eq!(code, 1);
        assert!(
            text.contains("/etc/perch/perch.toml does not exist"),
            "{text}"
        );
    }
}

#[test]
fn a_profile_that_there_is_not_is_one_fault_of_the_configuration() {
    let device = Device::new(&format!("[camera]\nprofile = 'v4l3'\n{EMBEDDED}"));
    let (code, report) = device.examined();
    assert_eq!((code, &report["faults"]), (1, &1.into()), "{report:#}");
    let found = of(&report, "configuration");
    let [(level, what), (postponed, rest)] = found[..] else {
        panic!("{report:#}");
    };
    assert_eq!((level, postponed), ("fault", "note"));
    assert!(
        what.contains("perch.toml:2:1: camera.profile: there is no profile \"v4l3\""),
        "{what}"
    );
    assert!(rest.starts_with("camera and encoder are looked"), "{rest}");
    let mend = report["findings"][0]["mend"].as_str().unwrap();
    assert!(mend.contains("[camera] profile"), "{mend}");
    assert_eq!(of(&report, "encoder"), [], "{report:#}");
    assert_eq!(only(&report, "lobby").0, "ok", "the rest is looked at");
}

#[test]
fn a_camera_that_is_not_there_is_a_fault_and_nothing_is_encoded() {
    let device = Device::new(&format!(
        "[camera]\nprofile = 'v4l2'\ndevice = '/dev/video-none'\n{EMBEDDED}"
    ));
    let (code, report) = device.examined();
    assert_eq!(code, 1);
    let (level, what) = only(&report, "camera");
    assert_eq!((level, what), ("fault", "there is no /dev/video-none"));
    let not_tried = ("note", "not tried: there is no camera");
    assert_eq!(only(&report, "encoder"), not_tried);
}

#[test]
fn a_device_that_is_no_camera_is_told_with_its_place() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let plain = file.path().to_str().unwrap();
    let plain_is = &format!("{plain} is no camera: no device at all");
    for (device, is) in [
        ("/dev/null", "/dev/null is no camera: not a video device"),
        (plain, plain_is),
        (
            "dev/video0",
            "there is no dev/video0, and cameras are below /dev",
        ),
    ] {
        let settings = format!("[camera]\nprofile = 'v4l2'\ndevice = '{device}'\n{EMBEDDED}");
        let (code, report) = Device::new(&settings).examined();
        assert_eq!(code, 1);
        let (level, what) = only(&report, "camera");
        assert_eq!(level, "fault");
        let told = format!("perch.toml:3:1: camera.device: {is}");
        assert!(what.contains(&told), "{what}");
        let not_tried = ("note", "not tried: there is no camera");
        assert_eq!(only(&report, "encoder"), not_tried);
    }
}

#[test]
fn a_port_that_somebody_else_has_is_a_fault() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let metrics = format!("[metrics]\nenabled = true\nlisten = '{address}'\n");
    let device = Device::new(&format!("{PICTURE}{EMBEDDED}{metrics}"));
    let (code, report) = device.examined();
    assert_eq!(code, 1);
    let (level, what) = only(&report, "ports");
    assert_eq!(level, "fault");
    assert!(
        what.contains(&format!("another program has {address}")),
        "{what}"
    );
}

/// A lobby that checks its tokens against [`SECRET`].
async fn a_lobby() -> lobby::Lobby {
    lobby::start(lobby::Settings {
        listen: ([127, 0, 0, 1], 0).into(),
        secret: Secret::new(SECRET),
        watch_key: Secret::new("another-key-that-is-long-enough"),
        tls: None,
        limits: Limits::default(),
    })
    .await
    .unwrap()
}

fn a_token(ttl: Duration) -> Secret {
    let now = SystemTime::now();
    credentials::mint(&Secret::new(SECRET), "porch", ttl, now).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lobby_is_asked_whether_it_takes_the_token() {
    let lobby = a_lobby().await;
    let port = lobby.addr().port();
    // By name, so that the name is looked up.
    let url = format!("{PICTURE}[lobby]\nurl = 'http://localhost:{port}'\n[lobby.auth]\n");

    let device = Device::new(&format!("{url}secret_file = 'secret'\nsubject = 'porch'\n"));
    let (code, report) = device.examined();
    assert_eq!(code, 0, "{report:#}");
    assert!(
        only(&report, "dns").1.starts_with("localhost is "),
        "{report:#}"
    );
    let (level, what) = only(&report, "lobby");
    assert_eq!(level, "ok");
    assert!(
        what.contains("takes tokens for \"porch\"; each is valid for 2 h"),
        "{what}"
    );
    assert_eq!(lobby.census().1, 0, "nothing went live");

    device.write("secret", "another-secret-of-the-same-length-xyz");
    let (code, report) = device.examined();
    assert_eq!(code, 1, "{report:#}");
    let (level, what) = only(&report, "lobby");
    assert!(
        level == "fault" && what.contains("refused the token"),
        "{what}"
    );

    let device = Device::new(&format!("{url}token_file = 'token'\n"));
    device.write("token", a_token(Duration::from_secs(3600)).expose());
    let (code, report) = device.examined();
    assert_eq!(code, 0, "{report:#}");
    let (level, what) = only(&report, "lobby");
    assert!(level == "note" && what.contains("only for "), "{what}");
    device.write("token", a_token(Duration::from_secs(10 * 86_400)).expose());
    let (_, report) = device.examined();
    let (level, what) = only(&report, "lobby");
    assert!(
        level == "ok" && what.contains("takes the token, for "),
        "{what}"
    );

    lobby.shutdown().await;
    let (code, report) = device.examined();
    assert_eq!(code, 1);
    let (level, what) = only(&report, "lobby");
    assert!(
        level == "fault" && what.contains("cannot connect"),
        "{what}"
    );
}

/// Nobody here ever answers: the daemon's socket, the lobby, the STUN and the TURN server.
#[test]
fn whatever_hangs_is_not_waited_for() {
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (tcp, udp) = (mute.local_addr().unwrap(), silent.local_addr().unwrap());
    let device = Device::new(&format!(
        "{PICTURE}[lobby]\nurl = 'http://{tcp}'\n\
         [lobby.auth]\nsecret_file = 'secret'\nsubject = 'porch'\n\
         [[ice.servers]]\nurl = 'stun:{udp}'\n\
         [[ice.servers]]\nurl = 'turn:{tcp}?transport=tcp'\nusername = 'porch'\ncredential_file = 'secret'\n"
    ));
    let socket = std::os::unix::net::UnixListener::bind(device.path().join("status.sock")).unwrap();
    let started = Instant::now();
    let (code, report) = device.examined();
    let took = started.elapsed();
    drop((socket, mute, silent));
    assert_eq!(code, 1);
    assert!(took < BOUNDED, "{took:?}");
    assert!(
        only(&report, "daemon").1.contains("does not answer"),
        "{report:#}"
    );
    assert!(
        only(&report, "lobby").1.contains("does not answer within"),
        "{report:#}"
    );
    let ice = of(&report, "ice");
    assert_eq!(ice.len(), 2, "{report:#}");
    assert!(
        ice.iter().all(|(_, what)| what.contains("does not answer")),
        "{report:#}"
    );
    // What does not hang is told all the same.
    assert_eq!(only(&report, "camera").0, "ok");
}

#[test]
fn keys_that_others_can_read_are_a_fault_of_the_configuration() {
    use std::os::unix::fs::PermissionsExt as _;
    let device = Device::new(&format!("{PICTURE}{EMBEDDED}"));
    lobby::keys::Keys::load_or_create(device.path()).unwrap();
    let (_, report) = device.examined();
    assert_eq!(only(&report, "configuration").0, "ok");
    let keys = device.path().join(lobby::keys::FILE);
    fs::set_permissions(&keys, fs::Permissions::from_mode(0o644)).unwrap();
    let (code, report) = device.examined();
    assert_eq!(code, 1);
    let (level, what) = only(&report, "configuration");
    assert!(level == "fault" && what.contains("chmod 600"), "{what}");
}

/// Nobody ever writes to these pipes.
#[test]
fn files_that_hang_are_named_and_not_blamed_on_the_lobby() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (mute, udp) = (
        TcpListener::bind("127.0.0.1:0").unwrap(),
        silent.local_addr(),
    );
    let (tcp, udp) = (mute.local_addr().unwrap(), udp.unwrap());
    let device = Device::new(&format!(
        "{PICTURE}[lobby]\nurl = 'http://{tcp}'\n[lobby.auth]\ntoken_file = 'token'\n\
         [[ice.servers]]\nurl = 'turn:{udp}'\nusername = 'porch'\ncredential_file = 'turn'\n"
    ));
    for pipe in ["token", "turn"] {
        let path = device.path().join(pipe);
        let made = Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
    }
    let started = Instant::now();
    let (code, report) = device.examined();
    let took = started.elapsed();
    drop((mute, silent));
    assert_eq!(code, 1);
    assert!(took < BOUNDED, "{took:?}");
    let named = |name| {
        let path = device.path().join(name);
        format!("{} cannot be read in time", path.display())
    };
    let found = of(&report, "configuration");
    assert_eq!(found.len(), 2, "{report:#}");
    assert!(found[0].1.contains(&named("token")), "{report:#}");
    assert!(found[1].1.contains(&named("turn")), "{report:#}");
    let (level, what) = only(&report, "lobby");
    assert_eq!(level, "note", "{report:#}");
    assert!(what.contains("was not dialed"), "{what}");
    assert!(what.contains(&named("token")), "{what}");
    let (_, what) = only(&report, "ice");
    assert!(what.contains(&named("turn")), "{what}");
}

/// What is taken may be its own, and a camera that is free may be the one that it is about to try.
#[test]
fn a_daemon_that_does_not_tell_is_not_blamed_and_not_robbed() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let (metrics, lobby) = (taken.local_addr().unwrap(), free.local_addr().unwrap());
    drop(free);
    let device = Device::new(&format!(
        "[camera]\nprofile = 'v4l2'\ndevice = '/dev/video99'\n\
         [metrics]\nenabled = true\nlisten = '{metrics}'\n\
         [embedded_lobby]\nenabled = true\nlisten = '{lobby}'\n"
    ));
    let socket = std::os::unix::net::UnixListener::bind(device.path().join("status.sock")).unwrap();
    let (_, report) = device.examined();
    drop(socket);
    assert_eq!(only(&report, "daemon").0, "fault", "{report:#}");
    let ports = of(&report, "ports");
    assert_eq!(ports.len(), 2, "{report:#}");
    for (level, what) in ports {
        assert!(
            level == "note" && what.contains("was not looked at"),
            "{what}"
        );
    }
    let (level, what) = only(&report, "encoder");
    assert!(level == "note" && what.starts_with("not tried"), "{what}");
    assert_eq!(only(&report, "lobby").0, "note", "{report:#}");
}

/// With every secret that there can be, none of them is in what is shown.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_shown() {
    let lobby = a_lobby().await;
    let port = lobby.addr().port();
    let turn = UdpSocket::bind("127.0.0.1:0").unwrap();
    let turn_address = turn.local_addr().unwrap();
    let device = Device::new(&format!(
        "{PICTURE}[lobby]\nurl = 'http://127.0.0.1:{port}'\n[lobby.auth]\ntoken_file = 'token'\n\
         [[ice.servers]]\nurl = 'turn:{turn_address}'\nusername = 'porch'\ncredential_file = 'turn-password'\n\
         [[ice.servers]]\nurl = 'turn:{turn_address}?transport=tcp'\nsecret_file = 'turn-secret'\n"
    ));
    let token = a_token(Duration::from_secs(3600));
    let secrets = [
        token.expose(),
        token.expose().rsplit('.').next().unwrap(),
        "turn-password-in-the-clear",
        "turn-secret-in-the-clear",
        SECRET,
    ];
    let config = device.config();
    device.write("turn-password", secrets[2]);
    device.write("turn-secret", secrets[3]);
    // Taken, and refused; in both shapes.
    for content in [token.expose(), "no.token.atall", &token.expose()[1..]] {
        device.write("token", content);
        for arguments in [
            &["doctor", "--config", &config][..],
            &["doctor", "--json", "--config", &config],
        ] {
            let (_, text) = device.run(arguments);
            assert!(text.contains("turn:"), "{text}");
            for secret in secrets {
                assert!(!text.contains(secret), "{text}");
            }
        }
    }
}

struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_daemon_that_runs_is_asked_instead_of_its_camera() {
    // Somebody else may take the port in between; then the daemon does not start, and the test says so.
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let device = Device::new(&format!(
        "{PICTURE}[embedded_lobby]\nenabled = true\nlisten = '127.0.0.1:{port}'\n"
    ));
    let child = device
        .perch(&["run", "--config", &device.config()])
        .spawn()
        .unwrap();
    let mut daemon = Daemon(child);
    let deadline = Instant::now() + PATIENCE;
    let report = loop {
        let (_, report) = device.examined();
        if only(&report, "daemon").0 == "ok" {
            break report;
        }
        assert_eq!(daemon.0.try_wait().unwrap(), None, "it runs");
        assert!(Instant::now() < deadline, "{report:#}");
    };
    let pid = daemon.0.id();
    let daemon_says = only(&report, "daemon").1;
    assert!(
        daemon_says.starts_with(&format!("pid {pid} serves")),
        "{daemon_says}"
    );
    let (_, encoder) = only(&report, "encoder");
    assert!(encoder.contains("frames per second"), "{encoder}");
    let (level, ports) = only(&report, "ports");
    assert!(
        level == "ok" && ports.contains("the daemon runs"),
        "{ports}"
    );
    assert!(
        only(&report, "lobby")
            .1
            .contains("the stream is live in it"),
        "{report:#}"
    );

    // Asked of another configuration, what it says of itself is not taken for an answer.
    let metrics = format!("[metrics]\nenabled = true\nlisten = '127.0.0.1:{port}'\n");
    device.write(
        "perch.toml",
        &format!("{PICTURE}{EMBEDDED}{metrics}[stream]\ntitle = 'Another'\n"),
    );
    let (_, report) = device.examined();
    let (level, what) = only(&report, "daemon");
    assert_eq!(level, "note", "{report:#}");
    let known = format!("is another one (its lobby is 127.0.0.1:{port}");
    assert!(what.contains(&known), "{what}");
    let (_, encoder) = only(&report, "encoder");
    assert!(!encoder.contains("the daemon"), "{encoder}");
    assert!(!only(&report, "lobby").1.contains("is live in it"));
    assert_eq!(only(&report, "ports").0, "note", "{report:#}");
}
