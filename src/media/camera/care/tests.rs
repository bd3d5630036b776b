use proptest::prelude::*;

use super::*;

mod idle;

/// A camera in virtual time, looked at every [`TICK`].
struct Scene {
    care: Care,
    now: Instant,
    seen: Seen,
    /// Frames per tick of source and encoder while a run is up.
    source: u64,
    encoder: u64,
    /// What a start comes to: a run, or a fault.
    hardware: Result<(), Fault>,
    /// Whether the encoder gives a keyframe when it is asked.
    obeys: bool,
    /// And when it begins.
    keys_first: bool,
    /// Whether what is taken down goes.
    goes: bool,
    up: bool,
    /// Whether the encoder is given nothing.
    resting: Option<Off>,
    /// Each slate that was shown.
    slates: Vec<Caption>,
    starts: Vec<Instant>,
    reports: Vec<Report>,
    keyframes: usize,
    given_up: Option<String>,
}

impl Scene {
    fn new() -> Self {
        Self::with(Idle::Warm)
    }

    fn with(idle: Idle) -> Self {
        let now = Instant::now();
        let mut scene = Self {
            care: Care::new(Pace::of(30, None), idle, now),
            now,
            seen: Seen::default(),
            source: 6,
            encoder: 6,
            hardware: Ok(()),
            obeys: true,
            keys_first: false,
            goes: true,
            up: false,
            resting: None,
            slates: Vec::new(),
            starts: Vec::new(),
            reports: Vec::new(),
            keyframes: 0,
            given_up: None,
        };
        scene.carry_out();
        scene
    }

    fn carry_out(&mut self) {
        while let Some(action) = self.care.next_action() {
            assert!(self.given_up.is_none(), "nothing follows the end");
            match action {
                Action::Start => {
                    assert!(!self.up, "never two runs at once");
                    assert_eq!(self.resting, None, "nobody watches");
                    self.starts.push(self.now);
                    match self.hardware {
                        Ok(()) => {
                            self.up = true;
                            self.care.built();
                        }
                        Err(fault) => self.care.failed(fault, "there".into(), self.now),
                    }
                }
                Action::Stop => {
                    if self.goes {
                        self.up = false;
                        self.care.stopped(self.now);
                    }
                }
                Action::ShowSlate(caption) => {
                    self.seen.slate = true;
                    self.slates.push(caption);
                }
                Action::Rest(off) => {
                    assert_eq!(self.resting, None, "it rests once");
                    self.resting = Some(off);
                    self.seen.slate = false;
                }
                Action::Wake => {
                    assert!(self.resting.take().is_some(), "it rested");
                }
                Action::WantKeyframe => {
                    self.keyframes += 1;
                    self.seen.slate &= !self.obeys;
                }
                Action::Report(report) => self.reports.push(report),
                Action::GiveUp { why } => self.given_up = Some(why),
            }
        }
    }

    fn tick(&mut self) {
        self.now += TICK;
        if self.up {
            self.seen.source += self.source;
            if self.resting.is_none() {
                self.seen.encoded += self.encoder;
                // The first frame of an encoder is a keyframe.
                let first = matches!(self.state(), CameraState::Starting { .. });
                self.seen.slate &= !(first && self.encoder > 0 && self.keys_first);
            }
        }
        self.care.tick(self.seen, self.now);
        self.carry_out();
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end && self.given_up.is_none() {
            self.tick();
        }
    }

    fn fails(&mut self, fault: Fault) {
        self.care.failed(fault, "cable".into(), self.now);
        self.carry_out();
    }

    fn state(&self) -> CameraState {
        self.care.status(None).state
    }

    fn want(&mut self, wanted: bool) {
        self.care.want(wanted, self.now);
        self.carry_out();
    }

    fn is_idle(&self) -> bool {
        matches!(self.state(), CameraState::Idle { .. })
    }
}

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn a_camera_that_lives_again_tells_of_the_slate_until_its_keyframe() {
    let mut scene = Scene::new();
    scene.pass(s(1));
    scene.encoder = 0;
    scene.pass(s(3));
    assert!(matches!(scene.state(), CameraState::Silent { .. }));
    scene.encoder = 6;
    scene.tick();
    let status = scene.care.status(None);
    assert_eq!((status.state, status.slate), (CameraState::Live, true));
    // The keyframe that was asked for has come.
    scene.tick();
    let status = scene.care.status(None);
    assert_eq!((status.state, status.slate), (CameraState::Live, false));
}

