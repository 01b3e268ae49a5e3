// SPDX-License-Identifier: GPL-2.0

//! The interface of the control device, `/dev/anemone-control`: ioctl numbers and structures, shared
//! by the module and `anemonectl`.
//!
//! Numbers are in the machine's byte order. Each structure has the same layout for 32 and 64 bits and
//! no padding. Reserved fields must be zero, and flags that are not defined here must not be set. A
//! structure that grows has another size and so another ioctl number. The older number stays valid.
//!
//! | error | when |
//! |---|---|
//! | `EPERM` | the caller lacks `CAP_SYS_ADMIN` |
//! | `ENOTTY` | there is no such ioctl |
//! | `EINVAL` | the structure has another size, or an unknown flag or a reserved field is set |
//! | `EFAULT` | the structure is not in the caller's memory |
//!
//! Further errors are listed at each ioctl. After an error nothing has changed.

use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, TryFromBytes};

/// The control device's path.
pub const PATH: &str = "/dev/anemone-control";

/// Version of this interface. It rises with each addition.
pub const VERSION: u32 = 1;

/// The type of all these ioctls.
const TYPE: u32 = 0xa9;

const WRITE: u32 = 1;
const READ_WRITE: u32 = 3;

/// `_IOC` of `include/uapi/asm-generic/ioctl.h`.
const fn number<T>(direction: u32, nr: u32) -> u32 {
    let size = size_of::<T>();
    assert!(size < 1 << 14);
    // CAST: checked above.
    direction << 30 | (size as u32) << 16 | TYPE << 8 | nr
}

/// The part of an ioctl number that identifies the ioctl, without its structure's size.
pub const fn type_and_nr(number: u32) -> u32 {
    number & 0xffff
}

/// Adds a server ([`AddServer`]). The session is opened as soon as it answers. A server that is
/// draining is kept. `EEXIST`: the server is there. `ENOSPC`: all slots are in use or not swept yet.
/// `EINVAL`: the address is not unicast, or is the interface's own. If frames are signed, the key that is
/// shared with it is read from the caller's keyrings. `ENOKEY`, `EKEYREVOKED`, `EKEYEXPIRED`, `EACCES`, or
/// `EINVAL` if it has not 32 bytes: there is no such key.
pub const ADD_SERVER: u32 = number::<AddServer>(WRITE, 1);

/// Removes a server ([`RemoveServer`]). `ENOENT`: it is not there. `EBUSY`: pages would be lost; the
/// structure then has their number. `EAGAIN`: other servers are being lost, so it is not known whether
/// pages would be lost.
pub const REMOVE_SERVER: u32 = number::<RemoveServer>(READ_WRITE, 2);

/// Attaches the local disk ([`AttachDisk`]), or re-adds a faulty one. `ENOENT`: the path does not exist.
/// `ENOTBLK`: it is not a block device. `EROFS`: the disk is read-only. `EOPNOTSUPP`: it has zones, or
/// logical blocks larger than a page. `EBUSY`: it is in use, or another task is attaching or detaching a
/// disk. `ENOSPC`: it is too small. `EINVAL`: it is the device itself. `EEXIST`: another disk is attached.
/// `ENODEV`: it is attached, and has been removed from the machine since.
pub const ATTACH_DISK: u32 = number::<AttachDisk>(WRITE, 3);

/// Detaches the local disk ([`DetachDisk`]). `ENODEV`: there is none. `EBUSY`: I/O that does not end is
/// under way, or pages would be lost. `ETIMEDOUT`: the disk's I/O went on, or servers kept being lost, for
/// too long. `EINTR`: a signal arrived. The disk is then used as before.
pub const DETACH_DISK: u32 = number::<DetachDisk>(READ_WRITE, 4);

/// The state of the device ([`Status`]). `EINTR`: a signal arrived while pages were being counted.
pub const STATUS: u32 = number::<Status>(READ_WRITE, 5);

/// The servers and their state ([`Servers`]). `EINTR` as above.
pub const SERVERS: u32 = number::<Servers>(READ_WRITE, 6);

/// Reads the keys that are shared with the servers again, from the keyring of the calling task, and requests
/// other keys of all sessions ([`Rekey`]). `EOPNOTSUPP`: frames are not signed. `ENOKEY`, `EKEYREVOKED`,
/// `EACCES`, `EINVAL`: a key is not there, is revoked, may not be searched for, or has another length; the
/// structure then has its server.
pub const REKEY: u32 = number::<Rekey>(READ_WRITE, 7);

/// All ioctls.
pub const IOCTLS: [u32; 7] = [
    ADD_SERVER,
    REMOVE_SERVER,
    ATTACH_DISK,
    DETACH_DISK,
    STATUS,
    SERVERS,
    REKEY,
];

/// Argument of [`ADD_SERVER`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AddServer {
    /// None are known.
    pub flags: u32,
    /// The server's hardware address.
    pub mac: [u8; 6],
    /// Zeros.
    pub reserved: [u8; 6],
}

