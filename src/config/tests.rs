use std::fs;

use proptest::prelude::*;

use super::*;

const MINIMAL: &str = r#"
[lobby]
url = "https://lobby.example.org"
[lobby.auth]
token_file = "/etc/perch/token"
[camera]
profile = "test"
"#;

fn read(text: &str) -> Result<Config, ConfigError> {
    Config::from_text(Path::new("perch.toml"), text)
}

/// The messages about `text` laid over the minimal file.
fn complaints(text: &str) -> Vec<String> {
    match read(&format!("{MINIMAL}\n{text}")) {
        Ok(config) => panic!("taken as {config:?}"),
        Err(error) => error.to_string().lines().map(str::to_owned).collect(),
    }
}

fn variables(pairs: &[(&str, &str)]) -> Environment {
    Environment(
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
    )
}

#[test]
fn a_lobby_and_a_profile_are_enough() {
    let config = read(MINIMAL).unwrap();
    assert_eq!(config.camera.profile, "test");
    assert_eq!((config.camera.width, config.camera.height), (1280, 720));
    assert_eq!(config.encoder.keyframe_interval, Duration::from_secs(30));
    assert_eq!(config.viewers.max, 25);
    assert!(!config.embedded_lobby.enabled);
    let lobby = config.lobby.unwrap();
    assert_eq!(lobby.url.as_str(), "https://lobby.example.org/");
    assert!(
        matches!(lobby.auth, LobbyAuth::TokenFile(path) if path == Path::new("/etc/perch/token"))
    );
}

#[test]
fn the_reference_names_every_key_and_no_other() {
    let mut layers = Layers::default();
    layers.add_text(REFERENCE, &Place::Whole(Origin::Default));
    assert_eq!(layers.problems, []);
    for key in schema::KEYS {
        if key.path.contains("[]") {
            let name = key.path.rsplit('.').next().unwrap();
            assert!(REFERENCE.contains(name), "{} is not explained", key.path);
        } else {
            assert!(layers.origins.get(key.path).is_some(), "{}", key.path);
        }
    }
}

#[test]
fn the_reference_explains_every_key_above_it() {
    let mut explained = false;
    for line in REFERENCE.lines() {
        if line.starts_with('#') {
            explained = true;
        } else if line.starts_with("height") {
            // Explained together with width.
        } else if line.contains('=') {
            assert!(explained, "{line}");
            explained = false;
        }
    }
}

/// The settings that a package brings: `packaging/perch.toml`.
const SHIPPED: &str = include_str!("../../packaging/perch.toml");

#[test]
fn the_settings_that_are_shipped_set_nothing_yet() {
    let mut layers = Layers::default();
    layers.add_text(SHIPPED, &Place::Whole(Origin::Default));
    assert_eq!(layers.problems, []);
    assert!(layers.origins.len() == 0, "{:?}", layers.origins);
}

#[test]
fn every_setting_that_is_shipped_as_a_comment_is_valid() {
    let is_setting = |line: &&str| {
        line.strip_prefix('#').is_some_and(|rest| {
            rest.starts_with(|first: char| first.is_ascii_lowercase()) && rest.contains(" = ")
        })
    };
    let settings = SHIPPED.lines().filter(is_setting).count();
    assert!(settings > 10, "{settings}");
    let text: Vec<_> = SHIPPED
        .lines()
        .map(|line| if is_setting(&line) { &line[1..] } else { line })
        .collect();
    let config = read(&text.join("\n")).unwrap();
    assert_eq!(config.stream.title, "Porch");
    assert!(config.lobby.is_some() && !config.embedded_lobby.enabled);
}

