//! What systemd is told, by the real program on the real protocol (sd_notify(3)): the test is the socket.
#![expect(
    clippy::unwrap_used,
    reason = "a test that panics has failed, helpers included"
)]

use std::{
    fs,
    os::unix::net::UnixDatagram,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

const PATIENCE: Duration = Duration::from_secs(60);
/// The watchdog's time; it is fed twice in it.
const WATCHDOG: Duration = Duration::from_secs(2);

/// The program as a service of type notify, with a lobby of its own.
struct Service {
    directory: tempfile::TempDir,
    socket: UnixDatagram,
    child: Child,
}

impl Service {
    /// `camera` is the rest of that table, `source` a profile's launch text from source to encoder.
    fn start(camera: &str, source: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::create_dir(at("pipelines")).unwrap();
        fs::write(at("pipelines/tested.toml"), profile(source)).unwrap();
        fs::write(
            at("perch.toml"),
            format!(
                "[stream]\ntitle = 'Porch'\n[embedded_lobby]\nenabled = true\nlisten = '127.0.0.1:0'\n\
                 [camera]\nwidth = 320\nheight = 180\nframerate = 15\n{camera}\n"
            ),
        )
        .unwrap();
        let socket = UnixDatagram::bind(at("notify")).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(200)))
            .unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_perch"));
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("PERCH_") || text == "RUST_LOG" || text == "CREDENTIALS_DIRECTORY" {
                command.env_remove(name);
            }
        }
        let child = command
            .args(["run", "--config"])
            .arg(at("perch.toml"))
            .env("STATE_DIRECTORY", directory.path())
            .env("RUNTIME_DIRECTORY", directory.path())
            .env("PERCH_DATA_DIR", directory.path())
            .env("NOTIFY_SOCKET", at("notify"))
            .env("WATCHDOG_USEC", WATCHDOG.as_micros().to_string())
            .stdout(Stdio::null())
            .stderr(fs::File::create(at("log")).unwrap())
            .spawn()
            .unwrap();
        Self {
            directory,
            socket,
            child,
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// The next thing that systemd is told; nothing for a moment's silence.
    fn told(&self) -> Option<String> {
        let mut buffer = [0; 4096];
        let length = self.socket.recv(&mut buffer).ok()?;
        Some(String::from_utf8(buffer[..length].to_vec()).unwrap())
    }

    /// Everything that is told until `what` is.
    fn until(&self, what: &str) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        let mut all = Vec::new();
        while Instant::now() < deadline {
            all.extend(self.told());
            if all.last().is_some_and(|told| told.contains(what)) {
                return all;
            }
        }
        panic!("{what:?} is not told in time, but {all:?}\n{}", self.log());
    }

    fn ends(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            self.told();
        }
        panic!("it does not end:\n{}", self.log());
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn profile(source: &str) -> String {
    format!(
        "name = 'tested'\ndescription = 'of a test'\n\
         [[source]]\nelements = ['videotestsrc']\nlaunch = '{source}'\n\
         [[encoder]]\nname = 'x264'\nelements = ['x264enc']\n\
         launch = 'x264enc name=encoder tune=zerolatency speed-preset=ultrafast bframes=0 \
         min-force-key-unit-interval=250000000 ! video/x-h264,profile=constrained-baseline'\n"
    )
}

const SOURCE: &str = "videotestsrc is-live=true \
    ! video/x-raw,format=I420,width={width},height={height},framerate={framerate}/1";

fn count(told: &[String], what: &str) -> usize {
    told.iter().filter(|told| told.contains(what)).count()
}

#[test]
fn a_healthy_camera_is_ready_fed_and_told_of_once() {
    let service = Service::start("profile = 'tested'", SOURCE);
    service.until("READY=1");
    service.until("STATUS=live as 'Porch', 0 viewers, ");
    let mut told = Vec::new();
    while count(&told, "WATCHDOG=1") < 4 {
        told.extend(service.until("WATCHDOG=1"));
    }
    // Where the machine is busy, the frame rate is another one; nothing else changes.
    let statuses = count(&told, "STATUS=");
    assert_eq!(
        statuses,
        count(&told, "STATUS=live as 'Porch', 0 viewers, "),
        "{told:?}"
    );
    // The same, for a start-up that takes long.
    let extension = format!("EXTEND_TIMEOUT_USEC={}", WATCHDOG.as_micros());
    assert!(count(&told, &extension) >= 3, "{told:?}");
    assert!(!service.log().contains("WARN"), "{}", service.log());
}