#[test]
fn an_encoder_that_gives_no_keyframe_any_more_is_restarted() {
    for (interval, patience) in [(None, s(60)), (Some(s(50)), s(100))] {
        let mut scene = Scene::new();
        scene.care.pace = Pace::of(30, interval);
        scene.pass(s(10));
        // A pause, after which it goes on with frames that need others; and again.
        scene.obeys = false;
        let began = scene.now;
        for _ in 0..2 {
            scene.encoder = 0;
            scene.pass(s(3));
            scene.encoder = 6;
            scene.pass(s(5));
            assert_eq!(scene.state(), CameraState::Live);
        }
        scene.pass(patience - (scene.now - began));
        assert!(scene.seen.slate);
        assert_eq!(scene.state(), CameraState::Live);
        scene.pass(s(4));
        assert!(
            matches!(scene.state(), CameraState::Waiting { fault: Fault::EncoderSilent, why, .. }
                if why.ends_with(&format!("no keyframe for {} s", patience.as_secs()))),
            "{:?}",
            scene.state()
        );
        scene.obeys = true;
        scene.pass(s(2));
        assert_eq!(scene.state(), CameraState::Live);
        assert!(!scene.seen.slate);
        assert_eq!(scene.starts.len(), 2);
        scene.pass(2 * patience);
        assert_eq!(scene.starts.len(), 2, "one that gives keyframes goes on");
    }
}

#[test]
fn a_start_after_a_fault_keeps_telling_of_it() {
    let mut scene = Scene::new();
    assert_eq!(scene.state(), CameraState::Starting { after: None });
    scene.pass(s(10));
    scene.fails(Fault::Failed);
    (scene.source, scene.encoder) = (0, 0);
    scene.pass(s(2));
    let after = Some((Fault::Failed, "cable".to_owned()));
    assert_eq!(scene.state(), CameraState::Starting { after });
}

#[test]
fn a_silent_encoder_is_told_from_a_silent_source_and_both_are_restarted() {
    for (source, fault) in [(6, Fault::EncoderSilent), (0, Fault::SourceSilent)] {
        let mut scene = Scene::new();
        scene.pass(s(10));
        assert_eq!(scene.state(), CameraState::Live);
        (scene.source, scene.encoder) = (source, 0);
        scene.pass(Duration::from_millis(1800));
        assert_eq!(scene.state(), CameraState::Live, "a hiccup");
        scene.pass(Duration::from_millis(600));
        assert_eq!(scene.state(), CameraState::Silent { fault });
        assert!(scene.seen.slate);
        scene.pass(s(3));
        assert!(
            matches!(scene.state(), CameraState::Waiting { fault: found, .. } if found == fault),
            "{:?}",
            scene.state()
        );
        (scene.source, scene.encoder) = (6, 6);
        scene.pass(s(2));
        assert_eq!(scene.state(), CameraState::Live);
        assert!(!scene.seen.slate, "the camera's picture is back");
        assert_eq!(scene.starts.len(), 2);
        let [
            Report::Live { .. },
            Report::Lost { fault: lost, .. },
            Report::Restarting { spent: 1, .. },
            Report::Back { after },
        ] = &scene.reports[..]
        else {
            panic!("one line for each change, not {:?}", scene.reports);
        };
        assert_eq!(*lost, fault);
        assert!(*after >= s(4) && *after <= s(6), "{after:?}");
    }
}

#[test]
fn a_picture_that_comes_back_by_itself_costs_no_restart() {
    let mut scene = Scene::new();
    scene.pass(s(10));
    scene.encoder = 0;
    scene.pass(s(4));
    scene.encoder = 6;
    scene.pass(s(1));
    assert_eq!(scene.state(), CameraState::Live);
    assert_eq!(scene.starts.len(), 1);
    assert!(!scene.seen.slate, "a keyframe was asked for");
}

#[test]
fn a_slow_camera_is_given_more_time() {
    let mut scene = Scene::new();
    scene.care = Care::new(Pace::of(1, None), Idle::Warm, scene.now);
    scene.up = false;
    scene.carry_out();
    (scene.source, scene.encoder) = (0, 0);
    for second in 0..60u64 {
        scene.seen.encoded = second;
        scene.pass(s(1));
    }
    scene.pass(s(2));
    assert_eq!(scene.state(), CameraState::Live, "three frames may be lost");
}

#[test]
fn a_missing_camera_is_waited_for_for_ever_and_hardly_talked_of() {
    let mut scene = Scene::new();
    scene.pass(s(10));
    scene.hardware = Err(Fault::NoCamera);
    scene.fails(Fault::NoCamera);
    scene.pass(s(2 * 3600 + 60));
    assert!(scene.given_up.is_none());
    assert_eq!(scene.care.status(None).restarts, 0);
    let waiting = |report: &&Report| matches!(report, Report::Waiting { .. });
    assert_eq!(scene.reports.iter().filter(waiting).count(), 3, "hourly");
    let waits: Vec<_> = scene
        .starts
        .windows(2)
        .map(|pair| pair[1] - pair[0])
        .collect();
    assert!(waits[2..].iter().all(|wait| *wait <= s(9)), "{waits:?}");
    assert!(waits.len() > 800, "{} looks", waits.len());

    scene.hardware = Ok(());
    scene.pass(s(10));
    assert_eq!(scene.state(), CameraState::Live);
    assert!(matches!(scene.reports.last(), Some(Report::Back { .. })));
}

