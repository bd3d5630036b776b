//! The program as it is called: what it prints, and its exit codes.
#![expect(
    clippy::unwrap_used,
    reason = "a test that panics has failed, helpers included"
)]

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

/// The program with nothing of the caller's configuration in its environment.
fn perch(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_perch"));
    command.args(arguments);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("PERCH_") || text == "RUST_LOG" || text == "CREDENTIALS_DIRECTORY" {
            command.env_remove(name);
        }
    }
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

/// A directory with a secret and a configuration that passes.
fn configured(more: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("secret"), "a-secret-of-some-length\n").unwrap();
    let text = format!(
        "[lobby]\nurl = 'http://127.0.0.1:9'\n[lobby.auth]\nsecret_file = 'secret'\n\
         subject = 'me'\n[camera]\nprofile = 'test'\n{more}"
    );
    fs::write(directory.path().join("perch.toml"), text).unwrap();
    directory
}

fn file(directory: &Path) -> String {
    directory.join("perch.toml").to_str().unwrap().to_owned()
}

#[test]
fn the_version_is_that_of_both() {
    let (code, stdout, _) = run(&mut perch(&["--version"]));
    assert_eq!(code, 0);
    let expected = format!("perch {} (GStreamer ", env!("CARGO_PKG_VERSION"));
    assert!(stdout.starts_with(&expected), "{stdout}");
}

#[test]
fn check_passes_what_can_run() {
    let directory = configured("");
    let (code, stdout, stderr) = run(&mut perch(&["check", "--config", &file(directory.path())]));
    assert_eq!((code, stderr.as_str()), (0, ""), "{stdout}");
    assert!(
        stdout.contains("http://127.0.0.1:9/") && stdout.ends_with("ok\n"),
        "{stdout}"
    );
    assert!(!stdout.contains("a-secret"), "{stdout}");
}

#[test]
fn check_names_everything_that_is_wrong() {
    let directory = configured("widht = 3\nheight = 3\n");
    let path = file(directory.path());
    let (code, _, stderr) = run(&mut perch(&["check", "--config", &path]));
    assert_eq!(code, 1);
    let lines: Vec<&str> = stderr.lines().collect();
    assert_eq!(lines.len(), 2, "{stderr}");
    assert!(
        lines[0].starts_with(&format!("{path}:8:1: camera.widht: ")),
        "{stderr}"
    );
    assert!(
        lines[1].starts_with(&format!("{path}:9:1: camera.height: ")),
        "{stderr}"
    );
}

/// What the file would have said is not known, so nothing is said to be missing.
#[test]
fn a_file_that_is_no_toml_is_one_fault() {
    let directory = configured("");
    let path = file(directory.path());
    for text in ["[lobby\n", "[lobby]\nurl = 'http://127.0.0.1:9\n"] {
        fs::write(&path, text).unwrap();
        let (code, _, stderr) = run(&mut perch(&["check", "--config", &path]));
        assert_eq!(code, 1);
        assert!(stderr.contains("not TOML"), "{stderr}");
        assert!(!stderr.contains("is not set"), "{stderr}");
    }
}

#[test]
fn check_reads_the_files_that_are_named() {
    let directory = configured("[[ice.servers]]\nurl = 'turn:a.example'\nsecret_file = 'none'\n");
    // It looks like one, but the line could not use it.
    let ca = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    fs::write(directory.path().join("ca.pem"), ca).unwrap();
    fs::write(directory.path().join("secret"), "").unwrap();
    let mut command = perch(&["check", "--config", &file(directory.path())]);
    let (code, _, stderr) = run(command.env("PERCH__LOBBY__CA_FILE", "ca.pem"));
    assert_eq!(code, 1);
    let file = file(directory.path());
    for fault in [
        format!("fault: {file}:4:1: lobby.auth.secret_file: "),
        "fault: environment variable PERCH__LOBBY__CA_FILE: lobby.ca_file: ".to_owned(),
        format!("fault: {file}:10:1: ice.servers[0].secret_file: "),
    ] {
        assert!(stderr.contains(&fault), "{fault}: {stderr}");
    }
}

