// SPDX-License-Identifier: GPL-2.0

//! I/O on a block device, with pages of our own.
//!
//! All memory is allocated beforehand. A bio that never ends is survived: its memory and pages
//! stay, and whoever waits for it may give up; even the module may go ([`BioSet`]'s drop).
//!
//! C header: [`include/linux/bio.h`](srctree/include/linux/bio.h)

use core::{
    cell::UnsafeCell,
    mem::MaybeUninit,
    ptr::NonNull, //
};

use kernel::{
    bindings,
    error::to_result,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Full,
            Relaxed,
            Release, //
        },
        rcu,
        Arc, //
    },
    types::Opaque, //
};

use super::{
    bdev::BlockDevice,
    mq::BLOCK_SIZE, //
};
use crate::linux::{
    helpers,
    mm::page::Page, //
};

/// Pages that one bio may have.
pub(crate) const MAX_BIO_PAGES: usize = 32;

/// Sectors of 512 bytes in a page.
const PAGE_SECTORS: u64 = BLOCK_SIZE as u64 / 512;

/// As O_DIRECT does: it is waited for, and not to be held back behind the page cache's writing.
/// `REQ_SWAP` tells the block layer's controllers that holding it back holds back reclaim.
const FLAGS: bindings::blk_opf_t = 1 << bindings::req_flag_bits___REQ_SYNC
    | 1 << bindings::req_flag_bits___REQ_IDLE
    | 1 << bindings::req_flag_bits___REQ_SWAP;

/// Ends with `EAGAIN` rather than wait.
const NOWAIT: bindings::blk_opf_t = 1 << bindings::req_flag_bits___REQ_NOWAIT;

/// Who is told that a bio has ended.
pub(crate) trait EndIo: Send + Sync + 'static {
    /// Some bio has ended: [`BioSet::reap`] says which. Any context, hard interrupt too: only
    /// note it.
    fn bio_ended(&self);
}

/// What a bio does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BioOp {
    /// Pages are read from the device.
    Read,
    /// Pages are written to it.
    Write,
}

/// Nobody's.
const IDLE: u32 = 0;
/// Being filled in, or being emptied, by one context.
const TAKEN: u32 = 1;
/// The block layer's.
const SUBMITTED: u32 = 2;
/// The block layer has given it back; its pages are still referred to.
const ENDED: u32 = 3;

/// A bio and what it refers to.
///
/// # Invariants
///
/// - `bio`, `vecs` and `device` are touched only by whoever brought `state` to [`TAKEN`], or, while
///   it is [`SUBMITTED`], by the block layer.
/// - While it is [`SUBMITTED`] or [`ENDED`], `bio` refers to `vecs`, each of its entries holds a
///   page reference, and `device` is the device it was submitted to.
/// - `handler` is that of the set that it belongs to.
struct Inner<T> {
    bio: Opaque<bindings::bio>,
    vecs: UnsafeCell<MaybeUninit<[bindings::bio_vec; MAX_BIO_PAGES]>>,
    device: UnsafeCell<Option<Arc<BlockDevice>>>,
    state: Atomic<u32>,
    handler: NonNull<T>,
}

/// Bios, each with room for [`MAX_BIO_PAGES`] pages.
///
/// Dropping it, in process context, waits a moment for bios under way. One that goes on all the
/// same is disowned: the block layer ends it without us, and its memory is never used again.
///
/// # Invariants
///
/// The pointers are to values that are ours, made from boxes.
pub(crate) struct BioSet<T: EndIo> {
    bios: KVec<NonNull<Inner<T>>>,
    /// Whether any was ever submitted.
    used: Atomic<u32>,
    /// What the bios refer to.
    _handler: Arc<T>,
}

// SAFETY: Bios belong to no thread; `state` says whose each is, and `T` is shared anyway.
unsafe impl<T: EndIo> Send for BioSet<T> {}
// SAFETY: As above.
unsafe impl<T: EndIo> Sync for BioSet<T> {}

/// A bio that has been filled in. Dropping it gives it back to the set.
///
/// # Invariants
///
/// The bio is [`TAKEN`] by this, and filled in; else as [`SUBMITTED`] says.
pub(crate) struct Prepared<'a, T: EndIo> {
    inner: &'a Inner<T>,
    used: &'a Atomic<u32>,
}

