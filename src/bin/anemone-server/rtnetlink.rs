// SPDX-License-Identifier: GPL-2.0

//! The kernel's list of this network namespace's interfaces, and word of what changes in it.

use std::io;
use std::os::fd::OwnedFd;

use netlink_packet_core::{
    NetlinkBuffer, NetlinkHeader, NetlinkMessage, NetlinkPayload, NLM_F_DUMP, NLM_F_REQUEST,
};
use netlink_packet_route::link::{LinkAttribute, LinkExtentMask, LinkMessage};
use netlink_packet_route::RouteNetlinkMessage;
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    bind, recv, send, socket_with, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType,
};
use tracing::debug;

/// The multicast group of interfaces: the mask of `RTNLGRP_LINK`.
const LINK_GROUP: u32 = 1;
/// The kernel puts no more into one datagram.
const DATAGRAM: usize = 64 << 10;

/// The interfaces that there are.
pub fn list() -> io::Result<Vec<LinkMessage>> {
    let socket = open(0, SocketFlags::CLOEXEC)?;
    let mut question = LinkMessage::default();
    question
        .attributes
        .push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let mut message = NetlinkMessage::new(
        header,
        NetlinkPayload::from(RouteNetlinkMessage::GetLink(question)),
    );
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    send(&socket, &bytes, SendFlags::empty())?;

    let mut links = Vec::new();
    let mut buffer = vec![0; DATAGRAM];
    loop {
        let (len, _) = recv(&socket, &mut buffer[..], RecvFlags::empty())?;
        for message in messages(buffer.get(..len).unwrap_or_default()) {
            match message {
                NetlinkPayload::Done(_) => return Ok(links),
                NetlinkPayload::Error(error) => return Err(error.to_io()),
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => {
                    links.push(link);
                }
                _ => {}
            }
        }
    }
}

/// Hears of every interface that changes, from when it is made.
pub struct Changes {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

/// What was heard.
pub enum Heard {
    /// Interfaces that are new or have changed, or have gone.
    Links(Vec<LinkMessage>),
    /// More than the socket could keep: anything may have changed.
    TooMuch,
}

impl Changes {
    /// Hears from now on.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            socket: open(LINK_GROUP, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?,
            buffer: vec![0; DATAGRAM],
        })
    }

    /// What has come since it was last called. Does not wait.
    pub fn take(&mut self) -> io::Result<Heard> {
        let mut links = Vec::new();
        loop {
            let len = match recv(&self.socket, &mut self.buffer[..], RecvFlags::empty()) {
                Ok((len, _)) => len,
                Err(Errno::AGAIN) => return Ok(Heard::Links(links)),
                Err(Errno::NOBUFS) => return Ok(Heard::TooMuch),
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            for message in messages(self.buffer.get(..len).unwrap_or_default()) {
                if let NetlinkPayload::InnerMessage(
                    RouteNetlinkMessage::NewLink(link) | RouteNetlinkMessage::DelLink(link),
                ) = message
                {
                    links.push(link);
                }
            }
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

/// The messages of a datagram. One that is not understood is left out, and not those behind it.
fn messages(mut bytes: &[u8]) -> Vec<NetlinkPayload<RouteNetlinkMessage>> {
    let mut found = Vec::new();
    while let Ok(buffer) = NetlinkBuffer::new_checked(bytes) {
        let len = buffer.length() as usize;
        match NetlinkMessage::deserialize(bytes.get(..len).unwrap_or_default()) {
            Ok(message) => found.push(message.payload),
            Err(error) => debug!(%error, "the kernel's word on an interface is not understood"),
        }
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}