#[test]
fn a_device_that_comes_minutes_after_boot_is_taken() {
    let mut scene = Scene::new();
    scene.hardware = Err(Fault::NoCamera);
    scene.care = Care::new(Pace::of(30, None), Idle::Warm, scene.now);
    scene.up = false;
    scene.carry_out();
    scene.pass(s(300));
    scene.hardware = Ok(());
    scene.pass(s(10));
    assert_eq!(scene.state(), CameraState::Live);
    assert!(matches!(scene.reports.last(), Some(Report::Live { .. })));
}

#[test]
fn a_loose_plug_is_no_storm() {
    let mut scene = Scene::new();
    for _ in 0..400 {
        scene.pass(s(2));
        scene.fails(Fault::NoCamera);
        scene.pass(s(1));
    }
    assert!(scene.given_up.is_none());
    // 20 minutes: slowly at last.
    let late = scene
        .starts
        .iter()
        .filter(|start| scene.now - **start < s(600));
    let late = late.count();
    assert!(late <= 22, "{late} of {}", scene.starts.len());
}

#[test]
fn a_busy_camera_is_waited_for() {
    let mut scene = Scene::new();
    scene.hardware = Err(Fault::Busy);
    scene.pass(s(2));
    scene.fails(Fault::Busy);
    scene.pass(s(3600 - 60));
    assert!(scene.given_up.is_none());
    assert!(scene.starts.len() < 140, "{} tries", scene.starts.len());
    assert_eq!(scene.care.status(None).restarts, 0);
}

#[test]
fn past_the_budget_it_is_given_up() {
    let mut scene = Scene::new();
    scene.encoder = 0;
    scene.pass(s(3600));
    let why = scene
        .given_up
        .as_deref()
        .expect("an encoder that never works");
    assert!(why.contains("10 times in 10 min"), "{why}");
    assert!(why.contains("encoder is silent"), "{why}");
    assert_eq!(scene.starts.len(), 1 + BUDGET as usize);
    assert!(scene.care.has_ended());
    assert!(!scene.care.status(None).is_looked_after(scene.now));
}

#[test]
fn a_steady_run_restores_patience_and_budget() {
    let mut scene = Scene::new();
    for _ in 0..30 {
        scene.pass(STEADY + s(2));
        assert_eq!(scene.care.status(None).restarts, 0);
        scene.fails(Fault::Failed);
        let CameraState::Waiting { retry_in, .. } = scene.state() else {
            panic!("it waits, not {:?}", scene.state());
        };
        assert_eq!(retry_in, s(1));
    }
    assert!(scene.given_up.is_none());
}

#[test]
fn what_cannot_be_stopped_ends_the_process() {
    let mut scene = Scene::new();
    scene.pass(s(10));
    scene.goes = false;
    scene.fails(Fault::Failed);
    scene.pass(s(4));
    assert!(scene.given_up.is_none());
    scene.pass(s(2));
    let why = scene.given_up.as_deref().expect("it hangs");
    assert!(why.contains("does not stop"), "{why}");
}

#[test]
fn a_process_that_stood_still_blames_nobody() {
    let mut scene = Scene::new();
    scene.pass(s(10));
    // SIGSTOP, and on SIGCONT the clock is looked at before any frame has come.
    scene.now += s(60);
    scene.care.tick(scene.seen, scene.now);
    scene.carry_out();
    assert_eq!(scene.state(), CameraState::Live);
    scene.pass(s(1));
    assert_eq!(scene.starts.len(), 1);
}

#[derive(Debug, Clone)]
enum Event {
    Pass(u64),
    Flows(u64, u64),
    Hardware(Option<Fault>),
    Fails(Fault),
    Wanted(bool),
    ShutDown,
}

fn fault() -> impl Strategy<Value = Fault> {
    prop::sample::select(&Fault::ALL[..])
}

fn event(without: bool) -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => (1u64..600).prop_map(Event::Pass),
        3 => (0u64..2, 0u64..2).prop_map(|(source, encoder)| Event::Flows(source, encoder)),
        2 => prop::option::of(fault()).prop_map(Event::Hardware),
        3 => fault().prop_map(Event::Fails),
        3 => any::<bool>().prop_map(Event::Wanted),
        u32::from(!without) => Just(Event::ShutDown),
    ]
}

