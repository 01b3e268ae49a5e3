// SPDX-License-Identifier: GPL-2.0

//! A frame that is allocated once and sent any number of times.
//!
//! It works as TCP's transmit queue does: two skbs are allocated together (`SKB_ALLOC_FCLONE`). The first
//! stays here. The second, its companion, shares the bytes and pages of the first, and is given to the
//! network for each transmission. So sending allocates nothing, and the reference count of the pair says
//! when the companion has left this host.
//!
//! What is here could be removed with [`TxFrame`], which says when.

use core::{
    marker::PhantomData,
    mem::offset_of,
    ptr::{
        null_mut,
        NonNull, //
    },
};

use kernel::{
    bindings,
    prelude::*,
    sync::atomic::{
        Acquire,
        Atomic, //
    },
};

use super::{
    frags::{
        self,
        shared_info,
        ATOMIC_RESERVE, //
    },
    headers,
    FramePolicy,
    Headers,
    ETH_HLEN, //
};
use crate::linux::{
    block::Block,
    helpers,
    mm::alloc::RAW_MAY_FAIL,
    net::device::NetDevice, //
};

/// The bytes behind the header.
///
/// [`TxFrame`] has an example.
#[derive(Clone, Copy)]
pub(crate) enum Payload<'a> {
    /// Nothing.
    None,
    /// These bytes, which are copied; at most as many as the frame has room for behind the lead.
    Bytes(&'a [u8]),
    /// A part of a block, whose pages the frame refers to.
    Block {
        /// The block.
        block: Block<'a>,
        /// The first byte of the part.
        offset: u16,
        /// The number of bytes.
        len: u16,
    },
}

/// Why a frame was not given to the network. Another attempt may succeed.
///
/// [`TxFrame`] has an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SendError {
    /// The frame is still in this host since it was last sent.
    Busy,
    /// There is no memory to copy a page that the network may not refer to.
    NoMemory,
    /// The lead and the payload have more bytes or pieces than the frame has room for or the device sends.
    TooLong,
    /// The device is not an Ethernet device.
    NotEthernet,
    /// The device or its queue dropped the frame; the value is `__dev_queue_xmit`'s.
    Dropped(c_int),
}

/// A frame to send, with a protocol's header of `HEADER` bytes behind the Ethernet header. It is sent,
/// renewed and dropped in process or softirq context with interrupts enabled.
///
/// Could be removed in a release after 7.3, once the kernel crate has `struct sk_buff` with
/// `SKB_ALLOC_FCLONE`.
///
/// # Invariants
///
/// - `skb` is the first skb of a live pair, which belongs to this value.
/// - Its linear part has `P::HEADROOM` free bytes, both headers, which are initialised, and `room` bytes.
/// - Each of its fragments holds a reference to its page.
/// - Bytes and fragments change only while the frame is not busy ([`Self::is_busy`]): the companion is
///   not in use then, and no clone of it exists. While `&mut self` is held, a frame that is not busy
///   stays so until it is sent.
///
/// # Examples
///
/// ```ignore
/// static FREEING_CPU: AllocCpu = AllocCpu::new();
///
/// struct Policy;
///
/// impl FramePolicy for Policy {
///     const HEADROOM: usize = 64;
///     const PRIORITY: u32 = 0;
///
///     fn alloc_cpu() -> &'static AllocCpu {
///         &FREEING_CPU
///     }
///
///     fn hash([.., a, b]: [u8; 6]) -> u32 {
///         u16::from_ne_bytes([a, b]).into()
///     }
/// }
///
/// fn greet(device: &NetDevice, sequence: u32) -> Result {
///     let mut frame = TxFrame::<Policy, 4>::new(64)?;
///     let write = |header: &mut [u8; 4]| *header = sequence.to_be_bytes();
///     let sent = frame.send(device, [0xff; 6], 0x88b5, write, b"hello, ", Payload::Bytes(b"world"));
///     sent.map_err(|error| match error {
///         SendError::Busy | SendError::Dropped(_) => EAGAIN,
///         SendError::NoMemory => ENOMEM,
///         SendError::TooLong => EMSGSIZE,
///         SendError::NotEthernet => ENODEV,
///     })
/// }
/// ```
pub(crate) struct TxFrame<P: FramePolicy, const HEADER: usize> {
    skb: NonNull<bindings::sk_buff>,
    /// `truesize` without any fragment.
    truesize: u32,
    room: u16,
    _p: PhantomData<P>,
}

