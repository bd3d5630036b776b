//! `faultgate`: passes what comes through, until a file says which fault to show.
//!
//! The file is named by the property `control`; a relative name starts at `$FAULTGATE_DIR`. It is
//! read again for every buffer and when the element opens its "device" (NULL to READY); without it
//! everything passes. Its first word is the fault:
//!
//! | word    | what the element does |
//! |---------|------------------------|
//! | `pass`  | passes everything on |
//! | `drop`  | swallows buffers without a word, as a source or an encoder that fell silent |
//! | `stall` | holds a buffer until the word changes or the pipeline is stopped |
//! | `hang`  | holds a buffer until the word changes: even stopping the pipeline waits, as with a driver that is stuck in the kernel |
//! | `error` | posts an error and fails: the device broke |
//! | `gone`  | posts "not found" and fails, also when it is opened: the device was unplugged |
//! | `busy`  | posts "busy" and fails, also when it is opened: another program has the device |

mod gate;

use glib::prelude::*;

fn plugin_init(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    gst::Element::register(
        Some(plugin),
        "faultgate",
        gst::Rank::NONE,
        gate::FaultGate::static_type(),
    )
}

gst::plugin_define!(
    faultgate,
    env!("CARGO_PKG_DESCRIPTION"),
    plugin_init,
    env!("CARGO_PKG_VERSION"),
    "MIT/X11",
    "faultgate",
    "faultgate",
    "perch"
);
