//! A bus message, read as what it means for the pipeline that posted it.

use gst::{MessageView, prelude::*};

/// What a message on a pipeline's bus calls for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The pipeline cannot go on.
    Failed { why: String, about: About },
    /// Something to know, nothing to do.
    Warned { why: String },
}

/// What an error is about, as far as it changes what is done. Only sources speak of the device that is
/// waited for: an encoder's may be missing or busy as well, and no wait brings it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// A device that is not there, or not any more.
    NoDevice,
    /// A device that somebody else holds.
    Busy,
    /// Something else that the source says of itself.
    Source,
    Other,
}

/// Tells `heed` of whatever is no ordinary life, on the thread that it happens on, until the handler is unset.
pub fn watch(pipeline: &gst::Pipeline, heed: impl Fn(Verdict) + Send + Sync + 'static) {
    let bus = pipeline.bus().expect("a pipeline has a bus");
    bus.set_sync_handler(move |_, message| {
        if let Some(verdict) = verdict(message) {
            heed(verdict);
        }
        gst::BusSyncReply::Drop
    });
}

/// `None` for everything that is ordinary life (state changes, latency, stream status …).
pub fn verdict(message: &gst::MessageRef) -> Option<Verdict> {
    match message.view() {
        MessageView::Error(error) => Some(Verdict::Failed {
            why: describe(message, &error.error(), error.debug()),
            about: match message.src() {
                Some(source) if is_source(source) => {
                    about(&error.error(), error.debug().as_deref())
                }
                _ => About::Other,
            },
        }),
        MessageView::Warning(warning) => Some(Verdict::Warned {
            why: describe(message, &warning.error(), warning.debug()),
        }),
        MessageView::Eos(_) => Some(Verdict::Failed {
            why: "the stream ended".into(),
            about: About::Other,
        }),
        _ => None,
    }
}

/// It says so itself, or nothing flows into it: not every one that does without `GstBaseSrc` says so.
fn is_source(object: &gst::Object) -> bool {
    object
        .downcast_ref::<gst::Element>()
        .is_some_and(|element| {
            element.element_flags().contains(gst::ElementFlags::SOURCE)
                || element.num_sink_pads() == 0
        })
}

/// Elements report most of a driver's errors as reading or writing that failed; what it was the driver
/// said in errno(3)'s words, which stand behind the element's own.
fn about(error: &glib::Error, debug: Option<&str>) -> About {
    let says = |words: &str| {
        let words_of = |text: &str| text.to_ascii_lowercase().contains(words);
        words_of(error.message()) || debug.is_some_and(words_of)
    };
    if error.matches(gst::ResourceError::NotFound) || says("no such device") || says("no such file")
    {
        About::NoDevice
    } else if error.matches(gst::ResourceError::Busy) || says("resource busy") {
        About::Busy
    } else if says("streaming stopped") {
        // Because of what became of its frames further on (`GST_ELEMENT_FLOW_ERROR`).
        About::Other
    } else {
        About::Source
    }
}

/// `element: what it says (where in its source)`, on one line.
fn describe(
    message: &gst::MessageRef,
    error: &glib::Error,
    debug: Option<glib::GString>,
) -> String {
    let element = message
        .src()
        .map_or_else(|| "pipeline".into(), |source| source.name());
    let detail = debug
        .as_deref()
        .and_then(|debug| debug.lines().last())
        .map(|line| format!(" ({line})"))
        .unwrap_or_default();
    format!("{element}: {error}{detail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Comes before any message: it starts GStreamer.
    fn element() -> gst::Element {
        gst::init().expect("GStreamer starts");
        gst::ElementFactory::make("fakesrc")
            .name("camera0")
            .build()
            .expect("fakesrc is a core element")
    }

    #[test]
    fn an_error_fails_the_pipeline_and_names_the_element() {
        let camera = element();
        let message = gst::message::Error::builder(gst::ResourceError::NotFound, "no such device")
            .debug("v4l2_calls.c(1): open ():\nCannot open '/dev/video9'")
            .src(&camera)
            .build();
        assert_eq!(
            verdict(&message),
            Some(Verdict::Failed {
                why: "camera0: no such device (Cannot open '/dev/video9')".into(),
                about: About::NoDevice,
            })
        );
    }

    #[test]
    fn a_missing_or_busy_device_is_told_from_other_errors() {
        for (error, debug, about) in [
            (gst::ResourceError::Busy, "", About::Busy),
            (
                gst::ResourceError::Failed,
                "gstv4l2object.c(3): stream on:\nsystem error: Device or resource busy",
                About::Busy,
            ),
            (
                gst::ResourceError::Read,
                "poll error 1: No such device (19)",
                About::NoDevice,
            ),
            (
                gst::ResourceError::OpenReadWrite,
                "system error: Permission denied",
                About::Source,
            ),
            (
                gst::ResourceError::Failed,
                "streaming stopped, reason not-negotiated (-4)",
                About::Other,
            ),
        ] {
            let camera = element();
            let message = gst::message::Error::builder(error, "Could not")
                .debug(debug)
                .src(&camera)
                .build();
            let Some(Verdict::Failed { about: found, .. }) = verdict(&message) else {
                panic!("an error fails");
            };
            assert_eq!(found, about, "{debug}");
        }
    }

    /// Waiting for a device costs no budget: an encoder that is busy for ever would be built anew for ever.
    #[test]
    fn what_an_encoder_says_of_its_device_is_not_about_the_camera() {
        let camera = element();
        let encoder = gst::ElementFactory::make("identity")
            .build()
            .expect("identity is a core element");
        for (error, debug) in [
            (gst::ResourceError::NotFound, ""),
            (gst::ResourceError::Busy, ""),
            (
                gst::ResourceError::Failed,
                "system error: Device or resource busy",
            ),
        ] {
            let found = [&camera, &encoder].map(|element| {
                let message = gst::message::Error::builder(error, "Could not")
                    .debug(debug)
                    .src(element)
                    .build();
                match verdict(&message) {
                    Some(Verdict::Failed { about, .. }) => about,
                    other => panic!("an error fails: {other:?}"),
                }
            });
            assert_ne!(found[0], About::Other, "{error:?} {debug}");
            assert_eq!(found[1], About::Other, "{error:?} {debug}");
        }
    }

    #[test]
    fn a_warning_is_known_and_not_acted_on() {
        let camera = element();
        let message = gst::message::Warning::builder(gst::CoreError::Clock, "late")
            .src(&camera)
            .build();
        assert_eq!(
            verdict(&message),
            Some(Verdict::Warned {
                why: "camera0: late".into()
            })
        );
    }

    #[test]
    fn the_end_of_a_live_stream_is_a_failure() {
        let camera = element();
        let message = gst::message::Eos::builder().src(&camera).build();
        assert!(matches!(verdict(&message), Some(Verdict::Failed { .. })));
    }

    #[test]
    fn ordinary_messages_mean_nothing() {
        let camera = element();
        let message = gst::message::Latency::builder().src(&camera).build();
        assert_eq!(verdict(&message), None);
    }
}
