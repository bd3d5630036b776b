//! What rests while nobody watches.

use super::*;

/// A camera that is off while nobody watches, and one whose encoder is.
const RESTS: [(Idle, Off); 2] = [
    (Idle::EncoderOff, Off::Encoder),
    (Idle::CameraOff, Off::Camera),
];

#[test]
fn a_camera_that_is_kept_warm_does_not_care_who_watches() {
    let mut scene = Scene::new();
    scene.pass(s(10));
    for wanted in [true, false] {
        scene.want(wanted);
        scene.pass(s(60));
        assert_eq!(scene.state(), CameraState::Live);
    }
    assert_eq!(scene.resting, None);
    assert_eq!(scene.reports.len(), 1);
}

#[test]
fn a_camera_that_nobody_has_asked_for_is_not_opened() {
    let mut scene = Scene::with(Idle::CameraOff);
    scene.pass(s(24 * 3600));
    assert_eq!(scene.state(), CameraState::Idle { off: Off::Camera });
    assert_eq!((scene.starts.len(), scene.slates.len()), (0, 0));
    scene.want(true);
    assert_eq!(scene.state(), CameraState::Starting { after: None });
    scene.pass(s(1));
    assert_eq!(scene.state(), CameraState::Live);
    assert!(scene.slates.is_empty(), "it came soon enough");
    let [
        Report::Idle { off: Off::Camera },
        Report::Wanted { .. },
        Report::Live { took },
    ] = &scene.reports[..]
    else {
        panic!("not {:?}", scene.reports);
    };
    assert!(*took < s(1), "{took:?}");
    scene.want(false);
    assert!(scene.is_idle() && !scene.up);
}

#[test]
fn an_encoder_rests_once_it_has_shown_that_it_works() {
    let mut scene = Scene::with(Idle::EncoderOff);
    scene.obeys = false;
    scene.pass(s(10));
    assert_eq!(scene.state(), CameraState::Live, "no keyframe yet");
    scene.obeys = true;
    scene.pass(s(2));
    assert_eq!(scene.state(), CameraState::Idle { off: Off::Encoder });
    assert!(scene.up, "the source runs");
    let encoded = scene.seen.encoded;
    scene.pass(s(3600));
    assert_eq!(scene.seen.encoded, encoded);
    scene.want(true);
    assert_eq!(scene.state(), CameraState::Live);
    scene.pass(s(5));
    assert_eq!(scene.state(), CameraState::Live);
    assert!(scene.seen.encoded > encoded);
    scene.want(false);
    assert!(scene.is_idle());
    assert_eq!((scene.starts.len(), scene.slates.len()), (1, 1));
}

#[test]
fn an_encoder_that_does_not_wake_is_restarted_like_another() {
    let mut scene = Scene::with(Idle::EncoderOff);
    scene.pass(s(1));
    scene.encoder = 0;
    scene.want(true);
    scene.pass(s(3));
    let fault = Fault::EncoderSilent;
    assert_eq!(scene.state(), CameraState::Silent { fault });
    assert_eq!(scene.slates.last(), Some(&Caption::Lost));
    scene.pass(s(2) + TICK);
    assert!(matches!(scene.state(), CameraState::Waiting { .. }));
}

#[test]
fn a_source_that_fails_while_its_encoder_rests_is_mended_before_anybody_comes() {
    let mut scene = Scene::with(Idle::EncoderOff);
    scene.pass(s(1));
    scene.hardware = Err(Fault::NoCamera);
    scene.fails(Fault::NoCamera);
    scene.pass(s(60));
    let waits =
        |state| matches!(state, CameraState::Waiting { fault, .. } if fault == Fault::NoCamera);
    assert!(waits(scene.state()), "{:?}", scene.state());
    scene.hardware = Ok(());
    scene.pass(s(10));
    assert!(scene.is_idle());
    assert!(!scene.seen.slate);
}

