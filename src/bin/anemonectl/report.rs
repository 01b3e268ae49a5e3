// SPDX-License-Identifier: GPL-2.0

//! The state of the device, queried once, for both output formats.

use anemone::uapi::{self, DiskHealth, Health, Mode, Policy};
use anemone::wire::{self, MacAddress};
use zerocopy::{FromZeros, IntoBytes, TryFromBytes};

use crate::device::Device;
use crate::exit_status::Failure;

/// Everything.
pub struct Report {
    /// The device.
    pub status: uapi::Status,
    /// The servers.
    pub servers: Vec<uapi::Server>,
    /// Whether pages were counted.
    pub counted: bool,
}

impl Report {
    /// Queries it.
    pub fn ask(device: &Device, count: bool) -> Result<Self, Failure> {
        let flags = if count { uapi::status::COUNT } else { 0 };
        let mut status = uapi::Status::new_zeroed();
        status.flags = flags;
        device.ask(&mut status)?;
        Ok(Self {
            status,
            servers: servers(device, flags)?,
            counted: count,
        })
    }

    /// The network interface's name.
    pub fn interface(&self) -> String {
        name(&self.status.interface)
    }

    /// What pages are sealed with; `None` if they are not.
    pub fn cipher(&self) -> Option<String> {
        Some(name(&self.status.cipher)).filter(|name| !name.is_empty())
    }
}

/// A zero-terminated name.
fn name(bytes: &[u8]) -> String {
    let name = bytes.split(|byte| *byte == 0).next();
    String::from_utf8_lossy(name.unwrap_or_default()).into_owned()
}

/// The servers.
pub fn servers(device: &Device, flags: u32) -> Result<Vec<uapi::Server>, Failure> {
    let mut servers = uapi::Servers::new_zeroed();
    servers.flags = flags;
    device.ask(&mut servers)?;
    let count = servers.count as usize;
    Ok(servers.servers.into_iter().take(count).collect())
}

/// The server with this address, unless it is only being swept.
pub fn find(servers: &[uapi::Server], mac: MacAddress) -> Option<&uapi::Server> {
    servers
        .iter()
        .find(|server| server.mac == mac.0 && server.health != Health::Sweeping as u32)
}

/// The name of the state with this number.
fn word<T: TryFromBytes>(number: u32, name: fn(T) -> &'static str) -> &'static str {
    T::try_read_from_bytes(number.as_bytes()).map_or("unknown", name)
}

/// A server's state in a word.
pub fn health_word(server: &uapi::Server) -> &'static str {
    word(server.health, Health::name)
}

/// Why a server refused to open a session, if it did.
pub fn refusal(server: &uapi::Server) -> Option<&'static str> {
    match wire::Status::from_u8(u8::try_from(server.refusal).ok()?)? {
        wire::Status::Ok => None,
        wire::Status::NotAdmitted => Some("not admitted"),
        wire::Status::TooManyClients => Some("too many clients"),
        wire::Status::Wait => Some("an older session is being ended"),
        wire::Status::InUse => Some("another machine has this identity"),
        wire::Status::KeyWanted => Some("it takes only signed frames, and this device has no keys"),
        wire::Status::NoKeys => Some("it has no keys, and this device signs its frames"),
        _ => Some("refused"),
    }
}

/// The device's mode in a word.
pub fn mode_word(status: &uapi::Status) -> &'static str {
    word(status.mode, Mode::name)
}

/// The local disk's state in a word.
pub fn disk_word(status: &uapi::Status) -> &'static str {
    word(status.disk_state, DiskHealth::name)
}

/// The mirror's policy in a word.
pub fn policy_word(status: &uapi::Status) -> &'static str {
    word(status.disk_policy, Policy::name)
}

/// A report made by hand, for tests.
#[cfg(test)]
pub fn example() -> Report {
    let mut status = uapi::Status::new_zeroed();
    status.version = uapi::VERSION;
    status.mode = Mode::Degraded as u32;
    status.replicas = 2;
    status.min_copies = 1;
    status.io_timeout_s = 60;
    status.mtu = 1500;
    status.interface[..4].copy_from_slice(b"eth0");
    status.cipher[..18].copy_from_slice(b"generic-gcm-aesni\0");
    status.pages_in_corrupt = 3;
    status.size_pages = 16384;
    status.written = 100;
    status.degraded = 7;
    status.pages_out = 120;
    let server = uapi::Server {
        slot: 3,
        health: Health::Up as u32,
        mac: [0x52, 0x54, 0, 0, 0, 1],
        incarnation: 0x0123_4567_89ab_cdef,
        capacity_pages: 1000,
        free_pages: 900,
        round_trip_ns: 123_456,
        held_pages: 93,
        ..uapi::Server::default()
    };
    let refusing = uapi::Server {
        health: Health::Connecting as u32,
        mac: [0x52, 0x54, 0, 0, 0, 2],
        refusal: wire::Status::NotAdmitted as u32,
        ..uapi::Server::default()
    };
    Report {
        status,
        servers: vec![server, refusing],
        counted: true,
    }
}
