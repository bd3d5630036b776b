//! `rtpulpfecenc` and `rtpredenc`: `webrtcbin` puts both in front of every stream, whether redundancy was agreed upon or
//! not. Perch's offers have none; but GStreamer's take a picture's list of packets apart, and from there on to the
//! network every step was taken for each packet by itself. These let everything through as it comes.

use glib::subclass::prelude::*;
use gst::{prelude::*, subclass::prelude::*};

glib::wrapper! {
    pub struct Passage(ObjectSubclass<imp::Passage>) @extends gst::Element, gst::Object;
}

pub fn register_ulpfec() -> Result<(), glib::BoolError> {
    gst::Element::register(
        None,
        "rtpulpfecenc",
        gst::Rank::NONE,
        Passage::static_type(),
    )
}

pub fn register_red() -> Result<(), glib::BoolError> {
    gst::Element::register(None, "rtpredenc", gst::Rank::NONE, Passage::static_type())
}

mod imp {
    use std::sync::LazyLock;

    use super::*;

    #[derive(Debug)]
    pub struct Passage {
        sink: gst::Pad,
        source: gst::Pad,
    }

    #[glib::object_subclass]
    impl ObjectSubclass for Passage {
        const NAME: &'static str = "PerchPassage";
        type Type = super::Passage;
        type ParentType = gst::Element;

        fn with_class(class: &Self::Class) -> Self {
            let template = |name| class.pad_template(name).expect("there is such a template");
            let flags = gst::PadFlags::PROXY_CAPS | gst::PadFlags::PROXY_ALLOCATION;
            let sink = gst::Pad::builder_from_template(&template("sink"))
                .flags(flags)
                .chain_function(|_, parent, packet| {
                    Self::catch_panic_pad_function(
                        parent,
                        || Err(gst::FlowError::Error),
                        |this| this.source.push(packet),
                    )
                })
                .chain_list_function(|_, parent, packets| {
                    Self::catch_panic_pad_function(
                        parent,
                        || Err(gst::FlowError::Error),
                        |this| this.source.push_list(packets),
                    )
                })
                .build();
            let source = gst::Pad::builder_from_template(&template("src"))
                .flags(flags)
                .build();
            Self { sink, source }
        }
    }

    impl ObjectImpl for Passage {
        fn properties() -> &'static [glib::ParamSpec] {
            static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
                // What `webrtcbin` says to both of them; it is of no use where there is no redundancy.
                let number = |name| glib::ParamSpecUInt::builder(name).write_only().build();
                let switch = |name| glib::ParamSpecBoolean::builder(name).write_only().build();
                vec![
                    glib::ParamSpecInt::builder("pt").write_only().build(),
                    number("percentage"),
                    switch("multipacket"),
                    switch("allow-no-red-blocks"),
                ]
            });
            &PROPERTIES
        }

        fn set_property(&self, _id: usize, _value: &glib::Value, _spec: &glib::ParamSpec) {}

        fn constructed(&self) {
            self.parent_constructed();
            for pad in [&self.sink, &self.source] {
                self.obj().add_pad(pad).expect("there is no other yet");
            }
        }
    }

    impl GstObjectImpl for Passage {}

    impl ElementImpl for Passage {
        fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
            static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
                gst::subclass::ElementMetadata::new(
                    "RTP without redundancy",
                    "Codec/Payloader/Network/RTP",
                    "Lets lists of RTP packets through",
                    "The Perch authors",
                )
            });
            Some(&METADATA)
        }

        fn pad_templates() -> &'static [gst::PadTemplate] {
            static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
                use gst::{PadDirection::*, PadPresence::Always};
                let caps = gst::Caps::new_empty_simple("application/x-rtp");
                [("sink", Sink), ("src", Src)]
                    .into_iter()
                    .map(|(name, direction)| {
                        gst::PadTemplate::new(name, direction, Always, &caps)
                            .expect("the template is well-formed")
                    })
                    .collect()
            });
            &TEMPLATES
        }
    }
}
