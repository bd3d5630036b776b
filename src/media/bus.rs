//! A bus message, read as what it means for the pipeline that posted it. Pure.

use gst::{MessageView, prelude::*};

/// What a message on a pipeline's bus calls for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The pipeline cannot go on.
    Failed { why: String },
    /// Something to know, nothing to do.
    Warned { why: String },
}

/// `None` for everything that is ordinary life (state changes, latency, stream status …).
pub fn verdict(message: &gst::MessageRef) -> Option<Verdict> {
    match message.view() {
        MessageView::Error(error) => Some(Verdict::Failed {
            why: describe(message, &error.error(), error.debug()),
        }),
        MessageView::Warning(warning) => Some(Verdict::Warned {
            why: describe(message, &warning.error(), warning.debug()),
        }),
        MessageView::Eos(_) => Some(Verdict::Failed {
            why: "the stream ended".into(),
        }),
        _ => None,
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
        gst::ElementFactory::make("identity")
            .name("camera0")
            .build()
            .expect("identity is a core element")
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
                why: "camera0: no such device (Cannot open '/dev/video9')".into()
            })
        );
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