#[test]
fn who_waits_for_a_missing_camera_is_alive_and_says_so() {
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let device = directory.path().join("video0");
    let camera = format!("profile = 'v4l2'\ndevice = '{}'", device.display());
    let service = Service::start(&camera, SOURCE);
    service.until("READY=1");
    let mut told = service.until(&format!(
        "STATUS=no camera at {}, trying again in ",
        device.display()
    ));
    while count(&told, "WATCHDOG=1") < 5 {
        told.extend(service.until("WATCHDOG=1"));
    }
    assert_eq!(count(&told, "WATCHDOG=trigger"), 0);
    let log = service.log();
    assert_eq!(log.matches("WARN").count(), 1, "one line for it:\n{log}");
    assert!(log.contains("camera-waiting"), "{log}");
}

#[test]
fn a_camera_that_is_off_while_nobody_watches_is_ready_and_fed() {
    let service = Service::start("profile = 'tested'\nidle = 'camera-off'", SOURCE);
    let mut told = service.until("READY=1");
    let off = "STATUS=live as 'Porch', nobody watches, camera off until somebody does";
    if count(&told, off) == 0 {
        told.extend(service.until(off));
    }
    while count(&told, "WATCHDOG=1") < 8 {
        told.extend(service.until("WATCHDOG=1"));
    }
    assert_eq!(count(&told, "STATUS=live as 'Porch', "), 1, "{told:?}");
    let log = service.log();
    assert!(log.contains("camera-idle"), "{log}");
    assert!(!log.contains("camera-live"), "{log}");
    assert!(!log.contains("WARN"), "{log}");
}

#[test]
fn a_camera_that_restarts_is_told_of_and_fed_meanwhile() {
    let source = format!("{SOURCE} ! identity error-after=45");
    let service = Service::start("profile = 'tested'", &source);
    let mut told = service.until("READY=1");
    told.extend(service.until(
        "STATUS=live as 'Porch' without a picture: the camera failed, restarting it (1 of 10)",
    ));
    told.extend(service.until("STATUS=live as 'Porch', 0 viewers"));
    told.extend(service.until("restarting it (2 of 10)"));
    assert!(count(&told, "WATCHDOG=1") > 0, "{told:?}");
}

#[test]
fn a_camera_that_hangs_is_left_to_systemd() {
    // A thread that sleeps in an element cannot be stopped.
    let source = format!("{SOURCE} ! identity sleep-time=600000000");
    let mut service = Service::start("profile = 'tested'", &source);
    let told = service.until("WATCHDOG=trigger");
    assert_eq!(count(&told, "STOPPING=1"), 1, "in order: {told:?}");
    assert!(!service.ends().success());
    let log = service.log();
    assert!(log.contains("camera-gave-up"), "{log}");
}

#[test]
fn what_no_restart_mends_is_a_wrong_configuration() {
    for source in ["nosuchsrc", "videotestsrc nosuchproperty=1"] {
        let mut service = Service::start("profile = 'tested'", source);
        assert_eq!(service.ends().code(), Some(78), "{}", service.log());
    }
}

#[test]
fn a_process_that_stood_still_goes_on_as_if_nothing_was() {
    let service = Service::start("profile = 'tested'", SOURCE);
    service.until("fps");
    let signal = |name: &str| {
        let pid = service.child.id().to_string();
        assert!(
            Command::new("kill")
                .args([name, &pid])
                .status()
                .unwrap()
                .success()
        );
    };
    signal("-STOP");
    // Not a wait for something: longer than any patience with a silent camera.
    std::thread::sleep(Duration::from_secs(9));
    signal("-CONT");
    while service.told().is_some() {}
    service.until("WATCHDOG=1");
    service.until("WATCHDOG=1");
    assert!(!service.log().contains("WARN"), "{}", service.log());
}
