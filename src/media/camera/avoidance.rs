//! Which encoders gave no picture here, so that the next that fits is tried. Pure.
//!
//! An encoder in hardware may be there and never start: no memory set aside for it, a firmware that has crashed, a driver
//! that takes none of the formats. What it does not do, an encoder in software does.

use std::collections::BTreeSet;

use crate::media::profile::Encoder;

/// Starts without a single picture, one after the other, until an encoder is avoided.
const TRIES: u32 = 3;

/// What is known since the process began. That an encoder works again only shows when it is tried, so a new process does.
#[derive(Debug, Default)]
pub struct Avoidance {
    suspect: Option<Encoder>,
    failures: u32,
    avoided: BTreeSet<Encoder>,
}

impl Avoidance {
    /// A start with this encoder ended without a picture. Whether it is avoided from now on.
    pub fn gave_nothing(&mut self, encoder: &Encoder) -> bool {
        if self.suspect.as_ref() != Some(encoder) {
            self.suspect = Some(encoder.clone());
            self.failures = 0;
        }
        self.failures += 1;
        self.failures >= TRIES && self.avoided.insert(encoder.clone())
    }

    pub fn gave_a_picture(&mut self) {
        self.suspect = None;
    }

    /// The encoders that are not to be planned with, as long as there is another.
    pub fn avoided(&self) -> &BTreeSet<Encoder> {
        &self.avoided
    }

    /// This encoder was planned with. If it was to be avoided, nothing else is left: then all begin anew.
    pub fn planned(&mut self, encoder: &Encoder) {
        if self.avoided.contains(encoder) {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoder(name: &str) -> Encoder {
        Encoder {
            profile: "board".to_owned(),
            name: name.to_owned(),
        }
    }

    #[test]
    fn an_encoder_is_avoided_after_three_starts_without_a_picture() {
        let mut avoidance = Avoidance::default();
        let hard = encoder("hard");
        let seen: Vec<bool> = (0..4).map(|_| avoidance.gave_nothing(&hard)).collect();
        assert_eq!(seen, [false, false, true, false]);
        assert!(avoidance.avoided().contains(&hard));
    }

    #[test]
    fn where_nothing_else_is_left_all_begin_anew() {
        let mut avoidance = Avoidance::default();
        let (hard, soft) = (encoder("hard"), encoder("soft"));
        for _ in 0..3 {
            avoidance.gave_nothing(&hard);
        }
        avoidance.planned(&soft);
        assert!(avoidance.avoided().contains(&hard));
        avoidance.planned(&hard);
        assert!(avoidance.avoided().is_empty());
    }

    #[test]
    fn a_picture_or_another_encoder_begins_the_count_anew() {
        let mut avoidance = Avoidance::default();
        let (hard, soft) = (encoder("hard"), encoder("soft"));
        for _ in 0..5 {
            avoidance.gave_nothing(&hard);
            avoidance.gave_nothing(&hard);
            avoidance.gave_a_picture();
            avoidance.gave_nothing(&soft);
        }
        assert!(avoidance.avoided().is_empty());
    }
}
