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
    Headers, //
};
use crate::linux::{
    block::mq::Block,
    helpers,
    mm::copy::{
        copy,
        take, //
    },
    net::device::VlanTag, //
};

/// The bits of a tag that are a VLAN's number (`VLAN_VID_MASK`).
const VLAN_ID: u16 = 0xfff;

/// A frame that has been received, lent for as long as it is looked at.
///
/// Offsets count from behind the Ethernet header. The bytes are shared: whoever sent the frame on this
/// machine (over a veth or macvlan, from a ring of PACKET_TX_RING) may still write to them. So they are
/// only ever copied, and looked at as the copy has them.
///
/// # Invariants
///
/// `skb` is live for `'a`, and its `data` points behind its Ethernet header.
#[derive(Clone, Copy)]
pub(crate) struct RxFrame<'a> {
    skb: *mut bindings::sk_buff,
    _p: PhantomData<&'a bindings::sk_buff>,
}

impl RxFrame<'_> {
    /// Wraps a received frame.
    ///
    /// # Safety
    ///
    /// What the invariants of the type say must hold for `skb` and `'a`.
    #[inline]
    pub(in crate::linux) unsafe fn from_raw(skb: *mut bindings::sk_buff) -> Self {
        // INVARIANT: By the requirements of this function.
        Self {
            skb,
            _p: PhantomData,
        }
    }

    #[inline]
    fn raw(&self) -> &bindings::sk_buff {
        // SAFETY: By the type invariant.
        unsafe { &*self.skb }
    }

    #[inline]
    fn headers(&self) -> &Headers {
        // SAFETY: By the type invariant.
        unsafe { &*headers(self.skb) }
    }

    /// Its EtherType.
    #[inline]
    pub(crate) fn ethertype(&self) -> u16 {
        u16::from_be(self.headers().protocol)
    }

    /// Whether it is for this station: its address, a group's, or everybody's.
    #[inline]
    pub(crate) fn is_for_us(&self) -> bool {
        // CAST: A small constant.
        self.headers().pkt_type() != bindings::PACKET_OTHERHOST as u8
    }

    /// The tag of the VLAN on this device that it belongs to. One with the number 0 says only how
    /// urgent the frame is.
    #[inline]
    pub(crate) fn tag(&self) -> Option<VlanTag> {
        // SAFETY: Any bytes are a valid `vlan_all`.
        let both = unsafe { self.headers().__bindgen_anon_2.vlan_all };
        if both == 0 {
            return None;
        }
        // `vlan_proto`, then `vlan_tci`.
        let [protocol @ .., low, high] = both.to_ne_bytes();
        let id = u16::from_ne_bytes([low, high]) & VLAN_ID;
        let protocol = u16::from_be_bytes(protocol);
        (id != 0).then_some(VlanTag { protocol, id })
    }

    /// Whether a part of it lies in the emergency reserve, which the stack has only for some.
    #[inline]
    pub(crate) fn is_in_reserve(&self) -> bool {
        self.raw().pfmemalloc() != 0
    }

    /// Who it is for.
    #[inline]
    pub(crate) fn destination(&self) -> [u8; 6] {
        let raw = self.raw();
        // SAFETY: By the type invariant the Ethernet header was received and lies at
        // `mac_header`, the destination first.
        unsafe {
            let mac = raw.head.add(usize::from(self.headers().mac_header));
            mac.cast::<[u8; 6]>().read()
        }
    }

    /// Who sent it.
    #[inline]
    pub(crate) fn source(&self) -> [u8; 6] {
        let raw = self.raw();
        // SAFETY: By the type invariant the Ethernet header was received and lies at
        // `mac_header`: 6 bytes of destination, then the source.
        unsafe {
            let mac = raw.head.add(usize::from(self.headers().mac_header));
            mac.add(6).cast::<[u8; 6]>().read()
        }
    }

    /// Number of bytes behind the Ethernet header, padding included.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.raw().len as usize
    }

    /// `len` bytes from `offset` on, if they lie in one piece.
    #[inline]
    fn in_one_piece(&self, offset: usize, len: usize) -> Option<NonNull<u8>> {
        let raw = self.raw();
        let linear = raw.len.wrapping_sub(raw.data_len) as usize;
        if offset.checked_add(len)? <= linear {
            // SAFETY: That many bytes lie at `data`.
            return NonNull::new(unsafe { raw.data.add(offset) });
        }
        // SAFETY: By the type invariant the skb is live; the function checks the bounds.
        let bytes = unsafe {
            helpers::skb_pointer(
                self.skb,
                u32::try_from(offset).ok()?,
                u32::try_from(len).ok()?,
            )
        };
        NonNull::new(bytes.cast_mut().cast())
    }

    /// Copies the first bytes, a protocol's header, to `buffer`. `None` if the frame is shorter.
    #[inline]
    pub(crate) fn header<'b, const N: usize>(
        &self,
        buffer: &'b mut [u8; N],
    ) -> Option<&'b [u8; N]> {
        match self.in_one_piece(0, N) {
            // SAFETY: That many bytes are there, in the skb's memory.
            Some(from) => unsafe { take(from.as_ptr(), buffer) },
            None => self.copy_bytes(0, buffer)?,
        }
        Some(buffer)
    }

    /// Fills `bytes` from `offset` on; `None` if the frame ends before.
    #[inline]
    pub(crate) fn copy_bytes(&self, offset: usize, bytes: &mut [u8]) -> Option<()> {
        // SAFETY: `bytes` is valid for writes of its length.
        unsafe { self.copy_to_raw(offset, bytes.as_mut_ptr(), bytes.len()) }
    }

    /// Copies `len` bytes from `offset` on into `block` at `block_offset`. `None` if the frame
    /// ends before, and then only some have been copied. What lies outside of the block is left
    /// out.
    #[inline]
    pub(crate) fn copy_to_block(
        &self,
        offset: usize,
        block: &Block,
        block_offset: u16,
        len: u16,
    ) -> Option<()> {
        let mut offset = offset;
        let mut result = Some(());
        block.for_each_run(block_offset, len, |data, len| {
            // SAFETY: The run is memory of the block's request, which has not ended, by the
            // invariant of `Block`.
            result = unsafe { self.copy_to_raw(offset, data, len) };
            offset = offset.wrapping_add(len);
            result.is_some()
        });
        result
    }

    /// # Safety
    ///
    /// `to` must be valid for writes of `len` bytes.
    #[inline]
    unsafe fn copy_to_raw(&self, offset: usize, to: *mut u8, len: usize) -> Option<()> {
        if let Some(from) = self.in_one_piece(offset, len) {
            // SAFETY: That many bytes are there, in the skb's memory, which is not the caller's.
            unsafe { copy(from.as_ptr(), to, len) };
            return Some(());
        }
        let offset = c_int::try_from(offset).ok()?;
        let len = c_int::try_from(len).ok()?;
        // SAFETY: By the type invariant the skb is live; the function checks the bounds.
        let status = unsafe { bindings::skb_copy_bits(self.skb, offset, to.cast(), len) };
        (status == 0).then_some(())
    }
}
