// SPDX-License-Identifier: GPL-2.0

//! The server's socket and ring on an interface, and what happens to them when the interface goes down,
//! disappears, or changes its MTU, address or name.

use std::io;
use std::os::fd::AsFd;

use anemone::wire::{Fragmentation, ETHERNET_LEN, HEADER_LEN, PAGE_SIZE, SIGNATURE_LEN};
use rustix::net::sockopt;
use tracing::{info, warn};

use crate::exit_status::{Failure, Kind};
use crate::rival;
use crate::sys::interface::Interface;
use crate::sys::ring::{Geometry, Ring};
use crate::sys::socket::PacketSocket;
use crate::upper::{Upper, Watch};

/// Parameters of a link.
#[derive(Clone, Debug)]
pub struct LinkOptions {
    /// The interface's name, or another name of it.
    pub interface: String,
    /// Its index if it was opened before: that interface is meant, whatever its name is now.
    pub index: Option<u32>,
    /// The EtherType.
    pub ethertype: u16,
    /// The approximate size of the receive ring.
    pub ring_bytes: usize,
    /// Frames are signed.
    pub is_signed: bool,
}

/// The right to serve on an interface.
pub struct Claim {
    socket: PacketSocket,
    interface: Interface,
    /// `None` if the kernel does not report it.
    watch: Option<Watch>,
}

/// What a check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// The link works, or will work when the interface is up.
    Usable,
    /// The link must be opened again, on the same interface.
    Lost,
    /// The interface is gone. The link must be opened again when an interface with its name exists.
    Gone,
}

/// An open link.
pub struct Link {
    /// Sends frames.
    pub socket: PacketSocket,
    /// Receives frames.
    pub ring: Ring,
    /// The interface at the last check.
    pub interface: Interface,
    geometry: Geometry,
    watch: Option<Watch>,
    /// That a page can cross.
    least_mtu: usize,
}

impl Claim {
    /// Checks all requirements except memory.
    pub fn new(options: &LinkOptions) -> Result<Self, Failure> {
        let socket = PacketSocket::new().map_err(|error| match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => Failure::new(
                Kind::Privilege,
                "missing privilege: CAP_NET_RAW is needed to send and receive Ethernet frames; run as \
                 root, or grant it (setcap cap_net_raw,cap_ipc_lock+ep FILE, AmbientCapabilities= in \
                 a unit, --cap-add NET_RAW for a container)",
            ),
            _ => Failure::new(Kind::Other, format!("cannot open a packet socket: {error}")),
        })?;
        let name = &options.interface;
        let found = match options.index {
            Some(index) => Interface::by_index(&socket, index),
            None => Interface::by_name(&socket, name),
        };
        let interface = found.map_err(|error| {
            if is_gone(&error) {
                let text = format!("there is no network interface '{name}'");
                return Failure::new(Kind::NoInterface, text);
            }
            let text = format!("cannot query network interface '{name}': {error}");
            Failure::new(Kind::Interface, text)
        })?;
        let name = &interface.name;
        let refuse = |why: String| Err(Failure::new(Kind::Interface, why));
        if !interface.is_ethernet || !interface.mac.is_unicast() {
            return refuse(format!(
                "network interface '{name}' is not an Ethernet interface"
            ));
        }
        let least = Fragmentation::min_mtu(options.is_signed);
        if interface.mtu < least {
            return refuse(format!(
                "the MTU of network interface '{name}' is {}: the minimum is {least} (ip link set \
                 {name} mtu 1500)",
                interface.mtu,
            ));
        }
        let watch = Watch::new(interface.index)
            .inspect_err(|error| warn!(interface = name, %error, "cannot find out which interfaces are above it"))
            .ok();
        if let Some(what) = watch.as_ref().and_then(|watch| watch.unsuitable) {
            return refuse(format!("network interface '{name}' is {what}"));
        }
        if let Some(upper) = upper(&watch) {
            return refuse(format!(
                "network interface '{name}' is {upper}, which takes its frames: {}",
                upper.remedy()
            ));
        }
        // A first check, before the memory is taken. The decisive one follows when the socket receives.
        if rival::is_taken(interface.index, options.ethertype, &socket).map_err(unknown_rivals)? {
            return Err(busy(&interface, options));
        }
        Ok(Self {
            socket,
            interface,
            watch,
        })
    }

    /// Begins to receive.
    pub fn listen(self, options: &LinkOptions) -> Result<Link, Failure> {
        let interface = self.interface;
        let geometry = Geometry::new(options.ring_bytes, frame_len(&interface));
        let ring = self
            .socket
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
        if !rival::is_ours(interface.index, options.ethertype, &self.socket)
            .map_err(unknown_rivals)?
        {
            return Err(busy(&interface, options));
        }
        tell_whether_it_carries(&interface);
        Ok(Link {
            socket: self.socket,
            ring,
            interface,
            geometry,
            watch: self.watch,
            least_mtu: Fragmentation::min_mtu(options.is_signed),
        })
    }
}