// SAFETY: A frame is memory that belongs to no thread.
unsafe impl<P: FramePolicy, const HEADER: usize> Send for TxFrame<P, HEADER> {}
// SAFETY: `&TxFrame` allows only to read atomic counters.
unsafe impl<P: FramePolicy, const HEADER: usize> Sync for TxFrame<P, HEADER> {}

impl<P: FramePolicy, const HEADER: usize> TxFrame<P, HEADER> {
    /// Bytes of both headers, which are in the linear part.
    const HEADERS_LEN: usize = {
        // So that the linear part's length fits into the fields of the skb.
        assert!(HEADER <= 1024 && P::HEADROOM <= 1024);
        ETH_HLEN + HEADER
    };

    /// Returns about how many bytes of memory a frame with room for `room` bytes takes.
    pub(crate) const fn bytes(room: u16) -> usize {
        size_of::<bindings::sk_buff_fclones>()
            + size_of::<bindings::skb_shared_info>()
            + P::HEADROOM
            + Self::HEADERS_LEN
            + room as usize
    }

    /// Allocates a frame with room for `room` bytes that are copied. May sleep.
    pub(crate) fn new(room: u16) -> Result<Self> {
        Self::with_flags(room, RAW_MAY_FAIL)
    }

    /// Allocates another pair in place of one that stays busy, as when a packet socket has the frame in
    /// its queue. The old pair, with its references to pages, is freed when its last user frees it. Does
    /// not sleep. On failure the frame is unchanged.
    pub(crate) fn renew(&mut self) -> Result {
        *self = Self::with_flags(self.room, ATOMIC_RESERVE)?;
        Ok(())
    }

    fn with_flags(room: u16, flags: bindings::gfp_t) -> Result<Self> {
        let size = P::HEADROOM + Self::HEADERS_LEN + usize::from(room);
        // SAFETY: The function has no requirements.
        let skb = unsafe {
            bindings::__alloc_skb(
                // CAST: Less than 70,000.
                size as u32,
                flags,
                // CAST: A flag.
                bindings::SKB_ALLOC_FCLONE as c_int,
                bindings::NUMA_NO_NODE,
            )
        };
        let skb = NonNull::new(skb).ok_or(ENOMEM)?;
        // SAFETY: The skb is live and new, and its linear part has `size` bytes.
        let truesize = unsafe {
            let skb = skb.as_ptr();
            // As `skb_reserve` and `skb_put` do.
            let data = (*skb).head.add(P::HEADROOM);
            (*skb).data = data;
            (*skb).tail = (P::HEADROOM + Self::HEADERS_LEN) as u32;
            (*skb).len = Self::HEADERS_LEN as u32;
            data.write_bytes(0, Self::HEADERS_LEN);
            // As `__skb_header_release`: users of the companion may write to the header, which is
            // written for each transmission.
            bindings::sk_buff::set_nohdr_raw(skb, 1);
            (*shared_info(skb)).dataref.counter = 1 + (1 << bindings::SKB_DATAREF_SHIFT);
            // Its memory may be from the reserve, but its content need not reach a marked socket.
            bindings::sk_buff::set_pfmemalloc_raw(skb, 0);
            let headers = headers(skb);
            (*headers).priority = P::PRIORITY;
            // CAST: At most 1024.
            (*headers).mac_header = P::HEADROOM as u16;
            (*headers).network_header = (P::HEADROOM + ETH_HLEN) as u16;
            (*skb).truesize
        };
        // INVARIANT: Laid out above, and without fragments.
        Ok(Self {
            skb,
            truesize,
            room,
            _p: PhantomData,
        })
    }