impl<T: EndIo> BioSet<T> {
    /// Allocates `count` of them. Sleeps.
    pub(crate) fn new(count: usize, handler: Arc<T>) -> Result<Self> {
        let mut set = Self {
            bios: KVec::with_capacity(count, GFP_KERNEL)?,
            used: Atomic::new(0),
            _handler: handler.clone(),
        };
        for _ in 0..count {
            let inner = KBox::new(
                Inner {
                    bio: Opaque::uninit(),
                    vecs: UnsafeCell::new(MaybeUninit::uninit()),
                    device: UnsafeCell::new(None),
                    state: Atomic::new(IDLE),
                    // INVARIANT: Just that.
                    handler: NonNull::from(&*handler),
                },
                GFP_KERNEL,
            )?;
            // INVARIANT: Made from a box.
            set.bios
                .push(NonNull::from(KBox::leak(inner)), GFP_KERNEL)?;
        }
        Ok(set)
    }

    /// Number of bios.
    pub(crate) fn len(&self) -> usize {
        self.bios.len()
    }

    fn get(&self, index: usize) -> Option<&Inner<T>> {
        // SAFETY: By the type invariant it is live; only `drop` frees it.
        self.bios.get(index).map(|inner| unsafe { inner.as_ref() })
    }

    /// Fills in bio `index`, unless it is in use: `op` with `pages`, in order, from page
    /// `first_page` of `device` on. Of more than [`MAX_BIO_PAGES`] the rest is left out.
    ///
    /// With `nowait` it ends with `EAGAIN` where submitting it would wait; only for what
    /// [`BlockDevice::takes_nowait`] says.
    pub(crate) fn prepare<'p>(
        &self,
        index: usize,
        device: &Arc<BlockDevice>,
        op: BioOp,
        nowait: bool,
        first_page: u64,
        pages: impl Iterator<Item = &'p Page>,
    ) -> Option<Prepared<'_, T>> {
        let inner = self.get(index)?;
        inner.state.cmpxchg(IDLE, TAKEN, Acquire).ok()?;
        let op = match op {
            BioOp::Read => bindings::req_op_REQ_OP_READ,
            BioOp::Write => bindings::req_op_REQ_OP_WRITE,
        };
        let bio = inner.bio.get();
        // SAFETY: By `Inner`'s invariants all of it is ours now. `vecs` has room for as many
        // entries as the bio is told. The end callback fits the private pointer, which is to
        // `inner`: it stays until the bio has ended, or for ever.
        unsafe {
            *inner.device.get() = Some(device.clone());
            bindings::bio_init(
                bio,
                device.as_ptr(),
                inner.vecs.get().cast(),
                MAX_BIO_PAGES as u16,
                bindings::blk_opf_t::from(op) | FLAGS | if nowait { NOWAIT } else { 0 },
            );
            (*bio).bi_iter.bi_sector = first_page.wrapping_mul(PAGE_SECTORS);
            (*bio).bi_private = core::ptr::from_ref(inner).cast_mut().cast();
            (*bio).bi_end_io = Some(Self::end_io);
            // So that `bio_put` may stand in for the end callback: it drops a reference that is
            // not the last, and does no more.
            (*bio).bi_flags |= 1 << bindings::BIO_REFFED;
            (*bio).__bi_cnt.counter = 2;
        }
        for page in pages.take(MAX_BIO_PAGES) {
            // SAFETY: The bio is ours and has room; the page is live. The reference becomes the
            // entry's.
            unsafe {
                helpers::get_page(page.as_ptr());
                bindings::__bio_add_page(bio, page.as_ptr(), BLOCK_SIZE as u32, 0);
            }
        }
        // INVARIANT: Filled in above.
        Some(Prepared {
            inner,
            used: &self.used,
        })
    }

    /// If bio `index` has ended: how. It may then be used again. Any context.
    pub(crate) fn reap(&self, index: usize) -> Option<Result> {
        let inner = self.get(index)?;
        inner.state.cmpxchg(ENDED, TAKEN, Acquire).ok()?;
        // SAFETY: The bio has ended and is ours, by `Inner`'s invariants.
        let result = unsafe {
            let status = (*inner.bio.get()).bi_status;
            to_result(bindings::blk_status_to_errno(status))
        };
        // SAFETY: As above.
        unsafe { inner.give_back() };
        Some(result)
    }

    /// # Safety
    ///
    /// Only the block layer may call this, for a bio of a set.
    unsafe extern "C" fn end_io(bio: *mut bindings::bio) {
        // Keeps the set, and the handler, from being freed under us, once the bio is seen to have
        // ended: `drop` waits for us.
        let _guard = rcu::read_lock();
        // SAFETY: `prepare` has set it so, and it stays until the bio has ended.
        let inner = unsafe { &*(*bio).bi_private.cast::<Inner<T>>() };
        // SAFETY: By `Inner`'s invariant, and as said above.
        let handler = unsafe { inner.handler.as_ref() };
        // A full barrier: the handler looks whether somebody will come by to reap, and whoever
        // comes by looks at the state. One of them must see the other.
        inner.state.xchg(ENDED, Full);
        handler.bio_ended();
    }
}