impl Scene {
    fn meet(&mut self, event: &Event) {
        match event {
            Event::Pass(ticks) => self.pass(TICK * u32::try_from(*ticks).unwrap()),
            Event::Flows(source, encoder) => (self.source, self.encoder) = (*source, *encoder),
            Event::Hardware(fault) => self.hardware = fault.map_or(Ok(()), Err),
            Event::Fails(fault) => self.fails(*fault),
            Event::Wanted(wanted) => self.want(*wanted),
            Event::ShutDown => {
                self.care.shut_down(self.now);
                self.carry_out();
            }
        }
    }
}

fn idle() -> impl Strategy<Value = Idle> {
    prop::sample::select(&[Idle::Warm, Idle::EncoderOff, Idle::CameraOff][..])
}

proptest! {
    #[test]
    fn a_camera_that_is_off_for_want_of_viewers_stays_so_whatever_happens(
        before in prop::collection::vec(event(true), 0..30),
        then in prop::collection::vec(event(true), 1..30),
    ) {
        let mut scene = Scene::with(Idle::CameraOff);
        before.iter().for_each(|event| scene.meet(event));
        scene.want(false);
        // What is being stopped has stopped.
        if scene.given_up.is_some() {
            return Ok(());
        }
        let starts = scene.starts.len();
        let (slates, restarts) = (scene.slates.len(), scene.care.status(None).restarts);
        for event in then.iter().filter(|event| !matches!(event, Event::Wanted(_))) {
            scene.meet(event);
            let status = scene.care.status(None);
            prop_assert!(scene.is_idle() && !scene.up && !status.slate);
            prop_assert!(status.is_looked_after(scene.now));
            prop_assert_eq!(status.restarts, restarts);
        }
        prop_assert_eq!((scene.starts.len(), scene.slates.len()), (starts, slates));
    }

    #[test]
    fn a_resting_encoder_is_no_fault(ticks in 1u64..20_000, source in 0u64..2) {
        let mut scene = Scene::with(Idle::EncoderOff);
        scene.pass(s(2));
        let slates = scene.slates.len();
        scene.source = source;
        scene.pass(TICK * u32::try_from(ticks).unwrap());
        prop_assert!(scene.is_idle());
        prop_assert!(scene.care.status(None).is_looked_after(scene.now));
        prop_assert_eq!((scene.starts.len(), scene.slates.len()), (1, slates));
        prop_assert_eq!(scene.care.status(None).restarts, 0);
    }

    #[test]
    fn whatever_happens_there_is_one_run_and_somebody_looks_after_it(
        events in prop::collection::vec(event(false), 1..60),
        idle in idle(),
    ) {
        let mut scene = Scene::with(idle);
        for event in &events {
            scene.meet(event);
            if scene.given_up.is_some() {
                break;
            }
            let status = scene.care.status(None);
            prop_assert!(
                scene.care.has_ended() || status.is_looked_after(scene.now),
                "{:?} at {:?}", status, scene.now
            );
            if let CameraState::Live = status.state {
                prop_assert!(scene.up);
            }
            prop_assert!(status.restarts <= BUDGET);
        }
    }

    #[test]
    fn costly_restarts_stay_within_the_budget(
        events in prop::collection::vec(event(true), 1..60),
        idle in idle(),
    ) {
        let mut scene = Scene::with(idle);
        let mut paid = Vec::new();
        for event in &events {
            let before = scene.reports.len();
            scene.meet(event);
            let restarts = scene.reports[before..]
                .iter()
                .filter(|report| matches!(report, Report::Restarting { .. }));
            paid.extend(restarts.map(|_| scene.now));
        }
        // Each steady run starts a new account; it takes STEADY, so five fit into ten minutes at most.
        let worst = paid.iter().map(|from| {
            paid.iter().filter(|at| *at >= from && **at - *from < BUDGET_WINDOW).count()
        }).max().unwrap_or(0);
        prop_assert!(worst <= 6 * BUDGET as usize, "{worst}");
    }

    #[test]
    fn hardware_that_comes_and_goes_never_ends_the_process(
        comes in prop::collection::vec((any::<bool>(), 1u64..900), 1..60),
    ) {
        let mut scene = Scene::new();
        for (there, ticks) in comes {
            if there {
                scene.hardware = Ok(());
            } else {
                scene.hardware = Err(Fault::NoCamera);
                scene.fails(Fault::NoCamera);
            }
            scene.pass(TICK * u32::try_from(ticks).unwrap());
        }
        prop_assert!(scene.given_up.is_none());
        scene.hardware = Ok(());
        // The longest back-off, and a start.
        scene.pass(LONGEST + s(2));
        prop_assert_eq!(scene.state(), CameraState::Live);
    }
}
