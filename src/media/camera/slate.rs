//! What viewers see while there is no picture: two small pictures that were encoded beforehand
//! (`scripts/make-slate`), sent in turn. It needs no encoder, and hardly a cycle.

use std::time::Duration;

use super::status::Caption;
use crate::media::h264;

/// How often a picture of it is sent. Each needs no other, so whoever comes sees it within this time.
pub const EVERY: Duration = Duration::from_millis(500);

const WAITING: &[u8] = include_bytes!("slate/waiting.h264");
const LOST: &[u8] = include_bytes!("slate/lost.h264");

/// `nal_unit_type` of an access unit delimiter and of a sequence parameter set (ITU-T H.264, table 7-1).
const NAL_DELIMITER: u8 = 9;
const NAL_SPS: u8 = 7;

/// The slate's pictures, in the order in which they are sent.
#[derive(Debug, Default)]
pub struct Slate {
    pictures: Vec<gst::Buffer>,
    next: usize,
}

impl Slate {
    /// `offered` is the `profile-level-id` that viewers were told. Of the slate's own profile, its level is
    /// written into the slate's parameter sets, too: browsers compare.
    pub fn new(caption: Caption, offered: &str) -> Self {
        let stream = match caption {
            Caption::Waiting => WAITING,
            Caption::Lost => LOST,
        };
        let pictures = access_units(stream)
            .into_iter()
            .map(|unit| gst::Buffer::from_mut_slice(with_level(unit, offered)))
            .collect();
        Self { pictures, next: 0 }
    }

    /// The next picture, without a timestamp.
    pub fn next(&mut self) -> Option<gst::Buffer> {
        let picture = self.pictures.get(self.next)?.copy();
        self.next = (self.next + 1) % self.pictures.len();
        Some(picture)
    }
}

/// An Annex B stream, cut before each access unit delimiter.
fn access_units(stream: &[u8]) -> Vec<&[u8]> {
    let is_start = |at: &usize| matches!(stream.get(*at..*at + 5), Some([0, 0, 0, 1, header]) if header & 0x1f == NAL_DELIMITER);
    let mut starts: Vec<usize> = (0..stream.len()).filter(is_start).collect();
    starts.push(stream.len());
    starts
        .windows(2)
        .map(|between| &stream[between[0]..between[1]])
        .collect()
}

fn with_level(unit: &[u8], offered: &str) -> Vec<u8> {
    let mut unit = unit.to_vec();
    let level = offered
        .get(4..)
        .and_then(|level| u8::from_str_radix(level, 16).ok());
    let same_profile = h264::profile_level_id(&unit)
        .is_some_and(|own| h264::profile(&own) == h264::profile(offered));
    let sps = unit
        .windows(4)
        .position(|window| matches!(window, [0, 0, 1, header] if header & 0x1f == NAL_SPS));
    if let (Some(level), Some(sps), true) = (level, sps, same_profile) {
        // Behind the start code and the header: profile, constraints, level.
        unit[sps + 6] = level;
    }
    unit
}

/// In bytes, by which a test knows a picture of the slate.
#[cfg(test)]
pub const SIZES: [usize; 4] = [3580, 2982, 5185, 4590];

#[cfg(test)]
mod tests {
    use super::*;

    /// `nal_unit_type` of a slice of an IDR picture.
    const NAL_IDR: u8 = 5;

    fn kinds(unit: &[u8]) -> Vec<u8> {
        unit.windows(4)
            .filter_map(|window| match window {
                [0, 0, 1, header] => Some(header & 0x1f),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn each_picture_stands_alone_and_differs_from_the_last() {
        for stream in [WAITING, LOST] {
            let units = access_units(stream);
            assert!(units.iter().all(|unit| SIZES.contains(&unit.len())));
            assert_eq!(units.len(), 2);
            for unit in &units {
                assert!(unit.len() < 8000, "{} bytes", unit.len());
                let kinds = kinds(unit);
                assert_eq!(kinds[0], NAL_DELIMITER);
                assert!(kinds.contains(&NAL_SPS), "{kinds:?}");
                assert_eq!(kinds.last(), Some(&NAL_IDR));
            }
            let slice = |unit: &[u8]| {
                let at = unit.windows(4).position(
                    |window| matches!(window, [0, 0, 1, header] if header & 0x1f == NAL_IDR),
                );
                unit[at.expect("an IDR slice") + 4..][..3].to_vec()
            };
            // Two IDR pictures in a row shall differ in idr_pic_id (7.4.3), which is in the slice's header.
            assert_ne!(slice(units[0]), slice(units[1]));
        }
    }

    #[test]
    fn the_level_is_the_offers_where_the_profile_is_too() {
        gst::init().expect("GStreamer starts");
        for (offered, said) in [("42c01f", "42c01f"), ("640028", "42c016"), ("", "42c016")] {
            let mut slate = Slate::new(Caption::Lost, offered);
            for _ in 0..3 {
                let picture = slate.next().expect("it never ends");
                let bytes = picture.map_readable().expect("memory");
                assert_eq!(h264::profile_level_id(&bytes).as_deref(), Some(said));
            }
        }
    }
}