    /// Returns whether the companion, or a clone of it, is still in this host.
    #[inline]
    pub(crate) fn is_busy(&self) -> bool {
        let skb = self.skb.as_ptr();
        // SAFETY: By the type invariants the skb is the first of a live pair. Both counters are atomic
        // and read once. Acquire orders later accesses after those of the last user, which dropped its
        // reference then.
        unsafe {
            let fclones = skb.cast::<bindings::sk_buff_fclones>();
            if load_acquire(&raw const (*fclones).fclone_ref.refs) != 1 {
                return true;
            }
            let dataref = load_acquire(&raw const (*shared_info(skb)).dataref);
            dataref & bindings::SKB_DATAREF_MASK as c_int != 1
        }
    }

    /// Drops the references to the pages of the last payload, unless the frame is busy. Returns whether
    /// it refers to none any more.
    ///
    /// Should be called when a request ends: otherwise its pages are not freed before the frame is sent
    /// again.
    #[inline]
    pub(crate) fn release(&mut self) -> bool {
        let skb = self.skb.as_ptr();
        // SAFETY: By the type invariants the skb is live.
        if unsafe { (*shared_info(skb)).nr_frags } == 0 {
            return true;
        }
        if self.is_busy() {
            return false;
        }
        // SAFETY: The frame is not busy, so no other code uses its fragments, which hold references.
        unsafe { frags::drop_all(skb) };
        true
    }

    /// Sends the frame: the headers, then `lead`, which is copied and takes of the frame's room, then
    /// `payload`.
    ///
    /// Allocates nothing, unless the network may not refer to a page of the block (slab memory), which is
    /// then copied. The caller must hold no lock that is taken to receive frames: on a virtual device the
    /// answer may come before this function returns.
    ///
    /// `Ok` means that the frame was queued. It may still be lost.
    #[inline]
    pub(crate) fn send(
        &mut self,
        dev: &NetDevice,
        destination: [u8; 6],
        ethertype: u16,
        write_header: impl FnOnce(&mut [u8; HEADER]),
        lead: &[u8],
        payload: Payload<'_>,
    ) -> Result<(), SendError> {
        if self.is_busy() {
            return Err(SendError::Busy);
        }
        let skb = self.skb.as_ptr();
        // SAFETY: The frame is not busy, and stays so until the companion is made below: no other code uses
        // its fragments, which hold references.
        unsafe { frags::drop_all(skb) };
        // SAFETY: As above.
        write_header(unsafe { self.write_headers(dev, destination, ethertype) });
        let lead_len = match lead {
            [] => 0,
            // SAFETY: As above.
            _ => unsafe { self.copy_bytes(0, lead)? },
        };
        let linear = match payload {
            Payload::None => lead_len,
            // SAFETY: As above.
            Payload::Bytes(bytes) => unsafe { self.copy_bytes(lead_len, bytes)? },
            Payload::Block { block, offset, len } => {
                for span in block.spans(offset, len) {
                    // INVARIANT: `add` takes a reference to the fragment's page.
                    // SAFETY: As above.
                    unsafe { frags::add(skb, span)? };
                }
                lead_len
            }
        };
        let linear = u32::from(linear);
        // SAFETY: As above; `linear` is at most `room`.
        let len = unsafe {
            let data_len = (*skb).data_len;
            let len = (Self::HEADERS_LEN as u32)
                .wrapping_add(linear)
                .wrapping_add(data_len);
            (*skb).tail = ((P::HEADROOM + Self::HEADERS_LEN) as u32).wrapping_add(linear);
            (*skb).len = len;
            (*skb).truesize = self.truesize.wrapping_add(data_len);
            len.wrapping_sub(ETH_HLEN as u32)
        };
        // SAFETY: By the type invariants of `NetDevice` the device is live.
        if !unsafe { helpers::dev_takes_frame(dev.as_ptr(), len) } {
            return Err(match len > dev.mtu() {
                true => SendError::TooLong,
                false => SendError::NotEthernet,
            });
        }
        // SAFETY: By the type invariants the skb is live. Its companion is free, as the frame is not busy.
        let companion = unsafe { bindings::skb_clone(skb, bindings::GFP_NOWAIT) };
        if companion.is_null() {
            return Err(SendError::NoMemory);
        }
        // SAFETY: The companion is a whole Ethernet frame for `dev`, which is live. The function consumes
        // it, and may be called in the contexts in which a frame is sent.
        match unsafe { helpers::__dev_queue_xmit(companion, null_mut()) } {
            // `NET_XMIT_CN` says that another frame of the queue was dropped for this one.
            0 | 2 => Ok(()),
            code => Err(SendError::Dropped(code)),
        }
    }

