// SPDX-License-Identifier: GPL-2.0

//! I/O on block devices, with pages of one's own and bios that were allocated beforehand.
//!
//! A bio may never end. No task needs to wait for it but the one that drops its [`BioSet`].
//!
//! What is here could be removed with [`BioSet`], which says when.
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
    time::{
        delay::fsleep,
        Delta, //
    },
    types::Opaque, //
};

use super::{
    bdev::BlockDevice,
    place::BLOCK_LEN,
    Page, //
};
use crate::linux::helpers;

kernel::impl_flags!(
    /// The operation and flags of a bio: `blk_opf_t`.
    #[derive(Clone, Copy)]
    pub(crate) struct Opf(u32);

    /// An operation, `REQ_OP_*`, or a flag, `REQ_*`.
    #[derive(Clone, Copy)]
    pub(crate) enum OpfBit {
        /// Pages are read from the device.
        Read = bindings::req_op_REQ_OP_READ,
        /// Pages are written to it.
        Write = bindings::req_op_REQ_OP_WRITE,
        /// A task waits for it.
        Sync = 1 << bindings::req_flag_bits___REQ_SYNC,
        /// More I/O follows that a task waits for: the block layer does not hold it back behind writeback.
        Idle = 1 << bindings::req_flag_bits___REQ_IDLE,
        /// The pages are swapped: holding it back would hold back reclaim.
        Swap = 1 << bindings::req_flag_bits___REQ_SWAP,
        /// It ends with `EAGAIN` where submitting it would wait; only for what
        /// [`BlockDevice::takes_nowait`] says.
        Nowait = 1 << bindings::req_flag_bits___REQ_NOWAIT,
    }
);

/// The handler of a bio's end.
///
/// [`BioSet`] has an example.
pub(crate) trait EndIo: Send + Sync + 'static {
    /// Some bio has ended: [`BioSet::reap`] says which. Any context, hard interrupt too: only
    /// note it. It is called within an RCU read-side section. So it may take a spinlock, if that is taken
    /// with interrupts disabled everywhere, but nothing that sleeps; on PREEMPT_RT it may wait for the lock.
    fn bio_ended(&self);
}

/// The bio is not in use.
const IDLE: u32 = 0;
/// One context fills the bio in, or empties it.
const TAKEN: u32 = 1;
/// The block layer has the bio.
const SUBMITTED: u32 = 2;
/// The block layer has given the bio back. It still refers to its pages.
const ENDED: u32 = 3;

/// A bio and what it refers to.
///
/// # Invariants
///
/// - While `state` is [`TAKEN`], only the context that brought it there accesses `bio`, `vecs` and `device`.
///   From [`IDLE`] and [`ENDED`] any context may bring it there; until then none accesses them, except the
///   drop of the set.
/// - While `state` is [`SUBMITTED`], the block layer owns `bio` and `vecs`, until it has called
///   `bio->bi_end_io`.
/// - While `state` is [`SUBMITTED`] or [`ENDED`], `bio` has an initialised status and refers to `vecs`. The
///   first `bi_vcnt` entries of `vecs` each hold a reference to their page. `device` is the device of `bio`.
/// - `bi_private` of a `bio` that was submitted points to the value, which is not freed before it has ended.
/// - `handler` points to the handler of the set. It lives until the set's drop has waited for the calls of
///   [`BioSet::end_io`].
struct Inner<T, const PAGES: usize> {
    bio: Opaque<bindings::bio>,
    vecs: UnsafeCell<MaybeUninit<[bindings::bio_vec; PAGES]>>,
    device: UnsafeCell<Option<Arc<BlockDevice>>>,
    state: Atomic<u32>,
    handler: NonNull<T>,
}

/// Bios, each with room for `PAGES` pages. They are a set so that its drop waits once, not for each bio,
/// until no callback is under way.
///
/// Dropping it, in process context, waits until all bios have ended, however long that takes.
///
/// Could be removed in a release after 7.3, once the kernel crate has `bio`, and bios that end without
/// their owner.
///
/// # Invariants
///
/// - Each pointer of `bios` comes from [`KBox::leak`], and the set owns the value, which lives until its
///   `drop`.
/// - `used` is not 0 if any bio was ever submitted.
///
/// # Examples
///
/// ```ignore
/// struct Wake(Completion);
///
/// impl EndIo for Wake {
///     fn bio_ended(&self) {
///         self.0.complete_all();
///     }
/// }
///
/// fn write(device: &Arc<BlockDevice>, page: &Page, wake: Arc<Wake>) -> Result {
///     let bios = BioSet::<_, 1>::new(1, wake.clone())?;
///     let prepared = bios.prepare(0, device, OpfBit::Write | OpfBit::Sync, 0, [page].into_iter());
///     prepared.ok_or(EBUSY)?.submit();
///     wake.0.wait_for_completion();
///     bios.reap(0).ok_or(EIO)?
/// }
/// ```
pub(crate) struct BioSet<T: EndIo, const PAGES: usize> {
    bios: KVec<NonNull<Inner<T, PAGES>>>,
    used: Atomic<u32>,
    /// What the bios refer to.
    _handler: Arc<T>,
}

