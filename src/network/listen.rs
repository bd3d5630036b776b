//! A netlink socket that says that something changed.

use std::{
    io,
    os::{fd::AsRawFd as _, unix::net::UnixDatagram as StdDatagram},
};

use nix::{
    errno::Errno,
    sys::socket::{AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, socket},
};
use tokio::net::UnixDatagram;

/// RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV4_ROUTE, RTMGRP_IPV6_IFADDR, RTMGRP_IPV6_ROUTE (linux/rtnetlink.h).
const GROUPS: u32 = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;

/// Tokio has no type for netlink; to read datagrams from a file descriptor that is one, its Unix datagrams do.
pub(super) struct Listener(UnixDatagram);

impl Listener {
    pub(super) fn open() -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let route = SockProtocol::NetlinkRoute;
        let fd = socket(AddressFamily::Netlink, SockType::Raw, flags, route)?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, GROUPS))?;
        UnixDatagram::from_std(StdDatagram::from(fd)).map(Self)
    }

    /// Waits until something has changed. May be dropped at any time.
    pub(super) async fn heard(&mut self) -> io::Result<()> {
        let mut message = [0; 8192];
        match self.0.recv(&mut message).await {
            Ok(_) => Ok(()),
            // More was said than the kernel could keep: something changed for certain.
            Err(error) if error.raw_os_error() == Some(Errno::ENOBUFS as i32) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
