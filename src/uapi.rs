// SPDX-License-Identifier: GPL-2.0

//! What the control device, `/dev/anemone-control`, understands: ioctl numbers and structures,
//! shared by the module and by `anemonectl`.
//!
//! Numbers are the machine's own, in its byte order. Every structure has the same layout for 32
//! and 64 bits and no padding. What is reserved must be zero, and flags that are not named here
//! must not be set. A structure that grows has another size, and so another ioctl number: the
//! older one stays good.
//!
//! | error | when |
//! |---|---|
//! | `EPERM` | the caller has not `CAP_SYS_ADMIN` |
//! | `ENOTTY` | there is no such ioctl |
//! | `EINVAL` | its structure has another size, an unknown flag or something reserved is set |
//! | `EFAULT` | the structure is not in the caller's memory |
//!
//! and what stands at each ioctl. After an error nothing has changed.

use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The control device's path.
pub const PATH: &str = "/dev/anemone-control";

/// Version of this interface: rises when something is added.
pub const VERSION: u32 = 1;

/// The type of all these ioctls.
const TYPE: u32 = 0xa9;

const WRITE: u32 = 1;
const READ_WRITE: u32 = 3;

/// As `_IOC` of `include/uapi/asm-generic/ioctl.h`.
const fn number<T>(direction: u32, nr: u32) -> u32 {
    let size = size_of::<T>();
    assert!(size < 1 << 14);
    // CAST: checked just now.
    direction << 30 | (size as u32) << 16 | TYPE << 8 | nr
}

/// The part of an ioctl number that says which it is, whatever its structure's size.
pub const fn type_and_nr(number: u32) -> u32 {
    number & 0xffff
}

/// Adds a server ([`AddServer`]). A session is opened as soon as it answers; one that is being
/// removed stays. `EEXIST`: it is there. `ENOSPC`: every slot is in use, or not swept yet.
/// `EINVAL`: not a station's address, or our own.
pub const ADD_SERVER: u32 = number::<AddServer>(WRITE, 1);

/// Removes a server ([`RemoveServer`]). `ENOENT`: it is not there. `EBUSY`: pages would be lost,
/// so many as the structure then says. `EAGAIN`: other servers are being lost, so that it is not known
/// whether pages would be.
pub const REMOVE_SERVER: u32 = number::<RemoveServer>(READ_WRITE, 2);

/// Attaches the local disk ([`AttachDisk`]), or adds one again that is faulty. `ENOENT`,
/// `ENOTBLK`, `EROFS`: the path leads nowhere, to something else, to what cannot be written.
/// `EOPNOTSUPP`: it has zones, or logical blocks larger than a page. `EBUSY`: somebody else has it, or
/// attaches or detaches a disk right now. `ENOSPC`: it is too small. `EINVAL`: it is the device itself.
/// `EEXIST`: another disk is attached. `ENODEV`: it is attached, and has been taken away since.
pub const ATTACH_DISK: u32 = number::<AttachDisk>(WRITE, 3);

/// Detaches the local disk ([`DetachDisk`]). `ENODEV`: there is none. `EBUSY`: I/O is under way
/// that does not end, or pages would be lost.
pub const DETACH_DISK: u32 = number::<DetachDisk>(READ_WRITE, 4);

/// How the device is ([`Status`]). `EINTR`: a signal came while pages were counted.
pub const STATUS: u32 = number::<Status>(READ_WRITE, 5);

/// Who the servers are and how ([`Servers`]). `EINTR` as above.
pub const SERVERS: u32 = number::<Servers>(READ_WRITE, 6);

/// All of them.
pub const IOCTLS: [u32; 6] = [
    ADD_SERVER,
    REMOVE_SERVER,
    ATTACH_DISK,
    DETACH_DISK,
    STATUS,
    SERVERS,
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
    /// Zero from the caller. With `EBUSY`, pages that nobody else has.
    pub pages: u64,
}

/// Flags of [`RemoveServer`]. Without any, the server is read from until no page needs it, and
/// goes then by itself.
pub mod remove {
    /// It goes at once. Refused if that would lose pages.
    pub const FORCE: u32 = 1 << 0;
    /// With [`FORCE`]: also if that loses pages.
    pub const LOSE_PAGES: u32 = 1 << 1;
}

/// Bytes of a path, with the zero that ends it.
pub const PATH_MAX: usize = 4096;

/// Argument of [`ATTACH_DISK`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AttachDisk {
    /// None are known.
    pub flags: u32,
    /// Zero.
    pub reserved: u32,
    /// The block device's path, ended by a zero.
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
    /// Zero from the caller. With `EBUSY`, pages that nobody else has, if that is why.
    pub pages: u64,
}

/// Flags of [`DetachDisk`].
pub mod detach {
    /// Also if the disk has the only copy of some pages, which are then lost.
    pub const FORCE: u32 = 1 << 0;
}

