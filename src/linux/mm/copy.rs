// SPDX-License-Identifier: GPL-2.0

//! Copying bytes that others may write to meanwhile.

/// Copies a few bytes into `to`: whoever looks at them there sees them as they were, once.
///
/// # Safety
///
/// `from` must be valid for reads of `N` bytes, which are not `to`'s.
#[inline]
pub(in crate::linux) unsafe fn take<const N: usize>(from: *const u8, to: &mut [u8; N]) {
    let to = to.as_mut_ptr();
    // SAFETY: By the requirements of this function.
    unsafe { from.copy_to_nonoverlapping(to, N) };
    // So that the compiler does not look at `from` again for what has been copied.
    // SAFETY: No instruction.
    unsafe { core::arch::asm!("/* {0} */", in(reg) to, options(nostack, preserves_flags)) };
}

/// Copies `len` bytes.
///
/// By the processor's string instruction, as the kernel's `copy_page` does: its `memcpy` uses
/// that only where short copies are fast as well (FSRM), and an unrolled loop elsewhere, which
/// takes three times the instructions for a page.
///
/// # Safety
///
/// `from` must be valid for reads, `to` for writes, of `len` bytes, and they must not overlap.
#[inline]
pub(in crate::linux) unsafe fn copy(from: *const u8, to: *mut u8, len: usize) {
    // KASAN sees through `memcpy` only.
    #[cfg(all(target_arch = "x86_64", not(CONFIG_KASAN)))]
    // SAFETY: By the requirements of this function; the direction flag is clear in all Rust code.
    unsafe {
        let (rest_from, rest_to): (*const u8, *mut u8);
        core::arch::asm!(
            "rep movsq",
            inout("rcx") len / 8 => _,
            inout("rsi") from => rest_from,
            inout("rdi") to => rest_to,
            options(nostack, preserves_flags)
        );
        if len % 8 != 0 {
            rest_from.copy_to_nonoverlapping(rest_to, len % 8);
        }
    }
    #[cfg(not(all(target_arch = "x86_64", not(CONFIG_KASAN))))]
    // SAFETY: By the requirements of this function.
    unsafe {
        from.copy_to_nonoverlapping(to, len);
    }
}
