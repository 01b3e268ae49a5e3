// SPDX-License-Identifier: GPL-2.0

//! A frame to send, allocated beforehand and sent as often as need be.
//!
//! As TCP does it: two skbs are allocated together (`SKB_ALLOC_FCLONE`), the first stays with us,
//! the second, its companion, shares the first one's bytes and pages and is given to the network
//! for each transmission. Sending so allocates nothing, and the reference count of the pair tells
//! when the companion has left this host.

use core::{
    mem::offset_of,
    ptr::NonNull, //
};

use kernel::{
    bindings,
    prelude::*,
    sync::atomic::{
        Acquire,
        Atomic,
        Relaxed, //
    },
};

use super::{
    headers,
    RECEIVING_CPU, //
};
use crate::linux::{
    block::mq::{
        Block,
        Span, //
    },
    helpers,
    mm::alloc::RAW_MAY_FAIL,
    net::device::NetDevice, //
};

/// Room in front of the Ethernet header for what devices put there: more than `LL_MAX_HEADER`
/// without tunnels, so that no device has to copy the frame for it.
const HEADROOM: usize = 128;

/// Bytes of the Ethernet header.
const ETH_HLEN: usize = bindings::ETH_HLEN as usize;

/// `TC_PRIO_INTERACTIVE`: the highest band of the default queueing discipline.
const PRIORITY: u32 = 6;

/// Not to sleep, nor to complain; the emergency reserve may be used (`__GFP_MEMALLOC`), for
/// sending frees memory.
const ATOMIC_RESERVE: bindings::gfp_t = bindings::GFP_ATOMIC | bindings::__GFP_NOWARN | 1 << 17;

/// What a frame carries behind its header.
#[derive(Clone, Copy)]
pub(crate) enum Payload<'a> {
    /// Nothing.
    None,
    /// These bytes, copied: no more than the frame was made with room for.
    Bytes(&'a [u8]),
    /// A part of a block, by reference to its pages.
    Block {
        /// The block; the request that it belongs to must not end during the call.
        block: Block,
        /// Where the part begins.
        offset: u16,
        /// Bytes of the part.
        len: u16,
    },
}

/// Why a frame was not handed to the network. Another attempt may succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SendError {
    /// The frame is still in this host from the last time.
    Busy,
    /// No memory for a copy of a page that the network may not refer to.
    NoMemory,
    /// The payload has more bytes or pieces than the frame has room for, or than the device sends.
    TooLong,
    /// The device or its queue dropped it; the value is `__dev_queue_xmit`'s.
    Dropped(c_int),
}

/// A frame to send, with a protocol's header of `HEADER` bytes behind the Ethernet header.
///
/// # Invariants
///
/// `skb` is the first skb of a live pair that is ours alone. Its linear part has [`HEADROOM`]
/// free bytes, both headers, and `room` bytes. Each of its fragments holds a page reference, and
/// they change only while the companion is not in use and nobody else shares the pair's bytes.
pub(crate) struct TxFrame<const HEADER: usize> {
    skb: NonNull<bindings::sk_buff>,
    /// `truesize` without any fragment.
    truesize: u32,
    room: u16,
}

// SAFETY: A frame is memory that belongs to no thread.
unsafe impl<const HEADER: usize> Send for TxFrame<HEADER> {}
// SAFETY: What `&TxFrame` allows only reads atomic counters.
unsafe impl<const HEADER: usize> Sync for TxFrame<HEADER> {}

impl<const HEADER: usize> TxFrame<HEADER> {
    /// Bytes of both headers, always in the skb's linear part.
    const HEADERS_LEN: usize = ETH_HLEN + HEADER;

    /// About how many bytes of memory one with room for `room` bytes takes.
    pub(crate) const fn bytes(room: u16) -> usize {
        size_of::<bindings::sk_buff_fclones>()
            + size_of::<bindings::skb_shared_info>()
            + HEADROOM
            + Self::HEADERS_LEN
            + room as usize
    }

    /// Allocates a frame for headers and pages, with room for `room` bytes to be copied. May sleep.
    pub(crate) fn new(room: u16) -> Result<Self> {
        Self::with_flags(room, RAW_MAY_FAIL)
    }

    /// Allocates another pair in place of one that stays busy, as when a sniffer has the frame in
    /// its queue: whoever still uses the old one frees it, and its references to pages with it.
    /// Does not sleep; on failure the frame is as it was.
    pub(crate) fn renew(&mut self) -> Result {
        *self = Self::with_flags(self.room, ATOMIC_RESERVE)?;
        Ok(())
    }

