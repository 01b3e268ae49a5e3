// SPDX-License-Identifier: GPL-2.0

//! A memory-mapped receive ring (PACKET_RX_RING, TPACKET_V2). Receiving a frame needs no system call, and the
//! kernel hands over complete frames only.
//!
//! Version 2 is used and not 3: version 3 hands over blocks of frames when they are full, or after a
//! millisecond at least, and a page-in would wait for that.

use std::io;
use std::os::fd::BorrowedFd;
use std::ptr::{null_mut, NonNull};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::mm::{self, Advice, MapFlags, ProtFlags};

/// The smallest block of the ring: the kernel allocates each block as one piece.
const BLOCK: usize = 64 << 10;

/// The largest offset of a packet's Ethernet header in its slot.
const OVERHEAD: usize = libc::TPACKET2_HDRLEN + 32;

/// How the memory of a ring is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Bytes of a slot: a power of two, so that slots are adjacent.
    slot: usize,
    /// Bytes of a block, a multiple of a slot.
    block: usize,
    /// Number of blocks.
    blocks: usize,
}

impl Geometry {
    /// A ring of about `bytes` whose slots hold frames of `frame_len` bytes, Ethernet header
    /// included.
    pub fn new(bytes: usize, frame_len: usize) -> Self {
        let slot = (frame_len + OVERHEAD).next_power_of_two();
        let block = slot.max(BLOCK);
        let blocks = (bytes / block).max(2);
        Self {
            slot,
            block,
            blocks,
        }
    }

    /// Bytes of the longest frame that fits a slot, Ethernet header included.
    pub fn longest_frame(self) -> usize {
        self.slot - OVERHEAD
    }

    /// Slots in the ring.
    pub fn slots(self) -> usize {
        self.block / self.slot * self.blocks
    }

    pub(super) fn request(self) -> libc::tpacket_req {
        // CAST: the caller's sizes are far below 4 GiB.
        libc::tpacket_req {
            tp_block_size: self.block as u32,
            tp_block_nr: self.blocks as u32,
            tp_frame_size: self.slot as u32,
            tp_frame_nr: self.slots() as u32,
        }
    }
}

/// A socket's receive ring.
///
/// # Invariants
///
/// `base` is a shared mapping of `geometry`'s slots, unmapped when this is dropped. A slot whose
/// status has TP_STATUS_USER is ours until we set it to TP_STATUS_KERNEL: the kernel writes to no
/// part of it. `next` is below the number of slots, and the first slot that the kernel fills.
pub struct Ring {
    base: NonNull<u8>,
    geometry: Geometry,
    next: usize,
}

/// A frame in its slot, which goes back to the kernel when this is dropped.
pub struct Slot<'a> {
    status: &'a AtomicU32,
    /// The frame from its Ethernet header on, truncated if it did not fit.
    pub bytes: &'a [u8],
    /// The length of the whole frame.
    pub len: usize,
    /// The kind of its destination: a `PACKET_*` type of packet(7).
    pub kind: u8,
}

impl Ring {
    /// Maps the ring that `socket` was given for `geometry`.
    pub(super) fn map(socket: BorrowedFd<'_>, geometry: Geometry) -> io::Result<Self> {
        let len = geometry.block * geometry.blocks;
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing. The kernel
        // keeps the pages for as long as they are mapped, whether the socket is open or not.
        let base = unsafe { mm::mmap(null_mut(), len, access, MapFlags::SHARED, socket, 0) }?;
        // SAFETY: the range is the mapping just made; the advice does not change what it holds. It is
        // on top of the process being left out of dumps: pages pass through here.
        let _ = unsafe { mm::madvise(base, len, Advice::LinuxDontDump) };
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self {
            base,
            geometry,
            next: 0,
        })
    }

    /// Whether a frame has arrived.
    pub fn is_ready(&self) -> bool {
        self.status().load(Ordering::Acquire) & libc::TP_STATUS_USER != 0
    }

    fn slot(&self) -> NonNull<u8> {
        // SAFETY: `next` is below the number of slots, so this slot lies within the mapping.
        unsafe { self.base.add(self.next * self.geometry.slot) }
    }

    /// The status of the slot that the kernel fills next.
    fn status(&self) -> &AtomicU32 {
        // SAFETY: the status is the slot's first word; slots are aligned to their size. The kernel
        // and we access it by atomic means only. The mapping lives as long as `self`.
        unsafe { AtomicU32::from_ptr(self.slot().as_ptr().cast()) }
    }

    /// The next frame, if one has arrived.
    pub fn next(&mut self) -> Option<Slot<'_>> {
        if !self.is_ready() {
            return None;
        }
        let slot = self.slot();
        let size = self.geometry.slot;
        let header = slot.cast::<libc::tpacket2_hdr>();
        // SAFETY: the slot is ours, as its status said, and the kernel wrote its header and the
        // address behind it before (acquire). Both are plain integers, aligned in the slot, which
        // is larger than the two. Single fields are read, not the status beside them.
        let (mac, snaplen, len, kind) = unsafe {
            let address = slot.add(libc::TPACKET_ALIGN(size_of::<libc::tpacket2_hdr>()));
            let address = address.cast::<libc::sockaddr_ll>();
            let header = header.as_ptr();
            (
                usize::from((*header).tp_mac),
                (*header).tp_snaplen as usize,
                (*header).tp_len as usize,
                (*address.as_ptr()).sll_pkttype,
            )
        };
        // SAFETY: as in `status`; the borrow is `self`'s, which the slot handed out keeps.
        let status = unsafe { AtomicU32::from_ptr(slot.as_ptr().cast()) };
        self.next = (self.next + 1) % self.geometry.slots();
        let (offset, taken) = if mac <= size && snaplen <= size - mac {
            (mac, snaplen)
        } else {
            (0, 0)
        };
        // SAFETY: the range was just checked to lie within the slot, which is ours until `Slot` is
        // dropped, and which is not written to.
        let bytes = unsafe { std::slice::from_raw_parts(slot.as_ptr().add(offset), taken) };
        Some(Slot {
            status,
            bytes,
            len,
            kind,
        })
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.status.store(libc::TP_STATUS_KERNEL, Ordering::Release);
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        let len = self.geometry.block * self.geometry.blocks;
        // SAFETY: the mapping is ours and no slot is borrowed any more.
        // It does not fail for an existing mapping, and an error could not be handled.
        let _ = unsafe { mm::munmap(self.base.as_ptr().cast(), len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_hold_frames_of_their_size() {
        for frame in [600, 1514, 1950, 4198, 9014, 9216, 65_549] {
            for bytes in [0, 512 << 10, 4 << 20] {
                let geometry = Geometry::new(bytes, frame);
                assert!(geometry.longest_frame() >= frame);
                assert!(geometry.slot <= 4 * (frame + OVERHEAD));
                assert!(geometry.slots() >= 2);
                assert_eq!(geometry.block % 4096, 0);
                let request = geometry.request();
                assert_eq!(
                    request.tp_block_size * request.tp_block_nr,
                    request.tp_frame_size * request.tp_frame_nr
                );
            }
        }
        assert_eq!(Geometry::new(4 << 20, 1514).slot, 2048);
    }
}