/// What `check` and `run` say of settings that can never be used, with data and state beside them.
fn refused(directory: &Path) -> [String; 2] {
    [("check", 1), ("run", 78)].map(|(command, expected)| {
        let mut command = perch(&[command, "--config", &file(directory)]);
        command.env("STATE_DIRECTORY", directory);
        let (code, _, stderr) = run(command.env("PERCH_DATA_DIR", directory));
        assert_eq!(code, expected, "{stderr}");
        stderr
    })
}

/// In the place of what was there.
fn make_pipe(path: &Path) {
    let _ = fs::remove_file(path);
    let made = Command::new("mkfifo")
        .args(["-m", "600"])
        .arg(path)
        .status();
    assert!(made.unwrap().success());
}

/// Nobody ever writes to these pipes. That the test ends at all is what it is about.
#[test]
fn check_names_the_files_that_hang() {
    let directory =
        configured("[[ice.servers]]\nurl = 'turn:a.example'\nsecret_file = 'turn-pipe'\n");
    for pipe in ["secret", "turn-pipe", "ca-pipe", "key-pipe"] {
        make_pipe(&directory.path().join(pipe));
    }
    let mut command = perch(&["check", "--config", &file(directory.path())]);
    let (code, _, stderr) = run(command.env("PERCH__LOBBY__CA_FILE", "ca-pipe"));
    assert_eq!(code, 1);
    for (key, pipe) in [
        ("lobby.auth.secret_file", "secret"),
        ("lobby.ca_file", "ca-pipe"),
        ("ice.servers[0].secret_file", "turn-pipe"),
    ] {
        let path = directory.path().join(pipe);
        let fault = format!(": {key}: {} cannot be read in time", path.display());
        assert!(stderr.contains(&fault), "{fault}: {stderr}");
    }

    // Of two files the one that hangs is named.
    let text = "camera = { profile = 'test' }\n[embedded_lobby]\nenabled = true\n\
                certificate_file = 'lobby.pem'\nkey_file = 'key-pipe'\n";
    fs::write(directory.path().join("perch.toml"), text).unwrap();
    fs::write(directory.path().join("lobby.pem"), a_certificate()).unwrap();
    let mut command = perch(&["check", "--config", &file(directory.path())]);
    let (code, _, stderr) = run(command.env("STATE_DIRECTORY", directory.path()));
    assert_eq!(code, 1);
    let named = stderr
        .lines()
        .find(|line| line.contains("in time"))
        .unwrap();
    assert!(named.contains("key-pipe"), "{stderr}");
    assert!(
        named.contains(":5:1: embedded_lobby.key_file: "),
        "{stderr}"
    );
    assert!(!named.contains("lobby.pem"), "{stderr}");
}

/// As above.
#[test]
fn settings_that_hang_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("perch.toml");
    make_pipe(&pipe);
    for stderr in refused(directory.path()) {
        let told = format!("{} cannot be read in time", pipe.display());
        assert!(stderr.contains(&told), "{stderr}");
    }
}

/// As above.
#[test]
fn a_file_that_hangs_ends_whatever_reads_it() {
    let directory = tempfile::tempdir().unwrap();
    let text = "camera = { profile = 'test' }\n[embedded_lobby]\nenabled = true\nlisten = '127.0.0.1:8080'\n";
    let tls = "certificate_file = 'lobby.pem'\nkey_file = 'lobby.key'\n";
    let config = file(directory.path());
    fs::write(&config, text).unwrap();
    let ends = |arguments: &[&str], pipe: &Path| {
        let mut command = perch(arguments);
        let (code, stdout, stderr) = run(command.env("STATE_DIRECTORY", directory.path()));
        assert_eq!((code, stdout.as_str()), (1, ""), "{stderr}");
        let told = format!("{} cannot be read in time", pipe.display());
        let lines = stderr.lines().filter(|line| line.contains(&told)).count();
        assert_eq!(lines, 1, "{stderr}");
        stderr
    };
    let keys = directory.path().join(perch::lobby::keys::FILE);
    make_pipe(&keys);
    let asked = [
        "token",
        "--subject",
        "me",
        "--secret-file",
        keys.to_str().unwrap(),
    ];
    for arguments in [&asked[..], &["link", "--config", &config]] {
        let stderr = ends(arguments, &keys);
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    }
    // It is tried again: a disk may answer later.
    ends(&["run", "--config", &config], &keys);

    fs::remove_file(&keys).unwrap();
    perch::lobby::keys::Keys::load_or_create(directory.path()).unwrap();
    fs::write(&config, format!("{text}{tls}")).unwrap();
    let certificate = directory.path().join("lobby.pem");
    make_pipe(&certificate);
    ends(&["link", "--config", &config], &certificate);
}