/// Argument of [`STATUS`]: zeros but for the flags, from the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Status {
    /// [`status::COUNT`] or nothing.
    pub flags: u32,
    /// [`VERSION`] of the module.
    pub version: u32,
    /// Where pages are kept: one of [`mode`].
    pub mode: u32,
    /// Copies wanted of each page.
    pub replicas: u32,
    /// Copies without which no page-out ends.
    pub min_copies: u32,
    /// Seconds that a request may wait.
    pub io_timeout_s: u32,
    /// Bytes that a frame may have on the interface; 0 if there is no interface.
    pub mtu: u32,
    /// Requests for pages that are under way.
    pub in_flight: u32,
    /// The network interface's name, ended by a zero.
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
    /// Page-outs that were an error.
    pub pages_out_failed: u64,
    /// Page-ins that were an error.
    pub pages_in_failed: u64,
    /// Pages freed.
    pub pages_freed: u64,

    /// How the local disk is: one of [`disk`].
    pub disk_state: u32,
    /// What happens when it is slower than page-outs: one of [`policy`].
    pub disk_policy: u32,
    /// Pages that wait to be written to it.
    pub disk_buffered: u64,
    /// Pages that it is to be brought up to date with.
    pub disk_out_of_sync: u64,
    /// Pages written to it.
    pub disk_written: u64,
    /// Errors of it.
    pub disk_errors: u64,

    /// Pages a second that are copied, at the most, to have as many copies as wanted again.
    pub repair_pages_per_s: u64,
    /// Pages so copied since the module was loaded.
    pub repaired: u64,
    /// Copies given up because the page was written meanwhile, or a server did not answer.
    pub repair_cancelled: u64,
    /// At most so many pages have still to be looked at.
    pub repair_left: u64,

    /// Zeros.
    pub reserved: [u64; 16],
}

/// Flags of [`Status`] and [`Servers`].
pub mod status {
    /// Count pages, by a look at the whole map: 4 bytes for each page of the device.
    pub const COUNT: u32 = 1 << 0;
}

/// Where pages are kept.
pub mod mode {
    /// On as many servers as wanted.
    pub const NETWORK: u32 = 1;
    /// On fewer servers than wanted.
    pub const DEGRADED: u32 = 2;
    /// On the local disk only.
    pub const DISK_ONLY: u32 = 3;
    /// Nowhere: requests wait.
    pub const NONE: u32 = 4;
}

/// How the local disk is.
pub mod disk {
    /// There is none.
    pub const NONE: u32 = 0;
    /// It has, or soon has, every page.
    pub const ATTACHED: u32 = 1;
    /// It is behind.
    pub const OUT_OF_SYNC: u32 = 2;
    /// It has failed too often, or is gone: it is not used until it is added again.
    pub const FAULTY: u32 = 3;
    /// It does not answer: it is used again when it does.
    pub const TIMED_OUT: u32 = 4;
}

/// What happens when the local disk is slower than page-outs.
pub mod policy {
    /// It is not written to.
    pub const OFF: u32 = 0;
    /// It is brought up to date later.
    pub const LAG: u32 = 1;
    /// Page-outs are held back to its speed.
    pub const STRICT: u32 = 2;
}

/// Servers that there can be.
pub const MAX_SERVERS: usize = 20;

/// Argument of [`SERVERS`]: zeros but for the flags, from the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Servers {
    /// [`status::COUNT`] or nothing.
    pub flags: u32,
    /// How many there are.
    pub count: u32,
    /// They, in the order of their slots; zeros behind them.
    pub servers: [Server; MAX_SERVERS],
}

/// One server.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Server {
    /// Which of the page map's bits stands for it.
    pub slot: u32,
    /// How it is: one of [`health`].
    pub health: u32,
    /// Its hardware address.
    pub mac: [u8; 6],
    /// Zeros.
    pub reserved: [u8; 2],
    /// Why it did not open a session: a status of the protocol, 0 if it did or has not answered.
    pub refusal: u32,
    /// Zero.
    pub reserved_word: u32,
    /// Its incarnation; 0 if it never answered.
    pub incarnation: u64,
    /// Pages that it has for us.
    pub capacity_pages: u64,
    /// Pages of them that are free.
    pub free_pages: u64,
    /// Smoothed round-trip time; 0 if there was none.
    pub round_trip_ns: u64,
    /// With [`status::COUNT`]: pages whose newest version it has.
    pub held_pages: u64,
    /// Zeros.
    pub reserved_too: [u64; 4],
}

/// How a server is.
pub mod health {
    /// It has not answered yet.
    pub const CONNECTING: u32 = 1;
    /// It answers.
    pub const UP: u32 = 2;
    /// It is silent; nothing new is sent to it.
    pub const SUSPECTED: u32 = 3;
    /// It goes when no page needs it.
    pub const DRAINING: u32 = 4;
    /// It is gone; the page map is being cleared of it.
    pub const SWEEPING: u32 = 5;
    /// It has been silent for so long that its copies do not count.
    pub const LOST: u32 = 6;
}

// The layout, once for both sides: whoever changes it, changes the interface.
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
