//! Asking a host how it is.
#![allow(dead_code, reason = "each test asks in some of these ways")]

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use serde_json::Value;
use swarm::host::Host;
use tokio::time::sleep;

const PATIENCE: Duration = Duration::from_secs(60);

/// The status once it is as `wanted`.
pub async fn until(host: &Host, perch: &Path, wanted: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let text = ask(host, perch, &["--json"]);
        let status: Value = serde_json::from_str(&text).unwrap();
        if wanted(&status) {
            return status;
        }
        assert!(Instant::now() < deadline, "{text}");
        sleep(Duration::from_millis(100)).await;
    }
}

pub fn ask(host: &Host, perch: &Path, arguments: &[&str]) -> String {
    let output = Command::new(perch)
        .arg("status")
        .args(arguments)
        .env("RUNTIME_DIRECTORY", host.directory())
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    assert!(output.status.success(), "{}", text(output.stderr));
    text(output.stdout)
}

pub fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    let (head, body) = reply.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{reply}");
    body.to_owned()
}

pub fn sample(page: &str, name: &str) -> f64 {
    page.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
        .and_then(|value| value.parse().ok())
        .unwrap_or_else(|| panic!("no {name} in\n{page}"))
}
