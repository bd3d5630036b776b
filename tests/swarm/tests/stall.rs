//! Viewers that stop reading in mid-picture cost the one that watches nothing, and the host no memory; and
//! they do not hold their places for ever.

use std::{path::Path, time::Duration};

use swarm::{
    crowd::{Door, Watching},
    host::{Host, Picture, perch_beside},
    viewer::Conduct,
};
use tokio::time::sleep;

const STALLED: usize = 8;
const FILLS_WITHIN: Duration = Duration::from_secs(8);
/// Long enough for a queue without a bound to be seen: 8 viewers at 1 Mbit/s are 1 MB a second. Shorter than
/// the host's patience with them.
const STALLS_FOR: Duration = Duration::from_secs(12);
const MOST_GROWTH_KIB: u64 = 6 * 1024;
/// Silence is noticed after 10 s, waited out for 12 and answered with a second offer for 15.
const GONE_WITHIN: Duration = Duration::from_secs(90);
const MOST_GAP_MS: f64 = 2000.0;

#[tokio::test]
async fn viewers_that_stop_reading_cost_nobody_a_frame() {
    let perch = perch_beside(Path::new(env!("CARGO_BIN_EXE_swarm"))).unwrap();
    let picture = Picture {
        width: 640,
        height: 360,
        bitrate: 1_000_000,
        ..Picture::small()
    };
    let host = Host::start(&perch, &picture, None).unwrap();
    let door = Door::new(host.lobby().clone(), host.tokens(), None).unwrap();
    let mut watcher = Watching::start(door.arrive(0, Conduct::Stays).await.unwrap());
    assert!(watcher.picture().await, "the watcher has a picture");
    // The spare branch that it took has been replaced by then.
    let alone = host.settled(None, GONE_WITHIN).await.unwrap();

    let mut stalled = Vec::new();
    for number in 1..=STALLED {
        let mut viewer = Watching::start(door.arrive(number, Conduct::Freezes).await.unwrap());
        assert!(viewer.picture().await, "it watched before it stalled");
        stalled.push(viewer);
    }
    // What a branch keeps for retransmissions is full by then.
    sleep(FILLS_WITHIN).await;
    let before = host.usage().unwrap();
    sleep(STALLS_FOR).await;
    let after = host.usage().unwrap();

    let gone = host.settled(Some(alone), GONE_WITHIN).await.unwrap();
    watcher.stop();
    let (watcher, _) = watcher.end().await.unwrap();
    for viewer in stalled {
        viewer.stop();
        viewer.end().await.unwrap();
    }

    let grown = after.rss.saturating_sub(before.rss);
    println!("memory gained in {STALLS_FOR:?}: {grown} KiB");
    println!("the watcher's longest gap: {} ms", watcher.longest_gap_ms);
    assert_eq!(watcher.error, None);
    assert!(watcher.longest_gap_ms < MOST_GAP_MS);
    assert!(grown < MOST_GROWTH_KIB, "{grown} KiB");
    assert!(
        gone.threads <= alone.threads,
        "stalled viewers hold their branches: {alone:?}, then {gone:?}"
    );
}
