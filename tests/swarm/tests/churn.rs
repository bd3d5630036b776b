//! Three hundred viewers come and go, a third of them broken off half-way, beside one that stays:
//! nothing of them remains, and the one that stays keeps its picture.

use std::{path::Path, time::Duration};

use swarm::{
    churn::{BROKEN, Plan, churn},
    crowd::{Door, Watching},
    host::{Host, Picture, perch_beside},
    stats,
    viewer::Conduct,
};

const JOINS: usize = 300;
/// The last branches are closed, and the idle threads of pools end.
const DRAIN_PATIENCE: Duration = Duration::from_secs(60);
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
    let idle = host.settled(None, DRAIN_PATIENCE).await.unwrap();
    let mut watcher = Watching::start(door.arrive(0, Conduct::Stays).await.unwrap());
    assert!(watcher.picture().await, "the watcher has a picture");
    let watched = host.settled(None, DRAIN_PATIENCE).await.unwrap();

    let mut memory = Vec::with_capacity(JOINS);
    let churned = churn(&door, &plan(JOINS, 2), 1000, |_| {
        let usage = host.usage().unwrap();
        memory.push((memory.len() as f64, usage.rss as f64));
    })
    .await
    .unwrap();
    let after = host.settled(Some(watched), DRAIN_PATIENCE).await.unwrap();
    watcher.stop();
    let (watcher, _) = watcher.end().await.unwrap();
    let alone = host.settled(Some(idle), DRAIN_PATIENCE).await.unwrap();

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
