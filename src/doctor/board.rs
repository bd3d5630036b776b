//! Temperature and throttling, where the board tells.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::Finding;

const CHECK: &str = "board";
/// Most chips slow down a little above this, in °C.
const HOT: f64 = 80.0;

/// Bits of the Raspberry Pi firmware's word, and what they mean (raspberrypi/documentation, `get_throttled`).
const THROTTLED: [(u32, &str); 4] = [
    (0, "the supply voltage is too low"),
    (1, "the clock is capped"),
    (2, "the processor is throttled"),
    (3, "the soft temperature limit is reached"),
];

/// `sys`: where sysfs is.
pub(super) fn examine(sys: &Path) -> Vec<Finding> {
    let mut found = Vec::new();
    if let Some((zone, celsius)) = hottest(&sys.join("class/thermal")) {
        let what = format!("{celsius:.0} °C ({zone})");
        found.push(if celsius < HOT {
            Finding::ok(CHECK, what)
        } else {
            Finding::fault(
                CHECK,
                what,
                "see to cooling: it slows down, and frames will be missing",
            )
        });
    }
    if let Some(word) = throttled(sys) {
        found.push(throttling(word));
    }
    found
}

/// The hottest zone's kind and temperature.
fn hottest(zones: &Path) -> Option<(String, f64)> {
    let read = |path: PathBuf| Some(fs::read_to_string(path).ok()?.trim().to_owned());
    let zones = fs::read_dir(zones).ok()?.flatten().filter_map(|zone| {
        let millidegrees: f64 = read(zone.path().join("temp"))?.parse().ok()?;
        let kind = read(zone.path().join("type")).unwrap_or_default();
        Some((kind, millidegrees / 1000.0))
    });
    // Zones without a sensor tell nonsense.
    zones
        .filter(|(_, celsius)| (-40.0..=150.0).contains(celsius))
        .max_by(|(_, one), (_, other)| one.total_cmp(other))
}

fn throttled(sys: &Path) -> Option<u32> {
    let file = sys.join("devices/platform/soc/soc:firmware/get_throttled");
    let text = fs::read_to_string(file).ok()?;
    u32::from_str_radix(text.trim().trim_start_matches("0x"), 16).ok()
}

fn throttling(word: u32) -> Finding {
    let named = |shift: u32| {
        let set = THROTTLED
            .iter()
            .filter(|(bit, _)| word >> (bit + shift) & 1 == 1);
        set.map(|(_, name)| *name).collect::<Vec<_>>().join(", ")
    };
    let (now, before) = (named(0), named(16));
    if !now.is_empty() {
        let mend = "use the board's own power supply and a short, thick cable; see to cooling";
        Finding::fault(CHECK, now, mend)
    } else if !before.is_empty() {
        Finding::note(
            CHECK,
            format!("since the start there was a time when {before}"),
        )
    } else {
        Finding::ok(CHECK, "not throttled, the supply voltage is good")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    fn with(files: &[(&str, &str)]) -> Vec<Finding> {
        let sys = tempfile::tempdir().unwrap();
        for (file, text) in files {
            let path = sys.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        examine(sys.path())
    }

    #[test]
    fn a_board_that_tells_nothing_is_not_shown() {
        assert_eq!(with(&[]), []);
        assert_eq!(with(&[("class/thermal/thermal_zone0/temp", "none")]), []);
    }

    #[test]
    fn the_hottest_zone_counts() {
        let zones = |temperature| {
            with(&[
                ("class/thermal/thermal_zone0/temp", "41000\n"),
                ("class/thermal/thermal_zone0/type", "gpu\n"),
                ("class/thermal/thermal_zone1/temp", temperature),
                ("class/thermal/thermal_zone1/type", "cpu-thermal\n"),
                ("class/thermal/thermal_zone2/temp", "-274000"),
            ])
        };
        assert_eq!(
            zones("61300\n"),
            [Finding::ok(CHECK, "61 °C (cpu-thermal)")]
        );
        assert_eq!(zones("85000\n")[0].level, Level::Fault);
    }

    #[test]
    fn under_voltage_now_is_a_fault_and_in_the_past_a_note() {
        let said = |word| {
            let found = with(&[("devices/platform/soc/soc:firmware/get_throttled", word)]);
            (found[0].level, found[0].what.clone())
        };
        assert_eq!(said("0\n").0, Level::Ok);
        let (level, what) = said("50005\n");
        assert_eq!(level, Level::Fault);
        assert!(
            what.contains("voltage") && what.contains("throttled"),
            "{what}"
        );
        assert_eq!(said("0x50000").0, Level::Note);
    }
}