    /// Writes the Ethernet header, and the fields of the skb that describe the headers. Returns the
    /// protocol's header.
    ///
    /// # Safety
    ///
    /// - The frame must not be busy, nor be sent as long as the result is used.
    #[inline]
    unsafe fn write_headers(
        &mut self,
        dev: &NetDevice,
        destination: [u8; 6],
        ethertype: u16,
    ) -> &mut [u8; HEADER] {
        let skb = self.skb.as_ptr();
        let ethertype = ethertype.to_be();
        // SAFETY: By the type invariants the skb belongs to this value, its headers lie behind `data`,
        // and are initialised. By the requirements of this function no other code uses them.
        unsafe {
            (*skb)
                .__bindgen_anon_1
                .__bindgen_anon_1
                .__bindgen_anon_1
                .dev = dev.as_ptr();
            let headers = headers(skb);
            (*headers).protocol = ethertype;
            // CAST: There are fewer than 2^16 CPUs.
            (*headers).alloc_cpu = P::alloc_cpu().number() as u16;
            // The kernel need not dissect the frame to find the queue.
            (*headers).hash = P::hash(destination);
            Headers::set_sw_hash_raw(headers, 1);
            let data = (*skb).data;
            data.cast::<[u8; 6]>().write(destination);
            data.add(6).cast::<[u8; 6]>().write(dev.address());
            data.add(12)
                .cast::<[u8; 2]>()
                .write(ethertype.to_ne_bytes());
            &mut *data.add(ETH_HLEN).cast()
        }
    }

    /// Copies `bytes` behind the headers and `before` bytes. Returns how many there are then.
    ///
    /// # Safety
    ///
    /// - The frame must not be busy.
    unsafe fn copy_bytes(&mut self, before: u16, bytes: &[u8]) -> Result<u16, SendError> {
        let after = u16::try_from(bytes.len())
            .ok()
            .and_then(|len| before.checked_add(len))
            .filter(|after| *after <= self.room)
            .ok_or(SendError::TooLong)?;
        // SAFETY: By the type invariants there are `room` bytes behind the headers, of which `bytes` goes to
        // those from `before` to `after`. By the requirements of this function no other code uses them.
        unsafe {
            let room = (*self.skb.as_ptr()).data.add(Self::HEADERS_LEN);
            let to = room.add(before.into());
            to.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        }
        Ok(after)
    }
}

impl<P: FramePolicy, const HEADER: usize> Drop for TxFrame<P, HEADER> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants the skb belongs to this value. A companion in use keeps the
        // memory of the pair and the pages of the fragments until it is freed.
        unsafe { bindings::consume_skb(self.skb.as_ptr()) };
    }
}

/// Reads a counter as `atomic_read_acquire` does.
///
/// # Safety
///
/// - `counter` must be valid, and accessed only atomically.
#[inline]
unsafe fn load_acquire(counter: *const bindings::atomic_t) -> c_int {
    // SAFETY: By the requirements of this function. `Atomic<i32>` has the layout of `atomic_t`.
    let atomic = unsafe { &*counter.cast::<Atomic<i32>>() };
    atomic.load(Acquire)
}

const _: () = assert!(offset_of!(bindings::sk_buff_fclones, skb1) == 0);