/// In PEM.
fn a_certificate() -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    let wanted = rcgen::CertificateParams::new(vec!["porch.example.org".into()]).unwrap();
    wanted.self_signed(&key).unwrap().pem()
}

#[test]
fn check_reads_the_embedded_lobbys_certificate() {
    let directory = tempfile::tempdir().unwrap();
    let text = "camera = { profile = 'test' }\n[embedded_lobby]\nenabled = true\n\
                certificate_file = 'lobby.pem'\nkey_file = 'lobby.key'\n";
    fs::write(directory.path().join("perch.toml"), text).unwrap();
    let (code, _, stderr) = run(&mut perch(&["check", "--config", &file(directory.path())]));
    assert_eq!(code, 1);
    assert!(
        stderr.contains("embedded_lobby.certificate_file") && stderr.contains("lobby.pem"),
        "{stderr}"
    );
}

#[test]
fn a_wrong_configuration_is_not_worth_a_restart() {
    let directory = configured("width = 3\n");
    let (code, stdout, stderr) = run(&mut perch(&["run", "--config", &file(directory.path())]));
    assert_eq!((code, stdout.as_str()), (78, ""));
    assert!(stderr.contains("camera.width: found 3"), "{stderr}");

    let gone = directory.path().join("gone.toml");
    let (code, _, stderr) = run(&mut perch(&["run", "--config", gone.to_str().unwrap()]));
    assert_eq!(code, 78);
    assert!(stderr.contains("gone.toml: cannot be read"), "{stderr}");

    let text = "camera = { profile = 'test' }\n[embedded_lobby]\nenabled = true\nlisten = '127.0.0.1:0'\n\
                certificate_file = 'gone.pem'\nkey_file = 'gone.key'\n";
    fs::write(directory.path().join("perch.toml"), text).unwrap();
    let mut command = perch(&["run", "--config", &file(directory.path())]);
    let (code, _, stderr) = run(command.env("STATE_DIRECTORY", directory.path()));
    assert_eq!(code, 78);
    assert!(stderr.contains("the embedded lobby has no TLS"), "{stderr}");

    let (code, _, stderr) = run(perch(&["demo"]).env("PERCH_LOG", "perch=loud"));
    assert_eq!(code, 78);
    assert!(
        stderr.contains("PERCH_LOG: found \"perch=loud\""),
        "{stderr}"
    );
}

/// A demo has no configuration that could be changed.
#[test]
fn a_demo_on_a_taken_port_names_its_own_argument() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, _, stderr) = run(&mut perch(&["demo", "--listen", &address]));
    assert_eq!(code, 1, "{stderr}");
    assert!(
        stderr.contains(&format!("cannot listen on {address}")),
        "{stderr}"
    );
    assert!(stderr.contains("with `--listen 127.0.0.1:"), "{stderr}");
    assert!(!stderr.contains("[embedded_lobby]"), "{stderr}");
}

/// Where there is no file, settings of the environment alone must not make it ask for a lobby.
#[test]
fn devices_answers_before_there_is_a_configuration() {
    if Path::new(perch::config::DEFAULT_FILE).exists() {
        return;
    }
    let (code, stdout, stderr) = run(perch(&["devices"]).env("PERCH__CAMERA__WIDTH", "640"));
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains("Cameras\n"), "{stdout}");
}

#[test]
fn devices_lists_what_there_is() {
    let directory = configured("");
    let (code, stdout, _) = run(&mut perch(&[
        "devices",
        "--config",
        &file(directory.path()),
    ]));
    assert_eq!(code, 0);
    for heading in [
        "Cameras\n",
        "Encoders\n",
        "Profiles\n",
        "With camera.profile = \"auto\"\n",
    ] {
        assert!(stdout.contains(heading), "{stdout}");
    }
}