    fn with_flags(room: u16, flags: bindings::gfp_t) -> Result<Self> {
        let size = HEADROOM + Self::HEADERS_LEN + usize::from(room);
        // SAFETY: No requirements.
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
        // SAFETY: The skb is live and ours, and its linear part has `size` bytes.
        let truesize = unsafe {
            let raw = &mut *skb.as_ptr();
            // As `skb_reserve` and `skb_put` do.
            raw.data = raw.head.add(HEADROOM);
            raw.tail = (HEADROOM + Self::HEADERS_LEN) as u32;
            raw.len = Self::HEADERS_LEN as u32;
            // As `__skb_header_release`: the companion's user may write to the header, which is
            // written anew for each transmission.
            raw.set_nohdr(1);
            // Its memory may be the reserve's, but what is in it need not reach a marked socket.
            raw.set_pfmemalloc(0);
            (*shared_info(raw)).dataref.counter = 1 + (1 << bindings::SKB_DATAREF_SHIFT);
            let headers = &mut *headers(raw);
            headers.priority = PRIORITY;
            // CAST: A few hundred.
            headers.mac_header = HEADROOM as u16;
            headers.network_header = (HEADROOM + ETH_HLEN) as u16;
            raw.truesize
        };
        // INVARIANT: Laid out above, and without fragments.
        Ok(Self {
            skb,
            truesize,
            room,
        })
    }

    /// Whether it, or anybody's copy that shares its bytes, is still in this host.
    #[inline]
    pub(crate) fn is_busy(&self) -> bool {
        let skb = self.skb.as_ptr();
        // SAFETY: By the type invariant the skb is the first of a live pair. Both counters are
        // atomic and read once; `smp_load_acquire` orders what we do next after what the last
        // user did before it dropped its reference.
        unsafe {
            let fclones = skb.cast::<bindings::sk_buff_fclones>();
            if load_acquire(&raw const (*fclones).fclone_ref.refs) != 1 {
                return true;
            }
            let dataref = load_acquire(&raw const (*shared_info(skb)).dataref);
            dataref & bindings::SKB_DATAREF_MASK as c_int != 1
        }
    }

    /// Drops the references to the pages of the last payload, which a busy frame still needs:
    /// returns whether there are none any more. To be called when a request ends, or its pages
    /// cannot be freed until the frame is sent again.
    #[inline]
    pub(crate) fn release(&mut self) -> bool {
        // SAFETY: By the type invariant the skb is live and ours.
        let nr_frags = unsafe { (*shared_info(self.skb.as_ptr())).nr_frags };
        if nr_frags == 0 {
            return true;
        }
        if self.is_busy() {
            return false;
        }
        self.drop_frags();
        true
    }

    /// Sends it: headers, then `payload`. Allocates nothing, unless the network may not refer to
    /// a page of the block (slab memory), which is then copied. The caller must hold no lock that
    /// receiving a frame takes: on a virtual device the answer may come before this returns.
    ///
    /// The frame has been queued if the result is `Ok`; whether it arrives is another matter.
    #[inline]
    pub(crate) fn send(
        &mut self,
        dev: &NetDevice,
        destination: [u8; 6],
        ethertype: u16,
        write_header: impl FnOnce(&mut [u8; HEADER]),
        payload: Payload<'_>,
    ) -> Result<(), SendError> {
        if self.is_busy() {
            return Err(SendError::Busy);
        }
        self.drop_frags();
        self.write_headers(dev, destination, ethertype, write_header);
        let linear = match payload {
            Payload::None => 0,
            Payload::Bytes(bytes) => self.copy_bytes(bytes)?,
            Payload::Block { block, offset, len } => {
                for span in block.spans(offset, len) {
                    self.add_span(span)?;
                }
                0
            }
        };
        let skb = self.skb.as_ptr();
        // SAFETY: By the type invariant the skb is ours, and it is not busy. `linear` is at most
        // `room`. The clone is the companion, which is free, and is consumed by the call.
        unsafe {
            let raw = &mut *skb;
            raw.tail = ((HEADROOM + Self::HEADERS_LEN) as u32).wrapping_add(linear);
            raw.len = (Self::HEADERS_LEN as u32)
                .wrapping_add(linear)
                .wrapping_add(raw.data_len);
            raw.truesize = self.truesize.wrapping_add(raw.data_len);
            if raw.len.wrapping_sub(ETH_HLEN as u32) > dev.mtu() {
                return Err(SendError::TooLong);
            }
            let clone = bindings::skb_clone(skb, bindings::GFP_NOWAIT);
            if clone.is_null() {
                return Err(SendError::NoMemory);
            }
            match helpers::__dev_queue_xmit(clone, core::ptr::null_mut()) {
                // `NET_XMIT_CN` says that another frame of the queue was dropped for it.
                0 | 2 => Ok(()),
                code => Err(SendError::Dropped(code)),
            }
        }
    }

