//! The playout-delay RTP header extension, which GStreamer does not have.
//!
//! With a delay of (0, 0) a browser renders each frame as soon as it is complete instead of
//! holding it for its own estimate of the jitter
//! (<http://www.webrtc.org/experiments/rtp-hdrext/playout-delay>).

use glib::subclass::prelude::*;
use gst::subclass::prelude::*;
use gst_rtp::{RTPHeaderExtensionFlags, subclass::prelude::*};

/// The URI that names the extension in SDP (RFC 8285 §5).
pub const URI: &str = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay";

/// Two 12-bit numbers in units of 10 ms: minimum and maximum delay.
const ZERO_ZERO: [u8; 3] = [0; 3];

glib::wrapper! {
    /// Writes a playout delay of (0, 0) into each packet of the payloader that it is added to.
    pub struct PlayoutDelay(ObjectSubclass<imp::PlayoutDelay>)
        @extends gst_rtp::RTPHeaderExtension, gst::Element, gst::Object;
}

impl PlayoutDelay {
    /// `id` is the local identifier that the SDP's `extmap` gives to the URI (1 to 14).
    pub fn new(id: u32) -> Self {
        use gst_rtp::prelude::*;
        let extension: Self = glib::Object::new();
        extension.set_id(id);
        extension
    }
}

mod imp {
    use super::*;

    #[derive(Debug, Default)]
    pub struct PlayoutDelay;

    #[glib::object_subclass]
    impl ObjectSubclass for PlayoutDelay {
        const NAME: &'static str = "PerchPlayoutDelay";
        type Type = super::PlayoutDelay;
        type ParentType = gst_rtp::RTPHeaderExtension;
    }

    impl ObjectImpl for PlayoutDelay {}
    impl GstObjectImpl for PlayoutDelay {}
    impl ElementImpl for PlayoutDelay {}

    impl RTPHeaderExtensionImpl for PlayoutDelay {
        const URI: &'static str = super::URI;

        fn supported_flags(&self) -> RTPHeaderExtensionFlags {
            RTPHeaderExtensionFlags::ONE_BYTE | RTPHeaderExtensionFlags::TWO_BYTE
        }

        fn max_size(&self, _input: &gst::BufferRef) -> usize {
            ZERO_ZERO.len()
        }

        fn write(
            &self,
            _input: &gst::BufferRef,
            _flags: RTPHeaderExtensionFlags,
            _output: &gst::BufferRef,
            output_data: &mut [u8],
        ) -> Result<usize, gst::LoggableError> {
            let room = output_data
                .get_mut(..ZERO_ZERO.len())
                .ok_or_else(|| gst::loggable_error!(gst::CAT_RUST, "no room for playout-delay"))?;
            room.copy_from_slice(&ZERO_ZERO);
            Ok(ZERO_ZERO.len())
        }

        fn read(
            &self,
            _flags: RTPHeaderExtensionFlags,
            _input_data: &[u8],
            _output: &mut gst::BufferRef,
        ) -> Result<(), gst::LoggableError> {
            Ok(())
        }
    }
}
