//! What a running encoder is told: its bitrate, and that a keyframe is wanted. How, its profile says.

use std::{io, sync::Arc, time::Duration};

use gst::prelude::*;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep, sleep_until},
};
use tracing::{debug, warn};

use super::{on_blocking_thread, pipeline::ENCODER};
use crate::media::{
    profile::{BitrateControl, Commands, KeyframeControl},
    v4l2,
};

/// How soon an encoder's device may be open that is not yet.
const OPENS_WITHIN: Duration = Duration::from_millis(100);

/// Between two keyframes that are asked for otherwise than by GStreamer's event, which is bounded by the element's
/// `min-force-key-unit-interval`.
const APART: Duration = Duration::from_millis(250);

/// Hands requests to the encoder one at a time, off the threads that made them, and never many in a row.
///
/// Those from before its first frame fall away: that frame is a keyframe anyway. In 1.22 an encoder that is
/// asked for its first frame remembers the keyframe at a time before its segment is known, for x264enc
/// 1000 hours ahead, and throttles every later request until then: whoever joined after a restart of the
/// camera would wait for the next keyframe in turn.
pub fn request_keyframes(
    wanted: Arc<Notify>,
    commands: &Commands,
    pipeline: &gst::Pipeline,
) -> impl Future<Output = ()> + use<> {
    let (how, pipeline) = (commands.keyframes.clone(), pipeline.downgrade());
    let mut told = false;
    async move {
        let mut next = Instant::now();
        loop {
            wanted.notified().await;
            if how != KeyframeControl::Event {
                sleep_until(next).await;
                next = Instant::now() + APART;
            }
            let Some(pipeline) = pipeline.upgrade() else {
                return;
            };
            let how = how.clone();
            let outcome = on_blocking_thread(move || request_keyframe(&pipeline, &how)).await;
            match outcome {
                // One whose device is not open yet begins with a keyframe.
                Err(error) if error.kind() == io::ErrorKind::NotConnected => {}
                Err(error) if !std::mem::replace(&mut told, true) => warn!(
                    event = "keyframes-not-commanded",
                    %error,
                    "the encoder takes no request for a keyframe: who joins waits for the next one in turn; a shorter \
                     [encoder] keyframe_interval shortens that"
                ),
                Ok(()) | Err(_) => {}
            }
        }
    }
}

/// Keeps the encoder at the bitrate that is wanted, in bit/s, where it can be changed.
pub fn follow_bitrate(
    mut wanted: watch::Receiver<Option<u32>>,
    commands: &Commands,
    pipeline: &gst::Pipeline,
) -> impl Future<Output = ()> + use<> {
    let (control, pipeline) = (commands.bitrate.clone(), pipeline.downgrade());
    let mut told = false;
    async move {
        let Some(control) = control else { return };
        loop {
            let bitrate = *wanted.borrow_and_update();
            let Some(pipeline) = pipeline.upgrade() else {
                return;
            };
            let mut opens_yet = false;
            if let Some(bitrate) = bitrate {
                let control = control.clone();
                let outcome =
                    on_blocking_thread(move || set_bitrate(&pipeline, &control, bitrate)).await;
                match outcome {
                    Err(error) if error.kind() == io::ErrorKind::NotConnected => opens_yet = true,
                    Err(error) if !std::mem::replace(&mut told, true) => warn!(
                        event = "bitrate-not-commanded",
                        %error, "the encoder's bitrate cannot be changed: it stays"
                    ),
                    Ok(()) | Err(_) => {}
                }
            }
            let changed = tokio::select! {
                changed = wanted.changed() => changed,
                () = sleep(OPENS_WITHIN), if opens_yet => Ok(()),
            };
            if changed.is_err() {
                return;
            }
        }
    }
}

/// Sets the bitrate of the pipeline's encoder, in bit/s; `NotConnected` while that is a device that is not open.
pub fn set_bitrate(
    pipeline: &gst::Pipeline,
    control: &BitrateControl,
    bitrate: u32,
) -> io::Result<()> {
    let encoder = pipeline
        .by_name(ENCODER)
        .ok_or_else(|| unsupported("there is no encoder".to_owned()))?;
    match control {
        BitrateControl::V4l2 => {
            let bitrate = i32::try_from(bitrate).unwrap_or(i32::MAX);
            command(&encoder, v4l2::Control::Bitrate, bitrate)
        }
        BitrateControl::Property { name, unit } => {
            set_steps(&encoder, name, bitrate.div_ceil(*unit))
        }
    }
}