/// Argument of [`REKEY`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Rekey {
    /// None are known.
    pub flags: u32,
    /// Zeros; after an error the server whose key could not be read.
    pub mac: [u8; 6],
    /// Zeros.
    pub reserved: [u8; 6],
}

/// Argument of [`REMOVE_SERVER`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RemoveServer {
    /// [`remove`].
    pub flags: u32,
    /// The server's hardware address.
    pub mac: [u8; 6],
    /// Zeros.
    pub reserved: [u8; 6],
    /// Zero from the caller. With `EBUSY`, the pages of which the server has the only copy.
    pub pages: u64,
}

/// Flags of [`RemoveServer`]. Without any, the server drains: it is read from until no page needs it,
/// and is then removed.
pub mod remove {
    /// The server is removed at once. Refused if that would lose pages.
    pub const FORCE: u32 = 1 << 0;
    /// With [`FORCE`]: even if that loses pages.
    pub const LOSE_PAGES: u32 = 1 << 1;
}

/// Bytes of a path, with the terminating zero.
pub const PATH_MAX: usize = 4096;

/// Argument of [`ATTACH_DISK`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AttachDisk {
    /// None are known.
    pub flags: u32,
    /// Zero.
    pub reserved: u32,
    /// The block device's path, zero-terminated.
    pub path: [u8; PATH_MAX],
}

/// Argument of [`DETACH_DISK`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DetachDisk {
    /// [`detach`].
    pub flags: u32,
    /// Zero.
    pub reserved: u32,
    /// Zero from the caller. With `EBUSY`, the pages of which the disk has the only copy; 0 if there is
    /// another reason.
    pub pages: u64,
}

/// Flags of [`DetachDisk`].
pub mod detach {
    /// Even if the disk has the only copy of some pages, which are then lost.
    pub const FORCE: u32 = 1 << 0;
}

/// Argument of [`STATUS`]. From the caller: flags and zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Status {
    /// [`status::COUNT`] or nothing.
    pub flags: u32,
    /// [`VERSION`] of the module.
    pub version: u32,
    /// Where pages are kept: a [`Mode`].
    pub mode: u32,
    /// Copies wanted of each page.
    pub replicas: u32,
    /// Copies that a page-out needs to complete.
    pub min_copies: u32,
    /// Seconds that a request may wait.
    pub io_timeout_s: u32,
    /// The interface's MTU; 0 if the interface is not there.
    pub mtu: u32,
    /// Page-ins and page-outs under way.
    pub in_flight: u32,
    /// The network interface's name, zero-terminated.
    pub interface: [u8; 16],
    /// Size of the device, in pages of 4096 bytes.
    pub size_pages: u64,

    /// With [`status::COUNT`]: pages that have contents.
    pub written: u64,
    /// With [`status::COUNT`]: those on fewer servers than wanted.
    pub degraded: u64,
    /// With [`status::COUNT`]: those of which every copy is gone.
    pub lost: u64,
    /// With [`status::COUNT`]: those whose newest version is on the local disk.
    pub on_disk: u64,

    /// Since the module was loaded: pages paged out.
    pub pages_out: u64,
    /// Pages paged in.
    pub pages_in: u64,
    /// Pages paged out with fewer copies than wanted.
    pub pages_out_degraded: u64,
    /// Page-outs that failed.
    pub pages_out_failed: u64,
    /// Page-ins that failed.
    pub pages_in_failed: u64,
    /// Pages freed.
    pub pages_freed: u64,

    /// State of the local disk: a [`DiskHealth`].
    pub disk_state: u32,
    /// When page-outs that servers hold also go to it: a [`Policy`].
    pub disk_policy: u32,
    /// Pages that wait to be written to it.
    pub disk_buffered: u64,
    /// Pages that are out of sync on it.
    pub disk_out_of_sync: u64,
    /// Pages written to it.
    pub disk_written: u64,
    /// Its errors.
    pub disk_errors: u64,

    /// The most pages a second that repair copies.
    pub repair_pages_per_s: u64,
    /// Pages that repair has copied since the module was loaded.
    pub repaired: u64,
    /// Copies given up because the page was written meanwhile, or a server did not answer.
    pub repair_cancelled: u64,
    /// The most pages that repair has still to check.
    pub repair_left: u64,

    /// What pages are sealed with, as `/proc/crypto` names it, zero-terminated; empty if they are not.
    pub cipher: [u8; 64],
    /// Pages that arrived from servers damaged or altered, since the module was loaded.
    pub pages_in_corrupt: u64,

    /// 1 if frames are signed.
    pub is_signed: u64,

    /// Zeros.
    pub reserved: [u64; 6],
}

/// Flags of [`Status`] and [`Servers`].
pub mod status {
    /// Count pages. This walks the whole map: 4 bytes for each page of the device.
    pub const COUNT: u32 = 1 << 0;
}

/// Where pages are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes)]
#[repr(u32)]
pub enum Mode {
    /// On as many servers as there are replicas.
    Network = 1,
    /// On fewer servers.
    Degraded = 2,
    /// On the local disk only.
    DiskOnly = 3,
    /// Nowhere: requests wait.
    None = 4,
}

