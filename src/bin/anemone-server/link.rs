// SPDX-License-Identifier: GPL-2.0

//! The server's place on an interface: its socket and ring, and what becomes of them when the
//! interface goes down or away, or changes its MTU, address or name.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use anemone::wire::{ETHERNET_LEN, HEADER_LEN, PAGE_SIZE};
use rustix::net::{
    bind, socket_with, sockopt, AddressFamily, SocketAddrUnix, SocketFlags, SocketType,
};
use tracing::{info, warn};

use crate::failure::{Failure, Kind};
use crate::sys::interface::Interface;
use crate::sys::ring::{Geometry, Ring};
use crate::sys::socket::PacketSocket;

/// What is wanted of a link.
#[derive(Clone, Debug)]
pub struct LinkOptions {
    /// The interface's name.
    pub interface: String,
    /// The EtherType.
    pub ethertype: u16,
    /// About so much memory for frames that wait.
    pub ring_bytes: usize,
}

/// The right to serve on an interface.
pub struct Claim {
    socket: PacketSocket,
    interface: Interface,
    /// Its name in the network namespace is the lock; it goes when this is closed.
    lock: OwnedFd,
}

/// What a check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It can be used, or will be when the interface is up.
    Usable,
    /// It must be opened anew.
    Lost,
}

/// A place on an interface.
pub struct Link {
    /// Frames go out here.
    pub socket: PacketSocket,
    /// Frames come in here.
    pub ring: Ring,
    /// What the interface was when it was last looked at.
    pub interface: Interface,
    geometry: Geometry,
    _lock: OwnedFd,
}

impl Claim {
    /// Makes sure of everything that is needed but memory.
    pub fn new(options: &LinkOptions) -> Result<Self, Failure> {
        let name = &options.interface;
        let socket = PacketSocket::new().map_err(|error| match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => Failure::new(
                Kind::Privilege,
                "missing privilege: CAP_NET_RAW is needed to send and receive Ethernet frames",
            ),
            _ => Failure::new(Kind::Other, format!("cannot open a packet socket: {error}")),
        })?;
        let interface = Interface::by_name(&socket, name).map_err(|error| {
            let text = match error.raw_os_error() {
                Some(libc::ENODEV) => format!("there is no network interface '{name}'"),
                _ => format!("cannot look at network interface '{name}': {error}"),
            };
            Failure::new(Kind::Interface, text)
        })?;
        if !interface.is_ethernet || !interface.mac.is_unicast() {
            let text = format!("network interface '{name}' is not an Ethernet interface");
            return Err(Failure::new(Kind::Interface, text));
        }
        let lock = lock(&interface, options.ethertype)?;
        Ok(Self {
            socket,
            interface,
            lock,
        })
    }

    /// Begins to receive.
    pub fn listen(self, options: &LinkOptions) -> Result<Link, Failure> {
        let Self {
            socket,
            interface,
            lock,
        } = self;
        let geometry = Geometry::new(options.ring_bytes, frame_len(&interface));
        let ring = socket
            .listen(interface.index, options.ethertype, geometry)
            .map_err(|error| {
                let kind = match error.raw_os_error() {
                    Some(libc::ENOMEM) => Kind::Memory,
                    Some(libc::ENODEV | libc::ENXIO) => Kind::Interface,
                    Some(libc::EPERM) => Kind::Privilege,
                    _ => Kind::Other,
                };
                let text = format!("cannot receive from '{}': {error}", interface.name);
                Failure::new(kind, text)
            })?;
        if !interface.is_up {
            warn!(interface = interface.name, "the interface is down");
        }
        Ok(Link {
            socket,
            ring,
            interface,
            geometry,
            _lock: lock,
        })
    }
}

/// Takes the name that only one server of this EtherType on this interface can have. It is of the
/// network namespace, as the interface is, and lasts no longer than the process.
fn lock(interface: &Interface, ethertype: u16) -> Result<OwnedFd, Failure> {
    let name = format!("anemone-server/{}/{ethertype:04x}", interface.index);
    let locked = || -> rustix::io::Result<OwnedFd> {
        let fd = socket_with(
            AddressFamily::UNIX,
            SocketType::DGRAM,
            SocketFlags::CLOEXEC,
            None,
        )?;
        bind(&fd, &SocketAddrUnix::new_abstract_name(name.as_bytes())?)?;
        Ok(fd)
    };
    locked().map_err(|error| match error {
        rustix::io::Errno::ADDRINUSE => {
            let text = format!("another server serves on '{}'", interface.name);
            Failure::new(Kind::Busy, text)
        }
        _ => Failure::new(
            Kind::Other,
            format!("cannot take the interface's lock: {error}"),
        ),
    })
}

/// Bytes of the longest frame that may be one of ours: no more than a page, whatever the MTU.
fn frame_len(interface: &Interface) -> usize {
    interface.mtu.min(HEADER_LEN + PAGE_SIZE) + ETHERNET_LEN
}

impl Link {
    /// Looks at the interface: whether it is still there, and what changed.
    pub fn check(&mut self) -> Health {
        // Reading the socket's error clears it: an interface that went down leaves one, and the
        // socket works again by itself when it comes up.
        if let Ok(Err(error)) = sockopt::socket_error(self.socket.as_fd()) {
            if error != rustix::io::Errno::NETDOWN {
                warn!(interface = self.interface.name, %error, "receiving failed");
            }
        }
        let now = match Interface::by_index(self.socket.as_fd(), self.interface.index) {
            Ok(now) => now,
            Err(error) if is_gone(&error) => {
                warn!(interface = self.interface.name, "the interface is gone");
                return Health::Lost;
            }
            Err(error) => {
                warn!(interface = self.interface.name, %error, "the interface cannot be looked at");
                return Health::Usable;
            }
        };
        let before = std::mem::replace(&mut self.interface, now);
        self.report(&before);
        let now = &self.interface;
        if frame_len(now) > self.geometry.longest_frame() {
            info!(interface = now.name, "making room for longer frames");
            return Health::Lost;
        }
        Health::Usable
    }

    fn report(&self, before: &Interface) {
        let now = &self.interface;
        let interface = &now.name;
        if now.name != before.name {
            info!(
                interface,
                before = before.name,
                "the interface has a new name"
            );
        }
        if now.mac != before.mac {
            info!(interface, mac = %now.mac, before = %before.mac, "the interface has a new address");
        }
        if now.mtu != before.mtu {
            info!(
                interface,
                mtu = now.mtu,
                before = before.mtu,
                "the interface has a new MTU"
            );
        }
        match (before.is_up, now.is_up) {
            (true, false) => warn!(interface, "the interface is down"),
            (false, true) => info!(interface, "the interface is up"),
            _ => {}
        }
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENODEV | libc::ENXIO))
}