#[test]
fn check_chooses_the_picture_as_devices_does() {
    let directory = configured("");
    let path = file(directory.path());
    let asked = |command| {
        let mut command = perch(&[command, "--config", &path]);
        let (code, stdout, stderr) = run(command.env("PERCH__CAMERA__PROFILE", "auto"));
        assert_eq!(code, 0, "{stderr}");
        stdout
    };
    let (devices, check) = (asked("devices"), asked("check"));
    let chosen = devices.lines().last().unwrap().trim();
    assert!(check.contains(&format!("picture  {chosen}\n")), "{check}");
}

#[test]
fn a_profile_beside_the_program_is_found() {
    let directory = configured("");
    let data = directory.path().join("data");
    fs::create_dir_all(data.join("pipelines")).unwrap();
    let mine = include_str!("../pipelines/test.toml").replace("name = \"test\"", "name = \"mine\"");
    fs::write(data.join("pipelines/mine.toml"), mine).unwrap();
    let mut command = perch(&["check", "--config", &file(directory.path())]);
    command
        .env("PERCH_DATA_DIR", &data)
        .env("PERCH__CAMERA__PROFILE", "mine");
    let (code, stdout, stderr) = run(&mut command);
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains("profile mine"), "{stdout}");

    fs::write(data.join("pipelines/broken.toml"), "nmae = 'x'").unwrap();
    let (code, _, stderr) = run(&mut command);
    assert_eq!(code, 1);
    assert!(
        stderr.contains("broken.toml:1:1: ") && stderr.contains("nmae"),
        "{stderr}"
    );

    // It takes no other profile along, and neither does one that cannot be read.
    fs::create_dir(data.join("pipelines/folder.toml")).unwrap();
    let mut devices = perch(&["devices", "--config", &file(directory.path())]);
    devices
        .env("PERCH_DATA_DIR", &data)
        .env("PERCH__CAMERA__PROFILE", "mien");
    let (code, stdout, stderr) = run(&mut devices);
    assert_eq!(code, 0, "{stderr}");
    for told in [
        "broken.toml:1:1: ",
        "folder.toml: cannot be read: it is no plain file",
        "there is no profile \"mien\"; did you mean \"mine\";",
        "  mine  ",
        "/mine.toml)\n",
        "  v4l2  ",
    ] {
        assert!(stdout.contains(told), "{told}: {stdout}");
    }

    let (code, _, stderr) = run(command.env("PERCH_DATA_DIR", data.join("nowhere")));
    assert_eq!(code, 1);
    let told = "PERCH_DATA_DIR: there is no directory ";
    assert!(stderr.contains(told), "{stderr}");
}

#[test]
fn check_tells_of_an_owners_profile_that_is_left_alone() {
    let directory = configured("");
    let data = directory.path().join("data");
    fs::create_dir_all(data.join("pipelines")).unwrap();
    let mine = include_str!("../pipelines/test.toml")
        .replace("name = \"test\"", "name = \"mine\"")
        .replace("videotestsrc", "nosuchsrc")
        + "\n[auto]\npriority = 90\n";
    fs::write(data.join("pipelines/mine.toml"), mine).unwrap();
    let mut command = perch(&["check", "--config", &file(directory.path())]);
    command
        .env("PERCH_DATA_DIR", &data)
        .env("PERCH__CAMERA__PROFILE", "auto")
        .env("PERCH__CAMERA__DEVICE", "/dev/video-none");
    let (code, stdout, stderr) = run(&mut command);
    assert_eq!(code, 0, "{stderr}");
    let told = "/mine.toml is left alone, it lacks nosuchsrc";
    assert!(stdout.contains(told), "{stdout}");
}

