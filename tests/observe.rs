//! A running daemon as others look at it: `perch status`, `/metrics`, `/healthz`.
#![expect(
    clippy::unwrap_used,
    reason = "a test that panics has failed, helpers included"
)]

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Output, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);
const SECRET: &str = "not-to-be-seen-by-anybody-who-looks";

/// `perch` with nothing of the caller's configuration, and with a runtime directory of its own.
fn perch(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_perch"));
    command.args(arguments);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("PERCH_") || text == "RUST_LOG" || text == "CREDENTIALS_DIRECTORY" {
            command.env_remove(name);
        }
    }
    command
        .env("RUNTIME_DIRECTORY", directory)
        .env("STATE_DIRECTORY", directory)
        .stdin(Stdio::null());
    command
}

fn run(command: &mut Command) -> (i32, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

/// A daemon with a test picture; gone when this is dropped.
struct Daemon {
    directory: tempfile::TempDir,
    child: Child,
    metrics: SocketAddr,
    log: mpsc::Receiver<String>,
}

impl Daemon {
    /// `lobby`: the tables that say which.
    fn start(lobby: &str) -> Self {
        Self::with("profile = 'test'", lobby)
    }

    /// `camera`: which one.
    fn with(camera: &str, lobby: &str) -> Self {
        let mut daemon = Self::spawn(camera, "127.0.0.1:0", lobby);
        let line = daemon.says("event=\"metrics-open\"");
        let (_, address) = line.split_once("address=").unwrap();
        daemon.metrics = address.trim().parse().unwrap();
        daemon
    }

    /// Waits for nothing. `metrics`: where they are to be.
    fn spawn(camera: &str, metrics: &str, lobby: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("secret"), SECRET).unwrap();
        let config = directory.path().join("perch.toml");
        let text = format!(
            "[stream]\ntitle = 'Porch'\n[camera]\n{camera}\nwidth = 320\nheight = 180\n\
             [metrics]\nenabled = true\nlisten = '{metrics}'\n{lobby}"
        );
        fs::write(&config, text).unwrap();
        let mut child = perch(
            directory.path(),
            &["run", "--config", config.to_str().unwrap()],
        )
        .env("NO_COLOR", "1")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
        let (line, log) = mpsc::channel();
        let said = BufReader::new(child.stderr.take().unwrap());
        thread::spawn(move || {
            for text in said.lines().map_while(Result::ok) {
                eprintln!("{text}");
                let _ = line.send(text);
            }
        });
        Self {
            directory,
            child,
            metrics: ([0, 0, 0, 0], 0).into(),
            log,
        }
    }

    /// The next line with this text.
    fn says(&self, text: &str) -> String {
        loop {
            let line = self.log.recv_timeout(PATIENCE).expect(text);
            if line.contains(text) {
                return line;
            }
        }
    }

    fn status(&self, arguments: &[&str]) -> (i32, String, String) {
        run(perch(self.directory.path(), &["status"]).args(arguments))
    }

    fn get(&self, path: &str) -> (u16, String) {
        get(self.metrics, path)
    }

    /// Asks until `wanted` is what comes back.
    fn until(&self, path: &str, wanted: impl Fn(u16, &str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (code, body) = self.get(path);
            if wanted(code, &body) {
                return body;
            }
            assert!(Instant::now() < deadline, "{path}: {code} {body}");
            thread::sleep(Duration::from_millis(200));
        }
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([name, &pid]).status().unwrap();
        assert!(sent.success());
    }

    /// Of the running process.
    fn limit_descriptors(&self, soft: u32) {
        let (pid, limit) = (self.child.id(), format!("--nofile={soft}:"));
        let set = Command::new("prlimit")
            .args(["--pid", &pid.to_string(), &limit])
            .status();
        assert!(set.unwrap().success());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    let (head, body) = reply.split_once("\r\n\r\n").unwrap();
    (
        head.split(' ').nth(1).unwrap().parse().unwrap(),
        body.to_owned(),
    )
}

const EMBEDDED: &str = "[embedded_lobby]\nenabled = true\nlisten = '127.0.0.1:0'\n";
/// Port 9 is "discard", where nobody listens.
const UNREACHABLE: &str = "[lobby]\nurl = 'http://127.0.0.1:9'\n\
                           [lobby.auth]\nsecret_file = 'secret'\nsubject = 'porch'\n";

#[test]
fn without_a_daemon_status_says_so_in_one_line() {
    let directory = tempfile::tempdir().unwrap();
    for arguments in [&["status"][..], &["status", "--json"]] {
        let (code, stdout, stderr) = run(&mut perch(directory.path(), arguments));
        assert_eq!((code, stdout.as_str()), (1, ""));
        assert!(
            stderr.starts_with("perch: perch does not run: "),
            "{stderr}"
        );
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    }
}

#[test]
fn a_daemon_that_serves_says_so_everywhere() {
    let daemon = Daemon::start(EMBEDDED);
    daemon.until("/healthz", |code, body| {
        code == 200 && body == r#"{"status":"ok"}"#
    });

    let (code, stdout, stderr) = daemon.status(&["--json"]);
    assert_eq!(code, 0, "{stderr}");
    let status: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(status["serving"], true, "{stdout}");
    assert_eq!(status["title"], "Porch");
    assert_eq!(status["pid"], daemon.child.id());
    assert_eq!(status["lobby"]["state"], "live");
    assert_eq!(status["lobby"]["embedded"], true);
    assert_eq!(status["camera"]["state"], "live");
    assert!(status["camera"]["fps"].as_f64().unwrap() > 1.0, "{stdout}");
    assert!(status["process"]["resident_bytes"].as_u64().unwrap() > 1 << 20);

    let (code, stdout, _) = daemon.status(&[]);
    assert_eq!(code, 0);
    let first = stdout.lines().next().unwrap();
    assert!(
        first.starts_with("\"Porch\": perch ") && first.ends_with(", serving"),
        "{stdout}"
    );
    assert!(stdout.contains("camera   live for "), "{stdout}");
    assert!(stdout.contains("viewers  0 of "), "{stdout}");

    let (_, first) = daemon.get("/metrics");
    let frames = |page: &str| sample(page, "perch_camera_encoded_frames_total").unwrap();
    assert!(frames(&first) > 0.0);
    daemon.until("/metrics", |_, page| frames(page) > frames(&first));
    assert_eq!(sample(&first, "perch_serving"), Some(1.0));
    assert_eq!(sample(&first, "perch_lobby_up"), Some(1.0));
    assert_eq!(sample(&first, "perch_viewers{state=\"live\"}"), Some(0.0));
    assert_eq!(daemon.get("/").0, 404);

    daemon.signal("-TERM");
    let socket = daemon.directory.path().join("status.sock");
    let deadline = Instant::now() + PATIENCE;
    while socket.exists() {
        assert!(Instant::now() < deadline, "the socket goes with the daemon");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_daemon_without_a_lobby_says_why_it_serves_nobody() {
    let daemon = Daemon::start(UNREACHABLE);
    let wanted = "there is no line to the lobby: ";
    let body = daemon.until("/healthz", |code, body| {
        code == 503 && body.contains(wanted)
    });
    assert!(
        body.starts_with(r#"{"reason":"#) && body.contains(r#""status":"degraded""#),
        "{body}"
    );
    let (code, stdout, stderr) = daemon.status(&["--json"]);
    assert_eq!(code, 0, "{stderr}");
    let status: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(status["serving"], false);
    assert_eq!(status["lobby"]["state"], "down");
    assert_eq!(status["lobby"]["cause"], "refused");
    assert!(status["lobby"]["next_dial_s"].is_number(), "{stdout}");
    let (_, text, _) = daemon.status(&[]);
    assert!(text.contains("NOT SERVING: there is no line"), "{text}");
    let (_, page) = daemon.get("/metrics");
    assert_eq!(sample(&page, "perch_serving"), Some(0.0));
    for shown in [stdout, text, page, body] {
        assert!(!shown.contains(SECRET) && !shown.contains("eyJ"), "{shown}");
    }
}

#[test]
fn a_daemon_without_a_camera_says_why_it_serves_nobody() {
    let daemon = Daemon::with("profile = 'v4l2'\ndevice = '/dev/video-none'", EMBEDDED);
    daemon.until("/metrics", |_, page| {
        sample(page, "perch_lobby_up") == Some(1.0)
    });
    // It is tried again now and then, which is another state for a moment; the fault stays the same.
    let body = daemon.until("/healthz", |code, body| {
        assert_eq!(code, 503, "{body}");
        body.contains("no camera at /dev/video-none")
    });
    assert!(body.contains("the camera gives no picture"), "{body}");
    let page = daemon.until("/metrics", |_, page| {
        sample(page, "perch_camera_state{state=\"waiting\"}") == Some(1.0)
    });
    assert_eq!(sample(&page, "perch_serving"), Some(0.0));
    let deadline = Instant::now() + PATIENCE;
    let waits = loop {
        let (_, stdout, _) = daemon.status(&["--json"]);
        let status: Value = serde_json::from_str(&stdout).unwrap();
        assert_eq!(status["serving"], false, "{stdout}");
        assert_eq!(status["camera"]["fault"], "no-camera", "{stdout}");
        if status["camera"]["state"] == "waiting" {
            break status;
        }
        assert!(Instant::now() < deadline, "{stdout}");
    };
    assert!(waits["camera"]["next_start_s"].is_number(), "{waits}");
    let (_, text, _) = daemon.status(&[]);
    assert!(
        text.contains("NOT SERVING: the camera gives no picture"),
        "{text}"
    );
    assert!(text.contains("no camera at /dev/video-none"), "{text}");
}

#[test]
fn a_daemon_without_descriptors_for_another_viewer_says_so() {
    let daemon = Daemon::start(EMBEDDED);
    daemon.until("/healthz", |code, _| code == 200);
    // Above what it has open, and below what it keeps free for itself and a viewer.
    daemon.limit_descriptors(100);
    let body = daemon.until("/healthz", |code, _| code == 503);
    assert!(
        body.contains("no room for another viewer") && body.contains("of 100 file descriptors"),
        "{body}"
    );
    let (_, text, _) = daemon.status(&[]);
    assert!(text.contains("NOT SERVING: there is no room"), "{text}");
    daemon.limit_descriptors(1024);
    daemon.until("/healthz", |code, _| code == 200);
}

/// Somebody else has the address.
#[test]
fn a_taken_address_for_the_metrics_takes_nothing_from_the_stream() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let daemon = Daemon::spawn("profile = 'test'", &address, EMBEDDED);
    daemon.says("event=\"metrics-missing\"");
    daemon.says("event=\"line-live\"");
}

#[test]
fn a_crowd_at_the_metrics_is_not_taken_for_one_at_the_lobby() {
    let daemon = Daemon::start(EMBEDDED);
    // One more than there are places.
    let crowd: Vec<_> = (0..17)
        .map(|_| TcpStream::connect(daemon.metrics).unwrap())
        .collect();
    let line = daemon.says("-full\"");
    drop(crowd);
    assert!(
        line.contains("event=\"metrics-full\"") && !line.contains("lobby"),
        "{line}"
    );
}

#[test]
fn a_daemon_that_hangs_is_not_waited_for() {
    let daemon = Daemon::start(EMBEDDED);
    daemon.until("/healthz", |code, _| code == 200);
    daemon.signal("-STOP");
    let (code, stdout, stderr) = daemon.status(&[]);
    assert_eq!((code, stdout.as_str()), (1, ""));
    assert!(
        stderr.contains("does not answer") && stderr.contains("it hangs"),
        "{stderr}"
    );
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    daemon.signal("-CONT");
    assert_eq!(daemon.status(&[]).0, 0);
}

/// Whoever connects and is slow, or comes in numbers, neither keeps others out for long nor stays.
#[test]
fn a_slow_scraper_is_hung_up_on() {
    let daemon = Daemon::start(EMBEDDED);
    let slow: Vec<_> = (0..32)
        .map(|_| {
            let mut stream = TcpStream::connect(daemon.metrics).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            // One that was turned away does not take it.
            let _ = stream.write_all(b"GET /metr");
            stream
        })
        .collect();
    for mut stream in slow {
        let mut rest = Vec::new();
        // An end or a reset; a time-out would be neither.
        if let Err(error) = stream.read_to_end(&mut rest) {
            assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock);
        }
        let text = String::from_utf8_lossy(&rest);
        assert!(rest.is_empty() || text.starts_with("HTTP/1.1 4"), "{text}");
    }
    let asked: Vec<_> = (0..8)
        .map(|_| {
            let address = daemon.metrics;
            thread::spawn(move || get(address, "/metrics").0)
        })
        .collect();
    for answer in asked {
        assert_eq!(answer.join().unwrap(), 200);
    }
}

/// docs/observe.md names every metric, and none that there is not; and Prometheus' own linter agrees with the page.
#[test]
fn the_documented_metrics_are_those_that_are_exported() {
    let daemon = Daemon::start(EMBEDDED);
    let (code, page) = daemon.get("/metrics");
    assert_eq!(code, 200);
    let exported: BTreeSet<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .collect();
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/observe.md")).unwrap();
    let documented: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split(['`', '{']).next())
        .filter(|name| name.starts_with("perch_") || name.starts_with("process_"))
        .collect();
    assert_eq!(exported, documented);
    promtool(&page);
}

/// `promtool check metrics` where it is installed; in CI it must be.
fn promtool(page: &str) {
    let program = std::env::var("PROMTOOL").unwrap_or_else(|_| "promtool".to_owned());
    let started = Command::new(program)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut checker = match started {
        Ok(checker) => checker,
        Err(error) if std::env::var_os("CI").is_none() => {
            eprintln!("promtool is not installed ({error}): the page is not linted by it");
            return;
        }
        Err(error) => panic!("promtool (apt-get install prometheus): {error}"),
    };
    checker
        .stdin
        .take()
        .unwrap()
        .write_all(page.as_bytes())
        .unwrap();
    let Output {
        status,
        stdout,
        stderr,
    } = checker.wait_with_output().unwrap();
    let said = [stdout, stderr].concat();
    assert!(
        status.success() && said.is_empty(),
        "{}",
        String::from_utf8_lossy(&said)
    );
}

fn sample(page: &str, name: &str) -> Option<f64> {
    page.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
        .and_then(|value| value.parse().ok())
}
