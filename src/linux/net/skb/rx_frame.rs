// SPDX-License-Identifier: GPL-2.0

//! A received frame.

use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

use kernel::{
    bindings,
    prelude::*, //
};

use super::{
    headers,
    Headers,
    ETH_HLEN, //
};
use crate::linux::{
    block::BlockWriter,
    helpers,
    mm::copy::{
        copy,
        take, //
    },
    net::{
        device::VlanTag,
        read_address, //
    }, //
};

/// The bits of a tag that are the number of a VLAN (`VLAN_VID_MASK`).
const VLAN_ID: u16 = 0xfff;

/// A received frame, borrowed for as long as it is being handled.
///
/// Offsets count from the first byte behind the Ethernet header.
///
/// Could be removed in a release after 7.3, once the kernel crate has `struct sk_buff`.
///
/// # Invariants
///
/// - `skb` is live during `'a`, and the fields of its structure do not change.
/// - At least the bytes of an Ethernet header can be read at its `mac_header`, in its linear part. They are
///   one if the device that received the frame is an Ethernet device.
/// - Its bytes may change: a sender on this machine (over a veth or macvlan, from a ring of
///   PACKET_TX_RING) may still write to them. So no reference to them exists, and they are only copied,
///   each once, as [`mm::copy`](crate::linux::mm::copy) says.
///
/// # Examples
///
/// ```ignore
/// fn receive(frame: RxFrame<'_>) -> Option<u8> {
///     let mut buffer = [0; 16];
///     let [kind, ..] = frame.header(&mut buffer)?;
///     pr_debug!("kind {kind} from {:x?}\n", frame.source());
///     Some(*kind)
/// }
/// ```
#[derive(Clone, Copy)]
pub(crate) struct RxFrame<'a> {
    skb: *mut bindings::sk_buff,
    _p: PhantomData<&'a bindings::sk_buff>,
}

