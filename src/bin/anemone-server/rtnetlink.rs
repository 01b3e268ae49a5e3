// SPDX-License-Identifier: GPL-2.0

//! The kernel's list of this network namespace's interfaces, and notifications of changes.
//!
//! Only the needed attributes of a message are parsed. Other attributes are skipped, and code for all of them
//! would be as large as the rest of the server.

use std::io;
use std::os::fd::OwnedFd;

use netlink_packet_core::{
    parse_string, parse_u32, Emitable, NetlinkBuffer, NetlinkHeader, NlasIterator, NLMSG_DONE,
    NLMSG_ERROR, NLM_F_DUMP, NLM_F_REQUEST,
};
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    bind, recv, send, socket_with, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType,
};

/// The multicast group of interfaces: the mask of `RTNLGRP_LINK`.
const LINK_GROUP: u32 = 1;
/// The largest datagram that the kernel sends.
const DATAGRAM: usize = 64 << 10;
/// Bytes of a message's header, and of the `ifinfomsg` after it.
const HEADER_LEN: usize = 16;
const INFO_LEN: usize = 16;

// linux/if_link.h, beside those of the libc crate
const IFLA_MACVLAN_MODE: u16 = 1;
const MACVLAN_MODE_PASSTHRU: u32 = 8;

/// The parsed attributes of an interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// The kind of a virtual interface, as `ip link` names it; empty for others.
    pub kind: String,
    /// Whether it carries Ethernet frames.
    pub is_ethernet: bool,
    /// The interface that it is a port of.
    pub controller: Option<u32>,
    /// The interface of this namespace that is below it.
    pub below: Option<u32>,
    /// Whether it is a macvlan in passthru mode.
    pub is_passthru: bool,
}

/// Lists the interfaces.
pub fn list() -> io::Result<Vec<Interface>> {
    let socket = open(0, SocketFlags::CLOEXEC)?;
    let mut question = [0; HEADER_LEN + INFO_LEN];
    let mut header = NetlinkHeader::default();
    // CAST: a few bytes.
    header.length = question.len() as u32;
    header.message_type = libc::RTM_GETLINK;
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    // The rest is zero: all families and interfaces.
    header.emit(&mut question[..HEADER_LEN]);
    send(&socket, &question, SendFlags::empty())?;
    let mut interfaces = Vec::new();
    let mut buffer = vec![0; DATAGRAM];
    loop {
        let (len, _) = recv(&socket, &mut buffer[..], RecvFlags::empty())?;
        for (kind, payload) in Messages(buffer.get(..len).unwrap_or_default()) {
            match kind {
                NLMSG_DONE => return Ok(interfaces),
                NLMSG_ERROR => return Err(io::Error::other("the kernel does not list interfaces")),
                _ => interfaces.extend(Interface::parse(payload)),
            }
        }
    }
}

/// Receives notifications of changes of interfaces, from its creation on.
pub struct Changes {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

impl Changes {
    /// Starts to receive notifications.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            socket: open(LINK_GROUP, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?,
            buffer: vec![0; DATAGRAM],
        })
    }

    /// The interfaces that have appeared, changed or disappeared since the last call. `None` if the socket
    /// overflowed: anything may have changed. Does not wait.
    pub fn take(&mut self) -> io::Result<Option<Vec<Interface>>> {
        let mut interfaces = Vec::new();
        loop {
            let len = match recv(&self.socket, &mut self.buffer[..], RecvFlags::empty()) {
                Ok((len, _)) => len,
                Err(Errno::AGAIN) => return Ok(Some(interfaces)),
                Err(Errno::NOBUFS) => return Ok(None),
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            let messages = Messages(self.buffer.get(..len).unwrap_or_default());
            interfaces.extend(messages.filter_map(|(_, payload)| Interface::parse(payload)));
        }
    }
}

fn open(groups: u32, flags: SocketFlags) -> io::Result<OwnedFd> {
    // Protocol 0 is NETLINK_ROUTE.
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
    // The kernel chooses the port.
    bind(&socket, &SocketAddrNetlink::new(0, groups))?;
    Ok(socket)
}

/// The messages of a datagram, with their types.
struct Messages<'a>(&'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let message = NetlinkBuffer::new_checked(self.0).ok()?;
        let len = message.length() as usize;
        let payload = self.0.get(HEADER_LEN..len)?;
        self.0 = self.0.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((message.message_type(), payload))
    }
}

/// The attributes in `bytes`, up to a truncated one.
fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    NlasIterator::new(bytes).map_while(|attribute| {
        let attribute = attribute.ok()?;
        let (kind, len) = (attribute.kind(), attribute.value_length());
        attribute
            .into_inner()
            .get(4..4 + len)
            .map(|value| (kind, value))
    })
}