impl Mode {
    /// Its name, for people and programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Degraded => "degraded",
            Self::DiskOnly => "disk-only",
            Self::None => "none",
        }
    }
}

/// The state of the local disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, TryFromBytes)]
#[repr(u32)]
pub enum DiskHealth {
    /// There is none.
    #[default]
    Absent = 0,
    /// It is read and written. It has all pages, or will soon have them.
    Attached = 1,
    /// It is read and written. It lacks pages that are still to be written to it.
    OutOfSync = 2,
    /// It had too many errors, or is gone. It is not used until it is attached again.
    Faulty = 3,
    /// It does not answer. It is used again when it does.
    TimedOut = 4,
    /// It is being detached, if the servers can do without it.
    Detaching = 5,
}

impl DiskHealth {
    /// Its name, for people and programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Absent => "none",
            Self::Attached => "attached",
            Self::OutOfSync => "out_of_sync",
            Self::Faulty => "faulty",
            Self::TimedOut => "timed_out",
            Self::Detaching => "detaching",
        }
    }
}

/// When page-outs that servers hold also go to the local disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, TryFromBytes)]
#[repr(u32)]
pub enum Policy {
    /// Never. The disk still takes pages that too few servers hold.
    Off = 0,
    /// If there is a buffer. A page without one is copied later.
    #[default]
    Lag = 1,
    /// Always: a page-out waits for a buffer, and so for the disk's speed.
    Strict = 2,
}

impl Policy {
    /// Its name, for people and programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Lag => "lag",
            Self::Strict => "strict",
        }
    }
}

/// The most servers.
pub const MAX_SERVERS: usize = 20;

/// Argument of [`SERVERS`]. From the caller: flags and zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Servers {
    /// [`status::COUNT`] or nothing.
    pub flags: u32,
    /// The number of servers.
    pub count: u32,
    /// The servers, in the order of their slots, followed by zeros.
    pub servers: [Server; MAX_SERVERS],
}

/// One server.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Server {
    /// Its slot: its bit in the page map.
    pub slot: u32,
    /// Its state: a [`Health`].
    pub health: u32,
    /// Its hardware address.
    pub mac: [u8; 6],
    /// Zeros.
    pub reserved: [u8; 2],
    /// Why it did not open a session: a status of the protocol. 0 if it did, or has not answered.
    pub refusal: u32,
    /// Zero.
    pub reserved_word: u32,
    /// Its incarnation; 0 if it has never answered.
    pub incarnation: u64,
    /// Pages that it has for this client.
    pub capacity_pages: u64,
    /// Pages of them that are free.
    pub free_pages: u64,
    /// Smoothed round-trip time; 0 if none was measured.
    pub round_trip_ns: u64,
    /// With [`status::COUNT`]: pages whose newest version it has.
    pub held_pages: u64,
    /// Zeros.
    pub reserved_too: [u64; 4],
}

/// The state of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes)]
#[repr(u32)]
pub enum Health {
    /// No session has been opened yet.
    Connecting = 1,
    /// It answers.
    Up = 2,
    /// It does not answer. Nothing new is sent to it.
    Suspected = 3,
    /// It is being removed: it is read from until no page needs it.
    Draining = 4,
    /// Its pages are gone. Its bits are being cleared from the page map.
    Sweeping = 5,
    /// It has been suspected for the loss timeout, so others get its pages. It may still return with them.
    Lost = 6,
}

impl Health {
    /// Its name, for people and programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Up => "up",
            Self::Suspected => "suspected",
            Self::Draining => "draining",
            Self::Sweeping => "sweeping",
            Self::Lost => "lost",
        }
    }
}

// The layout is the interface: it must not change.
const _: () = {
    assert!(size_of::<AddServer>() == 16);
    assert!(size_of::<RemoveServer>() == 24);
    assert!(size_of::<AttachDisk>() == 4104);
    assert!(size_of::<DetachDisk>() == 16);
    assert!(size_of::<Status>() == 336);
    assert!(size_of::<Server>() == 96);
    assert!(size_of::<Servers>() == 1928);
    assert!(align_of::<Status>() == 8 && align_of::<Servers>() == 8);
    assert!(MAX_SERVERS == crate::engine::client::ids::SERVER_SLOTS);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_c_macros() {
        // Computed with <linux/ioctl.h>.
        assert_eq!(ADD_SERVER, 0x4010_a901);
        assert_eq!(REMOVE_SERVER, 0xc018_a902);
        assert_eq!(ATTACH_DISK, 0x5008_a903);
        assert_eq!(DETACH_DISK, 0xc010_a904);
        assert_eq!(STATUS, 0xc150_a905);
        assert_eq!(SERVERS, 0xc788_a906);
    }

    #[test]
    fn no_two_are_the_same() {
        for (index, one) in IOCTLS.iter().enumerate() {
            for other in &IOCTLS[index + 1..] {
                assert_ne!(type_and_nr(*one), type_and_nr(*other));
            }
        }
    }
}