fn busy(interface: &Interface, options: &LinkOptions) -> Failure {
    let text = format!(
        "another server serves on '{}', or another program receives EtherType {:#06x} there ('ss -0 \
         -p' shows which)",
        interface.name, options.ethertype
    );
    Failure::new(Kind::Busy, text)
}

fn unknown_rivals(error: io::Error) -> Failure {
    let text = format!("cannot find out whether another server serves on the interface: {error}");
    Failure::new(Kind::Other, text)
}

fn upper(watch: &Option<Watch>) -> Option<&Upper> {
    watch.as_ref()?.upper.as_ref()
}

/// Logs what keeps the interface from carrying frames, if anything does.
fn tell_whether_it_carries(now: &Interface) {
    let interface = &now.name;
    if !now.is_up {
        warn!(
            interface,
            "the interface is down: no client is served until it is up (ip link set {interface} up)"
        );
    } else if !now.has_carrier {
        warn!(
            interface,
            "the interface has no carrier: check the cable, the switch or the other end"
        );
    }
}

/// Bytes of the longest frame of the protocol on this interface: a page at most, whatever the MTU.
fn frame_len(interface: &Interface) -> usize {
    interface.mtu.min(HEADER_LEN + SIGNATURE_LEN + PAGE_SIZE) + ETHERNET_LEN
}

impl Link {
    /// Checks whether the interface is still there, and what has changed.
    pub fn check(&mut self) -> Health {
        // Reading the socket's error clears it. An interface that went down leaves an error, and the socket
        // works again when the interface comes up.
        if let Ok(Err(error)) = sockopt::socket_error(self.socket.as_fd()) {
            if error != rustix::io::Errno::NETDOWN {
                warn!(interface = self.interface.name, %error, "receiving failed");
            }
        }
        let now = match Interface::by_index(self.socket.as_fd(), self.interface.index) {
            Ok(now) => now,
            Err(error) if is_gone(&error) => {
                warn!(interface = self.interface.name, "the interface is gone");
                return Health::Gone;
            }
            Err(error) => {
                warn!(interface = self.interface.name, %error, "cannot query the interface");
                return Health::Usable;
            }
        };
        let before = std::mem::replace(&mut self.interface, now);
        self.report(&before);
        self.look_above();
        let now = &self.interface;
        if frame_len(now) > self.geometry.longest_frame() {
            info!(interface = now.name, "making room for longer frames");
            return Health::Lost;
        }
        // An interface that disappeared and came back with its old index works. The socket does not.
        if self.socket.bound_to().is_ok_and(|to| to != Some(now.index)) {
            info!(
                interface = now.name,
                "the interface reappeared: receiving from it again"
            );
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
            let least = self.least_mtu;
            if now.mtu < least {
                warn!(interface, least, "the MTU is too small to send a page: raise it (ip link set {interface} mtu 1500)");
            }
        }
        match (before.carries(), now.carries()) {
            (true, false) => tell_whether_it_carries(now),
            (false, true) => info!(interface, "the interface carries frames again"),
            _ => {}
        }
    }

    /// Logs an interface that is newly above this one, or no longer is.
    fn look_above(&mut self) {
        let before = upper(&self.watch).cloned();
        let interface = &self.interface.name;
        if let Some(Err(error)) = self.watch.as_mut().map(Watch::look) {
            warn!(interface, %error, "cannot find out which interfaces are above it");
        }
        match (before, upper(&self.watch)) {
            (before, Some(now)) if before.as_ref() != Some(now) => warn!(
                interface,
                "the interface is now {now}, which takes its frames, so clients are no longer \
                 heard: restart the server and {}",
                now.remedy()
            ),
            (Some(before), None) => info!(interface, "the interface is no longer {before}"),
            _ => {}
        }
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENODEV | libc::ENXIO))
}
