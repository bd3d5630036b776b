//! The element.

use std::{
    env, fs,
    path::{Path, PathBuf},
    sync::{
        LazyLock, Mutex, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use glib::subclass::prelude::*;
use gst::{prelude::*, subclass::prelude::*};

/// Where control files with a relative name are.
const DIRECTORY: &str = "FAULTGATE_DIR";
/// How often the file is looked at while a buffer is held.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

glib::wrapper! {
    pub struct FaultGate(ObjectSubclass<imp::FaultGate>) @extends gst::Element, gst::Object;
}

/// What the control file asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Pass,
    Drop,
    Stall,
    Hang,
    Error,
    Gone,
    Busy,
}

impl Fault {
    /// A file that is missing, being written or strange is no fault.
    fn read(file: &Path) -> Self {
        let text = fs::read_to_string(file).unwrap_or_default();
        match text.split_whitespace().next() {
            Some("drop") => Self::Drop,
            Some("stall") => Self::Stall,
            Some("hang") => Self::Hang,
            Some("error") => Self::Error,
            Some("gone") => Self::Gone,
            Some("busy") => Self::Busy,
            _ => Self::Pass,
        }
    }

    /// How an element with this fault fails, if it does.
    fn error(self) -> Option<(gst::ResourceError, &'static str)> {
        match self {
            Self::Error => Some((gst::ResourceError::Read, "the device gives no more data")),
            Self::Gone => Some((gst::ResourceError::NotFound, "the device is not there")),
            Self::Busy => Some((gst::ResourceError::Busy, "the device is busy")),
            Self::Pass | Self::Drop | Self::Stall | Self::Hang => None,
        }
    }
}

mod imp {
    use super::*;

    #[derive(Debug, Default)]
    pub struct FaultGate {
        control: Mutex<String>,
        /// The pipeline is on its way down.
        stopping: AtomicBool,
        pads: OnceLock<(gst::Pad, gst::Pad)>,
    }

    #[glib::object_subclass]
    impl ObjectSubclass for FaultGate {
        const NAME: &'static str = "FaultGate";
        type Type = super::FaultGate;
        type ParentType = gst::Element;
    }

    impl FaultGate {
        fn fault(&self) -> Fault {
            let name = self.control.lock().expect("nothing panics under it");
            let directory = env::var_os(DIRECTORY).map(PathBuf::from);
            Fault::read(&directory.unwrap_or_default().join(&*name))
        }

        fn chain(&self, buffer: gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
            let (_, src) = self.pads.get().expect("the pads are made with the element");
            loop {
                let fault = self.fault();
                if let Some((kind, words)) = fault.error() {
                    gst::element_imp_error!(self, kind, ["{words}"]);
                    return Err(gst::FlowError::Error);
                }
                match fault {
                    Fault::Drop => return Ok(gst::FlowSuccess::Ok),
                    Fault::Stall if self.stopping.load(Ordering::SeqCst) => {
                        return Err(gst::FlowError::Flushing);
                    }
                    Fault::Stall | Fault::Hang => thread::sleep(LOOK_AGAIN),
                    _ => return src.push(buffer),
                }
            }
        }
    }

    impl ObjectImpl for FaultGate {
        fn properties() -> &'static [glib::ParamSpec] {
            static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
                vec![
                    glib::ParamSpecString::builder("control")
                        .nick("Control file")
                        .blurb("The file that names the fault; relative to $FAULTGATE_DIR")
                        .default_value(Some("fault"))
                        .construct()
                        .build(),
                    glib::ParamSpecBoolean::builder("source")
                        .nick("Source")
                        .blurb("Whether it counts as the pipeline's source, whatever is before it")
                        .build(),
                ]
            });
            &PROPERTIES
        }

        fn set_property(&self, _id: usize, value: &glib::Value, spec: &glib::ParamSpec) {
            if spec.name() == "source" {
                let element = self.obj();
                match value.get().expect("it is declared as a truth value") {
                    true => element.set_element_flags(gst::ElementFlags::SOURCE),
                    false => element.unset_element_flags(gst::ElementFlags::SOURCE),
                }
                return;
            }
            let control: Option<String> = value.get().expect("it is declared as a text");
            *self.control.lock().expect("nothing panics under it") = control.unwrap_or_default();
        }

        fn property(&self, _id: usize, spec: &glib::ParamSpec) -> glib::Value {
            if spec.name() == "source" {
                let flags = self.obj().element_flags();
                return flags.contains(gst::ElementFlags::SOURCE).to_value();
            }
            let control = self.control.lock().expect("nothing panics under it");
            control.to_value()
        }

        fn constructed(&self) {
            self.parent_constructed();
            let template = |name: &str| {
                let class = self.obj().class().pad_template(name);
                class.expect("the element has such a template")
            };
            let flags = gst::PadFlags::PROXY_CAPS | gst::PadFlags::PROXY_ALLOCATION;
            let sink = gst::Pad::builder_from_template(&template("sink"))
                .chain_function(|_, parent, buffer| {
                    Self::catch_panic_pad_function(
                        parent,
                        || Err(gst::FlowError::Error),
                        |gate| gate.chain(buffer),
                    )
                })
                .flags(flags)
                .build();
            let src = gst::Pad::builder_from_template(&template("src"))
                .flags(flags)
                .build();
            let element = self.obj();
            element.add_pad(&sink).expect("it has no such pad yet");
            element.add_pad(&src).expect("it has no such pad yet");
            self.pads.set((sink, src)).expect("it is made once");
        }
    }

    impl GstObjectImpl for FaultGate {}

    impl ElementImpl for FaultGate {
        fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
            static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
                gst::subclass::ElementMetadata::new(
                    "Fault gate",
                    "Filter/Debug",
                    "Fails as a file says",
                    "Perch",
                )
            });
            Some(&METADATA)
        }

        fn pad_templates() -> &'static [gst::PadTemplate] {
            static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
                [
                    ("sink", gst::PadDirection::Sink),
                    ("src", gst::PadDirection::Src),
                ]
                .map(|(name, direction)| {
                    let caps = gst::Caps::new_any();
                    gst::PadTemplate::new(name, direction, gst::PadPresence::Always, &caps)
                        .expect("a template of any caps is sound")
                })
                .into()
            });
            &TEMPLATES
        }

        fn change_state(
            &self,
            transition: gst::StateChange,
        ) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
            match transition {
                gst::StateChange::NullToReady => {
                    let fault = self.fault();
                    if matches!(fault, Fault::Gone | Fault::Busy)
                        && let Some((kind, words)) = fault.error()
                    {
                        gst::element_imp_error!(self, kind, ["{words}"]);
                        return Err(gst::StateChangeError);
                    }
                    self.stopping.store(false, Ordering::SeqCst);
                }
                gst::StateChange::PausedToReady => self.stopping.store(true, Ordering::SeqCst),
                _ => {}
            }
            self.parent_change_state(transition)
        }
    }
}