#[test]
fn cameras_are_asked_about_before_there_is_a_lobby() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("perch.toml");
    let load = || Config::for_devices(None, &path, &variables(&[]));
    assert_eq!(load().unwrap().camera.width, 1280);
    fs::write(&path, SHIPPED).unwrap();
    assert_eq!(load().unwrap().camera.width, 1280);
    for more in [
        "",
        "[lobby]\nurl = 'https://a.example'\n[lobby.auth]\nsecret_file = 's'\nsubject = 'me'",
        "[embedded_lobby]\nenabled = true",
    ] {
        fs::write(&path, format!("[camera]\nwidth = 640\n{more}")).unwrap();
        assert_eq!(load().unwrap().camera.width, 640, "{more}");
    }
    fs::write(&path, "[camera]\nwidth = 3").unwrap();
    load().unwrap_err();
}

#[test]
fn a_slip_of_the_finger_is_told_with_place_and_remedy() {
    assert_eq!(
        complaints("widht = 640"),
        ["perch.toml:9:1: camera.widht: unknown key; did you mean `width`?"]
    );
    assert_eq!(
        complaints("[encodr]\nbitrate = 1"),
        ["perch.toml:9:2: encodr: unknown key; did you mean `encoder`?"]
    );
    assert_eq!(
        complaints("bitrate = 100000"),
        ["perch.toml:9:1: camera.bitrate: unknown key; `bitrate` belongs under [encoder]"]
    );
    assert_eq!(
        complaints("zoom = 2"),
        [
            "perch.toml:9:1: camera.zoom: unknown key; allowed here: profile, device, width, \
             height, framerate, idle"
        ]
    );
}

#[test]
fn wrong_types_are_told_with_what_was_found_and_what_is_allowed() {
    assert_eq!(
        complaints("width = \"wide\""),
        [
            "perch.toml:9:1: camera.width: found the text \"wide\", allowed: an even number from \
             16 to 4096 (pixels)"
        ]
    );
    assert_eq!(
        complaints("[audio]\nenabled = \"yes\""),
        ["perch.toml:10:1: audio.enabled: found the text \"yes\", allowed: true or false"]
    );
    assert_eq!(
        complaints("encoder = 3"),
        [
            "perch.toml:9:1: camera.encoder: unknown key; allowed here: profile, device, width, height, framerate, idle"
        ]
    );
    assert_eq!(
        read("viewers = 3").unwrap_err().to_string().lines().next(),
        Some("perch.toml:1:1: viewers: found the integer 3, allowed: a section")
    );
}

#[test]
fn impossible_values_are_refused() {
    for (text, key) in [
        ("width = 641", "camera.width"),
        ("width = 14", "camera.width"),
        ("height = 4098", "camera.height"),
        ("height = -2", "camera.height"),
        ("framerate = 0", "camera.framerate"),
        ("framerate = 121", "camera.framerate"),
        ("idle = 'cold'", "camera.idle"),
        ("framerate = 99999999999999999999", "camera.framerate"),
        (
            "device = '/dev/video0\" ! filesink location=\"x'",
            "camera.device",
        ),
        ("[encoder]\nbitrate = 49999", "encoder.bitrate"),
        ("[encoder]\nbitrate = 50000001", "encoder.bitrate"),
        (
            "[encoder]\nkeyframe_interval = 0.4",
            "encoder.keyframe_interval",
        ),
        (
            "[encoder]\nkeyframe_interval = nan",
            "encoder.keyframe_interval",
        ),
        (
            "[encoder]\nkeyframe_interval = inf",
            "encoder.keyframe_interval",
        ),
        (
            "[encoder]\nkeyframe_interval = 61",
            "encoder.keyframe_interval",
        ),
        ("[stream]\ntitle = ' '", "stream.title"),
        ("[viewers]\nmax = 0", "viewers.max"),
        ("[viewers]\nmax = 501", "viewers.max"),
        ("[viewers]\nspare = 9", "viewers.spare"),
        (
            "[embedded_lobby]\nlisten = 'localhost'",
            "embedded_lobby.listen",
        ),
        (
            "[[ice.servers]]\nurl = 'turn:example.org'",
            "ice.servers[0]",
        ),
        (
            "[[ice.servers]]\nurl = 'stun:example.org'\nusername = 'me'",
            "ice.servers[0]",
        ),
        (
            "[[ice.servers]]\nurl = 'http://example.org'",
            "ice.servers[0].url",
        ),
        (
            "[[ice.servers]]\nurl = 'stun:a.example'\n[[ice.servers]]\nurl = 'stun:b.example'",
            "ice.servers[1].url",
        ),
    ] {
        let complaints = complaints(text);
        assert_eq!(complaints.len(), 1, "{complaints:?}");
        let line = format!(": {key}: ");
        assert!(complaints[0].contains(&line), "{text}: {complaints:?}");
        assert!(complaints[0].starts_with("perch.toml:"), "{complaints:?}");
    }
    let title = "x".repeat(121);
    assert!(complaints(&format!("[stream]\ntitle = '{title}'"))[0].contains("121 characters"));
}

