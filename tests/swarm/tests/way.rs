//! The cheap way of a picture to its viewers is the one that is taken: straight from the socket, and many packets at a
//! time. What goes another way arrives as well, at twice the cost, and nothing else would tell.

use std::{
    ffi::OsStr,
    path::Path,
    time::{Duration, Instant},
};

use swarm::{
    crowd::{Door, Watching},
    host::{Host, Picture, perch_beside},
    viewer::Conduct,
};
use tokio::time::sleep;

const VIEWERS: usize = 3;
const PATIENCE: Duration = Duration::from_secs(30);
/// A picture of it is several packets.
const PICTURE: (u32, u32, u32) = (640, 360, 1_000_000);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn viewers_packets_go_straight_and_together() {
    let perch = perch_beside(Path::new(env!("CARGO_BIN_EXE_swarm"))).unwrap();
    let (width, height, bitrate) = PICTURE;
    let picture = Picture {
        width,
        height,
        bitrate,
        ..Picture::small()
    };
    let talkative = [("PERCH_LOG", OsStr::new("warn,perch=debug"))];
    let host = Host::start_in(&perch, &picture, talkative).unwrap();
    let door = Door::new(host.lobby().clone(), host.tokens(), None).unwrap();
    let mut viewers = Vec::new();
    for number in 0..VIEWERS {
        let mut viewer = Watching::start(door.arrive(number, Conduct::Stays).await.unwrap());
        assert!(viewer.picture().await, "viewer {number} has a picture");
        viewers.push(viewer);
    }
    let deadline = Instant::now() + PATIENCE;
    while host.log().trains() < VIEWERS as u64 && Instant::now() < deadline {
        sleep(Duration::from_millis(100)).await;
    }
    for viewer in viewers {
        viewer.stop();
        let (report, _) = viewer.end().await.unwrap();
        assert_eq!((report.error, report.lost_packets), (None, 0));
    }
    let (trains, ways) = (host.log().trains(), host.log().ways());
    assert!(trains >= VIEWERS as u64, "{trains} of {VIEWERS}");
    assert_eq!(ways.get("false"), None, "{ways:?}");
    // ICE may settle on another pair.
    assert!(ways["true"] >= VIEWERS as u64, "{ways:?}");
}