#[test]
fn link_shows_the_keys_that_are_there_and_makes_none() {
    let directory = tempfile::tempdir().unwrap();
    let text = "[embedded_lobby]\nenabled = true\nlisten = '127.0.0.1:8080'\n";
    fs::write(directory.path().join("perch.toml"), text).unwrap();
    let state = directory.path().join("state");
    let mut command = perch(&["link", "--config", &file(directory.path())]);
    command.env("STATE_DIRECTORY", &state);
    let (code, stdout, stderr) = run(&mut command);
    assert_eq!((code, stdout.as_str()), (1, ""));
    let expected = format!("no keys yet in {}: start perch with", state.display());
    assert!(stderr.contains(&expected), "{stderr}");
    assert!(!state.exists(), "nothing is made");

    fs::create_dir(&state).unwrap();
    let (code, _, stderr) = run(&mut command);
    assert_eq!(code, 1);
    assert!(stderr.contains(&expected), "{stderr}");
    assert_eq!(fs::read_dir(&state).unwrap().count(), 0, "nothing is made");

    let keys = perch::lobby::keys::Keys::load_or_create(&state).unwrap();
    let (code, stdout, stderr) = run(&mut command);
    assert_eq!(code, 0, "{stderr}");
    let link = format!("http://127.0.0.1:8080/#{}\n", keys.watch_key.expose());
    assert!(stdout.contains(&link), "{stdout}");

    let (code, stdout, stderr) = run(command.env("PERCH__EMBEDDED_LOBBY__LISTEN", "127.0.0.1:0"));
    assert_eq!((code, stdout.as_str()), (1, ""));
    assert!(stderr.contains("set a port"), "{stderr}");
}

/// A profile `mine` with this source, and the encoders of `v4l2`.
fn profile(directory: &Path, file: &str, text: &str) {
    let profiles = directory.join("pipelines");
    fs::create_dir_all(&profiles).unwrap();
    let text = format!("description = 'x'\nlike = 'v4l2'\n{text}");
    fs::write(profiles.join(file), text).unwrap();
}

#[test]
fn a_profile_that_can_give_no_picture_is_told_in_one_line_and_not_worth_a_restart() {
    let source = |element: &str, launch: &str| {
        format!("name = 'mine'\n[[source]]\nelements = ['{element}']\nlaunch = '{launch}'")
    };
    for (text, told) in [
        (
            source("nosuchsrc", "nosuchsrc"),
            "profile \"mine\": no source can be used;",
        ),
        (
            source("videotestsrc", "videotestsrc ! video/x-raw,format=RGB"),
            "could not link videotestsrc0 to encoder, encoder can't \
             handle caps video/x-raw, format=(string)RGB",
        ),
        (
            source("videotestsrc", "videotestsrc nosuch=1"),
            "no property \"nosuch\" in element \"videotestsrc\"",
        ),
        (
            source("videotestsrc", "videotestsrc ! {nosuch}"),
            "mine.toml: source[0].launch: unknown placeholder {nosuch}",
        ),
    ] {
        let directory = tempfile::tempdir().unwrap();
        profile(directory.path(), "mine.toml", &text);
        let settings = "camera = { profile = 'mine' }\n[embedded_lobby]\nenabled = true\nlisten = '127.0.0.1:0'\n";
        fs::write(directory.path().join("perch.toml"), settings).unwrap();
        for stderr in refused(directory.path()) {
            let is_told = |line: &&str| line.contains(told) && line.contains("mine");
            assert_eq!(
                stderr.lines().filter(is_told).count(),
                1,
                "{told}: {stderr}"
            );
        }
    }
}

#[test]
fn two_profiles_that_fit_are_told_with_their_files() {
    let directory = tempfile::tempdir().unwrap();
    let settings = "[embedded_lobby]\nenabled = true\nlisten = '127.0.0.1:0'\n[camera]\nwidth = 320\nheight = 180\n";
    fs::write(directory.path().join("perch.toml"), settings).unwrap();
    for name in ["one", "other"] {
        let text = format!(
            "name = '{name}'\n[auto]\npriority = 99\n[[source]]\nelements = ['videotestsrc']\n\
             launch = 'videotestsrc is-live=true'"
        );
        profile(directory.path(), &format!("{name}.toml"), &text);
    }
    for stderr in refused(directory.path()) {
        for told in [
            "\"auto\" fits both \"one\"",
            "pipelines/other.toml), of the same priority (99)",
        ] {
            assert_eq!(stderr.matches(told).count(), 1, "{told}: {stderr}");
        }
    }
}

#[test]
fn a_device_that_is_no_camera_is_a_fault() {
    let directory = tempfile::tempdir().unwrap();
    let settings = "[embedded_lobby]\nenabled = true\nlisten = '127.0.0.1:0'\n[camera]\nprofile = 'v4l2'\ndevice = '/dev/null'\n";
    fs::write(directory.path().join("perch.toml"), settings).unwrap();
    let (code, _, stderr) = run(&mut perch(&["check", "--config", &file(directory.path())]));
    assert_eq!(code, 1, "{stderr}");
    assert!(
        stderr.contains("perch.toml:6:1: camera.device: /dev/null is no camera"),
        "{stderr}"
    );
}

