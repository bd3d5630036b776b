//! A camera and its branches on real GStreamer parts: what the offer says, and that nothing stays.

use std::time::Duration;

use perch::media::{
    BranchEvent, BranchId, Certificate, MediaEvent,
    camera::{Camera, CameraError, CameraSettings, status::CameraState},
    profile::LaunchText,
};
use tokio::{sync::mpsc, time::timeout};

const PATIENCE: Duration = Duration::from_secs(30);

fn launch(audio: bool) -> LaunchText {
    LaunchText {
        video: "videotestsrc is-live=true ! video/x-raw,format=I420,width=320,height=180,framerate=30/1 \
                ! x264enc tune=zerolatency speed-preset=ultrafast bframes=0 key-int-max=900 bitrate=500 \
                  min-force-key-unit-interval=250000000 \
                ! video/x-h264,profile=constrained-baseline"
            .into(),
        audio: audio.then(|| "audiotestsrc is-live=true ! audioconvert ! opusenc".into()),
        ..Default::default()
    }
}

async fn camera(
    launch: LaunchText,
) -> (
    Result<Camera, CameraError>,
    mpsc::UnboundedReceiver<MediaEvent>,
) {
    gst::init().expect("GStreamer starts");
    let (events, reports) = mpsc::unbounded_channel();
    let camera = Camera::open(CameraSettings::fixed(launch), events).await;
    (camera, reports)
}

async fn next(reports: &mut mpsc::UnboundedReceiver<MediaEvent>) -> (BranchId, BranchEvent) {
    match timeout(PATIENCE, reports.recv()).await {
        Ok(Some(MediaEvent::Branch { branch, event })) => (branch, event),
        other => panic!("a branch's event should come, not {other:?}"),
    }
}

#[tokio::test]
async fn an_offer_says_what_a_browser_needs() {
    let (camera, mut reports) = camera(launch(true)).await;
    let camera = camera.expect("the test picture runs");
    let branch = camera.open_branch(BranchId(1), Certificate::First);

    let (id, event) = next(&mut reports).await;
    assert_eq!(id, BranchId(1));
    let BranchEvent::Offer { sdp } = event else {
        panic!("the offer comes before any candidate, not {event:?}");
    };
    println!("{sdp}");
    for line in [
        "a=group:BUNDLE video0 audio1",
        "a=msid:perch video",
        "a=msid:perch audio",
        "a=sendonly",
        "a=rtcp-mux",
        "a=setup:actpass",
        "a=rtcp-fb:96 nack",
        "a=rtcp-fb:96 nack pli",
        "a=ssrc-group:FID ",
        "profile-level-id=42c0",
        "packetization-mode=1",
        "a=extmap:5 http://www.webrtc.org/experiments/rtp-hdrext/playout-delay",
        "a=extmap:3 http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
        // One is of no use without the other.
        "a=extmap:4 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01",
        "a=rtcp-fb:96 transport-cc",
        "OPUS/48000/2",
        "rtx/90000",
    ] {
        assert!(sdp.contains(line), "the offer should have `{line}`:\n{sdp}");
    }
    let (_, event) = next(&mut reports).await;
    let BranchEvent::Candidate(Some(candidate)) = event else {
        panic!("a candidate of this machine's follows the offer, not {event:?}");
    };
    assert!(
        candidate.candidate.starts_with("candidate:"),
        "{candidate:?}"
    );

    branch.close();
    while next(&mut reports).await.1 != BranchEvent::Closed {}
    camera.stop().await;
}

#[tokio::test]
async fn a_pipeline_that_cannot_be_built_is_told_from_a_camera_without_picture() {
    let (unbuildable, _reports) = camera(LaunchText {
        video: "nosuchsrc ! x264enc".into(),
        audio: None,
        ..Default::default()
    })
    .await;
    let error = unbuildable.expect_err("there is no such element");
    assert!(matches!(error, CameraError::Unbuildable(_)), "{error}");
    assert!(error.to_string().contains("nosuchsrc"), "{error}");

    let (dark, _reports) = camera(LaunchText {
        video: "v4l2src device=/dev/nosuchcamera ! videoconvert ! x264enc".into(),
        audio: None,
        ..Default::default()
    })
    .await;
    let dark = dark.expect("it may work later");
    let mut status = dark.status();
    let waits = status.wait_for(|status| matches!(status.state, CameraState::Waiting { .. }));
    let status = timeout(PATIENCE, waits).await.expect("in time");
    let status = status.expect("somebody looks after it").clone();
    assert!(
        matches!(&status.state, CameraState::Waiting { why, .. } if why.contains("/dev/nosuchcamera")),
        "{status:?}"
    );
    dark.stop().await;
}

/// A viewer may leave at any moment of its branch's opening.
#[tokio::test]
async fn a_branch_closed_while_it_opens_leaves_no_descriptors() {
    let (camera, mut reports) = camera(launch(false)).await;
    let camera = camera.expect("the test picture runs");
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let mut opened = 0;
    let mut open_and_close = async |after: Duration| {
        opened += 1;
        let branch = camera.open_branch(BranchId(opened), Certificate::First);
        // Not a wait for something: the moment itself is what is varied.
        tokio::time::sleep(after).await;
        branch.close();
        while next(&mut reports).await != (BranchId(opened), BranchEvent::Closed) {}
    };
    open_and_close(Duration::from_secs(1)).await;
    let before = descriptors();
    for milliseconds in (0..20).cycle().take(100) {
        open_and_close(Duration::from_millis(milliseconds)).await;
    }
    assert!(descriptors() <= before, "{} > {before}", descriptors());
    camera.stop().await;
}
