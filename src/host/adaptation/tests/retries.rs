//! When and how a viewer of the second rendition is tried with the first again.

use super::*;

fn probed(talk: &Talk) -> Option<u32> {
    talk.adaptation.watchers[&BranchId(1)].probed
}

/// When it is, before `end`; nothing is shown meanwhile.
fn until_probed(talk: &mut Talk, end: Instant) -> Instant {
    loop {
        assert_eq!(shown(&talk.pass(MOMENT)), []);
        if probed(talk).is_some() {
            return talk.now;
        }
        assert!(talk.now < end, "it is probed");
    }
}

#[test]
fn a_try_that_fails_makes_the_next_wait_twice_as_long() {
    let mut talk = one_moved_down();
    let mut moved = talk.now;
    let mut wait = RETRY;
    for _ in 0..6 {
        let mut bandwidth = 1_000_000;
        let tried = loop {
            let mut decisions = talk.pass(MOMENT);
            if probed(&talk).is_some() {
                bandwidth += 10_000;
                decisions.extend(talk.estimate(1, bandwidth));
            }
            if let [(1, Rendition::First, Why::Retry)] = shown(&decisions)[..] {
                break talk.now;
            }
            assert!(talk.now < moved + wait * 2 + RETRY, "it is tried");
        };
        assert!(tried - moved >= wait, "{:?} of {wait:?}", tried - moved);
        assert_eq!(probed(&talk), None);
        talk.estimate(1, 1_900_000);
        talk.estimate(1, 1_300_000);
        let back = talk.estimate(1, 1_000_000);
        let rendition = talk.adaptation.rendition(BranchId(1));
        assert_eq!(rendition, Some(Rendition::Second), "{back:?}");
        moved = talk.now;
        wait = (wait * 2).min(RETRY_MAX);
    }
}

#[test]
fn what_does_not_come_through_beside_the_picture_is_no_try() {
    let mut talk = one_moved_down();
    let mut since = talk.now;
    let mut wait = RETRY;
    for number in 0..5 {
        let begins = until_probed(&mut talk, since + wait * 2);
        assert!(begins - since >= wait, "{:?} of {wait:?}", begins - since);
        wait = RETRY * (1 << number.min(2));
        wait = wait.min(Duration::from_secs(15));
        let mut bandwidth = 1_000_000;
        while probed(&talk).is_some_and(|beside| beside < 1_000_000) {
            talk.pass(MOMENT);
            bandwidth += 10_000;
            talk.estimate(1, bandwidth);
        }
        // Half of what is sent by then.
        assert_eq!(shown(&talk.estimate(1, bandwidth / 2)), []);
        assert_eq!(probed(&talk), None);
        since = talk.now;
    }
}

#[test]
fn nobody_is_probed_with_a_slate() {
    let mut talk = one_moved_down();
    let end = talk.now + RETRY_MAX;
    until_probed(&mut talk, end);
    talk.adaptation.camera(false, talk.now);
    assert_eq!(probed(&talk), None);
    let decisions = talk.pass(RETRY_MAX);
    assert_eq!((shown(&decisions), probed(&talk)), (vec![], None));
    talk.adaptation.camera(true, talk.now);
    let end = talk.now + RETRY_MAX;
    until_probed(&mut talk, end);
}