impl<T> Inner<T> {
    /// Drops what the bio refers to, and lets others use it.
    ///
    /// # Safety
    ///
    /// The caller must have brought the state to [`TAKEN`], with the bio filled in, and ended if
    /// it was submitted.
    unsafe fn give_back(&self) {
        let bio = self.bio.get();
        // SAFETY: By the requirements of this function all is ours, and each entry holds a page
        // reference, which ends here. (The block layer changes the iterator, not the table.)
        unsafe {
            let count = usize::from((*bio).bi_vcnt);
            let vecs = self.vecs.get().cast::<bindings::bio_vec>();
            for index in 0..count.min(MAX_BIO_PAGES) {
                helpers::put_page((*vecs.add(index)).bv_page);
            }
            bindings::bio_uninit(bio);
            // Not the last reference to the device: the set's owner has one.
            *self.device.get() = None;
        }
        self.state.store(IDLE, Release);
    }
}

impl<T: EndIo> Prepared<'_, T> {
    /// Hands it to the block layer, which may wait, if that was not forbidden: for memory, or for
    /// a device that takes nothing now, without a bound. May end before this returns.
    pub(crate) fn submit(self) {
        let this = core::mem::ManuallyDrop::new(self);
        this.used.store(1, Relaxed);
        this.inner.state.store(SUBMITTED, Release);
        // SAFETY: The bio is filled in, and refers to what stays until it has ended.
        unsafe { helpers::submit_bio_from_reserve(this.inner.bio.get()) };
    }
}

impl<T: EndIo> Drop for Prepared<'_, T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant.
        unsafe { self.inner.give_back() };
    }
}

/// How often, and for how long each time, `drop` waits for bios to end: a second in all.
const LAST_WAITS: u32 = 100;
const LAST_WAIT_MS: u32 = 10;

impl<T: EndIo> BioSet<T> {
    fn count_submitted(&self) -> usize {
        (0..self.len())
            .filter_map(|index| self.get(index))
            .filter(|inner| inner.state.load(Acquire) == SUBMITTED)
            .count()
    }

    /// Has the block layer end bio `index` by a function of its own, which does nothing but
    /// count. Returns whether that is set: not if somebody beneath has put his in place of ours.
    fn disown(&self, index: usize) -> bool {
        let Some(inner) = self.get(index) else {
            return true;
        };
        let ours: unsafe extern "C" fn(*mut bindings::bio) = Self::end_io;
        let theirs: unsafe extern "C" fn(*mut bindings::bio) = bindings::bio_put;
        // SAFETY: The field is a pointer, aligned as one, and stays while the bio is ours. The
        // block layer reads it once the bio has ended.
        let end_io = unsafe { &*(&raw const (*inner.bio.get()).bi_end_io).cast::<Atomic<usize>>() };
        end_io.cmpxchg(ours as usize, theirs as usize, Full).is_ok()
    }
}

impl<T: EndIo> Drop for BioSet<T> {
    fn drop(&mut self) {
        if self.used.load(Relaxed) != 0 {
            for _ in 0..LAST_WAITS {
                if self.count_submitted() == 0 {
                    break;
                }
                // SAFETY: Process context.
                unsafe { bindings::msleep(LAST_WAIT_MS) };
            }
            let mut disowned = 0_usize;
            for index in 0..self.len() {
                while self
                    .get(index)
                    .is_some_and(|inner| inner.state.load(Acquire) == SUBMITTED)
                {
                    if self.disown(index) {
                        disowned = disowned.wrapping_add(1);
                        break;
                    }
                    // SAFETY: Process context.
                    unsafe { bindings::msleep(LAST_WAIT_MS) };
                }
            }
            // SAFETY: Process context. Whoever has begun to end a bio by our callback is through
            // with it afterwards: interrupts by the first, preempted tasks by the second.
            unsafe {
                bindings::synchronize_rcu();
                if disowned != 0 {
                    helpers::synchronize_rcu_tasks();
                }
            }
        }
        for index in 0..self.len() {
            let _ = self.reap(index);
        }
        for inner in &self.bios {
            // SAFETY: By the type invariant it is live.
            let state = unsafe { inner.as_ref() }.state.load(Acquire);
            if state == IDLE {
                // SAFETY: It was made from a box, and nobody else uses it.
                drop(unsafe { KBox::from_raw(inner.as_ptr()) });
            } else {
                // Disowned. Its memory and its pages stay for ever; the device can be closed.
                // SAFETY: The block layer does not touch this field.
                unsafe { *inner.as_ref().device.get() = None };
            }
        }
    }
}