#[test]
fn what_the_device_does_while_nobody_watches_is_one_of_three() {
    assert_eq!(read(MINIMAL).unwrap().camera.idle, Idle::Warm);
    for (text, idle) in [
        ("warm", Idle::Warm),
        ("encoder-off", Idle::EncoderOff),
        ("camera-off", Idle::CameraOff),
    ] {
        let config = read(&format!("{MINIMAL}idle = '{text}'")).unwrap();
        assert_eq!(config.camera.idle, idle);
    }
}

#[test]
fn everything_wrong_is_told_at_once() {
    let complaints = complaints(
        "width = 3\nfoo = 1\n[encoder]\nbitrate = true\n[viewers]\nmax = 1000\n[stream]\ntitle = ''",
    );
    assert_eq!(complaints.len(), 5, "{complaints:#?}");
}

#[test]
fn a_value_of_any_length_is_told_in_a_line() {
    let long = "1".repeat(5000);
    for value in [format!("'{long}'"), long.clone(), format!("{long}.5")] {
        let told = complaints(&format!("width = {value}")).join("\n");
        assert!(
            told.contains("camera.width: found ") && told.contains("11…"),
            "{told}"
        );
        assert!(told.len() < 1000, "{told}");
    }
}

#[test]
fn a_file_that_is_no_toml_is_told_so_in_a_page() {
    let told = read(&"\u{1}\n".repeat(5000)).unwrap_err().to_string();
    assert!(told.lines().count() <= 25, "{told}");
}

#[test]
fn secrets_are_not_taken_and_never_shown() {
    for text in [
        "[lobby]\nurl = 'https://a.example'\n[lobby.auth]\ntoken = 'hunter2'",
        "[lobby]\nurl = 'https://a.example'\n[lobby.auth]\nsecret = 'hunter2'",
        "[lobby]\nurl = 'https://a.example'\npassword = 'hunter2'",
        "[lobby]\nurl = 'https://me:hunter2@a.example'",
        "[[ice.servers]]\nurl = 'turn:a.example'\ncredential = 'hunter2'",
        "[[ice.servers]]\nurl = 'turn:me:hunter2@a.example'",
        "[lobby.auth]\ntoken = 'hunter2",
    ] {
        let error = read(text).unwrap_err();
        for told in [error.to_string(), format!("{error:?}")] {
            assert!(!told.contains("hunter2"), "{told}");
        }
    }
    let error = read("[lobby]\nurl = 'ws://a.example'\n[lobby.auth]\ntoken = 'x'").unwrap_err();
    assert!(
        error
            .to_string()
            .contains("name that with `token_file` or `secret_file`"),
        "{error}"
    );
}