#[test]
fn keys_that_others_can_read_are_told_before_the_start_and_not_worth_a_restart() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let text =
        "camera = { profile = 'test' }\n[embedded_lobby]\nenabled = true\nlisten = '127.0.0.1:0'\n";
    fs::write(directory.path().join("perch.toml"), text).unwrap();
    perch::lobby::keys::Keys::load_or_create(directory.path()).unwrap();
    let path = file(directory.path());
    let asked = |command: &str| {
        let mut command = perch(&[command, "--config", &path]);
        run(command.env("STATE_DIRECTORY", directory.path()))
    };
    let (code, _, stderr) = asked("check");
    assert_eq!(code, 0, "{stderr}");
    let keys = directory.path().join(perch::lobby::keys::FILE);
    fs::set_permissions(&keys, fs::Permissions::from_mode(0o644)).unwrap();
    for stderr in refused(directory.path()) {
        assert!(stderr.contains("run `chmod 600` on it"), "{stderr}");
    }
    fs::write(&keys, "").unwrap();
    fs::set_permissions(&keys, fs::Permissions::from_mode(0o600)).unwrap();
    let (code, _, stderr) = asked("run");
    assert_eq!(code, 78, "{stderr}");
}

#[test]
fn token_mints_for_the_subject() {
    let directory = configured("");
    let secret = directory.path().join("secret");
    let secret = secret.to_str().unwrap();
    let (code, stdout, _) = run(&mut perch(&[
        "token",
        "--secret-file",
        secret,
        "--subject",
        "me",
    ]));
    assert_eq!(code, 0);
    assert_eq!(stdout.trim().split('.').count(), 3, "{stdout}");
    let checked = directory.path().join("token");
    fs::write(&checked, stdout).unwrap();
    // The daemon's own check of a token that it is given takes it.
    let text = format!(
        "[lobby]\nurl = 'ws://127.0.0.1:9'\n[camera]\nprofile = 'test'\n\
         [lobby.auth]\ntoken_file = '{}'",
        checked.display()
    );
    fs::write(file(directory.path()), text).unwrap();
    let (code, _, stderr) = run(&mut perch(&["check", "--config", &file(directory.path())]));
    assert_eq!(code, 0, "{stderr}");

    let (code, _, stderr) = run(&mut perch(&[
        "token",
        "--secret-file",
        "/nonexistent",
        "--subject",
        "me",
    ]));
    assert_eq!(code, 1);
    assert!(stderr.contains("/nonexistent"), "{stderr}");
    let (code, _, _) = run(&mut perch(&["token"]));
    assert_eq!(code, 2);
    // A configuration's secret_file needs one, too.
    let nobody = ["token", "--secret-file", secret, "--subject", ""];
    let (code, stdout, _) = run(&mut perch(&nobody));
    assert_eq!((code, stdout.as_str()), (2, ""));
}

#[test]
fn whoever_stops_reading_gets_no_complaint() {
    let directory = configured("");
    let lobby = "[embedded_lobby]\nenabled = true\nlisten = '127.0.0.1:8080'\n";
    fs::write(directory.path().join("lobby.toml"), lobby).unwrap();
    perch::lobby::keys::Keys::load_or_create(directory.path()).unwrap();
    let (checked, linked) = (file(directory.path()), directory.path().join("lobby.toml"));
    for arguments in [
        &["devices"][..],
        &["check", "--config", &checked],
        &["link", "--config", linked.to_str().unwrap()],
    ] {
        let mut asked = perch(arguments);
        let mut child = asked
            .env("STATE_DIRECTORY", directory.path())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr);
        let ended = (output.status.code(), &*complaint);
        assert_eq!(ended, (Some(0), ""), "{arguments:?}");
    }
}

#[test]
fn whoever_cannot_be_told_of_a_fault_sees_it_by_the_exit_code() {
    let mut child = perch(&["check", "--config", "/nonexistent"])
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stderr.take());
    assert_eq!(child.wait().unwrap().code(), Some(1));
}
