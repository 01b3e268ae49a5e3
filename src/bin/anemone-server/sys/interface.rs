// SPDX-License-Identifier: GPL-2.0

//! Queries a network interface.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use anemone::wire::MacAddress;
use rustix::net::netdevice;

use super::check;

/// A network interface at the time of the query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Lasts as long as the interface. A new interface with the same name has another index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its hardware address.
    pub mac: MacAddress,
    /// The MTU: bytes of a frame after its Ethernet header.
    pub mtu: usize,
    /// Whether it is administratively up.
    pub is_up: bool,
    /// Whether it has a carrier, according to its driver.
    pub has_carrier: bool,
    /// Whether it carries Ethernet frames.
    pub is_ethernet: bool,
}

impl Interface {
    /// The interface with this name or alternative name. `ENODEV` if there is none. `socket` is any socket.
    pub fn by_name(socket: impl AsFd, name: &str) -> io::Result<Self> {
        let index = netdevice::name_to_index(&socket, name)?;
        Self::by_index(socket, index)
    }

    /// The interface with this index, whatever its name is now. `ENODEV` if it is gone.
    pub fn by_index(socket: impl AsFd, index: u32) -> io::Result<Self> {
        loop {
            let name = netdevice::index_to_name(&socket, index)?;
            let found = Self::of(&socket, index, &name);
            // It may have been renamed meanwhile, and another interface may have its name.
            if netdevice::name_to_index(&socket, &name) == Ok(index) {
                return found;
            }
        }
    }

    fn of(socket: impl AsFd, index: u32, name: &str) -> io::Result<Self> {
        let query = query(name)?;
        let hardware = ask(&socket, libc::SIOCGIFHWADDR, query)?;
        // SAFETY: SIOCGIFHWADDR has filled in this member of the union, which is plain integers.
        let address = unsafe { hardware.ifr_ifru.ifru_hwaddr };
        let mut mac = [0; 6];
        for (to, from) in mac.iter_mut().zip(address.sa_data) {
            *to = from.to_ne_bytes()[0];
        }
        let mtu = ask(&socket, libc::SIOCGIFMTU, query)?;
        // SAFETY: SIOCGIFMTU has filled in this member of the union, an integer.
        let mtu = unsafe { mtu.ifr_ifru.ifru_mtu };
        let flags = ask(&socket, libc::SIOCGIFFLAGS, query)?;
        // SAFETY: SIOCGIFFLAGS has filled in this member of the union, an integer.
        let flags = unsafe { flags.ifr_ifru.ifru_flags };
        Ok(Self {
            index,
            name: name.to_owned(),
            mac: MacAddress(mac),
            mtu: usize::try_from(mtu).unwrap_or(0),
            is_up: i32::from(flags) & libc::IFF_UP != 0,
            has_carrier: i32::from(flags) & libc::IFF_RUNNING != 0,
            is_ethernet: address.sa_family == libc::ARPHRD_ETHER,
        })
    }

    /// Whether frames can pass.
    pub fn carries(&self) -> bool {
        self.is_up && self.has_carrier
    }
}

/// A query about the interface with this name.
fn query(name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: an ifreq is integers and a union of integers: all zeros is one.
    let mut query: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays zero.
    if name.len() >= query.ifr_name.len() {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    for (to, &from) in query.ifr_name.iter_mut().zip(name.as_bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    Ok(query)
}

/// The query with the answer to this question.
fn ask(
    socket: impl AsFd,
    question: libc::c_ulong,
    mut query: libc::ifreq,
) -> io::Result<libc::ifreq> {
    let fd = socket.as_fd().as_raw_fd();
    // CAST: these numbers are small; the C libraries differ in their type.
    // SAFETY: the descriptor is open for as long as `socket` is borrowed; these questions
    // read and write one ifreq, which lives through the call.
    check(unsafe { libc::ioctl(fd, question as libc::Ioctl, &mut query) })?;
    Ok(query)
}