#[test]
fn one_way_to_sign_in() {
    let error = complaints("[lobby.x]")[0].clone();
    assert!(error.contains("lobby.x"), "{error}");
    let lobby = "[lobby]\nurl = 'ws://a.example'\n[lobby.auth]\n";
    let told = |auth: &str| read(&format!("{lobby}{auth}")).unwrap_err().to_string();
    assert!(told("").contains("neither token_file nor secret_file"));
    assert!(told("token_file = 'a'\nsecret_file = 'b'\nsubject = 'c'").contains("exactly one"));
    assert!(told("secret_file = 'b'").contains("needs lobby.auth.subject"));
    assert!(told("token_file = 'b'\nsubject = 'c'").contains("secret_file only"));
    assert!(told("secret_file = 'b'\nsubject = 'c'\nttl = 29").contains("found 29 seconds"));
    assert!(told("secret_file = 'b'\nsubject = 'c'\nttl = '31d'").contains("30 days"));
    assert!(told("secret_file = 'b'\nsubject = 'c'\nttl = 'long'").contains("\"long\""));
    let taken = read(&format!(
        "{lobby}secret_file = 'b'\nsubject = 'c'\nttl = '90min'"
    ));
    let Some(Lobby {
        auth: LobbyAuth::SecretFile { ttl, .. },
        ..
    }) = taken.unwrap().lobby
    else {
        panic!("not a secret file");
    };
    assert_eq!(ttl, Duration::from_secs(5400));
}

#[test]
fn exactly_one_lobby() {
    let none = read("").unwrap_err().to_string();
    assert!(
        none.contains("set lobby.url, or embedded_lobby.enabled"),
        "{none}"
    );
    // Each was most likely meant to be there.
    for wrong in ["[embedded_lobby]\nenabled = 'yes'", "[lobby]\nurl = 5"] {
        let error = read(wrong).unwrap_err().to_string();
        assert_eq!(error.lines().count(), 1, "{error}");
    }
    let both = complaints("[embedded_lobby]\nenabled = true");
    assert!(
        both[0].starts_with("perch.toml:10:1: embedded_lobby.enabled: "),
        "{both:?}"
    );
    let config = read("[embedded_lobby]\nenabled = true").unwrap();
    assert!(config.lobby.is_none());
    let half =
        read("[embedded_lobby]\nenabled = true\n[lobby.auth]\ntoken_file = 'x'").unwrap_err();
    assert!(half.to_string().contains("lobby.url is not"), "{half}");
}

#[test]
fn ice_servers_carry_what_they_need() {
    let config = read(&format!(
        "{MINIMAL}\n[ice]\nservers = [\n{{ url = 'STUN:a.example' }},\n\
         {{ url = 'turn:a.example', username = 'me', credential_file = '/run/p' }},\n\
         {{ url = 'turns:a.example', secret_file = '/run/s', ttl = '1h' }} ]"
    ))
    .unwrap();
    let [stun, fixed, short] = config.ice.servers.try_into().unwrap();
    assert_eq!(stun.url, "stun:a.example");
    assert!(matches!(stun.auth, IceAuth::None));
    assert!(matches!(fixed.auth, IceAuth::Static { username, .. } if username == "me"));
    assert!(matches!(
        short.auth,
        IceAuth::SharedSecret { ttl, .. } if ttl == Duration::from_secs(3600)
    ));
}

#[test]
fn later_layers_lie_over_earlier_ones() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("perch.toml");
    let conf_d = directory.path().join("conf.d");
    fs::create_dir(&conf_d).unwrap();
    let sized = |width: u32, height: u32, framerate: u32| {
        format!("[camera]\nwidth = {width}\nheight = {height}\nframerate = {framerate}\n")
    };
    fs::write(
        &file,
        format!("{MINIMAL}width = 100\nheight = 100\nframerate = 10\n"),
    )
    .unwrap();
    fs::write(conf_d.join("20-b.toml"), "[camera]\nheight = 300").unwrap();
    fs::write(conf_d.join("10-a.toml"), sized(200, 200, 20)).unwrap();
    fs::write(conf_d.join("30-c.toml.off"), sized(2, 2, 2)).unwrap();
    fs::write(conf_d.join(".hidden.toml"), sized(2, 2, 2)).unwrap();
    let environment = variables(&[("PERCH__CAMERA__FRAMERATE", "50"), ("PERCH_LOG", "info")]);
    let config = Config::from_layers(Some(&file), Path::new("/nowhere"), &environment).unwrap();
    let camera = config.camera;
    assert_eq!(
        (camera.width, camera.height, camera.framerate),
        (200, 300, 50)
    );

    fs::write(conf_d.join("20-b.toml"), "[camera]\n\n  height = 301").unwrap();
    let error = Config::from_layers(Some(&file), Path::new("/nowhere"), &environment).unwrap_err();
    let place = format!(
        "{}:3:3: camera.height: found 301",
        conf_d.join("20-b.toml").display()
    );
    assert!(error.to_string().starts_with(&place), "{error}");
}