// SAFETY: Bios belong to no thread. By the invariants of `Inner` one context at a time accesses one, and `T`
// is `Send` and `Sync`.
unsafe impl<T: EndIo, const PAGES: usize> Send for BioSet<T, PAGES> {}
// SAFETY: As above.
unsafe impl<T: EndIo, const PAGES: usize> Sync for BioSet<T, PAGES> {}

/// A bio that has been filled in. Dropping it gives it back to the set. Could be removed with [`BioSet`].
///
/// [`BioSet`] has an example.
///
/// # Invariants
///
/// - `inner` is [`TAKEN`], and the context that owns this value is the one that may access it.
/// - Except for its state it is as the invariants of `Inner` say of one that is [`SUBMITTED`].
pub(crate) struct PreparedBio<'a, T: EndIo, const PAGES: usize> {
    inner: &'a Inner<T, PAGES>,
    used: &'a Atomic<u32>,
}

impl<T: EndIo, const PAGES: usize> BioSet<T, PAGES> {
    /// What the block layer counts a bio's pages in.
    const LIMIT: u16 = {
        assert!(PAGES <= u16::MAX as usize);
        PAGES as u16
    };

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
                    // INVARIANT: The set has a reference to this handler.
                    handler: NonNull::from(&*handler),
                },
                GFP_KERNEL,
            )?;
            // INVARIANT: The pointer comes from `KBox::leak`.
            set.bios
                .push(NonNull::from(KBox::leak(inner)), GFP_KERNEL)?;
        }
        Ok(set)
    }

    /// Number of bios.
    pub(crate) fn len(&self) -> usize {
        self.bios.len()
    }

    fn get(&self, index: usize) -> Option<&Inner<T, PAGES>> {
        // SAFETY: By the type invariants of `BioSet` the value lives until `drop`.
        self.bios.get(index).map(|inner| unsafe { inner.as_ref() })
    }

    /// Fills in bio `index`, unless it is in use or there are no pages: `opf` with `pages`, in order,
    /// from `sector` of `device` on. Of more than `PAGES` the rest is left out. Process context, as what this
    /// returns may drop the last reference to the device.
    pub(crate) fn prepare<'p>(
        &self,
        index: usize,
        device: &Arc<BlockDevice>,
        opf: Opf,
        sector: u64,
        pages: impl Iterator<Item = &'p Page>,
    ) -> Option<PreparedBio<'_, T, PAGES>> {
        let inner = self.get(index)?;
        inner.state.cmpxchg(IDLE, TAKEN, Acquire).ok()?;
        let bio = inner.bio.get();
        // INVARIANT: `device` is that of the bio, and `bi_private` points to `inner`.
        // SAFETY: This context has brought `state` to `TAKEN`, so by the invariants of `Inner` only it
        // accesses these fields. `vecs` has room for `LIMIT` entries.
        unsafe {
            *inner.device.get() = Some(device.clone());
            bindings::bio_init(
                bio,
                device.as_ptr(),
                inner.vecs.get().cast(),
                Self::LIMIT,
                opf.0,
            );
            (*bio).bi_iter.bi_sector = sector;
            (*bio).bi_private = core::ptr::from_ref(inner).cast_mut().cast();
            (*bio).bi_end_io = Some(Self::end_io);
        }
        let mut is_empty = true;
        for page in pages.take(PAGES) {
            is_empty = false;
            // INVARIANT: The reference taken here belongs to the entry.
            // SAFETY: As above. At most `PAGES` pages are added. The page is live while it is borrowed.
            unsafe {
                helpers::get_page(page.as_ptr());
                bindings::__bio_add_page(bio, page.as_ptr(), BLOCK_LEN, 0);
            }
        }
        // INVARIANT: This context has brought `state` to `TAKEN`, and the bio is filled in above.
        let prepared = PreparedBio {
            inner,
            used: &self.used,
        };
        // The block layer expects at least one page; dropping gives the bio back.
        (!is_empty).then_some(prepared)
    }

    /// If bio `index` has ended: how. It may then be used again. Any context, unless this drops the
    /// last reference to its device.
    pub(crate) fn reap(&self, index: usize) -> Option<Result> {
        let inner = self.get(index)?;
        inner.state.cmpxchg(ENDED, TAKEN, Acquire).ok()?;
        // SAFETY: `state` was `ENDED`, so by the invariants of `Inner` the status is initialised. This
        // context has brought `state` to `TAKEN`, so only it accesses the bio.
        let result = unsafe {
            let status = (*inner.bio.get()).bi_status;
            to_result(bindings::blk_status_to_errno(status))
        };
        // SAFETY: As above, and by the invariants of `Inner` the bio is filled in.
        unsafe { inner.give_back() };
        Some(result)
    }

    /// # Safety
    ///
    /// - Only the block layer may call this, for a bio of a set.
    unsafe extern "C" fn end_io(bio: *mut bindings::bio) {
        // The drop of the set waits until this is released, also if it sees that the bio has ended.
        let _guard = rcu::read_lock();
        // SAFETY: By the invariants of `Inner`; the bio has not ended yet.
        let inner = unsafe { &*(*bio).bi_private.cast::<Inner<T, PAGES>>() };
        // SAFETY: By the invariants of `Inner` the handler lives until the drop of the set has waited for
        // this.
        let handler = unsafe { inner.handler.as_ref() };
        // A full barrier. The handler may read whether another context is going to reap; that context says so
        // first, then reads the state. So one of the two sees the other.
        inner.state.xchg(ENDED, Full);
        handler.bio_ended();
    }
}

