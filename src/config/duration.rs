//! Lengths of time as people write them.

use std::time::Duration;

/// Seconds in a text such as `45`, `90s`, `30min`, `2h` or `7d`; nothing if it is not of that form.
pub(crate) fn seconds(text: &str) -> Option<i64> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: i64 = number.parse().ok()?;
    let factor = match unit.trim_start() {
        "" | "s" | "sec" => 1,
        "m" | "min" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        _ => return None,
    };
    number.checked_mul(factor)
}

/// The same as a `Duration`, for the command line.
pub fn parse(text: &str) -> Result<Duration, String> {
    seconds(text)
        .and_then(|seconds| u64::try_from(seconds).ok())
        .map(Duration::from_secs)
        .ok_or_else(|| "expected a number with a unit, such as 90s, 30min, 2h or 7d".to_owned())
}