#[test]
fn the_environment_is_checked_like_a_file() {
    let told = |name: &str, value: &str| {
        let pairs = [("PERCH__EMBEDDED_LOBBY__ENABLED", "true"), (name, value)];
        let nowhere = Path::new("/nonexistent/perch.toml");
        Config::from_layers(None, nowhere, &variables(&pairs)).map_err(|error| error.to_string())
    };
    assert_eq!(
        told("PERCH__CAMERA__WIDHT", "2").unwrap_err(),
        "environment variable PERCH__CAMERA__WIDHT: camera.widht: unknown key; did you mean `width`?"
    );
    assert!(
        told("PERCH__CAMERA__WIDTH", "two")
            .unwrap_err()
            .contains("found the text \"two\"")
    );
    assert!(
        told("PERCH__CAMERA", "two")
            .unwrap_err()
            .contains("name a key in it")
    );
    assert!(
        !told("PERCH__LOBBY__AUTH__TOKEN", "hunter2")
            .unwrap_err()
            .contains("hunter2")
    );
    // A text stays the text it is, whatever it looks like in TOML.
    assert_eq!(
        told("PERCH__STREAM__TITLE", "1e3").unwrap().stream.title,
        "1e3"
    );
    let ice = told("PERCH__ICE__SERVERS", "[{ url = 'stun:a.example' }]").unwrap();
    assert_eq!(ice.ice.servers.len(), 1);
}

#[test]
fn files_are_found_beside_the_configuration_or_among_the_credentials() {
    let directory = tempfile::tempdir().unwrap();
    let credentials = directory.path().join("credentials");
    fs::create_dir(&credentials).unwrap();
    fs::write(credentials.join("token"), "x").unwrap();
    let file = directory.path().join("perch.toml");
    let environment = variables(&[("CREDENTIALS_DIRECTORY", credentials.to_str().unwrap())]);
    for (named, meant) in [
        ("token", credentials.join("token")),
        ("other", directory.path().join("other")),
        ("./token", directory.path().join("./token")),
        ("/run/token", PathBuf::from("/run/token")),
    ] {
        fs::write(
            &file,
            format!("[lobby]\nurl = 'ws://a.example'\n[lobby.auth]\ntoken_file = '{named}'"),
        )
        .unwrap();
        let config = Config::from_layers(Some(&file), Path::new("/nowhere"), &environment);
        let Some(Lobby {
            auth: LobbyAuth::TokenFile(path),
            ..
        }) = config.unwrap().lobby
        else {
            panic!("not a token file");
        };
        assert_eq!(path, meant);
    }
}

#[test]
fn a_missing_file_is_told_with_an_example_that_works() {
    let directory = tempfile::tempdir().unwrap();
    let default = directory.path().join("perch.toml");
    let none = Environment::default();
    let error = Config::from_layers(None, &default, &none).unwrap_err();
    assert!(matches!(error, ConfigError::Missing { .. }));
    let text = error.to_string();
    let example: String = text
        .lines()
        .filter(|line| line.starts_with("    "))
        .map(|line| format!("{}\n", line.trim()))
        .collect();
    read(&example).unwrap();

    let named = Config::from_layers(Some(&default), Path::new("/nowhere"), &none).unwrap_err();
    assert!(matches!(named, ConfigError::Unreadable { .. }));
    assert!(named.to_string().contains(default.to_str().unwrap()));
}