/// Sets what the property can hold: it may be of any whole type, and has a range.
fn set_steps(encoder: &gst::Element, name: &str, steps: u32) -> io::Result<()> {
    let (property, (least, most)) = whole_property(encoder, name)?;
    let steps = i64::from(steps).clamp(least, most);
    let steps = steps
        .to_value()
        .transform_with_type(property.value_type())
        .map_err(|_| unsupported(format!("its property {name:?} takes no {steps}")))?;
    encoder.set_property_from_value(name, &steps);
    Ok(())
}

/// A property that is a whole number and can be set, with its least and its most.
fn whole_property(encoder: &gst::Element, name: &str) -> io::Result<(glib::ParamSpec, (i64, i64))> {
    let property = encoder
        .find_property(name)
        .ok_or_else(|| unsupported(format!("the encoder has no property {name:?}")))?;
    let range = whole_range(&property).ok_or_else(|| {
        unsupported(format!(
            "the encoder's property {name:?} is no whole number that can be set"
        ))
    })?;
    Ok((property, range))
}

/// The least and the most of a property that is a whole number and can be set.
fn whole_range(property: &glib::ParamSpec) -> Option<(i64, i64)> {
    let flags = property.flags();
    if !flags.contains(glib::ParamFlags::WRITABLE)
        || flags.contains(glib::ParamFlags::CONSTRUCT_ONLY)
    {
        return None;
    }
    if let Some(it) = property.downcast_ref::<glib::ParamSpecInt>() {
        return Some((it.minimum().into(), it.maximum().into()));
    }
    if let Some(it) = property.downcast_ref::<glib::ParamSpecUInt>() {
        return Some((it.minimum().into(), it.maximum().into()));
    }
    if let Some(it) = property.downcast_ref::<glib::ParamSpecInt64>() {
        return Some((it.minimum(), it.maximum()));
    }
    let it = property.downcast_ref::<glib::ParamSpecUInt64>()?;
    let most = i64::try_from(it.maximum()).unwrap_or(i64::MAX);
    Some((i64::try_from(it.minimum()).ok()?, most))
}

/// Whether the pipeline's encoder has what it is to be commanded by. Nothing is opened.
pub fn can_be_commanded(pipeline: &gst::Pipeline, commands: &Commands) -> io::Result<()> {
    let Some(encoder) = pipeline.by_name(ENCODER) else {
        return Ok(());
    };
    match &commands.bitrate {
        Some(BitrateControl::Property { name, .. }) => {
            whole_property(&encoder, name)
                .map_err(|error| unsupported(format!("bitrate_property: {error}")))?;
        }
        Some(BitrateControl::V4l2) => has_descriptor(&encoder)?,
        None => {}
    }
    match &commands.keyframes {
        KeyframeControl::Signal(name) => known_signal(&encoder, name),
        KeyframeControl::V4l2 => has_descriptor(&encoder),
        KeyframeControl::Event => Ok(()),
    }
}

/// Asks the encoder itself. On the way up from the appsink the request would meet h264parse, which keeps it: 1.22's
/// takes it away from under its own streaming thread, which has it in hand (seen as "gst_event_get_seqnum: assertion
/// 'GST_IS_EVENT (event)' failed", once in ten thousand joins). Only where the profile does not name its encoder there
/// is no other way.
pub fn request_keyframe(pipeline: &gst::Pipeline, how: &KeyframeControl) -> io::Result<()> {
    let sink = pipeline.by_name("video");
    let Some(end) = sink.and_then(|sink| sink.static_pad("sink")) else {
        return Ok(());
    };
    if end.current_caps().is_none() {
        return Ok(());
    }
    let encoder = pipeline.by_name(ENCODER);
    match (how, &encoder) {
        (KeyframeControl::V4l2, Some(encoder)) => {
            return command(encoder, v4l2::Control::ForceKeyFrame, 1);
        }
        (KeyframeControl::Signal(name), Some(encoder)) => return signal(encoder, name),
        (_, None) | (KeyframeControl::Event, _) => {}
    }
    let event = gst_video::UpstreamForceKeyUnitEvent::builder()
        .all_headers(true)
        .build();
    match encoder.and_then(|encoder| encoder.static_pad("src")) {
        Some(own) => own.send_event(event),
        None => end.push_event(event),
    };
    Ok(())
}

fn signal(encoder: &gst::Element, name: &str) -> io::Result<()> {
    known_signal(encoder, name)?;
    encoder.emit_by_name::<()>(name, &[]);
    Ok(())
}