impl<T, const PAGES: usize> Inner<T, PAGES> {
    /// Drops what the bio refers to, and lets others use it.
    ///
    /// # Safety
    ///
    /// - The caller must be the context that has brought `state` to [`TAKEN`], or the set's drop.
    /// - The bio must be filled in, and must have ended if it was submitted.
    unsafe fn give_back(&self) {
        let bio = self.bio.get();
        // SAFETY: By the requirements of this function and the invariants of `Inner` only this context
        // accesses these fields. The first `bi_vcnt` entries each hold a reference to their page, which is
        // dropped here. (The block layer changes the iterator, not the table.)
        unsafe {
            let count = usize::from((*bio).bi_vcnt);
            let vecs = self.vecs.get().cast::<bindings::bio_vec>();
            for index in 0..count.min(PAGES) {
                helpers::put_page((*vecs.add(index)).bv_page);
            }
            bindings::bio_uninit(bio);
            *self.device.get() = None;
        }
        self.state.store(IDLE, Release);
    }
}

impl<T: EndIo, const PAGES: usize> PreparedBio<'_, T, PAGES> {
    /// Hands it to the block layer, which may wait, if that was not forbidden: for memory, or for
    /// a device that takes nothing now, without a bound. May end before this returns. Process context, also
    /// where waiting is forbidden; but not where a driver handles a request or a bio, because the block
    /// layer would only queue the bio until that driver returns.
    pub(crate) fn submit(self) {
        let this = core::mem::ManuallyDrop::new(self);
        this.used.store(1, Relaxed);
        this.inner.state.store(SUBMITTED, Release);
        // INVARIANT: By the type invariants the bio is as it must be while it is `SUBMITTED`.
        // SAFETY: By the type invariants the bio is filled in. By those of `Inner` it stays until it has
        // ended.
        unsafe { bindings::submit_bio(this.inner.bio.get()) };
    }
}

impl<T: EndIo, const PAGES: usize> Drop for PreparedBio<'_, T, PAGES> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants; the bio was not submitted, as `submit` does not drop this.
        unsafe { self.inner.give_back() };
    }
}

/// How often the drop of a set checks for bios that are under way.
const WAIT: Delta = Delta::from_millis(10);

impl<T: EndIo, const PAGES: usize> BioSet<T, PAGES> {
    /// Whether the block layer has any.
    pub(crate) fn has_submitted(&self) -> bool {
        let mut bios = (0..self.len()).filter_map(|index| self.get(index));
        bios.any(|inner| inner.state.load(Acquire) == SUBMITTED)
    }
}

impl<T: EndIo, const PAGES: usize> Drop for BioSet<T, PAGES> {
    fn drop(&mut self) {
        if self.used.load(Relaxed) != 0 {
            while self.has_submitted() {
                fsleep(WAIT);
            }
            // Each context that has read our callback has left it afterwards. A task may be preempted before,
            // in or behind the read-side section of the callback; it blocks only within, on a spinlock of
            // PREEMPT_RT, which `synchronize_rcu_tasks` takes for its end. So: until each has begun the
            // section, until it has ended it, and until it has returned. The second waits for interrupts.
            // All three sleep.
            // SAFETY: The function sleeps, as dropping a set does.
            unsafe { helpers::synchronize_rcu_tasks() };
            rcu::synchronize_rcu();
            // SAFETY: As above.
            unsafe { helpers::synchronize_rcu_tasks() };
        }
        for &place in &self.bios {
            // SAFETY: By the type invariants the value is live.
            let inner = unsafe { place.as_ref() };
            if inner.state.load(Acquire) != IDLE {
                // SAFETY: The bio has ended, or its `PreparedBio` was forgotten: there is none, as each
                // borrows the set. So only this context accesses it, and it is filled in.
                unsafe { inner.give_back() };
            }
            // SAFETY: By the type invariants it comes from `KBox::leak`. The bio is idle, and no call of
            // `end_io` is under way, so nothing else uses it.
            drop(unsafe { KBox::from_raw(place.as_ptr()) });
        }
    }
}