impl Interface {
    /// Parses a message about an interface: an `ifinfomsg` and attributes.
    fn parse(payload: &[u8]) -> Option<Self> {
        let (info, rest) = payload.split_first_chunk::<INFO_LEN>()?;
        let [_, _, hardware @ .., _, _, _, _, _, _, _, _, _, _, _, _] = *info;
        let [_, _, _, _, index @ .., _, _, _, _, _, _, _, _] = *info;
        let mut interface = Self {
            index: u32::from_ne_bytes(index),
            is_ethernet: u16::from_ne_bytes(hardware) == libc::ARPHRD_ETHER,
            ..Self::default()
        };
        let mut is_elsewhere = false;
        for (kind, value) in attributes(rest) {
            let number = || parse_u32(value).ok().filter(|&index| index != 0);
            match kind {
                libc::IFLA_IFNAME => interface.name = parse_string(value).unwrap_or_default(),
                libc::IFLA_MASTER => interface.controller = number(),
                libc::IFLA_LINK => interface.below = number(),
                // The index belongs to another namespace.
                libc::IFLA_LINK_NETNSID => is_elsewhere = true,
                libc::IFLA_LINKINFO => interface.parse_kind(value),
                _ => {}
            }
        }
        if is_elsewhere {
            interface.below = None;
        }
        Some(interface)
    }

    fn parse_kind(&mut self, info: &[u8]) {
        for (kind, value) in attributes(info) {
            match kind {
                libc::IFLA_INFO_KIND => self.kind = parse_string(value).unwrap_or_default(),
                // The kernel puts the kind before the data.
                libc::IFLA_INFO_DATA if matches!(&self.kind[..], "macvlan" | "macvtap") => {
                    self.is_passthru = attributes(value).any(|(kind, mode)| {
                        kind == IFLA_MACVLAN_MODE
                            && parse_u32(mode).ok() == Some(MACVLAN_MODE_PASSTHRU)
                    });
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let len = u16::try_from(4 + value.len()).unwrap();
        let mut bytes = [len.to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend_from_slice(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn payload(attributes: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = vec![0; INFO_LEN];
        bytes[2..4].copy_from_slice(&libc::ARPHRD_ETHER.to_ne_bytes());
        bytes[4..8].copy_from_slice(&7_u32.to_ne_bytes());
        bytes.extend(attributes.concat());
        bytes
    }

    #[test]
    fn only_the_needed_attributes_are_read() {
        let data = attribute(IFLA_MACVLAN_MODE, &MACVLAN_MODE_PASSTHRU.to_ne_bytes());
        let info = [
            attribute(libc::IFLA_INFO_KIND, b"macvlan\0"),
            attribute(libc::IFLA_INFO_DATA, &data),
        ];
        let mut parts = vec![
            attribute(999, b"something new"),
            attribute(libc::IFLA_IFNAME, b"eth1\0"),
            attribute(libc::IFLA_MASTER, &9_u32.to_ne_bytes()),
            attribute(libc::IFLA_LINK, &5_u32.to_ne_bytes()),
            attribute(libc::IFLA_LINKINFO, &info.concat()),
        ];
        let expected = Interface {
            index: 7,
            name: "eth1".to_owned(),
            kind: "macvlan".to_owned(),
            is_ethernet: true,
            controller: Some(9),
            below: Some(5),
            is_passthru: true,
        };
        assert_eq!(Interface::parse(&payload(&parts)), Some(expected.clone()));
        parts.push(attribute(libc::IFLA_LINK_NETNSID, &0_u32.to_ne_bytes()));
        let elsewhere = Interface {
            below: None,
            ..expected
        };
        assert_eq!(Interface::parse(&payload(&parts)), Some(elsewhere));
    }

    #[test]
    fn a_truncated_message_is_not_parsed() {
        assert_eq!(Interface::parse(&[0; INFO_LEN - 1]), None);
        let whole = payload(&[attribute(libc::IFLA_MASTER, &9_u32.to_ne_bytes())]);
        for len in INFO_LEN..whole.len() {
            let cut = Interface::parse(&whole[..len]).unwrap();
            assert_eq!(cut.controller, None, "{len}");
        }
        assert_eq!(Messages(&[1, 2, 3]).count(), 0);
        // A length of 0 is not a message, and must not cause an endless loop.
        assert_eq!(Messages(&[0; 64]).count(), 0);
    }

    #[test]
    fn the_kernel_s_list_is_read() {
        let list = list().unwrap();
        let loopback = list.iter().find(|one| one.name == "lo").unwrap();
        assert!(loopback.index > 0 && !loopback.is_ethernet);
    }
}