fn known_signal(encoder: &gst::Element, name: &str) -> io::Result<()> {
    let known = glib::subclass::signal::SignalId::lookup(name, encoder.type_());
    let fits = known.is_some_and(|signal| {
        let query = signal.query();
        query.param_types().is_empty() && query.return_type() == glib::Type::UNIT
    });
    if fits {
        return Ok(());
    }
    Err(unsupported(format!(
        "keyframe_signal: the encoder has no signal {name:?} without arguments"
    )))
}

/// Sets a control of the device that a V4L2 element has open; `NotConnected` while it has none.
pub fn command(encoder: &gst::Element, control: v4l2::Control, value: i32) -> io::Result<()> {
    has_descriptor(encoder)?;
    let device: i32 = encoder.property("device-fd");
    if device < 0 {
        return Err(io::ErrorKind::NotConnected.into());
    }
    debug!(?control, value, "VIDIOC_S_CTRL");
    v4l2::set(device, control, value).map_err(|error| {
        io::Error::new(error.kind(), format!("VIDIOC_S_CTRL({control:?}): {error}"))
    })
}

fn has_descriptor(encoder: &gst::Element) -> io::Result<()> {
    let property = encoder.find_property("device-fd");
    if property.is_some_and(|property| property.value_type() == i32::static_type()) {
        return Ok(());
    }
    let why = "v4l2_controls: the encoder is no V4L2 element";
    Err(unsupported(why.to_owned()))
}

fn unsupported(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(factory: &str) -> gst::Element {
        gst::init().unwrap();
        gst::ElementFactory::make(factory).build().unwrap()
    }

    #[test]
    fn a_property_takes_what_its_type_can_hold() {
        let encoder = element("x264enc");
        encoder.set_property("name", ENCODER);
        let pipeline = gst::Pipeline::new();
        pipeline.add(&encoder).unwrap();
        let bitrate = |name: &str, unit| BitrateControl::Property {
            name: name.to_owned(),
            unit,
        };
        set_bitrate(&pipeline, &bitrate("bitrate", 1000), 700_500).unwrap();
        assert_eq!(encoder.property::<u32>("bitrate"), 701);
        // Beyond its range: 2048 Mbit/s.
        set_bitrate(&pipeline, &bitrate("bitrate", 1), 3_000_000).unwrap();
        assert_eq!(encoder.property::<u32>("bitrate"), 2_048_000);
        for (name, told) in [("nosuch", "no property"), ("name", "no whole number")] {
            let error = set_bitrate(&pipeline, &bitrate(name, 1), 700_000).unwrap_err();
            assert!(error.to_string().contains(told), "{error}");
        }
    }

    #[test]
    fn what_an_encoder_lacks_for_its_commands_is_known_before_it_runs() {
        let encoder = element("x264enc");
        encoder.set_property("name", ENCODER);
        let pipeline = gst::Pipeline::new();
        pipeline.add(&encoder).unwrap();
        let property = |name: &str| Commands {
            bitrate: Some(BitrateControl::Property {
                name: name.to_owned(),
                unit: 1,
            }),
            ..Commands::default()
        };
        let by_keyframes = |keyframes| Commands {
            keyframes,
            ..Commands::default()
        };
        can_be_commanded(&pipeline, &property("bitrate")).unwrap();
        for (commands, told) in [
            (property("nosuch"), "bitrate_property: "),
            (property("name"), "bitrate_property: "),
            (
                by_keyframes(KeyframeControl::Signal("nosuch".into())),
                "keyframe_signal: ",
            ),
            (by_keyframes(KeyframeControl::V4l2), "v4l2_controls: "),
        ] {
            let error = can_be_commanded(&pipeline, &commands).unwrap_err();
            assert!(error.to_string().starts_with(told), "{error}");
        }
        // A camera that encodes by itself is commanded by nobody.
        can_be_commanded(&gst::Pipeline::new(), &property("nosuch")).unwrap();
    }

    #[test]
    fn only_a_signal_without_arguments_is_emitted() {
        let muxer = element("splitmuxsink");
        signal(&muxer, "split-now").unwrap();
        for name in ["split-at-running-time", "no such one"] {
            let error = signal(&muxer, name).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
        }
    }

    #[test]
    fn an_element_that_is_no_v4l2_device_is_told_from_one_that_is_closed() {
        let error = command(&element("x264enc"), v4l2::Control::Bitrate, 1).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Unsupported);
        let error = command(&element("v4l2sink"), v4l2::Control::Bitrate, 1).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotConnected);
    }
}
