//! The embedded lobby alone, without a camera: for work on the page and for the interop tests.
//!
//! ```text
//! cargo run --example lobby -- --listen 127.0.0.1:0
//! ```
//!
//! One line of JSON tells where it is: `{"url", "watchLink", "watchKey"}`. It runs until SIGTERM,
//! SIGINT or the end of its standard input's writer if that is a pipe (`--until-eof`).

use std::{env, fs, io, io::Write, net::SocketAddr, path::PathBuf};

use anyhow::Context;
use clap::Parser;
use perch::{
    lobby::{self, Limits, Settings, keys::Keys, link},
    secret::Secret,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};

/// The variable that may hold the HS256 secret, so that a test can mint tokens of its own.
const SECRET_VARIABLE: &str = "PERCH_LOBBY_SECRET";

#[derive(Parser)]
struct Arguments {
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// A file with the HS256 secret; else $PERCH_LOBBY_SECRET, else a random one.
    #[arg(long)]
    secret_file: Option<PathBuf>,
    /// The watch key; else a random one.
    #[arg(long)]
    watch_key: Option<String>,
    /// Stop at the end of the standard input, so that no lobby outlives the test that started it.
    #[arg(long)]
    until_eof: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(io::stderr)
        .init();
    let arguments = Arguments::parse();
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;

    let keys = keys(&arguments)?;
    let watch_key = keys.watch_key.clone();
    let lobby = lobby::start(Settings {
        listen: arguments.listen,
        secret: keys.secret,
        watch_key: keys.watch_key,
        tls: None,
        limits: Limits::default(),
    })
    .await?;
    let links = link::watch_links(lobby.addr(), None, &watch_key);
    let ready = serde_json::json!({
        "url": format!("http://{}", lobby.addr()),
        "watchLink": links.first(),
        "watchKey": watch_key.expose(),
    });
    println!("{ready}");
    io::stdout().flush()?;

    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = end_of_input(), if arguments.until_eof => {}
    }
    lobby.shutdown().await;
    Ok(())
}

fn keys(arguments: &Arguments) -> anyhow::Result<Keys> {
    let mut keys = Keys::random();
    if let Some(path) = &arguments.secret_file {
        let text = fs::read_to_string(path)
            .with_context(|| format!("cannot read the secret in {}", path.display()))?;
        keys.secret = Secret::new(text.trim());
    } else if let Ok(secret) = env::var(SECRET_VARIABLE) {
        keys.secret = Secret::new(secret);
    }
    if let Some(watch_key) = &arguments.watch_key {
        keys.watch_key = Secret::new(watch_key);
    }
    Ok(keys)
}

async fn end_of_input() {
    let (tell, ended) = oneshot::channel();
    std::thread::spawn(move || {
        // An input that cannot be read has ended as well.
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        tell.send(())
    });
    // An error means that the thread is gone: the same end.
    let _ = ended.await;
}
