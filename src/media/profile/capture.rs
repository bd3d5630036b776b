//! What to ask of a camera that offers many things. Pure.

use std::fmt;

/// An inclusive range; a single value where both ends are the same.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Span<T> {
    pub min: T,
    pub max: T,
}

/// Frames per second as numerator and denominator, as in GStreamer's caps.
pub type Rate = (i32, i32);

/// One thing that a camera offers.
#[derive(Debug, Clone, PartialEq)]
pub struct Mode {
    /// The kind of picture, such as `video/x-raw` or `image/jpeg`.
    pub media: String,
    /// The pixels' formats that there are of it, such as `NV12`, where it is raw.
    pub formats: Vec<String>,
    /// Pixels.
    pub width: Span<u32>,
    pub height: Span<u32>,
    /// Every rate at this size; empty where the camera does not say, and takes what it is asked for.
    pub rates: Vec<Span<Rate>>,
}

/// What a camera is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Capture {
    pub media: String,
    /// The pixels' format, where the profile wants a certain one.
    pub format: Option<String>,
    pub width: u32,
    pub height: u32,
    pub rate: Rate,
}

impl Capture {
    /// The fields that follow the media type in caps text.
    pub fn caps(&self) -> String {
        let (numerator, denominator) = self.rate;
        let format = self.format.as_ref();
        let format = format.map_or_else(String::new, |format| format!(",format={format}"));
        format!(
            "{format},width={},height={},framerate={numerator}/{denominator}",
            self.width, self.height
        )
    }
}

impl fmt::Display for Capture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.media)?;
        if let Some(format) = &self.format {
            write!(f, " {format}")?;
        }
        write!(
            f,
            " {}×{} at {} fps",
            self.width,
            self.height,
            Fps(self.rate)
        )
    }
}

/// A rate for people: whole where it is whole.
pub struct Fps(pub Rate);

impl fmt::Display for Fps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fps = fps(self.0);
        if fps.fract() == 0.0 {
            write!(f, "{fps}")
        } else {
            write!(f, "{fps:.2}")
        }
    }
}

/// The picture that the encoder is to get.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub width: u32,
    pub height: u32,
    pub framerate: u32,
}

/// A kind of picture that a source takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kind<'a> {
    pub media: &'a str,
    /// Any, where it is absent.
    pub format: Option<&'a str>,
}

impl Kind<'_> {
    fn is_offered(&self, mode: &Mode) -> bool {
        let has = |format: &str| mode.formats.iter().any(|offered| offered == format);
        self.media == mode.media && self.format.is_none_or(has)
    }
}

/// The mode that comes nearest to what is wanted, among those of one of the `kinds` (best first), and the place of
/// its kind among them. In this order: neither size nor rate falls short; the shape is the same; no more
/// pixels than needed; the better kind. So a camera gives 720p as MJPEG where its raw
/// pictures end at VGA, and raw where both would do.
pub(super) fn choose(
    modes: &[Mode],
    kinds: &[Kind<'_>],
    wanted: Wanted,
) -> Option<(usize, Capture)> {
    modes
        .iter()
        .filter_map(|mode| {
            let rank = kinds.iter().position(|kind| kind.is_offered(mode))?;
            let capture = Capture {
                media: mode.media.clone(),
                format: kinds[rank].format.map(str::to_owned),
                width: clamp(wanted.width, mode.width),
                height: clamp(wanted.height, mode.height),
                rate: rate(&mode.rates, wanted.framerate)?,
            };
            Some((cost(&capture, wanted), rank, capture))
        })
        .min_by_key(|(cost, rank, _)| (*cost, *rank))
        .map(|(_, rank, capture)| (rank, capture))
}

/// Shortfall in per mille, difference of shape in per mille, pixels.
fn cost(capture: &Capture, wanted: Wanted) -> (u64, u64, u64) {
    let short = |has: f64, needs: f64| (1.0 - (has / needs)).max(0.0);
    let size = short(f64::from(capture.width), f64::from(wanted.width))
        .max(short(f64::from(capture.height), f64::from(wanted.height)));
    let rate = short(fps(capture.rate), f64::from(wanted.framerate));
    let shape = |width: u32, height: u32| f64::from(width) / f64::from(height.max(1));
    let distortion =
        (shape(capture.width, capture.height) / shape(wanted.width, wanted.height) - 1.0).abs();
    let per_mille = |fraction: f64| (fraction * 1000.0).round() as u64;
    (
        // 29.97 is as good as 30.
        per_mille(size + rate) / 5,
        per_mille(distortion),
        u64::from(capture.width) * u64::from(capture.height),
    )
}

fn clamp(wanted: u32, span: Span<u32>) -> u32 {
    wanted.max(span.min).min(span.max)
}

fn rate(rates: &[Span<Rate>], wanted: u32) -> Option<Rate> {
    if rates.is_empty() {
        return Some((i32::try_from(wanted).ok()?, 1));
    }
    nearest_rate(rates, wanted)
}

/// The lowest rate that suffices, or the highest there is.
fn nearest_rate(rates: &[Span<Rate>], wanted: u32) -> Option<Rate> {
    let wanted_rate = (i32::try_from(wanted).ok()?, 1);
    let wanted = f64::from(wanted);
    let possible = rates.iter().filter(|span| fps(span.max) > 0.0).map(|span| {
        if fps(span.min) <= wanted && wanted <= fps(span.max) {
            wanted_rate
        } else if fps(span.max) < wanted {
            span.max
        } else {
            span.min
        }
    });
    possible.min_by(|one, other| {
        let key = |rate: Rate| {
            let fps = fps(rate);
            // Enough before too little; then as near as can be.
            (fps < wanted * 0.995, (fps - wanted).abs())
        };
        let (one, other) = (key(*one), key(*other));
        one.0.cmp(&other.0).then(one.1.total_cmp(&other.1))
    })
}

/// Frames per second; 0 for what is no rate.
pub(super) fn fps((numerator, denominator): Rate) -> f64 {
    if denominator <= 0 || numerator <= 0 {
        return 0.0;
    }
    f64::from(numerator) / f64::from(denominator)
}
