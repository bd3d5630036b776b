//! Injects the field's faults into the real program, with a real lobby and real parts, and prints what a
//! viewer saw of each: the longest time without a new frame, how soon all was well again, and the
//! line of the journal that tells of it. Fails when a bound is broken or a line is missing.

mod journal;
mod lobby;
mod network;
mod program;
mod proxy;
mod random;
mod results;
mod scenarios;
mod shortage;
mod stage;
mod table;
mod watcher;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Mutex,
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use futures_util::StreamExt as _;
use tokio::time::timeout;

use self::{results::Kept, scenarios::Scenario, stage::World, table::Row};

#[derive(Parser)]
#[command(about = "Injects the field's faults and measures what a viewer sees")]
struct Arguments {
    /// Only scenarios whose names contain one of these
    only: Vec<String>,
    /// How many faults the random sequence has; 0 leaves it out
    #[arg(long, env = "FAULTS_STEPS", default_value_t = 20)]
    steps: usize,
    /// A fresh one without it; it is printed
    #[arg(long, env = "FAULTS_SEED")]
    seed: Option<u64>,
    /// Scenarios at the same time
    #[arg(long, default_value_t = 5)]
    jobs: usize,
    /// Also the scenarios that take minutes
    #[arg(long)]
    long: bool,
    /// Keep the rows in tests/faults/RESULTS.md, if nothing failed
    #[arg(long)]
    write: bool,
    /// The program to test, by default the `perch` beside this one
    #[arg(long, env = "PERCH_BIN")]
    perch: Option<PathBuf>,
}

#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    match suite(Arguments::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("faults: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn suite(arguments: Arguments) -> Result<bool> {
    let start = Instant::now();
    let seed = arguments.seed.unwrap_or_else(rand::random);
    let kept = tempfile::TempDir::with_prefix("perch-faults-world-")?;
    let world = world(arguments.perch.as_deref(), kept.path())?;
    let chosen = |scenario: &Scenario| {
        let names = &arguments.only;
        names.is_empty()
            || names
                .iter()
                .any(|name| scenario.name.contains(name.as_str()))
    };
    let mut skipped = Vec::new();
    let mut scenarios = scenarios::all();
    if arguments.long {
        scenarios.extend(scenarios::long());
    }
    if arguments.steps > 0 {
        scenarios.push(random::scenario(seed, arguments.steps));
    }
    scenarios.retain(chosen);
    scenarios.retain(|scenario| {
        let lacking = scenario.lacks();
        skipped.extend(lacking.map(|what| (scenario.name, what)));
        lacking.is_none()
    });
    ensure!(
        skipped.is_empty() || env::var_os("CI").is_none(),
        "here everything is to be run, but {skipped:?}"
    );
    let rows = futures_util::stream::iter(scenarios.iter().map(|scenario| run(&world, scenario)))
        .buffer_unordered(arguments.jobs)
        .collect::<Vec<Row>>()
        .await;
    print!("{}", table::table(rows.iter(), &scenarios));
    for (name, what) in &skipped {
        println!("not run: {name}, which needs {what}");
    }
    let failed: Vec<&Row> = rows.iter().filter(|row| row.error.is_some()).collect();
    for row in &failed {
        println!(
            "\n{} failed: {}",
            row.name,
            row.error.as_deref().unwrap_or_default()
        );
    }
    println!(
        "\n{} faults, {} failed, seed {seed}, {} s; logs in {}",
        rows.len(),
        failed.len(),
        start.elapsed().as_secs(),
        world.artifacts.display()
    );
    if arguments.write && failed.is_empty() {
        write(&world, &rows, &scenarios)?;
    }
    Ok(failed.is_empty())
}

/// Rows of what was not run stay as they are.
fn write(world: &World, rows: &[Row], run: &[Scenario]) -> Result<()> {
    let file = world.root.join("tests/faults/RESULTS.md");
    let kept = |scenario: &Scenario| {
        let row = rows.iter().find(|row| row.name == scenario.name);
        Kept {
            fault: scenario.fault.clone(),
            row: row.map(|row| row.line(scenario)),
        }
    };
    let each: Vec<Kept> = scenarios::all()
        .iter()
        .chain(&scenarios::long())
        .map(kept)
        .collect();
    let mut text = results::with_rows(&fs::read_to_string(&file)?, results::FAULTS, &each)?;
    if let Some(random) = run.iter().find(|scenario| scenario.name == random::NAME) {
        text = results::with_rows(&text, results::RANDOM, &[kept(random)])?;
    }
    fs::write(&file, text)?;
    println!("kept in {}", file.display());
    Ok(())
}

async fn run(world: &World, scenario: &Scenario) -> Row {
    let start = Instant::now();
    let outcome = timeout(scenario.patience, (scenario.run)(world)).await;
    let row = match outcome {
        Ok(Ok(outcome)) => Row::new(scenario, outcome),
        Ok(Err(error)) => Row::failed(scenario, format!("{error:#}")),
        Err(_) => Row::failed(scenario, "it does not come to an end".to_owned()),
    };
    let row = match world.complaint(scenario.name).await {
        Some(line) => row.but(format!("the program logged: {line}")),
        None => row,
    };
    eprintln!(
        "{} {} ({} s)",
        if row.error.is_some() {
            "FAILED"
        } else {
            "ok    "
        },
        row.name,
        start.elapsed().as_secs()
    );
    row
}

fn world(perch: Option<&Path>, kept: &Path) -> Result<World> {
    let beside = env::current_exe()?;
    let perch = match perch {
        Some(perch) => perch.to_owned(),
        None => beside.with_file_name("perch"),
    };
    let plugin = beside.with_file_name("libgstfaultgate.so");
    for file in [&perch, &plugin] {
        ensure!(
            file.is_file(),
            "there is no {}: build the whole workspace first",
            file.display()
        );
    }
    // A directory of its own: GStreamer looks through all that is below one of its plugin paths.
    let plugins = kept.join("plugins");
    fs::create_dir(&plugins)?;
    fs::copy(&plugin, plugins.join("libgstfaultgate.so"))?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .context("the suite is two directories below the repository")?
        .to_owned();
    let artifacts = root.join("tests/artifacts/faults");
    fs::create_dir_all(&artifacts)?;
    let registry = kept.join("registry.bin");
    // Makes the registry, so that the programs of many scenarios need not.
    let devices = std::process::Command::new(&perch)
        .arg("devices")
        .env("GST_PLUGIN_PATH", &plugins)
        .env("GST_REGISTRY", &registry)
        .env("PERCH_DATA_DIR", root.join("tests/faults"))
        .output()?;
    ensure!(
        String::from_utf8_lossy(&devices.stdout).contains("faulty"),
        "the program does not know the profile that fails on command:\n{}{}",
        String::from_utf8_lossy(&devices.stdout),
        String::from_utf8_lossy(&devices.stderr),
    );
    Ok(World {
        perch,
        root,
        plugins,
        artifacts,
        journals: Mutex::default(),
        certificate: swarm::crowd::certificate()?,
        registry,
    })
}
