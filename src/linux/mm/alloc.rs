// SPDX-License-Identifier: GPL-2.0

//! Memory in bulk: large tables, and how what is made at load is allocated.
//!
//! C header: [`include/linux/vmalloc.h`](srctree/include/linux/vmalloc.h)

use core::{
    ops::{
        Deref,
        DerefMut, //
    },
    ptr::NonNull,
    slice, //
};

use kernel::{
    alloc::Flags,
    bindings,
    page::PAGE_SIZE,
    prelude::*,
    sync::atomic::Atomic, //
};

use crate::linux::helpers;

/// [`MAY_FAIL`] for kernel functions.
pub(in crate::linux) const RAW_MAY_FAIL: bindings::gfp_t =
    bindings::GFP_KERNEL | bindings::__GFP_NOWARN | 1 << bindings::___GFP_RETRY_MAYFAIL_BIT;

/// `GFP_KERNEL`, but fails where that would have programs killed, and does not complain. For what there
/// may be much of.
///
/// Could be removed in a release after 7.3, once the kernel crate has `__GFP_RETRY_MAYFAIL`.
// SAFETY: `Flags` consists of one `u32`, which may have any value, and `transmute` checks that it has no
// other bytes. The kernel crate does not promise that, so the value of another constant is checked below. Its
// own constants cannot be combined to this one, and no function takes raw flags.
pub(crate) const MAY_FAIL: Flags = unsafe { core::mem::transmute::<u32, Flags>(RAW_MAY_FAIL) };

// SAFETY: A `u32` may have any value; `transmute` checks that `Flags` has as many bytes.
const RAW_KERNEL: u32 = unsafe { core::mem::transmute::<Flags, u32>(GFP_KERNEL) };
const _: () = assert!(RAW_KERNEL == bindings::GFP_KERNEL);

/// Whether `bytes` can be allocated without harm to others, as far as the kernel knows.
///
/// Could be removed in a release after 7.3, once the kernel crate has `si_mem_available`.
///
/// # Examples
///
/// ```ignore
/// if !is_available(1 << 30) {
///     return Err(ENOMEM);
/// }
/// let table: Table<Atomic<u32>> = zeroed_table(1 << 28)?;
/// ```
pub(crate) fn is_available(bytes: usize) -> bool {
    // SAFETY: The function has no requirements.
    let pages = unsafe { bindings::si_mem_available() };
    bytes.div_ceil(PAGE_SIZE) <= usize::try_from(pages).unwrap_or(0)
}

/// A type of which all zero bytes are a value.
///
/// Could be removed in a release after 7.3, once `kernel::sync::atomic::Atomic` is `pin_init::Zeroable`.
///
/// [`Table`] has an example.
///
/// # Safety
///
/// - All zero bytes must be a value.
/// - The type must need no `Drop`.
pub(crate) unsafe trait ZeroValue {}

// SAFETY: An integer with interior mutability.
unsafe impl ZeroValue for Atomic<u32> {}

/// A table of fixed length, mapped with huge pages where there are some. It is dropped in process context.
///
/// A `VVec` would do, but for how it fails: it is allocated with `GFP_KERNEL`, so that a table larger than
/// memory has other programs killed before its allocation fails. Could be removed in a release after 7.3,
/// once `VVec` takes [`MAY_FAIL`], huge pages, and values of zero bytes.
///
/// # Invariants
///
/// `data` points to `len` initialised values. Their memory is from `vmalloc` or `kvmalloc`, and belongs to
/// the table.
///
/// # Examples
///
/// ```ignore
/// let words: Table<Atomic<u32>> = zeroed_table(1 << 20)?;
/// words[0].store(1, Relaxed);
/// ```
pub(crate) struct Table<T: ZeroValue> {
    data: NonNull<T>,
    len: usize,
}

// SAFETY: The memory belongs to no thread.
unsafe impl<T: ZeroValue + Send> Send for Table<T> {}
// SAFETY: As for a slice.
unsafe impl<T: ZeroValue + Sync> Sync for Table<T> {}

impl<T: ZeroValue> Table<T> {
    /// Bytes of a table of `len` values. Any allocator aligns memory for an integer.
    fn bytes(len: usize) -> Result<usize> {
        const { assert!(align_of::<T>() <= align_of::<u64>()) };
        Ok(len.checked_mul(size_of::<T>()).ok_or(ENOMEM)?.max(1))
    }

    /// The table of `len` values in `data`, or an error if `data` is null.
    ///
    /// # Safety
    ///
    /// - `data` must be null, or memory of [`Self::bytes`] bytes, all zero, from `vmalloc` or `kvmalloc`,
    ///   which belongs to the table from now on.
    unsafe fn from_zeroed(data: *mut c_void, len: usize) -> Result<Self> {
        let data = NonNull::new(data.cast()).ok_or(ENOMEM)?;
        // INVARIANT: By the requirements of this function. `ZeroValue` says that zero bytes are values.
        Ok(Self { data, len })
    }
}

/// A table of `len` zero values. Sleeps. Fails, at once and without harm to others, if it is
/// larger than the memory that is available. Could be removed with [`Table`].
///
/// [`Table`] has an example.
pub(crate) fn zeroed_table<T: ZeroValue>(len: usize) -> Result<Table<T>> {
    let bytes = Table::<T>::bytes(len)?;
    if !is_available(bytes) {
        return Err(ENOMEM);
    }
    let flags = RAW_MAY_FAIL | bindings::__GFP_ZERO;
    // SAFETY: The function returns null, or new memory of `bytes` bytes that is all zero, from `vmalloc`.
    unsafe { Table::from_zeroed(helpers::vmalloc_huge(bytes, flags), len) }
}

/// A small one, for a task that must not wait for memory: the allocator reclaims nothing for it.
/// Process context. Could be removed with [`Table`].
///
/// # Examples
///
/// ```ignore
/// fn add(tables: &mut KVec<Table<Atomic<u32>>>) {
///     // Without memory there is another attempt later.
///     if let Ok(table) = zeroed_table_now(512) {
///         let _ = tables.push_within_capacity(table);
///     }
/// }
/// ```
pub(crate) fn zeroed_table_now<T: ZeroValue>(len: usize) -> Result<Table<T>> {
    let bytes = Table::<T>::bytes(len)?;
    let flags = bindings::GFP_NOWAIT | bindings::__GFP_NOWARN;
    // SAFETY: The function returns null, or new memory of `bytes` bytes that is all zero, from `kvmalloc`.
    unsafe { Table::from_zeroed(helpers::kvzalloc(bytes, flags), len) }
}

impl<T: ZeroValue> Deref for Table<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        // SAFETY: By the type invariant there are `len` values, which are borrowed with the table.
        unsafe { slice::from_raw_parts(self.data.as_ptr(), self.len) }
    }
}

impl<T: ZeroValue> DerefMut for Table<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: As in `deref`; the table is borrowed mutably.
        unsafe { slice::from_raw_parts_mut(self.data.as_ptr(), self.len) }
    }
}

impl<T: ZeroValue> Drop for Table<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the memory is from `vmalloc` or `kvmalloc`, and belongs to the table,
        // which is gone. By the requirements of `ZeroValue` the values need no `Drop`.
        unsafe { bindings::kvfree(self.data.as_ptr().cast()) };
    }
}
