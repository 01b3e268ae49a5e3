// SPDX-License-Identifier: GPL-2.0

//! Large tables.

use kernel::{
    alloc::flags::{
        __GFP_NOWARN,
        __GFP_ZERO, //
        GFP_KERNEL,
    },
    prelude::*,
    sync::atomic::Atomic, //
};

/// A type of which all zero bytes are a value.
///
/// # Safety
///
/// They must be, and the type must need no `Drop`.
pub(crate) unsafe trait ZeroValue {}

// SAFETY: Integers.
unsafe impl ZeroValue for u8 {}
// SAFETY: As above.
unsafe impl ZeroValue for u32 {}
// SAFETY: As above.
unsafe impl ZeroValue for u64 {}
// SAFETY: An integer with interior mutability.
unsafe impl ZeroValue for Atomic<u32> {}
// SAFETY: As above.
unsafe impl ZeroValue for Atomic<u64> {}

/// A table of `len` zero values, of any size that fits the machine's memory. Sleeps; the pages
/// are zeroed as they are allocated.
pub(crate) fn zeroed_table<T: ZeroValue>(len: usize) -> Result<VVec<T>> {
    let mut table = VVec::with_capacity(len, GFP_KERNEL | __GFP_ZERO | __GFP_NOWARN)?;
    // SAFETY: The capacity is at least `len`, and all bytes are zero, which `ZeroValue` says are
    // values.
    unsafe { table.inc_len(len) };
    Ok(table)
}
