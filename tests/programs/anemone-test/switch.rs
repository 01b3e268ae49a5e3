// SPDX-License-Identifier: GPL-2.0

//! A switch of Open vSwitch, without its daemon: what one of two ports receives, the other one sends.

use std::error::Error;
use std::io;
use std::os::fd::OwnedFd;

use rustix::net::netlink::{SocketAddrNetlink, GENERIC};
use rustix::net::{
    bind, recv, send, socket_with, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType,
};

/// What is made, or removed.
#[derive(clap::Args)]
pub struct Options {
    /// The name of the switch, which is that of its own port as well
    name: String,
    /// The interface that becomes its other port; without one the switch is removed
    port: Option<String>,
    /// The EtherType that is passed on
    #[arg(long, default_value_t = 0x88b5)]
    ethertype: u16,
}

// include/uapi/linux/netlink.h, genetlink.h
const HEADER_LEN: usize = 16;
const GENERIC_LEN: usize = 4;
const REQUEST_ACK: u16 = 1 | 4;
const ERROR: u16 = 2;
const NESTED: u16 = 1 << 15;
const CONTROLLER: u16 = 16;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;

// include/uapi/linux/openvswitch.h
const VERSION: u8 = 2;
const NEW: u8 = 1;
const DELETE: u8 = 2;
const DP_NAME: u16 = 1;
const DP_UPCALL_PID: u16 = 2;
const VPORT_NUMBER: u16 = 1;
const VPORT_TYPE: u16 = 2;
const VPORT_NAME: u16 = 3;
const VPORT_UPCALL_PID: u16 = 5;
const TYPE_NETDEV: u32 = 1;
const FLOW_KEY: u16 = 1;
const FLOW_ACTIONS: u16 = 2;
const FLOW_MASK: u16 = 7;
const KEY_IN_PORT: u16 = 3;
const KEY_ETHERNET: u16 = 4;
const KEY_ETHERTYPE: u16 = 6;
const ACTION_OUTPUT: u16 = 1;

/// The port of the interface. That of the switch itself is 0.
const PORT: u32 = 1;

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    // CAST: values are short.
    let len = (4 + value.len()) as u16;
    let mut bytes = [len.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend_from_slice(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn text(kind: u16, value: &str) -> Vec<u8> {
    attribute(kind, format!("{value}\0").as_bytes())
}

fn number(kind: u16, value: u32) -> Vec<u8> {
    attribute(kind, &value.to_ne_bytes())
}

fn nested(kind: u16, parts: &[Vec<u8>]) -> Vec<u8> {
    attribute(kind | NESTED, &parts.concat())
}

/// A socket that asks the kernel.
struct Kernel(OwnedFd);

impl Kernel {
    fn new() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC;
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            flags,
            Some(GENERIC),
        )?;
        bind(&socket, &SocketAddrNetlink::new(0, 0))?;
        Ok(Self(socket))
    }

    /// Has the family do a command. Returns the answer, if there is one beside that it is done.
    fn call(&self, family: u16, command: u8, version: u8, rest: &[u8]) -> io::Result<Vec<u8>> {
        let len = HEADER_LEN + GENERIC_LEN + rest.len();
        // CAST: a message is short.
        let mut message = (len as u32).to_ne_bytes().to_vec();
        message.extend(family.to_ne_bytes());
        message.extend(REQUEST_ACK.to_ne_bytes());
        // The sequence number, and the port, which is the kernel's.
        message.extend([0; 8]);
        message.extend([command, version, 0, 0]);
        message.extend(rest);
        send(&self.0, &message, SendFlags::empty())?;
        let mut answer = Vec::new();
        loop {
            let mut buffer = [0; 8192];
            let (len, _) = recv(&self.0, &mut buffer[..], RecvFlags::empty())?;
            let mut left = &buffer[..len];
            while let Some((header, _)) = left.split_first_chunk::<HEADER_LEN>() {
                let [a, b, c, d, kind @ .., _, _, _, _, _, _, _, _, _, _] = *header;
                let len = u32::from_ne_bytes([a, b, c, d]) as usize;
                let payload = left
                    .get(HEADER_LEN..len)
                    .ok_or(io::ErrorKind::InvalidData)?;
                if u16::from_ne_bytes(kind) == ERROR {
                    let code = payload.first_chunk().ok_or(io::ErrorKind::InvalidData)?;
                    return match i32::from_ne_bytes(*code) {
                        0 => Ok(answer),
                        code => Err(io::Error::from_raw_os_error(-code)),
                    };
                }
                answer = payload.get(GENERIC_LEN..).unwrap_or_default().to_vec();
                left = left.get(len.next_multiple_of(4)..).unwrap_or_default();
            }
        }
    }

    fn family(&self, name: &str) -> io::Result<u16> {
        let answer = self.call(CONTROLLER, GET_FAMILY, 1, &text(FAMILY_NAME, name))?;
        let mut left = &answer[..];
        while let [a, b, c, d, ..] = *left {
            let len = usize::from(u16::from_ne_bytes([a, b]));
            if let (FAMILY_ID, Some([a, b])) = (u16::from_ne_bytes([c, d]), left.get(4..6)) {
                return Ok(u16::from_ne_bytes([*a, *b]));
            }
            left = left
                .get(len.max(4).next_multiple_of(4)..)
                .unwrap_or_default();
        }
        Err(io::ErrorKind::NotFound.into())
    }

    /// A command of Open vSwitch: of a family, for the switch whose own port has this index.
    fn switch(
        &self,
        family: &str,
        command: u8,
        index: u32,
        parts: &[Vec<u8>],
    ) -> Result<(), String> {
        let rest = [&index.to_ne_bytes()[..], &parts.concat()].concat();
        self.family(family)
            .and_then(|number| self.call(number, command, VERSION, &rest))
            .map(|_| ())
            .map_err(|error| format!("{family}, command {command}: {error}"))
    }
}

/// Runs the program.
pub fn run(options: &Options) -> Result<String, Box<dyn Error>> {
    let kernel = Kernel::new()?;
    let name = text(DP_NAME, &options.name);
    let Some(port) = &options.port else {
        kernel.switch("ovs_datapath", DELETE, 0, &[name])?;
        return Ok("switch: removed".into());
    };
    kernel.switch("ovs_datapath", NEW, 0, &[name, number(DP_UPCALL_PID, 0)])?;
    let path = format!("/sys/class/net/{}/ifindex", options.name);
    let index = std::fs::read_to_string(path)?.trim().parse()?;
    let parts = [
        number(VPORT_NUMBER, PORT),
        number(VPORT_TYPE, TYPE_NETDEV),
        text(VPORT_NAME, port),
        number(VPORT_UPCALL_PID, 0),
    ];
    kernel.switch("ovs_vport", NEW, index, &parts)?;
    for (from, to) in [(0, PORT), (PORT, 0)] {
        let key = [
            number(KEY_IN_PORT, from),
            attribute(KEY_ETHERNET, &[0; 12]),
            attribute(KEY_ETHERTYPE, &options.ethertype.to_be_bytes()),
        ];
        let mask = [
            number(KEY_IN_PORT, u32::MAX),
            attribute(KEY_ETHERNET, &[0; 12]),
            attribute(KEY_ETHERTYPE, &[0xff; 2]),
        ];
        let flow = [
            nested(FLOW_KEY, &key),
            nested(FLOW_MASK, &mask),
            nested(FLOW_ACTIONS, &[number(ACTION_OUTPUT, to)]),
        ];
        kernel.switch("ovs_flow", NEW, index, &flow)?;
    }
    Ok(format!("switch: {} has {port}", options.name))
}