#[test]
fn the_demo_needs_nothing() {
    let config = Config::demo_with(&DemoOptions::default(), &Environment::default()).unwrap();
    assert_eq!(config.camera.profile, "test");
    assert!(config.embedded_lobby.enabled && config.lobby.is_none() && !config.audio.enabled);
    let options = DemoOptions {
        listen: Some(([0, 0, 0, 0], 9000).into()),
        audio: true,
        profile: Some("v4l2".into()),
    };
    let environment = variables(&[("PERCH__CAMERA__WIDTH", "320")]);
    let config = Config::demo_with(&options, &environment).unwrap();
    assert_eq!(config.embedded_lobby.listen.port(), 9000);
    assert_eq!(
        (config.camera.width, config.camera.profile.as_str()),
        (320, "v4l2")
    );
    assert!(config.audio.enabled);
}

#[test]
fn lengths_of_time() {
    for (text, seconds) in [
        ("45", Some(45)),
        ("90s", Some(90)),
        ("30min", Some(1800)),
        ("2h", Some(7200)),
        (" 7 d ", Some(604_800)),
        ("", None),
        ("h", None),
        ("-1h", None),
        ("1.5h", None),
        ("9223372036854775807d", None),
    ] {
        assert_eq!(duration::seconds(text), seconds, "{text}");
    }
    assert!(duration::parse("2 weeks").is_err());
}

/// TOML of the right keys with values that are often, but not always, right.
fn plausible() -> impl Strategy<Value = String> {
    let value = prop_oneof![
        any::<i64>().prop_map(|integer| integer.to_string()),
        (0..5000i64).prop_map(|integer| integer.to_string()),
        any::<f64>().prop_map(|float| format!("{float:?}")),
        any::<bool>().prop_map(|boolean| boolean.to_string()),
        "[a-z:/.@?\\[\\]]{0,20}".prop_map(|text| format!("{text:?}")),
        Just("[{ url = 'stun:a.example' }, { url = 'turn:b', ttl = 5 }]".to_owned()),
        Just("{ a = 1 }".to_owned()),
    ];
    let keys: Vec<&str> = schema::KEYS
        .iter()
        .map(|key| key.path)
        .filter(|path| !path.contains('['))
        .collect();
    let line =
        (prop::sample::select(keys), value).prop_map(|(key, value)| format!("{key} = {value}"));
    prop::collection::vec(line, 0..12).prop_map(|lines| lines.join("\n"))
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in any::<String>()) {
        let _ = read(&text);
    }

    #[test]
    fn plausible_text_is_read_or_refused_with_its_place(text in plausible()) {
        if let Err(ConfigError::Problems(problems)) = read(&text) {
            prop_assert!(!problems.is_empty());
            for problem in problems {
                prop_assert!(!problem.to_string().contains('\n'), "{problem}");
            }
        }
    }

    #[test]
    fn any_variable_is_read_or_refused(name in "PERCH__[A-Z_\\[\\]0-9.]{0,24}", value in any::<String>()) {
        let environment = variables(&[(&name, &value)]);
        let _ = Config::demo_with(&DemoOptions::default(), &environment);
    }

    #[test]
    fn values_in_range_are_taken_as_they_are(
        width in 8u32..=2048, height in 8u32..=2048, framerate in 1u32..=120,
        bitrate in 50_000u32..=50_000_000, interval in 0.5f64..=60.0, max in 1usize..=500,
    ) {
        let (width, height) = (width * 2, height * 2);
        let config = read(&format!(
            "{MINIMAL}width = {width}\nheight = {height}\nframerate = {framerate}\n\
             [encoder]\nbitrate = {bitrate}\nkeyframe_interval = {interval:?}\n[viewers]\nmax = {max}"
        )).unwrap();
        prop_assert_eq!(config.camera.width, width);
        prop_assert_eq!(config.camera.height, height);
        prop_assert_eq!(config.camera.framerate, framerate);
        prop_assert_eq!(config.encoder.bitrate, bitrate);
        prop_assert_eq!(config.encoder.keyframe_interval, Duration::from_secs_f64(interval));
        prop_assert_eq!(config.viewers.max, max);
    }
}
