//! What a host says of its viewers is what its viewers see: `perch status` and `/metrics` with real ones.
#![expect(
    clippy::unwrap_used,
    reason = "a test that panics has failed, helpers included"
)]

mod asking;

use std::path::Path;

use swarm::{
    crowd::{Door, Watching},
    host::{Host, Picture, perch_beside},
    viewer::Conduct,
};

use asking::{ask, get, sample, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_figures_are_those_of_the_viewers() {
    let perch = perch_beside(Path::new(env!("CARGO_BIN_EXE_swarm"))).unwrap();
    let host = Host::start(&perch, &Picture::small(), None).unwrap();
    let door = Door::new(host.lobby().clone(), host.tokens(), None).unwrap();
    let mut viewers = Vec::new();
    for number in 0..2 {
        let mut viewer = Watching::start(door.arrive(number, Conduct::Stays).await.unwrap());
        assert!(viewer.picture().await, "viewer {number} has a picture");
        viewers.push(viewer);
    }

    // Round trips are known after the viewers' first reports.
    let status = until(&host, &perch, |status| {
        status["viewers"]
            .as_array()
            .is_some_and(|all| all.iter().all(|one| one["round_trip_s"].is_number()))
    })
    .await;
    let rows = status["viewers"].as_array().unwrap();
    assert_eq!(rows.len(), 2, "{status}");
    for (row, number) in rows.iter().zip(1..) {
        assert_eq!(row["number"], number, "{status}");
        assert_eq!(row["state"], "live", "{status}");
        assert_eq!(row["path"], "direct", "{status}");
        let rate = row["bits_per_s"].as_f64().unwrap();
        // A test picture at 300 kbit/s; the machine may be busy.
        assert!((20e3..2e6).contains(&rate), "{status}");
        let loss = row["loss"].as_f64().unwrap();
        assert!((0.0..=1.0).contains(&loss), "{status}");
        assert!(row["round_trip_s"].as_f64().unwrap() < 10.0, "{status}");
    }
    let text = ask(&host, &perch, &[]);
    assert!(
        text.contains("viewers  2 of 200; since the start 2 joined, 2 saw media"),
        "{text}"
    );
    println!("{text}");

    let page = get(host.metrics(), "/metrics");
    assert_eq!(sample(&page, "perch_viewers{state=\"live\"}"), 2.0);
    for times in ["media", "frame"] {
        let name = format!("perch_viewer_join_to_{times}_seconds_count");
        assert_eq!(sample(&page, &name), 2.0);
    }
    for number in 1..=2 {
        let name = format!("perch_viewer_sent_bytes_total{{viewer=\"{number}\"}}");
        assert!(sample(&page, &name) > 1000.0, "{page}");
    }
    println!("{page}");

    let first = viewers.remove(0);
    first.stop();
    let (report, _) = first.end().await.unwrap();
    assert_eq!(report.error, None);
    let status = until(&host, &perch, |status| {
        status["viewers"]
            .as_array()
            .is_some_and(|all| all.len() == 1)
    })
    .await;
    assert_eq!(status["viewers"][0]["number"], 2, "{status}");
    let page = get(host.metrics(), "/metrics");
    assert_eq!(
        sample(&page, "perch_viewer_ends_total{reason=\"left\"}"),
        1.0
    );
    assert!(!page.contains("{viewer=\"1\"}"), "{page}");
}