    /// Writes both headers and what the stack wants to know of them.
    #[inline]
    fn write_headers(
        &mut self,
        dev: &NetDevice,
        destination: [u8; 6],
        ethertype: u16,
        write_header: impl FnOnce(&mut [u8; HEADER]),
    ) {
        let ethertype = ethertype.to_be();
        // SAFETY: By the type invariant the skb is ours and not in use, and the headers lie
        // behind `data`.
        unsafe {
            let raw = &mut *self.skb.as_ptr();
            raw.__bindgen_anon_1.__bindgen_anon_1.__bindgen_anon_1.dev = dev.as_ptr();
            let headers = &mut *headers(raw);
            headers.protocol = ethertype;
            // CAST: There are fewer than 2^16 CPUs.
            headers.alloc_cpu = RECEIVING_CPU.load(Relaxed) as u16;
            // Frames to one station keep their order on a device with several queues, and none
            // is dissected to find that out.
            let [_, _, tail @ ..] = destination;
            headers.hash = u32::from_ne_bytes(tail);
            headers.set_sw_hash(1);
            let data = raw.data;
            data.cast::<[u8; 6]>().write(destination);
            data.add(6).cast::<[u8; 6]>().write(dev.address());
            data.add(12)
                .cast::<[u8; 2]>()
                .write(ethertype.to_ne_bytes());
            write_header(&mut *data.add(ETH_HLEN).cast());
        }
    }

    /// Copies `bytes` behind the headers; returns their number.
    fn copy_bytes(&mut self, bytes: &[u8]) -> Result<u32, SendError> {
        if bytes.len() > usize::from(self.room) {
            return Err(SendError::TooLong);
        }
        // SAFETY: By the type invariant there are `room` bytes behind the headers, and nobody
        // else uses the skb.
        unsafe {
            let to = (*self.skb.as_ptr()).data.add(Self::HEADERS_LEN);
            to.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        }
        // CAST: At most `room`.
        Ok(bytes.len() as u32)
    }

    /// Adds a fragment.
    #[inline]
    fn add_span(&mut self, span: Span) -> Result<(), SendError> {
        let skb = self.skb.as_ptr();
        // SAFETY: By the type invariant the skb is ours and not in use.
        let info = unsafe { &mut *shared_info(skb) };
        let index = usize::from(info.nr_frags);
        let frag = info.frags.get_mut(index).ok_or(SendError::TooLong)?;
        let mut page = span.page().as_ptr();
        let mut offset = span.offset();
        // SAFETY: `page` is a page of a request, which holds it.
        if !unsafe { helpers::get_page_to_send(page) } {
            page = copy_of(span)?;
            offset = 0;
        }
        // INVARIANT: The reference taken above is the fragment's now.
        // As `skb_frag_fill_page_desc`.
        frag.netmem = page as bindings::netmem_ref;
        frag.offset = offset;
        frag.len = span.len();
        info.nr_frags = info.nr_frags.wrapping_add(1);
        // SAFETY: As above.
        unsafe { (*skb).data_len = (*skb).data_len.wrapping_add(span.len()) };
        Ok(())
    }

    /// Drops all fragments. The frame must not be busy.
    #[inline]
    fn drop_frags(&mut self) {
        let skb = self.skb.as_ptr();
        // SAFETY: By the type invariant the skb is ours, and the caller knows that it is not in
        // use; each fragment holds a reference, which ends here.
        unsafe {
            let info = &mut *shared_info(skb);
            for frag in info.frags.iter().take(usize::from(info.nr_frags)) {
                helpers::put_page(frag.netmem as *mut bindings::page);
            }
            info.nr_frags = 0;
            (*skb).data_len = 0;
        }
    }
}

impl<const HEADER: usize> Drop for TxFrame<HEADER> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the skb is live and ours. The companion, if it is in use,
        // keeps the pair's memory and the fragments' pages until it is freed itself.
        unsafe { bindings::consume_skb(self.skb.as_ptr()) };
    }
}

/// A page of our own with the bytes of `span` at its beginning.
#[cold]
fn copy_of(span: Span) -> Result<*mut bindings::page, SendError> {
    // SAFETY: No requirements.
    let page = unsafe { bindings::alloc_pages(ATOMIC_RESERVE, 0) };
    if page.is_null() {
        return Err(SendError::NoMemory);
    }
    // SAFETY: The new page is ours and has room for any span, which lies within one page.
    unsafe {
        let to = helpers::page_address(page).cast::<u8>();
        to.copy_from_nonoverlapping(span.data(), span.len() as usize);
    }
    Ok(page)
}

/// `skb_shinfo`.
///
/// # Safety
///
/// `skb` must be live.
#[inline]
unsafe fn shared_info(skb: *mut bindings::sk_buff) -> *mut bindings::skb_shared_info {
    // SAFETY: The shared info lies at the end of the linear part of any skb.
    unsafe { (*skb).head.add((*skb).end as usize).cast() }
}

/// `atomic_read_acquire`.
///
/// # Safety
///
/// `counter` must be valid.
#[inline]
unsafe fn load_acquire(counter: *const bindings::atomic_t) -> c_int {
    // SAFETY: `Atomic<i32>` is laid out as `atomic_t` is, which `counter` points to.
    let atomic = unsafe { &*counter.cast::<Atomic<i32>>() };
    atomic.load(Acquire)
}

const _: () = assert!(offset_of!(bindings::sk_buff_fclones, skb1) == 0);