impl RxFrame<'_> {
    /// Wraps a frame that the network stack hands to a hook or to a packet type. Returns `None` if its
    /// header is shorter than that of Ethernet.
    ///
    /// # Safety
    ///
    /// - The frame must be lent to the caller during the lifetime of the result, and its `data` must be
    ///   behind the link layer's header, as the stack has it there.
    #[inline]
    pub(in crate::linux) unsafe fn from_raw(skb: *mut bindings::sk_buff) -> Option<Self> {
        // SAFETY: By the requirements of this function `skb` is live.
        let mac_len = unsafe { (*skb).mac_len };
        // INVARIANT: By the requirements of this function. `mac_len` is the length of the link layer's
        // header, which is in the linear part, and 0 if there is none. With a VLAN's tag it is longer.
        (usize::from(mac_len) >= ETH_HLEN).then_some(Self {
            skb,
            _p: PhantomData,
        })
    }

    /// Returns a pointer to the fields that clones copy.
    #[inline]
    fn headers(&self) -> *mut Headers {
        // SAFETY: By the type invariants the frame is live.
        unsafe { headers(self.skb) }
    }

    /// Returns the EtherType.
    #[inline]
    pub(crate) fn ethertype(&self) -> u16 {
        // SAFETY: By the type invariants the frame is live.
        u16::from_be(unsafe { (*self.headers()).protocol })
    }

    /// Returns whether the frame is for this station: by its address, by a group's, or for all.
    #[inline]
    pub(crate) fn is_for_us(&self) -> bool {
        // SAFETY: By the type invariants the frame is live.
        let pkt_type = unsafe { Headers::pkt_type_raw(self.headers()) };
        // CAST: A small constant.
        pkt_type != bindings::PACKET_OTHERHOST as u8
    }

    /// Returns the tag of the VLAN on this device that the frame belongs to. A tag with the number 0 has
    /// only a priority, and the frame belongs to no VLAN.
    #[inline]
    pub(crate) fn tag(&self) -> Option<VlanTag> {
        // SAFETY: By the type invariants the frame is live. Any bytes are a valid `vlan_all`.
        let both = unsafe { (*self.headers()).__bindgen_anon_2.vlan_all };
        if both == 0 {
            return None;
        }
        // `vlan_proto`, then `vlan_tci`.
        let [protocol @ .., low, high] = both.to_ne_bytes();
        let id = u16::from_ne_bytes([low, high]) & VLAN_ID;
        let protocol = u16::from_be_bytes(protocol);
        (id != 0).then_some(VlanTag { protocol, id })
    }

    /// Returns whether a part of the frame lies in the emergency reserve of memory.
    #[inline]
    pub(crate) fn is_in_reserve(&self) -> bool {
        // SAFETY: By the type invariants the frame is live.
        unsafe { bindings::sk_buff::pfmemalloc_raw(self.skb) != 0 }
    }

    /// Returns a pointer to the Ethernet header.
    #[inline]
    fn mac_header(&self) -> *const u8 {
        // SAFETY: By the type invariants the frame is live, and its header lies there.
        unsafe {
            let offset = (*self.headers()).mac_header;
            (*self.skb).head.add(usize::from(offset))
        }
    }

    /// Returns the address of the receiver.
    #[inline]
    pub(crate) fn destination(&self) -> [u8; 6] {
        // SAFETY: By the type invariants an Ethernet header lies there, which begins with the destination.
        unsafe { read_address(self.mac_header()) }
    }

    /// Returns the address of the sender.
    #[inline]
    pub(crate) fn source(&self) -> [u8; 6] {
        // SAFETY: As in `destination`; the source is behind the destination's six bytes.
        unsafe { read_address(self.mac_header().add(6)) }
    }

    /// Returns the number of bytes behind the Ethernet header, padding included.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        // SAFETY: By the type invariants the frame is live.
        unsafe { (*self.skb).len as usize }
    }

    /// Returns a pointer to `len` bytes from `offset` on, if the frame has them in one piece.
    #[inline]
    fn in_one_piece(&self, offset: usize, len: usize) -> Option<NonNull<u8>> {
        // SAFETY: By the type invariants the frame is live.
        let linear = unsafe { (*self.skb).len.wrapping_sub((*self.skb).data_len) } as usize;
        if offset.checked_add(len)? <= linear {
            // SAFETY: The linear part has `linear` bytes from `data` on.
            return NonNull::new(unsafe { (*self.skb).data.add(offset) });
        }
        let (offset, len) = (u32::try_from(offset).ok()?, u32::try_from(len).ok()?);
        // SAFETY: By the type invariants the frame is live. The function checks the bounds.
        let bytes = unsafe { helpers::skb_pointer(self.skb, offset, len) };
        NonNull::new(bytes.cast_mut().cast())
    }

    /// Copies the first bytes, a protocol's header, to `buffer`. Returns `None` if the frame is shorter.
    #[inline]
    pub(crate) fn header<'b, const N: usize>(
        &self,
        buffer: &'b mut [u8; N],
    ) -> Option<&'b [u8; N]> {
        match self.in_one_piece(0, N) {
            // SAFETY: The frame has that many bytes there, which `buffer` does not overlap.
            Some(from) => unsafe { take(from.as_ptr(), buffer) },
            None => self.copy_bytes(0, buffer)?,
        }
        Some(buffer)
    }

    /// Fills `bytes` with those from `offset` on. Returns `None` if the frame ends before.
    #[inline]
    pub(crate) fn copy_bytes(&self, offset: usize, bytes: &mut [u8]) -> Option<()> {
        // SAFETY: `bytes` is valid for writes of its length.
        unsafe { self.copy_to_raw(offset, bytes.as_mut_ptr(), bytes.len()) }
    }

    /// Copies `len` bytes from `offset` on into `block` at `block_offset`. Bytes outside of the block are
    /// left out. Returns `None` if the frame ends before; then only some have been copied.
    #[inline]
    pub(crate) fn copy_to_block(
        &self,
        offset: usize,
        block: &BlockWriter<'_>,
        block_offset: u16,
        len: u16,
    ) -> Option<()> {
        let mut offset = offset;
        let mut result = Some(());
        block.for_each_run(block_offset, len, |data, len| {
            // SAFETY: The run is memory that may be written to, by the invariant of `BlockWriter`.
            result = unsafe { self.copy_to_raw(offset, data, len) };
            offset = offset.wrapping_add(len);
            result.is_some()
        });
        result
    }

    /// Copies `len` bytes from `offset` on to `to`. Returns `None` if the frame ends before.
    ///
    /// # Safety
    ///
    /// - `to` must be valid for writes of `len` bytes. If they are the frame's, `to` gets a mixture, as
    ///   [`mm::copy`](crate::linux::mm::copy) says.
    #[inline]
    unsafe fn copy_to_raw(&self, offset: usize, to: *mut u8, len: usize) -> Option<()> {
        if let Some(from) = self.in_one_piece(offset, len) {
            // SAFETY: The frame has that many bytes there, and by the requirements of this function `to` has
            // room for them.
            unsafe { copy(from.as_ptr(), to, len) };
            return Some(());
        }
        let offset = c_int::try_from(offset).ok()?;
        let len = c_int::try_from(len).ok()?;
        // SAFETY: By the type invariants the frame is live. The function checks the bounds, and by the
        // requirements of this one `to` has room for `len` bytes.
        let status = unsafe { bindings::skb_copy_bits(self.skb, offset, to.cast(), len) };
        (status == 0).then_some(())
    }
}
