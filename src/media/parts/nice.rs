//! What GStreamer's ICE library, libnice, does not offer as properties or with types that Rust knows. All of the
//! project's `unsafe` is here.
//!
//! The library is looked up while the program runs: it is loaded already wherever there is a `nicesink`, has had the same
//! name since 2008, and nothing has to be installed to build Perch.
#![expect(
    unsafe_code,
    reason = "there are no kept Rust bindings of libnice, and three of its functions are needed"
)]

use std::{
    ffi::{c_char, c_int, c_uint},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6},
    os::fd::{BorrowedFd, OwnedFd},
    sync::LazyLock,
};

use glib::{ffi::GType, gobject_ffi, prelude::*, translate::ToGlibPtr};

const LIBRARY: &str = "libnice.so.10";

/// `agent/agent.h` of libnice 0.1.
struct Functions {
    send: unsafe extern "C" fn(
        agent: *mut gobject_ffi::GObject,
        stream: c_uint,
        component: c_uint,
        length: c_uint,
        bytes: *const c_char,
    ) -> c_int,
    selected_socket: unsafe extern "C" fn(
        agent: *mut gobject_ffi::GObject,
        stream: c_uint,
        component: c_uint,
    ) -> *mut gobject_ffi::GObject,
    candidate_type: unsafe extern "C" fn() -> GType,
    // Unloaded, the functions would be gone.
    _library: libloading::Library,
}

static FUNCTIONS: LazyLock<Result<Functions, libloading::Error>> = LazyLock::new(|| {
    // SAFETY: the plugin that has `nicesink` has loaded this library, with what it does when it is loaded, before; the
    // signatures are those of its header, unchanged since 0.1.5 (2014).
    unsafe {
        let library = libloading::Library::new(LIBRARY)?;
        Ok(Functions {
            send: *library.get(c"nice_agent_send")?,
            selected_socket: *library.get(c"nice_agent_get_selected_socket")?,
            candidate_type: *library.get(c"nice_candidate_get_type")?,
            _library: library,
        })
    }
});

/// The beginning of `NiceCandidate` (`agent/candidate.h`), the same in every 0.1.
#[repr(C)]
struct Candidate {
    kind: c_int,
    transport: c_int,
    address: Address,
    base: Address,
}

/// `NiceAddress` (`agent/address.h`): a `sockaddr_in` or a `sockaddr_in6`.
#[repr(C)]
#[derive(Clone, Copy)]
union Address {
    family: u16,
    v4: V4,
    v6: V6,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct V4 {
    family: u16,
    port: [u8; 2],
    address: [u8; 4],
}

#[repr(C)]
#[derive(Clone, Copy)]
struct V6 {
    family: u16,
    port: [u8; 2],
    flow: u32,
    address: [u8; 16],
    scope: u32,
}

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// Whether the library is there.
pub fn load() -> Result<(), glib::BoolError> {
    match &*FUNCTIONS {
        Ok(_) => Ok(()),
        Err(error) => Err(glib::bool_error!("{error}")),
    }
}

/// A `NiceAgent`.
#[derive(Debug, Clone)]
pub struct Agent(glib::Object);

// SAFETY: an agent's functions may be called from any thread: they take its own lock, and so does what GObject does with
// references and signals.
unsafe impl Send for Agent {}
// SAFETY: likewise.
unsafe impl Sync for Agent {}

impl Agent {
    /// Nothing unless it is one.
    pub fn new(object: glib::Object) -> Option<Self> {
        let expected = glib::Type::from_name("NiceAgent")?;
        (load().is_ok() && object.type_().is_a(expected)).then_some(Self(object))
    }

    pub fn object(&self) -> &glib::Object {
        &self.0
    }
}

/// One component of one of its streams.
#[derive(Debug, Clone)]
pub struct Component {
    agent: Agent,
    stream: u32,
    component: u32,
}

impl Component {
    pub fn new(agent: Agent, stream: u32, component: u32) -> Self {
        Self {
            agent,
            stream,
            component,
        }
    }

    /// Sends one datagram on the selected pair, whatever that is; false where it could not be taken.
    pub fn send(&self, datagram: &[u8]) -> bool {
        let (Ok(functions), Ok(length)) = (&*FUNCTIONS, c_uint::try_from(datagram.len())) else {
            return false;
        };
        // SAFETY: the agent is one (see `Agent::new`) and held; the bytes are there for the call, which copies them.
        let sent = unsafe {
            (functions.send)(
                self.agent.0.to_glib_none().0,
                self.stream,
                self.component,
                length,
                datagram.as_ptr().cast(),
            )
        };
        sent > 0
    }

    /// The socket that packets leave by, if they leave by UDP and without a relay. It is one more descriptor of it: the
    /// agent closes its own whenever it likes, and the number is then another's.
    pub fn socket(&self) -> Option<OwnedFd> {
        let functions = FUNCTIONS.as_ref().ok()?;
        // SAFETY: the agent is one (see `Agent::new`) and held. A reference to a GSocket is returned, or nothing.
        let socket: Option<glib::Object> = unsafe {
            glib::translate::from_glib_full((functions.selected_socket)(
                self.agent.0.to_glib_none().0,
                self.stream,
                self.component,
            ))
        };
        let socket = socket?;
        socket.find_property("fd")?;
        let number: i32 = socket.property("fd");
        if number < 0 {
            return None;
        }
        // SAFETY: open, for `socket` has it; and where the agent closes it right now, there is an error, or another
        // socket, which the caller tells from this one.
        let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
        borrowed.try_clone_to_owned().ok()
    }
}

/// Where a `NiceCandidate`, as the signal "new-selected-pair-full" has it, is to be reached, and the address of its
/// socket (RFC 8445 §4, "base"), which only one of our own has.
pub fn addresses(candidate: &glib::Value) -> Option<(SocketAddr, Option<SocketAddr>)> {
    let functions = FUNCTIONS.as_ref().ok()?;
    // SAFETY: it takes nothing and returns a number.
    let expected = unsafe { (functions.candidate_type)() };
    // SAFETY: a value's own type may be read; only if it is that of candidates is it taken for one. They begin with
    // what `Candidate` says, and live as long as the value.
    let candidate = unsafe {
        let value: *const gobject_ffi::GValue = candidate.to_glib_none().0;
        if (*value).g_type != expected {
            return None;
        }
        gobject_ffi::g_value_get_boxed(value)
            .cast::<Candidate>()
            .as_ref()?
    };
    Some((candidate.address.read()?, candidate.base.read()))
}

impl Address {
    fn read(&self) -> Option<SocketAddr> {
        // SAFETY: the family says which of the two it is, and all bit patterns of both are valid.
        unsafe {
            match self.family {
                AF_INET => {
                    let V4 { port, address, .. } = self.v4;
                    let ip = IpAddr::V4(Ipv4Addr::from(address));
                    Some(SocketAddr::new(ip, u16::from_be_bytes(port)))
                }
                AF_INET6 => {
                    let V6 {
                        port,
                        address,
                        scope,
                        ..
                    } = self.v6;
                    let ip = Ipv6Addr::from(address);
                    let port = u16::from_be_bytes(port);
                    Some(SocketAddrV6::new(ip, port, 0, scope).into())
                }
                _ => None,
            }
        }
    }
}