#[test]
fn who_waits_for_a_start_for_long_sees_the_slate_and_no_word_of_a_loss() {
    let mut scene = Scene::with(Idle::CameraOff);
    for _ in 0..2 {
        scene.encoder = 0;
        scene.want(true);
        let before = scene.slates.len();
        scene.pass(s(1));
        assert_eq!(scene.slates.len(), before);
        scene.pass(s(2));
        assert_eq!(scene.slates[before..], [Caption::Waiting]);
        assert_eq!(scene.care.status(None).caption, Caption::Waiting);
        scene.encoder = 6;
        scene.pass(s(2));
        assert_eq!(scene.state(), CameraState::Live);
        scene.want(false);
        scene.pass(s(60));
    }
    let lost = |report: &Report| matches!(report, Report::Lost { .. } | Report::Back { .. });
    assert!(!scene.reports.iter().any(lost), "{:?}", scene.reports);
}

#[test]
fn a_camera_that_is_missing_when_it_is_wanted_is_waited_for_while_it_is() {
    let mut scene = Scene::with(Idle::CameraOff);
    scene.hardware = Err(Fault::NoCamera);
    scene.want(true);
    assert!(matches!(scene.state(), CameraState::Waiting { .. }));
    assert_eq!(scene.slates, [Caption::Waiting]);
    scene.pass(s(60));
    let tries = scene.starts.len();
    assert!(tries > 5, "{tries}");
    scene.want(false);
    scene.pass(s(3600));
    assert!(scene.is_idle());
    assert_eq!(scene.starts.len(), tries, "nobody looks for it");
    scene.hardware = Ok(());
    scene.want(true);
    scene.pass(s(1));
    assert_eq!(scene.state(), CameraState::Live);
    let waiting = |report: &&Report| matches!(report, Report::Waiting { .. });
    assert_eq!(scene.reports.iter().filter(waiting).count(), 1);
    assert_eq!(scene.care.status(None).restarts, 0);
}

#[test]
fn nobody_gets_round_the_back_off_by_leaving() {
    let mut scene = Scene::with(Idle::CameraOff);
    scene.want(true);
    for _ in 0..4 {
        scene.pass(s(1));
        scene.fails(Fault::Failed);
        scene.pass(s(60));
    }
    scene.fails(Fault::Failed);
    let CameraState::Waiting { retry_in, .. } = scene.state() else {
        panic!("it waits, not {:?}", scene.state());
    };
    assert!(retry_in >= s(16));
    let tries = scene.starts.len();
    scene.want(false);
    assert!(scene.is_idle());
    scene.pass(s(2));
    scene.want(true);
    scene.pass(s(5));
    assert!(matches!(scene.state(), CameraState::Waiting { .. }));
    assert_eq!(scene.starts.len(), tries);
    assert_eq!(scene.care.status(None).restarts, 5);
    scene.pass(retry_in);
    assert_eq!(scene.state(), CameraState::Live);
}

#[test]
fn who_comes_while_the_camera_is_being_closed_gets_it_opened_again() {
    let mut scene = Scene::with(Idle::CameraOff);
    scene.want(true);
    scene.pass(s(1));
    scene.goes = false;
    scene.want(false);
    assert_eq!(scene.state(), CameraState::Stopping { fault: None });
    scene.want(true);
    assert_eq!(scene.state(), CameraState::Stopping { fault: None });
    scene.up = false;
    scene.care.stopped(scene.now);
    scene.carry_out();
    assert_eq!(scene.state(), CameraState::Starting { after: None });
}

#[test]
fn what_rests_can_be_shut_down() {
    for (idle, off) in RESTS {
        let mut scene = Scene::with(idle);
        scene.pass(s(2));
        assert_eq!(scene.state(), CameraState::Idle { off });
        scene.care.shut_down(scene.now);
        scene.carry_out();
        assert!(scene.care.has_ended() && !scene.up);
    }
}
