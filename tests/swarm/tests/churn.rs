//! Three hundred viewers come and go, a third of them broken off half-way, beside one that stays:
//! nothing of them remains, and the one that stays keeps its picture.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use swarm::{
    churn::{BROKEN, Plan, churn},
    crowd::{Door, Watching},
    host::{Host, Picture, Usage, perch_beside},
    stats,
    viewer::Conduct,
};
use tokio::time::sleep;

const JOINS: usize = 300;
/// The last branches are closed, and the idle threads of pools end.
const DRAIN_PATIENCE: Duration = Duration::from_secs(60);
/// How long a number of threads and descriptors has to stay to be called settled.
const SETTLED: Duration = Duration::from_secs(3);
/// KiB per join over the last half: what an allocator's fragments may still grow by, and far less
/// than the smallest thing that could be left of a viewer.
const MOST_GROWTH: f64 = 15.0;
/// The machine that runs the tests is busy; this is the length of a freeze that a person remembers.
const MOST_GAP_MS: f64 = 2000.0;

#[tokio::test]
async fn three_hundred_viewers_leave_nothing_behind() {
    let perch = perch_beside(Path::new(env!("CARGO_BIN_EXE_swarm"))).unwrap();
    let host = Host::start(&perch, &Picture::small(), None).unwrap();
    let door = Door::new(host.lobby().clone(), host.tokens(), None).unwrap();

    // The first viewers make what is made once: plugins, certificate, arenas.
    churn(&door, &plan(30, 1), 1, |_| {}).await.unwrap();
    let idle = settle(&host, None).await;
    let mut watcher = Watching::start(door.arrive(0, Conduct::Stays).await.unwrap());
    assert!(watcher.picture().await, "the watcher has a picture");
    let watched = settle(&host, None).await;

    let mut memory = Vec::with_capacity(JOINS);
    let churned = churn(&door, &plan(JOINS, 2), 1000, |_| {
        let usage = host.usage().unwrap();
        memory.push((memory.len() as f64, usage.rss as f64));
    })
    .await
    .unwrap();
    let after = settle(&host, Some(watched)).await;
    watcher.stop();
    let (watcher, _) = watcher.end().await.unwrap();
    let alone = settle(&host, Some(idle)).await;

    let growth = stats::slope(&memory[JOINS / 2..]);
    println!("{}", serde_json::to_string_pretty(&churned).unwrap());
    println!("{}", serde_json::to_string_pretty(&watcher).unwrap());
    println!("idle      {idle:?}\nwatched   {watched:?}\nafterward {after:?}\nalone     {alone:?}");
    println!("growth over the last half: {growth:.1} KiB per join");
    println!("the watcher's longest gap: {} ms", watcher.longest_gap_ms);

    assert_eq!(churned.errors, [""; 0]);
    assert_eq!((churned.joins, churned.broken), (JOINS, JOINS / 3));
    assert_eq!(watcher.error, None);
    assert!(watcher.longest_gap_ms < MOST_GAP_MS);
    assert!(
        watcher.frames as f64 > churned.seconds * 20.0,
        "30 fps flow"
    );
    assert!(after.threads <= watched.threads, "threads of viewers stay");
    assert!(after.fds <= watched.fds, "descriptors of viewers stay");
    assert!(alone.threads <= idle.threads, "threads of viewers stay");
    assert!(alone.fds <= idle.fds, "descriptors of viewers stay");
    assert!(growth < MOST_GROWTH, "memory of viewers stays");
}

fn plan(joins: usize, seed: u64) -> Plan {
    Plan {
        joins,
        seed,
        spacing: Duration::from_millis(200),
        linger: Duration::from_secs(8),
        broken: BROKEN.to_vec(),
    }
}

/// Waits until threads and descriptors no longer change, and, when there is a `limit`, are back at
/// it or below; what is there when patience ends is for the caller to judge.
async fn settle(host: &Host, limit: Option<Usage>) -> Usage {
    let deadline = Instant::now() + DRAIN_PATIENCE;
    let mut usage = host.usage().expect("the host runs");
    let mut since = Instant::now();
    loop {
        let reached = limit.is_none_or(|l| usage.threads <= l.threads && usage.fds <= l.fds);
        if (reached && since.elapsed() >= SETTLED) || Instant::now() >= deadline {
            return usage;
        }
        sleep(Duration::from_millis(100)).await;
        let now = host.usage().expect("the host runs");
        if (now.threads, now.fds) != (usage.threads, usage.fds) {
            since = Instant::now();
        }
        usage = now;
    }
}
